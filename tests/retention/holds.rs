//! Legal holds stand above rules.

use crate::company::{Company, DUE, POLICY, SCHEMA};

fn hold(company: &Company, what: &str) {
    company.server.execute(&company.control, what);
    // A daemon reads it.
    company.says(&["run", "--until-idle"], 0);
}

#[test]
fn rows_under_a_hold_stay_and_the_others_go() {
    let company = Company::open();
    hold(
        &company,
        r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#,
    );
    let but = format!("({DUE}) AND c.id NOT BETWEEN 2500 AND 2510");
    let expected = company.rows(&but);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["held"], 11, "{run}");
    assert_eq!(run["set_aside"].as_array().unwrap().len(), 0, "{run}");
    assert_eq!(company.rows("false"), expected);
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        0
    );
}

/// What hangs on a row that is due is held: the row stays with it.
#[test]
fn a_held_row_keeps_what_it_hangs_on() {
    let company = Company::open();
    let call = company.count("SELECT max(call) FROM note");
    hold(
        &company,
        &format!(
            r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.note', '[{{"column": "call", "op": "=", "values": ["{call}"]}}]')"#
        ),
    );
    let expected = company.rows(&format!("({DUE}) AND c.id <> {call}"));
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(
        said.contains(&format!("key {call}: a legal hold covers")),
        "{said}"
    );
    assert_eq!(company.rows("false"), expected);
}

fn hold_person(company: &Company, member: &str) {
    company.says(&["run", "--until-idle"], 0);
    let sql = format!(
        r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{{"member_no": "{member}"}}')"#
    );
    hold(company, &sql);
}

/// The rows of a person under a hold stay, with what hangs on them; everybody else's go.
#[test]
fn a_hold_on_a_person_keeps_theirs_and_no_others() {
    let company = Company::open();
    hold_person(&company, "M-3");
    let theirs = company.count(&format!(
        "SELECT count(*) FROM call c WHERE {DUE} AND c.customer = 3"
    ));
    assert!(theirs > 20);
    let expected = company.rows(&format!("({DUE}) AND c.customer <> 3"));
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let dry = company.json(&["retention", "run", "calls", "--dry-run"]);
    assert_eq!(
        (dry["due"].as_i64(), dry["held"].as_i64()),
        (Some(due - theirs), Some(theirs))
    );
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["held"].as_i64(), Some(theirs), "{run}");
    assert_eq!(
        run["changed"]["public.call"]["deleted"].as_i64(),
        Some(due - theirs),
        "{run}"
    );
    assert_eq!(company.rows("false"), expected);
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        0
    );
}

/// A hold that is placed while a batch is at work: the batch rolls back, and begins again without them.
#[test]
fn a_hold_placed_in_the_middle_is_seen_before_the_commit() {
    let company = Company::open();
    company.says(&["run", "--until-idle"], 0);
    let theirs = company.count(&format!(
        "SELECT count(*) FROM call c WHERE {DUE} AND c.customer = 3"
    ));
    let mut run = company.workspace.process(["retention", "run", "calls"]);
    let mut run = run
        .env("FAILPOINTS", "before-change=sleep(3000)")
        .spawn()
        .unwrap();
    let begun = "SELECT count(*) FROM erasured.retention_run";
    crate::support::wait_until(
        "the run to begin",
        std::time::Duration::from_secs(20),
        || company.server.count(&company.control, begun) > 0,
    );
    std::thread::sleep(std::time::Duration::from_millis(500));
    let sql = r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-3"}')"#;
    hold(&company, sql);
    assert!(run.wait().unwrap().success());
    let left = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    assert_eq!(left, theirs);
    assert_eq!(
        company.count(&format!(
            "SELECT count(*) FROM call c WHERE {DUE} AND c.customer = 3"
        )),
        theirs
    );
}

/// What hangs on a call may be another person's: whose all of it is cannot be asked of the calls, so while
/// anybody is under a hold none goes.
#[test]
fn rows_of_several_people_stay_while_one_is_under_a_hold() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE note ADD about int REFERENCES customer; UPDATE note SET about = 1 + id % 20;"
    );
    let company = Company::with(&schema, POLICY);
    hold_person(&company, "M-3");
    let before = company.rows("false");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0521"), "{said}");
    assert!(
        company
            .says(&["retention", "plan", "calls"], 0)
            .contains("whose the rows are cannot be told")
    );
    assert_eq!(company.rows("false"), before);
    // How many of them the hold covers nobody knows.
    let said = company.says(&["retention", "verify"], 0);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    assert!(
        said.contains("calls: is stopped by a legal hold")
            && said.contains(&format!("{due} row(s) wait: a legal hold on a customer"))
            && !said.contains("more stay"),
        "{said}"
    );
    assert_eq!(
        company.json(&["retention", "runs"])[0]["problem_code"],
        "E0521"
    );
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["retention", "run", "calls"], 0);
}

/// The calls stand in another policy too, whose people are the agents: a hold on one of them stops the rule.
#[test]
fn a_hold_on_a_person_of_another_kind_counts() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE agent (id int PRIMARY KEY, badge text UNIQUE NOT NULL); INSERT INTO agent VALUES (1, 'A-1'); \
         ALTER TABLE call ADD agent int REFERENCES agent; UPDATE call SET agent = 1;"
    );
    let company = Company::with(&schema, POLICY);
    let agents = POLICY
        .split("[[table]]")
        .next()
        .unwrap()
        .replace("customer", "agent")
        .replace("member_no", "badge");
    let agents = agents
        + "[[table]]\nname = \"shop.public.agent\"\naction = \"delete\"\n[[table]]\nname = \"shop.public.call\"\naction = \"detach\"\n";
    company.workspace.write_policy("agent.toml", &agents);
    company.says(&["run", "--until-idle"], 0);
    let before = company.rows("false");
    hold(
        &company,
        r#"SELECT erasured.place_hold('case-1', 'court-order', 'agent', '{"badge": "A-1"}')"#,
    );
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0521") && said.contains("agent"), "{said}");
    assert_eq!(company.rows("false"), before);
}

/// Of what comes by its key, since several columns say its date, the oldest is not the first.
#[test]
fn the_oldest_is_the_oldest_also_while_somebody_is_held() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE call ADD closed_at timestamptz; \
         UPDATE call SET ended_at = now() - (7000 - id % 3000) * interval '1 hour', closed_at = ended_at WHERE isfinite(ended_at);"
    );
    let two = "since    = [\"ended_at\", \"closed_at\"]";
    let company = Company::with(&schema, &POLICY.replace("since    = \"ended_at\"", two));
    // More than are looked at at a time.
    company.execute("INSERT INTO call SELECT n, 2, now() - (n - 6000) * interval '1 hour' FROM generate_series(10001, 18000) n");
    let oldest = |of: &str| {
        let day = "(greatest(ended_at, closed_at) AT TIME ZONE 'Asia/Tokyo')::date";
        let sql = format!("SELECT min({day})::text FROM call WHERE isfinite(ended_at) AND {of}");
        company.server.value(&company.shop, &sql)
    };
    let said = || {
        let plan = company.json(&["retention", "plan", "calls"]);
        plan[0]["oldest"].as_str().unwrap().to_owned()
    };
    assert_eq!(said(), oldest("true"));
    hold_person(&company, "M-3");
    assert_eq!(said(), oldest("customer <> 3"));
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    // The one whose rows are oldest of all.
    hold_person(&company, "M-2");
    assert_eq!(said(), oldest("customer <> 2"));
    assert_ne!(oldest("customer <> 2"), oldest("true"));
}

/// What hangs on the calls is somebody else's as well, and stays: whose a call is says its own key.
#[test]
fn who_changes_only_the_rows_keeps_only_those_of_who_is_held() {
    let schema = format!(
        "{SCHEMA} ALTER TABLE note ADD about int REFERENCES customer; UPDATE note SET about = 1 + id % 20;"
    );
    let policy = POLICY.replace(
        "action   = \"delete\"\nbecause",
        "action   = \"anonymize\"\nset = { tag = \"redact\" }\nbecause",
    );
    let company = Company::with(&schema, &policy);
    hold_person(&company, "M-3");
    let plan = company.says(&["retention", "plan", "calls"], 0);
    assert!(!plan.contains("stopped:"), "{plan}");
    let notes = || {
        company
            .server
            .query(&company.shop, "SELECT n::text FROM note n ORDER BY 1")
    };
    let before = notes();
    let theirs = company.count(&format!(
        "SELECT count(*) FROM call c WHERE {DUE} AND c.customer = 3"
    ));
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["held"].as_i64(), Some(theirs), "{run}");
    let changed = format!("SELECT count(*) FROM call c WHERE {DUE} AND c.tag = '[erased]'");
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    assert_eq!(company.count(&changed), due - theirs);
    assert_eq!(
        company.count("SELECT count(*) FROM call WHERE customer = 3 AND tag = '[erased]'"),
        0
    );
    assert_eq!(notes(), before);
}

//! Where one thing that a rule may say meets another.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use std::time::Duration;

fn policy(replace: &[(&str, &str)]) -> String {
    let mut policy = POLICY.to_owned();
    for (old, new) in replace {
        assert!(policy.contains(old), "{old}");
        policy = policy.replace(old, new);
    }
    policy
}

/// Rows that the rule is not for are not overdue, nor foreseen.
#[test]
fn what_a_condition_leaves_out_is_nowhere_counted() {
    let only = "keep     = \"90 days\"\nwhere    = \"id <> 2500\"";
    let company = Company::with(SCHEMA, &policy(&[("keep     = \"90 days\"", only)]));
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let before = company.json(&["retention", "plan", "calls"]);
    assert_eq!(before[0]["due"], due - 1, "{before}");
    assert_eq!(
        before[0]["forecast"]["weeks"][0]["rows"],
        due - 1,
        "{before}"
    );
    company.says(&["retention", "verify"], 1);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        1
    );
    company.says(&["retention", "verify"], 0);
}

/// What something keeps that hangs on it is not overdue, and stands on the certificate.
#[test]
fn survivors_are_not_overdue() {
    let rule = "\n[[retention]]\nname = \"notes\"\ntable = \"shop.public.note\"\nsince = \"written_on\"\nkeep = \"10 years\"\n\
                action = \"delete\"\nbecause = \"as long as we like\"\ntimezone = \"Asia/Tokyo\"\n";
    let schema = SCHEMA.replace(
        "body text);",
        "body text, written_on date NOT NULL DEFAULT current_date);",
    );
    let company = Company::with(&schema, &format!("{POLICY}{rule}"));
    let kept = company.count(&format!(
        "SELECT count(DISTINCT c.id) FROM call c JOIN note n ON n.call = c.id WHERE {DUE}"
    ));
    assert!(kept > 100);
    company.execute(&format!(
        "DELETE FROM note n USING call c WHERE c.id = n.call AND c.id % 2 = 0 AND {DUE}"
    ));
    let kept = company.count(&format!(
        "SELECT count(DISTINCT c.id) FROM call c JOIN note n ON n.call = c.id WHERE {DUE}"
    ));
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["survivors"], kept, "{run}");
    assert_eq!(
        company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}")),
        kept
    );
    let verdicts = company.json(&["retention", "verify"]);
    assert_eq!(
        (&verdicts[0]["holds"], verdicts[0]["survivors"].as_i64()),
        (&true.into(), Some(kept)),
        "{verdicts}"
    );
    let id = run["run"].as_str().unwrap();
    let certificate = company.json(&["certificate", "show", id]);
    assert!(
        certificate
            .to_string()
            .contains(&format!("\"kept\":{kept}")),
        "{certificate}"
    );
}

/// A rule that anonymizes has a schedule like any other, and holds when it has run.
#[test]
fn rows_are_anonymized_by_schedule_and_then_not_overdue() {
    let rule = "action   = \"anonymize\"\nset      = { tag = { constant = \"gone\" } }\nschedule = \"* * * * * *\"\nbecause  = \"our";
    let mut company = Company::with(
        SCHEMA,
        &policy(&[("action   = \"delete\"\nbecause  = \"our", rule)]),
    );
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let mut daemon = company.workspace.process(["run"]).spawn().unwrap();
    let changed = "SELECT count(*) FROM call WHERE tag = 'gone'";
    crate::support::wait_until("the rule to run", Duration::from_secs(30), || {
        company.count(changed) == due
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    company.says(&["retention", "verify"], 0);
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(plan[0]["forecast"]["weeks"][0]["rows"], 0, "{plan}");
}

/// Who is not deleted would be due for ever.
#[test]
fn rules_for_people_are_refused_where_they_could_not_be_kept() {
    let rule = |since: &str| {
        format!(
            "\n[[retention]]\nname = \"members\"\ntable = \"shop.public.customer\"\npeople = true\nscope = \"account\"\nat_most = 5\nsince = {since}\n\
         keep = \"5 years\"\naction = \"delete\"\nbecause = \"our terms\"\ntimezone = \"Asia/Tokyo\"\n"
        )
    };
    let schema = SCHEMA.replace(
        "member_no text UNIQUE NOT NULL);",
        "member_no text UNIQUE NOT NULL, seen_on date, name text);",
    );
    let company = Company::with(&schema, &format!("{POLICY}{}", rule("\"seen_on\"")));
    company.says(&["check"], 0);
    let linked = rule("{ table = \"shop.public.call\", column = \"ended_at\" }");
    company
        .workspace
        .write_policy("customer.toml", &format!("{POLICY}{linked}"));
    company.says(&["check"], 0);
    let stays = policy(&[(
        "name   = \"shop.public.customer\"\naction = \"delete\"",
        "name   = \"shop.public.customer\"\naction = \"anonymize\"\nset = { name = \"null\" }",
    )]);
    company
        .workspace
        .write_policy("customer.toml", &format!("{stays}{}", rule("\"seen_on\"")));
    let said = company.says(&["check"], 1);
    assert!(
        said.contains("E0256") && said.contains("due again"),
        "{said}"
    );
}

/// What one policy keeps no ticket of another takes.
#[test]
fn a_minimum_of_another_policy_stops_tickets() {
    let company = Company::open();
    let other = r#"
subject = "agent"
root    = "shop.public.agent"
identifier.name = { column = "name", find = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
[[table]]
name   = "shop.public.agent"
action = "delete"
[[retention]]
name     = "calls-at-least"
table    = "shop.public.call"
since    = "ended_at"
keep     = "1 year"
action   = "keep"
because  = "we may be asked"
timezone = "Asia/Tokyo"
"#;
    company.execute("CREATE TABLE agent (id int PRIMARY KEY, name text UNIQUE NOT NULL)");
    company.says(&["plan", "--subject", "member_no=M-3"], 0);
    company.workspace.write_policy("agent.toml", other);
    let said = company
        .workspace
        .erasured(["plan", "--subject", "member_no=M-3", "--kind", "customer"])
        .output()
        .unwrap();
    let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    assert!(said.contains("E0255"), "{said}");
}

/// What another policy retains no rule takes before.
#[test]
fn a_retain_of_another_policy_stops_rules() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE agent (id int PRIMARY KEY, name text UNIQUE NOT NULL); INSERT INTO agent VALUES (1, 'x'); \
         ALTER TABLE call ADD agent int REFERENCES agent, ADD checked_on date; CREATE INDEX ON call (agent); \
         ALTER TABLE note ADD until date; UPDATE call SET checked_on = CASE WHEN id % 2 = 0 THEN current_date - 200 ELSE current_date END;"
    );
    let company = Company::with(&schema, POLICY);
    company.says(&["check"], 0);
    let other = |retain: &str, note: &str| {
        format!(
            "subject = \"agent\"\nroot = \"shop.public.agent\"\nidentifier.name = {{ column = \"name\", find = true }}\n\
             scope.account = {{ tables = \"all\", verify = {{ at_least = \"basic\" }}, sla = \"jp-appi\" }}\n\
             [[table]]\nname = \"shop.public.agent\"\naction = \"delete\"\n\
             [[table]]\nname = \"shop.public.call\"\n{retain}\n\
             [[table]]\nname = \"shop.public.note\"\n{note}\n\
             [[table]]\nname = \"shop.public.survey\"\naction = \"detach\"\n"
        )
    };
    let until = |column: &str| {
        format!(
            "action = \"retain\"\nuntil = {{ column = \"{column}\", plus = \"100 days\" }}\nbecause = \"we may be asked\"\nthen = \"delete\"\nset = {{ agent = \"null\" }}"
        )
    };
    let with_its_call = "action = \"retain\"\nbecause = \"with its call\"";
    let tells = |retain: &str, note: &str, words: &str| {
        company
            .workspace
            .write_policy("agent.toml", &other(retain, note));
        let said = company.says(&["retention", "run", "calls"], 1);
        let said: Vec<&str> = said.split_whitespace().filter(|w| *w != "│").collect();
        let said = said.join(" ");
        assert!(
            said.contains("E0255") && said.contains(words),
            "{words}: {said}"
        );
    };
    // Of the same column for longer; and of what goes with the calls.
    tells(
        &until("ended_at"),
        with_its_call,
        "the `retain` of the policy for agent",
    );
    tells(
        "action = \"detach\"",
        with_its_call,
        "which the policy for agent retains",
    );
    // Counted from another column both must be over.
    let note = "action = \"exempt\"\nreason = \"with its call\"";
    let retain = until("checked_on");
    company
        .workspace
        .write_policy("agent.toml", &other(&retain, note));
    let expected = company.rows(&format!("({DUE}) AND c.checked_on < current_date - 100"));
    let due = format!("SELECT count(*) FROM call c WHERE {DUE}");
    let before = company.count(&due);
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(company.rows("false"), expected);
    assert!(company.count(&due) > before / 3);
}

/// Rows would be passed in one order and compared in another.
#[test]
fn keys_with_an_order_of_their_own_are_refused() {
    let schema = SCHEMA.replace("CREATE TABLE note", "CREATE EXTENSION citext; CREATE TABLE tune (id citext PRIMARY KEY, on_day date); CREATE TABLE note");
    let rule = "\n[[retention]]\nname = \"tunes\"\ntable = \"shop.public.tune\"\nsince = \"on_day\"\nkeep = \"1 year\"\naction = \"delete\"\n\
                because = \"nobody asks for older ones\"\ntimezone = \"Asia/Tokyo\"\n";
    let company = Company::with(&schema, &format!("{POLICY}{rule}"));
    let said = company.says(&["check"], 1);
    assert!(
        said.contains("E0218") && said.contains("order of its own"),
        "{said}"
    );
}

/// Invoices are retained, and go by a rule of their own when their years are over: a call waits for its invoice.
#[test]
fn what_is_retained_and_has_a_rule_keeps_what_it_hangs_on() {
    let schema = format!(
        "{SCHEMA} CREATE TABLE invoice (id int PRIMARY KEY, call int REFERENCES call, issued_on date NOT NULL); CREATE INDEX ON invoice (call); CREATE INDEX ON invoice (issued_on); \
         CREATE TABLE line (id int PRIMARY KEY, invoice int NOT NULL REFERENCES invoice); CREATE INDEX ON line (invoice); \
         INSERT INTO invoice SELECT id, id, current_date - CASE id % 2 WHEN 0 THEN 100 ELSE 300 END FROM call WHERE id BETWEEN 2400 AND 2499; \
         INSERT INTO line SELECT id, id FROM invoice;"
    );
    let retained = POLICY.to_owned()
        + "\n[[table]]\nname = \"shop.public.invoice\"\naction = \"retain\"\nuntil = { column = \"issued_on\", plus = \"200 days\" }\n\
           because = \"the tax office\"\nset = { call = \"null\" }\nthen = \"delete\"\n\
           [[table]]\nname = \"shop.public.line\"\naction = \"retain\"\nbecause = \"with its invoice\"\n";
    let invoices = |action: &str| {
        format!(
            "{retained}\n[[retention]]\nname = \"invoices\"\ntable = \"shop.public.invoice\"\nsince = \"issued_on\"\n\
                 keep = \"250 days\"\naction = \"{action}\"\nbecause = \"the tax office\"\ntimezone = \"Asia/Tokyo\"\n"
        )
    };
    let company = Company::with(&schema, &retained);
    // Nothing says when they go by themselves; and then what to write is what mends it.
    for policy in [retained.clone(), invoices("report")] {
        company.workspace.write_policy("customer.toml", &policy);
        let said = company.says(&["check"], 1);
        assert!(
            said.contains("E0255") && said.contains("write a [[retention]]"),
            "{said}"
        );
    }
    let reported = invoices("delete").replace(
        "action   = \"delete\"\nbecause",
        "action   = \"report\"\nbecause",
    );
    for policy in [
        &reported,
        &reported
            .replace("name = \"invoices\"", "name = \"others\"")
            .replace("250 days", "201 days"),
    ] {
        company.workspace.write_policy("customer.toml", policy);
        company.says(&["check"], 0);
    }
    // What is only counted takes nothing, so nothing stands against it.
    let reported = retained.replace(
        "action   = \"delete\"\nbecause",
        "action   = \"report\"\nbecause",
    );
    company.workspace.write_policy("customer.toml", &reported);
    company.says(&["check"], 0);
    company.says(&["retention", "run", "calls"], 0);
    company
        .workspace
        .write_policy("customer.toml", &invoices("delete"));
    company.says(&["check"], 0);
    let due = company.count(&format!(
        "SELECT count(*) FROM call c WHERE {}",
        crate::company::DUE
    ));
    let kept = "SELECT count(*) FROM invoice WHERE issued_on = current_date - 100";
    assert_eq!(company.count(kept), 50);
    let run = company.json(&["retention", "run", "calls"]);
    assert_eq!(run["survivors"], 50, "{run}");
    assert_eq!(
        run["changed"]["public.call"]["deleted"].as_i64(),
        Some(due - 50),
        "{run}"
    );
    assert_eq!(run["changed"]["public.invoice"]["deleted"], 50, "{run}");
    assert_eq!(run["changed"]["public.line"]["deleted"], 50, "{run}");
    assert_eq!(company.count(kept), 50);
    assert_eq!(company.count("SELECT count(*) FROM invoice i JOIN call c ON c.id = i.call JOIN line l ON l.invoice = i.id"), 50);
    company.execute("UPDATE invoice SET issued_on = issued_on - 300");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(company.count("SELECT count(*) FROM invoice"), 0);
}

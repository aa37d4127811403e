//! Whether a rule holds.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use serde_json::Value;

/// What is said of the only rule, with this exit code.
fn verdict(company: &Company, code: i32) -> Value {
    let said = company.says(&["retention", "verify", "--format", "json"], code);
    let mut all: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert_eq!(all.len(), 1, "{said}");
    all.remove(0)
}

/// Before a run it does not hold, after it it does, and what is held does not count. Nothing is written: neither
/// database would let it.
#[test]
fn a_rule_holds_when_nothing_is_left_but_what_is_held() {
    let company = Company::open();
    company.server.execute(
        &company.control,
        r#"SELECT erasured.place_row_hold('case-1', 'court-order', 'shop.public.call', '[{"column": "id", "op": "between", "values": ["2500", "2510"]}]')"#,
    );
    company.says(&["run", "--until-idle"], 0);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let read_only = |database: &str, on: &str| {
        let sql = format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = {on}");
        company.server.execute("postgres", &sql);
    };
    for database in [&company.shop, &company.control] {
        read_only(database, "on");
    }
    let before = verdict(&company, 1);
    assert_eq!(
        (
            before["holds"].as_bool(),
            before["overdue"].as_i64(),
            before["held"].as_i64()
        ),
        (Some(false), Some(due - 11), Some(11)),
        "{before}"
    );
    assert_eq!(before["undated"], 3);
    let oldest = "SELECT min((ended_at AT TIME ZONE 'Asia/Tokyo')::date)::text FROM call WHERE isfinite(ended_at)";
    assert_eq!(
        before["oldest"],
        company.server.value(&company.shop, oldest).as_str()
    );
    assert_eq!(before["then"], "erasured retention run calls");
    for database in [&company.shop, &company.control] {
        read_only(database, "off");
    }
    company.says(&["retention", "run", "calls"], 0);
    let after = verdict(&company, 0);
    assert_eq!(
        (
            after["holds"].as_bool(),
            after["overdue"].as_i64(),
            after["held"].as_i64()
        ),
        (Some(true), Some(0), Some(11)),
        "{after}"
    );
    let said = company.says(&["retention", "verify"], 0);
    assert!(
        said.contains("calls: holds (shop.public.call)") && said.contains("11 more stay"),
        "{said}"
    );
}

/// A rule with a schedule owes what its last time had before it, and nothing before daemons knew it.
#[test]
fn a_schedule_owes_what_was_due_at_its_last_time() {
    let yearly = POLICY.replace(
        "timezone = \"Asia/Tokyo\"",
        "schedule = \"0 0 3 1 1 *\"\ntimezone = \"Asia/Tokyo\"",
    );
    let company = Company::with(SCHEMA, &yearly);
    company.execute("INSERT INTO call SELECT n, 1, now() - n % 800 * interval '1 day' FROM generate_series(10001, 12000) n");
    let all = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    // No daemon has seen the schedule, so it runs nothing.
    let unknown = verdict(&company, 1);
    assert_eq!(unknown["overdue"].as_i64(), Some(all), "{unknown}");
    assert!(
        unknown["then"]
            .as_str()
            .unwrap()
            .contains("does a daemon run?"),
        "{unknown}"
    );
    let known = |since: &str| {
        let sql = format!(
            "INSERT INTO erasured.retention_schedule VALUES ('customer', 'calls', {since}) \
             ON CONFLICT (subject, rule) DO UPDATE SET known_since = excluded.known_since"
        );
        company.server.execute(&company.control, &sql);
    };
    known("now()");
    assert_eq!(verdict(&company, 0)["through"], Value::Null);
    known("now() - interval '2 years'");
    let owed = company.count(
        "SELECT count(*) FROM call c WHERE isfinite(c.ended_at) AND (c.ended_at AT TIME ZONE 'Asia/Tokyo')::date + 90 \
           < date_trunc('year', now() AT TIME ZONE 'Asia/Tokyo' - interval '3 hours')::date",
    );
    assert!(0 < owed && owed < all, "{owed} of {all}");
    assert_eq!(verdict(&company, 1)["overdue"].as_i64(), Some(owed));
}

/// Rows that could not go are left, and it says what became of the last run.
#[test]
fn what_was_set_aside_is_overdue() {
    let company = Company::open();
    company.execute(
        "CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           IF OLD.tag = 'veto' THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$; \
         CREATE TRIGGER veto BEFORE DELETE ON call FOR EACH ROW EXECUTE FUNCTION veto(); \
         UPDATE call SET tag = 'veto' WHERE id IN (2400, 2401, 2800)",
    );
    company.says(&["retention", "run", "calls"], 1);
    let left = verdict(&company, 1);
    assert_eq!(left["overdue"], 3);
    assert!(
        left["then"]
            .as_str()
            .unwrap()
            .contains("set 3 row(s) aside"),
        "{left}"
    );
}

/// One that only reports is counted, and one that cannot be looked at does not hide the others.
#[test]
fn every_rule_is_looked_at() {
    let report = POLICY.replace(
        "action   = \"delete\"\nbecause",
        "action = \"report\"\nbecause",
    );
    assert_ne!(report, POLICY);
    let company = Company::with(SCHEMA, &report);
    let due = company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"));
    let counted = verdict(&company, 0);
    assert_eq!(
        (counted["overdue"].as_i64(), counted["holds"].as_bool()),
        (Some(due), Some(true))
    );
    let misfit = POLICY[POLICY.find("[[retention]]").unwrap()..]
        .replace("\"calls\"", "\"lost\"")
        .replace("public.call\"", "public.lost\"");
    let policy = format!(
        "{misfit}\n{}",
        &report[report.find("[[retention]]").unwrap()..]
    );
    let head = &POLICY[..POLICY.find("[[retention]]").unwrap()];
    company
        .workspace
        .write_policy("customer.toml", &format!("{head}{policy}"));
    let said = company.says(&["retention", "verify"], 1);
    assert!(
        said.contains("E0202") && said.contains("calls: reports only"),
        "{said}"
    );
}

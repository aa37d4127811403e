//! A rule runs as far as a person has approved it.

use crate::company::{Company, DUE, POLICY, SCHEMA};
use crate::scheduled::Daemon;
use crate::support::wait_until;
use serde_json::Value;
use std::time::Duration;

const ASKS: &str = "approval = \"first\"\ntimezone = \"Asia/Tokyo\"";

fn policy(keys: &str) -> String {
    POLICY.replace("timezone = \"Asia/Tokyo\"", &format!("{keys}\n{ASKS}"))
}

fn due(company: &Company) -> i64 {
    company.count(&format!("SELECT count(*) FROM call c WHERE {DUE}"))
}

/// Which waits, if one does.
fn waiting(company: &Company) -> Option<Value> {
    let mut all = company.json(&["retention", "approve"]);
    let all = all.as_array_mut().unwrap();
    assert!(all.len() < 2, "{all:?}");
    all.pop()
}

/// Tries to run, which is refused by this code; what is due stays, and waits.
fn asks(company: &Company, code: &str) -> i64 {
    let before = company.rows("false");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains(code), "{said}");
    assert_eq!(company.rows("false"), before);
    waiting(company).unwrap()["due"].as_i64().unwrap()
}

fn approve(company: &Company, rows: i64) {
    company.says(
        &["retention", "approve", "calls", "--rows", &rows.to_string()],
        0,
    );
    assert_eq!(waiting(company), None);
}

/// Of the last run.
fn certificate(company: &Company) -> Value {
    let runs = company.json(&["retention", "runs"]);
    company.json(&["certificate", "show", runs[0]["id"].as_str().unwrap()])
}

fn approval(company: &Company) -> Value {
    certificate(company)["approval"].clone()
}

fn runs(company: &Company) {
    let plan = company.json(&["retention", "plan", "calls"]);
    assert!(plan[0]["waits_for"].is_null(), "{plan}");
    company.says(&["retention", "run", "calls"], 0);
    assert_eq!(waiting(company), None);
}

#[test]
fn a_rule_that_is_new_or_takes_more_waits_for_a_person() {
    let company = Company::with(SCHEMA, &policy(""));
    let before = due(&company);
    assert_eq!(asks(&company, "E0526"), before);
    let shown = company.says(&["retention", "approve", "calls"], 0);
    for part in [
        format!("due now:  {before} row(s)"),
        "kept:     90 days after ended_at".into(),
        "rows of public.note are deleted".into(),
        format!("approve calls --rows {before} approves it"),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    // Who has seen another number has seen another forecast.
    let other = (before + 1).to_string();
    let said = company.says(&["retention", "approve", "calls", "--rows", &other], 2);
    assert!(said.contains("ER006"), "{said}");
    assert_eq!(asks(&company, "E0526"), before);
    approve(&company, before);
    runs(&company);
    assert_eq!(due(&company), 0);
    let approved = approval(&company);
    assert_eq!(
        (&approved["due"], &approved["policy_sha256"]),
        (
            &before.into(),
            &certificate(&company)["run"]["policy_sha256"]
        )
    );
    let by = "SELECT by_role FROM erasured.retention_approval";
    assert_eq!(
        approved["by_role"],
        company.server.value(&company.control, by).as_str()
    );
    let event = "SELECT count(*) FROM erasured.event WHERE kind = 'retention_approved' AND (body->>'due')::bigint > 0";
    assert_eq!(company.server.count(&company.control, event), 1);

    // What takes less, or another time of day, needs nobody.
    let write = |text: &str| company.workspace.write_policy("customer.toml", text);
    write(&policy("stop_above = 5000").replace("90 days", "100 days"));
    runs(&company);
    // Which its certificate says, too: the policy is another one than the approved.
    assert_eq!(approval(&company), approved);
    assert_ne!(
        certificate(&company)["run"]["policy_sha256"],
        approved["policy_sha256"]
    );
    // The period that was mistyped, and what hangs on the rows.
    write(&policy("").replace("90 days", "60 days"));
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(plan[0]["waits_for"], "E0526", "{plan}");
    let plan = company.says(&["retention", "plan"], 0);
    assert!(
        plan.contains("(rows kept less long than was approved)"),
        "{plan}"
    );
    assert!(
        company
            .says(&["retention", "list"], 0)
            .contains("as far as approved")
    );
    // Looking asks nobody.
    assert_eq!(waiting(&company), None);
    let more = asks(&company, "E0526");
    assert!(more > 100);
    write(&policy("").replace("action = \"detach\"", "action = \"delete\""));
    company.execute("INSERT INTO call VALUES (20000, 1, now() - interval '1 year')");
    assert_eq!(asks(&company, "E0526"), 1);
    write(&policy(""));
    runs(&company);
}

/// More than was foreseen: rows that somebody has put in, all at once.
#[test]
fn a_run_over_more_than_was_foreseen_asks_again() {
    let company = Company::with(SCHEMA, &policy("stop_over_forecast = \"10%\""));
    let before = asks(&company, "E0526");
    approve(&company, before);
    let put = |rows: i64| {
        let sql = format!(
            "INSERT INTO call SELECT n, 1, now() - interval '1 year' FROM generate_series(1 + (SELECT max(id) FROM call), (SELECT max(id) FROM call) + {rows}) n"
        );
        company.execute(&sql);
    };
    put(before / 10);
    runs(&company);
    // What has gone by the forecast is not foreseen a second time.
    put(before / 2);
    let plan = company.json(&["retention", "plan", "calls"]);
    assert_eq!(plan[0]["waits_for"], "E0527", "{plan}");
    let said = company.says(&["retention", "run", "calls"], 1);
    assert!(said.contains("E0527"), "{said}");
    let more = waiting(&company).unwrap()["due"].as_i64().unwrap();
    assert_eq!(more, before / 2);
    assert_eq!(due(&company), more);
    approve(&company, more);
    runs(&company);
    assert_eq!(due(&company), 0);
    assert_eq!(approval(&company)["due"], more);
    company.workspace.write_policy("customer.toml", POLICY);
    runs(&company);
    assert_eq!(approval(&company), Value::Null);
}

/// The daemon asks once, and goes on at the next time after the answer.
#[test]
fn a_schedule_waits_for_the_approval() {
    let mut company = Company::with(SCHEMA, &policy("schedule = \"* * * * * *\""));
    company.workspace.configure("[limits]\npoll = \"200 ms\"");
    let before = due(&company);
    let daemon = Daemon::start(&company, "");
    wait_until("it to ask", Duration::from_secs(30), || {
        company.server.count(
            &company.control,
            "SELECT count(*) FROM erasured.retention_run WHERE problem_code = 'E0526'",
        ) > 0
    });
    std::thread::sleep(Duration::from_secs(4));
    let runs = "SELECT count(*) FROM erasured.retention_run";
    assert_eq!(company.server.count(&company.control, runs), 1);
    assert_eq!(due(&company), before);
    approve(&company, before);
    wait_until("it to run", Duration::from_secs(30), || due(&company) == 0);
    daemon.stop();
}

//! What goes by its age, at the demo company, under the least rights.

use crate::desk::{Desk, stderr, stdout};

/// The daemon's own rights are enough, everybody who has to know may look, and nobody but the daemon runs.
#[test]
fn a_rule_runs_under_the_daemons_own_rights() {
    let desk = Desk::open(200);
    let due = "SELECT count(*) FROM call_recording WHERE (ended_at AT TIME ZONE 'Asia/Tokyo')::date + 90 < (now() AT TIME ZONE 'Asia/Tokyo')::date";
    let before = desk.server.count(&desk.demo.shop, due);
    assert!(before > 10, "{before}");
    let plan = stdout(desk.erasured(["retention", "plan", "call-recordings"]));
    assert!(
        plan.contains(&format!("due now:  {before} row(s)")),
        "{plan}"
    );
    stdout(desk.erasured(["retention", "run", "call-recordings"]));
    assert_eq!(desk.server.count(&desk.demo.shop, due), 0);
    for person in ["hana", "kenji", "auditor"] {
        let runs = stdout(desk.as_person(person, ["retention", "runs"]));
        assert!(
            runs.contains("call-recordings") && runs.contains("done"),
            "{runs}"
        );
    }
    let certificates = stdout(desk.as_person("auditor", ["certificate", "list"]));
    assert!(certificates.contains("call-recordings"), "{certificates}");
    let verified = stdout(desk.erasured(["retention", "verify"]));
    assert!(verified.contains("call-recordings: holds"), "{verified}");
    // A person's login may not begin a run.
    let begin = "INSERT INTO erasured.retention_run (subject, rule, \"table\", basis, policy_sha256, cutoff, timezone, lease_token) \
                 VALUES ('customer', 'x', 'x', 'x', 'x', current_date, 'UTC', gen_random_uuid())";
    let url = desk.server.url_as(desk.control(), "kenji");
    let refused = crate::support::blocking(async {
        crate::support::connect(&url)
            .await
            .batch_execute(begin)
            .await
    });
    assert!(refused.is_err());
}

/// Who approves sees it with nothing but the control database; the daemon's own login, which says what would go, may not.
#[test]
fn a_rule_is_approved_by_another_than_who_runs_it() {
    let desk = Desk::open(200);
    let path = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&path).unwrap();
    let asks = policy.replace(
        "name     = \"call-recordings\"",
        "name     = \"call-recordings\"\napproval = \"first\"",
    );
    assert_ne!(asks, policy);
    std::fs::write(&path, asks).unwrap();
    let run = ["retention", "run", "call-recordings"];
    assert!(stderr(desk.erasured(run), 1).contains("E0526"));
    let approve = ["retention", "approve", "call-recordings"];
    let shown = stdout(desk.as_person("kenji", approve));
    let (_, rows) = shown.split_once("--rows ").unwrap();
    let rows = rows.split(' ').next().unwrap();
    let with_rows = [approve.as_slice(), &["--rows", rows]].concat();
    stderr(desk.erasured(with_rows.clone()), 2);
    stderr(desk.as_person("hana", with_rows.clone()), 2);
    let approved = stdout(desk.as_person("kenji", with_rows));
    assert!(approved.contains("approved"), "{approved}");
    let said = stdout(desk.erasured(run));
    assert!(said.contains(&format!("{rows} row(s) deleted")), "{said}");
}

//! What goes by its age, at the demo company, under the least rights.

use crate::desk::{Desk, stdout};

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

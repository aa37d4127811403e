//! The same request twice: by telephone, and by a form the same evening. And once more, a year later.

use crate::desk::{Desk, stdout, submit};

/// One erasure, one certificate, for both; what nobody verified keeps nobody waiting.
#[test]
fn the_same_request_twice_is_one_erasure() {
    let mut desk = Desk::open(120);
    // One worker: with several, whichever of the two is begun first is the one that runs.
    desk.workspace.configure("[limits]\nworkers = 1");
    stdout(desk.as_person("hana", submit("R-0", "member_no=TM-0000005")));
    desk.file("R-1", "member_no=TM-0000005");
    desk.file("R-2", "member_no=tm-0000005");
    desk.file("R-3", "member_no=TM-0000009");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "deferred");
    assert_eq!(desk.ticket("R-2", "state"), "completed");
    assert_eq!(desk.ticket("R-2", "duplicate_of"), "R-1");
    assert_eq!(desk.ticket("R-3", "state"), "completed");
    let certificate = desk.ticket("R-1", "certificate_id");
    assert_eq!(desk.ticket("R-2", "certificate_id"), certificate);
    let count = |database: &str, sql: &str| desk.server.value(database, sql);
    let certificates = "SELECT count(*) FROM erasured.certificate";
    assert_eq!(count(desk.control(), certificates), "2");
    let steps = "SELECT count(DISTINCT ticket_id) FROM erasured.applied_step";
    assert_eq!(count(&desk.demo.shop, steps), "2", "R-2 ran nowhere");
    let values = "SELECT count(*) FROM erasured.ticket_identifier i JOIN erasured.ticket t ON t.id = i.ticket_id
                   WHERE t.reference = 'R-2' AND (i.value IS NOT NULL OR t.sealed IS NOT NULL)";
    assert_eq!(count(desk.control(), values), "0");
    let shown = stdout(desk.as_person("hana", ["ticket", "show", "R-2"]));
    assert!(shown.contains("duplicate of R-1"), "{shown}");
    stdout(desk.erasured(["ledger", "verify"]));

    // Nobody is there any more, and the desk is told why.
    stdout(desk.as_person("hana", submit("R-9", "member_no=TM-0000005")));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-9", "problem_code"), "E0403");
    let problem = desk.ticket("R-9", "problem");
    assert!(
        problem.ends_with("who had it was erased by R-1"),
        "{problem}"
    );
}

/// The first is stopped by a hold and then rejected: who waited for it is not forgotten.
#[test]
fn what_waits_for_another_goes_on_when_that_ends_undone() {
    let desk = Desk::open(120);
    desk.file("R-1", "member_no=TM-0000005");
    desk.file("R-2", "member_no=TM-0000005");
    // As if the daemon had linked them and the first had then failed.
    desk.server.execute(
        desk.control(),
        "ALTER TABLE erasured.ticket DISABLE TRIGGER USER;
         UPDATE erasured.ticket t SET duplicate_of = o.id, state = 'scheduled', next_attempt_at = now() + interval '1 day',
                subject_hash = repeat('e', 64), due_at = now()
           FROM erasured.ticket o WHERE o.reference = 'R-1' AND t.reference = 'R-2';
         ALTER TABLE erasured.ticket ENABLE TRIGGER USER",
    );
    let waits = "next_attempt_at IS NULL";
    assert_eq!(desk.ticket("R-2", waits), "false");
    stdout(desk.as_person(
        "kenji",
        ["ticket", "reject", "R-1", "--reason", "unverified"],
    ));
    assert_eq!(desk.ticket("R-2", waits), "true");
    assert_eq!(desk.ticket("R-2", "state"), "scheduled");
}

/// Two workers that begin at the same moment with one of two each: one runs, whichever it is.
#[test]
fn two_workers_do_not_run_the_same_request_twice() {
    let desk = Desk::open(120);
    for n in 1..=6 {
        desk.file(&format!("R-{n}"), "member_no=TM-0000005");
    }
    desk.run_until_idle().assert().success();
    let count = |sql: &str| desk.server.value(desk.control(), sql);
    assert_eq!(count("SELECT count(*) FROM erasured.certificate"), "1");
    let linked = "SELECT count(*) FROM erasured.ticket WHERE duplicate_of IS NOT NULL AND state = 'completed'";
    assert_eq!(count(linked), "5");
}

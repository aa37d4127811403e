//! Copies of documents are personal data too: the desk says what it holds, and nothing closes before that
//! is destroyed.

use crate::desk::{Desk, stderr, stdout};
use crate::support::{connect, told};

const FIVE: &str = "member_no=TM-0000005";

fn document<'a>(reference: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["ticket", "document", reference, "--kind"], more].concat()
}

/// The daemon has done all that it may; who closes it is the desk.
#[test]
fn a_ticket_does_not_close_while_a_copy_is_held() {
    let desk = Desk::open(120);
    desk.ask("D-1", FIVE);
    stdout(desk.as_person("hana", document("D-1", &["driving_licence"])));
    stdout(desk.as_person("hana", document("D-1", &["power_of_attorney", "--copy"])));
    desk.approve("D-1");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("D-1", "state"), "verifying");
    let gone = "SELECT count(*) FROM customer WHERE id = 5";
    assert_eq!(desk.server.count(&desk.demo.shop, gone), 0);
    let list = stdout(desk.as_person("hana", ["ticket", "list"]));
    assert!(
        list.contains("desk: the copy of a document to be destroyed"),
        "{list}"
    );
    let show = stdout(desk.as_person("hana", ["ticket", "show", "D-1"]));
    assert!(
        show.contains("copies held  power_of_attorney") && show.contains("document seen"),
        "{show}"
    );
    // Whoever would close it all the same: nobody, not even its owner.
    let close = "UPDATE erasured.ticket SET state = 'completed' WHERE reference = 'D-1'";
    let refused = crate::support::blocking(async {
        let owner = connect(&desk.server.url(desk.control())).await;
        owner.execute(close, &[]).await.map_err(|e| told(&e))
    });
    assert!(refused.unwrap_err().contains("ER016"));

    let said = stderr(
        desk.as_person("hana", document("D-1", &["driving_licence", "--destroyed"])),
        2,
    );
    assert!(
        said.contains("ER016") && said.contains("Held: power_of_attorney"),
        "{said}"
    );
    let destroyed = document("D-1", &["power_of_attorney", "--destroyed"]);
    stdout(desk.as_person("hana", destroyed));
    desk.run_until_idle().assert().success();
    assert!(["completed", "deferred"].contains(&&*desk.ticket("D-1", "state")));
    let recorded = "SELECT string_agg(concat_ws(' ', kind, seen_by, copied, destroyed_by), '; ' ORDER BY id) FROM erasured.document";
    assert_eq!(
        desk.server.value(desk.control(), recorded),
        "driving_licence hana f; power_of_attorney hana t hana"
    );
    let late = stderr(
        desk.as_person("hana", document("D-1", &["passport", "--copy"])),
        2,
    );
    assert!(late.contains("ER002"), "{late}");
}

/// Whoever would refuse it hears at once that a copy is held.
#[test]
fn nobody_refuses_a_ticket_with_a_copy() {
    let desk = Desk::open(120);
    let reject = || {
        let reject = ["ticket", "reject", "D-1", "--reason", "unverified"];
        desk.as_person("kenji", reject)
    };
    desk.ask("D-1", FIVE);
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("hana", document("D-1", &["passport", "--copy"])));
    let said = stderr(reject(), 2);
    assert!(said.contains("ER016"), "{said}");
    assert_eq!(desk.ticket("D-1", "state"), "verified");
    stdout(desk.as_person("hana", document("D-1", &["passport", "--destroyed"])));
    stdout(reject());
    assert_eq!(desk.ticket("D-1", "state"), "rejected");
}

fn is_there(desk: &Desk) -> bool {
    let sql = "SELECT count(*) FROM customer WHERE id = 5";
    desk.server.count(&desk.demo.shop, sql) == 1
}

/// The owner's no, and the customer's, wait for no paper: the ticket runs no more, whoever would let it,
/// and closes with the last copy.
#[test]
fn a_no_stops_the_ticket_though_a_copy_is_held() {
    let desk = Desk::open(120);
    for (reference, word, reason) in [
        ("D-1", "object", "contested"),
        ("D-2", "withdraw", "withdrawn"),
    ] {
        let say = || desk.as_person("hana", ["ticket", word, reference]);
        desk.ask(reference, FIVE);
        desk.run_until_idle().assert().success();
        for kind in ["passport", "power_of_attorney"] {
            stdout(desk.as_person("hana", document(reference, &[kind, "--copy"])));
        }
        if reference == "D-1" {
            desk.approve(reference);
        }
        assert_eq!(stdout(say()), format!("{reference}: on_hold\n"));
        assert_eq!(stdout(say()), format!("{reference}: on_hold\n"), "twice");
        for (login, again) in [("kenji", "approve"), ("hana", "retry")] {
            let said = stderr(desk.as_person(login, ["ticket", again, reference]), 2);
            assert!(said.contains("ER002"), "{again}: {said}");
        }
        let go_on = |url: &str, sql: String| {
            let refused = crate::support::blocking(async {
                let client = connect(url).await;
                client.query(&sql, &[]).await.map_err(|e| told(&e))
            });
            refused.unwrap_err()
        };
        let release = format!(
            "SELECT erasured.release_ticket(id) FROM erasured.ticket_status WHERE reference = '{reference}'"
        );
        let kenji = desk.server.url_as(desk.control(), "kenji");
        assert!(go_on(&kenji, release).contains("ER016"));
        // Not even by the owner of the tables.
        let by_hand =
            format!("UPDATE erasured.ticket SET state = held_from WHERE reference = '{reference}'");
        let owner = desk.server.url(desk.control());
        assert!(go_on(&owner, by_hand).contains("ER016"));
        let list = stdout(desk.as_person("hana", ["ticket", "list"]));
        assert!(
            list.contains("desk: the copy of a document to be destroyed"),
            "{list}"
        );
        desk.run_until_idle().assert().success();
        assert!(is_there(&desk));
        let destroyed = |kind| {
            let destroyed = document(reference, &[kind, "--destroyed"]);
            stdout(desk.as_person("hana", destroyed));
        };
        destroyed("passport");
        assert_eq!(desk.ticket(reference, "state"), "on_hold");
        destroyed("power_of_attorney");
        assert_eq!(desk.ticket(reference, "state"), "rejected");
        assert_eq!(desk.ticket(reference, "rejected_for"), reason);
        assert!(is_there(&desk));
    }
}

/// A ticket that signs have stopped is not taken up again after the owner's no.
#[test]
fn a_no_counts_for_a_ticket_that_has_failed() {
    let desk = Desk::open(120);
    desk.file("D-1", FIVE);
    let changed = "UPDATE customer SET email_changed_at = now() WHERE id = 5";
    desk.server.execute(&desk.demo.shop, changed);
    desk.run_until_idle().assert().code(1);
    stdout(desk.as_person("hana", document("D-1", &["passport", "--copy"])));
    let object = stdout(desk.as_person("hana", ["ticket", "object", "D-1"]));
    assert_eq!(object, "D-1: failed\n");
    let verify = ["ticket", "verify", "D-1", "--method", "jpki"];
    stdout(desk.as_person("hana", verify));
    desk.approve("D-1");
    let said = stderr(desk.as_person("hana", ["ticket", "retry", "D-1"]), 2);
    assert!(
        said.contains("ER016") && said.contains("contested"),
        "{said}"
    );
    stdout(desk.as_person("hana", document("D-1", &["passport", "--destroyed"])));
    assert_eq!(desk.ticket("D-1", "rejected_for"), "contested");
    assert!(is_there(&desk));
}

/// The second of two for one person does not close with the first.
#[test]
fn a_duplicate_with_a_copy_waits_by_itself() {
    let mut desk = Desk::open(120);
    // With several, whichever is begun first is the one that runs.
    desk.workspace.configure("[limits]\nworkers = 1");
    desk.file("D-1", FIVE);
    desk.file("D-2", FIVE);
    let second = desk.server.value(
        desk.control(),
        "SELECT reference FROM erasured.ticket ORDER BY requested_at DESC, id DESC LIMIT 1",
    );
    stdout(desk.as_person("hana", document(&second, &["passport", "--copy"])));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket(&second, "state"), "verifying");
    stdout(desk.as_person("hana", document(&second, &["passport", "--destroyed"])));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket(&second, "state"), "completed");
}

/// What the law forbids to take is not recorded as seen either, and the reason is told.
#[test]
fn what_nobody_may_take_is_not_seen() {
    let desk = Desk::open(120);
    desk.ask("D-1", FIVE);
    for kind in [
        "my_number",
        "my-number",
        "insurance_symbol",
        "pension_number",
    ] {
        let said = stderr(
            desk.as_person("hana", document("D-1", &[kind, "--copy"])),
            2,
        );
        assert!(said.contains("ER013") && said.contains("Act"), "{said}");
    }
    let said = stderr(
        desk.as_person("hana", document("D-1", &["Licence of Mr Sato"])),
        2,
    );
    assert!(said.contains("ER006"), "{said}");
    let seen = "SELECT count(*) FROM erasured.document";
    assert_eq!(desk.server.count(desk.control(), seen), 0);

    for login in ["kenji", "auditor", "erasured_demo"] {
        let url = desk.server.url_as(desk.control(), login);
        for call in [
            "see_document(id, 'passport')",
            "destroy_document(id, 'passport')",
        ] {
            let sql = format!("SELECT erasured.{call} FROM erasured.ticket_status");
            let refused = crate::support::blocking(async {
                let client = connect(&url).await;
                client.query(&sql, &[]).await.map_err(|e| told(&e))
            });
            assert!(refused.unwrap_err().contains("42501"), "{login} {call}");
        }
    }
}

/// Nobody alters what is on record.
#[test]
fn what_was_seen_stays_on_record() {
    let desk = Desk::open(120);
    desk.ask("D-1", FIVE);
    stdout(desk.as_person("hana", document("D-1", &["passport", "--copy"])));
    stdout(desk.as_person("hana", document("D-1", &["passport", "--destroyed"])));
    for sql in [
        "UPDATE erasured.document SET kind = 'licence'",
        "UPDATE erasured.document SET destroyed_by = 'mika'",
        "UPDATE erasured.document SET copied = false, destroyed_at = NULL, destroyed_by = NULL, destroyed_role = NULL",
        "DELETE FROM erasured.document",
    ] {
        let refused = crate::support::blocking(async {
            let owner = connect(&desk.server.url(desk.control())).await;
            owner.execute(sql, &[]).await.map_err(|e| told(&e))
        });
        assert!(refused.unwrap_err().contains("ER009"), "{sql}");
    }
}

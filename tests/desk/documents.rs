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

/// Where a person would close it, they hear at once.
#[test]
fn nobody_closes_a_ticket_with_a_copy() {
    let desk = Desk::open(120);
    for (reference, login, close) in [
        (
            "D-1",
            "kenji",
            vec!["ticket", "reject", "D-1", "--reason", "unverified"],
        ),
        ("D-2", "hana", vec!["ticket", "withdraw", "D-2"]),
        ("D-3", "hana", vec!["ticket", "object", "D-3"]),
    ] {
        desk.ask(reference, FIVE);
        desk.run_until_idle().assert().success();
        stdout(desk.as_person("hana", document(reference, &["passport", "--copy"])));
        let said = stderr(desk.as_person(login, close.clone()), 2);
        assert!(said.contains("ER016"), "{said}");
        assert_eq!(desk.ticket(reference, "state"), "verified");
        stdout(desk.as_person("hana", document(reference, &["passport", "--destroyed"])));
        stdout(desk.as_person(login, close));
        assert_eq!(desk.ticket(reference, "state"), "rejected");
    }
}

/// The second of two for one person does not close with the first.
#[test]
fn a_duplicate_with_a_copy_waits_by_itself() {
    let desk = Desk::open(120);
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

//! "Keep everything you have of her": a court's word, over an erasure that was approved.

use crate::desk::{Desk, stderr, stdout};

fn place<'a>(matter: &'a str, member: &'a str) -> [&'a str; 10] {
    [
        "hold",
        "place",
        "--matter",
        matter,
        "--reason",
        "court-order",
        "--subject",
        "customer",
        "--identifier",
        member,
    ]
}

/// The whole of it under the least rights: two matters over one person, of which the last decides.
#[test]
fn a_hold_stops_an_approved_ticket_and_its_release_lets_it_go_on() {
    let desk = Desk::open(120);
    desk.file("R-1", "member_no=TM-0000005");
    desk.file("R-2", "member_no=TM-0000009");
    let said = stderr(
        desk.as_person("hana", place("case-1", "member_no=TM-0000005")),
        2,
    );
    assert!(
        said.contains("42501"),
        "the desk does not place holds: {said}"
    );
    let prose = place("Case against Ms Sato", "member_no=TM-0000005");
    let said = stderr(desk.as_person("kenji", prose), 2);
    assert!(said.contains("ER006"), "{said}");
    let named = place("tm-0000005", "member_no=TM-0000005");
    let said = stderr(desk.as_person("kenji", named), 2);
    assert!(
        said.contains("ER006") && said.contains("member_no"),
        "{said}"
    );

    let in_sql = |login: &str, sql: &str| {
        let url = desk.server.url_as(desk.control(), login);
        crate::support::blocking(async {
            let client = crate::support::connect(&url).await;
            client.batch_execute(sql).await.unwrap();
        });
    };
    for matter in ["case-1", "audit-1"] {
        in_sql(
            "kenji",
            &format!(
                "SELECT erasured.place_hold('{matter}', 'court-order', 'customer', '{{\"member_no\": \"TM-0000005\"}}')"
            ),
        );
    }
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "on_hold");
    assert_eq!(desk.ticket("R-1", "problem_code"), "E0521");
    assert_eq!(
        desk.ticket("R-2", "state"),
        "completed",
        "what is not covered goes on"
    );
    let list = stdout(desk.as_person("hana", ["hold", "list"]));
    for matter in ["case-1", "audit-1"] {
        let line = list.lines().find(|l| l.starts_with(matter)).unwrap();
        assert!(line.contains("1 person") && line.contains("R-1"), "{line}");
        assert!(line.contains("kenji"), "who: {line}");
    }
    let shown = stdout(desk.as_person("hana", ["ticket", "show", "R-1"]));
    assert!(
        shown.contains("a legal hold keeps it: audit-1, case-1"),
        "{shown}"
    );

    stdout(desk.as_person("kenji", ["hold", "release", "case-1"]));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "on_hold", "the other stands");
    // Somebody stops it too: then the holds' end alone does not let it go on.
    let id = desk.ticket("R-1", "id");
    in_sql(
        "kenji",
        &format!("SELECT erasured.hold_ticket('{id}', 'dispute')"),
    );
    stdout(desk.as_person("kenji", ["hold", "release", "audit-1"]));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "on_hold");
    in_sql("kenji", &format!("SELECT erasured.release_ticket('{id}')"));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "deferred");

    let list = stdout(desk.as_person("auditor", ["hold", "list", "--all", "--format", "json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list[0]["released_by"] == "kenji" && list[0]["in_force"] == false);
}

/// A daemon at work says at once whom the hold covers, and says so when that is nobody.
#[test]
fn who_is_covered_is_said_when_a_hold_is_placed() {
    let desk = Desk::open(120);
    let mut daemon = desk
        .workspace
        .process(["run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let said = stdout(desk.as_person("kenji", place("case-1", "member_no=tm-0000005")));
    assert!(said.contains("it covers 1 person"), "{said}");
    let said = stderr(
        desk.as_person("kenji", place("case-2", "member_no=TM-9999999")),
        1,
    );
    assert!(said.contains("E0520"), "{said}");
    let rows = |condition| {
        let first = [
            "hold",
            "place",
            "--matter",
            "audit",
            "--reason",
            "audit",
            "--rows-of",
        ];
        [&first[..], &["shop.public.invoice", "--where", condition]].concat()
    };
    let of_quarter = rows("issued_on between 2026-01-01,2026-03-31");
    let said = stdout(desk.as_person("kenji", of_quarter));
    assert!(
        said.contains("it covers rows of shop.public.invoice by issued_on between"),
        "{said}"
    );
    let said = stderr(desk.as_person("kenji", rows("issued_on >= soon")), 1);
    assert!(said.contains("E0522") && !said.contains("soon"), "{said}");
    let values = "SELECT count(*) FROM erasured.hold_identifier WHERE value IS NOT NULL";
    assert_eq!(desk.server.value(desk.control(), values), "0");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

//! "Then keep the points, and delete the rest." A part is refused on a ground, and the rest goes on.

use crate::desk::{Desk, stderr, stdout, submit};

fn refuse<'a>(reference: &'a str, part: &'a str, reason: &'a str) -> [&'a str; 7] {
    [
        "ticket",
        "refuse-part",
        reference,
        "--part",
        part,
        "--reason",
        reason,
    ]
}

const POINTS: &str = "loyalty.public.point_ledger";

struct Rows {
    points: i64,
    customer: i64,
    members: i64,
    recordings: i64,
    bookings: i64,
}

fn rows(desk: &Desk) -> Rows {
    let count = |database: &str, sql: &str| desk.server.count(database, sql);
    let of = "(SELECT id FROM customer WHERE member_no = 'TM-0000005')";
    Rows {
        points: count(
            &desk.demo.loyalty,
            "SELECT count(*) FROM point_ledger p JOIN member m ON m.id = p.member_id WHERE m.member_no = 'TM-0000005'",
        ),
        members: count(
            &desk.demo.loyalty,
            "SELECT count(*) FROM member WHERE member_no = 'TM-0000005'",
        ),
        customer: count(
            &desk.demo.shop,
            "SELECT count(*) FROM customer WHERE member_no = 'TM-0000005'",
        ),
        recordings: count(
            &desk.demo.shop,
            &format!("SELECT count(*) FROM call_recording WHERE customer_id = {of}"),
        ),
        bookings: count(
            &desk.demo.shop,
            &format!("SELECT count(*) FROM booking WHERE customer_id = {of}"),
        ),
    }
}

#[test]
fn a_refused_part_stays_and_the_rest_goes() {
    let desk = Desk::open(120);
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(file).unwrap();
    let rule = "name   = \"loyalty.public.point_ledger\"";
    let words = "keeps  = { ja = \"ポイント\", en = \"Your points\" }";
    let policy = policy.replace(rule, &format!("{rule}\n{words}"));
    desk.workspace.write_policy("customer.toml", &policy);
    desk.run_until_idle().assert().success();
    stdout(desk.as_person("hana", submit("R-1", "member_no=TM-0000005")));
    let early = stderr(
        desk.as_person("kenji", refuse("R-1", POINTS, "contract")),
        2,
    );
    assert!(
        early.contains("ER002") && early.contains("verify_ticket"),
        "{early}"
    );
    stdout(desk.as_person(
        "hana",
        ["ticket", "verify", "R-1", "--method", "login_reauth"],
    ));

    // The desk does not decide; nor is a part or a ground whatever somebody types.
    let said = stderr(desk.as_person("hana", refuse("R-1", POINTS, "contract")), 2);
    assert!(said.contains("42501"), "{said}");
    let said = stderr(
        desk.as_person("kenji", refuse("R-1", "Ms Sato's points", "contract")),
        2,
    );
    assert!(
        said.contains("ER006") && said.contains("shop.public.payment.card_last4"),
        "{said}"
    );
    assert!(!said.contains("Sato"), "{said}");
    let said = stderr(desk.as_person("kenji", refuse("R-1", POINTS, "because")), 2);
    assert!(
        said.contains("ER006") && said.contains("contract"),
        "{said}"
    );

    stdout(desk.as_person("kenji", refuse("R-1", POINTS, "contract")));
    stdout(desk.as_person("kenji", ["ticket", "approve", "R-1"]));
    let told = stdout(desk.as_person(
        "hana",
        [
            "ticket", "notice", "R-1", "--kind", "refusal", "--lang", "en",
        ],
    ));
    assert!(
        told.contains("The rest goes on") && told.contains("Your points: "),
        "{told}"
    );
    let before = rows(&desk);
    assert!(before.points > 0 && before.recordings + before.bookings > 0);
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "deferred");
    let after = rows(&desk);
    assert_eq!(
        (after.points, after.members, after.customer),
        (before.points, 1, 1),
        "what was refused, and on what it hangs"
    );
    assert_eq!((after.recordings, after.bookings), (0, 0));

    let certificate = stdout(desk.erasured(["certificate", "show", "R-1", "--format", "json"]));
    let certificate: serde_json::Value = serde_json::from_str(&certificate).unwrap();
    let refused = &certificate["ticket"]["refused"];
    assert_eq!(refused.as_array().unwrap().len(), 1);
    assert_eq!(
        (&refused[0]["part"], &refused[0]["ground"]),
        (&POINTS.into(), &"contract".into())
    );
    let covered = certificate["ticket"]["covers"]["tables"].to_string();
    assert!(
        covered.contains("shop.public.booking") && !covered.contains("point_ledger"),
        "{covered}"
    );
    for lang in ["ja", "en"] {
        let why = refused[0][lang].as_str().unwrap();
        let shown = stdout(desk.erasured(["certificate", "show", "R-1", "--lang", lang]));
        assert!(shown.contains(why), "{lang}: {shown}");
        let told = stdout(desk.as_person(
            "hana",
            [
                "ticket",
                "notice",
                "R-1",
                "--kind",
                "completion",
                "--lang",
                lang,
            ],
        ));
        assert!(told.contains(why), "{lang}: {told}");
    }
    let late = stderr(
        desk.as_person("kenji", refuse("R-1", "shop.public.passport", "contract")),
        2,
    );
    assert!(late.contains("ER002"), "{late}");

    // The same request once more, with nothing refused, is another one.
    desk.file("R-2", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    let after = rows(&desk);
    assert_eq!((after.points, after.members, after.customer), (0, 0, 0));
    desk.run_until_idle().assert().success();
}

/// A column alone: the row loses the others. And beside the person's own row nothing is left to do.
#[test]
fn a_column_may_be_refused_and_not_everything() {
    let desk = Desk::open(120);
    let payments = "SELECT count(*) FROM payment p JOIN booking b ON b.id = p.booking_id JOIN customer c ON c.id = b.customer_id
                     WHERE c.member_no = 'TM-0000005' AND p.card_last4 IS NOT NULL";
    let cards = desk.server.count(&desk.demo.shop, payments);
    let all = "SELECT count(*) FROM payment WHERE card_last4 IS NOT NULL";
    let with_card = desk.server.count(&desk.demo.shop, all);
    assert!(cards > 0, "the customer has paid by card");
    let payers = "SELECT count(*) FROM payment WHERE payer_name IS NULL AND card_last4 IS NOT NULL";
    let nameless = desk.server.count(&desk.demo.shop, payers);
    desk.file("R-1", "member_no=TM-0000005");
    stdout(desk.as_person(
        "kenji",
        refuse("R-1", "shop.public.payment.card_last4", "gdpr-17-3-e"),
    ));
    desk.file("R-2", "member_no=TM-0000009");
    stdout(desk.as_person(
        "kenji",
        refuse("R-2", "shop.public.customer", "gdpr-17-3-e"),
    ));
    desk.run_until_idle().assert().code(1);
    assert!(["completed", "deferred"].contains(&&*desk.ticket("R-1", "state")));
    assert_eq!(desk.server.count(&desk.demo.shop, all), with_card);
    assert_eq!(desk.server.count(&desk.demo.shop, payers), nameless + cards);
    assert_eq!(rows(&desk).customer, 0);
    assert_eq!(desk.ticket("R-2", "problem_code"), "E0410");
}

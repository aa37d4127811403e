//! The rest of a ticket goes on beside a hold on rows, and when that is released the ticket does what was
//! left, under one certificate that counts everything once.

use super::holds::{Company, IN_TWO, LONG, POLICY, beside, ends, start};
use crate::support::wait_until;
use erasured::certificate::Certificate;

const NOTES: &str = "SELECT erasured.place_row_hold('case-1', 'court-order', 's.public.note', \
     '[{\"column\": \"body\", \"op\": \"=\", \"values\": [\"case\"]}]')";

/// Two systems, and a note of the first person's that a hold covers.
fn disputed() -> Company {
    let company = Company::with(&format!("{POLICY}{IN_TWO}"));
    let case = "UPDATE note SET body = 'case' WHERE id = 4";
    company.server.execute(&company.shop, case);
    company
}

/// What a certificate says of all systems, sorted: table, what happened, rows.
fn counts(company: &Company, n: i32) -> Vec<String> {
    let certificate: Certificate = serde_json::from_str(&company.certificate(n)).unwrap();
    let mut said = Vec::new();
    for system in &certificate.systems {
        for table in &system.tables {
            let kept: u64 = table.kept.iter().map(|k| k.rows).sum();
            said.push(format!(
                "{} -{} ~{} /{} ={kept}",
                table.table, table.deleted, table.anonymized, table.detached
            ));
        }
    }
    said.sort();
    said
}

const WHOLE: [&str; 5] = [
    "public.booking -0 ~1 /0 =0",
    "public.customer -1 ~0 /0 =0",
    "public.invoice -0 ~0 /0 =1",
    "public.note -2 ~0 /0 =0",
    "public.points -1 ~0 /0 =0",
];

/// From the hold's release to the end: everything is gone, and counted once.
fn is_released(company: &Company) {
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    assert_eq!(company.status(1), "deferred");
    assert_eq!(company.rows(1), "(1,1,) / (1,,2026-01-01) / 0");
    assert_eq!(counts(company, 1), WHOLE);
    let put_off = "SELECT count(*) || ' ' || sum(rows) FROM erasured.deferral d JOIN erasured.ticket t ON t.id = d.ticket_id WHERE t.reference = 'CRM-1'";
    assert_eq!(company.control(put_off), "1 1");
}

#[test]
fn lesson_05_the_rest_of_a_ticket_goes_on_beside_held_rows() {
    let company = disputed();
    company.file(&[1, 2]);
    let kept = company.kept(1);
    let daemon = company.halfway();
    company.control(NOTES);
    company.is_read();
    company.goes_on(daemon);
    assert_eq!(company.kept(1), kept, "who has a held note, and all notes");
    assert_eq!(company.others(1), "(1,1,) / (1,,2026-01-01) / 0");
    let told = beside("s.public.customer, s.public.note");
    assert_eq!(company.status(1), told);
    assert_eq!(company.status(2), "deferred");
    let waiting = "SELECT array_to_string(tickets, ',') || ' ' || array_to_string(left_whole, ',') FROM erasured.hold_status";
    assert_eq!(
        company.control(waiting),
        "CRM-1 s.public.customer,s.public.note"
    );
    // Nobody's word but the hold's end, and nothing again meanwhile.
    company.run();
    assert_eq!((company.kept(1), company.status(1)), (kept, told));
    assert_eq!(company.told("legal_hold"), "1");
    let rejects = "SELECT set_config('erasured.actor', 'lead', false), erasured.withdraw_ticket(id) FROM erasured.ticket WHERE state = 'on_hold'";
    let refused = company.try_control(rejects);
    assert_eq!(refused.unwrap_err().code().unwrap().code(), "ER002");
    is_released(&company);
}

/// What is held in another system keeps the person, who is in the root's, and nothing else there.
#[test]
fn lesson_05_the_rest_goes_on_in_every_system() {
    let company = disputed();
    company.file(&[1]);
    company.control("SELECT erasured.place_row_hold('case-1', 'audit', 't.public.points')");
    company.run();
    assert_eq!(
        company.status(1),
        beside("s.public.customer, t.public.points")
    );
    assert_eq!(
        company.rows(1),
        "(1,TM-0001,c1@example.jp) / (1,1,) / (1,,2026-01-01) / 1"
    );
    // The application goes on, too.
    company.server.execute(
        &company.shop,
        "INSERT INTO booking VALUES (9, 1, 'call back'); INSERT INTO note VALUES (16, 1, 'new')",
    );
    company.control("SELECT erasured.release_matter('case-1')");
    // It waits for its turn, and no agent promises what `withdraw_ticket` refuses.
    assert_eq!(company.status(1), "scheduled");
    let script = ["ticket", "script", "CRM-1", "--lang", "en"];
    let said = company.workspace().erasured(script).assert().success();
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    assert!(said.contains("It can no longer be withdrawn"), "{said}");
    company.run();
    assert_eq!(company.status(1), "deferred");
    let mut now = WHOLE.map(str::to_owned);
    now[0] = "public.booking -0 ~2 /0 =0".into();
    now[3] = "public.note -3 ~0 /0 =0".into();
    assert_eq!(counts(&company, 1), now);
}

/// A daemon dies in every gap between the rest's step and the ticket's coming to be on hold; another
/// ends what it began.
#[test]
fn lesson_05_the_rest_is_done_once_wherever_the_daemon_dies() {
    for (gap, held) in [
        ("before-the-rest", "note"),
        ("before-commit", "note"),
        ("after-commit", "note"),
        ("before-step-done", "note"),
        ("after-step-done", "note"),
        ("after-the-rest", "note"),
        ("before-commit", "points"),
        ("after-commit", "points"),
        ("after-the-rest", "points"),
    ] {
        let company = disputed();
        company.file(&[1]);
        if held == "note" {
            company.control(NOTES);
        } else {
            company.control("SELECT erasured.place_row_hold('case-1', 'audit', 't.public.points')");
        }
        // Of the notes' the points are the first step, of the points' the rest is.
        let step = if held == "note" && gap != "before-the-rest" && gap != "after-the-rest" {
            "1*off->"
        } else {
            ""
        };
        let how = if gap.ends_with("commit") {
            "return(abort)"
        } else {
            "return"
        };
        let mut daemon = company.start(&format!("{gap}={step}1*{how}"));
        let died = !daemon.wait().unwrap().success();
        assert!(died, "{gap} {held}");
        company.is_thought_dead();
        company.run();
        let told = if held == "note" {
            beside("s.public.customer, s.public.note")
        } else {
            beside("s.public.customer, t.public.points")
        };
        assert_eq!(company.status(1), told, "{gap} {held}");
        assert!(company.kept(1).starts_with("(1,TM-0001"), "{gap} {held}");
        assert!(
            company.others(1).starts_with("(1,1,) / (1,,"),
            "{gap} {held}"
        );
        is_released(&company);
    }
}

/// Another hold comes while the rest is under way: that table waits too.
#[test]
fn lesson_05_the_rest_gives_way_to_a_further_hold() {
    let company = disputed();
    company.file(&[1]);
    company.control(NOTES);
    let daemon = company.start("before-the-rest=1*sleep(3000)");
    let begun = "SELECT count(*)::text FROM erasured.ticket WHERE state = 'executing'";
    wait_until("the rest to come", LONG, || company.control(begun) == "1");
    company.control("SELECT erasured.place_row_hold('case-1', 'audit', 's.public.invoice')");
    ends(daemon);
    assert_eq!(
        company.status(1),
        beside("s.public.customer, s.public.invoice, s.public.note")
    );
    assert!(company.others(1).starts_with("(1,1,) / (1,1,2026-01-01)"));
    let hold = "SELECT erasured.release_hold(id) FROM erasured.hold WHERE table_name = 'note'";
    company.control(hold);
    company.run();
    assert!(
        company.status(1).starts_with("on_hold E0521"),
        "the other holds it still"
    );
    is_released(&company);
}

/// A trigger of the application's writes to a held row when another row goes: that one waits too. And
/// where everything hangs together, all of it waits.
#[test]
fn lesson_05_the_rest_leaves_alone_what_would_change_a_held_row() {
    let company = disputed();
    company.server.execute(
        &company.shop,
        "ALTER TABLE customer ADD COLUMN invoices int DEFAULT 1;
         CREATE FUNCTION less() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           UPDATE customer SET invoices = invoices - 1 WHERE id = OLD.customer_id; RETURN NULL; END $$;
         CREATE TRIGGER less AFTER UPDATE OR DELETE ON invoice FOR EACH ROW EXECUTE FUNCTION less()",
    );
    company.file(&[1]);
    company.control(NOTES);
    company.run();
    assert_eq!(
        company.status(1),
        beside("s.public.customer, s.public.invoice, s.public.note")
    );
    assert_eq!(
        company.rows(1),
        "(1,TM-0001,c1@example.jp,1) / (1,1,) / (1,1,2026-01-01) / (4,1,case) (8,1,x) / 0"
    );

    company.file(&[2]);
    let before = company.rows(2);
    company.control("SELECT erasured.place_row_hold('case-2', 'audit', 's.public.customer')");
    company.run();
    assert_eq!(company.rows(2), before.replace(" / 1", " / 0"));
    assert_eq!(
        company.status(2),
        "on_hold E0521 a legal hold keeps it: case-2"
    );

    // What was done whole before the hold was met is done again: the application has gone on.
    company.server.execute(
        &company.points,
        "INSERT INTO points VALUES (12, 'TM-0002', 9)",
    );
    company.control("SELECT erasured.release_matter('case-2')");
    company.run();
    assert_eq!(company.status(2), "deferred");
    let points = "SELECT count(*) FROM points WHERE member_no = 'TM-0002'";
    assert_eq!(company.server.count(&company.points, points), 0);
    let counted = counts(&company, 2);
    let points = "public.points -2 ~0 /0 =0".to_owned();
    assert!(counted.contains(&points), "{counted:?}");
}

/// A rule for another scope alone is not there for the rest either: its table is none that the scope covers.
#[test]
fn lesson_05_the_rest_goes_on_where_a_table_is_another_scopes() {
    let elsewhere = format!("{}scopes = [\"points\"]\n", IN_TWO.trim_start());
    let company = Company::with(&format!(
        "{POLICY}\n{elsewhere}
[scope.points]
tables = [\"t.public.points\"]
verify = {{ at_least = \"basic\" }}
sla    = \"jp-appi\"
"
    ));
    let case = "UPDATE note SET body = 'case' WHERE id = 4";
    company.server.execute(&company.shop, case);
    company.file(&[1]);
    company.control(NOTES);
    company.run();
    assert_eq!(company.others(1), "(1,1,) / (1,,2026-01-01) / 1");
    assert_eq!(
        company.status(1),
        beside("s.public.customer, s.public.note")
    );
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    assert_eq!(company.status(1), "deferred");
}

/// Whichever of two daemons does which part, and whenever the holds come.
#[test]
fn lesson_05_the_rest_goes_on_under_two_daemons() {
    const PEOPLE: i32 = 16;
    let company = Company::with(&format!("{POLICY}{IN_TWO}"));
    company.server.execute(
        &company.shop,
        &format!(
            "INSERT INTO customer SELECT n, 'TM-000' || n, 'c' || n || '@example.jp' FROM generate_series(5, {PEOPLE}) n;
             INSERT INTO booking SELECT n, n, 'call' FROM generate_series(5, {PEOPLE}) n;
             DELETE FROM note; INSERT INTO note SELECT n, n, CASE WHEN n % 2 = 0 THEN 'case' END FROM generate_series(1, {PEOPLE}) n"
        ),
    );
    company.server.execute(
        &company.shop,
        "UPDATE note SET body = 'x' WHERE body IS NULL",
    );
    company.file(&(1..=PEOPLE).collect::<Vec<_>>());
    company.batches_of(3);
    let other = company.on_another_host(&format!("{POLICY}{IN_TWO}"), "batch = 3");
    let daemons = [
        company.start("before-change=sleep(150)"),
        start(&other, "before-commit=sleep(150)"),
    ];
    let some = "SELECT count(*)::text FROM erasured.step WHERE state = 'done'";
    wait_until("a first step", LONG, || company.control(some) != "0");
    company.control(NOTES);
    let held = company.server.value(
        &company.shop,
        "SELECT string_agg(c::text || n::text, ' ' ORDER BY c.id) FROM note n JOIN customer c ON c.id = n.customer_id WHERE n.body = 'case'",
    );
    daemons.into_iter().for_each(ends);
    let now = company.server.value(
        &company.shop,
        "SELECT coalesce(string_agg(c::text || n::text, ' ' ORDER BY c.id), '') FROM note n JOIN customer c ON c.id = n.customer_id WHERE n.body = 'case'",
    );
    assert_eq!(now, held);
    let masked = "SELECT count(*) FROM booking WHERE contact IS NOT NULL";
    assert_eq!(company.server.count(&company.shop, masked), 0);
    assert_ne!(held, "", "the hold came in time for some");
    company.control("SELECT erasured.release_matter('case-1')");
    company.run();
    let left = "SELECT (SELECT count(*) FROM customer) + (SELECT count(*) FROM note)";
    assert_eq!(company.server.count(&company.shop, left), 0);
    for n in 1..=PEOPLE {
        let booking = counts(&company, n).remove(0);
        assert_eq!(booking, "public.booking -0 ~1 /0 =0", "person {n}");
    }
}

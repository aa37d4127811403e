//! Who a ticket means, when values change hands or are shared.

use crate::desk::{Desk, stdout};

fn shop(desk: &Desk, sql: &str) {
    desk.server.execute(&desk.demo.shop, sql);
}

/// Rows of one member at the loyalty vendor, by member number.
fn points(desk: &Desk, member_no: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM member m LEFT JOIN point_ledger p ON p.member_id = m.id WHERE m.member_no = '{member_no}'"
    );
    desk.server.count(&desk.demo.loyalty, &sql)
}

/// Numbers were issued anew while the ticket waited: nobody's rows go, in neither database, and
/// the desk may still reject it.
#[test]
fn a_number_that_was_given_to_somebody_else_erases_nobody() {
    let desk = Desk::open(120);
    desk.ask("I-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    for database in [&desk.demo.shop, &desk.demo.loyalty] {
        let table = if *database == desk.demo.shop {
            "customer"
        } else {
            "member"
        };
        let give = |from: &str, to: &str| {
            desk.server.execute(
                database,
                &format!("UPDATE {table} SET member_no = '{to}' WHERE member_no = '{from}'"),
            );
        };
        give("TM-0000005", "TM-9000005");
        give("TM-0000009", "TM-0000005");
    }
    let before = (points(&desk, "TM-0000005"), points(&desk, "TM-9000005"));
    desk.approve("I-1");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("I-1", "problem_code"), "E0506");
    assert_eq!(
        (points(&desk, "TM-0000005"), points(&desk, "TM-9000005")),
        before
    );
    assert_eq!(
        desk.server
            .count(&desk.demo.shop, "SELECT count(*) FROM customer"),
        120
    );
    stdout(desk.as_person(
        "kenji",
        ["ticket", "reject", "I-1", "--reason", "wrong-person"],
    ));
}

/// The key changed and the person is still there: that is not "already gone".
#[test]
fn a_person_under_another_key_is_not_gone() {
    let desk = Desk::open(120);
    // Somebody without bookings, so that the key can be changed.
    shop(&desk, "INSERT INTO customer (id, member_no, family_name, given_name, family_kana, given_kana, family_romaji, given_romaji, email, phone, birth_date, created_at)
                 VALUES (7001, 'TM-0007001', '山', '川', 'ヤマ', 'カワ', 'Yama', 'Kawa', 'yk7001@example.jp', '03-7001-7001', '1990-01-01', now())");
    desk.ask("I-2", "member_no=TM-0007001");
    desk.run_until_idle().assert().success();
    shop(&desk, "UPDATE customer SET id = 7002 WHERE id = 7001");
    desk.approve("I-2");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("I-2", "problem_code"), "E0506");
    assert_eq!(
        desk.server.count(
            &desk.demo.shop,
            "SELECT count(*) FROM customer WHERE id = 7002"
        ),
        1
    );
}

/// A household's telephone: its other member's row is no residual, and the certificate does not
/// claim that the number was searched for.
#[test]
fn what_a_family_shares_is_not_searched_for() {
    let desk = Desk::open(120);
    shop(
        &desk,
        "UPDATE customer SET phone = '03-5555-0101' WHERE id IN (5, 9)",
    );
    desk.file("I-3", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-3", "state"), "deferred");
    let show = ["certificate", "show", "I-3", "--format", "json"];
    let certificate: serde_json::Value =
        serde_json::from_str(&stdout(desk.erasured(show))).unwrap();
    for sweep in certificate["sweep"].as_array().unwrap() {
        assert_eq!(
            sweep["identifiers"],
            serde_json::json!(["email", "member_no"])
        );
    }
    let left = "SELECT count(*) FROM customer WHERE id = 9 AND phone = '03-5555-0101'";
    assert_eq!(desk.server.count(&desk.demo.shop, left), 1);
}

/// Rows that only a shared value links could be either's: nothing runs.
#[test]
fn what_only_a_shared_value_links_is_nobodys_to_erase() {
    let desk = Desk::open(120);
    shop(
        &desk,
        "DROP INDEX customer_email_folded; UPDATE customer SET email = 'family@example.jp' WHERE id IN (5, 9)",
    );
    desk.server.execute(&desk.demo.loyalty, "INSERT INTO partner_optin (partner, email, opted_in_at) VALUES ('hotel', 'family@example.jp', now())");
    desk.file("I-4", "member_no=TM-0000005");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("I-4", "problem_code"), "E0407");
    assert_eq!(
        desk.server
            .count(&desk.demo.shop, "SELECT count(*) FROM customer"),
        120
    );
    let left = "SELECT count(*) FROM partner_optin WHERE email = 'family@example.jp'";
    assert_eq!(desk.server.count(&desk.demo.loyalty, left), 1);
}

/// Something is left in a table that refers to the person's row, which is gone by then: mended
/// policy, retry, done.
#[test]
fn a_link_leads_on_from_a_person_who_is_gone() {
    let desk = Desk::open(120);
    shop(&desk, "CREATE TABLE memo (id int PRIMARY KEY, owner bigint, body text);
                 INSERT INTO memo SELECT id, id, 'mail to ' || email FROM customer WHERE id IN (5, 9);
                 GRANT DELETE, UPDATE (id) ON memo TO erasured_daemon");
    desk.file("I-5", "member_no=TM-0000005");
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("I-5", "problem_code"), "E0510");
    let rule = "\n[[table]]\nname = \"shop.public.memo\"\nlink = { columns = [\"owner\"], to = \"shop.public.customer\" }\naction = \"delete\"\n";
    let file = desk.workspace.path().join("policies/customer.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy + rule).unwrap();
    stdout(desk.as_person("hana", ["ticket", "retry", "I-5"]));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-5", "state"), "deferred");
    assert_eq!(
        desk.server.value(
            &desk.demo.shop,
            "SELECT string_agg(id::text, ' ') FROM memo"
        ),
        "9"
    );
}

/// A table is renamed and another put in its place while an earlier one is read: both are read.
#[test]
fn a_table_exchanged_during_the_sweep_is_read_too() {
    let mut desk = Desk::open(120);
    shop(
        &desk,
        "CREATE SCHEMA aaa; CREATE TABLE aaa.big AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 8000) n;
         CREATE TABLE zzz_note (id int, body text);
         INSERT INTO zzz_note SELECT id, email FROM customer WHERE id = 5",
    );
    // Some four seconds for the big one.
    desk.workspace
        .configure("[limits]\nsweep_bytes_per_second = 1000000");
    desk.file("I-6", "member_no=TM-0000005");
    let mut run = std::process::Command::new(crate::support::erasured().get_program());
    run.args(["run", "--until-idle", "--config"])
        .arg(desk.workspace.config())
        .stderr(std::process::Stdio::null());
    let mut daemon = run.spawn().unwrap();
    let reading = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sweep aaa.big%' AND state <> 'idle' AND pid <> pg_backend_pid()";
    crate::support::wait_until("the sweep", std::time::Duration::from_secs(60), || {
        desk.server.count("postgres", reading) > 0
    });
    shop(
        &desk,
        "ALTER TABLE zzz_note RENAME TO zzz_note_2026; CREATE TABLE zzz_note (id int, body text)",
    );
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
    assert_eq!(desk.ticket("I-6", "problem_code"), "E0510");
}

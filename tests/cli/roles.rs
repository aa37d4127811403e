//! Who may do what, enforced by the databases: every move that must be refused is tried.

use crate::desk::{Desk, stderr, stdout, submit};
use crate::support::{connect, told};

/// The whole job under the least rights; then what those rights do not reach.
#[test]
fn the_job_is_done_with_the_least_rights_and_nothing_else_is() {
    let desk = Desk::open(120);
    desk.file("R-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("R-1", "state"), "deferred");

    let four_eyes = stderr_of_self_approval(&desk);
    assert!(four_eyes.contains("ER008"), "{four_eyes}");

    let control = desk.control().to_owned();
    let ticket = desk.ticket("R-1", "id");
    let forbidden: &[(&str, &str, &str)] = &[
        // The daemon decides nothing, and changes no history.
        (
            "erasured_demo",
            &control,
            "SELECT erasured.submit_ticket('X', 'customer', '{\"member_no\": \"TM-0000009\"}', 'account', 'policy')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.verify_ticket('TICKET', 'login')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.approve_ticket('TICKET')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.reject_ticket('TICKET', 'no')",
        ),
        (
            "erasured_demo",
            &control,
            "INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role) VALUES ('TICKET', 'approve', 'me', 'me')",
        ),
        (
            "erasured_demo",
            &control,
            "UPDATE erasured.ticket SET reference = 'Y'",
        ),
        (
            "erasured_demo",
            &control,
            "UPDATE erasured.ticket SET generation = 9",
        ),
        ("erasured_demo", &control, "DELETE FROM erasured.ticket"),
        (
            "erasured_demo",
            &control,
            "UPDATE erasured.ledger SET entry = 'x'",
        ),
        ("erasured_demo", &control, "DELETE FROM erasured.ledger"),
        ("erasured_demo", &control, "TRUNCATE erasured.certificate"),
        (
            "erasured_demo",
            &control,
            "DELETE FROM erasured.certificate",
        ),
        (
            "erasured_demo",
            &control,
            "ALTER TABLE erasured.ledger DISABLE TRIGGER ALL",
        ),
        (
            "erasured_demo",
            &control,
            "CREATE TABLE erasured.mine (x int)",
        ),
        (
            "erasured_demo",
            &desk.demo.shop,
            "UPDATE erasured.applied_step SET counts = '{}'",
        ),
        (
            "erasured_demo",
            &desk.demo.shop,
            "DELETE FROM erasured.applied_step",
        ),
        (
            "erasured_demo",
            &desk.demo.shop,
            "UPDATE erasured.applied_piece SET ticket_id = gen_random_uuid()",
        ),
        (
            "erasured_demo",
            &desk.demo.shop,
            "DELETE FROM erasured.applied_piece",
        ),
        ("erasured_demo", &desk.demo.shop, "DELETE FROM booking"),
        (
            "erasured_demo",
            &desk.demo.shop,
            "UPDATE booking SET price = 0",
        ),
        ("erasured_demo", &desk.demo.shop, "DELETE FROM staff"),
        (
            "erasured_demo",
            &desk.demo.shop,
            "UPDATE customer SET email = 'x'",
        ),
        (
            "erasured_demo",
            &desk.demo.shop,
            "INSERT INTO customer DEFAULT VALUES",
        ),
        // What others are told is written by the change itself.
        (
            "erasured_demo",
            &control,
            "INSERT INTO erasured.outbox (ticket_id, seq, kind, body) VALUES ('TICKET', 99, 'completed', '{}')",
        ),
        (
            "erasured_demo",
            &control,
            "UPDATE erasured.outbox SET body = '{}'",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.redeliver('callback/crm')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.retire_target('callback/crm')",
        ),
        (
            "erasured_demo",
            &control,
            "DELETE FROM erasured.outbox_target",
        ),
        ("hana", &control, "DELETE FROM erasured.outbox"),
        (
            "hana",
            &control,
            "UPDATE erasured.outbox_delivery SET state = 'delivered'",
        ),
        (
            "hana",
            &control,
            "INSERT INTO erasured.outbox_target VALUES ('callback/mine')",
        ),
        (
            "auditor",
            &control,
            "SELECT erasured.redeliver('callback/crm')",
        ),
        // The desk files and verifies, and sees no values.
        ("hana", &control, "SELECT erasured.approve_ticket('TICKET')"),
        (
            "hana",
            &control,
            "SELECT erasured.reject_ticket('TICKET', 'no')",
        ),
        (
            "hana",
            &control,
            "SELECT erasured.hold_ticket('TICKET', 'court')",
        ),
        (
            "hana",
            &control,
            "SELECT value FROM erasured.ticket_identifier",
        ),
        ("hana", &control, "SELECT sealed FROM erasured.ticket"),
        (
            "hana",
            &control,
            "UPDATE erasured.ticket SET state = 'approved'",
        ),
        (
            "hana",
            &control,
            "INSERT INTO erasured.ticket (reference) VALUES ('x')",
        ),
        // That answers matched is not hers to say, nor is how often she may ask.
        ("hana", &control, "UPDATE erasured.method SET level = 4"),
        (
            "hana",
            &control,
            "SELECT erasured.extend_ticket('TICKET', 'complex')",
        ),
        (
            "hana",
            &control,
            "SELECT erasured.begin_attempt('TICKET', 'member_dob', 'hana', 'x')",
        ),
        ("hana", &control, "SELECT erasured.end_attempt(1, 'match')"),
        (
            "hana",
            &control,
            "SELECT erasured.has_matched('TICKET', 'member_dob', 'hana')",
        ),
        (
            "hana",
            &control,
            "INSERT INTO erasured.identity_attempt (ticket_id) VALUES ('TICKET')",
        ),
        ("hana", &control, "DELETE FROM erasured.identity_lock"),
        (
            "hana",
            &control,
            "SELECT erasured.lift_lockout('agent', 'hana')",
        ),
        (
            "kenji",
            &control,
            "SELECT erasured.lift_lockout('agent', 'hana')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.lift_lockout('agent', 'hana')",
        ),
        (
            "erasured_demo",
            &control,
            "UPDATE erasured.identity_attempt SET outcome = 'match'",
        ),
        (
            "erasured_demo",
            &control,
            "DELETE FROM erasured.identity_attempt",
        ),
        (
            "erasured_demo",
            &control,
            "DELETE FROM erasured.identity_lock",
        ),
        // The approver does not file or verify.
        (
            "kenji",
            &control,
            "SELECT erasured.submit_ticket('X', 'customer', '{\"member_no\": \"TM-0000009\"}', 'account', 'policy')",
        ),
        (
            "kenji",
            &control,
            "SELECT erasured.verify_ticket('TICKET', 'login')",
        ),
        (
            "kenji",
            &control,
            "UPDATE erasured.ticket SET state = 'approved'",
        ),
        // The auditor reads.
        (
            "auditor",
            &control,
            "SELECT erasured.approve_ticket('TICKET')",
        ),
        (
            "auditor",
            &control,
            "SELECT erasured.retry_ticket('TICKET')",
        ),
        (
            "auditor",
            &control,
            "SELECT erasured.acknowledge_ticket('TICKET')",
        ),
        (
            "erasured_demo",
            &control,
            "SELECT erasured.ask_ticket('TICKET', 'identity')",
        ),
        (
            "auditor",
            &control,
            "SELECT value FROM erasured.ticket_identifier",
        ),
        (
            "auditor",
            &control,
            "INSERT INTO erasured.ledger VALUES (1, now(), '', '', '')",
        ),
        ("auditor", &control, "DELETE FROM erasured.event"),
    ];
    let about_holds: Vec<(&str, &str, &str)> = ABOUT_HOLDS
        .iter()
        .map(|(login, sql)| (*login, control.as_str(), *sql))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (login, database, sql) in forbidden.iter().chain(&about_holds) {
        let sql = sql.replace("TICKET", &ticket);
        let refused = runtime.block_on(async {
            connect(&desk.server.url_as(database, login))
                .await
                .batch_execute(&sql)
                .await
        });
        let code = refused
            .as_ref()
            .err()
            .and_then(|e| e.code())
            .map(|c| c.code().to_owned());
        let said = refused.err().map(|e| told(&e));
        assert_eq!(code.as_deref(), Some("42501"), "{login}: {sql}: {said:?}");
    }
    // Even the owner's slip does not rewrite history.
    for sql in [
        "DELETE FROM erasured.ledger",
        "UPDATE erasured.certificate SET jws = ''",
        "TRUNCATE erasured.decision",
        "DELETE FROM erasured.hold",
    ] {
        let error = desk.server.try_execute(&control, sql).expect_err(sql);
        assert_eq!(error.code().map(|c| c.code()), Some("ER009"), "{sql}");
    }
}

/// Legal holds are the approvers' and admins': nobody else places or ends one, the daemon neither.
const ABOUT_HOLDS: &[(&str, &str)] = &[
    (
        "erasured_demo",
        "SELECT erasured.place_hold('m', 'r', 'customer', '{\"member_no\": \"TM-0000009\"}')",
    ),
    (
        "erasured_demo",
        "SELECT erasured.place_row_hold('m', 'r', 'shop.public.invoice')",
    ),
    ("erasured_demo", "SELECT erasured.release_matter('m')"),
    (
        "erasured_demo",
        "SELECT erasured.release_hold(gen_random_uuid())",
    ),
    ("erasured_demo", "SELECT erasured.end_holds('{}')"),
    (
        "erasured_demo",
        "UPDATE erasured.hold SET released_at = now()",
    ),
    ("erasured_demo", "DELETE FROM erasured.hold"),
    (
        "erasured_demo",
        "UPDATE erasured.hold_subject SET subject_hash = ''",
    ),
    ("erasured_demo", "DELETE FROM erasured.hold_identifier"),
    (
        "hana",
        "SELECT erasured.place_hold('m', 'r', 'customer', '{\"member_no\": \"TM-0000009\"}')",
    ),
    (
        "hana",
        "SELECT erasured.place_row_hold('m', 'r', 'shop.public.invoice')",
    ),
    ("hana", "SELECT erasured.release_matter('m')"),
    ("hana", "SELECT value FROM erasured.hold_identifier"),
    ("kenji", "SELECT value FROM erasured.hold_identifier"),
    ("kenji", "UPDATE erasured.hold SET until = now()"),
    ("kenji", "SELECT erasured.suspend_held('{}')"),
    ("auditor", "SELECT erasured.release_matter('m')"),
];

/// Rights that are missing are found by check, before a ticket meets them, and with their place.
#[test]
fn missing_rights_are_found_by_check() {
    let desk = Desk::open(120);
    let check = || {
        let output = desk.erasured(["check"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    desk.server
        .execute("postgres", "REVOKE pg_read_all_data FROM erasured_daemon");
    desk.server.execute(
        &desk.demo.shop,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO erasured_daemon",
    );
    desk.server.execute(
        &desk.demo.loyalty,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO erasured_daemon",
    );
    desk.server.execute(
        &desk.demo.shop,
        "CREATE SCHEMA hr; CREATE TABLE hr.secret (t text)",
    );
    let said = check();
    assert!(
        said.contains("E0303") && said.contains("hr.secret"),
        "{said}"
    );
    desk.server
        .execute("postgres", "GRANT pg_read_all_data TO erasured_daemon");
    desk.server.execute(
        &desk.demo.shop,
        "REVOKE INSERT ON erasured.applied_step FROM erasured_daemon",
    );
    let said = check();
    assert!(said.contains("E0302") && said.contains("shop"), "{said}");
    desk.server.execute(&desk.demo.loyalty, "REVOKE USAGE ON SCHEMA erasured FROM erasured_daemon; REVOKE pg_read_all_data FROM erasured_daemon");
    let said = check();
    assert!(said.contains("E0302") && said.contains("loyalty"), "{said}");
}

/// Approved under a policy that asked for little; the policy then asks for more, and the ticket
/// runs only when more stands behind it. The certificate says what does.
#[test]
fn what_was_approved_is_asked_again_when_it_runs() {
    let desk = Desk::open(120);
    let file = desk.workspace.path().join("policies/customer.toml");
    let strict = std::fs::read_to_string(&file).unwrap();
    let lax = strict.replace(
        "at_least = \"reasonably-high\", four_eyes = true",
        "at_least = \"basic\", four_eyes = false",
    );
    assert_ne!(strict, lax);
    std::fs::write(&file, lax).unwrap();
    desk.run_until_idle().assert().success();
    desk.server
        .execute("postgres", "GRANT erasured_approver TO hana");
    let verify = |method: &str| {
        let arguments = ["ticket", "verify", "R-1", "--method", method];
        stdout(desk.as_person("hana", arguments));
    };
    stdout(desk.as_person(
        "hana",
        [
            "ticket",
            "submit",
            "--reference",
            "R-1",
            "--subject",
            "customer",
            "--scope",
            "account",
            "--ground",
            "policy",
            "--identifier",
            "member_no=TM-0000005",
        ],
    ));
    verify("callback");
    stdout(desk.as_person("hana", ["ticket", "approve", "R-1"]));
    std::fs::write(&file, strict).unwrap();

    let fails = || {
        desk.run_until_idle().assert().code(1);
        assert_eq!(desk.ticket("R-1", "state"), "failed");
        assert_eq!(desk.ticket("R-1", "problem_code"), "E0513");
        assert_eq!(
            desk.server.value(
                &desk.demo.shop,
                "SELECT count(*)::text FROM erasured.applied_step"
            ),
            "0"
        );
    };
    fails();
    verify("in_person");
    verify("email_link");
    stdout(desk.as_person("hana", ["ticket", "retry", "R-1"]));
    fails();
    stdout(desk.as_person("kenji", ["ticket", "approve", "R-1"]));
    stdout(desk.as_person("kenji", ["ticket", "retry", "R-1"]));
    desk.run_until_idle().assert().success();
    let shown = stdout(desk.erasured(["certificate", "show", "R-1", "--format", "json"]));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let identity = &shown["identity"];
    assert_eq!(identity["level"], "reasonably-high", "{identity}");
    assert_eq!(identity["method"], "in_person");
    assert_eq!(identity["four_eyes"], true);
}

/// The one who verified approves: refused, whoever they are. Acting for others needs trust.
fn stderr_of_self_approval(desk: &Desk) -> String {
    desk.server
        .execute("postgres", "GRANT erasured_approver TO hana");
    stdout(desk.as_person("hana", submit("R-2", "member_no=TM-0000009")));
    stdout(desk.as_person(
        "hana",
        ["ticket", "verify", "R-2", "--method", "login_reauth"],
    ));
    // She is not trusted to speak for others, so this changes nothing.
    let said = stderr(
        desk.as_person(
            "hana",
            ["ticket", "approve", "R-2", "--as", "somebody-else"],
        ),
        2,
    );
    desk.server
        .execute("postgres", "REVOKE erasured_approver FROM hana");
    said
}

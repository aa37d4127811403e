//! The proofs by the command line: a sweep by hand, rotated keys, a ledger that somebody touched.

use crate::desk::{Desk, stderr, stdout};

/// One erased customer: R-1 is TM-0000005.
fn erased() -> Desk {
    let desk = Desk::open(120);
    desk.file("R-1", "member_no=TM-0000005");
    desk.run_until_idle().assert().success();
    desk
}

#[test]
fn a_sweep_by_hand_says_where_and_never_what() {
    let desk = Desk::open(120);
    let email = desk
        .server
        .value(&desk.demo.shop, "SELECT email FROM customer WHERE id = 7");
    let file = desk.workspace.path().join("who");
    std::fs::write(&file, format!("email={email}\nmember_no=TM-0000007\n")).unwrap();
    let sweep = |more: &[&str]| {
        let mut arguments = vec!["sweep", "--identifier-file", file.to_str().unwrap()];
        arguments.extend(more);
        desk.erasured(arguments).output().unwrap()
    };
    let output = sweep(&["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let places: Vec<String> = found
        .iter()
        .map(|f| format!("{}.{}.{}", f["system"], f["table"], f["column"]).replace('"', ""))
        .collect();
    for place in [
        "shop.public.customer.email",
        "shop.public.audit_log.change",
        "shop.public.web_event.payload",
    ] {
        assert!(
            places.iter().any(|p| p == place),
            "no {place} in {places:?}"
        );
    }
    let said = String::from_utf8(sweep(&[]).stdout).unwrap().to_lowercase();
    assert!(
        !said.contains(&email.to_lowercase()) && !said.contains("tm-0000007"),
        "{said}"
    );
    // Only one system, and somebody who is nowhere.
    std::fs::write(&file, "email=nobody@nowhere.example\n").unwrap();
    assert_eq!(sweep(&["--system", "loyalty"]).status.code(), Some(0));
    assert_eq!(sweep(&["--system", "lojalty"]).status.code(), Some(2));
}

#[test]
fn certificates_outlive_their_key() {
    let mut desk = erased();
    let keys = desk.workspace.path().join("keys");
    let old_public = std::fs::read_to_string(keys.join("signing.pub.pem")).unwrap();
    std::fs::write(keys.join("retired.pub.pem"), old_public).unwrap();
    std::fs::remove_file(keys.join("signing.pem")).unwrap();
    std::fs::remove_file(keys.join("signing.pub.pem")).unwrap();
    stdout(desk.erasured([
        "keygen",
        "signing",
        keys.join("signing.pem").to_str().unwrap(),
    ]));

    // The new key alone does not vouch for what the old one signed.
    let said = stderr(desk.erasured(["certificate", "show", "R-1"]), 1);
    assert!(said.contains("E0612"), "{said}");
    let config = std::fs::read_to_string(desk.workspace.config()).unwrap();
    let config = config.replace("[keys]\n", "[keys]\nretired = [\"keys/retired.pub.pem\"]\n");
    std::fs::write(desk.workspace.config(), config).unwrap();
    stdout(desk.erasured(["certificate", "show", "R-1"]));

    desk.file("R-2", "member_no=TM-0000009");
    desk.run_until_idle().assert().success();
    for (reference, key) in [("R-1", "retired.pub.pem"), ("R-2", "signing.pub.pem")] {
        let jws = stdout(desk.erasured(["certificate", "show", reference, "--format", "jws"]));
        let file = desk.workspace.path().join(reference);
        std::fs::write(&file, jws).unwrap();
        let key = keys.join(key);
        let verify = [
            "certificate",
            "verify",
            file.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ];
        stdout(desk.erasured(verify));
    }
    let twice = desk.erasured([
        "keygen",
        "signing",
        keys.join("signing.pem").to_str().unwrap(),
    ]);
    assert!(stderr(twice, 2).contains("exists"));
    desk.workspace.configure("");
}

#[test]
fn a_ledger_that_somebody_touched_is_found_out() {
    let desk = erased();
    let head = stdout(desk.erasured(["ledger", "head"])).trim().to_owned();
    stdout(desk.erasured(["ledger", "verify", "--head", &head]));
    let tamper = |sql: &str| {
        let sql = format!(
            "BEGIN; ALTER TABLE erasured.ledger DISABLE TRIGGER ALL; {sql}; ALTER TABLE erasured.ledger ENABLE ALWAYS TRIGGER append_only; COMMIT"
        );
        desk.server.execute(desk.control(), &sql);
    };
    let refused = |head: &str, code: &str| {
        let said = stderr(desk.erasured(["ledger", "verify", "--head", head]), 1);
        assert!(said.contains(code), "{said}");
    };
    // Written over with a hash that fits: its neighbour does not hang on it any more.
    tamper(
        "UPDATE erasured.ledger SET entry = replace(entry, 'hana', 'hans'), \
                hash = sha256('\\x00'::bytea || prev || convert_to(replace(entry, 'hana', 'hans'), 'UTF8')) WHERE seq = 2",
    );
    refused(&head, "E0621");
    // The end cut off: what is left is whole, but had been longer.
    let desk = erased();
    let head = stdout(desk.erasured(["ledger", "head"])).trim().to_owned();
    let last = head.split_once(':').unwrap().0;
    desk.server.execute(
        desk.control(),
        &format!("ALTER TABLE erasured.ledger DISABLE TRIGGER ALL; DELETE FROM erasured.ledger WHERE seq = {last}"),
    );
    let said = stderr(desk.erasured(["ledger", "verify", "--head", &head]), 1);
    assert!(said.contains("E0622"), "{said}");
    // Without the head from the command line the state directory's tells as much.
    assert!(stderr(desk.erasured(["ledger", "verify"]), 1).contains("E0622"));
}

#[test]
fn a_certificate_that_the_ledger_does_not_know_is_found_out_and_so_is_one_that_is_gone() {
    let desk = erased();
    let said = stdout(desk.as_person("auditor", ["ledger", "verify"]));
    assert!(said.contains("its 1 certificates are there"), "{said}");
    let tampered = |sql: &str, why: &str, whole_again: &str| {
        let touch = |sql: &str| {
            let sql = format!(
                "BEGIN; ALTER TABLE erasured.certificate DISABLE TRIGGER ALL; {sql}; ALTER TABLE erasured.certificate ENABLE ALWAYS TRIGGER append_only; COMMIT"
            );
            desk.server.execute(desk.control(), &sql);
        };
        touch(sql);
        let output = desk
            .as_person("auditor", ["ledger", "verify"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{sql}");
        assert!(said.contains("E0623") && said.contains(why), "{said}");
        touch(whole_again);
        stdout(desk.as_person("auditor", ["ledger", "verify"]));
    };
    tampered(
        "UPDATE erasured.certificate SET jws = jws || 'x'",
        "is not as entry",
        "UPDATE erasured.certificate SET jws = left(jws, -1)",
    );
    tampered(
        "CREATE TABLE aside AS TABLE erasured.certificate; DELETE FROM erasured.certificate",
        "is gone",
        "INSERT INTO erasured.certificate TABLE aside",
    );
    let forged = "INSERT INTO erasured.certificate (id, ticket_id, kind, deferral_id, kid, subject_hash, jws) \
                  SELECT gen_random_uuid(), ticket_id, 'supplement', \
                         (SELECT id FROM erasured.deferral LIMIT 1), kid, subject_hash, 'forged' \
                    FROM erasured.certificate";
    let away = "DELETE FROM erasured.certificate WHERE jws = 'forged'";
    tampered(forged, "never recorded", away);
    // One whose event is in the outbox is only early.
    desk.server.execute(
        desk.control(),
        &format!(
            "{forged}; INSERT INTO erasured.event (kind, ticket_id, body) \
             SELECT 'certificate', ticket_id, jsonb_build_object('certificate', id, \
                    'sha256', encode(sha256(convert_to(jws, 'UTF8')), 'hex')) \
               FROM erasured.certificate WHERE jws = 'forged'"
        ),
    );
    let said = stdout(desk.as_person("auditor", ["ledger", "verify"]));
    assert!(
        said.contains("but for 1 whose entry is still to come"),
        "{said}"
    );
}

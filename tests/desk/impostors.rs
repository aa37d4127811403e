//! Signs that somebody else may be asking: more must be proven, nothing is erased for a while, whoever
//! was reached before is warned, and can object.

use crate::desk::{Desk, stderr, stdout, submit};
use crate::support::{connect, told};

const FIVE: &str = "member_no=TM-0000005";

/// The e-mail of customer 5 was changed so long ago.
fn changed(desk: &Desk, ago: &str) {
    let sql =
        format!("UPDATE customer SET email_changed_at = now() - interval '{ago}' WHERE id = 5");
    desk.server.execute(&desk.demo.shop, &sql);
}

fn is_there(desk: &Desk) -> bool {
    let sql = "SELECT count(*) FROM customer WHERE id = 5";
    desk.server.count(&desk.demo.shop, sql) == 1
}

/// So much time passes for what waits.
fn pass(desk: &Desk, time: &str) {
    let sql = format!(
        "ALTER TABLE erasured.ticket DISABLE TRIGGER guard_wait;
         UPDATE erasured.ticket SET not_before = not_before - interval '{time}', next_attempt_at = next_attempt_at - interval '{time}';
         ALTER TABLE erasured.ticket ENABLE TRIGGER guard_wait"
    );
    desk.server.execute(desk.control(), &sql);
}

fn verify(desk: &Desk, reference: &str, method: &str) {
    let verify = ["ticket", "verify", reference, "--method", method];
    stdout(desk.as_person("hana", verify));
}

fn warnings(desk: &Desk) -> String {
    let sql = "SELECT coalesce(string_agg(body::text, ' ' ORDER BY seq), '') FROM erasured.outbox WHERE kind = 'warn_old_contact'";
    desk.server.value(desk.control(), sql)
}

/// A fresh address: one step more must be proven, and even then it waits.
#[test]
fn a_fresh_address_raises_what_must_be_proven() {
    let mut desk = Desk::open(120);
    desk.workspace.configure("[outbox]\nlisten = true\n");
    changed(&desk, "13 days");
    stdout(desk.as_person("hana", submit("I-1", FIVE)));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-1", "signs"), "{\"contact_changed: email\"}");
    assert_eq!(desk.ticket("I-1", "needed_level"), "high");
    assert_eq!(
        warnings(&desk),
        r#"{"sign": "contact_changed", "contact": "email"}"#
    );
    let shown = stdout(desk.as_person("hana", ["ticket", "show", "I-1"]));
    assert!(
        shown.contains("contact_changed: email") && shown.contains("high"),
        "{shown}"
    );

    verify(&desk, "I-1", "login_reauth");
    let said = stderr(desk.as_person("kenji", ["ticket", "approve", "I-1"]), 2);
    assert!(
        said.contains("ER007") && said.contains("high where there are signs"),
        "{said}"
    );
    // A document is no more than it deserves now.
    verify(&desk, "I-1", "jpki");
    desk.approve("I-1");
    pass(&desk, "6 days");
    desk.run_until_idle().assert().success();
    assert!(is_there(&desk));
    pass(&desk, "1 day");
    desk.run_until_idle().assert().success();
    assert!(!is_there(&desk));
    assert_eq!(
        warnings(&desk).matches("sign").count(),
        1,
        "the same change is one sign"
    );
}

/// What lies further back than the policy says is none, and neither is what was never changed.
#[test]
fn an_old_address_raises_nothing() {
    let desk = Desk::open(120);
    changed(&desk, "15 days");
    desk.file("I-1", FIVE);
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-1", "signs"), "");
    assert!(!is_there(&desk));
}

/// Changed after the approval: whoever approved did not know. The ticket stops and says so, before the
/// person is found for it or after.
#[test]
fn a_change_after_the_approval_stops_the_ticket() {
    for found_before in [true, false] {
        let desk = Desk::open(120);
        desk.ask("I-1", FIVE);
        if found_before {
            desk.run_until_idle().assert().success();
        }
        desk.approve("I-1");
        changed(&desk, "1 minute");
        desk.run_until_idle().assert().code(1);
        assert_eq!(desk.ticket("I-1", "state"), "failed");
        assert_eq!(desk.ticket("I-1", "problem_code"), "E0524");
        assert!(is_there(&desk));
        let list = stdout(desk.as_person("hana", ["ticket", "list"]));
        assert!(
            list.contains("desk: signs of an impostor: proof, approval, then a retry"),
            "{list}"
        );

        // No retry goes round it: neither without proof, nor without approval.
        let retry = || stdout(desk.as_person("hana", ["ticket", "retry", "I-1"]));
        retry();
        pass(&desk, "8 days");
        desk.run_until_idle().assert().code(1);
        assert_eq!(desk.ticket("I-1", "problem_code"), "E0524");
        verify(&desk, "I-1", "jpki");
        retry();
        desk.run_until_idle().assert().code(1);
        assert_eq!(desk.ticket("I-1", "problem_code"), "E0524");
        assert!(is_there(&desk));
        desk.approve("I-1");
        retry();
        desk.run_until_idle().assert().success();
        assert!(!is_there(&desk));
    }
}

/// The cooling-off holds though everybody does at once what is asked of them.
#[test]
fn a_late_sign_has_its_cooling_off_too() {
    let desk = Desk::open(120);
    desk.file("I-1", FIVE);
    changed(&desk, "1 minute");
    desk.run_until_idle().assert().code(1);
    verify(&desk, "I-1", "jpki");
    desk.approve("I-1");
    stdout(desk.as_person("hana", ["ticket", "retry", "I-1"]));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-1", "state"), "scheduled");
    assert!(is_there(&desk));
    pass(&desk, "7 days");
    desk.run_until_idle().assert().success();
    assert!(!is_there(&desk));
}

/// Changed in the moment between the daemon's look and the lock on the row.
#[test]
fn a_change_at_the_last_moment_is_seen_under_the_lock() {
    let desk = Desk::open(120);
    desk.file("I-1", FIVE);
    let mut run = desk.run_until_idle();
    run.env("FAILPOINTS", "before-begin=sleep(6000)");
    std::thread::scope(|scope| {
        let run = scope.spawn(move || run.output().unwrap());
        let waiting = "SELECT count(*) FROM erasured.lease";
        for _ in 0..200 {
            if desk.server.count(desk.control(), waiting) > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        std::thread::sleep(std::time::Duration::from_millis(1000));
        changed(&desk, "0 seconds");
        let ended = run.join().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    });
    assert_eq!(desk.ticket("I-1", "problem_code"), "E0524");
    assert!(is_there(&desk));
}

/// Erased in one system, and then the address is changed, or we change it: nobody is left half-erased, and
/// nobody is warned for somebody who goes. Between two tries, and between two systems of one.
#[test]
fn what_has_begun_goes_on() {
    let mut desk = Desk::open(120);
    desk.workspace.configure("[outbox]\nlisten = true\n");
    let done = |reference: &str| {
        let sql = format!(
            "SELECT count(*) FROM erasured.step s JOIN erasured.ticket t ON t.id = s.ticket_id
              WHERE t.reference = '{reference}' AND s.state = 'done'"
        );
        desk.server.count(desk.control(), &sql)
    };
    desk.file("I-1", FIVE);
    let refuse = "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
                  CREATE TRIGGER no BEFORE DELETE ON customer_address FOR EACH ROW EXECUTE FUNCTION public.no()";
    desk.server.execute(&desk.demo.shop, refuse);
    desk.run_until_idle().assert().code(1);
    assert_eq!(desk.ticket("I-1", "state"), "failed");
    assert_eq!(done("I-1"), 1);
    let allow = "DROP TRIGGER no ON customer_address";
    desk.server.execute(&desk.demo.shop, allow);
    changed(&desk, "0 seconds");
    stdout(desk.as_person("hana", ["ticket", "retry", "I-1"]));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-1", "signs"), "");
    assert!(!is_there(&desk));

    desk.file("I-2", "member_no=TM-0000006");
    let mut run = desk.run_until_idle();
    run.env("FAILPOINTS", "after-step-done=1*sleep(4000)");
    std::thread::scope(|scope| {
        let run = scope.spawn(move || run.output().unwrap());
        for _ in 0..400 {
            if done("I-2") > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let changed = "UPDATE customer SET email_changed_at = now() WHERE id = 6";
        desk.server.execute(&desk.demo.shop, changed);
        let ended = run.join().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    });
    assert_eq!(desk.ticket("I-2", "signs"), "");
    let gone = "SELECT count(*) FROM customer WHERE id = 6";
    assert_eq!(desk.server.count(&desk.demo.shop, gone), 0);
    assert_eq!(warnings(&desk), "");
}

/// The owner says: it was not me. One call ends it, and the next request of the same person needs more,
/// also one that is approved already.
#[test]
fn an_objection_ends_the_ticket_and_counts_for_the_next() {
    let desk = Desk::open(120);
    desk.file("I-2", FIVE);
    changed(&desk, "1 day");
    stdout(desk.as_person("hana", submit("I-1", FIVE)));
    let object = |login: &str| desk.as_person(login, ["ticket", "object", "I-1"]);
    let said = stderr(object("hana"), 2);
    assert!(said.contains("ER002"), "nobody is found yet: {said}");
    desk.run_until_idle().assert().code(1);
    changed(&desk, "100 days");

    for login in ["kenji", "auditor", "erasured_demo"] {
        let url = desk.server.url_as(desk.control(), login);
        let refused = crate::support::blocking(async {
            let sql = "SELECT erasured.object_ticket(id) FROM erasured.ticket_status WHERE reference = 'I-1'";
            connect(&url)
                .await
                .query(sql, &[])
                .await
                .map_err(|e| told(&e))
        });
        assert!(refused.unwrap_err().contains("42501"), "{login}");
    }
    stdout(object("hana"));
    assert_eq!(desk.ticket("I-1", "state"), "rejected");
    assert_eq!(desk.ticket("I-1", "rejected_for"), "contested");
    assert_eq!(stdout(object("hana")), "I-1: rejected\n", "said twice");
    assert!(desk.ticket("I-2", "signs").contains("contested"));

    stdout(desk.as_person("hana", submit("I-3", FIVE)));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-3", "signs"), "{contested}");
    assert_eq!(desk.ticket("I-3", "needed_level"), "high");
    verify(&desk, "I-3", "login_reauth");
    stderr(desk.as_person("kenji", ["ticket", "approve", "I-3"]), 2);
    assert!(is_there(&desk));
}

/// The desk had rejected it before the owner called: the call is on record all the same, and counts.
#[test]
fn an_objection_to_a_rejected_ticket_counts() {
    let desk = Desk::open(120);
    for reference in ["I-1", "I-2"] {
        stdout(desk.as_person("hana", submit(reference, FIVE)));
    }
    desk.run_until_idle().assert().success();
    let reject = ["ticket", "reject", "I-1", "--reason", "unverified"];
    stdout(desk.as_person("kenji", reject));
    assert_eq!(desk.ticket("I-2", "signs"), "");
    let object = || stdout(desk.as_person("hana", ["ticket", "object", "I-1"]));
    assert_eq!(object(), "I-1: rejected\n");
    assert_eq!(object(), "I-1: rejected\n", "said twice");
    assert_eq!(desk.ticket("I-1", "rejected_for"), "unverified");
    let recorded = "SELECT string_agg(by_name || ' ' || reason, ', ') FROM erasured.decision WHERE kind = 'object'";
    assert_eq!(
        desk.server.value(desk.control(), recorded),
        "hana contested"
    );
    let show = stdout(desk.as_person("hana", ["ticket", "show", "I-1"]));
    assert!(show.contains("owner objected"), "{show}");
    assert_eq!(desk.ticket("I-2", "signs"), "{contested}");
    stdout(desk.as_person("hana", submit("I-3", FIVE)));
    desk.run_until_idle().assert().success();
    assert_eq!(desk.ticket("I-3", "signs"), "{contested}");
    // Nobody was found for it: there is nothing to know the owner by.
    stdout(desk.as_person("hana", submit("I-4", "member_no=TM-0999999")));
    desk.run_until_idle().output().unwrap();
    let reject = ["ticket", "reject", "I-4", "--reason", "unverified"];
    stdout(desk.as_person("kenji", reject));
    let said = stderr(desk.as_person("hana", ["ticket", "object", "I-4"]), 2);
    assert!(said.contains("ER002"), "{said}");
}

/// Three wrong answers, then a right one: the right one alone is not believed any more.
#[test]
fn a_match_after_failures_needs_more() {
    let desk = Desk::open(120);
    stdout(desk.as_person("hana", submit("I-1", FIVE)));
    desk.run_until_idle().assert().success();
    let born = desk.server.value(
        &desk.demo.shop,
        "SELECT birth_date::text FROM customer WHERE id = 5",
    );
    let prove = |born: &str| {
        let arguments = [
            "ticket",
            "prove",
            "I-1",
            "--method",
            "callback_dob",
            "--as",
            "hana",
            "--answer-file",
            "-",
        ];
        let mut command = desk.erasured(arguments);
        command.write_stdin(format!("{FIVE}\nbirth_date={born}"));
        command.output().unwrap().status.code()
    };
    for day in 1..=3 {
        assert_eq!(desk.ticket("I-1", "signs"), "", "{day}");
        assert_eq!(prove(&format!("1901-01-0{day}")), Some(1));
    }
    assert_eq!(desk.ticket("I-1", "signs"), "{failed_attempts}");
    assert_eq!(prove(&born), Some(1), "locked out");
    let later = "UPDATE erasured.identity_lock SET ends_at = now()";
    desk.server.execute(desk.control(), later);
    assert_eq!(prove(&born), Some(0));
    verify(&desk, "I-1", "callback_dob");
    let said = stderr(desk.as_person("kenji", ["ticket", "approve", "I-1"]), 2);
    assert!(said.contains("ER007"), "{said}");
    verify(&desk, "I-1", "jpki");
    desk.approve("I-1");
}

/// A scope says what it takes where there is doubt, and for how long it waits.
#[test]
fn a_scope_has_its_own_doubts() {
    let desk = Desk::open(120);
    let text = std::fs::read_to_string("policies/travel/customer.toml").unwrap();
    let text = text.replace(
        "cooling_off = \"0 days\" }",
        "cooling_off = \"0 days\", doubtful = { at_least = \"reasonably-high\", cooling_off = \"1 day\" } }",
    );
    desk.workspace.write_policy("customer.toml", &text);
    changed(&desk, "1 day");
    desk.ask("I-1", FIVE);
    desk.run_until_idle().assert().success();
    desk.approve("I-1");
    pass(&desk, "23 hours");
    desk.run_until_idle().assert().success();
    assert!(is_there(&desk));
    pass(&desk, "1 hour");
    desk.run_until_idle().assert().success();
    assert!(!is_there(&desk));

    for (wrong, code, exit) in [
        (
            text.replace(
                "doubtful = { at_least = \"reasonably-high\"",
                "doubtful = { at_least = \"basic\"",
            ),
            "E0109",
            2,
        ),
        (
            text.replace("\"email_changed_at\"", "\"no_such\""),
            "E0203",
            1,
        ),
        (
            text.replace("\"email_changed_at\"", "\"family_name\""),
            "E0220",
            1,
        ),
    ] {
        desk.workspace.write_policy("customer.toml", &wrong);
        let output = desk.erasured(["check"]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{said}");
        assert!(said.contains(code), "{said}");
    }
}

/// One caller, three people: each needs more, those asked for before too. What the caller is called is kept
/// nowhere.
#[test]
fn one_who_asks_for_several_people_is_doubtful() {
    let desk = Desk::open(120);
    let ask = |n: u32, by: &str| {
        let (reference, member) = (format!("I-{n}"), format!("member_no=TM-000000{n}"));
        let mut file = submit(&reference, &member).to_vec();
        file.extend(["--requester", by]);
        stdout(desk.as_person("hana", file));
        desk.run_until_idle().assert().success();
    };
    let signs = |n: u32| desk.ticket(&format!("I-{n}"), "signs");
    ask(1, "03-1234-5678");
    ask(2, "03-1234-5678");
    ask(3, "somebody-else");
    assert_eq!([signs(1), signs(2), signs(3)], ["", "", ""]);
    let again = submit("I-9", "member_no=TM-0000002");
    let again = [&again[..], &["--requester", "03-1234-5678"]].concat();
    stdout(desk.as_person("hana", again));
    desk.run_until_idle().assert().success();
    assert_eq!(signs(9), "", "for the same person again");
    ask(4, " ０３-1234-5678");
    for n in [1, 2, 4, 9] {
        assert_eq!(signs(n), "{many_subjects}", "{n}");
    }
    assert_eq!(signs(3), "");
    let kept = "SELECT count(*) FROM erasured.requester WHERE value IS NOT NULL";
    assert_eq!(desk.server.count(desk.control(), kept), 0);
    // One that nobody finds is rejected before the daemon has looked.
    let mut lost = submit("I-5", "member_no=TM-0999999").to_vec();
    lost.extend(["--requester", "03-9999-0000"]);
    stdout(desk.as_person("hana", lost));
    stdout(desk.as_person("hana", ["ticket", "withdraw", "I-5"]));
    assert_eq!(desk.server.count(desk.control(), kept), 0);
}

//! A ticket across a database and a system that is none.

use crate::company::{Company, POLICY};
use crate::list::List;
use crate::support::wait_until;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_planned_is_erased_counted_and_certified() {
    let company = Company::open();
    company.says(&["check"], 0);
    company.file(&[1, 2, 15], "account");
    let plan = company.says(&["plan", "--ticket", "account-1"], 0);
    let line = plan.lines().find(|line| line.contains("subscriptions"));
    assert!(
        line.is_some_and(|line| line.contains("delete 2") && line.contains("by email, member_no")),
        "{plan}"
    );
    let before = plan.find("newsletter").unwrap();
    assert!(before < plan.find("public.customer").unwrap(), "{plan}");
    assert_eq!(company.list.left().len(), 30, "a plan takes nothing");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1, 2, 15]));
    assert_eq!(company.certified("account-1"), (2, 6));
    assert_eq!(company.certified("account-2"), (2, 6));
    assert_eq!(company.certified("account-15"), (1, 6));
    assert_eq!(company.count("SELECT count(*) FROM customer"), 17);
    company.keeps_nothing();
    let shown = company.says(&["certificate", "show", "account-1", "--format", "text"], 0);
    assert!(
        shown.contains("subscriptions") && shown.contains("was not seen"),
        "{shown}"
    );
    // Found, taken, looked after in the step, and once more before the certificate.
    let calls = company.list.read("calls");
    let of = |what: &str| calls.lines().filter(|line| line.starts_with(what)).count();
    assert!(of("erase") > 0 && of("probe") > of("erase"), "{calls}");
}

#[test]
fn a_scope_of_one_place_takes_nothing_else() {
    let company = Company::open();
    company.file(&[3], "letters");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[3]));
    assert_eq!(company.certified("letters-3"), (2, 0));
    assert_eq!(company.count("SELECT count(*) FROM customer"), 20);
    company.keeps_nothing();
}

/// Wherever the daemon dies: each thing goes once, is counted once, and is certified once.
#[test]
fn lesson_01_killed_anywhere_each_thing_is_counted_once() {
    const POINTS: &[&str] = &[
        "after-begin=return",
        "after-found=return",
        "before-place-mark=return",
        "before-place-erase=return",
        "after-place-erased=return",
        "before-place-done=return",
        "after-place-done=return",
        "before-commit=return(abort)",
        "after-commit=return(abort)",
        "after-verifying=return",
        "before-sign=return",
        "after-close=return",
    ];
    std::thread::scope(|scope| {
        let half = POINTS.len().div_ceil(2);
        for points in POINTS.chunks(half) {
            scope.spawn(move || {
                for point in points {
                    println!("dies at {point}");
                    let company = Company::open();
                    company.file(&[1, 2, 15], "account");
                    company.dies_at(point);
                    company.says(&["run", "--until-idle"], 0);
                    assert_eq!(
                        company.list.left(),
                        Company::without(&[1, 2, 15]),
                        "{point}"
                    );
                    assert_eq!(company.certified("account-1"), (2, 6), "{point}");
                    assert_eq!(company.certified("account-15"), (1, 6), "{point}");
                    company.keeps_nothing();
                }
            });
        }
    });
}

/// Dying again and again, in one place after another.
#[test]
fn killed_again_and_again_nothing_is_counted_twice() {
    let company = Company::open();
    company.file(&[1], "account");
    company.dies_at("after-place-erased=return");
    // What comes back under the same id is the same thing, under another it is another.
    company.list.say("list", "1 c1@x.jp\n900 c1@x.jp\n");
    company.dies_at("before-place-done=return");
    company.says(&["run", "--until-idle"], 0);
    assert!(company.list.left().is_empty());
    assert_eq!(company.certified("account-1"), (3, 6));
    company.keeps_nothing();
}

#[test]
fn a_hold_on_the_person_keeps_what_lies_there() {
    let company = Company::open();
    let hold = r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-2"}')"#;
    company.server.execute(&company.control, hold);
    company.says(&["run", "--until-idle"], 0);
    company.file(&[1, 2], "account");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1]));
    assert_eq!(
        company.states(),
        ["account-1 completed", "account-2 on_hold E0521"]
    );
    company
        .server
        .execute(&company.control, "SELECT erasured.release_matter('case-1')");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1, 2]));
    assert_eq!(company.certified("account-2"), (2, 6));
}

/// A hold that is placed when all is found and nothing taken yet is seen.
#[test]
fn a_hold_in_the_last_moment_keeps_what_lies_there() {
    let company = Company::open();
    company.file(&[1, 2], "account");
    let mut daemon = company.workspace.process(["run", "--until-idle"]);
    let mut daemon = daemon
        .env("FAILPOINTS", "after-found=sleep(4000)")
        .spawn()
        .unwrap();
    let found = || company.list.read("calls").contains("find");
    wait_until("something to be found", LONG, found);
    let hold = r#"SELECT erasured.place_hold('case-1', 'court-order', 'customer', '{"member_no": "M-2"}')"#;
    company.server.execute(&company.control, hold);
    assert_eq!(company.list.left().len(), 30, "the hold came in time");
    daemon.wait().unwrap();
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1]));
    assert!(company.states()[1].starts_with("account-2 on_hold"));
    assert_eq!(company.certified("account-1"), (2, 6));
}

/// What is down keeps the ticket, takes none of its attempts, holds up no other system but the
/// database, and the rows stay until it is back.
#[test]
fn what_is_down_is_waited_for() {
    let mut company = Company::open();
    let partner = List::of(&[("1", "c1@x.jp"), ("2", "c2@x.jp")]);
    company.workspace.configure(&format!(
        "[system.partner]\nkind = \"command\"\ncommand = {:?}",
        partner.command()
    ));
    let place = "[[place]]\nsystem = \"partner\"\nname = \"people\"\nidentifiers = [\"email\"]\n";
    let policy = format!("{POLICY}\n{place}");
    company.workspace.write_policy("customer.toml", &policy);
    company.list.say("down", "");
    company.file(&[1], "account");
    let daemon = company.daemon();
    let tried = || company.list.read("calls").lines().count() >= 4;
    wait_until("more tries than attempts", LONG, tried);
    assert_eq!(company.count("SELECT count(*) FROM customer"), 20);
    assert_eq!(partner.left(), ["2"]);
    let asked = partner.read("calls");
    let erased = asked.lines().filter(|line| line.starts_with("erase"));
    assert_eq!(erased.count(), 1, "a step that is done stays done: {asked}");
    let waits = "SELECT count(*) FROM erasured.ticket WHERE state IN ('scheduled', 'executing')";
    assert_eq!(company.control(waits), "1");
    company.list.unsay("down");
    let closed = || company.states() == ["account-1 completed"];
    wait_until("the ticket to close", LONG, closed);
    drop(daemon);
    let certificate = company.certificate("account-1");
    let erased = certificate.places.iter();
    let erased: Vec<(&str, u64)> = erased.map(|p| (&*p.system, p.found[0].erased)).collect();
    assert_eq!(erased, [("newsletter", 2), ("partner", 1)]);
    assert_eq!(company.list.left(), Company::without(&[1]));
}

#[test]
fn one_that_cannot_be_done_stands_alone() {
    let company = Company::open();
    company.list.say("broken-for", "c2@x.jp");
    company.file(&[1, 2, 3], "account");
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(
        company.states(),
        [
            "account-1 completed",
            "account-2 failed E0541",
            "account-3 completed"
        ]
    );
    assert_eq!(company.list.left(), Company::without(&[1, 3]));
    // Its rows are all there.
    assert_eq!(
        company.count("SELECT count(*) FROM letter WHERE customer = 2"),
        5
    );
    let said = company.says(&["ticket", "show", "account-2"], 0);
    assert!(
        said.contains("exit code 3") && !said.contains("c2@x.jp"),
        "{said}"
    );
    company.list.unsay("broken-for");
    company.says(&["ticket", "retry", "account-2"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.certified("account-2"), (2, 6));
}

/// Something puts a subscription back after all is done and before the certificate is made.
#[test]
fn lesson_03_what_is_back_before_the_certificate_refuses_it() {
    let company = Company::open();
    company.file(&[1, 4], "account");
    company.dies_at("after-verifying=return");
    let left = company.list.read("list");
    company.list.say("list", &format!("{left}777 c1@x.jp\n"));
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(
        company.states(),
        ["account-1 failed E0510", "account-4 completed"]
    );
    let said = company.says(&["ticket", "show", "account-1"], 0);
    let line = said
        .lines()
        .find(|line| line.contains("newsletter") && line.contains("open"));
    assert!(
        line.is_some_and(|line| line.contains("subscriptions")),
        "{said}"
    );
    company.says(&["ticket", "retry", "account-1"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left(), Company::without(&[1, 4]));
    assert_eq!(company.certified("account-1"), (3, 6));
    company.keeps_nothing();
}

/// A place that is down before the certificate keeps its tickets waiting, and nothing is read for them
/// over and over.
#[test]
fn a_place_that_is_down_before_the_certificate_is_waited_for() {
    let company = Company::open();
    company.file(&[1], "account");
    company.dies_at("after-verifying=return");
    company.list.say("down", "");
    let daemon = company.daemon();
    wait_until("a look", LONG, || {
        company
            .list
            .read("calls")
            .lines()
            .last()
            .is_some_and(|c| c.starts_with("probe"))
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(company.states(), ["account-1 verifying"]);
    assert_eq!(
        company.control("SELECT count(*) FROM erasured.sweep_progress"),
        "0"
    );
    company.list.unsay("down");
    wait_until("the ticket to close", LONG, || {
        company.states() == ["account-1 completed"]
    });
    drop(daemon);
    assert_eq!(company.certified("account-1"), (2, 6));
}

/// Of whom nobody can say that they are gone gets no certificate; the others do.
#[test]
fn who_cannot_be_looked_after_fails_alone() {
    let company = Company::open();
    company.file(&[1, 4], "account");
    company.dies_at("after-verifying=return");
    company.list.say("broken-for", "c1@x.jp");
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(
        company.states(),
        ["account-1 failed E0541", "account-4 completed"]
    );
    company.list.unsay("broken-for");
    company.says(&["ticket", "retry", "account-1"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.certified("account-1"), (2, 6));
    company.keeps_nothing();
}

/// The address by which the list knows somebody stands nowhere in what the daemon writes, not while
/// the ticket waits half done either.
#[test]
fn lesson_12_no_address_is_left_behind() {
    let mut company = Company::open();
    company.workspace.configure("[log]\nlevel = \"trace\"");
    company.file(&[1], "account");
    let nowhere = |company: &Company| {
        let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'erasured' AND table_type = 'BASE TABLE'";
        let tables = company.server.query(&company.control, tables);
        assert!(tables.len() > 30);
        for table in tables {
            let table = table[0].as_deref().unwrap();
            let sql =
                format!("SELECT count(*) FROM erasured.{table} t WHERE t::text LIKE '%c1@x.jp%'");
            assert_eq!(company.control(&sql), "0", "{table}");
        }
    };
    let mut daemon = company.workspace.erasured(["run", "--until-idle"]);
    let died = daemon
        .env("FAILPOINTS", "before-place-erase=return")
        .output()
        .unwrap();
    assert_eq!(company.control("SELECT count(*) FROM erasured.found"), "1");
    nowhere(&company);
    company.list.say("broken", "");
    let failed = company.says(&["run", "--until-idle"], 1);
    company.list.unsay("broken");
    company.says(&["ticket", "retry", "account-1"], 0);
    let ended = company.says(&["run", "--until-idle"], 0);
    nowhere(&company);
    let certificate = company.says(&["certificate", "show", "account-1"], 0);
    let died = [died.stdout, died.stderr].concat();
    for said in [String::from_utf8(died).unwrap(), failed, ended, certificate] {
        assert!(!said.is_empty() && !said.contains("c1@x.jp"), "{said}");
    }
    assert_eq!(company.certified("account-1"), (2, 6));
}

#[test]
fn what_the_system_keeps_is_said() {
    let company = Company::open();
    company.list.say("kept", "open-invoice");
    company.file(&[1], "account");
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.list.left().len(), 30);
    assert_eq!(company.certified("account-1"), (0, 6));
    let certificate = company.certificate("account-1");
    let (place, stays) = certificate.places[0].stays().next().unwrap();
    assert_eq!(
        (place, stays.things, stays.reason.as_str()),
        ("subscriptions", 2, "open-invoice")
    );
}

/// A reason stands on a certificate: one that the policy does not list may be somebody's name.
#[test]
fn a_reason_that_the_policy_does_not_list_is_repeated_nowhere() {
    let mut company = Company::open();
    company.workspace.configure("[log]\nlevel = \"trace\"");
    company.list.say("kept", "taro-yamada");
    company.file(&[1], "account");
    let said = company.says(&["run", "--until-idle"], 1);
    let shown = company.says(&["ticket", "show", "account-1"], 0);
    assert_eq!(company.states(), ["account-1 failed E0543"]);
    assert!(
        !format!("{said}{shown}").contains("yamada"),
        "{said}{shown}"
    );
    company.list.unsay("kept");
    company.says(&["ticket", "retry", "account-1"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.certified("account-1"), (2, 6));
}

/// Where something stays the rest is looked after all the same.
#[test]
fn what_comes_back_beside_what_stays_refuses_the_certificate() {
    let company = Company::open();
    company.list.say("keeps", "101");
    company.file(&[1], "account");
    company.dies_at("after-verifying=return");
    let left = company.list.read("list");
    company.list.say("list", &format!("{left}777 c1@x.jp\n"));
    company.says(&["run", "--until-idle"], 1);
    assert_eq!(company.states(), ["account-1 failed E0510"]);
    company.says(&["ticket", "retry", "account-1"], 0);
    company.says(&["run", "--until-idle"], 0);
    assert_eq!(company.certified("account-1"), (2, 6));
    let certificate = company.certificate("account-1");
    let stays: Vec<_> = certificate.places[0]
        .stays()
        .map(|(_, s)| s.things)
        .collect();
    assert_eq!(stays, [1]);
}

#[test]
fn what_takes_its_time_is_asked_again() {
    let company = Company::open();
    company.list.say("pending", "1");
    company.file(&[1], "account");
    let daemon = company.daemon();
    wait_until("the ticket to close", LONG, || {
        company.states() == ["account-1 completed"]
    });
    drop(daemon);
    assert_eq!(company.certified("account-1"), (2, 6));
    assert_eq!(company.list.left(), Company::without(&[1]));
}

/// The address was changed after the ticket was filed: both are looked for. Somebody else's is not.
#[test]
fn the_person_is_looked_for_by_every_name_and_nobody_else_by_theirs() {
    let company = Company::open();
    company.file(&[1, 2], "account");
    company.dies_at("before-begin=return");
    company.server.execute(
        &company.shop,
        "UPDATE customer SET email = 'new@x.jp' WHERE id = 1; UPDATE customer SET email = 'c3@x.jp' WHERE id = 2",
    );
    let left = company.list.read("list");
    company.list.say("list", &format!("{left}500 new@x.jp\n"));
    let daemon = company.daemon();
    let ended = || company.states() == ["account-1 completed", "account-2 failed E0407"];
    wait_until("both to end", LONG, ended);
    drop(daemon);
    assert_eq!(company.list.left(), Company::without(&[1]));
    assert_eq!(company.certified("account-1"), (3, 6));
    // Nothing of whoever shares an address went.
    assert_eq!(
        company.count("SELECT count(*) FROM letter WHERE customer IN (2, 3)"),
        10
    );
}

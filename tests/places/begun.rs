//! When a ticket has begun: from then on it goes to its end, and until then it is asked whether it may.

use crate::company::{Company, POLICY};
use crate::support::wait_until;
use std::time::Duration;

/// Where a daemon dies when things are found and none can have gone.
const BEFORE: [&str; 2] = ["after-found=return", "before-place-mark=return"];
/// Where some may have gone.
const BEHIND: [&str; 2] = ["before-place-erase=return", "after-place-erased=return"];

const RULE: &str = r#"
[[retention]]
name     = "members"
table    = "shop.public.customer"
people   = true
scope    = "account"
at_most  = 5
since    = "seen_on"
keep     = "5 years"
action   = "delete"
because  = "our terms, section 9"
timezone = "Asia/Tokyo"
"#;

/// Customer 1 has not been seen for years, and a rule has filed a ticket for that.
fn due() -> Company {
    let company = Company::with(&format!("{POLICY}{RULE}"));
    let long_ago = "UPDATE customer SET seen_on = current_date - 3000 WHERE id = 1";
    company.server.execute(&company.shop, long_ago);
    let run = company.says(&["retention", "run", "members", "--format", "json"], 0);
    assert!(
        run.contains("\"filed\": 1") || run.contains("\"filed\":1"),
        "{run}"
    );
    company
}

fn comes_back(company: &Company) {
    let today = "UPDATE customer SET seen_on = current_date WHERE id = 1";
    company.server.execute(&company.shop, today);
}

fn ended(company: &Company) -> String {
    company.control("SELECT string_agg(state, ' ') FROM erasured.ticket")
}

/// What is found is not yet gone: whoever comes back behind that stays.
#[test]
fn who_comes_back_before_anything_has_gone_stays() {
    for point in BEFORE {
        println!("dies at {point}");
        let company = due();
        company.dies_at(point);
        assert_eq!(company.control("SELECT count(*) FROM erasured.found"), "1");
        comes_back(&company);
        company.says(&["run", "--until-idle"], 0);
        assert_eq!(ended(&company), "rejected", "{point}");
        assert_eq!(company.list.left().len(), 30, "{point}");
        assert_eq!(company.count("SELECT count(*) FROM customer"), 20);
        company.keeps_nothing();
    }
}

/// Nobody is left half erased.
#[test]
fn who_comes_back_when_something_may_have_gone_goes_whole() {
    for point in BEHIND {
        println!("dies at {point}");
        let company = due();
        company.dies_at(point);
        comes_back(&company);
        company.says(&["run", "--until-idle"], 0);
        assert_eq!(ended(&company), "completed", "{point}");
        assert_eq!(company.list.left(), Company::without(&[1]), "{point}");
        assert_eq!(company.count("SELECT count(*) FROM customer"), 19);
        company.keeps_nothing();
    }
}

/// A step that is done says only that somebody has looked: it is what went that counts.
#[test]
fn a_place_with_nothing_in_it_is_no_beginning() {
    for empty in [true, false] {
        let company = due();
        if empty {
            company.list.say("list", "2 c2@x.jp\n");
        }
        company.dies_at("after-place-done=return");
        comes_back(&company);
        company.says(&["run", "--until-idle"], 0);
        let (state, left) = if empty {
            ("rejected", 20)
        } else {
            ("completed", 19)
        };
        assert_eq!(ended(&company), state);
        assert_eq!(company.count("SELECT count(*) FROM customer"), left);
    }
}

/// Who has approved a rule has not approved that more goes of the same people.
#[test]
fn a_place_more_is_approved_anew() {
    let asks = RULE.replace("timezone", "approval = \"first\"\ntimezone");
    let company = Company::with(&format!("{POLICY}{asks}"));
    let write = |places: &str| {
        let policy = format!("{POLICY}{asks}{places}");
        company.workspace.write_policy("customer.toml", &policy);
        // What may be asked for is published by a daemon.
        company.says(&["run", "--until-idle"], 0);
    };
    let run = |code: i32| company.says(&["retention", "run", "members"], code);
    let asked = |what: &str| {
        let said = run(1);
        assert!(said.contains("E0526"), "{what}: {said}");
        let shown = company.says(&["retention", "approve", "members"], 0);
        assert!(shown.contains(what), "{shown}");
        company.says(&["retention", "approve", "members", "--rows", "1"], 0);
    };
    let due = |n: u32| {
        let sql = format!("UPDATE customer SET seen_on = current_date - 3000 WHERE id = {n}");
        company.server.execute(&company.shop, &sql);
    };
    due(1);
    asked("newsletter.subscriptions");
    run(0);
    due(2);
    run(0);
    due(3);
    let more =
        "[[place]]\nsystem = \"newsletter\"\nname = \"letters\"\nidentifiers = [\"email\"]\n";
    write(more);
    asked("newsletter.letters");
    run(0);
    due(4);
    // The same place by another way is another place.
    write(&more.replace("\"email\"", "\"member_no\""));
    asked("newsletter.letters");
    run(0);
}

/// Within one try too: the database does not ask again what the list has decided.
#[test]
fn who_comes_back_between_the_list_and_the_rows_goes_at_the_first_try() {
    let company = due();
    let mut daemon = company.workspace.process(["run", "--until-idle"]);
    let mut daemon = daemon
        .env("FAILPOINTS", "after-place-done=sleep(3000)")
        .spawn()
        .unwrap();
    let gone = || company.list.left() == Company::without(&[1]);
    wait_until("the list to be done", Duration::from_secs(60), gone);
    comes_back(&company);
    assert!(daemon.wait().unwrap().success());
    assert_eq!(ended(&company), "completed");
    let again = "SELECT count(*) FROM erasured.ledger WHERE entry LIKE '%executing%' AND entry LIKE '%E0501%'";
    assert_eq!(company.control(again), "0", "it was not put off");
}

/// Signs of an impostor stop who has not begun, and nobody else.
#[test]
fn signs_stop_only_whoever_has_not_begun() {
    let changed =
        "identity.changed.email = { column = \"email_changed_at\", within = \"14 days\" }\n";
    let asks = "scope.account = { tables = \"all\", verify = { at_least = \"reasonably-high\" }";
    let account = "scope.account = { tables = \"all\", verify = { at_least = \"basic\" }";
    let policy = POLICY.replace(account, &format!("{changed}{asks}"));
    assert_ne!(policy, POLICY);
    let points = BEFORE.iter().map(|point| (point, false));
    for (point, begun) in points.chain(BEHIND.iter().map(|point| (point, true))) {
        println!("dies at {point}");
        let company = Company::with(&policy);
        company.file(&[1], "account");
        company.dies_at(point);
        let now = "UPDATE customer SET email_changed_at = now() WHERE id = 1";
        company.server.execute(&company.shop, now);
        let signs = "SELECT count(*) FROM erasured.sign";
        if begun {
            company.says(&["run", "--until-idle"], 0);
            assert_eq!(company.states(), ["account-1 completed"], "{point}");
            assert_eq!(company.list.left(), Company::without(&[1]), "{point}");
            assert_eq!(company.control(signs), "0", "{point}");
        } else {
            company.says(&["run", "--until-idle"], 1);
            assert_eq!(company.states(), ["account-1 failed E0524"], "{point}");
            assert_eq!(company.list.left().len(), 30, "{point}");
            assert_eq!(company.control(signs), "1", "{point}");
        }
    }
}

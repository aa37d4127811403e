//! The adapter of programs, against a program.

use crate::list::List;
use crate::support::{blocking, wait_until};
use erasured::config::place::{PlaceSystem, Reached, command};
use erasured::plan::{Identifiers, Wanted};
use erasured::system::place::{Address, Erased, Failed, Person, System};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn system(list: &List, timeout: Duration) -> System {
    let command = command::Command {
        command: list.command(),
    };
    let reached = Reached::Command(command);
    System::new(
        "newsletter",
        &PlaceSystem {
            timeout,
            concurrency: std::num::NonZeroUsize::MIN,
            reached,
        },
    )
}

fn named(pairs: &[(&str, &str)]) -> Person {
    let pairs = pairs.iter();
    let values: BTreeMap<_, _> = pairs
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
        .collect();
    Person {
        request: Uuid::from_u128(7),
        wanted: match values.is_empty() {
            true => Vec::new(),
            false => vec![Wanted::Person(Identifiers(values))],
        },
    }
}

fn ids(found: &[Vec<Address>]) -> Vec<Vec<&str>> {
    let text = |address: &Address| -> &'static str {
        String::from_utf8(address.bytes().to_vec()).unwrap().leak()
    };
    found
        .iter()
        .map(|one| one.iter().map(text).collect())
        .collect()
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn what_is_found_is_erased_and_nothing_else() {
    let list = List::of(&[
        ("1", "a@x.jp"),
        ("2", "b@x.jp"),
        ("3", "a@x.jp"),
        ("4", "c@x.jp"),
    ]);
    let system = system(&list, SOON);
    let people = [
        named(&[("email", "a@x.jp"), ("member_no", "M-1")]),
        named(&[]),
        named(&[("email", "nobody@x.jp")]),
        named(&[("email", "c@x.jp")]),
    ];
    blocking(async {
        system.check().await.unwrap();
        let found = system.find("letters", &people).await.unwrap();
        assert_eq!(ids(&found), [vec!["1", "3"], vec![], vec![], vec!["4"]]);
        let erased = system.erase("letters", &people, &found).await.unwrap();
        assert_eq!(erased, vec![Erased::Gone; 4]);
        assert_eq!(list.left(), ["2"]);
        // What is gone already is no failure.
        let again = system.erase("letters", &people, &found).await.unwrap();
        assert_eq!(again, erased);
        let left = system.probe("letters", &people, &found).await.unwrap();
        assert!(left.iter().all(Vec::is_empty));
    });
    // Whoever has no identifier is not asked about, and the same request is known again.
    let asked: serde_json::Value = serde_json::from_str(&list.read("last")).unwrap();
    assert_eq!(asked["do"], "probe");
    assert_eq!(asked["version"], 1);
    let people = asked["people"].as_array().unwrap();
    assert_eq!(people.len(), 3);
    assert_eq!(people[0]["request"], Uuid::from_u128(7).to_string());
    assert_eq!(people[0]["found"], serde_json::json!(["1", "3"]));
    assert_eq!(list.read("calls").lines().next(), Some("check None 0"));
}

#[test]
fn nobody_known_is_no_call() {
    let list = List::of(&[]);
    let system = system(&list, SOON);
    let found = blocking(async { system.find("letters", &[named(&[])]).await.unwrap() });
    assert!(ids(&found)[0].is_empty());
    assert_eq!(list.read("calls"), "");
}

fn failure(list: &List, timeout: Duration) -> Failed {
    let person = [named(&[("email", "taro@example.jp")])];
    let found = blocking(async { system(list, timeout).find("letters", &person).await });
    let failed = found.err().unwrap();
    assert!(!failed.problem.contains("taro"), "{failed}");
    assert!(failed.problem.starts_with("newsletter: "), "{failed}");
    failed
}

#[test]
fn how_it_ends_says_whether_to_try_again() {
    let list = List::of(&[]);
    for (name, text, transient) in [
        ("down", "", true),
        ("broken", "", false),
        ("garbage", "taro@example.jp", false),
        ("garbage", r#"{"people": []}"#, false),
        (
            "garbage",
            r#"{"people": [{"found": [], "email": "taro@example.jp"}]}"#,
            false,
        ),
        ("endless", "", false),
    ] {
        list.say(name, text);
        let failed = failure(&list, SOON);
        assert_eq!(failed.transient, transient, "{name}: {failed}");
        list.unsay(name);
    }
    let nowhere = command::Command {
        command: vec!["/nonexistent/program".into()],
    };
    let reached = Reached::Command(nowhere);
    let system = System::new(
        "x",
        &PlaceSystem {
            concurrency: std::num::NonZeroUsize::MIN,
            timeout: SOON,
            reached,
        },
    );
    let failed = blocking(async { system.check().await.unwrap_err() });
    assert!(failed.transient, "{failed}");
}

/// Neither the program nor what it has started outlives the time it was given.
#[test]
fn a_slow_program_is_ended_with_all_its_children() {
    let list = List::of(&[]);
    list.say("slow", "600");
    list.say("child", "yes");
    let begun = Instant::now();
    let failed = failure(&list, Duration::from_secs(3));
    assert!(
        failed.transient && failed.problem.contains("no answer within"),
        "{failed}"
    );
    assert!(begun.elapsed() < Duration::from_secs(15));
    let child: u32 = list.read("child").parse().unwrap();
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
        // One that nobody has waited for yet is dead too.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    wait_until("the child to end", Duration::from_secs(10), || !runs());
}

#[test]
fn what_a_system_keeps_is_a_word() {
    let list = List::of(&[("1", "a@x.jp")]);
    let system = system(&list, SOON);
    let person = [named(&[("email", "a@x.jp")])];
    let erase = || {
        blocking(async {
            let found = system.find("letters", &person).await.unwrap();
            system.erase("letters", &person, &found).await
        })
    };
    list.say("kept", "open-invoice");
    assert_eq!(erase().unwrap(), [Erased::Kept("open-invoice".into())]);
    for bad in ["Taro Yamada", "", "taro@example.jp", "-x", &"x".repeat(41)] {
        list.say("kept", bad);
        let failed = erase().unwrap_err();
        assert!(
            !failed.transient && !failed.problem.contains("aro"),
            "{failed}"
        );
    }
    list.unsay("kept");
    list.say("pending", "1");
    assert_eq!(erase().unwrap(), [Erased::Pending]);
    assert_eq!(erase().unwrap(), [Erased::Gone]);
}

//! `[[place]]` in a policy: what is taken, and what is refused.

use erasured::config::place::Kind;
use erasured::policy::place::misfits;
use erasured::policy::{Policy, read::read};
use std::collections::BTreeMap;

const HEAD: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true, excludes = ":/" }
identifier.email = { column = "email", type = "email" }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
table = [{ name = "shop.public.customer", action = "delete" }]
"#;

fn policy(places: &str) -> Result<Policy, Vec<&'static str>> {
    let read = read("customer.toml", &format!("{HEAD}{places}"));
    read.map_err(|found| found.iter().map(|d| d.code).collect())
}

#[test]
fn what_lies_where_is_said_by_templates() {
    let policy = policy(
        r#"
        [[place]]
        system = "cache"
        name = "sessions"
        keys = ["session:{member_no}", "cart:{member_no}:*", "mail:{email}"]
        members = ["{member_no}"]
        in = "online"
        action = "delete"
        [[place]]
        system = "files"
        name = "avatars"
        prefix = ["avatars/{member_no}/"]
        [[place]]
        system = "newsletter"
        name = "letters"
        identifiers = ["email"]
        "#,
    )
    .unwrap();
    let names: Vec<String> = policy.places.iter().map(|p| p.name.to_string()).collect();
    assert_eq!(
        names,
        ["cache.sessions", "files.avatars", "newsletter.letters"]
    );
    assert_eq!(policy.places_of("account").count(), 3);
    assert_eq!(policy.places[0].sought.len(), 4);
}

#[test]
fn mistakes_are_told() {
    let one = |keys: &str| {
        let place = format!("[[place]]\nsystem = \"cache\"\nname = \"a\"\n{keys}\n");
        policy(&place).unwrap_err()
    };
    for (keys, code) in [
        ("", "E0151"),
        ("keys = [\"session\"]", "E0150"),
        ("keys = [\"session:{member_no}*\"]", "E0150"),
        ("keys = [\"mail:{email}:*\"]", "E0150"),
        ("keys = [\"cart:{member_no}-*\"]", "E0150"),
        ("prefix = [\"avatars/{member_no}\"]", "E0150"),
        ("prefix = [\"mail/{email}/\"]", "E0150"),
        ("keys = [\"{member_no}{email}\"]", "E0150"),
        ("keys = [\"{email}:{member_no}\"]", "E0150"),
        ("members = [\"{member_no}:*\"]\nin = \"x\"", "E0150"),
        ("members = [\"{member_no}\"]", "E0109"),
        ("keys = [\"session:{membr_no}\"]", "E0120"),
        ("identifiers = [\"name\"]", "E0120"),
        ("keys = [\"session:{member_no\"]", "E0106"),
        ("keys = []", "E0106"),
        ("keys = [\"a{member_no}\", \"a{member_no}\"]", "E0111"),
        ("keys = [\"a{member_no}\"]\naction = \"keep\"", "E0107"),
        ("keys = [\"a{member_no}\"]\nttl = 1", "E0103"),
    ] {
        assert_eq!(one(keys).first(), Some(&code), "{keys}");
    }
    let twice = "[[place]]\nsystem = \"cache\"\nname = \"a\"\nkeys = [\"a{email}\"]\n".repeat(2);
    assert_eq!(policy(&twice).unwrap_err(), ["E0111"]);
}

/// Whatever parts an application's names: what one template makes of a value another makes of none.
#[test]
fn two_templates_of_one_system_lead_to_no_two_people() {
    let two = |one: &str, other: &str, system: &str| {
        let place = |system: &str, name: &str, template: &str| {
            format!("[[place]]\nsystem = {system:?}\nname = {name:?}\nkeys = [{template:?}]\n")
        };
        policy(&(place("cache", "a", one) + &place(system, "b", other)))
    };
    for (one, other) in [
        ("user-{email}", "user-{email}-cart"),
        ("user-{email}-cart", "user-{email}"),
        ("user-{member_no}", "user-{email}-cart"),
        ("{email}-cart", "user-{email}-cart"),
        ("user-{email}.png", "user-{member_no}/*"),
        ("user/{email}/web", "user/{member_no}/*"),
        ("user/{email}", "user/{member_no}:{email}"),
    ] {
        let mut codes = two(one, other, "cache").unwrap_err();
        codes.dedup();
        assert_eq!(codes, ["E0150"], "{one} {other}");
        // In two systems they are two things.
        two(one, other, "files").unwrap();
    }
    // A login may be somebody else's number. Both are told of it.
    let alike = |system: &str| two("user:{email}", "user:{member_no}", system).map(drop);
    assert_eq!(alike("cache"), Err(vec!["E0150", "E0150"]));
    assert_eq!(alike("files"), Ok(()));
    for (one, other) in [
        ("exports/{email}.zip", "exports/{email}.json"),
        ("session:{email}", "cart:{email}"),
        ("user:{email}", "user:{email}:cart"),
        ("user-{member_no}", "user-{member_no}/cart"),
        ("user-{member_no}/cart", "user-{member_no}/*"),
    ] {
        two(one, other, "cache").unwrap_or_else(|codes| panic!("{one} {other}: {codes:?}"));
    }
}

#[test]
fn a_scope_covers_the_places_that_it_lists() {
    const PLACES: &str = r#"
        [[place]]
        system = "cache"
        name = "sessions"
        keys = ["session:{member_no}"]
        [[place]]
        system = "newsletter"
        name = "letters"
        identifiers = ["email"]
        [category.reach]
        tables = ["newsletter.letters"]
        [scope.marketing]
        categories = ["reach"]
        verify = { at_least = "basic" }
        sla = "jp-appi"
        "#;
    let known = policy(PLACES).unwrap();
    let covered: Vec<String> = known
        .places_of("marketing")
        .map(|p| p.name.to_string())
        .collect();
    assert_eq!(covered, ["newsletter.letters"]);
    let covers = known.scopes["marketing"].extent.covers().unwrap();
    assert_eq!(covers.tables, ["newsletter.letters"]);
    // A part of the scope that may be refused, by its own name and by that of its category.
    let parts: Vec<String> = known.parts("account").into_keys().collect();
    assert_eq!(
        parts,
        [
            "cache.sessions",
            "newsletter.letters",
            "reach",
            "shop.public.customer"
        ]
    );
    let (rest, tables) = known.refusing("account", ["reach"]).unwrap();
    assert!(tables.is_empty());
    let left: Vec<String> = rest
        .places_of("account")
        .map(|p| p.name.to_string())
        .collect();
    assert_eq!(left, ["cache.sessions"]);

    let unknown = PLACES.replace("[\"newsletter.letters\"]", "[\"newsletter.leters\"]");
    assert_eq!(policy(&unknown).unwrap_err(), ["E0120"]);
}

#[test]
fn places_must_fit_the_systems_that_are_there() {
    let policy = policy(
        r#"
        [[place]]
        system = "newsletter"
        name = "letters"
        keys = ["a{member_no}"]
        [[place]]
        system = "cache"
        name = "sessions"
        keys = ["a{member_no}"]
        [[place]]
        system = "newsletter"
        name = "people"
        identifiers = ["member_no"]
        "#,
    )
    .unwrap();
    let kinds = BTreeMap::from([("newsletter".to_owned(), Kind::Command)]);
    let codes: Vec<&str> = misfits(&policy, &kinds).iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E0271", "E0270"]);
}

use super::clocks;
use super::read::{draft, read};
use super::{
    Action, Cover, Extent, IdentifierKind, Level, LinkFrom, LinkTo, Period, Strategy, SweepWhen,
    TruncateTo,
};
use crate::diagnostic::{render, to_json};
use crate::name::QualifiedTable;
use proptest::prelude::{any, prop_assert, proptest};

/// The example of the design, without what later issues bring.
const GOOD: &str = include_str!("../../tests/fixtures/policies/customer.toml");

fn table(name: &str) -> QualifiedTable {
    name.parse().unwrap()
}

#[test]
fn the_designs_policy_reads() {
    let policy =
        read("customer.toml", GOOD).unwrap_or_else(|all| panic!("{}", render(&all, false)));
    assert_eq!(policy.subject, "customer");
    assert_eq!(policy.root.0, table("shop.public.customer"));
    assert_eq!(&GOOD[policy.root.1.clone()], "\"shop.public.customer\"");
    assert_eq!(policy.sha256.len(), 64);

    let email = &policy.identifiers["email"];
    assert_eq!(
        (email.kind.clone(), email.find, email.residual),
        (IdentifierKind::Email, true, true)
    );
    let phone = &policy.identifiers["phone"];
    assert_eq!(
        phone.kind,
        IdentifierKind::Phone {
            region: "JP".into()
        }
    );
    assert!(!phone.find);

    let account = &policy.scopes["account"];
    assert!(account.extent.is_all() && account.four_eyes);
    assert_eq!(
        (account.at_least, account.cooling_off),
        (Level::ReasonablyHigh, chrono::Duration::days(3))
    );
    let Extent::Listed(listed) = &policy.scopes["marketing"].extent else {
        panic!()
    };
    assert_eq!(listed.tables.len(), 2);

    assert_eq!(policy.tables.len(), 7);
    let Action::Anonymize { set } = &policy.tables[1].action else {
        panic!()
    };
    assert_eq!(set["contact_name"].0, Strategy::Null);
    assert_eq!(set["request_note"].0, Strategy::Redact);
    assert_eq!(set["booked_at"].0, Strategy::Truncate(TruncateTo::Month));
    assert_eq!(set["title"].0, Strategy::Constant("様".into()));
    let Action::Retain(retain) = &policy.tables[2].action else {
        panic!()
    };
    assert_eq!(
        retain.until.as_ref().unwrap().plus,
        Period {
            months: 84,
            days: 0
        }
    );
    assert_eq!(retain.because, "jp-ctax-7");
    let link = policy.tables[3].link.as_ref().unwrap();
    assert_eq!(link.from, LinkFrom::Columns(vec!["actor_id".into()]));
    assert_eq!(link.when["actor_type"], "Customer");
    let link = policy.tables[4].link.as_ref().unwrap();
    assert_eq!(
        link.from,
        LinkFrom::Json {
            column: "payload".into(),
            path: vec!["user".into(), "id".into()]
        }
    );
    let link = policy.tables[5].link.as_ref().unwrap();
    assert_eq!(link.to, LinkTo::Identifier("member_no".into()));
    assert!(
        matches!(&policy.tables[6].action, Action::Exempt { reason } if reason.contains("hash"))
    );
    let SweepWhen::Schedule(timetable) = &policy.sweep.when else {
        panic!()
    };
    assert_eq!(timetable.zone, chrono_tz::Asia::Tokyo);
}

fn listing(text: &str) -> String {
    let all = read("p.toml", text).expect_err("it has mistakes");
    render(&all, false);
    let json = to_json(&all);
    let line = |d: &serde_json::Value| {
        let word = |key: &str| d[key].as_str().unwrap().to_owned();
        format!(
            "{}:{} {} {} -> {}",
            d["line"],
            d["column"],
            word("code"),
            word("message"),
            word("help")
        )
    };
    json.as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_mistake_is_told_at_once() {
    insta::assert_snapshot!(listing(r#"
subject = "Customer"
root = "shop.customer"
[identifier.phone]
column = "phone"
type = "phone"
[identifier.mail]
column = 5
type = "emial"
region = "JP"
[scope.a]
tables = ["s.p.a", "s.p.a", "s.p.a.b"]
verify = { at_least = "hihg", cooling_off = "3 moons" }
sla = "jp-api"
[sweep]
schedule = "30 2 * * *"
timezone = "Asia/Tokio"
"#), @r###"
    1:1 E0104 `table` in the file is missing -> say with [[table]] what happens to each table the subject reaches
    2:11 E0106 `subject` in the file cannot be read: it is not a plain name -> use up to 63 lower-case letters, digits, `_` and `-`, with a letter first
    3:8 E0106 `root` in the file cannot be read: a table is written system.schema.table; this has 2 part(s) -> write system.schema.table; a part that holds a dot, a quote or white space stands in double quotes
    6:8 E0113 the phone numbers of [identifier.phone] need a region -> name the country in which numbers without a country code are read, by its two letters: region = "JP"
    8:10 E0105 `column` in [identifier.mail] must be a string, not a whole number -> write a string here
    9:8 E0107 `type` in [identifier.mail] cannot be `emial` -> did you mean `email`?
    10:10 E0113 `region` in [identifier.mail] says nothing: this is no phone number -> remove `region`, or write `type = "phone"`
    12:20 E0111 [scope.a] names `s.p.a` twice -> remove one of the two
    12:29 E0106 `s.p.a.b` cannot be read: a table is written system.schema.table; this has 4 part(s) -> write system.schema.table; a part that holds a dot, a quote or white space stands in double quotes
    13:23 E0107 `at_least` in `verify` in [scope.a] cannot be `hihg` -> did you mean `high`?
    13:45 E0114 `cooling_off` in `verify` in [scope.a] cannot be read: `moons` is no unit of time -> write a number and a unit, such as "200 ms", "60 s", "5 min", "12 hours" or "3 days"
    14:7 E0107 `sla` in [scope.a] cannot be `jp-api` -> did you mean `jp-appi`?
    16:12 E0115 `schedule` in [sweep] cannot be read: it has 5 field(s), not six -> write six fields: second minute hour day month weekday, such as "0 30 2 * * *" for half past two every night
    17:12 E0115 `timezone` in [sweep] cannot be read: `Asia/Tokio` is no time zone -> name it as the tz database does, such as "Asia/Tokyo"
    "###);
}

#[test]
fn every_mistake_of_a_rule_is_told() {
    insta::assert_snapshot!(listing(r#"
subject = "customer"
root = "s.p.customer"
identifier.no = { column = "no", find = true }
scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
[[table]]
name = "s.p.a"
acton = "delete"
[[table]]
name = "s.p.b"
action = "borrowed"
[[table]]
name = "s.p.c"
action = "retain"
until = { column = "x", plus = "7 yeers" }
because = "jp-ctx-7"
[[table]]
name = "s.p.d"
action = "delete"
set = { x = "nul", y = { truncate = "week" }, z = {} }
[[table]]
name = "s.p.d"
action = "delete"
link = { columns = ["a", "b"], to = "t.p.x", key = ["id"] }
[[table]]
name = "s.p.e"
action = "delete"
link = { columns = ["a"], identifier = "on", to = "s.p.x" }
[[table]]
name = "s.p.f"
action = "detach"
[[table]]
name = "s.p.f"
action = "exempt"
reason = "a\u0000b"
[[table]]
name = "s.p.g"
action = "detach"
[[table]]
name = "s.p.g"
action = "delete"
"#), @r###"
    6:1 E0104 `action` in the rule for s.p.a is missing -> one of delete, anonymize, detach, retain, shared, exempt
    8:1 E0103 the rule for s.p.a has no key `acton` -> did you mean `action`?
    11:10 E0107 `action` in the rule for s.p.b cannot be `borrowed` -> known here: delete, anonymize, detach, retain, shared, exempt, decide
    12:1 E0104 `then` in the rule for s.p.c is missing -> say what happens at that date: then = "delete"
    15:32 E0114 `plus` in `until` in the rule for s.p.c cannot be read: `yeers` is no unit of a calendar period -> write such as "7 years", "18 months", "90 days" or "1 year 6 months"
    16:11 E0108 no legal basis has the code `jp-ctx-7` -> did you mean `jp-ctax-7`?
    20:7 E0109 `set` in the rule for s.p.d does not go with action "delete" -> remove it, or make the action anonymize or retain
    20:13 E0107 `x` in `set` in the rule for s.p.d names no strategy: `nul` -> did you mean `null`; a fixed text is written { constant = "…" }, a shortened date { truncate = "year" }
    20:37 E0107 `truncate` in `y` in `set` in the rule for s.p.d cannot be `week` -> known here: year, month
    20:51 E0109 `z` in `set` in the rule for s.p.d must have exactly one of constant, truncate, template, redact, hash, mask, bucket and choose -> write { constant = "…" }, or { truncate = "year" }, or another of them
    24:37 E0118 a link to another system cannot name a table in `link` in the rule for s.p.d -> link by a value both systems have: identifier = "member_no"
    24:52 E0118 `key` and `columns` differ in length in `link` in the rule for s.p.d -> name as many of each
    28:8 E0118 exactly one of `to` and `identifier` must stand in `link` in the rule for s.p.e -> say what it refers to: to = "system.schema.table", or identifier = "member_no"
    28:40 E0112 no identifier is called `on` -> did you mean `no`?
    35:10 E0106 `reason` in the rule for s.p.f holds a NUL character -> remove `\u0000`; PostgreSQL has no text with it
    40:8 E0110 s.p.g is decided twice, first in line 37 -> remove one rule, or give each its own `via` or `link`
    "###);
}

#[test]
fn broken_syntax_is_told_with_the_rest() {
    insta::assert_snapshot!(listing("subject = \"customer\nroot = 5\nfoo\nx = = 1\n"), @r###"
    1:20 E0102 this is not TOML: invalid basic string, expected `"` -> see https://toml.io; strings stand in double quotes, one `key = value` a line
    2:8 E0105 `root` in the file must be a string, not a whole number -> write a string here
    3:4 E0102 this is not TOML: key with no value, expected `=` -> see https://toml.io; strings stand in double quotes, one `key = value` a line
    4:5 E0102 this is not TOML: extra `=`, expected nothing -> see https://toml.io; strings stand in double quotes, one `key = value` a line
    "###);
}

#[test]
fn an_excerpt_helps() {
    let text = GOOD.replace("jp-ctax-7", "jp-ctx-7");
    insta::assert_snapshot!(render(&read("customer.toml", &text).unwrap_err(), false), @r###"
    E0108

      × no legal basis has the code `jp-ctx-7`
        ╭─[customer.toml:48:11]
     47 │ until   = { column = "issued_on", plus = "7 years" }
     48 │ because = "jp-ctx-7"                     # a basis known by code, with its citation
        ·           ─────┬────
        ·                ╰── here
     49 │ then    = "delete"
        ╰────
      help: did you mean `jp-ctax-7`?
    "###);
}

#[test]
fn words_are_a_reason_of_their_own() {
    for because in ["Privacy policy s. 4.2", "社内規程"] {
        let text = GOOD.replace("jp-ctax-7", because);
        assert!(read("p", &text).is_ok(), "{because}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        if let Err(all) = read("p.toml", &text) {
            render(&all, true);
            to_json(&all);
        }
    }

    #[test]
    fn a_damaged_policy_is_survived(at in 0..GOOD.len(), len in 0usize..60, new in "[\\[\\]={}\"'\n.a0#é]{0,4}") {
        let from = GOOD.floor_char_boundary(at);
        let to = GOOD.ceil_char_boundary((at + len).min(GOOD.len()));
        let mut text = GOOD.to_owned();
        text.replace_range(from..to, &new);
        if let Err(all) = read("p.toml", &text) {
            prop_assert!(!all.is_empty());
            prop_assert!(all.iter().all(|d| !d.message.contains("mistake of erasured's")));
            render(&all, false);
            to_json(&all);
        }
    }
}

/// `decide` is read, with whatever is prepared beside it, and keeps the file from being a policy.
#[test]
fn what_is_to_be_decided_is_no_policy() {
    let text = format!(
        "{GOOD}\n[[table]]\nname = \"shop.public.letter\"\naction = \"decide\"\n\
         because = \"jp-ctax-7\"\nset = {{ body = \"null\" }}\n"
    );
    let errors = read("p.toml", &text).unwrap_err();
    let codes: Vec<&str> = errors.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E0119"]);
    assert!(errors[0].message.contains("shop.public.letter"));
    let (_, span) = errors[0].place.clone().unwrap();
    assert_eq!(&text[span], "\"decide\"");
    let read_as_draft = draft("p.toml", &text, clocks::built_in()).unwrap();
    assert_eq!(read_as_draft.open().len(), 1);
    assert_eq!(read_as_draft.so_far().tables.len(), 7);
    assert!(read_as_draft.decided().is_err());

    // It counts as a rule for its rows, and its other keys must be what they are.
    let twice = format!("{text}[[table]]\nname = \"shop.public.letter\"\naction = \"delete\"\n");
    let codes = |text: &str| -> Vec<&str> {
        draft("p", text, clocks::built_in())
            .unwrap_err()
            .iter()
            .map(|d| d.code)
            .collect()
    };
    assert_eq!(codes(&twice), ["E0110"]);
    assert_eq!(
        codes(&text.replace("body = \"null\"", "body = \"nil\"")),
        ["E0107"]
    );
}

/// A policy in which one table is dealt with differently under each of three scopes.
const SCOPED: &str = r#"
    subject = "customer"
    root = "shop.public.customer"
    identifier.no = { column = "no", find = true }
    category.mail = { columns = ["shop.public.customer.mail", "shop.public.invoice.mail"] }
    scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
    scope.mail = { categories = ["mail"], verify = { at_least = "basic" }, sla = "jp-appi" }
    scope.stay = { tables = ["shop.public.customer"], verify = { at_least = "basic" }, sla = "jp-appi" }
    [[table]]
    name = "shop.public.customer"
    action = "delete"
    [[table]]
    name = "shop.public.customer"
    scopes = ["mail", "stay"]
    action = "anonymize"
    set = { mail = "null", name = "redact" }
    [[table]]
    name = "shop.public.invoice"
    action = "retain"
    because = "books are kept"
    set = { mail = "null", name = "redact" }
"#;

#[test]
fn a_rule_for_a_scope_stands_before_one_for_any() {
    let policy = read("f", SCOPED).unwrap();
    let of = |scope: &str| -> Vec<String> {
        let under = policy.under(scope);
        // Once is enough.
        assert_eq!(
            format!("{:?}", under.under(scope).tables),
            format!("{:?}", under.tables)
        );
        let actions = under.tables.iter().map(|rule| match &rule.action {
            Action::Delete => "delete".to_owned(),
            Action::Anonymize { set } => format!("set {:?}", set.keys().collect::<Vec<_>>()),
            Action::Retain(_) => "retain".to_owned(),
            other => panic!("{other:?}"),
        });
        actions.collect()
    };
    assert_eq!(of("all"), ["delete", "retain"]);
    assert_eq!(of("stay"), [r#"set ["mail", "name"]"#, "retain"]);
    assert_eq!(of("mail"), [r#"set ["mail"]"#, r#"set ["mail"]"#]);
    let invoice = &policy.tables[2].table;
    let covers = |scope: &str| policy.scopes[scope].extent.of(invoice);
    assert!(matches!(covers("all"), Cover::Whole));
    assert!(matches!(covers("mail"), Cover::Columns(_)));
    assert!(covers("stay").is_nothing());
}

#[test]
fn contradictions_between_scopes_are_refused() {
    for (from, to, codes) in [
        (
            "categories = [\"mail\"]",
            "categories = [\"post\"]",
            "E0120",
        ),
        ("categories = [\"mail\"]", "categories = []", "E0106"),
        (
            "categories = [\"mail\"]",
            "categories = [\"mail\", \"mail\"]",
            "E0111",
        ),
        (
            "categories = [\"mail\"]",
            "tables = [\"shop.public.customer\"], categories = [\"mail\"]",
            "E0121",
        ),
        (
            "categories = [\"mail\"]",
            "tables = \"all\", categories = [\"mail\"]",
            "E0109",
        ),
        ("categories = [\"mail\"],", "", "E0104"),
        (
            "category.mail = {",
            "category.void = {}\ncategory.mail = {",
            "E0120",
        ),
        (
            "category.mail = {",
            "category.Mail = { tables = [\"a.b.c\"] }\ncategory.mail = {",
            "E0106",
        ),
        (
            "\"shop.public.invoice.mail\"",
            "\"public.invoice.mail\"",
            "E0106",
        ),
        (
            "\"shop.public.invoice.mail\"",
            "\"shop.public.\\\"customer\\\".mail\"",
            "E0111",
        ),
        (
            "scopes = [\"mail\", \"stay\"]",
            "scopes = [\"mail\", \"sty\"]",
            "E0120",
        ),
        ("scopes = [\"mail\", \"stay\"]", "scopes = []", "E0106"),
        ("scopes = [\"mail\", \"stay\"]", "", "E0110"),
        (
            "action = \"retain\"",
            "scopes = [\"stay\"]\naction = \"retain\"",
            "E0121",
        ),
        (
            "action = \"delete\"",
            "scopes = [\"stay\"]\naction = \"delete\"",
            "E0121",
        ),
    ] {
        let text = SCOPED.replacen(from, to, 1);
        assert_ne!(text, SCOPED, "{from}");
        let found = read("f", &text).unwrap_err();
        let mut said: Vec<&str> = found.iter().map(|d| d.code).collect();
        said.sort_unstable();
        assert_eq!(said.join(" "), codes, "{to}");
    }
}

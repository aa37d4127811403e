use super::read::read;
use super::{Action, IdentifierKind, Level, LinkFrom, LinkTo, Period, ScopeTables, Strategy, SweepWhen, TruncateTo};
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
    assert!(matches!(account.tables, ScopeTables::All) && account.four_eyes);
    assert_eq!(
        (account.at_least, account.cooling_off),
        (Level::ReasonablyHigh, chrono::Duration::days(3))
    );
    let ScopeTables::Listed(listed) = &policy.scopes["marketing"].tables else {
        panic!()
    };
    assert_eq!(listed.len(), 2);

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
    let SweepWhen::Schedule { timezone, .. } = &policy.sweep.when else {
        panic!()
    };
    assert_eq!(*timezone, chrono_tz::Asia::Tokyo);
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
tables = ["s.p.a", "s.p.a", "s.p"]
verify = { at_least = "hihg", cooling_off = "3 moons" }
sla = "jp-api"
[sweep]
schedule = "30 2 * * *"
timezone = "Asia/Tokio"
"#), @"");
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
action = "shared"
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
"#), @"");
}

#[test]
fn broken_syntax_is_told_with_the_rest() {
    insta::assert_snapshot!(listing("subject = \"customer\nroot = 5\nfoo\nx = = 1\n"), @"");
}

#[test]
fn an_excerpt_helps() {
    let text = GOOD.replace("jp-ctax-7", "jp-ctx-7");
    insta::assert_snapshot!(render(&read("customer.toml", &text).unwrap_err(), false), @"");
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

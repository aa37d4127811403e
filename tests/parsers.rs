//! What reads other people's text, under random input: policies, identifiers, the paths of links,
//! certificates. `PROPTEST_CASES=100000 cargo test --test parsers` looks longer.

#![allow(clippy::unwrap_used)] // a test may

#[path = "support/mod.rs"]
mod support;

#[path = "support/parts.rs"]
#[allow(dead_code)] // the lessons use the rest
mod parts;

#[path = "lessons/target.rs"]
#[allow(dead_code)] // the lessons use the rest
mod target;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use erasured::certificate::{Certificate, sign, verify};
use erasured::diagnostic::{Diagnostic, render, to_json};
use erasured::identifier::{normalise, phone_variants};
use erasured::keys::{KeyRing, SigningKey};
use erasured::name::{QualifiedColumn, QualifiedTable, TableName};
use erasured::policy::read::{draft, read};
use erasured::policy::{IdentifierKind, LinkFrom, clocks};
use erasured::{explanation, lineage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::LazyLock;

/// As many cases as `PROPTEST_CASES` says; what fails is shown, and no file written.
fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// ── Policies ─────────────────────────────────────────────────────────────────────────────────────

/// Policies that read well, between them with every key there is.
static POLICIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut policies = vec![
        include_str!("fixtures/policies/customer.toml").to_owned(),
        include_str!("../policies/travel/customer.toml").to_owned(),
    ];
    for document in [
        include_str!("../docs/policies.md"),
        include_str!("../docs/shapes.md"),
    ] {
        let parts = parts::blocks(document).into_iter();
        let parts = parts.filter(|b| b.info.starts_with("toml part of a policy"));
        policies.extend(parts.map(|b| parts::policy(&b.body)));
    }
    policies
});

/// What a hand may do to a line.
#[derive(Clone, Debug)]
enum Slip {
    Drop(Index),
    Twice(Index),
    Swap(Index, Index),
    /// A line of another policy.
    Foreign(Index, Index, Index),
    /// A value becomes another.
    Value(Index, &'static str),
    /// Some characters become others.
    Splice(Index, usize, String),
}

const VALUES: [&str; 22] = [
    "\"\"",
    "\"all\"",
    "\"*\"",
    "1",
    "-1",
    "1.5",
    "true",
    "[]",
    "[\"\"]",
    "[[1]]",
    "{}",
    "{ a = 1 }",
    "\"a.b.c\"",
    "\"a.b.c.d\"",
    "[\"a.b.c.d\"]",
    "\"null\"",
    "\"\\u0000\"",
    "\"\\\"\"",
    "'''",
    "1979-05-27T07:32:00Z",
    "\"delete\"",
    "9223372036854775808",
];

fn slip() -> impl Strategy<Value = Slip> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Slip::Drop),
        at().prop_map(Slip::Twice),
        (at(), at()).prop_map(|(a, b)| Slip::Swap(a, b)),
        (at(), at(), at()).prop_map(|(a, b, c)| Slip::Foreign(a, b, c)),
        (at(), select(&VALUES[..])).prop_map(|(a, v)| Slip::Value(a, v)),
        (at(), 0usize..60, "[\\[\\]={}\"'\n.,a0#é\u{3000}]{0,4}")
            .prop_map(|(a, n, new)| Slip::Splice(a, n, new)),
    ]
}

fn slipped(policy: &str, all: &[String], slips: &[Slip]) -> String {
    let mut lines: Vec<String> = policy.lines().map(str::to_owned).collect();
    for slip in slips {
        let end = lines.len();
        if end == 0 {
            break;
        }
        match slip {
            Slip::Drop(at) => drop(lines.remove(at.index(end))),
            Slip::Twice(at) => lines.push(lines[at.index(end)].clone()),
            Slip::Swap(a, b) => lines.swap(a.index(end), b.index(end)),
            Slip::Foreign(at, policy, line) => {
                let foreign: Vec<&str> = policy.get(all).lines().collect();
                lines.insert(at.index(end), line.get(&foreign).to_string());
            }
            Slip::Value(at, value) => {
                let line = &mut lines[at.index(end)];
                if let Some((key, _)) = line.clone().split_once('=') {
                    *line = format!("{key}= {value}");
                }
            }
            Slip::Splice(at, len, new) => {
                let mut text = lines.join("\n");
                let at = at.index(text.len() + 1);
                let from = text.floor_char_boundary(at);
                let to = text.ceil_char_boundary((at + len).min(text.len()));
                text.replace_range(from..to, new);
                lines = text.lines().map(str::to_owned).collect();
            }
        }
    }
    lines.join("\n")
}

/// Each refusal has a code that is explained, a place in the file, and can be shown.
fn stands(text: &str, refused: &[Diagnostic]) -> Result<(), TestCaseError> {
    prop_assert!(!refused.is_empty());
    for told in refused {
        prop_assert!(explanation::find(told.code).is_ok(), "{}", told.code);
        prop_assert!(
            !told.message.contains("mistake of erasured's"),
            "{}",
            told.message
        );
        let place = told.place.as_ref();
        let (_, span) =
            place.ok_or_else(|| TestCaseError::fail(format!("{} has no place", told.code)))?;
        prop_assert!(
            text.get(span.clone()).is_some(),
            "{} at {span:?} of {}",
            told.code,
            text.len()
        );
    }
    render(refused, true);
    to_json(refused);
    Ok(())
}

/// Reading survives; what it takes is in force under each of its scopes, once and for all.
fn is_read_or_refused(text: &str) -> Result<(), TestCaseError> {
    if let Err(refused) = draft("p.toml", text, clocks::built_in()) {
        stands(text, &refused)?;
    }
    match read("p.toml", text) {
        Err(refused) => stands(text, &refused)?,
        Ok(policy) => {
            for scope in policy.scopes.keys() {
                let under = policy.under(scope);
                let again = under.under(scope);
                prop_assert_eq!(format!("{:?}", under.tables), format!("{:?}", again.tables));
                prop_assert!(under.tables.len() <= policy.tables.len());
            }
            lineage::systems_of(&policy);
        }
    }
    Ok(())
}

#[test]
fn the_policies_to_be_damaged_read_well() {
    let read_well = POLICIES
        .iter()
        .filter(|text| read("p", text).is_ok())
        .count();
    assert!(read_well > 30, "{read_well}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_read_as_a_policy_or_refused(text in any::<String>()) {
        is_read_or_refused(&text)?;
    }

    #[test]
    fn a_damaged_policy_is_read_or_refused(which in any::<Index>(), slips in vec(slip(), 1..6)) {
        let all = POLICIES.as_slice();
        is_read_or_refused(&slipped(&all[which.index(all.len())], all, &slips))?;
    }

    #[test]
    fn names_of_tables_and_columns_read_as_they_are_shown(parts in vec("[^\0]{1,8}", 4)) {
        let table = QualifiedTable {
            system: parts[0].clone(),
            table: TableName::new(&parts[1], &parts[2]),
        };
        prop_assert_eq!(table.to_string().parse(), Ok(table.clone()));
        let column = QualifiedColumn { table: table.clone(), column: parts[3].clone() };
        prop_assert_eq!(table.column(&parts[3]).parse(), Ok(column));
    }

    #[test]
    fn any_text_is_a_name_or_refused(text in any::<String>()) {
        if let Ok(table) = text.parse::<QualifiedTable>() {
            prop_assert_eq!(table.to_string().parse(), Ok(table));
        }
        if let Ok(column) = text.parse::<QualifiedColumn>() {
            prop_assert_eq!(column.table.column(&column.column).parse(), Ok(column));
        }
    }
}

// ── Identifiers ──────────────────────────────────────────────────────────────────────────────────

fn kinds() -> Vec<IdentifierKind> {
    let phones = ["JP", "US", "GB", "DE", "IT", "BR", "IN"];
    let phones = phones.map(|region| IdentifierKind::Phone {
        region: region.into(),
    });
    let others = [
        IdentifierKind::Plain,
        IdentifierKind::Email,
        IdentifierKind::Name,
    ];
    others.into_iter().chain(phones).collect()
}

/// ASCII in its full-width forms.
fn wide(text: &str) -> String {
    let form = |c: char| match c {
        '!'..='~' => char::from_u32(c as u32 + 0xfee0).unwrap(),
        ' ' => '\u{3000}',
        other => other,
    };
    text.chars().map(form).collect()
}

fn of(kind: &IdentifierKind, raw: &str) -> Option<String> {
    normalise(kind, raw).ok().map(|n| n.value().to_owned())
}

proptest! {
    #![proptest_config(config())]

    /// Whatever Unicode has: no panic, no value in an error, and once is enough.
    #[test]
    fn any_text_is_an_identifier_or_refused(raw in any::<String>(), kind in select(kinds())) {
        match normalise(&kind, &raw) {
            Ok(once) => {
                let twice = normalise(&kind, once.value());
                prop_assert!(twice.is_ok(), "the one writing is refused: {:?}", once.value());
                let twice = twice.unwrap();
                prop_assert_eq!(once.value(), twice.value());
            }
            Err(why) => {
                let long = raw.chars().count() > 6;
                prop_assert!(!long || !why.to_string().contains(raw.trim()), "{}", why);
            }
        }
    }

    /// A number of any region, and whatever is made of it, is one number.
    #[test]
    fn a_number_has_one_writing(digits in "[0-9]{4,13}", plus in any::<bool>(), kind in select(kinds())) {
        let raw = if plus { format!("+{digits}") } else { digits };
        let IdentifierKind::Phone { .. } = kind else { return Ok(()) };
        let Some(one) = of(&kind, &raw) else { return Ok(()) };
        prop_assert!(one.starts_with('+') && one[1..].bytes().all(|b| b.is_ascii_digit()), "{one}");
        prop_assert_eq!(of(&kind, &one), Some(one.clone()), "again");
        prop_assert_eq!(of(&kind, &wide(&raw)), Some(one.clone()), "wide");
        let mut spaced = raw.clone();
        spaced.insert(3, '-');
        prop_assert_eq!(of(&kind, &spaced), Some(one.clone()), "with a hyphen");
        let whole = phone_variants(&one).into_iter().any(|v| v == one[1..]);
        prop_assert!(whole, "{} is not among the writings that SQL compares", &one[1..]);
    }

    /// Width, case, composition and outer space do not make another person; another letter does.
    #[test]
    fn writings_of_a_name_meet(
        name in "[\\p{Han}\\p{Hiragana}\\p{Katakana}a-zA-Zéüñçåøß]{1,12}",
        other in "[a-z]{3}",
    ) {
        let kind = IdentifierKind::Name;
        let one = of(&kind, &name).unwrap();
        let decomposed: String = unicode_normalization::UnicodeNormalization::nfd(name.as_str()).collect();
        for writing in [wide(&name), decomposed, format!(" {name}\u{3000}"), name.to_lowercase()] {
            prop_assert_eq!(of(&kind, &writing), Some(one.clone()), "{}", writing);
        }
        let spread: String = name.chars().flat_map(|c| [c, ' ']).collect();
        prop_assert_eq!(of(&kind, &spread), Some(one.clone()), "{}", spread);
        prop_assert_ne!(of(&kind, &format!("{name}{other}")), Some(one));
    }
}

// ── Paths ────────────────────────────────────────────────────────────────────────────────────────

/// A step that tries to leave the literal it stands in.
fn step() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0*]{0,6}",
        select(
            &[
                "'",
                "''",
                "\\'",
                "\\",
                "\\\\",
                "\"",
                "]",
                "']::text[])) OR true --",
                "$1",
                "{a,b}",
                "NULL",
                "null",
                ",",
                "0",
                "-1",
                "'); DROP TABLE customer; --",
                "\n",
                "E'",
                "/*",
                "名",
                "%",
                "?"
            ][..]
        )
        .prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = Vec<String>> {
    vec(step(), 1..4).prop_filter("a star has a meaning of its own", |path| {
        path.iter().all(|step| step != "*")
    })
}

/// A rule for `doc_N`, linked at this path.
fn linked(at: usize, path: &[String]) -> String {
    let path = toml::Value::from(path.to_vec());
    format!(
        "[[table]]\nname = \"s.public.doc_{at}\"\naction = \"delete\"\n\
         link = {{ json = {{ column = \"payload\", path = {path} }}, to = \"s.public.customer\" }}\n"
    )
}

fn of_paths(paths: &[Vec<String>]) -> String {
    let rules = paths.iter().enumerate().map(|(at, path)| linked(at, path));
    let root = "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n";
    target::head("s.public.customer") + root + &rules.collect::<String>()
}

proptest! {
    #![proptest_config(config())]

    /// What the file says is what is linked, step by step.
    #[test]
    fn a_path_is_read_as_it_is_written(path in path(), star in any::<bool>(), behind in path()) {
        let mut written = path.clone();
        if star {
            written.push("*".into());
            written.extend(behind.clone());
        }
        let policy = read("p", &of_paths(&[written])).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        let from = &policy.tables[1].link.as_ref().unwrap().from;
        let column = "payload".to_owned();
        let expected = if star {
            LinkFrom::JsonElements { column, list: path, path: behind }
        } else {
            LinkFrom::Json { column, path }
        };
        prop_assert_eq!(from, &expected);
    }
}

/// A document with this at the path.
fn document(path: &[String], value: i64) -> String {
    let value = path.iter().rev().fold(
        serde_json::json!(value),
        |inner, step| serde_json::json!({ step.as_str(): inner }),
    );
    value.to_string().replace('\'', "''")
}

/// Hostile paths stay inside their literals: by each of them goes one person's document, and no
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_find_what_stands_there() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::default();
    let mut paths: Vec<Vec<String>> = Vec::new();
    while paths.len() < 40 {
        paths.push(path().new_tree(&mut runner).unwrap().current());
    }
    let mut schema = String::from(
        "CREATE TABLE customer (id int PRIMARY KEY, email text);
         INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');",
    );
    for (at, path) in paths.iter().enumerate() {
        let elsewhere: Vec<String> = path.iter().chain([&"x".to_owned()]).cloned().collect();
        schema += &format!(
            "CREATE TABLE doc_{at} (id int PRIMARY KEY, payload jsonb);
             INSERT INTO doc_{at} VALUES (1, '{}'), (2, '{}'), (3, '{}'), (4, '{{}}'), (5, NULL);",
            document(path, 1),
            document(path, 2),
            document(&elsewhere, 1),
        );
    }
    let target = target::Target::new(&schema);
    let planned = target.plan(&of_paths(&paths)).await;
    let planned = planned.unwrap_or_else(|e| panic!("{}", target::told(&e)));
    target.run(&planned, &[target::subject(1)]).await.unwrap();
    for (at, path) in paths.iter().enumerate() {
        let left = target.value(&format!(
            "SELECT string_agg(id::text, ',' ORDER BY id) FROM doc_{at}"
        ));
        assert_eq!(left, "2,3,4,5", "{path:?}");
    }
}

// ── Certificates ─────────────────────────────────────────────────────────────────────────────────

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn ring() -> KeyRing {
    KeyRing::from_iter([key().public()])
}

fn certificate() -> Certificate {
    let at = "2026-11-24T04:05:30Z";
    let id = "01935a2e-7c11-7a01-9c3e-1f2e3d4c5b6a";
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let json = serde_json::json!({
        "format": 1, "id": id, "issued_at": at, "supplements": null,
        "ticket": {
            "id": id, "reference": "CC-1", "subject": "customer", "scope": "newsletter",
            "covers": { "categories": ["marketing"], "tables": ["s.p.t"], "columns": ["s.p.u.c"] },
            "refused": [{ "part": "s.p.t", "ground": "contract", "ja": "契約", "en": "a contract" }],
            "ground": "jp-appi-35", "requested_at": at, "due_at": at, "not_before": null,
            "started_at": at, "finished_at": at, "sla_profile": "jp-appi", "sla_met": true, "when_due": "late",
        },
        "subject_hash": hash,
        "identifiers": [{ "kind": "email", "hash": hash }],
        "policy": { "file": "customer.toml", "sha256": hash, "subject": "customer" },
        "systems": [], "sweep": [],
        "identity": {
            "method": "callback", "level": "basic", "required_level": "basic",
            "verified_by_role": "desk", "approved_by_role": null, "four_eyes": false,
        },
        "deferrals": [], "assurance": { "level": "logical", "reached_at": at },
        "program": { "name": "erasured", "version": "0.1.0" },
        "ledger": { "height": 7, "head": hash },
    });
    serde_json::from_value(json).unwrap()
}

/// Any, and those with a meaning in such texts.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        any::<char>(),
        select(&['=', '.', '-', '_', '+', '/', 'A', '\u{0}'][..])
    ]
}

/// Three parts to a text.
fn joined(parts: &[Vec<u8>]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .collect();
    parts.join(".")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_is_a_certificate(text in any::<String>(), parts in vec(vec(any::<u8>(), 0..80), 3)) {
        prop_assert!(verify(&text, &ring()).is_err());
        prop_assert!(verify(&joined(&parts), &ring()).is_err());
        // Behind a good header, too.
        let genuine = sign(&certificate(), &key());
        let (header, _) = genuine.split_once('.').unwrap();
        let (_, rest) = joined(&parts).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let forged = format!("{header}.{rest}");
        prop_assert!(verify(&forged, &ring()).is_err());
    }

    /// No character of it may be another, missing, or there twice.
    #[test]
    fn a_certificate_with_another_character_is_refused(at in any::<Index>(), new in character(), how in 0..5) {
        let genuine = sign(&certificate(), &key());
        prop_assert!(verify(&genuine, &ring()).is_ok());
        let at = at.index(genuine.len());
        let mut changed = genuine.clone();
        match how {
            0 => changed.replace_range(at..=at, &new.to_string()),
            1 => drop(changed.remove(at)),
            2 => changed.insert(at, new),
            3 => changed.insert(0, new),
            _ => changed.push(new),
        }
        // White space around it is forgiven.
        prop_assume!(changed.trim_ascii() != genuine);
        prop_assert!(verify(&changed, &ring()).is_err(), "{at} {new:?} {how}");
    }

    /// No bit of what it says, of its header and of its signature.
    #[test]
    fn a_certificate_with_another_bit_is_refused(which in 0usize..3, at in any::<Index>(), bit in 0u32..8) {
        let genuine = sign(&certificate(), &key());
        let mut parts: Vec<Vec<u8>> = genuine.split('.').map(|p| URL_SAFE_NO_PAD.decode(p).unwrap()).collect();
        prop_assert_eq!(joined(&parts), genuine);
        let at = at.index(parts[which].len());
        parts[which][at] ^= 1u8 << bit;
        prop_assert!(verify(&joined(&parts), &ring()).is_err());
    }

    /// Signed by the right key, but something else: refused, whatever it is, and unless it is a
    /// certificate to the letter.
    #[test]
    fn what_the_key_signs_is_a_certificate_or_refused(
        payload in prop_oneof![
            vec(any::<u8>(), 0..60),
            "\\{\"format\": ?[0-9]{1,12},?.{0,20}\\}".prop_map(String::into_bytes),
        ],
        field in any::<Index>(),
        value in select(&["null", "0", "-1", "\"\"", "[]", "{}", "1e400", "\"9999-99-99T99:99:99Z\""][..]),
    ) {
        let genuine = sign(&certificate(), &key());
        let (header, _) = genuine.split_once('.').unwrap();
        let signed = |payload: &[u8]| {
            let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
            let signature = URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()));
            verify(&format!("{input}.{signature}"), &ring())
        };
        prop_assert!(signed(&payload).is_err());
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(certificate()).unwrap()).unwrap();
        let name = fields.keys().nth(field.index(fields.len())).unwrap().clone();
        // Read back it says what was signed, or nothing.
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(value) {
            fields.insert(name, value);
            let text = serde_json::to_vec(&fields).unwrap();
            if let Ok(read) = signed(&text) {
                prop_assert_eq!(serde_json::to_value(read).unwrap(), serde_json::Value::Object(fields));
            }
        }
    }
}

//! Who is one person: by their names, in whatever locale the database is.

use crate::server::Database;
use crate::support::{Server, connect};
use crate::{CANARY, code, offer, submit};
use erasured::policy::Level;
use erasured::store::migrate;

const ALIKE: [(&str, &str); 19] = [
    ("hana", "HANA"),
    ("Élise", "ÉLISE"),
    ("Élise", "e\u{301}lise"),
    ("НИНА", "нина"),
    ("ΝΙΚΟΣ", "νικος"),
    ("Straße", "STRASSE"),
    ("STRAẞE", "straße"),
    ("ＨＡＮＡ", "hana"),
    ("ﾊﾅｺ", "ハナコ"),
    ("山田　花子", "山田 花子"),
    ("山田花子", " 山田  花子 "),
    ("Hana Yamada", "hana\u{a0}yamada"),
    ("ha\tna\r\n", "hana"),
    ("ha\u{200b}na", "hana"),
    ("\u{feff}hana", "hana"),
    ("\u{202e}hana\u{202c}", "hana"),
    ("ha\u{ad}na", "hana"),
    ("葛\u{e0100}城", "葛城"),
    ("ha\u{e0041}na", "Hana"),
];
const UNLIKE: [(&str, &str); 6] = [
    ("hana", "hano"),
    ("山田花子", "山田華子"),
    ("É", "E"),
    ("ば", "は"),
    ("ば", "ぱ"),
    ("ハナコ", "はなこ"),
];
/// Without any rule for what is not ASCII; as PostgreSQL is often set up; where I is not i's capital.
const LOCALES: [&str; 3] = [
    "LOCALE 'C'",
    "LOCALE 'C.UTF-8'",
    "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'",
];

/// In every locale the same names are one person's, and others are not.
#[tokio::test]
async fn names_fold_alike_in_every_locale() {
    for locale in LOCALES {
        let db = Database::with(&format!("TEMPLATE template0 ENCODING 'UTF8' {locale}")).await;
        let client = db.client("owner").await;
        let same = "SELECT erasured.folded($1) = erasured.folded($2)";
        for (pairs, expected) in [(&ALIKE[..], true), (&UNLIKE[..], false)] {
            for (one, other) in pairs {
                let row = client.query_one(same, &[one, other]).await.unwrap();
                assert_eq!(
                    row.get::<_, bool>(0),
                    expected,
                    "{locale}: {one:?} {other:?}"
                );
            }
        }
        // Letters with their capitals and smalls, as another program has them.
        let letters = [0x41..0x600, 0x1e00..0x2000, 0xff21..0xff5b]
            .into_iter()
            .flatten()
            .filter_map(char::from_u32)
            // Their capitals are of 2019 and 2024: not in every server's ICU.
            .filter(|c| !['ʂ', 'ƛ', 'ɤ'].contains(c));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for c in letters {
            one.extend([c.to_string(), c.to_string()]);
            other.extend([c.to_uppercase().to_string(), c.to_lowercase().to_string()]);
        }
        let differ = "SELECT coalesce(string_agg(a || ' ' || b, ', '), '') FROM unnest($1::text[], $2::text[]) AS n (a, b) \
                       WHERE erasured.folded(a) <> erasured.folded(b)";
        let row = client.query_one(differ, &[&one, &other]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "", "{locale}");
        // What is neither seen nor said counts for nothing.
        let unseen: Vec<String> = (1..=0x10_ffff_u32)
            .filter_map(char::from_u32)
            .filter(|c| c.is_whitespace() || c.is_control())
            .map(String::from)
            .collect();
        let seen = "SELECT count(*) FROM unnest($1::text[]) c WHERE erasured.folded('a' || c || 'é') <> 'aé' OR erasured.folded('a' || c || 'e') <> 'ae'";
        let row = client.query_one(seen, &[&unseen]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{locale}");
        let again = "SELECT count(*) FROM generate_series(1, 65535) n WHERE n NOT BETWEEN 55296 AND 57343 \
                        AND erasured.folded(chr(n)) <> erasured.folded(erasured.folded(chr(n)))";
        let row = client.query_one(again, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{locale}");
    }
}

/// Four eyes in a database that knows no É: under another writing of the name it is still one person.
#[tokio::test]
async fn one_person_is_not_two_by_another_writing_of_the_name() {
    let db = Database::with("TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'").await;
    let store = db.store("owner");
    store
        .publish_scopes(&[offer("account", true, Level::Basic)])
        .await
        .unwrap();
    let id = submit(&store, "R-1", CANARY).await.unwrap();
    store
        .verify(id, "login", None, Some("Élise Martin"))
        .await
        .unwrap();
    for writing in [
        "ÉLISE MARTIN",
        "e\u{301}lise  martin",
        "\u{200b}Élise\u{a0}Martin",
        "ÉliseMartin",
    ] {
        let refused = store.approve(id, Some(writing)).await;
        assert_eq!(code(refused), "ER008", "{writing:?}");
    }
    store.approve(id, Some("Elise Martin")).await.unwrap();
}

/// A control database that cannot compare names is not made one.
#[tokio::test]
async fn a_control_database_is_in_utf8() {
    let server = Server::start();
    server.create_database("ascii", "SQL_ASCII");
    let mut client = connect(&server.url("ascii")).await;
    let said = migrate(&mut client).await.unwrap_err().to_string();
    assert!(said.contains("must be in UTF8"), "{said}");
}

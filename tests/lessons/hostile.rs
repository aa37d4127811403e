//! Names and values that would like to be SQL, and databases that are not what one expects.

use crate::support::{Server, quoted};
use crate::target::{Target, by_keys, head, subject, totals};
use erasured::policy::IdentifierKind;
use erasured::system::postgres::execute::{NotErased, Subject};
use std::collections::BTreeMap;

/// Names that a careless program would run, cut, fold or lose; each fits in 63 bytes.
const NAMES: &[&str] = &[
    "select",
    "Order Items",
    "a\"b",
    "*/ DROP TABLE victim; --",
    "it's; $$ \\",
    "表名",
    "sixty_three_bytes_of_name_sixty_three_bytes_of_name_sixty_three",
    "a.b",
    "$1",
    "{0} %s",
    "tab\there\nand a line",
];

/// JSON's strings are TOML's too.
fn toml_string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_names() {
    for name in NAMES {
        assert!(name.len() <= 63);
        let q = quoted(name);
        let target = Target::new(&format!(
            "CREATE TABLE victim (id int); INSERT INTO victim VALUES (1);
             CREATE SCHEMA {q};
             CREATE TABLE {q}.{q} ({q} text PRIMARY KEY, email text, note text);
             CREATE TABLE {q}.child ({q} text, n int, note text, PRIMARY KEY ({q}, n), CONSTRAINT {q} FOREIGN KEY ({q}) REFERENCES {q}.{q});
             CREATE TABLE {q}.leaf ({q} text, n int, FOREIGN KEY ({q}, n) REFERENCES {q}.child ON DELETE CASCADE);
             CREATE TABLE {q}.soft (payload jsonb, {q} text, note text);
             INSERT INTO {q}.{q} VALUES ('one', 'one@example.jp', 'x'), ('two', 'two@example.jp', 'x');
             INSERT INTO {q}.child SELECT {q}, n, 'x' FROM {q}.{q}, generate_series(1, 2) n;
             INSERT INTO {q}.leaf SELECT {q}, n FROM {q}.child;
             INSERT INTO {q}.soft SELECT jsonb_build_object({name_literal}, {q}), 'kind', 'x' FROM {q}.{q}",
            name_literal = erasured::system::postgres::quote::literal(name),
        ));
        let system = |table: &str| {
            let table = erasured::name::TableName::new(*name, table);
            let name = erasured::name::QualifiedTable {
                system: "s".into(),
                table,
            };
            toml_string(&name.to_string())
        };
        let column = toml_string(name);
        let root = system(name);
        let policy = head("ROOT").replace("'ROOT'", &root)
            + &format!(
                "[[table]]\nname = {root}\naction = \"delete\"\n\
                 [[table]]\nname = {child}\nvia = {column}\naction = \"delete\"\n\
                 [[table]]\nname = {leaf}\naction = \"delete\"\n\
                 [[table]]\nname = {soft}\nlink = {{ json = {{ column = \"payload\", path = [{column}] }}, to = {root}, when = {{ {column} = \"kind\" }} }}\n\
                 action = \"anonymize\"\nset = {{ {column} = {{ constant = {column} }}, note = \"hash\" }}\n",
                child = system("child"),
                leaf = system("leaf"),
                soft = system("soft"),
            );
        let planned = match target.plan(&policy).await {
            Ok(planned) => planned,
            Err(found) => {
                // A clear refusal is as good as an erasure.
                let said = crate::target::told(&found);
                assert!(
                    name.contains(['\t', '\n']) && said.contains("E0106"),
                    "{name}: {said}"
                );
                continue;
            }
        };
        let dry = target.dry_run(&planned, &[subject("one")]).await;
        let dry = dry.unwrap_or_else(|e| panic!("{name}: {e}"));
        let outcome = target.run(&planned, &[subject("one")]).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(outcome.counts, dry, "{name}");
        assert_eq!(totals(&dry).values().sum::<i64>(), 1 + 2 + 2 + 1, "{name}");
        assert_eq!(target.count("SELECT count(*) FROM victim"), 1);
        for table in [q.as_str(), "child", "leaf"] {
            let left = format!("SELECT string_agg(DISTINCT {q}, ',') FROM {q}.{table}");
            assert_eq!(target.value(&left), "two", "{name}");
        }
        let changed = format!("SELECT {q} FROM {q}.soft WHERE note <> 'x'");
        assert_eq!(target.value(&changed), *name);
        assert!(erasured::plan::show::statements(&planned.plan).contains("BEGIN"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_values() {
    let target = Target::new(
        "CREATE TABLE customer (id text PRIMARY KEY, email text);
         CREATE TABLE note (id serial PRIMARY KEY, who text REFERENCES customer, body text);
         CREATE TABLE optin (email text)",
    );
    let policy = head("s.public.customer")
        + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
           [[table]]\nname = \"s.public.note\"\naction = \"anonymize\"\nset = { who = \"null\", body = \"hash\" }\n\
           [[table]]\nname = \"s.public.optin\"\nlink = { columns = [\"email\"], identifier = \"email\" }\naction = \"delete\"\n";
    let planned = target.plan(&policy).await.unwrap();
    let client = target.client().await;
    let megabyte = "ab'\"\\; --".repeat(1 << 17);
    for value in [
        "it's",
        "'; DROP TABLE customer; --",
        "\\'; \\x00 \\",
        "\"quoted\" {braces} {1,2} NULL null",
        "{\"a\",NULL}",
        "\u{202e}שלום مرحبا",
        "👩‍👩‍👧‍👦 e\u{301}",
        "",
        " ",
        "line\nline\r\t\u{1}",
        megabyte.as_str(),
    ] {
        // A btree holds no key of a megabyte; every other value is a key, too.
        let key = if value.len() > 2000 { "long" } else { value };
        for id in [key, "other"] {
            let text = if id == key { value } else { "other" };
            client
                .execute(
                    "INSERT INTO customer VALUES ($1, $2) ON CONFLICT DO NOTHING",
                    &[&id, &text],
                )
                .await
                .unwrap();
            client
                .execute(
                    "INSERT INTO note (who, body) VALUES ($1, $2)",
                    &[&id, &text],
                )
                .await
                .unwrap();
            client
                .execute("INSERT INTO optin VALUES ($1)", &[&text])
                .await
                .unwrap();
        }
        let form = erasured::identifier::normalise(&IdentifierKind::Plain, value);
        // What no desk could file (too long, empty) is bound all the same.
        let forms = vec![form.map_or_else(|_| value.to_lowercase(), |f| f.value().to_owned())];
        let same = "SELECT count(*) FROM optin WHERE lower(normalize(email, NFKC)) = ANY ($1)";
        let optin: i64 = client.query_one(same, &[&forms]).await.unwrap().get(0);
        assert_eq!(optin, 1, "{forms:?}");
        let one = Subject {
            identifiers: BTreeMap::from([("email".into(), forms)]),
            ..by_keys(&[key.to_owned()])
        };
        let outcome = target.run(&planned, &[one]).await.unwrap();
        assert_eq!(totals(&outcome.counts).values().sum::<i64>(), 3);
        let strangers = "SELECT count(*) FROM customer WHERE id = 'other'";
        assert_eq!(target.count(strangers), 1);
        assert_eq!(
            target.count("SELECT count(*) FROM note WHERE who <> 'other'"),
            0
        );
    }
    // PostgreSQL has no NUL in text: a clear error, without the value, and nothing happens.
    let error = target
        .run(&planned, &[by_keys(&["a\0b".into()])])
        .await
        .err()
        .unwrap();
    let said = error.to_string();
    assert!(
        matches!(error, NotErased::Database(..)) && !said.contains("a\0b"),
        "{said}"
    );
    assert!(said.contains("22021"), "{said}");
}

/// A schema in front of pg_catalog whose operators say yes to everything and whose functions
/// leave a mark.
const HOSTILE: &str = "
CREATE TABLE mark (what text);
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.yes(anyelement, anyelement) RETURNS bool LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.mark VALUES (''operator''); RETURN true; END';
";

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_search_path_changes_nothing() {
    let mut schema = String::from(HOSTILE);
    for ty in [
        "int4",
        "int8",
        "text",
        "varchar",
        "tid",
        "oid",
        "uuid",
        "date",
        "timestamptz",
    ] {
        schema.push_str(&format!(
            "CREATE FUNCTION hostile.yes_{ty}({ty}, {ty}) RETURNS bool LANGUAGE plpgsql AS
               'BEGIN INSERT INTO public.mark VALUES (''{ty}''); RETURN true; END';
             CREATE OPERATOR hostile.= (LEFTARG = {ty}, RIGHTARG = {ty}, FUNCTION = hostile.yes_{ty});
             CREATE OPERATOR hostile.<> (LEFTARG = {ty}, RIGHTARG = {ty}, FUNCTION = hostile.yes_{ty});
             CREATE OPERATOR hostile.> (LEFTARG = {ty}, RIGHTARG = {ty}, FUNCTION = hostile.yes_{ty});\n"
        ));
    }
    for (arguments, returns, names) in [
        ("text", "text", &["lower", "quote_ident", "md5"][..]),
        ("text, text, bool", "text", &["set_config"]),
        ("text", "text", &["current_setting"]),
        ("", "timestamptz", &["now", "clock_timestamp"]),
        ("int4[]", "SETOF int4", &["unnest"]),
        ("varchar", "text", &["lower"]),
        ("text, timestamptz", "timestamptz", &["date_trunc"]),
        ("text, date", "date", &["date_trunc"]),
    ] {
        for name in names {
            schema.push_str(
                &format!(
                "CREATE FUNCTION hostile.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql AS
                   'BEGIN INSERT INTO public.mark VALUES (''{name}''); RETURN; END';\n"
            )
                .replace(
                    "RETURN; END",
                    if returns.starts_with("SETOF") {
                        "RETURN; END"
                    } else {
                        "RETURN NULL; END"
                    },
                ),
            );
        }
    }
    schema.push_str(
        "CREATE TYPE hostile.text AS (x int); CREATE DOMAIN hostile.int4 AS pg_catalog.bool;
         CREATE TABLE hostile.customer (id pg_catalog.int4); CREATE TABLE hostile.pg_class (oid pg_catalog.oid);
         CREATE TABLE customer (id int PRIMARY KEY, email varchar(99), born date);
         CREATE TABLE note (id int PRIMARY KEY, who int REFERENCES customer ON DELETE CASCADE, code varchar(30), day date);
         CREATE TABLE visit (who int, page varchar(9), note varchar(30));
         CREATE TABLE badge (who int, kind varchar(9), no varchar(9));
         INSERT INTO badge SELECT n % 2 + 1, CASE WHEN n > 4 THEN 'badge' ELSE 'other' END, 'x' FROM generate_series(1, 8) n;
         CREATE TABLE seen (who int);
         CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (OLD.id); RETURN OLD; END';
         CREATE TRIGGER remember AFTER DELETE ON customer FOR EACH ROW EXECUTE FUNCTION remember();
         INSERT INTO customer VALUES (1, 'one@example.jp', '2000-02-03'), (2, 'two@example.jp', '2000-02-03');
         INSERT INTO note SELECT n, n % 2 + 1, 'code' || n, '2001-02-03' FROM generate_series(1, 8) n;
         INSERT INTO visit SELECT n % 2 + 1, 'page', 'note' FROM generate_series(1, 8) n;",
    );
    for path in [
        "hostile, public",
        "hostile, pg_catalog, public",
        "public, hostile",
        "\"$user\", hostile, public, pg_temp",
    ] {
        let target = Target::new(&schema);
        target.execute(&format!(
            "ALTER DATABASE {} SET search_path = {path}",
            quoted(&target.database)
        ));
        let policy = head("s.public.customer")
            + "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n\
               [[table]]\nname = \"s.public.note\"\naction = \"anonymize\"\nset = { who = \"null\", code = \"hash\", day = { truncate = \"year\" } }\n\
               [[table]]\nname = \"s.public.visit\"\nlink = { columns = [\"who\"], to = \"s.public.customer\", when = { page = \"page\" } }\naction = \"anonymize\"\nset = { who = \"null\", note = { constant = \"-\" } }\n\
               [[table]]\nname = \"s.public.badge\"\nlink = { columns = [\"who\"], to = \"s.public.customer\", when = { kind = \"badge\" } }\naction = \"delete\"\n";
        let planned = target
            .plan(&policy)
            .await
            .unwrap_or_else(|e| panic!("{path}: {}", crate::target::told(&e)));
        let outcome = target
            .run(&planned, &[subject(1)])
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(
            totals(&outcome.counts)
                .values()
                .copied()
                .collect::<Vec<_>>(),
            [2, 1, 4, 4],
            "{path}"
        );
        let others =
            "SET search_path = pg_catalog; SELECT count(*) FROM public.badge WHERE who = 2";
        assert_eq!(
            Server::shared()
                .query(&target.database, others)
                .last()
                .unwrap()[0]
                .as_deref(),
            Some("4"),
            "{path}"
        );
        let marks = "SELECT count(*) FROM public.mark";
        let clean = format!("SET search_path = pg_catalog; {marks}");
        assert_eq!(
            Server::shared()
                .query(&target.database, &clean)
                .last()
                .unwrap()[0]
                .as_deref(),
            Some("0"),
            "{path}"
        );
        let left = "SET search_path = pg_catalog; SELECT count(*) FROM public.note WHERE who = 2 AND code LIKE 'code%'";
        assert_eq!(
            Server::shared()
                .query(&target.database, left)
                .last()
                .unwrap()[0]
                .as_deref(),
            Some("4"),
            "{path}"
        );
        let seen = "SET search_path = pg_catalog; SELECT who FROM public.seen";
        assert_eq!(
            Server::shared()
                .query(&target.database, seen)
                .last()
                .unwrap()[0]
                .as_deref(),
            Some("1"),
            "{path}"
        );
    }
}

/// A database that is not in UTF-8: what its encoding can say works, what it cannot is an error.
#[tokio::test(flavor = "multi_thread")]
async fn other_encodings_work_or_say_so() {
    for (encoding, word, foreign) in [
        ("LATIN1", "Érik çà", "山田"),
        ("EUC_JP", "山田太郎", "👩"),
        ("SQL_ASCII", "plain", "\0"),
    ] {
        let server = Server::shared();
        let database = format!("enc_{}", encoding.to_lowercase());
        server.create_database(&database, encoding);
        let target = Target::of("s", &database);
        let q = quoted(word);
        target.execute(&format!(
            "CREATE TABLE {q} (id text PRIMARY KEY, email text);
             CREATE TABLE note ({q} text REFERENCES {q}, body text, id int PRIMARY KEY);
             CREATE TABLE optin (email text);
             INSERT INTO {q} VALUES ('{word}', '{word}@Example.jp'), ('other', 'other@example.jp');
             INSERT INTO note VALUES ('{word}', '{word}', 1), ('other', '{word}', 2);
             INSERT INTO optin VALUES ('{word}@EXAMPLE.jp'), ('other@example.jp');"
        ));
        let policy = head(&format!("s.public.\"{word}\""))
            + &format!(
                "[[table]]\nname = 's.public.\"{word}\"'\naction = \"delete\"\n\
                 [[table]]\nname = \"s.public.note\"\naction = \"anonymize\"\nset = {{ \"{word}\" = \"null\", body = \"hash\" }}\n\
                 [[table]]\nname = \"s.public.optin\"\nlink = {{ columns = [\"email\"], identifier = \"email\" }}\naction = \"delete\"\n"
            );
        let planned = target
            .plan(&policy)
            .await
            .unwrap_or_else(|e| panic!("{encoding}: {}", crate::target::told(&e)));
        let named = |id: &str, email: &str| Subject {
            identifiers: BTreeMap::from([("email".into(), vec![email.to_owned()])]),
            ..by_keys(&[id.to_owned()])
        };
        let error = target.run(&planned, &[named(foreign, "x")]).await.err();
        let said = error
            .unwrap_or_else(|| panic!("{encoding} took {foreign}"))
            .to_string();
        assert!(
            said.contains("SQLSTATE 22") && !said.contains(foreign),
            "{said}"
        );
        // LC_CTYPE C folds ASCII only; so is the word written as it is stored.
        let outcome = target
            .run(&planned, &[named(word, &format!("{word}@example.jp"))])
            .await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{encoding}: {e}"));
        assert_eq!(
            totals(&outcome.counts).values().sum::<i64>(),
            3,
            "{encoding}"
        );
        assert_eq!(target.value("SELECT body FROM note WHERE id = 2"), word);
        assert_eq!(target.value("SELECT email FROM optin"), "other@example.jp");
    }
}

//! No slow or hidden cascade: a key that no index serves is named before the first ticket, with the
//! statement that mends it; what a cascade would take is deleted by statements of our own, leaves
//! first, and counted; no statement takes more rows than its budget.

use crate::support::Server;
use crate::target::{Target, head, subject, totals};
use erasured::plan::ChangeKind;

/// 20,000 rows a table: more than small.
const ROWS: i64 = 20_000;

fn rules(table: &str, rest: &str) -> String {
    head("s.public.customer")
        + &format!(
            "[[table]]\nname = \"s.public.customer\"\naction = \"delete\"\n[[table]]\nname = '{table}'\n{rest}action = \"delete\"\n"
        )
}

/// Each index that looks as if it served, and does not: partial, invalid, over an expression, of a
/// kind that finds no equal value, or led by another column. With the statement that `check` gives
/// the warning is gone.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_04_a_key_without_a_serving_index_is_named() {
    let table = "CREATE TABLE \"Odd note\" (id int, a int, \"b x\" int, gone date, FOREIGN KEY (a, \"b x\") REFERENCES customer (a, b) ON DELETE CASCADE)";
    let plain = format!(
        "{table}; INSERT INTO \"Odd note\" SELECT n, 1, 1, NULL FROM generate_series(1, {ROWS}) n; ANALYZE"
    );
    let unanalyzed = plain.replace("; ANALYZE", "");
    let parts = format!(
        "{table} PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF \"Odd note\" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE p1 PARTITION OF \"Odd note\" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO \"Odd note\" SELECT n, 1, 1, NULL FROM generate_series(1, {ROWS}) n"
    );
    for (schema, index, served) in [
        (&plain, "", false),
        (&unanalyzed, "", false),
        (&parts, "", false),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" (a, \"b x\") WHERE gone IS NULL",
            false,
        ),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" ((a + 0), \"b x\")",
            false,
        ),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" USING brin (a, \"b x\")",
            false,
        ),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" (id, a, \"b x\")",
            false,
        ),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" (a, id, \"b x\")",
            false,
        ),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" (a) INCLUDE (\"b x\")",
            false,
        ),
        // Fails on the way, since the values are not unique, and leaves an invalid index.
        (
            &plain,
            "CREATE UNIQUE INDEX CONCURRENTLY broken ON \"Odd note\" (a, \"b x\")",
            false,
        ),
        (&plain, "CREATE INDEX ON \"Odd note\" (\"b x\", a)", true),
        (
            &plain,
            "CREATE INDEX ON \"Odd note\" (a, \"b x\", gone)",
            true,
        ),
        (&parts, "CREATE INDEX ON \"Odd note\" (a, \"b x\")", true),
    ] {
        let target = Target::new(&format!(
            "CREATE TABLE customer (id int PRIMARY KEY, email text, a int, b int, UNIQUE (a, b));
             INSERT INTO customer VALUES (1, 'one@example.jp', 1, 1); {schema}"
        ));
        let made = Server::shared().try_execute(&target.database, index);
        assert_eq!(made.is_err(), index.contains("broken"), "{index}");
        let policy = rules("s.public.\"Odd note\"", "");
        let warned = target.warnings(&policy).await;
        assert_eq!(warned.is_empty(), served, "{index}: {warned}");
        if served {
            continue;
        }
        let says = "E0221 no index leads with a, b x of s.public.\"Odd note\" (about ";
        assert!(warned.starts_with(says), "{index}: {warned}");
        let (_, statement) = warned.trim().split_once("; CREATE").unwrap();
        let statement = statement.split(';').next().unwrap();
        target.execute(&format!("CREATE{statement}"));
        assert_eq!(target.warnings(&policy).await, "", "{index}");
    }
}

/// A chain of cascades, with a log of every statement that deletes.
const CHAIN: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, email text);
    CREATE TABLE folder (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer ON DELETE CASCADE);
    CREATE TABLE file (id int PRIMARY KEY, folder int NOT NULL REFERENCES folder ON DELETE CASCADE);
    CREATE TABLE version (id int PRIMARY KEY, file int NOT NULL REFERENCES file ON DELETE CASCADE);
    CREATE INDEX ON folder (customer_id); CREATE INDEX ON file (folder); CREATE INDEX ON version (file);
    INSERT INTO customer VALUES (1, 'one@example.jp'), (2, 'two@example.jp');
    INSERT INTO folder SELECT n, 1 + n % 2 FROM generate_series(1, 8) n;
    INSERT INTO file SELECT n, 1 + n % 8 FROM generate_series(1, 80) n;
    INSERT INTO version SELECT n, 1 + n % 80 FROM generate_series(1, 800) n;
    CREATE TABLE seen (at serial, what name, rows bigint);
    CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO public.seen (what, rows) SELECT TG_TABLE_NAME, count(*) FROM gone; RETURN NULL; END $$;
    DO $$ DECLARE t name; BEGIN FOREACH t IN ARRAY ARRAY['customer', 'folder', 'file', 'version'] LOOP
      EXECUTE format('CREATE TRIGGER seen AFTER DELETE ON %I REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION seen()', t);
    END LOOP; END $$";

fn chain(large: &str) -> String {
    let delete = |table: &str, rest: &str| {
        format!("[[table]]\nname = \"s.public.{table}\"\naction = \"delete\"\n{rest}")
    };
    head("s.public.customer")
        + &delete("customer", "")
        + &delete("folder", "")
        + &delete("file", "")
        + &delete("version", large)
}

const SEEN: &str =
    "SELECT string_agg(concat_ws(' ', what, rows), ', ' ORDER BY at) FROM seen WHERE rows > 0";

/// Leaves first, each by a statement of ours that names its table: the cascades find nothing, and
/// the dry run has counted every row that they would have taken.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_04_a_cascade_finds_nothing_left() {
    let target = Target::new(CHAIN);
    let policy = chain("");
    let planned = target.plan(&policy).await.unwrap();
    for table in ["customer", "folder", "file", "version"] {
        let deletes = |sql: &str| sql.contains(&format!("DELETE FROM \"public\".\"{table}\""));
        let mut changes = planned.part("s").changes.iter();
        assert!(changes.any(|c| deletes(&c.statement.sql)), "{table}");
    }
    let dry = target.dry_run(&planned, &[subject(1)]).await.unwrap();
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    assert_eq!(totals(&dry), totals(&outcome.counts));
    assert_eq!(
        target.value(SEEN),
        "version 400, file 40, folder 4, customer 1"
    );
    let counted: i64 = totals(&outcome.counts).values().sum();
    assert_eq!(counted, 445);

    // And a cascade that no rule knows stops everything.
    target.execute("CREATE TABLE thumb (version int REFERENCES version ON DELETE CASCADE)");
    let said = target.refusal(&policy).await;
    assert!(said.contains("E0201 s.public.thumb"), "{said}");
}

/// A parent with many children never makes a statement above the budget.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_04_no_statement_takes_more_than_its_budget() {
    let mut target = Target::new(CHAIN);
    target.piece_rows = 37;
    target.execute(&format!(
        "INSERT INTO version SELECT n, 7 FROM generate_series(1001, 1000 + {ROWS}) n; TRUNCATE seen"
    ));
    let theirs = "SELECT md5(string_agg(v::text, ',' ORDER BY v.id)) FROM version v JOIN file f ON f.id = v.file
                  JOIN folder d ON d.id = f.folder WHERE d.customer_id = 2";
    let before = target.value(theirs);
    let planned = target.plan(&chain("large = \"batches\"\n")).await.unwrap();
    let mine = target.count(
        "SELECT count(*) FROM version v JOIN file f ON f.id = v.file JOIN folder d ON d.id = f.folder WHERE d.customer_id = 1",
    );
    let outcome = target.run(&planned, &[subject(1)]).await.unwrap();
    let gone = totals(&outcome.counts)[&("public.version".to_owned(), ChangeKind::Deleted)];
    assert_eq!(gone, mine);
    assert!(mine > ROWS, "{mine}");
    let most = target.count("SELECT max(rows) FROM seen WHERE what = 'version'");
    assert!(most <= 37, "{most}");
    let statements = target.count("SELECT count(*) FROM seen WHERE what = 'version' AND rows > 0");
    assert!(statements >= mine / 37, "{statements}");
    assert_eq!(target.value(theirs), before);
}

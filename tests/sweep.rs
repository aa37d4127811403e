//! The sweep against a real server: an identifier once in every kind of column.

#![allow(clippy::unwrap_used)] // a test may

mod support;

use chrono::{DateTime, Utc};
use erasured::identifier::normalise;
use erasured::name::TableName;
use erasured::policy::IdentifierKind;
use erasured::system::postgres::sweep::{self, Finding, Progress, SweepError, Timeouts};
use erasured::verify::{Matcher, Needle};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;
use support::{Server, ServerOptions};
use tokio_postgres::Client;

/// 63 bytes: quotes of both kinds, the end of a comment, a backslash, capitals, white space.
const WEIRD: &str = r#"We"ird */ DROP TABLE x; -- 'q' \ 表 aaaaaaaaaaaaaaaaaaaaaaaaaa"#;

const SCHEMA: &str = r##"
CREATE EXTENSION citext; CREATE EXTENSION hstore;
CREATE SCHEMA other; CREATE SCHEMA erasured;
CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN mails AS mail[];
CREATE TYPE mood AS ENUM ('taro.yamada@example.jp', 'x');
CREATE TYPE contact AS (n int, mail text, at timestamptz);
CREATE TABLE kinds (id int PRIMARY KEY, t text, v varchar(99), b char(99), c citext, n name, j json, jb jsonb, x xml,
   ta text[], h hstore, by bytea, comp contact, d mail, da mails, ca contact[], ts tsvector, e mood, num numeric, u uuid);
INSERT INTO kinds(id, t) VALUES (1, 'to TARO.Yamada@Example.JP, please');
INSERT INTO kinds(id, v) VALUES (2, 'taro.yamada@example.jp');
INSERT INTO kinds(id, b) VALUES (3, 'taro.yamada@example.jp');
INSERT INTO kinds(id, c) VALUES (4, 'Taro.yamada@example.jp');
INSERT INTO kinds(id, n) VALUES (5, 'taro.yamada@example.jp');
INSERT INTO kinds(id, j) VALUES (6, '{"a": "\u0074aro.yamada\u0040example.jp"}');
INSERT INTO kinds(id, jb) VALUES (7, '{"a": [{"b": "x\ntaro.yamada@example.jp"}]}');
INSERT INTO kinds(id, x) VALUES (8, '<a>taro.yamada&#64;example.jp</a>');
INSERT INTO kinds(id, ta) VALUES (9, ARRAY['x', NULL, repeat(' ', 27) || 'taro.yamada@example.jp']);
INSERT INTO kinds(id, h) VALUES (10, 'k => NULL, "taro.yamada@example.jp" => 1');
INSERT INTO kinds(id, by) VALUES (11, '\xff00'::bytea || 'taro.yamada@example.jp'::bytea || '\xfe'::bytea);
INSERT INTO kinds(id, comp) VALUES (12, ROW(3, 'taro.yamada@example.jp', now()));
INSERT INTO kinds(id, d) VALUES (13, 'taro.yamada@example.jp');
INSERT INTO kinds(id, da) VALUES (14, ARRAY['taro.yamada@example.jp']);
INSERT INTO kinds(id, ca) VALUES (15, ARRAY[ROW(1, 'taro.yamada@example.jp', now())::contact]);
INSERT INTO kinds(id, ts) VALUES (16, 'a:49 taro.yamada@example.jp:49');
INSERT INTO kinds(id, e) VALUES (17, 'taro.yamada@example.jp');
INSERT INTO kinds(id, t) VALUES (18, 'xtaro.yamada@example.jp'), (19, 'taro.yamada@example.jp.uk'), (20, '0312345679');
CREATE TABLE big (id int PRIMARY KEY, t text);
INSERT INTO big VALUES (1, (SELECT string_agg(md5(n::text), ' ') FROM generate_series(1, 50000) n) || ' taro.yamada@example.jp');
CREATE TABLE phones (region text, no int, t text, PRIMARY KEY (region, no));
INSERT INTO phones VALUES ('jp', 1, '03-1234-5678'), ('jp', 2, 'tel:０３（１２３４）５６７８'), ('jp', 3, '+81 (0)3 1234 5678'),
   ('jp', 4, '0312345678まで'), ('jp', 5, '010-81-3-1234-5678'), ('jp', 6, '03-1234-56780');
CREATE TABLE names (t text);
INSERT INTO names VALUES ('お客様は山田　太郎様'), ('山田太郎'), ('山本太郎');
CREATE TABLE member (mail text PRIMARY KEY);
INSERT INTO member VALUES ('taro.yamada@example.jp');
CREATE TABLE parts (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts VALUES (1, 'taro.yamada@example.jp');
CREATE TABLE parent (id int PRIMARY KEY, t text); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
INSERT INTO child VALUES (1, 'taro.yamada@example.jp');
CREATE TABLE other.log (id int PRIMARY KEY, t text);
INSERT INTO other.log VALUES (1, 'taro.yamada@example.jp');
CREATE TABLE erasured.ticket (t text); INSERT INTO erasured.ticket VALUES ('taro.yamada@example.jp');
CREATE MATERIALIZED VIEW copy AS SELECT t FROM kinds WHERE id = 1;
CREATE MATERIALIZED VIEW empty AS SELECT t FROM kinds WITH NO DATA;
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE away (t text) SERVER far;
CREATE TABLE numbers (id int, e mood); INSERT INTO numbers VALUES (1, 'taro.yamada@example.jp');
"##;

const LIMITS: Timeouts = Timeouts {
    statement: Duration::from_secs(60),
    lock: Duration::from_secs(1),
    idle: Duration::from_secs(60),
};

fn matcher() -> Matcher {
    let phone = IdentifierKind::Phone {
        region: "JP".into(),
    };
    let needle =
        |kind: &IdentifierKind, raw: &str, tag| Needle::new(&normalise(kind, raw).unwrap(), tag);
    Matcher::new(vec![
        needle(&IdentifierKind::Email, "taro.yamada@example.jp", 1),
        needle(&phone, "03-1234-5678", 2),
        needle(&IdentifierKind::Name, "山田 太郎", 3),
    ])
}

fn clock() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

async fn run(
    client: &Client,
    pace: Option<u64>,
    progress: impl FnMut(Progress<'_>),
) -> Result<sweep::SweepReport, SweepError> {
    let readable = sweep::readable(client, LIMITS).await.unwrap();
    assert!(readable.targets.is_sorted_by(|a, b| a.table < b.table));
    let exempt = |table: &TableName, column: &str| {
        (table.table == "kinds" && column == "v").then(|| "never personal".to_owned())
    };
    let order = sweep::Sweep {
        targets: &readable.targets,
        exempt: &exempt,
        matcher: &matcher(),
        pace: pace.and_then(NonZeroU64::new),
        timeouts: LIMITS,
        clock: &clock,
    };
    let mut report = sweep::sweep(client, &order, progress).await?;
    report.not_covered.extend(readable.not_covered);
    Ok(report)
}

/// These tables, and no others, at this pace.
async fn read(
    client: &Client,
    targets: &[sweep::Target],
    pace: Option<u64>,
    timeouts: Timeouts,
) -> sweep::SweepReport {
    let order = sweep::Sweep {
        targets,
        exempt: &|_, column| (column == "pad").then(String::new),
        matcher: &matcher(),
        pace: pace.and_then(NonZeroU64::new),
        timeouts,
        clock: &clock,
    };
    sweep::sweep(client, &order, |_| ()).await.unwrap()
}

fn places(findings: &[Finding]) -> BTreeSet<String> {
    let keys = |f: &Finding| f.row_keys.join("; ");
    findings
        .iter()
        .map(|f| {
            format!(
                "{} {}.{} [{}] {}",
                f.tag,
                f.table,
                f.column,
                keys(f),
                f.rows
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn found_in_every_kind_of_column_and_nowhere_else() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client.batch_execute(SCHEMA).await.unwrap();
    assert_eq!(WEIRD.len(), 63);
    let weird = erasured::system::postgres::quote::identifier(WEIRD);
    let sql = format!(
        "CREATE SCHEMA {weird}; CREATE TABLE {weird}.{weird} ({weird} text, k text PRIMARY KEY); INSERT INTO {weird}.{weird} VALUES ('taro.yamada@example.jp', 'it''s')"
    );
    client.batch_execute(&sql).await.unwrap();

    let mut seen = Vec::new();
    let report = run(&client, None, |p| {
        if let Progress::Table(read, _) = p {
            seen.push(read.table.clone());
        }
    })
    .await
    .unwrap();

    let mut wanted: BTreeSet<String> = [
        (1, "t"),
        (3, "b"),
        (4, "c"),
        (5, "n"),
        (6, "j"),
        (7, "jb"),
        (8, "x"),
        (9, "ta"),
        (10, "h"),
        (11, "by"),
        (12, "comp"),
        (13, "d"),
        (14, "da"),
        (15, "ca"),
        (16, "ts"),
    ]
    .iter()
    .map(|(id, column)| format!("1 public.kinds.{column} [id={id}] 1"))
    .collect();
    let weird = WEIRD;
    let table = TableName::new(weird, weird);
    wanted.extend([
        "1 public.big.t [id=1] 1".to_owned(),
        // The key is the value itself: only its place is said.
        "1 public.member.mail [ctid=(0,1)] 1".to_owned(),
        "1 public.parts_1.t [ctid=(0,1)] 1".to_owned(),
        "1 public.child.t [id=1] 1".to_owned(),
        "1 public.copy.t [ctid=(0,1)] 1".to_owned(),
        "1 other.log.t [id=1] 1".to_owned(),
        format!("1 {table}.{weird} [k=it's] 1"),
        "2 public.phones.t [region=jp, no=1; region=jp, no=2; region=jp, no=3; region=jp, no=4; region=jp, no=5] 5".to_owned(),
        "3 public.names.t [ctid=(0,1); ctid=(0,2)] 2".to_owned(),
    ]);
    assert_eq!(places(&report.findings), wanted);

    let not_covered: Vec<String> = report
        .not_covered
        .iter()
        .map(|(t, _)| t.to_string())
        .collect();
    assert_eq!(not_covered, ["public.away", "public.empty"]);
    assert!(
        seen.iter()
            .all(|t| t.schema != "erasured" && t.table != "numbers" && t.table != "parts")
    );
    let kinds = report
        .tables
        .iter()
        .find(|t| t.table.table == "kinds")
        .unwrap();
    assert_eq!(
        kinds.exempt,
        [("v".to_owned(), "never personal".to_owned())]
    );
    assert_eq!(
        (kinds.rows, kinds.started_at, kinds.finished_at),
        (20, clock(), clock())
    );
    assert!(!kinds.columns.contains(&"e".to_owned()) && !kinds.columns.contains(&"v".to_owned()));

    // Slowly, and so in many pieces, it finds the same.
    let slow = run(&client, Some(4_000_000), |_| ()).await.unwrap();
    assert_eq!(places(&slow.findings), wanted);
}

/// Each row but the last says a person as another program would have written them.
#[tokio::test(flavor = "multi_thread")]
async fn found_in_every_writing_that_programs_leave() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client
        .batch_execute(
            r#"CREATE TABLE mail (id int PRIMARY KEY, t text);
             INSERT INTO mail VALUES (1, 'GET /unsubscribe?to=Taro.Yamada%40example.jp&list=3'),
               (2, '<a href="mailto:taro.yamada&#64;example&period;jp">'),
               (3, 'taro.' || chr(173) || 'yamada@' || chr(8203) || 'example.jp'),
               (4, 'taro.yamada%41example.jp');
             CREATE TABLE phone (id int PRIMARY KEY, t text);
             INSERT INTO phone VALUES (1, '03_1234_5678'), (2, '０３・１２３４・５６７８'), (3, '(03)1234:5678'),
               (4, 'x,312345678,y'), (5, '7,03,1234,5678,1'), (6, '2026-03-12 03:12:34:56.78'), (7, '0.312345678');
             CREATE TABLE hook (id int PRIMARY KEY, j jsonb, h xml);
             INSERT INTO hook(id, j) VALUES (1, '{"url": "https:\/\/x\/?m=taro.yamada%40example.jp", "tel": ["03", "1234", "5678"]}');
             INSERT INTO hook(id, h) VALUES (2, '<a>山&#x200b;田 太郎</a>');"#,
        )
        .await
        .unwrap();
    let report = run(&client, None, |_| ()).await.unwrap();
    let wanted = [
        "1 public.mail.t [id=1; id=2; id=3] 3",
        "2 public.phone.t [id=1; id=2; id=3; id=4; id=5] 5",
        "1 public.hook.j [id=1] 1",
        "2 public.hook.j [id=1] 1",
        "3 public.hook.h [id=2] 1",
    ]
    .map(str::to_owned);
    assert_eq!(places(&report.findings), wanted.into());
}

/// What is not known to hold no text is read, in whatever schema and category its type is.
#[tokio::test(flavor = "multi_thread")]
async fn types_that_nobody_knows_are_read_as_text() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client
        .batch_execute(
            "CREATE EXTENSION citext SCHEMA pg_catalog;
             CREATE TYPE tag;
             CREATE FUNCTION tag_in(cstring) RETURNS tag AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
             CREATE FUNCTION tag_out(tag) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
             CREATE TYPE tag (INPUT = tag_in, OUTPUT = tag_out, LIKE = text, CATEGORY = 'N');
             CREATE TABLE odd (id int PRIMARY KEY, c citext, r refcursor, t tag, ta tag[], ra refcursor[], i inet);
             INSERT INTO odd (id, c) VALUES (1, 'Taro.yamada@example.jp');
             INSERT INTO odd (id, r) VALUES (2, 'taro.yamada@example.jp');
             INSERT INTO odd (id, t) VALUES (3, 'taro.yamada@example.jp');
             INSERT INTO odd (id, ta) VALUES (4, ARRAY['taro.yamada@example.jp'::tag]);
             INSERT INTO odd (id, ra) VALUES (5, ARRAY['taro.yamada@example.jp'::refcursor]);",
        )
        .await
        .unwrap();
    let report = run(&client, None, |_| ()).await.unwrap();
    let wanted = [(1, "c"), (2, "r"), (3, "t"), (4, "ta"), (5, "ra")]
        .map(|(id, column)| format!("1 public.odd.{column} [id={id}] 1"));
    assert_eq!(places(&report.findings), wanted.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_many_pieces_misses_no_row_that_moves() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY, pad text, mail text) WITH (autovacuum_enabled = off);
         INSERT INTO t SELECT n, repeat('x', 500), NULL FROM generate_series(1, 40000) n;
         INSERT INTO t VALUES (0, 'x', 'taro.yamada@example.jp');
         DELETE FROM t WHERE id BETWEEN 1 AND 1000;",
    ).await.unwrap();
    client.batch_execute("VACUUM t").await.unwrap();
    let other = server.connect("postgres").await;
    let mover = tokio::spawn(async move {
        // Meanwhile the row moves from the last page to the first, which has been read.
        tokio::time::sleep(Duration::from_millis(300)).await;
        other
            .batch_execute("UPDATE t SET pad = repeat('y', 900) WHERE id = 0")
            .await
            .unwrap();
        let block: String = other
            .query_one("SELECT ctid::text FROM t WHERE id = 0", &[])
            .await
            .unwrap()
            .get(0);
        block
    });
    let mut ended = Vec::new();
    let report = run(&client, Some(1_000_000 * 8), |p| {
        if let Progress::Bytes(_, bytes) = p {
            ended.push(bytes);
        }
    })
    .await
    .unwrap();
    let moved = mover.await.unwrap();
    assert_eq!(
        places(&report.findings),
        ["1 public.t.mail [id=0] 1".to_owned()].into(),
        "{moved}"
    );
}

/// Who empties a table, or rewrites it, puts its rows where no older snapshot sees them: the
/// sweep that waited for him must not have taken its snapshot before.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_rewritten_while_the_sweep_waits_is_read_as_it_is_then() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, mail text)")
        .await
        .unwrap();
    let other = server.connect("postgres").await;
    let readable = sweep::readable(&client, LIMITS).await.unwrap();
    other
        .batch_execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'taro.yamada@example.jp')")
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)";
        while !other.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.batch_execute("COMMIT").await.unwrap();
    });
    let timeouts = Timeouts {
        lock: Duration::from_secs(60),
        ..LIMITS
    };
    let report = read(&client, &readable.targets, None, timeouts).await;
    waiting.await.unwrap();
    assert_eq!(
        places(&report.findings),
        ["1 public.t.mail [id=1] 1".to_owned()].into()
    );
}

/// A name that has come to stand for another table is not read as if it were the one listed.
#[tokio::test(flavor = "multi_thread")]
async fn tables_exchanged_after_the_listing_are_not_vouched_for() {
    let server = Server::start();
    let client = server.connect("postgres").await;
    client
        .batch_execute(
            "CREATE TABLE a (t text); CREATE TABLE b (t text); CREATE SCHEMA s; CREATE TABLE s.c (t text);
             CREATE TABLE d (t text)",
        )
        .await
        .unwrap();
    let readable = sweep::readable(&client, LIMITS).await.unwrap();
    client
        .batch_execute(
            "ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; DROP SCHEMA s CASCADE",
        )
        .await
        .unwrap();
    let report = read(&client, &readable.targets, None, LIMITS).await;
    let names = |table: &TableName| table.to_string();
    let read: Vec<String> = report.tables.iter().map(|t| names(&t.table)).collect();
    assert_eq!(read, ["public.d"]);
    let unread: Vec<String> = report.not_covered.iter().map(|(t, _)| names(t)).collect();
    assert_eq!(unread, ["public.a", "public.b", "s.c"]);
}

/// The second look at a big table is one snapshot, so that no row moves during it, but many
/// statements; and who waits to alter the table does not wait for its end.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_look_is_one_snapshot_and_gives_way() {
    // Each statement is too short to be seen at work; the server's log has them all, each after the
    // number of its transaction.
    let server = Server::start_with(ServerOptions {
        settings: vec![
            ("log_statement".into(), "all".into()),
            ("log_line_prefix".into(), "of %v ".into()),
        ],
        ..ServerOptions::default()
    });
    let client = server.connect("postgres").await;
    // 21 MB of pages, of which the pad is not read: the first look is soon over.
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, mail text, pad text);
             INSERT INTO t SELECT n, 'x', repeat('x', 500) FROM generate_series(1, 40000) n",
        )
        .await
        .unwrap();
    let readable = sweep::readable(&client, LIMITS).await.unwrap();
    let sweeping = tokio::spawn(async move {
        read(&client, &readable.targets, Some(400_000), LIMITS).await;
    });
    let other = server.connect("postgres").await;
    let (mut transactions, mut statements) = (BTreeSet::new(), BTreeSet::new());
    while statements.len() < 3 {
        let log = std::fs::read_to_string(server.log()).unwrap();
        let second = log
            .lines()
            .filter(|l| l.contains("COPY") && l.contains("age(xmin)"));
        for line in second {
            let line = line.strip_prefix("of ").unwrap();
            let (transaction, statement) = line.split_once(' ').unwrap();
            transactions.insert(transaction.to_owned());
            statements.insert(statement.to_owned());
        }
        assert!(!sweeping.is_finished(), "{statements:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(transactions.len(), 1, "{statements:?}");
    // Of some fifty seconds few have passed.
    other
        .batch_execute("SET lock_timeout = '20s'; ALTER TABLE t ADD COLUMN more int")
        .await
        .unwrap();
    assert!(!sweeping.is_finished(), "it was the sweep that gave way");
    sweeping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_may_not_be_seen_is_an_error() {
    let server = Server::start();
    let owner = server.connect("postgres").await;
    owner.batch_execute(
        "CREATE TABLE a (t text); CREATE TABLE hidden (t text); INSERT INTO hidden VALUES ('taro.yamada@example.jp');
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
         CREATE POLICY none ON hidden USING (false);
         CREATE ROLE reader LOGIN; GRANT SELECT ON a, hidden TO reader;",
    ).await.unwrap();
    let reader = support::connect(&server.url_as("postgres", "reader")).await;
    let error = run(&reader, None, |_| ()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("public.hidden") && text.contains("row-level security"),
        "{text}"
    );

    owner
        .batch_execute(
            "ALTER TABLE hidden DISABLE ROW LEVEL SECURITY; REVOKE SELECT ON hidden FROM reader",
        )
        .await
        .unwrap();
    let reader = support::connect(&server.url_as("postgres", "reader")).await;
    let error = run(&reader, None, |_| ()).await.unwrap_err().to_string();
    assert!(
        error.contains("public.hidden") && error.contains("42501"),
        "{error}"
    );

    // A lock that ALTER TABLE holds ends the sweep by name, in time.
    let reader = support::connect(&server.url_as("postgres", "reader")).await;
    let readable = sweep::readable(&reader, LIMITS).await.unwrap();
    owner.batch_execute("BEGIN; LOCK TABLE a").await.unwrap();
    let error = sweep::readable(&reader, LIMITS).await.unwrap_err();
    assert_eq!(
        error.code(),
        Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
    );
    let order = sweep::Sweep {
        targets: &readable.targets,
        exempt: &|_, _| None,
        matcher: &matcher(),
        pace: None,
        timeouts: LIMITS,
        clock: &clock,
    };
    let error = sweep::sweep(&reader, &order, |_| ())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("public.a") && error.contains("lock timeout"),
        "{error}"
    );
}

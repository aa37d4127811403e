//! Letting go a million calls of ten that are over their time, with two indexes and a child table, held
//! against the ways in which people write it by hand.
//!
//! Each way has a copy of one database on one durable server. The hand-written loop has the batch size that
//! ours came to by itself, and must leave the same rows.

use crate::report::{Must, Report, Setting};
use crate::support::{Server, ServerOptions, Workspace};
use erasured::retention::{self, Go, Going, Prepared};
use erasured::start;
use futures_util::future::{join, join3};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;
use tokio_postgres::Client;

const ROWS: i64 = 10_000_000;
const DUE: i64 = 1_000_000;
/// Rows of which the slowest ways are measured.
const BY_ROW: i64 = 20_000;

const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"
identifier.member_no = { column = "member_no", find = true }
scope.account = { tables = "all", verify = { at_least = "basic" }, sla = "jp-appi" }
table = [
    { name = "shop.public.customer", action = "delete" },
    { name = "shop.public.call",     action = "delete" },
    { name = "shop.public.note",     action = "delete" },
]
[[retention]]
name     = "calls"
table    = "shop.public.call"
since    = "ended_at"
keep     = "90 days"
action   = "delete"
because  = "our privacy policy"
timezone = "UTC"
"#;

pub(crate) fn measure(report: &mut Report) {
    let server = Server::start_with(ServerOptions {
        durable: true,
        settings: vec![("max_wal_size".into(), "8GB".into())],
        ..ServerOptions::default()
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let template = company(&server);
    runtime.block_on(compare(&server, &template, report));
    beside(&server, &template, report);
}

fn company(server: &Server) -> String {
    let database = server.fresh_database("calls");
    // A fifth of the calls has a note; they come in the order of time, as calls do.
    server.execute(
        &database,
        &format!(
            "CREATE TABLE customer (id int PRIMARY KEY, member_no text UNIQUE NOT NULL);
             CREATE TABLE call (id bigint PRIMARY KEY, customer int NOT NULL REFERENCES customer, ended_at timestamptz NOT NULL, path text NOT NULL);
             CREATE TABLE note (id bigint PRIMARY KEY, call bigint NOT NULL REFERENCES call, body text NOT NULL);
             INSERT INTO customer SELECT n, 'M-' || n FROM generate_series(1, 1000) n;
             INSERT INTO call SELECT n, 1 + n::bigint * 7919 % 1000, date_trunc('day', now()) - interval '90 days' + (n - {DUE} - 1) * interval '0.7 s',
                                     '/recordings/' || n || '.ogg' FROM generate_series(1, {ROWS}) n;
             INSERT INTO note SELECT n, n * 5, 'called back, satisfied' FROM generate_series(1, {ROWS} / 5) n;
             ALTER TABLE call ALTER ended_at SET STATISTICS 1000;
             CREATE INDEX ON call (ended_at); CREATE INDEX ON call (customer); CREATE INDEX ON note (call);"
        ),
    );
    server.execute(&database, "VACUUM (FREEZE, ANALYZE)");
    database
}

fn copy(server: &Server, of: &str, stem: &str) -> String {
    let copy = server.fresh_database(stem);
    server.execute("postgres", &format!("DROP DATABASE {copy}"));
    let create = format!("CREATE DATABASE {copy} TEMPLATE {of} STRATEGY file_copy");
    server.execute("postgres", &create);
    server.execute("postgres", "CHECKPOINT");
    copy
}

/// What is left, as one number that depends on every row.
fn left(server: &Server, database: &str) -> String {
    let sql = "SELECT (SELECT count(*) || ' ' || sum(id) FROM call) || ' ' || (SELECT count(*) || ' ' || sum(id) FROM note)";
    server.value(database, sql)
}

async fn compare(server: &Server, template: &str, report: &mut Report) {
    let mut rounds = Vec::new();
    let (mut size, mut memory) = (0, 0.0);
    for _ in 0..3 {
        let database = copy(server, template, "ours");
        let before = crate::size::memory();
        let (ours, batches) = ours(server, &database).await;
        memory = f64::max(memory, crate::size::memory() - before);
        size = DUE / batches;
        let by_hand = copy(server, template, "keyset");
        let theirs = keyset(&server.connect(&by_hand).await, size).await;
        assert_eq!(left(server, &database), left(server, &by_hand));
        println!(
            "  rows/s: ours {ours:.0} ({batches} batches, of {size} on average), by hand {theirs:.0}"
        );
        rounds.push((ours, theirs));
        for database in [database, by_hand] {
            server.execute(
                "postgres",
                &format!("DROP DATABASE {database} WITH (FORCE)"),
            );
        }
    }
    let setting = Setting::new(server)
        .rows("calls", ROWS.unsigned_abs())
        .rows("due", DUE.unsigned_abs())
        .rows("notes", (ROWS / 5).unsigned_abs())
        .rows("rows a batch", size.unsigned_abs());
    let entry = setting.compared(
        "retention: against a keyset loop by hand, same batches",
        "rows/s",
        &rounds,
        (Must::BeAtLeast, 0.9),
        "by hand: rows locked oldest first, notes and calls by their keys, one transaction a batch, prepared and pipelined, \
         nothing counted, no hold asked for, nothing written down",
    );
    let mut entry = entry.with("growth of VmHWM, MB", memory);
    for (name, speed) in others(server, template, size).await {
        println!("  rows/s: {name} {speed:.0}");
        entry = entry.with(&format!("rows/s {name}"), speed);
    }
    report.add(entry);
}

fn workspace(server: &Server, on: &Server, database: &str) -> Workspace {
    let control = on.fresh_database("control");
    let workspace = Workspace::new(&on.url(&control), &[("shop", server.url(database))]);
    workspace.write_policy("customer.toml", POLICY);
    crate::filing::prepare(&workspace);
    workspace
}

/// Rows a second, and batches, of the program as `erasured retention run` has it go.
async fn ours(server: &Server, database: &str) -> (f64, i64) {
    let workspace = workspace(server, server, database);
    let config = start::configuration(&workspace.config()).expect("a configuration");
    let context = start::context(config, Arc::new(chrono::Utc::now)).expect("a context");
    let (policy, rule) = retention::find(&context, "calls").expect("the rule");
    let prepared = Prepared::new(&context, policy, rule).await;
    let prepared = prepared.unwrap_or_else(|e| panic!("{e}"));
    let started = Instant::now();
    let going = Going {
        slot: None,
        on: &mut |_| Go::On,
    };
    let ran = retention::run(&context, &prepared, going).await;
    let ran = ran.unwrap_or_else(|e| panic!("{e}"));
    let took = started.elapsed().as_secs_f64();
    let gone: i64 = ran.changed["public.call"].values().sum();
    assert_eq!(gone, DUE);
    (gone as f64 / took, ran.batches)
}

/// Rows a second of a loop as a careful DBA writes it.
async fn keyset(client: &Client, size: i64) -> f64 {
    let next = client.prepare(
        "SELECT id, ended_at FROM call WHERE ended_at < date_trunc('day', now()) - interval '90 days' AND (ended_at, id) > ($1, $2) \
         ORDER BY ended_at, id LIMIT $3 FOR UPDATE",
    );
    let next = next.await.expect("a statement");
    let notes = "DELETE FROM note WHERE call = ANY ($1)";
    let notes = client.prepare(notes).await.expect("a statement");
    let calls = "DELETE FROM call WHERE id = ANY ($1)";
    let calls = client.prepare(calls).await.expect("a statement");
    let started = Instant::now();
    let mut gone = 0;
    let mut behind = (chrono::DateTime::UNIX_EPOCH, 0_i64);
    loop {
        let rows = async { client.query(&next, &[&behind.0, &behind.1, &size]).await };
        let (begun, rows) = join(client.batch_execute("BEGIN"), rows).await;
        begun.expect("a transaction");
        let rows = rows.expect("rows");
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let delete = async |statement| client.execute(statement, &[&ids]).await;
        let end = client.batch_execute("COMMIT");
        let (notes, calls, end) = join3(delete(&notes), delete(&calls), end).await;
        notes.expect("notes");
        gone += calls.expect("calls");
        end.expect("an end");
        let Some(last) = rows.last() else {
            break;
        };
        behind = (last.get(1), last.get(0));
    }
    assert_eq!(gone, DUE.unsigned_abs());
    DUE as f64 / started.elapsed().as_secs_f64()
}

/// Rows a second of other ways that people have.
async fn others(server: &Server, template: &str, size: i64) -> Vec<(&'static str, f64)> {
    const OVER: &str = "ended_at < date_trunc('day', now()) - interval '90 days'";
    let mut speeds = Vec::new();
    let fresh = async |stem| {
        let database = copy(server, template, stem);
        let client = server.connect(&database).await;
        (database, client)
    };
    let done = |database: &str| {
        server.execute(
            "postgres",
            &format!("DROP DATABASE {database} WITH (FORCE)"),
        )
    };

    let (database, client) = fresh("once").await;
    let started = Instant::now();
    let once = format!(
        "BEGIN; DELETE FROM note USING call c WHERE note.call = c.id AND c.{OVER}; DELETE FROM call WHERE {OVER}; COMMIT"
    );
    client.batch_execute(&once).await.expect("all at once");
    speeds.push((
        "of one DELETE, all at once",
        DUE as f64 / started.elapsed().as_secs_f64(),
    ));
    drop(client);
    done(&database);

    let (database, client) = fresh("ctid").await;
    client
        .batch_execute("ALTER TABLE note DROP CONSTRAINT note_call_fkey, ADD FOREIGN KEY (call) REFERENCES call ON DELETE CASCADE")
        .await
        .expect("a cascade");
    let started = Instant::now();
    let chunk =
        format!("DELETE FROM call WHERE ctid IN (SELECT ctid FROM call WHERE {OVER} LIMIT {size})");
    while client.execute(&chunk, &[]).await.expect("a chunk") > 0 {}
    speeds.push((
        "of the ctid loop with a cascade",
        DUE as f64 / started.elapsed().as_secs_f64(),
    ));

    // pt-archiver's ways, on what is left: row by row, committing every so many; and by ranges of the key.
    client
        .batch_execute(&format!("UPDATE call SET ended_at = ended_at - interval '1 year' WHERE id <= {DUE} + {BY_ROW} + {DUE} / 10"))
        .await
        .expect("more that is over");
    client
        .batch_execute("VACUUM ANALYZE call")
        .await
        .expect("vacuum");
    let next = format!("SELECT id FROM call WHERE {OVER} AND id >= $1 ORDER BY id LIMIT $2");
    let next = client.prepare(&next).await.expect("a statement");
    let one = client
        .prepare("DELETE FROM call WHERE id = $1")
        .await
        .expect("a statement");
    let started = Instant::now();
    let (mut from, mut gone) = (0_i64, 0);
    while gone < BY_ROW {
        let rows = client.query(&next, &[&from, &size]).await.expect("rows");
        client.batch_execute("BEGIN").await.expect("a transaction");
        for row in &rows {
            from = row.get(0);
            client.execute(&one, &[&from]).await.expect("a row");
            gone += 1;
        }
        client.batch_execute("COMMIT").await.expect("an end");
    }
    speeds.push((
        "row by row, as pt-archiver does",
        gone as f64 / started.elapsed().as_secs_f64(),
    ));
    let range = format!("DELETE FROM call WHERE id BETWEEN $1 AND $2 AND {OVER}");
    let range = client.prepare(&range).await.expect("a statement");
    let started = Instant::now();
    let mut gone = 0;
    loop {
        let rows = client.query(&next, &[&from, &size]).await.expect("rows");
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            break;
        };
        let (first, last): (i64, i64) = (first.get(0), last.get(0));
        gone += client
            .execute(&range, &[&first, &last])
            .await
            .expect("a range");
        from = last;
    }
    speeds.push((
        "by ranges of the key, as pt-archiver --bulk-delete does",
        gone as f64 / started.elapsed().as_secs_f64(),
    ));
    drop(client);
    done(&database);
    speeds
}

/// What the application asks: one call looked at, changed, and noted.
const APPLICATION: &str = "\\set id random(2000000, 9000000)
BEGIN;
SELECT customer, ended_at, path FROM call WHERE id = :id;
UPDATE call SET path = path WHERE id = :id;
INSERT INTO note VALUES (nextval('note_id'), :id, 'asked again');
COMMIT;
";
/// Transactions a second.
const RATE: u32 = 300;
/// How fast an operator lets the purge go; the bar is for the first.
const PACES: [&str; 4] = ["1%", "5%", "25%", "100%"];

/// The application's latency without a purge and beside one at each pace, on copies of one database. The control
/// database is on a server of its own, as it ought to be.
fn beside(server: &Server, template: &str, report: &mut Report) {
    let control = Server::start_with(ServerOptions {
        durable: true,
        ..ServerOptions::default()
    });
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let alone = p99(server, &control, template, None).0;
        let paces = PACES.map(|pace| p99(server, &control, template, Some(pace)));
        println!("  p99, ms, and rows/s: alone {alone:.2}; {PACES:?} {paces:.2?}");
        rounds.push((alone, paces));
    }
    let setting = Setting::new(server)
        .rows("calls", ROWS.unsigned_abs())
        .rows("transactions a second", RATE.into());
    let pairs: Vec<_> = rounds
        .iter()
        .map(|(alone, paces)| (paces[0].0, *alone))
        .collect();
    let mut entry = setting.compared(
        "retention: p99 of an application beside a purge at 1 %",
        "ms",
        &pairs,
        (Must::BeAtMost, 1.2),
        "pgbench at a fixed rate with four clients: a call read, changed and noted, one transaction; \
         `erasured retention run` beside it, `retention throttle 1%`; theirs: the same without a purge",
    );
    for (at, pace) in PACES.iter().enumerate() {
        let of = |value: fn(&(f64, f64)) -> f64| {
            crate::report::median(rounds.iter().map(|(_, paces)| value(&paces[at])))
        };
        entry = entry
            .with(&format!("p99 at {pace}, ms"), of(|(p99, _)| *p99))
            .with(&format!("rows/s at {pace}"), of(|(_, rows)| *rows));
    }
    report.add(entry);
}

/// In milliseconds, and the rows a second of a purge beside it, at this pace.
fn p99(server: &Server, control: &Server, template: &str, pace: Option<&str>) -> (f64, f64) {
    // What is due is counted first, and batches begin small. A purge at full speed does not last as long.
    let (head, seconds) = match pace {
        Some("100%") => (1, 6),
        _ => (5, 20),
    };
    let database = copy(server, template, "beside");
    server.execute(&database, "CREATE SEQUENCE note_id START 10000000");
    let workspace = workspace(server, control, &database);
    let purge = pace.map(|pace| {
        let arguments = ["retention", "throttle", pace];
        workspace.erasured(arguments).assert().success();
        let mut purge = workspace.process(["retention", "run", "calls"]);
        let purge = purge.stdout(Stdio::null()).stderr(Stdio::null());
        let purge = purge.spawn().expect("a purge");
        std::thread::sleep(std::time::Duration::from_secs(head));
        purge
    });
    let rows = || -> i64 {
        let counts = "SELECT coalesce(sum((counts -> 'changed' -> 'public.call' ->> 'deleted')::int8), 0) FROM erasured.applied_step";
        server.value(&database, counts).parse().expect("a number")
    };
    let before = rows();
    let script = workspace.path().join("application.sql");
    std::fs::write(&script, APPLICATION).expect("a script");
    let (rate, time) = (RATE.to_string(), seconds.to_string());
    let port = server.port().to_string();
    let ran = std::process::Command::new(server.bin().join("pgbench"))
        .current_dir(workspace.path())
        .args([
            "-n",
            "-c",
            "4",
            "-R",
            &rate,
            "-T",
            &time,
            "-l",
            "--log-prefix",
            "took",
            "-U",
            "postgres",
            "-p",
            &port,
            "-h",
        ])
        .arg(server.socket_dir())
        .arg("-f")
        .arg(&script)
        .arg(&database)
        .output()
        .expect("pgbench");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let went = (rows() - before) as f64 / f64::from(seconds);
    if let Some(mut purge) = purge {
        purge.kill().expect("an end");
        purge.wait().expect("an end");
    }
    let mut took = Vec::new();
    for entry in std::fs::read_dir(workspace.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("took"))
        {
            let log = std::fs::read_to_string(path).expect("a log");
            // The third field, in microseconds, from when it ought to have begun.
            let micros = log
                .lines()
                .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
            took.extend(micros);
        }
    }
    assert!(took.len() > 1_000, "{}", took.len());
    took.sort_by(f64::total_cmp);
    server.execute(
        "postgres",
        &format!("DROP DATABASE {database} WITH (FORCE)"),
    );
    (took[took.len() * 99 / 100] / 1e3, went)
}

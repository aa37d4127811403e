//! Big schemas and big subjects: a catalog of 1,000 tables, a tree of 1,000,000 rows under one
//! subject, 5,000,000 rows of one subject in one table.

use crate::report::{Must, Report, Setting};
use crate::support::{Server, ServerOptions, Workspace};
use erasured::erasure::context::Context;
use erasured::plan::SystemPlan;
use erasured::system::postgres::execute::{Execution, Nothing, Subject};
use erasured::{lineage, plan, start};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

const TABLES: usize = 1_000;

pub(crate) fn measure(report: &mut Report) {
    let server = Server::start_with(ServerOptions {
        durable: true,
        ..ServerOptions::default()
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(catalog(&server, report));
    runtime.block_on(tree(&server, report));
    runtime.block_on(one_table(&server, report));
}

/// A policy for subjects who are rows of `customer`, with these rules besides.
fn policy(rules: &str) -> String {
    format!(
        "subject = \"customer\"\nroot = \"big.public.customer\"\n\
         [identifier.member_no]\ncolumn = \"id\"\ntype = \"plain\"\nfind = true\n\
         [scope.account]\ntables = \"all\"\nverify = {{ at_least = \"basic\" }}\nsla = \"jp-appi\"\n\
         [[table]]\nname = \"big.public.customer\"\naction = \"delete\"\n{rules}"
    )
}

/// A workspace, and the product's parts as the daemon makes them.
fn opened(server: &Server, database: &str, rules: &str) -> Context {
    let control = server.fresh_database("control");
    let workspace = Workspace::new(&server.url(&control), &[("big", server.url(database))]);
    workspace.write_policy("customer.toml", &policy(rules));
    workspace.erasured(["migrate"]).assert().success();
    let config = start::configuration(&workspace.config()).expect("a configuration");
    start::context(config, Arc::new(chrono::Utc::now)).expect("a context")
}

/// Every table refers to up to three before it: about 3,000 keys.
async fn catalog(server: &Server, report: &mut Report) {
    let database = server.fresh_database("catalog");
    let mut sql = String::from("CREATE TABLE customer (id int PRIMARY KEY);");
    let mut rules = String::new();
    let mut keys = 0_u64;
    for at in 1..TABLES {
        let above = [at - 1, at / 2, at / 3].map(|p| match p {
            0 => "customer".to_owned(),
            p => format!("t{p}"),
        });
        let _ = write!(sql, "CREATE TABLE t{at} (id int PRIMARY KEY, note text");
        for (column, parent) in above.iter().enumerate() {
            if above[..column].contains(parent) {
                continue;
            }
            keys += 1;
            let _ = write!(sql, ", p{column} int REFERENCES {parent}");
        }
        sql.push_str(");");
        for column in 0..3 {
            if above[..column].contains(&above[column]) {
                continue;
            }
            let _ = write!(sql, "CREATE INDEX ON t{at} (p{column});");
        }
        let _ = write!(
            rules,
            "[[table]]\nname = \"big.public.t{at}\"\naction = \"delete\"\n"
        );
    }
    server.execute(&database, &sql);
    let before = memory();
    let context = opened(server, &database, &rules);
    let started = Instant::now();
    let (_, read) = context.systems["big"].catalog().await.expect("a catalog");
    let reading = started.elapsed();
    assert_eq!(read.foreign_keys.len() as u64, keys);
    let catalogs = BTreeMap::from([("big".to_owned(), (*read).clone())]);
    let policies = context.policies();
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let traced = lineage::trace(&policies["customer"], "account", &catalogs);
        let (lineage, _) = traced.unwrap_or_else(|found| panic!("{found:?}"));
        let traced = started.elapsed();
        let plan = plan::build(&policies["customer"], &lineage);
        assert_eq!(plan.systems[0].changes.len(), TABLES);
        times.push((traced.as_secs_f64(), started.elapsed().as_secs_f64()));
    }
    let setting = Setting::new(server)
        .rows("tables", TABLES as u64)
        .rows("foreign keys", keys);
    let ms = |pick: fn(&(f64, f64)) -> f64| 1e3 * crate::report::median(times.iter().map(pick));
    report.add(setting.absolute(
        "size: catalog of 1,000 tables read",
        "s",
        reading.as_secs_f64(),
        (Must::BeAtMost, 2.0),
        "everything that lineage, plan and check know of a database, over a socket",
    ));
    let both = setting.absolute(
        "size: lineage and plan of 1,000 tables",
        "ms",
        ms(|t| t.1),
        (Must::BeAtMost, 100.0),
        "all tables reached; median of 5",
    );
    report.add(both.with("lineage and check alone, ms", ms(|t| t.0)));
    report.add(setting.absolute(
        "size: memory for catalog, lineage and plan of 1,000 tables",
        "MB",
        memory() - before,
        (Must::BeAtMost, 100.0),
        "growth of the process's VmHWM",
    ));
}

/// This process's peak so far, in MB.
pub(crate) fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok())
        .expect("a size");
    kib * 1024.0 / 1e6
}

/// Messages that answer messages, all under one subject.
async fn tree(server: &Server, report: &mut Report) {
    const ROWS: u64 = 1_000_000;
    const RULES: &str = "[[table]]\nname = \"big.public.message\"\naction = \"delete\"\n\
         [[table]]\nname = \"big.public.message\"\nvia = \"message_answers_fkey\"\naction = \"delete\"\n";
    let database = server.fresh_database("tree");
    server.execute(
        &database,
        &format!(
            "CREATE TABLE customer (id int PRIMARY KEY);
             CREATE TABLE message (id int PRIMARY KEY, customer int REFERENCES customer, answers int REFERENCES message, body text);
             INSERT INTO customer VALUES (1), (2);
             INSERT INTO message SELECT n, CASE WHEN n = 1 THEN 1 END, CASE WHEN n > 1 THEN n / 2 END, 'a few words' FROM generate_series(1, {ROWS}) n;
             INSERT INTO message SELECT -n, CASE WHEN n = 1 THEN 2 END, CASE WHEN n > 1 THEN -(n / 2) END, 'others' FROM generate_series(1, 1000) n;
             CREATE INDEX ON message (customer); CREATE INDEX ON message (answers);"
        ),
    );
    server.execute(&database, "VACUUM ANALYZE");
    let hand = server.fresh_database("hand");
    server.execute("postgres", &format!("DROP DATABASE {hand}"));
    server.execute(
        "postgres",
        &format!("CREATE DATABASE {hand} TEMPLATE {database}"),
    );
    let of_first = "WITH RECURSIVE tree AS (SELECT id FROM message WHERE customer = 1 \
                    UNION ALL SELECT m.id FROM message m JOIN tree ON m.answers = tree.id)";
    let rows = server.count(&database, &format!("{of_first} SELECT count(*) FROM tree"));
    let others = server.count(&database, "SELECT count(*) FROM message") - rows;
    let context = opened(server, &database, RULES);
    let before = memory();
    let started = Instant::now();
    let erased = run(&context, "1").await;
    let ours = started.elapsed().as_secs_f64();
    let grown = memory() - before;
    assert_eq!(erased, rows + 1, "the tree and the customer");
    let left = server.count(&database, "SELECT count(*) FROM message");
    assert_eq!(left, others);
    let by_hand = server.connect(&hand).await;
    let started = Instant::now();
    by_hand
        .batch_execute(&format!(
            "BEGIN; {of_first} DELETE FROM message USING tree WHERE message.id = tree.id; \
             DELETE FROM customer WHERE id = 1; COMMIT"
        ))
        .await
        .expect("by hand");
    let theirs = started.elapsed().as_secs_f64();
    let setting = Setting::new(server).rows("rows of the tree", rows.unsigned_abs());
    report.add(setting.absolute(
        "size: memory for a tree of a million rows under one subject",
        "MB",
        grown,
        (Must::BeAtMost, 10.0),
        "growth of the process's VmHWM while it is erased",
    ));
    report.add(setting.compared(
        "size: a tree of a million rows, time against one statement by hand",
        "s",
        &[(ours, theirs)],
        (Must::BeAtMost, 3.0),
        "by hand: WITH RECURSIVE … DELETE without locking first, counting or checking; one round",
    ));
}

/// One subject's rows in one table, all at once and in pieces, against one DELETE by hand.
async fn one_table(server: &Server, report: &mut Report) {
    const ROWS: i64 = 5_000_000;
    const RULE: &str = "[[table]]\nname = \"big.public.event\"\naction = \"delete\"\n";
    let database = server.fresh_database("event");
    server.execute(
        &database,
        &format!(
            "CREATE TABLE customer (id int PRIMARY KEY);
             CREATE TABLE event (id int PRIMARY KEY, customer int REFERENCES customer, page text);
             INSERT INTO customer VALUES (1), (2);
             INSERT INTO event SELECT n, CASE WHEN n % 100 = 0 THEN 2 ELSE 1 END, 'a page' FROM generate_series(1, {ROWS} / 99 * 100) n;
             CREATE INDEX ON event (customer);"
        ),
    );
    server.execute(&database, "VACUUM (FREEZE, ANALYZE)");
    let rows = server.count(&database, "SELECT count(*) FROM event WHERE customer = 1");
    let others = server.count(&database, "SELECT count(*) FROM event WHERE customer = 2");
    let [hand, pieces] = ["hand", "pieces"].map(|stem| {
        let copy = server.fresh_database(stem);
        server.execute("postgres", &format!("DROP DATABASE {copy}"));
        server.execute(
            "postgres",
            &format!("CREATE DATABASE {copy} TEMPLATE {database}"),
        );
        copy
    });
    let mut took = Vec::new();
    let in_pieces = format!("{RULE}large = \"batches\"\n");
    for (database, rule) in [(&database, RULE), (&pieces, in_pieces.as_str())] {
        let context = opened(server, database, rule);
        server.execute("postgres", "CHECKPOINT");
        let before = memory();
        let started = Instant::now();
        let erased = run(&context, "1").await;
        took.push((started.elapsed().as_secs_f64(), memory() - before));
        assert_eq!(erased, rows + 1, "the events and the customer");
        let left = server.count(database, "SELECT count(*) FROM event");
        assert_eq!(left, others);
    }
    let made = server.count(&pieces, "SELECT pieces FROM erasured.applied_piece");
    server.execute("postgres", "CHECKPOINT");
    let by_hand = server.connect(&hand).await;
    let started = Instant::now();
    by_hand
        .batch_execute("BEGIN; DELETE FROM event WHERE customer = 1; DELETE FROM customer WHERE id = 1; COMMIT")
        .await
        .expect("by hand");
    let theirs = started.elapsed().as_secs_f64();
    let setting = Setting::new(server).rows("rows of the subject", rows.unsigned_abs());
    let names = [
        "size: five million rows of one subject in one transaction",
        "size: five million rows of one subject in pieces",
    ];
    for ((name, (ours, grown)), made) in names.into_iter().zip(took).zip([0, made]) {
        let entry = setting.compared(
            name,
            "s",
            &[(ours, theirs)],
            (Must::BeAtMost, 3.0),
            "by hand: one DELETE by the foreign key; one round",
        );
        report.add(
            entry
                .with("growth of VmHWM, MB", grown)
                .with("pieces", made as f64),
        );
    }
}

/// Erases one customer by the product's own executor; returns the rows counted.
async fn run(context: &Context, customer: &str) -> i64 {
    let planned = context.planned("customer", "account").await;
    let planned = planned.unwrap_or_else(|e| panic!("{e}"));
    let part: &SystemPlan = &planned.plan.systems[0];
    let subjects = [Subject {
        ticket: Uuid::new_v4(),
        generation: 1,
        keys: vec![vec![customer.to_owned()]],
        identifiers: BTreeMap::new(),
    }];
    let hash = |text: &str| context.hash_key.hash("column", text);
    let execution = Execution {
        plan: part,
        subjects: &subjects,
        now: context.now(),
        timeouts: context.timeouts(1),
        piece_rows: context.config.limits.piece_rows.get().into(),
        stamp: &planned.stamps["big"],
        batch: Uuid::new_v4(),
        held: &[],
        prepare: None,
        dry: false,
        hash: &hash,
    };
    let mut client = context.systems["big"].pool.get().await.expect("a session");
    let outcome = execution.run(&mut client, &mut Nothing).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    let changed = outcome.counts.iter().flat_map(|c| c.changed.values());
    changed.flat_map(BTreeMap::values).sum()
}

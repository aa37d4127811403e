//! Erasing 5,000 customers of the demo company from `shop` as its policy says (17 tables), held
//! against SQL written by hand for just that policy.
//!
//! Two copies of one database on one durable server, untouched settings. Ours works on one, the
//! hand-written SQL on the other, turn by turn, batch by batch, on the same customers; the other
//! two ways by hand go on with further customers of the second copy. Before anything is timed the
//! copies are compared: both ways must leave the same rows.

use crate::by_hand::ByHand;
use crate::filing;
use crate::report::{Entry, Must, Report, Setting};
use crate::support::{self, Demo, Server, ServerOptions, Workspace, load_demo};
use erasured::erasure::context::{Context, Planned};
use erasured::plan::{Counts, SystemPlan};
use erasured::start;
use erasured::system::postgres::execute::{Execution, Nothing, Subject};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const CUSTOMERS: u32 = 10_000;
const BATCH: usize = 500;
const BATCHES: usize = 10;
/// Beside each batch, for the slower ways.
const ONE_BY_ONE: usize = 50;
const BY_ROW: usize = 2;
const ROUNDS: usize = 5;

pub(crate) fn measure(report: &mut Report) {
    let server = Server::start_with(ServerOptions {
        durable: true,
        // What a server has that nobody has tuned.
        settings: vec![("shared_buffers".into(), "128MB".into())],
        ..ServerOptions::default()
    });
    let demo = load_demo(&server, CUSTOMERS);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(compare(&server, &demo, report));
}

async fn compare(server: &Server, demo: &Demo, report: &mut Report) {
    let workspace = Workspace::of_demo(server, demo);
    workspace.erasured(["migrate"]).assert().success();
    server.execute(&demo.shop, "VACUUM (FREEZE, ANALYZE)");
    let customers = shuffled(server, demo).await;

    let touched = alike(server, demo, &customers).await;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let speeds = Copies::new(server, demo)
            .await
            .round(&customers, round)
            .await;
        println!(
            "  round {}: subjects/s ours {:.0}, batches by hand {:.0}, one by one {:.0}, by row {:.1}",
            round + 1,
            speeds[0],
            speeds[1],
            speeds[2],
            speeds[3]
        );
        rounds.push(speeds);
    }
    let against = |other: usize| -> Vec<(f64, f64)> {
        rounds
            .iter()
            .map(|speeds| (speeds[0], speeds[other]))
            .collect()
    };
    let setting = Setting::new(server)
        .rows("customers", u64::from(CUSTOMERS))
        .rows("all rows of shop", rows_of(server, &demo.shop))
        .rows("subjects a round", (BATCH * BATCHES) as u64)
        .rows("rows touched a round", touched)
        .rows("tables touched", 17)
        .rows("rounds", ROUNDS as u64);
    let entry = |name: &str, other: usize, bar: f64, how: &str| -> Entry {
        let how = format!("batches of {BATCH}, fsync and full_page_writes on; {how}");
        setting.compared(
            name,
            "subjects/s",
            &against(other),
            (Must::BeAtLeast, bar),
            &how,
        )
    };
    let batches = entry(
        "erase: against set-based SQL by hand, same batches",
        1,
        0.7,
        "by hand: benches/by_hand/batch.sql, prepared, pipelined, one transaction a batch, no checks, no counts",
    );
    let whole = through_daemon(server, demo);
    report.add(batches.with(
        "subjects/s through the whole daemon, both databases, lease to last step",
        whole,
    ));
    report.add(entry(
        "erase: against one transaction a subject by hand",
        2,
        3.0,
        &format!(
            "by hand: the same statements, prepared, one after the other; {} subjects a round",
            ONE_BY_ONE * BATCHES
        ),
    ));
    report.add(entry(
        "erase: against one transaction a row by hand",
        3,
        20.0,
        &format!(
            "by hand: benches/by_hand/by_row.sql; extrapolated from {} subjects a round",
            BY_ROW * BATCHES
        ),
    ));
}

/// All customers in an order that is the same each time and follows nothing.
async fn shuffled(server: &Server, demo: &Demo) -> Vec<i64> {
    let client = server.connect(&demo.shop).await;
    let rows = client
        .query("SELECT id FROM customer ORDER BY md5('bench' || id)", &[])
        .await
        .expect("customers");
    rows.iter().map(|row| row.get(0)).collect()
}

fn rows_of(server: &Server, database: &str) -> u64 {
    let sql = "SELECT sum(n_live_tup) FROM pg_stat_user_tables WHERE schemaname = 'public'";
    server.count(database, sql).unsigned_abs()
}

/// One copy for ours, one for the others.
struct Copies<'a> {
    server: &'a Server,
    databases: [String; 2],
    ours: Ours,
    by_hand: ByHand,
}

impl<'a> Copies<'a> {
    async fn new(server: &'a Server, demo: &Demo) -> Self {
        let databases = ["ours", "theirs"].map(|name| format!("bench_{name}"));
        for database in &databases {
            server.execute(
                "postgres",
                &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
            );
            server.execute(
                "postgres",
                &format!(
                    "CREATE DATABASE {database} TEMPLATE {} STRATEGY file_copy",
                    demo.shop
                ),
            );
        }
        server.execute("postgres", "CHECKPOINT");
        let ours = Ours::new(server, &databases[0], demo).await;
        let by_hand = ByHand::new(server.connect(&databases[1]).await).await;
        Self {
            server,
            databases,
            ours,
            by_hand,
        }
    }

    /// Subjects a second: ours, batches, one by one, by row.
    async fn round(&self, customers: &[i64], round: usize) -> [f64; 4] {
        let (batched, others) = customers.split_at(BATCH * BATCHES);
        let (singles, rows) = others.split_at(ONE_BY_ONE * BATCHES);
        let mut took = [Duration::ZERO; 4];
        for (at, batch) in batched.chunks(BATCH).enumerate() {
            // Whoever goes first pays for what both need.
            for turn in 0..2 {
                let started = Instant::now();
                let which = (turn + at + round) % 2;
                if which == 0 {
                    self.ours.batch(batch).await;
                } else {
                    self.by_hand.batch(batch).await.expect("a batch by hand");
                }
                took[which] += started.elapsed();
            }
            let started = Instant::now();
            for customer in &singles[at * ONE_BY_ONE..][..ONE_BY_ONE] {
                self.by_hand.one(*customer).await.expect("one by hand");
            }
            took[2] += started.elapsed();
            let started = Instant::now();
            for customer in &rows[at * BY_ROW..][..BY_ROW] {
                self.by_hand.by_row(*customer).await.expect("rows by hand");
            }
            took[3] += started.elapsed();
        }
        let subjects = [BATCH, BATCH, ONE_BY_ONE, BY_ROW];
        std::array::from_fn(|i| (subjects[i] * BATCHES) as f64 / took[i].as_secs_f64())
    }

    /// Every table of both copies holds the same rows.
    fn assert_alike(&self, after: &str) {
        let tables = self.server.query(
            &self.databases[0],
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1",
        );
        for table in tables.iter().map(|row| row[0].as_deref().expect("a name")) {
            let sum = format!(
                "SELECT count(*) || ' ' || md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {table} t"
            );
            let [ours, theirs] = self
                .databases
                .each_ref()
                .map(|d| self.server.value(d, &sum));
            assert_eq!(ours, theirs, "{table} after {after}");
        }
    }
}

/// Ours and each way by hand must leave the same rows, or the comparison means nothing; returns
/// how many rows 5,000 subjects have.
async fn alike(server: &Server, demo: &Demo, customers: &[i64]) -> u64 {
    let copies = Copies::new(server, demo).await;
    let (batched, others) = customers.split_at(BATCH * BATCHES);
    let mut rows = 0;
    for batch in batched.chunks(BATCH) {
        let ours = copies.ours.batch(batch).await;
        let theirs = copies.by_hand.batch(batch).await.expect("a batch by hand");
        assert!(ours >= theirs, "ours says {ours} rows, theirs {theirs}");
        rows += ours;
    }
    copies.assert_alike("batches");
    let some = &others[..40];
    copies.ours.batch(some).await;
    for customer in &some[..20] {
        copies.by_hand.one(*customer).await.expect("one by hand");
    }
    for customer in &some[20..] {
        copies
            .by_hand
            .by_row(*customer)
            .await
            .expect("rows by hand");
    }
    copies.assert_alike("one by one and row by row");
    rows
}

/// The product's own executor, on the pool that the daemon uses.
struct Ours {
    context: Context,
    planned: Arc<Planned>,
}

impl Ours {
    async fn new(server: &Server, database: &str, demo: &Demo) -> Self {
        let demo = Demo {
            shop: database.to_owned(),
            loyalty: demo.loyalty.clone(),
        };
        let workspace = Workspace::of_demo(server, &demo);
        let config = start::configuration(&workspace.config()).expect("a configuration");
        let context = start::context(config, Arc::new(chrono::Utc::now)).expect("a context");
        let planned = context.planned("customer", "account").await;
        let planned = planned.unwrap_or_else(|e| panic!("{e}"));
        Self { context, planned }
    }

    fn part(&self) -> &SystemPlan {
        let mut systems = self.planned.plan.systems.iter();
        systems.find(|s| s.system == "shop").expect("shop")
    }

    /// Erases them, everything included; returns the rows counted.
    async fn batch(&self, customers: &[i64]) -> u64 {
        let subjects: Vec<Subject> = customers
            .iter()
            .map(|id| Subject {
                ticket: Uuid::new_v4(),
                generation: 1,
                keys: vec![vec![id.to_string()]],
                identifiers: BTreeMap::new(),
            })
            .collect();
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let execution = Execution {
            plan: self.part(),
            subjects: &subjects,
            now: self.context.now(),
            timeouts: self.context.timeouts(subjects.len()),
            piece_rows: self.context.config.limits.piece_rows.get().into(),
            stamp: &self.planned.stamps["shop"],
            batch: Uuid::new_v4(),
            held: &[],
            prepare: None,
            dry: false,
            hash: &hash,
        };
        let mut client = self.context.systems["shop"]
            .pool
            .get()
            .await
            .expect("a session");
        let outcome = execution.run(&mut client, &mut Nothing).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
        outcome.counts.iter().map(rows_in).sum()
    }
}

/// Rows deleted or changed.
fn rows_in(counts: &Counts) -> u64 {
    let changed = counts.changed.values().flat_map(BTreeMap::values);
    changed.sum::<i64>().unsigned_abs()
}

/// By the way: tickets through the real daemon, from the first lease to the last step on both
/// databases with its result in the control database, on the same server.
fn through_daemon(server: &Server, demo: &Demo) -> f64 {
    let workspace = Workspace::of_demo(server, demo);
    workspace.mend_demo_policy();
    filing::postpone_sweep(&workspace);
    filing::prepare(&workspace);
    let tickets = (BATCH * BATCHES) as i64;
    filing::file(server, &workspace, 1, tickets, "-1 second");
    let daemon = filing::Daemon::start(&workspace);
    let control = filing::database(&workspace);
    support::wait_until(
        "5,000 tickets to be worked off",
        Duration::from_secs(120),
        || {
            let open = "SELECT count(*) FROM erasured.ticket WHERE state <> 'verifying'";
            server.count(&control, open) == 0
        },
    );
    let seconds: f64 = server
        .value(&control, "SELECT extract(epoch FROM max(verifying_since) - min(started_at)) FROM erasured.ticket")
        .parse()
        .expect("seconds");
    daemon.stop();
    tickets as f64 / seconds
}

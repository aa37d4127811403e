//! What it costs to take the next batch with 100 tickets ready and with 100,000.
//!
//! Three queues, two of them with 100 tickets: what those two differ by is noise. All three take
//! turns, lease by lease, so that whatever else the machine does meets all alike; autovacuum, which
//! would come to one and not to another, is off, and its work is done for all between the rounds.

use crate::report::{Must, Report, Setting, median};
use crate::support::{Server, ServerOptions, Workspace};
use erasured::start;
use erasured::store::Store;
use std::time::{Duration, Instant};

const FEW: u64 = 100;
const MANY: u64 = 100_000;
const BATCH: u32 = 50;
const ROUNDS: usize = 31;
/// In each round, of each queue; the round's figure is their median.
const LEASES: usize = 45;

pub(crate) fn measure(report: &mut Report) {
    // Without fsync: the disk's time, which is the same for both, would hide a difference.
    let server = Server::start_with(ServerOptions {
        settings: vec![("autovacuum".into(), "off".into())],
        ..ServerOptions::default()
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rounds = runtime.block_on(async {
        let queues = [
            Queue::new(&server, MANY),
            Queue::new(&server, FEW),
            Queue::new(&server, FEW),
        ];
        round(&queues).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            for queue in &queues {
                server.execute(&queue.control, "VACUUM (ANALYZE) erasured.lease");
            }
            rounds.push(round(&queues).await);
        }
        rounds
    });
    let setting = Setting::new(&server).rows("tickets ready", MANY);
    let compared: Vec<(f64, f64)> = rounds.iter().map(|r| (r[0], r[1])).collect();
    let entry = setting.compared(
        "leasing: 100,000 tickets ready, against 100",
        "ms",
        &compared,
        (Must::BeAtMost, 1.1),
        "a lease of 50 tickets, given back after each; without fsync, which would hide the difference",
    );
    let same = median(rounds.iter().map(|r| r[2] / r[1]));
    report.add(entry.with("ratio, 100 against other 100: the noise", same));
}

/// The median time of a lease in each queue. They take turns at being first.
async fn round(queues: &[Queue; 3]) -> [f64; 3] {
    let mut took: [Vec<f64>; 3] = Default::default();
    for turn in 0..LEASES {
        for at in (0..3).map(|n| (n + turn) % 3) {
            took[at].push(queues[at].lease_once().await);
        }
    }
    took.map(|t| median(t.into_iter()))
}

/// A control database with nothing but tickets that are ready.
struct Queue {
    control: String,
    store: Store,
}

impl Queue {
    fn new(server: &Server, tickets: u64) -> Self {
        let control = server.fresh_database("control");
        let url = server.url(&control);
        let workspace = Workspace::new(&url, &[("shop", url.clone())]);
        let migrated = workspace
            .erasured(["migrate", "--only", "control"])
            .assert();
        migrated.success();
        server.execute(&control, &ready(tickets));
        server.execute(&control, "VACUUM (ANALYZE) erasured.ticket");
        let config = start::configuration(&workspace.config()).expect("a configuration");
        let pool = start::control_pool(&config, "bench", 1).expect("a pool");
        Self {
            control,
            store: Store::new(pool.inner().clone()),
        }
    }

    /// Milliseconds for one lease.
    async fn lease_once(&self) -> f64 {
        let started = Instant::now();
        let lent = self
            .store
            .lease("bench", BATCH, Duration::from_secs(60))
            .await;
        let took = started.elapsed().as_secs_f64() * 1e3;
        let lent = lent.expect("a lease").expect("tickets are ready");
        assert_eq!(lent.tickets.len(), BATCH as usize);
        self.store.release(lent.token).await.expect("given back");
        took
    }
}

fn ready(tickets: u64) -> String {
    format!(
        "INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, sealed, subject_hash)
         SELECT 'CRM-' || n, 'customer', 'account', 'appi-35', now(), now() + n * interval '1 second', 'scheduled', '\\x00',
                md5(n::text) || md5(n::text)
           FROM generate_series(1, {tickets}) AS n"
    )
}

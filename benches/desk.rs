//! A desk with 100,000 open tickets: what its people and its dashboards wait for.

use crate::report::{Must, Report, Setting};
use crate::support::{Server, Workspace};
use erasured::start;
use erasured::store::Store;
use erasured::store::desk::PageFilter;
use erasured::store::tickets::{IdentifierValue, ListFilter, NewTicket};
use std::time::{Duration, Instant};

const OPEN: u64 = 100_000;
/// Of each look; the figure is the slowest but three.
const LOOKS: usize = 300;
const DESKS: usize = 8;
const SUBMITS: usize = 250;

pub(crate) fn measure(report: &mut Report) {
    let server = Server::durable();
    let control = server.fresh_database("control");
    let url = server.url(&control);
    let workspace = Workspace::new(&url, &[("shop", url.clone())]);
    let mut migrate = workspace.erasured(["migrate", "--only", "control"]);
    migrate.assert().success();
    server.execute(&control, &open_tickets());
    for table in ["ticket", "ticket_identifier", "decision"] {
        server.execute(&control, &format!("VACUUM (ANALYZE) erasured.{table}"));
    }
    let config = start::configuration(&workspace.config()).expect("a configuration");
    let pool = start::control_pool(&config, "bench", DESKS).expect("a pool");
    let store = Store::new(pool.inner().clone());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let setting = Setting::new(&server).rows("tickets open", OPEN);
    runtime.block_on(looks(&store, &setting, report));
    runtime.block_on(submits(&store, &server, &control, &setting, report));
}

/// Each timed alone, one after the other.
async fn looks(store: &Store, setting: &Setting, report: &mut Report) {
    let within = (Must::BeAtMost, 50.0);
    let mut listed = Vec::new();
    let mut paged = Vec::new();
    let mut shown = Vec::new();
    let mut counted = Vec::new();
    let mut leased = Vec::new();
    let hundred = ListFilter {
        limit: 100,
        ..ListFilter::default()
    };
    let page = PageFilter {
        limit: 101,
        ..PageFilter::default()
    };
    for n in 0..LOOKS {
        let reference = format!("CRM-{}", 1 + n * 331);
        listed.push(timed(store.list(&hundred)).await.1);
        paged.push(timed(store.page(&page)).await.1);
        shown.push(timed(store.show(&reference)).await.1);
        counted.push(timed(store.census()).await.1);
        let lease = store.lease("bench", 50, Duration::from_secs(60));
        let (lent, took) = timed(lease).await;
        leased.push(took);
        let lent = lent.expect("tickets are ready");
        assert_eq!(lent.tickets.len(), 50);
        store.release(lent.token).await.expect("given back");
    }
    let how = "99th percentile of 300, one connection, durable server";
    for (what, took) in [
        ("ticket list, the 100 most in danger", listed),
        ("a page of 100 over HTTP, its query", paged),
        ("ticket show", shown),
        ("the counts behind a scrape of the metrics", counted),
        ("a lease of 50, due first", leased),
    ] {
        let name = format!("desk, 100,000 open: {what}");
        report.add(setting.absolute(&name, "ms", percentile(took), within, how));
    }
}

async fn timed<T, E: std::fmt::Debug>(look: impl Future<Output = Result<T, E>>) -> (T, f64) {
    let started = Instant::now();
    let seen = look.await.expect("an answer");
    (seen, started.elapsed().as_secs_f64() * 1e3)
}

fn percentile(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

/// Filing through SQL, each durable; and what a bare INSERT of one row costs at the same width.
async fn submits(
    store: &Store,
    server: &Server,
    control: &str,
    setting: &Setting,
    report: &mut Report,
) {
    server.execute(
        control,
        "CREATE TABLE public.bare (id bigint PRIMARY KEY, note text)",
    );
    let started = Instant::now();
    let desks = (0..DESKS).map(|desk| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..SUBMITS {
                file(&store, desk * SUBMITS + n).await;
            }
        })
    });
    futures_util::future::join_all(desks)
        .await
        .into_iter()
        .for_each(|d| d.expect("filed"));
    let ours = per_second(started);
    let started = Instant::now();
    let url = server.url(control);
    let desks = (0..DESKS).map(|desk| {
        let url = url.clone();
        tokio::spawn(async move {
            let client = crate::support::connect(&url).await;
            let insert = "INSERT INTO public.bare VALUES ($1, 'a row of about the same length')";
            let insert = client.prepare(insert).await.expect("a statement");
            for n in 0..SUBMITS {
                let id = i64::try_from(desk * SUBMITS + n).expect("few");
                client.execute(&insert, &[&id]).await.expect("a row");
            }
        })
    });
    futures_util::future::join_all(desks)
        .await
        .into_iter()
        .for_each(|d| d.expect("inserted"));
    let bare = per_second(started);
    let name = "desk, 100,000 open: tickets filed through SQL";
    let how = "eight connections, each ticket its own durable transaction";
    let entry = setting.absolute(name, "a second", ours, (Must::BeAtLeast, 500.0), how);
    report.add(entry.with("bare INSERTs of one row a second", bare));
}

#[allow(clippy::cast_precision_loss)]
fn per_second(started: Instant) -> f64 {
    (DESKS * SUBMITS) as f64 / started.elapsed().as_secs_f64()
}

async fn file(store: &Store, n: usize) {
    let identifiers = [(
        "member_no".to_owned(),
        IdentifierValue::new(format!("TM-{n:07}")),
    )];
    let new = NewTicket {
        reference: &format!("NEW-{n}"),
        subject: "customer",
        identifiers: &identifiers,
        scope: "account",
        ground: "policy",
        requested_at: None,
        language: Some("ja"),
    };
    store.submit(&new, None).await.expect("a ticket");
}

/// A fifth each received, verified and waiting, the rest ready; due over the next weeks.
fn open_tickets() -> String {
    format!(
        "INSERT INTO erasured.scope (subject, scope, policy_sha256, identifiers, at_least, four_eyes, cooling_off, sla)
           VALUES ('customer', 'account', repeat('a', 64), '{{member_no}}', 1, false, '0', 'jp-appi');
         INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, subject_hash, sealed, next_attempt_at)
           SELECT 'CRM-' || n, 'customer', 'account', 'appi-35-5', now() - n % 500 * interval '1 hour',
                  now() + (n % 1000 - 50) * interval '20 minutes',
                  (ARRAY['received', 'verified', 'approved', 'scheduled', 'scheduled'])[1 + n % 5],
                  md5(n::text) || md5(n::text), '\\x00',
                  CASE WHEN n % 5 = 2 THEN now() + interval '3 days' END
             FROM generate_series(1, {OPEN}) AS n;
         INSERT INTO erasured.ticket_identifier (ticket_id, name, value)
           SELECT id, 'member_no', 'TM-' || reference FROM erasured.ticket;
         INSERT INTO erasured.decision (ticket_id, kind, method, level, by_name, by_role)
           SELECT id, 'verify', 'callback', 2, 'hana', 'erasured_desk' FROM erasured.ticket WHERE state <> 'received';"
    )
}

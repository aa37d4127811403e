//! A desk with 100,000 open tickets: what its people and its dashboards wait for.

use crate::filing::Daemon;
use crate::report::{Must, Report, Setting};
use crate::support::{Server, Workspace, wait_until};
use erasured::start;
use erasured::store::desk::PageFilter;
use erasured::store::holds::Verdict;
use erasured::store::tickets::{IdentifierValue, ListFilter, NewTicket};
use erasured::store::{Store, StoreError};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use uuid::Uuid;

const OPEN: u64 = 100_000;
/// Of each look; the figure is the slowest but three.
const LOOKS: usize = 300;
const DESKS: usize = 8;
const SUBMITS: usize = 250;
/// For the tickets' subject and scope.
const POLICY: &str = r#"
subject = "customer"
root    = "shop.public.customer"

[identifier.member_no]
column = "member_no"
find   = true

[scope.account]
tables = "all"
verify = { at_least = "basic" }
sla    = "jp-appi"

[[table]]
name   = "shop.public.customer"
action = "delete"
"#;

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
    runtime.block_on(questions(&store, &server, &control, report));
    scrapes(&workspace, &server, &control, &setting, report);
}

/// What each COMMIT that erases asks first, for a batch of 500; beside it a transaction that asks nothing.
async fn questions(store: &Store, server: &Server, control: &str, report: &mut Report) {
    let batch = "SELECT string_agg(id::text, ' ') FROM (SELECT id FROM erasured.ticket ORDER BY reference LIMIT 500) t";
    let tickets: Vec<Uuid> = server.value(control, batch).split(' ').map(uuid).collect();
    let (mut rows, mut before) = (Vec::new(), 0);
    for holds in [0, 1, 100] {
        server.execute(control, &placed(before, holds));
        let placed = "SELECT coalesce(string_agg(id::text, ' '), '') FROM erasured.hold WHERE kind = 'table'";
        let ids = server.value(control, placed);
        rows.extend(
            ids.split_whitespace()
                .map(uuid)
                .filter(|id| !rows.contains(id))
                .collect::<Vec<_>>(),
        );
        before = holds;
        let (mut asked, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            asked.push(timed(question(store, &tickets, &rows)).await.1);
            bare.push(timed(nothing(store)).await.1);
        }
        let how = "99th percentile of 300: begin, lock, question and end, two round trips to begin and end and one to ask; a batch of 500 tickets";
        let setting = Setting::new(server)
            .rows("tickets open", OPEN)
            .rows("holds on people, and as many on rows", holds);
        let name = format!(
            "desk, 100,000 open: the question before a COMMIT, {holds} holds on people and {holds} on rows"
        );
        let middle = |took: &[f64]| percentile_of(took, 50);
        let entry = setting.absolute(
            &name,
            "ms",
            percentile_of(&asked, 99),
            (Must::BeAtMost, 50.0),
            how,
        );
        report.add(
            entry
                .with("its median, ms", middle(&asked))
                .with("a transaction that asks nothing, median, ms", middle(&bare)),
        );
    }
}

async fn question(store: &Store, tickets: &[Uuid], rows: &[Uuid]) -> Result<(), StoreError> {
    let (permit, verdict) = store
        .permit(tickets, &["shop".to_owned()], rows, Duration::from_secs(60))
        .await?;
    assert_eq!(verdict, Verdict::Free);
    permit.end().await;
    Ok(())
}

async fn nothing(store: &Store) -> Result<(), tokio_postgres::Error> {
    let session = store.pool().get().await.expect("a session");
    session.batch_execute("BEGIN READ ONLY; SELECT 1").await?;
    session.query_one("SELECT 1", &[]).await?;
    session.batch_execute("ROLLBACK").await
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("an id")
}

/// So many more holds: on people whom none of the tickets names, and on rows.
fn placed(before: u64, holds: u64) -> String {
    format!(
        "WITH people AS (
           INSERT INTO erasured.hold (matter, reason, kind, subject, placed_by, placed_role, named_by, read_at)
             SELECT 'case-' || n, 'audit', 'subject', 'customer', 'kenji', 'erasured_approver', 1, now()
               FROM generate_series({before} + 1, {holds}) n RETURNING id, matter),
         named AS (INSERT INTO erasured.hold_identifier (hold_id, name, hash) SELECT id, 'member_no', md5(matter) || md5(matter) FROM people)
         INSERT INTO erasured.hold_subject (hold_id, subject_hash) SELECT id, md5(matter) || md5(matter) FROM people;
         INSERT INTO erasured.hold (matter, reason, kind, system, schema_name, table_name, conditions, sealed, placed_by, placed_role, read_at)
           SELECT 'rows-' || n, 'audit', 'table', 'shop', 'public', 'invoice', '[]', '\\x00', 'kenji', 'erasured_approver', now()
             FROM generate_series({before} + 1, {holds}) n;
         ANALYZE erasured.hold, erasured.hold_identifier, erasured.hold_subject"
    )
}

/// What Prometheus waits for, of a daemon that has counted all this. Nothing is left for it to do, so that
/// only the scrape is timed and what the daemon does by the clock.
fn scrapes(
    workspace: &Workspace,
    server: &Server,
    control: &str,
    setting: &Setting,
    report: &mut Report,
) {
    let rest = "UPDATE erasured.ticket SET next_attempt_at = now() + interval '1 day', clock_stale = false, escalate_at = NULL, \
                subject_hash = coalesce(subject_hash, md5(reference) || md5(reference))";
    server.execute(
        control,
        &format!("SET session_replication_role = replica; {rest}"),
    );
    server.execute(control, "VACUUM (ANALYZE) erasured.ticket");
    // A daemon does not start without a policy.
    let table = "CREATE TABLE public.customer (id int PRIMARY KEY, member_no text NOT NULL UNIQUE)";
    server.execute(control, table);
    let mut migrate = workspace.erasured(["migrate", "--only", "shop"]);
    migrate.assert().success();
    workspace.write_policy("customer.toml", POLICY);
    let _daemon = Daemon::start(workspace);
    let scrape =
        || get(&workspace.http(), "/metrics").filter(|text| text.contains("erasured_tickets{"));
    wait_until("the tickets to be counted", Duration::from_secs(60), || {
        scrape().is_some()
    });
    let mut took = Vec::new();
    for _ in 0..LOOKS {
        let started = Instant::now();
        let text = scrape().expect("metrics");
        took.push(started.elapsed().as_secs_f64() * 1e3);
        assert!(text.contains("erasured_tickets"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let how =
        "99th percentile of 300, each a connection of its own, to a daemon that counts meanwhile";
    let name = "desk, 100,000 open: a scrape of /metrics";
    report.add(setting.absolute(
        name,
        "ms",
        percentile_of(&took, 99),
        (Must::BeAtMost, 50.0),
        how,
    ));
}

/// The body of a page.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
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
        report.add(setting.absolute(&name, "ms", percentile_of(&took, 99), within, how));
    }
}

async fn timed<T, E: std::fmt::Debug>(look: impl Future<Output = Result<T, E>>) -> (T, f64) {
    let started = Instant::now();
    let seen = look.await.expect("an answer");
    (seen, started.elapsed().as_secs_f64() * 1e3)
}

fn percentile_of(took: &[f64], percent: usize) -> f64 {
    let mut took = took.to_vec();
    took.sort_by(f64::total_cmp);
    took[took.len() * percent / 100]
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

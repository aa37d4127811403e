//! The list by danger: complete, in order, and not slower with what waits.

use crate::server::Database;
use erasured::store::tickets::{ListFilter, TicketView};
use erasured::ticket::danger::Danger;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Every combination that can be, each a ticket.
const ALL_KINDS: &str = "SET session_replication_role = replica; \
    INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, held_from, clock, escalated, \
           explain, asked_for, problem_code, subject_hash, finished_at) \
    SELECT concat_ws('/', state, days, clock, escalated, explain, asked, problem, found), 'customer', 'account', 'policy', \
           now() - interval '40 days', now() + days * interval '1 day', state, CASE state WHEN 'on_hold' THEN 'verified' END, \
           clock, escalated, explain, asked, problem, CASE WHEN found THEN repeat('b', 64) END, \
           CASE WHEN state IN ('completed', 'deferred', 'rejected') THEN now() END \
      FROM unnest(ARRAY['received', 'verified', 'approved', 'scheduled', 'executing', 'verifying', 'failed', 'on_hold', \
                        'completed', 'deferred', 'rejected']) AS state, \
           unnest(ARRAY[-1, 1, 30]) AS days, unnest(ARRAY['running', 'paused', 'not_started']) AS clock, \
           unnest(ARRAY[0, 1]) AS escalated, unnest(ARRAY[false, true]) AS explain, \
           unnest(ARRAY[NULL, 'identity']) AS asked, unnest(ARRAY[NULL, 'E0403']) AS problem, \
           unnest(ARRAY[false, true]) AS found \
     WHERE (found OR state IN ('received', 'verified', 'approved', 'on_hold', 'rejected')); \
    SET session_replication_role = DEFAULT";

fn references(tickets: &[TicketView]) -> BTreeSet<&str> {
    tickets.iter().map(|t| t.reference.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ticket_is_listed_once_and_the_worst_first() {
    let db = Database::new().await;
    let (store, admin) = (db.store("owner"), db.client("owner").await);
    admin.batch_execute(ALL_KINDS).await.unwrap();
    let count: i64 = admin
        .query_one("SELECT count(*) FROM erasured.ticket", &[])
        .await
        .unwrap()
        .get(0);
    let count = usize::try_from(count).unwrap();
    let list = async |limit: u32, filter: ListFilter| {
        store.list(&ListFilter { limit, ..filter }).await.unwrap()
    };
    let all = list(10_000, ListFilter::default()).await;
    assert_eq!(
        (all.len(), references(&all).len()),
        (count, count),
        "each once"
    );
    let rank = |t: &TicketView| match t.danger {
        Danger::Explain => Danger::Late,
        danger => danger,
    };
    assert!(
        all.is_sorted_by_key(rank),
        "{:?}",
        all.iter().map(rank).collect::<Vec<_>>()
    );
    let open = all.iter().take_while(|t| t.danger != Danger::Closed);
    assert!(open.clone().count() > 100);
    for of_one in open.collect::<Vec<_>>().chunk_by(|a, b| rank(a) == rank(b)) {
        let lost = |t: &&TicketView| t.problem_code.is_some() && t.subject_hash.is_none();
        let due = of_one.iter().filter(|t| !lost(t));
        assert!(due.is_sorted_by_key(|t| t.due_at), "{:?}", rank(of_one[0]));
    }
    for limit in [1, 7, 100, 700] {
        let some = list(limit, ListFilter::default()).await;
        assert_eq!(some.len(), limit as usize);
        let first = |tickets: &[TicketView]| -> Vec<_> {
            tickets.iter().map(|t| t.reference.clone()).collect()
        };
        assert_eq!(first(&some), first(&all[..limit as usize]));
    }
    let late = list(
        10_000,
        ListFilter {
            overdue: true,
            ..ListFilter::default()
        },
    )
    .await;
    assert!(!late.is_empty() && late.iter().all(|t| rank(t) == Danger::Late));
    assert_eq!(
        late.len(),
        all.iter().filter(|t| rank(t) == Danger::Late).count()
    );
    let failed = ListFilter {
        state: Some("failed".into()),
        ..ListFilter::default()
    };
    let failed = list(10_000, failed).await;
    assert_eq!(
        failed.len(),
        all.iter().filter(|t| t.state == "failed").count()
    );
}

/// A hundred thousand that are open: the first hundred are found along indexes.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_does_not_read_all_that_waits() {
    let db = Database::new().await;
    let (store, admin) = (db.store("owner"), db.client("owner").await);
    for state in ["received", "scheduled"] {
        let fill = format!(
            "SET session_replication_role = replica; DELETE FROM erasured.ticket; SET session_replication_role = DEFAULT; \
             INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, subject_hash, escalated) \
             SELECT 'R' || n, 'customer', 'account', 'policy', now(), now() + interval '1 day' + n * interval '1 second', '{state}', repeat('b', 64), 0 \
               FROM generate_series(1, 100000) n; \
             UPDATE erasured.ticket SET escalated = 1, due_at = now() + interval '1 hour' WHERE reference IN ('R7', 'R8'); \
             ANALYZE erasured.ticket"
        );
        admin.batch_execute(&fill).await.unwrap();
        admin.batch_execute("VACUUM erasured.ticket").await.unwrap();
        let filter = ListFilter {
            limit: 100,
            ..ListFilter::default()
        };
        store.list(&filter).await.unwrap();
        let started = Instant::now();
        let listed = store.list(&filter).await.unwrap();
        let took = started.elapsed();
        assert_eq!(listed.len(), 100);
        assert_eq!(references(&listed[..2]), BTreeSet::from(["R7", "R8"]));
        println!("{state}: {took:?}");
        // A scan of all takes a multiple of it on any machine of today.
        assert!(took < Duration::from_millis(150), "{state}: {took:?}");
    }
}

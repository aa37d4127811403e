//! What moves a ticket's clock: the desk's part in SQL, and the daemon's counting again.

use crate::server::Database;
use crate::{CANARY, code, offer, submit};
use chrono::{DateTime, Duration, TimeZone, Utc};
use erasured::policy::Level;
use erasured::store::Store;
use erasured::store::clock::{Counted, Uncounted};
use std::sync::Mutex;
use tokio_postgres::Client;
use uuid::Uuid;

/// A clock of so many days, and as many more if it may be extended.
fn term(ticket: &Uncounted, days: i64, more: Option<i64>) -> Counted {
    let due = ticket.events.requested_at + Duration::days(days);
    let extended = more.map(|more| due + Duration::days(more));
    Counted {
        acknowledge_by: None,
        due_at: ticket.events.extended_at.and(extended).unwrap_or(due),
        extended_due_at: extended,
        clock: "running",
        escalated: 0,
        escalate_at: None,
        called: "escalated",
        explain: false,
    }
}

async fn count(store: &Store, days: i64, more: Option<i64>) -> Vec<Uncounted> {
    let seen = Mutex::new(Vec::new());
    let counted = store.recount(20_000, Utc::now(), |ticket| {
        let counted = term(ticket, days, more);
        seen.lock().unwrap().push(Uncounted {
            id: ticket.id,
            subject: ticket.subject.clone(),
            scope: ticket.scope.clone(),
            events: ticket.events.clone(),
            escalated: ticket.escalated,
        });
        counted
    });
    let (counted, _) = counted.await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(counted, seen.len());
    seen
}

async fn kinds(admin: &Client, ticket: Uuid) -> Vec<String> {
    let sql = "SELECT kind FROM erasured.event WHERE ticket_id = $1 ORDER BY id";
    let rows = admin.query(sql, &[&ticket]).await.unwrap();
    rows.iter().map(|r| r.get(0)).collect()
}

/// A cooling-off time that the policy changes counts for what is approved from then on: the day that was
/// said at the approval is neither put off nor brought forward.
#[tokio::test]
async fn what_is_approved_keeps_its_cooling_off_time() {
    let db = Database::new().await;
    let store = db.store("owner");
    let mut account = offer("account", false, Level::Basic);
    let admin = db.client("owner").await;
    let mut days = Vec::new();
    for (n, cooling_off) in [2, 9, 0].into_iter().enumerate() {
        account.cooling_off = Duration::days(cooling_off);
        store.publish_scopes(&[account.clone()]).await.unwrap();
        let id = submit(&store, &format!("R-{n}"), &format!("{n}-{CANARY}"))
            .await
            .unwrap();
        store.verify(id, "login", None, None).await.unwrap();
        store.approve(id, None).await.unwrap();
        let waits = "SELECT string_agg((extract(epoch FROM not_before - now()) / 86400)::int::text, ' ' ORDER BY reference) FROM erasured.ticket";
        days.push(
            admin
                .query_one(waits, &[])
                .await
                .unwrap()
                .get::<_, String>(0),
        );
    }
    assert_eq!(days, ["2", "2 9", "2 9 0"]);
}

/// A ticket asked for five days ago.
async fn older(db: &Database, store: &Store) -> (Uuid, Client) {
    let account = offer("account", false, Level::Basic);
    store.publish_scopes(&[account]).await.unwrap();
    let id = submit(store, "R", CANARY).await.unwrap();
    let admin = db.client("owner").await;
    let back = "UPDATE erasured.ticket SET requested_at = requested_at - interval '5 days'";
    admin.batch_execute(back).await.unwrap();
    (id, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_is_made_longer_once_and_in_time() {
    let db = Database::new().await;
    let (store, daemon) = (db.store("owner"), db.daemon().await);
    let (id, admin) = older(&db, &store).await;
    let extend = |ground: &'static str| store.extend(id, ground, None);
    assert_eq!(
        code(extend("complex").await),
        "ER017",
        "nobody has counted it"
    );
    count(&daemon, 30, None).await;
    assert_eq!(code(extend("complex").await), "ER017", "no extension");
    let stale = "UPDATE erasured.ticket SET clock_stale = true";
    admin.batch_execute(stale).await.unwrap();
    count(&daemon, 4, Some(60)).await;
    assert_eq!(
        code(extend("complex").await),
        "ER017",
        "the first term is over"
    );
    admin.batch_execute(stale).await.unwrap();
    count(&daemon, 30, Some(60)).await;
    assert_eq!(code(extend("It is complex").await), "ER006");
    let due = || async { store.ticket("R").await.unwrap().due_at.unwrap() };
    let first = due().await;
    extend("complex").await.unwrap();
    let longer = due().await;
    assert_eq!(longer - first, Duration::days(60), "at once");
    assert_eq!(code(extend("many-requests").await), "ER017", "once");
    extend("complex").await.unwrap();
    assert_eq!(count(&daemon, 30, Some(60)).await.len(), 1);
    assert_eq!(due().await, longer, "the daemon counts the same");
    let told = kinds(&admin, id).await;
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, ["received", "due_moved", "due_moved", "extended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_at_a_time_and_proof_answers_the_one_for_it() {
    let db = Database::new().await;
    let (store, daemon) = (db.store("owner"), db.daemon().await);
    let (id, admin) = older(&db, &store).await;
    assert_eq!(count(&daemon, 30, None).await.len(), 1);
    assert_eq!(count(&daemon, 30, None).await.len(), 0, "once is enough");
    assert_eq!(code(store.answered(id, None).await), "ER018");
    store.ask(id, "which-account", None).await.unwrap();
    store.ask(id, "which-account", None).await.unwrap();
    assert_eq!(code(store.ask(id, "identity", None).await), "ER018");
    let seen = count(&daemon, 30, None).await.remove(0).events.questions;
    assert!(
        matches!(seen[..], [q] if !q.for_identity && q.answered_at.is_none()),
        "{seen:?}"
    );
    store.answered(id, None).await.unwrap();
    store.ask(id, "identity", None).await.unwrap();
    assert_eq!(
        store.ticket("R").await.unwrap().asked_for.as_deref(),
        Some("identity")
    );
    store.verify(id, "callback", None, None).await.unwrap();
    let seen = count(&daemon, 30, None).await.remove(0).events;
    assert!(seen.proven_at.is_some() && seen.accepted_at.is_none());
    let answered = |q: &erasured::ticket::clock::Question| q.answered_at.is_some();
    assert!(
        seen.questions.len() == 2 && seen.questions.iter().all(answered),
        "{seen:?}"
    );
    assert!(seen.questions[1].for_identity);
    assert_eq!(store.ticket("R").await.unwrap().asked_for, None);
    let told = kinds(&admin, id).await;
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told[1..5], ["asked", "answered", "asked", "answered"]);
    store.reject(id, "withdrawn", None).await.unwrap();
    assert_eq!(code(store.ask(id, "identity", None).await), "ER002");
    assert_eq!(code(store.acknowledge(id, None).await), "ER002");
}

/// Only where a profile begins with them do proof and approval cost the daemon another count.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_move_only_the_clocks_that_begin_with_them() {
    let db = Database::new().await;
    let (store, daemon) = (db.store("owner"), db.daemon().await);
    for (moves, expected) in [
        (vec![], [0, 0]),
        (vec!["verify".to_owned()], [1, 0]),
        (vec!["approve".to_owned()], [0, 1]),
    ] {
        let mut account = offer("account", false, Level::Basic);
        account.clock_moves = moves.clone();
        store.publish_scopes(&[account]).await.unwrap();
        let id = submit(&store, &format!("R{moves:?}"), CANARY)
            .await
            .unwrap();
        assert_eq!(count(&daemon, 30, None).await.len(), 1);
        store.verify(id, "callback", None, None).await.unwrap();
        let proven = count(&daemon, 30, None).await.len();
        store.approve(id, None).await.unwrap();
        assert_eq!(
            [proven, count(&daemon, 30, None).await.len()],
            expected,
            "{moves:?}"
        );
    }
}

/// What is closed keeps the due time by which it was measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_ticket_keeps_its_due_time() {
    let db = Database::new().await;
    let (store, daemon) = (db.store("owner"), db.daemon().await);
    let (id, _) = older(&db, &store).await;
    count(&daemon, 30, None).await;
    store.acknowledge(id, None).await.unwrap();
    store.ask(id, "identity", None).await.unwrap();
    store.reject(id, "unverified", None).await.unwrap();
    let due = || async { store.ticket("R").await.unwrap().due_at };
    let before = due().await;
    assert_eq!(count(&daemon, 300, None).await.len(), 1);
    assert_eq!(due().await, before);
    assert!(before > Some(Utc.timestamp_opt(0, 0).unwrap() as DateTime<Utc>));
}

/// Ready tickets of a desk for a due time some days ahead of now, filed in this order.
async fn flood(admin: &Client, desk: &str, count: u32) {
    let sql = format!(
        "INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, filed_by, subject_hash, sealed) \
         SELECT '{desk}-' || n, 'customer', 'account', 'policy', now(), '{desk}', repeat('b', 64), '\\x01' \
           FROM generate_series(1, {count}) n"
    );
    admin.batch_execute(&sql).await.unwrap();
}

async fn make_ready(admin: &Client) {
    // Only the order matters here, not how they came to be approved.
    admin
        .batch_execute(
            "SET session_replication_role = replica; \
             UPDATE erasured.ticket SET state = 'scheduled' WHERE state = 'received'; \
             SET session_replication_role = DEFAULT; ANALYZE erasured.ticket",
        )
        .await
        .unwrap();
}

/// Ten thousand of one desk, then ten of another, all due at the same time: nobody waits behind a
/// flood. What is due sooner goes first, whoever filed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_desk_does_not_starve_another() {
    let db = Database::new().await;
    let (store, daemon, admin) = (
        db.store("owner"),
        db.daemon().await,
        db.client("owner").await,
    );
    flood(&admin, "crm", 10_000).await;
    let due = Utc::now() + Duration::days(9);
    let count = async || {
        let all = |_: &Uncounted| Counted {
            acknowledge_by: None,
            due_at: due,
            extended_due_at: None,
            clock: "running",
            escalated: 0,
            escalate_at: None,
            called: "escalated",
            explain: false,
        };
        while daemon.recount(500, Utc::now(), all).await.unwrap().0 > 0 {}
    };
    count().await;
    flood(&admin, "shop", 10).await;
    count().await;
    make_ready(&admin).await;
    let sooner =
        "UPDATE erasured.ticket SET due_at = due_at - interval '1 second' WHERE turn = 9999";
    admin.batch_execute(sooner).await.unwrap();
    let batch = store
        .lease("one", 20, std::time::Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(batch.tickets.len(), 20);
    let of = |desk: &str| {
        batch
            .tickets
            .iter()
            .filter(|t| t.reference.starts_with(desk))
            .count()
    };
    assert!(
        of("shop") >= 9,
        "{} of the ten in the first twenty",
        of("shop")
    );
    let first = batch.tickets.iter().min_by_key(|t| t.due_at).unwrap();
    assert!(first.due_at < due - Duration::milliseconds(500) && first.reference.starts_with("crm"));
    let turns = "SELECT count(*) - count(DISTINCT (filed_by, turn)), min(turn), max(turn) FROM erasured.ticket";
    let row = admin.query_one(turns, &[]).await.unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (0_i64, 1_i32, 10_000_i32),
        "each turn once"
    );
}

/// Steps are told once each, the highest of several at once, and anew only when more are reached.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_told_once() {
    let db = Database::new().await;
    let (store, daemon) = (db.store("owner"), db.daemon().await);
    let (id, admin) = older(&db, &store).await;
    let now = Utc::now();
    let at = async |step: u8, called: &'static str, days: i64| {
        let count = |ticket: &Uncounted| Counted {
            escalated: step,
            escalate_at: Some(now + Duration::days(days + 1)),
            called,
            ..term(ticket, 30, None)
        };
        let (counted, told) = daemon
            .recount(100, now + Duration::days(days), count)
            .await
            .unwrap();
        (
            counted,
            told.into_iter()
                .map(|t| (t.called, t.step))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(at(0, "escalated", 0).await, (1, vec![]));
    assert_eq!(at(0, "escalated", 0).await, (0, vec![]), "not yet");
    assert_eq!(at(2, "escalated", 1).await, (1, vec![("escalated", 2)]));
    assert_eq!(at(2, "escalated", 2).await, (1, vec![]), "told already");
    assert_eq!(at(3, "late", 3).await, (1, vec![("late", 3)]));
    assert_eq!(at(3, "late", 4).await, (1, vec![]));
    store.reject(id, "unverified", None).await.unwrap();
    assert_eq!(
        at(4, "late", 5).await,
        (1, vec![]),
        "nothing of what is closed"
    );
    assert_eq!(at(4, "late", 9).await, (0, vec![]), "and no more of it");
    let told = kinds(&admin, id).await;
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        ["received", "escalated", "late", "rejecting", "rejected"]
    );
}

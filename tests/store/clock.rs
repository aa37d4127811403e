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
    }
}

async fn count(store: &Store, days: i64, more: Option<i64>) -> Vec<Uncounted> {
    let seen = Mutex::new(Vec::new());
    let counted = store.recount(100, |ticket| {
        let counted = term(ticket, days, more);
        seen.lock().unwrap().push(Uncounted {
            id: ticket.id,
            subject: ticket.subject.clone(),
            scope: ticket.scope.clone(),
            events: ticket.events.clone(),
        });
        counted
    });
    let counted = counted.await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(counted, seen.len());
    seen
}

async fn kinds(admin: &Client, ticket: Uuid) -> Vec<String> {
    let sql = "SELECT kind FROM erasured.event WHERE ticket_id = $1 ORDER BY id";
    let rows = admin.query(sql, &[&ticket]).await.unwrap();
    rows.iter().map(|r| r.get(0)).collect()
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
    extend("complex").await.unwrap();
    assert_eq!(code(extend("many-requests").await), "ER017", "once");
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

//! The control schema and the store on a real server: what may not happen, and what must.

#![allow(clippy::unwrap_used)] // A test that unwraps what is not there fails, as it should.

mod census;
mod clock;
mod forecast;
mod listing;
mod model;
mod names;
mod rights;
mod server;
#[path = "../support/mod.rs"]
mod support;

use chrono::{Duration as Days, Utc};
use erasured::policy::Level;
use erasured::store::executing::{NewDeferral, StoredPlan};
use erasured::store::intake::Resolved;
use erasured::store::lease::LeasedBatch;
use erasured::store::tickets::{IdentifierValue, ListFilter, NewTicket, ScopeOffer};
use erasured::store::verifying::{Closing, Finding, SweptTable};
use erasured::store::{Store, StoreError, check_version, migrate};
use serde_json::json;
use server::Database;
use std::time::Duration;
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-7f3a@example.jp";

fn offer(scope: &str, four_eyes: bool, at_least: Level) -> ScopeOffer {
    ScopeOffer {
        subject: "customer".into(),
        scope: scope.into(),
        policy_sha256: "a".repeat(64),
        identifiers: vec!["member_no".into(), "email".into()],
        at_least,
        four_eyes,
        cooling_off: Days::zero(),
        doubtful: at_least.raised(),
        doubtful_wait: Days::days(7),
        sla: "jp-appi".into(),
        confirm_over: None,
        due_by: std::collections::BTreeMap::new(),
        clock_moves: vec![],
        words: erasured::notice::offer::Offer::default(),
    }
}

async fn submit(store: &Store, reference: &str, value: &str) -> Result<Uuid, StoreError> {
    let identifiers = [("email".to_owned(), IdentifierValue::new(value.into()))];
    let new = NewTicket {
        reference,
        subject: "customer",
        identifiers: &identifiers,
        scope: "account",
        ground: "policy",
        requested_at: None,
        language: Some("ja"),
    };
    store.submit(&new, None).await
}

fn code<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome.expect_err("it must be refused") {
        StoreError::Refused { code, .. } | StoreError::Database { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn resolved(id: Uuid) -> Resolved {
    Resolved {
        id,
        subject_hash: format!("{:064x}", id.as_u128()),
        identifier_hashes: vec![
            ("email".into(), "c".repeat(64)),
            ("phone".into(), "d".repeat(64)),
        ],
        sealed: vec![1, 2, 3],
        due_at: Utc::now() + Days::days(14),
        not_before: None,
        changes: Vec::new(),
    }
}

fn plan() -> StoredPlan {
    StoredPlan {
        id: "e".repeat(64),
        policy_file: "customer.toml".into(),
        policy_sha256: "a".repeat(64),
        subject: "customer".into(),
        scope: "account".into(),
        body: r#"{"z": 1, "a":  2}"#.into(),
    }
}

/// Tickets that are approved and resolved.
async fn ready(store: &Store, count: u32) -> Vec<Uuid> {
    store
        .publish_scopes(&[offer("account", false, Level::Basic)])
        .await
        .unwrap();
    let mut ids = vec![];
    for n in 0..count {
        let id = submit(store, &format!("R{n}"), CANARY).await.unwrap();
        store.verify(id, "callback", None, None).await.unwrap();
        store.approve(id, None).await.unwrap();
        ids.push(id);
    }
    let all: Vec<Resolved> = ids.iter().map(|&id| resolved(id)).collect();
    assert_eq!(store.resolve(&all).await.unwrap().tickets, u64::from(count));
    ids
}

async fn lease(store: &Store, limit: u32) -> LeasedBatch {
    store
        .lease("one", limit, MINUTE)
        .await
        .unwrap()
        .expect("something is ready")
}

/// From lease to `verifying`.
async fn execute(store: &Store, deferrals: impl Fn(Uuid) -> Vec<NewDeferral>) -> Vec<Uuid> {
    let batch = lease(store, 500).await;
    let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.id).collect();
    let systems = ["shop".to_owned(), "loyalty".to_owned()];
    store
        .begin(batch.token, &ids, &plan(), &systems)
        .await
        .unwrap();
    for system in &systems {
        let done: Vec<_> = batch
            .tickets
            .iter()
            .map(|t| {
                let counts = json!({"public.customer": {"deleted": 1}});
                (t.id, t.generation, counts, Utc::now())
            })
            .collect();
        store.step_done(batch.token, system, &done).await.unwrap();
    }
    let put_off: Vec<NewDeferral> = ids.iter().flat_map(|&id| deferrals(id)).collect();
    store
        .stage_deferrals(batch.token, "shop", &ids, &put_off)
        .await
        .unwrap();
    store.to_verifying(batch.token, &ids).await.unwrap();
    ids
}

fn closing(ticket: Uuid) -> Closing {
    Closing {
        ticket,
        certificate: Uuid::new_v4(),
        kid: "k1".into(),
        jws: "a.b.c".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_goes_all_the_way_and_leaves_nothing() {
    let db = Database::new().await;
    let (owner, admin) = (db.store("owner"), db.client("owner").await);
    ready(&owner, 3).await;
    let daemon_login = db.login("daemon", "erasured_daemon").await;
    // The daemon's own rights are enough for its whole part.
    let store = db.store(&daemon_login);
    check_version(&db.client(&daemon_login).await)
        .await
        .unwrap();
    let deferred = std::sync::Mutex::new(None);
    let ids = execute(&store, |ticket| {
        let mut first = deferred.lock().unwrap();
        if first.is_some() {
            return vec![];
        }
        *first = Some(ticket);
        vec![NewDeferral {
            ticket,
            system: "shop".into(),
            schema: "public".into(),
            table: "invoice".into(),
            due_at: Utc::now() + Days::days(1),
            basis: "jp-ctax-7".into(),
            rows: 2,
            sealed: vec![9],
        }]
    })
    .await;
    let deferred = deferred.into_inner().unwrap().unwrap();
    assert_eq!(
        store.plan(&plan().id).await.unwrap().unwrap().body,
        plan().body
    );

    let sweep = store
        .open_sweep("customer", "policy", "one", MINUTE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sweep.tickets.len(), 3);
    assert!(
        store
            .open_sweep("customer", "policy", "two", MINUTE)
            .await
            .unwrap()
            .is_none(),
        "one sweep at a time"
    );
    let table = SweptTable {
        system: "shop".into(),
        schema: "public".into(),
        table: "note".into(),
        oid: 16_384,
        started_at: Utc::now(),
        finished_at: Utc::now(),
        rows: 10,
        bytes: 100,
    };
    let finding = Finding {
        ticket: ids[0],
        column: "text".into(),
        identifier: "email".into(),
        row_key: Some("id=7".into()),
        rows: 1,
    };
    store
        .table_swept(sweep.token, &table, &[finding])
        .await
        .unwrap();
    assert_eq!(
        code(store.close(sweep.token, &[closing(ids[0])]).await),
        "ER002",
        "a finding stops the certificate"
    );
    assert_eq!(
        store
            .fail_found(sweep.token, "E0510", "something is left")
            .await
            .unwrap(),
        [ids[0]]
    );
    let closed = store
        .close(
            sweep.token,
            &ids.iter().map(|&id| closing(id)).collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    assert_eq!(closed.len(), 2, "the failed one is passed over");

    let shown = owner.show(&ids[0].to_string()).await.unwrap();
    assert_eq!(
        (
            shown.ticket.state.as_str(),
            shown.open_findings[0].table.as_str()
        ),
        ("failed", "note")
    );
    assert_eq!(owner.retry(ids[0], None).await.unwrap(), "scheduled");
    execute(&store, |_| vec![]).await;
    assert_eq!(store.waiting("customer").await.unwrap()[0].generation, 2);
    // The sweep that failed it read before it was written again: to that sweep it is nobody.
    let late = Finding {
        ticket: ids[0],
        column: "text".into(),
        identifier: "email".into(),
        row_key: None,
        rows: 1,
    };
    store
        .table_swept(sweep.token, &table, &[late])
        .await
        .unwrap();
    store
        .fail_waiting(sweep.token, &[ids[0]], "E0507", "unreadable")
        .await
        .unwrap();
    let none = store
        .fail_found(sweep.token, "E0510", "left")
        .await
        .unwrap();
    assert!(none.is_empty());
    let closed = store.close(sweep.token, &[closing(ids[0])]).await.unwrap();
    assert!(closed.is_empty(), "another generation");
    store.leave_sweep(sweep.token).await.unwrap();
    let again = store
        .open_sweep("customer", "policy", "two", MINUTE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.id, again.tickets.len()), (sweep.id, 0));
    let gone = store.close(sweep.token, &[closing(ids[0])]).await;
    assert!(matches!(gone, Err(StoreError::LeaseLost { .. })));
    store.finish_sweep(again.token).await.unwrap();
    let sweep = store
        .open_sweep("customer", "policy", "two", MINUTE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sweep.tickets.len(), 1, "a sweep of its own");
    let closed = store.close(sweep.token, &[closing(ids[0])]).await.unwrap();
    assert_eq!(closed.len(), 1);
    let once = store.close(sweep.token, &[closing(ids[0])]).await.unwrap();
    assert!(once.is_empty(), "once");
    store.finish_sweep(sweep.token).await.unwrap();

    assert_eq!(
        owner
            .show(&deferred.to_string())
            .await
            .unwrap()
            .ticket
            .state,
        "deferred"
    );
    let leftovers = admin
        .query_one(
            "SELECT (SELECT count(*) FROM erasured.ticket_identifier WHERE value IS NOT NULL), \
                    (SELECT count(*) FROM erasured.ticket WHERE sealed IS NOT NULL), \
                    (SELECT count(*) FROM erasured.finding WHERE row_key IS NOT NULL)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (
            leftovers.get::<_, i64>(0),
            leftovers.get::<_, i64>(1),
            leftovers.get::<_, i64>(2)
        ),
        (0, 0, 0)
    );
    let tables = admin.query("SELECT relname::text FROM pg_class WHERE relnamespace = 'erasured'::regnamespace AND relkind = 'r'", &[]).await.unwrap();
    for table in tables.iter().map(|r| r.get::<_, String>(0)) {
        let sql =
            format!("SELECT count(*) FROM erasured.{table} x WHERE x::text LIKE '%canary-7f3a%'");
        assert_eq!(
            admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0),
            0,
            "{table}"
        );
    }
    // By an identifier that only the daemon knew, too.
    assert_eq!(store.find_by_hash(&"d".repeat(64)).await.unwrap().len(), 3);
    // The last deferral completes the ticket.
    let due = store
        .due(Utc::now() + Days::days(2), 10, MINUTE)
        .await
        .unwrap();
    {
        let d = &due[0];
        let end = erasured::store::deferrals::Supplement {
            certificate: Uuid::new_v4(),
            kid: "k1".into(),
            jws: "a.b.d".into(),
        };
        store.deferral_done(d.view.id, d.token, &end).await.unwrap();
        assert_eq!(
            owner
                .show(&deferred.to_string())
                .await
                .unwrap()
                .ticket
                .state,
            "completed"
        );
        assert!(matches!(
            store.deferral_done(d.view.id, d.token, &end).await,
            Err(StoreError::LeaseLost { .. })
        ));
    }
    assert_eq!(store.closed().await.unwrap().sla_met, 3);
    store.append_pending(1000).await.unwrap().unwrap();
}

/// What stands behind a move to `on_hold`, and against one out of it.
const BEHIND: [(&str, &str); 3] = [
    ("nobody", "SELECT"),
    (
        "a person",
        "INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role) SELECT id, 'hold', 'n', 'r' FROM erasured.ticket",
    ),
    (
        "a legal hold",
        "WITH h AS (INSERT INTO erasured.hold (matter, reason, kind, subject, placed_by, placed_role, read_at) \
           VALUES ('m', 'r', 'subject', 's', 'n', 'r', now()) RETURNING id) \
         INSERT INTO erasured.hold_subject SELECT h.id, t.subject_hash FROM h, erasured.ticket t",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_the_drawn_moves_exist() {
    let db = Database::new().await;
    let admin = db.client("owner").await;
    let states = [
        "received",
        "verified",
        "approved",
        "scheduled",
        "executing",
        "verifying",
        "completed",
        "deferred",
        "failed",
        "on_hold",
        "rejected",
    ];
    let legal = |from: &str| match from {
        "received" => vec!["verified", "rejected", "on_hold"],
        "verified" => vec!["approved", "rejected", "on_hold"],
        "approved" => vec!["scheduled", "rejected", "on_hold"],
        "scheduled" => vec!["executing", "rejected", "on_hold", "failed"],
        "executing" => vec!["verifying", "scheduled", "failed", "on_hold"],
        "verifying" => vec!["completed", "deferred", "failed"],
        "deferred" => vec!["completed"],
        "failed" => vec!["scheduled", "rejected"],
        "on_hold" => vec!["approved", "rejected"],
        _ => vec![],
    };
    for (behind, order) in BEHIND {
        let held = behind != "nobody";
        for from in states {
            for to in states {
                admin.batch_execute("BEGIN").await.unwrap();
                admin.batch_execute(&row_in(from)).await.unwrap();
                admin.batch_execute(order).await.unwrap();
                let moved = admin
                    .execute("UPDATE erasured.ticket SET state = $1", &[&to])
                    .await;
                let forbidden = match (from, to) {
                    (_, "on_hold") => !held,
                    ("on_hold", "approved") => held,
                    // Under a legal hold nothing begins.
                    (_, "executing") => behind == "a legal hold",
                    _ => false,
                };
                let allowed = from == to || legal(from).contains(&to) && !forbidden;
                assert_eq!(
                    moved.is_ok(),
                    allowed,
                    "{from} to {to}, behind it {behind}: {moved:?}"
                );
                if let Err(e) = moved {
                    let code = e.code().unwrap().code();
                    assert!(code == "ER002" || held && code == "ER015", "{code}");
                }
                admin.batch_execute("ROLLBACK").await.unwrap();
            }
        }
    }
}

/// A step that is planned anew, of whichever generation, takes a ticket back from verifying, and keeps none from
/// being put off.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_system_has_lost_is_done_again() {
    let db = Database::new().await;
    let admin = db.client("owner").await;
    let planned = "UPDATE erasured.ticket SET generation = 2; UPDATE erasured.step SET state = 'planned', counts = NULL, committed_at = NULL";
    for from in ["executing", "verifying", "failed"] {
        admin.batch_execute("BEGIN").await.unwrap();
        admin.batch_execute(&row_in(from)).await.unwrap();
        admin.batch_execute(planned).await.unwrap();
        let moved = "UPDATE erasured.ticket SET state = 'scheduled'";
        admin.batch_execute(moved).await.unwrap();
        admin.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// A ticket in this state with everything that any move asks for.
fn row_in(state: &str) -> String {
    format!(
        "INSERT INTO erasured.plan VALUES ('{e}', 'f', 'p', 's', 'c', '{{}}'); \
         INSERT INTO erasured.scope (subject, scope, policy_sha256, identifiers, at_least, doubtful, four_eyes, cooling_off, sla) \
           VALUES ('s', 'c', 'p', '{{n}}', 1, 2, false, '0', 'l'); \
         INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, subject_hash, held_from, finished_at) \
         VALUES ('x', 's', 'c', 'g', now(), now(), '{state}', '{e}', 'approved', now()); \
         INSERT INTO erasured.decision (ticket_id, kind, method, level, by_name, by_role) \
           SELECT id, k, 'm', 1, 'n', 'r' FROM erasured.ticket, unnest(ARRAY['verify', 'approve']) k; \
         INSERT INTO erasured.step (ticket_id, generation, system, ordinal, plan_id, state, counts, committed_at) \
           SELECT id, 1, 'shop', 0, '{e}', 'done', '{{}}', now() FROM erasured.ticket; \
         INSERT INTO erasured.certificate (id, ticket_id, kid, subject_hash, jws) \
           SELECT gen_random_uuid(), id, 'k', 'h', 'j' FROM erasured.ticket",
        e = "e".repeat(64)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_reference_is_the_same_ticket() {
    let db = Database::new().await;
    let store = db.store("owner");
    assert_eq!(code(submit(&store, "R", CANARY).await), "ER004");
    store
        .publish_scopes(&[offer("account", false, Level::Basic)])
        .await
        .unwrap();
    let id = submit(&store, "R", CANARY).await.unwrap();
    assert_eq!(submit(&store, "R", CANARY).await.unwrap(), id);
    assert_eq!(code(submit(&store, "R", "else@example.jp").await), "ER003");
    for bad in ["", "   ", &"x".repeat(1001)] {
        assert_eq!(code(submit(&store, "B", bad).await), "ER005");
    }
    assert!(matches!(
        submit(&store, "B", "a\0b").await,
        Err(StoreError::Nul(_))
    ));
    for odd in ["'; DROP TABLE x; --", "\u{202e}rtl", "😀", "\"q\""] {
        submit(&store, odd, &format!("{odd}@")).await.unwrap();
    }
    // It would stay when the values go.
    for (reference, value) in [
        (format!("call of {CANARY}!"), CANARY.to_owned()),
        (CANARY.to_uppercase(), format!(" {CANARY} ")),
        ("crm-\u{ff14}\u{ff11}\u{ff17}30".into(), "41730".into()),
    ] {
        let refused = submit(&store, &reference, &value).await.unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("email") && !said.contains(&value), "{said}");
        assert_eq!(code::<()>(Err(refused)), "ER006", "{reference}");
    }
    submit(&store, "CRM-1234", "1234").await.unwrap();
    // No error repeats the value, in any rendering.
    let error = submit(&store, "R", "secret-value").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret-value"));
    assert!(!format!("{:?}", store.unresolved(10).await.unwrap()).contains("canary"));
    // Twenty at once are one.
    let race: Vec<_> = (0..20)
        .map(|_| {
            let s = store.clone();
            tokio::spawn(async move { submit(&s, "race", CANARY).await.unwrap() })
        })
        .collect();
    let mut ids = vec![];
    for one in race {
        ids.push(one.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    store
        .unresolvable(id, "E0401", "nobody has this identifier")
        .await
        .unwrap();
    assert_eq!(
        store
            .unresolved(100)
            .await
            .unwrap()
            .iter()
            .filter(|u| u.id == id)
            .count(),
        0
    );
    store.retry(id, None).await.unwrap();
    assert_eq!(
        store
            .unresolved(100)
            .await
            .unwrap()
            .iter()
            .filter(|u| u.id == id)
            .count(),
        1
    );
    assert_eq!(store.list(&ListFilter::default()).await.unwrap().len(), 7);
}

/// Its values are gone, so a second request under it could be for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_a_closed_ticket_is_not_used_again() {
    let db = Database::new().await;
    let store = db.store("owner");
    let ids = ready(&store, 2).await;
    store.reject(ids[1], "withdrawn", None).await.unwrap();
    execute(&store, |_| vec![]).await;
    let sweep = store
        .open_sweep("customer", "policy", "one", MINUTE)
        .await
        .unwrap()
        .unwrap();
    store.close(sweep.token, &[closing(ids[0])]).await.unwrap();
    for (reference, id, state) in [("R0", ids[0], "completed"), ("R1", ids[1], "rejected")] {
        for value in [CANARY, "somebody-else@example.jp"] {
            let refused = submit(&store, reference, value).await.unwrap_err();
            let said = refused.to_string();
            assert!(
                said.contains(&id.to_string()) && said.contains(state),
                "{said}"
            );
            assert!(!said.contains(value), "{said}");
            assert_eq!(code::<()>(Err(refused)), "ER003");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_9_nobody_erases_alone() {
    let db = Database::new().await;
    let owner = db.store("owner");
    owner
        .publish_scopes(&[offer("account", true, Level::ReasonablyHigh)])
        .await
        .unwrap();
    let both = db.store(&db.login("both", "erasured_desk, erasured_approver").await);
    let boss = db.store(&db.login("boss", "erasured_approver").await);
    let crm = db.store(
        &db.login("crm", "erasured_desk, erasured_approver, erasured_trusted")
            .await,
    );
    let id = submit(&both, "R", CANARY).await.unwrap();
    assert_eq!(code(boss.approve(id, None).await), "ER002", "not verified");
    both.verify(id, "callback", None, None).await.unwrap();
    assert_eq!(
        code(boss.approve(id, None).await),
        "ER007",
        "not far enough"
    );
    both.verify(id, "jpki", Some("walked-in"), None)
        .await
        .unwrap();
    assert_eq!(code(both.approve(id, None).await), "ER008");
    assert_eq!(
        code(both.approve(id, Some("somebody else")).await),
        "ER008",
        "only a trusted login names another"
    );
    assert_eq!(boss.approve(id, None).await.unwrap(), "approved");
    assert_eq!(boss.approve(id, None).await.unwrap(), "approved");

    let id = submit(&crm, "S", CANARY).await.unwrap();
    crm.verify(id, "login_reauth", None, Some("hana"))
        .await
        .unwrap();
    assert_eq!(code(crm.approve(id, Some("hana")).await), "ER008");
    for spelling in ["Hana", " HANA ", "\u{ff48}\u{ff21}\u{ff4e}\u{ff41}\u{3000}"] {
        assert_eq!(
            code(crm.approve(id, Some(spelling)).await),
            "ER008",
            "{spelling} is hana"
        );
    }
    assert_eq!(crm.approve(id, Some("kenji")).await.unwrap(), "approved");
    assert_eq!(
        crm.reject(id, "appi-unverified", Some("kenji"))
            .await
            .unwrap(),
        "rejected"
    );
    assert_eq!(
        code(crm.reject(id, "Mr Sato's wish", None).await),
        "ER006",
        "codes, not prose"
    );
    assert_eq!(code(crm.approve(id, None).await), "ER002");
}

/// What was enough at the approval is not enough any more: asked again when the ticket runs.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_9_holds_on_the_day_of_the_erasure() {
    let db = Database::new().await;
    let owner = db.store("owner");
    let offered = [offer("account", false, Level::Basic)];
    owner.publish_scopes(&offered).await.unwrap();
    let alone = db.store(&db.login("alone", "erasured_desk, erasured_approver").await);
    let boss = db.store(&db.login("boss", "erasured_approver").await);
    let login = db.login("daemon", "erasured_daemon").await;
    let (store, daemon) = (db.store(&login), db.client(&login).await);
    let (weak, strong) = (
        submit(&alone, "R1", CANARY).await.unwrap(),
        submit(&alone, "R2", CANARY).await.unwrap(),
    );
    alone.verify(weak, "callback", None, None).await.unwrap();
    alone.approve(weak, None).await.unwrap();
    alone
        .verify(strong, "jpki", Some("asked-to"), None)
        .await
        .unwrap();
    boss.approve(strong, None).await.unwrap();
    let both = [resolved(weak), resolved(strong)];
    store.resolve(&both).await.unwrap();
    owner
        .publish_scopes(&[offer("account", true, Level::High)])
        .await
        .unwrap();

    let systems = ["shop".to_owned()];
    let begin = async |why: &str| {
        let batch = lease(&store, 500).await;
        let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.id).collect();
        let unfit = store.begin(batch.token, &ids, &plan(), &systems).await;
        for short in unfit.unwrap() {
            assert_eq!((short.ticket, short.code), (weak, "E0513"));
            assert!(short.problem.contains(why), "{}", short.problem);
            // Not by writing the state either.
            let sql = "UPDATE erasured.ticket SET state = 'executing' WHERE id = $1";
            let refused = daemon.execute(sql, &[&weak]).await.unwrap_err();
            assert!(matches!(refused.code().unwrap().code(), "ER007" | "ER008"));
            store
                .failed(batch.token, weak, short.code, short.problem)
                .await
                .unwrap();
        }
        owner.show(&weak.to_string()).await.unwrap().ticket.state
    };
    assert_eq!(begin("far enough").await, "failed");
    let strong = owner.show(&strong.to_string()).await.unwrap();
    assert_eq!(strong.ticket.state, "executing", "the others go on");
    assert_eq!(strong.steps.len(), 1);
    assert!(
        owner
            .show(&weak.to_string())
            .await
            .unwrap()
            .steps
            .is_empty()
    );
    // It can be made good, one thing after the other.
    alone.verify(weak, "jpki", None, None).await.unwrap();
    alone.retry(weak, None).await.unwrap();
    assert_eq!(begin("four eyes").await, "failed");
    assert_eq!(code(alone.approve(weak, None).await), "ER008");
    boss.approve(weak, None).await.unwrap();
    boss.retry(weak, None).await.unwrap();
    assert_eq!(begin("nothing").await, "executing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_cuts_the_cooling_off_short() {
    let db = Database::new().await;
    let owner = db.store("owner");
    let mut offered = offer("account", false, Level::Basic);
    offered.cooling_off = Days::days(3);
    owner.publish_scopes(&[offered]).await.unwrap();
    let id = submit(&owner, "R", CANARY).await.unwrap();
    owner.verify(id, "callback", None, None).await.unwrap();
    owner.approve(id, None).await.unwrap();
    owner.resolve(&[resolved(id)]).await.unwrap();
    let login = db.login("daemon", "erasured_daemon").await;
    assert!(
        db.store(&login)
            .lease("one", 9, MINUTE)
            .await
            .unwrap()
            .is_none()
    );
    let daemon = db.client(&login).await;
    daemon
        .batch_execute("UPDATE erasured.ticket SET state = 'scheduled', next_attempt_at = NULL")
        .await
        .unwrap();
    for sooner in [
        "state = 'executing'",
        "state = 'executing', not_before = NULL",
        "not_before = NULL",
        "not_before = now()",
    ] {
        let sql = format!("UPDATE erasured.ticket SET {sooner}");
        let refused = daemon.batch_execute(&sql).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "ER002", "{sooner}");
    }
    daemon
        .batch_execute("UPDATE erasured.ticket SET state = 'failed', problem_code = 'E0501'")
        .await
        .unwrap();
    owner.retry(id, None).await.unwrap();
    let waits = "SELECT next_attempt_at = not_before FROM erasured.ticket";
    let waits: bool = daemon.query_one(waits, &[]).await.unwrap().get(0);
    assert!(waits, "a retry waits as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_part_and_no_more() {
    let db = Database::new().await;
    let owner = db.store("owner");
    owner
        .publish_scopes(&[offer("account", true, Level::Basic)])
        .await
        .unwrap();
    let id = submit(&owner, "R", CANARY).await.unwrap();
    let moves = [
        ("submit", "SELECT erasured.submit_ticket('{who}', 'customer', '{\"email\":\"x\"}', 'account', 'policy')".into(), "desk"),
        ("verify", format!("SELECT erasured.verify_ticket('{id}', 'callback')"), "desk"),
        ("approve", format!("SELECT erasured.approve_ticket('{id}')"), "approver"),
        ("hold", format!("SELECT erasured.hold_ticket('{id}', 'court')"), "approver"),
        ("release", format!("SELECT erasured.release_ticket('{id}')"), "approver"),
        ("reject", format!("SELECT erasured.reject_ticket('{id}', 'no')"), "approver"),
        ("acknowledge", format!("SELECT erasured.acknowledge_ticket('{id}')"), "desk approver"),
        ("ask", format!("SELECT erasured.ask_ticket('{id}', 'x')"), "desk approver"),
        ("answered", format!("SELECT erasured.answered_ticket('{id}')"), "desk approver"),
        ("extend", format!("SELECT erasured.extend_ticket('{id}', 'x')"), "approver"),
        ("end a question", format!("SELECT erasured.end_question('{id}', 'x')"), ""),
        ("pauses", "SELECT * FROM erasured.pause".into(), "daemon desk approver auditor"),
        ("timeline", "SELECT * FROM erasured.ticket_timeline".into(), "daemon desk approver auditor"),
        ("pause", format!("INSERT INTO erasured.pause (ticket_id, asked_for) VALUES ('{id}', 'x')"), ""),
        ("extend by hand", "UPDATE erasured.ticket SET extended_at = now()".into(), ""),
        ("count", "UPDATE erasured.ticket SET clock = 'running' WHERE false".into(), "daemon"),
        ("status", "SELECT * FROM erasured.ticket_status".into(), "daemon desk approver auditor"),
        ("certificates", "SELECT * FROM erasured.certificate".into(), "daemon desk approver auditor"),
        ("ledger", "SELECT * FROM erasured.ledger".into(), "daemon auditor"),
        ("values", "SELECT value FROM erasured.ticket_identifier".into(), "daemon"),
        ("sealed", "SELECT sealed FROM erasured.ticket".into(), "daemon"),
        ("decide", format!("INSERT INTO erasured.decision (ticket_id, kind, by_name, by_role) VALUES ('{id}', 'approve', 'x', 'x')"), ""),
        ("insert", "INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at) VALUES ('z', 's', 's', 'g', now())".into(), ""),
        ("rewrite", "UPDATE erasured.ledger SET entry = ''".into(), ""),
        ("drop", "DELETE FROM erasured.certificate".into(), ""),
        ("retarget", "UPDATE erasured.ticket SET subject = 'other'".into(), ""),
        ("outbox", "SELECT * FROM erasured.event".into(), "daemon auditor"),
        ("empty the outbox", "DELETE FROM erasured.event WHERE false".into(), "daemon"),
        ("append", "INSERT INTO erasured.ledger SELECT * FROM erasured.ledger WHERE false".into(), "daemon"),
        ("ask for less", "UPDATE erasured.scope SET at_least = 0 WHERE false".into(), "daemon"),
        ("reach further", "UPDATE erasured.method SET level = 4 WHERE false".into(), "daemon"),
        ("truncate", "TRUNCATE erasured.event".into(), ""),
    ];
    for role in ["daemon", "desk", "approver", "auditor"] {
        let client = db
            .client(&db.login(role, &format!("erasured_{role}")).await)
            .await;
        for (name, sql, may) in &moves {
            let denied = match client.batch_execute(&sql.replace("{who}", role)).await {
                Ok(()) => false,
                Err(e) => e.code().is_some_and(|c| c.code() == "42501"),
            };
            assert_eq!(denied, !may.split(' ').any(|r| r == role), "{role} {name}");
        }
    }
    let nobody = db
        .client(&db.login("nobody", "erasured_trusted").await)
        .await;
    assert!(
        nobody
            .batch_execute("SELECT erasured.actor()")
            .await
            .is_err(),
        "no right without a role"
    );
    // The daemon cannot approve by moving the state itself.
    let daemon = db.client(&format!("daemon_{}", db.name)).await;
    let other = submit(&owner, "U", CANARY).await.unwrap();
    for state in ["verified", "approved", "scheduled"] {
        let sql = format!("UPDATE erasured.ticket SET state = '{state}' WHERE id = '{other}'");
        assert_eq!(
            daemon
                .batch_execute(&sql)
                .await
                .unwrap_err()
                .code()
                .unwrap()
                .code(),
            "ER002"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_one_daemons_until_it_runs_out() {
    let db = Database::new().await;
    let store = db.store("owner");
    ready(&store, 20).await;
    // One after the other: at the same time either may get less than it asked for.
    let a = store.lease("a", 10, MINUTE).await.unwrap().unwrap();
    let b = store.lease("b", 10, MINUTE).await.unwrap().unwrap();
    assert_eq!((a.tickets.len(), b.tickets.len()), (10, 10));
    assert!(
        a.tickets
            .iter()
            .all(|t| b.tickets.iter().all(|u| u.id != t.id))
    );
    assert!(store.lease("c", 10, MINUTE).await.unwrap().is_none());

    let ids: Vec<Uuid> = a.tickets.iter().map(|t| t.id).collect();
    let systems = ["shop".to_owned()];
    assert!(matches!(
        store.begin(b.token, &ids, &plan(), &systems).await,
        Err(StoreError::LeaseLost { lost: 10 })
    ));
    store.begin(a.token, &ids, &plan(), &systems).await.unwrap();
    store.renew(a.token, Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let c = lease(&store, 100).await;
    assert_eq!(
        (c.tickets.len(), c.plan_id.as_deref()),
        (10, Some(plan().id.as_str()))
    );
    assert!(
        c.tickets
            .iter()
            .all(|t| t.taken_over && t.generation == 1 && t.attempt == 1)
    );

    let done = [(ids[0], 1, json!({}), Utc::now())];
    assert!(matches!(
        store.step_done(a.token, "shop", &done).await,
        Err(StoreError::LeaseLost { .. })
    ));
    assert!(matches!(
        store.renew(a.token, MINUTE).await,
        Err(StoreError::LeaseLost { .. })
    ));
    assert_eq!(
        code(store.to_verifying(c.token, &ids).await),
        "ER002",
        "a step has no result"
    );
    store.step_done(c.token, "shop", &done).await.unwrap();
    store.to_verifying(c.token, &ids[..1]).await.unwrap();
    store
        .failed(c.token, ids[1], "E0501", "matched is not affected")
        .await
        .unwrap();
    store
        .retry_later(
            c.token,
            &ids[2..4],
            "40P01",
            "deadlock",
            Duration::from_secs(3600),
            8,
        )
        .await
        .unwrap();
    assert_eq!(store.release(c.token).await.unwrap(), 6);
    assert_eq!(store.release(b.token).await.unwrap(), 10);
    let next = store.lease("d", 100, MINUTE).await.unwrap().unwrap();
    assert!(
        next.tickets.len() == 6 || next.tickets.len() == 10,
        "alike in plan: {}",
        next.tickets.len()
    );
    // A person may end the back-off.
    store.retry(ids[2], None).await.unwrap();
    let census = store.census().await.unwrap();
    assert_eq!(
        (census.by_state["verifying"], census.by_state["failed"]),
        (1, 1)
    );
}

/// Many at once, each giving back some and finishing others: nobody ever holds what another holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ticket_is_never_lent_twice() {
    let db = Database::new().await;
    let store = db.store("owner");
    ready(&store, 60).await;
    let admin = db.client("owner").await;
    let worker = async |n: usize| {
        let (store, holder) = (db.store("owner"), format!("w{n}"));
        let (mut done, mut round) = (Vec::new(), n);
        while let Some(batch) = store.lease(&holder, 7, MINUTE).await.unwrap() {
            let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.id).collect();
            round += 1;
            if round.is_multiple_of(3) {
                let held = store.release(batch.token).await.unwrap();
                assert_eq!(held, ids.len() as u64);
                continue;
            }
            let systems = ["shop".to_owned()];
            store
                .begin(batch.token, &ids, &plan(), &systems)
                .await
                .unwrap();
            let steps: Vec<_> = ids
                .iter()
                .map(|id| (*id, 1, json!({}), Utc::now()))
                .collect();
            store.step_done(batch.token, "shop", &steps).await.unwrap();
            store.to_verifying(batch.token, &ids).await.unwrap();
            done.extend(ids);
        }
        done
    };
    let mut done: Vec<Uuid> = futures_util::future::join_all((0..6).map(worker))
        .await
        .concat();
    // Who found nothing while another held the rest went home early.
    done.extend(worker(1).await);
    let count = done.len();
    done.sort_unstable();
    done.dedup();
    assert_eq!((count, done.len()), (60, 60));
    let begun = "SELECT count(*) FROM erasured.event WHERE kind = 'executing'";
    assert_eq!(
        admin.query_one(begun, &[]).await.unwrap().get::<_, i64>(0),
        60
    );
    let lent = "SELECT count(*) FROM erasured.lease";
    assert_eq!(
        admin.query_one(lent, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
}

/// Others commit their leases while one is choosing: it has looked at the leases before, and finds
/// the tickets unlocked after.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_lent_while_one_chooses_is_not_lent_again() {
    let db = Database::new().await;
    let (store, mut other) = (db.store("owner"), db.client("owner").await);
    let fill = "INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, subject_hash, sealed) \
         SELECT 'R' || n, 'customer', 'account', 'policy', now(), now() + n * interval '1 second', 'scheduled', repeat('b', 64), '\\x01' \
           FROM generate_series(1, 3000) n";
    other.batch_execute(fill).await.unwrap();
    for round in 0..30 {
        let theirs = other.transaction().await.unwrap();
        let lend = "WITH last AS MATERIALIZED (SELECT id FROM erasured.ticket ORDER BY due_at DESC LIMIT 100 FOR UPDATE) \
                    INSERT INTO erasured.lease SELECT id, gen_random_uuid(), now() + interval '1 minute', 'other' FROM last";
        theirs.batch_execute(lend).await.unwrap();
        let choosing = {
            let store = store.clone();
            tokio::spawn(async move { store.lease("one", 3000, MINUTE).await })
        };
        tokio::time::sleep(Duration::from_millis(round / 3)).await;
        theirs.commit().await.unwrap();
        let batch = choosing.await.unwrap().unwrap().unwrap();
        let count = "SELECT count(*) FROM erasured.lease WHERE holder = 'other'";
        let lent: i64 = other.query_one(count, &[]).await.unwrap().get(0);
        assert_eq!((batch.tickets.len(), lent), (2900, 100));
        store.release(batch.token).await.unwrap();
        other
            .batch_execute("DELETE FROM erasured.lease")
            .await
            .unwrap();
    }
}

/// A write that has waited for the ticket's lock looks at the lease again.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_a_ticket_learns_that_it_was_taken_over() {
    let db = Database::new().await;
    let store = db.store("owner");
    let ids = ready(&store, 1).await;
    let old = lease(&store, 1).await;
    store.renew(old.token, Duration::ZERO).await.unwrap();

    // The take-over, held open before its COMMIT.
    let mut other = db.client("owner").await;
    let taking = other.transaction().await.unwrap();
    let lock = "SELECT 1 FROM erasured.ticket WHERE id = $1 FOR UPDATE";
    taking.query_one(lock, &[&ids[0]]).await.unwrap();
    let writes = {
        let (store, ids, token) = (store.clone(), ids.clone(), old.token);
        tokio::spawn(async move { store.failed(token, ids[0], "E0501", "late").await })
    };
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock' AND query LIKE '%erasured:hold%'";
    let admin = db.client("owner").await;
    while admin.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let take =
        "UPDATE erasured.lease SET token = gen_random_uuid(), until = now() + interval '1 minute'";
    taking.execute(take, &[]).await.unwrap();
    let count = "UPDATE erasured.ticket SET attempt = attempt + 1";
    taking.execute(count, &[]).await.unwrap();
    taking.commit().await.unwrap();
    assert!(matches!(
        writes.await.unwrap(),
        Err(StoreError::LeaseLost { lost: 1 })
    ));
    let state = "SELECT state FROM erasured.ticket";
    let state: String = admin.query_one(state, &[]).await.unwrap().get(0);
    assert_eq!(state, "scheduled");
}

/// While a daemon has a ticket nobody stops it; a lease that ran out ends when somebody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_stops_only_what_no_daemon_has() {
    let db = Database::new().await;
    let store = db.store("owner");
    let ids = ready(&store, 2).await;
    let batch = lease(&store, 2).await;
    let admin = db.client("owner").await;
    let hold = format!("SELECT erasured.hold_ticket('{}', 'dispute')", ids[0]);
    let refused = admin.batch_execute(&hold).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "ER010");
    assert_eq!(code(store.reject(ids[1], "dispute", None).await), "ER010");
    // Nor does anybody move it past its holder by hand.
    let by_hand = "UPDATE erasured.ticket SET state = 'failed'";
    let refused = admin.batch_execute(by_hand).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "ER010");

    store.renew(batch.token, Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    admin.batch_execute(&hold).await.unwrap();
    store.reject(ids[1], "dispute", None).await.unwrap();
    let systems = ["shop".to_owned()];
    assert!(matches!(
        store.begin(batch.token, &ids, &plan(), &systems).await,
        Err(StoreError::LeaseLost { lost: 2 })
    ));
    assert!(store.lease("b", 2, MINUTE).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn leasing_reads_an_index_whatever_waits() {
    let db = Database::new().await;
    let admin = db.client("owner").await;
    let fill = "INSERT INTO erasured.ticket (reference, subject, scope, ground, requested_at, due_at, state, subject_hash, sealed, next_attempt_at) \
         SELECT 'R' || n, 'customer', 'account', 'policy', now(), now() + n * interval '1 second', \
                CASE n % 2 WHEN 0 THEN 'scheduled' ELSE 'approved' END, repeat('b', 64), '\\x01', \
                CASE n % 2 WHEN 1 THEN now() + interval '1 day' END FROM generate_series(1, 100000) n";
    admin.batch_execute(fill).await.unwrap();
    admin
        .batch_execute("ANALYZE erasured.ticket")
        .await
        .unwrap();
    let [first, take] = erasured::store::lease::PICK_READY;
    let prepare = format!(
        "PREPARE first AS {first}; PREPARE take (text, text, text, int8, float8, text) AS {take}"
    );
    admin.batch_execute(&prepare).await.unwrap();
    let execute = ["first", "take ('customer', 'account', '', 500, 60, 'x')"];
    let plans = async |leases: &str| {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let mode = format!("SET plan_cache_mode = {mode}");
            admin.batch_execute(&mode).await.unwrap();
            for execute in execute {
                let explain = format!("EXPLAIN EXECUTE {execute}");
                let text = format!("{:?}", admin.simple_query(&explain).await.unwrap());
                assert!(
                    text.contains("using ticket_ready")
                        && !text.contains("Seq Scan on ticket")
                        && !text.contains("Sort"),
                    "{leases}: {text}"
                );
            }
        }
    };
    plans("leases never counted").await;
    let lend = "INSERT INTO erasured.lease SELECT id, gen_random_uuid(), now(), 'x' \
                  FROM erasured.ticket WHERE state = 'scheduled' ORDER BY due_at LIMIT 4000";
    admin.batch_execute(lend).await.unwrap();
    admin.batch_execute("ANALYZE erasured.lease").await.unwrap();
    plans("4,000 lent").await;

    // Lending is the same work however many tickets there are: it writes to no index of theirs.
    let store = db.store("owner");
    admin
        .batch_execute("DELETE FROM erasured.lease")
        .await
        .unwrap();
    let written = "SELECT pg_stat_force_next_flush(), n_tup_upd FROM pg_stat_user_tables WHERE relid = 'erasured.ticket'::regclass";
    let batch = lease(&store, 500).await;
    store.renew(batch.token, MINUTE).await.unwrap();
    store.release(batch.token).await.unwrap();
    let written: i64 = admin.query_one(written, &[]).await.unwrap().get(1);
    assert_eq!(written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_10_history_is_only_appended_to() {
    let db = Database::new().await;
    let (store, admin) = (db.store("owner"), db.client("owner").await);
    for n in 0..300 {
        store
            .record("test", None, &json!({"n": n, "b": "é"}))
            .await
            .unwrap();
    }
    assert!(store.append_pending(50).await.unwrap().is_some());
    let (one, two) = (store.clone(), store.clone());
    let drain = |s: Store| {
        tokio::spawn(async move {
            let mut moved = 0;
            loop {
                match s.append_pending(7).await.unwrap() {
                    Some((_, 0)) => return moved,
                    Some((_, n)) => moved += n,
                    None => tokio::task::yield_now().await,
                }
            }
        })
    };
    let (a, b) = tokio::join!(drain(one), drain(two));
    assert_eq!(a.unwrap() + b.unwrap(), 250);
    let entries = store.walk(1, 1000).await.unwrap();
    assert_eq!(entries.len(), 300);
    for (n, entry) in entries.iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(&entry.entry).unwrap();
        assert_eq!(
            (value["seq"].as_u64(), value["body"]["n"].as_u64()),
            (Some(n as u64 + 1), Some(n as u64))
        );
        assert!(n == 0 || entry.prev == entries[n - 1].hash);
    }
    assert_eq!(store.head().await.unwrap().seq, 300);
    for sql in [
        "UPDATE erasured.ledger SET entry = 'x' WHERE seq = 1",
        "DELETE FROM erasured.ledger",
        "TRUNCATE erasured.ledger",
        "UPDATE erasured.certificate SET jws = 'x'",
        "DELETE FROM erasured.decision",
        "UPDATE erasured.applied_step SET counts = '{}'",
        "SET session_replication_role = replica; DELETE FROM erasured.ledger",
        "INSERT INTO erasured.ledger SELECT seq + 2, at, entry, prev, hash FROM erasured.ledger WHERE seq = 300",
    ] {
        let code = admin.batch_execute(sql).await.unwrap_err();
        let code = code.code().unwrap().code().to_owned();
        admin
            .batch_execute("RESET session_replication_role")
            .await
            .unwrap();
        assert_eq!(code, "ER009", "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_version_is_refused() {
    let db = Database::new().await;
    let mut admin = db.client("owner").await;
    assert_eq!(
        migrate(&mut admin).await.unwrap(),
        0,
        "again changes nothing"
    );
    check_version(&admin).await.unwrap();
    admin.batch_execute("INSERT INTO erasured.control_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')").await.unwrap();
    assert!(matches!(
        check_version(&admin).await,
        Err(StoreError::Version(_))
    ));
    admin
        .batch_execute("DELETE FROM erasured.control_history WHERE version > 1")
        .await
        .unwrap();
    assert!(matches!(
        check_version(&admin).await,
        Err(StoreError::Version(_))
    ));
    admin
        .batch_execute("DROP TABLE erasured.control_history")
        .await
        .unwrap();
    assert!(matches!(
        check_version(&admin).await,
        Err(StoreError::Version(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_search_path_changes_nothing() {
    let db = Database::new().await;
    let owner = db.store("owner");
    owner
        .publish_scopes(&[offer("account", false, Level::Basic)])
        .await
        .unwrap();
    let login = db.login("eve", "erasured_desk").await;
    db.client("owner")
        .await
        .batch_execute(&format!("CREATE SCHEMA evil AUTHORIZATION {login}"))
        .await
        .unwrap();
    let eve = db.client(&login).await;
    eve.batch_execute(
        "CREATE TABLE evil.scope (LIKE pg_class); CREATE TABLE evil.ticket (id int); \
         CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'pwned'; END $$; \
         CREATE FUNCTION evil.length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'pwned'; END $$; \
         CREATE TEMP TABLE ticket (id int); SET search_path = evil, pg_temp, pg_catalog",
    )
    .await
    .unwrap();
    eve.batch_execute("SELECT erasured.submit_ticket('E', 'customer', '{\"email\":\"x\"}', 'account', 'policy', pg_catalog.now())").await.unwrap();
}

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The functions of docs/operations.md are those that there are, and its examples run.
#[tokio::test(flavor = "multi_thread")]
async fn the_desk_by_sql_is_as_documented() {
    let db = Database::new().await;
    let (store, admin) = (db.store("owner"), db.client("owner").await);
    store
        .publish_scopes(&[offer("account", false, Level::Basic)])
        .await
        .unwrap();
    let document = file("docs/operations.md");
    let functions = "SELECT format('`erasured.%s(%s)`', p.proname, pg_get_function_arguments(p.oid)) FROM pg_proc p \
                      WHERE pronamespace = 'erasured'::regnamespace \
                        AND (has_function_privilege('erasured_desk', oid, 'EXECUTE') \
                          OR has_function_privilege('erasured_approver', oid, 'EXECUTE') \
                          OR has_function_privilege('erasured_admin', oid, 'EXECUTE')) \
                        AND (proname ~ '(_ticket|_hold|_matter|_part|_requester|_document|_target)$' OR proname IN ('lift_lockout', 'redeliver', 'throttle_retention'))";
    let functions = admin.query(functions, &[]).await.unwrap();
    assert_eq!(functions.len(), 25);
    for function in functions.iter().map(|r| r.get::<_, String>(0)) {
        assert!(
            document.contains(&function),
            "{function} is not in the document"
        );
    }
    let (_, examples) = document.split_once("```sql desk\n").unwrap();
    let (examples, _) = examples.split_once("```").unwrap();
    let (mut id, mut ran) = (String::new(), 0);
    for example in examples.lines() {
        if example.contains("extend_ticket") {
            let counted = "UPDATE erasured.ticket SET due_at = now() + interval '1 day', extended_due_at = now() + interval '2 days'";
            admin.batch_execute(counted).await.unwrap();
        }
        if example.contains("retry_ticket") {
            let stuck = "UPDATE erasured.ticket SET problem_code = 'E0403'";
            admin.batch_execute(stuck).await.unwrap();
        }
        let example = example.replace("0198c1f0-5a7e-7c3d-9b1e-3f2a6c4d8e90", &id);
        let rows = admin.query(&example, &[]).await;
        assert_eq!(rows.expect(&example).len(), 1, "{example}");
        if id.is_empty() {
            id = store.ticket("CRM-1042").await.unwrap().id.to_string();
        }
        ran += 1;
    }
    assert_eq!(ran, 18);
    assert_eq!(store.ticket(&id).await.unwrap().state, "rejected");
}

/// What sql/roles offers in comments works when it is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_that_keep_values_out_of_the_servers_log_can_be_set() {
    let db = Database::new().await;
    let admin = db.client("owner").await;
    for (path, expected) in [("sql/roles/control.sql", 5), ("sql/roles/target.sql", 2)] {
        let text = file(path);
        let offered: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("-- "))
            .filter(|line| line.starts_with("ALTER ROLE") && line.contains(" SET "))
            .collect();
        assert_eq!(offered.len(), expected, "{path}");
        admin
            .batch_execute("BEGIN; CREATE ROLE erasured_prod; CREATE ROLE hana")
            .await
            .unwrap();
        admin.batch_execute(&offered.join("\n")).await.unwrap();
        let set =
            "SELECT array_to_string(rolconfig, ' ') FROM pg_roles WHERE rolname = 'erasured_prod'";
        let set: String = admin.query_one(set, &[]).await.unwrap().get(0);
        assert_eq!(
            set,
            "log_parameter_max_length=0 log_parameter_max_length_on_error=0"
        );
        admin.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// What an attempt put off that never committed is nothing; what a committed one put off stays.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_committed_is_put_off() {
    let db = Database::new().await;
    let store = db.store("owner");
    let id = ready(&store, 1).await[0];
    let systems = ["shop".to_owned(), "loyalty".to_owned()];
    for system in &systems {
        let batch = lease(&store, 1).await;
        let token = batch.token;
        store.begin(token, &[id], &plan(), &systems).await.unwrap();
        for system in &systems {
            let put_off = NewDeferral {
                ticket: id,
                system: system.clone(),
                schema: "public".into(),
                table: "invoice".into(),
                due_at: Utc::now() + Days::days(1),
                basis: "jp-ctax-7".into(),
                rows: 2,
                sealed: vec![9],
            };
            store
                .stage_deferrals(token, system, &[id], &[put_off])
                .await
                .unwrap();
        }
        // In the first generation shop commits, in the second nothing does.
        if system == "shop" {
            let done = [(id, 1, json!({}), Utc::now())];
            store.step_done(token, system, &done).await.unwrap();
        }
        store.failed(token, id, "E0508", "no").await.unwrap();
        store.retry(id, None).await.unwrap();
    }
    let batch = lease(&store, 1).await;
    store
        .begin(batch.token, &[id], &plan(), &systems)
        .await
        .unwrap();
    let before = store.put_off_before(&[id], "shop").await.unwrap();
    assert_eq!(
        before,
        [(id, "public".into(), "invoice".into(), vec![9])],
        "of the first generation"
    );
    // What the second did is found out only now.
    let loyalty = [(id, 2, json!({}), Utc::now())];
    store
        .step_done(batch.token, "loyalty", &loyalty)
        .await
        .unwrap();
    for system in &systems {
        let done = [(id, 3, json!({}), Utc::now())];
        store.step_done(batch.token, system, &done).await.unwrap();
    }
    assert_eq!(store.deferrals(&[id]).await.unwrap().len(), 4);
    store.to_verifying(batch.token, &[id]).await.unwrap();
    let left = store.deferrals(&[id]).await.unwrap();
    let mut left: Vec<&str> = left.iter().map(|d| d.system.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["loyalty", "shop"]);
}

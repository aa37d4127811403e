//! Random days at the desk against a small model: whoever calls whatever in whatever order, time
//! passes, daemons die, policies change; the control schema does what the model says, every change
//! of state is one event, and nothing is lost.
//!
//! It kills no process. All that a daemon that dies leaves here is what its last transaction wrote and a lease
//! that runs out, and that the model does at every step; what it leaves in a system is not the schema's to
//! know. There a real daemon is killed in every gap by tests/survives, and beside a hold by lesson 5.

use super::server::{Database, Template};
use super::{MINUTE, closing, code, offer, plan, resolved};
use chrono::Utc;
use erasured::policy::Level;
use erasured::policy::proof::built_in;
use erasured::store::intake::Resolved;
use erasured::store::tickets::{IdentifierValue, NewTicket};
use erasured::store::{Store, StoreError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tokio_postgres::Client;
use uuid::Uuid;

/// What the guarded scope waits, in hours.
const COOLING_OFF: i64 = 24;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Hana,
    Kenji,
    /// Files, verifies and approves: small companies have such.
    Mio,
    Auditor,
    Daemon,
}

const PEOPLE: [(Who, &str, &str); 5] = [
    (Who::Hana, "hana", "erasured_desk"),
    (Who::Kenji, "kenji", "erasured_approver"),
    (Who::Mio, "mio", "erasured_desk, erasured_approver"),
    (Who::Auditor, "auditor", "erasured_auditor"),
    (Who::Daemon, "daemon", "erasured_daemon"),
];

impl Who {
    fn files(self) -> bool {
        matches!(self, Self::Hana | Self::Mio)
    }

    fn approves(self) -> bool {
        matches!(self, Self::Kenji | Self::Mio)
    }
}

/// How identity is verified: its code, how far it goes, and whether it demands a document.
type Method = &'static str;

const METHODS: [(Method, i16, bool); 4] = [
    ("name_contact", 1, false),
    ("callback", 2, false),
    ("login_reauth", 3, false),
    ("in_person", 3, true),
];

/// Which of the tickets filed so far.
#[derive(Clone, Copy, Debug)]
enum At {
    Any(Index),
    Last,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Move {
    Submit(Who, bool),
    Verify(Who, At, Method),
    Approve(Who, At),
    Reject(Who, At),
    Hold(Who, At),
    Release(Who, At),
    Retry(Who, At),
    /// The policy of the plain scope asks for this level from now on.
    Policy(i16),
    Hours(i64),
    Intake,
    Lease,
    Begin,
    /// Every step commits.
    Commit,
    Sweep,
    PutOff,
    Fail,
    /// The daemon is gone, and what it held with it.
    Crash,
}

/// Mostly who is meant to; otherwise anybody.
fn who(meant: Who) -> impl Strategy<Value = Who> {
    prop_oneof![3 => Just(meant), 1 => select(PEOPLE.map(|p| p.0).to_vec())]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let at = || any::<Index>().prop_map(At::Any);
    let method = || select(METHODS.map(|m| m.0).to_vec());
    let one = prop_oneof![
        2 => (who(Who::Hana), any::<bool>()).prop_map(|(w, guarded)| Move::Submit(w, guarded)),
        9 => (who(Who::Hana), at(), method()).prop_map(|(w, t, m)| Move::Verify(w, t, m)),
        9 => (who(Who::Kenji), at()).prop_map(|(w, t)| Move::Approve(w, t)),
        1 => (who(Who::Kenji), at()).prop_map(|(w, t)| Move::Reject(w, t)),
        2 => (who(Who::Kenji), at()).prop_map(|(w, t)| Move::Hold(w, t)),
        3 => (who(Who::Kenji), at()).prop_map(|(w, t)| Move::Release(w, t)),
        3 => (who(Who::Kenji), at()).prop_map(|(w, t)| Move::Retry(w, t)),
        1 => (0i16..4).prop_map(Move::Policy),
        4 => (1i64..40).prop_map(Move::Hours),
        4 => Just(Move::Intake),
        4 => Just(Move::Lease),
        4 => Just(Move::Begin),
        4 => Just(Move::Commit),
        2 => Just(Move::Sweep),
        1 => Just(Move::PutOff),
        1 => Just(Move::Fail),
        1 => Just(Move::Crash),
    ];
    // As it should go, so that what comes between meets every state.
    let filed = |guarded| {
        vec![
            Move::Submit(Who::Hana, guarded),
            Move::Verify(Who::Hana, At::Last, "login_reauth"),
            Move::Approve(Who::Kenji, At::Last),
        ]
    };
    let worked = |end| vec![Move::Intake, Move::Lease, Move::Begin, end];
    let alone = |guarded| {
        vec![
            Move::Submit(Who::Mio, guarded),
            Move::Verify(Who::Mio, At::Last, "callback"),
            Move::Approve(Who::Mio, At::Last),
        ]
    };
    let stopped = |for_good| {
        let last = match for_good {
            true => Move::Reject(Who::Kenji, At::Last),
            false => Move::Release(Who::Kenji, At::Last),
        };
        let filed = Move::Submit(Who::Hana, false);
        vec![filed, Move::Hold(Who::Kenji, At::Last), last]
    };
    let tightened = vec![
        Move::Policy(0),
        Move::Submit(Who::Mio, false),
        Move::Verify(Who::Hana, At::Last, "name_contact"),
        Move::Approve(Who::Mio, At::Last),
        Move::Policy(3),
    ];
    let some = prop_oneof![
        10 => one.prop_map(|one| vec![one]),
        2 => any::<bool>().prop_map(filed),
        2 => Just(worked(Move::Commit)),
        1 => prop_oneof![Just(Move::Fail), Just(Move::PutOff), Just(Move::Crash)].prop_map(worked),
        1 => Just(tightened),
        1 => any::<bool>().prop_map(alone),
        1 => any::<bool>().prop_map(stopped),
    ];
    vec(some, 20..70).prop_map(|some| some.concat())
}

/// A ticket as the model knows it.
struct Ticket {
    id: Uuid,
    guarded: bool,
    state: &'static str,
    held_from: Option<&'static str>,
    resolved: bool,
    level: i16,
    verifiers: BTreeSet<Who>,
    verified: BTreeSet<(Who, Method)>,
    approvers: BTreeSet<Who>,
    /// In hours of the model's clock.
    not_before: Option<i64>,
    ready_at: Option<i64>,
    /// Whose batch it is in, and until when.
    lease: Option<(u32, i64)>,
    has_steps: bool,
    needs_more: bool,
    attempts: u32,
    /// States it went through, the first included.
    history: Vec<&'static str>,
}

impl Ticket {
    fn goes(&mut self, state: &'static str) {
        if self.state != state {
            self.state = state;
            self.history.push(state);
        }
    }

    fn is_lent(&self, now: i64) -> bool {
        self.lease.is_some_and(|(_, until)| until > now)
    }
}

/// What is under way in the one daemon.
struct Batch {
    number: u32,
    token: Uuid,
    tickets: Vec<(Uuid, i32)>,
    begun: bool,
}

struct Day {
    db: Database,
    admin: Client,
    stores: BTreeMap<Who, Store>,
    logins: BTreeMap<Who, String>,
    owner: Store,
    tickets: Vec<Ticket>,
    batch: Option<Batch>,
    batches: u32,
    now: i64,
    /// What the plain scope asks for.
    asked: i16,
}

/// What the schema says to a move.
type Said = Result<(), String>;

fn said<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> Said {
    match outcome {
        Ok(_) => Ok(()),
        lost @ Err(StoreError::LeaseLost { .. }) => Err(format!("{lost:?}")),
        refused => Err(code(refused)),
    }
}

const FORBIDDEN: &str = "42501";

impl Day {
    async fn begins(template: &Template) -> Self {
        let db = template.copy().await;
        let mut stores = BTreeMap::new();
        let mut logins = BTreeMap::new();
        for (who, name, roles) in PEOPLE {
            let login = db.login(name, roles).await;
            stores.insert(who, db.store(&login));
            logins.insert(who, login);
        }
        let day = Self {
            owner: db.store("owner"),
            admin: db.client("owner").await,
            db,
            stores,
            logins,
            tickets: Vec::new(),
            batch: None,
            batches: 0,
            now: 0,
            asked: 1,
        };
        day.publish().await;
        day
    }

    async fn publish(&self) {
        let levels = [
            Level::None,
            Level::Basic,
            Level::Reasonable,
            Level::ReasonablyHigh,
        ];
        let plain = levels[usize::try_from(self.asked).unwrap()];
        let mut guarded = offer("guarded", true, Level::Reasonable);
        guarded.cooling_off = chrono::Duration::hours(COOLING_OFF);
        let offers = [offer("account", false, plain), guarded];
        self.owner.publish_scopes(&offers).await.unwrap();
        // Comparing answers is another story: here their word is taken.
        let mut proofs = built_in().clone();
        proofs.methods.values_mut().for_each(|m| m.compare.clear());
        self.owner.publish_methods(&proofs).await.unwrap();
    }

    fn store(&self, who: Who) -> &Store {
        &self.stores[&who]
    }

    fn daemon(&self) -> &Store {
        self.store(Who::Daemon)
    }

    fn needs(&self, ticket: usize) -> i16 {
        if self.tickets[ticket].guarded {
            2
        } else {
            self.asked
        }
    }

    /// Why the ticket may not run now, if it may not.
    fn unfit(&self, ticket: usize) -> bool {
        let t = &self.tickets[ticket];
        let eyes = t.approvers.iter().any(|a| !t.verifiers.contains(a));
        t.not_before.is_some_and(|at| at > self.now)
            || t.level < self.needs(ticket)
            || (t.guarded && !eyes)
    }

    async fn makes(&mut self, step: &Move) {
        match step {
            Move::Submit(who, guarded) => self.submit(*who, *guarded).await,
            Move::Verify(..)
            | Move::Approve(..)
            | Move::Reject(..)
            | Move::Hold(..)
            | Move::Release(..)
            | Move::Retry(..) => self.decides(step).await,
            Move::Policy(level) => {
                self.asked = *level;
                self.publish().await;
            }
            Move::Hours(hours) => {
                self.now += hours;
                self.db.hours_pass(*hours).await;
            }
            Move::Intake => self.intake().await,
            Move::Lease => self.lease().await,
            Move::Begin => self.begin().await,
            Move::Commit => self.commit().await,
            Move::Sweep => self.sweep().await,
            Move::PutOff | Move::Fail => self.gives_up(step).await,
            Move::Crash => self.batch = None,
        }
    }

    async fn submit(&mut self, who: Who, guarded: bool) {
        let n = self.tickets.len();
        let email = format!("person{n}@example.jp");
        let identifiers = [("email".to_owned(), IdentifierValue::new(email))];
        let new = NewTicket {
            reference: &format!("R{n}"),
            subject: "customer",
            identifiers: &identifiers,
            scope: if guarded { "guarded" } else { "account" },
            ground: "policy",
            requested_at: None,
            language: None,
        };
        let outcome = self.store(who).submit(&new, None).await;
        if !who.files() {
            assert_eq!(said(outcome), Err(FORBIDDEN.into()), "{who:?} files");
            return;
        }
        self.tickets.push(Ticket {
            id: outcome.unwrap(),
            guarded,
            state: "received",
            held_from: None,
            resolved: false,
            level: -1,
            verifiers: BTreeSet::new(),
            verified: BTreeSet::new(),
            approvers: BTreeSet::new(),
            not_before: None,
            ready_at: None,
            lease: None,
            has_steps: false,
            needs_more: false,
            attempts: 0,
            history: vec!["received"],
        });
    }

    /// What a person decides of a ticket: the model's word first, then the schema's.
    async fn decides(&mut self, step: &Move) {
        let (who, at) = match step {
            Move::Verify(who, at, _)
            | Move::Approve(who, at)
            | Move::Reject(who, at)
            | Move::Hold(who, at)
            | Move::Release(who, at)
            | Move::Retry(who, at) => (*who, at),
            _ => unreachable!("no decision"),
        };
        if self.tickets.is_empty() {
            return;
        }
        let at = match at {
            At::Any(index) => index.index(self.tickets.len()),
            At::Last => self.tickets.len() - 1,
        };
        let expected = self.decided(step, who, at);
        let store = self.store(who);
        let id = self.tickets[at].id;
        let said = match step {
            Move::Verify(_, _, method) => said(store.verify(id, method, None, None).await),
            Move::Approve(..) => said(store.approve(id, None).await),
            Move::Reject(..) => said(store.reject(id, "appi-unverified", None).await),
            Move::Hold(..) => self.calls(who, "hold_ticket($1, 'court')", id).await,
            Move::Release(..) => self.calls(who, "release_ticket($1)", id).await,
            _ => said(store.retry(id, None).await),
        };
        assert_eq!(said, expected, "{step:?} of ticket {at}");
    }

    /// What has no method of the store, as a CRM calls it.
    async fn calls(&self, who: Who, function: &str, id: Uuid) -> Said {
        let client = self.db.client(&self.logins[&who]).await;
        let sql = format!("SELECT erasured.{function}");
        let outcome = client.query_one(&sql, &[&id]).await;
        outcome
            .map(|_| ())
            .map_err(|e| e.code().unwrap().code().to_owned())
    }

    /// Changes the model as the move would, or says why it is refused.
    fn decided(&mut self, step: &Move, who: Who, at: usize) -> Said {
        let may = match step {
            Move::Verify(..) => who.files(),
            Move::Retry(..) => who.files() || who.approves(),
            _ => who.approves(),
        };
        if !may {
            return Err(FORBIDDEN.into());
        }
        match step {
            Move::Verify(_, _, method) => self.verified(who, at, method),
            Move::Approve(..) => self.approved(who, at),
            Move::Reject(..) => self.rejected(at),
            Move::Hold(..) => self.held(at),
            Move::Release(..) => {
                let t = &mut self.tickets[at];
                let from = t.held_from.take().ok_or("ER002")?;
                t.goes(from);
                Ok(())
            }
            _ => self.retried(at),
        }
    }

    fn verified(&mut self, who: Who, at: usize, method: Method) -> Said {
        let needed = self.needs(at);
        let (_, level, demanding) = *METHODS.iter().find(|m| m.0 == method).unwrap();
        let t = &mut self.tickets[at];
        if t.verified.contains(&(who, method)) {
            return Ok(());
        }
        let again = t.state == "failed" && t.needs_more;
        if !(matches!(t.state, "received" | "verified") || again) {
            return Err("ER002".into());
        }
        if demanding && level > needed {
            return Err("ER011".into());
        }
        t.level = t.level.max(level);
        t.verifiers.insert(who);
        t.verified.insert((who, method));
        if t.state == "received" {
            t.goes("verified");
        }
        Ok(())
    }

    fn approved(&mut self, who: Who, at: usize) -> Said {
        let (needed, now) = (self.needs(at), self.now);
        let t = &mut self.tickets[at];
        match t.state {
            "approved" | "scheduled" | "executing" | "verifying" | "completed" => return Ok(()),
            "verified" => {}
            "failed" if t.needs_more => {}
            _ => return Err("ER002".into()),
        }
        if t.level < needed {
            return Err("ER007".into());
        }
        if t.guarded && t.verifiers.contains(&who) {
            return Err("ER008".into());
        }
        t.approvers.insert(who);
        if t.state == "verified" {
            let wait = if t.guarded { COOLING_OFF } else { 0 };
            t.not_before = Some(now + wait);
            t.ready_at = Some(now + wait);
            t.goes("approved");
        }
        Ok(())
    }

    fn rejected(&mut self, at: usize) -> Said {
        let now = self.now;
        let t = &mut self.tickets[at];
        match t.state {
            "rejected" => return Ok(()),
            "executing" | "verifying" | "completed" => return Err("ER002".into()),
            _ if t.is_lent(now) => return Err("ER010".into()),
            _ if t.has_steps => return Err("ER002".into()),
            _ => {}
        }
        (t.lease, t.held_from) = (None, None);
        t.goes("rejected");
        Ok(())
    }

    fn held(&mut self, at: usize) -> Said {
        let now = self.now;
        let t = &mut self.tickets[at];
        match t.state {
            "on_hold" => return Ok(()),
            "received" | "verified" | "approved" | "scheduled" => {}
            _ => return Err("ER002".into()),
        }
        if t.is_lent(now) {
            return Err("ER010".into());
        }
        t.lease = None;
        t.held_from = Some(t.state);
        t.goes("on_hold");
        Ok(())
    }

    fn retried(&mut self, at: usize) -> Said {
        let now = self.now;
        let t = &mut self.tickets[at];
        match t.state {
            "failed" => {
                t.ready_at = t.not_before.filter(|at| *at > now);
                t.needs_more = false;
                t.attempts = 0;
                t.goes("scheduled");
                Ok(())
            }
            // Put off after a failure.
            "scheduled" if t.ready_at > t.not_before => {
                t.ready_at = t.not_before.filter(|at| *at > now);
                Ok(())
            }
            _ => Err("ER002".into()),
        }
    }

    async fn intake(&mut self) {
        let found = self.daemon().unresolved(1_000).await.unwrap();
        let found: BTreeSet<Uuid> = found.iter().map(|u| u.id).collect();
        let looked_for =
            |t: &&Ticket| !t.resolved && matches!(t.state, "received" | "verified" | "approved");
        let expected: BTreeSet<Uuid> = self
            .tickets
            .iter()
            .filter(looked_for)
            .map(|t| t.id)
            .collect();
        assert_eq!(found, expected, "to be resolved");
        // Everybody is somebody else.
        let one = |id: &Uuid| Resolved {
            subject_hash: format!("{:064x}", id.as_u128()),
            ..resolved(*id)
        };
        let all: Vec<_> = found.iter().map(one).collect();
        let taken = self.daemon().resolve(&all).await.unwrap();
        assert_eq!(taken.tickets, all.len() as u64);
        let found = self.tickets.iter_mut().filter(|t| found.contains(&t.id));
        found.for_each(|t| t.resolved = true);
    }

    /// The model does not say which batch is taken, but what may be in it, and when there is none.
    async fn lease(&mut self) {
        let now = self.now;
        for t in &mut self.tickets {
            let waits = matches!(t.state, "approved" | "scheduled") && t.resolved;
            if waits && t.ready_at.is_some_and(|at| at <= now) {
                t.ready_at = None;
                t.goes("scheduled");
            }
        }
        let may = |t: &Ticket| match t.lease {
            Some((_, until)) => until <= now,
            None => t.state == "scheduled" && t.ready_at.is_none(),
        };
        self.db.is_quiet(&self.admin).await;
        let taken = self.daemon().lease("one", 500, MINUTE).await.unwrap();
        let Some(taken) = taken else {
            let left: Vec<_> = self.tickets.iter().filter(|t| may(t)).collect();
            assert!(left.is_empty(), "{} tickets are left lying", left.len());
            return;
        };
        self.batches += 1;
        let mut lent = Vec::new();
        for one in &taken.tickets {
            let t = self.tickets.iter_mut().find(|t| t.id == one.id).unwrap();
            assert!(may(t), "a ticket in {} is lent", t.state);
            // A minute of the hours that the model counts: gone when any has passed.
            t.lease = Some((self.batches, now + 1));
            lent.push((one.id, one.generation));
        }
        self.batch = Some(Batch {
            number: self.batches,
            token: taken.token,
            tickets: lent,
            begun: false,
        });
    }

    /// The places of the batch's tickets; `None` if one of them is not its any more.
    fn mine(&self) -> Option<Vec<usize>> {
        let batch = self.batch.as_ref()?;
        let mut places = Vec::new();
        for (id, _) in &batch.tickets {
            let at = self.tickets.iter().position(|t| t.id == *id).unwrap();
            let is_mine = self.tickets[at].lease.is_some_and(|l| l.0 == batch.number);
            is_mine.then(|| places.push(at))?;
        }
        Some(places)
    }

    async fn begin(&mut self) {
        let Some(batch) = self.batch.as_ref().filter(|b| !b.begun) else {
            return;
        };
        let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.0).collect();
        let token = batch.token;
        let mut stored = plan();
        let guarded = self.tickets.iter().any(|t| t.guarded && t.id == ids[0]);
        if guarded {
            (stored.id, stored.scope) = ("f".repeat(64), "guarded".into());
        }
        let systems = ["shop".to_owned()];
        let begun = self.daemon().begin(token, &ids, &stored, &systems).await;
        let Some(places) = self.mine() else {
            assert!(
                matches!(begun, Err(StoreError::LeaseLost { .. })),
                "{begun:?}"
            );
            self.batch = None;
            return;
        };
        let unfit: BTreeSet<Uuid> = begun.unwrap().iter().map(|u| u.ticket).collect();
        let store = self.stores[&Who::Daemon].clone();
        let mut kept = Vec::new();
        for at in places {
            let expected = self.tickets[at].state == "scheduled" && self.unfit(at);
            let t = &mut self.tickets[at];
            assert_eq!(
                unfit.contains(&t.id),
                expected,
                "whether ticket {at} may run"
            );
            if expected {
                store
                    .failed(token, t.id, "E0513", "not enough")
                    .await
                    .unwrap();
                (t.lease, t.needs_more) = (None, true);
                t.goes("failed");
            } else {
                t.has_steps = true;
                t.goes("executing");
                kept.push(t.id);
            }
        }
        let batch = self.batch.as_mut().unwrap();
        batch.begun = true;
        batch.tickets.retain(|(id, _)| kept.contains(id));
        if kept.is_empty() {
            self.batch = None;
        }
    }

    async fn commit(&mut self) {
        let Some(batch) = self.batch.take_if(|b| b.begun) else {
            return;
        };
        let counts = serde_json::json!({});
        let done = batch.tickets.iter();
        let done: Vec<_> = done
            .map(|(id, generation)| (*id, *generation, counts.clone(), Utc::now()))
            .collect();
        let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.0).collect();
        let committed = self.daemon().step_done(batch.token, "shop", &done).await;
        let token = batch.token;
        self.batch = Some(batch);
        let places = self.mine();
        self.batch = None;
        let Some(places) = places else {
            assert!(matches!(committed, Err(StoreError::LeaseLost { .. })));
            return;
        };
        committed.unwrap();
        self.daemon().to_verifying(token, &ids).await.unwrap();
        for at in places {
            self.tickets[at].lease = None;
            self.tickets[at].goes("verifying");
        }
    }

    async fn sweep(&mut self) {
        let daemon = self.daemon();
        let open = daemon.open_sweep("customer", "policy", "one", MINUTE).await;
        let Some(open) = open.unwrap() else {
            assert!(self.tickets.iter().all(|t| t.state != "verifying"));
            return;
        };
        let closings: Vec<_> = open.tickets.iter().map(|t| closing(t.id)).collect();
        let closed = daemon.close(open.token, &closings).await.unwrap();
        daemon.finish_sweep(open.token).await.unwrap();
        let closed: BTreeSet<Uuid> = closed.iter().map(|c| c.0).collect();
        let checked = self.tickets.iter_mut().filter(|t| t.state == "verifying");
        for t in checked {
            assert!(
                closed.contains(&t.id),
                "a ticket that was checked stays open"
            );
            t.goes("completed");
        }
    }

    async fn gives_up(&mut self, step: &Move) {
        let places = self.mine();
        let Some(batch) = self.batch.take() else {
            return;
        };
        let Some(places) = places else {
            return;
        };
        let ids: Vec<Uuid> = batch.tickets.iter().map(|t| t.0).collect();
        let daemon = self.stores[&Who::Daemon].clone();
        let (token, now) = (batch.token, self.now);
        if matches!(step, Move::PutOff) {
            let after = std::time::Duration::from_secs(2 * 3600);
            let put_off = daemon
                .retry_later(token, &ids, "E0501", "busy", after, 5)
                .await;
            put_off.unwrap();
        }
        for at in places {
            let t = &mut self.tickets[at];
            t.lease = None;
            if matches!(step, Move::PutOff) {
                t.ready_at = Some(now + 2);
                t.goes("scheduled");
            } else {
                daemon
                    .failed(token, t.id, "E0508", "refused")
                    .await
                    .unwrap();
                t.goes("failed");
            }
        }
    }

    /// The database says of every ticket what the model says, and nothing that it must not.
    async fn is_as_modelled(&self, after: &Move) {
        let sql = "SELECT t.id, t.state, t.sealed IS NOT NULL AS sealed, \
                    (SELECT count(*) FROM erasured.ticket_identifier i WHERE i.ticket_id = t.id AND i.value IS NOT NULL) AS named, \
                    (SELECT count(*) FROM erasured.certificate c WHERE c.ticket_id = t.id) AS certificates, \
                    ARRAY(SELECT e.kind FROM erasured.event e WHERE e.ticket_id = t.id \
                             AND e.kind IN ('received', 'verified', 'approved', 'scheduled', 'executing', 'verifying', \
                                            'completed', 'failed', 'on_hold', 'rejected') ORDER BY e.id) AS history \
                    FROM erasured.ticket t";
        let rows = self.admin.query(sql, &[]).await.unwrap();
        assert_eq!(rows.len(), self.tickets.len(), "tickets");
        for row in rows {
            let t = self.tickets.iter().find(|t| t.id == row.get::<_, Uuid>(0));
            let t = t.unwrap();
            assert_eq!(
                row.get::<_, &str>("state"),
                t.state,
                "after {after:?}: {:?}",
                t.history
            );
            assert_eq!(row.get::<_, Vec<&str>>("history"), t.history, "events");
            let closed = matches!(t.state, "completed" | "rejected");
            if closed {
                assert!(!row.get::<_, bool>("sealed") && row.get::<_, i64>("named") == 0);
            }
            let certificates = i64::from(t.state == "completed");
            assert_eq!(row.get::<_, i64>("certificates"), certificates);
        }
    }
}

#[test]
fn whatever_is_called_the_schema_does_what_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let template = runtime.block_on(Template::new());
    let cases = std::env::var("PROPTEST_CASES").ok();
    let config = ProptestConfig {
        cases: cases.map_or(25, |n| n.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    // What the days came to: a day on which nothing is ever completed would prove little.
    let reached = Mutex::new(BTreeMap::<&str, usize>::new());
    let outcome = runner.run(&moves(), |moves| {
        runtime.block_on(async {
            let mut day = Day::begins(&template).await;
            for one in &moves {
                day.makes(one).await;
                day.is_as_modelled(one).await;
            }
            let states = day.tickets.iter().flat_map(|t| &t.history);
            states.for_each(|state| *reached.lock().unwrap().entry(state).or_default() += 1);
            day.db.end().await;
        });
        Ok(())
    });
    outcome.unwrap();
    let reached = reached.into_inner().unwrap();
    println!("{reached:?}");
    for (state, least) in [
        ("completed", 5),
        ("failed", 3),
        ("rejected", 3),
        ("on_hold", 5),
    ] {
        let n = reached.get(state).copied().unwrap_or_default();
        assert!(
            n >= least,
            "{state} was reached only {n} times: {reached:?}"
        );
    }
}

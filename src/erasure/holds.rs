//! Legal holds: the last question before every COMMIT that deletes, and what a hold covers.

use super::context::{Context, Unplanned, catalogs};
use super::intake::{self, IntakeFailed};
use crate::name::TableName;
use crate::plan::{Comparison, Condition, HeldRows, OWN_OPERATORS, Parameter};
use crate::policy::Policy;
use crate::store::StoreError;
use crate::store::holds::{HoldRead, Permit, UnreadHold, UnreadRowHold, Verdict};
use crate::system::postgres::execute::{NotErased, Unanswered};
use crate::system::postgres::failure::{self, Failure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

/// Beyond the server's own timeouts.
const MARGIN: Duration = Duration::from_secs(10);

/// Holds that one round reads.
const LIMIT: u32 = 200;

/// The one place that every deletion passes: the rows are locked, the work is done, COMMIT comes
/// next. From [`Gate::ask`] to [`Gate::close`] no hold can be placed, so a hold is either seen here or
/// placed after what it came too late for. Holds on rows are read when the gate is opened and compared
/// with the rows under their lock; here it is asked whether there are others by now.
///
/// The lock is the control database's. Should that go away in the moment between the answer and the
/// COMMIT, a hold could be placed there meanwhile and not be seen.
pub(crate) struct Gate {
    /// More than one where what is done happens on all or on none.
    systems: Vec<String>,
    /// What the rows are to be compared with.
    pub(crate) rows: Vec<HeldRows>,
    known: Vec<Uuid>,
    permit: Option<Permit>,
    door: Door,
    open: Option<OwnedRwLockReadGuard<()>>,
}

/// Shut to writers as long as a COMMIT is under way, of which there may be several: whoever would cut the work
/// short passes through here first.
pub(crate) type Door = Arc<RwLock<()>>;

impl Gate {
    /// A gate for work on one system, which changes the tables of which `touches` says so.
    ///
    /// # Errors
    /// [`NotErased`]: the holds cannot be read, or cannot be compared with the tables as they are.
    pub(crate) async fn open(
        context: &Context,
        door: &Door,
        system: &str,
        touches: impl Fn(&TableName) -> bool,
    ) -> Result<Self, NotErased> {
        let hook = |e: StoreError| NotErased::Hook(e.to_string());
        let holds = context.store.row_holds(system).await.map_err(hook)?;
        let known = holds.iter().map(|h| h.id).collect();
        let mut rows = Vec::new();
        for hold in holds.into_iter().filter(|h| touches(&h.table)) {
            let unreadable =
                || NotErased::Hook("the sealed conditions of a legal hold do not open".to_owned());
            let opened = context.hash_key.open(hold.id.as_bytes(), &hold.sealed);
            let opened = opened.map_err(|_| unreadable())?;
            let given: Vec<Given> =
                serde_json::from_slice(opened.expose()).map_err(|_| unreadable())?;
            let types = Types::of(context, system, &hold.table).await;
            let types = types.map_err(|e| NotErased::Hook(e.to_string()))?;
            rows.push(HeldRows {
                hold: hold.id,
                conditions: types
                    .conditions(given)
                    .map_err(|column| NotErased::HoldUnfit {
                        table: hold.table.clone(),
                        column,
                    })?,
                table: hold.table,
            });
        }
        Ok(Self {
            systems: vec![system.to_owned()],
            rows,
            known,
            permit: None,
            door: door.clone(),
            open: None,
        })
    }

    /// One gate for what happens together. Which rows to compare is each system's own matter: `rows` are this
    /// one's.
    pub(super) fn together_with(&mut self, other: &Self) {
        self.systems.extend(other.systems.iter().cloned());
        self.known.extend(&other.known);
    }

    /// The holds on rows that were read when the gate was opened.
    pub(crate) fn known(&self) -> &[Uuid] {
        &self.known
    }

    /// Whether these tickets' work may be committed, which takes no longer than `time`.
    ///
    /// # Errors
    /// [`NotErased::Held`], [`NotErased::HoldUnread`], or [`NotErased::Hook`] if nobody could be asked.
    pub(super) async fn ask(
        &mut self,
        context: &Context,
        tickets: &[Uuid],
        time: Duration,
    ) -> Result<(), NotErased> {
        let (systems, known) = (self.systems.clone(), self.known.clone());
        let asked = context.store.permit(tickets, &systems, &known, time);
        self.admit(context, asked, |verdict| match verdict {
            Verdict::Free => None,
            Verdict::Held(tickets) => Some(NotErased::Held(tickets)),
            Verdict::Unread => Some(NotErased::HoldUnread),
        })
        .await
    }

    /// Asks, and keeps what was permitted until [`Gate::close`]; `refusal` says what an answer means.
    ///
    /// # Errors
    /// The refusal, [`NotErased::Hook`] if nobody could be asked, or that our clock is wrong by now.
    pub(crate) async fn admit<T>(
        &mut self,
        context: &Context,
        asked: impl Future<Output = Result<(Permit, T), StoreError>>,
        refusal: impl FnOnce(T) -> Option<NotErased>,
    ) -> Result<(), NotErased> {
        if self.open.is_none() {
            self.open = Some(self.door.clone().read_owned().await);
        }
        let (permit, answer) = asked.await.map_err(|e| {
            if e.waited_in_vain() {
                metrics::counter!(crate::metrics::HOLD_BLOCKS).increment(1);
                tracing::warn!("a transaction that places a legal hold lies open, and nothing is erased until it ends");
            }
            NotErased::Hook(e.to_string())
        })?;
        // One that is open from a try before is let go only now.
        let before = self.permit.replace(permit);
        if let Some(before) = before {
            before.end().await;
        }
        let clock = context.clock_problem();
        let clock = clock.map(|why| NotErased::Database(why, Failure::Transient("clock")));
        match refusal(answer).or(clock) {
            None => Ok(()),
            Some(refusal) => {
                self.close().await;
                Err(refusal)
            }
        }
    }

    /// Keeps holds from being placed until a COMMIT whose answer was lost has happened or never will.
    ///
    /// The server is asked, and ends the session that still was to commit. As long as it cannot be asked
    /// it is waited for: no longer than for the time after which it ends a session that is silent,
    /// for then it has received the COMMIT, which was before any hold, or never will.
    pub(crate) async fn until_over(&mut self, context: &Context, lost: &Unanswered) {
        let end = Instant::now() + context.config.limits.idle_timeout + MARGIN;
        loop {
            if let Some(permit) = &self.permit
                && !permit.keep().await
            {
                tracing::warn!(
                    system = self.systems.join(", "),
                    "the control database was lost while the fate of a COMMIT was asked for"
                );
                return;
            }
            let asked = tokio::time::timeout(MARGIN, self.is_over(context, lost)).await;
            if matches!(asked, Ok(Ok(true))) {
                return;
            }
            if Instant::now() > end {
                tracing::warn!(
                    system = self.systems.join(", "),
                    "whether a COMMIT happened cannot be asked; holds can be placed again"
                );
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn is_over(&self, context: &Context, lost: &Unanswered) -> Result<bool, NotErased> {
        let unreachable = || NotErased::Hook("the system cannot be reached".into());
        // What happens together is not committed, but prepared: then no COMMIT has no answer.
        let system = self.systems.first().ok_or_else(unreachable)?;
        let database = context.database_to_end(system).await;
        let database = database.ok_or_else(unreachable)?;
        let database = database.map_err(|_| unreachable())?;
        database.is_over(lost).await
    }

    /// Lets holds be placed again.
    pub(crate) async fn close(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.end().await;
        }
        self.open = None;
    }
}

/// A condition as it is placed and sealed.
#[derive(Serialize, Deserialize)]
struct Given {
    column: String,
    op: String,
    #[serde(default)]
    values: Vec<String>,
}

/// The columns of a table, as they are now.
struct Types(Vec<(String, String)>);

impl Types {
    async fn of(context: &Context, system: &str, table: &TableName) -> Result<Self, Unplanned> {
        let name = system.to_owned();
        let (catalogs, _) = catalogs(&context.systems, &context.mariadb, [name]).await?;
        let catalog = catalogs.values().next();
        let facts = catalog.and_then(|c| c.tables.get(table));
        let columns = facts.into_iter().flat_map(|t| &t.columns);
        Ok(Self(
            columns
                .map(|c| (c.name.clone(), c.sql_type.clone()))
                .collect(),
        ))
    }

    /// The first column that cannot be compared so, if there is one.
    fn conditions(&self, given: Vec<Given>) -> Result<Vec<Condition>, String> {
        let condition = |given: Given| {
            let known = self.0.iter().find(|(name, _)| *name == given.column);
            match (known, Comparison::named(&given.op)) {
                (Some((_, sql_type)), Some(comparison)) => Ok(Condition {
                    sql_type: sql_type.clone(),
                    comparison,
                    column: given.column,
                    values: given.values,
                }),
                _ => Err(given.column),
            }
        };
        given.into_iter().map(condition).collect()
    }
}

/// Finds whom new holds cover, and lets go on what nothing holds any more; how much there was to do,
/// and why a hold could not be read: it is read again, and until then its kind of subject waits.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn round(context: &Context) -> Result<(usize, Option<IntakeFailed>), StoreError> {
    let resumed = context.store.resume_held().await?;
    if resumed > 0 {
        tracing::info!(resumed, "no legal hold keeps them any more; they go on");
    }
    let policies = context.policies();
    let subjects: Vec<&str> = policies.keys().map(String::as_str).collect();
    let mut round = Round {
        context,
        done: usize::try_from(resumed).unwrap_or(0),
        failed: None,
        away: BTreeSet::new(),
    };
    let mut after = None;
    loop {
        let page = context.store.unread_holds(&subjects, after, LIMIT).await?;
        after = page.last().map(|hold| (hold.placed_at, hold.id));
        for hold in &page {
            if let Some(policy) = policies.get(&hold.subject) {
                round.of_person(policy, hold).await?;
            }
        }
        if page.len() < LIMIT as usize {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = context.store.unread_row_holds(after, LIMIT).await?;
        after = page.last().map(|hold| (hold.placed_at, hold.id));
        for hold in &page {
            round.of_rows(hold).await?;
        }
        if page.len() < LIMIT as usize {
            break;
        }
    }
    Ok((round.done, round.failed))
}

/// One look at all holds that have still to be read. One that cannot be read now keeps none behind it
/// from being read.
struct Round<'a> {
    context: &'a Context,
    done: usize,
    failed: Option<IntakeFailed>,
    /// Kinds of subject and systems that cannot be reached now: each is tried once.
    away: BTreeSet<String>,
}

impl Round<'_> {
    async fn of_person(&mut self, policy: &Policy, hold: &UnreadHold) -> Result<(), StoreError> {
        let of = format!("subject {}", hold.subject);
        if self.away.contains(&of) {
            return Ok(());
        }
        let read = match cover(self.context, policy, hold).await {
            Ok(read) => read,
            Err(error) => {
                self.not_now(of, error);
                return Ok(());
            }
        };
        self.done += 1;
        if let Some((code, problem)) = &read.problem {
            tracing::warn!(hold = %hold.id, code, problem, "nobody is found by what a legal hold names");
        }
        super::crash_point("before-hold-read");
        self.context.store.hold_read(hold.id, &read).await?;
        Ok(())
    }

    async fn of_rows(&mut self, hold: &UnreadRowHold) -> Result<(), StoreError> {
        let of = format!("system {}", hold.system);
        if self.away.contains(&of) {
            return Ok(());
        }
        let misfit = match misfit(self.context, hold).await {
            Ok(misfit) => misfit,
            Err(error) => {
                self.not_now(of, error);
                return Ok(());
            }
        };
        self.done += 1;
        let may_come = !matches!(misfit, Some(Misfit::Wrong(_)));
        let problem = misfit.map(|misfit| match misfit {
            Misfit::Wrong(problem) | Misfit::NotYet(problem) => ("E0522", problem),
        });
        if let Some((code, problem)) = &problem {
            tracing::warn!(hold = %hold.id, code, problem, "a legal hold on rows covers nothing");
        }
        let conditions = hold.conditions.to_string();
        let key = &self.context.hash_key;
        let sealed = key.seal(hold.id.as_bytes(), conditions.as_bytes(), rand::random());
        self.context
            .store
            .row_hold_read(hold.id, may_come.then_some(&*sealed), problem.as_ref())
            .await?;
        Ok(())
    }

    fn not_now(&mut self, of: String, error: IntakeFailed) {
        if matches!(error, IntakeFailed::System(Unplanned::Unreachable(_))) {
            self.away.insert(of);
        }
        self.failed = self.failed.take().or(Some(error));
    }
}

/// Why a hold on rows covers nothing.
enum Misfit {
    /// It can be compared with nothing, and never will: it must be placed anew.
    Wrong(String),
    /// Nothing is erased there as things are; should a policy come to name the table, it holds.
    NotYet(String),
}

/// Why the conditions cannot be compared with any rows that a policy touches.
async fn misfit(context: &Context, hold: &UnreadRowHold) -> Result<Option<Misfit>, IntakeFailed> {
    let (system, table) = (&hold.system, &hold.table);
    if !context.systems.contains_key(system) && !context.mariadb.contains_key(system) {
        let problem = "it names a system that is not registered";
        return Ok(Some(Misfit::NotYet(problem.into())));
    }
    if let Some(problem) = wrong(context, hold).await? {
        return Ok(Some(Misfit::Wrong(problem)));
    }
    let policies = context.policies();
    let named = policies.values().any(|policy| {
        let tables = policy.tables.iter().map(|rule| &rule.table);
        let mut tables = tables.chain(policy.retention.iter().map(|rule| &rule.table));
        tables.any(|of| of.system == *system && of.table == *table)
    });
    Ok((!named).then(|| {
        Misfit::NotYet(format!(
            "no policy in force names {system}.{table}, so nothing is ever erased from it"
        ))
    }))
}

/// What is wrong with it whatever the policies say.
async fn wrong(context: &Context, hold: &UnreadRowHold) -> Result<Option<String>, IntakeFailed> {
    let (system, table) = (&hold.system, &hold.table);
    let types = Types::of(context, system, table).await?;
    if types.0.is_empty() {
        return Ok(Some(format!(
            "it names a table that {system} does not have"
        )));
    }
    let Ok(given) = serde_json::from_value::<Vec<Given>>(hold.conditions.clone()) else {
        return Ok(Some(
            "its conditions are not a list of column, op and values".into(),
        ));
    };
    // Names that nobody knows are not repeated: a value may stand there by mistake.
    let Ok(conditions) = types.conditions(given) else {
        return Ok(Some(format!(
            "it names a column that {system}.{table} does not have"
        )));
    };
    let held = HeldRows {
        hold: hold.id,
        table: table.clone(),
        conditions,
    };
    Ok(incomparable(context, system, &held).await?)
}

/// Asks the system itself; its answers would repeat values.
async fn incomparable(
    context: &Context,
    system: &str,
    held: &HeldRows,
) -> Result<Option<String>, Unplanned> {
    if context.mariadb.contains_key(system) {
        return Ok(held.incomparable_on_mariadb().map(str::to_owned));
    }
    let client = context.systems[system].pool.get().await?;
    let (whole, values) = held.comparable();
    let wrong = |error: tokio_postgres::Error, what: &str| match failure::classify(&error) {
        Failure::Permanent => Ok(Some(what.to_owned())),
        Failure::Transient(_) => Err(Unplanned::Failed {
            system: system.to_owned(),
            problem: failure::describe(&error),
            transient: true,
        }),
    };
    if let Err(error) = client.prepare(&whole.sql).await {
        return wrong(error, "a column cannot be compared so");
    }
    let columns: Vec<&str> = held.conditions.iter().map(|c| c.column.as_str()).collect();
    let of = &held.table;
    match client
        .query_one(OWN_OPERATORS, &[&of.schema, &of.table, &columns])
        .await
    {
        Ok(row) if row.get(0) => {
            let what =
                "a column's type has operators of its own, such as citext: name another column";
            return Ok(Some(what.to_owned()));
        }
        Ok(_) => {}
        Err(error) => return wrong(error, "a column's type cannot be looked up"),
    }
    for statement in values {
        let Some(Parameter::Text(value)) = statement.parameters.first() else {
            continue;
        };
        if let Err(error) = client.query(&statement.sql, &[value]).await {
            return wrong(error, "a value does not read as its column's type");
        }
    }
    Ok(None)
}

async fn cover(
    context: &Context,
    policy: &Policy,
    hold: &UnreadHold,
) -> Result<HoldRead, IntakeFailed> {
    match intake::everybody(context, policy, &hold.identifiers).await? {
        Err((code, problem)) => Ok(HoldRead {
            problem: Some((code, problem)),
            ..HoldRead::default()
        }),
        Ok((named, keys)) => Ok(HoldRead {
            hashes: named
                .into_iter()
                .map(|(name, value)| {
                    let hash = context.hash_key.hash(&name, &value);
                    (name, hash)
                })
                .collect(),
            subjects: keys
                .iter()
                .map(|key| intake::subject_hash(context, policy, key))
                .collect(),
            problem: None,
        }),
    }
}

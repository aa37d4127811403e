//! Retention: what goes by its age, without anybody having asked.
//!
//! A rule's rows are chosen oldest first, a batch at a time, and each batch goes as a ticket's rows would:
//! the same plan machinery, the same locks and probes, the same row in the target that says it happened,
//! the same last word of legal holds. So a rule can take nothing that a ticket could not.

mod afterwards;
pub mod approval;
pub mod archive;
mod ask;
mod brake;
mod certify;
pub mod forecast;
mod gauges;
pub mod health;
mod load;
mod progress;
mod run;
pub mod schedule;
pub mod throttle;
pub mod verify;

pub use afterwards::Tidied;
pub use gauges::unreadable;
pub use progress::Progress;
pub use run::{Archived, Go, Going, Report, SeenPart, Stopped, run};

use crate::catalog::Catalog;
use crate::erasure::context::{Context, Unplanned};
use crate::erasure::{holds, intake};
use crate::lineage::{self, OfRule, Owners};
use crate::plan::{self, DueRows, HeldRows, Plan, Stretch, WhenLocked};
use crate::policy::Policy;
use crate::policy::retention::RetentionRule;
use crate::store::StoreError;
use crate::store::retention::HeldPeople;
use crate::system::postgres::due::{self, DueCount, DueRow};
use crate::system::postgres::execute::NotErased;
use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::Client;
use std::collections::HashSet;
use std::sync::Arc;

/// A rule, ready to run over what is due now.
pub struct Prepared {
    /// The policy that it stands in.
    pub policy: Arc<Policy>,
    /// The rule.
    pub rule: RetentionRule,
    /// What hangs on its rows, and what is due; `None` if the calendar has nothing yet.
    pub of: Option<OfRule>,
    /// What happens to a batch of them.
    pub plan: Option<Plan>,
    catalog: Arc<Catalog>,
    stamp: String,
    /// When it was decided what is due.
    at: DateTime<Utc>,
}

/// Finds a rule by its name.
///
/// # Errors
/// That no policy has it, or several do.
pub fn find(context: &Context, name: &str) -> Result<(Arc<Policy>, RetentionRule), String> {
    let policies = context.policies();
    let mut found = policies.values().filter_map(|policy| {
        let rule = policy.retention_rule(name)?;
        Some((policy.clone(), rule.clone()))
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some((one, _)), Some((other, _))) => Err(format!(
            "the policies for {} and {} both have a retention rule {name}: give each its own name",
            one.subject, other.subject
        )),
        (None, _) => {
            let rules = policies.values().flat_map(|p| &p.retention);
            let known: Vec<&str> = rules.map(|r| r.name.as_str()).collect();
            Err(format!(
                "no policy has a retention rule {name:?}: {}",
                crate::reading::choose_or(name, &known, "there are")
            ))
        }
    }
}

/// All rules of the policies in force.
pub fn all(context: &Context) -> Vec<(Arc<Policy>, RetentionRule)> {
    let policies = context.policies();
    let rules = policies.values().flat_map(|policy| {
        policy
            .retention
            .iter()
            .map(|rule| (policy.clone(), rule.clone()))
    });
    rules.collect()
}

/// Rows of which it is asked at a time whose they are.
const LOOK: u64 = 5_000;

/// Whose rows are left out.
#[derive(Debug, Default)]
struct People {
    /// The kinds of subject whose holds matter.
    kinds: Vec<String>,
    /// The holds that are known, and whom they cover.
    held: HeldPeople,
}

impl Prepared {
    /// Traces the rule through the catalog as it is now.
    ///
    /// # Errors
    /// [`Unplanned`]; nothing may run then.
    pub async fn new(
        context: &Context,
        policy: Arc<Policy>,
        rule: RetentionRule,
    ) -> Result<Self, Unplanned> {
        Self::at(context, policy, rule, context.now()).await
    }

    /// The same, for the catalog as it is by now.
    async fn again(&self, context: &Context) -> Result<Self, Unplanned> {
        Self::at(context, self.policy.clone(), self.rule.clone(), self.at).await
    }

    /// The same for what was due at another time.
    ///
    /// # Errors
    /// [`Unplanned`].
    pub async fn at(
        context: &Context,
        policy: Arc<Policy>,
        rule: RetentionRule,
        at: DateTime<Utc>,
    ) -> Result<Self, Unplanned> {
        let Some(system) = context.systems.get(&rule.table.system) else {
            let told = match context.mariadb.contains_key(&rule.table.system) {
                true => lineage::not_on_mariadb(&policy, &rule),
                false => lineage::unregistered(&policy, &rule),
            };
            return Err(Unplanned::Misfit(vec![told]));
        };
        let known = |bucket: &str| context.config.buckets.contains_key(bucket);
        if let Some(unknown) = lineage::unknown_bucket(&policy, &rule, known) {
            return Err(Unplanned::Misfit(vec![unknown]));
        }
        let (stamp, catalog) = system.catalog().await?;
        let policies = context.policies();
        let in_force: Vec<&Policy> = policies.values().map(|p| &**p).collect();
        let of =
            lineage::of_rule(&policy, &rule, &in_force, at, &catalog).map_err(Unplanned::Misfit)?;
        // What is archived is read before it goes.
        let build = match rule.archive {
            Some(_) => plan::build_capturing,
            None => plan::build,
        };
        let plan = of.as_ref().map(|of| build(&of.policy, &of.lineage));
        Ok(Self {
            policy,
            rule,
            of,
            plan,
            catalog,
            stamp,
            at,
        })
    }

    /// Which rows are due; `None` if the calendar has nothing yet.
    fn due_rows<'a>(&'a self, held: &'a [HeldRows]) -> Option<DueRows<'a>> {
        let table = &self.rule.table.table;
        Some(DueRows {
            table,
            facts: self.catalog.tables.get(table)?,
            due: &self.of.as_ref()?.due,
            held,
            spared_by: &self.of.as_ref()?.spared_by,
        })
    }

    /// How due rows can go in one go, if they can.
    fn stretch<'a>(&'a self, held: &'a [HeldRows]) -> Option<Stretch<'a>> {
        // What is archived must be seen.
        if self.rule.archive.is_some() {
            return None;
        }
        let plan = self.plan.as_ref()?.systems.first()?;
        let lineage = self.of.as_ref()?.lineage.systems.first()?;
        Stretch::of(self.due_rows(held)?, lineage, plan)
    }

    /// The day of the oldest row that is due and that no hold covers; of people, for whom no ticket is open.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn oldest(&self, context: &Context) -> Result<Option<NaiveDate>, NotErased> {
        let rows_held = self.rows_held(context).await?;
        let Some(rows) = self.due_rows(&rows_held) else {
            return Ok(None);
        };
        let mut client = self.client(context).await?;
        let people = self.people(context).await?;
        let timeouts = context.timeouts(1);
        if people.held.hashes.is_empty() && self.rule.people.is_none() {
            return due::oldest(&mut client, &rows, None, timeouts).await;
        }
        let (mut behind, mut oldest) = (None::<Vec<String>>, None);
        loop {
            let found = due::next(&mut client, &rows, behind.as_deref(), LOOK, timeouts).await?;
            let Some(last) = found.last() else {
                return Ok(oldest);
            };
            behind = Some(last.place.clone());
            let free = self.free(context, &mut client, &people, found).await?;
            let free = self.without_ticket(context, free).await?;
            let keys: Vec<&[String]> = free.iter().map(|row| row.key.as_slice()).collect();
            if !keys.is_empty() {
                let here = due::oldest(&mut client, &rows, Some(&keys), timeouts).await?;
                oldest = oldest.into_iter().chain(here).min();
            }
            // Behind it there is none that is older.
            if oldest.is_some() && rows.comes_by_date() {
                return Ok(oldest);
            }
        }
    }

    /// Whom holds cover now whose rows must be left out.
    async fn people(&self, context: &Context) -> Result<People, NotErased> {
        let mut people = People {
            kinds: self
                .undistinguished()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            held: HeldPeople::default(),
        };
        if matches!(&self.of, Some(of) if matches!(of.owners, Owners::Ways(_))) {
            let kind = &self.policy.subject;
            let held = context.store.held_people(kind).await;
            people.held = held.map_err(|e| NotErased::Hook(e.to_string()))?;
            people.kinds.push(kind.clone());
        }
        Ok(people)
    }

    /// The kinds of subject of which any hold stops the rule, since it cannot be told whose a row is.
    fn undistinguished(&self) -> Vec<&str> {
        let Some(of) = &self.of else {
            return Vec::new();
        };
        let own = matches!(of.owners, Owners::Unknown).then_some(&self.policy.subject);
        own.into_iter()
            .chain(&of.others)
            .map(String::as_str)
            .collect()
    }

    /// The kind of person under a hold who stops the whole rule, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn barred_by(&self, context: &Context) -> Result<Option<String>, StoreError> {
        for kind in self.undistinguished() {
            if !context.store.held_people(kind).await?.holds.is_empty() {
                return Ok(Some(kind.to_owned()));
            }
        }
        Ok(None)
    }

    /// Those of these rows that are of none of these people.
    async fn free(
        &self,
        context: &Context,
        client: &mut Client,
        people: &People,
        rows: Vec<DueRow>,
    ) -> Result<Vec<DueRow>, NotErased> {
        let Some(Owners::Ways(ways)) = self.of.as_ref().map(|of| &of.owners) else {
            return Ok(rows);
        };
        let root = self.catalog.tables.get(&self.policy.root.0.table);
        let (Some(due), Some(root), false) =
            (self.due_rows(&[]), root, people.held.hashes.is_empty())
        else {
            return Ok(rows);
        };
        let statements = due.owners(ways, root.row_key());
        let keys: Vec<&[String]> = rows.iter().map(|row| row.key.as_slice()).collect();
        let owners = due::owners(client, &statements, &keys, context.timeouts(1)).await?;
        let held: HashSet<usize> = owners
            .into_iter()
            .filter(|(_, key)| {
                people
                    .held
                    .hashes
                    .contains(&intake::subject_hash(context, &self.policy, key))
            })
            .map(|(at, _)| at)
            .collect();
        let rows = rows.into_iter().enumerate();
        Ok(rows
            .filter(|(at, _)| !held.contains(at))
            .map(|(_, row)| row)
            .collect())
    }

    /// Of people those for whom no ticket is open. Other rows have none.
    async fn without_ticket(
        &self,
        context: &Context,
        mut rows: Vec<DueRow>,
    ) -> Result<Vec<DueRow>, NotErased> {
        if self.rule.people.is_none() || rows.is_empty() {
            return Ok(rows);
        }
        let hash = |row: &DueRow| intake::subject_hash(context, &self.policy, &row.key);
        let hashes: Vec<String> = rows.iter().map(hash).collect();
        let store = &context.store;
        let open = store.with_open_ticket(&self.policy.subject, &hashes).await;
        let open = open.map_err(|e| NotErased::Hook(e.to_string()))?;
        let mut hashes = hashes.iter();
        rows.retain(|_| hashes.next().is_some_and(|hash| !open.contains(hash)));
        Ok(rows)
    }

    /// Which of the rows with these keys are due now, by their positions.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn still_due(
        &self,
        context: &Context,
        keys: &[&[String]],
    ) -> Result<HashSet<usize>, NotErased> {
        let Some(due) = self.due_rows(&[]) else {
            return Ok(HashSet::new());
        };
        let mut client = self.client(context).await?;
        let due = due::still_due(&mut client, &due, keys, context.timeouts(1)).await?;
        Ok(due.into_iter().map(|(at, _)| at).collect())
    }

    /// The same, to be asked where they are locked; `None` if the calendar has nobody yet.
    pub fn when_locked(&self) -> Option<WhenLocked> {
        Some(self.due_rows(&[])?.when_locked())
    }

    /// Those of these rows that are due still and that nothing keeps that hangs on them, and how many of
    /// the others are due.
    async fn unspared(
        &self,
        context: &Context,
        mut rows: Vec<DueRow>,
    ) -> Result<(Vec<DueRow>, usize), NotErased> {
        let Some(due) = self.due_rows(&[]) else {
            return Ok((rows, 0));
        };
        let mut client = self.client(context).await?;
        let keys: Vec<&[String]> = rows.iter().map(|row| row.key.as_slice()).collect();
        let due = due::still_due(&mut client, &due, &keys, context.timeouts(1)).await?;
        let survivors = due.iter().filter(|(_, free)| !free).count();
        let free: HashSet<usize> = due
            .iter()
            .filter(|(_, free)| *free)
            .map(|(at, _)| *at)
            .collect();
        let mut at = 0..;
        rows.retain(|_| at.next().is_some_and(|at| free.contains(&at)));
        Ok((rows, survivors))
    }

    async fn rows_held(&self, context: &Context) -> Result<Vec<HeldRows>, NotErased> {
        let of = &self.rule.table;
        let gate = holds::Gate::open(context, &holds::Door::default(), &of.system, |t| {
            *t == of.table
        })
        .await?;
        Ok(gate.rows)
    }

    async fn client(&self, context: &Context) -> Result<Client, NotErased> {
        let pool = &context.systems[&self.rule.table.system].pool;
        pool.get().await.map_err(|e| NotErased::Hook(e.to_string()))
    }

    /// Counts what is due now, what of it holds cover, and what has no date.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn count(&self, context: &Context) -> Result<DueCount, NotErased> {
        self.counted(context, true).await
    }

    async fn counted(&self, context: &Context, undated: bool) -> Result<DueCount, NotErased> {
        let rows_held = self.rows_held(context).await?;
        let Some(rows) = self.due_rows(&rows_held) else {
            return Ok(DueCount::default());
        };
        let mut client = self.client(context).await?;
        let timeouts = context.timeouts(1);
        let mut counted = due::count(&mut client, &rows, undated, timeouts).await?;
        let people = self.people(context).await?;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut behind: Option<Vec<String>> = None;
        while !people.held.hashes.is_empty() || self.rule.people.is_some() {
            let found = due::next(&mut client, &rows, behind.as_deref(), LOOK, timeouts).await?;
            let Some(last) = found.last() else { break };
            behind = Some(last.place.clone());
            let all = found.len();
            let free = self.free(context, &mut client, &people, found).await?;
            counted.held += number(all - free.len());
            let all = free.len();
            let left = self.without_ticket(context, free).await?.len();
            counted.under_way += number(all - left);
        }
        Ok(counted)
    }
}

/// Under which code a batch's failure is told.
fn code(error: &NotErased) -> &'static str {
    match error {
        NotErased::Drift { .. } => "E0505",
        NotErased::Archive(_) => "E0532",
        NotErased::Held(_) | NotErased::HeldRows(_) | NotErased::HoldUnread => "E0521",
        NotErased::HoldUnfit { .. } => "E0523",
        NotErased::Database(_, crate::system::postgres::failure::Failure::Permanent) => "E0508",
        _ => "E0301",
    }
}

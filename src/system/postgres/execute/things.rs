//! Things that rows name: what lies elsewhere under the values of a column, read while the rows are
//! locked, so that none is missed and none that has another owner by now is taken.

use super::super::capture::{self, Captured};
use super::super::due;
use super::super::value::Raw;
use super::{Execution, MustBeDue, NotErased, Seen, Timeouts};
use crate::plan::{ThingNames, Things, ValueForm};
use deadpool_postgres::{Client, GenericClient, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// Names of things that rows of people name. They are a person's: no Debug.
#[derive(Default, PartialEq, Eq)]
pub struct Names {
    /// What nobody else's rows name.
    pub own: ByColumn,
    /// What rows of somebody else's name too, be they about to go.
    pub shared: ByColumn,
}

/// By the position of a ticket and that of the column in the plan's `things`.
pub type ByColumn = BTreeMap<(usize, usize), ThingNames>;

impl Execution<'_> {
    /// Locks the rows that name things, and all on the way to them, for as long as the transaction is
    /// kept. What these name, and what is known to have been theirs, is theirs; but for what a row that
    /// does not go names too. Where the subjects' own rows are in this system they must be due.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub async fn hold_things<'c>(
        &self,
        client: &'c mut Client,
        due: &[MustBeDue],
        known: &ByColumn,
    ) -> Result<(Transaction<'c>, Vec<Seen>, Names), NotErased> {
        let tx = client.transaction().await?;
        self.settings(&tx).await?;
        let mut captured = Captured::new(self.plan);
        let active: Vec<usize> = (0..self.subjects.len()).collect();
        // What a hold covers may hang on the rows that name things: then all is looked at.
        let wanted = self.held.is_empty().then(|| self.plan.ways_to_things());
        capture::all(&tx, self, &active, &mut captured, wanted.as_deref()).await?;
        self.nothing_is_covered(&tx, &captured, None).await?;
        self.all_are_due(&tx, &captured, due).await?;
        let names = self.names(&tx, &captured, known).await?;
        let seen = capture::seen(self, &captured);
        Ok((tx, seen, names))
    }

    /// What captured rows name, and what is known.
    pub(super) async fn names(
        &self,
        tx: &impl GenericClient,
        captured: &Captured,
        known: &ByColumn,
    ) -> Result<Names, NotErased> {
        let mut names = Names::default();
        for (of, things) in self.plan.things.iter().enumerate() {
            let rows = rows_by_name(things, captured)?;
            let mut all: BTreeMap<usize, BTreeMap<&str, i64>> = BTreeMap::new();
            for ((ticket, name), rows) in &rows {
                all.entry(*ticket).or_default().insert(name, *rows);
            }
            for ((ticket, _), known) in known.iter().filter(|((_, at), _)| *at == of) {
                let theirs = all.entry(*ticket).or_default();
                for name in &known.0 {
                    theirs.entry(name).or_default();
                }
            }
            for (ticket, theirs) in all {
                let shared = shared(tx, things, &theirs).await?;
                let own = theirs.into_keys().filter(|name| !shared.0.contains(*name));
                let own = ThingNames(own.map(str::to_owned).collect());
                names.own.insert((ticket, of), own);
                names.shared.insert((ticket, of), shared);
            }
        }
        Ok(names)
    }
}

/// How many rows of each ticket name each thing, of those that go or lose the name.
fn rows_by_name(
    things: &Things,
    captured: &Captured,
) -> Result<BTreeMap<(usize, String), i64>, NotErased> {
    let mut found: BTreeMap<(usize, String), i64> = BTreeMap::new();
    // A row that goes may also be one that is changed before.
    let mut counted = BTreeSet::new();
    for part in &things.rows {
        for row in captured.rows(*part) {
            if !counted.insert(std::ptr::from_ref(row)) {
                continue;
            }
            let Some(name) = text(&row.values[things.at], things.form, things)? else {
                continue;
            };
            *found.entry((row.ticket, name)).or_default() += 1;
        }
    }
    Ok(found)
}

/// As it is written; `None` for what names nothing.
fn text(value: &Raw, form: ValueForm, things: &Things) -> Result<Option<String>, NotErased> {
    let Some(bytes) = &value.0 else {
        return Ok(None);
    };
    let strange = || {
        NotErased::Hook(format!(
            "{}: a value of {} is not of the form that was expected",
            things.table, things.column
        ))
    };
    let text = match form {
        ValueForm::Text => std::str::from_utf8(bytes)
            .map_err(|_| strange())?
            .to_owned(),
        ValueForm::Uuid => {
            let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| strange())?;
            uuid.to_string()
        }
    };
    Ok((!text.trim().is_empty()).then_some(text))
}

/// Which of these any row of the table names, by a reading of its own.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn named_yet(
    client: &mut Client,
    things: &Things,
    names: &[&str],
    timeouts: Timeouts,
) -> Result<ThingNames, NotErased> {
    let tx = due::begin(client, timeouts).await?;
    let names = names.iter().map(|name| (*name, 0)).collect();
    let named = shared(&tx, things, &names).await?;
    tx.rollback().await?;
    Ok(named)
}

/// Those that more rows of the table name than these.
async fn shared(
    tx: &impl GenericClient,
    things: &Things,
    theirs: &BTreeMap<&str, i64>,
) -> Result<ThingNames, NotErased> {
    let (names, own): (Vec<&str>, Vec<i64>) =
        theirs.iter().map(|(name, own)| (*name, *own)).unzip();
    if names.is_empty() {
        return Ok(ThingNames::default());
    }
    let count = tx.prepare_cached(&things.count).await?;
    let rows = tx.query(&count, &[&names, &own]).await?;
    let more = rows.iter().filter_map(|row| {
        let name: &str = row.get(0);
        let own = theirs.get(name).copied().unwrap_or(0);
        (row.get::<_, i64>(1) > own).then(|| name.to_owned())
    });
    Ok(ThingNames(more.collect()))
}

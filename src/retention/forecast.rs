//! What of a rule's rows comes due when: now, and each week of the coming year.

mod draw;

use super::Prepared;
use crate::erasure::context::Context;
use crate::lineage::{self, Due};
use crate::policy::Policy;
use crate::store::StoreError;
use crate::system::postgres::execute::NotErased;
use crate::system::postgres::forecast::{self, Counted};
use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use draw::{bars, svg};

/// Weeks that are looked ahead.
pub const WEEKS: u64 = 52;

/// What comes due when. Legal holds are not asked: what they cover is among it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// What is due now, and the weeks behind it, in order.
    pub weeks: Vec<Week>,
    /// All rows of the table, due some time or never.
    pub rows: i64,
    /// Only one in so many blocks of the table was read, and the rows are multiplied by it.
    pub one_in: Option<u32>,
    /// What the table takes up on disk with its indexes.
    pub table_bytes: i64,
}

/// Rows that come due up to a day, and after the week before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Week {
    /// The day, in the rule's zone.
    pub through: NaiveDate,
    /// How many.
    pub rows: i64,
}

impl Forecast {
    /// `days` are those of the stages that were counted.
    fn new(days: &[NaiveDate], counted: &Counted) -> Self {
        let weeks = days.iter().zip(&counted.stages);
        Self {
            weeks: weeks
                .map(|(&through, &rows)| Week { through, rows })
                .collect(),
            rows: counted.rows,
            one_in: counted.one_in,
            table_bytes: counted.bytes,
        }
    }

    /// Those that come due within so many weeks and are not yet.
    pub fn within(&self, weeks: usize) -> i64 {
        self.weeks.iter().skip(1).take(weeks).map(|w| w.rows).sum()
    }

    /// What so many of its rows take up, one being as large as the other.
    pub fn bytes(&self, rows: i64) -> i64 {
        let share = i128::from(self.table_bytes) * i128::from(rows.min(self.rows));
        share
            .checked_div(i128::from(self.rows))
            .and_then(|bytes| i64::try_from(bytes).ok())
            .unwrap_or(0)
    }
}

/// Today, and the same day of the coming weeks.
fn days(today: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    (0..=WEEKS).filter_map(move |week| today.checked_add_days(Days::new(7 * week)))
}

/// How long so many rows take where others took so long.
pub fn takes(rows: i64, (others, millis): (i64, i64)) -> Duration {
    let millis = i128::from(rows) * i128::from(millis);
    let millis = millis.checked_div(i128::from(others)).unwrap_or(0);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

impl Prepared {
    /// What comes due when; `None` if the calendar has nothing yet. A large table is read in part, but for `exact`.
    ///
    /// # Errors
    /// [`NotErased`].
    pub async fn forecast(
        &self,
        context: &Context,
        exact: bool,
    ) -> Result<Option<Forecast>, NotErased> {
        let Some(rows) = self.due_rows(&[]) else {
            return Ok(None);
        };
        let policies = context.policies();
        let in_force: Vec<&Policy> = policies.values().map(|p| &**p).collect();
        let today = context.now().with_timezone(&self.rule.zone).date_naive();
        let (days, stages): (Vec<NaiveDate>, Vec<Vec<Due>>) = days(today)
            .filter_map(|day| {
                let (policy, rule) = (&self.policy, &self.rule);
                let due = lineage::due_on(policy, rule, &in_force, &self.catalog, day)?;
                Some((day, due))
            })
            .unzip();
        let mut client = self.client(context).await?;
        let timeouts = context.timeouts(1);
        let counted = forecast::count(&mut client, &rows, &stages, exact, timeouts).await?;
        Ok(Some(Forecast::new(&days, &counted)))
    }

    /// How quick the rule's last runs were: rows, and milliseconds for them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pace(&self, context: &Context) -> Result<Option<(i64, i64)>, StoreError> {
        let store = &context.store;
        store.pace(&self.policy.subject, &self.rule.name).await
    }
}

#[cfg(test)]
mod tests;

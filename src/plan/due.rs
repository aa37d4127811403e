//! What a retention rule asks of its table, as statements.

use super::{HandedOver, HeldRows, RowSet, Statement, SystemPlan, sql};
use crate::catalog::Table;
use crate::lineage::{Due, Edge, Spares, Step};
use crate::name::TableName;

/// How rows are locked and it is asked whether they are due.
#[derive(Clone, Debug)]
pub struct WhenLocked {
    /// First they are locked, and what hangs on them by whose dates they are counted. A statement that waits for a lock sees the
    /// tables as they were before, so the question is another one.
    pub locks: Vec<Statement>,
    /// As [`DueRows::still_due`].
    pub still_due: Statement,
}

/// The rows of a table that are due, and that no hold covers. All parameters of its statements are
/// [`super::Parameter::Text`].
#[derive(Clone, Copy, Debug)]
pub struct DueRows<'a> {
    /// The table.
    pub table: &'a TableName,
    /// Its definition.
    pub facts: &'a Table,
    /// What must hold.
    pub due: &'a [Due],
    /// Holds on rows of this table.
    pub held: &'a [HeldRows],
    /// What hangs on the rows and keeps them.
    pub spared_by: &'a [Spares],
}

impl DueRows<'_> {
    /// The next at most `limit` rows behind this place, the oldest first. Of each row: the parts of its
    /// key, then those of its place, all as texts.
    pub fn next(&self, behind: Option<&[String]>, limit: u64) -> Statement {
        sql::due_rows(
            self.table,
            self.facts,
            self.due,
            (&self.held(), self.spared_by),
            behind,
            limit,
        )
    }

    /// How many rows are due, how many of them holds cover, and how many of the others something keeps
    /// that hangs on them.
    pub fn count(&self) -> Statement {
        sql::due_count(self.table, self.due, (&self.held(), self.spared_by))
    }

    /// Of rows of these keys ([`super::Parameter::SubjectTickets`], [`super::Parameter::SubjectKey`]) the
    /// ordinals of those that are still due, and whether nothing keeps them.
    pub fn still_due(&self) -> Statement {
        sql::still_due(self.table, self.facts, self.due, self.spared_by)
    }

    /// The same, to be asked behind their locks.
    pub fn when_locked(&self) -> WhenLocked {
        // Of two columns of one table the rows are locked once.
        let mut steps: Vec<&Step> = Vec::new();
        for linked in self.due.iter().flat_map(|due| &due.linked) {
            if !steps.contains(&&linked.step) {
                steps.push(&linked.step);
            }
        }
        let mut locks = vec![sql::lock_subjects(self.table, self.facts)];
        let steps = steps.into_iter();
        locks.extend(steps.map(|step| sql::lock_linked(self.table, self.facts, step)));
        WhenLocked {
            locks,
            still_due: self.still_due(),
        }
    }

    /// The day of the oldest of them that no hold covers; where keys are `given` ([`super::Parameter::SubjectTickets`],
    /// [`super::Parameter::SubjectKey`]), of those that have them.
    pub fn oldest(&self, given: bool) -> Statement {
        let left_out = (&*self.held(), self.spared_by);
        sql::oldest(self.table, self.facts, self.due, left_out, given)
    }

    /// Whether [`Self::next`] comes by their dates; otherwise by their keys.
    pub fn comes_by_date(&self) -> bool {
        let first = self.due.first();
        first.is_some_and(|due| due.only_column().is_some())
    }

    /// How many rows have no date, and so are never due.
    pub fn undated(&self) -> Statement {
        sql::undated(self.table, self.due)
    }

    /// How many rows ought to be gone, whether a hold covers them or not: asked by days as the server counts them,
    /// apart from the statements that choose rows.
    pub fn overdue(&self) -> Statement {
        sql::overdue(self.table, self.due)
    }

    /// How many rows come due by when. `stages` are what must hold of a row on days that follow each other; each
    /// row of the answer is the number of the first stage at which rows are due, NULL for those that are at none,
    /// and how many these are. With `one_in` only that part of the table's blocks is read.
    pub fn comes_due(&self, stages: &[Vec<Due>], one_in: Option<u32>) -> Statement {
        sql::comes_due(self.table, stages, one_in)
    }

    /// How many rows the table has, as the planner thinks, and how many bytes it takes up with its indexes.
    pub fn size(&self) -> Statement {
        sql::table_size(self.table)
    }

    /// The keys of the people whose these rows are by one of these ways, behind the rows' ordinals; each
    /// statement takes [`super::Parameter::SubjectTickets`] and [`super::Parameter::SubjectKey`] besides.
    pub fn owners(&self, ways: &[Vec<Edge>], root_key: &[String]) -> Vec<Statement> {
        let of = |way: &Vec<Edge>| sql::owners(self.table, self.facts, way, root_key);
        ways.iter().map(of).collect()
    }

    /// Parts of a row's key.
    pub fn key_width(&self) -> usize {
        self.facts.row_key().len()
    }

    pub(super) fn held(&self) -> Vec<&HeldRows> {
        let held = self.held.iter();
        held.filter(|held| held.table == *self.table).collect()
    }
}

/// How many rows a table has, such as one that was a partition, how many of them are due, and the first and
/// the last of their days, in the rule's zone.
pub fn whole_count(table: &TableName, due: &[Due]) -> Statement {
    sql::whole_count(table, due)
}

/// The first and the last day, in the rule's zone, of the rows of this table that a plan has captured.
pub fn captured_days(plan: &SystemPlan, table: &TableName, due: &[Due]) -> Option<Statement> {
    let set = plan.sets.iter().position(|set| set.table == *table)?;
    Some(sql::captured_days(&plan.sets[set], set, due))
}

/// Of each table whose rows go by a plan: what reads them all. Such a plan captures all that goes, see
/// [`super::build_capturing`].
pub fn archived<'t>(
    plan: &SystemPlan,
    facts: impl Fn(&TableName) -> Option<&'t Table>,
) -> Vec<HandedOver> {
    let goes = |set: &RowSet| set.captures.iter().any(|c| c.fate.may_delete());
    let sets = plan.sets.iter().enumerate().filter(|(_, set)| goes(set));
    sets.filter_map(|(at, set)| Some(sql::archived(set, at, facts(&set.table)?)))
        .collect()
}

//! Due rows that can go a stretch at a time: locked and deleted between two places of the order in which a run
//! passes them, without their keys being brought here first.
//!
//! It is what a batch comes to where nothing must be told row by row: everything that hangs on the table hangs on it
//! directly, by one column of a foreign key that the database holds, and goes with it. Once a stretch is locked
//! nothing can come to hang on it, and what is deleted afterwards is what is seen then.

use super::{ChangeKind, DueRows, Statement, SystemPlan, sql};
use crate::catalog::{ForeignKey, OnDelete};
use crate::lineage::{Fate, Parent, Reached, SystemLineage};
use crate::name::TableName;

/// The statements of a rule whose rows can go so.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    rows: DueRows<'a>,
    /// Foreign keys of what goes with them.
    children: Vec<&'a ForeignKey>,
}

/// Between two places of the order, the first of which is not in it.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// Behind this; from the beginning without it.
    pub behind: Option<&'a [String]>,
    /// Up to this.
    pub last: &'a [String],
}

impl<'a> Stretch<'a> {
    /// `None` where rows must be told one by one: the plan changes other things than deletes rows, or holds on
    /// rows of other tables than the rule's own are among those that `rows` must not touch, or what hangs on the rows may keep
    /// them.
    pub fn of(rows: DueRows<'a>, lineage: &'a SystemLineage, plan: &SystemPlan) -> Option<Self> {
        let deletes = plan.changes.iter().all(|change| {
            change.kind == ChangeKind::Deleted && change.ring.is_empty() && !change.again
        });
        // A subquery is not asked again by the lock itself.
        let asks_others =
            !rows.spared_by.is_empty() || rows.due.iter().any(|due| !due.linked.is_empty());
        let elsewhere = rows.held.iter().any(|held| held.table != *rows.table);
        if !deletes || asks_others || elsewhere || !plan.pieces.is_empty() || !plan.left.is_empty()
        {
            return None;
        }
        let mut children = Vec::new();
        for reached in &lineage.tables {
            let [edge] = reached.edges.as_slice() else {
                return None;
            };
            let goes = edge.decision.fate == Fate::Delete;
            match &edge.parent {
                Parent::Subject if goes && reached.table == *rows.table => {}
                Parent::Table(parent) if goes && parent == rows.table => {
                    let key = edge.foreign_key.as_ref()?;
                    children.push(key);
                    if !edge.when.is_empty() || edge.shared || !is_plain(key, reached, &rows) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(Self { rows, children })
    }

    /// Locks at most `limit` due rows behind a place: how many, and the last one's place. No row if there is none.
    pub fn lock(&self, behind: Option<&[String]>, limit: u64) -> Statement {
        let DueRows {
            table, facts, due, ..
        } = self.rows;
        sql::lock_stretch(table, facts, due, &self.rows.held(), behind, limit)
    }

    /// For each table that hangs on them: deletes its rows, and then counts what is left of them where the
    /// database would take or change that by itself.
    pub fn children(
        &self,
        between: Between<'_>,
    ) -> Vec<(&'a TableName, Statement, Option<Statement>)> {
        let of = |key: &&'a ForeignKey| {
            let refuses = matches!(key.on_delete, OnDelete::NoAction | OnDelete::Restrict);
            let left = (!refuses).then(|| sql::children_left(&self.rows, key, between));
            let delete = sql::delete_children(&self.rows, key, between);
            (&key.child.0, delete, left)
        };
        self.children.iter().map(of).collect()
    }

    /// Deletes the rows themselves.
    pub fn delete(&self, between: Between<'_>) -> Statement {
        sql::delete_stretch(&self.rows, between)
    }

    /// Counts those that are there.
    pub fn left(&self, between: Between<'_>) -> Statement {
        sql::stretch_left(&self.rows, between)
    }

    /// Its table.
    pub fn table(&self) -> &'a TableName {
        self.rows.table
    }
}

/// One column that equals one of the same type, held by the database.
fn is_plain(key: &ForeignKey, child: &Reached, rows: &DueRows<'_>) -> bool {
    let ([column], [parent], [equality]) = (
        key.child.1.as_slice(),
        key.parent.1.as_slice(),
        key.equality.as_slice(),
    ) else {
        return false;
    };
    let of = child.facts.column(column).map(|c| &c.sql_type);
    let same = of.is_some() && of == rows.facts.column(parent).map(|c| &c.sql_type);
    key.enforced && same && equality == sql::EQUALS
}

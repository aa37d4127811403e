//! Rows that are not read before they go: found again by their parents' keys, and those of a tree
//! by each other.

use super::{Binds, ParentRows, Statement, Tie, tie};
use crate::catalog::Table;
use crate::lineage::{Edge, FoundAgain, Join};
use crate::name::TableName;
use crate::plan::Parameter;
use crate::system::postgres::quote::identifier;

/// What is done with rows that are found again.
pub(in crate::plan) struct Deletion {
    /// Deletes them; returns ordinals and counts.
    pub delete: Statement,
    /// The same counts, without a change.
    pub count: Statement,
    /// Of a tree: locks its rows; returns how many, and a number that tells them from others.
    pub lock: Option<Statement>,
}

/// Where a count may be narrowed to some of the rows, see [`super::covered()`].
pub(super) const NARROW: &str = " /* narrow */";

/// Around the rows of a leaf, where they are counted: legal holds lock and compare the same rows.
pub(super) const LEAF_HEAD: &str = "SELECT n, count(*) FROM (SELECT min(k.n) AS n FROM ";
/// The same.
pub(super) const LEAF_TAIL: &str = " GROUP BY t.tableoid, t.ctid) AS found GROUP BY n";

/// Deletes all rows of a table that lead back to the parents.
pub(in crate::plan) fn delete_found_again(
    table: &TableName,
    facts: &Table,
    found: FoundAgain<'_>,
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> Deletion {
    match found.own {
        None => leaf(table, facts, found.entry, parent, utf8),
        Some(own) => tree(table, facts, (found.entry, own), parent, utf8),
    }
}

fn leaf(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> Deletion {
    let mut binds = Binds::default();
    let t = tie(&mut binds, edge, facts, parent, utf8);
    let body = format!(
        "WITH gone AS (DELETE FROM {} AS t USING {} WHERE {} RETURNING k.n) SELECT n, pg_catalog.count(*) FROM gone GROUP BY n",
        super::table_name(table),
        t.from,
        t.on
    );
    let delete = binds.statement("delete", table, &body);
    let mut binds = Binds::default();
    let t = tie(&mut binds, edge, facts, parent, utf8);
    // A row that several keys lead to is one row, as it is for the DELETE.
    let body = format!(
        "{LEAF_HEAD}{} JOIN {} AS t ON {}{NARROW}{LEAF_TAIL}",
        t.from,
        super::table_name(table),
        t.on
    );
    Deletion {
        delete,
        count: binds.statement("count", table, &body),
        lock: None,
    }
}

/// The server walks the tree, so no row of it comes here. Nothing can come to hang on a row that
/// is locked, so once two walks have locked the same rows the third, which deletes, finds them.
fn tree(
    table: &TableName,
    facts: &Table,
    (entry, own): (&Edge, &Edge),
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> Deletion {
    let name = super::table_name(table);
    let columns: Vec<String> = facts.row_key().iter().map(|c| identifier(c)).collect();
    let of = |alias: &str| -> String {
        let columns = columns.iter().map(|c| format!("{alias}.{c}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    // As `walk` calls them, the key first.
    let key: Vec<String> = (0..columns.len()).map(|at| format!("k{at}")).collect();
    let key = key.join(", ");
    let walk = |binds: &mut Binds| walk(binds, table, facts, (entry, own), parent, utf8);
    let mut binds = Binds::default();
    let tree = walk(&mut binds);
    let same: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, c)| format!("t.{c} {} w.k{at}", super::EQUALS))
        .collect();
    let same = same.join(" AND ");
    let body = format!(
        "WITH RECURSIVE {tree}, whose AS (SELECT pg_catalog.min(n) AS n, {key} FROM tree GROUP BY {key}), \
         gone AS (DELETE FROM {name} AS t USING whose AS w WHERE {same} RETURNING w.n) \
         SELECT n, pg_catalog.count(*) FROM gone GROUP BY n"
    );
    let delete = binds.statement("delete", table, &body);
    let mut binds = Binds::default();
    let tree = walk(&mut binds);
    let body = format!(
        "WITH RECURSIVE {tree}, whose AS (SELECT min(n) AS n, {key} FROM tree GROUP BY {key}) \
         SELECT w.n, count(*) FROM whose AS w JOIN {name} AS t ON {same}{NARROW} GROUP BY w.n"
    );
    let count = binds.statement("count", table, &body);
    let mut binds = Binds::default();
    let tree = walk(&mut binds);
    let body = format!(
        "WITH RECURSIVE {tree} SELECT count(*), coalesce(sum(hashtextextended(concat_ws('-', {}), 0)), 0)::text \
         FROM (SELECT {} FROM {name} AS t WHERE ({}) IN (SELECT {key} FROM tree) ORDER BY {} FOR UPDATE OF t) AS held",
        of("held"),
        of("t"),
        of("t"),
        of("t"),
    );
    Deletion {
        delete,
        count,
        lock: Some(binds.statement("lock", table, &body)),
    }
}

/// `tree(n, k0, k1, …)`: each row's key, then what else its children refer to, with the ticket that
/// leads to it.
fn walk(
    binds: &mut Binds,
    table: &TableName,
    facts: &Table,
    (entry, own): (&Edge, &Edge),
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> String {
    let Tie { from, on, .. } = tie(binds, entry, facts, parent, utf8);
    let name = super::table_name(table);
    let (mut read, mut up): (Vec<&String>, Vec<String>) =
        (facts.row_key().iter().collect(), Vec::new());
    if let Join::Columns {
        child,
        parent,
        equality,
    } = &own.join
    {
        for ((child, parent), equal) in child.iter().zip(parent).zip(equality) {
            if !read.contains(&parent) {
                read.push(parent);
            }
            let at = read.iter().position(|c| *c == parent).unwrap_or_default();
            up.push(format!("tree.k{at} {equal} t.{}", identifier(child)));
        }
    }
    let names: Vec<String> = (0..read.len()).map(|at| format!("k{at}")).collect();
    let read: Vec<String> = read
        .iter()
        .map(|c| format!("t.{}", identifier(c)))
        .collect();
    let read = read.join(", ");
    format!(
        "tree (n, {}) AS (SELECT k.n, {read} FROM {from} JOIN {name} AS t ON {on} \
         UNION SELECT tree.n, {read} FROM tree JOIN {name} AS t ON {})",
        names.join(", "),
        up.join(" AND ")
    )
}

/// Deletes at most [`Parameter::PieceRows`] of a table's rows that lead back to the parents;
/// returns ordinals and counts. The rest is found by the next.
pub(in crate::plan) fn delete_piece(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> Statement {
    let mut binds = Binds::default();
    let t = tie(&mut binds, edge, facts, parent, utf8);
    let most = binds.bind(Parameter::PieceRows);
    let name = super::table_name(table);
    // What the equality reads, under the names that it reads them by.
    let read: Vec<String> = super::read_by(edge)
        .iter()
        .map(|c| format!("t.{}", identifier(c)))
        .collect();
    let some = format!(
        "SELECT t.tableoid AS \"erasured part\", t.ctid AS \"erasured place\" FROM {} JOIN {name} AS t ON {} LIMIT {most}::int8 FOR UPDATE OF t",
        t.from, t.on
    );
    let delete = if one_heap(facts) {
        // Never a plan that reads the whole table for one piece of it.
        format!(
            "DELETE FROM {name} AS t WHERE t.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT taken.\"erasured place\" FROM ({some}) AS taken))"
        )
    } else {
        format!(
            "DELETE FROM {name} AS t USING ({some}) AS taken \
             WHERE t.tableoid OPERATOR(pg_catalog.=) taken.\"erasured part\" AND t.ctid OPERATOR(pg_catalog.=) taken.\"erasured place\""
        )
    };
    let body = format!(
        "WITH t AS ({delete} RETURNING t.tableoid AS \"erasured part\", t.ctid AS \"erasured place\", {}) \
         SELECT n, pg_catalog.count(*) FROM (SELECT pg_catalog.min(k.n) AS n FROM {} JOIN t ON {} GROUP BY t.\"erasured part\", t.\"erasured place\") AS found GROUP BY n",
        read.join(", "),
        t.from,
        t.on
    );
    binds.statement("delete piece", table, &body)
}

/// Whether a row's place alone tells it from all others of the table.
fn one_heap(facts: &Table) -> bool {
    facts.kind == crate::catalog::TableKind::Ordinary && !facts.has_heirs
}

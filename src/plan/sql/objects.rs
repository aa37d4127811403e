//! Large objects: they stand in no table, and a row that goes leaves them behind.

use super::{Binds, EQUALS, Parameter, RowSet, Rows, Statement, identifier, table_name};
use crate::name::TableName;

/// Captured object numbers: a column of some captured rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) struct Numbers {
    /// Which rows.
    pub rows: Rows,
    /// Which of their captured columns.
    pub at: usize,
}

/// A column in which object numbers stand.
pub(in crate::plan) struct Holder<'a> {
    /// Its table.
    pub table: &'a TableName,
    /// The column.
    pub column: &'a str,
    /// Whether the table stands for its partitions; else those that inherit speak for themselves.
    pub partitioned: bool,
}

/// What becomes of the objects of one column.
pub(in crate::plan) struct Unlink {
    /// Removes them; returns ordinals and counts.
    pub statement: Statement,
    /// The same numbers before any row has changed.
    pub count: Statement,
    /// Counts those that are there though no row refers to them.
    pub probe: Statement,
}

/// Holds the objects' numbers until the transaction ends: two tickets that each take a row of one
/// object must not both find that the other's row is left. The second waits here, and looks when the
/// first has ended. The server has no lock of rows for objects, so it is one of ours.
pub(in crate::plan) fn hold(table: &TableName, sets: &[RowSet], all: &[Numbers]) -> Statement {
    let mut binds = Binds::default();
    let body = format!(
        "WITH {} SELECT count(pg_advisory_xact_lock(({OURS}::int8 << 32) | held.o::int8)), ''::text \
         FROM (SELECT own.o FROM own ORDER BY own.o OFFSET 0) AS held",
        own_numbers(&mut binds, sets, all)
    );
    binds.statement("hold", table, &body)
}

/// `eras`, before the object's own number: nobody else's advisory locks are meant.
const OURS: i64 = 0x6572_6173;

/// Removes the objects of captured rows that no row refers to any more, whoever's it is: it runs
/// when all rows have changed. `others` are all numbers of the plan, `earlier` those whose objects
/// are removed before.
pub(in crate::plan) fn unlink(
    table: &TableName,
    sets: &[RowSet],
    own: &[Numbers],
    earlier: &[Numbers],
    others: &[Numbers],
    holders: &[Holder<'_>],
) -> Unlink {
    let mut binds = Binds::default();
    let body = format!(
        "WITH {}, {} SELECT own.n, pg_catalog.count(pg_catalog.lo_unlink(own.o)) FROM own \
         WHERE NOT EXISTS (SELECT FROM held WHERE held.o {EQUALS} own.o) GROUP BY own.n",
        own_numbers(&mut binds, sets, own),
        held(holders)
    );
    let statement = binds.statement("unlink", table, &body);

    let mut binds = Binds::default();
    let own_numbers_here = own_numbers(&mut binds, sets, own);
    let going = numbers(&mut binds, sets, others);
    let before = match earlier {
        [] => String::new(),
        earlier => format!(
            " AND NOT EXISTS (SELECT FROM ({}) AS e(n, o) WHERE e.o {EQUALS} own.o)",
            numbers(&mut binds, sets, earlier)
        ),
    };
    let body = format!(
        "WITH {own_numbers_here}, {}, going AS (SELECT u.o, count(*) AS c FROM ({going}) AS u(n, o) GROUP BY u.o), \
         known AS (SELECT held.o, count(*) AS c FROM held GROUP BY held.o) \
         SELECT own.n, count(*) FROM own JOIN going ON going.o {EQUALS} own.o JOIN known ON known.o {EQUALS} own.o \
         WHERE known.c OPERATOR(pg_catalog.<=) going.c{before} GROUP BY own.n",
        held(holders)
    );
    let count = binds.statement("count", table, &body);

    let mut binds = Binds::default();
    let body = format!(
        "WITH {}, {} SELECT count(*) FROM own WHERE NOT EXISTS (SELECT FROM held WHERE held.o {EQUALS} own.o)",
        own_numbers(&mut binds, sets, own),
        held(holders)
    );
    Unlink {
        statement,
        count,
        probe: binds.statement("probe", table, &body),
    }
}

/// `own(n, o)`: the objects that are there, each once, under the first ticket that reaches it.
fn own_numbers(binds: &mut Binds, sets: &[RowSet], own: &[Numbers]) -> String {
    format!(
        "own AS (SELECT pg_catalog.min(u.n) AS n, u.o FROM ({}) AS u(n, o) \
         JOIN pg_catalog.pg_largeobject_metadata AS m ON m.oid {EQUALS} u.o GROUP BY u.o)",
        numbers(binds, sets, own)
    )
}

fn numbers(binds: &mut Binds, sets: &[RowSet], of: &[Numbers]) -> String {
    let one = |numbers: &Numbers| {
        let tickets = binds.bind(Parameter::Tickets(numbers.rows));
        let column = binds.bind(Parameter::Column(numbers.rows, numbers.at));
        let of = &sets[numbers.rows.set].columns[numbers.at].sql_type;
        format!(
            "SELECT k.n, k.o::pg_catalog.oid FROM unnest({tickets}::pg_catalog.int4[], {column}::{of}[]) AS k(n, o) \
             WHERE k.o IS NOT NULL"
        )
    };
    of.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// `held(o)`: one row for each row that refers to one of `own`.
fn held(holders: &[Holder<'_>]) -> String {
    let one = |holder: &Holder<'_>| {
        format!(
            "SELECT t.{}::pg_catalog.oid FROM {}{} AS t \
             WHERE EXISTS (SELECT FROM own WHERE own.o {EQUALS} t.{}::pg_catalog.oid)",
            identifier(holder.column),
            if holder.partitioned { "" } else { "ONLY " },
            table_name(holder.table),
            identifier(holder.column)
        )
    };
    let each: Vec<String> = holders.iter().map(one).collect();
    format!("held(o) AS ({})", each.join(" UNION ALL "))
}

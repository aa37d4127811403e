//! Which tickets would change rows that a legal hold covers.

use super::found_again::{LEAF_HEAD, LEAF_TAIL, NARROW};
use super::{Binds, by_key, table_name};
use crate::name::TableName;
use crate::plan::{Comparison, Condition, HeldRows, Parameter, Statement, SystemPlan};
use crate::system::postgres::quote::identifier;

/// For each change of the held table: the ordinals of the tickets that reach covered rows by it.
pub(in crate::plan) fn covered(
    part: &SystemPlan,
    held: &HeldRows,
    only: Option<&TableName>,
) -> Vec<Statement> {
    if only.is_some_and(|only| *only != held.table) {
        return Vec::new();
    }
    let mut statements = Vec::new();
    for change in &part.changes {
        for (_, rows) in change.captured().filter(|(table, _)| **table == held.table) {
            let set = &part.sets[rows.set];
            let mut binds = Binds::default();
            let tickets = format!("{}::int4[]", binds.bind(Parameter::Tickets(rows)));
            let tie = by_key(&mut binds, &set.key, &set.columns, rows, &[tickets]);
            let covered = conditions(&mut binds, &held.conditions);
            let body = format!(
                "SELECT DISTINCT k.v0 FROM {} JOIN {} AS t ON {} AND {covered}",
                tie.from,
                table_name(&held.table),
                tie.on
            );
            statements.push(binds.statement("covered", &held.table, &body));
        }
        if let Some(count) = &change.count
            && change.table == held.table
            && count.sql.contains(NARROW)
        {
            let mut binds = Binds {
                parameters: count.parameters.clone(),
                as_values: false,
            };
            let covered = conditions(&mut binds, &held.conditions);
            // A tree's rows are locked by now. A leaf's are not, and one that comes to be covered after
            // this look would go: all of them are locked here, and compared as they are then.
            let locked = format!(
                "WITH locked AS MATERIALIZED (SELECT k.n AS n, ({covered}) AS covered FROM "
            );
            let asked = " FOR UPDATE OF t) SELECT DISTINCT n FROM locked WHERE covered";
            let leaf = count.sql.replace(LEAF_HEAD, &locked);
            let sql = match leaf == count.sql {
                true => count.sql.replace(NARROW, &format!(" AND {covered}")),
                false => leaf.replace(&format!("{NARROW}{LEAF_TAIL}"), asked),
            };
            statements.push(Statement {
                sql,
                parameters: binds.parameters,
            });
        }
    }
    statements
}

/// Whether one of these columns ($1 schema, $2 table, $3 names) has a type that is an extension's or the
/// application's own, enumerations aside. Its operators stand in a schema that a batch does not
/// search: `citext` would be compared as plain text, and a held row would go.
pub(crate) const OWN_OPERATORS: &str = "/* erasured:comparable */ WITH RECURSIVE base (t) AS ( \
       SELECT a.atttypid FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = ANY ($3) AND NOT a.attisdropped \
       UNION ALL SELECT y.typbasetype FROM base JOIN pg_catalog.pg_type y ON y.oid = base.t WHERE y.typtype = 'd') \
     SELECT EXISTS (SELECT FROM base JOIN pg_catalog.pg_type y ON y.oid = base.t \
        WHERE y.typtype NOT IN ('d', 'e') AND y.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace)";

/// A statement that the server accepts if the conditions can be compared, and for each value one that
/// it accepts if the value reads as its column's type.
pub(in crate::plan) fn comparable(held: &HeldRows) -> (Statement, Vec<Statement>) {
    let mut binds = Binds::default();
    let conditions = conditions(&mut binds, &held.conditions);
    let body = format!(
        "SELECT FROM {} AS t WHERE {conditions}",
        table_name(&held.table)
    );
    let whole = binds.statement("comparable", &held.table, &body);
    let values = held.conditions.iter().flat_map(|c| {
        c.values.iter().map(|value| {
            let mut binds = Binds::default();
            let value = binds.bind(Parameter::Text(value.clone()));
            let body = format!("SELECT {value}::text::{}", c.sql_type);
            binds.statement("comparable", &held.table, &body)
        })
    });
    (whole, values.collect())
}

/// What cannot be told (a NULL) is covered.
pub(super) fn conditions(binds: &mut Binds, conditions: &[Condition]) -> String {
    let all: Vec<String> = conditions
        .iter()
        .map(|c| format!("({}) IS NOT FALSE", condition(binds, c)))
        .collect();
    if all.is_empty() {
        "true".to_owned()
    } else {
        all.join(" AND ")
    }
}

fn condition(binds: &mut Binds, condition: &Condition) -> String {
    let column = format!("t.{}", identifier(&condition.column));
    let of = &condition.sql_type;
    let values: Vec<String> = condition
        .values
        .iter()
        .map(|v| format!("{}::text::{of}", binds.bind(Parameter::Text(v.clone()))))
        .collect();
    let compared = |op: &str, at: usize| {
        let value = values.get(at).map_or("NULL", String::as_str);
        format!("{column} {op} {value}")
    };
    match condition.comparison {
        Comparison::Equal => compared("=", 0),
        Comparison::Unequal => compared("<>", 0),
        Comparison::Less => compared("<", 0),
        Comparison::AtMost => compared("<=", 0),
        Comparison::Greater => compared(">", 0),
        Comparison::AtLeast => compared(">=", 0),
        Comparison::In => format!("{column} IN ({})", values.join(", ")),
        Comparison::Between => format!("{} AND {}", compared(">=", 0), compared("<=", 1)),
        Comparison::IsNull => format!("{column} IS NULL"),
        Comparison::IsNotNull => format!("{column} IS NOT NULL"),
    }
}

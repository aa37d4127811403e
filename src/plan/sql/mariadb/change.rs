//! Changing captured rows.

use super::super::change::made;
use super::{EXACT, as_text, by_key, by_key_of, identifier, statement, table_name};
use crate::anonymize::Known;
use crate::catalog::Table;
use crate::name::TableName;
use crate::plan::sql::Set;
use crate::plan::{CapturedColumn, Parameter, REDACTED, Rows, Statement};
use crate::policy::Strategy;

pub(in crate::plan::sql) fn delete_by_key(
    table: &TableName,
    key: &[CapturedColumn],
    rows: Rows,
) -> Statement {
    // Under another name the server would look for it in the session's own database.
    let name = table_name(table);
    let keys = by_key_of(&name, key, rows);
    let body = format!(
        "DELETE {name} FROM {} STRAIGHT_JOIN {name} ON {}",
        keys.table(),
        keys.on()
    );
    statement("delete", table, vec![keys.parameter()], &body)
}

/// Sets columns of captured rows, and the probe that counts those of them which are there: with
/// the new values if they are to stay, else with any other.
#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(in crate::plan::sql) fn update_by_key(
    table: &TableName,
    facts: &Table,
    key_width: usize,
    columns: &[CapturedColumn],
    rows: Rows,
    set: &Set,
    known: &[Known],
    stay: bool,
) -> (Statement, Statement) {
    let mut keys = by_key(&columns[..key_width], rows);
    let (mut assigned, mut differs) = (Vec::new(), Vec::new());
    let (mut bound, mut compared) = (Vec::new(), Vec::new());
    for (name, (strategy, _)) in set {
        let column = format!("t.{}", identifier(name));
        match strategy {
            Strategy::Null => {
                assigned.push(format!("{column} = NULL"));
                differs.push(format!("{column} IS NOT NULL"));
            }
            Strategy::Redact => {
                assigned.push(format!("{column} = IF({column} IS NULL, NULL, ?)"));
                differs.push(format!("{column} <> ?"));
                bound.push(Parameter::Text(REDACTED.into()));
                compared.push(Parameter::Text(REDACTED.into()));
            }
            Strategy::Constant(text) => {
                assigned.push(format!("{column} = ?"));
                differs.push(format!("NOT ({column} <=> ?)"));
                bound.push(Parameter::Text(text.clone()));
                compared.push(Parameter::Text(text.clone()));
            }
            _ => {
                let of = facts.column(name);
                let at = columns.iter().position(|c| c.name == *name);
                let at = at.expect("a column whose old value is read is captured");
                let longest = of.and_then(|c| c.max_chars);
                let value = made(strategy, rows, at, longest, known);
                let value = keys.add(&format!("v{at}"), EXACT, value);
                // A hash tells rows apart by its beginning as well; all else fits, or must not be cut.
                let value = match (strategy, longest) {
                    (Strategy::Hash, Some(longest)) => format!("LEFT({value}, {longest})"),
                    _ => value,
                };
                assigned.push(format!("{column} = {value}"));
                let own = as_text("t", name, of.map_or("", |c| &c.sql_type));
                differs.push(format!("NOT (BINARY {own} <=> BINARY {value})"));
            }
        }
    }
    // Else the server would write down when the person was erased.
    let touched = facts
        .columns
        .iter()
        .filter(|c| c.touched && !set.contains_key(&c.name));
    assigned.extend(touched.map(|c| {
        let column = identifier(&c.name);
        format!("t.{column} = t.{column}")
    }));
    let parameters = |rest: Vec<Parameter>| {
        let mut parameters = vec![keys.parameter()];
        parameters.extend(rest);
        parameters
    };
    let update = format!(
        "UPDATE {} STRAIGHT_JOIN {} AS t ON {} SET {}",
        keys.table(),
        table_name(table),
        keys.on(),
        assigned.join(", ")
    );
    let update = statement("update", table, parameters(bound), &update);
    let probe = format!(
        "SELECT COUNT(*) FROM {} STRAIGHT_JOIN {} AS t ON {} AND (({}) IS {}TRUE)",
        keys.table(),
        table_name(table),
        keys.on(),
        differs.join(" OR "),
        if stay { "NOT " } else { "" }
    );
    (
        update,
        statement("probe", table, parameters(compared), &probe),
    )
}

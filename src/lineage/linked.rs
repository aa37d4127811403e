//! Dates of rows that hang on a rule's.

use super::Linked;
use super::condition::{self, Misfit};
use super::retention::{kind, step};
use crate::catalog::{Catalog, ForeignKey, Table};
use crate::policy::retention::{LinkedColumn, RetentionAction, RetentionRule};
use crate::reading::choose_or;
use crate::system::postgres::quote::identifier;

/// `since` names rows of which it cannot be told what they hang on.
const NO_LINK: &str = "E0258";

/// The column, by the one foreign key that leads from its table to the rule's, and which rows count.
pub(super) fn of(
    rule: &RetentionRule,
    linked: &LinkedColumn,
    catalog: &Catalog,
) -> Result<Linked, Vec<Misfit>> {
    let no = |(code, message, help)| vec![(code, linked.span.clone(), message, help)];
    let (facts, linked_by) = column(rule, linked, catalog).map_err(no)?;
    let condition = linked.condition.as_ref().map(|of| {
        let table = (&linked.table, facts);
        condition::typed(rule, &of.condition, table)
    });
    Ok(Linked {
        condition: condition.transpose()?,
        ..linked_by
    })
}

/// What is wrong, and what to do.
type No = (&'static str, String, String);

fn column<'c>(
    rule: &RetentionRule,
    linked: &LinkedColumn,
    catalog: &'c Catalog,
) -> Result<(&'c Table, Linked), No> {
    let table = &linked.table;
    let from = format!("the retention rule {} counts from {table}", rule.name);
    let facts = catalog.tables.get(&table.table);
    let Some(facts) = facts.filter(|_| table.system == rule.table.system) else {
        let message = format!("{from}, which is not in the database of its own table");
        let help = "name a table of the same system that refers to the rule's".into();
        return Err((NO_LINK, message, help));
    };
    let Some(column) = facts.column(&linked.column) else {
        let message = format!("{from} by column {:?}, which that lacks", linked.column);
        let names: Vec<_> = facts.columns.iter().map(|c| c.name.as_str()).collect();
        let help = choose_or(&linked.column, &names, "its columns:");
        return Err(("E0203", message, help));
    };
    let locks = rule.action != RetentionAction::Report;
    if !facts.access.select || locks && !facts.access.update {
        let message = format!(
            "{from}, and the daemon's role lacks SELECT or UPDATE on it (its rows are locked with FOR UPDATE when it is asked for the last time)"
        );
        let one = identifier(&column.name);
        let help = format!(
            "GRANT SELECT, UPDATE ({one}) ON {} TO erasured_daemon",
            table.table
        );
        return Err(("E0214", message, help));
    }
    let Some(kind) = kind(&column.base) else {
        let message = format!(
            "{table}.{} is {}, not a date, so the retention rule {} cannot count from it",
            column.name, column.sql_type, rule.name
        );
        return Err(("E0220", message, "name a date or timestamp column".into()));
    };
    let keys: Vec<&ForeignKey> = catalog
        .referring_to(&rule.table.table)
        .filter(|key| key.child.0 == table.table)
        .collect();
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let chosen = |key: &&&ForeignKey| linked.link.as_ref().is_none_or(|link| *link == key.name);
    let mut of: Vec<&&ForeignKey> = keys.iter().filter(chosen).collect();
    let only = of.pop().filter(|_| of.is_empty());
    let step = only.and_then(|key| step(table.table.clone(), key));
    let Some(step) = step else {
        let message = format!(
            "{from}, from which not just one foreign key that the database holds leads to {}",
            rule.table
        );
        let help = match (names.is_empty(), &linked.link) {
            (true, _) => "name a table that refers to the rule's by a foreign key".into(),
            (false, Some(link)) => choose_or(link, &names, "its foreign keys:"),
            (false, None) => format!("name the one: link = {:?}", names.join("\" or \"")),
        };
        return Err((NO_LINK, message, help));
    };
    let linked = Linked {
        step,
        column: linked.column.clone(),
        condition: None,
        kind,
    };
    Ok((facts, linked))
}

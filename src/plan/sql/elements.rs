//! Taking elements out of lists.

use super::change::moved;
use super::{
    Binds, EQUALS, KnownRows, ParentRows, by_key, elements, json_at, json_list, json_path,
    sql_type, table_name,
};
use crate::catalog::Table;
use crate::lineage::{Edge, Join};
use crate::name::TableName;
use crate::plan::{Parameter, Statement};
use crate::system::postgres::quote::identifier;

/// Takes elements out of a list.
pub(in crate::plan) struct DropElements {
    /// The column that holds the list.
    pub column: String,
    /// The change.
    pub update: Statement,
    /// Counts captured rows that still have such an element.
    pub probe: Statement,
}

/// Takes out of captured rows the elements by which they refer to their parents' keys; `None` for
/// a link that is not by an element.
pub(in crate::plan) fn drop_elements(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: &ParentRows<'_>,
    (key, columns, rows): KnownRows<'_>,
) -> Option<DropElements> {
    let (column, above) = match &edge.join {
        Join::Elements { column, parent }
        | Join::JsonElements { column, parent, .. }
        | Join::JsonKeys { column, parent, .. } => (column, parent),
        _ => return None,
    };
    let at = parent.columns.iter().position(|c| c.name == *above)?;
    let gone = |binds: &mut Binds| {
        let keys = binds.bind(Parameter::Column(parent.rows, at));
        format!("({keys}::{}[])::text[]", parent.columns[at].sql_type)
    };
    let mut binds = Binds::default();
    let left = without_elements(edge, &sql_type(facts, column), &gone(&mut binds))?;
    let tie = by_key(&mut binds, key, columns, rows, &[]);
    let body = format!(
        "UPDATE {} AS t SET {} = {left} FROM {} WHERE {}{}",
        table_name(table),
        identifier(column),
        tie.from,
        tie.on,
        moved(key)
    );
    let update = binds.statement("detach", table, &body);
    let mut binds = Binds::default();
    let tie = by_key(&mut binds, key, columns, rows, &[]);
    let body = format!(
        "SELECT count(*) FROM {} JOIN {} AS t ON {} WHERE EXISTS (SELECT FROM {} WHERE j.v {EQUALS} ANY ({}))",
        tie.from,
        table_name(table),
        tie.on,
        elements(&edge.join),
        gone(&mut binds)
    );
    Some(DropElements {
        column: column.clone(),
        update,
        probe: binds.statement("probe", table, &body),
    })
}

/// The list in its order without what is `gone`; elements that are NULL refer to nobody.
fn without_elements(edge: &Edge, sql_type: &str, gone: &str) -> Option<String> {
    match &edge.join {
        Join::Elements { column, .. } => Some(format!(
            "ARRAY(SELECT e.v FROM pg_catalog.unnest(t.{}) WITH ORDINALITY AS e(v, at) \
             WHERE (e.v::text {EQUALS} ANY ({gone})) IS NOT TRUE ORDER BY e.at)::{sql_type}",
            identifier(column)
        )),
        Join::JsonElements {
            column, list, path, ..
        } => {
            let left = format!(
                "(SELECT coalesce(pg_catalog.jsonb_agg(e.v ORDER BY e.at), '[]'::jsonb) FROM {} \
                 WHERE ((e.v OPERATOR(pg_catalog.#>>) {}) {EQUALS} ANY ({gone})) IS NOT TRUE)",
                json_list(column, list),
                json_path(path)
            );
            if list.is_empty() {
                return Some(left);
            }
            Some(put_back(column, list, &left))
        }
        Join::JsonKeys { column, object, .. } => {
            let left = format!(
                "({} OPERATOR(pg_catalog.-) {gone})",
                json_at(column, object)
            );
            if object.is_empty() {
                return Some(left);
            }
            Some(put_back(column, object, &left))
        }
        _ => None,
    }
}

/// The document with another value at a path.
fn put_back(column: &str, path: &[String], value: &str) -> String {
    let (column, at) = (identifier(column), json_path(path));
    format!("pg_catalog.jsonb_set(t.{column}, {at}, {value})")
}

//! The one place where SQL text for target databases is built. Identifiers are always quoted,
//! values always bound; the only literals are JSON paths, quoted too, so that an expression
//! index over the same path can serve.

mod archive;
mod capture;
mod change;
mod condition;
mod covered;
mod dialect;
mod due;
mod elements;
mod forecast;
mod found_again;
mod mariadb;
pub(super) mod objects;
mod overdue;
mod owners;
mod partition;
mod probe;
mod spared;
mod stretch;
pub(super) mod things;

pub(super) use archive::archived;
pub(super) use capture::KnownRows;
pub(super) use change::Set;
pub(crate) use covered::OWN_OPERATORS;
pub(super) use covered::comparable;
use covered::covered;
pub(super) use due::{captured_days, due_count, due_rows, oldest, undated};
pub(super) use elements::drop_elements;
pub(super) use forecast::{comes_due, table_size};
pub(super) use found_again::{delete_found_again, delete_piece};
pub(super) use overdue::overdue;
pub(super) use owners::owners;
pub(super) use partition::whole_count;
pub(super) use spared::{keepers, lock_linked, lock_subjects, not_due, still_due};
pub(super) use stretch::{
    children_left, delete_children, delete_stretch, lock_stretch, stretch_left,
};

use super::{CapturedColumn, FindBy, Parameter, RowKey, RowSet, Rows, Statement};
use crate::catalog::Table;
use crate::lineage::{Edge, Join, Parent};
use crate::name::TableName;
use crate::policy::IdentifierKind;
use crate::system::postgres::quote::{comment, identifier, literal};
use std::fmt::Display;

/// Changes run under a `search_path` that the database's own triggers understand, so nothing in
/// our text may depend on it.
pub(super) const EQUALS: &str = "OPERATOR(pg_catalog.=)";

/// Collects parameters while a text is written.
#[derive(Default)]
pub(super) struct Binds {
    parameters: Vec<Parameter>,
    /// Constants are sent as [`Parameter::Value`].
    as_values: bool,
}

impl Binds {
    fn bind(&mut self, parameter: Parameter) -> String {
        let at = self
            .parameters
            .iter()
            .position(|p| *p == parameter)
            .unwrap_or_else(|| {
                self.parameters.push(parameter);
                self.parameters.len() - 1
            });
        format!("${}", at + 1)
    }

    /// For statements that ask a condition of many rows: there a text would be read anew for each.
    fn as_values() -> Self {
        Self {
            as_values: true,
            ..Self::default()
        }
    }

    /// A constant of this type.
    fn constant(&mut self, text: String, of: &str) -> String {
        if self.as_values {
            let value = self.bind(Parameter::Value(text, of.to_owned()));
            return format!("{value}::{of}");
        }
        let value = self.bind(Parameter::Text(text));
        format!("{value}::text::{of}")
    }

    fn statement(self, name: &str, of: impl Display, body: &str) -> Statement {
        Statement {
            sql: format!("/* erasured:{name} {} */ {body}", comment(&of.to_string())),
            parameters: self.parameters,
        }
    }
}

/// `"schema"."table"`.
pub(super) fn table_name(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.table))
}

/// How the batch's keys enter a statement: `unnest(…) AS k(n, k0, …)` and the equalities that tie
/// `t` to them.
struct Tie {
    from: String,
    on: String,
    /// `j(v)`, the elements of a list in `t`; empty if the link is not by an element.
    elements: String,
}

impl Tie {
    /// The table as `t`, with its elements beside each row.
    fn table(&self, table: &TableName) -> String {
        let table = table_name(table);
        if self.elements.is_empty() {
            return format!("{table} AS t");
        }
        format!("({table} AS t CROSS JOIN LATERAL {})", self.elements)
    }
}

/// What a statement needs to know of the parent of an edge.
pub(super) struct ParentRows<'a> {
    pub rows: Rows,
    pub columns: &'a [CapturedColumn],
}

fn tie(
    binds: &mut Binds,
    edge: &Edge,
    facts: &Table,
    parent: Option<&ParentRows<'_>>,
    utf8: bool,
) -> Tie {
    let (tickets, keys, mut on) = match (&edge.parent, &edge.join) {
        (Parent::Subject, Join::Columns { child, .. }) => {
            let keys: Vec<String> = (0..child.len())
                .map(|i| {
                    format!(
                        "{}::text[]",
                        binds_after(binds, Parameter::SubjectTickets, Parameter::SubjectKey(i))
                    )
                })
                .collect();
            let on = child
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    format!(
                        "t.{} {EQUALS} k.k{i}::{}",
                        identifier(c),
                        sql_type(facts, c)
                    )
                })
                .collect::<Vec<_>>();
            (binds.bind(Parameter::SubjectTickets), keys, on)
        }
        (Parent::Identifier { name, kind }, Join::Identifier { column }) => {
            let tickets = binds.bind(Parameter::IdentifierTickets(name.clone()));
            let values = binds.bind(Parameter::IdentifierValues(name.clone()));
            let on = vec![format!(
                "{} {EQUALS} k.k0",
                normalised(kind, &format!("t.{}", identifier(column)), utf8)
            )];
            (tickets, vec![format!("{values}::text[]")], on)
        }
        (_, join) => {
            let parent = parent.expect("an edge from a table has its parent's rows");
            let tickets = binds.bind(Parameter::Tickets(parent.rows));
            let (keys, on) = parent_keys(binds, join, facts, parent);
            (tickets, keys, on)
        }
    };
    for (column, value) in &edge.when {
        let value = binds.bind(Parameter::Text(value.clone()));
        on.push(format!(
            "t.{} {EQUALS} {value}::text::{}",
            identifier(column),
            sql_type(facts, column)
        ));
    }
    on.extend(due::is_due(binds, &edge.due));
    let names: Vec<String> = (0..keys.len()).map(|i| format!(", k{i}")).collect();
    Tie {
        from: format!(
            "unnest({tickets}::int4[], {}) AS k(n{})",
            keys.join(", "),
            names.concat()
        ),
        on: on.join(" AND "),
        elements: elements(&edge.join),
    }
}

/// The elements of a list as texts, each once; none where there is no list.
fn elements(join: &Join) -> String {
    match join {
        Join::Elements { column, .. } => format!(
            "(SELECT DISTINCT e.v::text FROM pg_catalog.unnest(t.{}) AS e(v)) AS j(v)",
            identifier(column)
        ),
        Join::JsonElements {
            column, list, path, ..
        } => format!(
            "(SELECT DISTINCT e.v OPERATOR(pg_catalog.#>>) {} FROM {}) AS j(v)",
            json_path(path),
            json_list(column, list)
        ),
        Join::JsonKeys { column, object, .. } => {
            format!(
                "(SELECT e.v FROM {} AS e(v)) AS j(v)",
                json_keys(column, object)
            )
        }
        _ => String::new(),
    }
}

/// The keys of the object at a path; what is no object has none.
fn json_keys(column: &str, object: &[String]) -> String {
    let at = json_at(column, object);
    format!(
        "pg_catalog.jsonb_object_keys(CASE pg_catalog.jsonb_typeof({at}) WHEN 'object' THEN {at} END)"
    )
}

/// What stands at a path.
fn json_at(column: &str, path: &[String]) -> String {
    format!(
        "t.{}::jsonb OPERATOR(pg_catalog.#>) {}",
        identifier(column),
        json_path(path)
    )
}

fn json_path(path: &[String]) -> String {
    let steps: Vec<String> = path.iter().map(|p| literal(p)).collect();
    format!("ARRAY[{}]::text[]", steps.join(", "))
}

/// The elements `e(v, at)` of the list at a path; what is no list has none.
fn json_list(column: &str, list: &[String]) -> String {
    let at = json_at(column, list);
    format!(
        "pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({at}) WHEN 'array' THEN {at} END) \
         WITH ORDINALITY AS e(v, at)"
    )
}

/// The columns of `t` that an edge's equality reads.
fn read_by(edge: &Edge) -> Vec<&String> {
    let joined = match &edge.join {
        Join::Columns { child, .. } => child.as_slice(),
        Join::Json { column, .. }
        | Join::Elements { column, .. }
        | Join::JsonElements { column, .. }
        | Join::JsonKeys { column, .. }
        | Join::Identifier { column } => std::slice::from_ref(column),
    };
    let mut columns: Vec<&String> = Vec::new();
    for column in joined.iter().chain(edge.when.iter().map(|(c, _)| c)) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Binds `first` before `second`, so that ordinals always lead.
fn binds_after(binds: &mut Binds, first: Parameter, second: Parameter) -> String {
    binds.bind(first);
    binds.bind(second)
}

fn parent_keys(
    binds: &mut Binds,
    join: &Join,
    facts: &Table,
    parent: &ParentRows<'_>,
) -> (Vec<String>, Vec<String>) {
    let (columns, on): (Vec<&String>, Vec<String>) = match join {
        Join::Columns {
            child,
            parent: above,
            equality,
        } => {
            let on = child
                .iter()
                .zip(above)
                .zip(equality)
                .enumerate()
                .map(|(i, ((c, p), equal))| {
                    let cast = cast(facts, parent, c, p, equal);
                    format!("k.k{i}{cast} {equal} t.{}", identifier(c))
                })
                .collect();
            (above.iter().collect(), on)
        }
        Join::Json {
            column,
            path,
            parent: above,
        } => {
            let on = format!(
                "(t.{} OPERATOR(pg_catalog.#>>) {}) {EQUALS} k.k0::text",
                identifier(column),
                json_path(path)
            );
            (vec![above], vec![on])
        }
        Join::Elements { parent: above, .. }
        | Join::JsonElements { parent: above, .. }
        | Join::JsonKeys { parent: above, .. } => {
            (vec![above], vec![format!("j.v {EQUALS} k.k0::text")])
        }
        Join::Identifier { .. } => (Vec::new(), Vec::new()),
    };
    let keys = columns
        .into_iter()
        .map(|name| {
            let at = parent
                .columns
                .iter()
                .position(|c| c.name == *name)
                .expect("the parent captures what its children refer to");
            let bound = binds.bind(Parameter::Column(parent.rows, at));
            format!("{bound}::{}[]", parent.columns[at].sql_type)
        })
        .collect();
    (keys, on)
}

fn sql_type(facts: &Table, column: &str) -> String {
    facts
        .column(column)
        .map_or_else(|| "text".into(), |c| c.sql_type.clone())
}

fn base<'a>(facts: &'a Table, column: &str) -> &'a str {
    facts.column(column).map_or("text", |c| c.base.as_str())
}

fn category(facts: &Table, column: &str) -> char {
    facts.column(column).map_or('U', |c| c.category)
}

fn captured_type<'a>(parent: &'a ParentRows<'_>, column: &str) -> &'a str {
    parent
        .columns
        .iter()
        .find(|c| c.name == column)
        .map_or("", |c| c.sql_type.as_str())
}

/// The expression that turns a stored value into the form in which identifiers are compared.
/// Plain identifiers and e-mails: NFKC (where the encoding allows) and lower case. Phone
/// numbers: digits alone, to be compared with every way of writing the number.
fn normalised(kind: &IdentifierKind, column: &str, utf8: bool) -> String {
    let text = if utf8 {
        format!("normalize({column}::text, NFKC)")
    } else {
        format!("{column}::text")
    };
    match kind {
        IdentifierKind::Plain | IdentifierKind::Email => format!("pg_catalog.lower({text})"),
        IdentifierKind::Phone { .. } => {
            format!("pg_catalog.regexp_replace({text}, '[^0-9]', '', 'g')")
        }
        IdentifierKind::Name => {
            format!("pg_catalog.lower(pg_catalog.regexp_replace({text}, '[[:space:]]', '', 'g'))")
        }
    }
}

/// Finds the root rows whose column equals `$2` (a `text[]` beside the ordinals `$1`), compared
/// as [`Parameter::IdentifierValues`] are; returns ordinal, then the columns of `read` as text.
pub fn find_subject(root: &TableName, by: &FindBy, read: &[String], utf8: bool) -> String {
    let read: Vec<String> = read
        .iter()
        .map(|c| format!(", t.{}::text", identifier(c)))
        .collect();
    format!(
        "/* erasured:find subject */ SELECT DISTINCT k.n{} FROM unnest($1::int4[], $2::text[]) AS k(n, v) \
         JOIN {} AS t ON {} = k.v",
        read.concat(),
        table_name(root),
        normalised(&by.kind, &format!("t.{}", identifier(&by.column)), utf8),
    )
}

/// When columns of dates or times of many root rows were, as text, and whether that is later than an
/// instant. `key` is the columns of the key and their types: `$1` is an `int4[]` of ordinals, from `$2` on
/// stand a `text[]` for each of them and then a `timestamptz` for each of `read`. Returns the ordinal,
/// then text and whether, in turn.
pub fn read_changes(root: &TableName, key: &[(&str, &str)], read: &[(&str, bool)]) -> String {
    let parts: Vec<String> = (0..key.len()).map(|at| format!("v{at}")).collect();
    let arrays: Vec<String> = (0..key.len())
        .map(|at| format!(", ${}::text[]", at + 2))
        .collect();
    let on: Vec<String> = key
        .iter()
        .zip(&parts)
        .map(|((column, sql_type), part)| {
            format!("t.{} {EQUALS} k.{part}::{sql_type}", identifier(column))
        })
        .collect();
    let read: Vec<String> = read
        .iter()
        .enumerate()
        .map(|(at, (column, is_date))| {
            let column = identifier(column);
            let since = key.len() + 2 + at;
            // Of a day the end: it may have been then.
            let end = if *is_date { " OPERATOR(pg_catalog.+) 1" } else { "" };
            format!(
                ", t.{column}::text, coalesce((t.{column}{end})::timestamptz OPERATOR(pg_catalog.>) ${since}::timestamptz, false)"
            )
        })
        .collect();
    format!(
        "/* erasured:changes */ SELECT k.n{} FROM unnest($1::int4[]{}) AS k(n, {}) JOIN {} AS t ON {}",
        read.concat(),
        arrays.concat(),
        parts.join(", "),
        table_name(root),
        on.join(" AND "),
    )
}

/// Reads columns of the one root row that has this key, as text; `key` is the columns of the key and
/// their types, bound as text in this order.
pub fn read_subject(root: &TableName, key: &[(&str, &str)], read: &[&str]) -> String {
    let read: Vec<String> = read
        .iter()
        .map(|column| format!("t.{}::text", identifier(column)))
        .collect();
    let on: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(at, (column, sql_type))| {
            let bound = at + 1;
            format!(
                "t.{} {EQUALS} ${bound}::text::{sql_type}",
                identifier(column)
            )
        })
        .collect();
    format!(
        "/* erasured:compare */ SELECT {} FROM {} AS t WHERE {}",
        read.join(", "),
        table_name(root),
        on.join(" AND "),
    )
}

/// Counts the rows of which a column, as text, holds one of the characters of `$1`.
pub fn rows_holding(table: &TableName, column: &str) -> String {
    let column = identifier(column);
    format!(
        "/* erasured:check */ SELECT pg_catalog.count(*) FROM {} AS t \
          WHERE pg_catalog.translate(t.{column}::text, $1, '') OPERATOR(pg_catalog.<>) t.{column}::text",
        table_name(table),
    )
}

/// No definition of these tables changes until the transaction ends, and the rights are there.
///
/// EXPLAIN takes the lock of the statement that it explains and fires no trigger. LOCK TABLE
/// would ask for a right on the whole table where one on a few columns is all that is needed.
pub(super) fn hold_definitions<'a>(
    changes: impl Iterator<Item = (&'a TableName, Option<&'a str>)>,
) -> String {
    changes
        .map(|(table, column)| {
            let table = table_name(table);
            let change = match column {
                Some(column) => format!("UPDATE {table} SET {} = DEFAULT", identifier(column)),
                None => format!("DELETE FROM {table}"),
            };
            format!("/* erasured:hold definitions */ EXPLAIN (COSTS off) {change} WHERE false")
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// A link may compare what is no text with a text.
fn cast(
    facts: &Table,
    parent: &ParentRows<'_>,
    child_column: &str,
    parent_column: &str,
    equal: &str,
) -> &'static str {
    let differ = base(facts, child_column) != captured_type(parent, parent_column);
    if equal.contains("pg_catalog") && differ && category(facts, child_column) == 'S' {
        "::text"
    } else {
        ""
    }
}

/// `unnest` of the row keys and the equality with `t`.
fn by_key(
    binds: &mut Binds,
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
    extra: &[String],
) -> Tie {
    by_key_as(binds, ["t", "k"], key, columns, rows, extra)
}

/// The same with other names for the table and for the keys.
fn by_key_as(
    binds: &mut Binds,
    [t, k]: [&str; 2],
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
    extra: &[String],
) -> Tie {
    let width = match key {
        RowKey::Columns(columns) => columns.len(),
        RowKey::Place => 1,
        RowKey::PartitionAndPlace => 2,
    };
    let mut arrays = Vec::new();
    let mut names = Vec::new();
    let mut on = Vec::new();
    for (at, column) in columns.iter().take(width).enumerate() {
        let bound = binds.bind(Parameter::Column(rows, at));
        arrays.push(format!("{bound}::{}[]", column.sql_type));
        names.push(format!("k{at}"));
        on.push(format!(
            "{t}.{} {EQUALS} {k}.k{at}",
            identifier(&column.name)
        ));
    }
    for (i, array) in extra.iter().enumerate() {
        arrays.push(array.clone());
        names.push(format!("v{i}"));
    }
    // Of several arrays it is pg_catalog's by the grammar, and may not be called so.
    let schema = if arrays.len() == 1 { "pg_catalog." } else { "" };
    Tie {
        from: format!(
            "{schema}unnest({}) AS {k}({})",
            arrays.join(", "),
            names.join(", ")
        ),
        on: on.join(" AND "),
        elements: String::new(),
    }
}

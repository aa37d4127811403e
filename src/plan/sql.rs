//! The one place where SQL text for target databases is built. Identifiers are always quoted,
//! values always bound; the only literals are JSON paths, quoted too, so that an expression
//! index over the same path can serve.

mod found_again;
pub(super) mod objects;

pub(super) use found_again::{delete_found_again, delete_piece};

use super::{
    CapturedColumn, FindBy, Parameter, REDACTED, Retained, RowKey, RowSet, Rows, Statement,
};
use crate::anonymize::{Known, Maker};
use crate::catalog::Table;
use crate::lineage::{Edge, Join, Parent};
use crate::name::TableName;
use crate::policy::{HashAs, IdentifierKind, Span, Strategy, TruncateTo};
use crate::system::postgres::quote::{comment, identifier, literal};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Changes run under a `search_path` that the database's own triggers understand, so nothing in
/// our text may depend on it.
const EQUALS: &str = "OPERATOR(pg_catalog.=)";

/// Collects parameters while a text is written.
#[derive(Default)]
pub(super) struct Binds(Vec<Parameter>);

impl Binds {
    fn bind(&mut self, parameter: Parameter) -> String {
        let at = self
            .0
            .iter()
            .position(|p| *p == parameter)
            .unwrap_or_else(|| {
                self.0.push(parameter);
                self.0.len() - 1
            });
        format!("${}", at + 1)
    }

    fn statement(self, name: &str, of: impl Display, body: &str) -> Statement {
        Statement {
            sql: format!("/* erasured:{name} {} */ {body}", comment(&of.to_string())),
            parameters: self.0,
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

/// Finds rows by one edge. Rows retained until a date also say when.
#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(super) fn capture(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    columns: &[CapturedColumn],
    texts: &[String],
    retained: Option<&Retained>,
    parent: Option<&ParentRows<'_>>,
    leaving: Option<&KnownRows<'_>>,
    utf8: bool,
) -> Statement {
    let mut binds = Binds::default();
    let tie = tie(&mut binds, edge, facts, parent, utf8);
    let alone = leaving.map_or_else(String::new, |leaving| {
        no_owner_left(&mut binds, edge, facts, parent, Some(leaving))
    });
    let mut read: Vec<String> = columns
        .iter()
        .map(|c| format!("t.{}", identifier(&c.name)))
        .collect();
    if let Some((column, plus)) = retained.and_then(|r| r.until.as_ref()) {
        read.push(format!(
            "(t.{} + make_interval(months => {}, days => {}))::timestamptz",
            identifier(column),
            plus.months,
            plus.days
        ));
    }
    read.extend(texts.iter().map(|c| format!("t.{}::text", identifier(c))));
    let body = format!(
        "SELECT k.n, {} FROM {} JOIN {} ON {}{alone}",
        read.join(", "),
        tie.from,
        tie.table(table),
        tie.on
    );
    binds.statement("capture", table, &body)
}

/// Captured rows of a table: how they are told apart, what of them is captured, which they are.
pub(super) type KnownRows<'a> = (&'a RowKey, &'a [CapturedColumn], Rows);

/// Nobody but these owners has the row `t`.
fn no_owner_left(
    binds: &mut Binds,
    edge: &Edge,
    facts: &Table,
    owners: Option<&ParentRows<'_>>,
    leaving: Option<&KnownRows<'_>>,
) -> String {
    let (
        Join::Columns {
            child,
            parent,
            equality,
        },
        Parent::Table(table),
        Some(owners),
    ) = (&edge.join, &edge.parent, owners)
    else {
        return String::new();
    };
    let mut owns: Vec<String> = child
        .iter()
        .zip(parent)
        .zip(equality)
        .map(|((c, p), equal)| {
            let cast = cast(facts, owners, c, p, equal);
            format!("o.{}{cast} {equal} t.{}", identifier(p), identifier(c))
        })
        .collect();
    if let Some((key, columns, rows)) = leaving {
        let leave = by_key_as(binds, ["o", "g"], key, columns, *rows, &[]);
        owns.push(format!(
            "NOT EXISTS (SELECT FROM {} WHERE {})",
            leave.from, leave.on
        ));
    }
    format!(
        " AND NOT EXISTS (SELECT FROM {} AS o WHERE {})",
        table_name(table),
        owns.join(" AND ")
    )
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

/// The keys of subjects that have no row, as if they were captured.
pub(super) fn capture_by_key_alone(
    table: &TableName,
    columns: &[CapturedColumn],
    key_width: usize,
) -> Statement {
    let mut binds = Binds::default();
    let tickets = binds.bind(Parameter::SubjectTickets);
    let (mut arrays, mut names, mut read, mut same) = (vec![], vec![], vec![], vec![]);
    for (at, column) in columns.iter().enumerate() {
        if at >= key_width {
            read.push(format!("NULL::{}", column.sql_type));
            continue;
        }
        arrays.push(format!("{}::text[]", binds.bind(Parameter::SubjectKey(at))));
        names.push(format!("k{at}"));
        read.push(format!("k.k{at}::{}", column.sql_type));
        same.push(format!(
            "t.{} {EQUALS} k.k{at}::{}",
            identifier(&column.name),
            column.sql_type
        ));
    }
    let body = format!(
        "SELECT k.n, {} FROM unnest({tickets}::int4[], {}) AS k(n, {}) \
         WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})",
        read.join(", "),
        arrays.join(", "),
        names.join(", "),
        table_name(table),
        same.join(" AND ")
    );
    binds.statement("capture", table, &body)
}

/// Rows are locked in the order of their key, so that two batches never wait for each other.
pub(super) fn lock_rows(key: &RowKey, untouched: bool) -> String {
    let by = match key {
        RowKey::Columns(columns) => columns
            .iter()
            .map(|c| format!("t.{}", identifier(c)))
            .collect::<Vec<_>>()
            .join(", "),
        RowKey::Place => "t.ctid".into(),
        RowKey::PartitionAndPlace => "t.tableoid, t.ctid".into(),
    };
    let strength = if untouched { "KEY SHARE" } else { "UPDATE" };
    format!(" ORDER BY {by} FOR {strength} OF t")
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

/// What one table loses: itself, how its rows are told apart, which they are.
pub(super) type Deletes<'a> = (&'a TableName, &'a RowKey, &'a [CapturedColumn], Rows);

/// Deletes captured rows by their keys. Of several tables by one statement, after which the keys
/// between them are checked; that returns how many of each.
pub(super) fn delete_by_key(tables: &[Deletes<'_>]) -> Statement {
    let mut binds = Binds::default();
    let mut bodies: Vec<String> = tables
        .iter()
        .map(|table| delete_body(&mut binds, table))
        .collect();
    let names: Vec<String> = tables.iter().map(|t| t.0.to_string()).collect();
    if bodies.len() == 1 {
        return binds.statement("delete", &names[0], &bodies.remove(0));
    }
    let (mut gone, mut counts) = (Vec::new(), Vec::new());
    for (at, body) in bodies.iter().enumerate() {
        gone.push(format!("d{at} AS ({body} RETURNING 1)"));
        counts.push(format!("(SELECT pg_catalog.count(*) FROM d{at})"));
    }
    let body = format!("WITH {} SELECT {}", gone.join(", "), counts.join(", "));
    binds.statement("delete", names.join(", "), &body)
}

fn delete_body(binds: &mut Binds, (table, key, columns, rows): &Deletes<'_>) -> String {
    let table = table_name(table);
    match (key, columns) {
        (RowKey::Columns(names), [column, ..]) if names.len() == 1 => {
            let keys = binds.bind(Parameter::Column(*rows, 0));
            let (name, of) = (identifier(&column.name), &column.sql_type);
            format!("DELETE FROM {table} AS t WHERE t.{name} {EQUALS} ANY ({keys}::{of}[])")
        }
        _ => {
            let tie = by_key(binds, key, columns, *rows, &[]);
            format!(
                "DELETE FROM {table} AS t USING {} WHERE {}",
                tie.from, tie.on
            )
        }
    }
}

/// What a rule sets: column to strategy.
pub(super) type Set = BTreeMap<String, (Strategy, Span)>;

/// The new value of each column, and how to tell a row that does not have it.
struct NewValues {
    assignments: Vec<String>,
    differs: Vec<String>,
    arrays: Vec<String>,
}

fn new_values(
    binds: &mut Binds,
    facts: &Table,
    columns: &[CapturedColumn],
    rows: Rows,
    set: &Set,
    known: &[Known],
) -> NewValues {
    let mut new = NewValues {
        assignments: Vec::new(),
        differs: Vec::new(),
        arrays: Vec::new(),
    };
    for (name, (strategy, _)) in set {
        let (column, ty) = (identifier(name), sql_type(facts, name));
        let (value, differs) = match strategy {
            Strategy::Null => ("NULL".into(), format!("t.{column} IS NOT NULL")),
            Strategy::Constant(text) => {
                let value = format!("{}::text::{ty}", binds.bind(Parameter::Text(text.clone())));
                let differs = format!("t.{column}::text IS DISTINCT FROM ({value})::text");
                (value, differs)
            }
            Strategy::Redact => {
                let mark = binds.bind(Parameter::Text(REDACTED.into()));
                (
                    format!("CASE WHEN t.{column} IS NOT NULL THEN {mark}::text::{ty} END"),
                    format!("t.{column}::text <> {mark}::text"),
                )
            }
            Strategy::Truncate(unit) => {
                let unit = match unit {
                    TruncateTo::Month => "month",
                    TruncateTo::Year => "year",
                };
                let value = format!("pg_catalog.date_trunc('{unit}', t.{column})::{ty}");
                let differs = format!("t.{column} <> {value}");
                (value, differs)
            }
            Strategy::Template(text) => {
                let text = binds.bind(Parameter::Text(text.clone()));
                let key: Vec<String> = facts
                    .row_key()
                    .iter()
                    .map(|c| format!(", t.{}::text", identifier(c)))
                    .collect();
                let key = format!("pg_catalog.concat_ws('-'{})", key.concat());
                // Not cast: a cast would cut off in silence what the column has no room for.
                let value = format!("pg_catalog.replace({text}::text, '{{key}}', {key})");
                let differs = format!("t.{column}::text IS DISTINCT FROM {value}");
                (value, differs)
            }
            Strategy::Mask { keep, last } => {
                let value = masked(&format!("t.{column}::text"), *keep, *last);
                let differs = format!("t.{column}::text IS DISTINCT FROM ({value})");
                (format!("({value})::{ty}"), differs)
            }
            Strategy::Bucket(width) => {
                let value = format!(
                    "(pg_catalog.floor(t.{column}::numeric OPERATOR(pg_catalog./) {width}::numeric) \
                     OPERATOR(pg_catalog.*) {width}::numeric)::{ty}"
                );
                let differs = format!("t.{column} IS DISTINCT FROM {value}");
                (value, differs)
            }
            Strategy::Hash
            | Strategy::HashAs(_)
            | Strategy::Choose(_)
            | Strategy::RedactIdentifiers => {
                let at = columns
                    .iter()
                    .position(|c| c.name == *name)
                    .expect("a column whose old value is read is captured");
                let longest = facts.column(name).and_then(|c| c.max_chars);
                let bound = binds.bind(made(strategy, rows, at, longest, known));
                let v = new.arrays.len();
                new.arrays.push(format!("{bound}::text[]"));
                (
                    format!("k.v{v}::{ty}"),
                    format!("t.{column}::text IS DISTINCT FROM k.v{v}::{ty}::text"),
                )
            }
        };
        new.assignments.push(format!("{column} = {value}"));
        new.differs.push(differs);
    }
    new
}

/// What is bound where we make the value ourselves.
fn made(
    strategy: &Strategy,
    rows: Rows,
    at: usize,
    longest: Option<i32>,
    known: &[Known],
) -> Parameter {
    let maker = match strategy {
        Strategy::HashAs(HashAs::Email) => Maker::Email(longest),
        Strategy::HashAs(HashAs::Phone) => Maker::Phone,
        Strategy::Choose(texts) => Maker::Choose(texts.clone()),
        Strategy::RedactIdentifiers => Maker::Redact(known.to_vec(), longest),
        _ => return Parameter::Hashes(rows, at),
    };
    Parameter::Made(rows, at, maker)
}

/// All characters but the first or last few as stars; every one if no more would be hidden than
/// stays.
fn masked(text: &str, keep: u32, last: bool) -> String {
    let length = format!("pg_catalog.char_length({text})");
    let hidden = format!("pg_catalog.repeat('*', {length} OPERATOR(pg_catalog.-) {keep})");
    let parts = if last {
        format!("{hidden}, pg_catalog.\"right\"({text}, {keep})")
    } else {
        format!("pg_catalog.\"left\"({text}, {keep}), {hidden}")
    };
    format!(
        "CASE WHEN {length} OPERATOR(pg_catalog.>) {} THEN pg_catalog.concat({parts}) \
         ELSE pg_catalog.repeat('*', {length}) END",
        u64::from(keep) * 2
    )
}

/// Sets columns of captured rows, and the probe that counts those of them which are there: with
/// the new values if they are to stay, else with any other.
#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(super) fn update_by_key(
    table: &TableName,
    facts: &Table,
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
    set: &Set,
    known: &[Known],
    stay: bool,
) -> (Statement, Statement) {
    let mut binds = Binds::default();
    let new = new_values(&mut binds, facts, columns, rows, set, known);
    let tie = by_key(&mut binds, key, columns, rows, &new.arrays);
    let body = format!(
        "UPDATE {} AS t SET {} FROM {} WHERE {}{}",
        table_name(table),
        new.assignments.join(", "),
        tie.from,
        tie.on,
        moved(key)
    );
    let update = binds.statement("update", table, &body);
    let mut binds = Binds::default();
    let new = new_values(&mut binds, facts, columns, rows, set, known);
    let tie = by_key(&mut binds, key, columns, rows, &new.arrays);
    let body = format!(
        "SELECT count(*) FROM {} JOIN {} AS t ON {} WHERE ({}) IS {}TRUE",
        tie.from,
        table_name(table),
        tie.on,
        new.differs.join(" OR "),
        if stay { "NOT " } else { "" }
    );
    (update, binds.statement("probe", table, &body))
}

/// Takes elements out of a list.
pub(super) struct DropElements {
    /// The column that holds the list.
    pub column: String,
    /// The change.
    pub update: Statement,
    /// Counts captured rows that still have such an element.
    pub probe: Statement,
}

/// Takes out of captured rows the elements by which they refer to their parents' keys; `None` for
/// a link that is not by an element.
pub(super) fn drop_elements(
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

/// What an UPDATE returns of rows that are known by their place.
fn moved(key: &RowKey) -> &'static str {
    match key {
        RowKey::Columns(_) => "",
        RowKey::Place => " RETURNING k.k0, t.ctid",
        RowKey::PartitionAndPlace => " RETURNING k.k0, k.k1, t.tableoid, t.ctid",
    }
}

/// Counts captured rows that are there.
pub(super) fn count_by_key(
    table: &TableName,
    key: &RowKey,
    columns: &[CapturedColumn],
    rows: Rows,
) -> Statement {
    let mut binds = Binds::default();
    let tie = by_key(&mut binds, key, columns, rows, &[]);
    let body = format!(
        "SELECT count(*) FROM {} JOIN {} AS t ON {}",
        tie.from,
        table_name(table),
        tie.on
    );
    binds.statement("probe", table, &body)
}

/// Counts rows that an edge reaches and that are none of `known`: what came, or was left, behind
/// the plan's back. By a query path of its own: a semi-join from the table, not a join from the
/// keys.
pub(super) fn strangers_by_edge(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: Option<&ParentRows<'_>>,
    known: Option<KnownRows<'_>>,
    utf8: bool,
) -> Statement {
    let mut binds = Binds::default();
    let reach = tie(&mut binds, edge, facts, parent, utf8);
    let alone = if edge.shared {
        no_owner_left(&mut binds, edge, facts, parent, None)
    } else {
        String::new()
    };
    let except = known.map_or_else(String::new, |(key, columns, rows)| {
        let tie = by_key(&mut binds, key, columns, rows, &[]);
        format!(
            " AND NOT EXISTS (SELECT FROM {} WHERE {})",
            tie.from, tie.on
        )
    });
    let body = if reach.elements.is_empty() {
        format!(
            "SELECT count(*) FROM {} AS t WHERE EXISTS (SELECT FROM {} WHERE {}){alone}{except}",
            table_name(table),
            reach.from,
            reach.on
        )
    } else {
        // Asked row by row, each row's elements would be held against every key.
        format!(
            "SELECT count(DISTINCT (t.tableoid, t.ctid)) FROM {} JOIN {} ON {}{alone}{except}",
            reach.from,
            reach.table(table),
            reach.on
        )
    };
    binds.statement("probe", table, &body)
}

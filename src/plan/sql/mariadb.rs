//! The one place where SQL text for MariaDB is built. Identifiers are always quoted, values always
//! bound: the keys of a batch as one JSON text, which the server reads as a table.
//!
//! What such a table makes of a value that its column does not hold is a NULL, a zero or a question
//! mark, never an error. So an equality that no foreign key stands for is asked twice: as the column's own
//! type, by which an index serves, and byte for byte.

mod change;

pub(super) use change::{delete_by_key, update_by_key};

use super::ParentRows;
use super::capture::KnownRows;
use crate::catalog::{MariaDbType, Table};
use crate::lineage::{Edge, Join, Parent};
use crate::name::TableName;
use crate::plan::{CapturedColumn, Comparison, HeldRows, Parameter, Retained, Rows, Statement};
use crate::policy::IdentifierKind;
use crate::system::mariadb::quote::identifier;
use crate::system::postgres::quote::comment;

/// `schema`.`table`.
fn table_name(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.table))
}

fn statement(name: &str, table: &TableName, parameters: Vec<Parameter>, body: &str) -> Statement {
    Statement {
        sql: format!(
            "/* erasured:{name} {} */ {body}",
            comment(&table.to_string())
        ),
        parameters,
    }
}

/// A column of `alias` as a text that says all of it.
fn as_text(alias: &str, column: &str, sql_type: &str) -> String {
    let column = format!("{alias}.{}", identifier(column));
    match MariaDbType::of(sql_type) {
        MariaDbType::Bytes => format!("HEX({column})"),
        _ => format!("CAST({column} AS CHAR CHARACTER SET utf8mb4)"),
    }
}

/// Keys, as a table: a number `n`, and for each of the others its type and its equality.
#[derive(Default)]
struct Keys {
    alias: &'static str,
    /// As what the table stands in the statement.
    own: String,
    parameters: Vec<Parameter>,
    columns: Vec<String>,
    on: Vec<String>,
}

impl Keys {
    fn new(alias: &'static str, tickets: Parameter) -> Self {
        Self {
            alias,
            own: "t".into(),
            parameters: vec![tickets],
            columns: vec!["n INT PATH '$[0]'".into()],
            on: Vec::new(),
        }
    }

    /// One more value in each row, under this name.
    fn add(&mut self, name: &str, of: &str, value: Parameter) -> String {
        let at = self.parameters.iter().position(|p| *p == value);
        let at = at.unwrap_or_else(|| {
            self.parameters.push(value);
            self.parameters.len() - 1
        });
        self.columns.push(format!("{name} {of} PATH '$[{at}]'"));
        format!("{}.{name}", self.alias)
    }

    /// `t`'s column equals the value; `exactly` where no key of the database's says that its own way of
    /// comparing is enough.
    fn equal(&mut self, column: &str, sql_type: &str, value: Parameter, exactly: bool) {
        let at = self.on.len();
        let name = format!("k{at}");
        let own = format!("{}.{}", self.own, identifier(column));
        let equality = match MariaDbType::of(sql_type) {
            MariaDbType::Text { charset, collation } => {
                let of = format!("LONGTEXT CHARACTER SET {charset} COLLATE {collation}");
                format!("{own} = {}", self.add(&name, &of, value.clone()))
            }
            MariaDbType::Integer { unsigned } => {
                let of = if unsigned {
                    "BIGINT UNSIGNED"
                } else {
                    "BIGINT"
                };
                format!("{own} = {}", self.add(&name, of, value.clone()))
            }
            MariaDbType::Decimal(of) => {
                format!("{own} = {}", self.add(&name, of, value.clone()))
            }
            MariaDbType::Time(of) => format!("{own} = {}", self.add(&name, of, value.clone())),
            MariaDbType::Bytes => {
                format!("{own} = UNHEX({})", self.add(&name, HEX, value.clone()))
            }
            MariaDbType::Uuid => {
                format!(
                    "{own} = CAST({} AS UUID)",
                    self.add(&name, HEX, value.clone())
                )
            }
            // Refused before any plan is made.
            MariaDbType::Other => "FALSE".into(),
        };
        let on = match exactly {
            false => equality,
            true => {
                let bytes = self.add(&format!("b{at}"), EXACT, value);
                let own = as_text(&self.own, column, sql_type);
                format!("{equality} AND BINARY {own} = BINARY {bytes}")
            }
        };
        self.on.push(on);
    }

    fn table(&self) -> String {
        format!(
            "JSON_TABLE(?, '$[*]' COLUMNS ({})) AS {}",
            self.columns.join(", "),
            self.alias
        )
    }

    fn on(&self) -> String {
        self.on.join(" AND ")
    }

    fn parameter(&self) -> Parameter {
        Parameter::Json(self.parameters.clone())
    }
}

/// Type of a value that is compared byte for byte.
const EXACT: &str = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
/// Type of hexadecimal digits.
const HEX: &str = "LONGTEXT CHARACTER SET ascii COLLATE ascii_bin";

/// How the batch's keys lead to rows of `t`, and further parameters behind them.
struct Tie {
    keys: Keys,
    when: Vec<String>,
    further: Vec<Parameter>,
}

impl Tie {
    fn on(&self) -> String {
        let on = [self.keys.on.clone(), self.when.clone()].concat();
        on.join(" AND ")
    }

    fn parameters(self) -> Vec<Parameter> {
        let mut parameters = vec![self.keys.parameter()];
        parameters.extend(self.further);
        parameters
    }
}

fn sql_type<'t>(facts: &'t Table, column: &str) -> &'t str {
    facts.column(column).map_or("", |c| c.sql_type.as_str())
}

fn tie(edge: &Edge, facts: &Table, parent: Option<&ParentRows<'_>>) -> Tie {
    let mut keys;
    match (&edge.parent, &edge.join) {
        (Parent::Subject, Join::Columns { child, .. }) => {
            keys = Keys::new("k", Parameter::SubjectTickets);
            for (at, column) in child.iter().enumerate() {
                let of = sql_type(facts, column);
                keys.equal(column, of, Parameter::SubjectKey(at), true);
            }
        }
        (Parent::Identifier { name, kind }, Join::Identifier { column }) => {
            keys = Keys::new("k", Parameter::IdentifierTickets(name.clone()));
            normalised(&mut keys, column, sql_type(facts, column), kind, name);
        }
        (_, join) => {
            let parent = parent.expect("an edge from a table has its parent's rows");
            keys = Keys::new("k", Parameter::Tickets(parent.rows));
            let Join::Columns {
                child,
                parent: above,
                ..
            } = join
            else {
                unreachable!("other links are refused before any plan is made");
            };
            for (column, above) in child.iter().zip(above) {
                let at = parent.columns.iter().position(|c| c.name == *above);
                let at = at.expect("the parent captures what its children refer to");
                let value = Parameter::Column(parent.rows, at);
                let exactly = edge.foreign_key.is_none();
                keys.equal(column, sql_type(facts, column), value, exactly);
            }
        }
    }
    let when = edge.when.iter().map(|(column, _)| {
        let own = as_text("t", column, sql_type(facts, column));
        format!("BINARY {own} = BINARY ?")
    });
    let further = edge
        .when
        .iter()
        .map(|(_, value)| Parameter::Text(value.clone()));
    Tie {
        keys,
        when: when.collect(),
        further: further.collect(),
    }
}

/// As [`Parameter::IdentifierValues`] are made, but for the folding of full-width letters, which no
/// function of the server's does.
fn normalised(keys: &mut Keys, column: &str, of: &str, kind: &IdentifierKind, name: &str) {
    let value = Parameter::IdentifierValues(name.to_owned());
    let own = format!("t.{}", identifier(column));
    let text = format!("CONVERT({own} USING utf8mb4)");
    let made = match kind {
        IdentifierKind::Plain | IdentifierKind::Email => format!("LOWER({text})"),
        IdentifierKind::Phone { .. } => format!("REGEXP_REPLACE({text}, '[^0-9]', '')"),
        IdentifierKind::Name => format!("LOWER(REGEXP_REPLACE({text}, '[[:space:]]', ''))"),
    };
    let exact = keys.add("b0", EXACT, value.clone());
    let mut on = format!("BINARY {made} = BINARY {exact}");
    // What differs in case alone is equal by such a collation, and an index serves.
    if let MariaDbType::Text { charset, collation } = MariaDbType::of(of)
        && collation.ends_with("_ci")
        && matches!(kind, IdentifierKind::Plain | IdentifierKind::Email)
    {
        let of = format!("LONGTEXT CHARACTER SET {charset} COLLATE {collation}");
        let folded = keys.add("k0", &of, value);
        on = format!("{own} = {folded} AND {on}");
    }
    keys.on.push(on);
}

/// Captured rows of `t` by their keys.
fn by_key(key: &[CapturedColumn], rows: Rows) -> Keys {
    by_key_of("t", key, rows)
}

fn by_key_of(own: &str, key: &[CapturedColumn], rows: Rows) -> Keys {
    let mut keys = Keys::new("k", Parameter::Tickets(rows));
    keys.own = own.to_owned();
    for (at, column) in key.iter().enumerate() {
        keys.equal(
            &column.name,
            &column.sql_type,
            Parameter::Column(rows, at),
            true,
        );
    }
    keys
}

#[allow(clippy::too_many_arguments)] // each is one part of the sentence
pub(super) fn capture(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    columns: &[CapturedColumn],
    texts: &[String],
    retained: Option<&Retained>,
    parent: Option<&ParentRows<'_>>,
) -> Statement {
    let tie = tie(edge, facts, parent);
    let mut read: Vec<String> = columns
        .iter()
        .map(|c| as_text("t", &c.name, &c.sql_type))
        .collect();
    if let Some((column, plus)) = retained.and_then(|r| r.until.as_ref()) {
        read.push(format!(
            "CAST(CAST(t.{} + INTERVAL {} MONTH + INTERVAL {} DAY AS DATETIME(6)) AS CHAR)",
            identifier(column),
            plus.months,
            plus.days
        ));
    }
    read.extend(texts.iter().map(|c| as_text("t", c, sql_type(facts, c))));
    let body = format!(
        "SELECT k.n, {} FROM {} STRAIGHT_JOIN {} AS t ON {}",
        read.join(", "),
        tie.keys.table(),
        table_name(table),
        tie.on()
    );
    statement("capture", table, tie.parameters(), &body)
}

/// The keys of subjects that have no row, as if they were captured.
pub(super) fn capture_by_key_alone(
    table: &TableName,
    columns: &[CapturedColumn],
    key_width: usize,
) -> Statement {
    let mut keys = Keys::new("k", Parameter::SubjectTickets);
    let mut read = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        if at < key_width {
            keys.equal(
                &column.name,
                &column.sql_type,
                Parameter::SubjectKey(at),
                true,
            );
            read.push(format!("k.b{at}"));
        } else {
            read.push("NULL".into());
        }
    }
    let key = columns.first().map_or("", |c| c.name.as_str());
    let body = format!(
        "SELECT k.n, {} FROM {} LEFT JOIN {} AS t ON {} WHERE t.{} IS NULL",
        read.join(", "),
        keys.table(),
        table_name(table),
        keys.on(),
        identifier(key)
    );
    statement("capture", table, vec![keys.parameter()], &body)
}

/// Rows are locked in the order of their key, as far as the server does not find them in another.
pub(super) fn lock_rows(key: &[String], untouched: bool) -> String {
    let by: Vec<String> = key.iter().map(|c| format!("t.{}", identifier(c))).collect();
    let lock = if untouched {
        "LOCK IN SHARE MODE"
    } else {
        "FOR UPDATE"
    };
    format!(" ORDER BY {} {lock}", by.join(", "))
}

pub(super) fn count_by_key(table: &TableName, key: &[CapturedColumn], rows: Rows) -> Statement {
    let keys = by_key(key, rows);
    let body = format!(
        "SELECT COUNT(*) FROM {} STRAIGHT_JOIN {} AS t ON {}",
        keys.table(),
        table_name(table),
        keys.on()
    );
    statement("probe", table, vec![keys.parameter()], &body)
}

/// Counts rows that an edge reaches and that are none of `known`.
pub(super) fn strangers_by_edge(
    table: &TableName,
    facts: &Table,
    edge: &Edge,
    parent: Option<&ParentRows<'_>>,
    known: Option<KnownRows<'_>>,
) -> Statement {
    let tie = tie(edge, facts, parent);
    let (table_of, on) = (tie.keys.table(), tie.on());
    let mut parameters = tie.parameters();
    // By itself the inner one is read once, and kept as a set.
    let except = known.map_or_else(String::new, |(_, columns, rows)| {
        let width = facts.row_key().len();
        let mut keys = Keys::new("g", Parameter::Tickets(rows));
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        for (at, column) in columns.iter().take(width).enumerate() {
            let value = Parameter::Column(rows, at);
            theirs.push(keys.add(&format!("k{at}"), EXACT, value));
            own.push(hashed(&as_text("t", &column.name, &column.sql_type)));
        }
        parameters.push(keys.parameter());
        let theirs: Vec<String> = theirs.iter().map(|k| hashed(k)).collect();
        format!(
            " AND ({}) NOT IN (SELECT {} FROM {})",
            own.join(", "),
            theirs.join(", "),
            keys.table()
        )
    });
    let body = format!(
        "SELECT COUNT(*) FROM {table_of} STRAIGHT_JOIN {} AS t ON {on}{except}",
        table_name(table)
    );
    statement("probe", table, parameters, &body)
}

/// Short enough for the server to keep a set of them.
fn hashed(text: &str) -> String {
    format!("SHA2({text}, 256)")
}

/// The definitions of these tables stay as they are until the transaction ends: it has used them.
pub(super) fn hold_definitions<'a>(tables: impl Iterator<Item = &'a TableName>) -> String {
    let tables: Vec<String> = tables
        .map(|table| format!("(SELECT 1 FROM {} LIMIT 0)", table_name(table)))
        .collect();
    match tables.is_empty() {
        true => String::new(),
        false => format!(
            "/* erasured:hold definitions */ {}",
            tables.join(" UNION ALL ")
        ),
    }
}

/// The ordinals of the tickets that reach covered rows by a change of these rows.
pub(super) fn covered(key: &[CapturedColumn], rows: Rows, held: &HeldRows) -> Statement {
    let keys = by_key(key, rows);
    let mut parameters = vec![keys.parameter()];
    let mut all = vec!["TRUE".to_owned()];
    for condition in &held.conditions {
        // Over-holding is safe, so is what cannot be told; letting a held row go is not.
        let column = match MariaDbType::of(&condition.sql_type) {
            MariaDbType::Text { .. } => format!(
                "CONVERT(t.{} USING utf8mb4) COLLATE utf8mb4_nopad_bin",
                identifier(&condition.column)
            ),
            _ => format!("t.{}", identifier(&condition.column)),
        };
        let taken = condition.values.iter().map(|v| Parameter::Text(v.clone()));
        parameters.extend(taken);
        let compared = match condition.comparison {
            Comparison::Equal => format!("{column} = ?"),
            Comparison::Unequal => format!("{column} <> ?"),
            Comparison::Less => format!("{column} < ?"),
            Comparison::AtMost => format!("{column} <= ?"),
            Comparison::Greater => format!("{column} > ?"),
            Comparison::AtLeast => format!("{column} >= ?"),
            Comparison::In => {
                format!(
                    "{column} IN ({})",
                    vec!["?"; condition.values.len()].join(", ")
                )
            }
            Comparison::Between => format!("{column} BETWEEN ? AND ?"),
            Comparison::IsNull => format!("{column} IS NULL"),
            Comparison::IsNotNull => format!("{column} IS NOT NULL"),
        };
        all.push(format!("({compared}) IS NOT FALSE"));
    }
    let body = format!(
        "SELECT DISTINCT k.n FROM {} STRAIGHT_JOIN {} AS t ON {} AND {}",
        keys.table(),
        table_name(&held.table),
        keys.on(),
        all.join(" AND ")
    );
    statement("covered", &held.table, parameters, &body)
}

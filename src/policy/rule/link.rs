//! Where a row refers to another, or to an identifier: `link`.

use super::{Identifiers, column_key, constants};
use crate::name::QualifiedTable;
use crate::policy::read::{CODES, DATABASE_NAME_HELP, database_name, table_name};
use crate::policy::{Link, LinkFrom, LinkTo, Span};
use crate::reading::{Table, choose, quoted};

/// A link that cannot be one.
pub(super) const BAD_LINK: &str = "E0118";

pub(super) fn link(
    table: &Table<'_>,
    rule: &Table<'_>,
    of: Option<&(QualifiedTable, Span)>,
    identifiers: &Identifiers,
) -> Option<Link> {
    let complain = |span: Span, message: &str, help: &str| {
        table.reader().error(
            BAD_LINK,
            span,
            format!("{message} in {}", table.label()),
            help,
        );
    };
    let span = rule.span_of("link")?;
    let columns = columns(table, "columns");
    let json = table.table("json").map(|json| json_path(&json));
    let elements = table.parsed(
        "elements",
        CODES.bad_value,
        DATABASE_NAME_HELP,
        database_name,
    );
    let to = table_name(table, "to");
    let key = columns_or_empty(table);
    let identifier = table.string("identifier");
    let when = table
        .table("when")
        .map(|when| constants(&when))
        .unwrap_or_default();
    table.finish();

    let given = ["columns", "json", "elements"].map(|key| table.has(key));
    if given.iter().filter(|given| **given).count() != 1 {
        let help = "say what in the row refers: columns = [\"customer_id\"], or \
             json = { column = \"payload\", path = [\"user\", \"id\"] }, or elements = \"member_ids\"";
        complain(
            span.clone(),
            "exactly one of `columns`, `json` and `elements` must stand",
            help,
        );
    }
    if table.has("to") == table.has("identifier") {
        let help =
            "say what it refers to: to = \"system.schema.table\", or identifier = \"member_no\"";
        complain(
            span.clone(),
            "exactly one of `to` and `identifier` must stand",
            help,
        );
    }
    let elements = elements.map(|(column, _)| LinkFrom::Elements(column));
    let from = columns
        .map(LinkFrom::Columns)
        .or(json.flatten())
        .or(elements)?;
    let width = match &from {
        LinkFrom::Columns(columns) => columns.len(),
        _ => 1,
    };
    let to = if let Some((name, at)) = identifier {
        if !identifiers.contains_key(&name) {
            let known: Vec<&str> = identifiers.keys().map(String::as_str).collect();
            let message = format!("no identifier is called {}", quoted(&name));
            table
                .reader()
                .error("E0112", at, message, choose(&name, &known));
        } else if width != 1 {
            complain(
                at,
                "one identifier cannot be in several columns",
                "name one column",
            );
        }
        if let Some(at) = table.span_of("key") {
            complain(
                at,
                "`key` belongs to `to`, not to `identifier`",
                "remove `key`",
            );
        }
        LinkTo::Identifier(name)
    } else {
        let ((to, at), key) = (to?, key?);
        if of.is_some_and(|(of, _)| of.system != to.system) {
            let help = "link by a value both systems have: identifier = \"member_no\"";
            complain(at, "a link to another system cannot name a table", help);
        }
        if !key.is_empty() && key.len() != width {
            let at = table.span_of("key").unwrap_or(span.clone());
            complain(
                at,
                "`key` and `columns` differ in length",
                "name as many of each",
            );
        }
        LinkTo::Table {
            table: to,
            columns: key,
        }
    };
    Some(Link {
        from,
        to,
        when,
        span,
    })
}

/// A list of columns that is not empty.
fn columns(table: &Table<'_>, key: &'static str) -> Option<Vec<String>> {
    let listed = table.strings(key)?;
    if listed.is_empty() {
        let message = format!("`{key}` in {} is empty", table.label());
        table.reader().error(
            BAD_LINK,
            table.span_of(key)?,
            message,
            "name at least one column",
        );
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for (name, span) in listed {
        column_key(table, &name, span.clone());
        if names.contains(&name) {
            let message = format!("`{key}` in {} names {} twice", table.label(), quoted(&name));
            table
                .reader()
                .error(BAD_LINK, span, message, "name each column once");
        }
        names.push(name);
    }
    Some(names)
}

/// `key`, by default empty; `None` if it has mistakes.
fn columns_or_empty(table: &Table<'_>) -> Option<Vec<String>> {
    if table.has("key") {
        columns(table, "key")
    } else {
        Some(Vec::new())
    }
}

fn json_path(table: &Table<'_>) -> Option<LinkFrom> {
    table.need("column", "name the json or jsonb column");
    let column = table.parsed("column", CODES.bad_value, DATABASE_NAME_HELP, database_name);
    if table.has("keys") {
        return json_keys(table, column);
    }
    table.need(
        "path",
        "name the way to the value from the top: path = [\"user\", \"id\"]",
    );
    let path = table.strings("path");
    let complain = |message: &str, help: &str| {
        let message = format!("`path` in {} {message}", table.label());
        table.reader().error(BAD_LINK, table.span(), message, help);
    };
    if path.as_ref().is_some_and(Vec::is_empty) {
        complain(
            "is empty",
            "name the way to the value from the top: path = [\"user\", \"id\"]",
        );
    }
    table.finish();
    let column = column?.0;
    let path: Vec<String> = path?.into_iter().map(|(step, _)| step).collect();
    let mut parts = path.split(|step| step == EACH).map(<[String]>::to_vec);
    let list = parts.next()?;
    let from = match parts.next() {
        None => LinkFrom::Json { column, path: list },
        Some(path) => LinkFrom::JsonElements { column, list, path },
    };
    if parts.next().is_some() {
        complain(
            "says \"*\" twice",
            "a list in a list is not followed; link a column, or a table of its own",
        );
    }
    Some(from)
}

/// The keys of an object are what refers.
fn json_keys(table: &Table<'_>, column: Option<(String, Span)>) -> Option<LinkFrom> {
    let keys = table.strings("keys");
    if let Some(at) = table.span_of("path") {
        let message = format!("{} has both `path` and `keys`", table.label());
        let help = "`path` leads to a value that refers, `keys` to an object whose keys do";
        table.reader().error(BAD_LINK, at, message, help);
    }
    let keys = keys?;
    if let Some((_, at)) = keys.iter().find(|(step, _)| step == EACH) {
        let message = format!("`keys` in {} says \"*\"", table.label());
        let help = "keys of each object in a list are not followed; link a table of its own";
        table.reader().error(BAD_LINK, at.clone(), message, help);
    }
    table.finish();
    Some(LinkFrom::JsonKeys {
        column: column?.0,
        object: keys.into_iter().map(|(step, _)| step).collect(),
    })
}

/// In a path: each element of the list that stands there.
const EACH: &str = "*";

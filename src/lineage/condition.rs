//! Whether a rule's condition fits its table: the columns are there, and each constant is one of its
//! column's type. Only types of PostgreSQL's own are compared, whose operators mean the same everywhere.

use super::ConditionOf;
use crate::catalog::{Column, Table};
use crate::name::QualifiedTable;
use crate::policy::Span;
use crate::policy::condition::{Asked, Comparison, Condition, Constant, ConstantKind, Test};
use crate::policy::retention::RetentionRule;
use crate::reading::{choose_or, quoted};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A condition that its columns do not bear.
const MISFIT: &str = "E0257";

/// What is wrong, where, and what to do.
pub(super) type Misfit = (&'static str, Span, String, String);

/// A condition of the rule on rows of a table, with the types as which its constants are read.
pub(super) fn typed(
    rule: &RetentionRule,
    condition: &Condition,
    (name, table): (&QualifiedTable, &Table),
) -> Result<ConditionOf, Vec<Misfit>> {
    let mut types = BTreeMap::new();
    let mut found = Vec::new();
    for test in condition.tests() {
        let Some(column) = table.column(&test.column) else {
            let message = format!(
                "the condition of the retention rule {} names column {:?}, which {} lacks",
                rule.name, test.column, name
            );
            let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
            let help = choose_or(&test.column, &names, "its columns:");
            found.push(("E0203", test.span.clone(), message, help));
            continue;
        };
        match fits(test, column) {
            Ok(None) => {}
            Ok(Some(of)) => drop(types.insert(test.column.clone(), of)),
            Err((span, why, help)) => {
                let message = format!(
                    "the condition of the retention rule {}: {}.{} is {}, {why}",
                    rule.name, name, column.name, column.sql_type
                );
                found.push((MISFIT, span, message, help));
            }
        }
    }
    let condition = condition.clone();
    match found.is_empty() {
        true => Ok(ConditionOf { condition, types }),
        false => Err(found),
    }
}

type No = (Span, String, String);

/// The SQL type as which a constant that it is compared with is read.
fn fits(test: &Test, column: &Column) -> Result<Option<String>, No> {
    let no = |why: &str, help: &str| Err((test.span.clone(), why.to_owned(), help.to_owned()));
    match &test.asked {
        Asked::IsNull => Ok(None),
        Asked::Is(_) if column.base == "bool" => Ok(None),
        Asked::Is(_) => no(
            "which is neither true nor false",
            "compare it with a constant",
        ),
        Asked::Like(pattern) => match read_as(column) {
            Some(Kind::Text) if pattern.kind == ConstantKind::Text => Ok(None),
            _ => no(
                "and LIKE is for texts",
                "compare it with =, or with < and >",
            ),
        },
        Asked::Compared(sign, constant) => match read_as(column) {
            None => no(
                "whose values are not compared here",
                "ask it for IS NULL, or name another column: number, text, boolean, date, timestamp, uuid or enumeration",
            ),
            Some(Kind::Label) if !matches!(sign, Comparison::Equal | Comparison::Unequal) => no(
                "whose labels have an order that only the database knows",
                "name the labels: IN ('…', '…')",
            ),
            Some(kind) => {
                let none = |help: String| {
                    let why = format!("and {} is none", quoted(&constant.text));
                    (constant.span.clone(), why, help)
                };
                is_one(kind, &column.base, constant).map_err(|help| none(help.to_owned()))?;
                let labels: Vec<&str> = column.labels.iter().map(String::as_str).collect();
                match kind == Kind::Label && !labels.contains(&constant.text.as_str()) {
                    true => Err(none(choose_or(&constant.text, &labels, "its labels:"))),
                    false => Ok(Some(sql_type(kind, column))),
                }
            }
        },
    }
}

/// What constants of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Number,
    Text,
    Truth,
    Day,
    Local,
    Instant,
    Uuid,
    Label,
}

fn read_as(column: &Column) -> Option<Kind> {
    Some(match (column.base.as_str(), column.category) {
        ("int2" | "int4" | "int8", 'N') => Kind::Whole,
        ("numeric" | "float4" | "float8", 'N') => Kind::Number,
        ("text" | "varchar" | "bpchar", 'S') => Kind::Text,
        ("bool", 'B') => Kind::Truth,
        ("date", 'D') => Kind::Day,
        ("timestamp", 'D') => Kind::Local,
        ("timestamptz", 'D') => Kind::Instant,
        ("uuid", 'U') => Kind::Uuid,
        (_, 'E') => Kind::Label,
        _ => return None,
    })
}

/// Without length or scale, to which a cast would cut a constant silently.
fn sql_type(kind: Kind, column: &Column) -> String {
    match kind {
        Kind::Label => column.sql_type.clone(),
        _ => format!("pg_catalog.{}", column.base),
    }
}

fn is_one(kind: Kind, base: &str, constant: &Constant) -> Result<(), &'static str> {
    let text = constant.text.as_str();
    let (written, reads, help) = match kind {
        Kind::Whole => (
            ConstantKind::Number,
            whole(base, text),
            "write a whole number that the column can hold",
        ),
        Kind::Number => (
            ConstantKind::Number,
            text.parse::<f64>().is_ok_and(f64::is_finite),
            "write a number, such as 12.5",
        ),
        Kind::Truth => (ConstantKind::Boolean, true, "write TRUE or FALSE"),
        Kind::Text => (ConstantKind::Text, true, "write a text in single quotes"),
        Kind::Label => (ConstantKind::Text, true, "write a label in single quotes"),
        // What the server reads by the clock ('now', 'today') is no constant.
        Kind::Day => (
            ConstantKind::Text,
            day(text),
            "write a day, such as '2026-03-31'",
        ),
        Kind::Local => (
            ConstantKind::Text,
            day(text) || local(text),
            "write a day and time, such as '2026-03-31 12:00:00'",
        ),
        Kind::Instant => (
            ConstantKind::Text,
            DateTime::parse_from_rfc3339(text).is_ok(),
            "write a time with its offset, such as '2026-03-31T12:00:00+09:00'",
        ),
        Kind::Uuid => (
            ConstantKind::Text,
            Uuid::parse_str(text).is_ok(),
            "write a UUID in single quotes",
        ),
    };
    match written == constant.kind && reads {
        true => Ok(()),
        false => Err(help),
    }
}

fn whole(base: &str, text: &str) -> bool {
    match base {
        "int2" => text.parse::<i16>().is_ok(),
        "int4" => text.parse::<i32>().is_ok(),
        _ => text.parse::<i64>().is_ok(),
    }
}

fn day(text: &str) -> bool {
    text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn local(text: &str) -> bool {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok()
}

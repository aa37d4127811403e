//! A policy's condition as SQL: names quoted, constants bound, operators PostgreSQL's own.

use super::Binds;
use crate::lineage::ConditionOf;
use crate::plan::Parameter;
use crate::policy::condition::{Asked, Comparison, Condition, Test};
use crate::system::postgres::quote::identifier;

/// That it holds of the row `name`; NULL where it cannot be told.
pub(super) fn holds(binds: &mut Binds, name: &str, of: &ConditionOf) -> String {
    part(binds, name, of, &of.condition)
}

fn part(binds: &mut Binds, name: &str, of: &ConditionOf, condition: &Condition) -> String {
    let mut joined = |parts: &[Condition], by: &str| {
        let parts: Vec<String> = parts.iter().map(|p| part(binds, name, of, p)).collect();
        format!("({})", parts.join(by))
    };
    match condition {
        Condition::All(parts) => joined(parts, " AND "),
        Condition::Any(parts) => joined(parts, " OR "),
        Condition::Not(inner) => format!("(NOT {})", part(binds, name, of, inner)),
        Condition::Test(asked) => format!("({})", test(binds, name, of, asked)),
    }
}

fn test(binds: &mut Binds, name: &str, of: &ConditionOf, test: &Test) -> String {
    let column = format!("{name}.{}", identifier(&test.column));
    let mut compared = |sign: &str, text: &str, read_as: &str| {
        let value = binds.bind(Parameter::Text(text.to_owned()));
        format!("{column} OPERATOR(pg_catalog.{sign}) {value}::text::{read_as}")
    };
    // Checked: what is compared has a type.
    let read_as = of
        .types
        .get(&test.column)
        .map_or("pg_catalog.text", String::as_str);
    match &test.asked {
        Asked::IsNull => format!("{column} IS NULL"),
        Asked::Is(true) => format!("{column} IS TRUE"),
        Asked::Is(false) => format!("{column} IS FALSE"),
        Asked::Like(pattern) => compared("~~", &pattern.text, "pg_catalog.text"),
        Asked::Compared(sign, constant) => compared(operator(*sign), &constant.text, read_as),
    }
}

fn operator(sign: Comparison) -> &'static str {
    match sign {
        Comparison::Equal => "=",
        Comparison::Unequal => "<>",
        Comparison::Less => "<",
        Comparison::AtMost => "<=",
        Comparison::Greater => ">",
        Comparison::AtLeast => ">=",
    }
}

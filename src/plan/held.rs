//! Rows that a legal hold covers: conditions as data, never anybody's SQL text.

use super::Statement;
use crate::catalog::MariaDbType;
use crate::name::TableName;
use uuid::Uuid;

/// The rows of a table for which all conditions hold, or cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRows {
    /// The hold.
    pub hold: Uuid,
    /// The table.
    pub table: TableName,
    /// All of these; none is every row.
    pub conditions: Vec<Condition>,
}

impl HeldRows {
    /// A statement that the server accepts if the conditions can be compared, and for each value one
    /// that it accepts if the value reads as its column's type.
    pub fn comparable(&self) -> (Statement, Vec<Statement>) {
        super::sql::comparable(self)
    }
}

impl HeldRows {
    /// What keeps the conditions from being compared on MariaDB, which takes what is no number for zero.
    pub fn incomparable_on_mariadb(&self) -> Option<&'static str> {
        let date = |v: &str| {
            let day = v.parse::<chrono::NaiveDate>().is_ok();
            day || chrono::NaiveDateTime::parse_from_str(v, "%Y-%m-%d %H:%M:%S%.f").is_ok()
        };
        let number = |v: &str| {
            let digits = v.strip_prefix('-').unwrap_or(v);
            let plain = |c: char| c.is_ascii_digit() || c == '.';
            !digits.is_empty() && digits.chars().all(plain) && digits.parse::<f64>().is_ok()
        };
        self.conditions.iter().find_map(|condition| {
            let values = || condition.values.iter().map(String::as_str);
            let reads = match MariaDbType::of(&condition.sql_type) {
                MariaDbType::Text { .. } => true,
                MariaDbType::Integer { .. } | MariaDbType::Decimal(_) => values().all(number),
                MariaDbType::Time("TIME(6)") => values().next().is_none(),
                MariaDbType::Time(_) => values().all(date),
                // Whether it is there at all can be asked of any.
                MariaDbType::Bytes | MariaDbType::Uuid | MariaDbType::Other => {
                    values().next().is_none()
                }
            };
            (!reads).then_some("a value does not read as its column's type, or the type cannot be compared: name another column")
        })
    }
}

/// One column compared with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// Its SQL type, as the values are read.
    pub sql_type: String,
    /// How.
    pub comparison: Comparison,
    /// As many as the comparison takes.
    pub values: Vec<String>,
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is what it is called
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Between,
    IsNull,
    IsNotNull,
}

impl Comparison {
    const ALL: [(&'static str, Self); 10] = [
        ("=", Self::Equal),
        ("<>", Self::Unequal),
        ("<", Self::Less),
        ("<=", Self::AtMost),
        (">", Self::Greater),
        (">=", Self::AtLeast),
        ("in", Self::In),
        ("between", Self::Between),
        ("is null", Self::IsNull),
        ("is not null", Self::IsNotNull),
    ];

    /// What a hold calls so.
    pub fn named(op: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == op);
        found.map(|(_, comparison)| *comparison)
    }
}

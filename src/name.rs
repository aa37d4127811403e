//! Names of tables as the catalog spells them, and how a policy writes them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A table inside one system: schema and name exactly as `pg_catalog` holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Schema, unquoted.
    pub schema: String,
    /// Table, unquoted.
    pub table: String,
}

impl TableName {
    /// Joins a schema and a table name.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            table: table.into(),
        }
    }
}

/// `schema.table`, each part in double quotes only where a reader would need them.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", part(&self.schema), part(&self.table))
    }
}

/// A table as a policy names it: `system.schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedTable {
    /// The registered system.
    pub system: String,
    /// The table in it.
    pub table: TableName,
}

impl fmt::Display for QualifiedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", part(&self.system), self.table)
    }
}

impl QualifiedTable {
    /// One of its columns: `system.schema.table.column`.
    pub fn column(&self, column: &str) -> String {
        format!("{self}.{}", part(column))
    }
}

/// A column as a policy names it: `system.schema.table.column`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedColumn {
    /// The table that has it.
    pub table: QualifiedTable,
    /// Its name.
    pub column: String,
}

impl std::str::FromStr for QualifiedColumn {
    type Err = String;

    /// Reads `system.schema.table.column`, the parts as those of a [`QualifiedTable`].
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        match <[String; 4]>::try_from(parts) {
            Ok([system, schema, table, column]) => Ok(Self {
                table: QualifiedTable {
                    system,
                    table: TableName { schema, table },
                },
                column,
            }),
            Err(parts) => Err(format!(
                "a column is written system.schema.table.column; this has {} part(s)",
                parts.len()
            )),
        }
    }
}

impl std::str::FromStr for QualifiedTable {
    type Err = String;

    /// Reads `system.schema.table`. A part that holds a dot, a quote or white space stands in
    /// double quotes, doubled inside, as in SQL; unlike in SQL nothing is folded to lower case.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        match <[String; 3]>::try_from(parts) {
            Ok([system, schema, table]) => Ok(Self {
                system,
                table: TableName { schema, table },
            }),
            Err(parts) => Err(format!(
                "a table is written system.schema.table; this has {} part(s)",
                parts.len()
            )),
        }
    }
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if part.is_empty() || part.contains('\0') {
            return Err("a part of the name is empty or holds a NUL".into());
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err("a closing quote must be followed by a dot or the end".into()),
        }
    }
}

/// Reads up to the closing quote; `rest` starts after the opening one.
fn unquote(rest: &str) -> Result<(String, &str), String> {
    let mut part = String::new();
    let mut from = 0;
    while let Some(at) = rest[from..].find('"') {
        part.push_str(&rest[from..from + at]);
        from += at + 1;
        if !rest[from..].starts_with('"') {
            return Ok((part, &rest[from..]));
        }
        part.push('"');
        from += 1;
    }
    Err("a double quote is not closed".into())
}

fn part(name: &str) -> std::borrow::Cow<'_, str> {
    let plain = !name.is_empty()
        && !name
            .chars()
            .any(|c| c == '.' || c == '"' || c.is_whitespace() || c.is_control());
    if plain {
        name.into()
    } else {
        format!("\"{}\"", name.replace('"', "\"\"")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_shown_reads_back(system in "[^\0]{1,12}", schema in "[^\0]{1,12}", table in "[^\0]{1,12}") {
            let name = QualifiedTable { system, table: TableName { schema, table } };
            prop_assert_eq!(name.to_string().parse::<QualifiedTable>(), Ok(name));
        }
    }

    #[test]
    fn bad_names_say_why() {
        for bad in ["", "a.b", "a.b.c.d", "a..c", "a.\"b.c", "a.\"b\"x.c"] {
            assert!(bad.parse::<QualifiedTable>().is_err(), "{bad}");
        }
    }
}

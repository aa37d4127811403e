//! Soft links: columns that name the person without a foreign key.

use super::identifiers::Identifier;
use super::names::{joined, words};
use super::walk::{closure, is_a_table, one_row};
use crate::catalog::{Catalog, Column};
use crate::name::TableName;
use crate::policy::IdentifierKind;

/// A column that may name the person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// What it may refer to.
    pub target: Target,
    /// Its name says so as plainly as names can.
    pub exact: bool,
}

/// The other end of a soft link, a column of the root table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The root's primary key.
    Key {
        /// The column.
        column: String,
    },
    /// An identifier.
    Identifier {
        /// What the policy calls it.
        name: String,
        /// The column.
        column: String,
    },
}

impl Target {
    /// The column of the root table.
    pub fn column(&self) -> &str {
        match self {
            Self::Key { column } | Self::Identifier { column, .. } => column,
        }
    }
}

/// All columns worth a question, table by table.
pub(super) fn candidates(
    catalog: &Catalog,
    root: &TableName,
    identifiers: &[Identifier],
) -> Vec<Candidate> {
    let Some(person) = catalog.tables.get(root) else {
        return Vec::new();
    };
    let reached = closure(catalog, root);
    let mut found = Vec::new();
    for (name, table) in &catalog.tables {
        if name == root || !is_a_table(catalog, name) {
            continue;
        }
        for column in &table.columns {
            let is_free = || !refers(catalog, name, &column.name);
            let candidate = |target, exact| Candidate {
                table: name.clone(),
                column: column.name.clone(),
                target,
                exact,
            };
            if let [key] = person.primary_key.as_slice()
                && let Some(exact) = names_the_key(root, key, &column.name)
                && person.column(key).is_some_and(|k| comparable(column, k))
                && is_free()
            {
                let target = Target::Key {
                    column: key.clone(),
                };
                found.push(candidate(target, exact));
                continue;
            }
            // Rows that foreign keys lead to need no second way by a value in them.
            if reached.contains(name) {
                continue;
            }
            for identifier in identifiers {
                let other = person.column(&identifier.column);
                if let Some(exact) = names_the_identifier(root, identifier, &column.name)
                    && other.is_some_and(|other| comparable(column, other))
                    && is_free()
                {
                    let target = Target::Identifier {
                        name: identifier.name.clone(),
                        column: identifier.column.clone(),
                    };
                    found.push(candidate(target, exact));
                    break;
                }
            }
        }
    }
    found
}

/// Whether a foreign key says already what the column refers to.
pub(super) fn refers(catalog: &Catalog, table: &TableName, column: &str) -> bool {
    let keys = catalog.foreign_keys.iter();
    keys.filter(|k| k.child.0 == *table)
        .any(|k| k.child.1.iter().any(|c| c == column))
}

/// As `check` will ask.
pub(super) fn comparable(column: &Column, other: &Column) -> bool {
    column.base == other.base || column.category == other.category || column.category == 'S'
}

/// `customer_id` for `customer.id`; `old_customer_id` not quite.
fn names_the_key(root: &TableName, key: &str, column: &str) -> Option<bool> {
    let row = one_row(root);
    let last = row.rsplit('_').next().unwrap_or(&row).to_owned();
    let said = joined(column);
    let key_words = words(key).join("_");
    let mut full = vec![
        format!("_{row}_{key_words}_"),
        format!("_{}_{key_words}_", words(&root.table).join("_")),
    ];
    if words(key).len() > 1 || !key.is_ascii() {
        full.push(format!("_{key_words}_"));
    }
    if full.contains(&said) {
        return Some(true);
    }
    full.push(format!("_{last}_{key_words}_"));
    full.iter()
        .any(|f| said.ends_with(f.as_str()))
        .then_some(false)
}

/// `email` for `customer.email`, and for `customer.メール` if the policy calls that `email`;
/// `contact_email` and `customer_no` not quite.
fn names_the_identifier(root: &TableName, identifier: &Identifier, column: &str) -> Option<bool> {
    if identifier.kind == IdentifierKind::Name {
        return None;
    }
    let said = joined(column);
    let own = joined(&identifier.column);
    let row = one_row(root);
    let is = |called: &str| said == called || said == format!("_{row}{called}");
    if is(&own) || is(&joined(&identifier.name)) {
        return Some(true);
    }
    let numbered = ["no", "num", "number", "code", "cd", "bangou"]
        .iter()
        .any(|word| said == format!("_{row}_{word}_"));
    let alike = match identifier.kind {
        IdentifierKind::Plain => {
            numbered || words(&identifier.column).len() > 1 && said.ends_with(&own)
        }
        _ => said.ends_with(&own) || super::personal::by_name(column) == kind_of(&identifier.kind),
    };
    alike.then_some(false)
}

fn kind_of(kind: &IdentifierKind) -> Option<super::personal::Personal> {
    match kind {
        IdentifierKind::Email => Some(super::personal::Personal::Email),
        IdentifierKind::Phone { .. } => Some(super::personal::Personal::Phone),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_name_an_identifier_by_either_name() {
        let root = TableName::new("public", "customers");
        let identifier = Identifier {
            name: "email".into(),
            column: "メール".into(),
            kind: IdentifierKind::Email,
            find: true,
            residual: true,
            why: "",
        };
        for (column, expected) in [
            ("メール", Some(true)),
            ("email", Some(true)),
            ("customerEmail", Some(true)),
            ("hotel_email", Some(false)),
            ("email_count", None),
        ] {
            let is = names_the_identifier(&root, &identifier, column);
            assert_eq!(is, expected, "{column}");
        }
    }

    #[test]
    fn columns_name_the_key() {
        let root = TableName::new("public", "customers");
        for (column, expected) in [
            ("customer_id", Some(true)),
            ("customerId", Some(true)),
            ("customers_id", Some(true)),
            ("old_customer_id", Some(false)),
            ("id", None),
            ("order_id", None),
            ("customer_id_type", None),
        ] {
            assert_eq!(names_the_key(&root, "id", column), expected, "{column}");
        }
        let users = TableName::new("app", "app_users");
        assert_eq!(names_the_key(&users, "id", "user_id"), Some(false));
        assert_eq!(names_the_key(&root, "member_no", "member_no"), Some(true));
    }
}

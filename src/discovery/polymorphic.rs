//! Polymorphic pairs: `actor_type` says what `actor_id` is the id of.

use super::Kinds;
use super::names::{row_name, words};
use super::soft::refers;
use super::walk::is_a_table;
use crate::catalog::Catalog;
use crate::name::TableName;

/// A type column and the column whose meaning it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The table.
    pub table: TableName,
    /// Such as `actor_type`.
    pub kind: String,
    /// Such as `actor_id`.
    pub id: String,
}

/// More different values than this are no names of types.
pub(crate) const MOST_KINDS: usize = 20;
/// Longer values are no names of types.
const LONGEST: usize = 80;

/// What programs put before the name of a class.
const NAMESPACES: &[&str] = &[
    "", "app", "apps", "admin", "api", "core", "main", "model", "models", "entity", "entities",
    "domain", "com", "org",
];

/// Every pair of the database.
pub(super) fn pairs(catalog: &Catalog) -> Vec<Pair> {
    let mut found = Vec::new();
    for (name, table) in &catalog.tables {
        if !is_a_table(catalog, name) {
            continue;
        }
        for kind in table
            .columns
            .iter()
            .filter(|c| matches!(c.category, 'S' | 'E'))
        {
            let mut stem = words(&kind.name);
            let last = stem.pop();
            if stem.is_empty()
                || !matches!(last.as_deref(), Some("type" | "kind" | "class" | "model"))
            {
                continue;
            }
            stem.push("id".into());
            let id = table.columns.iter().find(|c| words(&c.name) == stem);
            if let Some(id) = id
                && !refers(catalog, name, &id.name)
            {
                found.push(Pair {
                    table: name.clone(),
                    kind: kind.name.clone(),
                    id: id.name.clone(),
                });
            }
        }
    }
    found
}

/// Which tables such values name. A value that names none is counted and forgotten: it may be
/// anything, so it is never shown.
pub(crate) fn kinds<'v>(values: impl IntoIterator<Item = &'v str>, catalog: &Catalog) -> Kinds {
    let mut kinds = Kinds::default();
    let mut seen = 0;
    for value in values {
        seen += 1;
        match named(value, catalog) {
            Some(table) => kinds.known.push((value.to_owned(), table)),
            None => kinds.others += 1,
        }
    }
    if seen > MOST_KINDS {
        return Kinds {
            known: Vec::new(),
            others: seen,
        };
    }
    kinds.known.sort();
    kinds
}

/// `Customer`, `customers`, `App\Models\Customer` and `shop.customer` name `public.customer`.
fn named(value: &str, catalog: &Catalog) -> Option<TableName> {
    let like_a_class = value.len() <= LONGEST
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '\\' | '.' | ':' | '/'));
    if !like_a_class {
        return None;
    }
    let mut parts = value.rsplit(['\\', '.', ':', '/']);
    let last = parts.next()?;
    // What stands before the name must say nothing either.
    let harmless = |part: &str| {
        let part = part.to_lowercase();
        NAMESPACES.contains(&part.as_str()) || catalog.tables.keys().any(|t| t.schema == part)
    };
    if !parts.all(harmless) {
        return None;
    }
    let wanted = row_name(last).replace('_', "");
    if wanted.is_empty() {
        return None;
    }
    let schema = value.rsplit(['\\', '.', ':', '/']).nth(1);
    let schema = schema.map(str::to_lowercase);
    // Of several schemas' tables of that name the one that is said, else the one that most keys lead
    // to: the person's, not a copy of it.
    let same = |t: &&TableName| row_name(&t.table).replace('_', "") == wanted;
    let best = |t: &&TableName| {
        let said = schema.as_ref() == Some(&t.schema);
        let keys = catalog.referring_to(t).count();
        (said, keys, std::cmp::Reverse((*t).clone()))
    };
    catalog.tables.keys().filter(same).max_by_key(best).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Table;

    #[test]
    fn only_names_of_tables_are_kept() {
        let mut catalog = Catalog::default();
        for table in ["customers", "staff_members"] {
            let name = TableName::new("public", table);
            catalog.tables.insert(name, Table::default());
        }
        let values = [
            "App\\Models\\Customer",
            "StaffMember",
            "山田 太郎",
            "taro@example.jp",
            "Yamada",
        ];
        let found = kinds(values, &catalog);
        let words: Vec<&str> = found.known.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["App\\Models\\Customer", "StaffMember"]);
        assert_eq!(found.others, 3);
        // The copy comes first by its name, and no key leads to it.
        let copy = TableName::new("crm", "customer");
        catalog.tables.insert(copy.clone(), Table::default());
        let person = TableName::new("public", "customers");
        catalog.foreign_keys.push(crate::catalog::ForeignKey {
            parent: (person.clone(), Vec::new()),
            ..Default::default()
        });
        let found = kinds(["Customer", "crm.Customer"], &catalog);
        assert_eq!(
            found.known,
            [
                ("Customer".to_owned(), person),
                ("crm.Customer".to_owned(), copy)
            ]
        );
        let many: Vec<String> = (0..30)
            .map(|n| format!("{}customer", ":".repeat(n)))
            .collect();
        let found = kinds(many.iter().map(String::as_str), &catalog);
        assert!(found.known.is_empty() && found.others == 30);
    }
}

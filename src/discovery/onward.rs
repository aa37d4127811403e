//! What keys do not lead to and a person should know of: rows told by the number of their kind, and
//! parents that belong to the one child that points at them.

use super::names::words;
use super::soft::refers;
use super::walk::is_a_table;
use crate::catalog::{Catalog, ForeignKey};
use crate::name::{QualifiedTable, TableName};
use std::collections::BTreeSet;

/// Generic relations as frameworks write them: `content_type_id`, a key to a table of kinds, and
/// `object_id`, the number of a row of that kind, without a key.
pub(super) fn generic_relations(catalog: &Catalog, root: &QualifiedTable) -> Vec<String> {
    let mut notes = Vec::new();
    for key in &catalog.foreign_keys {
        let (table, columns) = (&key.child.0, &key.child.1);
        let [kind] = columns.as_slice() else { continue };
        let Some(id) = numbered_by(catalog, table, kind) else {
            continue;
        };
        let kinds = &key.parent.0;
        notes.push(format!(
            "{table}: {id} is the number of a row whose kind {kind} tells by a row of {kinds}. If it may be the \
             person, a rule with link = {{ columns = [{id:?}], to = {:?}, when = {{ {kind} = \"…\" }} }}, and \
             there the number of the kind",
            root.to_string()
        ));
    }
    notes.sort();
    notes.dedup();
    notes
}

/// The column beside `…_type_id` that holds the number: `object_id`, `entity_object_id`, `actor_id`.
fn numbered_by<'c>(catalog: &'c Catalog, table: &TableName, kind: &str) -> Option<&'c str> {
    let said = words(kind);
    let [stem @ .., what, type_, id] = said.as_slice() else {
        return None;
    };
    if id != "id" || !matches!(type_.as_str(), "type" | "kind" | "class" | "model") {
        return None;
    }
    let ends = |last: &[&str]| -> Vec<String> {
        let last = last.iter().map(|word| (*word).to_owned());
        stem.iter().cloned().chain(last).collect()
    };
    let wanted = [
        ends(&["object", "id"]),
        ends(&["object", "pk"]),
        ends(&[what, "id"]),
    ];
    let facts = catalog
        .tables
        .get(table)
        .filter(|_| is_a_table(catalog, table))?;
    let mut columns = facts.columns.iter();
    let found = columns.find(|c| wanted.contains(&words(&c.name)))?;
    (!refers(catalog, table, &found.name)).then_some(found.name.as_str())
}

/// What points at a table that nothing leads to, if that is the person's: an order at its address.
/// Where the row is that one's alone, a link the other way round reaches it.
pub(super) fn pointed_at(
    catalog: &Catalog,
    table: &TableName,
    ruled: &BTreeSet<&TableName>,
) -> Option<String> {
    let mut keys = catalog.foreign_keys.iter();
    let key: &ForeignKey = keys.find(|k| k.parent.0 == *table && ruled.contains(&k.child.0))?;
    let child = QualifiedTable {
        system: catalog.system.clone(),
        table: key.child.0.clone(),
    };
    Some(format!(
        "{} points at it: if its rows are that one's alone, a rule with link = {{ columns = {:?}, to = {:?}, key = {:?} }}",
        key.child.0,
        key.parent.1,
        child.to_string(),
        key.child.1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Column, Table};

    fn catalog(columns: &[&str], key: (&str, &str)) -> Catalog {
        let mut catalog = Catalog {
            system: "app".into(),
            ..Catalog::default()
        };
        let table = Table {
            columns: columns
                .iter()
                .map(|name| Column {
                    name: (*name).into(),
                    ..Column::default()
                })
                .collect(),
            ..Table::default()
        };
        catalog.tables.insert(TableName::new("public", "t"), table);
        let parent = TableName::new("public", key.1);
        catalog.tables.insert(parent.clone(), Table::default());
        catalog.foreign_keys.push(ForeignKey {
            child: (TableName::new("public", "t"), vec![key.0.into()]),
            parent: (parent, vec!["id".into()]),
            ..a_key()
        });
        catalog
    }

    fn a_key() -> ForeignKey {
        ForeignKey {
            name: "k".into(),
            child: (TableName::new("", ""), Vec::new()),
            parent: (TableName::new("", ""), Vec::new()),
            equality: Vec::new(),
            on_delete: crate::catalog::OnDelete::NoAction,
            sets: Vec::new(),
            match_full: false,
            enforced: true,
        }
    }

    fn root() -> QualifiedTable {
        "app.public.person".parse().unwrap()
    }

    #[test]
    fn a_kind_by_its_number_is_told() {
        for (columns, kind, id) in [
            (
                ["content_type_id", "object_id"],
                "content_type_id",
                "object_id",
            ),
            (
                ["content_type_id", "object_pk"],
                "content_type_id",
                "object_pk",
            ),
            (
                ["entity_content_type_id", "entity_object_id"],
                "entity_content_type_id",
                "entity_object_id",
            ),
            (["actor_type_id", "actor_id"], "actor_type_id", "actor_id"),
        ] {
            let notes = generic_relations(&catalog(&columns, (kind, "kinds")), &root());
            let link = format!(
                "link = {{ columns = [\"{id}\"], to = \"app.public.person\", when = {{ {kind} = \"…\" }} }}"
            );
            assert!(notes.len() == 1 && notes[0].contains(&link), "{notes:?}");
        }
        let other = catalog(&["event_type_id", "order_id"], ("event_type_id", "kinds"));
        assert!(generic_relations(&other, &root()).is_empty());
        // A key says already what the number is of.
        let said = catalog(&["actor_type_id", "actor_id"], ("actor_id", "kinds"));
        assert!(generic_relations(&said, &root()).is_empty());
    }

    #[test]
    fn a_parent_of_the_persons_row_is_told_with_the_link() {
        let catalog = catalog(&["id", "address_id"], ("address_id", "address"));
        let (child, parent) = (
            TableName::new("public", "t"),
            TableName::new("public", "address"),
        );
        let told = pointed_at(&catalog, &parent, &BTreeSet::from([&child])).unwrap();
        let link = "link = { columns = [\"id\"], to = \"app.public.t\", key = [\"address_id\"] }";
        assert!(told.contains(link), "{told}");
        assert_eq!(pointed_at(&catalog, &parent, &BTreeSet::new()), None);
    }
}

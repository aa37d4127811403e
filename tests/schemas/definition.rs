//! What the database says of its tables, read by queries of this file's own: nothing here knows
//! `src/catalog`.

use crate::support::Server;
use std::collections::{BTreeMap, BTreeSet};

/// A column.
pub(crate) struct Column {
    pub(crate) name: String,
    /// Of a domain the type below it.
    pub(crate) kind: String,
    /// `S`, `N`, `D`, …: `pg_type.typcategory`.
    pub(crate) category: char,
    /// Of a text that has a longest length.
    pub(crate) longest: Option<usize>,
    pub(crate) not_null: bool,
    /// The database gives a number of its own.
    pub(crate) numbered: bool,
    pub(crate) generated: bool,
    pub(crate) unique: bool,
    /// Of an enum.
    pub(crate) first_label: Option<String>,
}

/// A foreign key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) child: String,
    pub(crate) columns: Vec<String>,
    pub(crate) parent: String,
    pub(crate) referred: Vec<String>,
}

/// A table: `schema.table` to its columns and primary key.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) primary: Vec<String>,
}

impl Table {
    pub(crate) fn at(&self, column: &str) -> usize {
        let at = self.columns.iter().position(|c| c.name == column);
        at.unwrap_or_else(|| panic!("no column {column}"))
    }

    pub(crate) fn column(&self, name: &str) -> &Column {
        &self.columns[self.at(name)]
    }
}

/// All of it.
pub(crate) struct Definition {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) keys: Vec<Key>,
}

const COLUMNS: &str = "
    SELECT n.nspname || '.' || c.relname, a.attname, b.typname, b.typcategory,
           CASE WHEN b.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END,
           a.attnotnull, a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval%', false),
           a.attgenerated <> '',
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey)),
           (SELECT enumlabel FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder LIMIT 1)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
         JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'erasured')
    ORDER BY 1, a.attnum";

const KEYS: &str = "
    SELECT k.conname, cn.nspname || '.' || c.relname, pn.nspname || '.' || p.relname,
           (SELECT string_agg(a.attname, ',' ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(at, n)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.at),
           (SELECT string_agg(a.attname, ',' ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u(at, n)
            JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = u.at)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
         JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 1";

const PRIMARY: &str = "
    SELECT n.nspname || '.' || c.relname, a.attname
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    WHERE i.indisprimary AND NOT c.relispartition ORDER BY 1, a.attnum";

impl Definition {
    pub(crate) fn read(server: &Server, database: &str) -> Self {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for row in server.query(database, COLUMNS) {
            let text = |n: usize| row[n].clone().unwrap_or_default();
            let yes = |n: usize| row[n].as_deref() == Some("t");
            tables.entry(text(0)).or_default().columns.push(Column {
                name: text(1),
                kind: text(2),
                category: text(3).chars().next().unwrap(),
                longest: row[4].as_ref().map(|n| n.parse().unwrap()),
                not_null: yes(5),
                numbered: yes(6),
                generated: yes(7),
                unique: yes(8),
                first_label: row[9].clone(),
            });
        }
        for row in server.query(database, PRIMARY) {
            if let Some(table) = tables.get_mut(row[0].as_deref().unwrap()) {
                table.primary.push(row[1].clone().unwrap());
            }
        }
        let list = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            text.split(',').map(str::to_owned).collect()
        };
        let keys = server.query(database, KEYS);
        let keys = keys.iter().map(|row| Key {
            name: row[0].clone().unwrap(),
            child: row[1].clone().unwrap(),
            parent: row[2].clone().unwrap(),
            columns: list(&row[3]),
            referred: list(&row[4]),
        });
        Self {
            tables,
            keys: keys.collect(),
        }
    }

    /// Whatever keys lead to from these tables.
    pub(crate) fn reached(&self, from: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let mut reached: BTreeSet<String> = from.into_iter().collect();
        loop {
            let before = reached.len();
            for key in &self.keys {
                if reached.contains(&key.parent) {
                    reached.insert(key.child.clone());
                }
            }
            if reached.len() == before {
                return reached;
            }
        }
    }

    pub(crate) fn keys_of(&self, table: &str) -> Vec<&Key> {
        let keys = self.keys.iter();
        keys.filter(|key| key.child == table).collect()
    }
}

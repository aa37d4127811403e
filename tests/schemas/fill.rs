//! Rows for every table, from the definitions alone. Row `n` of a table that hangs off persons
//! hangs off row `n` of its parents, counted round, so that what hangs together is one person's;
//! by its second and further keys one in eight hangs off another row, so that people's rows are
//! mixed as they are in life.

use crate::definition::{Definition, Key};
use crate::support::{Server, quoted};
use crate::value::{PERSONS, value};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of a table that no person reaches.
const OTHERS: usize = 40;

/// What is told by hand: `table.column` to SQL over `n`, where no type says what is wanted.
pub(crate) type ByHand = BTreeMap<String, String>;

/// Fills every table that the migrations left empty, parents first.
pub(crate) struct Filling<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: &'a str,
    pub(crate) definition: &'a Definition,
    pub(crate) root: &'a str,
    /// Whatever hangs off persons, by keys or by links.
    pub(crate) reached: &'a BTreeSet<String>,
    pub(crate) by_hand: &'a ByHand,
}

impl Filling<'_> {
    pub(crate) fn fill(&self) {
        let mut open: BTreeSet<&String> = self.definition.tables.keys().collect();
        let mut filled: BTreeSet<String> = BTreeSet::new();
        let mut later: Vec<&Key> = Vec::new();
        while !open.is_empty() {
            let table = self.next(&open, &filled);
            open.remove(&table);
            let keys = self.definition.keys_of(&table);
            let (now, then): (Vec<&Key>, Vec<&Key>) = keys
                .into_iter()
                .partition(|key| filled.contains(&key.parent));
            later.extend(then);
            let empty = format!("SELECT count(*) FROM {}", named(&table));
            if self.reached.contains(&table) || self.server.count(self.database, &empty) == 0 {
                self.table(&table, &now);
            }
            filled.insert(table);
        }
        for key in later {
            self.ring(key);
        }
    }

    /// A table whose parents are all there, or, in a ring, at least those it cannot do without.
    fn next(&self, open: &BTreeSet<&String>, filled: &BTreeSet<String>) -> String {
        let waits = |table: &str, needed: bool| {
            self.definition.keys_of(table).iter().any(|key| {
                key.parent != table
                    && !filled.contains(&key.parent)
                    && (!needed || self.is_needed(key))
            })
        };
        let mut tables = open.iter();
        let free = tables.clone().find(|table| !waits(table, false));
        let free = free.or_else(|| tables.find(|table| !waits(table, true)));
        (**free.expect("no ring of NOT NULL keys")).clone()
    }

    fn is_needed(&self, key: &Key) -> bool {
        let table = &self.definition.tables[&key.child];
        key.columns.iter().any(|c| table.column(c).not_null)
    }

    fn table(&self, name: &str, keys: &[&Key]) {
        let theirs = self.reached.contains(name);
        let rows = match name {
            _ if name == self.root => PERSONS,
            _ if theirs => 2 * PERSONS,
            _ => OTHERS,
        };
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        let mut from = format!("generate_series(0, {}) n", rows - 1);
        // By the first the row is somebody's, whose words stand in it; the others may lead elsewhere.
        let hangs = |key: &&Key| self.reached.contains(&key.parent);
        let first = keys
            .iter()
            .position(|key| key.parent == self.root)
            .or_else(|| {
                keys.iter()
                    .position(|key| hangs(key) && self.is_needed(key))
            })
            .or_else(|| keys.iter().position(hangs));
        for (at, key) in keys.iter().enumerate() {
            // Two keys over one column: the first says what it holds.
            if key.columns.iter().any(|c| columns.contains(c)) || self.told(name, &key.columns) {
                continue;
            }
            let (joined, cells) = self.join(key, at, Some(at) == first);
            from += &joined;
            columns.extend(key.columns.iter().cloned());
            values.extend(cells);
        }
        for column in &self.definition.tables[name].columns {
            let told = self.by_hand.get(&format!("{name}.{}", column.name));
            let is_key = self
                .definition
                .keys_of(name)
                .iter()
                .any(|k| k.columns.contains(&column.name));
            if columns.contains(&column.name)
                || column.generated
                || told.is_none() && (column.numbered || is_key)
            {
                continue;
            }
            columns.push(column.name.clone());
            values.push(told.cloned().unwrap_or_else(|| value(column, theirs)));
        }
        let columns: Vec<String> = columns.iter().map(|c| quoted(c)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {from} ORDER BY n ON CONFLICT DO NOTHING",
            named(name),
            columns.join(", "),
            values.join(", ")
        );
        let done = self.server.try_execute(self.database, &sql);
        done.unwrap_or_else(|e| panic!("{name}: {}\n{sql}", crate::support::told(&e)));
    }

    fn told(&self, table: &str, columns: &[String]) -> bool {
        columns
            .iter()
            .any(|c| self.by_hand.contains_key(&format!("{table}.{c}")))
    }

    /// The parents numbered, and which of them row `n` gets.
    fn join(&self, key: &Key, at: usize, first: bool) -> (String, Vec<String>) {
        let parent = named(&key.parent);
        let cells: Vec<String> = (0..key.referred.len())
            .map(|c| format!("p{at}.c{c}"))
            .collect();
        let referred: Vec<String> = key.referred.iter().map(|c| quoted(c)).collect();
        let numbered: Vec<String> = referred
            .iter()
            .enumerate()
            .map(|(c, name)| format!("{name} AS c{c}"))
            .collect();
        let luck = format!("abs(hashtext('{} ' || n)::bigint)", key.name);
        let which = if first {
            "n".to_owned()
        } else if self.reached.contains(&key.parent) {
            format!("CASE WHEN {luck} % 8 = 0 THEN {luck} / 8 ELSE n END")
        } else {
            luck.clone()
        };
        let some = if first || self.is_needed(key) {
            String::new()
        } else {
            // One in five stands for itself.
            format!(" AND {luck} % 5 <> 1")
        };
        let joined = format!(
            " LEFT JOIN (SELECT row_number() OVER (ORDER BY {order}) - 1 AS i, {}, count(*) OVER () AS of FROM {parent}) p{at} \
             ON p{at}.i = ({which}) % (SELECT greatest(count(*), 1) FROM {parent}){some}",
            numbered.join(", "),
            order = referred.join(", ")
        );
        (joined, cells)
    }

    /// A key that had to wait for its parent: every third row gets one.
    fn ring(&self, key: &Key) {
        if self.is_needed(key) || self.told(&key.child, &key.columns) {
            return;
        }
        let (child, parent) = (named(&key.child), named(&key.parent));
        let referred: Vec<String> = key.referred.iter().map(|c| quoted(c)).collect();
        let sets: Vec<String> = key
            .columns
            .iter()
            .zip(&referred)
            .map(|(column, referred)| format!("{} = p.{referred}", quoted(column)))
            .collect();
        let order = referred.join(", ");
        let sql = format!(
            "UPDATE {child} c SET {sets} FROM \
               (SELECT ctid AS at, row_number() OVER (ORDER BY ctid) - 1 AS i FROM {child}) n, \
               (SELECT row_number() OVER (ORDER BY {order}) - 1 AS i, count(*) OVER () AS of, * FROM {parent}) p \
             WHERE c.ctid = n.at AND n.i % 3 = 1 AND p.i = abs(n.i - 1) % p.of",
            sets = sets.join(", ")
        );
        // A one-to-one key may have no room for it: then the ring stays open there.
        let done = self.server.try_execute(self.database, &sql);
        if let Err(error) = done {
            let code = error.code().map(|c| c.code().to_owned());
            assert!(
                matches!(code.as_deref(), Some("23505" | "23514")),
                "{}\n{sql}",
                crate::support::told(&error)
            );
        }
    }
}

/// `schema.table`, quoted.
pub(crate) fn named(table: &str) -> String {
    let (schema, name) = table.split_once('.').expect("schema.table");
    format!("{}.{}", quoted(schema), quoted(name))
}

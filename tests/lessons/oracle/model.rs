//! A random case, and the same as SQL, as a policy, and as rows read back.

use crate::target::{Target, head};
use proptest::prelude::*;
use std::fmt::Write;
use tokio_postgres::SimpleQueryMessage;

/// The choices as drawn: any of them makes a case, so that they shrink freely.
#[derive(Clone, Debug)]
pub(super) struct RawCase {
    root_action: u8,
    root_self: Option<RawKey>,
    root_rows: u8,
    two_subjects: bool,
    tables: Vec<RawTable>,
}

#[derive(Clone, Debug)]
struct RawTable {
    key: u8,
    common: bool,
    keys: Vec<RawKey>,
    rows: Vec<RawRow>,
}

#[derive(Clone, Debug)]
struct RawKey {
    parent: u8,
    nullable: bool,
    on_delete: u8,
    deferrable: u8,
    soft: bool,
    own: bool,
    action: u8,
    null_all: bool,
    redact: bool,
}

#[derive(Clone, Debug)]
struct RawRow {
    refs: [u8; 4],
    old: bool,
    note: bool,
}

pub(super) fn raw_case() -> impl Strategy<Value = RawCase> {
    (
        any::<u8>(),
        proptest::option::weighted(0.3, raw_key()),
        any::<u8>(),
        any::<bool>(),
        proptest::collection::vec(raw_table(), 2..=6),
    )
        .prop_map(
            |(root_action, root_self, root_rows, two_subjects, tables)| RawCase {
                root_action,
                root_self,
                root_rows,
                two_subjects,
                tables,
            },
        )
}

fn raw_table() -> impl Strategy<Value = RawTable> {
    (
        0..5u8,
        any::<bool>(),
        proptest::collection::vec(raw_key(), 1..=3),
        proptest::collection::vec(raw_row(), 0..=7),
    )
        .prop_map(|(key, common, keys, rows)| RawTable {
            key,
            common,
            keys,
            rows,
        })
}

fn raw_key() -> impl Strategy<Value = RawKey> {
    let often = proptest::bool::weighted(0.6);
    (
        any::<u8>(),
        often,
        any::<u8>(),
        0..4u8,
        proptest::bool::weighted(0.15),
        proptest::bool::weighted(0.3),
        any::<u8>(),
        often,
        any::<bool>(),
    )
        .prop_map(
            |(parent, nullable, on_delete, deferrable, soft, own, action, null_all, redact)| {
                RawKey {
                    parent,
                    nullable,
                    on_delete,
                    deferrable,
                    soft,
                    own,
                    action,
                    null_all,
                    redact,
                }
            },
        )
}

fn raw_row() -> impl Strategy<Value = RawRow> {
    (any::<[u8; 4]>(), any::<bool>(), any::<bool>()).prop_map(|(refs, old, note)| RawRow {
        refs,
        old,
        note,
    })
}

/// What a policy does to rows reached by one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Delete,
    Anonymize,
    Detach,
    Retain,
    WithParent,
    Exempt,
}

/// A rule: for one key, or (`Anonymize`, `Retain`) with what it sets.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Key of which table and number it is written for.
    pub(super) id: (usize, usize),
    /// It covers the other keys of the table that have this id, too.
    common: bool,
    pub(super) act: Act,
    /// Columns set to NULL.
    pub(super) nulls: Vec<String>,
    /// Whether `note` is redacted.
    pub(super) redact: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) parent: usize,
    /// Columns of the child, as many as the parent's key has.
    pub(super) columns: Vec<String>,
    nullable: bool,
    on_delete: &'static str,
    deferrable: &'static str,
    soft: bool,
    pub(super) rule: Rule,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ref {
    Null,
    /// Composite key with its second column NULL: refers to nothing.
    Half(usize),
    To(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) refs: Vec<Ref>,
    pub(super) old: bool,
    pub(super) note: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `id`, or `k1, k2`, or nothing.
    pub(super) key: Vec<&'static str>,
    pub(super) keys: Vec<Key>,
    pub(super) rows: Vec<Row>,
}

/// A case, worked out.
pub(super) struct Model {
    pub(super) schema: String,
    pub(super) root: Rule,
    pub(super) tables: Vec<Table>,
    /// Positions, hence ids, of rows of table 0.
    pub(super) subjects: Vec<usize>,
}

const ACTS: [Act; 12] = [
    Act::Delete,
    Act::Delete,
    Act::Delete,
    Act::Anonymize,
    Act::Anonymize,
    Act::Detach,
    Act::Detach,
    Act::Retain,
    Act::Retain,
    Act::WithParent,
    Act::WithParent,
    Act::Exempt,
];

impl Model {
    pub(super) fn new(raw: &RawCase, schema: &str) -> Self {
        let rows = 2 + usize::from(raw.root_rows % 4);
        let root_act = [Act::Delete, Act::Delete, Act::Delete, Act::Anonymize];
        let mut model = Self {
            schema: schema.to_owned(),
            root: Rule {
                id: (0, 99),
                common: false,
                act: root_act[usize::from(raw.root_action % 4)],
                nulls: Vec::new(),
                redact: true,
            },
            tables: vec![Table {
                key: vec!["id"],
                keys: Vec::new(),
                rows: Vec::new(),
            }],
            subjects: if raw.two_subjects {
                vec![0, 1]
            } else {
                vec![0]
            },
        };
        if let Some(key) = &raw.root_self {
            let key = RawKey {
                nullable: true,
                parent: 0,
                ..key.clone()
            };
            model.add_key(0, &key, None);
        }
        for at in 0..rows {
            let row = RawRow {
                refs: [u8::try_from(at * 7 + 3).unwrap(); 4],
                old: at % 2 == 0,
                note: true,
            };
            model.add_row(0, &row);
        }
        for raw in &raw.tables {
            model.add_table(raw);
        }
        model
    }

    fn add_table(&mut self, raw: &RawTable) {
        let at = self.tables.len();
        self.tables.push(Table {
            key: match raw.key {
                0 | 1 => vec!["id"],
                2 | 3 => vec!["k1", "k2"],
                _ => Vec::new(),
            },
            keys: Vec::new(),
            rows: Vec::new(),
        });
        let first = raw.keys.first().map(|k| k.action);
        // A key to the table itself comes last: what the others do decides what it may do.
        let selfish = |k: &&RawKey| usize::from(k.parent) % (at + 1) == at;
        for key in raw.keys.iter().filter(|k| !selfish(k)) {
            self.add_key(at, key, first);
        }
        for key in raw.keys.iter().filter(selfish) {
            self.add_key(at, key, first);
        }
        self.let_go(at);
        if raw.common {
            self.share_rule(at);
        }
        for row in &raw.rows {
            self.add_row(at, row);
        }
    }

    /// Keys to different tables with one action get one rule without `via`, as authors write it.
    fn share_rule(&mut self, table: usize) {
        let keys = &self.tables[table].keys;
        let fits: Vec<usize> = (0..keys.len())
            .filter(|&n| {
                let once = keys.iter().filter(|k| k.parent == keys[n].parent).count() == 1;
                let act = keys[n].rule.act;
                once && !keys[n].soft
                    && keys[n].parent != table
                    && act == keys[0].rule.act
                    && act != Act::WithParent
            })
            .collect();
        let mut nulls: Vec<String> = fits
            .iter()
            .flat_map(|&n| keys[n].rule.nulls.clone())
            .collect();
        nulls.sort();
        nulls.dedup();
        let Some(&first) = fits.first() else { return };
        let redact = keys[first].rule.redact;
        for n in fits {
            let rule = &mut self.tables[table].keys[n].rule;
            rule.id = (table, first);
            rule.common = true;
            if rule.act != Act::Detach {
                rule.nulls.clone_from(&nulls);
                rule.redact = redact;
            }
        }
    }

    fn add_key(&mut self, child: usize, raw: &RawKey, first: Option<u8>) {
        let n = self.tables[child].keys.len();
        let mut parent = usize::from(raw.parent) % (child + 1);
        let reached = n > 0 || child == 0 || parent != child && self.leads(parent);
        if self.tables[parent].key.is_empty() || !reached {
            parent = 0;
        }
        let nullable = raw.nullable || parent == child;
        let columns = (0..self.tables[parent].key.len()).map(|c| format!("f{n}_{c}"));
        let key = Key {
            name: format!("fk_{child}_{n}"),
            parent,
            columns: columns.collect(),
            nullable,
            on_delete: match raw.on_delete % 4 {
                0 => "NO ACTION",
                1 => "RESTRICT",
                2 => "CASCADE",
                _ if nullable => "SET NULL",
                _ => "NO ACTION",
            },
            deferrable: match raw.deferrable {
                0 => " DEFERRABLE INITIALLY DEFERRED",
                1 => " DEFERRABLE",
                _ => "",
            },
            soft: raw.soft && parent != child,
            rule: Rule {
                id: (child, n),
                common: false,
                act: Act::Delete,
                nulls: Vec::new(),
                redact: raw.redact,
            },
        };
        let action = if raw.own {
            raw.action
        } else {
            first.unwrap_or(raw.action)
        };
        let act = self.fitting(child, &key, ACTS[usize::from(action) % ACTS.len()]);
        self.tables[child].keys.push(key);
        let key = &mut self.tables[child].keys[n];
        key.rule.act = act;
        self.set(child, n, raw.null_all);
    }

    /// What a careful author would write instead of what the database would overrule.
    fn fitting(&self, child: usize, key: &Key, wish: Act) -> Act {
        let goes = self.goes(key.parent);
        match wish {
            Act::Exempt if goes && !key.soft => Act::Delete,
            Act::Retain | Act::WithParent if self.tables[child].key.is_empty() => Act::Delete,
            Act::WithParent if !self.retained(key.parent) || key.parent == child => Act::Delete,
            Act::Detach if !key.nullable => Act::Delete,
            Act::Anonymize | Act::Retain if goes && !key.nullable && !key.soft => Act::Delete,
            wish => wish,
        }
    }

    /// Whether what hangs off the table's rows is the subject's.
    fn leads(&self, table: usize) -> bool {
        table == 0
            || self.tables[table].keys.iter().any(|k| {
                k.parent != table
                    && !matches!(k.rule.act, Act::Detach | Act::Exempt)
                    && self.leads(k.parent)
            })
    }

    /// A row that one key retains must not hang by another on a row that goes.
    fn let_go(&mut self, table: usize) {
        for n in 0..self.tables[table].keys.len() {
            let keys = &self.tables[table].keys;
            if !matches!(keys[n].rule.act, Act::Retain | Act::WithParent) {
                continue;
            }
            let hangs = |other: &&Key| {
                let empties = other.columns.iter().any(|c| other.rule.nulls.contains(c));
                !other.soft
                    && other.name != keys[n].name
                    && self.goes(other.parent)
                    && !(matches!(other.rule.act, Act::Anonymize | Act::Detach) && empties)
            };
            let others: Vec<Key> = keys.iter().filter(hangs).cloned().collect();
            let rule = &mut self.tables[table].keys[n].rule;
            if others.iter().any(|k| !k.nullable) {
                rule.act = Act::Delete;
                rule.redact = false;
                rule.nulls.clear();
            } else {
                rule.nulls
                    .extend(others.into_iter().flat_map(|k| k.columns));
                rule.nulls.sort();
                rule.nulls.dedup();
            }
        }
    }

    fn goes(&self, table: usize) -> bool {
        let of_keys = self.tables[table]
            .keys
            .iter()
            .any(|k| matches!(k.rule.act, Act::Delete | Act::Retain | Act::WithParent));
        of_keys || table == 0 && self.root.act == Act::Delete
    }

    fn retained(&self, table: usize) -> bool {
        let keys = &self.tables[table].keys;
        table != 0
            && !keys.is_empty()
            && keys
                .iter()
                .all(|k| matches!(k.rule.act, Act::Retain | Act::WithParent))
    }

    fn set(&mut self, child: usize, n: usize, null_all: bool) {
        let table = &self.tables[child];
        let (key, goes) = (&table.keys[n], self.goes(table.keys[n].parent));
        let own = key.nullable && (goes || null_all) && key.rule.act != Act::WithParent;
        let mut nulls = Vec::new();
        for (at, other) in table.keys.iter().enumerate() {
            if other.nullable && (at == n && own || at != n && null_all) {
                nulls.extend(other.columns.clone());
            }
        }
        let columns = table.keys[n].columns.clone();
        let rule = &mut self.tables[child].keys[n].rule;
        match rule.act {
            Act::Anonymize => {
                rule.redact |= nulls.is_empty();
                rule.nulls = nulls;
            }
            Act::Retain | Act::WithParent => rule.nulls = nulls,
            Act::Detach => {
                rule.redact = false;
                rule.nulls = columns;
            }
            Act::Delete | Act::Exempt => rule.redact = false,
        }
    }

    /// A row whose NOT NULL keys have nothing to refer to is left out.
    fn add_row(&mut self, table: usize, raw: &RawRow) {
        let mut refs = Vec::new();
        let own = self.tables[table].rows.len();
        for (n, key) in self.tables[table].keys.iter().enumerate() {
            let there = self.tables[key.parent].rows.len();
            let draw = usize::from(raw.refs[n % 4]);
            let reference = if there == 0 || key.nullable && draw % 5 == 0 {
                Ref::Null
            } else if key.nullable && key.columns.len() == 2 && draw % 7 == 0 {
                Ref::Half(draw / 7 % there)
            } else {
                Ref::To(draw / 2 % there)
            };
            if reference == Ref::Null && !key.nullable {
                return;
            }
            refs.push(reference);
        }
        self.tables[table].rows.push(Row {
            refs,
            old: raw.old,
            note: (table == 0 || raw.note).then(|| format!("note of t{table} row {own}")),
        });
    }

    /// The values of a row's key.
    fn key_values(&self, table: usize, row: usize) -> Vec<usize> {
        match self.tables[table].key.len() {
            1 => vec![row],
            // Neither column alone tells rows apart.
            2 => vec![row / 2, row % 2 + 10],
            _ => Vec::new(),
        }
    }

    /// A row as it reads back: every column's name and text.
    pub(super) fn shown(&self, table: usize, row: usize) -> Vec<(String, Option<String>)> {
        let (facts, r) = (&self.tables[table], &self.tables[table].rows[row]);
        let key = facts.key.iter().zip(self.key_values(table, row));
        let mut shown: Vec<_> = key
            .map(|(c, v)| ((*c).to_owned(), Some(v.to_string())))
            .collect();
        for (key, reference) in facts.keys.iter().zip(&r.refs) {
            for (at, column) in key.columns.iter().enumerate() {
                let value = match reference {
                    Ref::Null => None,
                    Ref::Half(_) if at == 1 => None,
                    Ref::Half(to) | Ref::To(to) => Some(self.key_values(key.parent, *to)[at]),
                };
                shown.push((column.clone(), value.map(|v| v.to_string())));
            }
        }
        let day = if r.old { "2001-05-06" } else { "2026-05-06" };
        shown.push(("email".into(), Some(format!("r{row}@t{table}.example"))));
        shown.push(("note".into(), r.note.clone()));
        shown.push(("day".into(), Some(day.into())));
        shown
    }

    /// The schema with its rows.
    pub(super) fn sql(&self) -> String {
        let mut sql = format!("CREATE SCHEMA {0}; SET search_path = {0};\n", self.schema);
        for (at, table) in self.tables.iter().enumerate() {
            let mut columns: Vec<String> = table.key.iter().map(|c| format!("{c} int")).collect();
            for key in &table.keys {
                let not_null = if key.nullable { "" } else { " NOT NULL" };
                columns.extend(key.columns.iter().map(|c| format!("{c} int{not_null}")));
            }
            columns.push("email text, note text, day date NOT NULL".into());
            if !table.key.is_empty() {
                columns.push(format!("PRIMARY KEY ({})", table.key.join(", ")));
            }
            for key in table.keys.iter().filter(|k| !k.soft) {
                columns.push(format!(
                    "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES t{} ON DELETE {}{}",
                    key.name,
                    key.columns.join(", "),
                    key.parent,
                    key.on_delete,
                    key.deferrable
                ));
            }
            writeln!(sql, "CREATE TABLE t{at} ({});", columns.join(", ")).unwrap();
            for row in 0..table.rows.len() {
                let shown = self.shown(at, row);
                let values = shown
                    .iter()
                    .map(|(_, value)| value.as_ref().map_or("NULL".into(), |v| format!("'{v}'")));
                let values: Vec<String> = values.collect();
                writeln!(sql, "INSERT INTO t{at} VALUES ({});", values.join(", ")).unwrap();
            }
        }
        sql
    }

    /// The policy: a rule for the root, then one for each key by its name.
    pub(super) fn policy(&self) -> String {
        let mut policy = head(&format!("s.{}.t0", self.schema));
        self.write_rule(&mut policy, 0, None, &self.root);
        for (at, table) in self.tables.iter().enumerate() {
            for (n, key) in table.keys.iter().enumerate() {
                if key.rule.id == (at, n) {
                    self.write_rule(&mut policy, at, Some(key), &key.rule);
                }
            }
        }
        policy
    }

    fn write_rule(&self, policy: &mut String, table: usize, key: Option<&Key>, rule: &Rule) {
        writeln!(policy, "[[table]]\nname = \"s.{}.t{table}\"", self.schema).unwrap();
        if let Some(key) = key.filter(|_| !rule.common) {
            writeln!(policy, "via = {:?}", key.name).unwrap();
            if key.soft {
                let columns = &key.columns;
                let to = format!("s.{}.t{}", self.schema, key.parent);
                writeln!(policy, "link = {{ columns = {columns:?}, to = {to:?} }}").unwrap();
            }
        }
        let mut set: Vec<String> = rule
            .nulls
            .iter()
            .map(|c| format!("{c} = \"null\""))
            .collect();
        if rule.redact {
            set.push("note = \"redact\"".into());
        }
        let set = if set.is_empty() {
            String::new()
        } else {
            format!("set = {{ {} }}\n", set.join(", "))
        };
        let text = match rule.act {
            Act::Delete => "action = \"delete\"\n".into(),
            Act::Detach => "action = \"detach\"\n".into(),
            Act::Exempt => "action = \"exempt\"\nreason = \"not theirs\"\n".into(),
            Act::Anonymize => format!("action = \"anonymize\"\n{set}"),
            Act::Retain => format!(
                "action = \"retain\"\nuntil = {{ column = \"day\", plus = \"7 years\" }}\nbecause = \"books are kept\"\nthen = \"delete\"\n{set}"
            ),
            Act::WithParent => {
                format!("action = \"retain\"\nbecause = \"books are kept\"\n{set}")
            }
        };
        policy.push_str(&text);
    }

    /// All rows as they are now, table by table, sorted.
    pub(super) async fn read(&self, target: &Target) -> Vec<Vec<String>> {
        let client = target.client().await;
        let selects =
            (0..self.tables.len()).map(|at| format!("SELECT * FROM {}.t{at};", self.schema));
        let messages = client
            .simple_query(&selects.collect::<String>())
            .await
            .unwrap();
        let mut tables = Vec::new();
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<_> = (0..row.len())
                        .map(|c| row.get(c).map(str::to_owned))
                        .collect();
                    rows.push(format!("{values:?}"));
                }
                SimpleQueryMessage::CommandComplete(_) => {
                    rows.sort();
                    tables.push(std::mem::take(&mut rows));
                }
                _ => {}
            }
        }
        tables
    }
}

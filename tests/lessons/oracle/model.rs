//! A random case, worked out: tables, keys, rows, and for each key what its rule does.

use super::raw::{RawCase, RawKey, RawRow, RawTable};
use std::collections::BTreeSet;

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
    pub(super) common: bool,
    pub(super) act: Act,
    /// Columns set to NULL.
    pub(super) nulls: Vec<String>,
    /// Whether `note` is redacted.
    pub(super) redact: bool,
}

/// By what a row refers to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Foreign,
    /// Columns without a foreign key.
    Soft,
    /// The same, where a further column says so.
    When,
    /// A path in a document.
    Json,
    /// An element of an array, beside one that leads nowhere.
    Array,
    /// The same of a list in a document.
    JsonList,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) parent: usize,
    /// Columns of the child, as many as those of the parent.
    pub(super) columns: Vec<String>,
    /// Columns of the parent: its key, or `u`.
    pub(super) to: Vec<&'static str>,
    pub(super) nullable: bool,
    /// The first column is the first of the child's own key.
    pub(super) tenant: bool,
    pub(super) kind: Kind,
    pub(super) full: bool,
    /// Its columns are written the other way round.
    pub(super) swapped: bool,
    pub(super) not_valid: bool,
    pub(super) on_delete: &'static str,
    pub(super) on_update: &'static str,
    pub(super) deferrable: &'static str,
    /// Leads to a table that comes later.
    pub(super) back: bool,
    null_all: bool,
    redact: bool,
    pub(super) rule: Rule,
}

impl Key {
    pub(super) fn foreign(&self) -> bool {
        self.kind == Kind::Foreign
    }

    /// The columns that may be NULL.
    pub(super) fn open(&self) -> &[String] {
        match (self.nullable, self.tenant) {
            (false, _) => &[],
            (true, true) => &self.columns[1..],
            (true, false) => &self.columns,
        }
    }

    /// Those of them that `detach` empties: a key that says itself which columns ON DELETE empties
    /// keeps the others.
    fn link(&self) -> &[String] {
        match self.on_delete {
            "SET NULL (column)" => &self.columns[1..],
            _ => self.open(),
        }
    }

    /// One of the elements of a list refers.
    pub(super) fn by_element(&self) -> bool {
        matches!(self.kind, Kind::Array | Kind::JsonList)
    }

    fn keeps(&self) -> bool {
        matches!(self.rule.act, Act::Retain | Act::WithParent)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ref {
    Null,
    /// Composite key with its second column NULL: refers to nothing.
    Half(usize),
    To(usize),
    /// What no row has.
    Nowhere,
    /// The row's number, but the further column says that another kind of thing is meant.
    Other(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) refs: Vec<Ref>,
    pub(super) old: bool,
    pub(super) note: Option<String>,
    /// Columns emptied since.
    pub(super) nulled: BTreeSet<String>,
    /// Columns whose lists have lost the element that referred.
    pub(super) cut: BTreeSet<String>,
    pub(super) redacted: bool,
    pub(super) gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    List,
    Range,
    Hash,
    TwoLevels,
    /// Every other row stands in a table that inherits.
    Heir,
}

/// What a table has besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    Identity = 1,
    Enum = 2,
    Domain = 4,
    Generated = 8,
    Dropped = 16,
    Unique = 32,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `id`, or `k1, k2`, or nothing.
    pub(super) key: Vec<&'static str>,
    pub(super) form: Form,
    dress: u8,
    pub(super) keys: Vec<Key>,
    pub(super) rows: Vec<Row>,
    /// The table of its owners, and the rule.
    pub(super) shared: Option<(usize, Rule)>,
    /// The table whose owners its rows are.
    pub(super) owns: Option<usize>,
}

impl Table {
    pub(super) fn has(&self, dress: Dress) -> bool {
        let partitioned = !matches!(self.form, Form::Plain | Form::Heir);
        let fits = match dress {
            Dress::Identity | Dress::Unique => self.form == Form::Plain,
            Dress::Dropped => !partitioned,
            _ => true,
        };
        fits && self.dress & dress as u8 != 0
    }

    fn new(key: Vec<&'static str>, form: Form, dress: u8) -> Self {
        Self {
            key,
            form,
            dress,
            keys: Vec::new(),
            rows: Vec::new(),
            shared: None,
            owns: None,
        }
    }
}

/// A case, worked out.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) schema: String,
    pub(super) two_schemas: bool,
    /// How names are spelt.
    pub(super) names: u8,
    pub(super) root: Rule,
    pub(super) tables: Vec<Table>,
    /// Positions, hence ids, of rows of table 0: batch after batch.
    pub(super) batches: Vec<Vec<usize>>,
    /// The tables of the scope that is asked for; `None` for the whole person.
    pub(super) scope: Option<BTreeSet<usize>>,
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
        let root_act = [Act::Delete, Act::Delete, Act::Delete, Act::Anonymize];
        let rows = 2 + usize::from(raw.root_rows % 4);
        let mut model = Self {
            schema: schema.to_owned(),
            two_schemas: raw.two_schemas,
            names: raw.names,
            root: rule((0, 99), root_act[usize::from(raw.root_action % 4)], true),
            tables: vec![Table::new(vec!["id"], Form::Plain, 0)],
            batches: batches(raw, rows),
            scope: None,
        };
        if let Some(key) = &raw.root_self {
            let key = RawKey {
                nullable: true,
                parent: 0,
                ..key.clone()
            };
            model.add_key(0, &key, None);
        }
        for table in &raw.tables {
            if table.shared {
                model.add_shared(table);
            }
            model.add_table(table);
        }
        for (from, to, key) in &raw.rings {
            model.add_ring(usize::from(*from), usize::from(*to), key);
        }
        model.settle();
        let drawn = (1..model.tables.len())
            .filter(|&t| model.tables[t].shared.is_none() && model.tables[t].owns.is_none());
        for (table, raw) in drawn.collect::<Vec<_>>().into_iter().zip(&raw.tables) {
            if raw.common {
                model.share_rule(table);
            }
        }
        model.add_rows(raw, rows);
        model
    }

    /// Whether the scope covers a table.
    pub(super) fn covers(&self, table: usize) -> bool {
        self.scope.as_ref().is_none_or(|s| s.contains(&table))
    }

    /// The same under a scope of some tables, drawn by these bits; `None` if they draw none.
    pub(super) fn narrowed(&self, bits: u64) -> Option<Self> {
        let drawn = (0..self.tables.len()).filter(|t| bits >> t & 1 == 1);
        let scope: BTreeSet<usize> = drawn.collect();
        (!scope.is_empty()).then(|| Self {
            scope: Some(scope),
            ..self.clone()
        })
    }

    fn add_table(&mut self, raw: &RawTable) {
        let at = self.tables.len();
        let key = match raw.key {
            0 | 1 => vec!["id"],
            2 | 3 => vec!["k1", "k2"],
            _ => Vec::new(),
        };
        let form = match raw.form {
            0 => Form::List,
            1 => Form::Range,
            2 => Form::Hash,
            3 => Form::TwoLevels,
            4..=6 if key.is_empty() => Form::Heir,
            _ => Form::Plain,
        };
        self.tables.push(Table::new(key, form, raw.dress));
        let first = raw.keys.first().map(|k| k.action);
        // A key to the table itself comes last: what the others do decides what it may do.
        let selfish = |k: &&RawKey| usize::from(k.parent) % (at + 1) == at;
        for key in raw.keys.iter().filter(|k| !selfish(k)) {
            self.add_key(at, key, first);
        }
        for key in raw.keys.iter().filter(selfish) {
            self.add_key(at, key, first);
        }
    }

    /// What is shared, then the table of its owners, who are people or hang off them.
    fn add_shared(&mut self, raw: &RawTable) {
        let shared = self.tables.len();
        self.tables
            .push(Table::new(vec!["id"], Form::Plain, raw.dress));
        self.tables
            .push(Table::new(vec!["k1", "k2"], Form::Plain, raw.dress));
        let owner = raw.keys.first().cloned().expect("at least one");
        let owner = RawKey {
            soft: false,
            action: 0,
            own: true,
            ..owner
        };
        self.add_key(shared + 1, &owner, None);
        let to = RawKey {
            shape: 200,
            ..owner
        };
        let to = RawKey {
            parent: u8::try_from(shared).unwrap(),
            ..to
        };
        self.add_key(shared + 1, &to, None);
        self.tables[shared].shared = Some((shared + 1, rule((shared, 98), Act::Delete, false)));
        self.tables[shared + 1].owns = Some(shared);
    }

    fn add_ring(&mut self, from: usize, to: usize, raw: &RawKey) {
        let from = from % self.tables.len();
        let mut below: Vec<usize> = (from + 1..self.tables.len())
            .filter(|&t| self.hangs_off(t, from))
            .filter(|&t| !self.columns_to(t).is_empty())
            .collect();
        // Whose the rows of two are, the rules of owners must say; that is their affair.
        below.retain(|t| self.tables[*t].owns != Some(from) && self.tables[from].owns != Some(*t));
        if below.is_empty() || self.tables[from].keys.len() > 3 {
            return;
        }
        let to = below[to % below.len()];
        let n = self.tables[from].keys.len();
        let raw = RawKey {
            parent: u8::try_from(to).unwrap(),
            ..raw.clone()
        };
        let key = self.key(from, n, to, &raw, raw.action, true);
        self.tables[from].keys.push(key);
    }

    fn hangs_off(&self, table: usize, above: usize) -> bool {
        let keys = self.tables[table].keys.iter().filter(|k| !k.back);
        let mut parents = keys.map(|k| k.parent).filter(|p| *p != table);
        parents.any(|p| p == above || self.hangs_off(p, above))
    }

    fn columns_to(&self, parent: usize) -> Vec<&'static str> {
        let table = &self.tables[parent];
        if table.key.is_empty() && table.has(Dress::Unique) {
            return vec!["u"];
        }
        table.key.clone()
    }

    fn add_key(&mut self, child: usize, raw: &RawKey, first: Option<u8>) {
        let n = self.tables[child].keys.len();
        let mut parent = usize::from(raw.parent) % (child + 1);
        let reached = n > 0 || child == 0 || parent != child && self.leads(parent);
        if self.columns_to(parent).is_empty() || !reached {
            parent = 0;
        }
        let action = if raw.own {
            raw.action
        } else {
            first.unwrap_or(raw.action)
        };
        // Few tables keep their rows, and what is to stay with them should hang there.
        if ACTS[usize::from(action) % ACTS.len()] == Act::WithParent {
            let keeps = |t: &usize| self.retained(*t) && !self.columns_to(*t).is_empty();
            parent = (1..child).find(keeps).unwrap_or(parent);
        }
        let key = self.key(child, n, parent, raw, action, false);
        self.tables[child].keys.push(key);
    }

    fn key(
        &self,
        child: usize,
        n: usize,
        parent: usize,
        raw: &RawKey,
        action: u8,
        back: bool,
    ) -> Key {
        let (table, above) = (&self.tables[child], &self.tables[parent]);
        let mut to = self.columns_to(parent);
        let kind = match raw.kind % 7 {
            _ if !raw.soft || parent == child => Kind::Foreign,
            0 | 1 => Kind::When,
            2 if to.len() == 1 => Kind::Json,
            3 if to.len() == 1 => Kind::Array,
            4 if to.len() == 1 => Kind::JsonList,
            _ => Kind::Soft,
        };
        let foreign = kind == Kind::Foreign;
        if foreign && above.has(Dress::Unique) && raw.shape.is_multiple_of(3) {
            to = vec!["u"];
        }
        let pair = to.len() == 2 && foreign;
        let tenant = pair && table.key.len() == 2 && raw.shape % 5 < 2;
        let nullable = raw.nullable || parent == child;
        let partitioned = !matches!(table.form, Form::Heir | Form::Plain);
        let mut columns: Vec<String> = (0..to.len()).map(|c| format!("f{n}_{c}")).collect();
        if tenant {
            columns[0] = "k1".into();
        }
        let full = pair && !tenant && raw.shape % 4 == 1;
        Key {
            name: format!("fk_{child}_{n}"),
            parent,
            columns,
            to,
            nullable,
            tenant,
            kind,
            full,
            swapped: pair && raw.shape % 2 == 1,
            not_valid: foreign
                && !partitioned
                && !full
                && !back
                && (raw.shape / 16).is_multiple_of(5),
            on_delete: match raw.on_delete % 7 {
                0 => "NO ACTION",
                1 => "RESTRICT",
                2 | 3 => "CASCADE",
                4 if nullable && !tenant => "SET NULL",
                5 if nullable && pair && !full => "SET NULL (column)",
                6 if nullable && !tenant => "SET DEFAULT",
                _ => "NO ACTION",
            },
            on_update: [
                "",
                "",
                " ON UPDATE CASCADE",
                " ON UPDATE RESTRICT",
                " ON UPDATE SET NULL",
                " ON UPDATE SET DEFAULT",
            ][usize::from(raw.on_update % 6)],
            deferrable: match raw.deferrable {
                0 => " DEFERRABLE INITIALLY DEFERRED",
                1 => " DEFERRABLE",
                _ => "",
            },
            back,
            null_all: raw.null_all,
            redact: raw.redact,
            rule: rule(
                (child, n),
                ACTS[usize::from(action) % ACTS.len()],
                raw.redact,
            ),
        }
    }

    /// Wishes give way, one after the other, until the whole is what a careful author would write.
    fn settle(&mut self) {
        loop {
            let before: Vec<Act> = self.acts();
            for table in 0..self.tables.len() {
                for n in 0..self.tables[table].keys.len() {
                    let key = &self.tables[table].keys[n];
                    let act = self.fitting(table, key);
                    self.tables[table].keys[n].rule.act = act;
                }
            }
            for table in 0..self.tables.len() {
                for n in 0..self.tables[table].keys.len() {
                    self.set(table, n);
                }
                self.let_go(table);
            }
            if self.acts() == before {
                return;
            }
        }
    }

    fn acts(&self) -> Vec<Act> {
        let keys = self.tables.iter().flat_map(|t| &t.keys);
        keys.map(|k| k.rule.act).collect()
    }

    /// What a careful author would write instead of what the database would overrule.
    fn fitting(&self, child: usize, key: &Key) -> Act {
        let goes = self.goes(key.parent);
        let table = &self.tables[child];
        let keyless = table.key.is_empty() && !table.has(Dress::Unique);
        let owner = table.owns.is_some();
        let detachable = key.nullable && key.kind != Kind::Json;
        match key.rule.act {
            Act::Anonymize | Act::Retain | Act::WithParent if owner => Act::Delete,
            // What is shared is nobody's alone.
            Act::Anonymize | Act::Retain | Act::WithParent if table.shared.is_some() => {
                if detachable {
                    Act::Detach
                } else {
                    Act::Delete
                }
            }
            Act::Exempt if goes && key.foreign() => Act::Delete,
            Act::Retain | Act::WithParent if keyless => Act::Delete,
            Act::WithParent if !self.retained(key.parent) || key.parent == child || key.back => {
                Act::Delete
            }
            Act::Detach if !key.nullable || key.kind == Kind::Json => Act::Delete,
            Act::Anonymize | Act::Retain if goes && !key.nullable && key.foreign() => Act::Delete,
            wish => wish,
        }
    }

    /// Whether what hangs off the table's rows is the subject's.
    fn leads(&self, table: usize) -> bool {
        table == 0
            || self.tables[table].shared.is_some()
            || self.tables[table].keys.iter().any(|k| {
                k.parent != table
                    && !k.back
                    && !matches!(k.rule.act, Act::Detach | Act::Exempt)
                    && self.leads(k.parent)
            })
    }

    /// A row that one key retains must not hang by another on a row that goes.
    fn let_go(&mut self, table: usize) {
        for n in 0..self.tables[table].keys.len() {
            let keys = &self.tables[table].keys;
            if !keys[n].keeps() {
                continue;
            }
            let hangs = |other: &&Key| {
                let empties = other.columns.iter().any(|c| other.rule.nulls.contains(c));
                other.foreign()
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
                    .extend(others.iter().flat_map(|k| k.open().to_vec()));
                rule.nulls.sort();
                rule.nulls.dedup();
            }
        }
    }

    fn goes(&self, table: usize) -> bool {
        let keys = &self.tables[table].keys;
        let of_keys = keys.iter().any(|k| k.rule.act == Act::Delete || k.keeps());
        of_keys || self.tables[table].shared.is_some() || table == 0 && self.root.act == Act::Delete
    }

    fn retained(&self, table: usize) -> bool {
        let keys = &self.tables[table].keys;
        let shared = self.tables[table].shared.is_some();
        table != 0 && !shared && !keys.is_empty() && keys.iter().all(Key::keeps)
    }

    fn set(&mut self, child: usize, n: usize) {
        let table = &self.tables[child];
        let (key, goes) = (&table.keys[n], self.goes(table.keys[n].parent));
        let own = (goes || key.null_all) && key.rule.act != Act::WithParent;
        let mut nulls = Vec::new();
        for (at, other) in table.keys.iter().enumerate() {
            if at == n && own || at != n && key.null_all {
                nulls.extend(other.open().to_vec());
            }
        }
        let (columns, redact) = (key.link().to_vec(), key.redact);
        let rule = &mut self.tables[child].keys[n].rule;
        rule.redact = match rule.act {
            Act::Anonymize => redact || nulls.is_empty(),
            Act::Retain | Act::WithParent => redact,
            Act::Detach | Act::Delete | Act::Exempt => false,
        };
        rule.nulls = match rule.act {
            Act::Anonymize | Act::Retain | Act::WithParent => nulls,
            Act::Detach => columns,
            Act::Delete | Act::Exempt => Vec::new(),
        };
    }

    /// Keys to different tables with one action get one rule without `via`, as authors write it.
    fn share_rule(&mut self, table: usize) {
        if self.tables[table].shared.is_some() {
            return;
        }
        let keys = &self.tables[table].keys;
        let fits: Vec<usize> = (0..keys.len())
            .filter(|&n| {
                let once = keys.iter().filter(|k| k.parent == keys[n].parent).count() == 1;
                let act = keys[n].rule.act;
                once && keys[n].foreign()
                    && !keys[n].back
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

    fn add_rows(&mut self, raw: &RawCase, root_rows: usize) {
        let shared: Vec<usize> = (0..self.tables.len())
            .filter(|&t| self.tables[t].shared.is_some())
            .collect();
        let mut raws = raw.tables.iter();
        let mut drawn: Vec<Vec<RawRow>> = vec![Vec::new(); self.tables.len()];
        for (at, drawn) in drawn.iter_mut().enumerate().skip(1) {
            if shared.contains(&at) || self.tables[at].owns.is_some() {
                // Enough of them that some are shared.
                let few = |n: u8| RawRow {
                    refs: [n.wrapping_mul(29).wrapping_add(raw.subjects | 1); 4].map(|d| d | 1),
                    old: n.is_multiple_of(2),
                    note: true,
                };
                let rows = if shared.contains(&at) { 2 } else { 5 };
                *drawn = (0..rows)
                    .map(|n| few(raw.root_rows.wrapping_add(n)))
                    .collect();
            } else if let Some(raw) = raws.next() {
                drawn.clone_from(&raw.rows);
            }
        }
        drawn[0] = (0..root_rows)
            .map(|at| RawRow {
                refs: [u8::try_from(at * 7 + 3).unwrap(); 4],
                old: at % 2 == 0,
                note: true,
            })
            .collect();
        let mut made: Vec<Vec<RawRow>> = vec![Vec::new(); self.tables.len()];
        for (table, rows) in drawn.into_iter().enumerate() {
            for raw in rows {
                if self.add_row(table, &raw) {
                    made[table].push(raw);
                }
            }
        }
        self.close_rings(&made);
    }

    /// Keys to later tables are filled in when those have their rows.
    fn close_rings(&mut self, made: &[Vec<RawRow>]) {
        for (table, made) in made.iter().enumerate() {
            for n in 0..self.tables[table].keys.len() {
                if !self.tables[table].keys[n].back {
                    continue;
                }
                for (row, raw) in made.iter().enumerate() {
                    let key = &self.tables[table].keys[n];
                    let reference = self.reference(table, row, n, key, raw);
                    // To what is empty nothing refers, whatever the key says: decided before.
                    let reference = reference.unwrap_or(Ref::Null);
                    self.tables[table].rows[row].refs.push(reference);
                }
                let none = |r: &Row| r.refs.last() == Some(&Ref::Null);
                if self.tables[table].rows.iter().any(none) && !self.tables[table].keys[n].nullable
                {
                    self.tables[table].keys[n].nullable = true;
                }
            }
        }
    }

    fn reference(
        &self,
        table: usize,
        row: usize,
        n: usize,
        key: &Key,
        raw: &RawRow,
    ) -> Option<Ref> {
        let draw = usize::from(raw.refs[n % 4]);
        let fits = |to: &usize| !key.tenant || to / 2 == row / 2;
        let there: Vec<usize> = (0..self.tables[key.parent].rows.len())
            .filter(fits)
            .collect();
        Some(if there.is_empty() || key.nullable && draw % 5 == 0 {
            if !key.nullable {
                return None;
            }
            Ref::Null
        } else if key.nullable && key.columns.len() == 2 && draw % 7 == 0 && !key.full {
            Ref::Half(there[draw / 7 % there.len()])
        } else if (key.not_valid && self.changed_once(table) || !key.foreign()) && draw % 11 == 0 {
            Ref::Nowhere
        } else if key.kind == Kind::When && draw % 4 == 0 {
            Ref::Other(there[draw / 2 % there.len()])
        } else {
            Ref::To(there[draw / 2 % there.len()])
        })
    }

    /// The server looks at a row's keys again, changed or not, if one transaction changes it twice:
    /// a row that breaks a NOT VALID key would stop the erasure, as docs/policies.md says.
    fn changed_once(&self, table: usize) -> bool {
        let keys = self.tables[table].keys.iter();
        let changing = keys.filter(|k| !matches!(k.rule.act, Act::Delete | Act::Exempt));
        changing.count() + usize::from(table == 0) <= 1
    }

    /// A row whose NOT NULL keys have nothing to refer to is left out.
    fn add_row(&mut self, table: usize, raw: &RawRow) -> bool {
        let own = self.tables[table].rows.len();
        let keys = self.tables[table]
            .keys
            .iter()
            .enumerate()
            .filter(|(_, k)| !k.back);
        let refs: Option<Vec<Ref>> = keys
            .map(|(n, key)| self.reference(table, own, n, key, raw))
            .collect();
        let Some(refs) = refs else { return false };
        self.tables[table].rows.push(Row {
            refs,
            old: raw.old,
            note: (table == 0 || raw.note).then(|| format!("note of t{table} row {own}")),
            nulled: BTreeSet::new(),
            cut: BTreeSet::new(),
            redacted: false,
            gone: false,
        });
        true
    }

    /// To which row a row's key leads now.
    pub(super) fn target(&self, table: usize, row: usize, key: usize) -> Option<usize> {
        let (key, row) = (
            &self.tables[table].keys[key],
            (&self.tables[table].rows[row], key),
        );
        match row.0.refs[row.1] {
            Ref::To(to)
                if !key
                    .columns
                    .iter()
                    .any(|c| row.0.nulled.contains(c) || row.0.cut.contains(c)) =>
            {
                Some(to)
            }
            _ => None,
        }
    }

    /// Whether the rule says `large`: every other table on which nothing hangs, whose rows go, and to
    /// which one way leads.
    pub(super) fn goes_in_pieces(&self, table: usize) -> bool {
        let facts = &self.tables[table];
        let mut all = self.tables.iter().flat_map(|t| &t.keys);
        let [key] = facts.keys.as_slice() else {
            return false;
        };
        table != 0
            && facts.dress & 64 != 0
            && key.rule.act == Act::Delete
            && !key.by_element()
            && facts.owns.is_none()
            && facts.shared.is_none()
            && all.all(|k| k.parent != table)
    }

    /// Whether a column holds a list whose elements refer.
    pub(super) fn is_list(&self, table: usize, column: &String) -> bool {
        let mut keys = self.tables[table].keys.iter();
        keys.any(|k| k.by_element() && k.columns.contains(column))
    }

    /// The values of columns to which keys lead.
    fn values(&self, to: &[&str], row: usize) -> Vec<usize> {
        match to {
            ["u"] => vec![row + 100],
            [_] => vec![row],
            // Neither column alone tells rows apart.
            [_, _] => vec![row / 2, row % 2 + 10],
            _ => Vec::new(),
        }
    }

    /// A row as it reads back: every column's name and text.
    pub(super) fn shown(&self, table: usize, row: usize) -> Vec<(String, Option<String>)> {
        let (facts, r) = (&self.tables[table], &self.tables[table].rows[row]);
        let key = facts.key.iter().zip(self.values(&facts.key, row));
        let mut shown: Vec<_> = key
            .map(|(c, v)| ((*c).to_owned(), Some(v.to_string())))
            .collect();
        for (n, (key, reference)) in facts.keys.iter().zip(&r.refs).enumerate() {
            for (at, column) in key.columns.iter().enumerate() {
                if key.tenant && at == 0 {
                    continue;
                }
                let value = match reference {
                    Ref::Null => None,
                    Ref::Half(_) if at == 1 => None,
                    Ref::Nowhere => Some(900),
                    Ref::Half(to) | Ref::To(to) | Ref::Other(to) => {
                        Some(self.values(&key.to, *to)[at])
                    }
                };
                let cut = r.cut.contains(column);
                let value = value.map(|v| match key.kind {
                    Kind::Array if cut || v == 900 => "{900}".into(),
                    Kind::Array => format!("{{{v},900,{v}}}"),
                    Kind::JsonList if cut || v == 900 => "[{\"id\": 900}]".into(),
                    Kind::JsonList => format!("[{{\"id\": 900}}, {{\"id\": {v}}}]"),
                    Kind::Json if row.is_multiple_of(2) => format!("{{\"user\": {{\"id\": {v}}}}}"),
                    Kind::Json => format!("{{\"user\": {{\"id\": \"{v}\"}}}}"),
                    _ => v.to_string(),
                });
                shown.push((column.clone(), value));
            }
            if key.kind == Kind::When {
                let other = matches!(reference, Ref::Other(_));
                shown.push((
                    format!("ty{n}"),
                    Some(if other { "Y" } else { "It's" }.into()),
                ));
            }
        }
        let day = if r.old { "2001-05-06" } else { "2026-05-06" };
        let note = r.note.clone();
        let note = if r.redacted {
            note.map(|_| "[erased]".into())
        } else {
            note
        };
        if facts.has(Dress::Unique) {
            shown.push(("u".into(), Some((row + 100).to_string())));
        }
        if facts.has(Dress::Identity) {
            shown.push(("seq".into(), Some((row + 50).to_string())));
        }
        if facts.has(Dress::Enum) {
            shown.push(("mood".into(), Some(["calm", "sad"][row % 2].into())));
        }
        shown.push(("email".into(), Some(format!("r{row}@t{table}.example"))));
        shown.push(("note".into(), note.clone()));
        shown.push(("day".into(), Some(day.into())));
        if facts.has(Dress::Generated) {
            shown.push(("loud".into(), note.map(|n| n.to_uppercase())));
        }
        for (column, value) in &mut shown {
            if r.nulled.contains(column) {
                *value = None;
            }
        }
        shown
    }
}

fn rule(id: (usize, usize), act: Act, redact: bool) -> Rule {
    Rule {
        id,
        common: false,
        act,
        nulls: Vec::new(),
        redact,
    }
}

fn batches(raw: &RawCase, rows: usize) -> Vec<Vec<usize>> {
    let mut subjects: Vec<usize> = (0..rows).filter(|n| raw.subjects >> n & 1 == 1).collect();
    if subjects.is_empty() {
        subjects.push(0);
    }
    if raw.in_turn {
        return subjects.into_iter().map(|s| vec![s]).collect();
    }
    vec![subjects]
}

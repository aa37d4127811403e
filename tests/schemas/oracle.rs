//! What an erasure must leave, row by row, from the definitions in docs/policies.md.
//!
//! A row that refers to a person's row by a way is claimed by that way's rule. Claims other than to
//! detach and to exempt make it the person's too, and so on. A row that a claim keeps stays; else
//! one that a claim takes goes; what stays is changed by every claim.

use crate::decided::{Act, Decided, Set, Way};
use crate::definition::Definition;
use crate::fill::named;
use crate::support::Server;
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Cells = Vec<Option<String>>;

/// All rows of all tables.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) tables: BTreeMap<String, Vec<Cells>>,
}

/// Table and position of a row.
type At<'d> = (&'d str, usize);

/// What must be there afterwards, and the cells of which only is known that they changed.
pub(crate) struct Left {
    pub(crate) rows: Database,
    changed: BTreeSet<(String, Vec<Option<String>>, usize)>,
    /// Rows claimed, whatever became of them, by table.
    pub(crate) claimed: BTreeMap<String, usize>,
}

impl Database {
    pub(crate) fn read(server: &Server, database: &str, definition: &Definition) -> Self {
        let read = |table: &String| {
            let all = format!("SELECT * FROM {}", named(table));
            (table.clone(), server.query(database, &all))
        };
        Self {
            tables: definition.tables.keys().map(read).collect(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.tables.values().map(Vec::len).sum()
    }
}

/// The oracle of one policy over one database.
pub(crate) struct Oracle<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) decided: &'a Decided,
    /// The day, as `2026-11-27`.
    pub(crate) today: &'a str,
}

/// One row refers to another.
struct Claim {
    way: usize,
    parent: usize,
}

/// Everything claimed.
struct Closure<'a> {
    theirs: BTreeSet<At<'a>>,
    claims: BTreeMap<At<'a>, Vec<Claim>>,
    /// Shared rows whose owners are all theirs.
    last: BTreeSet<At<'a>>,
}

impl Oracle<'_> {
    /// What is left when these values of the root's column are erased.
    pub(crate) fn erase(&self, before: &Database, column: &str, who: &BTreeSet<String>) -> Left {
        let root = self.decided.root.as_str();
        let at = self.definition.tables[root].at(column);
        let rows = before.tables[root].iter().enumerate();
        let subjects: BTreeSet<At> = rows
            .filter(|(_, cells)| cells[at].as_ref().is_some_and(|v| who.contains(v)))
            .map(|(n, _)| (root, n))
            .collect();
        assert_eq!(subjects.len(), who.len(), "every subject is there");
        let closure = self.close(before, &subjects);
        let kept = self.kept(before, &closure);
        let gone = self.gone(before, &closure, &subjects, &kept);
        self.left(before, &closure, &subjects, &kept, &gone)
    }

    fn close(&self, db: &Database, subjects: &BTreeSet<At<'_>>) -> Closure<'_> {
        let indexes: Vec<_> = self
            .decided
            .ways
            .iter()
            .map(|w| self.index(db, w))
            .collect();
        let own = |table: &str| {
            self.definition
                .tables
                .get_key_value(table)
                .unwrap()
                .0
                .as_str()
        };
        let mut queue: Vec<At> = subjects.iter().map(|(t, n)| (own(t), *n)).collect();
        let mut closure = Closure {
            theirs: queue.iter().copied().collect(),
            claims: BTreeMap::new(),
            last: BTreeSet::new(),
        };
        while let Some((table, row)) = queue.pop() {
            for (at, way) in self.decided.ways.iter().enumerate() {
                if way.parent != table {
                    continue;
                }
                let Some(key) = self.cells(db, table, row, &way.referred, way.by_identifier) else {
                    continue;
                };
                for &child in indexes[at].get(&key).into_iter().flatten() {
                    let child = (own(&way.child), child);
                    let claim = Claim {
                        way: at,
                        parent: row,
                    };
                    closure.claims.entry(child).or_default().push(claim);
                    let act = self.decided.rules[way.rule].act;
                    if !matches!(act, Act::Detach | Act::Exempt) && closure.theirs.insert(child) {
                        queue.push(child);
                    }
                }
            }
            if queue.is_empty() {
                for last in self.without_owners(db, &closure) {
                    let last = (own(last.0), last.1);
                    if closure.last.insert(last) && closure.theirs.insert(last) {
                        queue.push(last);
                    }
                }
            }
        }
        closure
    }

    /// Rows of a way's child by what they refer to.
    fn index(&self, db: &Database, way: &Way) -> HashMap<Vec<String>, Vec<usize>> {
        let mut index: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
        let table = &self.definition.tables[&way.child];
        for (n, cells) in db.tables[&way.child].iter().enumerate() {
            let meant = way
                .when
                .iter()
                .all(|(column, value)| cells[table.at(column)].as_ref() == Some(value));
            let key = self.cells(db, &way.child, n, &way.columns, way.by_identifier);
            if let Some(key) = key.filter(|_| meant) {
                index.entry(key).or_default().push(n);
            }
        }
        index
    }

    /// The values of these columns, none if one is NULL.
    fn cells(
        &self,
        db: &Database,
        table: &str,
        row: usize,
        columns: &[String],
        fold: bool,
    ) -> Option<Vec<String>> {
        let definition = &self.definition.tables[table];
        let cells = &db.tables[table][row];
        let values = columns.iter().map(|c| cells[definition.at(c)].clone());
        let values: Option<Vec<String>> = values.collect();
        values.map(|v| {
            if fold {
                v.iter().map(|v| v.to_lowercase()).collect()
            } else {
                v
            }
        })
    }

    /// Shared rows with owners, all of whom are theirs.
    fn without_owners<'d>(&'d self, db: &Database, closure: &Closure<'_>) -> Vec<At<'d>> {
        let mut found = Vec::new();
        for shared in &self.decided.shared {
            let mut owned: HashMap<Vec<String>, bool> = HashMap::new();
            for owner in 0..db.tables[&shared.owners].len() {
                if let Some(key) = self.cells(db, &shared.owners, owner, &shared.columns, false) {
                    let theirs = closure.theirs.contains(&(shared.owners.as_str(), owner));
                    *owned.entry(key).or_insert(true) &= theirs;
                }
            }
            for row in 0..db.tables[&shared.table].len() {
                let key = self.cells(db, &shared.table, row, &shared.referred, false);
                if key.is_some_and(|key| owned.get(&key) == Some(&true)) {
                    found.push((shared.table.as_str(), row));
                }
            }
        }
        found
    }

    fn is_old(&self, db: &Database, at: At<'_>, rule: usize) -> bool {
        let (column, years) = self.decided.rules[rule].until.as_ref().unwrap();
        let cell = &db.tables[at.0][at.1][self.definition.tables[at.0].at(column)];
        let (year, rest) = self.today.split_at(4);
        let year: i32 = year.parse().unwrap();
        // Dates as text are in the order of time.
        cell.as_deref().expect("a date")[..10] < *format!("{:04}{rest}", year - years)
    }

    fn kept<'c>(&self, db: &Database, closure: &Closure<'c>) -> BTreeSet<At<'c>> {
        self.spread(closure, |at, way, from_it| {
            match self.decided.rules[way.rule].act {
                Act::Retain => !self.is_old(db, at, way.rule),
                Act::WithParent => from_it,
                _ => false,
            }
        })
    }

    fn gone<'c>(
        &self,
        db: &Database,
        closure: &Closure<'c>,
        subjects: &BTreeSet<At<'_>>,
        kept: &BTreeSet<At<'c>>,
    ) -> BTreeSet<At<'c>> {
        let root_goes = self.decided.rules[self.decided.root_rule].act == Act::Delete;
        let mut gone = self.spread(closure, |at, way, from_it| {
            !kept.contains(&at)
                && match self.decided.rules[way.rule].act {
                    Act::Delete => true,
                    Act::Retain => self.is_old(db, at, way.rule),
                    Act::WithParent => from_it,
                    _ => false,
                }
        });
        let root = closure
            .theirs
            .iter()
            .filter(|at| root_goes && subjects.contains(*at));
        gone.extend(root.chain(&closure.last).filter(|at| !kept.contains(*at)));
        gone
    }

    /// Rows with a claim for which `holds`, which is told whether the row referred to is one of them.
    fn spread<'c>(
        &self,
        closure: &Closure<'c>,
        holds: impl Fn(At<'c>, &Way, bool) -> bool,
    ) -> BTreeSet<At<'c>> {
        let mut found: BTreeSet<At<'c>> = BTreeSet::new();
        loop {
            let before = found.len();
            for (at, claims) in &closure.claims {
                let by_one = claims.iter().any(|claim| {
                    let way = &self.decided.ways[claim.way];
                    let from_it = found.contains(&(way.parent.as_str(), claim.parent));
                    holds(*at, way, from_it)
                });
                if by_one {
                    found.insert(*at);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    fn left(
        &self,
        db: &Database,
        closure: &Closure<'_>,
        subjects: &BTreeSet<At<'_>>,
        kept: &BTreeSet<At<'_>>,
        gone: &BTreeSet<At<'_>>,
    ) -> Left {
        let mut left = Left {
            rows: db.clone(),
            changed: BTreeSet::new(),
            claimed: BTreeMap::new(),
        };
        let all: BTreeSet<At> = closure
            .theirs
            .iter()
            .chain(closure.claims.keys())
            .copied()
            .collect();
        for at in all {
            *left.claimed.entry(at.0.to_owned()).or_default() += 1;
            if gone.contains(&at) {
                continue;
            }
            let root = subjects.contains(&at).then_some(self.decided.root_rule);
            if let Some(rule) = root {
                self.set(&mut left, at, rule);
            }
            for claim in closure.claims.get(&at).into_iter().flatten() {
                let way = &self.decided.ways[claim.way];
                match self.decided.rules[way.rule].act {
                    Act::Detach => {
                        for column in &way.columns {
                            let cell = self.definition.tables[at.0].at(column);
                            left.rows.tables.get_mut(at.0).unwrap()[at.1][cell] = None;
                        }
                    }
                    Act::Anonymize => self.set(&mut left, at, way.rule),
                    Act::Retain | Act::WithParent if kept.contains(&at) => {
                        self.set(&mut left, at, way.rule);
                    }
                    _ => {}
                }
            }
        }
        for (table, rows) in &mut left.rows.tables {
            let mut n = 0;
            rows.retain(|_| {
                n += 1;
                !gone.contains(&(table.as_str(), n - 1))
            });
        }
        left
    }

    fn set(&self, left: &mut Left, at: At<'_>, rule: usize) {
        for (column, set) in &self.decided.rules[rule].set {
            let cell = self.definition.tables[at.0].at(column);
            let key = self.key(at.0, &left.rows.tables[at.0][at.1]);
            let value = &mut left.rows.tables.get_mut(at.0).unwrap()[at.1][cell];
            match set {
                Set::To(new) => *value = new.clone(),
                Set::NotNullTo(new) => {
                    if value.is_some() {
                        *value = Some(new.clone());
                    }
                }
                Set::Changed => {
                    left.changed.insert((at.0.to_owned(), key, cell));
                }
            }
        }
    }

    /// By what a row is known before and after: its primary key, or else all of it.
    fn key(&self, table: &str, cells: &Cells) -> Cells {
        let definition = &self.definition.tables[table];
        if definition.primary.is_empty() {
            return cells.clone();
        }
        let primary = definition.primary.iter();
        primary.map(|c| cells[definition.at(c)].clone()).collect()
    }

    /// Where the database is not what must be left: one line a row.
    pub(crate) fn disagreements(&self, left: &Left, found: &Database) -> Vec<String> {
        let mut said = Vec::new();
        for (table, rows) in &left.rows.tables {
            let mut there: HashMap<Cells, Vec<&Cells>> = HashMap::new();
            for cells in &found.tables[table] {
                there.entry(self.key(table, cells)).or_default().push(cells);
            }
            for cells in rows {
                let key = self.key(table, cells);
                match there.get_mut(&key).and_then(Vec::pop) {
                    None => said.push(format!("{table} {key:?}: gone, and should be there")),
                    Some(now) => said.extend(self.cell_by_cell(left, table, &key, cells, now)),
                }
            }
            for key in there.iter().filter(|(_, rows)| !rows.is_empty()) {
                said.push(format!("{table} {:?}: there, and should be gone", key.0));
            }
        }
        said
    }

    fn cell_by_cell(
        &self,
        left: &Left,
        table: &str,
        key: &Cells,
        wanted: &Cells,
        now: &Cells,
    ) -> Option<String> {
        let columns = &self.definition.tables[table].columns;
        for (n, (wanted, now)) in wanted.iter().zip(now).enumerate() {
            let changed = left.changed.contains(&(table.to_owned(), key.clone(), n));
            let right = if changed {
                wanted.is_none() || wanted != now
            } else {
                wanted == now
            };
            if !right {
                let column = &columns[n].name;
                return Some(format!(
                    "{table} {key:?} {column}: {now:?}, should be {wanted:?}"
                ));
            }
        }
        None
    }
}

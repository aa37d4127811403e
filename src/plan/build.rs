//! From lineage to plan.

use super::GONE_BEFORE;
use super::sql::{self, ParentRows, Set};
use super::{
    Capture, CapturedColumn, Change, ChangeKind, Part, Plan, Probe, Retained, RowKey, RowSet, Rows,
    SystemPlan,
};
use crate::catalog::{OnDelete, TableKind};
use crate::lineage::{Edge, Fate, Join, Lineage, Parent, Reached, SystemLineage};
use crate::name::TableName;
use crate::policy::{Action, Policy, Strategy};
use std::collections::{BTreeMap, BTreeSet};

/// Builds the plan of a traced scope. The policy must be the one that was traced.
pub fn build(policy: &Policy, lineage: &Lineage) -> Plan {
    Plan {
        // Without its folder: a daemon on another host, with its files elsewhere, must know the
        // plan again that this one began.
        policy_file: std::path::Path::new(&lineage.policy_file)
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        policy_sha256: lineage.policy_sha256.clone(),
        subject: lineage.subject.clone(),
        scope: lineage.scope.clone(),
        systems: lineage
            .systems
            .iter()
            .map(|system| Builder::new(policy, system).build())
            .collect(),
    }
}

/// What is decided about one table before any SQL is written.
struct Builder<'a> {
    policy: &'a Policy,
    system: &'a SystemLineage,
    /// Index into `sets` of the tables whose rows are captured.
    captured: BTreeMap<&'a TableName, usize>,
    /// Tables that change, each with a column that is set where no row is deleted.
    held: BTreeMap<&'a TableName, Option<String>>,
    plan: SystemPlan,
}

impl<'a> Builder<'a> {
    fn new(policy: &'a Policy, system: &'a SystemLineage) -> Self {
        Self {
            policy,
            system,
            captured: BTreeMap::new(),
            held: BTreeMap::new(),
            plan: SystemPlan {
                system: system.system.clone(),
                catalog_fingerprint: system.fingerprint.clone(),
                hold_definitions: String::new(),
                sets: Vec::new(),
                changes: Vec::new(),
                probes: Vec::new(),
                exempt: BTreeMap::new(),
                probed_by_foreign_key: Vec::new(),
            },
        }
    }

    fn build(mut self) -> SystemPlan {
        let needed = self.needed();
        let system = self.system;
        let tables: Vec<&Reached> = system
            .tables
            .iter()
            .filter(|t| needed.contains(&t.table))
            .collect();
        for reached in &tables {
            if self.must_be_captured(reached, &needed) {
                self.add_set(reached, &needed);
            }
        }
        for reached in &tables {
            self.capture(reached);
        }
        for reached in &tables {
            self.detach(reached);
        }
        for reached in tables.iter().rev() {
            self.change(reached);
            self.probe(reached);
        }
        let held = self
            .held
            .iter()
            .map(|(table, column)| (*table, column.as_deref()));
        self.plan.hold_definitions = sql::hold_definitions(held);
        self.exempt();
        self.plan
    }

    /// Tables whose rows change, and those on the way to them.
    fn needed(&self) -> BTreeSet<&'a TableName> {
        let mut needed = BTreeSet::new();
        for reached in self.system.tables.iter().rev() {
            let acts = edges(reached).any(|e| e.decision.fate != Fate::Untouched);
            let leads = self.system.tables.iter().any(|child| {
                needed.contains(&child.table)
                    && edges(child).any(|e| e.parent == Parent::Table(reached.table.clone()))
            });
            if acts || leads {
                needed.insert(&reached.table);
            }
        }
        needed
    }

    /// A leaf whose rows all go, reached one way, without a trigger that could keep a row, is
    /// found again by its parents' keys; all others are captured.
    fn must_be_captured(&self, reached: &Reached, needed: &BTreeSet<&TableName>) -> bool {
        let mut ways = edges(reached);
        let (Some(only), None) = (ways.next(), ways.next()) else {
            return true;
        };
        let leads = self.system.tables.iter().any(|child| {
            needed.contains(&child.table)
                && edges(child).any(|e| e.parent == Parent::Table(reached.table.clone()))
        });
        let vetoed = reached
            .facts
            .triggers
            .iter()
            .any(|t| t.on_delete && t.may_veto);
        only.decision.fate != Fate::Delete || leads || vetoed || only.parent == Parent::Subject
    }

    fn add_set(&mut self, reached: &'a Reached, needed: &BTreeSet<&TableName>) {
        let key = row_key(reached);
        let columns = self.columns(reached, &key, needed);
        self.captured.insert(&reached.table, self.plan.sets.len());
        self.plan.sets.push(RowSet {
            table: reached.table.clone(),
            key_width: key_width(&key),
            key,
            columns,
            captures: Vec::new(),
        });
    }

    fn capture(&mut self, reached: &'a Reached) {
        let Some(&at) = self.captured.get(&reached.table) else {
            return;
        };
        let RowSet {
            key,
            columns,
            key_width,
            ..
        } = self.plan.sets[at].clone();
        for edge in edges(reached) {
            for (part, fate) in self.ways(edge) {
                let retained = self.retained(edge);
                let parent_columns = self.parent_columns(edge);
                let parent = self.parent_rows(edge, part, &parent_columns);
                let texts = self.texts(reached, edge, retained.as_ref(), &columns[..key_width]);
                let statement = sql::capture(
                    &reached.table,
                    &reached.facts,
                    edge,
                    &columns,
                    &texts,
                    retained.as_ref(),
                    parent.as_ref(),
                    self.system.utf8,
                );
                let parent_set = parent.map(|p| p.rows.set);
                let claim = self.claim(reached, edge);
                self.plan.sets[at].captures.push(Capture {
                    label: edge.label.clone(),
                    parent: parent_set,
                    statement,
                    texts,
                    lock: sql::lock_rows(&key, fate == Fate::Untouched),
                    fate,
                    rule: edge.decision.rule,
                    claim,
                    retained,
                    repeats: parent_set == Some(at),
                });
            }
        }
        self.capture_by_key_alone(reached, at);
    }

    /// Links lead on from a person whose own row is gone already: erased by the plan of before, when
    /// what is left was found. Their key is known; more than the key is not.
    fn capture_by_key_alone(&mut self, reached: &Reached, at: usize) {
        let Some(entry) = edges(reached).find(|e| e.parent == Parent::Subject) else {
            return;
        };
        let set = &mut self.plan.sets[at];
        let RowKey::Columns(key) = &set.key else {
            return;
        };
        if set.columns.len() > key.len() {
            return;
        }
        set.captures.push(Capture {
            label: GONE_BEFORE.into(),
            parent: None,
            statement: sql::capture_by_key_alone(&reached.table, &set.columns),
            texts: Vec::new(),
            lock: String::new(),
            fate: Fate::Untouched,
            rule: entry.decision.rule,
            claim: entry.decision.rule,
            retained: None,
            repeats: false,
        });
    }

    fn texts(
        &self,
        reached: &Reached,
        edge: &Edge,
        retained: Option<&Retained>,
        key: &[CapturedColumn],
    ) -> Vec<String> {
        // On its date a retained table is where the ticket enters: the person is long gone then.
        let root = &self.policy.root.0;
        let mut texts = Vec::new();
        if edge.parent == Parent::Subject
            && root.system == self.system.system
            && root.table == reached.table
        {
            texts.extend(self.policy.identifiers.values().map(|i| i.column.clone()));
        }
        if retained.is_some_and(|r| r.until.is_some()) {
            texts.extend(key.iter().map(|c| c.name.clone()));
        }
        texts
    }

    /// Rows kept with their parent are captured twice: those of parents that stay, which stay,
    /// and those of parents whose time is over, which go.
    fn ways(&self, edge: &Edge) -> Vec<(Part, Fate)> {
        match edge.decision.fate {
            Fate::RetainWithParent => vec![
                (Part::Kept, Fate::RetainWithParent),
                (Part::Gone, Fate::Delete),
            ],
            fate => vec![(Part::Followed, fate)],
        }
    }

    fn retained(&self, edge: &Edge) -> Option<Retained> {
        let Action::Retain(retain) = &self.policy.tables[edge.decision.rule].action else {
            return None;
        };
        matches!(edge.decision.fate, Fate::Retain | Fate::RetainWithParent).then(|| Retained {
            because: retain.because.clone(),
            until: retain.until.as_ref().map(|u| (u.column.clone(), u.plus)),
        })
    }

    /// Key, then what children refer to, then what is hashed; the root's identifiers come along.
    fn columns(
        &self,
        reached: &Reached,
        key: &RowKey,
        needed: &BTreeSet<&TableName>,
    ) -> Vec<CapturedColumn> {
        let mut names: Vec<String> = match key {
            RowKey::Columns(columns) => columns.clone(),
            RowKey::Place => vec!["ctid".into()],
            RowKey::PartitionAndPlace => vec!["tableoid".into(), "ctid".into()],
        };
        let mut add = |name: &String| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        };
        for child in self
            .system
            .tables
            .iter()
            .filter(|t| needed.contains(&t.table))
        {
            for edge in edges(child).filter(|e| e.parent == Parent::Table(reached.table.clone())) {
                match &edge.join {
                    Join::Columns { parent, .. } => parent.iter().for_each(&mut add),
                    Join::Json { parent, .. } => add(parent),
                    Join::Identifier { .. } => {}
                }
            }
        }
        for edge in edges(reached) {
            for (column, (strategy, _)) in self.set(edge).into_iter().flatten() {
                if *strategy == Strategy::Hash {
                    add(column);
                }
            }
        }
        names
            .into_iter()
            .map(|name| CapturedColumn {
                sql_type: match name.as_str() {
                    "ctid" => "tid".into(),
                    "tableoid" => "oid".into(),
                    _ => reached
                        .facts
                        .column(&name)
                        .map_or_else(|| "text".into(), |c| c.sql_type.clone()),
                },
                name,
            })
            .collect()
    }

    fn set(&self, edge: &Edge) -> Option<&'a Set> {
        match &self.policy.tables[edge.decision.rule].action {
            Action::Anonymize { set } => Some(set),
            Action::Retain(retain) => Some(&retain.set),
            _ => None,
        }
    }

    fn parent_columns(&self, edge: &Edge) -> Vec<CapturedColumn> {
        match &edge.parent {
            Parent::Table(parent) => self
                .captured
                .get(parent)
                .map_or_else(Vec::new, |set| self.plan.sets[*set].columns.clone()),
            _ => Vec::new(),
        }
    }

    fn parent_rows<'c>(
        &self,
        edge: &Edge,
        part: Part,
        columns: &'c [CapturedColumn],
    ) -> Option<ParentRows<'c>> {
        let Parent::Table(parent) = &edge.parent else {
            return None;
        };
        let set = *self.captured.get(parent)?;
        Some(ParentRows {
            rows: Rows { set, part },
            columns,
        })
    }

    fn change(&mut self, reached: &'a Reached) {
        let Some(&set) = self.captured.get(&reached.table) else {
            if let Some(edge) = edges(reached).next() {
                let columns = self.parent_columns(edge);
                let parent = self.parent_rows(edge, Part::Followed, &columns);
                let (statement, count) = sql::delete_by_edge(
                    &reached.table,
                    &reached.facts,
                    edge,
                    parent.as_ref(),
                    self.system.utf8,
                );
                self.held.insert(&reached.table, None);
                self.plan.changes.push(Change {
                    table: reached.table.clone(),
                    kind: ChangeKind::Deleted,
                    label: edge.label.clone(),
                    statement,
                    rows: None,
                    count: Some(count),
                    before: Vec::new(),
                    moves: false,
                });
            }
            return;
        };
        let mut rules: BTreeMap<usize, &Edge> = BTreeMap::new();
        for edge in edges(reached).filter(|e| e.decision.fate != Fate::Detach) {
            rules.entry(edge.decision.rule).or_insert(edge);
        }
        for edge in rules.into_values() {
            self.change_by_rule(reached, set, edge);
        }
        if edges(reached).any(|e| e.decision.fate.may_delete()) {
            self.held.insert(&reached.table, None);
            let row_set = &self.plan.sets[set];
            let rows = Rows {
                set,
                part: Part::Gone,
            };
            let statement =
                sql::delete_by_key(&reached.table, &row_set.key, &row_set.columns, rows);
            let before = self.before_the_cascade(reached, rows);
            self.plan.changes.push(Change {
                table: reached.table.clone(),
                kind: ChangeKind::Deleted,
                label: labels(reached),
                statement,
                rows: Some(rows),
                count: None,
                before,
                moves: false,
            });
        }
    }

    /// ON DELETE CASCADE, SET NULL and SET DEFAULT do quietly what the plan missed, and leave
    /// nothing by which a later probe could tell: so before `rows` go, nothing may refer to them.
    fn before_the_cascade(&self, reached: &Reached, rows: Rows) -> Vec<Probe> {
        let columns = &self.plan.sets[rows.set].columns;
        let parent = ParentRows { rows, columns };
        let mut probes = Vec::new();
        for child in &self.system.tables {
            for edge in edges(child).filter(|e| cascades(e, reached)) {
                let Join::Columns { parent: read, .. } = &edge.join else {
                    continue;
                };
                if read.iter().any(|r| columns.iter().all(|c| c.name != *r)) {
                    continue;
                }
                let own = (child.table == reached.table)
                    .then(|| (&self.plan.sets[rows.set].key, columns.as_slice(), rows));
                probes.push(Probe {
                    table: child.table.clone(),
                    label: format!(
                        "rows that the plan missed would go, or change, by {}",
                        edge.label
                    ),
                    statement: sql::strangers_by_edge(
                        &child.table,
                        &child.facts,
                        edge,
                        Some(&parent),
                        own,
                        self.system.utf8,
                    ),
                    expect: None,
                });
            }
        }
        probes
    }

    /// Links are cut before anything is deleted: what they lead to may come later in the order
    /// than the rows that hold them. There even rows that go must let go first.
    fn detach(&mut self, reached: &'a Reached) {
        let Some(&set) = self.captured.get(&reached.table) else {
            return;
        };
        for edge in edges(reached).filter(|e| e.decision.fate == Fate::Detach) {
            self.change_by_rule(reached, set, edge);
        }
    }

    /// A rule without `via` may detach by several keys: each row loses the link by which it was
    /// found, not those that lead to somebody else.
    fn claim(&self, reached: &Reached, edge: &Edge) -> usize {
        if edge.decision.fate != Fate::Detach {
            return edge.decision.rule;
        }
        let place = reached.edges.iter().position(|e| std::ptr::eq(e, edge));
        self.policy.tables.len() + place.unwrap_or_default()
    }

    /// Whether an edge closes a ring: it leads from a table that comes later in the order.
    fn closes_a_ring(&self, reached: &Reached, edge: &Edge) -> bool {
        let place = |name: &TableName| self.system.tables.iter().position(|t| t.table == *name);
        matches!(&edge.parent, Parent::Table(parent) if place(parent) > place(&reached.table))
    }

    fn change_by_rule(&mut self, reached: &'a Reached, set: usize, edge: &Edge) {
        let kind = match edge.decision.fate {
            Fate::Anonymize => ChangeKind::Anonymized,
            Fate::Detach => ChangeKind::Detached,
            Fate::Retain | Fate::RetainWithParent => ChangeKind::Cleaned,
            Fate::Delete | Fate::Exempt | Fate::Untouched => return,
        };
        let detached;
        let values = match self.set(edge) {
            Some(values) => values,
            None => {
                detached = self.detach_columns(reached, edge);
                &detached
            }
        };
        let Some(column) = values.keys().next() else {
            return;
        };
        let held = self.held.entry(&reached.table);
        held.or_insert_with(|| Some(column.clone()));
        let row_set = &self.plan.sets[set];
        let claim = self.claim(reached, edge);
        let stay = !self.closes_a_ring(reached, edge);
        let part = if stay {
            Part::ChangedBy(claim)
        } else {
            Part::LinkedBy(claim)
        };
        let rows = Rows { set, part };
        let (statement, probe) = sql::update_by_key(
            &reached.table,
            &reached.facts,
            &row_set.key,
            &row_set.columns,
            rows,
            values,
            stay,
        );
        let columns: Vec<&str> = values.keys().map(String::as_str).collect();
        self.plan.changes.push(Change {
            table: reached.table.clone(),
            kind,
            label: columns.join(", "),
            statement,
            rows: Some(rows),
            count: None,
            before: Vec::new(),
            moves: !matches!(row_set.key, RowKey::Columns(_)),
        });
        self.plan.probes.push(Probe {
            table: reached.table.clone(),
            label: format!(
                "rows still hold the old {}, or are gone",
                columns.join(", ")
            ),
            statement: probe,
            expect: stay.then_some(rows),
        });
    }

    /// The columns of the link that may be empty, set to NULL.
    fn detach_columns(&self, reached: &Reached, edge: &Edge) -> Set {
        let Join::Columns { child, .. } = &edge.join else {
            return Set::new();
        };
        let span = self.policy.tables[edge.decision.rule].span.clone();
        child
            .iter()
            .filter(|c| reached.facts.column(c).is_some_and(|c| !c.not_null))
            .map(|c| (c.clone(), (Strategy::Null, span.clone())))
            .collect()
    }

    fn probe(&mut self, reached: &'a Reached) {
        let set = self.captured.get(&reached.table).copied();
        let mut guarded = true;
        for edge in edges(reached)
            .filter(|e| e.decision.fate != Fate::Untouched && e.parent != Parent::Subject)
        {
            if self.guarded_by_foreign_key(reached, edge) {
                continue;
            }
            guarded = false;
            if self.probed_before_cascade(reached, edge) {
                continue;
            }
            for (part, _) in self.ways(edge) {
                let columns = self.parent_columns(edge);
                let parent = self.parent_rows(edge, part, &columns);
                let known = set.map(|set| {
                    let row_set = &self.plan.sets[set];
                    (
                        &row_set.key,
                        row_set.columns.as_slice(),
                        Rows {
                            set,
                            part: Part::Staying,
                        },
                    )
                });
                let statement = sql::strangers_by_edge(
                    &reached.table,
                    &reached.facts,
                    edge,
                    parent.as_ref(),
                    known,
                    self.system.utf8,
                );
                self.plan.probes.push(Probe {
                    table: reached.table.clone(),
                    label: format!("rows are left, or came meanwhile, by {}", edge.label),
                    statement,
                    expect: None,
                });
            }
        }
        if guarded
            && edges(reached)
                .any(|e| e.decision.fate == Fate::Delete && e.parent != Parent::Subject)
        {
            self.plan.probed_by_foreign_key.push(reached.table.clone());
        }
        let entry = edges(reached).any(|e| e.parent == Parent::Subject);
        if let Some(set) = set {
            self.probe_captured(reached, set, guarded && !entry);
        }
    }

    /// Rows that had to go are gone, rows that had to stay are there.
    fn probe_captured(&mut self, reached: &Reached, set: usize, guarded: bool) {
        let row_set = &self.plan.sets[set];
        let count = |part| {
            sql::count_by_key(
                &reached.table,
                &row_set.key,
                &row_set.columns,
                Rows { set, part },
            )
        };
        let mut probes = Vec::new();
        if !guarded && edges(reached).any(|e| e.decision.fate.may_delete()) {
            probes.push((
                "rows that had to go are still there",
                count(Part::Gone),
                None,
            ));
        }
        if edges(reached).any(|e| matches!(e.decision.fate, Fate::Retain | Fate::RetainWithParent))
        {
            probes.push((
                "rows that must be kept are gone",
                count(Part::Kept),
                Some(Rows {
                    set,
                    part: Part::Kept,
                }),
            ));
        }
        for (label, statement, expect) in probes {
            self.plan.probes.push(Probe {
                table: reached.table.clone(),
                label: label.into(),
                statement,
                expect,
            });
        }
    }

    /// Whether the database itself would refuse the deletion of the parents if a row of this
    /// table were left: an enforced key, no cascade, and parents that all go.
    fn guarded_by_foreign_key(&self, reached: &Reached, edge: &Edge) -> bool {
        let refuses = edge
            .foreign_key
            .as_ref()
            .is_some_and(|k| matches!(k.on_delete, OnDelete::NoAction | OnDelete::Restrict));
        refuses && edge.decision.fate == Fate::Delete && self.ends_with_its_parents(reached, edge)
    }

    /// Whether [`Builder::before_the_cascade`] has looked already, and nothing can come since.
    fn probed_before_cascade(&self, reached: &Reached, edge: &Edge) -> bool {
        let Parent::Table(parent) = &edge.parent else {
            return false;
        };
        let above = self.system.tables.iter().find(|t| t.table == *parent);
        above.is_some_and(|above| cascades(edge, above))
            && self.ends_with_its_parents(reached, edge)
    }

    /// An enforced key from another table, all of whose rows concerned go: once they have gone
    /// nothing can refer to them.
    fn ends_with_its_parents(&self, reached: &Reached, edge: &Edge) -> bool {
        let (Some(key), Parent::Table(parent)) = (&edge.foreign_key, &edge.parent) else {
            return false;
        };
        let Some(parent) = self.system.tables.iter().find(|t| t.table == *parent) else {
            return false;
        };
        let all_go = edges(parent).all(|e| e.decision.fate == Fate::Delete);
        key.enforced && all_go && parent.table != reached.table
    }

    fn exempt(&mut self) {
        for reached in &self.system.tables {
            for edge in &reached.edges {
                if let Action::Exempt { reason } = &self.policy.tables[edge.decision.rule].action {
                    self.plan
                        .exempt
                        .insert(reached.table.to_string(), reason.clone());
                }
            }
        }
    }
}

/// The edges by which rows are looked at: exempt ones lead nowhere.
fn edges(reached: &Reached) -> impl Iterator<Item = &Edge> {
    reached
        .edges
        .iter()
        .filter(|e| e.decision.fate != Fate::Exempt)
}

/// Whether deleting rows of `parent` makes the database delete or change rows by this edge.
fn cascades(edge: &Edge, parent: &Reached) -> bool {
    let key = edge.foreign_key.as_ref();
    key.is_some_and(|k| {
        k.parent.0 == parent.table
            && matches!(
                k.on_delete,
                OnDelete::Cascade | OnDelete::SetNull | OnDelete::SetDefault
            )
    })
}

fn labels(reached: &Reached) -> String {
    edges(reached)
        .map(|e| e.label.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn row_key(reached: &Reached) -> RowKey {
    // A key holds in each child table by itself, not across them.
    if reached.facts.has_heirs {
        return RowKey::PartitionAndPlace;
    }
    match (reached.facts.row_key(), reached.facts.kind) {
        ([], TableKind::Partitioned) => RowKey::PartitionAndPlace,
        ([], _) => RowKey::Place,
        (columns, _) => RowKey::Columns(columns.to_vec()),
    }
}

fn key_width(key: &RowKey) -> usize {
    match key {
        RowKey::Columns(columns) => columns.len(),
        RowKey::Place => 1,
        RowKey::PartitionAndPlace => 2,
    }
}

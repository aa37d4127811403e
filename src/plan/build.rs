//! From lineage to plan.

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
    plan: SystemPlan,
}

impl<'a> Builder<'a> {
    fn new(policy: &'a Policy, system: &'a SystemLineage) -> Self {
        Self {
            policy,
            system,
            captured: BTreeMap::new(),
            plan: SystemPlan {
                system: system.system.clone(),
                catalog_fingerprint: system.fingerprint.clone(),
                lock_tables: String::new(),
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
        for reached in system.tables.iter().filter(|t| needed.contains(&t.table)) {
            if self.must_be_captured(reached, &needed) {
                self.capture(reached, &needed);
            }
        }
        for reached in system
            .tables
            .iter()
            .rev()
            .filter(|t| needed.contains(&t.table))
        {
            self.change(reached);
            self.probe(reached);
        }
        let changed: BTreeSet<&TableName> = self.plan.changes.iter().map(|c| &c.table).collect();
        self.plan.lock_tables = sql::lock_tables(&changed.into_iter().collect::<Vec<_>>());
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

    fn capture(&mut self, reached: &'a Reached, needed: &BTreeSet<&TableName>) {
        let key = row_key(reached);
        let columns = self.columns(reached, &key, needed);
        let key_width = key_width(&key);
        let at = self.plan.sets.len();
        self.captured.insert(&reached.table, at);
        self.plan.sets.push(RowSet {
            table: reached.table.clone(),
            key: key.clone(),
            key_width,
            columns: columns.clone(),
            captures: Vec::new(),
        });
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
                self.plan.sets[at].captures.push(Capture {
                    label: edge.label.clone(),
                    parent: parent_set,
                    statement,
                    texts,
                    lock: sql::lock_rows(&key, fate == Fate::Untouched),
                    fate,
                    rule: edge.decision.rule,
                    retained,
                    repeats: parent_set == Some(at),
                });
            }
        }
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
        let is_root = root.system == self.system.system && root.table == reached.table;
        if edge.parent == Parent::Subject && is_root {
            return self
                .policy
                .identifiers
                .values()
                .map(|i| i.column.clone())
                .collect();
        }
        if retained.is_some_and(|r| r.until.is_some()) {
            return key.iter().map(|c| c.name.clone()).collect();
        }
        Vec::new()
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
                self.plan.changes.push(Change {
                    table: reached.table.clone(),
                    kind: ChangeKind::Deleted,
                    label: edge.label.clone(),
                    statement,
                    rows: None,
                    count: Some(count),
                });
            }
            return;
        };
        let mut rules: BTreeMap<usize, &Edge> = BTreeMap::new();
        for edge in edges(reached) {
            rules.entry(edge.decision.rule).or_insert(edge);
        }
        for (rule, edge) in rules {
            self.change_by_rule(reached, set, rule, edge);
        }
        if edges(reached).any(|e| e.decision.fate.may_delete()) {
            let row_set = &self.plan.sets[set];
            let rows = Rows {
                set,
                part: Part::Gone,
            };
            let statement =
                sql::delete_by_key(&reached.table, &row_set.key, &row_set.columns, rows);
            self.plan.changes.push(Change {
                table: reached.table.clone(),
                kind: ChangeKind::Deleted,
                label: labels(reached),
                statement,
                rows: Some(rows),
                count: None,
            });
        }
    }

    fn change_by_rule(&mut self, reached: &Reached, set: usize, rule: usize, edge: &Edge) {
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
        if values.is_empty() {
            return;
        }
        let row_set = &self.plan.sets[set];
        let rows = Rows {
            set,
            part: Part::ChangedBy(rule),
        };
        let (statement, probe) = sql::update_by_key(
            &reached.table,
            &reached.facts,
            &row_set.key,
            &row_set.columns,
            rows,
            values,
        );
        let columns: Vec<&str> = values.keys().map(String::as_str).collect();
        self.plan.changes.push(Change {
            table: reached.table.clone(),
            kind,
            label: columns.join(", "),
            statement,
            rows: Some(rows),
            count: None,
        });
        self.plan.probes.push(Probe {
            table: reached.table.clone(),
            label: format!("rows still hold the old {}", columns.join(", ")),
            statement: probe,
            expect: None,
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
        if !guarded
            && edges(reached).any(|e| e.decision.fate.may_delete())
            && matches!(row_set.key, RowKey::Columns(_))
        {
            probes.push((
                "rows that had to go are still there",
                count(Part::Gone),
                None,
            ));
        }
        if edges(reached).any(|e| matches!(e.decision.fate, Fate::Retain | Fate::RetainWithParent))
            && matches!(row_set.key, RowKey::Columns(_))
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
        let (Some(key), Parent::Table(parent)) = (&edge.foreign_key, &edge.parent) else {
            return false;
        };
        let refuses = matches!(key.on_delete, OnDelete::NoAction | OnDelete::Restrict);
        let Some(parent) = self.system.tables.iter().find(|t| t.table == *parent) else {
            return false;
        };
        let all_go = edges(parent).all(|e| e.decision.fate == Fate::Delete);
        key.enforced
            && refuses
            && all_go
            && edge.decision.fate == Fate::Delete
            && parent.table != reached.table
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

fn labels(reached: &Reached) -> String {
    edges(reached)
        .map(|e| e.label.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn row_key(reached: &Reached) -> RowKey {
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

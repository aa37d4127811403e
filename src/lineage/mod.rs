//! Lineage: how rows of each table belong to the subject.
//!
//! [`trace`] follows foreign keys and the policy's own links from the subject outwards through
//! one or more catalogs, asks the policy at every step, and collects everything that is wrong:
//! a table nobody decided, a decision that the database would overrule, a column that is not
//! there. It is pure.

mod age_index;
mod archive;
mod beside;
mod check;
mod condition;
mod definitions;
mod draft;
mod found_again;
mod linked;
mod minimum;
mod order;
mod owners;
pub mod partition;
mod retention;
mod still;
mod survey;
mod types;

pub use archive::unknown_bucket;
pub use beside::kept_whole;
pub use definitions::{Definitions, Difference, Mark, within_reach};
pub use draft::{check_draft, systems_of_draft};
pub use found_again::FoundAgain;
pub use minimum::kept_from_tickets;
pub use owners::Owners;
pub use retention::{OfRule, check_rules, due_on, not_on_mariadb, of_rule, unregistered};
pub use still::Still;
pub use survey::{Survey, survey};
pub use types::*;

use crate::catalog::{Catalog, ForeignKey, Table, TableKind};
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::{QualifiedTable, TableName};
use crate::policy::{Action, Cover, LinkFrom, LinkTo, Policy, Scope, TableRule};
use crate::reading::{choose_or, did_you_mean, nearest};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Traces one scope of a policy through the catalogs of its systems.
///
/// # Errors
/// All that keeps a ticket of this scope from running, warnings among them. Warnings alone come
/// back with the lineage.
pub fn trace(
    policy: &Policy,
    scope: &str,
    catalogs: &BTreeMap<String, Catalog>,
) -> Result<(Lineage, Vec<Diagnostic>), Vec<Diagnostic>> {
    let whole = policy;
    let policy = &*whole.under(scope);
    let Some(scope_rule) = policy.scopes.get(scope) else {
        return Err(vec![unknown_scope(policy, scope)]);
    };
    let mut found = Vec::new();
    let mut systems = Vec::new();
    for system in systems_of(policy) {
        let Some(catalog) = catalogs.get(&system) else {
            found.push(unknown_system(policy, &system, catalogs));
            continue;
        };
        let tracer = Tracer::new(policy, scope_rule, catalog);
        systems.push(tracer.run(&mut found));
    }
    // The root's system comes last: what could re-create the rest goes only when the rest is gone.
    systems.sort_by_key(|s| s.system == policy.root.0.system);
    check::policy_against_lineage(whole, policy, scope, &systems, catalogs, &mut found);
    for rule in &whole.retention {
        found.extend(minimum::against_tables(whole, rule, &[whole]));
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    let lineage = Lineage {
        policy_file: policy.source.path.to_string(),
        policy_sha256: policy.sha256.clone(),
        subject: policy.subject.clone(),
        scope: scope.to_owned(),
        required_level: scope_rule.at_least,
        four_eyes: scope_rule.four_eyes,
        systems,
    };
    Ok((lineage, found))
}

/// The systems that a policy names, each once.
pub fn systems_of(policy: &Policy) -> BTreeSet<String> {
    std::iter::once(&policy.root.0)
        .chain(policy.tables.iter().map(|t| &t.table))
        .map(|t| t.system.clone())
        .collect()
}

/// From which table a rule's own link leads, or its owners'.
fn leads_from(rule: &TableRule) -> Option<&QualifiedTable> {
    match (&rule.action, &rule.link) {
        (Action::Shared { through, .. }, _) => Some(through),
        (_, Some(link)) => match &link.to {
            LinkTo::Table { table, .. } => Some(table),
            LinkTo::Identifier(_) => None,
        },
        _ => None,
    }
}

fn unknown_scope(policy: &Policy, scope: &str) -> Diagnostic {
    let known: Vec<_> = policy.scopes.keys().map(String::as_str).collect();
    Diagnostic::error(
        "E0225",
        format!("the policy for {} has no scope {scope:?}", policy.subject),
        choose_or(scope, &known, "name one of:"),
    )
    .at(&policy.source, policy.root.1.clone())
}

fn unknown_system(
    policy: &Policy,
    system: &str,
    catalogs: &BTreeMap<String, Catalog>,
) -> Diagnostic {
    let help = match nearest(system, catalogs.keys().map(String::as_str)) {
        Some(near) => did_you_mean(near),
        None => format!("add [system.{system}] to erasured.toml, or mend the name here"),
    };
    let span = policy
        .tables
        .iter()
        .find(|t| t.table.system == system)
        .map_or_else(|| policy.root.1.clone(), |t| t.span.clone());
    Diagnostic::error(
        "E0226",
        format!("the policy names the system {system:?}, which erasured.toml does not register"),
        help,
    )
    .at(&policy.source, span)
}

/// The walk through one system.
struct Tracer<'a> {
    policy: &'a Policy,
    scope: &'a Scope,
    catalog: &'a Catalog,
    /// Of this system's tables the rules, by their index in the policy.
    rules: BTreeMap<&'a TableName, Vec<usize>>,
    /// Rules whose own link, or whose owners, name the table.
    links: BTreeMap<&'a TableName, Vec<usize>>,
    /// The keys that refer to the table.
    keys: BTreeMap<&'a TableName, Vec<&'a ForeignKey>>,
    tables: Vec<(TableName, Vec<Edge>)>,
    index: BTreeMap<TableName, usize>,
    undecided: BTreeSet<(TableName, String)>,
}

impl<'a> Tracer<'a> {
    fn new(policy: &'a Policy, scope: &'a Scope, catalog: &'a Catalog) -> Self {
        let (mut rules, mut links) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (at, rule) in policy.tables.iter().enumerate() {
            if rule.table.system != catalog.system {
                continue;
            }
            rules.entry(&rule.table.table).or_default().push(at);
            if let Some(from) = leads_from(rule) {
                links.entry(&from.table).or_default().push(at);
            }
        }
        let mut keys = BTreeMap::<_, Vec<_>>::new();
        for key in &catalog.foreign_keys {
            keys.entry(&key.parent.0).or_default().push(key);
        }
        Self {
            policy,
            scope,
            catalog,
            rules,
            links,
            keys,
            tables: Vec::new(),
            index: BTreeMap::new(),
            undecided: BTreeSet::new(),
        }
    }

    fn run(mut self, found: &mut Vec<Diagnostic>) -> SystemLineage {
        self.walk(found);
        self.two_keys_one_rule(found);
        let groups = order::parents_first(&self.tables);
        self.finish(groups)
    }

    fn walk(&mut self, found: &mut Vec<Diagnostic>) {
        let mut queue = self.entries(found);
        let mut seen: BTreeSet<TableName> = queue.iter().cloned().collect();
        while let Some(parent) = queue.pop() {
            for child in self.follow(&parent, found) {
                if seen.insert(child.clone()) {
                    queue.push(child);
                }
            }
        }
    }

    /// Where the subject enters this system: its root row, or links by identifier.
    fn entries(&mut self, found: &mut Vec<Diagnostic>) -> Vec<TableName> {
        let mut queue = Vec::new();
        let root = &self.policy.root.0;
        if root.system == self.catalog.system && self.exists(&root.table) {
            match self.default_rule(&root.table) {
                Some(rule) => queue.extend(self.add(&root.table, self.root_edge(rule))),
                None => found.push(self.undecided(&root.table, "as the root of the subject", None)),
            }
        }
        for (rule, table) in self.rules_here() {
            let Some(link) = &table.link else { continue };
            if let LinkTo::Identifier(name) = &link.to
                && let Some(identifier) = self.policy.identifiers.get(name)
                && let LinkFrom::Columns(columns) = &link.from
                && self.exists(&table.table.table)
            {
                let edge = Edge {
                    label: format!("by {name}"),
                    parent: Parent::Identifier {
                        name: name.clone(),
                        kind: identifier.kind.clone(),
                    },
                    join: Join::Identifier {
                        column: columns.first().cloned().unwrap_or_default(),
                    },
                    when: link.when.clone().into_iter().collect(),
                    due: Vec::new(),
                    spared_by: Vec::new(),
                    foreign_key: None,
                    shared: false,
                    decision: self.decision(rule),
                };
                queue.extend(self.add(&table.table.table, edge));
            }
        }
        queue
    }

    fn root_edge(&self, rule: usize) -> Edge {
        Edge {
            label: SUBJECT.into(),
            parent: Parent::Subject,
            join: Join::Columns {
                child: self.table(&self.policy.root.0.table).row_key().to_vec(),
                parent: Vec::new(),
                equality: Vec::new(),
            },
            when: Vec::new(),
            due: Vec::new(),
            spared_by: Vec::new(),
            foreign_key: None,
            shared: false,
            decision: self.decision(rule),
        }
    }

    /// Adds the edges from `parent` to whatever refers to it; returns the children through which
    /// the walk goes on.
    fn follow(&mut self, parent: &TableName, found: &mut Vec<Diagnostic>) -> Vec<TableName> {
        let mut next = Vec::new();
        for key in self.keys.get(parent).cloned().unwrap_or_default() {
            match self.rule_for_key(key) {
                _ if !self.exists(&key.child.0) => found.push(self.of_a_partition(key)),
                Some(rule) => next.extend(self.add(&key.child.0, self.key_edge(key, rule))),
                None if self
                    .undecided
                    .insert((key.child.0.clone(), key.name.clone())) =>
                {
                    found.push(self.undecided(&key.child.0, "", Some(key)));
                }
                None => {}
            }
        }
        for rule in self.links.get(parent).cloned().unwrap_or_default() {
            let table = &self.policy.tables[rule];
            let edge = match &table.action {
                Action::Shared { through, .. } => self.shared_edge(rule, table, through, parent),
                _ => self.soft_edge(rule, table, parent),
            };
            if let Some(edge) = edge {
                next.extend(self.add(&table.table.table, edge));
            }
        }
        next
    }

    fn key_edge(&self, key: &ForeignKey, rule: usize) -> Edge {
        Edge {
            label: key.name.clone(),
            parent: Parent::Table(key.parent.0.clone()),
            join: Join::Columns {
                child: key.child.1.clone(),
                parent: key.parent.1.clone(),
                equality: key.equality.clone(),
            },
            when: Vec::new(),
            due: Vec::new(),
            spared_by: Vec::new(),
            foreign_key: Some(key.clone()),
            shared: false,
            decision: self.decision(rule),
        }
    }

    fn soft_edge(&self, rule: usize, table: &TableRule, parent: &TableName) -> Option<Edge> {
        let link = table.link.as_ref()?;
        let LinkTo::Table { table: to, columns } = &link.to else {
            return None;
        };
        if to.system != self.catalog.system
            || to.table != *parent
            || !self.exists(&table.table.table)
        {
            return None;
        }
        let parent_columns = if columns.is_empty() {
            self.table(parent).primary_key.clone()
        } else {
            columns.clone()
        };
        let join = match &link.from {
            LinkFrom::Columns(child) => Join::Columns {
                equality: vec!["OPERATOR(pg_catalog.=)".into(); child.len()],
                child: child.clone(),
                parent: parent_columns,
            },
            LinkFrom::Json { column, path } => Join::Json {
                column: column.clone(),
                path: path.clone(),
                parent: parent_columns.into_iter().next()?,
            },
            LinkFrom::Elements(column) => Join::Elements {
                column: column.clone(),
                parent: parent_columns.into_iter().next()?,
            },
            LinkFrom::JsonKeys { column, object } => Join::JsonKeys {
                column: column.clone(),
                object: object.clone(),
                parent: parent_columns.into_iter().next()?,
            },
            LinkFrom::JsonElements { column, list, path } => Join::JsonElements {
                column: column.clone(),
                list: list.clone(),
                path: path.clone(),
                parent: parent_columns.into_iter().next()?,
            },
        };
        Some(Edge {
            label: table
                .via
                .as_ref()
                .map_or_else(|| "link".into(), |(via, _)| via.clone()),
            parent: Parent::Table(parent.clone()),
            join,
            when: link.when.clone().into_iter().collect(),
            due: Vec::new(),
            spared_by: Vec::new(),
            foreign_key: None,
            shared: false,
            decision: self.decision(rule),
        })
    }

    /// From its owners to what is shared: against the direction of the key by which they refer to
    /// it, or by the rule's own link.
    fn shared_edge(
        &self,
        rule: usize,
        table: &TableRule,
        through: &QualifiedTable,
        parent: &TableName,
    ) -> Option<Edge> {
        if through.system != self.catalog.system || through.table != *parent {
            return None;
        }
        if table.link.is_some() {
            let edge = self.soft_edge(rule, table, parent)?;
            return Some(Edge {
                shared: true,
                ..edge
            });
        }
        let mut keys = self.catalog.referring_to(&table.table.table);
        let key = keys.find(|k| k.child.0 == *parent)?;
        Some(Edge {
            label: format!("shared through {}", key.name),
            parent: Parent::Table(parent.clone()),
            join: Join::Columns {
                child: key.parent.1.clone(),
                parent: key.child.1.clone(),
                equality: key.equality.clone(),
            },
            when: Vec::new(),
            due: Vec::new(),
            spared_by: Vec::new(),
            foreign_key: None,
            shared: true,
            decision: self.decision(rule),
        })
    }

    /// Adds an edge; returns the child if its rows' own children belong to the subject too.
    fn add(&mut self, child: &TableName, edge: Edge) -> Option<TableName> {
        let goes_on = edge.decision.fate.is_followed();
        let at = *self.index.entry(child.clone()).or_insert_with(|| {
            self.tables.push((child.clone(), Vec::new()));
            self.tables.len() - 1
        });
        self.tables[at].1.push(edge);
        goes_on.then(|| child.clone())
    }

    fn rules_here(&self) -> impl Iterator<Item = (usize, &'a TableRule)> + use<'a> {
        let system = &self.catalog.system;
        self.policy
            .tables
            .iter()
            .enumerate()
            .filter(move |(_, rule)| rule.table.system == *system)
    }

    fn rule_for_key(&self, key: &ForeignKey) -> Option<usize> {
        let mut of_table = self.rules_of(&key.child.0);
        let named = of_table.find(|(_, r)| r.via.as_ref().is_some_and(|(via, _)| *via == key.name));
        if let Some((rule, _)) = named {
            return Some(rule);
        }
        if self.leads_to_its_like(key) {
            return None;
        }
        // What else refers by the table itself (`created_by`) says nothing of its owners.
        let shared =
            |rule: &usize| matches!(self.policy.tables[*rule].action, Action::Shared { .. });
        self.default_rule(&key.child.0).filter(|rule| !shared(rule))
    }

    /// Another row of the same table is another person, or another person's: never by default.
    fn leads_to_its_like(&self, key: &ForeignKey) -> bool {
        let root = &self.policy.root.0;
        let is_root = root.system == self.catalog.system && root.table == key.child.0;
        is_root || key.child.0 == key.parent.0
    }

    fn why_not_by_default(&self, key: &ForeignKey) -> &'static str {
        if self.leads_to_its_like(key) {
            " (it leads to other rows of the same kind, so the table's general rule does not cover it)"
        } else {
            " (the table's general rule, shared, speaks only of rows reached through their owners)"
        }
    }

    fn default_rule(&self, table: &TableName) -> Option<usize> {
        let mut rules = self.rules_of(table);
        rules.find(|(_, r)| r.via.is_none()).map(|(rule, _)| rule)
    }

    fn rules_of(&self, table: &TableName) -> impl Iterator<Item = (usize, &'a TableRule)> + '_ {
        let rules = self.rules.get(table).into_iter().flatten();
        rules.map(|&at| (at, &self.policy.tables[at]))
    }

    fn decision(&self, rule: usize) -> Decision {
        let table = &self.policy.tables[rule];
        let in_scope = match self.scope.extent.of(&table.table) {
            Cover::Whole => true,
            Cover::Columns(_) => matches!(table.action, Action::Anonymize { .. }),
            Cover::Nothing => false,
        };
        let fate = match &table.action {
            Action::Exempt { .. } => Fate::Exempt,
            Action::Detach => Fate::Detach,
            _ if !in_scope => Fate::Untouched,
            Action::Delete | Action::Shared { .. } => Fate::Delete,
            Action::Anonymize { .. } => Fate::Anonymize,
            Action::Retain(retain) if retain.until.is_some() => Fate::Retain,
            Action::Retain(_) => Fate::RetainWithParent,
        };
        let fate = match fate {
            fate if in_scope => fate,
            // Outside the scope, too, rows that only point at the subject are somebody else's: what
            // hangs off them is not the subject's.
            Fate::Detach | Fate::Exempt => Fate::Exempt,
            _ => Fate::Untouched,
        };
        Decision { rule, fate }
    }

    fn exists(&self, table: &TableName) -> bool {
        self.catalog.tables.contains_key(table)
    }

    fn table(&self, name: &TableName) -> &'a Table {
        &self.catalog.tables[name]
    }

    fn undecided(&self, table: &TableName, how: &str, key: Option<&ForeignKey>) -> Diagnostic {
        let qualified = QualifiedTable {
            system: self.catalog.system.clone(),
            table: table.clone(),
        };
        let (how, via) = match key {
            None => (how.to_owned(), String::new()),
            Some(key) => (
                format!("by foreign key {} from {}", key.name, key.parent.0),
                if self.default_rule(table).is_some() || key.child.0 == key.parent.0 {
                    format!(", via = {:?}", key.name)
                } else {
                    String::new()
                },
            ),
        };
        let why = match key {
            Some(key) if !via.is_empty() => self.why_not_by_default(key),
            _ => "",
        };
        Diagnostic::error(
            "E0201",
            format!("{qualified} is reached {how}, and no policy decides it{why}"),
            format!(
                "add to {}: [[table]] with name = {:?}{via} and an action",
                self.policy.source.path,
                qualified.to_string()
            ),
        )
        .at(&self.policy.source, self.policy.root.1.clone())
    }

    /// Partitions are not decided one by one, so a key that only one of them has cannot be.
    fn of_a_partition(&self, key: &ForeignKey) -> Diagnostic {
        Diagnostic::error(
            "E0216",
            format!(
                "{}.{} is a partition with a foreign key of its own ({}) to {}",
                self.catalog.system, key.child.0, key.name, key.parent.0
            ),
            "declare the key on the partitioned table, so that it holds for all partitions",
        )
        .at(&self.policy.source, self.policy.root.1.clone())
    }

    /// Two keys to the same table seldom mean the same thing (`created_by`, `owned_by`).
    fn two_keys_one_rule(&self, found: &mut Vec<Diagnostic>) {
        for (table, edges) in &self.tables {
            let mut seen: BTreeMap<(&Parent, usize), &str> = BTreeMap::new();
            for edge in edges.iter().filter(|e| e.foreign_key.is_some()) {
                let rule = &self.policy.tables[edge.decision.rule];
                if rule.via.is_some() {
                    continue;
                }
                if let Some(other) = seen.insert((&edge.parent, edge.decision.rule), &edge.label) {
                    found.push(
                        Diagnostic::error(
                            "E0223",
                            format!("{}.{table} refers to the same table by {other} and {}: one rule cannot mean both", self.catalog.system, edge.label),
                            format!("give one of them a [[table]] of its own with via = {:?}", edge.label),
                        )
                        .at(&self.policy.source, rule.span.clone()),
                    );
                }
            }
        }
    }

    fn finish(mut self, groups: Vec<Vec<usize>>) -> SystemLineage {
        let (mut tables, mut rings) = (Vec::new(), Vec::new());
        for group in groups {
            if group.len() > 1 {
                rings.push(group.iter().map(|&at| self.tables[at].0.clone()).collect());
            }
            for at in group {
                let edges = std::mem::take(&mut self.tables[at].1);
                let table = self.tables[at].0.clone();
                let facts = self.table(&table).clone();
                tables.push(Reached {
                    table,
                    facts,
                    edges,
                });
            }
        }
        let object_columns = object_columns(self.policy, self.catalog);
        let fingerprint = fingerprint(&tables, self.catalog, &object_columns);
        SystemLineage::new(self.catalog, tables, rings, object_columns, fingerprint)
    }
}

/// Where a row could refer to a large object, if the policy has rows let go of any.
fn object_columns(policy: &Policy, catalog: &Catalog) -> Vec<ObjectColumn> {
    let system = &catalog.system;
    let names = |rule: &&TableRule| {
        let listed = rule.large_objects.as_ref();
        rule.table.system == *system && listed.is_some_and(|(columns, _)| !columns.is_empty())
    };
    if !policy.tables.iter().any(|rule| names(&rule)) {
        return Vec::new();
    }
    let tables = catalog.tables.iter();
    let tables =
        tables.filter(|(_, t)| matches!(t.kind, TableKind::Ordinary | TableKind::Partitioned));
    let columns = tables.flat_map(|(name, table)| {
        let numbers = table.columns.iter().filter(|c| c.may_be_large_object());
        numbers.map(|column| ObjectColumn {
            table: name.clone(),
            column: column.name.clone(),
            partitioned: table.kind == TableKind::Partitioned,
        })
    });
    columns.collect()
}

/// SHA-256 over the definitions of the tables reached, every foreign key at either end of them, and
/// where else their large objects may be held: what the plan was made for.
fn fingerprint(tables: &[Reached], catalog: &Catalog, objects: &[ObjectColumn]) -> String {
    let names: BTreeSet<_> = tables.iter().map(|t| &t.table).collect();
    let keys: Vec<_> = catalog
        .foreign_keys
        .iter()
        .filter(|k| names.contains(&k.parent.0) || names.contains(&k.child.0))
        .collect();
    let facts: BTreeMap<_, _> = tables
        .iter()
        .map(|t| (t.table.to_string(), &t.facts))
        .collect();
    let definitions = (facts, keys, objects);
    let text = serde_json::to_vec(&definitions).expect("a catalog value is always JSON");
    format!("{:x}", Sha256::digest(text))
}

/// The lineage of rows that were retained and whose date has come: they and what hangs off them
/// go. `None` if the table is not reached in that system any more.
pub fn of_retained(lineage: &Lineage, system: &str, table: &TableName) -> Option<Lineage> {
    let whole = lineage.systems.iter().find(|s| s.system == system)?;
    let led_to = led_to(whole, table);
    let mut tables: Vec<Reached> = Vec::new();
    for reached in &whole.tables {
        let mut part = reached.clone();
        if reached.table == *table {
            let rule = reached
                .edges
                .iter()
                .find(|e| e.decision.fate == Fate::Retain)?
                .decision
                .rule;
            part.edges = vec![Edge {
                label: SUBJECT.into(),
                parent: Parent::Subject,
                join: Join::Columns {
                    child: reached.facts.row_key().to_vec(),
                    parent: Vec::new(),
                    equality: Vec::new(),
                },
                when: Vec::new(),
                due: Vec::new(),
                spared_by: Vec::new(),
                foreign_key: None,
                shared: false,
                // Not Delete: the row's own date is read again under its lock.
                decision: Decision {
                    rule,
                    fate: Fate::Retain,
                },
            }];
        } else {
            part.edges
                .retain(|e| matches!(&e.parent, Parent::Table(parent) if led_to.contains(parent)));
        }
        if !part.edges.is_empty() {
            tables.push(part);
        }
    }
    let begins = tables.iter().any(|t| t.table == *table);
    begins.then(|| Lineage {
        systems: vec![whole.with(tables)],
        ..lineage.clone()
    })
}

/// The table and all to which it leads, over whatever is the subject's own.
fn led_to<'a>(system: &'a SystemLineage, table: &'a TableName) -> BTreeSet<&'a TableName> {
    let mut led_to = BTreeSet::from([table]);
    loop {
        let known = led_to.len();
        for reached in &system.tables {
            let mut edges = reached
                .edges
                .iter()
                .filter(|e| e.decision.fate.is_followed());
            if edges.any(|e| matches!(&e.parent, Parent::Table(p) if led_to.contains(p))) {
                led_to.insert(&reached.table);
            }
        }
        if led_to.len() == known {
            return led_to;
        }
    }
}

/// Everything wrong with any scope of a policy, each thing once, and the lineages that stand.
pub fn trace_all(
    policy: &Policy,
    catalogs: &BTreeMap<String, Catalog>,
) -> (BTreeMap<String, Lineage>, Vec<Diagnostic>) {
    let mut lineages = BTreeMap::new();
    let mut found: Vec<Diagnostic> = Vec::new();
    for scope in policy.scopes.keys() {
        let said = match trace(policy, scope, catalogs) {
            Ok((lineage, warnings)) => {
                lineages.insert(scope.clone(), lineage);
                warnings
            }
            Err(errors) => errors,
        };
        for diagnostic in said {
            if !found
                .iter()
                .any(|d| d.code == diagnostic.code && d.message == diagnostic.message)
            {
                found.push(diagnostic);
            }
        }
    }
    (lineages, found)
}

//! What hangs on the rows of a rule, and what of it keeps them.

use super::reach::go_by_themselves;
use super::time::times;
use super::{CONTRADICTED, OF_PEOPLE};
use crate::catalog::{Catalog, ForeignKey};
use crate::diagnostic::Diagnostic;
use crate::lineage::owners::back;
use crate::lineage::{
    Below, Due, Edge, Lineage, Parent, Reached, Spares, Step, SystemLineage, minimum,
};
use crate::name::{QualifiedTable, TableName};
use crate::policy::retention::RetentionRule;
use crate::policy::{Action, Policy, TableRule};
use chrono::{DateTime, Utc};

const LINKED: &str = "link them by a foreign key that the database holds, or let them lose the link: action = \"detach\"";

/// What goes with the rule's rows, or loses its link to them.
pub(super) struct Hanging<'a> {
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a RetentionRule,
    /// The policy that the rule makes.
    pub(super) own: &'a Policy,
    pub(super) lineage: &'a Lineage,
    pub(super) in_force: &'a [&'a Policy],
    pub(super) catalog: &'a Catalog,
    pub(super) now: DateTime<Utc>,
}

impl Hanging<'_> {
    pub(super) fn mistakes(&self) -> Vec<Diagnostic> {
        let systems = self.lineage.systems.iter();
        let tables = systems.flat_map(|s| s.tables.iter().map(move |t| (&s.system, t)));
        let mut found = Vec::new();
        for (system, reached) in tables {
            let table = QualifiedTable {
                system: system.clone(),
                table: reached.table.clone(),
            };
            if self.rule.action.rewrites() && table != self.rule.table {
                continue;
            }
            if self.in_force.iter().any(|p| p.root.0 == table) {
                found.push(self.of_people(&table));
            }
            if table == self.rule.table {
                continue;
            }
            if let Some(by) = self.retained_by(&table, reached) {
                let why = format!("which {by} retains for a time of its own");
                let help = format!(
                    "write a [[retention]] with action = \"delete\" for {table}, as long as the `retain`: rows then wait for what hangs on them"
                );
                found.push(self.kept_longer(&table, &why, &help));
            }
        }
        found
    }

    /// Which policy retains rows of a table that go, or change, with the rule's, and says nowhere when they go by
    /// themselves: a rule that does is never shorter, and its rows keep what they hang on.
    fn retained_by(&self, table: &QualifiedTable, reached: &Reached) -> Option<String> {
        if self.acts(reached, |action| matches!(action, Action::Retain(_))) {
            return Some(minimum::whose(self.policy, self.policy));
        }
        if go_by_themselves(self.in_force).contains(table) {
            return None;
        }
        if !self.acts(reached, |a| {
            matches!(a, Action::Delete | Action::Shared { .. })
        }) {
            return None;
        }
        let mut others = minimum::others(self.policy, self.in_force);
        let retains = |of: &TableRule| of.table == *table && matches!(of.action, Action::Retain(_));
        let other = others.find(|other| other.tables.iter().any(retains))?;
        Some(minimum::whose(self.policy, other))
    }

    /// Whether the policy does so with rows of a table that are reached.
    fn acts(&self, reached: &Reached, so: impl Fn(&Action) -> bool) -> bool {
        let mut edges = reached.edges.iter();
        edges.any(|e| so(&self.own.tables[e.decision.rule].action))
    }

    /// Rows that would go with the rule's and for which a rule of their own says how long: as long as they are
    /// kept, what they hang on is. By which keys they hang must be told, so that it can be asked of each row.
    pub(super) fn spared_by(&self, own_due: &[Due], found: &mut Vec<Diagnostic>) -> Vec<Spares> {
        let mut spared_by = Vec::new();
        let systems = self.lineage.systems.iter();
        for (system, reached) in systems.flat_map(|s| s.tables.iter().map(move |t| (s, t))) {
            let goes = |action: &Action| matches!(action, Action::Delete | Action::Shared { .. });
            let own =
                system.system == self.rule.table.system && reached.table == self.rule.table.table;
            if own || !self.acts(reached, goes) {
                continue;
            }
            let rules = self.in_force.iter();
            let rules = rules.flat_map(|p| p.retention.iter().map(move |rule| (*p, rule)));
            let of_table = |rule: &RetentionRule| {
                rule.table.system == system.system && rule.table.table == reached.table
            };
            for (policy, rule) in rules.filter(|(_, rule)| of_table(rule)) {
                let Some(ways) = ways(system, &reached.table, &self.rule.table.table) else {
                    let why = format!("for which there is the retention rule {}", rule.name);
                    found.push(self.kept_longer(&rule.table, &why, LINKED));
                    continue;
                };
                let (catalog, facts) = (self.catalog, &reached.facts);
                let due = times(
                    (policy, rule),
                    self.in_force,
                    facts,
                    self.now,
                    catalog,
                    found,
                );
                spared_by.extend(ways.into_iter().map(|way| Spares {
                    way,
                    below: None,
                    due: due.clone().unwrap_or_default(),
                    dated_only: false,
                    only: None,
                    by: format!("the retention rule {}", rule.name),
                }));
            }
        }
        spared_by.extend(self.below(&spared_by, own_due, found));
        spared_by
    }

    /// Rows of the rule's own table that hang on each other: what is below a row goes with it, and must be due too.
    fn below(&self, also: &[Spares], due: &[Due], found: &mut Vec<Diagnostic>) -> Option<Spares> {
        let rule = &self.rule.table;
        let systems = self.lineage.systems.iter();
        let system = systems.into_iter().find(|s| s.system == rule.system)?;
        let reached = system.table(&rule.table)?;
        let own = |e: &&Edge| matches!(&e.parent, Parent::Table(p) if *p == rule.table);
        let goes = |e: &&Edge| e.decision.fate.may_delete();
        let edges: Vec<&Edge> = reached.edges.iter().filter(own).filter(goes).collect();
        let steps = edges.iter().map(|edge| {
            let key = edge.foreign_key.as_ref()?;
            step(rule.table.clone(), key)
        });
        let steps: Option<Vec<Step>> = steps.collect();
        let ring = system.rings.iter().any(|ring| ring.contains(&rule.table));
        match steps {
            Some(steps) if !ring => (!steps.is_empty()).then(|| Spares {
                way: Vec::new(),
                below: Some(Below {
                    steps,
                    key: reached.facts.row_key().to_vec(),
                    also: also.to_vec(),
                }),
                due: due.to_vec(),
                only: None,
                dated_only: false,
                by: format!("the retention rule {}", self.rule.name),
            }),
            _ => {
                let why = "which hang on each other otherwise than by one key, and may not be due";
                found.push(self.kept_longer(rule, why, LINKED));
                None
            }
        }
    }

    fn of_people(&self, table: &QualifiedTable) -> Diagnostic {
        let name = &self.rule.name;
        let message = match *table == self.rule.table {
            true => format!("the retention rule {name} is for {table}, whose rows are people"),
            false => format!("the retention rule {name} reaches {table}, whose rows are people"),
        };
        self.error(
            OF_PEOPLE,
            message,
            "people go by tickets, with all that is theirs and a certificate each: say people = true in a rule for them",
        )
    }

    fn kept_longer(&self, table: &QualifiedTable, why: &str, help: &str) -> Diagnostic {
        self.error(
            CONTRADICTED,
            format!(
                "with the rows of the retention rule {} go rows of {table}, {why}",
                self.rule.name
            ),
            help,
        )
    }

    fn error(&self, code: &'static str, message: String, help: &str) -> Diagnostic {
        Diagnostic::error(code, message, help).at(&self.policy.source, self.rule.span.clone())
    }
}

/// All ways by which rows of a table hang on the rule's, over foreign keys that the database holds; `None`
/// where one of them is none.
fn ways(system: &SystemLineage, from: &TableName, to: &TableName) -> Option<Vec<Vec<Step>>> {
    let mut ways = Vec::new();
    back(system, from, to, &mut Vec::new(), &mut ways)?;
    let outward = |way: Vec<Edge>| {
        let mut table = from.clone();
        let mut steps = Vec::new();
        for edge in &way {
            let Parent::Table(parent) = &edge.parent else {
                return None;
            };
            steps.push(step(table, edge.foreign_key.as_ref()?)?);
            table = parent.clone();
        }
        steps.reverse();
        Some(steps)
    };
    ways.into_iter().map(outward).collect()
}

pub(in crate::lineage) fn step(table: TableName, key: &ForeignKey) -> Option<Step> {
    let ties = key.child.1.iter().zip(&key.parent.1).zip(&key.equality);
    key.enforced.then(|| Step {
        table,
        ties: ties
            .map(|((child, parent), equal)| (child.clone(), parent.clone(), equal.clone()))
            .collect(),
    })
}

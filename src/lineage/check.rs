//! What a policy asks against what the database allows: every rule that the two must share.

use super::{Edge, Fate, Join, Parent, Reached, SystemLineage};
use crate::catalog::{Catalog, Column, ForeignKey, OnDelete, Table, TableKind};
use crate::diagnostic::Diagnostic;
use crate::name::TableName;
use crate::policy::{Action, LinkFrom, Policy, ScopeTables, Span, Strategy, TableRule};
use crate::system::postgres::quote::identifier;
use std::collections::{BTreeMap, BTreeSet};

/// Tables below this many rows are searched quickly without an index.
const SMALL: f32 = 10_000.0;

pub(super) fn policy_against_lineage(
    policy: &Policy,
    systems: &[SystemLineage],
    catalogs: &BTreeMap<String, Catalog>,
    found: &mut Vec<Diagnostic>,
) {
    Check {
        policy,
        catalogs,
        found,
    }
    .all(systems);
}

struct Check<'a> {
    policy: &'a Policy,
    catalogs: &'a BTreeMap<String, Catalog>,
    found: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn all(&mut self, systems: &[SystemLineage]) {
        self.identifiers();
        self.scopes();
        for rule in &self.policy.tables {
            self.rule(rule, systems);
        }
        for system in systems {
            for reached in &system.tables {
                self.table(system, reached);
                for edge in &reached.edges {
                    self.edge(system, reached, edge);
                }
            }
        }
    }

    fn error(&mut self, code: &'static str, span: &Span, message: String, help: impl Into<String>) {
        self.found
            .push(Diagnostic::error(code, message, help).at(&self.policy.source, span.clone()));
    }

    fn warn(&mut self, code: &'static str, span: &Span, message: String, help: impl Into<String>) {
        self.found
            .push(Diagnostic::warning(code, message, help).at(&self.policy.source, span.clone()));
    }

    fn identifiers(&mut self) {
        let (root, span) = &self.policy.root;
        let Some(table) = self
            .catalogs
            .get(&root.system)
            .and_then(|c| c.tables.get(&root.table))
        else {
            if self.catalogs.contains_key(&root.system) {
                self.error(
                    "E0202",
                    span,
                    format!("the root table {root} does not exist"),
                    "mend the name, or create the table",
                );
            }
            return;
        };
        if table.row_key().is_empty() {
            self.error(
                "E0218",
                span,
                format!("the root table {root} has no primary key, so no ticket could say which row it means"),
                "give it one, or a unique index over NOT NULL columns",
            );
        }
        let missing: Vec<_> = self
            .policy
            .identifiers
            .iter()
            .filter(|(_, i)| table.column(&i.column).is_none())
            .map(|(name, i)| (name.clone(), i.column.clone(), i.span.clone()))
            .collect();
        for (name, column, span) in missing {
            self.error(
                "E0203",
                &span,
                format!("identifier {name} names column {column:?}, which {root} lacks"),
                columns_of(table),
            );
        }
    }

    fn scopes(&mut self) {
        for scope in self.policy.scopes.values() {
            let ScopeTables::Listed(listed) = &scope.tables else {
                continue;
            };
            for (table, span) in listed {
                if !self.policy.tables.iter().any(|r| r.table == *table) {
                    self.error(
                        "E0219",
                        span,
                        format!(
                            "the scope names {table}, which no [[table]] of this policy decides"
                        ),
                        "add a [[table]] for it, or take it out of the scope",
                    );
                }
            }
        }
    }

    /// A rule by itself: its table, its columns, whether anything leads to it.
    fn rule(&mut self, rule: &TableRule, systems: &[SystemLineage]) {
        let Some(catalog) = self.catalogs.get(&rule.table.system) else {
            return;
        };
        let Some(table) = catalog.tables.get(&rule.table.table) else {
            self.error(
                "E0202",
                &rule.span,
                format!("{} does not exist", rule.table),
                nearest(catalog, &rule.table.table),
            );
            return;
        };
        if let Some((via, span)) = &rule.via
            && rule.link.is_none()
            && !catalog
                .foreign_keys
                .iter()
                .any(|k| k.child.0 == rule.table.table && k.name == *via)
        {
            let keys: Vec<_> = catalog
                .foreign_keys
                .iter()
                .filter(|k| k.child.0 == rule.table.table)
                .map(|k| k.name.as_str())
                .collect();
            self.error(
                "E0204",
                span,
                format!("{} has no foreign key {via:?}", rule.table),
                format!("its foreign keys: {}", keys.join(", ")),
            );
        }
        self.link_columns(rule, table);
        let exempt: Vec<_> = rule
            .sweep_exempt
            .keys()
            .filter(|c| table.column(c).is_none())
            .cloned()
            .collect();
        for column in exempt {
            self.error(
                "E0203",
                &rule.span,
                format!(
                    "sweep_exempt names column {column:?}, which {} lacks",
                    rule.table
                ),
                columns_of(table),
            );
        }
        self.action_columns(rule, table, catalog);
        let reached = systems
            .iter()
            .filter(|s| s.system == rule.table.system)
            .flat_map(|s| &s.tables)
            .any(|t| t.table == rule.table.table);
        if !reached && systems.iter().any(|s| s.system == rule.table.system) {
            self.error(
                "E0219",
                &rule.span,
                format!("nothing leads from the subject to {}: no foreign key, and no link in this policy", rule.table),
                "add a link = { columns = […], to = … } or identifier = …, or take the rule out",
            );
        }
    }

    fn link_columns(&mut self, rule: &TableRule, table: &Table) {
        let Some(link) = &rule.link else { return };
        let named: Vec<&String> = match &link.from {
            LinkFrom::Columns(columns) => columns.iter().collect(),
            LinkFrom::Json { column, .. } => {
                if table
                    .column(column)
                    .is_some_and(|c| !matches!(c.base.as_str(), "json" | "jsonb"))
                {
                    self.error(
                        "E0217",
                        &link.span,
                        format!(
                            "{}.{column} is not json or jsonb, so it has no path",
                            rule.table
                        ),
                        "use columns = […] for a plain column",
                    );
                }
                vec![column]
            }
        };
        for column in named.into_iter().chain(link.when.keys()) {
            if table.column(column).is_none() {
                self.error(
                    "E0203",
                    &link.span,
                    format!(
                        "the link names column {column:?}, which {} lacks",
                        rule.table
                    ),
                    columns_of(table),
                );
            }
        }
    }

    fn action_columns(&mut self, rule: &TableRule, table: &Table, catalog: &Catalog) {
        match &rule.action {
            Action::Anonymize { set } => self.set(rule, table, catalog, set),
            Action::Retain(retain) => {
                self.set(rule, table, catalog, &retain.set);
                if retain.until.is_some() && (table.row_key().is_empty() || table.has_heirs) {
                    self.error(
                        "E0218",
                        &retain.span,
                        format!("{} has no primary key, so its rows could not be found again on their date", rule.table),
                        "give it one, or a unique index over NOT NULL columns",
                    );
                }
                if let Some(until) = &retain.until {
                    match table.column(&until.column) {
                        None => self.error(
                            "E0203",
                            &retain.span,
                            format!(
                                "until names column {:?}, which {} lacks",
                                until.column, rule.table
                            ),
                            columns_of(table),
                        ),
                        Some(c)
                            if !matches!(c.base.as_str(), "date" | "timestamp" | "timestamptz") =>
                        {
                            self.error(
                                "E0220",
                                &retain.span,
                                format!(
                                    "{}.{} is {}, not a date, so no end can be counted from it",
                                    rule.table, c.name, c.sql_type
                                ),
                                "name a date or timestamp column",
                            )
                        }
                        Some(_) => {}
                    }
                }
            }
            Action::Delete | Action::Detach | Action::Exempt { .. } => {}
        }
    }

    fn set(
        &mut self,
        rule: &TableRule,
        table: &Table,
        catalog: &Catalog,
        set: &BTreeMap<String, (Strategy, Span)>,
    ) {
        for (name, (strategy, span)) in set {
            let Some(column) = table.column(name) else {
                self.error(
                    "E0203",
                    span,
                    format!("set names column {name:?}, which {} lacks", rule.table),
                    columns_of(table),
                );
                continue;
            };
            self.strategy(rule, table, column, strategy, span);
            let key = table.row_key().contains(name)
                || catalog
                    .referring_to(&rule.table.table)
                    .any(|k| k.parent.1.contains(name));
            if key {
                self.error(
                    "E0224",
                    span,
                    format!(
                        "{}.{name} is part of a key that other rows may refer to",
                        rule.table
                    ),
                    "leave it, or delete the row; anonymize the columns that say who it is",
                );
            }
            self.refers(rule, catalog, name, strategy, span);
        }
    }

    /// A column that refers to another table takes nothing but NULL and values that stand there.
    fn refers(
        &mut self,
        rule: &TableRule,
        catalog: &Catalog,
        column: &String,
        strategy: &Strategy,
        span: &Span,
    ) {
        let Some(key) = catalog
            .foreign_keys
            .iter()
            .find(|k| k.child.0 == rule.table.table && k.child.1.contains(column))
        else {
            return;
        };
        let place = format!("{}.{column}", rule.table);
        let parent = &key.parent.0;
        match strategy {
            Strategy::Null => {}
            Strategy::Constant(_) => self.warn(
                "E0228",
                span,
                format!(
                    "{place} refers to {parent} by {}: the constant must stand there",
                    key.name
                ),
                "make sure that it does, or choose null",
            ),
            Strategy::Redact | Strategy::Hash | Strategy::Truncate(_) => self.error(
                "E0228",
                span,
                format!(
                    "{place} refers to {parent} by {}: the new value would not stand there",
                    key.name
                ),
                "choose null, or a constant that stands there",
            ),
        }
    }

    fn strategy(
        &mut self,
        rule: &TableRule,
        table: &Table,
        column: &Column,
        strategy: &Strategy,
        span: &Span,
    ) {
        let place = format!("{}.{}", rule.table, column.name);
        if column.generated {
            self.error(
                "E0205",
                span,
                format!("{place} is generated by the database and cannot be set"),
                "set the columns that it is made from",
            );
            return;
        }
        self.may_set(&rule.table.table, column, span);
        let misfit = match strategy {
            Strategy::Null => column.not_null.then(|| {
                (
                    "E0206",
                    format!("{place} is NOT NULL"),
                    "choose a constant (for a text also redact or hash), or drop the NOT NULL",
                )
            }),
            Strategy::Redact | Strategy::Hash if column.category != 'S' => Some((
                "E0205",
                format!(
                    "{place} is {}: only text can be redacted or hashed",
                    column.sql_type
                ),
                "choose null, a constant or truncate",
            )),
            Strategy::Truncate(_)
                if !matches!(column.base.as_str(), "date" | "timestamp" | "timestamptz") =>
            {
                Some((
                    "E0205",
                    format!(
                        "{place} is {}: only dates can be truncated",
                        column.sql_type
                    ),
                    "choose null or a constant",
                ))
            }
            Strategy::Constant(text) => column
                .max_chars
                .filter(|max| text.chars().count() > *max as usize)
                .map(|max| {
                    (
                        "E0205",
                        format!("{place} holds {max} characters and the constant is longer"),
                        "shorten it",
                    )
                }),
            Strategy::Redact => column
                .max_chars
                .filter(|max| crate::plan::REDACTED.chars().count() > *max as usize)
                .map(|max| {
                    (
                        "E0205",
                        format!(
                            "{place} holds {max} characters: too few for the mark {:?}",
                            crate::plan::REDACTED
                        ),
                        "choose null or a shorter constant",
                    )
                }),
            Strategy::Hash => column.max_chars.filter(|max| *max < 16).map(|max| {
                (
                    "E0222",
                    format!("{place} holds {max} characters: a hash that short could meet another"),
                    "choose null, or widen the column to 16 or more",
                )
            }),
            Strategy::Truncate(_) => None,
        };
        if let Some((code, message, help)) = misfit {
            self.error(code, span, message, help);
        }
        let unique = table.unique.iter().any(|set| set.contains(&column.name));
        if unique
            && matches!(
                strategy,
                Strategy::Constant(_) | Strategy::Redact | Strategy::Truncate(_)
            )
        {
            self.error(
                "E0207",
                span,
                format!("{place} is UNIQUE: the second subject would get the value of the first"),
                "choose null or hash",
            );
        }
        let nulls = matches!(strategy, Strategy::Null);
        for check in table
            .checks
            .iter()
            .filter(|c| c.columns.contains(&column.name))
        {
            let refuses_null = nulls && check.expression.to_lowercase().contains("is not null");
            if refuses_null && check.columns.len() == 1 {
                self.error(
                    "E0208",
                    span,
                    format!(
                        "CHECK {} on {} refuses NULL in {}",
                        check.name, rule.table, column.name
                    ),
                    "choose a constant that it accepts",
                );
            } else if !nulls || check.columns.len() > 1 {
                self.warn(
                    "E0208",
                    span,
                    format!("CHECK {} on {} reads {}; `erasured check` tries the value only where the constraint reads no other column", check.name, rule.table, column.name),
                    format!("make sure it accepts the new value: CHECK {}", check.expression),
                );
            }
        }
    }

    fn may_set(&mut self, table: &TableName, column: &Column, span: &Span) {
        if column.denied {
            let name = identifier(&column.name);
            self.error(
                "E0214",
                span,
                format!("the daemon's role may not set {table}.{}", column.name),
                format!("GRANT UPDATE ({name}) ON {table} TO erasured_daemon"),
            );
        }
    }

    /// A table as the executor will meet it: rights, row security, triggers, rules.
    fn table(&mut self, system: &SystemLineage, reached: &Reached) {
        let fates: Vec<Fate> = reached.edges.iter().map(|e| e.decision.fate).collect();
        if fates.iter().all(|f| *f == Fate::Exempt) {
            return;
        }
        let name = format!("{}.{}", system.system, reached.table);
        let span = self.policy.tables[reached.edges[0].decision.rule]
            .span
            .clone();
        self.two_values(&name, reached);
        let access = reached.facts.access;
        let deletes = fates.iter().any(|f| f.may_delete());
        let updates = fates.iter().any(|f| {
            matches!(
                f,
                Fate::Anonymize | Fate::Detach | Fate::Retain | Fate::RetainWithParent
            )
        });
        if access.rows_hidden {
            self.error(
                "E0213",
                &span,
                format!("row-level security on {name} hides rows from the daemon's role, so it could not know what is left"),
                "ALTER ROLE … BYPASSRLS for the daemon, or make it the owner without FORCE ROW LEVEL SECURITY",
            );
        }
        let lacks = [
            (!access.select, "SELECT"),
            (!access.update, "UPDATE"),
            (deletes && !access.delete, "DELETE"),
        ];
        let lacks: Vec<_> = lacks
            .iter()
            .filter(|(lacks, _)| *lacks)
            .map(|(_, right)| *right)
            .collect();
        if !lacks.is_empty() {
            self.error(
                "E0214",
                &span,
                format!("the daemon's role lacks {} on {name} (rows are locked with FOR UPDATE, which needs UPDATE)", lacks.join(", ")),
                format!("GRANT {} ON {} TO erasured_daemon", lacks.join(", "), reached.table),
            );
        }
        if deletes && access.delete_unpublishable || updates && access.update_unpublishable {
            self.error(
                "E0215",
                &span,
                format!("{name} is published without a replica identity: the server refuses to change its rows"),
                format!("ALTER TABLE {} REPLICA IDENTITY FULL, or give it a primary key", reached.table),
            );
        }
        match reached.facts.kind {
            TableKind::Ordinary | TableKind::Partitioned if !reached.facts.rewrites => {}
            TableKind::Ordinary | TableKind::Partitioned => self.error(
                "E0216",
                &span,
                format!("{name} has rewrite rules for UPDATE or DELETE: what would run is not what the plan says"),
                "replace the rules by triggers, or decide the table as exempt",
            ),
            kind => self.error(
                "E0216",
                &span,
                format!("{name} is a {kind:?}, not a table: rows cannot be erased through it here"),
                "decide the tables behind it, or exempt it with a reason",
            ),
        }
        if deletes || updates {
            self.triggers(system, reached, &span, deletes, updates);
        }
    }

    /// A row reached both ways would have to have both values.
    fn two_values(&mut self, name: &str, reached: &Reached) {
        let mut values: BTreeMap<&String, (&Strategy, usize)> = BTreeMap::new();
        let policy = self.policy;
        for edge in &reached.edges {
            let rule = edge.decision.rule;
            let set = match &policy.tables[rule].action {
                Action::Anonymize { set } => set,
                Action::Retain(retain) => &retain.set,
                _ => continue,
            };
            if edge.decision.fate == Fate::Untouched {
                continue;
            }
            for (column, (strategy, span)) in set {
                let (first, by) = *values.entry(column).or_insert((strategy, rule));
                if by != rule && first != strategy {
                    self.error(
                        "E0210",
                        span,
                        format!("two rules set {name}.{column} to different values; a row that both reach could not have both"),
                        "set it to the same in both",
                    );
                }
            }
        }
    }

    fn triggers(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        span: &Span,
        deletes: bool,
        updates: bool,
    ) {
        let kept: BTreeSet<&str> = system
            .tables
            .iter()
            .filter(|t| {
                t.edges.iter().any(|e| {
                    matches!(
                        e.decision.fate,
                        Fate::Retain | Fate::RetainWithParent | Fate::Exempt
                    )
                })
            })
            .map(|t| t.table.table.as_str())
            .collect();
        for trigger in &reached.facts.triggers {
            if !(trigger.on_delete && deletes || trigger.on_update && updates) {
                continue;
            }
            let Some(taken) = written_to(&trigger.body)
                .into_iter()
                .find(|t| kept.contains(t.as_str()))
            else {
                continue;
            };
            self.error(
                "E0211",
                span,
                format!(
                    "trigger {} on {}.{} ({}) changes {taken}, whose rows this policy keeps",
                    trigger.name, system.system, reached.table, trigger.function
                ),
                "change the trigger, or decide that table differently",
            );
        }
    }

    fn edge(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge) {
        let rule = &self.policy.tables[edge.decision.rule];
        let span = rule.span.clone();
        if edge.decision.fate == Fate::RetainWithParent {
            self.with_parent(system, reached, edge, &span);
        }
        if edge.decision.fate == Fate::Detach {
            self.detach(system, reached, edge, &span);
        }
        self.join_types(system, reached, edge, &span);
        self.index(system, reached, edge, &span);
        self.survives_its_parent(system, reached, edge);
    }

    /// What stays with its parent needs one parent that stays or goes by law, and no date of its
    /// own: of two ends the nearer would come first.
    fn with_parent(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge, span: &Span) {
        let name = format!("{}.{}", system.system, reached.table);
        let above = match &edge.parent {
            Parent::Table(parent) => table_of(system, parent),
            _ => None,
        };
        let fates: Vec<Fate> = above.map_or_else(Vec::new, |a| fates(a).collect());
        let keeps = |f: &Fate| matches!(f, Fate::Retain | Fate::RetainWithParent);
        if !fates.iter().any(keeps) || !fates.iter().all(|f| keeps(f) || *f == Fate::Delete) {
            self.error(
                "E0227",
                span,
                format!("{name} is retained without an end, and {} does not lead from a table whose rows are all retained, or go", edge.label),
                "give it until = { column = …, plus = … }, or another action",
            );
        }
        let ends = self::fates(reached).filter(|f| keeps(f)).count();
        if ends > 1 {
            self.error(
                "E0227",
                span,
                format!("{name} is retained with the parent of {}, and by another key besides: of two ends the nearer would take the rows", edge.label),
                "give all its rules until = { column = …, plus = … }, or let only one key retain it",
            );
        }
    }

    fn detach(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge, span: &Span) {
        let Join::Columns { child, .. } = &edge.join else {
            self.error(
                "E0205",
                span,
                format!(
                    "{} is reached by {}, which is no column that could be emptied",
                    reached.table, edge.label
                ),
                "use anonymize with set",
            );
            return;
        };
        for column in child.iter().filter_map(|c| reached.facts.column(c)) {
            if !column.not_null {
                self.may_set(&reached.table, column, span);
            }
        }
        let open = child
            .iter()
            .any(|c| reached.facts.column(c).is_some_and(|c| !c.not_null));
        if !open {
            self.error(
                "E0206",
                span,
                format!(
                    "{}: every column of {} is NOT NULL, so the link cannot be emptied",
                    reached.table, edge.label
                ),
                "drop a NOT NULL, or choose delete or anonymize",
            );
        }
        let catalog = &self.catalogs[&system.system];
        let fixed: Vec<&str> = child
            .iter()
            .filter(|c| {
                let generated = reached.facts.column(c).is_some_and(|c| c.generated);
                let referred = catalog
                    .referring_to(&reached.table)
                    .any(|k| k.parent.1.contains(c));
                generated || referred
            })
            .map(String::as_str)
            .collect();
        if !fixed.is_empty() {
            self.error(
                "E0224",
                span,
                format!(
                    "{}: {} cannot be emptied: the database generates it, or other rows may refer to it",
                    reached.table,
                    fixed.join(", ")
                ),
                "choose delete, or anonymize other columns",
            );
        }
    }

    fn join_types(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge, span: &Span) {
        let (Join::Columns { child, parent, .. }, Parent::Table(above), None) =
            (&edge.join, &edge.parent, &edge.foreign_key)
        else {
            return;
        };
        let Some(above) = table_of(system, above) else {
            return;
        };
        if child.len() != parent.len() {
            self.error(
                "E0217",
                span,
                format!(
                    "{}: the link has {} column(s) and its target {}",
                    reached.table,
                    child.len(),
                    parent.len()
                ),
                "name the same number, in the same order",
            );
            return;
        }
        for (c, p) in child.iter().zip(parent) {
            let (Some(c), Some(p)) = (reached.facts.column(c), above.facts.column(p)) else {
                continue;
            };
            if c.base != p.base && c.category != p.category && c.category != 'S' {
                self.error(
                    "E0217",
                    span,
                    format!(
                        "{}.{} is {} and {}.{} is {}: they cannot be compared",
                        reached.table, c.name, c.sql_type, above.table, p.name, p.sql_type
                    ),
                    "link columns of the same type, or a text column",
                );
            }
        }
    }

    fn index(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge, span: &Span) {
        let Join::Columns { child, .. } = &edge.join else {
            return;
        };
        if edge.parent == Parent::Subject
            || reached.facts.size.0 < SMALL
            || reached.facts.indexed(child, &edge.when)
        {
            return;
        }
        self.warn(
            "E0221",
            span,
            format!("no index leads with {} of {}.{} (about {:.0} rows): each batch reads the whole table", child.join(", "), system.system, reached.table, reached.facts.size.0),
            format!("CREATE INDEX CONCURRENTLY ON {} ({})", reached.table, child.join(", ")),
        );
    }

    /// A row that another rule keeps may hang by this key as well on a row that goes.
    fn kept_by_another_key(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        edge: &Edge,
        key: &ForeignKey,
    ) {
        let of_edge = &self.policy.tables[edge.decision.rule].action;
        if edge.decision.fate == Fate::Anonymize && empties(of_edge, &key.child.1) {
            return;
        }
        let keeper = reached.edges.iter().find(|other| {
            matches!(other.decision.fate, Fate::Retain | Fate::RetainWithParent)
                && other.decision.rule != edge.decision.rule
                && !empties(
                    &self.policy.tables[other.decision.rule].action,
                    &key.child.1,
                )
        });
        let Some(keeper) = keeper else { return };
        let columns = key.child.1.join(", ");
        self.error(
            "E0209",
            &self.policy.tables[keeper.decision.rule].span.clone(),
            format!(
                "{}.{} is retained by {}, but a row so kept may hang by {} on a row that goes",
                system.system, reached.table, keeper.label, key.name
            ),
            format!(
                "add {columns} = \"null\" to the set of the rule that retains, or retain by {} too",
                key.name
            ),
        );
    }

    /// A row that stays must not hang by an enforced key on a row that goes.
    fn survives_its_parent(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge) {
        let (Some(key), Parent::Table(above)) = (&edge.foreign_key, &edge.parent) else {
            return;
        };
        let Some(above) = table_of(system, above) else {
            return;
        };
        let parent_goes = above.edges.iter().any(|e| e.decision.fate.may_delete());
        let together = matches!(edge.decision.fate, Fate::RetainWithParent)
            && above
                .edges
                .iter()
                .all(|e| matches!(e.decision.fate, Fate::Retain | Fate::RetainWithParent));
        if parent_goes && edge.decision.fate != Fate::Detach {
            self.kept_by_another_key(system, reached, edge, key);
        }
        let rule = &self.policy.tables[edge.decision.rule];
        if !parent_goes || matches!(edge.decision.fate, Fate::Delete | Fate::Detach) || together {
            return;
        }
        let in_scope = !matches!(edge.decision.fate, Fate::Untouched);
        if in_scope && empties(&rule.action, &key.child.1) {
            return;
        }
        let does = match key.on_delete {
            OnDelete::Cascade => "would take the row along (ON DELETE CASCADE)",
            OnDelete::SetNull | OnDelete::SetDefault => {
                "would change the row behind the plan's back"
            }
            OnDelete::NoAction | OnDelete::Restrict => "would refuse",
        };
        let what = match edge.decision.fate {
            Fate::Untouched => "is outside this scope",
            Fate::Exempt => "is exempt",
            Fate::Anonymize => "is anonymized",
            _ => "is retained",
        };
        let columns = key.child.1.join(", ");
        self.error(
            "E0209",
            &rule.span.clone(),
            format!("{}.{} {what}, but hangs by {} on {}, whose rows go: the database {does}", system.system, reached.table, key.name, above.table),
            if matches!(rule.action, Action::Exempt { .. }) {
                format!("anonymize it with set = {{ {} = \"null\" }}, keep the rows of {}, or delete both", key.child.1[0], above.table)
            } else {
                format!("add {columns} = \"null\" to set, keep the rows of {} (anonymize them), or delete both", above.table)
            },
        );
    }
}

/// Whether a rule sets a column of a link to NULL.
fn empties(action: &Action, link: &[String]) -> bool {
    let set = match action {
        Action::Anonymize { set } => set,
        Action::Retain(retain) => &retain.set,
        _ => return false,
    };
    link.iter()
        .any(|c| matches!(set.get(c), Some((Strategy::Null, _))))
}

/// What becomes of rows of a table, way by way, without those by which they are left alone.
fn fates(reached: &Reached) -> impl Iterator<Item = Fate> {
    let fates = reached.edges.iter().map(|e| e.decision.fate);
    fates.filter(|f| *f != Fate::Exempt)
}

fn table_of<'a>(system: &'a SystemLineage, name: &TableName) -> Option<&'a Reached> {
    system.tables.iter().find(|t| t.table == *name)
}

fn columns_of(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    format!("its columns: {}", names.join(", "))
}

fn nearest(catalog: &Catalog, wanted: &TableName) -> String {
    let same_name = catalog
        .tables
        .keys()
        .find(|t| t.table.eq_ignore_ascii_case(&wanted.table));
    match same_name {
        Some(other) => format!("there is {}.{other}", catalog.system),
        None => "mend the name as the catalog spells it (case counts), or take the rule out".into(),
    }
}

/// Bare names of the tables that a trigger function deletes from, updates or truncates, read
/// from its source: a heuristic that errs on the side of naming too many.
fn written_to(body: &str) -> BTreeSet<String> {
    let words: Vec<String> = body
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut written = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let rest = &words[at + 1..];
        let verb = match word.as_str() {
            "delete" => rest.first().is_some_and(|w| w == "from"),
            "update" | "truncate" => true,
            _ => false,
        };
        if verb {
            // FROM, TABLE, ONLY, a schema, then the name: all of them are candidates.
            written.extend(rest.iter().take(4).cloned());
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::written_to;

    #[test]
    fn finds_what_a_trigger_writes_to() {
        let body =
            "BEGIN DELETE FROM ONLY billing.\"invoice\" WHERE id = OLD.id; update t set x = 1; END";
        let found = written_to(body);
        assert!(
            found.contains("invoice") && found.contains("t"),
            "{found:?}"
        );
        assert!(!written_to("INSERT INTO audit SELECT old.*").contains("audit"));
    }
}

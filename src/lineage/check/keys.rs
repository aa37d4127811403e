//! Each way from table to table: whether what hangs there can go, stay or be let loose by it.

use super::super::{Edge, Fate, Join, Parent, Reached, SystemLineage};
use super::{Check, table_of};
use crate::catalog::{Catalog, ForeignKey, OnDelete, TableKind};
use crate::name::QualifiedTable;
use crate::name::TableName;
use crate::policy::{Action, LinkFrom, LinkTo, Span, Strategy, TableRule};
use crate::system::postgres::quote::identifier;

/// Tables below this many rows are searched quickly without an index.
pub(in crate::lineage) const SMALL: f32 = 10_000.0;

impl Check<'_> {
    pub(super) fn edge(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge) {
        let rule = &self.policy.tables[edge.decision.rule];
        let span = rule.span.clone();
        if edge.decision.fate == Fate::RetainWithParent {
            self.with_parent(system, reached, edge, &span);
        }
        if edge.shared {
            self.owners_go(system, reached, edge, &span);
        } else {
            self.is_not_others_too(system, reached, edge, &span);
        }
        if edge.decision.fate == Fate::Detach {
            self.detach(system, reached, edge, &span);
        }
        self.join_types(system, reached, edge, &span);
        self.index(system, reached, edge, &span);
        self.survives_its_parent(system, reached, edge);
    }

    /// The owners must be told from the catalog or the rule's own link, and by one key.
    pub(super) fn shared(
        &mut self,
        rule: &TableRule,
        catalog: &Catalog,
        through: &QualifiedTable,
        span: &Span,
    ) {
        let (table, owners) = (&rule.table.table, &through.table);
        let keys = catalog.referring_to(table).filter(|k| k.child.0 == *owners);
        let keys: Vec<&str> = keys.map(|k| k.name.as_str()).collect();
        let by_link = rule.link.as_ref().map(|l| match &l.to {
            LinkTo::Table { table, .. } => {
                table == through && matches!(l.from, LinkFrom::Columns(_))
            }
            LinkTo::Identifier(_) => false,
        });
        let problem = match (by_link, keys.as_slice()) {
            _ if rule.table == self.policy.root.0 => {
                format!("{} is the subject itself, which nobody shares", rule.table)
            }
            (Some(true), _) | (None, [_]) => return,
            (Some(false), _) => format!(
                "the link of {} does not lead by columns to {through}",
                rule.table
            ),
            (None, []) => format!("no foreign key of {through} refers to {}", rule.table),
            (None, several) => format!(
                "{through} refers to {} by {}: one of them must say who owns a row",
                rule.table,
                several.join(" and ")
            ),
        };
        let help = "say how: link = { columns = [\"id\"], to = \"the table of owners\", key = [\"its column\"] }";
        self.error("E0229", span, problem, help);
    }

    /// An owner that stays without its person would keep what is shared for ever.
    fn owners_go(&mut self, system: &SystemLineage, reached: &Reached, edge: &Edge, span: &Span) {
        let Parent::Table(owners) = &edge.parent else {
            return;
        };
        let Some(above) = table_of(system, owners) else {
            return;
        };
        if edge.decision.fate != Fate::Untouched {
            self.owners_are_in_scope(system, reached, above, span);
        }
        let stays = |f: &Fate| matches!(f, Fate::Anonymize | Fate::Retain | Fate::RetainWithParent);
        if above.edges.iter().any(|e| stays(&e.decision.fate)) {
            self.error(
                "E0229",
                span,
                format!(
                    "{}.{} is shared through {owners}, whose rows may stay without their person: it would never go",
                    system.system, reached.table
                ),
                format!("delete the rows of {owners}, or decide {} otherwise", reached.table),
            );
        }
    }

    /// Rows that a rule changes and keeps count as the person's own, and so does all that hangs off
    /// them: of what is shared, the others' part.
    fn is_not_others_too(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        edge: &Edge,
        span: &Span,
    ) {
        let stays = matches!(
            edge.decision.fate,
            Fate::Anonymize | Fate::Retain | Fate::RetainWithParent
        );
        let mut rules = self.whole.tables.iter();
        let shared = rules.any(|r| {
            r.table.system == system.system
                && r.table.table == reached.table
                && matches!(r.action, Action::Shared { .. })
        });
        if stays && shared {
            self.error(
                "E0229",
                span,
                format!(
                    "{}.{} is shared, and a row that this rule keeps for one person ({}) would count as theirs alone, with all that others have in it",
                    system.system, reached.table, edge.label
                ),
                "detach that link instead, which empties its columns and leads no further; anonymize what the person wrote in the tables below",
            );
        }
    }

    /// Nobody leaves under a scope that does not cover the owners, so nothing would go: a ticket
    /// would say it was done.
    fn owners_are_in_scope(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        owners: &Reached,
        span: &Span,
    ) {
        let untouched = |e: &Edge| e.decision.fate == Fate::Untouched;
        if owners.edges.iter().any(untouched) {
            let (scope, system) = (self.scope, &system.system);
            self.error(
                "E0233",
                span,
                format!(
                    "the scope {scope} covers {system}.{}, but not its owners in {system}.{}: none of them would leave, and nothing would go",
                    reached.table, owners.table
                ),
                format!("add {system}.{} to the scope, or take {system}.{} out of it", owners.table, reached.table),
            );
        }
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
        let child = match &edge.join {
            Join::Columns { child, .. } => edge
                .foreign_key
                .as_ref()
                .map_or(child.as_slice(), |k| k.link()),
            Join::Elements { column, .. }
            | Join::JsonElements { column, .. }
            | Join::JsonKeys { column, .. } => {
                self.detach_element(reached, column, span);
                return;
            }
            Join::Json { .. } | Join::Identifier { .. } => {
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
            }
        };
        // What is NOT NULL, such as a tenant, stays as it is.
        let open: Vec<_> = child
            .iter()
            .filter_map(|c| reached.facts.column(c))
            .filter(|c| !c.not_null)
            .collect();
        for column in &open {
            self.may_set(&reached.table, column, span);
        }
        if let Some(key) = &edge.foreign_key {
            let emptied = |column: &String| open.iter().any(|c| c.name == *column);
            self.match_full(&reached.table, key, &emptied, span);
        }
        if open.is_empty() {
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
        let referred = |column: &String| {
            let mut keys = catalog.referring_to(&reached.table);
            keys.any(|k| k.parent.1.contains(column))
        };
        let fixed: Vec<&str> = open
            .iter()
            .filter(|c| c.generated || referred(&c.name))
            .map(|c| c.name.as_str())
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

    fn detach_element(&mut self, reached: &Reached, column: &str, span: &Span) {
        let Some(column) = reached.facts.column(column) else {
            return;
        };
        self.may_set(&reached.table, column, span);
        if column.generated || column.base == "json" {
            self.error(
                "E0205",
                span,
                format!(
                    "{}.{} is {}: an element cannot be taken out of it",
                    reached.table,
                    column.name,
                    if column.generated {
                        "generated"
                    } else {
                        "json, which keeps its very text"
                    }
                ),
                "make it jsonb, or use anonymize with set",
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
        let rows = reached.facts.size.0;
        if edge.join.is_by_element() && rows >= SMALL {
            self.warn(
                "E0221",
                span,
                format!("no index finds the elements by which {}.{} (about {rows:.0} rows) is linked: each batch reads the whole table", system.system, reached.table),
                "keep the references in a table of their own, one row each, with an index",
            );
        }
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
            create_index(&reached.table, reached.facts.kind, child),
        );
    }

    /// Under MATCH FULL the server refuses a key that is NULL in part: `emptied` must be all of its
    /// columns, or none.
    pub(super) fn match_full(
        &mut self,
        table: &dyn std::fmt::Display,
        key: &ForeignKey,
        emptied: &dyn Fn(&String) -> bool,
        span: &Span,
    ) {
        let (gone, left): (Vec<&String>, Vec<&String>) =
            key.child.1.iter().partition(|c| emptied(c));
        if !key.match_full || gone.is_empty() || left.is_empty() {
            return;
        }
        let words = |of: Vec<&String>| of.into_iter().cloned().collect::<Vec<_>>().join(", ");
        self.error(
            "E0249",
            span,
            format!(
                "{table}: {} is MATCH FULL, and {} would be NULL while {} is not, which the server refuses",
                key.name,
                words(gone),
                words(left)
            ),
            "empty all of its columns, which none of them may forbid by NOT NULL, or delete the row",
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
        let owns = |e: &Edge| {
            e.shared
                && e.decision.fate != Fate::Untouched
                && e.parent == Parent::Table(reached.table.clone())
        };
        if !in_scope && above.edges.iter().any(owns) {
            return; // E0233 says it better.
        }
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
            Fate::Exempt if matches!(rule.action, Action::Detach) => "is outside this scope",
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

/// The statement that makes the index, fit to be run as it stands.
pub(in crate::lineage) fn create_index(
    of: &TableName,
    kind: TableKind,
    columns: &[String],
) -> String {
    let table = format!("{}.{}", identifier(&of.schema), identifier(&of.table));
    let columns: Vec<String> = columns.iter().map(|c| identifier(c)).collect();
    let columns = columns.join(", ");
    match kind {
        // The server makes none concurrently on a whole partitioned table.
        TableKind::Partitioned => format!(
            "CREATE INDEX ON {table} ({columns}); on a busy table first CONCURRENTLY on each partition"
        ),
        _ => format!("CREATE INDEX CONCURRENTLY ON {table} ({columns})"),
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

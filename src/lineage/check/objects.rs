//! Large objects: a number in a column is all that leads to one, and the row goes without it.

use super::super::{Fate, Reached, SystemLineage};
use super::{Check, columns_of};
use crate::catalog::Table;
use crate::policy::{Action, TableRule};

impl Check<'_> {
    /// What a rule says of large objects, by itself.
    pub(super) fn objects_of_rule(&mut self, rule: &TableRule, table: &Table) {
        let Some((listed, span)) = &rule.large_objects else {
            return;
        };
        for name in listed {
            let place = format!("{}.{name}", rule.table);
            match table.column(name) {
                None => self.error(
                    "E0203",
                    span,
                    format!(
                        "large_objects names column {name:?}, which {} lacks",
                        rule.table
                    ),
                    columns_of(table, name),
                ),
                Some(c) if !c.may_be_large_object() => self.error(
                    "E0238",
                    span,
                    format!(
                        "{place} is {}, and a large object is known by a number of type oid",
                        c.sql_type
                    ),
                    "take it out of large_objects; bytea goes with its row",
                ),
                Some(_) => {}
            }
            let Action::Anonymize { set } = &rule.action else {
                continue;
            };
            if !set.contains_key(name) {
                self.error(
                    "E0240",
                    span,
                    format!("{place} is named as a large object, but the rows stay and keep it"),
                    format!("add {name} = \"null\" to set, or take it out of large_objects"),
                );
            }
        }
    }

    /// A column that may be a large object must be decided where rows go, or lose the person.
    pub(super) fn objects_decided(&mut self, system: &SystemLineage, reached: &Reached) {
        let changes = |f: Fate| f.may_delete() || f == Fate::Anonymize;
        let Some(edge) = reached.edges.iter().find(|e| changes(e.decision.fate)) else {
            return;
        };
        let rules = self.policy.tables.iter();
        let mut here =
            rules.filter(|r| r.table.system == system.system && r.table.table == reached.table);
        if here.any(|r| r.large_objects.is_some()) {
            return;
        }
        let columns = reached.facts.columns.iter();
        let open: Vec<&str> = columns
            .filter(|c| c.may_be_large_object())
            .map(|c| c.name.as_str())
            .collect();
        if open.is_empty() {
            return;
        }
        let span = self.policy.tables[edge.decision.rule].span.clone();
        self.error(
            "E0237",
            &span,
            format!(
                "{}.{}: {} may be numbers of large objects, which a row that goes leaves behind",
                system.system,
                reached.table,
                open.join(" and ")
            ),
            format!("add large_objects = {open:?} if they are, large_objects = [] if they are not"),
        );
    }

    /// Removing one takes its owner, and knowing that nobody else refers to it takes a look at
    /// every column that could.
    pub(super) fn objects_in_reach(&mut self, system: &SystemLineage) {
        if system.object_columns.is_empty() {
            return;
        }
        let rules = self.policy.tables.iter();
        let mut here = rules.filter(|r| r.table.system == system.system);
        let named = here.find_map(|r| r.large_objects.clone().filter(|(c, _)| !c.is_empty()));
        let Some((_, span)) = named else { return };
        let catalog = &self.catalogs[&system.system];
        if catalog.objects_of_others {
            self.warn(
                "E0239",
                &span,
                format!("{} has large objects that the daemon's role does not own: a ticket that has to remove one of them fails", system.system),
                "ALTER LARGE OBJECT … OWNER TO a role of which the daemon's login is a member",
            );
        }
        let unseen: Vec<String> = system
            .object_columns
            .iter()
            .filter(|of| {
                let access = catalog.tables[&of.table].access;
                !access.select || access.rows_hidden
            })
            .map(|of| of.table.to_string())
            .collect();
        if !unseen.is_empty() {
            let tables = unseen.join(", ");
            self.error(
                "E0214",
                &span,
                format!("the daemon's role does not see all rows of {tables}, which may refer to a large object that is to be removed"),
                format!("GRANT SELECT ON {tables} TO erasured_daemon, and let no row security hide rows from it"),
            );
        }
    }
}

//! What the server would do, or refuse, by itself: rights, row security, rules, triggers.

use super::super::{Fate, Reached, SystemLineage};
use super::Check;
use crate::catalog::{Dialect, TableKind, Trigger};
use crate::name::TableName;
use crate::policy::Span;
use crate::system::postgres::quote::identifier;
use std::collections::BTreeSet;

impl Check<'_> {
    /// A table as the executor will meet it: rights, row security, triggers, rules.
    pub(super) fn table(&mut self, system: &SystemLineage, reached: &Reached) {
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
                "ALTER ROLE … BYPASSRLS for the login that erasured.toml names (a group's is not inherited), or make it the owner without FORCE ROW LEVEL SECURITY",
            );
        }
        self.rights(system, reached, &span, deletes);
        if deletes && access.delete_unpublishable || updates && access.update_unpublishable {
            self.error(
                "E0215",
                &span,
                format!("{name}, or a part of it, is published without a replica identity that serves: the server refuses to change its rows"),
                format!("ALTER TABLE {} REPLICA IDENTITY FULL, or give it a primary key (each partition, too); the identity must hold the columns of the publication's row filter and stand in its column list", reached.table),
            );
        }
        match reached.facts.kind {
            TableKind::Ordinary | TableKind::Partitioned if !reached.facts.rewrites => {}
            // Said elsewhere, and why.
            TableKind::Versioned => {}
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
        if system.dialect == Dialect::Postgres
            && let Some(method) = &reached.facts.storage
        {
            self.error(
                "E0250",
                &span,
                format!("{name}, or a part of it, is stored by the access method {method}: what a DELETE or UPDATE does there is not known here"),
                "move its rows to a table USING heap, or exempt it with a reason and erase there by other means",
            );
        }
        if (deletes || updates) && !reached.facts.copied_into.is_empty() {
            let views: Vec<String> = reached
                .facts
                .copied_into
                .iter()
                .map(ToString::to_string)
                .collect();
            self.warn(
                "E0231",
                &span,
                format!("{} keeps what it has copied from {name} until it is refreshed, and the sweep finds it there", views.join(" and ")),
                format!("REFRESH MATERIALIZED VIEW {} between the erasure and the sweep: [sweep] schedule", views.join("; and ")),
            );
        }
        if system.dialect == Dialect::Postgres && (deletes || updates) {
            self.triggers(system, reached, &span, deletes, updates);
        }
    }

    fn rights(&mut self, system: &SystemLineage, reached: &Reached, span: &Span, deletes: bool) {
        let name = format!("{}.{}", system.system, reached.table);
        let access = reached.facts.access;
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
        if lacks.is_empty() {
            return;
        }
        if system.dialect == Dialect::MariaDb {
            let lacks = lacks.join(", ");
            self.error(
                "E0214",
                span,
                format!("the login lacks {lacks} on {name} (rows are locked with FOR UPDATE, which needs UPDATE)"),
                format!("GRANT {lacks} ON {} TO the login itself, not to a role of it", reached.table),
            );
            return;
        }
        // One column is enough to lock rows; those that are set are told one by one.
        let one = reached.facts.row_key().first().map(|one| identifier(one));
        let grants: Vec<String> = lacks
            .iter()
            .map(|right| match (&one, *right) {
                (Some(one), "UPDATE") => format!("UPDATE ({one})"),
                (_, right) => right.to_owned(),
            })
            .collect();
        self.error(
            "E0214",
            span,
            format!("the daemon's role lacks {} on {name} (rows are locked with FOR UPDATE, which needs UPDATE of a column)", lacks.join(", ")),
            format!("GRANT {} ON {} TO erasured_daemon", grants.join(", "), reached.table),
        );
    }

    fn triggers(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        span: &Span,
        deletes: bool,
        updates: bool,
    ) {
        let fires = |t: &&Trigger| !t.spares && (t.on_delete && deletes || t.on_update && updates);
        let firing: Vec<&Trigger> = reached.facts.triggers.iter().filter(fires).collect();
        if firing.is_empty() {
            return;
        }
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
        for trigger in firing {
            self.writes_again(system, reached, trigger, span);
            self.changes_others(system, reached, trigger, span);
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

    /// A trigger that changes rows of a table which nobody decided: they may be anybody's, and no
    /// certificate speaks of them.
    fn changes_others(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        trigger: &Trigger,
        span: &Span,
    ) {
        let changed = changed_in(&trigger.body);
        let decided = |table: &TableName| {
            let mut rules = self.policy.tables.iter();
            rules.any(|r| r.table.system == system.system && r.table.table == *table)
        };
        let tables = self.catalogs[&system.system].tables.keys();
        let others: Vec<String> = tables
            .filter(|t| changed.contains(&t.table.to_lowercase()) && !decided(t))
            .map(ToString::to_string)
            .collect();
        if others.is_empty() {
            return;
        }
        self.warn(
            "E0254",
            span,
            format!(
                "trigger {} on {}.{} ({}) changes rows of {}, which no policy decides and no certificate counts",
                trigger.name,
                system.system,
                reached.table,
                trigger.function,
                others.join(" and of ")
            ),
            "see whose rows these are; if they must not change, let it pass over the daemon's login: WHEN (session_user <> '…')",
        );
    }

    /// An audit trigger writes the person down again while they are erased, where no probe looks.
    fn writes_again(
        &mut self,
        system: &SystemLineage,
        reached: &Reached,
        trigger: &Trigger,
        span: &Span,
    ) {
        let inserted = inserted_into(&trigger.body);
        let decided = |table: &TableName| {
            let mut rules = self.policy.tables.iter();
            rules.any(|r| r.table.system == system.system && r.table.table == *table)
        };
        let tables = self.catalogs[&system.system].tables.iter();
        let written: Vec<_> = tables
            .filter(|(name, _)| inserted.contains(&name.table.to_lowercase()))
            .collect();
        let by = format!(
            "trigger {} on {}.{} ({})",
            trigger.name, system.system, reached.table, trigger.function
        );
        for (table, facts) in &written {
            if !trigger.definer && !facts.access.insert {
                self.warn(
                    "E0214",
                    span,
                    format!("{by} writes to {table} in the name of the daemon's role, which lacks INSERT there: an erasure that makes it write fails"),
                    format!("let it pass over the daemon's login: WHEN (session_user <> '…'), GRANT INSERT ON {table} TO erasured_daemon, or make the function SECURITY DEFINER"),
                );
            }
        }
        let undecided: Vec<String> = written
            .iter()
            .filter(|(name, _)| !decided(name))
            .map(|(name, _)| name.to_string())
            .collect();
        if undecided.is_empty() {
            return;
        }
        self.warn(
            "E0230",
            span,
            format!(
                "{by} writes to {}, which no policy decides: what it writes of a person is written while they are erased",
                undecided.join(" and to ")
            ),
            "let it pass over the daemon's login: WHEN (session_user <> '…'), or keep from that table what says who it is; the sweep looks there too",
        );
    }
}

/// Bare names after each UPDATE, DELETE FROM and TRUNCATE of a function: a schema and a table, or a
/// table and what follows it.
fn changed_in(body: &str) -> BTreeSet<String> {
    let words = words(body);
    let mut changed = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).map(|b| words[b].as_str());
        let mut rest = words[at + 1..].iter();
        let verb = match word.as_str() {
            // Not FOR UPDATE OF, nor ON CONFLICT DO UPDATE SET.
            "update" => !matches!(before, Some("for" | "do" | "key" | "on")),
            "delete" => rest.next().is_some_and(|w| w == "from"),
            "truncate" => true,
            _ => false,
        };
        if verb {
            let names = rest.filter(|w| !matches!(w.as_str(), "only" | "table"));
            changed.extend(names.take(2).cloned());
        }
    }
    changed
}

/// Bare names of the tables that a trigger function inserts into, read from its source: what it
/// puts together at run time is not seen.
fn inserted_into(body: &str) -> BTreeSet<String> {
    let words = words(body);
    let mut inserted = BTreeSet::new();
    for (at, pair) in words.windows(2).enumerate() {
        if pair[0] == "insert" && pair[1] == "into" {
            // A schema, then the name: both are candidates.
            inserted.extend(words[at + 2..].iter().take(2).cloned());
        }
    }
    inserted
}

fn words(body: &str) -> Vec<String> {
    body.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Bare names of the tables that a trigger function deletes from, updates or truncates, read
/// from its source: a heuristic that errs on the side of naming too many.
pub(in crate::lineage) fn written_to(body: &str) -> BTreeSet<String> {
    let words = words(body);
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
    use super::{changed_in, written_to};

    #[test]
    fn finds_what_a_trigger_changes_and_no_more() {
        let body = "BEGIN UPDATE public.\"Stock\" SET n = n + 1; DELETE FROM ONLY old_visit v; TRUNCATE TABLE cache;
            PERFORM 1 FROM room FOR UPDATE OF room; SELECT 1 FROM hall FOR NO KEY UPDATE; INSERT INTO log VALUES (1) ON CONFLICT DO UPDATE SET n = 1; END";
        let found = changed_in(body);
        for table in ["stock", "old_visit", "cache"] {
            assert!(found.contains(table), "{table}: {found:?}");
        }
        for table in ["room", "hall", "log"] {
            assert!(!found.contains(table), "{table}: {found:?}");
        }
    }

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

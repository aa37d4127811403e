//! What is worth knowing of a retention rule that writes rows to an archive before they go.

use super::{OfRule, Owners};
use crate::diagnostic::Diagnostic;
use crate::policy::retention::RetentionRule;
use crate::policy::{Action, Policy};

pub(super) fn warnings(policy: &Policy, rule: &RetentionRule, of: &OfRule) -> Vec<Diagnostic> {
    let Some(archive) = &rule.archive else {
        return Vec::new();
    };
    let warn = |code, message: String, help: &str| {
        Diagnostic::warning(code, message, help).at(&policy.source, rule.span.clone())
    };
    let mut found = Vec::new();
    if !matches!(of.owners, Owners::Nobody) {
        found.push(warn(
            "E0263",
            format!(
                "the retention rule {} archives rows of people in {}: no ticket finds them there",
                rule.name,
                archive.to.display()
            ),
            "archive only what a law makes you keep, for no longer, and see that somebody looks there for each ticket",
        ));
    }
    let mut reached = of.lineage.systems.iter().flat_map(|s| &s.tables);
    let goes = |at: usize| {
        matches!(
            of.policy.tables[at].action,
            Action::Delete | Action::Shared { .. }
        )
    };
    let with_it = reached
        .find(|t| t.table != rule.table.table && t.edges.iter().any(|e| goes(e.decision.rule)));
    if let Some(table) = with_it {
        found.push(warn(
            "E0264",
            format!(
                "the retention rule {} archives rows of {} only: rows of {} go with them and are in no archive",
                rule.name, rule.table, table.table
            ),
            "give those a rule of their own that archives them, and is over first",
        ));
    }
    found
}

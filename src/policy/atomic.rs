//! `atomic`: systems whose parts of a ticket happen all or not at all.

use super::read::CODES;
use super::rule::CONTRADICTION;
use super::{Policy, Span, TableRule};
use crate::config::place::Kind;
use crate::diagnostic::Diagnostic;
use crate::reading::{Table, quoted};
use std::collections::{BTreeMap, BTreeSet};

const HELP: &str = "write the names of two systems or more, each once: atomic = [\"shop\", \"billing\"]; or a list of such lists";

/// Systems that go together.
#[derive(Clone, Debug)]
pub struct Together {
    /// Their names, two or more.
    pub systems: BTreeSet<String>,
    /// Where the file says so.
    pub span: Span,
}

/// What the file says; none if it says nothing.
pub(super) fn atomic(file: &Table<'_>, tables: &[TableRule]) -> Option<Vec<Together>> {
    if !file.has("atomic") {
        return Some(Vec::new());
    }
    let bad = |code, span, message: String, help: &str| {
        file.reader().error(code, span, message, help);
        None
    };
    let mut all: Vec<Together> = Vec::new();
    for (names, span) in file.lists_of_strings("atomic")? {
        let systems: BTreeSet<String> = names.iter().map(|(name, _)| name.clone()).collect();
        if systems.len() < 2 || systems.len() < names.len() {
            let message = "`atomic` does not name two systems or more, each once".to_owned();
            return bad(CODES.bad_value, span, message, HELP);
        }
        if let Some(twice) = systems
            .iter()
            .find(|name| all.iter().any(|other| other.systems.contains(*name)))
        {
            let message = format!("`atomic` names {} in two groups", quoted(twice));
            return bad(CODES.bad_value, span, message, HELP);
        }
        let pieces = tables
            .iter()
            .filter(|rule| systems.contains(&rule.table.system));
        if let Some((rule, at)) = pieces
            .filter_map(|rule| Some((rule, rule.in_pieces.clone()?)))
            .next()
        {
            let message = format!(
                "{} goes in batches that commit by themselves, and `atomic` says that all of {} goes at once",
                rule.table, rule.table.system
            );
            let help = "take `large` out, or the system out of `atomic`";
            return bad(CONTRADICTION, at, message, help);
        }
        all.push(Together { systems, span });
    }
    Some(all)
}

/// Systems that cannot go together with others, being no databases, or not registered.
pub fn misfits(policy: &Policy, kinds: &BTreeMap<String, Kind>) -> Vec<Diagnostic> {
    let used: BTreeSet<&str> = std::iter::once(&policy.root.0)
        .chain(policy.tables.iter().map(|rule| &rule.table))
        .map(|table| table.system.as_str())
        .collect();
    let mut found = Vec::new();
    for together in &policy.atomic {
        for system in &together.systems {
            let message = match kinds.get(system) {
                Some(kind) => format!(
                    "`atomic` names {system:?}, a system of kind {}, which undoes nothing",
                    kind.word()
                ),
                None if !used.contains(system.as_str()) => {
                    format!("`atomic` names {system:?}, and no table of this policy lies there")
                }
                None => continue,
            };
            let help = "name only PostgreSQL databases in which this policy's tables lie";
            let found_one = Diagnostic::error("E0280", message, help);
            found.push(found_one.at(&policy.source, together.span.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::policy::read::read;

    const GOOD: &str = include_str!("../../tests/fixtures/policies/customer.toml");

    fn codes(atomic: &str, policy: &str) -> Vec<&'static str> {
        match read("f", &format!("{atomic}\n{policy}")) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|d| d.code).collect(),
        }
    }

    #[test]
    fn one_group_or_several() {
        let groups = |atomic: &str| -> Vec<Vec<String>> {
            let policy = read("f", &format!("{atomic}\n{GOOD}")).unwrap();
            let groups = policy.atomic.into_iter();
            groups.map(|t| t.systems.into_iter().collect()).collect()
        };
        assert!(groups("").is_empty());
        assert_eq!(groups("atomic = [\"shop\", \"crm\"]"), [["crm", "shop"]]);
        assert_eq!(
            groups("atomic = [[\"shop\", \"crm\"], [\"a\", \"b\"]]"),
            [["crm", "shop"], ["a", "b"]]
        );
        for bad in [
            "[\"shop\"]",
            "[]",
            "[\"shop\", \"shop\"]",
            "[[\"shop\", \"crm\"], [\"a\", \"crm\"]]",
        ] {
            assert_eq!(codes(&format!("atomic = {bad}"), GOOD), ["E0106"], "{bad}");
        }
        assert_eq!(codes("atomic = \"shop\"", GOOD), ["E0105"]);
        assert_eq!(
            codes("atomic = [[\"shop\", \"crm\"], \"a\"]", GOOD),
            ["E0105"]
        );
    }

    /// Batches commit by themselves.
    #[test]
    fn nothing_goes_in_batches_there() {
        let policy = GOOD.replacen(
            "action = \"delete\"",
            "action = \"delete\"\nlarge = \"batches\"",
            1,
        );
        assert_ne!(policy, GOOD);
        assert_eq!(codes("atomic = [\"shop\", \"crm\"]", &policy), ["E0109"]);
        assert!(codes("atomic = [\"loyalty\", \"crm\"]", &policy).is_empty());
    }
}

//! What is worth knowing of a retention rule that writes rows to an archive before they go.

use super::{OfRule, Owners};
use crate::diagnostic::Diagnostic;
use crate::name::TableName;
use crate::policy::retention::{Place, RetentionRule};
use crate::policy::{Policy, TableRule};

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
                archive.to
            ),
            "archive only what a law makes you keep, for no longer, and see that somebody looks there for each ticket",
        ));
    }
    let mut rules = of.policy.tables.iter();
    let reached = |table: &TableName| {
        let mut tables = of.lineage.systems.iter().flat_map(|s| &s.tables);
        tables.any(|t| t.table == *table)
    };
    let leads_on = |r: &&TableRule| r.large_objects.is_some() && reached(&r.table.table);
    if let Some(objects) = rules.find(leads_on) {
        found.push(warn(
            "E0264",
            format!(
                "the retention rule {} archives rows of {} that lead to large objects: these go with them and are in no archive",
                rule.name, objects.table
            ),
            "export them before, or keep the rows until nobody needs the objects",
        ));
    }
    found
}

/// That a rule archives to a bucket which the configuration does not know.
pub fn unknown_bucket(
    policy: &Policy,
    rule: &RetentionRule,
    known: impl Fn(&str) -> bool,
) -> Option<Diagnostic> {
    let Some(Place::Bucket { bucket, .. }) = rule.archive.as_ref().map(|archive| &archive.to)
    else {
        return None;
    };
    if known(bucket) {
        return None;
    }
    let message = format!(
        "the retention rule {} archives to the bucket {bucket}, which erasured.toml does not know",
        rule.name
    );
    let help = format!("add [bucket.{bucket}] to erasured.toml, or mend the name here");
    Some(Diagnostic::error("E0266", message, help).at(&policy.source, rule.span.clone()))
}

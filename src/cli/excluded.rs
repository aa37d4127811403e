//! Whether the values of identifiers keep what the policy says of them: templates of places rest on it.

use super::failure::Failure;
use crate::diagnostic::Diagnostic;
use crate::erasure::context::System;
use crate::plan;
use crate::policy::Policy;
use crate::system::postgres::failure;
use std::collections::BTreeMap;

/// Identifiers of which some row holds a character that the policy excludes.
///
/// # Errors
/// The database is away. What the statement cannot name is told by others.
pub(super) async fn found(
    systems: &BTreeMap<String, System>,
    policy: &Policy,
) -> Result<Vec<Diagnostic>, Failure> {
    let root = &policy.root.0;
    let mut found = Vec::new();
    let Some(system) = systems.get(&root.system) else {
        return Ok(found);
    };
    let identifiers = policy.identifiers.iter();
    for (name, identifier) in identifiers.filter(|(_, i)| !i.excludes.is_empty()) {
        let client = system.pool.get().await?;
        let sql = plan::rows_holding(&root.table, &identifier.column);
        let rows: i64 = match client.query_one(&sql, &[&identifier.excludes]).await {
            Ok(row) => row.get(0),
            Err(error) => match failure::classify(&error) {
                failure::Failure::Permanent => continue,
                failure::Failure::Transient(_) => {
                    let problem = format!("{}: {}", root.system, failure::describe(&error));
                    return Err(Failure::unreachable(problem));
                }
            },
        };
        if rows > 0 {
            let message = format!(
                "in {rows} row(s) of {root} {name} holds one of the characters {:?}, which the policy excludes",
                identifier.excludes
            );
            let help = "a template of a place could take one person for another: mend the rows, or close the value with another character";
            let diagnostic = Diagnostic::error("E0272", message, help);
            found.push(diagnostic.at(&policy.source, identifier.span.clone()));
        }
    }
    Ok(found)
}

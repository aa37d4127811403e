//! What has changed in the databases since each scope's plan last ran: the part of `check` that
//! compares.

use crate::catalog::Catalog;
use crate::diagnostic::Diagnostic;
use crate::lineage::{self, Definitions, Difference, Mark};
use crate::policy::Draft;
use crate::store::Store;
use crate::store::definitions::Remembered;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The differences within the reach of some scopes of one policy in one system.
#[derive(Debug)]
pub(super) struct Drift {
    subject: String,
    system: String,
    scopes: Vec<String>,
    since: DateTime<Utc>,
    differences: Vec<Difference>,
}

/// All there is; a warning where it cannot be known.
pub(super) async fn since_the_plan(
    store: &Store,
    drafts: &[Draft],
    catalogs: &BTreeMap<String, Catalog>,
) -> Result<Vec<Drift>, Diagnostic> {
    let remembered = store.remembered().await.map_err(|error| {
        Diagnostic::warning(
            "E0245",
            format!("what has changed since the plans last ran cannot be told: {error}"),
            "run sql/roles/control.sql again as the owner of the control schema",
        )
    })?;
    let mut found: Vec<Drift> = Vec::new();
    for draft in drafts {
        let policy = draft.so_far();
        for scope in policy.scopes.keys() {
            let now = lineage::within_reach(policy, scope, catalogs);
            let of_scope = |r: &Remembered| r.subject == policy.subject && r.scope == *scope;
            for (before, since) in remembered.iter().filter(|(r, _)| of_scope(r)) {
                let (Ok(then), Some(now)) = (
                    // Written by a version that knew other words: as if nothing were remembered.
                    serde_json::from_str::<Definitions>(&before.body),
                    now.get(&before.system),
                ) else {
                    continue;
                };
                let differences = then.differences(now);
                if !differences.is_empty() {
                    add(&mut found, before, *since, differences);
                }
            }
        }
    }
    Ok(found)
}

/// Scopes of a policy mostly reach the same tables: what is the same is said once.
fn add(
    found: &mut Vec<Drift>,
    of: &Remembered,
    since: DateTime<Utc>,
    differences: Vec<Difference>,
) {
    let same = found
        .iter_mut()
        .find(|d| d.subject == of.subject && d.system == of.system && d.differences == differences);
    match same {
        Some(drift) => {
            drift.scopes.push(of.scope.clone());
            drift.since = drift.since.max(since);
        }
        None => found.push(Drift {
            subject: of.subject.clone(),
            system: of.system.clone(),
            scopes: vec![of.scope.clone()],
            since,
            differences,
        }),
    }
}

impl Drift {
    fn title(&self) -> String {
        format!(
            "within reach of policy {} ({}) in {}, changed since {}:",
            self.subject,
            self.scopes.join(", "),
            self.system,
            self.since.format("%Y-%m-%d %H:%M UTC")
        )
    }

    /// A title and a line for each difference.
    pub(super) fn text(&self, colours: bool) -> String {
        let mut text = self.title() + "\n";
        for difference in &self.differences {
            let (on, off) = match difference.mark {
                _ if !colours => ("", ""),
                Mark::New => ("\u{1b}[32m", "\u{1b}[0m"),
                Mark::Gone => ("\u{1b}[31m", "\u{1b}[0m"),
                Mark::Changed => ("\u{1b}[33m", "\u{1b}[0m"),
            };
            writeln!(text, "  {on}{difference}{off}").expect("a String takes all");
        }
        text
    }

    /// The same for programs.
    pub(super) fn diagnostic(&self) -> Diagnostic {
        Diagnostic::warning(
            "E0245",
            self.text(false).trim_end(),
            "see whether the policy still says what you mean; nothing stops for this alone",
        )
    }
}

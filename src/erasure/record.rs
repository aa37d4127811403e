//! What is remembered of one step until its certificate is written.

use crate::catalog::Dialect;
use crate::config::place::Kind;
use crate::plan::{Counts, SystemPlan};
use serde::{Deserialize, Serialize};

/// The result of one ticket's step on a system that is no database, as the control database keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacesRecord {
    /// What the system is.
    pub kind: Kind,
    /// What was done, by place.
    pub counts: Counts,
    /// What the system said of copies that it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<String>,
}

/// The result of one ticket's step on one system, as the control database keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What was done.
    pub counts: Counts,
    /// `server_version_num`.
    pub server_version: i32,
    /// Whose server it is.
    #[serde(default, skip_serializing_if = "Dialect::is_postgres")]
    pub dialect: Dialect,
    /// Of the catalog that the plan was made for.
    pub catalog_fingerprint: String,
    /// Tables probed by a query of ours.
    pub probed_by_query: u64,
    /// Tables probed by an enforced foreign key.
    pub probed_by_foreign_key: u64,
    /// Tables left alone: name and reason.
    pub exempt: std::collections::BTreeMap<String, String>,
}

impl StepRecord {
    /// A record of these counts under this plan.
    pub fn new(plan: &SystemPlan, counts: Counts, server_version: i32) -> Self {
        let by_query: std::collections::BTreeSet<_> = plan.all_probes().map(|p| &p.table).collect();
        Self {
            counts,
            server_version,
            dialect: plan.dialect,
            catalog_fingerprint: plan.catalog_fingerprint.clone(),
            probed_by_query: by_query.len() as u64,
            probed_by_foreign_key: plan.probed_by_foreign_key.len() as u64,
            exempt: plan.exempt.clone(),
        }
    }
}

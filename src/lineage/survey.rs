//! What a scope reaches, whether or not its policy fits: for those who only look.

use super::{Reached, Tracer, order, systems_of};
use crate::catalog::{Catalog, ForeignKey};
use crate::policy::Policy;
use std::collections::BTreeMap;

/// The part in one system.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The system.
    pub system: String,
    /// The tables reached and decided, parents before children.
    pub tables: Vec<Reached>,
    /// The keys by which rows are reached that nobody has decided.
    pub undecided: Vec<ForeignKey>,
}

/// Walks as [`super::trace`] does and goes on past what is wrong. Systems that are not among
/// `catalogs` are left out, and so is a scope that is not there; the root's system comes last.
pub fn survey(policy: &Policy, scope: &str, catalogs: &BTreeMap<String, Catalog>) -> Vec<Survey> {
    let policy = &*policy.under(scope);
    let Some(scope) = policy.scopes.get(scope) else {
        return Vec::new();
    };
    let mut names: Vec<String> = systems_of(policy).into_iter().collect();
    names.sort_by_key(|system| *system == policy.root.0.system);
    let known = names.iter().filter_map(|system| catalogs.get(system));
    let surveys = known.map(|catalog| {
        let mut tracer = Tracer::new(policy, scope, catalog);
        tracer.walk(&mut Vec::new());
        let keys = catalog.foreign_keys.iter();
        let open = |k: &&ForeignKey| {
            tracer
                .undecided
                .contains(&(k.child.0.clone(), k.name.clone()))
        };
        let undecided = keys.filter(open).cloned().collect();
        let groups = order::parents_first(&tracer.tables);
        Survey {
            system: catalog.system.clone(),
            tables: tracer.finish(groups).tables,
            undecided,
        }
    });
    surveys.collect()
}

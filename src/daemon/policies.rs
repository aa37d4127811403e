//! Policies in force: published to the desk, put in force anew, and looked at whether they fit.

use super::state::Shared;
use crate::diagnostic;
use crate::erasure::clock;
use crate::erasure::context::{Context, catalogs};
use crate::lineage;
use crate::metrics as names;
use crate::notice::offer;
use crate::start;
use crate::store::StoreError;
use crate::store::definitions::When;
use crate::store::tickets::ScopeOffer;
use std::sync::Arc;

/// After a reload; what the control database did not take is offered again at the next census.
pub(super) async fn publish_if_needed(shared: &Shared) {
    if !shared.is_unpublished() {
        return;
    }
    match publish(&shared.context).await {
        Ok(()) => shared.set_unpublished(false),
        Err(error) => tracing::warn!(%error, "the new scopes are not published to the desk yet"),
    }
}

pub(super) async fn publish(context: &Context) -> Result<(), StoreError> {
    clock::begin_counting(context);
    let beside = context.beside();
    context.store.publish_methods(&beside.proofs).await?;
    context.store.publish_grounds(&beside.grounds).await?;
    context.store.publish_scopes(&offers(context)).await
}

/// What the policies in force ask, as the desk's functions enforce it.
pub fn offers(context: &Context) -> Vec<ScopeOffer> {
    let policies = context.policies();
    let waits = context.beside().proofs.signs.cooling_off;
    let waits = chrono::Duration::from_std(waits).expect("ten years at most fit");
    let all = policies.values().flat_map(|policy| {
        policy.scopes.iter().map(|(name, scope)| ScopeOffer {
            subject: policy.subject.clone(),
            scope: name.clone(),
            policy_sha256: policy.sha256.clone(),
            identifiers: policy
                .identifiers
                .iter()
                .filter(|(_, i)| i.find)
                .map(|(name, _)| name.clone())
                .collect(),
            at_least: scope.at_least,
            four_eyes: scope.four_eyes,
            cooling_off: scope.cooling_off,
            doubtful: scope.doubtful,
            doubtful_wait: scope.doubtful_wait.unwrap_or(waits),
            words: offer::offer(policy, name, scope),
            sla: scope.sla.code.clone(),
            confirm_over: scope.confirm_over,
            due_by: policy
                .retention
                .iter()
                .filter_map(|rule| Some((rule, rule.people.as_ref()?)))
                .filter(|(_, people)| people.scope == *name)
                .map(|(rule, people)| (rule.name.clone(), people.at_most))
                .collect(),
            clock_moves: scope
                .sla
                .moved_by()
                .iter()
                .map(|&kind| kind.into())
                .collect(),
        })
    });
    all.collect()
}

/// SIGHUP: a new set of policies comes into force whole, or not at all.
pub(super) async fn reload(shared: &Arc<Shared>) {
    let _one = shared.reloading.lock().await;
    let context = &shared.context;
    let read = start::policies(&context.config)
        .and_then(|policies| Ok((policies, start::beside(&context.config)?)));
    let found = match read {
        Ok((policies, beside)) => {
            let names = policies
                .values()
                .flat_map(|p| lineage::systems_of(p))
                .collect::<std::collections::BTreeSet<_>>();
            match catalogs(&context.systems, &context.mariadb, names).await {
                Ok((catalogs, _)) => {
                    let found: Vec<_> = policies
                        .values()
                        .flat_map(|p| lineage::trace_all(p, &catalogs).1)
                        .collect();
                    if !start::stops(&found) {
                        context.replace_policies(policies, beside);
                        metrics::gauge!(names::POLICIES_CURRENT).set(1.0);
                        shared.health.set("policies", Ok(()));
                        shared.set_unpublished(true);
                        publish_if_needed(shared).await;
                        fits(shared).await;
                        tracing::info!("policies reloaded");
                        shared.pulse();
                        return;
                    }
                    found
                }
                Err(error) => {
                    refused(
                        shared,
                        &format!("the databases could not be looked at: {error}"),
                    );
                    return;
                }
            }
        }
        Err(error) => error.diagnostics(),
    };
    refused(shared, &diagnostic::render(&found, false));
}

fn refused(shared: &Shared, why: &str) {
    metrics::gauge!(names::POLICIES_CURRENT).set(0.0);
    shared.health.set(
        "policies",
        Err("a newer set of policies was refused; the old one stays in force (see the log)".into()),
    );
    tracing::error!("the new policies are refused, the old ones stay in force:\n{why}");
}

/// Drift is told before a ticket meets it.
pub(super) async fn fits(shared: &Shared) {
    let context = &shared.context;
    for policy in context.policies().values() {
        let name = format!("policy {}", policy.subject);
        let mut result = Ok(());
        for scope in policy.scopes.keys() {
            match context.planned(&policy.subject, scope).await {
                Ok(planned) => {
                    #[allow(clippy::cast_precision_loss)] // a handful
                    let overlooks = planned.overlooks as f64;
                    let subject = policy.subject.clone();
                    metrics::gauge!(names::POLICY_OVERLOOKED, "subject" => subject).set(overlooks);
                    // Not remembered now, it will be at the next round or with the first batch.
                    drop(context.remember(&planned, When::Fits).await);
                }
                Err(error) => {
                    result = Err(error.to_string());
                    break;
                }
            }
        }
        let fits = if result.is_ok() { 1.0 } else { 0.0 };
        metrics::gauge!(names::POLICY_FITS, "subject" => policy.subject.clone()).set(fits);
        shared.health.set(&name, result);
    }
}

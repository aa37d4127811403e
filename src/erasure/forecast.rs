//! Counts, for whoever approves a ticket, how many rows it would touch; and notes, as a salted hash,
//! what they type back where these are many.

use super::context::Context;
use super::foresee::{self, Unforeseen};
use super::identity::Identity;
use crate::identifier;
use crate::policy::Policy;
use crate::store::StoreError;
use crate::store::forecast::{Forecast, Typed, Uncounted};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Counts for up to `limit` tickets; how many were done. One whose system is away is left for later.
///
/// # Errors
/// The control database's.
pub async fn round(context: &Context, limit: u32) -> Result<usize, StoreError> {
    let asked = |policy: &Policy| policy.scopes.values().any(|s| s.confirm_over.is_some());
    if !context.policies().values().any(|policy| asked(policy)) {
        return Ok(0);
    }
    let mut done = 0;
    for ticket in context.store.uncounted(limit).await? {
        let Some(forecast) = forecast(context, &ticket).await? else {
            continue;
        };
        context.store.foretell(ticket.id, &forecast).await?;
        done += 1;
    }
    Ok(done)
}

/// `None` for later.
async fn forecast(context: &Context, ticket: &Uncounted) -> Result<Option<Forecast>, StoreError> {
    let policies = context.policies();
    let opened = Identity::open(&context.hash_key, ticket.id, &ticket.sealed);
    let (Some(policy), Ok(identity)) = (policies.get(&ticket.subject), opened) else {
        return Ok(Some(Forecast::default()));
    };
    let counted = match foresee::counted(
        context,
        policy,
        &ticket.scope,
        &BTreeSet::new(),
        &identity,
    )
    .await
    {
        Ok((_, counts)) => Some(counts),
        Err(Unforeseen::Store(error)) => return Err(error),
        Err(unforeseen) if unforeseen.is_transient() => return Ok(None),
        Err(_) => {
            tracing::warn!(ticket = %ticket.id, "the rows of a ticket cannot be counted for its approval");
            None
        }
    };
    let rows = counted.map(|counts| {
        let changed = counts.values().flat_map(|c| c.changed.values());
        changed.flat_map(|of| of.values()).sum()
    });
    let typed = known_by(policy, &identity);
    Ok(Some(Forecast { rows, typed }))
}

/// The first identifier of the policy that finds people, and that the person has.
fn known_by(policy: &Policy, identity: &Identity) -> Option<Typed> {
    let mut finding: Vec<_> = policy.identifiers.iter().filter(|(_, i)| i.find).collect();
    finding.sort_by_key(|(_, identifier)| identifier.span.start);
    let salt = uuid::Uuid::new_v4().simple().to_string();
    finding.into_iter().find_map(|(name, _)| {
        let value = identity.values.get(name)?.first()?;
        Some(Typed {
            named_by: name.clone(),
            digest: digest(&salt, value)?,
            salt: salt.clone(),
        })
    })
}

/// Of what is typed back: of its letters and digits alone, however they are written. `None` if it has none.
pub fn digest(salt: &str, typed: &str) -> Option<String> {
    let code = identifier::code(typed).ok()?;
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update(code.as_bytes());
    let bytes = hash.finalize();
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

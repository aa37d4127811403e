//! One look at what is due for one target.

use super::message::{self, Signed, backoff, sign};
use super::{Undelivered, hook, opendsr, post};
use crate::config::Config;
use crate::config::outbox::Endpoint;
use crate::erasure::context::Context;
use crate::metrics as names;
use crate::store::StoreError;
use crate::store::outbox::{Delivery, Outcome};
use axum::http::HeaderName;
use futures_util::future::join_all;
use std::time::Duration;

/// Messages under way to one target at the same time, each of another ticket.
const AT_ONCE: u32 = 8;

/// Somebody to tell.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the control database knows it.
    pub name: String,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Post(Endpoint),
    Run(Vec<String>),
    /// To the addresses that the ticket's own request named.
    OpenDsr,
}

/// All that the configuration names.
pub fn targets(config: &Config) -> Vec<Target> {
    let outbox = &config.outbox;
    let callbacks = outbox.callbacks.iter().map(|(name, callback)| Target {
        name: format!("callback/{name}"),
        way: Way::Post(callback.endpoint.clone()),
    });
    let hooks = outbox.hooks.iter().map(|(name, hook)| Target {
        name: format!("hook/{name}"),
        way: Way::Run(hook.command.clone()),
    });
    let opendsr = config.opendsr.iter().map(|_| Target {
        name: "opendsr".into(),
        way: Way::OpenDsr,
    });
    callbacks.chain(hooks).chain(opendsr).collect()
}

/// Delivers what is due; returns how many messages were tried.
///
/// # Errors
/// The control database's. What the target says is no error but a reason to try again.
pub async fn round(context: &Context, target: &Target) -> Result<usize, StoreError> {
    let timeout = context.config.outbox.timeout;
    // Longer than a try can take: nobody else takes a message up while this one may still send it.
    let lease = timeout * 2 + Duration::from_secs(5);
    let store = &context.store;
    let due = store.lease_deliveries(&target.name, AT_ONCE, lease).await?;
    crate::erasure::crash_point("before-deliver");
    let told = join_all(due.iter().map(|delivery| tell(context, target, delivery))).await;
    for result in told {
        result?;
    }
    Ok(due.len())
}

async fn tell(context: &Context, target: &Target, delivery: &Delivery) -> Result<(), StoreError> {
    let outbox = &context.config.outbox;
    let signed = sign(message::body(delivery), &context.signing_key);
    let tried = match &target.way {
        Way::Post(endpoint) => {
            let headers = headers(delivery, &signed);
            post::post(endpoint, &headers, &signed, outbox.timeout).await
        }
        Way::OpenDsr => opendsr::tell(context, delivery).await?,
        Way::Run(command) => hook::run(command, &signed.body, outbox.timeout).await,
    };
    crate::erasure::crash_point("after-deliver");
    let failed = u32::try_from(delivery.attempts).unwrap_or(u32::MAX);
    let outcome = match &tried {
        Ok(()) => Outcome::Delivered,
        Err(_) if failed + 1 >= outbox.attempts.get() => Outcome::Dead,
        Err(_) => Outcome::Later(backoff(failed + 1, rand::random())),
    };
    let problem = tried.as_ref().err().map(Undelivered::code);
    let counted = context
        .store
        .delivered(&target.name, delivery, outcome, problem)
        .await?;
    if counted {
        note(target, delivery, outcome, problem);
    }
    Ok(())
}

fn headers(delivery: &Delivery, signed: &Signed) -> [(HeaderName, String); 3] {
    [
        ("erasured-id", delivery.message.to_string()),
        ("erasured-attempt", (delivery.attempts + 1).to_string()),
        ("erasured-signature", signed.signature.clone()),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), value))
}

fn note(target: &Target, delivery: &Delivery, outcome: Outcome, problem: Option<&str>) {
    let (word, problem) = (outcome.word(), problem.unwrap_or_default());
    metrics::counter!(names::DELIVERIES, "target" => target.name.clone(), "outcome" => word)
        .increment(1);
    let (target, message) = (&target.name, delivery.message);
    match outcome {
        Outcome::Delivered => tracing::debug!(target, %message, "told"),
        Outcome::Later(_) => {
            tracing::info!(target, %message, problem, "not told yet; trying again later");
        }
        Outcome::Dead => tracing::error!(
            target, %message, problem,
            "E0640: given up after too many tries; erasured.redeliver lets it be tried again"
        ),
    }
}

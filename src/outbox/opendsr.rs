//! OpenDSR's callbacks: to the addresses that a request named, in its words.

use super::{Signed, Undelivered, post};
use crate::config::outbox::Endpoint;
use crate::erasure::context::Context;
use crate::store::StoreError;
use crate::store::opendsr::OpenDsrRequest;
use crate::store::outbox::Delivery;
use axum::http::HeaderName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Duration, Utc};
use serde_json::json;

/// A ticket's state in OpenDSR's four words.
pub fn status(state: &str) -> &'static str {
    match state {
        "executing" | "verifying" | "failed" => "in_progress",
        "completed" | "deferred" => "completed",
        "rejected" => "cancelled",
        _ => "pending",
    }
}

/// When it is expected to be done: when it is due. Before that is known, a month from the request.
pub fn expected(due_at: Option<DateTime<Utc>>, requested_at: DateTime<Utc>) -> String {
    let at = due_at.unwrap_or(requested_at + Duration::days(30));
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Tells every address of the request; one that does not listen makes all be told again.
pub(super) async fn tell(
    context: &Context,
    delivery: &Delivery,
) -> Result<Result<(), Undelivered>, StoreError> {
    let Some(request) = context.store.opendsr_of(delivery.ticket).await? else {
        return Ok(Ok(()));
    };
    let mut told = Ok(());
    for url in &request.callbacks {
        // Each is tried, whatever became of the one before.
        told = tell_one(context, delivery, &request, url).await.and(told);
    }
    Ok(told)
}

async fn tell_one(
    context: &Context,
    delivery: &Delivery,
    request: &OpenDsrRequest,
    url: &str,
) -> Result<(), Undelivered> {
    let opendsr = context.config.opendsr.as_ref();
    let opendsr = opendsr.ok_or_else(|| Undelivered::new("not_configured"))?;
    let endpoint = Endpoint::parse(url).map_err(|_| Undelivered::new("url"))?;
    // The list may have become shorter since the request came.
    if !opendsr.allows(&endpoint) {
        return Err(Undelivered::new("not_allowed"));
    }
    let signed = body(request, delivery, url, context);
    let headers = [
        ("x-opendsr-processor-domain", opendsr.domain.clone()),
        ("x-opendsr-signature", signed.signature.clone()),
        ("erasured-id", delivery.message.to_string()),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), value));
    // All addresses together end within the time of one try, which the lease is made for.
    let share = context.config.outbox.timeout / 5;
    post::post(&endpoint, &headers, &signed, share).await
}

/// The status of the message, not of now: what is told late is told as it was.
fn body(request: &OpenDsrRequest, delivery: &Delivery, url: &str, context: &Context) -> Signed {
    let body = json!({
        "controller_id": request.controller,
        "expected_completion_time": expected(request.ticket.due_at, request.ticket.requested_at),
        "status_callback_url": url,
        "subject_request_id": request.request,
        "request_status": status(&delivery.kind),
    });
    let body = body.to_string().into_bytes();
    let signature = STANDARD.encode(context.signing_key.sign(&body));
    Signed { body, signature }
}

//! Health, metrics and certificates over HTTP; and calls of services that have done what they were told.

use crate::api::rate::Rates;
use crate::config::CalledAt;
use crate::daemon::Shared;
use crate::secret::SecretBytes;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Calls a second of one service that are listened to.
const CALLS: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");

/// What the handlers answer from.
pub struct Served {
    /// The daemon.
    pub shared: Arc<Shared>,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// The bearer token for certificates; without one they are not served.
    pub token: Option<SecretBytes>,
}

/// Serves until the process ends.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: tokio::net::TcpListener, served: Served) -> std::io::Result<()> {
    let taken = Calls {
        shared: served.shared.clone(),
        rates: Rates::new(CALLS),
    };
    let calls = match served.shared.context.config.http.called_at {
        Some(_) => Router::new()
            .route(
                &format!("{}/{{system}}/{{ticket}}/{{token}}", CalledAt::PATH),
                post(called),
            )
            .with_state(Arc::new(taken)),
        None => Router::new(),
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/certificates/{id}", get(certificate))
        .with_state(Arc::new(served))
        .merge(calls);
    axum::serve(listener, router).await
}

/// What calls are answered from.
struct Calls {
    shared: Arc<Shared>,
    rates: Rates,
}

/// A service says that an order is done. It is asked, now and not at the ticket's next try; what it says here
/// is not even read. Whoever does not know the order's token hears the same as of an order that there is not.
async fn called(
    State(calls): State<Arc<Calls>>,
    Path((system, ticket, token)): Path<(String, String, String)>,
) -> StatusCode {
    let context = &calls.shared.context;
    let known = |ticket: &Uuid| context.hash_key.is_call_token(&system, *ticket, &token);
    let Some(ticket) = Uuid::try_parse(&ticket).ok().filter(known) else {
        return StatusCode::NOT_FOUND;
    };
    // From here on it is a system of ours, so there are few.
    if calls.rates.take(&system, Instant::now()).is_err() {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    match context.store.ask_again(ticket, &system).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    let text = served.metrics.render();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

/// 200 if it can work; else 503, and a line for each reason.
async fn ready(State(served): State<Arc<Served>>) -> Response {
    let problems = served.shared.health.problems();
    if problems.is_empty() {
        return "ready\n".into_response();
    }
    let text: String = problems
        .iter()
        .map(|(name, why)| format!("{name}: {why}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// A certificate as the JWS that was signed.
async fn certificate(
    State(served): State<Arc<Served>>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = &served.token else {
        return (
            StatusCode::NOT_FOUND,
            "certificates are not served: no [http] token is configured\n",
        )
            .into_response();
    };
    if !authorised(&headers, token) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (
            StatusCode::UNAUTHORIZED,
            challenge,
            "a bearer token is needed\n",
        )
            .into_response();
    }
    match served.shared.context.store.certificate(id).await {
        Ok(Some(row)) => ([(header::CONTENT_TYPE, "application/jose")], row.jws).into_response(),
        Ok(None) => of_run(&served, id).await,
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// That of a retention run, by its own id or the run's.
async fn of_run(served: &Served, id: Uuid) -> Response {
    match served.shared.context.store.run_certificate(id).await {
        Ok(Some(row)) => ([(header::CONTENT_TYPE, "application/jose")], row.jws).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such certificate\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Compared without giving away by the time it takes how much of it was right.
fn authorised(headers: &HeaderMap, token: &SecretBytes) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    let (Some(given), Some(wanted)) = (given, token.expose_line()) else {
        return false;
    };
    let (given, wanted) = (given.as_bytes(), wanted.as_bytes());
    let differs = given
        .iter()
        .zip(wanted)
        .fold(0_u8, |acc, (a, b)| acc | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

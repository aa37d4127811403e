//! What moves a ticket's clock, and what has happened to it.

use super::problem::Problem;
use super::tickets::{Moved, Named, Reason, find};
use super::tokens::Scope;
use super::{Api, reading};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What the customer is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// As a code: `identity`, or such as which-account. Never what was said.
    #[serde(rename = "for")]
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "which-account")]
    what: String,
}

/// Something that has happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Happening {
    at: DateTime<Utc>,
    /// In words.
    #[schema(example = "receipt confirmed")]
    what: String,
    /// In what capacity somebody did it; null for the daemon.
    #[schema(example = "erasured_desk")]
    by_role: Option<String>,
    /// By what method, for which reason: codes.
    detail: Option<String>,
}

/// A ticket's story.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Story {
    /// Oldest first.
    timeline: Vec<Happening>,
}

/// Record that the customer was told that the request has come.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/acknowledge", tag = "decisions", params(Named),
    responses((status = 200, description = "Recorded", body = Moved), Problem),
)]
pub(super) async fn acknowledge(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.acknowledge(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// Make the term longer, with the ground's code as `reason`.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/extend", tag = "decisions", params(Named), request_body = Reason,
    responses((status = 200, description = "Extended", body = Moved), Problem),
)]
pub(super) async fn extend(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Approve]).await?;
    let why: Reason = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let actor = Some(caller.actor.as_str());
    let state = api.store.extend(id, &why.reason, actor).await?;
    Ok(Json(Moved { state }))
}

/// Record that the customer is asked for something, one question at a time.
///
/// The clock stops only where the SLA profile says so. The same question sent again changes nothing.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/ask", tag = "decisions", params(Named), request_body = Question,
    responses((status = 200, description = "Recorded", body = Moved), Problem),
)]
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let question: Question = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let actor = Some(caller.actor.as_str());
    let state = api.store.ask(id, &question.what, actor).await?;
    Ok(Json(Moved { state }))
}

/// Record that the customer has answered; never what.
///
/// `ER018` if nothing is asked, or not any more: `asked_for` of the ticket says so.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/answered", tag = "decisions", params(Named),
    responses((status = 200, description = "Recorded", body = Moved), Problem),
)]
pub(super) async fn answered(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.answered(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// What has happened to a ticket.
#[utoipa::path(
    get, path = "/v1/tickets/{ticket}/timeline", tag = "tickets", params(Named),
    responses((status = 200, description = "Its story", body = Story), Problem),
)]
pub(super) async fn timeline(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Story>, Problem> {
    api.enter(&headers, &[Scope::Read]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let happened = api.store.show(&id.to_string()).await?.timeline;
    let timeline = happened.into_iter().map(|h| Happening {
        at: h.at,
        what: h.what,
        by_role: h.by_role,
        detail: h.detail,
    });
    Ok(Json(Story {
        timeline: timeline.collect(),
    }))
}

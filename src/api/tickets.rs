//! Tickets over HTTP: what the desk's functions do, under the name of the token's person.

use super::problem::Problem;
use super::tokens::Scope;
use super::{Api, reading};
use crate::store::desk::PageFilter;
use crate::store::tickets::{IdentifierValue, NewTicket, TicketView};
use crate::store::{Store, StoreError};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A request to be filed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRequest {
    /// Your own word for the request, kept for ever: it must not name the person. Without it the
    /// `Idempotency-Key` is the reference.
    #[schema(min_length = 1, max_length = 200, example = "CRM-1042")]
    #[serde(default)]
    reference: Option<String>,
    /// Subject kind of the policy.
    #[schema(example = "customer")]
    subject: String,
    /// Scope of the policy: what is asked for.
    #[schema(example = "account")]
    scope: String,
    /// Legal ground, as a code.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "policy")]
    ground: String,
    /// By what the person is named: names of the policy's identifiers, and values.
    #[schema(example = json!({"member_no": "TM-0000042"}))]
    identifiers: BTreeMap<String, String>,
    /// When the person asked, if not now.
    #[serde(default)]
    requested_at: Option<DateTime<Utc>>,
    /// Language of the notices.
    #[schema(pattern = "^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", example = "ja")]
    #[serde(default)]
    language: Option<String>,
}

/// Values stay out of whatever shows this.
impl fmt::Debug for NewRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewRequest(…)")
    }
}

/// How identity was verified.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verification {
    /// Code of the method, as in `identity.toml`; how far it reaches is the method's. Never what was
    /// seen.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "callback_dob")]
    method: String,
    /// Why a method that asks for more than the scope needs, as a code.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$")]
    #[serde(default)]
    reason: Option<String>,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// As a code: it goes into the ledger, from which nothing can be removed.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "court-order")]
    pub(super) reason: String,
}

/// A ticket's new state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    /// As in docs/operations.md.
    #[schema(example = "verified")]
    pub(super) state: String,
}

/// A ticket, without the values that it names the person by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ticket {
    id: Uuid,
    reference: String,
    subject: String,
    scope: String,
    ground: String,
    language: Option<String>,
    /// As in docs/operations.md.
    state: String,
    /// Why it does not go on: a code.
    problem_code: Option<String>,
    /// The same in words.
    problem: Option<String>,
    requested_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
    not_before: Option<DateTime<Utc>>,
    next_attempt_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    sla_met: Option<bool>,
    /// Names of the identifiers given, never their values.
    identified_by: Vec<String>,
    verified_by_method: Option<String>,
    verified_level: Option<String>,
    verified_by: Option<String>,
    verified_at: Option<DateTime<Utc>>,
    approved_by: Option<String>,
    approved_at: Option<DateTime<Utc>>,
    /// Places where something of the person is left.
    findings: i64,
    deferred_until: Option<DateTime<Utc>>,
    certificate_id: Option<Uuid>,
    /// not_started, running or paused.
    clock: String,
    /// By when receipt is to be confirmed to the customer.
    acknowledge_by: Option<DateTime<Utc>>,
    acknowledged_at: Option<DateTime<Utc>>,
    /// When it would be due if the term were made longer.
    extended_due_at: Option<DateTime<Utc>>,
    extended_at: Option<DateTime<Utc>>,
    extended_for: Option<String>,
    /// What the customer is asked for at present: a code.
    asked_for: Option<String>,
    asked_at: Option<DateTime<Utc>>,
    /// Reference of the ticket that this one is closed with.
    duplicate_of: Option<String>,
    /// Code of the ground on which it was refused.
    rejected_for: Option<String>,
    /// Who has to act: desk, approver, DBA, customer or daemon; null when it is closed.
    waits_for: Option<String>,
    /// And for what.
    waits_for_what: Option<String>,
}

impl From<TicketView> for Ticket {
    fn from(t: TicketView) -> Self {
        Self {
            id: t.id,
            reference: t.reference,
            subject: t.subject,
            scope: t.scope,
            ground: t.ground,
            language: t.language,
            state: t.state,
            problem_code: t.problem_code,
            problem: t.problem,
            requested_at: t.requested_at,
            due_at: t.due_at,
            not_before: t.not_before,
            next_attempt_at: t.next_attempt_at,
            started_at: t.started_at,
            finished_at: t.finished_at,
            sla_met: t.sla_met,
            identified_by: t.identified_by,
            verified_by_method: t.verified_by_method,
            verified_level: t.verified_level,
            verified_by: t.verified_by,
            verified_at: t.verified_at,
            approved_by: t.approved_by,
            approved_at: t.approved_at,
            findings: t.findings,
            deferred_until: t.deferred_until,
            certificate_id: t.certificate_id,
            clock: t.clock,
            acknowledge_by: t.acknowledge_by,
            acknowledged_at: t.acknowledged_at,
            extended_due_at: t.extended_due_at,
            extended_at: t.extended_at,
            extended_for: t.extended_for,
            asked_for: t.asked_for,
            asked_at: t.asked_at,
            duplicate_of: t.duplicate_of,
            rejected_for: t.rejected_for,
            waits_for: t.waits_for.map(|who| who.word().to_owned()),
            waits_for_what: t.waits_for_what,
        }
    }
}

/// Some tickets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// Newest request first.
    tickets: Vec<Ticket>,
    /// Give it as `cursor` to go on; null at the end.
    next: Option<String>,
}

/// States as the query names them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TicketState {
    Received,
    Verified,
    Approved,
    Scheduled,
    Executing,
    Verifying,
    Completed,
    Deferred,
    Failed,
    OnHold,
    Rejected,
}

/// Which tickets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only in this state.
    #[param(inline)]
    state: Option<TicketState>,
    /// Only of this subject kind.
    subject: Option<String>,
    /// Only open ones past their due date.
    overdue: Option<bool>,
    /// At most so many.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// File a request.
///
/// The same reference with the same content is the same ticket for as long as that is open, so a
/// request whose answer was lost can be sent again.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "tickets", request_body = NewRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The reference, where the body names none",
            min_length = 1, max_length = 200)),
    responses(
        (status = 201, description = "Filed", body = Ticket, headers(("Location", description = "The ticket"))),
        (status = 200, description = "It was filed before", body = Ticket),
        Problem,
    ),
)]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let new: NewRequest = reading::json(&headers, body).await?;
    let key = headers.get("idempotency-key");
    let key = key.map(|key| key.to_str().unwrap_or_default().to_owned());
    let reference = new.reference.or(key).ok_or_else(|| {
        let why = "neither the body names a reference nor is there an Idempotency-Key";
        Problem::unreadable(StatusCode::BAD_REQUEST, why)
    })?;
    let identifiers: Vec<(String, IdentifierValue)> = new
        .identifiers
        .into_iter()
        .map(|(name, value)| (name, IdentifierValue::new(value)))
        .collect();
    let before = api.store.ticket(&reference).await;
    let wanted = NewTicket {
        reference: &reference,
        subject: &new.subject,
        identifiers: &identifiers,
        scope: &new.scope,
        ground: &new.ground,
        requested_at: new.requested_at,
        language: new.language.as_deref(),
    };
    let (actor, door) = (Some(&*caller.actor), Some(&*caller.token));
    let id = api.store.submit_through(&wanted, actor, door).await?;
    let ticket = Ticket::from(api.store.ticket(&id.to_string()).await?);
    let place = [(header::LOCATION, format!("/v1/tickets/{id}"))];
    Ok(match before {
        Err(StoreError::NotFound(_)) => (StatusCode::CREATED, place, Json(ticket)).into_response(),
        _ => Json(ticket).into_response(),
    })
}

/// Tickets, newest request first.
#[utoipa::path(
    get, path = "/v1/tickets", tag = "tickets", params(Wanted),
    responses((status = 200, description = "A page of them", body = Page), Problem),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Page>, Problem> {
    api.enter(&headers, &[Scope::Read]).await?;
    let wanted: Wanted = reading::query(&uri)?;
    let limit = reading::limit(wanted.limit)?;
    let state = wanted.state.map(|state| serde_json::json!(state));
    let filter = PageFilter {
        state: state.and_then(|state| state.as_str().map(str::to_owned)),
        subject: wanted.subject,
        overdue: wanted.overdue.unwrap_or(false),
        after: wanted.cursor.as_deref().map(reading::leafed).transpose()?,
        limit: limit + 1,
    };
    let mut tickets = api.store.page(&filter).await?;
    let more = tickets.len() > limit as usize;
    tickets.truncate(limit as usize);
    let last = tickets.last().filter(|_| more);
    let next = last.map(|t| reading::cursor(t.requested_at, t.id));
    Ok(Json(Page {
        tickets: tickets.into_iter().map(Ticket::from).collect(),
        next,
    }))
}

/// One ticket.
#[utoipa::path(
    get, path = "/v1/tickets/{ticket}", tag = "tickets", params(Named),
    responses((status = 200, description = "The ticket", body = Ticket), Problem),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Ticket>, Problem> {
    api.enter(&headers, &[Scope::Read]).await?;
    Ok(Json(find(&api.store, &ticket).await?.into()))
}

/// Record by which method identity was verified.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/verify", tag = "decisions", params(Named), request_body = Verification,
    responses((status = 200, description = "Recorded", body = Moved), Problem),
)]
pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Verify]).await?;
    let by: Verification = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let (method, reason) = (&by.method, by.reason.as_deref());
    let state = api
        .store
        .verify(id, method, reason, Some(&caller.actor))
        .await?;
    Ok(Json(Moved { state }))
}

/// Approve a verified ticket; it runs after the cooling-off time.
///
/// Where the policy asks for four eyes, the token's person is another than who verified: `ER008`.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/approve", tag = "decisions", params(Named),
    responses((status = 200, description = "Approved", body = Moved), Problem),
)]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Approve]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.approve(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// Close a ticket of which nothing has been carried out.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/reject", tag = "decisions", params(Named), request_body = Reason,
    responses((status = 200, description = "Closed; its identifiers are gone", body = Moved), Problem),
)]
pub(super) async fn reject(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Approve]).await?;
    let why: Reason = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api
        .store
        .reject(id, &why.reason, Some(&caller.actor))
        .await?;
    Ok(Json(Moved { state }))
}

/// Stop a ticket that has not begun.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/hold", tag = "decisions", params(Named), request_body = Reason,
    responses((status = 200, description = "On hold", body = Moved), Problem),
)]
pub(super) async fn hold(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Hold]).await?;
    let why: Reason = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api
        .store
        .hold_ticket(id, &why.reason, Some(&caller.actor))
        .await?;
    Ok(Json(Moved { state }))
}

/// Let a held ticket go on.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/release", tag = "decisions", params(Named),
    responses((status = 200, description = "As it was before", body = Moved), Problem),
)]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Hold]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.release_ticket(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// Let a failed, unfindable or waiting ticket try again now.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/retry", tag = "decisions", params(Named),
    responses((status = 200, description = "It is tried again", body = Moved), Problem),
)]
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File, Scope::Approve]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.retry(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// Close a ticket because the customer does not want it any more.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/withdraw", tag = "decisions", params(Named),
    responses((status = 200, description = "Closed; its identifiers are gone", body = Moved), Problem),
)]
pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.withdraw(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// Stop and close a ticket because the real owner of what would be erased objects: it was not them.
///
/// Taken without proof, since it deletes nothing; also for a ticket that is rejected already. It counts as a
/// sign for the other tickets of that person. While a copy of a document is held the ticket is stopped only,
/// and closes when the last one is destroyed.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/object", tag = "decisions", params(Named),
    responses((status = 200, description = "Stopped, and closed where no copy is held", body = Moved), Problem),
)]
pub(super) async fn object(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let id = find(&api.store, &ticket).await?.id;
    let state = api.store.object(id, Some(&caller.actor)).await?;
    Ok(Json(Moved { state }))
}

/// The path's ticket.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// Id or reference.
    #[param(min_length = 1, max_length = 200, example = "CRM-1042")]
    #[allow(dead_code)] // It only describes.
    ticket: String,
}

/// A ticket by id or reference.
pub(super) async fn find(store: &Store, ticket: &str) -> Result<TicketView, Problem> {
    if !(1..=200).contains(&ticket.chars().count()) {
        return Err(Problem::nothing("such ticket"));
    }
    Ok(store.ticket(ticket).await?)
}

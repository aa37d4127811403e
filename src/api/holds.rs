//! Legal holds over HTTP: placed and released under the name of the token's person.

use super::problem::Problem;
use super::tokens::Scope;
use super::{Api, Caller, reading};
use crate::store::holds::{HoldFilter, HoldView, NewHold, NewRowHold, OnceKey, Order};
use crate::store::tickets::IdentifierValue;
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

/// Who may look.
const SEE: [Scope; 4] = [
    Scope::PlaceHold,
    Scope::ReleaseHold,
    Scope::Read,
    Scope::Audit,
];

/// An order to keep: what belongs to a person, or rows of a table.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum NewLegalHold {
    Person(PersonKept),
    Rows(RowsKept),
}

/// What belongs to a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonKept {
    /// The case, as a code; it may have many holds. It stays: it must not name the person.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "case-2026-17")]
    matter: String,
    /// Why, as a code.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "court-order")]
    reason: String,
    /// Subject kind of the policy.
    #[schema(example = "customer")]
    subject: String,
    /// By what the person is named; all must fit.
    #[schema(example = json!({"member_no": "TM-0000042"}))]
    identifiers: BTreeMap<String, String>,
    /// Its last moment; until it is released, if there is none.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

/// Rows of a table.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RowsKept {
    /// The case, as a code.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "audit-q1")]
    matter: String,
    /// Why, as a code.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "audit")]
    reason: String,
    /// `system.schema.table`.
    #[schema(example = "shop.public.invoice")]
    rows_of: String,
    /// All must hold for a row; without any, every row is kept.
    #[serde(default)]
    #[schema(max_items = 20)]
    conditions: Vec<Condition>,
    /// Its last moment; until it is released, if there is none.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

/// What a column must be.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    #[schema(example = "issued_on")]
    column: String,
    op: Operator,
    /// One; two for `between`; any number for `in`; none for `is null` and `is not null`.
    #[serde(default)]
    #[schema(example = json!(["2026-01-01", "2026-03-31"]))]
    values: Vec<String>,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = "between")]
pub(super) enum Operator {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "<>")]
    Unequal,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    More,
    #[serde(rename = ">=")]
    MoreOrEqual,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "between")]
    Between,
    #[serde(rename = "is null")]
    Null,
    #[serde(rename = "is not null")]
    NotNull,
}

/// Values stay out of whatever shows this.
impl fmt::Debug for NewLegalHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewLegalHold(…)")
    }
}

/// A hold: whom it covers in number, never by value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LegalHold {
    id: Uuid,
    matter: String,
    reason: String,
    /// Of a hold on a person.
    subject: Option<String>,
    /// Of a hold on rows.
    rows_of: Option<String>,
    /// Names of the identifiers, or column and op of each condition.
    named_by: Vec<String>,
    /// How many people it covers; 0 of a hold on rows.
    people: i64,
    /// Why it covers nobody or nothing: a code.
    problem_code: Option<String>,
    /// The same in words.
    problem: Option<String>,
    until: Option<DateTime<Utc>>,
    placed_at: DateTime<Utc>,
    placed_by: String,
    /// When a daemon had found whom it covers. Until then nothing that it may cover is erased.
    read_at: Option<DateTime<Utc>>,
    released_at: Option<DateTime<Utc>>,
    released_by: Option<String>,
    in_force: bool,
    /// References of the tickets that it keeps waiting.
    tickets: Vec<String>,
    /// How many deferrals it keeps waiting.
    deferrals: i64,
    /// Since when something waits.
    since: Option<DateTime<Utc>>,
}

impl From<HoldView> for LegalHold {
    fn from(h: HoldView) -> Self {
        Self {
            id: h.id,
            matter: h.matter,
            reason: h.reason,
            subject: h.subject,
            rows_of: h.rows_of,
            named_by: h.named_by,
            people: h.people,
            problem_code: h.problem_code,
            problem: h.problem,
            until: h.until,
            placed_at: h.placed_at,
            placed_by: h.placed_by,
            read_at: h.read_at,
            released_at: h.released_at,
            released_by: h.released_by,
            in_force: h.in_force,
            tickets: h.tickets,
            deferrals: h.deferrals,
            since: h.since,
        }
    }
}

/// Some holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageOfHolds {
    /// Newest first.
    holds: Vec<LegalHold>,
    /// Give it as `cursor` to go on; null at the end.
    next: Option<String>,
}

/// How many have ended now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Released {
    /// 0 if none was in force any more.
    released: i64,
}

/// Which holds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedHolds {
    /// Those that have ended too.
    all: Option<bool>,
    /// Only of this matter.
    matter: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Place a legal hold.
///
/// From this answer on nothing that it covers is erased, in tickets under way too. The same sent again
/// under the same `Idempotency-Key` is not placed again.
#[utoipa::path(
    post, path = "/v1/holds", tag = "legal holds", request_body = NewLegalHold,
    params(("Idempotency-Key" = Option<String>, Header, description = "A new one for each hold: of the token's, and kept as a keyed hash",
            min_length = 1, max_length = 200)),
    responses(
        (status = 201, description = "Placed", body = LegalHold, headers(("Location", description = "The hold"))),
        (status = 200, description = "It was placed before; it may have been released since", body = LegalHold),
        Problem,
    ),
)]
pub(super) async fn place(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.enter(&headers, &[Scope::PlaceHold]).await?;
    let bytes = reading::json_bytes(&headers, body).await?;
    let new: NewLegalHold = reading::parsed(&bytes)?;
    let once = once(&api, &caller, &headers, &bytes)?;
    let (id, placed) = match &new {
        NewLegalHold::Person(kept) => {
            let given = kept.identifiers.iter();
            let identifiers: Vec<(String, IdentifierValue)> = given
                .map(|(name, value)| (name.clone(), IdentifierValue::new(value.clone())))
                .collect();
            let new = NewHold {
                matter: &kept.matter,
                reason: &kept.reason,
                subject: &kept.subject,
                identifiers: &identifiers,
                until: kept.until,
            };
            ordered(&api, &caller, &Order::Person(&new), once).await?
        }
        NewLegalHold::Rows(kept) => {
            let new = NewRowHold {
                matter: &kept.matter,
                reason: &kept.reason,
                rows_of: &kept.rows_of,
                conditions: &serde_json::json!(kept.conditions),
                until: kept.until,
            };
            ordered(&api, &caller, &Order::Rows(&new), once).await?
        }
    };
    let hold = Json(LegalHold::from(api.store.hold(id).await?));
    let place = [(header::LOCATION, format!("/v1/holds/{id}"))];
    Ok(match placed {
        true => (StatusCode::CREATED, place, hold).into_response(),
        false => hold.into_response(),
    })
}

async fn ordered(
    api: &Api,
    caller: &Caller,
    order: &Order<'_>,
    once: Option<OnceKey>,
) -> Result<(Uuid, bool), Problem> {
    let actor = Some(caller.actor.as_str());
    Ok(match (once, order) {
        (Some(key), order) => api.store.place_hold_once(order, &key, actor).await?,
        (None, Order::Person(new)) => (api.store.place_hold(new, actor).await?, true),
        (None, Order::Rows(new)) => (api.store.place_row_hold(new, actor).await?, true),
    })
}

/// The key of a request, and all that it asks for, each as a keyed hash: either could name the person.
fn once(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Option<OnceKey>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if !(1..=200).contains(&key.chars().count()) {
        let why = "an Idempotency-Key has 1 to 200 visible ASCII characters";
        return Err(Problem::unreadable(StatusCode::BAD_REQUEST, why));
    }
    // As it is understood, so that a space more is no other hold.
    let asked: serde_json::Value = reading::parsed(bytes)?;
    let secret = &api.context.hash_key;
    Ok(Some(OnceKey {
        key: secret.hash("api-hold-key", &format!("{}\0{key}", caller.token)),
        asked: secret.hash("api-hold", &asked.to_string()),
    }))
}

/// Legal holds, newest first.
#[utoipa::path(
    get, path = "/v1/holds", tag = "legal holds", params(WantedHolds),
    responses((status = 200, description = "A page of them", body = PageOfHolds), Problem),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<PageOfHolds>, Problem> {
    api.enter(&headers, &SEE).await?;
    let wanted: WantedHolds = reading::query(&uri)?;
    let limit = reading::limit(wanted.limit)?;
    let filter = HoldFilter {
        all: wanted.all.unwrap_or(false),
        matter: wanted.matter,
        after: wanted.cursor.as_deref().map(reading::leafed).transpose()?,
        limit: Some(limit + 1),
    };
    let mut holds = api.store.page_of_holds(&filter).await?;
    let more = holds.len() > limit as usize;
    holds.truncate(limit as usize);
    let last = holds.last().filter(|_| more);
    let next = last.map(|h| reading::cursor(h.placed_at, h.id));
    Ok(Json(PageOfHolds {
        holds: holds.into_iter().map(LegalHold::from).collect(),
        next,
    }))
}

/// One legal hold.
#[utoipa::path(
    get, path = "/v1/holds/{hold}", tag = "legal holds",
    params(("hold" = Uuid, Path, description = "The hold's id")),
    responses((status = 200, description = "The hold", body = LegalHold), Problem),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(hold): Path<String>,
) -> Result<Json<LegalHold>, Problem> {
    api.enter(&headers, &SEE).await?;
    let id = hold.parse().map_err(|_| Problem::nothing("such hold"))?;
    Ok(Json(api.store.hold(id).await?.into()))
}

/// Release a legal hold, or all of a matter; what nothing else keeps goes on by itself.
#[utoipa::path(
    post, path = "/v1/holds/{hold}/release", tag = "legal holds",
    params(("hold" = String, Path, description = "A hold's id, or a matter's code", min_length = 1, max_length = 60, example = "case-2026-17")),
    responses((status = 200, description = "Released", body = Released), Problem),
)]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(hold): Path<String>,
) -> Result<Json<Released>, Problem> {
    let caller = api.enter(&headers, &[Scope::ReleaseHold]).await?;
    let released = api.store.release_hold(&hold, Some(&caller.actor)).await?;
    Ok(Json(Released { released }))
}

//! Retention rules that wait for a person, over HTTP.

use super::problem::Problem;
use super::tokens::Scope;
use super::{Api, reading};
use crate::store::approvals::ProposalView;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a retention rule would take, and may not before somebody has approved it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Proposal {
    /// Another one each time it is counted anew.
    id: Uuid,
    /// Subject kind of the policy.
    #[schema(example = "customer")]
    subject: String,
    #[schema(example = "call-recordings")]
    rule: String,
    /// `system.schema.table`.
    #[schema(example = "shop.public.call_recording")]
    table: String,
    /// Which rows it takes, and what changes with them.
    #[schema(value_type = Object)]
    terms: serde_json::Value,
    /// What comes due each week.
    #[schema(value_type = Object)]
    forecast: serde_json::Value,
    /// Rows that are due and that no hold covers.
    due: i64,
    /// When they were counted.
    proposed_at: DateTime<Utc>,
}

impl From<ProposalView> for Proposal {
    fn from(p: ProposalView) -> Self {
        Self {
            id: p.id,
            subject: p.subject,
            rule: p.rule,
            table: p.table,
            terms: p.terms,
            forecast: p.forecast,
            due: p.due,
            proposed_at: p.proposed_at,
        }
    }
}

/// All that wait.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Proposals {
    /// Oldest first.
    proposals: Vec<Proposal>,
}

/// That somebody has seen how much it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// How many rows are `due`.
    rows: i64,
}

/// The retention rules that wait to be approved.
#[utoipa::path(
    get, path = "/v1/retention/proposals", tag = "retention",
    responses((status = 200, description = "What they would take", body = Proposals), Problem),
)]
pub(super) async fn proposals(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<Proposals>, Problem> {
    api.enter(&headers, &[Scope::Approve, Scope::Read, Scope::Audit])
        .await?;
    let waiting = api.store.retention_proposals(None).await?;
    let proposals = waiting.into_iter().map(Proposal::from).collect();
    Ok(Json(Proposals { proposals }))
}

/// Approve what a retention rule takes.
///
/// `ER006` if another number of rows is due, `ER001` if it was approved or has been counted anew: look again.
#[utoipa::path(
    post, path = "/v1/retention/proposals/{id}/approve", tag = "retention", request_body = Seen,
    params(("id" = Uuid, Path, description = "The proposal's id")),
    responses((status = 204, description = "Approved"), Problem),
)]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let caller = api.enter(&headers, &[Scope::Approve]).await?;
    let seen: Seen = reading::json(&headers, body).await?;
    let id = id.parse().map_err(|_| Problem::nothing("such proposal"))?;
    let actor = Some(caller.actor.as_str());
    api.store.approve_retention(id, seen.rows, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

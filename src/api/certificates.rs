//! Certificates over HTTP, as they were signed.

use super::Api;
use super::problem::Problem;
use super::tickets::{Named, find};
use super::tokens::Scope;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use uuid::Uuid;

/// The certificate of a ticket.
#[utoipa::path(
    get, path = "/v1/tickets/{ticket}/certificate", tag = "certificates", params(Named),
    responses(
        (status = 200, description = "The certificate as a JWS; 404 while there is none", body = String, content_type = "application/jose"),
        Problem,
    ),
)]
pub(super) async fn of_ticket(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
) -> Result<Response, Problem> {
    api.enter(&headers, &[Scope::Read, Scope::Audit]).await?;
    match find(&api.store, &ticket).await?.certificate_id {
        Some(id) => signed(&api, id).await,
        None => Err(Problem::nothing("certificate of this ticket yet")),
    }
}

/// A certificate by its id.
#[utoipa::path(
    get, path = "/v1/certificates/{id}", tag = "certificates",
    params(("id" = Uuid, Path, description = "The certificate's id")),
    responses(
        (status = 200, description = "The certificate as a JWS", body = String, content_type = "application/jose"),
        Problem,
    ),
)]
pub(super) async fn by_id(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.enter(&headers, &[Scope::Read, Scope::Audit]).await?;
    let id = id
        .parse()
        .map_err(|_| Problem::nothing("such certificate"))?;
    signed(&api, id).await
}

async fn signed(api: &Api, id: Uuid) -> Result<Response, Problem> {
    let row = api.store.certificate(id).await?;
    let row = row.ok_or_else(|| Problem::nothing("such certificate"))?;
    Ok(([(header::CONTENT_TYPE, "application/jose")], row.jws).into_response())
}

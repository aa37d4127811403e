//! Documents that the desk has seen, and copies that it holds; never what stands in them.

use super::problem::Problem;
use super::tickets::{Moved, Named, find};
use super::tokens::Scope;
use super::{Api, reading};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What has become of it.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Became {
    /// It was seen, and given back.
    #[default]
    Seen,
    /// It was seen, and the desk holds a copy.
    Copied,
    /// The copies of this kind that the desk held were destroyed.
    Destroyed,
}

/// A document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Of what kind, as a code. What nobody may take is refused (`ER013`).
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "driving_licence")]
    kind: String,
    /// Without it, `seen`.
    #[serde(default)]
    became: Became,
}

/// Record that a document was seen, or that the copies of it were destroyed.
///
/// While a copy is held the ticket does not close (`ER016`); the last one that is destroyed closes a ticket
/// that is contested or withdrawn.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/document", tag = "decisions", params(Named), request_body = Document,
    responses((status = 200, description = "Recorded", body = Moved), Problem),
)]
pub(super) async fn document(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Moved>, Problem> {
    let caller = api.enter(&headers, &[Scope::Verify]).await?;
    let seen: Document = reading::json(&headers, body).await?;
    let id = find(&api.store, &ticket).await?.id;
    let (kind, actor) = (&*seen.kind, Some(&*caller.actor));
    let state = match seen.became {
        Became::Seen => api.store.see_document(id, kind, false, actor).await?,
        Became::Copied => api.store.see_document(id, kind, true, actor).await?,
        Became::Destroyed => api.store.destroy_document(id, kind, actor).await?,
    };
    Ok(Json(Moved { state }))
}

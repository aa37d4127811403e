//! Reading a request, so that no answer repeats what stood in it.

use super::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The largest body: an erasure request is small.
const LARGEST: usize = 64 << 10;

/// A JSON body.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    parsed(&json_bytes(headers, body).await?)
}

/// The bytes of a body that says it is JSON.
pub(super) async fn json_bytes(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let why = "the body must be application/json";
        return Err(Problem::unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    axum::body::to_bytes(body, LARGEST).await.map_err(|_| {
        let why = "the body is larger than 64 KiB, or did not come to its end";
        Problem::unreadable(StatusCode::PAYLOAD_TOO_LARGE, why)
    })
}

/// JSON as it came. serde's own words would repeat values: only the place is told.
pub(super) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is not what the document of the API describes",
            _ => "is not JSON",
        };
        let place = format!(
            "the body {what}: line {}, column {}",
            error.line(),
            error.column()
        );
        Problem::unreadable(StatusCode::BAD_REQUEST, place)
    })
}

/// The query, each key once and none that is not known.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|_| {
            let why = "the query is not what the document of the API describes";
            Problem::unreadable(StatusCode::BAD_REQUEST, why)
        })
}

/// How many stand on a page.
pub(super) fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    let limit = wanted.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        let why = "limit is 1 to 200";
        return Err(Problem::unreadable(StatusCode::BAD_REQUEST, why));
    }
    Ok(limit)
}

/// What stands behind a page whose last one is this.
pub(super) fn cursor(at: DateTime<Utc>, id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(at, id)).unwrap_or_default())
}

/// Behind which one the next page begins.
pub(super) fn leafed(cursor: &str) -> Result<(DateTime<Utc>, Uuid), Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| {
            let why = "the cursor is not one that this API has given";
            Problem::unreadable(StatusCode::BAD_REQUEST, why)
        })
}

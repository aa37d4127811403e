//! What is said when a request is not granted: `application/problem+json` (RFC 9457), with the code
//! under which docs/errors.md or docs/operations.md explains it. No value of a request is repeated.

use crate::erasure::proof::Unproven;
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Why a request was not granted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:erasured:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// `E0…` or `ER…`, as in the documents.
    #[schema(pattern = "^(E[0-9]{4}|ER[0-9]{3})$")]
    code: String,
    /// What is wrong, and what to do.
    detail: String,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:erasured:{code}"),
            title: status.canonical_reason().unwrap_or_default().into(),
            status: status.as_u16(),
            code: code.into(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The request cannot be read; `why` repeats nothing of it.
    pub(super) fn unreadable(status: StatusCode, why: impl Into<String>) -> Self {
        Self::new(status, "E0641", why)
    }

    /// Nobody who is known.
    pub(super) fn nobody() -> Self {
        let detail = "a bearer token that is in the file of tokens is needed";
        Self::new(StatusCode::UNAUTHORIZED, "E0642", detail)
    }

    /// Somebody who is not meant to.
    pub(super) fn not_theirs(wanted: &str) -> Self {
        let detail = format!("this token lacks the scope {wanted}");
        Self::new(StatusCode::FORBIDDEN, "E0643", detail)
    }

    /// Too much at once.
    pub(super) fn too_many(seconds: u32) -> Self {
        let detail = "this token asks more often than [api] rate allows; wait";
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "E0644", detail)
        }
    }

    /// Not now.
    pub(super) fn later(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "E0645", detail)
        }
    }

    /// Not before somebody mends the server.
    pub(super) fn misconfigured() -> Self {
        let detail = "the API is not set up rightly; its log says what is wrong";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E0646", detail)
    }

    /// Nothing is compared until then.
    pub(super) fn locked_out(until: DateTime<Utc>) -> Self {
        let wait = (until - Utc::now()).num_seconds().clamp(1, 86_400);
        let detail = format!(
            "too many attempts have failed; nothing is compared until {}",
            until.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        Self {
            retry_after: u32::try_from(wait).ok(),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "E0419", detail)
        }
    }

    /// Nothing here.
    pub(super) fn nothing(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "E0647",
            format!("there is no {what}"),
        )
    }

    /// What is wrong, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Under which it is explained.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Refused { code, .. } => {
                let status = match code.as_str() {
                    "ER001" => StatusCode::NOT_FOUND,
                    "ER004" | "ER005" | "ER006" => StatusCode::UNPROCESSABLE_ENTITY,
                    "ER008" => StatusCode::FORBIDDEN,
                    _ => StatusCode::CONFLICT,
                };
                Self {
                    retry_after: match code.as_str() {
                        "ER010" => Some(60),
                        "ER014" => Some(2),
                        _ => None,
                    },
                    ..Self::new(status, code, error.to_string())
                }
            }
            StoreError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "ER001", error.to_string()),
            StoreError::Nul(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "ER006", error.to_string())
            }
            StoreError::Database { code, .. } if code == "42501" => {
                tracing::error!(%error, "E0646: the API's login lacks a right: see sql/roles/control.sql");
                Self::misconfigured()
            }
            StoreError::Database { code, .. } if code.starts_with("22") => {
                Self::unreadable(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            error => {
                tracing::warn!(%error, "a request could not be answered");
                Self::later("the control database cannot answer now; try again")
            }
        }
    }
}

impl From<Unproven> for Problem {
    fn from(error: Unproven) -> Self {
        match error {
            Unproven::Store(error) => error.into(),
            Unproven::Refused(code @ "E0417", said) => Self::new(StatusCode::CONFLICT, code, said),
            Unproven::Refused(code @ "E0507", said) => {
                tracing::error!("{code}: {said}");
                Self::misconfigured()
            }
            Unproven::Refused(code, said) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, said)
            }
            Unproven::System(error) => {
                tracing::warn!(%error, "answers could not be compared");
                Self::later("what is on file cannot be read now; nothing was compared or counted")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a plain struct is always JSON");
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Each of them may come from every operation.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let said = [
            (400, "The request cannot be read: `E0641`"),
            (401, "No token, or none that is known: `E0642`"),
            (
                403,
                "The token lacks a scope: `E0643`; or a second person is needed: `ER008`",
            ),
            (404, "No such ticket (`ER001`) or thing (`E0647`)"),
            (
                409,
                "The ticket does not allow it now: an `ER…` code says why",
            ),
            (413, "The body is too large: `E0641`"),
            (415, "The body is not JSON: `E0641`"),
            (422, "A value is not acceptable: the code says which"),
            (
                429,
                "Too many requests: `E0644`; or locked out: `E0419`; `Retry-After` says how long to wait",
            ),
            (
                503,
                "Not now: `E0645`; or not before the server is mended: `E0646`",
            ),
        ];
        let response = |said: &str| {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            ResponseBuilder::new()
                .description(said)
                .content("application/problem+json", content)
                .build()
        };
        let each = said.iter();
        each.map(|(status, said)| (status.to_string(), RefOr::T(response(said))))
            .collect()
    }
}

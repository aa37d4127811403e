//! OpenDSR 2.0 for requests to erase: discovery, create, status, cancel. A request is a ticket like
//! any other; who verifies and approves it is the policy's word, not the controller's.

use super::problem::Problem;
use super::tokens::Scope;
use super::{Api, Caller, reading};
use crate::config::OpenDsr;
use crate::config::outbox::Endpoint;
use crate::identifier::normalise;
use crate::outbox::opendsr::{expected, status};
use crate::policy::IdentifierKind;
use crate::store::opendsr::OpenDsrRequest;
use crate::store::tickets::{IdentifierValue, NewTicket};
use crate::verify::{Matcher, Needle, Scratch};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

const VERSION: &str = "2.0";
/// Addresses that one request may name.
const CALLBACKS: usize = 5;

/// Which law is spoken of.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Regulation {
    Gdpr,
    Ccpa,
}

/// What is asked for; only `erasure` is done here.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RequestType {
    Access,
    Portability,
    Erasure,
}

/// By what the person is named.
#[derive(Deserialize, ToSchema)]
struct Identity {
    /// One that discovery lists.
    #[schema(example = "email")]
    identity_type: String,
    #[schema(min_length = 1, max_length = 1000)]
    identity_value: String,
    /// Only `raw`.
    #[schema(example = "raw")]
    identity_format: String,
}

/// A request.
#[derive(Deserialize, ToSchema)]
pub(super) struct OpenDsrNew {
    #[schema(inline)]
    regulation: Regulation,
    /// A UUID of version 4, the controller's own.
    subject_request_id: Uuid,
    #[schema(inline)]
    subject_request_type: RequestType,
    /// When the person asked.
    submitted_time: DateTime<Utc>,
    #[schema(inline)]
    subject_identities: Vec<Identity>,
    #[serde(default)]
    #[allow(dead_code)] // Any is answered in 2.0.
    api_version: Option<String>,
    /// Hosts that `[opendsr] callbacks` lists, at most five.
    #[serde(default)]
    status_callback_urls: Option<Vec<String>>,
}

/// What was taken.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenDsrTaken {
    controller_id: String,
    expected_completion_time: String,
    received_time: String,
    /// What was sent, in base64: do not keep it.
    encoded_request: String,
    subject_request_id: Uuid,
}

/// How far it is.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenDsrStatus {
    controller_id: String,
    expected_completion_time: String,
    subject_request_id: Uuid,
    /// pending, in_progress, completed or cancelled.
    request_status: String,
    api_version: String,
}

/// That it will not be done.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenDsrCancelled {
    controller_id: String,
    received_time: String,
    subject_request_id: Uuid,
    api_version: String,
}

/// One way of naming a person.
#[derive(Serialize, ToSchema)]
struct Supported {
    identity_type: String,
    identity_format: String,
}

/// What is served here.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenDsrDiscovery {
    api_version: String,
    #[schema(inline)]
    supported_identities: Vec<Supported>,
    supported_subject_request_types: Vec<String>,
    processor_certificate: String,
}

/// A refusal in OpenDSR's shape.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenDsrError {
    #[schema(inline)]
    error: ErrorObject,
}

#[derive(Serialize, ToSchema)]
struct ErrorObject {
    /// The HTTP status.
    code: u16,
    message: String,
    #[schema(inline)]
    errors: Vec<ErrorDetail>,
}

#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    domain: String,
    /// `E0…` or `ER…`, as in the documents.
    reason: String,
    message: String,
}

/// A problem, told as OpenDSR tells it: what is wrong with a request is a 400.
pub(super) struct Refused(Problem);

impl<T: Into<Problem>> From<T> for Refused {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

fn refuse(why: impl Into<String>) -> Refused {
    Refused(Problem::unreadable(StatusCode::BAD_REQUEST, why))
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.status().as_u16() {
            409 | 413 | 415 | 422 => StatusCode::BAD_REQUEST,
            _ => self.0.status(),
        };
        let told = OpenDsrError {
            error: ErrorObject {
                code: status.as_u16(),
                message: self.0.detail().to_owned(),
                errors: vec![ErrorDetail {
                    domain: "erasured".into(),
                    reason: self.0.code().to_owned(),
                    message: self.0.detail().to_owned(),
                }],
            },
        };
        // Challenge and Retry-After are the problem's own.
        let mut response = self.0.into_response();
        *response.status_mut() = status;
        let body = serde_json::to_vec(&told).expect("a plain struct is always JSON");
        let json = HeaderValue::from_static("application/json;charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
        response
    }
}

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let said = [
            (400, "The request is not acceptable"),
            (401, "No token, or none that is known"),
            (403, "The token lacks a scope"),
            (404, "No such request, or OpenDSR is not served"),
            (429, "Too many requests"),
            (503, "Not now"),
        ];
        let response = |said: &str| {
            let schema = Ref::from_schema_name("OpenDsrError");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            ResponseBuilder::new()
                .description(said)
                .content("application/json", content)
                .build()
        };
        let each = said.iter();
        each.map(|(status, said)| (status.to_string(), RefOr::T(response(said))))
            .collect()
    }
}

/// What may be asked for, and how.
#[utoipa::path(
    get, path = "/opendsr/v2/discovery", tag = "opendsr", security(()),
    responses((status = 200, description = "What is served", body = OpenDsrDiscovery), Refused),
)]
pub(super) async fn discovery(State(api): State<Arc<Api>>) -> Result<Response, Refused> {
    let opendsr = api.opendsr()?;
    let identities = opendsr.identities.keys().map(|kind| Supported {
        identity_type: kind.clone(),
        identity_format: "raw".into(),
    });
    let body = OpenDsrDiscovery {
        api_version: VERSION.into(),
        supported_identities: identities.collect(),
        supported_subject_request_types: vec!["erasure".into()],
        processor_certificate: opendsr.certificate.clone(),
    };
    Ok(signed(&api, opendsr, StatusCode::OK, &body))
}

/// Ask for an erasure.
#[utoipa::path(
    post, path = "/opendsr/v2/requests", tag = "opendsr", request_body = OpenDsrNew,
    responses((status = 201, description = "Taken", body = OpenDsrTaken), Refused),
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let opendsr = api.opendsr()?;
    let bytes = reading::json_bytes(&headers, body).await?;
    let new: OpenDsrNew = reading::parsed(&bytes)?;
    let callbacks = callbacks(opendsr, new.status_callback_urls.unwrap_or_default())?;
    if new.subject_request_type != RequestType::Erasure {
        return Err(refuse("subject_request_type: only erasure is done here"));
    }
    if new.subject_request_id.get_version_num() != 4 {
        return Err(refuse("subject_request_id is no UUID of version 4"));
    }
    let identifiers = identifiers(opendsr, new.subject_identities)?;
    name_nobody(&api, opendsr, &callbacks, &identifiers)?;
    let regulation = match new.regulation {
        Regulation::Gdpr => "gdpr",
        Regulation::Ccpa => "ccpa",
    };
    let id = new.subject_request_id;
    let reference = format!("opendsr-{id}");
    let ticket = NewTicket {
        reference: &reference,
        subject: &opendsr.subject,
        identifiers: &identifiers,
        scope: &opendsr.scope,
        ground: opendsr
            .grounds
            .get(regulation)
            .map_or("policy", String::as_str),
        requested_at: Some(new.submitted_time),
        language: None,
    };
    let (actor, name) = (Some(caller.actor.as_str()), caller.token.as_str());
    api.store
        .submit_opendsr(&ticket, id, name, &callbacks, actor)
        .await?;
    let known = find(&api, id, &caller).await?;
    let taken = OpenDsrTaken {
        controller_id: caller.token,
        expected_completion_time: expected(known.ticket.due_at, known.ticket.requested_at),
        received_time: now(),
        encoded_request: STANDARD.encode(&bytes),
        subject_request_id: id,
    };
    Ok(signed(&api, opendsr, StatusCode::CREATED, &taken))
}

/// How far a request is.
#[utoipa::path(
    get, path = "/opendsr/v2/requests/{request}", tag = "opendsr",
    params(("request" = Uuid, Path, description = "Its subject_request_id")),
    responses((status = 200, description = "Its status", body = OpenDsrStatus), Refused),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(request): Path<String>,
) -> Result<Response, Refused> {
    let caller = api.enter(&headers, &[Scope::File, Scope::Read]).await?;
    let opendsr = api.opendsr()?;
    let known = find(&api, parsed(&request)?, &caller).await?;
    let body = OpenDsrStatus {
        controller_id: known.controller,
        expected_completion_time: expected(known.ticket.due_at, known.ticket.requested_at),
        subject_request_id: known.request,
        request_status: status(&known.ticket.state).into(),
        api_version: VERSION.into(),
    };
    Ok(signed(&api, opendsr, StatusCode::OK, &body))
}

/// Take a request back, while it is pending.
#[utoipa::path(
    delete, path = "/opendsr/v2/requests/{request}", tag = "opendsr",
    params(("request" = Uuid, Path, description = "Its subject_request_id")),
    responses((status = 202, description = "It will not be done", body = OpenDsrCancelled), Refused),
)]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(request): Path<String>,
) -> Result<Response, Refused> {
    let caller = api.enter(&headers, &[Scope::File]).await?;
    let opendsr = api.opendsr()?;
    let known = find(&api, parsed(&request)?, &caller).await?;
    match status(&known.ticket.state) {
        "cancelled" => {}
        "pending" => {
            let actor = Some(caller.actor.as_str());
            let ticket = known.ticket.id;
            api.store.withdraw(ticket, actor).await?;
        }
        _ => return Err(refuse("the request is not pending any more")),
    }
    let body = OpenDsrCancelled {
        controller_id: known.controller,
        received_time: now(),
        subject_request_id: known.request,
        api_version: VERSION.into(),
    };
    Ok(signed(&api, opendsr, StatusCode::ACCEPTED, &body))
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn parsed(request: &str) -> Result<Uuid, Refused> {
    request
        .parse()
        .map_err(|_| Refused(Problem::nothing("such request")))
}

/// Another controller's request is not there.
async fn find(api: &Api, request: Uuid, caller: &Caller) -> Result<OpenDsrRequest, Refused> {
    let known = api.store.opendsr(request, &caller.token).await?;
    known.ok_or_else(|| Refused(Problem::nothing("such request")))
}

fn callbacks(opendsr: &OpenDsr, urls: Vec<String>) -> Result<Vec<String>, Refused> {
    if urls.len() > CALLBACKS {
        return Err(refuse("status_callback_urls: at most five"));
    }
    for url in &urls {
        let fits = url.len() <= 2000
            && Endpoint::parse(url).is_ok_and(|endpoint| opendsr.allows(&endpoint));
        if !fits {
            let why =
                "status_callback_urls: only https:// and hosts that this processor has listed";
            return Err(refuse(why));
        }
    }
    Ok(urls)
}

/// An address stays with the ticket when the values are gone, and is posted to: in whatever writing, it
/// must not hold one of them.
fn name_nobody(
    api: &Api,
    opendsr: &OpenDsr,
    callbacks: &[String],
    identifiers: &[(String, IdentifierValue)],
) -> Result<(), Refused> {
    let policies = api.context.policies();
    let policy = policies.get(&opendsr.subject);
    let needle = |(name, value): &(String, IdentifierValue)| {
        let known = policy.and_then(|policy| policy.identifiers.get(name));
        let kind = known.map_or(IdentifierKind::Plain, |known| known.kind.clone());
        let typed = value.expose();
        let value = normalise(&kind, typed).or_else(|_| normalise(&IdentifierKind::Plain, typed));
        value.ok().map(|value| Needle::new(&value, 0))
    };
    let matcher = Matcher::new(identifiers.iter().filter_map(needle).collect());
    let mut scratch = Scratch::default();
    match callbacks
        .iter()
        .any(|url| matcher.finds_any(url, &mut scratch))
    {
        true => Err(refuse(
            "status_callback_urls: an address must not name the person",
        )),
        false => Ok(()),
    }
}

fn identifiers(
    opendsr: &OpenDsr,
    identities: Vec<Identity>,
) -> Result<Vec<(String, IdentifierValue)>, Refused> {
    let mut found: Vec<(String, IdentifierValue)> = Vec::new();
    for identity in identities {
        let name = opendsr.identities.get(&identity.identity_type);
        let name =
            name.ok_or_else(|| refuse("identity_type: see discovery for those there are"))?;
        if identity.identity_format != "raw" {
            return Err(refuse("identity_format: only raw"));
        }
        if found.iter().any(|(known, _)| known == name) {
            return Err(refuse("subject_identities: one of each type"));
        }
        found.push((name.clone(), IdentifierValue::new(identity.identity_value)));
    }
    Ok(found)
}

fn signed(api: &Api, opendsr: &OpenDsr, status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("a plain struct is always JSON");
    let signature = STANDARD.encode(api.context.signing_key.sign(&body));
    let mut response = (status, body).into_response();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("x-opendsr-processor-domain", opendsr.domain.clone()),
        ("x-opendsr-signature", signature),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

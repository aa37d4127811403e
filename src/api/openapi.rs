//! The document of the API, made from the handlers themselves.

use super::problem::Problem;
use super::{certificates, clock, documents, holds, opendsr, proof, retention, tickets, words};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "erasured",
        description = "The privacy desk over HTTP. docs/integration.md says how to use it, docs/errors.md what each code asks of you.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        tickets::submit, tickets::list, tickets::show, tickets::verify, tickets::approve, tickets::reject,
        tickets::hold, tickets::release, tickets::retry, tickets::withdraw, tickets::object,
        proof::methods, proof::prove, documents::document,
        clock::acknowledge, clock::ask, clock::answered, clock::extend, clock::timeline, words::notice, words::script,
        holds::place, holds::list, holds::show, holds::release, certificates::of_ticket, certificates::by_id,
        retention::proposals, retention::approve,
        opendsr::discovery, opendsr::create, opendsr::show, opendsr::cancel,
    ),
    components(schemas(Problem, opendsr::OpenDsrError)),
    modifiers(&Bearer),
    security(("token" = [])),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
    }
}

/// The document, as `erasured openapi` prints it and docs/openapi.json holds it.
pub fn document() -> String {
    let text = Document::openapi().to_pretty_json();
    text.expect("plain structs are always JSON") + "\n"
}

/// Everybody may read it.
pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}

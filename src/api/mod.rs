//! The desk over HTTP: what `erasured ticket` does, for programs, under the names of people.
//!
//! It has a listener and a login of its own. The daemon's login may decide nothing; this one may
//! what a desk and an approver may, and says for whom: the person of the token, whom the functions of
//! the control schema hold to the same rules as anybody ([`tokens`]). Nothing is decided here.

mod certificates;
mod clock;
mod documents;
mod holds;
mod listen;
mod openapi;
mod opendsr;
mod problem;
mod proof;
pub(crate) mod rate;
mod reading;
mod retention;
mod tickets;
pub mod tokens;
mod words;

pub use openapi::document;

use crate::config;
use crate::erasure::context::Context;
use crate::store::Store;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use problem::Problem;
use rate::Rates;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokens::{Scope, TokenFile};

/// What the handlers answer from.
pub struct Api {
    context: Arc<Context>,
    store: Store,
    tokens: TokenFile,
    rates: Rates,
    timeout: Duration,
    trusted: AtomicBool,
}

/// Who comes in.
struct Caller {
    /// The token's name.
    token: String,
    /// The person in whose name things are done.
    actor: String,
}

impl Api {
    /// On a store of its own login.
    pub fn new(context: Arc<Context>, store: Store, config: &config::Api) -> Self {
        Self {
            context,
            store,
            tokens: TokenFile::new(config.tokens.clone()),
            rates: Rates::new(config.rate),
            timeout: config.timeout,
            trusted: AtomicBool::new(false),
        }
    }

    /// Who comes, if they may do one of these things: the person in whose name it is done.
    async fn enter(&self, headers: &HeaderMap, scopes: &[Scope]) -> Result<Caller, Problem> {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(Problem::nobody)?;
        let tokens = self.tokens.now()?;
        let token = tokens.find(shown).ok_or_else(Problem::nobody)?;
        let now = Instant::now();
        self.rates
            .take(&token.name, now)
            .map_err(Problem::too_many)?;
        if !scopes.iter().any(|scope| token.scopes.contains(scope)) {
            let words: Vec<_> = scopes.iter().map(|scope| scope.word()).collect();
            return Err(Problem::not_theirs(&words.join(" or ")));
        }
        self.be_trusted().await?;
        Ok(Caller {
            token: token.name.clone(),
            actor: token.actor.clone(),
        })
    }

    /// What is served of OpenDSR.
    fn opendsr(&self) -> Result<&config::OpenDsr, Problem> {
        let opendsr = self.context.config.opendsr.as_ref();
        opendsr.ok_or_else(|| Problem::nothing("OpenDSR here"))
    }

    /// Without the right to name the person, every decision would be the login's own, and one person
    /// would be enough where two are asked for. Asked once; the answer only ever turns to yes.
    async fn be_trusted(&self) -> Result<(), Problem> {
        if self.trusted.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.store.is_trusted().await? {
            tracing::error!(
                "E0646: the login of [api.control] is not in erasured_trusted: GRANT erasured_trusted TO it"
            );
            return Err(Problem::misconfigured());
        }
        self.trusted.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Opens the door and serves until the process ends.
///
/// # Errors
/// What the system says of the address, the certificate or the key.
pub async fn serve(
    config: &config::Api,
    api: Api,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    let door = listen::open(&config.listen, config.tls.as_ref()).await?;
    Ok(listen::serve(door, router(Arc::new(api))))
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi::serve))
        .route("/v1/tickets", post(tickets::submit).get(tickets::list))
        .route("/v1/tickets/{ticket}", get(tickets::show))
        .route("/v1/tickets/{ticket}/verify", post(tickets::verify))
        .route("/v1/tickets/{ticket}/approve", post(tickets::approve))
        .route("/v1/tickets/{ticket}/reject", post(tickets::reject))
        .route("/v1/tickets/{ticket}/hold", post(tickets::hold))
        .route("/v1/tickets/{ticket}/release", post(tickets::release))
        .route("/v1/tickets/{ticket}/retry", post(tickets::retry))
        .route("/v1/tickets/{ticket}/withdraw", post(tickets::withdraw))
        .route("/v1/tickets/{ticket}/object", post(tickets::object))
        .route("/v1/tickets/{ticket}/prove", post(proof::prove))
        .route("/v1/tickets/{ticket}/document", post(documents::document))
        .route("/v1/tickets/{ticket}/acknowledge", post(clock::acknowledge))
        .route("/v1/tickets/{ticket}/ask", post(clock::ask))
        .route("/v1/tickets/{ticket}/answered", post(clock::answered))
        .route("/v1/tickets/{ticket}/extend", post(clock::extend))
        .route("/v1/tickets/{ticket}/timeline", get(clock::timeline))
        .route("/v1/tickets/{ticket}/notice", get(words::notice))
        .route("/v1/tickets/{ticket}/script", get(words::script))
        .route("/v1/methods", get(proof::methods))
        .route("/v1/holds", post(holds::place).get(holds::list))
        .route("/v1/holds/{hold}", get(holds::show))
        .route("/v1/holds/{hold}/release", post(holds::release))
        .route(
            "/v1/tickets/{ticket}/certificate",
            get(certificates::of_ticket),
        )
        .route("/v1/certificates/{id}", get(certificates::by_id))
        .route("/v1/retention/proposals", get(retention::proposals))
        .route(
            "/v1/retention/proposals/{id}/approve",
            post(retention::approve),
        )
        .route("/opendsr/v2/discovery", get(opendsr::discovery))
        .route("/opendsr/v2/requests", post(opendsr::create))
        .route(
            "/opendsr/v2/requests/{request}",
            get(opendsr::show).delete(opendsr::cancel),
        )
        .fallback(async || Problem::nothing("such place here"))
        .layer(middleware::from_fn_with_state(api.clone(), bounded))
        .with_state(api)
}

/// A time limit on every request, and the same shape for what axum itself refuses.
async fn bounded(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Ok(response) = tokio::time::timeout(api.timeout, next.run(request)).await else {
        return Problem::later("it took longer than [api] timeout allows; see what became of it")
            .into_response();
    };
    let status = response.status();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let why = "this place knows other methods: see Allow";
            let mut problem = Problem::unreadable(status, why).into_response();
            if let Some(allow) = response.headers().get(header::ALLOW) {
                problem.headers_mut().insert(header::ALLOW, allow.clone());
            }
            problem
        }
        // A path that is no UTF-8, say: axum says so as plain text, and might repeat it.
        status if status.is_client_error() && is_plain(&response) => {
            Problem::unreadable(status, "the path or the head of the request cannot be read")
                .into_response()
        }
        _ => response,
    }
}

fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/plain"))
}

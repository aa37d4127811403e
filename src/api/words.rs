//! What to write, read or say to the customer, computed from the ticket. The words name nobody: how the
//! customer is addressed is the caller's to put in front.

use super::problem::Problem;
use super::tickets::{Named, find};
use super::tokens::Scope;
use super::{Api, reading};
use crate::notice::script::Answer;
use crate::notice::{Facts, Kind, Templates, Untellable};
use crate::start;
use crate::ticket::words::Lang;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// In which language.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tongue {
    Ja,
    En,
}

/// What is told.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedNotice {
    /// Which notice.
    #[param(inline)]
    kind: Kind,
    /// Without it the ticket's own language, else ja.
    #[param(inline)]
    lang: Option<Tongue>,
}

/// What is said.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedScript {
    /// The answer to one of the sentences that callers say; without it, what the agent says now.
    #[param(inline)]
    answer: Option<Answer>,
    /// Without it the ticket's own language, else ja.
    #[param(inline)]
    lang: Option<Tongue>,
}

/// Words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told {
    lang: Tongue,
    text: String,
}

/// A notice for the customer.
#[utoipa::path(
    get, path = "/v1/tickets/{ticket}/notice", tag = "words", params(Named, WantedNotice),
    responses((status = 200, description = "Its words", body = Told), Problem),
)]
pub(super) async fn notice(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    uri: Uri,
) -> Result<Json<Told>, Problem> {
    api.enter(&headers, &[Scope::Read]).await?;
    let wanted: WantedNotice = reading::query(&uri)?;
    tell(&api, &ticket, wanted.lang, |templates, lang, facts| {
        templates.notice(wanted.kind, lang, facts)
    })
    .await
}

/// What an agent with the customer on the line says now.
#[utoipa::path(
    get, path = "/v1/tickets/{ticket}/script", tag = "words", params(Named, WantedScript),
    responses((status = 200, description = "Its words", body = Told), Problem),
)]
pub(super) async fn script(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    uri: Uri,
) -> Result<Json<Told>, Problem> {
    api.enter(&headers, &[Scope::Read]).await?;
    let wanted: WantedScript = reading::query(&uri)?;
    tell(
        &api,
        &ticket,
        wanted.lang,
        |templates, lang, facts| match wanted.answer {
            Some(to) => templates.answer(to, lang, facts),
            None => templates.script(lang, facts),
        },
    )
    .await
}

async fn tell(
    api: &Api,
    ticket: &str,
    wanted: Option<Tongue>,
    words: impl FnOnce(&Templates, Lang, &Facts) -> Result<String, Untellable>,
) -> Result<Json<Told>, Problem> {
    let id = find(&api.store, ticket).await?.id;
    let (known, filed_for) = api.store.known(&id.to_string()).await?;
    let wanted = wanted.map(|tongue| match tongue {
        Tongue::Ja => Lang::Ja,
        Tongue::En => Lang::En,
    });
    let lang = wanted.or(filed_for).unwrap_or_default();
    let misfit = |why: &dyn std::fmt::Display| {
        tracing::error!("{why}");
        Problem::misconfigured()
    };
    // Read each time, as the command does: a template that was mended counts at once.
    let folder = api.context.config.templates.as_deref();
    let templates = start::templates(folder).map_err(|why| misfit(&why))?;
    let text = words(&templates, lang, &Facts::new(&known, lang, None));
    let text = text.map_err(|why| misfit(&why))?;
    let lang = match lang {
        Lang::Ja => Tongue::Ja,
        Lang::En => Tongue::En,
    };
    Ok(Json(Told { lang, text }))
}

//! Who is asking: by which methods it is proven, and a caller's answers compared. Handed on to the
//! daemon's own comparison; an answer is neither logged nor kept, and no stored value comes back.

use super::problem::Problem;
use super::tickets::{Named, find};
use super::tokens::Scope;
use super::{Api, reading};
use crate::erasure::proof::{self, Outcome};
use crate::store::identity::Agent;
use crate::store::tickets::IdentifierValue;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a caller has answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answers {
    /// Code of the method, one that compares answers.
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,59}$", example = "callback_dob")]
    method: String,
    /// By the point that each answers: those that the method compares.
    #[schema(example = json!({"member_no": "TM-0000042", "birth_date": "1980-02-03"}))]
    answers: BTreeMap<String, String>,
}

/// Answers stay out of whatever shows this.
impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers(…)")
    }
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Compared {
    outcome: Agreement,
}

/// Never which answer was wrong.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Agreement {
    /// All answers agree: this person may record the method within the hour.
    Match,
    /// They do not.
    NoMatch,
}

/// A way to prove who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Way {
    code: String,
    /// How far it reaches: none, basic, reasonable, reasonably-high or high.
    level: String,
    /// What the person must have: nothing, knowledge, possession, document or presence.
    demands: String,
    /// What may be asked for, by words; nothing else may.
    ask: Vec<String>,
    /// Those of them that are compared with what is on file; without a match the method cannot be recorded.
    compare: Vec<String>,
    /// How many of these must be answered at least.
    points: usize,
    /// To read aloud.
    ja: String,
    en: String,
}

/// The ways to prove who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ways {
    /// The lightest first.
    methods: Vec<Way>,
}

/// Compare a caller's answers with what is on file.
///
/// The answer is match or no match. Every try counts, by the person asked for, by the token's person
/// and by the token, and after too many nothing is compared for a while (`E0419`). If the answer to
/// this was lost, record the method: that succeeds if it was a match.
#[utoipa::path(
    post, path = "/v1/tickets/{ticket}/prove", tag = "decisions", params(Named), request_body = Answers,
    responses((status = 200, description = "Compared", body = Compared), Problem),
)]
pub(super) async fn prove(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(ticket): Path<String>,
    body: Body,
) -> Result<Json<Compared>, Problem> {
    let caller = api.enter(&headers, &[Scope::Verify]).await?;
    let given: Answers = reading::json(&headers, body).await?;
    let answers = given.answers.into_iter();
    let answers: Vec<(String, IdentifierValue)> = answers
        .map(|(point, answer)| (point, IdentifierValue::new(answer)))
        .collect();
    let id = find(&api.store, &ticket).await?.id;
    let by = Agent {
        name: caller.actor,
        desk: caller.token,
    };
    let outcome = match proof::prove(&api.context, id, &given.method, &answers, &by).await? {
        Outcome::Match => Agreement::Match,
        Outcome::NoMatch => Agreement::NoMatch,
        Outcome::Locked { until } => return Err(Problem::locked_out(until)),
    };
    Ok(Json(Compared { outcome }))
}

/// The methods that this company knows.
#[utoipa::path(
    get, path = "/v1/methods", tag = "tickets",
    responses((status = 200, description = "All of them", body = Ways), Problem),
)]
pub(super) async fn methods(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<Ways>, Problem> {
    api.enter(&headers, &[Scope::Verify, Scope::Read]).await?;
    let beside = api.context.beside();
    let mut known: Vec<_> = beside.proofs.methods.iter().collect();
    known.sort_by_key(|(code, m)| (m.level, m.demands, (*code).clone()));
    let methods = known.into_iter().map(|(code, m)| Way {
        code: code.clone(),
        level: m.level.word().to_owned(),
        demands: m.demands.word().to_owned(),
        ask: m.ask.clone(),
        compare: m.compare.clone(),
        points: m.points,
        ja: m.ja.clone(),
        en: m.en.clone(),
    });
    Ok(Json(Ways {
        methods: methods.collect(),
    }))
}

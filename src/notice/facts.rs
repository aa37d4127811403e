//! What a notice may say of a ticket.

use super::offer::Offer;
use crate::ticket::words::{Lang, Words};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

/// What is known of a ticket when a notice is printed: codes, dates and words, nothing of a person.
#[derive(Clone, Debug)]
pub struct Known {
    /// The desk's own word for it.
    pub reference: String,
    /// Its state.
    pub state: String,
    /// When the person asked.
    pub requested_at: DateTime<Utc>,
    /// When it is due.
    pub due_at: Option<DateTime<Utc>>,
    /// `not_started`, `running` or `paused`.
    pub clock: String,
    /// Why the term was made longer.
    pub extended_for: Option<String>,
    /// Why it was rejected: the code, and its words where there are some.
    pub refused_for: Option<(String, Option<Words>)>,
    /// When it was closed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its certificate.
    pub certificate: Option<String>,
    /// The latest date until which something is kept, by basis.
    pub kept_until: Vec<(String, DateTime<Utc>)>,
    /// Ways of proof that would do, the lightest first.
    pub methods: Vec<Words>,
    /// One of them demands a document, or that the person comes.
    pub documents: bool,
    /// Proof that reaches far enough is recorded.
    pub proven: bool,
    /// What the policy tells of its scope.
    pub offer: Offer,
}

/// A ticket in one language, as templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // docs/operations.md, Notices, has a row for each.
pub struct Facts {
    pub customer: String,
    pub reference: String,
    pub state: String,
    pub requested: String,
    pub due: Option<String>,
    pub due_is_open: bool,
    pub explain: bool,
    pub extension: Option<String>,
    pub refusal: Option<String>,
    pub complain: Option<String>,
    pub finished: Option<String>,
    pub certificate: Option<String>,
    pub loses: Vec<String>,
    pub kept: Vec<KeptFact>,
    pub methods: Vec<String>,
    pub documents: bool,
    pub proven: bool,
}

/// Something kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct KeptFact {
    pub what: String,
    pub why: String,
    pub until: Option<String>,
}

impl Facts {
    /// What is known, in this language. `customer` is how the customer is addressed: nobody in
    /// particular, unless whoever prints says so.
    pub fn new(known: &Known, lang: Lang, customer: Option<&str>) -> Self {
        let zone: chrono_tz::Tz = known.offer.zone.parse().unwrap_or(chrono_tz::UTC);
        let day = |at: DateTime<Utc>| date(at.with_timezone(&zone).date_naive(), lang);
        let addressed = match lang {
            Lang::Ja => "お客様",
            Lang::En => "Dear customer",
        };
        let kept = known.offer.kept.iter().map(|kept| {
            let date = known
                .kept_until
                .iter()
                .find(|(because, _)| *because == kept.because);
            KeptFact {
                what: kept.what.get(lang).to_owned(),
                why: kept.why.get(lang).to_owned(),
                until: match (date, kept.months_and_days) {
                    (Some((_, at)), _) => Some(until(&day(*at), lang)),
                    (None, Some((months, days))) => Some(period(months, days, lang)),
                    (None, None) => None,
                },
            }
        });
        let words = |of: &[Words]| of.iter().map(|w| w.get(lang).to_owned()).collect();
        Self {
            customer: customer.unwrap_or(addressed).to_owned(),
            reference: known.reference.clone(),
            state: known.state.clone(),
            requested: day(known.requested_at),
            due: known.due_at.map(day),
            due_is_open: known.clock != "running",
            explain: known.offer.explain,
            extension: known.extended_for.as_deref().map(|code| ground(code, lang)),
            refusal: known.refused_for.as_ref().map(|(code, words)| {
                words
                    .as_ref()
                    .map_or_else(|| code.clone(), |w| w.get(lang).to_owned())
            }),
            complain: known
                .offer
                .complain
                .as_ref()
                .map(|w| w.get(lang).to_owned()),
            finished: known.finished_at.map(day),
            certificate: known.certificate.clone(),
            loses: words(&known.offer.loses),
            kept: kept.collect(),
            methods: words(&known.methods),
            documents: known.documents,
            proven: known.proven,
        }
    }
}

fn date(day: NaiveDate, lang: Lang) -> String {
    match lang {
        Lang::Ja => day.format("%Y年%-m月%-d日").to_string(),
        Lang::En => day.format("%-d %B %Y").to_string(),
    }
}

fn until(day: &str, lang: Lang) -> String {
    match lang {
        Lang::Ja => format!("{day}まで"),
        Lang::En => format!("until {day}"),
    }
}

fn period(months: u32, days: u32, lang: Lang) -> String {
    let (years, months) = (months / 12, months % 12);
    let parts = [
        (years, "年", "year"),
        (months, "か月", "month"),
        (days, "日", "day"),
    ];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    match lang {
        Lang::Ja => {
            let parts: String = parts.map(|(n, ja, _)| format!("{n}{ja}")).collect();
            format!("{parts}間")
        }
        Lang::En => {
            let plural = |n| if n == 1 { "" } else { "s" };
            let parts: Vec<String> = parts
                .map(|(n, _, en)| format!("{n} {en}{}", plural(n)))
                .collect();
            format!("for {}", parts.join(" and "))
        }
    }
}

/// Why a term is made longer, where the code is one of the usual.
fn ground(code: &str, lang: Lang) -> String {
    let known = match (code, lang) {
        ("complex", Lang::Ja) => "ご依頼の内容の確認に時間を要しているため",
        ("complex", Lang::En) => "your request takes long to look into",
        ("many-requests", Lang::Ja) => "多くのご依頼をいただいているため",
        ("many-requests", Lang::En) => "we have received many requests",
        (other, _) => other,
    };
    known.to_owned()
}

//! What a notice may say of a ticket.

use super::offer::Offer;
use super::script::Situation;
use crate::ticket::words::{Lang, Words};
use chrono::{DateTime, Duration, NaiveDate, Utc};
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
    /// Nothing is erased before.
    pub not_before: Option<DateTime<Utc>>,
    /// `not_started`, `running`, `paused` or `none`.
    pub clock: String,
    /// Why the term was made longer.
    pub extended_for: Option<String>,
    /// Why it was rejected: the code, and its words where there are some.
    pub refused_for: Option<(String, Option<Words>)>,
    /// Where whoever was refused for that may complain; `None` where the ground names nobody.
    pub complain_of_refusal: Option<Words>,
    /// Parts that were refused, and why: the code, and its words where there are some.
    pub refused_parts: Vec<(String, String, Option<Words>)>,
    /// When it was closed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its certificate.
    pub certificate: Option<String>,
    /// The latest date until which something still is kept, by basis.
    pub kept_until: Vec<(String, DateTime<Utc>)>,
    /// Ways of proof that would do, the lightest first.
    pub methods: Vec<Words>,
    /// One of them demands a document, or that the person comes.
    pub documents: bool,
    /// Proof that reaches far enough is recorded.
    pub proven: bool,
    /// How far it must reach, as a policy writes it; `None` where no policy says.
    pub needed: Option<String>,
    /// The lightest way that would do among those that call the number on file.
    pub call_back: Option<Words>,
    /// Two people of the company stand behind an erasure.
    pub four_eyes: bool,
    /// How long nothing happens after an approval.
    pub cooling_off: Duration,
    /// Nothing is erased before then.
    pub waits_until: Option<DateTime<Utc>>,
    /// Whom it is about is known.
    pub found: bool,
    /// A step of it has been planned: something may be erased already.
    pub begun: bool,
    /// Why it does not go on.
    pub problem_code: Option<String>,
    /// What the customer is asked for, as a code.
    pub asked_for: Option<String>,
    /// The reference of an earlier request for the same.
    pub duplicate_of: Option<String>,
    /// The database's time, at which this was so.
    pub now: DateTime<Utc>,
    /// What the policy tells of its scope.
    pub offer: Offer,
}

impl Known {
    /// The ground names nobody to complain to: withdrawn, or filed twice. A code without words says nothing.
    pub(super) fn nobody_refused(&self) -> bool {
        let words = self
            .refused_for
            .as_ref()
            .is_some_and(|(_, words)| words.is_some());
        words && self.complain_of_refusal.is_none()
    }

    /// Asked for identity alone, a customer is told how to prove it.
    pub(super) fn is_asked_more_than_proof(&self) -> bool {
        let asked = self.asked_for.as_deref();
        asked.is_some_and(|code| self.proven || code != "identity")
    }
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
    pub not_before: Option<String>,
    pub no_term: bool,
    pub explain: bool,
    pub extension: Option<String>,
    pub refusal: Option<String>,
    pub refused: Vec<RefusedFact>,
    pub complain: Option<String>,
    pub finished: Option<String>,
    pub certificate: Option<String>,
    pub loses: Vec<String>,
    pub kept: Vec<KeptFact>,
    pub methods: Vec<String>,
    pub documents: bool,
    pub proven: bool,
    pub situation: &'static str,
    pub closed: bool,
    pub late: bool,
    pub needed: Option<String>,
    pub call_back: Option<String>,
    pub four_eyes: bool,
    pub cooling_off: Option<String>,
    pub wait: Option<String>,
    pub asked: Option<String>,
    pub first: Option<String>,
    pub law: Option<String>,
    pub term: Option<String>,
}

/// Something kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct KeptFact {
    pub what: String,
    pub why: String,
    pub until: Option<String>,
}

/// A part that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct RefusedFact {
    pub what: String,
    pub why: String,
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
        let erased = matches!(known.state.as_str(), "completed" | "deferred");
        let kept = known.offer.kept.iter().filter_map(|kept| {
            let date = known
                .kept_until
                .iter()
                .find(|(because, _)| *because == kept.because);
            // What might have been kept for a time is not there, or not any more.
            if erased && date.is_none() && kept.months_and_days.is_some() {
                return None;
            }
            Some(KeptFact {
                what: kept.what.get(lang).to_owned(),
                why: kept.why.get(lang).to_owned(),
                until: match (date, kept.months_and_days) {
                    (Some((_, at)), _) => Some(until(&day(*at), lang)),
                    (None, Some((months, days))) => Some(period(months, days, lang)),
                    (None, None) => None,
                },
            })
        });
        let words = |of: &[Words]| of.iter().map(|w| w.get(lang).to_owned()).collect();
        let one = |of: &Option<Words>| of.as_ref().map(|w| w.get(lang).to_owned());
        let situation = Situation::of(known);
        let complain = match (&known.complain_of_refusal, situation) {
            (Some(at), _) => Some(at.get(lang).to_owned()),
            // Nobody has refused anything.
            (None, Situation::Closed) => None,
            (None, _) => one(&known.offer.complain),
        };
        Self {
            customer: customer.unwrap_or(addressed).to_owned(),
            reference: known.reference.clone(),
            state: known.state.clone(),
            requested: day(known.requested_at),
            due: known.due_at.map(day),
            not_before: known.not_before.map(day),
            due_is_open: known.clock != "running",
            no_term: known.clock == "none",
            explain: known.offer.explain,
            extension: known.extended_for.as_deref().map(|code| ground(code, lang)),
            refusal: known.refused_for.as_ref().map(|(code, words)| {
                words
                    .as_ref()
                    .map_or_else(|| code.clone(), |w| w.get(lang).to_owned())
            }),
            refused: (known.refused_parts.iter())
                .map(|(part, code, words)| RefusedFact {
                    what: known
                        .offer
                        .parts
                        .get(part)
                        .map_or_else(|| part.clone(), |w| w.get(lang).to_owned()),
                    why: words
                        .as_ref()
                        .map_or_else(|| code.clone(), |w| w.get(lang).to_owned()),
                })
                .collect(),
            complain,
            finished: known.finished_at.map(day),
            certificate: known.certificate.clone(),
            loses: words(&known.offer.loses),
            kept: kept.collect(),
            methods: words(&known.methods),
            documents: known.documents,
            proven: known.proven,
            situation: situation.name(),
            closed: situation.is_closed(),
            late: !situation.is_closed()
                && known.clock == "running"
                && known.due_at.is_some_and(|due| due < known.now),
            needed: known.needed.clone(),
            call_back: one(&known.call_back),
            four_eyes: known.four_eyes,
            cooling_off: (known.cooling_off > Duration::zero())
                .then(|| length(known.cooling_off, lang)),
            wait: known.waits_until.filter(|at| *at > known.now).map(day),
            asked: known.asked_for.as_deref().map(|code| asked(code, lang)),
            first: known.duplicate_of.clone(),
            law: one(&known.offer.law),
            term: one(&known.offer.term),
        }
    }
}

/// Days, or hours where it is no whole number of days.
fn length(time: Duration, lang: Lang) -> String {
    let (days, hours) = (time.num_days(), (time.num_minutes() + 59) / 60);
    let whole = Duration::days(days) == time;
    match (lang, whole) {
        (Lang::Ja, true) => format!("{days}日間"),
        (Lang::Ja, false) => format!("{hours}時間"),
        (Lang::En, true) => format!("{days} day{}", if days == 1 { "" } else { "s" }),
        (Lang::En, false) => format!("{hours} hour{}", if hours == 1 { "" } else { "s" }),
    }
}

/// What a customer is asked for, where the code is one of the usual.
fn asked(code: &str, lang: Lang) -> String {
    let known = match (code, lang) {
        ("identity", Lang::Ja) => "ご本人様の確認",
        ("identity", Lang::En) => "proof of who you are",
        ("which-account", Lang::Ja) => "どのご登録についてのお申し出か",
        ("which-account", Lang::En) => "which of your registrations you mean",
        (_, Lang::Ja) => "先日お尋ねした点",
        (_, Lang::En) => "what we asked you",
    };
    known.to_owned()
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

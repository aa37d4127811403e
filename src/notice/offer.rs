//! What a policy tells of a scope: what is lost and kept under it.

use crate::policy::{Action, Cover, Policy, Scope, TableRule};
use crate::ticket::sla::{Length, Profile, Start, WhenDue};
use crate::ticket::words::Words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What may be told of a scope; published beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What the customer loses, in the order of the policy.
    pub loses: Vec<Words>,
    /// What is kept.
    pub kept: Vec<Kept>,
    /// Parts that may be refused by themselves, as they are called to a customer.
    #[serde(default)]
    pub parts: BTreeMap<String, Words>,
    /// Where to complain.
    pub complain: Option<Words>,
    /// Where days are counted, as in the tz database.
    pub zone: String,
    /// After the due time an explanation is owed.
    pub explain: bool,
    /// What the law says of the time that a company may take.
    #[serde(default)]
    pub law: Option<Words>,
    /// The term, and from when.
    #[serde(default)]
    pub term: Option<Words>,
}

/// Something kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What.
    pub what: Words,
    /// Why: a law, or the policy's own reason.
    pub why: Words,
    /// The basis's code; that of a deferral.
    pub because: String,
    /// For how long after the row's own date; `None` if there is no date.
    pub months_and_days: Option<(u32, u32)>,
}

/// What a policy tells of one of its scopes.
pub fn offer(policy: &Policy, name: &str, scope: &Scope) -> Offer {
    let mut offer = Offer {
        complain: scope.sla.complain.clone(),
        zone: scope.sla.zone.name().to_owned(),
        explain: scope.sla.when_due == WhenDue::Explain,
        law: scope.sla.law.clone(),
        term: term(&scope.sla),
        parts: (policy.parts(name).iter())
            .map(|(part, listed)| (part.clone(), policy.part_told(name, part, listed)))
            .collect(),
        ..Offer::default()
    };
    for rule in &policy.tables {
        if !is_for(policy, rule, name) {
            continue;
        }
        let cover = scope.extent.of(&rule.table);
        if !cover.is_nothing() {
            offer.loses(rule.told.loses.as_ref());
        }
        if let (Cover::Whole, Some(kept)) = (cover, kept(policy, rule))
            && !offer.kept.contains(&kept)
        {
            offer.kept.push(kept);
        }
    }
    for place in policy.places_of(name) {
        offer.loses(place.loses.as_ref());
    }
    offer
}

impl Offer {
    /// What several rules say in the same words is told once.
    fn loses(&mut self, words: Option<&Words>) {
        let new = words.filter(|words| !self.loses.contains(words));
        self.loses.extend(new.cloned());
    }
}

/// Such as "14 days from your request".
fn term(profile: &Profile) -> Option<Words> {
    let (n, ja, en) = match profile.length? {
        Length::Days(n) => (n, "日", "day"),
        Length::WorkingDays(n) => (n, "営業日", "working day"),
        Length::Months(n) => (n.into(), "か月", "month"),
    };
    let (from_ja, from_en) = match profile.start {
        Start::Received => ("お申し出", "your request"),
        Start::Identity => ("ご本人様の確認", "the day on which we know that it is you"),
        Start::GroundAccepted => (
            "お申し出をお受けすると決めた日",
            "the day on which we accept your request",
        ),
    };
    let plural = if n == 1 { "" } else { "s" };
    Some(Words {
        ja: format!("{from_ja}から{n}{ja}"),
        en: format!("{n} {en}{plural} from {from_en}"),
    })
}

/// A rule for no scope in particular gives way to one for the same rows that names this scope.
fn is_for(policy: &Policy, rule: &TableRule, scope: &str) -> bool {
    let names = |rule: &TableRule| rule.scopes.iter().any(|(named, _)| named == scope);
    let same_rows = |other: &&TableRule| {
        other.table == rule.table
            && other.via.as_ref().map(|(v, _)| v) == rule.via.as_ref().map(|(v, _)| v)
    };
    names(rule) || rule.scopes.is_empty() && !policy.tables.iter().filter(same_rows).any(names)
}

fn kept(policy: &Policy, rule: &TableRule) -> Option<Kept> {
    let table = || Words::same(&rule.table.table.to_string());
    let (why, because, until) = match &rule.action {
        Action::Retain(retain) => {
            let known = policy.bases.get(&retain.because);
            let why = known.map_or_else(
                || Words::same(&retain.because),
                |basis| Words {
                    ja: basis.ja.clone(),
                    en: basis.en.clone(),
                },
            );
            let until = retain.until.as_ref();
            let until = until.map(|u| (u.plus.months, u.plus.days));
            // What hangs off a kept row is kept with it, and told only in words of its own.
            if until.is_none() && rule.told.keeps.is_none() {
                return None;
            }
            (why, retain.because.clone(), until)
        }
        Action::Exempt { reason } => {
            rule.told.keeps.as_ref()?;
            (Words::same(reason), reason.clone(), None)
        }
        _ => return None,
    };
    Some(Kept {
        what: rule.told.keeps.clone().unwrap_or_else(table),
        why,
        because,
        months_and_days: until,
    })
}

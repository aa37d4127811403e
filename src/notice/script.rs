//! What an agent says now: how a ticket stands for the caller, and answers to what callers say.

use super::facts::Known;
use crate::ticket::words::Words;

/// How a ticket stands for whoever is on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Nobody was found by what was named.
    NotFound,
    /// Proof of identity is waited for.
    Prove,
    /// There is proof, and it does not reach far enough.
    ProveMore,
    /// The customer was asked something.
    Asked,
    /// Somebody of the company has to approve.
    Approve,
    /// Approved, and nothing happens before a day.
    Wait,
    /// It is its turn soon.
    Queued,
    /// The erasure has begun.
    Running,
    /// Erased, and what is left is searched for.
    Checking,
    /// It came to a stop that people must mend.
    Failed,
    /// Somebody has stopped it.
    Held,
    /// A legal hold keeps it.
    LegalHold,
    /// An earlier request of the same person asks for the same.
    Duplicate,
    /// Done.
    Done,
    /// Done, but for what must stay.
    DoneInPart,
    /// Refused.
    Refused,
    /// Closed, and nobody refused anything: withdrawn, filed twice.
    Closed,
}

impl Situation {
    /// All there are.
    pub const ALL: [Self; 17] = [
        Self::NotFound,
        Self::Prove,
        Self::ProveMore,
        Self::Asked,
        Self::Approve,
        Self::Wait,
        Self::Queued,
        Self::Running,
        Self::Checking,
        Self::Failed,
        Self::Held,
        Self::LegalHold,
        Self::Duplicate,
        Self::Done,
        Self::DoneInPart,
        Self::Refused,
        Self::Closed,
    ];

    /// As templates ask for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Prove => "prove",
            Self::ProveMore => "prove-more",
            Self::Asked => "asked",
            Self::Approve => "approve",
            Self::Wait => "wait",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Checking => "checking",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::LegalHold => "legal-hold",
            Self::Duplicate => "duplicate",
            Self::Done => "done",
            Self::DoneInPart => "done-in-part",
            Self::Refused => "refused",
            Self::Closed => "closed",
        }
    }

    /// Of what is known. Whoever has not proven who they are hears nothing that only the person may
    /// know: no legal hold, no other request.
    pub(super) fn of(known: &Known) -> Self {
        let later = known.waits_until.is_some_and(|at| at > known.now);
        match known.state.as_str() {
            "completed" => Self::Done,
            "deferred" => Self::DoneInPart,
            "rejected" if known.nobody_refused() => Self::Closed,
            "rejected" => Self::Refused,
            // After the approval the policy has come to ask for more, or signs of an impostor were found.
            "failed" if matches!(known.problem_code.as_deref(), Some("E0513" | "E0524")) => {
                Self::ProveMore
            }
            "failed" => Self::Failed,
            "on_hold" if known.proven && known.problem_code.as_deref() == Some("E0521") => {
                Self::LegalHold
            }
            "on_hold" => Self::Held,
            _ if !known.found && known.problem_code.is_some() => Self::NotFound,
            "received" | "verified" if known.is_asked_more_than_proof() => Self::Asked,
            "received" => Self::Prove,
            _ if known.proven && known.duplicate_of.is_some() => Self::Duplicate,
            "verified" if known.proven => Self::Approve,
            "verified" => Self::ProveMore,
            // Put off half-way: it goes forward only, and is not withdrawn any more.
            "scheduled" if known.begun => Self::Running,
            "approved" | "scheduled" if later => Self::Wait,
            "executing" => Self::Running,
            "verifying" => Self::Checking,
            _ => Self::Queued,
        }
    }

    /// Nothing is to come.
    pub(super) fn is_closed(self) -> bool {
        matches!(
            self,
            Self::Done | Self::DoneInPart | Self::Refused | Self::Closed
        )
    }
}

/// What callers say, each with an answer of its own.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// "I am telling you it is me: why can't you delete it at once?"
    WhyNotNow,
    /// "Call me back on this number and let that be your proof."
    ThisNumber,
    /// "No other company asks for a licence, it makes you look suspicious."
    NoLicence,
    /// "It is against the law, I shall report you."
    AgainstTheLaw,
    /// "Your rule asks everybody for a driving licence; some shops ask for nothing."
    TheRule,
}

impl Answer {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::WhyNotNow,
        Self::ThisNumber,
        Self::NoLicence,
        Self::AgainstTheLaw,
        Self::TheRule,
    ];

    /// As it is asked for; the template has `answer-` before it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WhyNotNow => "why-not-now",
            Self::ThisNumber => "this-number",
            Self::NoLicence => "no-licence",
            Self::AgainstTheLaw => "against-the-law",
            Self::TheRule => "the-rule",
        }
    }

    /// What the caller says.
    pub fn sentence(self) -> Words {
        let (ja, en) = match self {
            Self::WhyNotNow => (
                "本人が言っているのに、なぜすぐに消せないんですか。",
                "I am telling you it is me: why can't you delete it at once?",
            ),
            Self::ThisNumber => (
                "いまから言う番号にかけ直してください。それが証拠でしょう。",
                "Call me back on this number and let that be your proof.",
            ),
            Self::NoLicence => (
                "免許証を見せろなんて、ほかの会社は言いません。かえって怪しいですよ。",
                "No other company asks for a licence, it makes you look suspicious.",
            ),
            Self::AgainstTheLaw => (
                "それは法律違反です。訴えますよ。",
                "It is against the law, I shall report you.",
            ),
            Self::TheRule => (
                "お宅は誰にでも免許証を出させる決まりでしょう。何も聞かない店もあるのに。",
                "Your rule asks everybody for a driving licence; some shops ask for nothing.",
            ),
        };
        Words {
            ja: ja.into(),
            en: en.into(),
        }
    }
}

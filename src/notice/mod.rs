//! Words for the customer: facts in, text out.
//!
//! The texts are templates, `templates/LANGUAGE/KIND.txt`, built in and replaced by files of the
//! same names; `script.txt` and `answer-….txt` are for an agent with the customer on the line ([`script`]). What they may say is [`Facts`]: nothing of a person, unless whoever prints passes it in
//! at that moment. What is lost and kept under a scope is [`offer`], which the daemon publishes, so
//! that a desk without the policies can say it.

pub mod facts;
pub mod offer;
pub mod script;
mod tell;

pub use facts::Facts;
pub use tell::{Templates, Untellable};

/// What is told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request has come in.
    Receipt,
    /// How to prove who is asking, and why.
    Identity,
    /// What will be lost.
    Consequences,
    /// What is kept, why and until when.
    Kept,
    /// It takes longer.
    Extension,
    /// It is not done, and where to complain.
    Refusal,
    /// It is done.
    Completion,
    /// To whoever was reached before: somebody else may have asked.
    Warning,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Receipt,
        Self::Identity,
        Self::Consequences,
        Self::Kept,
        Self::Extension,
        Self::Refusal,
        Self::Completion,
        Self::Warning,
    ];

    /// The template's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Identity => "identity",
            Self::Consequences => "consequences",
            Self::Kept => "kept",
            Self::Extension => "extension",
            Self::Refusal => "refusal",
            Self::Completion => "completion",
            Self::Warning => "warning",
        }
    }
}

#[cfg(test)]
mod tests;

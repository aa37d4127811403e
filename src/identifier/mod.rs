//! The values by which the world names a person, brought to one writing before they are
//! compared or hashed.
//!
//! Nothing here shows a value: neither errors nor `Debug` repeat what was typed.

use crate::policy::IdentifierKind;
use std::fmt;
use zeroize::Zeroizing;

pub use nobody::nobody;

mod date;
pub mod fold;
mod nobody;
mod phone;

pub use date::{code, date};
pub use phone::phone_variants;

/// Longest identifier taken, in characters.
pub const LONGEST: usize = 1_000;

/// An identifier in its one writing; wiped when dropped, shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Normalised {
    kind: IdentifierKind,
    value: Zeroizing<String>,
}

impl Normalised {
    /// What kind of identifier it is.
    pub fn kind(&self) -> &IdentifierKind {
        &self.kind
    }

    /// The value itself, for comparing, hashing and sealing only.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Normalised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Normalised({:?}, …)", self.kind)
    }
}

/// Why a text is no identifier. Never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentifier {
    /// Nothing but white space.
    #[error("the identifier is empty")]
    Empty,
    /// PostgreSQL cannot hold it.
    #[error("the identifier holds a NUL character")]
    Nul,
    /// Longer than [`LONGEST`].
    #[error("the identifier is longer than {LONGEST} characters")]
    TooLong,
    /// Punctuation only: it would be found everywhere.
    #[error("the identifier holds neither a letter nor a digit")]
    NothingToFind,
    /// An e-mail address without `@`, with several, or with nothing on one side.
    #[error("an e-mail address has exactly one @ with something on both sides")]
    EmailAt,
    /// White space inside an e-mail address.
    #[error("an e-mail address holds no white space")]
    EmailSpace,
    /// The policy's region is not known.
    #[error("the phone region {0:?} is not an ISO 3166 code with a numbering plan")]
    Region(String),
    /// The numbering plan of the region has no such number.
    #[error("the identifier is not a phone number that can be dialled from region {0}")]
    NotAPhone(String),
    /// No day of the calendar, or not year first.
    #[error("a date is written year, month, day, such as 1980-05-03")]
    NotADate,
}

/// Brings `raw` to the one writing of its kind.
///
/// Plain values and e-mail addresses: NFKC, trimmed, lower case (Unicode's simple per-character
/// lower case, not full case folding: `ß` stays `ß`). Names: the same with all white space
/// removed. Phone numbers: E.164.
pub fn normalise(kind: &IdentifierKind, raw: &str) -> Result<Normalised, BadIdentifier> {
    if raw.contains('\0') {
        return Err(BadIdentifier::Nul);
    }
    // A character is at most four bytes: a megabyte is refused without being counted.
    if raw.len() > LONGEST * 4 || raw.chars().count() > LONGEST {
        return Err(BadIdentifier::TooLong);
    }
    let folded = Zeroizing::new(fold::fold(raw));
    let trimmed = folded.trim();
    if trimmed.is_empty() {
        return Err(BadIdentifier::Empty);
    }
    let value = match kind {
        IdentifierKind::Plain => Zeroizing::new(trimmed.to_owned()),
        IdentifierKind::Email => Zeroizing::new(email(trimmed)?.to_owned()),
        IdentifierKind::Phone { region } => phone::e164(region, trimmed)?,
        // A mark that stood on a space stands on a letter when the space has gone.
        IdentifierKind::Name => Zeroizing::new(fold::fold(&fold::squeeze(trimmed))),
    };
    // What is left must have something that a search can hold on to.
    if !value
        .chars()
        .any(|c| c.is_ascii_alphanumeric() || !c.is_ascii())
    {
        return Err(BadIdentifier::NothingToFind);
    }
    Ok(Normalised {
        kind: kind.clone(),
        value,
    })
}

fn email(text: &str) -> Result<&str, BadIdentifier> {
    if text.contains(char::is_whitespace) {
        return Err(BadIdentifier::EmailSpace);
    }
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !domain.contains('@') =>
        {
            Ok(text)
        }
        _ => Err(BadIdentifier::EmailAt),
    }
}

#[cfg(test)]
mod tests;

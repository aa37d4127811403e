//! New values that SQL cannot make: from the old value, the keyed hash of it, or the identifiers of
//! the people who are being erased. Pure.

use crate::identifier::{Normalised, normalise, phone_variants};
use crate::plan::REDACTED;
use crate::policy::IdentifierKind;
use crate::verify::{Matcher, Needle, Scratch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Addresses under it can belong to nobody (RFC 2606).
const NOWHERE: &str = "@example.invalid";
/// An e-mail's local part is no longer than this many hex digits: 128 bits.
const LOCAL: usize = 32;
/// The same mark where the other does not fit.
const SHORT_MARK: &str = "*";

/// How a value is made from the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// An address at a domain that does not exist; no longer than this.
    Email(Option<i32>),
    /// Digits in the shape of the old value that are nobody's number.
    Phone,
    /// One of these.
    Choose(Vec<String>),
    /// The text without these identifiers of the people; no longer than this.
    Redact(Vec<Known>, Option<i32>),
}

/// An identifier of the policy, as a free text may hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its column in the root table.
    pub column: String,
    /// How it is compared.
    pub kind: IdentifierKind,
}

/// An e-mail address from a hash in hex. The local part is shortened to fit `longest`, to 16 digits
/// at least: no shorter column passes the check.
pub fn email(hex: &str, longest: Option<i32>) -> String {
    let room = longest.map_or(LOCAL, |n| {
        usize::try_from(n)
            .unwrap_or(0)
            .saturating_sub(NOWHERE.len())
    });
    let local: String = hex.chars().take(room.clamp(16, LOCAL)).collect();
    format!("{local}{NOWHERE}")
}

/// The least length of a column that [`email`] fits.
pub const SHORTEST_EMAIL: i32 = 16 + NOWHERE.len() as i32;

/// A number from a hash in hex, with as many digits as the old one and its punctuation. It begins
/// with a country code that is not assigned (`+999`), or with three zeros, as no number within a
/// country does. What is no number is replaced character by character.
pub fn phone(hex: &str, old: &str) -> String {
    let punctuation = |c: char| " -().+/".contains(c);
    let count = old.chars().filter(char::is_ascii_digit).count();
    let written = old.chars().all(|c| c.is_ascii_digit() || punctuation(c));
    let is_number = written && (7..=31).contains(&count);
    let abroad = is_number && old.trim_start().starts_with(['+', '(']) && old.contains('+');
    let mut digits = if abroad { "999" } else { "000" }
        .chars()
        .chain(hexes(hex).cycle());
    old.chars()
        .map(|c| {
            if is_number && !c.is_ascii_digit() {
                c
            } else {
                digits.next().unwrap_or('0')
            }
        })
        .collect()
}

/// A decimal digit from every two of the hash.
fn hexes(hex: &str) -> impl Iterator<Item = char> + Clone + '_ {
    hex.as_bytes().chunks(2).map(|pair| {
        let value = pair.iter().fold(0u32, |n, &b| {
            n * 16 + char::from(b).to_digit(16).unwrap_or(0)
        });
        char::from_digit(value % 10, 10).unwrap_or('0')
    })
}

/// One of a list, by a hash in hex.
pub fn choose<'l>(hex: &str, list: &'l [String]) -> Option<&'l String> {
    let number = u64::from_str_radix(hex.get(..16)?, 16).ok()?;
    let count = u64::try_from(list.len()).ok().filter(|n| *n > 0)?;
    list.get(usize::try_from(number % count).ok()?)
}

/// Takes identifiers out of free texts, and leaves the rest. What an identifier is, and where, is the
/// word of the sweep's own matcher, so that nothing stays that the sweep would find.
#[derive(Debug)]
pub struct Redactor {
    matcher: Matcher,
    /// No identifier is written with more bytes than this; if one is, the whole text goes.
    reach: usize,
}

impl Redactor {
    /// For these identifiers.
    pub fn new(identifiers: &[Normalised]) -> Self {
        let needles = identifiers.iter().map(|i| Needle::new(i, 0)).collect();
        let longest = identifiers.iter().map(|i| i.value().len()).max();
        Self {
            matcher: Matcher::new(needles),
            reach: 8 * longest.unwrap_or(0) + 64,
        }
    }

    /// The text with a mark for each identifier in it; a mark alone if the identifiers cannot be told
    /// from the rest. No longer than `longest` characters, unless the text was.
    pub fn redact(&self, text: &str, longest: Option<i32>) -> String {
        let mut scratch = Scratch::default();
        if !self.matcher.finds_any(text, &mut scratch) {
            return text.to_owned();
        }
        let fits = |new: &String| {
            longest.is_none_or(|n| new.chars().count() <= usize::try_from(n).unwrap_or(0))
        };
        [REDACTED, SHORT_MARK]
            .into_iter()
            .map(|mark| self.replace(text, mark, &mut scratch))
            .find(|new| fits(new) && !self.matcher.finds_any(new, &mut Scratch::default()))
            .unwrap_or_else(|| REDACTED.to_owned())
    }

    fn replace(&self, text: &str, mark: &str, scratch: &mut Scratch) -> String {
        let mut new = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((start, end)) = self.first(rest, scratch) {
            new.push_str(&rest[..start]);
            new.push_str(mark);
            rest = &rest[end..];
        }
        new.push_str(rest);
        new
    }

    /// The first identifier in a text. The shortest beginning in which something is found ends with
    /// it, unless it is only found because the text was cut there.
    fn first(&self, text: &str, scratch: &mut Scratch) -> Option<(usize, usize)> {
        if !self.matcher.finds_any(text, scratch) {
            return None;
        }
        let mut after = 0;
        loop {
            let end = self.shortest(text, after, scratch)?;
            let start = self.start(&text[..end], scratch);
            let context = text[end..]
                .char_indices()
                .nth(8)
                .map_or(text.len(), |(i, _)| end + i);
            if self.matcher.finds_any(&text[..context], scratch) || end == text.len() {
                return Some((start, end));
            }
            after = end;
        }
    }

    /// Where the first beginning longer than `after` ends in which something is found, while nothing
    /// is in the one a character shorter.
    fn shortest(&self, text: &str, after: usize, scratch: &mut Scratch) -> Option<usize> {
        let boundary = |mut at: usize| {
            while !text.is_char_boundary(at) {
                at += 1;
            }
            at
        };
        let next = |at: usize| boundary((at + 1).min(text.len()));
        let (mut low, mut step) = (after, 1);
        if after > 0 {
            // What was found too early may be so for a few characters more.
            while low < text.len() && self.matcher.finds_any(&text[..low], scratch) {
                low = next(low);
            }
        }
        let mut high = loop {
            let high = boundary((low + step).min(text.len()));
            if self.matcher.finds_any(&text[..high], scratch) {
                break high;
            }
            if high == text.len() {
                return None;
            }
            (low, step) = (high, step * 2);
        };
        while next(low) < high {
            let middle = boundary(low + (high - low) / 2);
            let middle = if middle >= high { next(low) } else { middle };
            if self.matcher.finds_any(&text[..middle], scratch) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// Where what ends a text begins: nothing is found without the character there.
    fn start(&self, text: &str, scratch: &mut Scratch) -> usize {
        let mut from = text.len().saturating_sub(self.reach);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if !self.matcher.finds_any(&text[from..], scratch) {
            return 0;
        }
        let characters = text[from..].char_indices().skip(1);
        let mut start = from;
        for (at, _) in characters {
            if !self.matcher.finds_any(&text[from + at..], scratch) {
                break;
            }
            start = from + at;
        }
        // A number is known without its first zero too, if nothing stands before it.
        if text[start..].starts_with(|c: char| c.is_ascii_digit()) {
            start = text[..start]
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .len();
        }
        // A plus sign belongs to the number behind it.
        start - usize::from(text[..start].ends_with('+'))
    }
}

/// Identifiers from the forms in which SQL compares them (of a phone number all ways to write it).
pub fn from_forms(kind: &IdentifierKind, forms: &[String]) -> Vec<Normalised> {
    match kind {
        IdentifierKind::Phone { .. } => {
            let mut numbers: Vec<Normalised> = Vec::new();
            for form in forms {
                let Ok(number) = normalise(kind, &format!("+{form}")) else {
                    continue;
                };
                let variants = phone_variants(number.value());
                let all = !variants.is_empty() && variants.iter().all(|v| forms.contains(v));
                if all && numbers.iter().all(|n| n.value() != number.value()) {
                    numbers.push(number);
                }
            }
            numbers
        }
        _ => stored(kind, forms),
    }
}

/// Identifiers from values as they are stored, as the sweep reads them: what is no e-mail or phone
/// number at all is a plain text.
pub fn stored(kind: &IdentifierKind, values: &[String]) -> Vec<Normalised> {
    let plain = IdentifierKind::Plain;
    let read = |value: &String| normalise(kind, value).or_else(|_| normalise(&plain, value));
    values.iter().filter_map(|value| read(value).ok()).collect()
}

/// All identifiers to look for: what tickets and earlier steps know (by name, as SQL compares them)
/// and what the root rows say (by column).
pub fn identifiers<'a>(
    known: &[Known],
    forms: impl Iterator<Item = &'a BTreeMap<String, Vec<String>>>,
    rows: &[BTreeMap<String, String>],
) -> Vec<Normalised> {
    let mut all = Vec::new();
    for forms in forms {
        for one in known {
            all.extend(from_forms(
                &one.kind,
                forms.get(&one.name).map_or(&[], Vec::as_slice),
            ));
        }
    }
    for (row, one) in rows.iter().flat_map(|r| known.iter().map(move |k| (r, k))) {
        let value = row.get(&one.column).cloned();
        all.extend(stored(&one.kind, value.as_slice()));
    }
    all
}

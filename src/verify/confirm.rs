//! The slow, plain word on whether a folded text says an identifier. The scan only proposes.

use super::signs::same;
use crate::identifier::fold::continues_word;
use crate::policy::IdentifierKind;

/// Whether `text` (folded) holds `value` (normalised) as a whole, not as a part of another.
/// Phone numbers are not asked about here: the scan compares all their digits itself.
pub(super) fn says(kind: &IdentifierKind, value: &str, text: &str) -> bool {
    match kind {
        IdentifierKind::Name => written(value, text, true),
        IdentifierKind::Email => occurrences(value, text).any(|(before, after)| {
            // `x-taro@…` is another address, `-taro@…` the text's own hyphen.
            let before = before.trim_end_matches(['.', '_', '%', '+', '-']);
            !before.chars().next_back().is_some_and(continues_word) && !domain_goes_on(after)
        }),
        _ => written(value, text, false),
    }
}

/// Every place, overlapping ones too, as what stands before and after it.
fn occurrences<'t>(value: &str, text: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(value)?;
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        Some((&text[..at], &text[at + value.len()..]))
    })
}

fn domain_goes_on(after: &str) -> bool {
    let rest = after.trim_start_matches('-');
    let rest = rest
        .strip_prefix('.')
        .unwrap_or(rest)
        .trim_start_matches('-');
    rest.chars().next().is_some_and(continues_word)
}

/// A neighbour that goes on with the word makes it another value; but where the value's own edge
/// is of a script without spaces, neighbours say nothing.
fn stands_alone(value: &str, before: Option<char>, after: Option<char>) -> bool {
    let matters = |edge: Option<char>| edge.is_some_and(|c| c.is_ascii() || continues_word(c));
    !(before.is_some_and(continues_word) && matters(value.chars().next())
        || after.is_some_and(continues_word) && matters(value.chars().next_back()))
}

/// Whether it stands anywhere, any hyphen for any other; with `spaced`, white space may be between
/// any two characters of it, or the plus sign that stands for white space in URLs.
fn written(value: &str, text: &str, spaced: bool) -> bool {
    let mut before = None;
    for (at, c) in text.char_indices() {
        if !(spaced && c.is_whitespace())
            && let Some(rest) = after_prefix(value, &text[at..], spaced)
            && stands_alone(value, before, rest.chars().next())
        {
            return true;
        }
        before = Some(c);
    }
    false
}

fn after_prefix<'t>(value: &str, text: &'t str, spaced: bool) -> Option<&'t str> {
    let gap = |c: char| c.is_whitespace() || c == '+';
    let mut rest = text;
    for wanted in value.chars() {
        let after = |text: &'t str| text.strip_prefix(|c| same(c, wanted));
        rest = match after(rest) {
            None if spaced => after(rest.trim_start_matches(gap))?,
            after => after?,
        };
    }
    Some(rest)
}

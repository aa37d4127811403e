//! One writing for text: NFKC and lower case.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// NFKC and lower case, repeated until neither changes anything (some capitals decompose).
///
/// Lower case is taken character by character, so that a piece of a text folds as the whole
/// does; the two Greek small sigmas are one.
pub fn fold(text: &str) -> String {
    let mut now = once(text);
    // Two rounds do for everything assigned; the third is for what Unicode may still add.
    for _ in 0..3 {
        if is_folded(&now) {
            break;
        }
        now = once(&now);
    }
    now
}

fn once(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    out.extend(text.nfkc().flat_map(char::to_lowercase).map(one_sigma));
    out
}

fn one_sigma(c: char) -> char {
    if c == 'ς' { 'σ' } else { c }
}

fn is_folded(text: &str) -> bool {
    is_nfkc_quick(text.chars()) == IsNormalized::Yes && text.chars().all(is_lower)
}

/// Lower case leaves the character as it is.
pub(crate) fn is_lower(c: char) -> bool {
    let mut lower = c.to_lowercase();
    lower.next() == Some(c) && lower.next().is_none() && c != 'ς'
}

/// The text without its white space.
pub fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Whether people write this between the digits of a phone number (after NFKC): white space,
/// every hyphen (the long vowel mark too, typed for one), brackets, dots, slashes, plus, and the
/// invisible marks that copying out of an address book leaves.
pub fn is_phone_separator(c: char) -> bool {
    matches!(c,
        '-' | '(' | ')' | '.' | '/' | '+'
        | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{30fc}' | '\u{30fb}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}'
        | '\u{feff}')
        || c.is_whitespace()
}

/// A letter or digit of a script that puts spaces between words: next to such a character an
/// identifier goes on. Chinese, Japanese, Korean, Thai, Lao, Tibetan, Burmese and Khmer text runs on
/// without spaces, so there a neighbour says nothing.
pub fn continues_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    c.is_alphanumeric()
        && !matches!(c as u32,
            0x0e00..=0x109f | 0x1780..=0x17ff | 0x19e0..=0x19ff | 0xa9e0..=0xa9ff | 0xaa60..=0xaa7f
            | 0x1100..=0x11ff | 0x2e80..=0xa4cf | 0xa960..=0xa97f | 0xac00..=0xd7ff
            | 0xf900..=0xfaff | 0xff00..=0xffef | 0x1aff0..=0x1b16f | 0x20000..=0x3ffff)
}

/// Folds, borrowing where the text is folded already.
pub fn fold_cow(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Cow::Owned(text.to_ascii_lowercase());
        }
        return Cow::Borrowed(text);
    }
    if is_folded(text) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(fold(text))
}

//! The tables behind the pass: what characters are, and which anchors may exist.

use crate::identifier::fold;
use std::sync::LazyLock;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfkc_quick};

/// By what a needle is known at the place where the pass meets it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Anchor {
    /// Hash of a whole e-mail address.
    Address(u64),
    /// Number of digits, and the digits, four bits each.
    Phone(u8, u128),
    /// Number of ASCII characters (up to eight), and the characters.
    Word(u8, u64),
    /// Number of other characters (up to four), and their low 16 bits.
    Wide(u8, u64),
}

impl Anchor {
    #[inline]
    fn mixed(self) -> u64 {
        let (salt, value) = match self {
            Anchor::Address(hash) => (1, hash),
            Anchor::Phone(length, digits) => (
                u64::from(length) | 0x100,
                digits as u64 ^ ((digits >> 64) as u64).rotate_left(32),
            ),
            Anchor::Word(length, window) => (u64::from(length) | 0x200, window),
            Anchor::Wide(length, window) => (u64::from(length) | 0x400, window),
        };
        let mixed =
            (value ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

/// A bit for every anchor, so that nearly all questions end here: 32 bits an anchor make about
/// three in a hundred go on to the map.
pub(super) struct Filter {
    bits: Vec<u64>,
    mask: u64,
}

impl Filter {
    pub(super) fn new<'a>(anchors: impl ExactSizeIterator<Item = &'a Anchor>) -> Self {
        let size = (anchors.len() * 32)
            .next_power_of_two()
            .clamp(1 << 12, 1 << 22);
        let mut filter = Self {
            bits: vec![0; size / 64],
            mask: size as u64 - 1,
        };
        for anchor in anchors {
            let at = anchor.mixed() & filter.mask;
            filter.bits[(at / 64) as usize] |= 1 << (at % 64);
        }
        filter
    }

    #[inline]
    pub(super) fn may_hold(&self, anchor: Anchor) -> bool {
        let at = anchor.mixed() & self.mask;
        self.bits[(at / 64) as usize] >> (at % 64) & 1 == 1
    }
}

/// What the pass needs to know of a character outside ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Class {
    /// Folding leaves it as it is, whatever stands beside it.
    Stable,
    /// Stable, and white space.
    Space,
    /// Stable, and people write it between the digits of a phone number.
    Separator,
    /// A full-width form of ASCII punctuation: the pass reads it as what it stands for.
    WidePunctuation,
    /// The text has to be folded first.
    Unstable,
}

/// The class of every character of the Basic Multilingual Plane.
pub(super) struct Characters {
    classes: Vec<Class>,
}

impl Characters {
    /// Computed once: a constant of Unicode.
    pub(super) fn table() -> &'static Self {
        static TABLE: LazyLock<Characters> = LazyLock::new(Characters::new);
        &TABLE
    }

    fn new() -> Self {
        let classes = (0..0x1_0000)
            .map(|code| char::from_u32(code).map_or(Class::Unstable, class))
            .collect();
        Self { classes }
    }

    #[inline]
    pub(super) fn class(&self, code: u32) -> Class {
        self.classes
            .get(code as usize)
            .copied()
            .unwrap_or(Class::Unstable)
    }

    /// Whether the pass can read the text as it stands. Ill-formed UTF-8 it can not.
    pub(super) fn all_stable(&self, text: &[u8]) -> bool {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += match byte {
                0..0x80 => 1,
                // U+4000 to U+9FFF: ideographs and hexagrams.
                0xe4..=0xe9 if text.len() >= at + 3 => 3,
                _ => match decode(text, at) {
                    Some((code, length)) if self.class(code) != Class::Unstable => length,
                    _ => return false,
                },
            };
        }
        true
    }

    /// Folds `text`; character by character as long as no character depends on its neighbours.
    pub(super) fn fold_into(&self, text: &str, out: &mut String) {
        out.clear();
        for c in text.chars() {
            let c = match c {
                '\0'..='\x7f' => c.to_ascii_lowercase(),
                '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0)
                    .expect("full-width forms stand for ASCII")
                    .to_ascii_lowercase(),
                '\u{3000}' => ' ',
                c if keeps_under_nfkc(c) => {
                    let mut lower = c.to_lowercase();
                    match (lower.next(), lower.next()) {
                        (Some(l), None) if keeps_under_nfkc(l) && fold::is_lower(l) => l,
                        _ => return *out = fold::fold(text),
                    }
                }
                _ => return *out = fold::fold(text),
            };
            out.push(c);
        }
    }
}

fn keeps_under_nfkc(c: char) -> bool {
    is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes && canonical_combining_class(c) == 0
}

fn class(c: char) -> Class {
    match c {
        '\u{3000}' => Class::Space,
        // Not those that addresses and numbers are made of.
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = (c as u32 - 0xfee0) as u8;
            if ascii.is_ascii_punctuation() && !b"@.-_%+".contains(&ascii) {
                Class::WidePunctuation
            } else {
                Class::Unstable
            }
        }
        c if !keeps_under_nfkc(c) || !fold::is_lower(c) => Class::Unstable,
        c if c.is_whitespace() => Class::Space,
        c if fold::is_phone_separator(c) => Class::Separator,
        _ => Class::Stable,
    }
}

/// The character at `at` and its length; `None` where there is none. Over-long forms and
/// surrogates are not told apart from what they stand for: they only ever propose too much.
#[inline]
pub(super) fn decode(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let byte = |n: usize| text.get(at + n).map(|&b| u32::from(b));
    let tail = |n: usize| byte(n).filter(|b| b & 0xc0 == 0x80).map(|b| b & 0x3f);
    let first = byte(0)?;
    match first {
        0..0x80 => Some((first, 1)),
        0xc0..0xe0 => Some(((first & 0x1f) << 6 | tail(1)?, 2)),
        0xe0..0xf0 => Some(((first & 0x0f) << 12 | tail(1)? << 6 | tail(2)?, 3)),
        0xf0..0xf8 => Some((
            (first & 0x07) << 18 | tail(1)? << 12 | tail(2)? << 6 | tail(3)?,
            4,
        )),
        _ => None,
    }
}

//! The tables behind the pass: what characters are, and which anchors may exist.

use crate::identifier::fold;
use crate::verify::signs;
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
    /// The same without the leading zero; known only where it stands alone.
    Bare(u8, u128),
    /// Number of ASCII characters (up to eight), and the characters.
    Word(u8, u64),
    /// Number of other characters (up to four), and their low 16 bits.
    Wide(u8, u64),
}

/// Whether a value may be known, in so few bits that they stay in the processor's nearest cache:
/// three bits of one word for a value, 32 bits' room for each, so that about two in a thousand of the
/// others go on to the map.
pub(super) struct Filter {
    words: Vec<u64>,
    mask: usize,
}

impl Filter {
    pub(super) fn new(values: &[u64]) -> Self {
        let size = (values.len() / 2).next_power_of_two().clamp(64, 1 << 16);
        let mut filter = Self {
            words: vec![0; size],
            mask: size - 1,
        };
        for &value in values {
            let (at, bits) = filter.place(value);
            filter.words[at] |= bits;
        }
        filter
    }

    #[inline]
    pub(super) fn may_hold(&self, value: u64) -> bool {
        let (at, bits) = self.place(value);
        self.words[at] & bits == bits
    }

    /// The high bits of a product depend on every bit of its factors.
    #[inline]
    fn place(&self, value: u64) -> (usize, u64) {
        let mixed = (value ^ value >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = |shift: u32| 1 << (mixed >> shift & 63);
        let at = (mixed >> 48) as usize & self.mask;
        (at, bit(42) | bit(36) | bit(30))
    }
}

/// What the pass needs to know of a character outside ASCII.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
#[repr(u8)]
pub(super) enum Class {
    /// Folding leaves it as it is, whatever stands beside it.
    Stable,
    /// Stable, and white space.
    Space,
    /// Stable, and neither letter nor digit.
    Separator,
    /// Stable, and the same as any other hyphen.
    Hyphen,
    /// A full-width form of ASCII punctuation: the pass reads it as what it stands for.
    WidePunctuation,
    /// The text has to be read a second time without it.
    Invisible,
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
        // Ideographs are all alike: one place in the table, that stays in the nearest cache.
        let code = if (0x4000..0xa000).contains(&code) {
            0x4000
        } else {
            code
        };
        self.classes
            .get(code as usize)
            .copied()
            .unwrap_or(Class::Unstable)
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
        c if signs::is_invisible(c) => Class::Invisible,
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
        c if signs::is_hyphen(c) => Class::Hyphen,
        c if c.is_alphanumeric() => Class::Stable,
        _ => Class::Separator,
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

/// The character that these are, if they are one alone.
#[inline]
pub(super) fn decode_three([first, second, third]: [u8; 3]) -> Option<u32> {
    let tail = (second ^ 0x80) | (third ^ 0x80);
    (first & 0xf0 == 0xe0 && tail < 0x40).then(|| {
        u32::from(first & 0x0f) << 12 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f)
    })
}

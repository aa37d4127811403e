//! The pass itself: every byte looked at once.

use super::table::{Anchor, Class, decode};
use super::{Matcher, Scratch};

/// Digits that fit the 128 bits in which a number is gathered, less the one that marks overflow.
pub(super) const LONGEST_PHONE: usize = 31;
/// At most so many separators stand in a row inside a phone number.
const SEPARATORS: u32 = 3;

/// What an ASCII character is to the pass.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Ascii {
    Other,
    Space,
    Separator,
    Letter,
    Digit,
    At,
}

const ASCII: [Ascii; 256] = {
    let mut table = [Ascii::Other; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        table[b] = match byte {
            b'0'..=b'9' => Ascii::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Ascii::Letter,
            b' ' | b'\t'..=b'\r' => Ascii::Space,
            b'-' | b'(' | b')' | b'.' | b'/' | b'+' => Ascii::Separator,
            b'@' => Ascii::At,
            _ => Ascii::Other,
        };
        b += 1;
    }
    table
};

/// Groups of digits that may be one phone number.
struct Groups {
    /// The last 32 digits, four bits each.
    digits: u128,
    /// How many digits since the chain began.
    total: u32,
    /// `total` at the start of the last groups, by their number modulo 32: a group has a digit
    /// at least, so that older ones are too long to be a number.
    starts: [u32; 32],
    /// How many groups so far.
    count: u32,
    /// Separators since the last group.
    separators: u32,
}

impl Groups {
    #[inline]
    fn end(&mut self) {
        self.count = 0;
        self.total = 0;
        self.separators = 0;
    }

    #[inline]
    fn separate(&mut self) {
        self.separators += 1;
        if self.separators > SEPARATORS {
            self.end();
        }
    }
}

impl Matcher {
    /// Gathers candidates from a text that is folded, or needs no folding but ASCII's case.
    pub(super) fn pass(&self, text: &[u8], scratch: &mut Scratch) {
        let candidates = &mut scratch.candidates;
        let mut word = 0u64;
        let mut wide = 0u64;
        let mut groups = Groups {
            digits: 0,
            total: 0,
            starts: [0; 32],
            count: 0,
            separators: 0,
        };
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match ASCII[usize::from(byte)] {
                Ascii::Letter => {
                    at = self.letters(text, at, &mut word);
                    groups.end();
                    if !text.get(at).is_some_and(u8::is_ascii_digit) {
                        self.word_ends(word, candidates);
                    }
                    continue;
                }
                Ascii::Digit => {
                    groups.starts[(groups.count % 32) as usize] = groups.total;
                    groups.count += 1;
                    groups.separators = 0;
                    while let Some(&digit) = text.get(at)
                        && digit.is_ascii_digit()
                    {
                        word = word << 8 | u64::from(digit);
                        groups.digits = groups.digits << 4 | u128::from(digit & 15);
                        groups.total += 1;
                        at += 1;
                    }
                    if self.phone_lengths != 0 {
                        self.group_ends(&groups, candidates);
                    }
                    if !text.get(at).is_some_and(u8::is_ascii_alphabetic) {
                        self.word_ends(word, candidates);
                    }
                    continue;
                }
                Ascii::Space => groups.separate(),
                Ascii::Separator => {
                    word = word << 8 | u64::from(byte);
                    groups.separate();
                }
                Ascii::At => {
                    word = word << 8 | u64::from(byte);
                    groups.end();
                    addresses(text, at, |_, _, hash| {
                        self.propose(Anchor::Address(hash), candidates);
                    });
                }
                Ascii::Other if byte < 0x80 => {
                    word = word << 8 | u64::from(byte);
                    groups.end();
                }
                Ascii::Other => {
                    let Some((code, length)) = decode(text, at) else {
                        groups.end();
                        at += 1;
                        continue;
                    };
                    at += length;
                    let class = if (0x4000..0xa000).contains(&code) {
                        Class::Stable
                    } else {
                        self.characters.class(code)
                    };
                    match class {
                        Class::Space => groups.separate(),
                        Class::WidePunctuation => {
                            let ascii = (code - 0xfee0) as u8;
                            word = word << 8 | u64::from(ascii);
                            if ASCII[usize::from(ascii)] == Ascii::Separator {
                                groups.separate();
                            } else {
                                groups.end();
                            }
                        }
                        // Folding has been done: what it calls unstable is a character beyond
                        // the Basic Multilingual Plane, or one that no rule knows yet.
                        Class::Stable | Class::Separator | Class::Unstable => {
                            if class == Class::Separator {
                                groups.separate();
                            } else {
                                groups.end();
                            }
                            wide = wide << 16 | u64::from(code & 0xffff);
                            self.wide_ends(wide, candidates);
                        }
                    }
                    continue;
                }
            }
            at += 1;
        }
    }

    #[inline]
    fn letters(&self, text: &[u8], mut at: usize, word: &mut u64) -> usize {
        while let Some(&letter) = text.get(at)
            && ASCII[usize::from(letter)] == Ascii::Letter
        {
            *word = *word << 8 | u64::from(letter | 0x20);
            at += 1;
        }
        at
    }

    #[inline]
    fn word_ends(&self, word: u64, candidates: &mut Vec<u32>) {
        let mut lengths = self.word_lengths;
        while lengths != 0 {
            let length = lengths.trailing_zeros();
            lengths &= lengths - 1;
            let window = word & (u64::MAX >> (64 - 8 * length));
            self.propose(Anchor::Word(length as u8, window), candidates);
        }
    }

    #[inline]
    fn wide_ends(&self, wide: u64, candidates: &mut Vec<u32>) {
        let mut lengths = self.wide_lengths;
        while lengths != 0 {
            let length = lengths.trailing_zeros();
            lengths &= lengths - 1;
            let window = wide & (u64::MAX >> (64 - 16 * length));
            self.propose(Anchor::Wide(length as u8, window), candidates);
        }
    }

    #[inline]
    fn group_ends(&self, groups: &Groups, candidates: &mut Vec<u32>) {
        for back in 1..=groups.count.min(32) {
            let start = groups.starts[((groups.count - back) % 32) as usize];
            let length = groups.total - start;
            if length as usize > LONGEST_PHONE {
                return;
            }
            if self.phone_lengths >> length & 1 == 1 {
                let digits = groups.digits & ((1 << (4 * length)) - 1);
                self.propose(Anchor::Phone(length as u8, digits), candidates);
            }
        }
    }
}

const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
/// Which characters may stand on which side of an `@`.
const SIDES: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        table[b] = match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => LOCAL | DOMAIN,
            b'.' | b'-' => LOCAL,
            b'_' | b'%' | b'+' => LOCAL,
            _ => 0,
        };
        b += 1;
    }
    table
};

/// The address around the `@` at `at`, given as where it begins and ends and its hash without regard
/// to case; and once more without the full stops, hyphens and the like that it begins with, which may
/// be the text's (`-taro@…`, but in `x-taro@…` another address).
pub(super) fn addresses(text: &[u8], at: usize, mut found: impl FnMut(usize, usize, u64)) {
    let to = domain_end(text, at + 1);
    if to == at + 1 {
        return;
    }
    // The domain first, then outwards from the `@`: so one walk has all the hashes.
    let mut hash = text[at + 1..to].iter().fold(0xcbf2_9ce4_8422_2325, hash_on);
    let local = |from: usize| SIDES[usize::from(text[from])];
    let mut begin = at;
    while begin > 0 && local(begin - 1) & LOCAL != 0 {
        begin -= 1;
    }
    let letter = (begin..at).find(|&from| local(from) & DOMAIN != 0);
    for from in (begin..at).rev() {
        hash = hash_on(hash, &text[from]);
        if from == begin || Some(from) == letter {
            found(from, to, hash);
        }
    }
}

fn hash_on(hash: u64, byte: &u8) -> u64 {
    (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Full stops and hyphens belong to the domain only if it goes on behind them.
fn domain_end(text: &[u8], from: usize) -> usize {
    let (mut to, mut end) = (from, from);
    while let Some(&byte) = text.get(to) {
        let letter = SIDES[usize::from(byte)] & DOMAIN != 0;
        let joins = byte == b'-' || byte == b'.' && text.get(to.wrapping_sub(1)) != Some(&b'.');
        if !letter && !joins {
            break;
        }
        to += 1;
        if letter {
            end = to;
        }
    }
    end
}

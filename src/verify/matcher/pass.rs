//! The pass itself: every byte looked at once.

use super::run::{self, Row, Run};
use super::table::{Anchor, Class, Filter, decode, decode_three};
use super::{Matcher, Seen};
use crate::verify::number;
use std::ops::Range;

/// Digits that fit the 128 bits in which a number is gathered, less the one that marks overflow.
pub(super) const LONGEST_PHONE: usize = 31;
/// At most so many punctuation marks, and so many spaces besides, stand in a row inside a phone number.
const SEPARATORS: u32 = 3;

/// What an ASCII character is to the pass.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Ascii {
    /// Not ASCII.
    Other,
    Control,
    Space,
    Punctuation,
    /// Hyphen and plus sign, which words are known without.
    Joiner,
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
            b'-' | b'+' => Ascii::Joiner,
            b'@' => Ascii::At,
            0x21..0x7f => Ascii::Punctuation,
            _ => Ascii::Control,
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
    /// Punctuation and spaces since the last group, if there is one.
    marks: u32,
    spaces: u32,
}

impl Groups {
    #[inline]
    fn begin(&mut self) {
        self.starts[(self.count % 32) as usize] = self.total;
        self.count += 1;
        self.marks = 0;
        self.spaces = 0;
    }

    /// More digits of the group that has begun; only so many of `digits` count.
    #[inline]
    fn take(&mut self, count: u32, digits: u32) {
        let digits = u128::from(digits) & ((1 << (4 * count)) - 1);
        self.digits = self.digits << (4 * count) | digits;
        self.total += count;
    }

    #[inline]
    fn end(&mut self) {
        self.count = 0;
        self.total = 0;
    }

    #[inline]
    fn mark(&mut self) {
        if self.count != 0 {
            self.marks += 1;
            if self.marks > SEPARATORS {
                self.end();
            }
        }
    }

    #[inline]
    fn space(&mut self) {
        if self.count != 0 {
            self.spaces += 1;
            if self.spaces > SEPARATORS {
                self.end();
            }
        }
    }
}

impl Matcher {
    /// Gathers candidates from a text that is folded, or needs no folding but ASCII's case. Unless
    /// it is `FOLDED`, ends with `false` where a character does need it.
    pub(super) fn pass<const FOLDED: bool>(&self, text: &[u8], seen: &mut Seen) -> bool {
        let candidates = &mut seen.candidates;
        let mut word = 0u64;
        let mut wide = 0u64;
        let mut groups = Groups {
            digits: 0,
            total: 0,
            starts: [0; 32],
            count: 0,
            marks: 0,
            spaces: 0,
        };
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match ASCII[usize::from(byte)] {
                Ascii::Letter | Ascii::Digit => {
                    let run = Run::at(text, at);
                    let end = at + run.length;
                    word = run.window(word, text, end);
                    if self.phones.length != 0 {
                        self.digits(text, end, run, word, &mut groups, candidates);
                    }
                    at = end;
                    self.word_ends(word, candidates);
                    // Guessed right more often than what follows any character.
                    if text.get(at) == Some(&b' ') {
                        groups.space();
                        at += 1;
                    }
                    continue;
                }
                Ascii::Space => groups.space(),
                // Any hyphen is any other, and a plus may be a space: neither is looked at here.
                Ascii::Joiner => groups.mark(),
                Ascii::Punctuation => {
                    word = word << 8 | u64::from(byte);
                    groups.mark();
                }
                Ascii::At => {
                    word = word << 8 | u64::from(byte);
                    groups.end();
                    addresses(text, at, |_, _, hash| {
                        if self.addresses.may_hold(hash) {
                            self.propose(Anchor::Address(hash), candidates);
                        }
                    });
                }
                Ascii::Control => {
                    word = word << 8 | u64::from(byte);
                    groups.end();
                }
                Ascii::Other => {
                    let end = self.wide_run(text, at, &mut wide, candidates);
                    if end > at {
                        groups.end();
                        at = end;
                        continue;
                    }
                    let Some((code, length)) = decode(text, at) else {
                        if !FOLDED {
                            return false;
                        }
                        groups.end();
                        at += 1;
                        continue;
                    };
                    at += length;
                    let class = self.characters.class(code);
                    if !FOLDED && class >= Class::Invisible {
                        return false;
                    }
                    match class {
                        Class::Space => groups.space(),
                        Class::Hyphen | Class::Invisible => groups.mark(),
                        Class::WidePunctuation => {
                            word = word << 8 | u64::from(code - 0xfee0);
                            groups.mark();
                        }
                        // Folding has been done: what it calls unstable is a character beyond
                        // the Basic Multilingual Plane, or one that no rule knows yet.
                        Class::Stable | Class::Separator | Class::Unstable => {
                            if class == Class::Separator {
                                groups.mark();
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
        true
    }

    /// Takes the digits of the run that ends at `end` to the groups. Few runs are looked at digit by
    /// digit: letters end a number, and between them seldom are enough digits for one.
    #[inline]
    fn digits(
        &self,
        text: &[u8],
        end: usize,
        run: Run,
        word: u64,
        groups: &mut Groups,
        candidates: &mut Vec<u32>,
    ) {
        if run.is_a_word() {
            return groups.end();
        }
        if let Some(count) = run.is_a_number() {
            groups.begin();
            groups.take(count, run::digits_of(word));
            if self.phones.may_end(groups) {
                self.group_ends(text, end, groups, candidates);
            }
            return;
        }
        match run.digits_around(self.phones.row) {
            Some((first, last)) if first == 0 || groups.total + first < self.phones.length => {
                groups.end();
                if last > 0 {
                    groups.begin();
                    groups.take(last, run::digits_of(word));
                }
            }
            _ => self.each_digit(text, end - run.length..end, groups, candidates),
        }
    }

    fn each_digit(
        &self,
        text: &[u8],
        run: Range<usize>,
        groups: &mut Groups,
        candidates: &mut Vec<u32>,
    ) {
        let mut at = run.start;
        while at < run.end {
            if !text[at].is_ascii_digit() {
                groups.end();
                at += 1;
                continue;
            }
            groups.begin();
            while at < run.end && text[at].is_ascii_digit() {
                groups.take(1, u32::from(text[at] & 15));
                at += 1;
            }
            if self.phones.may_end(groups) {
                self.group_ends(text, at, groups, candidates);
            }
        }
    }

    /// Characters of three bytes that are stable letters, such as Japanese is made of; where they
    /// end.
    #[inline]
    fn wide_run(
        &self,
        text: &[u8],
        mut at: usize,
        wide: &mut u64,
        candidates: &mut Vec<u32>,
    ) -> usize {
        for &bytes in text[at..].as_chunks().0 {
            let Some(code) = decode_three(bytes) else {
                break;
            };
            if self.characters.class(code) != Class::Stable {
                break;
            }
            at += 3;
            *wide = *wide << 16 | u64::from(code);
            self.wide_ends(*wide, candidates);
        }
        at
    }

    #[inline]
    fn word_ends(&self, word: u64, candidates: &mut Vec<u32>) {
        self.words.may_end(word, |length, window| {
            self.propose(Anchor::Word(length, window), candidates);
        });
    }

    #[inline]
    fn wide_ends(&self, wide: u64, candidates: &mut Vec<u32>) {
        self.wides.may_end(wide, |length, window| {
            self.propose(Anchor::Wide(length, window), candidates);
        });
    }

    /// A group of digits ends at `at`, and somebody's number ends so.
    #[cold]
    fn group_ends(&self, text: &[u8], at: usize, groups: &Groups, candidates: &mut Vec<u32>) {
        for back in 1..=groups.count.min(32) {
            let start = groups.starts[((groups.count - back) % 32) as usize];
            let length = (groups.total - start) as usize;
            if length > LONGEST_PHONE {
                return;
            }
            let digits = groups.digits & ((1 << (4 * length)) - 1);
            let (phone, bare) = (
                Anchor::Phone(length as u8, digits),
                Anchor::Bare(length as u8, digits),
            );
            if self.anchors.contains_key(&phone) && number::may_be_phone(&text[..at], length) {
                self.propose(phone, candidates);
            }
            if back == 1
                && self.anchors.contains_key(&bare)
                && number::stands_alone(text, at, length)
            {
                self.propose(bare, candidates);
            }
        }
    }
}

/// Ends of words, of ASCII or other characters: `BITS` for a character.
pub(super) struct Ends<const BITS: u32> {
    /// A bit for every last character that there is.
    last: Vec<u64>,
    filter: Filter,
    /// Bit n: some end is n characters long.
    lengths: u32,
}

impl<const BITS: u32> Ends<BITS> {
    pub(super) fn new(ends: &[(u8, u64)]) -> Self {
        let values: Vec<u64> = ends
            .iter()
            .map(|&(n, w)| Self::value(n.into(), w))
            .collect();
        let mut last = vec![0; (1 << BITS) / 64];
        for &(_, window) in ends {
            let (at, bit) = Self::last(window);
            last[at] |= bit;
        }
        Self {
            last,
            filter: Filter::new(&values),
            lengths: ends.iter().fold(0, |lengths, &(n, _)| lengths | 1 << n),
        }
    }

    #[inline]
    fn last(window: u64) -> (usize, u64) {
        let character = window & ((1 << BITS) - 1);
        ((character / 64) as usize, 1 << (character % 64))
    }

    #[inline]
    fn value(length: u32, window: u64) -> u64 {
        window ^ u64::from(length).rotate_right(3)
    }

    /// `window` holds the last characters; calls `found` with each length of it that may be known.
    #[inline(always)]
    fn may_end(&self, window: u64, mut found: impl FnMut(u8, u64)) {
        let (at, bit) = Self::last(window);
        if self.last[at] & bit == 0 {
            return;
        }
        let mut lengths = self.lengths;
        while lengths != 0 {
            let length = lengths.trailing_zeros();
            lengths &= lengths - 1;
            let window = window & (u64::MAX >> (64 - BITS * length));
            if self.filter.may_hold(Self::value(length, window)) {
                found(length as u8, window);
            }
        }
    }
}

/// The digits that phone numbers end with, alike in every way to write one: so few that all of them
/// are asked for at once.
pub(super) struct PhoneEnds {
    filter: Filter,
    /// How many digits; 0 if no number is sought.
    length: u32,
    /// So many digits in a row.
    row: Row,
}

impl PhoneEnds {
    pub(super) fn new(numbers: &[(u8, u128)]) -> Self {
        let shortest = numbers.iter().map(|&(n, _)| u32::from(n)).min();
        let length = shortest.unwrap_or(0).min(8);
        let mut ends = Self {
            filter: Filter::new(&[]),
            length,
            row: Row::of(length.max(1)),
        };
        let mut values: Vec<u64> = numbers.iter().map(|&(_, d)| ends.value(d)).collect();
        values.sort_unstable();
        values.dedup();
        ends.filter = Filter::new(&values);
        ends
    }

    fn value(&self, digits: u128) -> u64 {
        digits as u64 & ((1 << (4 * self.length)) - 1)
    }

    #[inline]
    fn may_end(&self, groups: &Groups) -> bool {
        groups.total >= self.length && self.filter.may_hold(self.value(groups.digits))
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

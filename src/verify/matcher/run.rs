//! Runs of ASCII letters and digits, eight bytes at a time: a byte at a time costs a wrong guess of
//! the processor's wherever letters and digits alternate, as in hexadecimal numbers.

/// Every byte's lowest bit.
const ONES: u64 = 0x0101_0101_0101_0101;
/// Every byte's highest bit.
const HIGHS: u64 = 0x80 * ONES;
/// What makes ASCII letters lower case and leaves digits as they are.
const LOWER: u64 = 0x20 * ONES;

/// ASCII letters and digits in a row.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// How many.
    pub(super) length: usize,
    /// Bit n: the character at n is a digit; of the first 64.
    digits: u64,
}

impl Run {
    /// The run at `at`.
    #[inline]
    pub(super) fn at(text: &[u8], at: usize) -> Self {
        let mut run = Self {
            length: 0,
            digits: 0,
        };
        loop {
            let (letters, digits) = letters_and_digits(eight(text, at + run.length));
            let others = !(letters | digits) & HIGHS;
            let before = !others & others.wrapping_sub(1);
            if run.length < 64 {
                run.digits |= bit_a_byte(digits & before) << run.length;
            }
            if others != 0 {
                run.length += others.trailing_zeros() as usize / 8;
                return run;
            }
            run.length += 8;
        }
    }

    /// Letters alone.
    #[inline]
    pub(super) fn is_a_word(self) -> bool {
        self.digits == 0 && self.length <= 64
    }

    /// How many digits, if there are no letters among them, and at most eight.
    #[inline]
    pub(super) fn is_a_number(self) -> Option<u32> {
        (self.length <= 8 && self.digits == (1 << self.length) - 1).then_some(self.length as u32)
    }

    /// How many digits it begins and ends with, if there are letters between, and if nowhere in it
    /// are as many digits as `many`. `None` too where that is not known.
    #[inline]
    pub(super) fn digits_around(self, many: Row) -> Option<(u32, u32)> {
        let first = self.digits.trailing_ones();
        if self.length > 64 || first as usize == self.length || many.is_in(self.digits) {
            return None;
        }
        let last = (self.digits << (64 - self.length)).leading_ones();
        Some((first, last))
    }

    /// Behind the run: the last eight characters, those of `before` followed by those of the run.
    #[inline]
    pub(super) fn window(self, before: u64, text: &[u8], end: usize) -> u64 {
        let last = eight_before(text, end) | LOWER;
        match self.length {
            8.. => last,
            length => before << (8 * length) | last & ((1 << (8 * length)) - 1),
        }
    }
}

/// Four bits for each of eight digits.
#[inline]
pub(super) fn digits_of(window: u64) -> u32 {
    let pairs = window & (0x0f * ONES);
    let fours = (pairs | pairs >> 4) & 0x00ff_00ff_00ff_00ff;
    let eights = (fours | fours >> 8) & 0x0000_ffff_0000_ffff;
    (eights | eights >> 16) as u32
}

/// So many bits in a row, one to eight.
#[derive(Clone, Copy)]
pub(super) struct Row([u32; 3]);

impl Row {
    /// Each step at most doubles how many bits are known to be set from each one.
    pub(super) fn of(bits: u32) -> Self {
        let mut left = bits - 1;
        Self([1, 2, 4].map(|most| {
            let step = left.min(most);
            left -= step;
            step
        }))
    }

    #[inline]
    fn is_in(self, bits: u64) -> bool {
        self.0.iter().fold(bits, |bits, step| bits & bits >> step) != 0
    }
}

/// The highest bit of each byte that is a letter, and of each that is a digit.
#[inline]
fn letters_and_digits(bytes: u64) -> (u64, u64) {
    let ascii = !bytes & HIGHS;
    let low = bytes & !HIGHS;
    // No sum carries over into the next byte: both summands are below 0x80 there.
    let at_least = |bytes: u64, least: u8| bytes + ONES * u64::from(0x80 - least);
    let within = |bytes, from, to| at_least(bytes, from) & !at_least(bytes, to + 1) & ascii;
    (within(low | LOWER, b'a', b'z'), within(low, b'0', b'9'))
}

/// Gathers the highest bits of all bytes, that of the first lowest.
#[inline]
fn bit_a_byte(highs: u64) -> u64 {
    (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The bytes from `at` on, the first one lowest; zeros behind the text's end.
#[inline]
fn eight(text: &[u8], at: usize) -> u64 {
    let rest = &text[at..];
    if let Some(eight) = rest.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    match text.last_chunk() {
        Some(eight) if !rest.is_empty() => u64::from_le_bytes(*eight) >> (8 * (8 - rest.len())),
        Some(_) => 0,
        None => rest
            .iter()
            .rev()
            .fold(0, |eight, &b| eight << 8 | u64::from(b)),
    }
}

/// The bytes before `end`, the last one lowest; zeros before the text's beginning.
#[inline]
fn eight_before(text: &[u8], end: usize) -> u64 {
    let before = &text[..end];
    if let Some(eight) = before.last_chunk() {
        return u64::from_be_bytes(*eight);
    }
    match text.first_chunk() {
        Some(eight) if end > 0 => u64::from_be_bytes(*eight) >> (8 * (8 - end)),
        Some(_) => 0,
        None => before.iter().fold(0, |eight, &b| eight << 8 | u64::from(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn as_byte_by_byte(text in prop::collection::vec(prop_oneof![8 => b'0'..=b'9', 4 => b'a'..=b'z', 4 => b'A'..=b'Z', 1 => any::<u8>()], 0..90), at in 0usize..90, many in 1u32..=8) {
            let at = at.min(text.len());
            let expected: Vec<u8> = text[at..].iter().copied().take_while(u8::is_ascii_alphanumeric).collect();
            let run = Run::at(&text, at);
            prop_assert_eq!(run.length, expected.len());

            let end = at + run.length;
            let window = expected.iter().fold(!0u64, |w, b| w << 8 | u64::from(b.to_ascii_lowercase()));
            prop_assert_eq!(run.window(!0, &text, end), window);

            let word = expected.iter().all(u8::is_ascii_alphabetic);
            prop_assert_eq!(run.is_a_word(), word && run.length <= 64);
            let number = run.length <= 8 && expected.iter().all(u8::is_ascii_digit);
            prop_assert_eq!(run.is_a_number(), number.then_some(run.length as u32));
            let packed = window.to_be_bytes().iter().fold(0u32, |d, b| d << 4 | u32::from(b & 15));
            prop_assert_eq!(digits_of(window), packed);
            let digits: Vec<usize> = expected.split(|b| !b.is_ascii_digit()).map(<[u8]>::len).collect();
            let around = (digits.len() > 1 && run.length <= 64 && digits.iter().all(|&n| n < many as usize))
                .then(|| (digits[0] as u32, digits[digits.len() - 1] as u32));
            prop_assert_eq!(run.digits_around(Row::of(many)), around);
        }
    }
}

//! Whether digits that are a telephone number's are written as one. Asked only where they are.

use crate::identifier::fold;

/// The `length` digits that end `text`, with what stands between them, may be one phone number.
///
/// Any punctuation may stand there; but what is plainly a date, a time, an amount or a list of
/// numbers is one.
pub(super) fn may_be_phone(text: &[u8], length: usize) -> bool {
    let Some(start) = start_of(text, length) else {
        return false;
    };
    // Full-width punctuation is read as what it stands for.
    let written = fold::fold(&String::from_utf8_lossy(&text[start..]));
    let parts = Parts::of(&written);
    let before = tail(&text[..start]);
    !(parts.holds_a_clock()
        || parts.is_a_date_after(&before)
        || parts.is_an_amount()
        || parts.is_a_decimal()
        || parts.is_a_list())
}

/// The `length` digits of `text` before `end` stand alone, as a number that a spreadsheet has
/// taken the leading zero of; `.0` may follow, where it has made a decimal of it.
pub(super) fn stands_alone(text: &[u8], end: usize, length: usize) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let (before, after) = (&text[..end - length], &text[end..]);
    let joined_before = match before {
        [.., b'+'] => true,
        [.., b, b'.' | b'-'] => alphanumeric(Some(b)),
        _ => alphanumeric(before.last()),
    };
    let joined_after = match after {
        [b'.', rest @ ..] => {
            let fraction = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            rest[..fraction].iter().any(|&b| b != b'0')
        }
        [b'-', b, ..] => alphanumeric(Some(b)),
        _ => alphanumeric(after.first()),
    };
    !joined_before && !joined_after
}

/// Where the last `length` digits begin.
fn start_of(text: &[u8], length: usize) -> Option<usize> {
    let digits = text
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, b)| b.is_ascii_digit());
    digits.map(|(at, _)| at).take(length).last()
}

/// The last few characters, folded.
fn tail(text: &[u8]) -> String {
    let from = text.len().saturating_sub(16);
    fold::fold(&String::from_utf8_lossy(&text[from..]))
}

/// Groups of digits and what stands between them: one more group than gaps.
struct Parts<'t> {
    groups: Vec<&'t str>,
    gaps: Vec<&'t str>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let digit = |c: char| c.is_ascii_digit();
        let some = |part: &&str| !part.is_empty();
        Self {
            groups: text.split(|c| !digit(c)).filter(some).collect(),
            gaps: text.split(digit).filter(some).collect(),
        }
    }

    /// `09:01` and the like.
    fn holds_a_clock(&self) -> bool {
        let below_60 = |part: &str| part.parse().is_ok_and(|n: u32| n < 60);
        self.groups.windows(2).zip(&self.gaps).any(|(sides, &gap)| {
            let (hours, minutes) = (sides[0], sides[1]);
            gap == ":"
                && hours.len() <= 2
                && minutes.len() == 2
                && below_60(hours)
                && below_60(minutes)
        })
    }

    /// Month and day, and the year is before them: `2026-03-12 13.45.56`.
    fn is_a_date_after(&self, before: &str) -> bool {
        let ([month, day, ..], [gap, ..]) = (&self.groups[..], &self.gaps[..]) else {
            return false;
        };
        let Some(year) = before.strip_suffix(gap) else {
            return false;
        };
        let year = &year[year.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        let among = |part: &str, last: u32| {
            part.len() == 2 && part.parse().is_ok_and(|n: u32| (1..=last).contains(&n))
        };
        year.len() == 4
            && (year.starts_with("19") || year.starts_with("20"))
            && among(month, 12)
            && among(day, 31)
    }

    /// `1,234,567,890`, with commas or the apostrophes of Switzerland.
    fn is_an_amount(&self) -> bool {
        let Some((first, others)) = self.groups.split_first() else {
            return false;
        };
        !others.is_empty()
            && first.len() <= 3
            && !first.starts_with('0')
            && others.iter().all(|group| group.len() == 3)
            && [",", "'"].contains(&self.gaps[0])
            && self.gaps.iter().all(|gap| *gap == self.gaps[0])
    }

    /// `0.312345678`
    fn is_a_decimal(&self) -> bool {
        self.groups.len() == 2 && self.groups[0] == "0" && [".", ","].contains(&self.gaps[0])
    }

    /// `[0, 90, 1234, 5678]`: programs write no leading zeros, so a list that begins as a number does
    /// has the zero alone. But `0,9,0,1,…` is a form with a box for each digit.
    fn is_a_list(&self) -> bool {
        let divides = |c: char| [',', ';', '|'].contains(&c);
        self.groups.first() == Some(&"0")
            && self.groups.iter().any(|group| group.len() > 1)
            && self.gaps.iter().all(|gap| {
                gap.contains(divides) && gap.chars().all(|c| divides(c) || c.is_whitespace())
            })
    }
}

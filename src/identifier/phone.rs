//! Phone numbers: to E.164, and back to the digit strings that people write.

use super::BadIdentifier;
use super::fold::is_phone_separator;
use phonenumber::{Mode, country};
use zeroize::Zeroizing;

/// `text` is folded and trimmed already. What comes out reads as itself: of a number outside its
/// country's plan a trunk prefix may be stripped at each reading (+7 888 … loses an 8 and then
/// another), and two readings would be two people.
pub(super) fn e164(region: &str, text: &str) -> Result<Zeroizing<String>, BadIdentifier> {
    let mut number = read(region, text)?;
    loop {
        let again = read(region, &number)?;
        if again.len() >= number.len() {
            let same = again == number;
            return same
                .then_some(number)
                .ok_or_else(|| BadIdentifier::NotAPhone(region.to_owned()));
        }
        number = again;
    }
}

fn read(region: &str, text: &str) -> Result<Zeroizing<String>, BadIdentifier> {
    let id: country::Id = region
        .parse()
        .map_err(|_| BadIdentifier::Region(region.to_owned()))?;
    let refused = || BadIdentifier::NotAPhone(region.to_owned());
    let digits = digits(text).ok_or_else(refused)?;
    let code = country_code(id).ok_or_else(|| BadIdentifier::Region(region.to_owned()))?;

    // The plus sign may be written as any of the prefixes that people know for "abroad"; they
    // are only read so when the region's own country code follows.
    let own = format!("{code}");
    let international = if text.trim_start_matches(['(', ' ']).starts_with('+') {
        Some(digits.as_str())
    } else {
        ["00", "010", "011"].iter().find_map(|prefix| {
            digits
                .strip_prefix(prefix)
                .filter(|rest| rest.starts_with(&own))
        })
    };
    let mut attempts: Vec<Zeroizing<String>> = Vec::new();
    if let Some(rest) = international {
        attempts.push(Zeroizing::new(format!("+{rest}")));
        // +81 (0)3-…: the trunk zero that is not dialled from abroad.
        if let Some(national) = rest.strip_prefix(&own).and_then(|n| n.strip_prefix('0')) {
            attempts.insert(0, Zeroizing::new(format!("+{own}{national}")));
        }
    } else {
        attempts.push(Zeroizing::new(digits.as_str().to_owned()));
        if digits.starts_with(&own) {
            attempts.push(Zeroizing::new(format!("+{}", digits.as_str())));
        }
    }
    let parse = |attempt: &str| parse(id, attempt);
    let valid = attempts.iter().find_map(|attempt| {
        let number = parse(attempt)?;
        number.is_valid().then_some(number)
    });
    // A number whose plan is not known in detail is taken as it is written if its length is
    // possible: where the zero behind the country code is part of it (Italy), with that.
    let only = attempts.len() == 1 || international.is_some();
    let taken = valid.or_else(|| parse(attempts.last().filter(|_| only)?).filter(is_plausible));
    if let Some(number) = taken {
        return Ok(Zeroizing::new(number.format().mode(Mode::E164).to_string()));
    }
    Err(refused())
}

/// A number with its country code is read by the plan of that country, not of the region, whose
/// trunk zero might be part of the number there.
fn parse(region: country::Id, text: &str) -> Option<phonenumber::PhoneNumber> {
    let abroad = text
        .starts_with('+')
        .then(|| phonenumber::parse(None, text));
    let abroad = abroad.and_then(Result::ok);
    abroad.or_else(|| phonenumber::parse(Some(region), text).ok())
}

/// Numbering plans change faster than programs: a number of ordinary length is taken even if
/// its range is not (or no longer) assigned.
fn is_plausible(number: &phonenumber::PhoneNumber) -> bool {
    let national = number.national().to_string();
    (8..=13).contains(&national.len())
}

fn country_code(id: country::Id) -> Option<u16> {
    phonenumber::metadata::DATABASE
        .by_id(id.as_ref())
        .map(phonenumber::Metadata::country_code)
}

/// The digits of a text made of digits and separators only; `None` if anything else is in it.
fn digits(text: &str) -> Option<Zeroizing<String>> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for c in text.chars() {
        match c {
            '0'..='9' => out.push(c),
            c if is_phone_separator(c) => {}
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The digit strings by which an E.164 number is written, punctuation left out: as dialled in
/// the country, with the country code, with a trunk zero left in, and after each of the usual
/// prefixes for "abroad". The first is the national one.
///
/// Empty for what is not E.164.
pub fn phone_variants(e164: &str) -> Vec<String> {
    let Ok(number) = phonenumber::parse(None, e164) else {
        return without_a_plan(e164);
    };
    let only_digits =
        |text: String| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let whole = only_digits(number.format().mode(Mode::E164).to_string());
    let code = number.code().value().to_string();
    let Some(significant) = whole.strip_prefix(&code) else {
        return Vec::new();
    };
    let mut national = only_digits(number.format().mode(Mode::National).to_string());
    // A number outside the known formats is shown without its trunk prefix.
    if national == significant
        && let Some(prefix) = number
            .country()
            .id()
            .and_then(|id| phonenumber::metadata::DATABASE.by_id(id.as_ref()))
            .and_then(|meta| meta.national_prefix())
        && prefix == "0"
    {
        national.insert_str(0, prefix);
    }
    let mut variants = vec![national.clone()];
    for prefix in ["", "00", "010", "011"] {
        variants.push(format!("{prefix}{whole}"));
        if national != significant {
            variants.push(format!("{prefix}{code}{national}"));
        }
    }
    let mut seen = std::collections::HashSet::new();
    variants.retain(|v| seen.insert(v.clone()));
    variants
}

/// The writings of a number that no plan knows how to part.
fn without_a_plan(e164: &str) -> Vec<String> {
    match e164.strip_prefix('+') {
        Some(whole) if !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit()) => {
            let prefixes = ["", "00", "010", "011"];
            prefixes.map(|prefix| format!("{prefix}{whole}")).to_vec()
        }
        _ => Vec::new(),
    }
}

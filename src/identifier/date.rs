//! Points that are compared and that no ticket names a person by: dates, and codes such as a post code.

use super::{BadIdentifier, LONGEST, fold};
use chrono::NaiveDate;
use zeroize::Zeroizing;

/// A date as people write it, year first (`1980-05-03`, `1980/5/3`, `1980年5月3日`, `19800503`, full
/// width too), as `1980-05-03`.
///
/// # Errors
/// [`BadIdentifier::NotADate`]; other orders among them, since nobody can tell day from month.
pub fn date(raw: &str) -> Result<Zeroizing<String>, BadIdentifier> {
    let folded = folded(raw)?;
    let groups: Vec<&str> = folded
        .split(|c: char| !c.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .collect();
    let [year, month, day] = match groups.as_slice() {
        [year, month, day] if month.len() <= 2 && day.len() <= 2 => [*year, *month, *day],
        [whole] if whole.len() == 8 => [&whole[..4], &whole[4..6], &whole[6..]],
        _ => return Err(BadIdentifier::NotADate),
    };
    let number = |text: &str| text.parse::<u32>().map_err(|_| BadIdentifier::NotADate);
    let year = match year.len() {
        4 => i32::try_from(number(year)?).map_err(|_| BadIdentifier::NotADate)?,
        _ => return Err(BadIdentifier::NotADate),
    };
    NaiveDate::from_ymd_opt(year, number(month)?, number(day)?)
        .map(|date| Zeroizing::new(date.to_string()))
        .ok_or(BadIdentifier::NotADate)
}

/// A code's letters and digits alone, lower case: `150-0002` is `1500002`.
///
/// # Errors
/// That it holds neither.
pub fn code(raw: &str) -> Result<Zeroizing<String>, BadIdentifier> {
    let folded = folded(raw)?;
    let kept: String = folded.chars().filter(|c| c.is_alphanumeric()).collect();
    match kept.is_empty() {
        true => Err(BadIdentifier::NothingToFind),
        false => Ok(Zeroizing::new(kept)),
    }
}

fn folded(raw: &str) -> Result<Zeroizing<String>, BadIdentifier> {
    if raw.len() > LONGEST * 4 {
        return Err(BadIdentifier::TooLong);
    }
    Ok(Zeroizing::new(fold::fold(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_year_first_however_they_are_written() {
        for text in [
            "1980-05-03",
            "1980/5/3",
            " 1980年5月3日 ",
            "１９８０．０５．０３",
            "19800503",
            "1980-5-03",
        ] {
            assert_eq!(
                date(text).map(|d| d.to_string()),
                Ok("1980-05-03".into()),
                "{text}"
            );
        }
        for text in [
            "",
            "3.5.1980",
            "80-05-03",
            "1980-02-30",
            "1980-13-01",
            "1980-05",
            "1980-05-03 10:00",
            "198005031",
            "1980-005-3",
            "昭和55年5月3日",
        ] {
            assert_eq!(date(text), Err(BadIdentifier::NotADate), "{text}");
        }
    }

    #[test]
    fn a_code_is_its_letters_and_digits() {
        for text in ["150-0002", "〒１５０－０００２", "1500002"] {
            assert_eq!(
                code(text).map(|c| c.to_string()),
                Ok("1500002".into()),
                "{text}"
            );
        }
        assert_eq!(
            code("SW1A 1AA").map(|c| c.to_string()),
            Ok("sw1a1aa".into())
        );
        assert!(code(" - ").is_err());
    }
}

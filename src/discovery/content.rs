//! What sampled values look like. Values go in and a verdict comes out; no value is kept.

use std::collections::BTreeSet;

/// Fewer values say nothing.
const FEWEST: usize = 5;

/// A verdict on one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What most values look like.
    pub looks: Looks,
    /// So many did.
    pub matched: usize,
    /// So many were looked at.
    pub sampled: usize,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// One address, and nothing else.
    Email,
    /// An address somewhere inside.
    HoldsEmail,
    /// Twelve digits, the last of which is My Number's check digit.
    MyNumber,
    /// 13 to 19 digits that pass Luhn's check.
    Card,
    /// Three digits, four digits, as Japanese post has them.
    PostalCode,
    /// A telephone number.
    Phone,
    /// Kana alone: most often how a name is read.
    Kana,
    /// A few kanji: names or places.
    Kanji,
    /// Several numbers or UUIDs in one text: no link follows them.
    Ids,
}

impl Looks {
    /// In words.
    pub fn says(self) -> &'static str {
        match self {
            Self::Email => "are e-mail addresses",
            Self::HoldsEmail => "hold e-mail addresses",
            Self::MyNumber => "are My Numbers by their check digit",
            Self::Card => "are card numbers by their check digit",
            Self::PostalCode => "are Japanese postal codes",
            Self::Phone => "are telephone numbers",
            Self::Kana => "are names in kana",
            Self::Kanji => "are names or places in kanji",
            Self::Ids => "are lists of ids in one text, which no link can follow",
        }
    }

    /// How many per cent must look so: what chance may pass must be nearly all.
    fn least(self) -> usize {
        match self {
            Self::HoldsEmail => 5,
            Self::Ids => 20,
            Self::Email | Self::PostalCode | Self::Phone => 60,
            Self::MyNumber | Self::Card | Self::Kana | Self::Kanji => 85,
        }
    }

    fn fits(self, value: &str) -> bool {
        match self {
            Self::Email => is_email(value),
            Self::HoldsEmail => value
                .split(|c: char| c.is_whitespace() || "\"'<>(),;:=[]{}、。（）".contains(c))
                .any(is_email),
            Self::MyNumber => is_my_number(value),
            Self::Card => is_card(value),
            Self::PostalCode => is_postal_code(value),
            Self::Phone => is_phone(value),
            Self::Kana => is_short(value, is_kana),
            Self::Kanji => is_short(value, is_kanji),
            Self::Ids => is_list_of_ids(value),
        }
    }
}

/// The surest first.
const ALL: [Looks; 9] = [
    Looks::Email,
    Looks::MyNumber,
    Looks::Card,
    Looks::PostalCode,
    Looks::Phone,
    Looks::Kana,
    Looks::Kanji,
    Looks::HoldsEmail,
    Looks::Ids,
];

/// `17,4,230`, `{17;4}`, `|17|4|`; but not `1,250`, which is one number.
fn is_list_of_ids(value: &str) -> bool {
    let parts: Vec<&str> = value
        .split([',', ';', '|', ' ', '\n'])
        .map(|part| part.trim_matches(['{', '}', '[', ']', '(', ')', '"', '\'']))
        .filter(|part| !part.is_empty())
        .collect();
    let number = |p: &&str| p.len() <= 19 && p.bytes().all(|b| b.is_ascii_digit());
    let uuid = |p: &&str| p.len() == 36 && uuid::Uuid::try_parse(p).is_ok();
    let thousands = parts.iter().skip(1).all(|p| p.len() == 3) && value.contains(',');
    let separated = value.contains([',', ';', '|']);
    parts.len() > 1 && separated && !thousands && parts.iter().all(|p| number(p) || uuid(p))
}

/// What most of these values look like, if it is anything personal.
pub fn look<'v>(values: impl IntoIterator<Item = &'v str>) -> Option<Content> {
    let values: Vec<&str> = values
        .into_iter()
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .collect();
    if values.len() < FEWEST {
        return None;
    }
    // A handful of words used again and again is a status, whatever it looks like.
    let different = values.iter().collect::<BTreeSet<_>>().len();
    if different < FEWEST {
        return None;
    }
    ALL.into_iter().find_map(|looks| {
        let matched = values.iter().filter(|v| looks.fits(v)).count();
        (matched > 0 && matched * 100 >= looks.least() * values.len()).then_some(Content {
            looks,
            matched,
            sampled: values.len(),
        })
    })
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else {
        return false;
    };
    let part = |c: char| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    !local.is_empty()
        && local.chars().all(part)
        && domain.contains('.')
        && domain.split('.').all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

/// The digits, if there is nothing else but what people put between them.
fn digits(value: &str) -> Option<Vec<u8>> {
    let mut digits = Vec::new();
    for c in value.chars() {
        match c {
            '0'..='9' => digits.push(c as u8 - b'0'),
            '０'..='９' => digits.push((c as u32 - '０' as u32) as u8),
            ' ' | '-' | '－' | '‐' | '−' => {}
            _ => return None,
        }
    }
    Some(digits)
}

fn is_card(value: &str) -> bool {
    digits(value)
        .is_some_and(|d| (13..=19).contains(&d.len()) && d.iter().any(|d| *d != 0) && luhn(&d))
}

/// Luhn: from the right every second digit doubled, its digits added; the sum ends in 0.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_my_number(value: &str) -> bool {
    digits(value).is_some_and(|d| my_number(&d))
}

/// The check digit of the Order on My Number: 11 less the weighted sum modulo 11, and 0 for what
/// would have two digits.
fn my_number(digits: &[u8]) -> bool {
    let [first @ .., check] = digits else {
        return false;
    };
    if first.len() != 11 || digits.iter().all(|d| *d == 0) {
        return false;
    }
    let sum: u32 = first
        .iter()
        .rev()
        .zip(1..)
        .map(|(digit, n): (&u8, u32)| u32::from(*digit) * if n <= 6 { n + 1 } else { n - 5 })
        .sum();
    let expected = match sum % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    u32::from(*check) == expected
}

fn is_postal_code(value: &str) -> bool {
    let value = value.trim_start_matches('〒').trim();
    let parts: Vec<&str> = value.split(['-', '－', '‐']).collect();
    let [area, town] = parts.as_slice() else {
        return false;
    };
    let length = |part: &str| digits(part).map(|d| d.len());
    length(area) == Some(3) && length(town) == Some(4)
}

fn is_phone(value: &str) -> bool {
    let plus = value.starts_with(['+', '＋']);
    let rest = value.trim_start_matches(['+', '＋']);
    let rest: String = rest
        .chars()
        .filter(|c| !matches!(c, '(' | ')' | '（' | '）' | '.'))
        .collect();
    digits(&rest).is_some_and(|d| {
        let national = d.first() == Some(&0) && matches!(d.len(), 10 | 11);
        national || plus && (8..=15).contains(&d.len())
    })
}

fn is_short(value: &str, of: impl Fn(char) -> bool) -> bool {
    let letters = value.chars().filter(|c| !c.is_whitespace()).count();
    (2..=12).contains(&letters)
        && value
            .chars()
            .all(|c| c.is_whitespace() || c == '・' || of(c))
}

fn is_kana(c: char) -> bool {
    matches!(c, 'ぁ'..='ゖ' | 'ァ'..='ヺ' | 'ー' | 'ｦ'..='ﾟ')
}

fn is_kanji(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '々' | 'ヶ' | 'ノ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(values: &[&str]) -> Option<Looks> {
        look(values.iter().copied()).map(|c| c.looks)
    }

    #[test]
    fn luhn_knows_card_numbers() {
        for good in [
            "4111 1111 1111 1111",
            "5500-0000-0000-0004",
            "340000000000009",
        ] {
            assert!(is_card(good), "{good}");
        }
        for bad in [
            "4111 1111 1111 1112",
            "4111",
            "0000000000000000",
            "411111111111111x",
        ] {
            assert!(!is_card(bad), "{bad}");
        }
    }

    #[test]
    fn lists_of_ids_are_known() {
        for list in [
            "17,4,230",
            "1, 2",
            "{17;4}",
            "|17|4|",
            "[3,12]",
            "\"1\",\"22\"",
            "5, 2001",
        ] {
            assert!(is_list_of_ids(list), "{list}");
        }
        assert!(is_list_of_ids(
            "0190e0a0-0000-7000-8000-000000000001,0190e0a0-0000-7000-8000-000000000002"
        ));
        for other in [
            "17",
            "1,250",
            "1,250,000",
            "2020-01-02",
            "a,b",
            "17 4",
            "",
            ",",
            "1.5,2.5",
            "090-1234-5678",
        ] {
            assert!(!is_list_of_ids(other), "{other}");
        }
        let lists = ["1,2", "3", "4,15", "6", "7,2", "8"];
        assert_eq!(looks(&lists), Some(Looks::Ids));
        assert_eq!(looks(&["1", "2", "3", "4", "5", "6,7"]), None);
    }

    /// Worked by hand: digits P11…P1 times 6,5,4,3,2,7,6,5,4,3,2.
    #[test]
    fn my_number_has_a_check_digit() {
        // 1·6+2·5+3·4+4·3+5·2+6·7+7·6+8·5+9·4+0·3+1·2 = 212; 212 mod 11 = 3; 11 − 3 = 8
        assert!(is_my_number("123456789018"));
        assert!(is_my_number("1234 5678 9018"));
        for wrong in 0..8 {
            assert!(!is_my_number(&format!("12345678901{wrong}")));
        }
        // The sum 11 leaves 0: the check digit is 0. (0…0 5·2 + 1·1? no: 4·2 + 1·3 = 11)
        assert!(is_my_number("000000000140"));
        // 1 leaves 10, which is 0 too: 6·2 = 12, 12 mod 11 = 1.
        assert!(is_my_number("000000000060"));
        assert!(!is_my_number("000000000000") && !is_my_number("12345678901"));
    }

    #[test]
    fn most_values_decide() {
        let emails = [
            "a@x.jp",
            "b@x.jp",
            "c@y.example.com",
            "d@z.jp",
            "-",
            "e+f@z.jp",
        ];
        assert_eq!(looks(&emails), Some(Looks::Email));
        let inside = [
            "see a@x.jp",
            "hi",
            "ho",
            "from b@y.jp",
            "{\"u\":\"c@z.jp\"}",
        ];
        assert_eq!(looks(&inside), Some(Looks::HoldsEmail));
        let post = [
            "100-0001",
            "〒150-0002",
            "530－0001",
            "060-0001",
            "810-0001",
        ];
        assert_eq!(looks(&post), Some(Looks::PostalCode));
        let phones = [
            "03-1234-5678",
            "０９０１２３４５６７８",
            "+81 3 1234 5678",
            "(06)1234-5678",
            "0312345678",
        ];
        assert_eq!(looks(&phones), Some(Looks::Phone));
        let kanji = [
            "山田 太郎",
            "佐々木花子",
            "鈴木　一郎",
            "高橋次郎",
            "田中実",
        ];
        assert_eq!(looks(&kanji), Some(Looks::Kanji));
        let kana = ["ヤマダ タロウ", "すずき", "サトウ", "ﾀﾅｶ", "イトウ"];
        assert_eq!(looks(&kana), Some(Looks::Kana));
        assert_eq!(looks(&["a@x.jp", "b@x.jp"]), None, "too few");
        assert_eq!(looks(&["処理済"; 40]), None, "a status");
        assert_eq!(looks(&["1", "2", "3", "4", "5", "6"]), None);
        assert_eq!(looks(&["red", "green", "blue", "black", "white"]), None);
    }
}

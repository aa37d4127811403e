//! Words of a file as messages repeat them, and what was likely meant.

/// At most sixty characters, control characters written as escapes.
pub(super) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(show).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn show(c: char) -> impl Iterator<Item = char> {
    // Also what turns the reading direction: an excerpt must not lie about what it shows.
    let escape = c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let (plain, escaped) = if escape {
        (None, Some(c.escape_unicode()))
    } else {
        (Some(c), None)
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// A word of the file as messages repeat it.
pub fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// As many names as a message lists.
const LISTED: usize = 40;

/// Help for a word that is not one of `known`: the near miss, or the list.
pub fn choose(word: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "remove it".into();
    }
    choose_or(word, known, "known here:")
}

/// The same, the list in other words; short enough to be read.
pub fn choose_or(word: &str, known: &[&str], list: &str) -> String {
    if let Some(near) = nearest(word, known.iter().copied()) {
        return did_you_mean(near);
    }
    let shown: Vec<String> = known.iter().take(LISTED).map(|k| shortened(k)).collect();
    let more = known.len().saturating_sub(LISTED);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{list} {}{more}", shown.join(", "))
}

/// How a suggestion is made.
pub fn did_you_mean(near: &str) -> String {
    format!("did you mean {}?", quoted(near))
}

/// The known word that is likely meant, if one is near enough.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .filter_map(|candidate| Some((how_near(word, candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// In how many edits `word` would be `candidate`, if those are few for words so long: a third of
/// them, at most three. Of one letter nothing can be told. Letters that differ by case alone, which
/// SQL folds, do not count.
pub fn how_near(word: &str, candidate: &str) -> Option<usize> {
    let letters = |text: &str| -> Vec<char> { text.to_lowercase().chars().take(80).collect() };
    let (word, candidate) = (letters(word), letters(candidate));
    let longer = word.len().max(candidate.len());
    let distance = distance(&word, &candidate);
    let few = if longer < 2 {
        0
    } else {
        (longer / 3).clamp(1, 3)
    };
    (distance <= few).then_some(distance)
}

/// Edits between two words: insert, remove, replace, swap neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_is_not_suggested() {
        let known = ["customer", "booking", "id", "a"];
        let near = |word| nearest(word, known.into_iter());
        for (word, meant) in [
            ("custmoer", "customer"),
            ("CUSTOMER", "customer"),
            ("bokings", "booking"),
            ("di", "id"),
        ] {
            assert_eq!(near(word), Some(meant));
        }
        for word in ["consumers", "invoice", "no", "b", "", "長い名前"] {
            assert_eq!(near(word), None, "{word}");
        }
    }

    #[test]
    fn a_list_stays_readable() {
        let names: Vec<String> = (0..1000).map(|n| format!("column_number_{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = choose_or("x", &names, "its columns:");
        assert!(
            said.ends_with(" and 960 more") && said.len() < 1000,
            "{said}"
        );
        assert_eq!(
            choose("b\n", &["ab\u{1b}"]),
            "known here: ab\u{1b}".replace('\u{1b}', "\\u{1b}")
        );
    }
}

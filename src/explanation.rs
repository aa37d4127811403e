//! What each error code means, from `docs/errors.md`, as text for a terminal.

use unicode_width::UnicodeWidthStr;

const DOCUMENT: &str = include_str!("../docs/errors.md");

/// The section of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Such as `E0219`.
    pub code: &'static str,
    /// What stands behind the code in its heading.
    pub title: &'static str,
    /// What stands under it, in Markdown.
    pub body: &'static str,
}

/// All of them, in the order of the document.
pub fn all() -> Vec<Explanation> {
    DOCUMENT
        .split("\n## ")
        .skip(1)
        .filter_map(|section| {
            let (heading, body) = section.split_once('\n')?;
            let (code, title) = heading.split_once(": ")?;
            let body = body.trim();
            Some(Explanation { code, title, body })
        })
        .collect()
}

/// The explanation of a code as people type it: `E0219`, `e219`, `219`.
///
/// # Errors
/// There is none; those that may have been meant, the likeliest first.
pub fn find(asked: &str) -> Result<Explanation, Vec<Explanation>> {
    let all = all();
    let Some(code) = code(asked) else {
        return Err(about(asked, all));
    };
    match all.iter().find(|known| known.code == code) {
        Some(found) => Ok(*found),
        None => Err(near(&code, all)),
    }
}

fn code(asked: &str) -> Option<String> {
    let digits = asked.trim().trim_start_matches(['E', 'e']);
    let good = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    good.then(|| format!("E{digits:0>4}"))
}

const FEW: usize = 3;

/// Codes that one wrong digit or a swap of two could have been, or else the next in number.
fn near(code: &str, mut all: Vec<Explanation>) -> Vec<Explanation> {
    let number = |code: &str| code[1..].parse::<i32>().unwrap_or(0);
    let sorted = |code: &str| {
        let mut digits = code.as_bytes().to_vec();
        digits.sort_unstable();
        digits
    };
    let slip = |known: &str| {
        let wrong = known.bytes().zip(code.bytes()).filter(|(a, b)| a != b);
        let wrong = wrong.count();
        wrong == 1 || wrong == 2 && sorted(known) == sorted(code)
    };
    all.sort_by_key(|e| (!slip(e.code), (number(e.code) - number(code)).abs()));
    all.truncate(FEW);
    all
}

/// Those whose title speaks of a word.
fn about(word: &str, all: Vec<Explanation>) -> Vec<Explanation> {
    let word = word.trim().to_lowercase();
    all.into_iter()
        .filter(|e| word.len() > 2 && e.title.to_lowercase().contains(&word))
        .take(FEW)
        .collect()
}

impl Explanation {
    /// For a terminal of so many columns.
    pub fn text(&self, width: usize, colours: bool) -> String {
        let paint = |style: &str, text: &str| match colours {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let mut out = format!(
            "{}\n",
            paint("1", &format!("{}: {}", self.code, self.title))
        );
        for part in parts(self.body) {
            out.push('\n');
            match part {
                Part::Code(lines) => {
                    for line in lines {
                        if !line.is_empty() {
                            out += &paint("2", &format!("    {line}"));
                        }
                        out.push('\n');
                    }
                }
                Part::Prose(text) => {
                    let text = wrap(&plain(&text), width);
                    out += &match text.strip_prefix(WHAT_TO_DO) {
                        Some(rest) => paint("1", WHAT_TO_DO) + rest,
                        None => text,
                    };
                }
            }
        }
        out
    }
}

const WHAT_TO_DO: &str = "What to do.";

enum Part {
    Prose(String),
    Code(Vec<&'static str>),
}

fn parts(body: &'static str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut lines = body.lines();
    let finish = |prose: &mut String, parts: &mut Vec<Part>| {
        if !prose.is_empty() {
            parts.push(Part::Prose(std::mem::take(prose)));
        }
    };
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            finish(&mut prose, &mut parts);
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            parts.push(Part::Code(code.collect()));
        } else if line.trim().is_empty() {
            finish(&mut prose, &mut parts);
        } else {
            if line.starts_with("- ") {
                finish(&mut prose, &mut parts);
            }
            prose += line;
            prose.push(' ');
        }
    }
    finish(&mut prose, &mut parts);
    parts
}

/// Without the marks of Markdown, but for the backticks: they say where a command ends.
fn plain(prose: &str) -> String {
    let mut out = String::new();
    for (at, piece) in prose.split('`').enumerate() {
        if at > 0 {
            out.push('`');
        }
        match at % 2 {
            0 => out += &without_links(&piece.replace("**", "")),
            _ => out += piece,
        }
    }
    out
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        out += before;
        let whole = link
            .split_once("](")
            .and_then(|(label, rest)| Some((label, rest.split_once(')')?.1)));
        let Some((label, after)) = whole else {
            out.push('[');
            rest = link;
            continue;
        };
        if label.ends_with(".md") {
            out += "docs/";
        }
        out += label;
        rest = after;
    }
    out + rest
}

/// Lines of at most so many columns, where words allow it.
fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let wide = word.width();
        if column > 0 && column + 1 + wide > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += wide;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(found: &[Explanation]) -> Vec<&str> {
        found.iter().map(|e| e.code).collect()
    }

    #[test]
    fn codes_are_found_as_people_type_them() {
        for asked in ["E0219", "e0219", " E219", "219", "0219"] {
            assert_eq!(find(asked).unwrap().code, "E0219", "{asked}");
        }
        assert_eq!(codes(&find("E212").unwrap_err())[..2], ["E0211", "E0213"]);
        assert_eq!(find("E2019").unwrap_err()[0].code, "E0219");
        assert_eq!(find("9999").unwrap_err().len(), FEW);
        assert!(codes(&find("residual").unwrap_err()).contains(&"E0510"));
        for asked in ["", "E", "12345", "E02a9", "日本", "-1"] {
            assert!(find(asked).is_err(), "{asked:?}");
        }
    }

    #[test]
    fn marks_go_and_words_stay() {
        let text = plain(
            "**Do.** See [operations.md](operations.md#keys) or [links](x); `a**[b](c)`, a [1] b",
        );
        assert_eq!(
            text,
            "Do. See docs/operations.md or links; `a**[b](c)`, a [1] b"
        );
    }

    #[test]
    fn lines_fit_and_nothing_is_lost() {
        for width in [20, 40, 80, 100] {
            for explanation in all() {
                let text = explanation.text(width, false);
                assert!(!text.contains("```") && !text.contains("**"), "{text}");
                for line in text.lines().skip(1).filter(|l| !l.starts_with("    ")) {
                    assert!(
                        line.width() <= width || !line.contains(' '),
                        "{width}: {line}"
                    );
                }
                let coloured = explanation.text(width, true);
                assert_eq!(
                    coloured
                        .replace("\x1b[1m", "")
                        .replace("\x1b[2m", "")
                        .replace("\x1b[0m", ""),
                    text
                );
            }
        }
    }
}

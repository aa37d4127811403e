//! What is wrong, where, and what to do: the one shape in which mistakes in configuration,
//! policies and their fit to a database are told.

use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// A text that diagnostics point into.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as the user gave it.
    pub path: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

/// Whether a diagnostic stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing stops.
    Warning,
    /// Nothing runs until it is mended.
    Error,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// `E0xxx`; `docs/operations.md` says what each asks of its reader.
    pub code: &'static str,
    /// Whether it stops the work.
    pub severity: Severity,
    /// What is wrong, naming table and column where there are any; never personal data.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Where: a file and the bytes in it.
    pub place: Option<(Source, Range<usize>)>,
}

impl Diagnostic {
    /// An error without a place; add one with [`Diagnostic::at`].
    pub fn error(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            help: help.into(),
            place: None,
        }
    }

    /// A warning without a place.
    pub fn warning(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message, help)
        }
    }

    /// Points at bytes of a file.
    #[must_use]
    pub fn at(mut self, source: &Source, span: Range<usize>) -> Self {
        self.place = Some((source.clone(), span));
        self
    }
}

impl Source {
    /// Line and column of a byte, both from 1, the column in characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

/// For people: each diagnostic with its excerpt, code and help, a hundred columns wide.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    use miette::{GraphicalReportHandler, GraphicalTheme};
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_links(false)
        .without_syntax_highlighting();
    let mut out = String::new();
    for diagnostic in diagnostics {
        handler
            .render_report(&mut out, &Shown::new(diagnostic))
            .expect("a String takes all that is written to it");
        out.push('\n');
    }
    out
}

/// For editors and scripts: a list of `{code, severity, message, help, file, line, column,
/// end_line, end_column}`. Lines and columns count from 1, columns in characters, the end is
/// the first character after; all five are null where there is no place.
pub fn to_json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    let entry = |diagnostic: &Diagnostic| {
        let place = diagnostic.place.as_ref();
        let begin = place.map(|(source, span)| source.position(span.start));
        let end = place.map(|(source, span)| source.position(span.end.max(span.start)));
        serde_json::json!({
            "code": diagnostic.code,
            "severity": diagnostic.severity,
            "message": diagnostic.message,
            "help": diagnostic.help,
            "file": place.map(|(source, _)| source.path.as_ref()),
            "line": begin.map(|at| at.0),
            "column": begin.map(|at| at.1),
            "end_line": end.map(|at| at.0),
            "end_column": end.map(|at| at.1),
        })
    };
    diagnostics.iter().map(entry).collect()
}

/// Lines longer than this are not shown: an excerpt should help.
const LONGEST_LINE: usize = 400;

/// A diagnostic as miette wants to see it.
#[derive(Debug)]
struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    excerpt: Option<(miette::NamedSource<Arc<str>>, Range<usize>)>,
}

impl<'a> Shown<'a> {
    fn new(diagnostic: &'a Diagnostic) -> Self {
        let mut message = diagnostic.message.clone();
        let excerpt = diagnostic.place.as_ref().and_then(|(source, span)| {
            let start = source.text.floor_char_boundary(span.start);
            // Only the first line is marked: a table's span may run over half the file.
            let line_end = source.text[start..]
                .find(['\n', '\r'])
                .map_or(source.text.len(), |end| start + end);
            let end = source
                .text
                .floor_char_boundary(span.end)
                .clamp(start, line_end);
            // One line of context is shown above and below.
            let before = source.text[..start].bytes().filter(|b| *b == b'\n').count();
            let long = source
                .text
                .lines()
                .skip(before.saturating_sub(1))
                .take(3)
                .any(|line| line.len() > LONGEST_LINE);
            if long || source.text.is_empty() {
                let (line, column) = source.position(start);
                message = format!("{message} ({}:{line}:{column})", source.path);
                return None;
            }
            let named = miette::NamedSource::new(&source.path, Arc::clone(&source.text));
            Some((named, start..end))
        });
        Self {
            diagnostic,
            message,
            excerpt,
        }
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(&self.diagnostic.help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        let (source, _) = self.excerpt.as_ref()?;
        Some(source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let (_, span) = self.excerpt.as_ref()?;
        let label = miette::LabeledSpan::new_primary_with_span(Some("here".into()), span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_can_be_shown() {
        for text in [
            "",
            "a",
            "é\n",
            "\n\n",
            "x = 1\r\ny = \"日本\"\n",
            &"長".repeat(500),
        ] {
            let source = Source {
                path: "f.toml".into(),
                text: text.into(),
            };
            for start in 0..text.len().min(30) + 2 {
                for end in [0, start, start + 1, start + 9] {
                    let one =
                        Diagnostic::error("E0000", "wrong", "mend it").at(&source, start..end);
                    let shown = render(std::slice::from_ref(&one), false);
                    assert!(shown.contains("f.toml:"), "{text:?} {start} {end}\n{shown}");
                    to_json(&[one]);
                }
            }
        }
    }

    #[test]
    fn columns_are_characters() {
        let source = Source {
            path: "f".into(),
            text: "a\n日本 = 1\n".into(),
        };
        let one = Diagnostic::warning("E0000", "m", "h").at(&source, 9..10);
        let json = to_json(&[one]);
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["column"], 4);
        assert_eq!(json[0]["end_column"], 5);
        assert_eq!(json[0]["severity"], "warning");
    }
}

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

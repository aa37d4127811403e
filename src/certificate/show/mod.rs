//! A certificate for the eye: plain text for a terminal, a page for paper.

mod html;
mod run;
mod text;
mod words;

pub use html::html;
pub use run::{run_html, run_text};
pub use text::text;

use chrono::{DateTime, Utc};

/// The language of a rendering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    #[default]
    En,
}

/// `2025-11-24 04:03:12 UTC`: one form for both languages.
fn time(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `12,345`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// The name that a unit variant or a level has in the certificate's JSON.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

/// Names come from a database, where a name may hold anything: control characters (terminal
/// escapes among them) and marks that turn the direction of writing are shown, not obeyed.
fn tame(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    text.chars()
        .flat_map(|c| {
            let (shown, kept) = if obeyed(c) {
                (Some(c.escape_unicode()), None)
            } else {
                (None, Some(c))
            };
            shown.into_iter().flatten().chain(kept)
        })
        .collect()
}

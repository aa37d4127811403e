//! Secrets that somebody wrote into the configuration by mistake: excerpts must not repeat them.
//!
//! Works on the bare text, so that it also holds for files that are not TOML, and rather masks
//! too much than too little.

use crate::reading::{Span, mask};

/// Keys whose value is a secret if it is a string.
const KEYS: &[&str] = &[
    "password", "passwd", "secret", "token", "signing", "hash", "key", "value",
];

/// The text with what may be a secret replaced by asterisks, byte for byte.
pub(super) fn masked(text: &str) -> String {
    let mut spans = Vec::new();
    let lower = text.to_ascii_lowercase();
    for key in KEYS {
        for (at, _) in lower.match_indices(key) {
            spans.extend(value_after(text, at + key.len()));
        }
    }
    for (at, _) in text.match_indices("://") {
        spans.extend(credentials(text, at + 3));
    }
    for (at, _) in text.match_indices("-----BEGIN") {
        let end = text[at..]
            .find("-----END")
            .map_or(text.len(), |end| at + end);
        spans.push(at..end);
    }
    mask(text, &spans)
}

/// `= "value"`, `='value'` or `=value` after a key that ends at `at`.
fn value_after(text: &str, at: usize) -> Option<Span> {
    let rest = text[at..]
        .trim_start_matches(['"', '\''])
        .trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    let start = text.len() - rest.len();
    for quote in ["\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let end = inner.find(quote).unwrap_or(inner.len());
            return Some(start + 3..start + 3 + end);
        }
    }
    if rest.starts_with(['{', '[']) {
        return None;
    }
    // To the end of the line: escapes and quotes inside are then no question.
    let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
    Some(start..start + end)
}

/// The password in `user:password@` after `://`: from the first colon to the last `@` of the line.
fn credentials(text: &str, from: usize) -> Option<Span> {
    let rest = &text[from..];
    let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
    let at = line.rfind('@')?;
    let colon = line[..at].find(':')?;
    Some(from + colon + 1..from + at)
}

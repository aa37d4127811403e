//! Names and texts inside SQL: the one place that quotes them.

/// A name as a quoted identifier: always in double quotes, which are doubled inside.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal that reads the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// A name inside a comment: what could open or close one is taken apart, and control characters
/// (a line feed, a NUL) become spaces.
pub fn comment(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '*' | '/' => '_',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(comment("x*/ DROP\n/*"), "x__ DROP __");
    }
}

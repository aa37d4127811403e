//! The signs that writing and copying change, and that the sweep therefore takes for equal or for
//! nothing. What may be typed as an identifier, and what identifies a person, is
//! `crate::identifier`'s to say, and narrower.

/// Any sign that people, programs and scanners put for a hyphen, after NFKC; the long vowel mark of
/// Japanese too.
pub(super) fn is_hyphen(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{ad}' | '\u{2d7}' | '\u{58a}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2212}'
                | '\u{2500}'
                | '\u{2501}'
                | '\u{2796}'
                | '\u{30a0}'
                | '\u{30fc}'
    )
}

/// Takes no room on the screen: soft hyphens, joiners, marks of direction, variation selectors, what
/// copying out of an address book leaves.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}')
}

/// Two characters of folded text are one sign.
pub(super) fn same(a: char, b: char) -> bool {
    a == b || is_hyphen(a) && is_hyphen(b)
}

/// The text without what cannot be seen.
pub(super) fn visible(text: &str) -> String {
    text.chars().filter(|&c| !is_invisible(c)).collect()
}

//! Escapes of JSON, of URLs, of XML and HTML, undone before texts are compared.

use memchr::{memchr, memchr3};

/// JSON in JSON in JSON: message queues do that. Deeper nesting is not looked through.
const ROUNDS: usize = 3;

/// Kept between texts, so that nothing is allocated for each.
#[derive(Default)]
pub(super) struct Buffers {
    whole: Vec<u8>,
    /// After the escapes of JSON.
    json: Vec<u8>,
    next: Vec<u8>,
    /// After those of URLs and of markup.
    plain: Vec<u8>,
    spare: Vec<u8>,
}

/// Calls `each` with `text`, and with whatever it says once its escapes are undone: those of JSON
/// undone or not, and then those of URLs and of markup, and all again for what was escaped twice.
pub(super) fn readings(text: &[u8], buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) {
    each(text);
    if memchr3(b'\\', b'%', b'&', text).is_none() {
        return;
    }
    let mut now = std::mem::take(&mut buffers.json);
    let mut next = std::mem::take(&mut buffers.next);
    let mut any = false;
    for _ in 0..ROUNDS {
        let text = if any { &now } else { text };
        let marked = plain(text, buffers, each);
        // Undoing the others may bring JSON to light; what is JSON already comes first.
        any = undo(JSON, text, &mut next) || marked && undo(JSON, &buffers.plain, &mut next);
        if !any {
            break;
        }
        each(&next);
        std::mem::swap(&mut now, &mut next);
    }
    if any {
        plain(&now, buffers, each);
    }
    (buffers.json, buffers.next) = (now, next);
}

/// The same for what is JSON, so that its escapes mean nothing else.
pub(super) fn json(text: &[u8], buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) {
    let mut whole = std::mem::take(&mut buffers.whole);
    let undone = undo(JSON, text, &mut whole);
    readings(if undone { &whole } else { text }, buffers, each);
    buffers.whole = whole;
}

/// Undoes escapes of URLs and markup, in turn; the last reading is left in `buffers.plain`.
/// Whether there were any.
fn plain(text: &[u8], buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) -> bool {
    let Buffers { plain, spare, .. } = buffers;
    let (mut any, mut idle) = (false, 0);
    for kind in [PERCENT, REFERENCE].into_iter().cycle().take(2 * ROUNDS) {
        if undo(kind, if any { plain } else { text }, spare) {
            std::mem::swap(plain, spare);
            each(plain);
            (any, idle) = (true, 0);
        } else {
            idle += 1;
            if idle == 2 {
                break;
            }
        }
    }
    any
}

/// One way to escape: the byte it begins with, and what reads it from behind that byte.
#[derive(Clone, Copy)]
struct Escape {
    sign: u8,
    read: fn(&[u8]) -> Read<'_>,
}

/// What an escape means, and what follows it; `None` if it is none.
type Read<'t> = Option<(Meant, &'t [u8])>;

enum Meant {
    Byte(u8),
    Char(char),
    Marked(char, char),
}

const JSON: Escape = Escape {
    sign: b'\\',
    read: backslashed,
};
const PERCENT: Escape = Escape {
    sign: b'%',
    read: |text| {
        let (value, rest) = hex::<2>(text)?;
        Some((Meant::Byte(value as u8), rest))
    },
};
const REFERENCE: Escape = Escape {
    sign: b'&',
    read: reference,
};

/// Whether there was anything to undo; what is no escape stays as it is.
fn undo(escape: Escape, text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut any = false;
    let mut rest = text;
    while let Some(at) = memchr(escape.sign, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        match (escape.read)(rest) {
            Some((meant, after)) => {
                any = true;
                rest = after;
                match meant {
                    Meant::Byte(byte) => out.push(byte),
                    Meant::Char(c) => push(out, c),
                    Meant::Marked(letter, mark) => {
                        push(out, letter);
                        push(out, mark);
                    }
                }
            }
            None => out.push(escape.sign),
        }
    }
    if any {
        out.extend_from_slice(rest);
    }
    any
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn backslashed(text: &[u8]) -> Read<'_> {
    let (&escape, rest) = text.split_first()?;
    let byte = match escape {
        b'"' | b'\\' | b'/' => escape,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' | b'f' => b' ',
        b'u' => {
            let (c, rest) = unicode(rest)?;
            return Some((Meant::Char(c), rest));
        }
        _ => return None,
    };
    Some((Meant::Byte(byte), rest))
}

/// Four hexadecimal digits, or two times four for a surrogate pair.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = hex::<4>(text)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, rest));
    }
    if let Some((low, after)) = rest.strip_prefix(b"\\u").and_then(hex::<4>)
        && let Some(c) = char::decode_utf16([high as u16, low as u16])
            .next()
            .and_then(Result::ok)
    {
        return Some((c, after));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn hex<const DIGITS: usize>(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(DIGITS)?;
    let mut value = 0;
    for &digit in digits {
        value = value * 16 + char::from(digit).to_digit(16)?;
    }
    Some((value, rest))
}

/// A character reference of XML or HTML, numeric or by name.
fn reference(text: &[u8]) -> Read<'_> {
    // The longest name below is ZeroWidthSpace.
    let end = memchr(b';', &text[..text.len().min(16)])?;
    let (name, rest) = (std::str::from_utf8(&text[..end]).ok()?, &text[end + 1..]);
    let meant = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            Meant::Char(char::from_u32(code.ok()?)?)
        }
        None => match NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, c)) => Meant::Char(*c),
            None => marked(name)?,
        },
    };
    Some((meant, rest))
}

/// `eacute`, `Uuml` and their like: a letter and the name of the mark on it.
fn marked(name: &str) -> Option<Meant> {
    let mut rest = name.chars();
    let letter = rest.next().filter(char::is_ascii_alphabetic)?;
    let (_, mark) = MARKS.iter().find(|(known, _)| *known == rest.as_str())?;
    Some(Meant::Marked(letter, *mark))
}

const MARKS: [(&str, char); 13] = [
    ("acute", '\u{301}'),
    ("breve", '\u{306}'),
    ("caron", '\u{30c}'),
    ("cedil", '\u{327}'),
    ("circ", '\u{302}'),
    ("dblac", '\u{30b}'),
    ("dot", '\u{307}'),
    ("grave", '\u{300}'),
    ("macr", '\u{304}'),
    ("ogon", '\u{328}'),
    ("ring", '\u{30a}'),
    ("tilde", '\u{303}'),
    ("uml", '\u{308}'),
];

/// What stands in addresses, numbers and names, and what stands around them.
const NAMED: [(&str, char); 56] = [
    ("lt", '<'),
    ("gt", '>'),
    ("amp", '&'),
    ("quot", '"'),
    ("apos", '\''),
    ("commat", '@'),
    ("period", '.'),
    ("plus", '+'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("percnt", '%'),
    ("num", '#'),
    ("excl", '!'),
    ("quest", '?'),
    ("dollar", '$'),
    ("ast", '*'),
    ("equals", '='),
    ("colon", ':'),
    ("semi", ';'),
    ("comma", ','),
    ("sol", '/'),
    ("bsol", '\\'),
    ("verbar", '|'),
    ("vert", '|'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("grave", '`'),
    ("Hat", '^'),
    ("middot", '·'),
    ("bull", '•'),
    ("hyphen", '\u{2010}'),
    ("dash", '\u{2010}'),
    ("ndash", '\u{2013}'),
    ("mdash", '\u{2014}'),
    ("horbar", '\u{2015}'),
    ("minus", '\u{2212}'),
    ("nbsp", '\u{a0}'),
    ("ensp", '\u{2002}'),
    ("emsp", '\u{2003}'),
    ("thinsp", '\u{2009}'),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("shy", '\u{ad}'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
    ("ZeroWidthSpace", '\u{200b}'),
    ("NoBreak", '\u{2060}'),
    ("szlig", 'ß'),
    ("aelig", 'æ'),
    ("AElig", 'Æ'),
    ("oslash", 'ø'),
    ("Oslash", 'Ø'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        readings(text.as_bytes(), &mut Buffers::default(), &mut |t| {
            seen.push(String::from_utf8(t.to_vec()).unwrap());
        });
        seen
    }

    #[test]
    fn what_holds_no_escape_is_read_once() {
        for text in [
            "plain",
            "100 % & \\ 5%",
            "&; &broken; &#x; %zz %4",
            r"C:\data",
        ] {
            assert_eq!(all(text), [text], "{text}");
        }
    }

    #[test]
    fn json_escapes_are_undone() {
        let text = r#"{"a":"\u0074aro\u0040x\/y \ud83d\ude00 \q \\\"deep\\\""#;
        let seen = all(text);
        assert_eq!(seen[1], r#"{"a":"taro@x/y 😀 \q \"deep\""#);
        assert_eq!(seen[2], r#"{"a":"taro@x/y 😀 \q "deep""#);
    }

    #[test]
    fn references_are_undone() {
        let text = "a&#64;b &#x5c71; &amp; &broken &; c&commat;d&period;jp &ouml;&Zcaron;&shy;!";
        assert_eq!(
            all(text)[1],
            "a@b 山 & &broken &; c@d.jp o\u{308}Z\u{30c}\u{ad}!"
        );
    }

    #[test]
    fn escapes_of_urls_are_undone() {
        assert_eq!(all("?m=taro%2Bx%40y&n=%E5%B1%B1")[1], "?m=taro+x@y&n=山");
    }

    #[test]
    fn escapes_in_escapes_are_undone() {
        for text in [
            "taro%2540x",
            "taro&amp;#64;x",
            "taro%26%2364%3Bx",
            "taro&#37;40x",
            r#"taro\u002540x"#,
            r"taro%5Cu0040x",
            r"taro&bsol;u0040x",
            r"taro\\\\u0040x",
        ] {
            assert!(all(text).contains(&"taro@x".to_owned()), "{text}");
        }
        // A backslash that is none of JSON's.
        assert!(all(r"C:\taro%40x").contains(&r"C:\taro@x".to_owned()));
    }
}

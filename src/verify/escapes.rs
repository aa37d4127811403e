//! Escapes of JSON and XML, undone before texts are compared.

/// JSON in JSON in JSON: message queues do that. Deeper nesting is not looked through.
const ROUNDS: usize = 3;

/// Undoes the escapes of JSON strings, wherever they stand in `text`, and calls `each` with the
/// outcome, again for what was escaped twice.
pub(super) fn json(text: &[u8], decoded: &mut Vec<u8>, each: &mut dyn FnMut(&[u8])) {
    unescape(text, decoded);
    each(decoded);
    for _ in 1..ROUNDS {
        if !decoded.contains(&b'\\') {
            return;
        }
        let again = std::mem::take(decoded);
        unescape(&again, decoded);
        if *decoded == again {
            return;
        }
        each(decoded);
    }
}

fn unescape(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some((&escape, after)) = rest.split_first() else {
            out.push(b'\\');
            return;
        };
        let plain = match escape {
            b'"' | b'\\' | b'/' => Some(escape),
            b'n' => Some(b'\n'),
            b't' => Some(b'\t'),
            b'r' => Some(b'\r'),
            b'b' | b'f' => Some(b' '),
            b'u' => {
                if let Some((c, after)) = unicode(after) {
                    push(out, c);
                    rest = after;
                    continue;
                }
                None
            }
            _ => None,
        };
        match plain {
            Some(byte) => {
                out.push(byte);
                rest = after;
            }
            // Not an escape: the backslash stays, and the next character is read as itself.
            None => out.push(b'\\'),
        }
    }
    out.extend_from_slice(rest);
}

/// Four hexadecimal digits, or two times four for a surrogate pair.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = hex4(text)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, rest));
    }
    if let Some((low, after)) = rest.strip_prefix(b"\\u").and_then(hex4)
        && let Some(c) = char::decode_utf16([high as u16, low as u16])
            .next()
            .and_then(Result::ok)
    {
        return Some((c, after));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let mut value = 0;
    for &digit in digits {
        value = value * 16 + char::from(digit).to_digit(16)?;
    }
    Some((value, rest))
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Undoes the five named and all numeric character references of XML.
pub(super) fn xml(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'&') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let end = rest.iter().take(12).position(|&b| b == b';');
        match end.and_then(|end| reference(&rest[1..end]).map(|c| (c, end))) {
            Some((c, end)) => {
                push(out, c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

fn reference(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_are_undone() {
        let mut seen = Vec::new();
        let text = br#"{"a":"\u0074aro\u0040x\/y \ud83d\ude00 \q \\\"deep\\\""#;
        json(text, &mut Vec::new(), &mut |t| {
            seen.push(String::from_utf8(t.to_vec()).unwrap())
        });
        assert_eq!(seen[0], r#"{"a":"taro@x/y 😀 \q \"deep\""#);
        assert_eq!(seen[1], r#"{"a":"taro@x/y 😀 \q "deep""#);
    }

    #[test]
    fn xml_references_are_undone() {
        let mut out = Vec::new();
        xml(b"a&#64;b &#x5c71; &amp; &broken &;", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a@b 山 & &broken &;");
    }
}

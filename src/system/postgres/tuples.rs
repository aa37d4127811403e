//! The binary format of COPY, taken apart as it arrives.

use std::ops::Range;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The stream is not what COPY BINARY sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes messages of any cut, hands out whole tuples. Copies only tuples that straddle messages.
#[derive(Default)]
pub(super) struct Tuples {
    carry: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
    begun: bool,
    ended: bool,
}

impl Tuples {
    /// `each` gets the bytes and where each field lies in them (`None` for NULL).
    pub(super) fn feed(
        &mut self,
        message: &[u8],
        each: &mut impl FnMut(&[u8], &[Option<Range<usize>>]),
    ) -> Result<(), Malformed> {
        if self.carry.is_empty() {
            let used = self.take(message, each)?;
            self.carry.extend_from_slice(&message[used..]);
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(message);
            let used = self.take(&carry, each)?;
            carry.drain(..used);
            self.carry = carry;
        }
        Ok(())
    }

    /// Whether the trailer has come: without it the stream was cut short.
    pub(super) fn ended(&self) -> bool {
        self.ended && self.carry.is_empty()
    }

    fn take(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&[u8], &[Option<Range<usize>>]),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        if !self.begun {
            let Some(header) = bytes.get(..SIGNATURE.len() + 8) else {
                return Ok(0);
            };
            if !header.starts_with(SIGNATURE) {
                return Err(Malformed);
            }
            let extension = length(bytes, SIGNATURE.len() + 4)
                .and_then(|l| usize::try_from(l).ok())
                .ok_or(Malformed)?;
            at = header.len() + extension;
            if bytes.len() < at {
                return Ok(0);
            }
            self.begun = true;
        }
        while !self.ended {
            let Some(next) = self.tuple(bytes, at)? else {
                break;
            };
            if !self.ended {
                each(bytes, &self.fields);
            }
            at = next;
        }
        if self.ended && at < bytes.len() {
            return Err(Malformed);
        }
        Ok(at)
    }

    /// Where the tuple at `at` ends; `None` if it is not all there yet.
    fn tuple(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>, Malformed> {
        let Some(&[a, b]) = bytes.get(at..at + 2) else {
            return Ok(None);
        };
        at += 2;
        let count = i16::from_be_bytes([a, b]);
        if count == -1 {
            self.ended = true;
            return Ok(Some(at));
        }
        self.fields.clear();
        for _ in 0..count {
            let Some(length) = length(bytes, at) else {
                return Ok(None);
            };
            at += 4;
            if length == -1 {
                self.fields.push(None);
                continue;
            }
            let end = at + usize::try_from(length).map_err(|_| Malformed)?;
            if end > bytes.len() {
                return Ok(None);
            }
            self.fields.push(Some(at..end));
            at = end;
        }
        Ok(Some(at))
    }
}

fn length(bytes: &[u8], at: usize) -> Option<i32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(i32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_tuples() {
        let mut stream = [SIGNATURE, &[0; 8]].concat();
        for (a, b) in [
            (&b"one"[..], None),
            (b"", Some(&b"two"[..])),
            (b"three", Some(b"x")),
        ] {
            stream.extend_from_slice(&2i16.to_be_bytes());
            for field in [Some(a), b] {
                match field {
                    Some(f) => {
                        stream.extend_from_slice(&(f.len() as i32).to_be_bytes());
                        stream.extend_from_slice(f);
                    }
                    None => stream.extend_from_slice(&(-1i32).to_be_bytes()),
                }
            }
        }
        stream.extend_from_slice(&(-1i16).to_be_bytes());
        for size in 1..=stream.len() {
            let mut tuples = Tuples::default();
            let mut seen = Vec::new();
            for message in stream.chunks(size) {
                assert!(!tuples.ended());
                tuples
                    .feed(message, &mut |bytes, fields| {
                        seen.extend(fields.iter().map(|f| f.clone().map(|f| bytes[f].to_vec())));
                    })
                    .unwrap();
            }
            assert!(tuples.ended());
            let text = |t: &str| Some(t.as_bytes().to_vec());
            assert_eq!(
                seen,
                [
                    text("one"),
                    None,
                    text(""),
                    text("two"),
                    text("three"),
                    text("x")
                ]
            );
        }
        assert_eq!(
            Tuples::default().feed(&[7; 30], &mut |_, _| ()),
            Err(Malformed)
        );
    }
}

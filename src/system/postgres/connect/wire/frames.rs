//! Finds where messages begin in a stream of them: a tag, four bytes of length, the body.

/// A place in a stream of messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    have: usize,
    left: usize,
}

/// Bytes of tag and length.
pub(super) const HEAD: usize = 5;

impl Frames {
    /// Goes on by these bytes; `begins` hears the tag of each message whose head is now known.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut begins: impl FnMut(u8)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.left -= step;
                bytes = &bytes[step..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == HEAD {
                self.have = 0;
                self.left = length(&self.head).saturating_sub(4);
                begins(self.head[0]);
            }
        }
    }
}

/// What a head says: the length of all but the tag.
pub(super) fn length(head: &[u8]) -> usize {
    let bytes = [head[1], head[2], head[3], head[4]];
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let all = b"D\0\0\0\x07abcZ\0\0\0\x05I1\0\0\0\x04Z\0\0\0\x05T";
        for cut in 1..all.len() {
            let (mut frames, mut tags) = (Frames::default(), Vec::new());
            for part in all.chunks(cut) {
                frames.pass(part, |tag| tags.push(tag));
            }
            assert_eq!(tags, b"DZ1Z", "cut every {cut}");
        }
    }
}

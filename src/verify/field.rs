//! The binary image of a column's value, taken apart into texts.

use super::escapes::{self, Buffers};

/// How the binary image of a value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// The text itself; may carry JSON, URLs or markup, so that escapes are looked through too.
    Text,
    /// JSON as it was written.
    Json,
    /// A version byte, then JSON.
    Jsonb,
    /// XML as it was written.
    Xml,
    /// Bytes, read as UTF-8 where they are.
    Bytes,
    /// Pairs of texts.
    Hstore,
    /// An array of these.
    Array(Box<FieldKind>),
    /// A row of these; `None` for fields that hold no text.
    Composite(Vec<Option<FieldKind>>),
}

/// Calls `each` with every text in `image`, and with what it says without its escapes; nothing is
/// copied where it stands there as it is.
///
/// An image that is not built as its kind says (a type changed meanwhile) is read as bytes:
/// never silently skipped.
pub(super) fn texts(
    image: &[u8],
    kind: &FieldKind,
    buffers: &mut Buffers,
    each: &mut dyn FnMut(&[u8]),
) {
    match kind {
        FieldKind::Text | FieldKind::Xml => escapes::readings(image, buffers, each),
        FieldKind::Json => escapes::json(image, buffers, each),
        FieldKind::Jsonb => {
            escapes::json(image.strip_prefix(&[1]).unwrap_or(image), buffers, each);
        }
        FieldKind::Bytes => bytes(image, buffers, each),
        FieldKind::Hstore => {
            if !lengths_fit(image, &mut |part| each_text(part, buffers, each)) {
                bytes(image, buffers, each);
            }
        }
        FieldKind::Array(element) => {
            if array(image, element, buffers, each).is_none() {
                bytes(image, buffers, each);
            }
        }
        FieldKind::Composite(fields) => {
            if composite(image, fields, buffers, each).is_none() {
                bytes(image, buffers, each);
            }
        }
    }
}

fn each_text(part: &[u8], buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) {
    texts(part, &FieldKind::Text, buffers, each);
}

/// The runs of valid UTF-8; whatever else is there separates them.
fn bytes(image: &[u8], buffers: &mut Buffers, each: &mut dyn FnMut(&[u8])) {
    for chunk in image.utf8_chunks() {
        if chunk.valid().len() > 1 {
            texts(chunk.valid().as_bytes(), &FieldKind::Text, buffers, each);
        }
    }
}

/// Reads big-endian words and counted parts off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn word(&mut self) -> Option<i32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*word))
    }

    /// `Some(None)` for NULL.
    fn part(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.word()?;
        if length == -1 {
            return Some(None);
        }
        let (part, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(part))
    }
}

fn array(
    image: &[u8],
    element: &FieldKind,
    buffers: &mut Buffers,
    each: &mut dyn FnMut(&[u8]),
) -> Option<()> {
    let mut reader = Reader(image);
    let dimensions = reader.word()?;
    let (_has_nulls, _element_type) = (reader.word()?, reader.word()?);
    for _ in 0..dimensions {
        let (_length, _lower_bound) = (reader.word()?, reader.word()?);
    }
    while !reader.0.is_empty() {
        if let Some(part) = reader.part()? {
            texts(part, element, buffers, each);
        }
    }
    Some(())
}

fn composite(
    image: &[u8],
    fields: &[Option<FieldKind>],
    buffers: &mut Buffers,
    each: &mut dyn FnMut(&[u8]),
) -> Option<()> {
    let mut reader = Reader(image);
    let count = usize::try_from(reader.word()?).ok()?;
    for at in 0..count {
        let _type = reader.word()?;
        let Some(part) = reader.part()? else { continue };
        match fields.get(at) {
            Some(Some(kind)) => texts(part, kind, buffers, each),
            Some(None) => {}
            None => bytes(part, buffers, each),
        }
    }
    Some(())
}

/// hstore: a count, then key and value, each counted.
fn lengths_fit(image: &[u8], each: &mut dyn FnMut(&[u8])) -> bool {
    let mut reader = Reader(image);
    if reader.word().is_none() {
        return false;
    }
    while !reader.0.is_empty() {
        match reader.part() {
            Some(Some(part)) => each(part),
            Some(None) => {}
            None => return false,
        }
    }
    true
}

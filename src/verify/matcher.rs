//! One pass over a text for all identifiers at once.
//!
//! The cost of a text does not depend on how many identifiers are sought: nothing walks a
//! pattern. Instead the pass computes, where an identifier could end, what it would be known by
//! there, and asks a table small enough for the processor's cache:
//!
//! - at an `@`, the whole address around it;
//! - at the end of a group of digits, the digits of this and the groups before it;
//! - at the end of an ASCII word, the last eight characters, white space left out;
//! - at any other character, the last four such characters.
//!
//! What the table knows is a candidate; `super::confirm` has the last word on it, so the pass
//! may propose too much but never too little.

use super::FieldKind;
use super::confirm;
use super::field;
use crate::identifier::{Normalised, fold, phone_variants};
use crate::policy::IdentifierKind;
use std::collections::HashMap;
use std::fmt;
use zeroize::Zeroizing;

mod pass;
mod table;

use table::{Anchor, Characters, Filter};

/// One identifier that is sought, and whose it is.
#[derive(Clone)]
pub struct Needle {
    kind: IdentifierKind,
    value: Zeroizing<String>,
    tag: u32,
}

impl Needle {
    /// `tag` is handed back on every hit.
    pub fn new(identifier: &Normalised, tag: u32) -> Self {
        Self {
            kind: identifier.kind().clone(),
            value: Zeroizing::new(identifier.value().to_owned()),
            tag,
        }
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Needle({:?}, …, {})", self.kind, self.tag)
    }
}

/// Buffers for [`Matcher::scan`], kept between calls so that a scan allocates nothing.
#[derive(Default)]
pub struct Scratch {
    decoded: Vec<u8>,
    folded: String,
    candidates: Vec<u32>,
    found: Vec<u32>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(…)")
    }
}

/// All identifiers of a sweep, ready to be looked for.
pub struct Matcher {
    needles: Vec<Needle>,
    characters: &'static Characters,
    filter: Filter,
    /// What a candidate is known by, to the needles that are.
    anchors: HashMap<Anchor, Vec<u32>>,
    /// Bit n: some word anchor is n characters long (at most 8, 4).
    word_lengths: u32,
    wide_lengths: u32,
    /// Bit n: some phone number is written with n digits.
    phone_lengths: u32,
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher({} identifiers)", self.needles.len())
    }
}

impl Matcher {
    /// Prepares for a sweep.
    pub fn new(needles: Vec<Needle>) -> Self {
        let mut anchors: HashMap<Anchor, Vec<u32>> = HashMap::with_capacity(needles.len());
        let (mut word_lengths, mut wide_lengths, mut phone_lengths) = (0, 0, 0);
        for (at, needle) in needles.iter().enumerate() {
            let at = u32::try_from(at).expect("fewer needles than 2³²");
            for anchor in anchors_of(needle) {
                match anchor {
                    Anchor::Word(length, _) => word_lengths |= 1 << length,
                    Anchor::Wide(length, _) => wide_lengths |= 1 << length,
                    Anchor::Phone(length, _) => phone_lengths |= 1 << length,
                    Anchor::Address(_) => {}
                }
                anchors.entry(anchor).or_default().push(at);
            }
        }
        Self {
            filter: Filter::new(anchors.keys()),
            characters: Characters::table(),
            needles,
            anchors,
            word_lengths,
            wide_lengths,
            phone_lengths,
        }
    }

    /// How many identifiers are sought.
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Nothing is sought.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Looks through the binary image of one value; `on_hit` gets the tag of each needle in it,
    /// once a needle.
    pub fn scan(
        &self,
        image: &[u8],
        kind: &FieldKind,
        scratch: &mut Scratch,
        mut on_hit: impl FnMut(u32),
    ) {
        if self.needles.is_empty() {
            return;
        }
        scratch.found.clear();
        let mut decoded = std::mem::take(&mut scratch.decoded);
        field::texts(image, kind, &mut decoded, &mut |text| {
            self.text(text, scratch)
        });
        scratch.decoded = decoded;
        for &at in &scratch.found {
            on_hit(self.needles[at as usize].tag);
        }
    }

    /// Whether a text holds any needle; for texts that are about to be shown.
    pub fn finds_any(&self, text: &str, scratch: &mut Scratch) -> bool {
        let mut any = false;
        self.scan(text.as_bytes(), &FieldKind::Text, scratch, |_| any = true);
        any
    }

    fn text(&self, text: &[u8], scratch: &mut Scratch) {
        if text.is_ascii() || self.characters.all_stable(text) {
            self.pass(text, scratch);
            self.confirm(text, scratch);
            return;
        }
        match std::str::from_utf8(text) {
            Ok(text) => {
                let mut folded = std::mem::take(&mut scratch.folded);
                self.characters.fold_into(text, &mut folded);
                self.pass(folded.as_bytes(), scratch);
                self.confirm(folded.as_bytes(), scratch);
                scratch.folded = folded;
            }
            // A database in SQL_ASCII: what is no UTF-8 separates.
            Err(_) => {
                for chunk in text.utf8_chunks() {
                    if !chunk.valid().is_empty() {
                        self.text(chunk.valid().as_bytes(), scratch);
                    }
                }
            }
        }
    }

    /// Moves the candidates that the text really holds to `found`.
    fn confirm(&self, text: &[u8], scratch: &mut Scratch) {
        if scratch.candidates.is_empty() {
            return;
        }
        scratch.candidates.sort_unstable();
        scratch.candidates.dedup();
        let text = String::from_utf8_lossy(text);
        let folded = fold::fold_cow(&text);
        for at in scratch.candidates.drain(..) {
            let needle = &self.needles[at as usize];
            let exact = matches!(needle.kind, IdentifierKind::Phone { .. });
            if !scratch.found.contains(&at)
                && (exact || confirm::says(&needle.kind, &needle.value, &folded))
            {
                scratch.found.push(at);
            }
        }
    }

    /// Adds whatever is known by `anchor` to the candidates.
    #[inline]
    fn propose(&self, anchor: Anchor, candidates: &mut Vec<u32>) {
        if self.filter.may_hold(anchor)
            && let Some(needles) = self.anchors.get(&anchor)
        {
            candidates.extend_from_slice(needles);
        }
    }
}

/// By what a needle is recognised; several for a phone number, one otherwise.
fn anchors_of(needle: &Needle) -> Vec<Anchor> {
    let value = needle.value.as_str();
    match needle.kind {
        IdentifierKind::Phone { .. } => phone_variants(value)
            .iter()
            .filter(|digits| digits.len() <= pass::LONGEST_PHONE)
            .map(|digits| {
                let packed = digits
                    .bytes()
                    .fold(0u128, |packed, d| packed << 4 | u128::from(d & 15));
                Anchor::Phone(digits.len() as u8, packed)
            })
            .collect(),
        IdentifierKind::Email => {
            let bytes = value.as_bytes();
            let at = bytes.iter().position(|&b| b == b'@').unwrap_or(0);
            let mut whole = Vec::new();
            pass::addresses(bytes, at, |from, to, hash| {
                if from == 0 && to == bytes.len() {
                    whole.push(Anchor::Address(hash));
                }
            });
            if whole.is_empty() {
                whole.push(tail(value));
            }
            whole
        }
        _ => vec![tail(value)],
    }
}

/// The last characters of a value, as the pass will see them.
fn tail(value: &str) -> Anchor {
    let squeezed: Vec<char> = value.chars().filter(|c| !c.is_whitespace()).collect();
    // The pass asks after letters, digits and non-ASCII characters only.
    let end = squeezed
        .iter()
        .rposition(|c| c.is_ascii_alphanumeric() || !c.is_ascii())
        .map_or(0, |at| at + 1);
    let squeezed = &squeezed[..end];
    let same_side = |ascii: bool| {
        squeezed
            .iter()
            .rev()
            .take_while(move |c| c.is_ascii() == ascii)
    };
    if squeezed.last().is_some_and(char::is_ascii) {
        let chars: Vec<char> = same_side(true).take(8).copied().collect();
        let window = chars
            .iter()
            .rev()
            .fold(0u64, |w, &c| w << 8 | u64::from(c as u32 & 0xff));
        Anchor::Word(chars.len() as u8, window)
    } else {
        let chars: Vec<char> = same_side(false).take(4).copied().collect();
        let window = chars
            .iter()
            .rev()
            .fold(0u64, |w, &c| w << 16 | u64::from(c as u32 & 0xffff));
        Anchor::Wide(chars.len() as u8, window)
    }
}

#[cfg(test)]
mod tests;

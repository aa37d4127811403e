//! One pass over a text for all identifiers at once.
//!
//! The cost of a text does not depend on how many identifiers are sought: nothing walks a
//! pattern. Instead the pass computes, where an identifier could end, what it would be known by
//! there, and asks filters small enough for the processor's nearest cache, one for each kind:
//!
//! - at an `@`, the whole address around it;
//! - at the end of a group of digits, the last digits of this and the groups before it;
//! - at the end of an ASCII word, the last eight characters, white space, hyphens and `+` left out;
//! - at any other character, the last four such characters, the same left out.
//!
//! What a map behind the filter knows too is a candidate; `super::confirm` has the last word on it
//! (`super::number` on phone numbers), so the pass may propose too much but never too little.

use super::FieldKind;
use super::confirm;
use super::escapes::Buffers;
use super::field;
use super::signs::{is_hyphen, is_invisible, visible};
use crate::identifier::{Normalised, fold, phone_variants};
use crate::policy::IdentifierKind;
use std::collections::HashMap;
use std::fmt;
use zeroize::Zeroizing;

mod pass;
mod run;
mod table;

use pass::{Ends, PhoneEnds};
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
        let whole = identifier.value();
        // A mark that stood on something invisible stands on a letter without it.
        let mut value = Zeroizing::new(fold::fold(&visible(whole)));
        // Nothing is visible: it is found as it stands.
        if value.is_empty() {
            value = Zeroizing::new(whole.to_owned());
        }
        Self {
            kind: identifier.kind().clone(),
            value,
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
    pub(super) decoded: Buffers,
    seen: Seen,
}

/// What looks through the values of a database.
pub trait Seek: Sync {
    /// Looks through the binary image of one value; `on_hit` gets a tag for each of what is sought that
    /// is in it, once.
    fn scan(
        &self,
        image: &[u8],
        kind: &FieldKind,
        scratch: &mut Scratch,
        on_hit: &mut dyn FnMut(u32),
    );

    /// Whether a text holds anything that is sought; for texts that are about to be shown.
    fn finds_any(&self, text: &str, scratch: &mut Scratch) -> bool {
        let mut any = false;
        let found = &mut |_| any = true;
        self.scan(text.as_bytes(), &FieldKind::Text, scratch, found);
        any
    }
}

impl Seek for Matcher {
    fn scan(
        &self,
        image: &[u8],
        kind: &FieldKind,
        scratch: &mut Scratch,
        on_hit: &mut dyn FnMut(u32),
    ) {
        Self::scan(self, image, kind, scratch, on_hit);
    }
}

/// What a pass leaves, and the room to fold in.
#[derive(Default)]
struct Seen {
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
    addresses: Filter,
    phones: PhoneEnds,
    words: Ends<8>,
    wides: Ends<16>,
    /// What a candidate is known by, to the needles that are.
    anchors: HashMap<Anchor, Vec<u32>>,
    /// Needles that nothing is known by, such as a lone hyphen: candidates everywhere.
    anywhere: Vec<u32>,
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
        let mut anywhere = Vec::new();
        for (at, needle) in needles.iter().enumerate() {
            let at = u32::try_from(at).expect("fewer needles than 2³²");
            let known_by = anchors_of(needle);
            if known_by.is_empty() {
                anywhere.push(at);
            }
            for anchor in known_by {
                anchors.entry(anchor).or_default().push(at);
            }
        }
        let (mut addresses, mut phones, mut words, mut wides) = (vec![], vec![], vec![], vec![]);
        for anchor in anchors.keys() {
            match *anchor {
                Anchor::Address(hash) => addresses.push(hash),
                Anchor::Phone(length, digits) | Anchor::Bare(length, digits) => {
                    phones.push((length, digits));
                }
                Anchor::Word(length, window) => words.push((length, window)),
                Anchor::Wide(length, window) => wides.push((length, window)),
            }
        }
        Self {
            addresses: Filter::new(&addresses),
            phones: PhoneEnds::new(&phones),
            words: Ends::new(&words),
            wides: Ends::new(&wides),
            characters: Characters::table(),
            needles,
            anchors,
            anywhere,
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
        let Scratch { decoded, seen } = scratch;
        seen.found.clear();
        field::texts(image, kind, decoded, &mut |text| self.text(text, seen));
        for &at in &seen.found {
            on_hit(self.needles[at as usize].tag);
        }
    }

    /// Whether a text holds any needle; for texts that are about to be shown.
    pub fn finds_any(&self, text: &str, scratch: &mut Scratch) -> bool {
        let mut any = false;
        self.scan(text.as_bytes(), &FieldKind::Text, scratch, |_| any = true);
        any
    }

    fn text(&self, text: &[u8], seen: &mut Seen) {
        if self.pass::<false>(text, seen) {
            self.confirm(text, seen);
            return;
        }
        seen.candidates.clear();
        match std::str::from_utf8(text) {
            Ok(text) => {
                self.look_folded(text, seen);
                // What cannot be seen may stand between two words, or inside of one.
                if text.contains(is_invisible) {
                    self.look_folded(&Zeroizing::new(visible(text)), seen);
                }
            }
            // A database in SQL_ASCII: what is no UTF-8 separates.
            Err(_) => {
                for chunk in text.utf8_chunks() {
                    if !chunk.valid().is_empty() {
                        self.text(chunk.valid().as_bytes(), seen);
                    }
                }
            }
        }
    }

    fn look_folded(&self, text: &str, seen: &mut Seen) {
        let mut folded = std::mem::take(&mut seen.folded);
        self.characters.fold_into(text, &mut folded);
        self.pass::<true>(folded.as_bytes(), seen);
        self.confirm(folded.as_bytes(), seen);
        seen.folded = folded;
    }

    /// Moves the candidates that the text really holds to `found`.
    fn confirm(&self, text: &[u8], seen: &mut Seen) {
        seen.candidates.extend_from_slice(&self.anywhere);
        if seen.candidates.is_empty() {
            return;
        }
        seen.candidates.sort_unstable();
        seen.candidates.dedup();
        let text = String::from_utf8_lossy(text);
        let folded = fold::fold_cow(&text);
        for at in seen.candidates.drain(..) {
            let needle = &self.needles[at as usize];
            let exact = matches!(needle.kind, IdentifierKind::Phone { .. });
            if !seen.found.contains(&at)
                && (exact || confirm::says(&needle.kind, &needle.value, &folded))
            {
                seen.found.push(at);
            }
        }
    }

    /// Adds whatever is known by `anchor` to the candidates.
    #[cold]
    fn propose(&self, anchor: Anchor, candidates: &mut Vec<u32>) {
        if let Some(needles) = self.anchors.get(&anchor) {
            candidates.extend_from_slice(needles);
        }
    }
}

/// By what a needle is recognised: several for a phone number, one otherwise, or none.
fn anchors_of(needle: &Needle) -> Vec<Anchor> {
    let value = needle.value.as_str();
    match needle.kind {
        IdentifierKind::Phone { .. } => {
            let mut variants = phone_variants(value);
            variants.retain(|digits| digits.len() <= pass::LONGEST_PHONE);
            let bare = variants
                .first()
                .and_then(|national| national.strip_prefix('0'))
                .filter(|bare| bare.len() >= SHORTEST_BARE && value.ends_with(bare))
                .map(|bare| Anchor::Bare(bare.len() as u8, packed(bare)));
            let phone = |digits: &String| Anchor::Phone(digits.len() as u8, packed(digits));
            variants.iter().map(phone).chain(bare).collect()
        }
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
                whole.extend(tail(value));
            }
            whole
        }
        _ => tail(value).into_iter().collect(),
    }
}

/// Without its leading zero, a shorter number than this would be found in every second table.
const SHORTEST_BARE: usize = 9;

/// Four bits a digit.
fn packed(digits: &str) -> u128 {
    digits
        .bytes()
        .fold(0, |packed, d| packed << 4 | u128::from(d & 15))
}

/// The last characters of a value, as the pass will see them; `None` if it will see none.
fn tail(value: &str) -> Option<Anchor> {
    let skipped = |c: char| c.is_whitespace() || is_hyphen(c) || is_invisible(c) || c == '+';
    let squeezed: Vec<char> = value.chars().filter(|&c| !skipped(c)).collect();
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
    Some(if squeezed.last()?.is_ascii() {
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
    })
}

#[cfg(test)]
mod tests;

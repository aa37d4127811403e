//! The ledger as a value: a chain of entries in which each hash covers the one before.
//!
//! What is hashed is a text, stored as it is and never built again:
//! `{"seq":…,"at":…,"kind":…,"ticket":…,"body":…}`, the JSON of one entry without white space, in
//! that order of fields. With `prev` the 32 bytes of the entry before (32 zero bytes for entry 1):
//!
//! ```text
//! hash = SHA-256( 0x00 ‖ prev ‖ text )
//! ```
//!
//! A chain alone shows only that it is whole. That it is the *same* chain as last week, and not a
//! shorter or a rewritten one, shows only against a [`Head`] that was kept elsewhere: in the
//! daemon's state directory, in a certificate, with the auditor.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A SHA-256 value; written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first entry is chained to.
    pub const ZERO: Self = Self([0; 32]);

    /// Wraps 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a database keeps them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a hash.
    #[error("a hash is 64 lower-case hexadecimal digits")]
    Hash,
    /// Not a head.
    #[error(
        "a ledger head is written seq:hash, a whole number and 64 lower-case hexadecimal digits"
    )]
    Head,
}

impl FromStr for Hash {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(Unreadable::Hash);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, Unreadable> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Unreadable::Hash),
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = Unreadable;

    fn try_from(text: String) -> Result<Self, Unreadable> {
        text.parse()
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = Unreadable;

    fn try_from(bytes: &[u8]) -> Result<Self, Unreadable> {
        bytes.try_into().map(Self).map_err(|_| Unreadable::Hash)
    }
}

/// The end of a chain: its height and the hash of its last entry. Written `seq:hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 for an empty ledger.
    pub seq: i64,
    /// Hash of the last entry; zeros for an empty ledger.
    pub hash: Hash,
}

impl Head {
    /// The head of an empty ledger.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: Hash::ZERO,
    };

    /// Whether a ledger still holds this head, given the hash that the ledger has at
    /// [`Head::seq`] today, if it has that entry at all. One row read answers "has this database
    /// come back older?".
    pub fn is_held(&self, ends_at: i64, hash_there: Option<Hash>) -> Result<(), Fault> {
        match hash_there {
            _ if self.seq == 0 => Ok(()),
            Some(hash) if hash == self.hash => Ok(()),
            Some(hash) => Err(Fault::Forked {
                seq: self.seq,
                known: self.hash,
                found: hash,
            }),
            None if ends_at < self.seq => Err(Fault::Truncated {
                ends_at,
                known: self.seq,
            }),
            None => Err(Fault::Missing {
                expected: self.seq,
                found: ends_at,
            }),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (seq, hash) = text.trim().split_once(':').ok_or(Unreadable::Head)?;
        let head = Self {
            seq: seq.parse().map_err(|_| Unreadable::Head)?,
            hash: hash.parse().map_err(|_| Unreadable::Head)?,
        };
        if head.seq < 0 || (head.seq == 0) != (head.hash == Hash::ZERO) {
            return Err(Unreadable::Head);
        }
        Ok(head)
    }
}

/// Something that happened and is to be remembered; no personal data.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What, in a word or two joined by underscores.
    pub kind: String,
    /// The ticket it is about, if about one.
    pub ticket: Option<Uuid>,
    /// Who, why, how many.
    pub body: serde_json::Value,
}

/// An event in its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Number, from 1 without gaps.
    pub seq: i64,
    /// The event.
    pub event: Event,
    /// The text that is hashed and stored.
    pub text: String,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Hash of this entry.
    pub hash: Hash,
}

/// The hash of an entry's text behind `prev`.
pub fn chain(prev: &Hash, text: &str) -> Hash {
    let mut sha = Sha256::new();
    sha.update([0]);
    sha.update(prev.0);
    sha.update(text);
    Hash(sha.finalize().into())
}

/// Field order here is the field order of the text.
#[derive(Serialize)]
struct Text<'a> {
    seq: i64,
    at: DateTime<Utc>,
    kind: &'a str,
    ticket: Option<Uuid>,
    body: &'a serde_json::Value,
}

/// Chains events onto a head, in their order; the new head is the last entry's.
pub fn append(head: Head, events: impl IntoIterator<Item = Event>) -> Vec<Entry> {
    let mut at = head;
    events
        .into_iter()
        .map(|event| {
            let seq = at.seq + 1;
            let text = serde_json::to_string(&Text {
                seq,
                at: event.at,
                kind: &event.kind,
                ticket: event.ticket,
                body: &event.body,
            })
            .expect("a JSON value is always JSON");
            let prev = at.hash;
            let hash = chain(&prev, &text);
            at = Head { seq, hash };
            Entry {
                seq,
                event,
                text,
                prev,
                hash,
            }
        })
        .collect()
}

impl Entry {
    /// The head of the ledger that ends with this entry.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// The row that a store keeps of it.
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            seq: self.seq,
            text: &self.text,
            prev: self.prev,
            hash: self.hash,
        }
    }
}

/// The certificate that an entry records, if it records one: its id, and the SHA-256 of its JWS in
/// lower-case hex, empty if the entry names none.
pub fn certified(text: &str) -> Option<(Uuid, String)> {
    #[derive(Deserialize)]
    struct Recorded {
        kind: String,
        body: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        certificate: Uuid,
        #[serde(default)]
        sha256: String,
    }
    let entry: Recorded = serde_json::from_str(text).ok()?;
    (entry.kind == "certificate").then_some((entry.body.certificate, entry.body.sha256))
}

/// A row of the ledger as it was read back, not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its number.
    pub seq: i64,
    /// Its text.
    pub text: &'a str,
    /// What it says was the hash before it.
    pub prev: Hash,
    /// What it says is its hash.
    pub hash: Hash,
}

/// What is wrong with a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text or one of its hashes was changed.
    #[error("entry {seq} was changed: its hash is not that of its text; compare it with a backup")]
    Changed {
        /// Number of the entry.
        seq: i64,
    },
    /// The number inside the text is another one, or there is none.
    #[error("entry {seq} was moved or changed: the number in its text is another")]
    Misnumbered {
        /// Number of the row.
        seq: i64,
    },
    /// The entry does not hang on the one before it.
    #[error(
        "entry {seq} does not follow the entry before it: one of the two was replaced or swapped"
    )]
    Unchained {
        /// Number of the later entry.
        seq: i64,
    },
    /// Entries are missing.
    #[error("entry {expected} is missing: after the entry before it comes {found}")]
    Missing {
        /// The number that should have come.
        expected: i64,
        /// The number that came.
        found: i64,
    },
    /// An entry comes twice or out of order.
    #[error("entry {found} comes where {expected} should: it is there twice or out of order")]
    OutOfOrder {
        /// The number that should have come.
        expected: i64,
        /// The number that came.
        found: i64,
    },
    /// The ledger ends before a head that it once had.
    #[error(
        "the ledger ends at {ends_at} but had reached {known}: entries were cut off, or the \
         control database was restored from a backup; bring the newer one back, nothing may run on this one"
    )]
    Truncated {
        /// Number of the last entry there is.
        ends_at: i64,
        /// Height of the known head.
        known: i64,
    },
    /// The ledger has another entry at the place of a known head.
    #[error(
        "entry {seq} has hash {found} but was {known}: this is another history than the one known; \
         it was rewritten, or continued from a restored backup"
    )]
    Forked {
        /// Height of the known head.
        seq: i64,
        /// Its hash.
        known: Hash,
        /// The hash that the ledger has there.
        found: Hash,
    },
}

impl Fault {
    /// The code under which `docs/operations.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } | Self::Forked { .. } => "E0622",
            _ => "E0621",
        }
    }
}

/// Walks a ledger in the order of its numbers, one row in memory at a time.
///
/// A walk may go on after a fault, to find the next; [`Walk::finish`] does not forget the first.
#[derive(Clone, Debug)]
pub struct Walk {
    at: Head,
    known: Vec<Head>,
    first: Option<Fault>,
}

impl Walk {
    /// Starts at entry 1. `known` are heads that the ledger must still hold.
    pub fn new(known: impl IntoIterator<Item = Head>) -> Self {
        Self::after(Head::EMPTY, known)
    }

    /// Starts behind a head that is already trusted; known heads at or before it are not tested.
    pub fn after(trusted: Head, known: impl IntoIterator<Item = Head>) -> Self {
        Self {
            at: trusted,
            known: known.into_iter().filter(|h| h.seq > trusted.seq).collect(),
            first: None,
        }
    }

    /// Takes the next row.
    pub fn step(&mut self, row: &Stored<'_>) -> Result<(), Fault> {
        let checked = self.check(row);
        // Going on from what the row says of itself keeps one bad entry from tainting the rest.
        self.at = Head {
            seq: row.seq,
            hash: row.hash,
        };
        self.known.retain(|head| head.seq != row.seq);
        if let Err(fault) = checked {
            self.first.get_or_insert(fault);
        }
        checked
    }

    fn check(&self, row: &Stored<'_>) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Numbered {
            seq: i64,
        }
        let expected = self.at.seq.saturating_add(1);
        let (seq, found) = (row.seq, row.seq);
        if found > expected {
            return Err(Fault::Missing { expected, found });
        }
        if found < expected {
            return Err(Fault::OutOfOrder { expected, found });
        }
        if chain(&row.prev, row.text) != row.hash {
            return Err(Fault::Changed { seq });
        }
        if !serde_json::from_str::<Numbered>(row.text).is_ok_and(|text| text.seq == seq) {
            return Err(Fault::Misnumbered { seq });
        }
        if row.prev != self.at.hash {
            return Err(Fault::Unchained { seq });
        }
        self.known
            .iter()
            .filter(|head| head.seq == seq)
            .try_for_each(|head| head.is_held(seq, Some(row.hash)))
    }

    /// Ends the walk: the ledger's head if every row was in order and every known head was met.
    pub fn finish(self) -> Result<Head, Fault> {
        if let Some(fault) = self.first {
            return Err(fault);
        }
        match self.known.iter().map(|head| head.seq).max() {
            Some(known) => Err(Fault::Truncated {
                ends_at: self.at.seq,
                known,
            }),
            None => Ok(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(n: u32) -> Event {
        Event {
            at: DateTime::from_timestamp(1_700_000_000 + i64::from(n), 123_000).unwrap(),
            kind: "approved".into(),
            ticket: (!n.is_multiple_of(3)).then(|| Uuid::from_u128(n.into())),
            body: serde_json::json!({ "by": "dpo", "n": n }),
        }
    }

    type Row = (i64, String, Hash, Hash);

    fn rows(n: u32) -> (Vec<Row>, Head) {
        let entries = append(Head::EMPTY, (0..n).map(event));
        let head = entries.last().map_or(Head::EMPTY, Entry::head);
        let rows = entries
            .into_iter()
            .map(|e| (e.seq, e.text, e.prev, e.hash))
            .collect();
        (rows, head)
    }

    fn walk(rows: &[Row], known: impl IntoIterator<Item = Head>) -> Result<Head, Fault> {
        let mut walk = Walk::new(known);
        for (seq, text, prev, hash) in rows {
            let _ = walk.step(&Stored {
                seq: *seq,
                text,
                prev: *prev,
                hash: *hash,
            });
        }
        walk.finish()
    }

    #[test]
    fn the_text_and_its_hash_are_pinned() {
        let entry = &append(Head::EMPTY, [event(1)])[0];
        assert_eq!(
            entry.text,
            r#"{"seq":1,"at":"2023-11-14T22:13:21.000123Z","kind":"approved","ticket":"00000000-0000-0000-0000-000000000001","body":{"by":"dpo","n":1}}"#
        );
        // sha256sum of a zero byte, 32 zero bytes and that text.
        assert_eq!(
            entry.hash.to_string(),
            "b18762e3175b22338c9bdff31fdd76a5716da1ef575fcc3646d8d5d10e3cc5aa"
        );
    }

    #[test]
    fn appending_in_batches_or_at_once_is_the_same_chain() {
        let whole = append(Head::EMPTY, (0..9).map(event));
        let mut parts = append(Head::EMPTY, (0..4).map(event));
        let head = parts[3].head();
        parts.extend(append(head, (4..9).map(event)));
        assert_eq!(whole, parts);
        assert!(append(head, []).is_empty());
    }

    #[test]
    fn a_rewritten_tail_is_whole_but_forked() {
        let (_, head) = rows(8);
        let mut entries = append(Head::EMPTY, (0..5).map(event));
        let from = entries[4].head();
        entries.extend(append(from, (50..60).map(event)));
        let rows: Vec<Row> = entries
            .into_iter()
            .map(|e| (e.seq, e.text, e.prev, e.hash))
            .collect();
        assert!(walk(&rows, []).is_ok());
        assert!(walk(&rows, [from]).is_ok());
        assert!(matches!(
            walk(&rows, [from, head]),
            Err(Fault::Forked { seq: 8, .. })
        ));
    }

    #[test]
    fn one_row_answers_whether_a_head_is_still_held() {
        let (rows, head) = rows(5);
        assert_eq!(head.is_held(7, Some(rows[4].3)), Ok(()));
        assert!(matches!(
            head.is_held(7, Some(rows[3].3)),
            Err(Fault::Forked { .. })
        ));
        assert_eq!(
            head.is_held(4, None),
            Err(Fault::Truncated {
                ends_at: 4,
                known: 5
            })
        );
        assert!(matches!(head.is_held(7, None), Err(Fault::Missing { .. })));
        assert_eq!(Head::EMPTY.is_held(0, None), Ok(()));
    }

    #[test]
    fn a_walk_names_the_bad_entry_and_goes_on() {
        let (mut rows, _) = rows(9);
        rows[3].1 = rows[3].1.replace("dpo", "dba");
        rows.remove(6);
        let mut walk = Walk::new([]);
        let faults: Vec<Fault> = rows
            .iter()
            .filter_map(|(seq, text, prev, hash)| {
                let row = Stored {
                    seq: *seq,
                    text,
                    prev: *prev,
                    hash: *hash,
                };
                walk.step(&row).err()
            })
            .collect();
        assert_eq!(
            faults,
            [
                Fault::Changed { seq: 4 },
                Fault::Missing {
                    expected: 7,
                    found: 8
                }
            ]
        );
        assert_eq!(walk.finish(), Err(Fault::Changed { seq: 4 }));
    }

    #[test]
    fn a_walk_may_start_at_a_trusted_head() {
        let (rows, head) = rows(9);
        let trusted = Head {
            seq: 4,
            hash: rows[3].3,
        };
        let mut walk = Walk::after(trusted, [trusted, head]);
        for (seq, text, prev, hash) in &rows[4..] {
            walk.step(&Stored {
                seq: *seq,
                text,
                prev: *prev,
                hash: *hash,
            })
            .unwrap();
        }
        assert_eq!(walk.finish(), Ok(head));
    }

    #[test]
    fn heads_are_written_and_read() {
        let (_, head) = rows(3);
        assert_eq!(head.to_string().parse(), Ok(head));
        assert_eq!(Head::EMPTY.to_string().parse(), Ok(Head::EMPTY));
        for bad in [
            "",
            "3",
            "3:",
            "x:00",
            "-1:00",
            &head.to_string().to_uppercase(),
        ] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
        let zero_at_3 = format!("3:{}", Hash::ZERO);
        assert!(zero_at_3.parse::<Head>().is_err());
    }

    proptest! {
        #[test]
        fn an_untouched_chain_is_whole(n in 0_u32..40, known in 0_usize..40) {
            let (rows, head) = rows(n);
            let older = rows.get(known).map(|r| Head { seq: r.0, hash: r.3 });
            prop_assert_eq!(walk(&rows, older), Ok(head));
        }

        #[test]
        fn one_changed_bit_anywhere_is_found(
            n in 1_u32..30, at in any::<prop::sample::Index>(), place in 0..4, bit in any::<usize>()
        ) {
            let (mut rows, head) = rows(n);
            let row = &mut rows[at.index(n as usize)];
            match place {
                0 => row.0 ^= 1 << (bit % 63),
                1 => {
                    let mut bytes = row.1.clone().into_bytes();
                    let len = bytes.len();
                    // The lowest seven bits keep ASCII text a text.
                    bytes[bit % len] ^= 1 << (bit / len % 7);
                    row.1 = String::from_utf8(bytes).unwrap();
                }
                2 => row.2.0[bit % 32] ^= 1 << (bit / 32 % 8),
                _ => row.3.0[bit % 32] ^= 1 << (bit / 32 % 8),
            }
            // Whatever order a store gives them back in.
            prop_assert!(walk(&rows, [head]).is_err());
            rows.sort_by_key(|row| row.0);
            prop_assert!(walk(&rows, [head]).is_err());
        }

        #[test]
        fn a_dropped_entry_is_found(n in 1_u32..30, at in any::<prop::sample::Index>()) {
            let (mut rows, head) = rows(n);
            rows.remove(at.index(n as usize));
            prop_assert!(walk(&rows, [head]).is_err());
        }

        #[test]
        fn a_truncated_chain_is_found(n in 1_u32..30, keep in any::<prop::sample::Index>()) {
            let (mut rows, head) = rows(n);
            rows.truncate(keep.index(n as usize));
            let ends_at = rows.len() as i64;
            prop_assert!(walk(&rows, []).is_ok());
            prop_assert_eq!(walk(&rows, [head]), Err(Fault::Truncated { ends_at, known: n.into() }));
        }

        #[test]
        fn swapped_or_repeated_entries_are_found(
            n in 2_u32..30, a in any::<prop::sample::Index>(), on in any::<prop::sample::Index>(),
            renumber in any::<bool>()
        ) {
            let (mut rows, head) = rows(n);
            let n = n as usize;
            let a = a.index(n);
            let b = (a + 1 + on.index(n - 1)) % n;
            let mut repeated = rows.clone();
            repeated.insert(b, rows[a].clone());
            prop_assert!(walk(&repeated, [head]).is_err());
            rows.swap(a, b);
            if renumber {
                (rows[a].0, rows[b].0) = (rows[b].0, rows[a].0);
            }
            prop_assert!(walk(&rows, [head]).is_err());
        }
    }
}

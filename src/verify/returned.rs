//! Whoever was erased and has come back: known by keyed hashes alone, since the values are gone.

use super::FieldKind;
use super::field;
use super::matcher::{Scratch, Seek};
use crate::identifier::normalise;
use crate::policy::IdentifierKind;
use std::collections::HashMap;

/// Values as they were hashed when their people were erased.
pub struct Returned<'a> {
    /// Names of identifiers with how their values are normalised.
    pub identifiers: Vec<(String, IdentifierKind)>,
    /// By hash the tags of those who had it.
    pub known: HashMap<String, Vec<u32>>,
    /// The keyed hash of an identifier's normalised value.
    pub hash: &'a (dyn Fn(&str, &str) -> String + Sync),
}

impl Seek for Returned<'_> {
    /// A value counts as a whole: a hash knows nothing of what stands around it.
    fn scan(
        &self,
        image: &[u8],
        kind: &FieldKind,
        scratch: &mut Scratch,
        on_hit: &mut dyn FnMut(u32),
    ) {
        let mut found = Vec::new();
        field::texts(image, kind, &mut scratch.decoded, &mut |text| {
            let Ok(text) = std::str::from_utf8(text) else {
                return;
            };
            for (name, kind) in &self.identifiers {
                // As when it was hashed: what is no address or number at all counts as it stands.
                let value =
                    normalise(kind, text).or_else(|_| normalise(&IdentifierKind::Plain, text));
                let Ok(value) = value else { continue };
                let tags = self.known.get(&(self.hash)(name, value.value()));
                found.extend(tags.into_iter().flatten());
            }
        });
        found.sort_unstable();
        found.dedup();
        found.into_iter().for_each(on_hit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_however_it_is_written() {
        let hash = |name: &str, value: &str| format!("{name}={value}");
        let known = [
            ("email=taro@example.com".to_owned(), vec![7, 9]),
            ("member_no=m-1".to_owned(), vec![7]),
        ];
        let returned = Returned {
            identifiers: vec![
                ("email".into(), IdentifierKind::Email),
                ("member_no".into(), IdentifierKind::Plain),
            ],
            known: known.into(),
            hash: &hash,
        };
        let look = |text: &str| {
            let mut tags = Vec::new();
            let mut scratch = Scratch::default();
            returned.scan(
                text.as_bytes(),
                &FieldKind::Text,
                &mut scratch,
                &mut |tag| {
                    tags.push(tag);
                },
            );
            tags
        };
        assert_eq!(look(" Taro@Example.COM "), [7, 9]);
        assert_eq!(look("M-1"), [7]);
        assert_eq!(look("m-1"), [7]);
        assert_eq!(look("write to taro@example.com"), [0; 0]);
        assert_eq!(look("M-2"), [0; 0]);
    }
}

//! Who a ticket is about, from the moment the subject is found until the ticket is closed.
//!
//! An [`Identity`] holds personal data. It lives in memory while a batch is at work, and sealed
//! under the daemon's key in the ticket's row; nowhere else, and it has no Debug.

use crate::identifier::{self, BadIdentifier, Normalised};
use crate::keys::{HashKey, Unsealable};
use crate::policy::{Identifier, IdentifierKind, Policy};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The subject's root key and the values of its identifiers, as the root row has them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The root row's key, each part as text.
    pub key: Vec<String>,
    /// Identifier name to every value seen, as stored.
    pub values: BTreeMap<String, Vec<String>>,
    /// Identifier name to the value by which the ticket named the subject, normalised.
    pub named: BTreeMap<String, String>,
    /// Identifiers whose value another subject has too (a family's address): what carries it need
    /// not be this person's, so it is not searched for.
    #[serde(default)]
    pub shared: BTreeSet<String>,
}

impl Zeroize for Identity {
    fn zeroize(&mut self) {
        self.key.zeroize();
        self.values.values_mut().for_each(Zeroize::zeroize);
        self.named.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Identity {}

/// Why a ticket must not run although its person was found once; names the identifier.
#[derive(Debug, PartialEq, Eq)]
pub enum Mistaken {
    /// It is no longer this person's.
    OtherIdentity(String),
    /// Another subject has the same value, and rows are linked by nothing else.
    Shared(String),
}

/// A value of an identifier that may be searched for.
pub struct Hunted {
    /// The identifier's name.
    pub name: String,
    /// Its value in the form of its kind.
    pub value: Normalised,
}

impl Identity {
    /// Encrypts it for the ticket's row; bound to the ticket, so that it opens for no other.
    pub fn seal(&self, key: &HashKey, ticket: Uuid, nonce: [u8; 24]) -> Vec<u8> {
        let mut plain = serde_json::to_vec(self).expect("an identity is always JSON");
        let sealed = key.seal(ticket.as_bytes(), &plain, nonce);
        plain.zeroize();
        sealed
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`Unsealable`]: another key, another ticket, or bytes that were changed.
    pub fn open(key: &HashKey, ticket: Uuid, sealed: &[u8]) -> Result<Self, Unsealable> {
        let plain = key.open(ticket.as_bytes(), sealed)?;
        serde_json::from_slice(plain.expose()).map_err(|_| Unsealable::Format)
    }

    /// Identifier name to every form in which a stored value is compared in SQL.
    pub fn forms(&self, policy: &Policy) -> BTreeMap<String, Vec<String>> {
        let mut forms: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, identifier, value) in self.each(policy) {
            if let Ok(normalised) = identifier::normalise(&identifier.kind, value) {
                forms
                    .entry(name.clone())
                    .or_default()
                    .extend(sql_forms(&normalised));
            }
        }
        forms
    }

    /// Every value known of the person by identifier name, normalised; what is no e-mail or phone
    /// number at all is left out.
    pub fn normalised<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Iterator<Item = (String, Normalised)> + 'a {
        self.each(policy).filter_map(|(name, identifier, value)| {
            Some((
                name.clone(),
                identifier::normalise(&identifier.kind, value).ok()?,
            ))
        })
    }

    /// The values that the sweep searches for: those the policy marks `residual`. A stored value
    /// that is no e-mail or phone number at all is searched for as plain text.
    pub fn hunted(&self, policy: &Policy) -> Vec<Hunted> {
        self.each(policy)
            .filter(|(name, identifier, _)| identifier.residual && !self.shared.contains(*name))
            .filter_map(|(name, identifier, value)| {
                let value = identifier::normalise(&identifier.kind, value)
                    .or_else(|_| identifier::normalise(&IdentifierKind::Plain, value))
                    .ok()?;
                Some(Hunted {
                    name: name.clone(),
                    value,
                })
            })
            .collect()
    }

    /// Whether the world still calls the person what the ticket calls them. `found` has, by
    /// identifier, the keys of all subjects that have one of the person's values today; `linked`
    /// are the identifiers by which rows are found that no key leads to.
    ///
    /// # Errors
    /// [`Mistaken`]: nothing may be erased by this ticket.
    pub fn recognise(
        &self,
        found: &BTreeMap<String, BTreeSet<Vec<String>>>,
        linked: &BTreeSet<String>,
        begun: bool,
    ) -> Result<BTreeSet<String>, Mistaken> {
        let theirs = |name: &String| found.get(name).is_some_and(|keys| keys.contains(&self.key));
        let others = |name: &String| {
            let keys = found.get(name);
            keys.is_some_and(|keys| keys.iter().any(|key| *key != self.key))
        };
        let here = found.keys().any(theirs);
        for name in self.named.keys().filter(|_| !begun) {
            // Gone altogether is no mistake: somebody else has erased them.
            if !theirs(name) && (here || others(name)) {
                return Err(Mistaken::OtherIdentity(name.clone()));
            }
        }
        let shared: BTreeSet<String> = found.keys().filter(|n| others(n)).cloned().collect();
        match shared.intersection(linked).next() {
            Some(name) => Err(Mistaken::Shared(name.clone())),
            None => Ok(shared),
        }
    }

    /// Whether the root row still calls the subject what the ticket called it; the name of the
    /// first identifier that differs, if not. What is seen is added to what is known.
    pub fn meet(
        &mut self,
        policy: &Policy,
        seen: &BTreeMap<String, String>,
    ) -> Result<bool, String> {
        let mut grew = false;
        for (name, identifier) in &policy.identifiers {
            let value = seen.get(&identifier.column);
            if let Some(named) = self.named.get(name) {
                let same = value
                    .and_then(|v| identifier::normalise(&identifier.kind, v).ok())
                    .is_some_and(|v| v.value() == named);
                if !same {
                    return Err(name.clone());
                }
            }
            let Some(value) = value else { continue };
            let known = self.values.entry(name.clone()).or_default();
            if !known.contains(value) {
                known.push(value.clone());
                grew = true;
            }
        }
        Ok(grew)
    }

    fn each<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Iterator<Item = (&'a String, &'a Identifier, &'a String)> {
        policy.identifiers.iter().flat_map(|(name, identifier)| {
            let values = self.values.get(name);
            values
                .into_iter()
                .flatten()
                .map(move |value| (name, identifier, value))
        })
    }
}

/// The forms in which SQL compares a value (see [`crate::plan::Parameter::IdentifierValues`]).
pub fn sql_forms(value: &Normalised) -> Vec<String> {
    match value.kind() {
        IdentifierKind::Phone { .. } => identifier::phone_variants(value.value()),
        _ => vec![value.value().to_owned()],
    }
}

/// Normalises what a desk typed.
///
/// # Errors
/// [`BadIdentifier`], which never repeats the value.
pub fn typed(identifier: &Identifier, raw: &str) -> Result<Normalised, BadIdentifier> {
    identifier::normalise(&identifier.kind, raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<Vec<String>>> {
        let keys = |keys: &[&str]| keys.iter().map(|k| vec![(*k).to_owned()]).collect();
        pairs
            .iter()
            .map(|(n, k)| ((*n).to_owned(), keys(k)))
            .collect()
    }

    /// Person 1, named by card and e-mail; rows elsewhere are linked by the card.
    #[test]
    fn who_is_meant_must_still_be_who_has_the_name() {
        let person = Identity {
            key: vec!["1".into()],
            values: BTreeMap::new(),
            named: ["card", "email"]
                .map(|n| (n.to_owned(), "x".to_owned()))
                .into(),
            shared: BTreeSet::new(),
        };
        let linked = BTreeSet::from(["card".to_owned()]);
        let recognise =
            |pairs: &[(&str, &[&str])], begun| person.recognise(&found(pairs), &linked, begun);
        let other = |name: &str| Err(Mistaken::OtherIdentity(name.into()));
        let shared = |name: &str| Err(Mistaken::Shared(name.into()));

        assert_eq!(
            recognise(&[("card", &["1"]), ("email", &["1"])], false),
            Ok(BTreeSet::new())
        );
        // A family's address is shared, and not searched for.
        let family = BTreeSet::from(["email".to_owned()]);
        assert_eq!(
            recognise(&[("card", &["1"]), ("email", &["1", "2"])], false),
            Ok(family)
        );
        // A shared card would lead to somebody else's rows.
        assert_eq!(
            recognise(&[("card", &["1", "2"]), ("email", &["1"])], false),
            shared("card")
        );
        // The card was given to somebody else, with the person still there or not.
        assert_eq!(
            recognise(&[("card", &["2"]), ("email", &["1"])], false),
            other("card")
        );
        assert_eq!(recognise(&[("card", &["2"])], false), other("card"));
        assert_eq!(
            recognise(&[("card", &[]), ("email", &["1"])], false),
            other("card")
        );
        // Gone altogether, or erased by this very ticket.
        assert_eq!(
            recognise(&[("card", &[]), ("email", &[])], false),
            Ok(BTreeSet::new())
        );
        assert_eq!(
            recognise(&[("card", &[]), ("email", &[])], true),
            Ok(BTreeSet::new())
        );
        // Who has the card by now is not to be erased by a ticket that goes on.
        assert_eq!(
            recognise(&[("card", &["2"]), ("email", &[])], true),
            shared("card")
        );
    }
}

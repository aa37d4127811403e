//! Who a ticket is about, from the moment the subject is found until the ticket is closed.
//!
//! An [`Identity`] holds personal data. It lives in memory while a batch is at work, and sealed
//! under the daemon's key in the ticket's row; nowhere else, and it has no Debug.

use crate::identifier::{self, BadIdentifier, Normalised};
use crate::keys::{HashKey, Unsealable};
use crate::policy::{Identifier, IdentifierKind, Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
            .filter(|(_, identifier, _)| identifier.residual)
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

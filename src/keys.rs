//! The two keys of the daemon: one signs certificates, the other hashes and seals identifiers.
//!
//! Keys are read from bytes that someone else fetched; randomness is a parameter. Nothing here
//! prints a secret.

use crate::secret::SecretBytes;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The signing key is not what it should be.
    #[error(
        "the signing key is not an Ed25519 private key in PKCS#8 PEM; \
         make one with `erasured keygen` or `openssl genpkey -algorithm ed25519`"
    )]
    Signing,
    /// The public key is not what it should be.
    #[error(
        "the public key is not an Ed25519 public key in PEM (BEGIN PUBLIC KEY); \
         derive it with `openssl pkey -in signing.pem -pubout`"
    )]
    Public,
    /// The public key would let forged signatures pass.
    #[error("the public key is a weak one that no honest program makes; do not trust its owner")]
    WeakPublic,
    /// The hash key is printable text but not base64: a passphrase, probably.
    #[error(
        "the hash key is text but not base64; make one with `openssl rand -base64 32` \
         (raw bytes are taken too, passphrases are not)"
    )]
    HashText,
    /// The hash key is too short.
    #[error(
        "the hash key has {0} bytes and needs 32 or more; make one with `openssl rand -base64 32`"
    )]
    HashShort(usize),
}

impl BadKey {
    /// The code under which `docs/operations.md` explains it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Signing => "E0601",
            Self::Public | Self::WeakPublic => "E0602",
            Self::HashText | Self::HashShort(_) => "E0603",
        }
    }
}

/// Names a public key: the first 16 hexadecimal digits of the SHA-256 of its 32 raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The id as a certificate's `kid` carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Ed25519 key that signs certificates; wiped on drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a key of 32 random bytes, which the caller draws from the system's generator.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM as `openssl genpkey -algorithm ed25519` and [`SigningKey::to_pem`] write it.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem.trim())
            .map(Self)
            .map_err(|_| BadKey::Signing)
    }

    /// Writes PKCS#8 PEM without the public half: the only form that OpenSSL 3.0 reads back.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        bytes
            .to_pkcs8_pem(LineEnding::LF)
            .expect("32 bytes always encode")
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The id of the public half.
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    /// Signs; Ed25519 needs no randomness.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads SPKI PEM (`BEGIN PUBLIC KEY`) as OpenSSL writes it.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem.trim())
            .map_err(|_| BadKey::Public)?;
        if key.is_weak() {
            return Err(BadKey::WeakPublic);
        }
        Ok(Self(key))
    }

    /// Writes SPKI PEM.
    pub fn to_pem(&self) -> String {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .expect("32 bytes always encode")
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId(hex(&Sha256::digest(self.0.as_bytes())[..8]))
    }

    /// Whether the signature over the message is this key's, by the strict rules (no malleable
    /// signature, no point of small order).
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

/// The public keys that certificates may be signed with: the one in use and the retired ones, so
/// that certificates older than a rotation stay verifiable.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(BTreeMap<KeyId, PublicKey>);

impl KeyRing {
    /// Adds a key; the same key twice is one.
    pub fn add(&mut self, key: PublicKey) {
        self.0.insert(key.id(), key);
    }

    /// Finds a key by the `kid` of a certificate.
    pub fn get(&self, id: &str) -> Option<&PublicKey> {
        self.0.get(&KeyId(id.to_owned()))
    }

    /// The ids of all keys, in order.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.keys()
    }
}

impl FromIterator<PublicKey> for KeyRing {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let mut ring = Self::default();
        keys.into_iter().for_each(|key| ring.add(key));
        ring
    }
}

/// Something sealed that does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// The format is not one that this program writes.
    #[error(
        "the sealed identifiers are in a format that this version does not know; \
         a newer erasured has written them"
    )]
    Format,
    /// The key or the ticket is another, or bytes have changed.
    #[error(
        "the sealed identifiers do not open: the hash key is not the one they were sealed with, \
         or the row was changed or moved to another ticket"
    )]
    Key,
}

impl Unsealable {
    /// The code under which `docs/operations.md` explains it.
    pub fn code(self) -> &'static str {
        "E0604"
    }
}

const SEAL_VERSION: u8 = 1;
const NONCE: usize = 24;

/// The secret behind keyed hashes and sealed identifiers. Each purpose uses a key of its own,
/// derived from it: HMAC-SHA-256(secret, label).
pub struct HashKey {
    hashing: Zeroizing<[u8; 32]>,
    sealing: Zeroizing<[u8; 32]>,
}

impl HashKey {
    /// Reads a key of 32 bytes or more: printable text must be base64 (padded or not), anything
    /// else is taken as the raw bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadKey> {
        let text = bytes.trim_ascii();
        let decoded;
        let secret = if text
            .iter()
            .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace())
        {
            let joined: Zeroizing<Vec<u8>> = Zeroizing::new(
                text.iter()
                    .copied()
                    .filter(|b| !b.is_ascii_whitespace())
                    .collect(),
            );
            decoded = Zeroizing::new(
                STANDARD
                    .decode(&*joined)
                    .or_else(|_| STANDARD_NO_PAD.decode(&*joined))
                    .map_err(|_| BadKey::HashText)?,
            );
            decoded.as_slice()
        } else {
            bytes
        };
        if secret.len() < 32 {
            return Err(BadKey::HashShort(secret.len()));
        }
        Ok(Self {
            hashing: Zeroizing::new(mac(secret, &[b"erasured hash v1"])),
            sealing: Zeroizing::new(mac(secret, &[b"erasured seal v1"])),
        })
    }

    /// The keyed hash of an identifier: HMAC-SHA-256 over kind ‖ 0x00 ‖ normalised value, in
    /// lower-case hexadecimal. `kind` is an identifier's name and holds no NUL.
    pub fn hash(&self, kind: &str, normalised: &str) -> String {
        debug_assert!(
            !kind.contains('\0'),
            "a NUL would let kinds run into values"
        );
        hex(&mac(
            &*self.hashing,
            &[kind.as_bytes(), &[0], normalised.as_bytes()],
        ))
    }

    /// What proves a call about an order to be from whoever was given it: for one ticket in one system, and the same
    /// however often it is made, so that an order given again is the same order. In lower-case hexadecimal.
    pub fn call_token(&self, system: &str, ticket: Uuid) -> String {
        hex(&self.call(system, ticket).finalize().into_bytes())
    }

    /// Whether it is that; how long the answer takes says nothing of how much of it was right.
    pub fn is_call_token(&self, system: &str, ticket: Uuid, token: &str) -> bool {
        let bytes = unhex(token);
        bytes.is_some_and(|bytes| self.call(system, ticket).verify_slice(&bytes).is_ok())
    }

    fn call(&self, system: &str, ticket: Uuid) -> Hmac<Sha256> {
        let key = mac(&*self.hashing, &[b"erasured call v1"]);
        let mut call = started(&key);
        call.update(ticket.as_bytes());
        call.update(system.as_bytes());
        call
    }

    /// Seals identifiers until the sweep needs them: XChaCha20-Poly1305, bound to `context` (the
    /// ticket's id). The nonce must be random. Output: version ‖ nonce ‖ ciphertext and tag.
    pub fn seal(&self, context: &[u8], plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let sealed = self
            .cipher()
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: plain,
                    aad: context,
                },
            )
            .expect("an identifier list is far below the cipher's limit");
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(SEAL_VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`HashKey::seal`] sealed in the same context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<SecretBytes, Unsealable> {
        let Some((&SEAL_VERSION, rest)) = sealed.split_first() else {
            return Err(Unsealable::Format);
        };
        let (nonce, ciphertext) = rest.split_at_checked(NONCE).ok_or(Unsealable::Format)?;
        self.cipher()
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: ciphertext,
                    aad: context,
                },
            )
            .map(SecretBytes::new)
            .map_err(|_| Unsealable::Key)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.sealing).into())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

fn started(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = started(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// 32 bytes from their lower-case hexadecimal.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        let plain = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let plain = pair.chars().all(plain);
        plain.then(|| u8::from_str_radix(pair, 16).ok())?
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(digits).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8410, section 10.3: keys and the PEM of each.
    const RFC8410_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const RFC8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn pem_of_the_standard_is_read_and_written() {
        let key = SigningKey::from_pem(RFC8410_PRIVATE).unwrap();
        assert_eq!(key.to_pem().as_str(), RFC8410_PRIVATE);
        assert_eq!(key.public().to_pem(), RFC8410_PUBLIC);
        let public = PublicKey::from_pem(RFC8410_PUBLIC).unwrap();
        assert_eq!(public, key.public());
        assert_eq!(public.id().as_str().len(), 16);
        let signature = key.sign(b"x");
        assert!(public.verify(b"x", &signature));
        assert!(!public.verify(b"y", &signature));
    }

    #[test]
    fn wrong_keys_are_refused() {
        assert_eq!(
            SigningKey::from_pem(RFC8410_PUBLIC).unwrap_err(),
            BadKey::Signing
        );
        assert_eq!(
            PublicKey::from_pem(RFC8410_PRIVATE).unwrap_err(),
            BadKey::Public
        );
        let zero = RFC8410_PUBLIC.replace(
            "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        );
        assert_eq!(PublicKey::from_pem(&zero).unwrap_err(), BadKey::WeakPublic);
    }

    #[test]
    fn a_hash_key_is_base64_or_raw_and_long_enough() {
        let raw = [0xa7_u8; 32];
        let text = format!("{}\n", STANDARD.encode(raw));
        let (a, b) = (
            HashKey::read(&raw).unwrap(),
            HashKey::read(text.as_bytes()).unwrap(),
        );
        assert_eq!(
            a.hash("email", "a@example.jp"),
            b.hash("email", "a@example.jp")
        );
        assert_eq!(
            HashKey::read(&[0xa7; 31]).unwrap_err(),
            BadKey::HashShort(31)
        );
        assert_eq!(
            HashKey::read(STANDARD.encode([1; 24]).as_bytes()).unwrap_err(),
            BadKey::HashShort(24)
        );
        assert_eq!(
            HashKey::read(b"correct horse battery staple, and so on!").unwrap_err(),
            BadKey::HashText
        );
        assert_eq!(HashKey::read(b"").unwrap_err(), BadKey::HashShort(0));
    }

    #[test]
    fn a_call_is_about_one_order() {
        let (key, other) = (HashKey::read(&[0xa7; 32]), HashKey::read(&[0xa8; 32]));
        let (key, other) = (key.unwrap(), other.unwrap());
        let ticket = Uuid::from_u128(7);
        let token = key.call_token("crm", ticket);
        assert_eq!(token.len(), 64);
        assert_eq!(token, key.call_token("crm", ticket));
        assert!(key.is_call_token("crm", ticket, &token));
        assert!(!key.is_call_token("cr", ticket, &token));
        assert!(!key.is_call_token("crm", Uuid::from_u128(8), &token));
        assert!(!other.is_call_token("crm", ticket, &token));
        let upper = token.to_uppercase();
        let flipped = format!(
            "{}{}",
            &token[..63],
            if token.ends_with('0') { '1' } else { '0' }
        );
        for wrong in [
            "",
            &token[..62],
            &token[..63],
            &upper,
            &flipped,
            &format!("{token}00"),
            "é",
        ] {
            assert!(!key.is_call_token("crm", ticket, wrong), "{wrong}");
        }
        assert_ne!(token, key.hash("crm", &ticket.to_string()));
    }

    #[test]
    fn hashes_depend_on_kind_value_and_key() {
        let key = HashKey::read(&[0xa7; 32]).unwrap();
        let other = HashKey::read(&[0xa8; 32]).unwrap();
        let hash = key.hash("email", "a@example.jp");
        // By an independent computation (Python's hmac): a stored hash must stay findable.
        assert_eq!(
            hash,
            "96b0ccdec196df3ad8811a525c3625f98377afa00340867aa7f8fadfa7c1c258"
        );
        assert_ne!(hash, key.hash("phone", "a@example.jp"));
        assert_ne!(hash, other.hash("email", "a@example.jp"));
    }

    #[test]
    fn a_seal_opens_only_whole_with_its_key_and_context() {
        let key = HashKey::read(&[0xa7; 32]).unwrap();
        let sealed = key.seal(b"ticket 1", b"taro@example.jp", [9; 24]);
        assert_eq!(
            key.open(b"ticket 1", &sealed).unwrap().expose(),
            b"taro@example.jp"
        );
        assert!(matches!(
            key.open(b"ticket 2", &sealed),
            Err(Unsealable::Key)
        ));
        let other = HashKey::read(&[0xa8; 32]).unwrap();
        assert!(matches!(
            other.open(b"ticket 1", &sealed),
            Err(Unsealable::Key)
        ));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(b"ticket 1", &changed).is_err(), "byte {at}");
            assert!(key.open(b"ticket 1", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
        let hash = HashKey::read(&[0xa7; 32]).unwrap();
        assert_eq!(format!("{hash:?}"), "HashKey(…)");
    }
}

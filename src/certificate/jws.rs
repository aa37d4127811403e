//! A certificate as a JWS in compact form (RFC 7515) signed with Ed25519 (RFC 8037).
//!
//! The header is always, byte for byte,
//! `{"alg":"EdDSA","kid":"<key id>","typ":"erasured-certificate+json"}`.

use super::run::RunCertificate;
use super::{Certificate, FORMAT};
use crate::keys::{KeyId, KeyRing, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const ALG: &str = "EdDSA";
const TYP: &str = "erasured-certificate+json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    /// Not three parts of base64url.
    #[error(
        "this is not a certificate: it should be three base64url texts joined by dots; \
         give the .jws file as it was issued, not its rendering"
    )]
    Shape,
    /// A header that this program does not write.
    #[error(
        "the certificate's header is not one that erasured writes (alg {ALG}, kid and typ {TYP}, \
         nothing else); it was changed or made by something else: ask for the original"
    )]
    Header,
    /// A key that is not in the ring.
    #[error(
        "the certificate names key {kid}, which is not among the keys given ({known}); \
         ask its issuer for the public key of that id, over a channel you trust"
    )]
    UnknownKey {
        /// The `kid`, cut to a printable length.
        kid: String,
        /// Ids of the keys given.
        known: String,
    },
    /// The signature is not the key's.
    #[error(
        "the signature is not that of key {kid}: the certificate was changed after signing, or \
         never signed with it; ask for the original and compare"
    )]
    Signature {
        /// Id of the key.
        kid: String,
    },
    /// Signed, but in a format of another version.
    #[error(
        "the certificate is signed by a known key but in format {found}, and this program reads \
         format {FORMAT}; use the erasured that issued it or a newer one"
    )]
    Format {
        /// The format it says it has.
        found: u32,
    },
    /// Signed, but not a certificate.
    #[error(
        "the text is signed by a known key but is not a certificate ({0}); \
         the signing key is used for something else: tell its owner"
    )]
    Content(String),
}

impl NotGenuine {
    /// The code under which `docs/operations.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shape | Self::Header => "E0611",
            Self::UnknownKey { .. } => "E0612",
            Self::Signature { .. } => "E0613",
            Self::Format { .. } | Self::Content(_) => "E0614",
        }
    }
}

/// What a signed text is the certificate of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// A ticket.
    Ticket(Box<Certificate>),
    /// A run of a retention rule.
    Run(Box<RunCertificate>),
}

/// Signs a certificate: the text that is kept and handed to an auditor.
pub fn sign(certificate: &Certificate, key: &SigningKey) -> String {
    signed(certificate, key)
}

/// The same for a run's.
pub fn sign_run(certificate: &RunCertificate, key: &SigningKey) -> String {
    signed(certificate, key)
}

fn signed(certificate: &impl Serialize, key: &SigningKey) -> String {
    let header = Header {
        alg: ALG.into(),
        kid: key.id().to_string(),
        typ: TYP.into(),
    };
    let mut jws = format!("{}.{}", encode(&header), encode(certificate));
    let signature = key.sign(jws.as_bytes());
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jws);
    jws
}

fn encode(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("plain structs are always JSON");
    URL_SAFE_NO_PAD.encode(json)
}

/// Checks a certificate against the keys that the reader trusts. White space around it is
/// forgiven, nothing else; nothing of the content is read before the signature holds.
pub fn verify(jws: &str, ring: &KeyRing) -> Result<Certificate, NotGenuine> {
    verify_by(jws, ring).map(|(certificate, _)| certificate)
}

/// [`verify`], and which of the keys signed it.
pub fn verify_by(jws: &str, ring: &KeyRing) -> Result<(Certificate, KeyId), NotGenuine> {
    match read_by(jws, ring)? {
        (Document::Ticket(certificate), key) => Ok((*certificate, key)),
        (Document::Run(_), _) => Err(NotGenuine::Content(
            "it is that of a retention run and of no ticket".into(),
        )),
    }
}

/// Checks a certificate of either kind, and says which of the keys signed it.
pub fn read_by(jws: &str, ring: &KeyRing) -> Result<(Document, KeyId), NotGenuine> {
    let jws = jws.trim_ascii();
    let (input, signature) = jws.rsplit_once('.').ok_or(NotGenuine::Shape)?;
    let (header, payload) = input.split_once('.').ok_or(NotGenuine::Shape)?;
    let [header, payload, signature] = [header, payload, signature].map(|part| {
        // The engine takes no padding, no stray bits and no other alphabet: each value has
        // exactly one spelling.
        URL_SAFE_NO_PAD.decode(part).map_err(|_| NotGenuine::Shape)
    });
    let (header, payload, signature) = (header?, payload?, signature?);

    let header: Header = serde_json::from_slice(&header).map_err(|_| NotGenuine::Header)?;
    if header.alg != ALG || header.typ != TYP {
        return Err(NotGenuine::Header);
    }
    let Some(key) = ring.get(&header.kid) else {
        let known: Vec<&str> = ring.ids().map(|id| id.as_str()).collect();
        return Err(NotGenuine::UnknownKey {
            kid: header.kid.escape_debug().take(64).collect(),
            known: known.join(", "),
        });
    };
    let genuine = <&[u8; 64]>::try_from(signature.as_slice())
        .is_ok_and(|signature| key.verify(input.as_bytes(), signature));
    if !genuine {
        return Err(NotGenuine::Signature { kid: header.kid });
    }

    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
        run: Option<serde::de::IgnoredAny>,
    }
    let content = |error: serde_json::Error| NotGenuine::Content(error.to_string());
    let Versioned { format, run } = serde_json::from_slice(&payload).map_err(content)?;
    if format != FORMAT {
        return Err(NotGenuine::Format { found: format });
    }
    // Neither kind reads as the other: each needs what the other may not have.
    let document = match run {
        Some(_) => Document::Run(serde_json::from_slice(&payload).map_err(content)?),
        None => Document::Ticket(serde_json::from_slice(&payload).map_err(content)?),
    };
    Ok((document, key.id()))
}

//! What proves to Google who asks: a token that is signed here, by the service account's key, for one
//! request. So nobody is asked for tokens, nobody keeps one, and the store is the only host spoken to.

use crate::system::place::Failed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::RsaSigningKey;
use rustls::sign::SigningKey as _;
use serde::Deserialize;
use serde_json::json;

/// It may list and delete, and change no rights.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// How far the clocks may be apart.
const SKEW: TimeDelta = TimeDelta::seconds(30);
/// How long one is good for.
const LASTS: TimeDelta = TimeDelta::minutes(5);

/// A service account's key, as Google gives it out.
#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key: String,
    private_key_id: String,
}

/// A token for one request. Nothing of the key is in what went wrong.
pub(super) fn token(account: &[u8], now: DateTime<Utc>) -> Result<String, Failed> {
    let account: Account = serde_json::from_slice(account).map_err(|_| {
        Failed::later(
            "the service account's key is no JSON with client_email, private_key and private_key_id",
        )
    })?;
    let head = json!({"alg": "RS256", "typ": "JWT", "kid": account.private_key_id});
    let claims = json!({
        "iss": account.client_email,
        "sub": account.client_email,
        "scope": SCOPE,
        "iat": (now - SKEW).timestamp(),
        "exp": (now + LASTS).timestamp(),
    });
    let coded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let said = format!("{}.{}", coded(head), coded(claims));
    let signature = signature(&account.private_key, said.as_bytes())
        .ok_or_else(|| Failed::later("the service account's private_key is no RSA key in PEM"))?;
    Ok(format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn signature(pem: &str, said: &[u8]) -> Option<Vec<u8>> {
    let key = rustls_pemfile::private_key(&mut pem.as_bytes()).ok()??;
    let key = RsaSigningKey::new(&key).ok()?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
    signer.sign(said).ok()
}

//! A message as it leaves: JSON, and a signature that stands beside it.

use crate::keys::SigningKey;
use crate::store::outbox::Delivery;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

/// A body and its detached JWS (RFC 7515, appendix F).
#[derive(Debug)]
pub struct Signed {
    /// JSON, byte for byte as it was signed.
    pub body: Vec<u8>,
    /// `header..signature`.
    pub signature: String,
}

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long to wait after so many failed tries: a second, doubling, an hour at most; a tenth more
/// or less, so that what failed together does not come back together.
pub fn backoff(failed: u32, jitter: f64) -> Duration {
    let pause = Duration::from_secs(1 << failed.saturating_sub(1).min(12)).min(LONGEST);
    pause.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

/// What the other side gets.
pub(super) fn body(delivery: &Delivery) -> Vec<u8> {
    serde_json::json!({
        "id": delivery.message,
        "ticket": delivery.ticket,
        "reference": delivery.reference,
        "seq": delivery.seq,
        "kind": delivery.kind,
        "at": delivery.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "data": delivery.body,
    })
    .to_string()
    .into_bytes()
}

/// Signs a body with the key of the certificates. The type in the header keeps the two apart: a
/// callback's signature never passes for a certificate's.
pub fn sign(body: Vec<u8>, key: &SigningKey) -> Signed {
    let header = format!(
        r#"{{"alg":"EdDSA","kid":"{}","typ":"erasured-callback+json"}}"#,
        key.id()
    );
    let header = URL_SAFE_NO_PAD.encode(header);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
    Signed {
        body,
        signature: format!("{header}..{signature}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        let middle = |failed| backoff(failed, 0.5).as_secs();
        assert_eq!(
            [1, 2, 3, 12, 13, 40].map(middle),
            [1, 2, 4, 2048, 3600, 3600]
        );
        assert!(backoff(5, 0.0) < backoff(5, 1.0));
    }
}

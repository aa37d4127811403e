//! Values that nobody has: asked about one of them, a system that looks for it finds nothing.
//!
//! They are made like the person's own, so that they are not refused for their form, which would say
//! nothing; and never by changing some characters of it, which could make somebody else's.

use crate::policy::IdentifierKind;
use std::fmt::Write as _;
use uuid::Builder;

/// A value of this kind that nobody has, of a form like this one where the kind says nothing of it.
pub fn nobody(kind: &IdentifierKind, like: &str, seed: [u8; 16]) -> String {
    let mut hex = String::with_capacity(32);
    for byte in seed {
        let _ = write!(hex, "{byte:02x}");
    }
    let number = u128::from_be_bytes(seed);
    match kind {
        // A domain that never is; no country has the code 999.
        IdentifierKind::Email => format!("nobody-{hex}@erasured.invalid"),
        IdentifierKind::Phone { .. } => format!("+999{:011}", number % 100_000_000_000),
        IdentifierKind::Name => format!("Nobody {hex}"),
        IdentifierKind::Plain => match Form::of(like) {
            // So high that no counting has come there, and not so high that it is no number there.
            Form::Number => (2_000_000_000 + number % 147_000_000).to_string(),
            Form::Uuid => Builder::from_random_bytes(seed).into_uuid().to_string(),
            Form::Email => format!("nobody-{hex}@erasured.invalid"),
            Form::Other => format!("nobody-{hex}"),
        },
    }
}

enum Form {
    Number,
    Uuid,
    Email,
    Other,
}

impl Form {
    fn of(like: &str) -> Self {
        let like = like.trim();
        if !like.is_empty() && like.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Number
        } else if like.len() == 36 && uuid::Uuid::try_parse(like).is_ok() {
            Self::Uuid
        } else if like.contains('@') {
            Self::Email
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifier::normalise;

    #[test]
    fn it_is_of_the_form_of_the_persons_own_and_never_theirs() {
        let plain = IdentifierKind::Plain;
        let made = |like: &str| nobody(&plain, like, [7; 16]);
        assert!(made("000123").parse::<i32>().unwrap() >= 2_000_000_000);
        assert!(nobody(&plain, "1", [255; 16]).parse::<i32>().is_ok());
        uuid::Uuid::try_parse(&made("0190b5a2-0000-7000-8000-000000000000")).unwrap();
        assert!(made("taro@example.jp").ends_with("@erasured.invalid"));
        assert!(made("M-2").len() > 32 && !made("M-2").contains("M-2"));
        for kind in [
            IdentifierKind::Email,
            IdentifierKind::Name,
            IdentifierKind::Plain,
        ] {
            normalise(&kind, &nobody(&kind, "", [1; 16])).unwrap();
            assert_ne!(nobody(&kind, "", [1; 16]), nobody(&kind, "", [2; 16]));
        }
        let phone = IdentifierKind::Phone {
            region: "JP".into(),
        };
        assert_eq!(nobody(&phone, "", [1; 16]).len(), 15);
    }
}

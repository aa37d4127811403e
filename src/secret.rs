//! Secrets in memory: wiped when dropped, never printed.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a password, token or key. Its `Debug` shows nothing, and it has no `Display`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes; they are wiped when this is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes exactly as they were read.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The text without the line end that editors put at the end of a file; `None` if it is no
    /// UTF-8.
    pub fn expose_line(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(text.strip_suffix('\r').unwrap_or(text))
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_nothing() {
        let secret = SecretBytes::new(b"hunter2\r\n".to_vec());
        assert_eq!(format!("{secret:?} {secret:#?}"), "… …");
        assert_eq!(secret.expose_line(), Some("hunter2"));
        assert_eq!(secret.expose(), b"hunter2\r\n");
    }
}

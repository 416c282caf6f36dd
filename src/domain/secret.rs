//! Text that must never be printed.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// A secret read from a file or the environment. Its `Debug` shows nothing, it has no `Display`,
/// and it compares in constant time only.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text, for the one place that sends or signs with it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `presented` is the secret; takes as long for a near miss as for a far one.
    pub fn matches(&self, presented: &str) -> bool {
        use sha2::{Digest as _, Sha256};
        let digest = |text: &str| Sha256::digest(text.as_bytes());
        digest(self.expose()).ct_eq(&digest(presented)).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed_and_matches_only_itself() {
        let secret = Secret::new("s3cr3t");
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert!(secret.matches("s3cr3t"));
        assert!(!secret.matches("s3cr3"));
    }
}

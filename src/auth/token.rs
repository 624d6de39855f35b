//! Tokens, kept and compared only as digests.
//!
//! Both sides are hashed to 32 bytes first, so that the time of a comparison depends on nothing of the secret, not even its length.

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// The SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digests a token. The token itself is not kept.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
            *place = *byte;
        }
        Self(bytes)
    }

    /// The digest itself, to be stored.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The digest itself, as a config holds it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether both are of the same token, in constant time.
    #[must_use]
    pub fn is(&self, presented: &Self) -> bool {
        self.0.ct_eq(&presented.0).into()
    }

    /// Whether `presented` is the token, in constant time for a given length of `presented`.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        self.is(&Self::of(presented))
    }
}

/// Shows that there is a digest and not which: with it a guess could be checked offline.
impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_matches() {
        let token = TokenDigest::of("skg_0123456789abcdef");
        assert!(token.matches("skg_0123456789abcdef"));
        for other in ["", "skg_0123456789abcde", "skg_0123456789abcdef ", "skg_0123456789abcdeF", "skg_0123456789abcdé"] {
            assert!(!token.matches(other), "{other:?}");
        }
    }

    #[test]
    fn the_digest_is_sha256_and_is_not_shown() {
        let empty = TokenDigest::of("");
        assert_eq!(empty.0[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(format!("{empty:?}"), "TokenDigest(..)");
    }
}

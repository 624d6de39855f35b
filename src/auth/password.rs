//! Passwords as argon2id hashes: what a person can remember can be guessed, so each guess has to cost something.
//!
//! A check takes tens of milliseconds and the memory that the hash names; callers bound how many run at once.

use argon2::password_hash::{Error, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};

/// Why no hash was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhashed {
    /// The system has no randomness to give.
    #[error("no randomness from the system")]
    Randomness,
    /// The password does not fit the function.
    #[error("the password cannot be hashed")]
    Password,
}

/// The hash of a password with a fresh salt, as a PHC text.
///
/// # Errors
/// The system has no randomness, or the password is longer than the function takes.
pub fn hash(password: &str) -> Result<String, Unhashed> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Unhashed::Randomness)?;
    let salt = SaltString::encode_b64(&bytes).map_err(|_| Unhashed::Randomness)?;
    let function = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    function.hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|_| Unhashed::Password)
}

/// Whether `password` is the one of this hash. It takes its time and memory on purpose, and blocks.
#[must_use]
pub fn verify(hash: &str, password: &str) -> bool {
    let checked: Result<(), Error> = PasswordHash::new(hash).and_then(|hash| Argon2::default().verify_password(password.as_bytes(), &hash));
    checked.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_fits_its_hash() {
        let first = hash("correct horse battery").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse battery").unwrap(), "each has a salt of its own");
        assert!(verify(&first, "correct horse battery"));
        for wrong in ["", "correct horse batter", "correct horse battery ", first.as_str()] {
            assert!(!verify(&first, wrong), "{wrong:?}");
        }
        assert!(!verify("$argon2id$", "correct horse battery"));
    }
}

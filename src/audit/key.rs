//! The gateway's own key (Ed25519): it signs the heads of the audit log. Made at the first start, mode 0600, never sent anywhere.
//!
//! Its public half is shown in `health` and by `audit key`; who keeps a copy elsewhere can check a log without trusting the machine that it comes from.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::record::Hash;
use crate::config::paths::private_dir;

/// What stands before every text that is signed, so that a signature of a head is nothing else.
const DOMAIN: &[u8] = b"skykoi-audit-v1:";
/// First and last line of the key's file.
const PEM: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"];
/// Most that is read of the file, in bytes.
const MAX_FILE: u64 = 4096;
/// Bytes of a public key.
const PUBLIC: usize = 32;

/// The key pair.
pub struct Key(Ed25519KeyPair);

impl Key {
    /// Reads the key, or makes one.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds no key.
    pub fn open(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(failed) => Err(failed),
        }
    }

    fn read(file: File, path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text)?;
        let inner: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = STANDARD.decode(inner.trim()).ok().and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok());
        key.map(Self).ok_or_else(|| {
            let text = format!(
                "{} holds no Ed25519 key in PKCS#8; restore it, or move it away to have a new one made (the old log can then only be checked with the old public key)",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    fn make(path: &Path) -> io::Result<Self> {
        let weak = |_| io::Error::other("no randomness from the system");
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(weak)?;
        let dir = path.parent().unwrap_or(path);
        private_dir(dir)?;
        let beside = path.with_extension("pem.new");
        // What a crash left behind.
        let _ = std::fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        writeln!(file, "{}\n{}\n{}", PEM[0], STANDARD.encode(der.as_ref()), PEM[1])?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()?;
        Self::read(File::open(path)?, path)
    }

    /// Signs a record's hash.
    #[must_use]
    pub fn sign(&self, hash: &Hash) -> Vec<u8> {
        self.0.sign(&signed(hash)).as_ref().to_vec()
    }

    /// The public half, to check with.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let mut bytes = [0; PUBLIC];
        for (place, byte) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *place = *byte;
        }
        Verifier(bytes)
    }
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verifier([u8; PUBLIC]);

impl Verifier {
    /// Reads what `audit key` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// Whether `sig`, base64url, is this key's signature of the hash.
    #[must_use]
    pub fn verify(&self, hash: &Hash, sig: &str) -> bool {
        let Ok(sig) = URL_SAFE_NO_PAD.decode(sig) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(&signed(hash), &sig).is_ok()
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

fn signed(hash: &Hash) -> Vec<u8> {
    [DOMAIN, hash.0.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_private_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway/identity-key.pem");
        let made = Key::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(Key::open(&path).unwrap().verifier(), made.verifier());
        assert_eq!(Verifier::parse(&made.verifier().to_string()), Some(made.verifier()));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "no key").unwrap();
        assert!(Key::open(&path).err().unwrap().to_string().contains("holds no Ed25519 key"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no key");
    }

    #[test]
    fn only_the_key_itself_signs() {
        let dir = tempfile::tempdir().unwrap();
        let [key, other] = ["a", "b"].map(|name| Key::open(&dir.path().join(name)).unwrap());
        let hash = Hash([7; 32]);
        let sig = URL_SAFE_NO_PAD.encode(key.sign(&hash));
        assert!(key.verifier().verify(&hash, &sig));
        assert!(!other.verifier().verify(&hash, &sig) && !key.verifier().verify(&Hash([8; 32]), &sig));
        assert!(!key.verifier().verify(&hash, "") && !key.verifier().verify(&hash, "!"));
    }
}

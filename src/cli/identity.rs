//! What makes this machine a device: its key, and the gateways that know it.
//!
//! `<state>/identity/device.key` holds the 32 bytes of an Ed25519 key that is made here and never leaves; `<state>/identity/gateways.json` holds a token for each gateway that this machine was paired with. Both are for their owner only.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::CliError;
use crate::auth::device::{device_id, text::Signed};
use crate::clock::now_ms;
use crate::config::layers::{FlagLayer, Sources};
use crate::config::paths::{Paths, private_dir};

/// Most that is read of either file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A gateway that knows this machine.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The token that it gave; good only with this machine's signature.
    pub device_token: String,
    /// Its id; another one at this address is another gateway.
    pub gateway_id: String,
    /// SHA-256 of the certificate that was trusted, if only that one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What was granted.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// Without the token.
impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("gateway_id", &self.gateway_id).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// The directory of this machine's identity.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

/// This machine's key.
pub struct Identity {
    pair: Ed25519KeyPair,
    /// Its id for gateways.
    pub device_id: String,
}

/// What a `connect` says, as far as it is signed.
pub struct Proof<'a> {
    /// From the challenge.
    pub nonce: &'a str,
    /// From the challenge.
    pub gateway_id: &'a str,
    /// The scopes that are asked for.
    pub scopes: &'a [&'a str],
    /// The token that is shown, or an empty text.
    pub token: &'a str,
}

/// The client id of the command line.
pub const CLIENT_ID: &str = "cli";
/// Its role.
pub const ROLE: &str = "operator";

impl Home {
    /// The usual one of this user.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn find() -> Result<Self, CliError> {
        let sources = Sources::of_process(FlagLayer::default());
        let paths = Paths::find(&sources).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Self(paths.state_dir.join("identity")))
    }

    /// This one.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The key; none if this machine has none yet.
    ///
    /// # Errors
    /// The file is not ours alone, or holds no key.
    pub fn key(&self) -> Result<Option<Identity>, CliError> {
        let path = self.0.join("device.key");
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let seed = URL_SAFE_NO_PAD.decode(text.trim()).ok().filter(|seed| seed.len() == 32);
        let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        let pair = pair.ok_or_else(|| {
            CliError::Local(format!("{} holds no key; move it away to have a new one made, and pair this machine again", path.display()))
        })?;
        Identity::of(pair).map(Some)
    }

    /// The key, made if there is none.
    ///
    /// # Errors
    /// As [`Self::key`], or the file cannot be made.
    pub fn key_or_new(&self) -> Result<Identity, CliError> {
        if let Some(identity) = self.key()? {
            return Ok(identity);
        }
        let mut seed = [0_u8; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| CliError::Local("no randomness from the system".to_owned()))?;
        let path = self.0.join("device.key");
        write_private(&path, format!("{}\n", URL_SAFE_NO_PAD.encode(seed)).as_bytes(), true)?;
        // Read back: two commands may have made one at the same moment, and the first one stays.
        self.key()?.ok_or_else(|| CliError::Local(format!("{} is gone again", path.display())))
    }

    /// What is known of the gateway at this address.
    ///
    /// # Errors
    /// The file is not ours alone, or is damaged.
    pub fn known(&self, url: &str) -> Result<Option<Known>, CliError> {
        Ok(self.gateways()?.remove(url))
    }

    /// Keeps what a gateway gave.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep(&self, url: &str, known: Known) -> Result<(), CliError> {
        let mut gateways = self.gateways()?;
        gateways.insert(url.to_owned(), known);
        let text = serde_json::to_string_pretty(&gateways).unwrap_or_default();
        write_private(&self.0.join("gateways.json"), text.as_bytes(), false)
    }

    fn gateways(&self) -> Result<BTreeMap<String, Known>, CliError> {
        let path = self.0.join("gateways.json");
        let Some(text) = read_private(&path)? else { return Ok(BTreeMap::new()) };
        let damaged = |error| CliError::Local(format!("{} is damaged ({error}); move it away and pair this machine again", path.display()));
        serde_json::from_str(&text).map_err(damaged)
    }
}

impl Identity {
    fn of(pair: Ed25519KeyPair) -> Result<Self, CliError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| CliError::Local("the key has an unexpected form".to_owned()))?;
        Ok(Self { device_id: device_id(&public), pair })
    }

    /// The `device` object of a `connect`.
    #[must_use]
    pub fn prove(&self, proof: &Proof<'_>) -> Value {
        let Proof { nonce, gateway_id, scopes, token } = *proof;
        let signed = Signed { gateway_id, nonce, device_id: &self.device_id, role: ROLE, scopes, token, client_id: CLIENT_ID };
        json!({
            "id": self.device_id,
            "publicKey": URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()),
            "signature": URL_SAFE_NO_PAD.encode(self.pair.sign(&signed.bytes())),
            "signedAt": now_ms(),
            "nonce": nonce,
        })
    }
}

fn read_private(path: &Path) -> Result<Option<String>, CliError> {
    let failed = |error: io::Error| CliError::Local(format!("cannot read {}: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.permissions().mode() & 0o077 != 0 {
        return Err(CliError::Local(format!("{} must be a file that nobody else can read: chmod 600 it", path.display())));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Writes a file for its owner only, whole or not at all. One that is there stays if it must be `fresh`.
fn write_private(path: &Path, bytes: &[u8], fresh: bool) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::Create { path: path.to_owned(), error };
    let dir = path.parent().unwrap_or(path);
    private_dir(dir).map_err(failed)?;
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match if fresh { fs::hard_link(&draft, path) } else { fs::rename(&draft, path) } {
            Err(error) if fresh && error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        File::open(dir)?.sync_all()
    })();
    let _ = fs::remove_file(&draft);
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_only_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(&dir.path().join("identity"));
        assert!(home.key().unwrap().is_none());
        let made = home.key_or_new().unwrap();
        assert_eq!(home.key_or_new().unwrap().device_id, made.device_id);
        let path = dir.path().join("identity/device.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("identity")).unwrap().count(), 1, "no draft is left");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(home.key().err().unwrap().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nonsense").unwrap();
        assert!(home.key().err().unwrap().to_string().contains("holds no key"));
    }

    #[test]
    fn gateways_are_kept_by_their_address_and_their_tokens_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let known = |token: &str| Known { device_token: token.to_owned(), gateway_id: "g".to_owned(), ..Known::default() };
        home.keep("wss://a/", known("canary-1")).unwrap();
        home.keep("wss://b/", known("canary-2")).unwrap();
        home.keep("wss://a/", known("canary-3")).unwrap();
        assert_eq!(home.known("wss://a/").unwrap(), Some(known("canary-3")));
        assert_eq!(home.known("wss://c/").unwrap(), None);
        assert!(!format!("{:?}", known("canary-1")).contains("canary"));
        assert_eq!(fs::metadata(dir.path().join("gateways.json")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

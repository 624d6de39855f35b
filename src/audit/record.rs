//! One record as one line of text, its hash and its signature.
//!
//! The hash is the SHA-256 of the line up to `,"hash":"`, so anybody can check it with `sha256sum`: no form of JSON has to be agreed on, the bytes in the file are what counts. The hash of the record before stands in those bytes.
//! A signature stands behind the hash and is made over it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Decision, Event};
use super::key::Key;

/// Longest line that is written, in bytes; events are bounded far below it.
pub const MAX_LINE: usize = 16 * 1024;
/// What stands between the text that is hashed and the hash.
const HASH: &[u8] = b",\"hash\":\"";
/// What stands between the hash and the signature.
const SIG: &[u8] = b"\",\"sig\":\"";
/// Letters of a hash.
const HEX: usize = 64;

/// 32 bytes, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

/// The SHA-256 of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *place = *byte;
    }
    Hash(hash)
}

impl Hash {
    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        if digits.len() != HEX {
            return None;
        }
        let mut hash = [0; 32];
        for (place, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *place = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("64 lower-case hexadecimal digits are expected"))
    }
}

/// A record as it lies in the file. The order of the keys is the order of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Its number, 1, 2, 3 … without holes over all segments.
    pub n: u64,
    /// When, ms since the epoch.
    pub ts: u64,
    /// Which start of the daemon; as in hello.
    pub boot: String,
    /// Who.
    pub actor: String,
    /// With which credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// From which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Did what: a name of [`super::action::ACTIONS`], or of a later version.
    pub action: String,
    /// To what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// SHA-256 of what exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_digest: Option<Hash>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
    /// The hash of the record before; zeros for the first.
    pub prev: Hash,
    /// The hash of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// The signature over the hash, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
}

/// Where a record comes to stand.
#[derive(Clone, Copy, Debug)]
pub struct Place<'b> {
    /// Its number.
    pub n: u64,
    /// When, ms since the epoch.
    pub ts: u64,
    /// Which daemon writes it.
    pub boot: &'b str,
    /// The hash of the record before.
    pub prev: Hash,
}

/// Appends the line of an event to `line` and returns its hash. It is signed if a key is given.
///
/// # Errors
/// It cannot be written as JSON, which events do not allow.
pub fn write(event: &Event, place: Place<'_>, signer: Option<&Key>, line: &mut Vec<u8>) -> std::io::Result<Hash> {
    let record = Record {
        n: place.n,
        ts: place.ts,
        boot: place.boot.to_owned(),
        actor: event.actor.clone(),
        credential_id: event.credential_id.clone(),
        ip: event.ip.map(|ip| ip.to_string()),
        action: event.action.name().to_owned(),
        target: event.target.clone(),
        target_digest: event.target_digest,
        decision: event.decision,
        reason: event.reason.clone(),
        detail: event.bounded_detail(),
        prev: place.prev,
        hash: None,
        sig: None,
    };
    let mut body = serde_json::to_vec(&record)?;
    // Its closing brace, which comes back behind the hash.
    body.pop();
    let hash = sha256(&body);
    line.extend_from_slice(&body);
    line.extend_from_slice(HASH);
    line.extend_from_slice(hash.to_string().as_bytes());
    if let Some(key) = signer {
        line.extend_from_slice(SIG);
        line.extend_from_slice(URL_SAFE_NO_PAD.encode(key.sign(&hash)).as_bytes());
    }
    line.extend_from_slice(b"\"}\n");
    Ok(hash)
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not in the form of a record.
    #[error("it is not a record: {0}")]
    Form(String),
    /// Its hash is not that of its text.
    #[error("its hash does not fit its text")]
    Hash,
}

/// Reads a line, without its newline, and checks that its hash fits its text.
///
/// # Errors
/// It is no record, or was changed.
pub fn read(line: &[u8]) -> Result<(Record, Hash), Unreadable> {
    let form = |cause: &str| Unreadable::Form(cause.to_owned());
    let at = memchr::memmem::rfind(line, HASH).ok_or_else(|| form("it has no hash"))?;
    let (body, rest) = line.split_at(at);
    let record: Record = serde_json::from_slice(line).map_err(|cause| Unreadable::Form(cause.to_string()))?;
    let hash = record.hash.ok_or_else(|| form("it has no hash"))?;
    // Nothing but hash and signature may stand behind the text that is hashed.
    let expected = match &record.sig {
        None => format!("{}{hash}\"}}", String::from_utf8_lossy(HASH)),
        Some(sig) => format!("{}{hash}{}{sig}\"}}", String::from_utf8_lossy(HASH), String::from_utf8_lossy(SIG)),
    };
    if rest != expected.as_bytes() {
        return Err(form("there is more behind its hash than belongs there"));
    }
    if sha256(body) != hash {
        return Err(Unreadable::Hash);
    }
    Ok((record, hash))
}

/// `text`, or its beginning and a mark if it is longer than `limit` bytes.
pub(super) fn clip(text: &str, limit: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;

    fn line(event: &Event, signer: Option<&Key>) -> Vec<u8> {
        let mut line = Vec::new();
        write(event, Place { n: 7, ts: 1, boot: "b", prev: sha256(b"before") }, signer, &mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let event = Event::new(Action::Exec).by("token:main").target("run\n\"1\",\"hash\":\"x").with("hash", "y").because("é\u{1}");
        let (record, hash) = read(&line(&event, None)).unwrap();
        assert_eq!((record.n, record.action.as_str(), record.hash), (7, "exec", Some(hash)));
        assert_eq!(record.target.as_deref(), Some("run\n\"1\",\"hash\":\"x"));
        assert_eq!(record.detail["hash"], "y");
    }

    #[test]
    fn no_byte_of_a_line_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::open(&dir.path().join("key")).unwrap();
        let good = line(&Event::new(Action::AuthOk).by("a").with("k", 1), Some(&key));
        let (record, hash) = read(&good).unwrap();
        assert!(key.verifier().verify(&hash, record.sig.as_deref().unwrap()));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let still = read(&bad).is_ok_and(|(record, hash)| key.verifier().verify(&hash, record.sig.as_deref().unwrap_or_default()));
            assert!(!still, "byte {at}: {}", String::from_utf8_lossy(&bad));
        }
        for extra in [&b" "[..], b"}", b",\"x\":1}"] {
            assert!(read(&[&good[..], extra].concat()).is_err());
        }
    }

    #[test]
    fn hashes_are_lower_case_hex_of_full_length() {
        let hash = sha256(b"");
        assert_eq!(hash.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        for bad in ["", "e3", &hash.to_string().to_uppercase(), &format!("{hash}0"), &"g".repeat(64)] {
            assert_eq!(Hash::parse(bad), None, "{bad}");
        }
    }
}

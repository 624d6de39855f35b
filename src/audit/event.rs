//! What is to be recorded, before it has a number and a place in the chain.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Action;
use super::record::{Hash, clip, sha256};

/// Longest text of a field, in bytes.
const FIELD: usize = 256;
/// Longest reason, in bytes.
const REASON: usize = 1024;
/// Largest detail as JSON, in bytes.
const DETAIL: usize = 8 * 1024;

/// What was decided about what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may happen.
    Allow,
    /// It may not.
    Deny,
    /// A person is asked.
    Ask,
}

/// Something worth a record. Texts that are too long are cut, and say so; nothing in here may be a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// Who did it: the principal, `gateway` for the daemon itself.
    pub actor: String,
    /// With which credential: its id, never the credential.
    pub credential_id: Option<String>,
    /// From which address; absent on the local socket.
    pub ip: Option<IpAddr>,
    /// To what: a run id, a device id, a path.
    pub target: Option<String>,
    /// SHA-256 of what exactly it was done to, such as the canonical command.
    pub target_digest: Option<Hash>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Why, in short words or a code.
    pub reason: Option<String>,
    /// What else is worth knowing.
    pub detail: Map<String, Value>,
}

impl Event {
    /// An event of the daemon itself, until [`Self::by`] says otherwise.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            action,
            actor: "gateway".to_owned(),
            credential_id: None,
            ip: None,
            target: None,
            target_digest: None,
            decision: None,
            reason: None,
            detail: Map::new(),
        }
    }

    /// Who did it.
    #[must_use]
    pub fn by(mut self, actor: &str) -> Self {
        self.actor = clip(actor, FIELD);
        self
    }

    /// With which credential, if there was one.
    #[must_use]
    pub fn credential(mut self, id: Option<&str>) -> Self {
        self.credential_id = id.map(|id| clip(id, FIELD));
        self
    }

    /// From which address, if there was one.
    #[must_use]
    pub fn from(mut self, ip: Option<IpAddr>) -> Self {
        self.ip = ip;
        self
    }

    /// To what.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.target = Some(clip(target, FIELD));
        self
    }

    /// The digest of what exactly it was done to.
    #[must_use]
    pub fn digest(mut self, digest: [u8; 32]) -> Self {
        self.target_digest = Some(Hash(digest));
        self
    }

    /// As [`Self::digest`], of these bytes.
    #[must_use]
    pub fn digest_of(self, bytes: &[u8]) -> Self {
        let Hash(digest) = sha256(bytes);
        self.digest(digest)
    }

    /// What was decided.
    #[must_use]
    pub fn decided(mut self, decision: Decision) -> Self {
        self.decision = Some(decision);
        self
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(clip(reason, REASON));
        self
    }

    /// One more thing worth knowing.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// The detail as it is written: all of it, or if it is too large only its size and digest.
    pub(super) fn bounded_detail(&self) -> Map<String, Value> {
        let text = serde_json::to_string(&self.detail).unwrap_or_default();
        if text.len() <= DETAIL {
            return self.detail.clone();
        }
        let mut small = Map::new();
        small.insert("omittedBytes".to_owned(), text.len().into());
        small.insert("omittedDigest".to_owned(), sha256(text.as_bytes()).to_string().into());
        small
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let event = Event::new(Action::AuthFail).by(&"é".repeat(500)).because(&"x".repeat(5000)).with("all", "y".repeat(9000));
        assert!(event.actor.len() <= FIELD && event.actor.ends_with('…'), "{}", event.actor);
        assert!(event.reason.as_deref().unwrap().len() <= REASON);
        let detail = event.bounded_detail();
        assert!(detail["omittedBytes"].as_u64().unwrap() > 9000 && !detail.contains_key("all"));
    }
}

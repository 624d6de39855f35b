//! Which session a direct message belongs to: `session.dmScope` and `session.identityLinks`. Pure.

use crate::config::session::{DmScope, Session};
use crate::protocol::ids::{AgentId, SessionKey};

use super::key;

/// Who sent a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Channel it came over.
    pub channel: Option<&'a str>,
    /// Account on the channel.
    pub account: Option<&'a str>,
    /// The sender.
    pub id: &'a str,
}

/// The session of a direct message to `agent`.
#[must_use]
pub fn session_of(rules: &Session, agent: &AgentId, peer: Peer<'_>) -> SessionKey {
    let channel = word(peer.channel.unwrap_or_default(), "unknown");
    let account = word(peer.account.unwrap_or_default(), "default");
    let id = word(peer.id, "");
    if rules.dm_scope == DmScope::Main || id.is_empty() {
        return key::main_key(agent);
    }
    let person = linked(rules, &channel, &id).unwrap_or(id);
    let text = match rules.dm_scope {
        DmScope::Main | DmScope::PerPeer => format!("agent:{agent}:dm:{person}"),
        DmScope::PerChannelPeer => format!("agent:{agent}:{channel}:dm:{person}"),
        DmScope::PerAccountChannelPeer => format!("agent:{agent}:{channel}:{account}:dm:{person}"),
    };
    // A sender's name can be too long for a key; then it has to share the main session, as without a scope.
    key::canonical(&text, agent).unwrap_or_else(|_| key::main_key(agent))
}

/// The name under which the links know this sender, as `<channel>:<id>` or as `<id>` alone.
fn linked(rules: &Session, channel: &str, id: &str) -> Option<String> {
    let full = format!("{channel}:{id}");
    let knows = |known: &&String| {
        let known = word(known, "");
        known == full || known == id
    };
    rules.identity_links.iter().find(|(_, ids)| ids.iter().any(|id| knows(&id))).map(|(name, _)| word(name, id))
}

/// A part of a key: trimmed, lower case, without spaces.
fn word(text: &str, if_empty: &str) -> String {
    let text: String = text.trim().to_lowercase().chars().map(|c| if c.is_whitespace() || c.is_control() { '-' } else { c }).collect();
    if text.is_empty() { if_empty.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(scope: &str, peer: Peer<'_>) -> String {
        let rules: Session =
            serde_json::from_value(json!({"dmScope": scope, "identityLinks": {"Alice": ["telegram:123", "alice@work"]}})).unwrap();
        session_of(&rules, &AgentId::from("main"), peer).0
    }

    #[test]
    fn each_scope_has_its_key() {
        let peer = Peer { channel: Some("Webchat"), account: None, id: "Bob 7" };
        assert_eq!(of("main", peer), "agent:main:main");
        assert_eq!(of("per-peer", peer), "agent:main:dm:bob-7");
        assert_eq!(of("per-channel-peer", peer), "agent:main:webchat:dm:bob-7");
        assert_eq!(of("per-account-channel-peer", peer), "agent:main:webchat:default:dm:bob-7");
        assert_eq!(of("per-account-channel-peer", Peer { account: Some("Work"), ..peer }), "agent:main:webchat:work:dm:bob-7");
    }

    #[test]
    fn linked_ids_are_one_person() {
        let telegram = Peer { channel: Some("telegram"), account: None, id: "123" };
        assert_eq!(of("per-peer", telegram), "agent:main:dm:alice");
        assert_eq!(of("per-peer", Peer { channel: Some("mail"), account: None, id: "Alice@work" }), "agent:main:dm:alice");
        assert_eq!(of("per-peer", Peer { channel: Some("signal"), ..telegram }), "agent:main:dm:123");
    }

    #[test]
    fn who_is_nobody_or_too_long_gets_the_main_session() {
        assert_eq!(of("per-peer", Peer::default()), "agent:main:main");
        assert_eq!(of("per-peer", Peer { id: &"x".repeat(600), ..Peer::default() }), "agent:main:main");
    }
}

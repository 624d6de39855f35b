//! Session keys: the forms that clients write and the one form that the server keeps.
//!
//! `main` and any bare `x` belong to an agent and become `agent:<id>:<x>`; `agent:<id>:<rest>` stays; `global` and `unknown` stay. Keys are lower case (protocol: session keys).

use crate::protocol::ids::{AgentId, SessionKey};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// The short key of an agent's main session.
pub const MAIN: &str = "main";
/// The key of the one session for all senders.
pub const GLOBAL: &str = "global";
/// The key of the session of unknown senders.
pub const UNKNOWN: &str = "unknown";

/// The canonical key of an agent's main session.
#[must_use]
pub fn main_key(agent: &AgentId) -> SessionKey {
    SessionKey(format!("agent:{agent}:{MAIN}"))
}

/// The canonical form of `key` as written by a client, for requests whose agent is `default_agent` unless the key names one.
///
/// # Errors
/// What is wrong with the key, as a fragment that fits after `at /sessionKey: `.
pub fn canonical(key: &str, default_agent: &AgentId) -> Result<SessionKey, &'static str> {
    let key = key.trim().to_lowercase();
    if key.is_empty() {
        return Err("must NOT be empty");
    }
    if key.len() > MAX_KEY {
        return Err("must NOT have more than 512 bytes");
    }
    if key.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must not hold spaces or control characters");
    }
    if key == GLOBAL || key == UNKNOWN {
        return Ok(SessionKey(key));
    }
    let Some(rest) = key.strip_prefix("agent:") else {
        return Ok(SessionKey(format!("agent:{default_agent}:{key}")));
    };
    match rest.split_once(':') {
        Some((agent, rest)) if valid_agent_id(agent) && !rest.is_empty() => Ok(SessionKey(key)),
        _ => Err("must have the form agent:<agentId>:<rest>"),
    }
}

/// The agent that a canonical key names; none for `global` and `unknown`.
#[must_use]
pub fn agent_of(key: &SessionKey) -> Option<AgentId> {
    let (agent, _) = key.as_str().strip_prefix("agent:")?.split_once(':')?;
    Some(AgentId(agent.to_owned()))
}

/// Whether a canonical key is that of a session which another session's agent has started.
#[must_use]
pub fn is_subagent(key: &SessionKey) -> bool {
    key.as_str().strip_prefix("agent:").and_then(|rest| rest.split_once(':')).is_some_and(|(_, rest)| rest.starts_with("subagent:"))
}

/// Whether `id` is an agent id: `[a-z0-9][a-z0-9_-]{0,63}`.
#[must_use]
pub fn valid_agent_id(id: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut bytes = id.bytes();
    bytes.next().is_some_and(plain) && bytes.all(|c| plain(c) || c == b'-' || c == b'_') && id.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Result<String, &'static str> {
        canonical(key, &AgentId::from("koi")).map(|key| key.0)
    }

    #[test]
    fn every_form_has_one_canonical_key() {
        assert_eq!(of("main").unwrap(), "agent:koi:main");
        assert_eq!(of("  Main ").unwrap(), "agent:koi:main");
        assert_eq!(of("chat-7").unwrap(), "agent:koi:chat-7");
        assert_eq!(of("cron:daily").unwrap(), "agent:koi:cron:daily");
        assert_eq!(of("agent:other:main").unwrap(), "agent:other:main");
        assert_eq!(of("global").unwrap(), "global");
        assert_eq!(of("unknown").unwrap(), "unknown");
    }

    #[test]
    fn keys_that_mean_nothing_are_refused() {
        for key in ["", "  ", "agent:", "agent:x", "agent:x:", "agent::main", "agent:UPPER CASE:main", "a b", "a\nb", &"x".repeat(513)] {
            assert!(of(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn the_agent_is_read_back() {
        assert_eq!(agent_of(&main_key(&AgentId::from("koi"))), Some(AgentId::from("koi")));
        assert_eq!(agent_of(&SessionKey::from("global")), None);
    }

    proptest::proptest! {
        #[test]
        fn canonical_is_idempotent(key in "[a-zA-Z0-9:_-]{1,40}") {
            if let Ok(once) = of(&key) {
                proptest::prop_assert_eq!(of(&once).unwrap(), once);
            }
        }
    }
}

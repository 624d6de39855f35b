//! Whether messages of a session are taken: `session.sendPolicy`. The session's own word, else the first rule that denies, else one that allows, else the default. Pure.

use crate::config::session::{ChatType, SendAction, SendMatch, Session};

/// What the rules look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Canonical key of the session.
    pub key: &'a str,
    /// The session's own `sendPolicy`.
    pub own: Option<&'a str>,
    /// Its channel.
    pub channel: Option<&'a str>,
    /// Its kind of chat.
    pub chat_type: Option<&'a str>,
}

/// Whether a message is taken.
#[must_use]
pub fn may_send(rules: &Session, sender: Sender<'_>) -> bool {
    match sender.own {
        Some("allow") => return true,
        Some("deny") => return false,
        _ => {}
    }
    let Some(policy) = &rules.send_policy else { return true };
    let mut allowed = false;
    for rule in policy.rules.iter().filter(|rule| matches(&rule.matches, sender)) {
        match rule.action {
            Some(SendAction::Deny) => return false,
            // A rule without an action permits, as in the original.
            Some(SendAction::Allow) | None => allowed = true,
        }
    }
    allowed || policy.default != Some(SendAction::Deny)
}

fn matches(rule: &SendMatch, sender: Sender<'_>) -> bool {
    let channel =
        rule.channel.as_deref().is_none_or(|wanted| channel_of(sender).is_some_and(|channel| channel.eq_ignore_ascii_case(wanted)));
    let chat_type = rule.chat_type.is_none_or(|wanted| chat_type_of(sender) == wanted);
    let key = rule.key_prefix.as_deref().is_none_or(|prefix| has_prefix(sender.key, &prefix.trim().to_lowercase()));
    channel && chat_type && key
}

/// A prefix may be written for the whole key or for what follows the agent.
fn has_prefix(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix("agent:").and_then(|key| key.split_once(':')).map(|(_, rest)| rest);
    key.starts_with(prefix) || rest.is_some_and(|rest| rest.starts_with(prefix))
}

fn channel_of(sender: Sender<'_>) -> Option<&str> {
    // `agent:<id>:<channel>:group:…` names the channel in its third part.
    let of_key = || {
        let mut parts = sender.key.split(':').skip(2);
        let (channel, kind) = (parts.next()?, parts.next()?);
        matches!(kind, "group" | "channel" | "dm" | "direct").then_some(channel)
    };
    sender.channel.or_else(of_key)
}

fn chat_type_of(sender: Sender<'_>) -> ChatType {
    match sender.chat_type {
        Some("group") => ChatType::Group,
        Some("channel") => ChatType::Channel,
        Some("direct") => ChatType::Direct,
        _ if sender.key.contains(":group:") => ChatType::Group,
        _ if sender.key.contains(":channel:") => ChatType::Channel,
        _ => ChatType::Direct,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn may(policy: serde_json::Value, sender: Sender<'_>) -> bool {
        may_send(&serde_json::from_value(json!({ "sendPolicy": policy })).unwrap(), sender)
    }

    const MAIN: Sender<'static> = Sender { key: "agent:main:main", own: None, channel: None, chat_type: None };

    #[test]
    fn without_rules_everything_is_taken() {
        assert!(may_send(&Session::default(), MAIN));
        assert!(may(json!({"default": "allow"}), MAIN) && !may(json!({"default": "deny"}), MAIN));
    }

    #[test]
    fn the_first_deny_wins_over_every_allow_wherever_it_stands() {
        let both = json!({"rules": [{"action": "allow", "match": {}}, {"action": "deny", "match": {"keyPrefix": "agent:main:"}}]});
        assert!(!may(both, MAIN));
        let other = json!({"default": "deny", "rules": [{"action": "allow", "match": {"keyPrefix": "main"}}]});
        assert!(may(other.clone(), MAIN));
        assert!(!may(other, Sender { key: "agent:main:cron:x", ..MAIN }));
    }

    #[test]
    fn all_keys_of_a_rule_must_match() {
        let rule = json!({"rules": [{"action": "deny", "match": {"channel": "Discord", "chatType": "group"}}]});
        assert!(!may(rule.clone(), Sender { key: "agent:main:discord:group:1", ..MAIN }));
        assert!(may(rule.clone(), Sender { key: "agent:main:discord:channel:1", ..MAIN }));
        assert!(!may(rule.clone(), Sender { channel: Some("discord"), chat_type: Some("group"), ..MAIN }));
        assert!(may(rule, Sender { chat_type: Some("group"), ..MAIN }));
    }

    #[test]
    fn a_sessions_own_word_is_the_last_one() {
        assert!(may(json!({"default": "deny"}), Sender { own: Some("allow"), ..MAIN }));
        assert!(!may(json!({"default": "allow"}), Sender { own: Some("deny"), ..MAIN }));
    }
}

//! The line in which clients of the original report themselves: `Node: laptop (10.0.0.2) · app 1.2 · last input 5s ago · mode local · reason launch`.

use crate::protocol::event::presence::PresenceEntry;

/// How every such line begins.
pub const PREFIX: &str = "Node:";

/// What a line says. Parts in another form are left out; the whole line is the entry's text.
#[must_use]
pub fn parse(line: &str) -> PresenceEntry {
    let line = line.trim();
    let mut entry = PresenceEntry { text: Some(line.to_owned()), ..PresenceEntry::default() };
    let mut parts = line.split('·').map(str::trim);
    if let Some(first) = parts.next().and_then(|first| first.strip_prefix(PREFIX)).map(str::trim) {
        let (host, rest) = first.split_once('(').unwrap_or((first, ""));
        entry.host = owned(host);
        entry.ip = rest.split_once(')').and_then(|(ip, _)| owned(ip));
    }
    for part in parts {
        let (word, value) = part.split_once(' ').unwrap_or((part, ""));
        match word {
            "app" => entry.version = owned(value),
            "mode" => entry.mode = owned(value).map(Into::into),
            "reason" => entry.reason = owned(value).map(Into::into),
            "last" => entry.last_input_seconds = value.strip_prefix("input ").and_then(seconds),
            _ => {}
        }
    }
    entry
}

fn owned(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// `5s ago`.
fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix("s ago")?.trim().parse().ok()
}

/// What changed between two entries, as a line for the session; none if it is only a sign of life. `again` = the session's last such line was about another device, so that it must say which.
#[must_use]
pub fn news(before: &PresenceEntry, after: &PresenceEntry, again: bool) -> Option<String> {
    let beat = after.reason.as_deref().map(str::to_lowercase).is_some_and(|reason| reason.starts_with("periodic") || reason == "heartbeat");
    let (host, ip) = (before.host != after.host, before.ip != after.ip);
    let (version, mode) = (before.version != after.version, before.mode != after.mode);
    let reason = before.reason != after.reason && !beat;
    if !(host || ip || version || mode || reason) {
        return None;
    }
    let mut parts = Vec::new();
    if again || host || ip {
        let name = after.host.as_deref().unwrap_or("Unknown");
        parts.push(after.ip.as_ref().map_or_else(|| format!("{PREFIX} {name}"), |ip| format!("{PREFIX} {name} ({ip})")));
    }
    let mut say = |changed: bool, word: &str, value: Option<&str>| {
        if changed {
            parts.push(format!("{word} {}", value.unwrap_or("unknown")));
        }
    };
    say(version, "app", after.version.as_deref());
    say(mode, "mode", after.mode.as_deref());
    say(reason, "reason", after.reason.as_deref());
    Some(parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_node_is_taken_apart() {
        let entry = parse("Node: My Laptop (10.0.0.2) · app 1.2 (3) · last input 5s ago · mode local · reason launch");
        assert_eq!(
            (entry.host.as_deref(), entry.ip.as_deref(), entry.version.as_deref()),
            (Some("My Laptop"), Some("10.0.0.2"), Some("1.2 (3)"))
        );
        assert_eq!((entry.last_input_seconds, entry.mode.as_deref(), entry.reason.as_deref()), (Some(5), Some("local"), Some("launch")));
        for odd in ["Node:", "Node: (", "Node: ·· app · last input ago", "hello"] {
            let entry = parse(odd);
            assert_eq!((entry.host, entry.version, entry.last_input_seconds), (None, None, None), "{odd}");
        }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let before = parse("Node: a (1.2.3.4) · app 1 · mode x · reason launch");
        let beat = parse("Node: a (1.2.3.4) · app 1 · mode x · reason periodic");
        assert_eq!(news(&before, &before, true), None);
        assert_eq!(news(&before, &beat, true), None, "a sign of life");
        let moved = parse("Node: a (1.2.3.5) · app 2 · mode x · reason launch");
        assert_eq!(news(&before, &moved, false).as_deref(), Some("Node: a (1.2.3.5) · app 2"));
        let newer = parse("Node: a (1.2.3.4) · app 2 · mode x · reason wake");
        assert_eq!(news(&before, &newer, false).as_deref(), Some("app 2 · reason wake"));
        assert_eq!(news(&before, &newer, true).as_deref(), Some("Node: a (1.2.3.4) · app 2 · reason wake"));
    }
}

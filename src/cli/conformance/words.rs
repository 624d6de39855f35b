//! Frames and patterns in short, for reports; and what the player reads out of frames.

use serde_json::Value;

use super::pattern::{Mismatch, shown};

/// Session keys that a frame names and that belong to the case.
pub(super) fn sessions_in(frame: &Value, own: &str) -> Vec<String> {
    let payload = frame.get("payload");
    let names = [payload.and_then(|payload| payload.get("sessionKey")), payload.and_then(|payload| payload.get("key"))];
    let keys = names.into_iter().flatten().filter_map(Value::as_str);
    keys.filter(|key| key.starts_with("agent:") && key.contains(own)).map(str::to_owned).collect()
}

pub(super) fn unexpected(frame: &Value) -> Mismatch {
    Mismatch { path: String::new(), expected: "no such frame".to_owned(), got: shown(frame) }
}

/// What a pattern waits for, in short.
pub(super) fn label(pattern: &Value) -> String {
    let text = |name: &str| pattern.get(name).map(|value| value.as_str().map_or_else(|| shown(value), str::to_owned));
    match (text("type").as_deref(), text("event"), text("id")) {
        (Some("event"), Some(event), _) => format!("event {event}"),
        (Some("res"), _, Some(id)) => format!("the answer to {id}"),
        _ => shown(pattern),
    }
}

/// Objects merge, `null` takes a key away, everything else replaces.
pub(super) fn merge(base: &mut Value, patch: Value) {
    let (Value::Object(base), Value::Object(patch)) = (&mut *base, &patch) else {
        *base = patch;
        return;
    };
    for (key, value) in patch.clone() {
        if value.is_null() {
            base.shift_remove(&key);
        } else {
            merge(base.entry(key).or_insert(Value::Null), value);
        }
    }
}

//! The messages of a conversation: how ours are made, and how the text of anybody's is found.

use serde_json::{Value, json};

use super::entry::{behind, glimpse};

/// What a message of the assistant says of its making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Making<'a> {
    /// Kind of interface, such as `shell`.
    pub api: &'a str,
    /// Who answered.
    pub provider: &'a str,
    /// Its model.
    pub model: &'a str,
    /// Why it ended: `stop`, `aborted`, `error`, `injected`, …
    pub stop_reason: &'a str,
    /// What went wrong.
    pub error: Option<&'a str>,
}

/// A message of the user. `at` is ms since the epoch.
#[must_use]
pub fn user(text: &str, at: u64) -> Value {
    json!({ "role": "user", "content": [{ "type": "text", "text": text }], "timestamp": at })
}

/// A message of the assistant that is text only and cost no tokens.
#[must_use]
pub fn assistant(text: &str, making: &Making<'_>, at: u64) -> Value {
    let mut message = json!({
        "role": "assistant",
        "content": [{ "type": "text", "text": text }],
        "api": making.api,
        "provider": making.provider,
        "model": making.model,
        "usage": {
            "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0,
            "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0 },
        },
        "stopReason": making.stop_reason,
        "timestamp": at,
    });
    if let (Some(error), Some(map)) = (making.error, message.as_object_mut()) {
        map.insert("errorMessage".to_owned(), json!(error));
    }
    message
}

/// The role of a message.
#[must_use]
pub fn role(message: &Value) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The text of a message: its content if that is a text, else its text blocks, one per line.
#[must_use]
pub fn text(message: &Value) -> String {
    let content = message.get("content");
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().filter(|block| block["type"] == "text").filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Names of the tools that a message of the assistant calls, with the ids of the calls.
pub fn tool_calls(message: &Value) -> impl Iterator<Item = (&str, &str)> {
    let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
    let calls = blocks.filter(|block| block["type"] == "toolCall");
    calls.map(|block| (block["id"].as_str().unwrap_or_default(), block["name"].as_str().unwrap_or("tool")))
}

/// Role and beginning of the text of a message whose line is cut off.
#[must_use]
pub fn beginning(line: &[u8]) -> Option<(String, String)> {
    let message = behind(line, b"\"message\":")?;
    let role = glimpse(message, "role")?;
    let keys: [&[u8]; 2] = [b"\"text\":", b"\"content\":"];
    let text = keys.into_iter().filter_map(|key| behind(message, key)).find_map(|rest| cut_string(rest.trim_ascii_start()));
    Some((role, text.unwrap_or_default()))
}

/// The JSON text at the start of `rest`, as far as it goes.
fn cut_string(rest: &[u8]) -> Option<String> {
    let rest = rest.strip_prefix(b"\"")?;
    let mut end = 0;
    while let Some(at) = rest.get(end..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        end += at;
        if rest.get(end) == Some(&b'"') {
            break;
        }
        end = (end + 2).min(rest.len());
    }
    if rest.get(end) != Some(&b'"') {
        end = rest.len();
    }
    // The cut may have gone through an escape (two halves of twelve bytes at most) or a letter.
    (0..=12).find_map(|back| {
        let part = rest.get(..end.checked_sub(back)?)?;
        let quoted = [b"\"", part, b"\""].concat();
        serde_json::from_slice(&quoted).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_both_forms_of_content() {
        assert_eq!(text(&json!({ "content": "plain" })), "plain");
        let blocks =
            json!({ "content": [{ "type": "text", "text": "a" }, { "type": "image", "data": "x" }, { "type": "text", "text": "b" }] });
        assert_eq!(text(&blocks), "a\nb");
        assert_eq!(text(&json!({ "content": 7 })), "");
        let calls = json!({ "content": [{ "type": "toolCall", "id": "1", "name": "exec" }, { "type": "text", "text": "b" }] });
        assert_eq!(tool_calls(&calls).collect::<Vec<_>>(), [("1", "exec")]);
    }

    #[test]
    fn the_beginning_of_a_cut_line_is_read_wherever_the_cut_falls() {
        let whole =
            r#"{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":[{"type":"text","text":"a\"\\ü😀\n€ end"}]}}"#;
        let full = "a\"\\ü😀\n€ end";
        let start = whole.find("a\\\"").unwrap();
        for cut in start..whole.len() {
            let (role, text) = beginning(&whole.as_bytes()[..cut]).unwrap();
            assert!(role == "user" && full.starts_with(&text), "{cut}: {text:?}");
        }
        let escaped = r#"{"message":{"role":"user","content":"x\ud83d\ude00y"#;
        for cut in 38..=escaped.len() {
            assert!("x😀y".starts_with(&beginning(&escaped.as_bytes()[..cut]).unwrap().1), "{cut}");
        }
        assert_eq!(beginning(escaped.as_bytes()).unwrap().1, "x😀y");
        assert_eq!(beginning(b"{\"type\":\"custom\""), None);
    }

    #[test]
    fn a_message_of_ours_has_everything_that_readers_of_the_form_expect() {
        let making = Making { api: "shell", provider: "shell", model: "shell", stop_reason: "error", error: Some("exit code 1") };
        let message = assistant("out", &making, 5);
        assert_eq!((role(&message), text(&message).as_str(), &message["errorMessage"]), ("assistant", "out", &json!("exit code 1")));
        assert_eq!(message["usage"]["cost"]["total"], 0);
        assert_eq!(role(&user("x", 1)), "user");
    }
}

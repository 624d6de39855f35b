//! Amazon Bedrock's converse stream, and Anthropic's own words in its `invoke-with-response-stream`, in frames that Amazon's own crate writes.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::anthropic;
use super::http::Speech;
use super::script::{Answer, Say};

const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

fn text(value: &str) -> HeaderValue {
    HeaderValue::String(value.to_owned().into())
}

fn frame(kind: &str, name: &str, value: &Value) -> Vec<u8> {
    let message = Message::new(value.to_string())
        .add_header(Header::new(format!(":{kind}-type"), text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text(kind)));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("a frame can be written");
    bytes
}

fn event(name: &str, mut value: Value) -> Vec<u8> {
    // The service pads its events, so that their lengths say less.
    value["p"] = json!("abcdefgh");
    frame("event", name, &value)
}

/// An answer in this language.
pub fn speech(answer: &Answer) -> Speech {
    let mut frames = vec![event("messageStart", json!({"role": "assistant"}))];
    for (index, say) in answer.say.iter().enumerate() {
        let delta = |delta: Value| event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
        match say {
            Say::Text(words) => frames.extend(answer.pieces(words).iter().map(|piece| delta(json!({"text": piece})))),
            Say::Thinking(words, signature) => {
                frames.extend(answer.pieces(words).iter().map(|piece| delta(json!({"reasoningContent": {"text": piece}}))));
                frames.push(delta(json!({"reasoningContent": {"signature": signature}})));
            }
            Say::Redacted(data) => frames.push(delta(json!({"reasoningContent": {"redactedContent": STANDARD.encode(data)}}))),
            Say::Tool(id, name, input) => {
                let start = json!({"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": name}}});
                frames.push(event("contentBlockStart", start));
                frames.extend(answer.pieces(&input.to_string()).iter().map(|piece| delta(json!({"toolUse": {"input": piece}}))));
            }
        }
        frames.push(event("contentBlockStop", json!({"contentBlockIndex": index})));
    }
    let reason = answer.stop.clone().unwrap_or_else(|| if answer.uses_tools() { "tool_use" } else { "end_turn" }.to_owned());
    frames.push(event("messageStop", json!({"stopReason": reason})));
    let usage = json!({
        "inputTokens": answer.input, "outputTokens": answer.output, "totalTokens": answer.input + answer.output,
        "cacheReadInputTokens": answer.cache_read, "cacheWriteInputTokens": answer.cache_write,
    });
    frames.push(event("metadata", json!({"usage": usage, "metrics": {"latencyMs": 1}})));
    Speech { media_type: MEDIA_TYPE, frames, error }
}

/// An answer in Anthropic's words.
pub fn invoked(answer: &Answer) -> Speech {
    let chunk = |value: &Value| event("chunk", json!({"bytes": STANDARD.encode(value.to_string())}));
    Speech { media_type: MEDIA_TYPE, frames: anthropic::events(answer).iter().map(chunk).collect(), error }
}

fn error(code: &str, words: &str) -> Vec<u8> {
    frame("exception", code, &json!({"message": words}))
}

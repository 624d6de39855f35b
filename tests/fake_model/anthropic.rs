//! Anthropic's messages as server-sent events.

use serde_json::{Value, json};

use super::http::Speech;
use super::script::{Answer, Say};

fn frame(value: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()).into_bytes()
}

/// An answer in this language.
pub fn speech(answer: &Answer) -> Speech {
    let error = |code: &str, text: &str| frame(&json!({"type": "error", "error": {"type": code, "message": text}}));
    Speech { media_type: "text/event-stream; charset=utf-8", frames: events(answer).iter().map(frame).collect(), error }
}

/// The events of an answer, in whatever they are wrapped.
pub fn events(answer: &Answer) -> Vec<Value> {
    let usage = json!({
        "input_tokens": answer.input, "output_tokens": 1,
        "cache_read_input_tokens": answer.cache_read, "cache_creation_input_tokens": answer.cache_write,
    });
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "fake", "content": [], "usage": usage});
    let mut events = vec![json!({"type": "message_start", "message": message}), json!({"type": "ping"})];
    for (index, say) in answer.say.iter().enumerate() {
        let (start, deltas) = block(answer, say);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        events.extend(deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = answer.stop.clone().unwrap_or_else(|| if answer.uses_tools() { "tool_use" } else { "end_turn" }.to_owned());
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": answer.output}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn block(answer: &Answer, say: &Say) -> (Value, Vec<Value>) {
    let deltas = |kind: &str, key: &str, text: &str| -> Vec<Value> {
        answer.pieces(text).iter().map(|piece| json!({"type": kind, key: piece})).collect()
    };
    match say {
        Say::Text(text) => (json!({"type": "text", "text": ""}), deltas("text_delta", "text", text)),
        Say::Thinking(text, signature) => {
            let mut steps = deltas("thinking_delta", "thinking", text);
            steps.push(json!({"type": "signature_delta", "signature": signature}));
            (json!({"type": "thinking", "thinking": "", "signature": ""}), steps)
        }
        Say::Redacted(data) => (json!({"type": "redacted_thinking", "data": data}), Vec::new()),
        Say::Tool(id, name, input) => {
            let start = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            (start, deltas("input_json_delta", "partial_json", &input.to_string()))
        }
    }
}

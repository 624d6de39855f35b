//! Anthropic's messages as server-sent events.

use serde_json::{Value, json};

use super::http::Speech;
use super::script::{Answer, Say};

fn frame(value: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()).into_bytes()
}

/// An answer in this language.
pub fn speech(answer: &Answer) -> Speech {
    let usage = json!({
        "input_tokens": answer.input, "output_tokens": 1,
        "cache_read_input_tokens": answer.cache_read, "cache_creation_input_tokens": answer.cache_write,
    });
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "fake", "content": [], "usage": usage});
    let mut frames = vec![frame(&json!({"type": "message_start", "message": message})), frame(&json!({"type": "ping"}))];
    for (index, say) in answer.say.iter().enumerate() {
        let (start, deltas) = block(answer, say);
        frames.push(frame(&json!({"type": "content_block_start", "index": index, "content_block": start})));
        frames.extend(deltas.iter().map(|delta| frame(&json!({"type": "content_block_delta", "index": index, "delta": delta}))));
        frames.push(frame(&json!({"type": "content_block_stop", "index": index})));
    }
    let reason = answer.stop.clone().unwrap_or_else(|| if answer.uses_tools() { "tool_use" } else { "end_turn" }.to_owned());
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    frames.push(frame(&json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": answer.output}})));
    frames.push(frame(&json!({"type": "message_stop"})));
    let error = |code: &str, text: &str| frame(&json!({"type": "error", "error": {"type": code, "message": text}}));
    Speech { media_type: "text/event-stream; charset=utf-8", frames, error }
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

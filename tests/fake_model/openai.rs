//! OpenAI's chat completions as server-sent events.

use serde_json::{Value, json};

use super::http::Speech;
use super::script::{Answer, Say};

fn frame(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

/// An answer in this language.
pub fn speech(answer: &Answer) -> Speech {
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
        frame(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [choice], "usage": null}))
    };
    let mut frames = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    let mut calls = 0;
    for say in &answer.say {
        match say {
            Say::Text(text) => frames.extend(answer.pieces(text).iter().map(|piece| chunk(json!({"content": piece}), Value::Null))),
            // As servers of open models write it; signatures do not exist here.
            Say::Thinking(text, _) => {
                frames.extend(answer.pieces(text).iter().map(|piece| chunk(json!({"reasoning_content": piece}), Value::Null)));
            }
            Say::Redacted(_) => {}
            Say::Tool(id, name, input) => {
                let call = json!({"index": calls, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                frames.push(chunk(json!({"tool_calls": [call]}), Value::Null));
                let piece = |piece: &String| json!({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]});
                frames.extend(answer.pieces(&input.to_string()).iter().map(|text| chunk(piece(text), Value::Null)));
                calls += 1;
            }
        }
    }
    let reason = answer.stop.clone().unwrap_or_else(|| if calls > 0 { "tool_calls" } else { "stop" }.to_owned());
    frames.push(chunk(json!({}), json!(reason)));
    let usage = json!({
        "prompt_tokens": answer.input + answer.cache_read, "completion_tokens": answer.output,
        "total_tokens": answer.input + answer.cache_read + answer.output,
        "prompt_tokens_details": {"cached_tokens": answer.cache_read},
    });
    frames.push(frame(&json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage})));
    frames.push(b"data: [DONE]\n\n".to_vec());
    let error = |code: &str, text: &str| frame(&json!({"error": {"code": code, "type": code, "message": text}}));
    Speech { media_type: "text/event-stream", frames, error }
}

//! Google's generateContent, whole and as server-sent events.

use serde_json::{Value, json};

use super::http::Speech;
use super::script::{Answer, Say};

fn frame(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn chunk(parts: &[Value], reason: Option<&str>, answer: &Answer) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if let Some(reason) = reason {
        candidate["finishReason"] = json!(reason);
    }
    let usage = json!({
        "promptTokenCount": answer.input + answer.cache_read, "cachedContentTokenCount": answer.cache_read,
        "candidatesTokenCount": answer.output, "totalTokenCount": answer.input + answer.cache_read + answer.output,
    });
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake", "responseId": "r"})
}

fn parts(answer: &Answer) -> Vec<Value> {
    let parts = |say: &Say| match say {
        Say::Text(text) => answer.pieces(text).iter().map(|piece| json!({"text": piece})).collect(),
        Say::Thinking(text, _) => vec![json!({"text": text, "thought": true})],
        Say::Redacted(_) => Vec::new(),
        Say::Tool(id, name, input) => vec![json!({"functionCall": {"id": id, "name": name, "args": input}})],
    };
    answer.say.iter().flat_map(parts).collect()
}

/// An answer in this language; `whole` in one piece.
pub fn speech(answer: &Answer, whole: bool) -> Speech {
    let reason = answer.stop.as_deref().unwrap_or("STOP");
    let parts = parts(answer);
    let error = |code: &str, text: &str| frame(&json!({"error": {"code": 500, "status": code, "message": text}}));
    if whole {
        let body = chunk(&parts, Some(reason), answer).to_string().into_bytes();
        return Speech { media_type: "application/json", frames: vec![body], error };
    }
    let mut frames: Vec<Vec<u8>> = parts.chunks(1).map(|part| frame(&chunk(part, None, answer))).collect();
    frames.push(frame(&chunk(&[json!({"text": ""})], Some(reason), answer)));
    Speech { media_type: "text/event-stream", frames, error }
}

//! OpenAI's responses as server-sent events, which is what Codex speaks.

use serde_json::{Value, json};

use super::http::Speech;
use super::script::{Answer, Say};

fn frame(mut value: Value, number: &mut u64) -> Vec<u8> {
    value["sequence_number"] = json!(*number);
    *number += 1;
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()).into_bytes()
}

/// An answer in this language.
pub fn speech(answer: &Answer) -> Speech {
    let (mut number, mut frames, mut output) = (0, Vec::new(), Vec::new());
    let mut tell = |value: Value| frames.push(frame(value, &mut number));
    let response =
        |status: &str| json!({"id": "resp_fake", "object": "response", "created_at": 1, "status": status, "model": "fake", "output": []});
    tell(json!({"type": "response.created", "response": response("in_progress")}));
    for (index, say) in answer.say.iter().enumerate() {
        let (item, deltas) = item(answer, index, say);
        let mut begun = item.clone();
        begun["status"] = json!("in_progress");
        if begun["type"] == "message" {
            begun["content"] = json!([]);
        }
        tell(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
        for delta in deltas {
            tell(delta);
        }
        tell(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        output.push(item);
    }
    let usage = json!({
        "input_tokens": answer.input + answer.cache_read, "input_tokens_details": {"cached_tokens": answer.cache_read},
        "output_tokens": answer.output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.input + answer.cache_read + answer.output,
    });
    let mut whole = response("completed");
    (whole["output"], whole["usage"]) = (json!(output), usage);
    tell(json!({"type": "response.completed", "response": whole}));
    let error = |code: &str, text: &str| {
        let failed = json!({"id": "resp_fake", "object": "response", "status": "failed", "error": {"code": code, "message": text}});
        frame(json!({"type": "response.failed", "response": failed}), &mut 0)
    };
    Speech { media_type: "text/event-stream", frames, error }
}

/// A whole item, and the pieces in which it is told.
fn item(answer: &Answer, index: usize, say: &Say) -> (Value, Vec<Value>) {
    let id = format!("item_{index}");
    let pieces = |kind: &str, text: &str| -> Vec<Value> {
        let piece = |piece: &String| json!({"type": kind, "item_id": id, "output_index": index, "content_index": 0, "delta": piece});
        answer.pieces(text).iter().map(piece).collect()
    };
    match say {
        Say::Text(text) => {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let item = json!({"type": "message", "id": id, "status": "completed", "role": "assistant", "content": content});
            (item, pieces("response.output_text.delta", text))
        }
        Say::Thinking(text, _) | Say::Redacted(text) => {
            let summary = json!([{"type": "summary_text", "text": text}]);
            let mut deltas = pieces("response.reasoning_summary_text.delta", text);
            deltas.iter_mut().for_each(|delta| delta["summary_index"] = json!(0));
            (json!({"type": "reasoning", "id": id, "summary": summary}), deltas)
        }
        Say::Tool(call, name, input) => {
            // A tool of a server has its name behind that of the server.
            let (namespace, name) = name.rsplit_once("::").map_or((None, name.as_str()), |(space, name)| (Some(space), name));
            let mut item = json!({"type": "function_call", "id": id, "status": "completed", "call_id": call, "name": name, "arguments": input.to_string()});
            if let Some(space) = namespace {
                item["namespace"] = json!(space);
            }
            (item, pieces("response.function_call_arguments.delta", &input.to_string()))
        }
    }
}

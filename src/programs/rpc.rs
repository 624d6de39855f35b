//! JSON-RPC as programs write it: with or without its version, requests from both sides.

use serde_json::{Value, json};

/// A line, by what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The answer to our request of this number: its result, or its error.
    Answer(u64, Result<Value, Failure>),
    /// The program wants an answer under this id.
    Request(Value, String, Value),
    /// The program tells something.
    Notice(String, Value),
    /// None of these.
    Other,
}

/// An error as an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Its number.
    pub code: i64,
    /// Its text, with the details if there are some.
    pub message: String,
}

/// Sorts a line.
#[must_use]
pub fn sort(mut line: Value) -> Heard {
    let id = line.get("id").cloned();
    let method = line.get("method").and_then(Value::as_str).map(str::to_owned);
    let params = line.get_mut("params").map(Value::take).unwrap_or_default();
    match (method, id) {
        (Some(method), Some(id)) if !id.is_null() => Heard::Request(id, method, params),
        (Some(method), _) => Heard::Notice(method, params),
        (None, Some(id)) => {
            let Some(number) = id.as_u64() else { return Heard::Other };
            if let Some(error) = line.get("error").filter(|error| !error.is_null()) {
                return Heard::Answer(number, Err(Failure::of(error)));
            }
            Heard::Answer(number, Ok(line.get_mut("result").map(Value::take).unwrap_or_default()))
        }
        (None, None) => Heard::Other,
    }
}

impl Failure {
    fn of(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = error.get("message").and_then(text).unwrap_or_else(|| "an error without a text".to_owned());
        let details = error.pointer("/data/details").or_else(|| error.pointer("/data/message")).and_then(text);
        let message = details.filter(|details| *details != message).map_or(message.clone(), |details| format!("{message}: {details}"));
        Self { code: error.get("code").and_then(Value::as_i64).unwrap_or_default(), message }
    }
}

/// A request of ours.
#[must_use]
pub fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Something that we tell.
#[must_use]
pub fn notice(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// Our answer to a request.
#[must_use]
pub fn answer(id: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Our answer to a request that we do not know.
#[must_use]
pub fn unknown(id: &Value, method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": format!("this client has no method {method}") } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_with_and_without_a_version() {
        assert_eq!(sort(json!({ "id": 1, "result": 2 })), Heard::Answer(1, Ok(json!(2))));
        assert_eq!(sort(json!({ "id": 0, "method": "m", "params": 1 })), Heard::Request(json!(0), "m".to_owned(), json!(1)));
        assert_eq!(sort(json!({ "method": "m" })), Heard::Notice("m".to_owned(), Value::Null));
        assert_eq!(sort(json!({ "id": "x", "result": 2 })), Heard::Other);
        let failed = json!({ "jsonrpc": "2.0", "id": 2, "error": { "code": -32603, "message": "Internal error", "data": { "details": "no such" } } });
        assert_eq!(sort(failed), Heard::Answer(2, Err(Failure { code: -32603, message: "Internal error: no such".to_owned() })));
    }
}

//! The text of a request: the frame, then its parameters by the method's schema.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::Value;
use skykoi_gateway::protocol::connect::ConnectParams;
use skykoi_gateway::protocol::error::RpcError;
use skykoi_gateway::protocol::frame::{self, MAX_ID, MAX_METHOD};
use skykoi_gateway::protocol::strict;
use skykoi_gateway::rpc::committed;
use skykoi_gateway::rpc::dispatch::Router;
use skykoi_gateway::rpc::validate::Checker;

use super::{Target, outcome, shape};

pub const TARGET: Target = Target {
    name: "frame",
    words: &[
        "{",
        "}",
        "[",
        "]",
        "[[[[[[[[",
        "\"",
        ":",
        ",",
        "null",
        "true",
        "\\u0000",
        "\\ud800",
        "\\",
        "\"type\":\"req\"",
        "\"id\":\"1\"",
        "\"method\":\"agent\"",
        "\"method\":\"connect\"",
        "\"method\":\"chat.send\"",
        "\"method\":\"sessions.list\"",
        "\"params\":{",
        "\"__proto__\":{}",
        "\"message\":\"x\"",
        "\"runId\":",
        "\"timeoutMs\":",
        "\"traceparent\":",
        "\"client\":{\"id\":\"cli\"}",
        "\"scopes\":[\"operator.admin\"]",
        "\"idempotencyKey\":\"k\"",
        "operator.*",
        "\u{202e}",
        "\u{feff}",
    ],
    max: 64 * 1024,
    seeds: vectors,
    run,
};

/// What the vectors of frames and of the handshake send.
fn vectors() -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<_> = ["frames", "connect"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(root.join(dir)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let text = case["sendText"].as_str().map(str::to_owned).or_else(|| case.get("send").map(Value::to_string));
            texts.extend(text.filter(|text| text.len() < 4096).map(String::into_bytes));
        }
    }
    texts
}

fn run(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    match frame::parse(text, 4) {
        Ok(request) => {
            assert!((1..=MAX_ID).contains(&request.id.chars().count()) && !request.id.chars().any(char::is_control));
            assert!((1..=MAX_METHOD).contains(&request.method.len()));
            // A reader that knows nothing of frames must see the same request, if it can read the text at all.
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                assert_eq!((value["id"].as_str(), value["method"].as_str()), (Some(&*request.id), Some(&*request.method)));
            }
            outcome(("ok", params(&request.method, request.params.map_or("{}", |raw| raw.get()))))
        }
        Err(malformed) => {
            let answer = frame::res_error(&malformed.id, &RpcError::invalid(malformed.message.clone()));
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["message"], malformed.message.as_str());
            outcome(("malformed", malformed.not_an_object, shape(&malformed.message)))
        }
    }
}

thread_local! {
    static CHECKERS: RefCell<HashMap<&'static str, Checker>> = RefCell::default();
}

fn params(method: &str, text: &str) -> String {
    let value = match strict::from_json(text) {
        Ok(value) => value,
        Err(error) => return shape(&error.to_string()),
    };
    assert!(depth(&value) <= 65, "deeper than is allowed");
    let Some(name) = ["connect"].into_iter().chain(Router::names()).find(|name| *name == method) else { return "unknown".to_owned() };
    let checked =
        CHECKERS.with_borrow_mut(|checkers| checkers.entry(name).or_insert_with(|| committed::checker(name).unwrap()).check(&value));
    match checked {
        Err(problems) => format!("{name} {}", shape(&problems)),
        Ok(()) => {
            let known = name != "connect" || serde_json::from_value::<ConnectParams>(value).is_ok();
            format!("{name} {known}")
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

//! Devices from outside: how one is let in, with how much, and how it is sent away again.

mod command;
mod proofs;
mod rights;
mod ways;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};

/// A connection with the gateway's secret and these scopes.
async fn with_scopes(gateway: &Gateway, scopes: &[&str]) -> Client {
    let mut params = crate::harness::client::connect_params();
    params["scopes"] = json!(scopes);
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(params).await.unwrap();
    client
}

/// The payloads of the events of this name that the client has had.
fn told(client: &Client, event: &str) -> Vec<Value> {
    client.events.iter().filter(|frame| frame["event"] == event).map(|frame| frame["payload"].clone()).collect()
}

/// The stable code of a refusal: of a whole frame, or of an error.
fn code(refused: &Value) -> &str {
    let error = refused.get("error").unwrap_or(refused);
    error["details"]["code"].as_str().unwrap_or_else(|| panic!("{refused}"))
}

/// Every record of the audit log.
fn audit(gateway: &Gateway) -> Vec<Value> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(gateway.state_dir().join("audit")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(path).unwrap();
            // What is being written just now may end in half a line.
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            records.extend(whole.map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
    }
    records
}

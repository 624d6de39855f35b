//! A person who decides about commands, and what the audit log says of them.

use serde_json::{Value, json};

use super::client::connect_params;
use super::{Client, Gateway};

/// A connection that decides about commands and is told of nothing else.
pub async fn approver(gateway: &Gateway) -> Client {
    let mut client = Client::open_local(gateway).await;
    let mut params = connect_params();
    params["scopes"] = json!(["operator.approvals"]);
    client.hello(params).await.unwrap();
    client
}

/// The next command that waits for a person, behind those that are known.
pub async fn asked(approver: &mut Client, known: usize) -> Value {
    let all = |client: &Client| -> Vec<Value> {
        client.events.iter().filter(|frame| frame["event"] == "exec.approval.requested").map(|frame| frame["payload"].clone()).collect()
    };
    approver.until("a command is asked about", |client| all(client).len() > known).await;
    all(approver)[known].clone()
}

/// The records of commands in the audit log.
pub fn commands_in_audit(gateway: &Gateway) -> Vec<Value> {
    let mut records = Vec::new();
    for file in std::fs::read_dir(gateway.state_dir().join("audit")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.extend(lines.filter(|record| record["action"] == "exec"));
    }
    records
}

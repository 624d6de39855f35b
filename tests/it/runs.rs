//! The main job over real sockets: accepted, streamed, ended; and found again after whatever happens in between.

use serde_json::json;

use crate::harness::{Client, Gateway};

#[tokio::test]
async fn a_script_is_accepted_streamed_and_ended() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({"message": "echo out; echo err >&2; exit 3"})).await;
    assert_eq!(ack["status"], "accepted");
    let last = client.response(&id).await;
    assert_eq!(last["ok"], true);
    assert_eq!(last["payload"]["status"], "error");
    assert_eq!(last["payload"]["exitCode"], 3);
    let run = &client.runs[ack["runId"].as_str().unwrap()];
    assert!(run.text().contains("out\n") && run.text().contains("err\n"));
    assert!(run.terminal().is_some(), "every event comes before the final");
    assert_eq!(run.last, last["payload"]["head"].as_u64().unwrap());
}

#[tokio::test]
async fn a_kill_of_the_daemon_loses_neither_output_nor_outcome() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let script = "for i in $(seq 1 50); do echo line $i; sleep 0.02; done; exit 7";
    let (_, ack) = client.agent(json!({"message": script, "idempotencyKey": "k1"})).await;
    assert_eq!(ack["runId"], "k1");
    client.until("ten lines", |client| client.runs.get("k1").is_some_and(|run| run.text().lines().count() >= 10)).await;
    let had = client.runs["k1"].clone();
    gateway.kill_and_restart();
    let mut again = Client::connect(&gateway).await;
    let reply = again.subscribe("k1", had.last).await;
    assert!(["running", "error"].contains(&reply["status"].as_str().unwrap()));
    let end = again.until_end("k1").await;
    assert_eq!(end["data"]["exitCode"], 7);
    let text = format!("{}{}", had.text(), again.runs["k1"].text());
    let wanted: String = (1..=50).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text, wanted);
    let waited = again.ok("agent.wait", json!({"runId": "k1"})).await;
    assert_eq!((waited["status"].as_str(), waited["outcome"]["exitCode"].as_i64()), (Some("error"), Some(7)));
}

//! One message and its answer.

use serde_json::{Value, json};

use super::{gateway, go, held, send, spoken, transcript};
use crate::harness::model::said;
use crate::harness::{Client, Gateway};

#[tokio::test]
async fn a_message_is_acknowledged_once_said_as_it_comes_and_written_down() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let message = "echo one; until [ -e go-a ]; do sleep 0.01; done; echo two";
    let ack = send(&mut client, "k", message).await;
    assert_eq!(ack, json!({ "runId": "k", "status": "started", "sessionKey": "agent:main:s", "agentId": "main" }));
    // Who is behind at the end is told that alone.
    client.until("the first word", |client| client.chats.contains_key("k")).await;
    go(&gateway, "a");
    let last = client.until_said("k").await;
    assert_eq!((last["state"].as_str(), said(&last), last["stopReason"].as_str()), (Some("final"), "one\ntwo", Some("stop")));
    assert!(client.chats["k"].deltas >= 1 && client.chats["k"].text.starts_with("one"));
    assert_eq!(last["sessionKey"], "agent:main:s");
    assert_eq!(last["seq"], client.until_end("k").await["seq"], "the seq of the run's last event");
    let messages = transcript(&gateway);
    let expected = [("user", message), ("assistant", ""), ("toolResult", ""), ("assistant", "one\ntwo\n")];
    let found = spoken(&messages);
    assert_eq!(found.len(), expected.len(), "{messages:?}");
    for ((role, text), (expected_role, expected_text)) in found.iter().zip(expected) {
        assert_eq!(role, expected_role);
        assert!(expected_text.is_empty() || text == expected_text, "{text:?}");
    }
    let call = &messages[1]["content"][0];
    assert_eq!((call["type"].as_str(), call["name"].as_str()), (Some("toolCall"), Some("exec")));
    assert_eq!(call["arguments"]["command"], message);
    let result = &messages[2];
    assert_eq!((&result["toolCallId"], &result["isError"]), (&call["id"], &json!(false)));
    assert_eq!((&result["details"]["exitCode"], &result["details"]["stdoutBytes"]), (&json!(0), &json!(8)));
    assert_eq!((messages[3]["stopReason"].as_str(), &messages[3]["runId"]), (Some("stop"), &json!("k")));
}

#[tokio::test]
async fn a_request_of_agent_is_written_down_and_said_too() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let last = client.script("echo out; exit 3").await;
    let run_id = last["payload"]["runId"].as_str().unwrap().to_owned();
    assert!(said(&client.until_said(&run_id).await).starts_with("out\n\n[exit code 3 after "));
    let messages = transcript(&gateway);
    assert!(spoken(&messages)[3].1.starts_with("out\n\n[exit code 3 after "), "{messages:?}");
    assert_eq!(messages[2]["details"]["exitCode"], 3);
}

#[tokio::test]
async fn the_order_of_refusals_and_their_texts() {
    let gateway =
        Gateway::with(&json!({ "session": { "sendPolicy": { "rules": [{ "action": "deny", "match": { "keyPrefix": "mute" } }] } } }));
    let mut client = Client::connect(&gateway).await;
    let cases = [
        (json!({ "sessionKey": "mute-1", "message": " " }), "message or attachment required", "MESSAGE_REQUIRED"),
        (json!({ "sessionKey": "mute-1", "message": "x" }), "send blocked by session policy", "SEND_DENIED"),
        (json!({ "sessionKey": "mute-1", "message": "/stop" }), "send blocked by session policy", "SEND_DENIED"),
        (
            json!({ "sessionKey": "agent:nobody:main", "message": "x" }),
            "invalid chat.send params: unknown agent id \"nobody\"",
            "AGENT_NOT_FOUND",
        ),
        (
            json!({ "sessionKey": "s", "message": "x", "queueMode": "later" }),
            "invalid chat.send params: at /queueMode: \"later\" is none of collect, followup, steer, steer-backlog, interrupt",
            "UNKNOWN_QUEUE_MODE",
        ),
    ];
    for (params, text, code) in cases {
        let error = client.err("chat.send", params).await;
        assert_eq!((error["message"].as_str(), error["details"]["code"].as_str()), (Some(text), Some(code)));
    }
}

#[tokio::test]
async fn defect_05_a_repeated_message_starts_nothing_however_it_comes() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let message = held("a");
    send(&mut client, "k", &message).await;
    for _ in 0..2 {
        assert_eq!(send(&mut client, "k", &message).await["status"], "in_flight");
    }
    let conflict = client.err("chat.send", json!({ "sessionKey": "s", "message": "other", "idempotencyKey": "k" })).await;
    assert_eq!(
        (conflict["code"].as_str(), conflict["details"]["reason"].as_str()),
        (Some("INVALID_REQUEST"), Some("chat-request-conflict"))
    );
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(send(&mut client, "k", &message).await["status"], "in_flight", "also on another connection and after a restart");
    go(&gateway, "a");
    client.until_said("k").await;
    assert_eq!(send(&mut client, "k", &message).await["status"], "ok");
    assert_eq!(super::ran(&gateway), ["a"]);
}

#[tokio::test]
async fn defect_29_a_key_of_another_principal_leads_to_nothing_of_ours() {
    let gateway = Gateway::start();
    let (mut web, mut local) = (Client::connect(&gateway).await, Client::local(&gateway).await);
    let (one, two) = (send(&mut web, "k", "echo web").await, send(&mut local, "k", "echo web").await);
    assert_eq!((one["runId"].as_str(), one["status"].as_str(), two["status"].as_str()), (Some("k"), Some("started"), Some("started")));
    assert_ne!(two["runId"], "k");
    local.until_said(two["runId"].as_str().unwrap()).await;
}

#[tokio::test]
async fn the_time_limit_is_in_milliseconds_and_zero_is_none() {
    let gateway = Gateway::with(&json!({ "agents": { "defaults": { "timeoutSeconds": 1 } } }));
    let mut client = Client::connect(&gateway).await;
    let params =
        |key: &str, ms: u64| json!({ "sessionKey": key, "message": "echo part; sleep 60", "idempotencyKey": key, "timeoutMs": ms });
    // It counts from the start of the host process, and until the command has printed its word a busy machine may take a while.
    client.ok("chat.send", params("short", 5000)).await;
    client.ok("chat.send", params("endless", 0)).await;
    client.until("the other one is at work", |client| client.chats.contains_key("endless")).await;
    let last = client.until_said("short").await;
    assert_eq!((last["state"].as_str(), last["stopReason"].as_str(), said(&last)), (Some("aborted"), Some("timeout"), "part"));
    let refused = client.call("chat.send", params("short", 5000)).await;
    assert_eq!((refused["error"]["code"].as_str(), refused["payload"]["status"].as_str()), (Some("AGENT_TIMEOUT"), Some("timeout")));
    let row = client.ok("runs.get", json!({ "runId": "endless" })).await;
    assert_eq!(row["status"], "running");
    client.ok("chat.abort", json!({ "sessionKey": "endless" })).await;
}

#[tokio::test]
async fn long_output_is_bounded_while_it_comes_and_ends_with_its_end_and_the_count() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "k", "seq 1 200000").await;
    let last = client.until_said("k").await;
    let (text, so_far) = (said(&last), client.chats["k"].text.clone());
    assert!(so_far.len() <= 16 << 10 && text.len() < 34 << 10, "{} {}", so_far.len(), text.len());
    assert!(text.starts_with("1\n2\n3\n") && text.ends_with("\n199999\n200000") && text.contains(" bytes left out …]\n\n"));
    let messages = transcript(&gateway);
    let (written, details) = (messages[3]["content"][0]["text"].as_str().unwrap(), &messages[2]["details"]);
    assert_eq!(written.trim_end(), text);
    let left_out = details["leftOutBytes"].as_u64().unwrap();
    assert_eq!(details["stdoutBytes"].as_u64().unwrap(), 1_288_895);
    assert!(left_out > 1_250_000 && text.contains(&format!("[… {left_out} bytes left out …]")) && details["truncated"] == true);
}

#[tokio::test]
async fn a_connection_that_comes_late_gets_the_whole_text_and_the_end() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "k", &format!("echo early; {}", held("a"))).await;
    client.until("the first delta", |client| client.chats.contains_key("k")).await;
    let mut late = Client::connect(&gateway).await;
    late.until("what was said before", |client| client.chats.contains_key("k")).await;
    assert_eq!(late.chats["k"].text, "early");
    go(&gateway, "a");
    for reader in [&mut client, &mut late] {
        assert_eq!(said(&reader.until_said("k").await), "early\na done");
    }
}

#[tokio::test]
async fn only_who_may_read_is_told() {
    let gateway = Gateway::start();
    let mut blind = Client::open(gateway.port(), &[]).await;
    let mut params = crate::harness::client::connect_params();
    params["scopes"] = json!(["operator.pairing"]);
    blind.hello(params).await.unwrap();
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "k", "echo x").await;
    client.until_said("k").await;
    client.ok("chat.send", json!({ "sessionKey": "s", "message": "/help" })).await;
    client.until("the answer", |client| client.events.iter().any(|event| event["payload"]["stopReason"] == "injected")).await;
    let refused: Value = blind.err("health", json!({})).await;
    assert!(
        refused.is_object() && blind.events.iter().all(|event| !matches!(event["event"].as_str(), Some("chat" | "agent"))),
        "{:?}",
        blind.events
    );
}

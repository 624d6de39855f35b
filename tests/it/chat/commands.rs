//! Messages that need no run.

use serde_json::json;

use super::{dialogue, gateway, held, send, until_ran};
use crate::harness::Client;
use crate::harness::model::said;

#[tokio::test]
async fn a_command_is_answered_at_once_beside_a_run_at_work_and_written_down() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    let mut other = Client::connect(&gateway).await;
    let ack = send(&mut client, "k", "/status").await;
    assert_eq!((ack["runId"].as_str(), ack["status"].as_str()), (Some("k"), Some("started")));
    for reader in [&mut client, &mut other] {
        let last = reader.until_said("k").await;
        assert_eq!((last["state"].as_str(), last["stopReason"].as_str(), &last["seq"]), (Some("final"), Some("injected"), &json!(0)));
        assert!(said(&last).contains("At work: run a, for "), "{last}");
    }
    let texts = dialogue(&gateway);
    assert!(texts.contains(&"user: /status".to_owned()) && texts.iter().any(|text| text.starts_with("assistant: SkyKoi Gateway ")));
    assert_eq!(send(&mut client, "k", "/status").await["status"], "ok", "the same request again is answered and said no more");
    let conflict = client.err("chat.send", json!({ "sessionKey": "s", "message": "/help", "idempotencyKey": "k" })).await;
    assert_eq!(conflict["details"]["reason"], "chat-request-conflict");
    assert!(client.ok("runs.list", json!({})).await["runs"].as_array().unwrap().len() == 1, "commands are no runs");
}

#[tokio::test]
async fn a_new_session_ends_its_runs_and_what_follows_the_command_is_its_first_turn() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    let before = client.ok("sessions.list", json!({})).await["sessions"][0]["sessionId"].clone();
    let params = json!({ "sessionKey": "s", "message": "/new echo hello", "idempotencyKey": "n" });
    client.ok("chat.send", params.clone()).await;
    assert_eq!(client.until_said("a").await["state"], "aborted");
    assert_eq!(said(&client.until_said("n").await), "hello");
    let after = client.ok("sessions.list", json!({})).await["sessions"][0]["sessionId"].clone();
    assert_ne!(before, after);
    assert_eq!(client.ok("chat.send", params).await["status"], "ok");
    assert_eq!(client.ok("sessions.list", json!({})).await["sessions"][0]["sessionId"], after, "a repeated request resets nothing");
}

#[tokio::test]
async fn what_is_no_command_of_ours_is_a_script() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "k", "/bin/echo slash").await;
    assert_eq!(said(&client.until_said("k").await), "slash");
}

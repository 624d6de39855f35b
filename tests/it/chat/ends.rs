//! Runs of a chat that somebody ends.

use serde_json::{Value, json};

use super::{gateway, go, held, quick, ran, send, transcript, until_ran};
use crate::harness::model::said;
use crate::harness::{Client, Gateway};

/// How many last events a run had on this connection.
fn ends(client: &Client, run_id: &str) -> usize {
    let of_run = |event: &&Value| event["payload"]["runId"] == run_id;
    let last = |event: &&Value| event["event"] == "agent" && crate::harness::model::is_terminal(&event["payload"]);
    client.events.iter().filter(of_run).filter(last).count()
}

#[tokio::test]
async fn defect_24_defect_31_an_abort_by_any_spelling_ends_all_once_and_keeps_what_was_said() {
    for spelling in ["s", " S ", "agent:main:s"] {
        let gateway = gateway(&json!({}));
        let mut client = Client::connect(&gateway).await;
        send(&mut client, "a", &format!("echo part; {}", held("a"))).await;
        client.until("the first word", |client| client.chats.contains_key("a")).await;
        send(&mut client, "b", &quick("b")).await;
        let reply = client.ok("chat.abort", json!({ "sessionKey": spelling })).await;
        assert_eq!(reply, json!({ "ok": true, "aborted": true, "runIds": ["a", "b"] }));
        let (a, b) = (client.until_said("a").await, client.until_said("b").await);
        assert_eq!((a["state"].as_str(), a["stopReason"].as_str(), said(&a)), (Some("aborted"), Some("rpc"), "part"));
        assert_eq!((b["state"].as_str(), b["stopReason"].as_str(), b.get("message")), (Some("aborted"), Some("rpc"), None));
        assert_eq!((client.until_end("a").await["data"]["phase"].as_str(), ends(&client, "a"), ends(&client, "b")), (Some("end"), 1, 1));
        let messages = transcript(&gateway);
        let last = messages.last().unwrap();
        assert_eq!((last["stopReason"].as_str(), last["content"][0]["text"].as_str()), (Some("aborted"), Some("part\n")));
        assert_eq!(messages.iter().filter(|message| message["role"] == "user").count(), 1, "what never had a turn was not said");
        let rows = client.ok("sessions.list", json!({})).await;
        assert_eq!(rows["sessions"][0]["abortedLastRun"], true);
        assert_eq!(client.ok("chat.abort", json!({ "sessionKey": spelling })).await["aborted"], false);
    }
}

#[tokio::test]
async fn defect_06_one_run_of_a_session_is_ended_whatever_started_it() {
    let gateway = gateway(&json!({ "mode": "followup" }));
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({ "message": held("a"), "idempotencyKey": "a", "sessionKey": "s" })).await;
    until_ran(&gateway, &["a"]).await;
    for name in ["b", "c"] {
        send(&mut client, name, &quick(name)).await;
    }
    let wrong = client.err("chat.abort", json!({ "sessionKey": "other", "runId": "b" })).await;
    assert_eq!(wrong["message"], "runId does not match sessionKey");
    let reply = client.ok("chat.abort", json!({ "sessionKey": "s", "runId": "b" })).await;
    assert_eq!(reply["runIds"], json!(["b"]));
    assert_eq!(client.ok("chat.abort", json!({ "sessionKey": "s", "runId": "a" })).await["runIds"], json!(["a"]));
    assert_eq!(said(&client.until_said("c").await), "c done");
    assert_eq!((client.until_said("a").await["state"].as_str(), ran(&gateway)), (Some("aborted"), vec!["a".to_owned(), "c".to_owned()]));
    assert_eq!(client.ok("chat.abort", json!({ "sessionKey": "s", "runId": "nobody" })).await["aborted"], false);
}

#[tokio::test]
async fn a_stop_word_ends_the_runs_of_the_session_and_no_other() {
    for word in ["/stop", "Stop", " esc ", "abort", "wait", "exit", "interrupt"] {
        let gateway = gateway(&json!({}));
        let mut client = Client::connect(&gateway).await;
        client.ok("chat.send", json!({ "sessionKey": "other", "message": held("o"), "idempotencyKey": "o" })).await;
        until_ran(&gateway, &["o"]).await;
        send(&mut client, "a", &held("a")).await;
        until_ran(&gateway, &["o", "a"]).await;
        let stopped = client.ok("chat.send", json!({ "sessionKey": "s", "message": word, "idempotencyKey": "z" })).await;
        assert_eq!(stopped, json!({ "ok": true, "aborted": true, "runIds": ["a"] }), "{word}");
        assert_eq!(client.until_said("a").await["stopReason"], "stop");
        go(&gateway, "o");
        assert_eq!(said(&client.until_said("o").await), "o done");
    }
}

#[tokio::test]
async fn an_abort_of_a_merged_message_ends_the_turn_that_answers_it() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    send(&mut client, "b", &quick("b")).await;
    send(&mut client, "c", &held("c")).await;
    go(&gateway, "a");
    until_ran(&gateway, &["a", "b", "c"]).await;
    assert_eq!(client.ok("chat.abort", json!({ "sessionKey": "s", "runId": "b" })).await["runIds"], json!(["b"]));
    for run in ["b", "c"] {
        let last = client.until_said(run).await;
        assert_eq!((last["state"].as_str(), last["stopReason"].as_str()), (Some("aborted"), Some("rpc")));
    }
    assert_eq!(client.chats["b"].last.as_ref().unwrap()["mergedInto"], "c");
}

#[tokio::test]
async fn defect_07_a_run_that_cannot_be_served_says_so_once_and_never_as_an_empty_final() {
    let gateway =
        Gateway::with(&json!({ "agents": { "list": [{ "id": "main", "default": true, "tools": { "exec": { "security": "deny" } } }] } }));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "k", "echo x").await;
    let last = client.until_said("k").await;
    assert_eq!((last["state"].as_str(), last.get("message")), (Some("error"), None));
    assert!(last["errorMessage"].as_str().unwrap().starts_with("exec.security is \"deny\""), "{last}");
    let messages = transcript(&gateway);
    assert_eq!((messages.len(), messages[1]["stopReason"].as_str()), (2, Some("error")));
    assert_eq!(messages[1]["errorMessage"], last["errorMessage"]);
}

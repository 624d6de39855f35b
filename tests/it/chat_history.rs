//! `chat.history` over transcripts as they are found on disks: ours, the original's, long ones, broken ones.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};

/// A session whose transcript holds these lines.
async fn session_with(gateway: &Gateway, client: &mut Client, key: &str, lines: &str) -> PathBuf {
    let patched = client.ok("sessions.patch", json!({ "key": key, "verboseLevel": "on" })).await;
    let session = patched["entry"]["sessionId"].as_str().unwrap();
    let path = gateway.state_dir().join("agents/main/sessions").join(format!("{session}.jsonl"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, lines).unwrap();
    path
}

fn entry(n: usize, role: &str, text: &str) -> String {
    let parent = if n == 0 { Value::Null } else { json!(format!("{:08x}", n - 1)) };
    let message = json!({ "role": role, "content": [{ "type": "text", "text": text }], "timestamp": n });
    format!(
        "{}\n",
        json!({ "type": "message", "id": format!("{n:08x}"), "parentId": parent, "timestamp": "2026-11-21T07:00:00.000Z", "message": message })
    )
}

fn texts(history: &Value) -> Vec<&str> {
    history["messages"].as_array().unwrap().iter().map(|message| message["content"][0]["text"].as_str().unwrap()).collect()
}

async fn on_protocol(gateway: &Gateway, protocol: u32) -> Client {
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = connect_params();
    params["minProtocol"] = json!(protocol);
    params["maxProtocol"] = json!(protocol);
    client.hello(params).await.unwrap();
    client
}

#[tokio::test]
async fn pages_lead_back_to_the_first_message_and_rows_are_marked_on_protocol_4_only() {
    let gateway = Gateway::start();
    let mut client = on_protocol(&gateway, 4).await;
    let header = "{\"type\":\"session\",\"version\":3,\"id\":\"s\",\"timestamp\":\"t\",\"cwd\":\"/\"}\n";
    let lines: String = (0..7).map(|n| entry(n, "user", &format!("m{n}"))).collect();
    session_with(&gateway, &mut client, "paged", &format!("{header}{lines}")).await;
    let page = client.ok("chat.history", json!({ "sessionKey": "Paged", "limit": 3 })).await;
    assert_eq!(texts(&page), ["m4", "m5", "m6"]);
    assert_eq!((&page["hasMore"], &page["nextOffset"], &page["sessionKey"]), (&json!(true), &json!(3), &json!("agent:main:paged")));
    assert_eq!(page["messages"][2]["__openclaw"], json!({ "id": "00000006", "seq": 7, "kind": "message" }));
    let last = client.ok("chat.history", json!({ "sessionKey": "paged", "limit": 5, "offset": 6 })).await;
    assert_eq!((texts(&last), &last["hasMore"], last.get("nextOffset")), (vec!["m0"], &json!(false), None));
    let one = client.ok("chat.message.get", json!({ "sessionKey": "paged", "messageId": "00000003" })).await;
    assert_eq!((&one["ok"], &one["message"]["content"][0]["text"]), (&json!(true), &json!("m3")));
    let mut old = on_protocol(&gateway, 3).await;
    let page = old.ok("chat.history", json!({ "sessionKey": "paged", "limit": 3 })).await;
    assert_eq!(page["messages"][2], json!({ "role": "user", "content": [{ "type": "text", "text": "m6" }], "timestamp": 6 }));
    assert!(page.get("hasMore").is_none() && page["sessionId"].is_string());
}

#[tokio::test]
async fn defect_32_history_shows_neither_injected_times_nor_message_ids() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let user = entry(0, "user", "[Sat 2026-11-21 07:00 UTC] df -h\n[message_id: 5]");
    let compaction = "{\"type\":\"compaction\",\"id\":\"00000001\",\"parentId\":\"00000000\",\"timestamp\":\"2026-11-21T07:00:00.000Z\",\"summary\":\"so far\"}\n";
    let lines = format!("{user}{compaction}{}", entry(2, "assistant", "[2026-11-21 07:00] is a time"));
    session_with(&gateway, &mut client, "clean", &lines).await;
    let history = client.ok("chat.history", json!({ "sessionKey": "clean" })).await;
    assert_eq!(texts(&history), ["df -h", "so far", "[2026-11-21 07:00] is a time"]);
    assert_eq!((&history["messages"][1]["role"], &history["messages"][1]["__openclaw"]["kind"]), (&json!("system"), &json!("compaction")));
}

#[tokio::test]
async fn a_broken_transcript_shows_what_is_left_and_a_link_is_not_followed() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (first, second, third) = (entry(0, "user", "one"), entry(1, "assistant", "two"), entry(2, "user", "three"));
    let lines = format!("garbage\n{first}{}{third}{}", second.replace("two", "t\u{1}wo"), &entry(3, "user", "torn")[..90]);
    let path = session_with(&gateway, &mut client, "broken", &lines).await;
    let history = client.ok("chat.history", json!({ "sessionKey": "broken" })).await;
    assert_eq!(texts(&history), ["one", "three"]);
    let elsewhere = gateway.state_dir().join("secret.jsonl");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let error = client.err("chat.history", json!({ "sessionKey": "broken" })).await;
    assert_eq!((&error["code"], &error["details"]["code"]), (&json!("UNAVAILABLE"), &json!("TRANSCRIPT_UNAVAILABLE")));
    fs::remove_file(&path).unwrap();
    let history = client.ok("chat.history", json!({ "sessionKey": "broken" })).await;
    assert_eq!(history["messages"], json!([]), "a transcript that is gone has said nothing");
}

#[tokio::test]
async fn the_end_of_a_long_transcript_is_read_without_loading_it() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let text = "x".repeat(5000);
    let lines: String = (0..10_000).map(|n| entry(n, "assistant", &text)).collect();
    assert!(lines.len() > 50_000_000);
    session_with(&gateway, &mut client, "long", &lines).await;
    let before = gateway.peak_kib();
    let history = client.ok("chat.history", json!({ "sessionKey": "long", "limit": 200 })).await;
    assert_eq!((history["messages"].as_array().unwrap().len(), &history["messages"][199]["__openclaw"]["seq"]), (200, &json!(9999)));
    let grown = gateway.peak_kib() - before;
    assert!(grown < 12 * 1024, "{grown} KiB");
    // Bytes bound the page before the limit does: the oldest go.
    let history = client.ok("chat.history", json!({ "sessionKey": "long", "limit": 1000, "maxBytes": 100_000 })).await;
    let messages = history["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[messages.len() - 1]["timestamp"]), (19, &json!(9999)));
    assert!(history["messages"].to_string().len() <= 100_000);
    assert_eq!(history["nextOffset"], 19);
}

//! Files that come with messages: to the run, to the transcript, to the history, and within the limits that hello announces.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Client, Gateway};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n12345678";

#[tokio::test]
async fn defect_17_a_file_far_larger_than_the_old_frame_reaches_the_run_whole() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    assert!(client.hello["policy"]["attachments"]["maxBytes"].as_u64().unwrap() > 5_000_000);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let file = json!({ "type": "file", "fileName": "data.bin", "content": STANDARD.encode(&bytes) });
    let script = "wc -c < \"$SKYKOI_ATTACHMENT_1\"; cp \"$SKYKOI_ATTACHMENT_1\" copy.bin";
    let (id, ack) = client.agent(json!({ "message": script, "attachments": [file], "idempotencyKey": "large" })).await;
    assert_eq!(ack["status"], "accepted");
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let kept: Vec<_> = std::fs::read_dir(gateway.state_dir().join("media")).unwrap().map(|folder| folder.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    let path = kept[0].join("data.bin");
    assert_eq!((std::fs::read(&path).unwrap() == bytes, path.metadata().unwrap().permissions().mode() & 0o777), (true, 0o600));
    // The same request again is the same run, however the file is spelled; another file is a conflict.
    let spelled = json!({ "type": "file", "fileName": "data.bin", "content": format!("data:application/octet-stream;base64,{}", STANDARD.encode(&bytes)) });
    let again = client.call("agent", json!({ "message": script, "attachments": [spelled], "idempotencyKey": "large" })).await;
    assert_eq!((&again["ok"], &again["payload"]["status"]), (&json!(true), &json!("ok")), "{again}");
    let other = json!({ "type": "file", "fileName": "data.bin", "content": "eA==" });
    let error = client.err("agent", json!({ "message": script, "attachments": [other], "idempotencyKey": "large" })).await;
    assert_eq!(error["code"], "IDEMPOTENCY_CONFLICT");
}

#[tokio::test]
async fn an_image_above_the_limit_is_refused_with_its_size_and_nothing_is_kept() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let image = [PNG, &vec![0; 6_291_456]].concat();
    let file = json!({ "type": "image", "fileName": "big.png", "content": STANDARD.encode(&image) });
    let error = client.err("agent", json!({ "message": "true", "attachments": [file] })).await;
    assert_eq!(error["message"], "attachment big.png: exceeds size limit (6291472 > 6291456 bytes)");
    let many = vec![json!({ "content": "eA==" }); 33];
    assert_eq!(client.err("agent", json!({ "message": "true", "attachments": many })).await["message"], "more than 32 attachments");
    assert!(!gateway.state_dir().join("media").exists());
}

#[tokio::test]
async fn an_image_stands_in_the_history_with_its_bytes_and_any_other_file_by_its_name() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let files = json!([{ "fileName": "dot.png", "content": STANDARD.encode(PNG) }, { "fileName": "notes.txt", "content": "aGVsbG8=" }]);
    let (id, _) = client.agent(json!({ "message": "true", "sessionKey": "pictures", "attachments": files })).await;
    client.response(&id).await;
    gateway.stop();
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let history = client.ok("chat.history", json!({ "sessionKey": "pictures" })).await;
    let content = &history["messages"][0]["content"];
    assert_eq!(
        (&content[0]["text"], &content[1]["mimeType"], &content[1]["data"]),
        (&json!("true"), &json!("image/png"), &json!(STANDARD.encode(PNG)))
    );
    assert_eq!(content[2], json!({ "type": "file", "mimeType": "text/plain", "fileName": "notes.txt", "bytes": 5 }));
    // An image that is gone, or has no room, is named all the same.
    std::fs::remove_dir_all(gateway.state_dir().join("media")).unwrap();
    let history = client.ok("chat.history", json!({ "sessionKey": "pictures" })).await;
    assert_eq!(
        (&history["messages"][0]["content"][1]["omitted"], &history["messages"][0]["content"][1]["fileName"]),
        (&json!(true), &json!("dot.png"))
    );
}

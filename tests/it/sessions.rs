//! Sessions over the wire: what survives, what starts afresh, what is put away, and who is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};

/// Two days ago, so that every daily rule has come by since.
fn long_ago() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from((now - Duration::from_secs(2 * 86_400)).as_millis()).unwrap()
}

/// Writes a store of the original and its transcripts into the state directory of an agent.
fn original(gateway: &Gateway, agent: &str, store: &str, transcripts: &[(&str, &[Value])]) -> PathBuf {
    let dir = gateway.state_dir().join("agents").join(agent).join("sessions");
    write_store(&dir, store, transcripts)
}

fn write_store(dir: &Path, store: &str, transcripts: &[(&str, &[Value])]) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("sessions.json"), store).unwrap();
    for (id, lines) in transcripts {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.join(format!("{id}.jsonl")), text).unwrap();
    }
    dir.to_owned()
}

fn header(id: &str) -> Value {
    json!({"type": "session", "version": 3, "id": id, "timestamp": "2026-11-01T00:00:00.000Z", "cwd": "/home/koi"})
}

fn said(id: &str, parent: Option<&str>, message: &Value) -> Value {
    json!({"type": "message", "id": id, "parentId": parent, "timestamp": "2026-11-01T00:00:01.000Z", "message": message})
}

/// Everything the original may have kept of a session, a large snapshot included.
fn full_entry(id: &str) -> Value {
    json!({
        "sessionId": id, "updatedAt": long_ago(), "thinkingLevel": "high", "verboseLevel": "full", "elevatedLevel": "ask", "execHost": "gateway",
        "execSecurity": "full", "providerOverride": "example", "modelOverride": "model-1", "queueMode": "followup", "queueCap": 5, "label": "mine",
        "inputTokens": 10, "outputTokens": 20, "totalTokens": 30, "origin": {"provider": "webchat"}, "skillsSnapshot": {"prompt": "x".repeat(30_000)},
        "fieldOfTomorrow": {"a": [1, 2]},
    })
}

async fn describe(client: &mut Client, key: &str) -> Value {
    client.ok("sessions.describe", json!({"key": key})).await["session"].clone()
}

#[tokio::test]
async fn a_store_of_the_original_is_taken_over_once_and_stays_as_it_is() {
    let mut gateway = Gateway::prepared(&json!({}));
    let store =
        json!({"agent:main:main": full_entry("s-1"), "agent:main:cron:job:run:s-1": {"sessionId": "s-1", "updatedAt": 1}}).to_string();
    let talk = [header("s-1"), said("00000001", None, &json!({"role": "user", "content": "hello"}))];
    let dir = original(&gateway, "main", &store, &[("s-1", &talk)]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let row = describe(&mut client, "main").await;
    assert_eq!((&row["sessionId"], &row["label"], &row["totalTokens"]), (&json!("s-1"), &json!("mine"), &json!(30)), "{row}");
    let list = client.ok("sessions.list", json!({"includeLastMessage": true})).await;
    assert_eq!(
        (&list["totalCount"], &list["sessions"][0]["lastMessagePreview"]),
        (&json!(1), &json!("hello")),
        "runs of jobs are left out: {list}"
    );
    assert_eq!(client.ok("sessions.get", json!({"key": "main"})).await["messages"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(dir.join("sessions.json")).unwrap(), store);
    // What is changed here is not undone by the file at the next start.
    client.ok("sessions.patch", json!({"key": "main", "label": "other"})).await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(describe(&mut client, "main").await["label"], "other");
}

#[tokio::test]
async fn a_damaged_store_is_named_and_left_and_read_when_it_is_whole_again() {
    let mut gateway = Gateway::prepared(&json!({}));
    let dir = original(&gateway, "main", "{\"agent:main:main\": {\"sessionId\": \"s-", &[]);
    gateway.launch();
    assert!(gateway.log().contains("sessions.json cannot be imported: not JSON"), "{}", gateway.log());
    assert!(std::fs::read_to_string(dir.join("sessions.json")).unwrap().ends_with("\"s-"));
    std::fs::write(dir.join("sessions.json"), json!({"main": {"sessionId": "s-1", "updatedAt": 5, "queueCap": "many"}}).to_string())
        .unwrap();
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(describe(&mut client, "main").await["sessionId"], "s-1");
    assert!(gateway.log().contains("queueCap has another type"), "{}", gateway.log());
}

#[tokio::test]
async fn a_store_elsewhere_is_imported_with_its_transcripts() {
    let gateway = Gateway::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let talk = [header("s-9"), said("00000001", None, &json!({"role": "user", "content": "from elsewhere"}))];
    let dir = write_store(elsewhere.path(), &json!({"old": {"sessionId": "s-9", "updatedAt": 9}}).to_string(), &[("s-9", &talk)]);
    let mut client = Client::connect(&gateway).await;
    let done = client.ok("sessions.import", json!({"path": dir.join("sessions.json")})).await;
    assert_eq!((&done["found"], &done["imported"], &done["problems"]), (&json!(1), &json!(1), &json!([])));
    let preview = client.ok("sessions.preview", json!({"keys": ["old"]})).await;
    assert_eq!(preview["previews"][0], json!({"key": "old", "status": "ok", "items": [{"role": "user", "text": "from elsewhere"}]}));
    assert!(gateway.state_dir().join("agents/main/sessions/s-9.jsonl").exists() && dir.join("s-9.jsonl").exists());
    assert_eq!(client.ok("sessions.import", json!({"path": dir.join("sessions.json")})).await["imported"], 0);
}

#[tokio::test]
async fn defect_08_a_run_keeps_every_field_and_an_old_conversation_starts_afresh() {
    let mut gateway = Gateway::prepared(&json!({}));
    original(&gateway, "main", &json!({"agent:main:main": full_entry("s-1")}).to_string(), &[("s-1", &[header("s-1")])]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    client.script("true").await;
    let first = client.ok("sessions.patch", json!({"key": "main"})).await["entry"].clone();
    assert_ne!(first["sessionId"], "s-1");
    let kept = [
        ("thinkingLevel", json!("high")),
        ("verboseLevel", json!("full")),
        ("elevatedLevel", json!("ask")),
        ("execHost", json!("gateway")),
        ("execSecurity", json!("full")),
        ("modelOverride", json!("model-1")),
        ("queueMode", json!("followup")),
        ("queueCap", json!(5)),
        ("label", json!("mine")),
        ("origin", json!({"provider": "webchat"})),
    ];
    for (name, value) in kept {
        assert_eq!(first[name], value, "{name}: {first}");
    }
    assert_eq!((&first["inputTokens"], &first["totalTokens"]), (&json!(0), &json!(0)));
    client.script("true").await;
    assert_eq!(describe(&mut client, "main").await["sessionId"], first["sessionId"], "a young one goes on");
}

#[tokio::test]
async fn defect_09_a_reset_ends_the_work_puts_the_transcript_away_and_keeps_overrides() {
    let mut gateway = Gateway::prepared(&json!({}));
    let entry =
        json!({"sessionId": "s-1", "updatedAt": u64::MAX >> 12, "modelOverride": "model-1", "elevatedLevel": "full", "execAsk": "off"});
    let dir = original(&gateway, "main", &json!({"main": entry}).to_string(), &[("s-1", &[header("s-1")])]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (working, ack) = client.agent(json!({"message": "sleep 60"})).await;
    client.until("the start", |client| client.runs.contains_key(ack["runId"].as_str().unwrap())).await;
    let (waiting, _) = client.agent(json!({"message": "touch ran"})).await;
    let reset = client.ok("sessions.reset", json!({"key": "MAIN"})).await;
    for id in [&working, &waiting] {
        let last = client.response(id).await;
        assert_eq!(last["payload"]["status"], "aborted", "{last}");
        assert!(id == &waiting || last["payload"]["stopReason"] == "reset", "{last}");
    }
    assert!(!gateway.state_dir().join("work/ran").exists(), "what waited never began");
    assert_eq!(
        (&reset["key"], &reset["entry"]["modelOverride"], &reset["entry"]["execAsk"]),
        (&json!("agent:main:main"), &json!("model-1"), &json!("off"))
    );
    assert_ne!(reset["entry"]["sessionId"], "s-1");
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.contains(&"s-1.jsonl".to_owned()) && names.iter().any(|name| name.starts_with("s-1.jsonl.reset.")), "{names:?}");
}

#[tokio::test]
async fn defect_10_a_compacted_transcript_keeps_its_header_and_whole_pairs_of_call_and_result() {
    let mut gateway = Gateway::prepared(&json!({}));
    let call = json!({"role": "assistant", "content": [{"type": "toolCall", "id": "c1", "name": "exec", "arguments": {}}]});
    let result = json!({"role": "toolResult", "toolCallId": "c1", "toolName": "exec", "content": [{"type": "text", "text": "out"}]});
    let lines = [
        header("s-1"),
        said("00000001", None, &json!({"role": "user", "content": "old"})),
        said("00000002", Some("00000001"), &json!({"role": "user", "content": "run it"})),
        said("00000003", Some("00000002"), &call),
        said("00000004", Some("00000003"), &result),
        said("00000005", Some("00000004"), &json!({"role": "assistant", "content": [{"type": "text", "text": "done"}]})),
    ];
    let dir = original(
        &gateway,
        "main",
        &json!({"main": {"sessionId": "s-1", "updatedAt": 5, "totalTokens": 9}}).to_string(),
        &[("s-1", &lines)],
    );
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let done = client.ok("sessions.compact", json!({"key": "main", "maxLines": 2})).await;
    assert_eq!((&done["compacted"], &done["kept"]), (&json!(true), &json!(3)), "the call came along: {done}");
    assert!(Path::new(done["archived"].as_str().unwrap()).exists());
    let text = std::fs::read_to_string(dir.join("s-1.jsonl")).unwrap();
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&kept[0], kept.len()), (&header("s-1"), 4));
    assert_eq!((&kept[1]["message"], &kept[2]["message"]), (&call, &result));
    let (id, ack) = client.agent(json!({"message": "sleep 60"})).await;
    client.until("the start", |client| client.runs.contains_key(ack["runId"].as_str().unwrap())).await;
    let busy = client.err("sessions.compact", json!({"key": "main"})).await;
    assert_eq!(
        (&busy["code"], &busy["message"]),
        (&json!("UNAVAILABLE"), &json!("Session agent:main:main is still active; try again in a moment."))
    );
    client.ok("chat.abort", json!({"sessionKey": "main"})).await;
    client.response(&id).await;
}

#[tokio::test]
async fn defect_24_every_spelling_of_a_key_is_the_same_session() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let spellings = ["chat-7", "Chat-7", " chat-7 ", "agent:main:chat-7", "AGENT:Main:CHAT-7"];
    let (id, ack) = client.agent(json!({"message": "sleep 60", "sessionKey": spellings[4]})).await;
    assert_eq!(ack["sessionKey"], "agent:main:chat-7");
    for spelling in spellings {
        assert_eq!(client.ok("sessions.resolve", json!({"key": spelling})).await["key"], "agent:main:chat-7");
        assert_eq!(describe(&mut client, spelling).await["activeRunIds"], json!([ack["runId"]]));
    }
    assert_eq!(client.ok("chat.abort", json!({"sessionKey": "chat-7", "runId": ack["runId"]})).await["aborted"], true);
    assert_eq!(client.response(&id).await["payload"]["status"], "aborted");
    assert_eq!(client.ok("sessions.list", json!({})).await["totalCount"], 1);
}

#[tokio::test]
async fn defect_32_titles_and_previews_show_what_was_said_and_nothing_else() {
    let mut gateway = Gateway::prepared(&json!({}));
    let long = format!("[Sat 2026-11-21 07:00 UTC] please {}\n[message_id: 17]", "do it ".repeat(40));
    let lines = [
        header("s-1"),
        said("00000001", None, &json!({"role": "user", "content": [{"type": "text", "text": long}]})),
        said("00000002", Some("00000001"), &json!({"role": "user", "content": "[Sat 2026-11-21 07:05 UTC] thanks\n[message_id: 18]"})),
    ];
    original(&gateway, "main", &json!({"main": {"sessionId": "s-1", "updatedAt": 5}}).to_string(), &[("s-1", &lines)]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let asked = json!({"includeDerivedTitles": true, "includeLastMessage": true});
    for _ in 0..2 {
        let row = client.ok("sessions.list", asked.clone()).await["sessions"][0].clone();
        let title = row["derivedTitle"].as_str().unwrap();
        assert!(title.starts_with("please do it do it") && title.chars().count() <= 60, "{title}");
        assert_eq!(row["lastMessagePreview"], "thanks");
    }
    let row = client.ok("sessions.list", json!({})).await["sessions"][0].clone();
    assert!(row["derivedTitle"].is_null() && row["lastMessagePreview"].is_null(), "only if asked for: {row}");
}

#[tokio::test]
async fn defect_33_answers_about_sessions_are_small_whatever_is_kept_of_them() {
    let mut gateway = Gateway::prepared(&json!({}));
    original(&gateway, "main", &json!({"main": full_entry("s-1")}).to_string(), &[]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let calls = [
        ("sessions.list", json!({})),
        ("sessions.describe", json!({"key": "main"})),
        ("sessions.patch", json!({"key": "main", "verboseLevel": "on"})),
        ("sessions.reset", json!({"key": "main"})),
    ];
    for (method, params) in calls {
        let size = client.ok(method, params).await.to_string().len();
        assert!(size < 2048, "{method}: {size} bytes");
    }
}

#[tokio::test]
async fn a_deleted_session_ends_its_work_and_its_transcript_is_renamed() {
    let mut gateway = Gateway::prepared(&json!({}));
    let store = json!({"x": {"sessionId": "s-1", "updatedAt": u64::MAX >> 12}, "y": {"sessionId": "s-2", "updatedAt": 1}}).to_string();
    let dir = original(&gateway, "main", &store, &[("s-1", &[header("s-1")]), ("s-2", &[header("s-2")])]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({"message": "sleep 60", "sessionKey": "x"})).await;
    client.until("the start", |client| client.runs.contains_key(ack["runId"].as_str().unwrap())).await;
    let gone = client.ok("sessions.delete", json!({"key": "x"})).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "aborted");
    let archived = Path::new(gone["archived"][0].as_str().unwrap());
    assert!(gone["deleted"] == true && archived.exists() && archived.to_str().unwrap().contains("s-1.jsonl.deleted."), "{gone}");
    let kept = client.ok("sessions.delete", json!({"key": "y", "deleteTranscript": false})).await;
    assert!(kept["archived"] == json!([]) && dir.join("s-2.jsonl").exists(), "{kept}");
    assert_eq!(client.ok("sessions.list", json!({})).await["totalCount"], 0);
    assert_eq!(client.ok("runs.get", json!({"runId": ack["runId"]})).await["status"], "aborted", "what ran is still known");
    // The same key again is another session.
    client.script("true").await;
    assert!(describe(&mut client, "x").await.is_null());
}

#[tokio::test]
async fn messages_go_to_the_session_of_their_sender_and_are_refused_by_rule() {
    let gateway = Gateway::with(&json!({"session": {
        "dmScope": "per-channel-peer",
        "identityLinks": {"alice": ["webchat:Alice-1"]},
        "sendPolicy": {"rules": [{"action": "allow", "match": {}}, {"action": "deny", "match": {"keyPrefix": "webchat:dm:mallory"}}]},
    }}));
    let mut client = Client::connect(&gateway).await;
    let mut key_of = async |to: &str| client.agent(json!({"message": "true", "to": to})).await.1["sessionKey"].clone();
    assert_eq!(key_of("alice-1").await, "agent:main:webchat:dm:alice");
    assert_eq!(key_of("Bob").await, "agent:main:webchat:dm:bob");
    let error = client.err("agent", json!({"message": "true", "to": "mallory"})).await;
    assert_eq!((&error["message"], &error["details"]["code"]), (&json!("send blocked by session policy"), &json!("SEND_DENIED")));
    client.ok("sessions.patch", json!({"key": "agent:main:webchat:dm:mallory", "sendPolicy": "allow"})).await;
    client.agent(json!({"message": "true", "to": "mallory"})).await;
    client.ok("sessions.patch", json!({"key": "main", "sendPolicy": "deny"})).await;
    client.err("agent", json!({"message": "true"})).await;
}

#[tokio::test]
async fn with_the_global_scope_there_is_one_session_for_all() {
    let gateway = Gateway::with(&json!({"session": {"scope": "global"}}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.hello["snapshot"]["sessionDefaults"]["mainSessionKey"], "global");
    for params in [
        json!({"message": "true"}),
        json!({"message": "true", "sessionKey": "main"}),
        json!({"message": "true", "sessionKey": "agent:main:main"}),
    ] {
        assert_eq!(client.agent(params).await.1["sessionKey"], "global");
    }
    assert_eq!(client.ok("sessions.list", json!({})).await["totalCount"], 0);
    assert_eq!(client.ok("sessions.list", json!({"includeGlobal": true})).await["sessions"][0]["kind"], "global");
    assert_eq!(client.err("sessions.delete", json!({"key": "main"})).await["message"], "Cannot delete the main session (global).");
}

#[tokio::test]
async fn changes_are_told_to_those_who_subscribed_and_only_while_they_are() {
    let gateway = Gateway::start();
    let (mut watching, mut other) = (Client::connect(&gateway).await, Client::connect(&gateway).await);
    watching.ok("sessions.subscribe", json!({})).await;
    let changes = |client: &Client| {
        let of = |event: &Value| (event["event"] == "sessions.changed").then(|| event["payload"].clone());
        client.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    other.ok("sessions.create", json!({"key": "a"})).await;
    watching.until("the change", |client| !changes(client).is_empty()).await;
    let told = changes(&watching).remove(0);
    assert_eq!(
        (&told["sessionKey"], &told["reason"], &told["session"]["key"]),
        (&json!("agent:main:a"), &json!("create"), &json!("agent:main:a"))
    );
    watching.ok("sessions.unsubscribe", json!({})).await;
    let before = changes(&watching).len();
    other.ok("sessions.create", json!({"key": "b"})).await;
    other.ok("sessions.list", json!({})).await;
    watching.ok("sessions.list", json!({})).await;
    assert_eq!((changes(&watching).len(), changes(&other).len()), (before, 0));
}

#[tokio::test]
async fn many_sessions_are_paged_without_gaps() {
    let mut gateway = Gateway::prepared(&json!({}));
    let store: serde_json::Map<String, Value> =
        (0..1200).map(|n| (format!("s{n}"), json!({"sessionId": format!("id-{n}"), "updatedAt": 1_000_000 + n / 3}))).collect();
    original(&gateway, "main", &Value::Object(store).to_string(), &[]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (mut seen, mut cursor) = (Vec::new(), json!(""));
    loop {
        let page = client.ok("sessions.list", json!({"limit": 500, "cursor": cursor})).await;
        assert_eq!(page["totalCount"], 1200);
        seen.extend(page["sessions"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()));
        if page["hasMore"] == false {
            break;
        }
        cursor = page["nextCursor"].clone();
    }
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((total, seen.len()), (1200, 1200));
    assert_eq!(client.ok("sessions.list", json!({})).await["limitApplied"], 100);
    let old = json!({"minProtocol": 3, "maxProtocol": 3});
    let mut params = crate::harness::client::connect_params();
    crate::harness::gateway::merge(&mut params, &old);
    let mut old = Client::open(gateway.port(), &[]).await;
    old.hello(params).await.unwrap();
    assert_eq!(old.ok("sessions.list", json!({})).await["count"], 1000, "protocol 3 knows no pages");
}

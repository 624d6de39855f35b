//! Agent programs as a user has them: a real daemon whose configuration names them, real shims, and programs that play what was recorded of the real ones.

use serde_json::{Value, json};
use skykoi_gateway::programs::spec::Kind;

use super::stub::{program, script};
use crate::harness::gateway::merge;
use crate::harness::model::said;
use crate::harness::{Client, Gateway};
use crate::shim::until;

/// The text of the user's message is at hand, in `$line`.
pub const ASKED: &str = "expect '\"type\":\"user\"'\n";
/// Claude Code says who it is.
pub const INIT: &str = r#"echo '{"type":"system","subtype":"init","session_id":"S1","model":"claude-x"}'"#;
/// It says something.
pub const TEXT: &str = r#"echo '{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}]}}'"#;
/// Its turn is over.
pub const DONE: &str = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"hi","terminal_reason":"completed"}'; rest"#;

/// A gateway whose one agent works with a program of this kind that is this script, and the folder in which the program is.
pub fn gateway_of(kind: Kind, script: &str, patch: &Value) -> (tempfile::TempDir, Gateway) {
    let dir = tempfile::tempdir().unwrap();
    let command = program(dir.path(), "stub", script);
    let mut config = json!({ "agents": { "defaults": { "runner": kind.name() } }, "runners": { kind.name(): { "command": command } } });
    merge(&mut config, patch);
    let gateway = Gateway::with(&config);
    (dir, gateway)
}

/// The arguments of each process of the program so far.
pub fn starts(dir: &tempfile::TempDir) -> Vec<String> {
    std::fs::read_to_string(dir.path().join("stub.args")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Sends a message to the main session and waits for the end of its turn.
pub async fn chat(client: &mut Client, key: &str, message: &str) -> Value {
    client.ok("chat.send", json!({ "sessionKey": "main", "message": message, "idempotencyKey": key })).await;
    client.until_said(key).await
}

/// Roles and texts of the messages of the one transcript.
pub fn transcript(gateway: &Gateway) -> Vec<(String, String)> {
    let folder = gateway.state_dir().join("agents/main/sessions");
    let mut files: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    let text = std::fs::read_to_string(files.last().unwrap()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |message: &Value| {
        let blocks = message["content"].as_array().unwrap();
        let texts = blocks.iter().map(|block| block["text"].as_str().or(block["name"].as_str()).unwrap_or_default());
        (message["role"].as_str().unwrap().to_owned(), texts.collect::<Vec<_>>().join("|"))
    };
    lines.filter(|line| line["type"] == "message").map(|line| of(&line["message"])).collect()
}

#[tokio::test]
async fn a_chat_turn_with_each_kind_of_program_streams_runs_its_command_and_is_written_down() {
    for (name, answer, code) in [
        ("codex-tool", "Tool said: Chunk ID", 4),
        ("claude-exit-code", "Tool said: Exit code 3", 3),
        ("pi-tool", "Tool said: out1", 4),
        ("acp-claude-tool", "Tool said: Exit code 4", 4),
    ] {
        let kind = Kind::ALL.into_iter().find(|kind| name.starts_with(kind.name())).unwrap();
        // It says its last line when what it said before is shown: a busy machine would else show all at its end.
        let script = script(kind, name);
        let (words, last) = script.rsplit_once("cat <<").unwrap();
        let script = format!("{words}while [ ! -e \"$0.go\" ]; do sleep 0.02; done\ncat <<{last}");
        let (dir, gateway) = gateway_of(kind, &script, &json!({}));
        let mut client = Client::connect(&gateway).await;
        client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
        client.until("it is streamed", |client| client.chats.get("k").is_some_and(|chat| chat.deltas > 0)).await;
        std::fs::write(dir.path().join("stub.go"), "").unwrap();
        let last = client.until_said("k").await;
        assert_eq!(last["state"], "final", "{name}: {last}");
        assert!(said(&last).contains(answer), "{name}: {last}");
        let row = client.ok("agent.wait", json!({ "runId": "k" })).await;
        assert!(row["outcome"]["usage"]["input"].as_u64().is_some_and(|input| input > 0), "{name}: {row}");
        client.subscribe("k", 0).await;
        client.until_end("k").await;
        let run = &client.runs["k"];
        let data = |stream: &str, phase: &str| {
            let of = |event: &&Value| event["stream"] == stream && event["data"]["phase"] == phase;
            run.events.values().filter(of).map(|event| event["data"].clone()).collect::<Vec<_>>()
        };
        let (starts, results) = (data("tool", "start"), data("tool", "result"));
        assert_eq!((starts.len(), results.len()), (1, 1), "{name}");
        assert_eq!((&starts[0]["name"], &results[0]["exitCode"]), (&json!("exec"), &json!(code)), "{name}");
        assert_eq!(data("lifecycle", "session").len(), 1, "{name}");
        let roles: Vec<String> = transcript(&gateway).into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles.first().map(String::as_str), Some("user"), "{name}");
        assert_eq!(roles.iter().filter(|role| *role == "toolResult").count(), 1, "{name}: {roles:?}");
        assert_eq!(roles.last().map(String::as_str), Some("assistant"), "{name}: {roles:?}");
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn the_next_turn_goes_on_with_the_programs_conversation_until_it_is_reset_also_after_a_restart() {
    let (dir, mut gateway) = gateway_of(Kind::Claude, &format!("{ASKED}{INIT}\n{TEXT}\n{DONE}"), &json!({}));
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "a", "one").await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "b", "two").await), "hi");
    let resumed: Vec<bool> = starts(&dir).iter().map(|args| args.contains("--resume S1")).collect();
    assert_eq!(resumed, [false, true]);
    chat(&mut client, "new", "/new").await;
    chat(&mut client, "c", "three").await;
    assert!(!starts(&dir)[2].contains("--resume"), "{:?}", starts(&dir));
    chat(&mut client, "d", "four").await;
    client.ok("sessions.reset", json!({ "key": "main" })).await;
    chat(&mut client, "e", "five").await;
    let resumed: Vec<bool> = starts(&dir).iter().map(|args| args.contains("--resume")).collect();
    assert_eq!(resumed, [false, true, false, true, false]);
}

#[tokio::test]
async fn another_folder_begins_another_conversation() {
    let (dir, mut gateway) = gateway_of(Kind::Claude, &format!("{ASKED}{INIT}\n{TEXT}\n{DONE}"), &json!({}));
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "a", "one").await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["agents"]["defaults"]["workspace"] = json!(gateway.state_dir().join("elsewhere"));
    gateway.kill();
    gateway.write_config(&config.to_string());
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "b", "two").await;
    assert!(!starts(&dir)[1].contains("--resume"), "{:?}", starts(&dir));
}

#[tokio::test]
async fn a_turn_that_is_aborted_or_whose_host_is_killed_keeps_the_conversation() {
    let hang = format!("{ASKED}{INIT}\n{TEXT}\ncase \"$line\" in *HANG*) setsid sleep 86391 & sleep 86392;; esac\n{DONE}");
    let (dir, gateway) = gateway_of(Kind::Claude, &hang, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "HANG", "idempotencyKey": "a" })).await;
    client.until("it said something", |client| client.chats.get("a").is_some_and(|chat| chat.deltas > 0)).await;
    let begun = std::time::Instant::now();
    client.ok("chat.abort", json!({ "sessionKey": "main" })).await;
    let last = client.until_said("a").await;
    assert_eq!(last["state"], "aborted", "{last}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    gateway.is_clean().await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "HANG", "idempotencyKey": "b" })).await;
    client.until("it said something", |client| client.chats.get("b").is_some_and(|chat| chat.deltas > 0)).await;
    for (_, shim) in gateway.shims() {
        crate::harness::kill_9(shim);
    }
    let last = client.until_said("b").await;
    assert_eq!(last["state"], "error", "{last}");
    assert_eq!(said(&chat(&mut client, "c", "go on").await), "hi");
    let resumed: Vec<bool> = starts(&dir).iter().map(|args| args.contains("--resume S1")).collect();
    assert_eq!(resumed, [false, true, true]);
    gateway.is_clean().await;
}

#[tokio::test]
async fn kill_9_of_the_daemon_in_the_middle_of_a_turn_loses_nothing() {
    let more = r#"echo '{"type":"assistant","message":{"content":[{"type":"text","text":" there"}]}}'"#;
    let slow =
        format!("{ASKED}{INIT}\n{TEXT}\ncase \"$line\" in *TARRY*) while [ ! -e \"$0.go\" ]; do sleep 0.02; done;; esac\n{more}\n{DONE}");
    let (dir, mut gateway) = gateway_of(Kind::Claude, &slow, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "TARRY", "idempotencyKey": "k" })).await;
    client.until("it said something", |client| client.chats.get("k").is_some_and(|chat| chat.deltas > 0)).await;
    gateway.kill();
    std::fs::write(dir.path().join("stub.go"), "").unwrap();
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let last = client.ok("agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    let messages = transcript(&gateway);
    assert_eq!((messages[0].1.as_str(), messages.last().unwrap().0.as_str()), ("TARRY", "assistant"));
    let all: String = messages.iter().filter(|(role, _)| role == "assistant").map(|(_, text)| text.replace('|', "")).collect();
    assert_eq!(all, "hi there");
    chat(&mut client, "n", "next").await;
    assert_eq!(starts(&dir).len(), 2, "its turn was not begun twice");
    assert!(starts(&dir)[1].contains("--resume S1"), "{:?}", starts(&dir));
}

#[tokio::test]
async fn kw79_a_program_that_is_missing_makes_only_its_own_runner_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let codex = program(dir.path(), "stub", &script(Kind::Codex, "codex-think"));
    let gateway = Gateway::with(&json!({
        "agents": { "list": [
            { "id": "main", "runner": "claude" },
            { "id": "coder", "runner": "codex", "workspace": dir.path().join("coder") },
            { "id": "sh", "runner": "shell", "workspace": dir.path().join("sh") },
        ] },
        "runners": { "claude": { "command": "/no/such/claude" }, "codex": { "command": codex } },
    }));
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "hello" })).await;
    let missing = client.response(&id).await;
    assert_eq!(missing["error"]["code"], "UNAVAILABLE", "{missing}");
    let text = missing["error"]["message"].as_str().unwrap();
    assert!(text.contains("/no/such/claude is not there") && text.contains("npm install -g @anthropic-ai/claude-code"), "{text}");
    for (agent, message) in [("coder", "think"), ("sh", "true")] {
        let (id, _) = client.agent(json!({ "agentId": agent, "message": message })).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "ok", "{agent}: {last}");
    }
    let rows = client.ok("runners.list", json!({})).await;
    let of = |name: &str| rows["runners"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&of("claude")["available"], &of("claude")["agents"]), (&json!(false), &json!(["main"])));
    assert_eq!((&of("codex")["available"], &of("codex")["path"]), (&json!(true), &json!(codex)));
    assert_eq!(of("codex")["home"], json!(gateway.state_dir().join("runners/codex")));
    assert!(of("acp")["reason"].as_str().unwrap().contains("runners.acp.command"));
}

#[tokio::test]
async fn a_program_that_closes_its_output_without_a_final_is_an_error_that_says_what_it_said() {
    let (_dir, gateway) = gateway_of(Kind::Claude, &format!("{ASKED}{INIT}\n{TEXT}\necho 'the disk is on fire' >&2\nexit 0"), &json!({}));
    let mut client = Client::connect(&gateway).await;
    let last = chat(&mut client, "k", "hello").await;
    assert_eq!(last["state"], "error", "{last}");
    assert!(last["errorMessage"].as_str().unwrap().contains("the disk is on fire"), "{last}");
    assert_eq!(transcript(&gateway)[1].1, "hi", "what was shown is kept");
}

#[tokio::test]
async fn kw11_a_program_finds_its_own_home_its_keys_and_its_model_and_nothing_else_of_the_gateways() {
    let dir = tempfile::tempdir().unwrap();
    let command = program(dir.path(), "stub", &format!("env > \"$0.env\"\n{ASKED}{INIT}\n{TEXT}\n{DONE}"));
    let mut gateway = Gateway::prepared(&json!({
        "agents": { "defaults": { "runner": "claude", "model": "anthropic/claude-x", "thinkingDefault": "low" } },
        "runners": { "claude": { "command": command, "env": { "OWN": "canary-${BASE}" }, "passthrough": ["ANTHROPIC_API_KEY"] } },
    }));
    for (name, value) in [("ANTHROPIC_API_KEY", "canary-key"), ("BASE", "value"), ("OTHER_API_KEY", "canary-other")] {
        gateway.env(name, value);
    }
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "k", "hello").await), "hi");
    let env = std::fs::read_to_string(dir.path().join("stub.env")).unwrap();
    let has = |line: &str| env.lines().any(|known| known == line);
    let home = gateway.state_dir().join("runners/claude");
    assert!(has(&format!("CLAUDE_CONFIG_DIR={}", home.display())) && home.is_dir(), "{env}");
    assert!(has("ANTHROPIC_API_KEY=canary-key") && has("OWN=canary-value") && has("MAX_THINKING_TOKENS=4096"), "{env}");
    assert!(!env.contains("canary-other") && !env.contains("SKYKOI_STATE_DIR"), "{env}");
    assert!(starts(&dir)[0].contains("--model claude-x") && !starts(&dir)[0].contains("canary"), "{:?}", starts(&dir));
    let shown = client.ok("config.get", json!({})).await.to_string();
    assert!(!shown.contains("canary-value") && !shown.contains("canary-key"), "{shown}");
    let refused = client.err("agent", json!({ "message": "x", "env": { "ANTHROPIC_BASE_URL": "http://evil.example" } })).await;
    assert_eq!(refused["details"]["code"], "ENV_REFUSED", "{refused}");
    for file in ["logs/shim.log", "daemon.log"] {
        let text = std::fs::read_to_string(gateway.state_dir().join(file)).unwrap_or_default();
        assert!(!text.contains("canary-key") && !text.contains("canary-value"), "{file}");
    }
}

#[tokio::test]
async fn a_program_of_a_run_that_is_shut_in_reaches_its_own_home_and_not_the_gateways_state() {
    let look = "for file in ../skykoi.json ../state.db; do cat \"$file\" >/dev/null 2>&1 && echo \"read $file\"; done > seen\n: > \"$CLAUDE_CONFIG_DIR/mine\" && echo wrote >> seen\n: > ../runners/other 2>/dev/null && echo outside >> seen";
    // Not below /tmp, which this level leaves open; the program is there because it only has to be read.
    let dir = tempfile::tempdir().unwrap();
    let command = program(dir.path(), "stub", &format!("{look}\n{ASKED}{INIT}\n{TEXT}\n{DONE}"));
    let runner = json!({
        "agents": { "defaults": { "runner": "claude" } },
        "runners": { "claude": { "command": command } },
    });
    let Some(gateway) = crate::isolation::isolated(&json!({ "level": "workspace" }), &runner) else { return };
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "k", "hello").await), "hi");
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/seen")).unwrap(), "wrote\n");
    assert!(gateway.state_dir().join("runners/claude/mine").exists());
}

#[tokio::test]
async fn what_is_said_to_a_run_at_work_reaches_its_program_and_is_part_of_its_turn() {
    let more = r#"echo '{"type":"assistant","message":{"content":[{"type":"text","text":" I hurry"}]}}'"#;
    let script = format!("{ASKED}{INIT}\n{TEXT}\n{ASKED}case \"$line\" in *hurry*) {more};; esac\n{DONE}");
    let (dir, gateway) = gateway_of(Kind::Claude, &script, &json!({ "messages": { "queue": { "mode": "steer" } } }));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "work", "idempotencyKey": "a" })).await;
    client.until("it said something", |client| client.chats.get("a").is_some_and(|chat| chat.deltas > 0)).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "hurry", "idempotencyKey": "b" })).await;
    let (first, second) = (client.until_said("a").await, client.until_said("b").await);
    assert!(first["state"] == "final" && said(&first).ends_with("I hurry"), "{first}");
    assert_eq!((second["state"].as_str(), second["mergedInto"].as_str()), (Some("final"), Some("a")), "{second}");
    assert_eq!(starts(&dir).len(), 1, "it has no turn of its own");
    let roles: Vec<(String, String)> = transcript(&gateway).into_iter().filter(|(role, _)| role == "user").collect();
    assert_eq!(roles, [("user".to_owned(), "work".to_owned()), ("user".to_owned(), "hurry".to_owned())]);
}

#[tokio::test]
async fn a_program_that_cannot_be_told_anything_answers_the_message_in_a_turn_of_its_own() {
    // Codex has not begun its turn, so there is nothing that it could be told into.
    let line = |value: Value| format!("cat <<'END'\n{value}\nEND\n");
    let mut script = String::new();
    for (id, result) in [(1, json!({})), (2, json!({ "thread": { "id": "T1" } }))] {
        script.push_str(&format!("after '\"id\":{id}'\n{}", line(json!({ "id": id, "result": result }))));
    }
    script.push_str("after '\"id\":3'\n: > \"$0.begun\"\nwhile [ ! -e \"$0.go\" ]; do sleep 0.02; done\n");
    script.push_str(&line(json!({ "id": 3, "error": { "code": 1, "message": "not today" } })));
    script.push_str("rest");
    let (dir, gateway) = gateway_of(Kind::Codex, &script, &json!({ "messages": { "queue": { "mode": "steer" } } }));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "work", "idempotencyKey": "a" })).await;
    until("its turn was asked for", || dir.path().join("stub.begun").exists()).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "hurry", "idempotencyKey": "b" })).await;
    std::fs::write(dir.path().join("stub.go"), "").unwrap();
    client.until_said("a").await;
    let second = client.until_said("b").await;
    assert_eq!(second.get("mergedInto"), None, "{second}");
    assert_eq!(starts(&dir).len(), 2);
}

#[tokio::test]
async fn programs_beyond_their_room_wait_and_are_seen_to_wait() {
    let slow = format!("{ASKED}{INIT}\n{TEXT}\nwhile [ ! -e \"$0.go\" ]; do sleep 0.02; done\n{DONE}");
    let (dir, gateway) = gateway_of(Kind::Claude, &slow, &json!({ "runners": { "maxConcurrent": 1 } }));
    let mut client = Client::connect(&gateway).await;
    let (first, _) = client.agent(json!({ "sessionKey": "one", "message": "x", "idempotencyKey": "a" })).await;
    until("the first works", || starts(&dir).len() == 1).await;
    let (second, ack) = client.agent(json!({ "sessionKey": "two", "message": "y", "idempotencyKey": "b" })).await;
    assert_eq!(ack["position"], 1, "{ack}");
    // It takes its place behind its acknowledgement.
    let mut row = Value::Null;
    while row["status"] != "queued" {
        row = client.ok("runs.get", json!({ "runId": "b" })).await;
    }
    assert_eq!(row["position"], 1, "{row}");
    assert_eq!(starts(&dir).len(), 1);
    std::fs::write(dir.path().join("stub.go"), "").unwrap();
    for id in [first, second] {
        assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    }
    assert_eq!(starts(&dir).len(), 2);
}

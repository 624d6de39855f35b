//! Changes of the configuration that need a restart: the daemon executes itself anew, its runs go on, and a note says afterwards why it was.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::live_config::{replace, text};
use crate::nginx::free_port;

/// A client of the daemon that comes back on this port.
async fn back(port: u16) -> Client {
    loop {
        match Client::try_connect(port).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Patches the configuration with these further parameters; gives the answer.
async fn patch(client: &mut Client, raw: Value, more: Value) -> Value {
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let mut params = json!({ "raw": raw.to_string(), "baseHash": hash, "restartDelayMs": 0 });
    crate::harness::gateway::merge(&mut params, &more);
    client.ok("config.patch", params).await
}

#[tokio::test]
async fn what_needs_a_restart_gets_one_runs_outlive_it_and_the_session_is_told_why() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let boot = client.ok("status", json!({})).await["bootId"].clone();
    client.agent(json!({ "message": "until [ -e go ]; do sleep 0.05; done; echo done", "idempotencyKey": "r" })).await;
    client.until("the start of the run", |client| client.runs.contains_key("r")).await;
    let raw = json!({ "logging": { "maxFileBytes": 1_000_000 }, "gateway": { "port": free_port() } });
    let answer = patch(&mut client, raw, json!({ "note": " larger logs ", "sessionKey": "Main" })).await;
    assert_eq!((&answer["applied"], &answer["restartNeeded"]), (&json!("restart"), &json!(["logging.maxFileBytes"])));
    assert_eq!((&answer["restart"]["pid"], &answer["restart"]["reason"]), (&json!(gateway.pid()), &json!(" larger logs ")));
    let note = gateway.state_dir().join("restart-sentinel.json");
    assert_eq!(answer["sentinel"]["path"], note.display().to_string());
    let payload = &answer["sentinel"]["payload"];
    assert_eq!(
        (&payload["kind"], &payload["status"], &payload["sessionKey"]),
        (&json!("config-apply"), &json!("ok"), &json!("agent:main:main"))
    );
    assert_eq!((&payload["stats"]["mode"], &payload["message"]), (&json!("config.patch"), &json!(" larger logs ")));
    let closed = client.until_closed().await;
    assert_eq!(closed.code, Some(1012));
    let said = client.events.iter().find(|event| event["event"] == "shutdown").unwrap();
    assert_eq!(said["payload"]["reason"], "gateway restarting");
    let mut client = back(u16::try_from(answer["config"]["gateway"]["port"].as_u64().unwrap()).unwrap()).await;
    let status = client.ok("status", json!({})).await;
    assert!(status["bootId"] != boot && status["pid"] == gateway.pid(), "{status}");
    assert_eq!(status["config"]["restartNeeded"], json!([]));
    let told = json!(["The gateway was restarted to take a change of its configuration (config.patch): larger logs"]);
    assert_eq!(status["queuedSystemEvents"], told);
    assert!(!note.exists(), "it is told once");
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    assert_eq!(client.ok("agent.wait", json!({ "runId": "r" })).await["status"], "ok");
}

#[tokio::test]
async fn a_change_without_a_restart_leaves_no_note_and_a_session_that_is_none_is_refused_before_anything_is_saved() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let lanes = json!({ "agents": { "defaults": { "maxConcurrent": 3 } } });
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let before = std::fs::read(gateway.config_path()).unwrap();
    let params = json!({ "raw": lanes.to_string(), "baseHash": hash, "sessionKey": "agent::" });
    let refused = client.err("config.patch", params).await;
    assert_eq!(refused["details"]["code"], "INVALID_SESSION_KEY", "{refused}");
    assert_eq!(std::fs::read(gateway.config_path()).unwrap(), before);
    let answer = patch(&mut client, lanes, json!({ "note": "why", "sessionKey": "main" })).await;
    assert_eq!((&answer["applied"], answer.get("restart"), answer.get("sentinel")), (&json!("hot"), None, None));
    assert!(!gateway.state_dir().join("restart-sentinel.json").exists());
}

#[tokio::test]
async fn with_the_mode_restart_every_change_is_a_restart_and_one_that_nobody_asked_for_has_no_note() {
    let port = free_port();
    let gateway = Gateway::with(&json!({ "gateway": { "port": port, "reload": { "mode": "restart", "debounceMs": 10 } } }));
    let mut client = Client::connect(&gateway).await;
    for lanes in [3, 5] {
        replace(&gateway, &text(&gateway, &json!({ "agents": { "defaults": { "maxConcurrent": lanes } } })));
        assert_eq!(client.until_closed().await.code, Some(1012));
        client = back(port).await;
        let status = client.ok("status", json!({})).await;
        assert_eq!((&status["runs"]["max"], &status["pid"]), (&json!(lanes), &json!(gateway.pid())));
        assert_eq!(status["queuedSystemEvents"], json!([]));
    }
}

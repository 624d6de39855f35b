//! Secrets stay where they belong: a word is put into every slot that holds one, everything is done that could carry it away, and then it is looked for everywhere.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};

/// Stands in every secret.
const CANARY: &str = "canary7c1d9e";

fn secret(slot: &str) -> String {
    format!("{CANARY}-{slot}-0123456789abcdef")
}

/// Every file below `dir` that holds one of the words.
pub fn holding(dir: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&path, words));
        } else if let Ok(bytes) = std::fs::read(&path)
            && words.iter().any(|word| memchr::memmem::find(&bytes, word.as_bytes()).is_some())
        {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

/// What `/proc` says of the environments and command lines of these processes.
fn proc_texts(pids: &[u32]) -> Vec<u8> {
    let read = |pid: &u32, name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    pids.iter().flat_map(|pid| [read(pid, "environ"), read(pid, "cmdline")].concat()).collect()
}

/// A process and all that come from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()).collect::<String>();
    for child in children.split_whitespace() {
        all.extend(family(child.parse().unwrap()));
    }
    all
}

fn config(gateway: &Gateway) -> Value {
    json!({
        "gateway": {
            "mode": "local", "port": 0,
            "auth": { "mode": "token", "password": secret("password") },
            "remote": { "token": secret("remote"), "password": secret("remote-password") },
            "tls": { "enabled": true },
        },
        "models": { "providers": { "p": { "baseUrl": "https://p.example", "apiKey": secret("api"), "models": [],
            "headers": { "x-key": secret("header") } } } },
        "env": { "vars": { "OTHER_KEY": secret("variable") } },
        "agents": { "defaults": { "workspace": gateway.state_dir().join("work"), "shell": "/bin/bash" } },
        "exec": { "security": "full", "host": "gateway" },
        "audit": { "commands": true },
        "logging": { "level": "trace" },
    })
}

#[tokio::test]
async fn g16_a_secret_of_any_slot_is_found_in_no_log_record_database_frame_or_process() {
    let mut gateway = Gateway::prepared(&json!({}));
    gateway.write_config(&config(&gateway).to_string());
    gateway.env("SKYKOI_GATEWAY_TOKEN", &secret("shared"));
    gateway.launch();
    let tls_key = std::fs::read_to_string(gateway.state_dir().join("gateway/tls/gateway-key.pem")).unwrap();
    let own_key = std::fs::read_to_string(gateway.state_dir().join("gateway/identity-key.pem")).unwrap();
    let words = [CANARY, tls_key.lines().nth(1).unwrap(), own_key.lines().nth(1).unwrap()];

    let mut frames = String::new();
    let mut params = connect_params();
    params["auth"]["token"] = json!(format!("{}-wrong", secret("shared")));
    frames += &Client::open_local(&gateway).await.hello(params.clone()).await.err().unwrap_or_default().to_string();
    let mut client = Client::local(&gateway).await;
    let script = "cat /proc/self/environ /proc/$PPID/environ /proc/$PPID/cmdline; env; echo seen; sleep 1000";
    client.agent(json!({"message": script, "idempotencyKey": "r"})).await;
    client.until("it has looked", |client| client.runs.get("r").is_some_and(|run| run.text().contains("seen"))).await;
    let of_processes = proc_texts(&family(gateway.pid()));
    assert!(memchr::memmem::find(&of_processes, b"SKYKOI_RUN=").is_some(), "the run's environment was looked at");
    client.ok("runs.abort", json!({"runId": "r"})).await;
    client.until_end("r").await;
    for method in
        ["config.get", "config.schema", "health", "status", "logs.tail", "runs.list", "sessions.list", "system-presence", "models.list"]
    {
        frames += &client.call(method, json!({})).await.to_string();
    }
    frames += &client.call("config.schema.lookup", json!({"path": "gateway.auth.token"})).await.to_string();
    frames += &client.call("chat.history", json!({"sessionKey": "main"})).await.to_string();
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    frames += &client.call("config.patch", json!({"raw": "{logging: {level: 'debug'}}", "baseHash": hash})).await.to_string();
    frames += &client.call("config.patch", json!({"raw": format!("{{nonsense: '{CANARY}'}}"), "baseHash": "x"})).await.to_string();
    let said = client.runs["r"].text();
    assert!(said.contains("seen"));
    assert!(gateway.stop().success());

    for (what, text) in [("frames", frames.as_bytes()), ("output", said.as_bytes()), ("processes", &of_processes)] {
        for word in words {
            assert!(memchr::memmem::find(text, word.as_bytes()).is_none(), "{what}: {}", String::from_utf8_lossy(text));
        }
    }
    let files = holding(gateway.state_dir(), &words);
    // The config, its backup, and the keys themselves.
    assert_eq!(files, ["gateway-key.pem", "identity-key.pem", "skykoi.json", "skykoi.json.bak"], "{}", gateway.log());
    for name in ["gateway/tls/gateway-key.pem", "gateway/identity-key.pem", "skykoi.json", "skykoi.json.bak"] {
        assert_eq!(gateway.state_dir().join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_secret_of_the_environment_leaves_it_and_still_opens_the_door_also_after_a_restart_of_its_own() {
    let mut gateway = Gateway::prepared(&json!({}));
    let mut plain = config(&gateway);
    plain["gateway"]["tls"] = json!({ "enabled": false });
    gateway.write_config(&plain.to_string());
    gateway.env("SKYKOI_GATEWAY_TOKEN", &secret("shared"));
    gateway.launch();
    let mut params = connect_params();
    params["auth"]["token"] = json!(secret("shared"));
    let environ = || std::fs::read(format!("/proc/{}/environ", gateway.pid())).unwrap();
    assert!(memchr::memmem::find(&environ(), b"PATH=").is_some() && memchr::memmem::find(&environ(), CANARY.as_bytes()).is_none());
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(params.clone()).await.unwrap();
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let port = gateway.port();
    let boot = client.ok("status", json!({})).await["bootId"].clone();
    let raw = json!({"gateway": {"port": port, "reload": {"mode": "restart"}}, "logging": {"maxFileBytes": 131_072}}).to_string();
    let patched = client.ok("config.patch", json!({"raw": raw, "baseHash": hash, "restartDelayMs": 100})).await;
    assert_eq!(patched["applied"], "restart", "{patched}");
    client.until_closed().await;
    crate::shim::until("it is back", || gateway.log().matches(" ready ").count() == 2).await;
    assert!(memchr::memmem::find(&environ(), CANARY.as_bytes()).is_none());
    let mut client = Client::open(port, &[]).await;
    client.hello(params).await.unwrap();
    assert_ne!(client.ok("status", json!({})).await["bootId"], boot);
}

#[tokio::test]
async fn core_files_are_forbidden_and_the_process_is_closed_to_its_own_user() {
    let gateway = Gateway::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // Files of a process that may not be dumped belong to root, whoever runs it.
    let user = std::fs::metadata(format!("/proc/{}", gateway.pid())).map(|dir| std::os::unix::fs::MetadataExt::uid(&dir)).unwrap();
    assert_eq!(user, 0);
}

#[tokio::test]
async fn a_credential_of_the_supervisor_opens_the_door() {
    let mut gateway = Gateway::prepared(&json!({}));
    let dir = gateway.state_dir().join("credentials");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("gateway.auth.token"), secret("credential")).unwrap();
    gateway.env("CREDENTIALS_DIRECTORY", dir.to_str().unwrap());
    gateway.launch();
    let mut params = connect_params();
    assert!(Client::open(gateway.port(), &[]).await.hello(params.clone()).await.is_err(), "the one of the file does not count any more");
    params["auth"]["token"] = json!(secret("credential"));
    assert!(Client::open(gateway.port(), &[]).await.hello(params).await.is_ok());
}

//! The configuration of a running gateway: changed on disk and by clients, right and wrong.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::client::connect_params;
use crate::harness::gateway::{TOKEN, merge};
use crate::harness::{Client, Gateway};
use crate::shim::until;

/// The usual config of a gateway under test with `patch` merged in, as text.
pub fn text(gateway: &Gateway, patch: &Value) -> String {
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(gateway.config_path()).unwrap()).unwrap();
    merge(&mut config, patch);
    config.to_string()
}

/// Writes a file beside the config and renames it over it, as editors do.
pub fn replace(gateway: &Gateway, text: &str) {
    let new = gateway.state_dir().join("skykoi.json.new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&new, gateway.config_path()).unwrap();
}

/// The next `config.changed` event that this connection has not looked at.
pub async fn changed(client: &mut Client, seen: &mut usize) -> Value {
    let wanted = *seen + 1;
    let events = |client: &Client| client.events.iter().filter(|event| event["event"] == "config.changed").cloned().collect::<Vec<_>>();
    client.until("config.changed", |client| events(client).len() >= wanted).await;
    *seen = wanted;
    events(client)[wanted - 1]["payload"].clone()
}

fn with_token(token: &str) -> Value {
    let mut params = connect_params();
    merge(&mut params, &json!({ "auth": { "token": token } }));
    params
}

pub async fn patch(client: &mut Client, patch: Value) -> Value {
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    client.ok("config.patch", json!({ "raw": patch.to_string(), "baseHash": hash })).await
}

#[tokio::test]
async fn m96_a_config_that_is_replaced_on_disk_is_taken_without_a_restart() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    let before = client.ok("status", json!({})).await;
    replace(&gateway, &text(&gateway, &json!({ "agents": { "defaults": { "maxConcurrent": 9, "timeoutSeconds": 5 } } })));
    let event = changed(&mut client, &mut seen).await;
    assert_eq!((&event["valid"], &event["applied"]), (&json!(true), &json!("hot")));
    assert_eq!(event["changed"], json!(["agents.defaults.maxConcurrent", "agents.defaults.timeoutSeconds"]));
    assert_eq!(event["hash"], event["appliedHash"]);
    let after = client.ok("status", json!({})).await;
    assert_eq!((&after["bootId"], &after["runs"]["max"]), (&before["bootId"], &json!(9)));
    // The event `health` tells it too, and hello of a new connection names the hash on protocol 4 only.
    client.until("health", |client| client.events.iter().any(|event| event["payload"]["runs"]["max"] == 9)).await;
    for (protocol, wanted) in [(4, event["hash"].clone()), (3, Value::Null)] {
        let mut other = Client::open(gateway.port(), &[]).await;
        let mut params = connect_params();
        merge(&mut params, &json!({ "minProtocol": protocol, "maxProtocol": protocol }));
        other.hello(params).await.unwrap();
        assert_eq!(other.hello["snapshot"]["appliedConfigHash"], wanted);
    }
}

#[tokio::test]
async fn m96_defect_12_an_invalid_config_changes_nothing_and_is_told_with_its_place() {
    let gateway = Gateway::start();
    let good = text(&gateway, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    for (bad, place) in [
        ("{ gateway: { mode: 'local', prot: 1 } }", "gateway.prot"),
        ("{ gateway: ", ""),
        ("", ""),
        ("{ gateway: { auth: { token: 'another-token-0123456789' } } }", "gateway.mode"),
    ] {
        replace(&gateway, bad);
        let event = changed(&mut client, &mut seen).await;
        assert_eq!((&event["valid"], &event["applied"], &event["changed"]), (&json!(false), &json!("none"), &json!([])), "{event}");
        assert_eq!(event["issues"][0]["path"], place, "{event}");
        assert!(event["issues"][0]["file"].as_str().unwrap().ends_with("skykoi.json"), "{event}");
        // The secret and the rules are the old ones: nobody else gets in, and we do.
        let mut other = Client::open(gateway.port(), &[]).await;
        assert!(other.hello(with_token("another-token-0123456789")).await.is_err());
        let health = Client::connect(&gateway).await.ok("health", json!({})).await;
        assert_eq!((&health["ok"], &health["config"]["valid"]), (&json!(true), &json!(false)), "{health}");
        assert_eq!(health["config"]["issues"], event["issues"]);
    }
    assert_eq!(client.ok("status", json!({})).await["config"]["valid"], false);
    let got = client.ok("config.get", json!({})).await;
    assert_eq!((&got["valid"], &got["config"]["exec"]["security"]), (&json!(false), &json!("full")));
    replace(&gateway, &good);
    let event = changed(&mut client, &mut seen).await;
    assert_eq!((&event["valid"], &event["changed"], &event["issues"]), (&json!(true), &json!([]), &json!([])), "{event}");
    assert_eq!(client.script("echo still here").await["payload"]["status"], "ok");
}

#[tokio::test]
async fn m96_a_partial_write_a_moment_without_a_file_and_a_storm_of_renames_are_one_change_at_most() {
    use std::io::Write;
    // Longer than a busy machine keeps a writer or the gateway from going on in the middle of what is to be one change.
    let gateway = Gateway::with(&json!({ "gateway": { "reload": { "debounceMs": 3000 } } }));
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    // A writer in place that takes its time: nothing is looked at before it has closed the file.
    let new = text(&gateway, &json!({ "agents": { "defaults": { "maxConcurrent": 5 } } }));
    let mut file = std::fs::File::create(gateway.config_path()).unwrap();
    let (one, other) = new.split_at(new.len() / 2);
    file.write_all(one.as_bytes()).unwrap();
    client.ok("health", json!({})).await;
    file.write_all(other.as_bytes()).unwrap();
    drop(file);
    assert_eq!(changed(&mut client, &mut seen).await["changed"], json!(["agents.defaults.maxConcurrent"]));
    // Unlinked and made again.
    std::fs::remove_file(gateway.config_path()).unwrap();
    gateway.write_config(&new.replace("\"maxConcurrent\":5", "\"maxConcurrent\":6"));
    let event = changed(&mut client, &mut seen).await;
    assert_eq!((&event["valid"], &event["applied"]), (&json!(true), &json!("hot")), "{event}");
    // Half a second of renames.
    let end = Instant::now() + Duration::from_millis(500);
    let mut last = 0;
    while Instant::now() < end {
        last = 10 + (last + 1) % 50;
        replace(&gateway, &new.replace("\"maxConcurrent\":5", &format!("\"maxConcurrent\":{last}")));
        tokio::task::yield_now().await;
    }
    let event = changed(&mut client, &mut seen).await;
    assert_eq!((&event["valid"], &event["applied"]), (&json!(true), &json!("hot")), "{event}");
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], last);
    // A change that can be told apart comes next, so the storm was one.
    replace(&gateway, &new);
    assert_eq!(changed(&mut client, &mut seen).await["changed"], json!(["agents.defaults.maxConcurrent"]));
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], 5);
}

#[tokio::test]
async fn r30_a_file_that_stays_away_is_told_and_everything_stays() {
    let gateway = Gateway::start();
    let text = text(&gateway, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    std::fs::remove_file(gateway.config_path()).unwrap();
    let event = changed(&mut client, &mut seen).await;
    assert!(event["valid"] == false && event["issues"][0]["message"].as_str().unwrap().contains("stays in effect"), "{event}");
    assert_eq!(client.script("echo on").await["payload"]["status"], "ok");
    // By another name: written in place, others could read it for a moment, and a look just then would refuse it.
    replace(&gateway, &text);
    assert_eq!(changed(&mut client, &mut seen).await["valid"], true);
}

#[tokio::test]
async fn a_token_that_changes_sends_those_away_who_came_with_the_old_one() {
    let gateway = Gateway::start();
    let mut old = Client::connect(&gateway).await;
    let mut local = Client::local(&gateway).await;
    let next = "the-next-token-0123456789abcdef";
    let answer = patch(&mut local, json!({ "gateway": { "auth": { "token": next } } })).await;
    assert_eq!((&answer["applied"], &answer["changed"]), (&json!("hot"), &json!(["gateway.auth.token"])));
    assert!(!answer.to_string().contains(next));
    let told = Instant::now();
    let closed = old.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "the gateway's secret has changed"));
    // Long before a tick or a ping.
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let mut client = Client::open(gateway.port(), &[]).await;
    assert_eq!(client.hello(with_token(TOKEN)).await.unwrap_err()["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(with_token(next)).await.unwrap();
    assert_eq!(local.ok("health", json!({})).await["ok"], true, "the local socket needs no secret");
    assert!(!gateway.log().contains(next) && !gateway.log().contains(TOKEN));
}

#[tokio::test]
async fn a_change_that_leaves_the_secret_leaves_connections_alone() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let limit = json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 2, "lockoutMs": 60000 } } } });
    assert_eq!(patch(&mut client, limit).await["applied"], "hot");
    for code in ["AUTH_TOKEN_MISMATCH", "AUTH_TOKEN_MISMATCH", "AUTH_RATE_LIMITED"] {
        let mut guess = Client::open(gateway.port(), &[]).await;
        assert_eq!(guess.hello(with_token("wrong")).await.unwrap_err()["error"]["details"]["code"], code);
    }
    assert_eq!(client.ok("health", json!({})).await["ok"], true);
}

#[tokio::test]
async fn origins_agents_and_rules_of_tools_are_taken_at_once() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let origin = [("Origin", "https://koi.example.com")];
    let port = gateway.port();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(Client::upgrade(stream, &format!("127.0.0.1:{port}"), &origin).await.is_err());
    let change = json!({
        "gateway": { "publicUrls": ["https://koi.example.com"] },
        "agents": { "list": [{ "id": "main", "default": true }, { "id": "second", "name": "Second" }] },
        "exec": { "security": "deny" },
    });
    assert_eq!(patch(&mut client, change).await["applied"], "hot");
    let mut page = Client::open(port, &origin).await;
    page.hello(connect_params()).await.unwrap();
    assert_eq!(page.ok("agents.list", json!({})).await["agents"].as_array().unwrap().len(), 2);
    assert_eq!(client.script("echo no").await["error"]["code"], "EXEC_DENIED");
    patch(&mut client, json!({ "exec": { "security": "full" } })).await;
    assert_eq!(client.script("echo yes").await["payload"]["status"], "ok");
}

#[tokio::test]
async fn defect_14_a_proxy_is_believed_from_the_moment_it_is_trusted_and_only_its_own_word() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let forwarded = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7")];
    let seen = async |port: u16| {
        let mut behind = Client::open(port, &forwarded).await;
        let mut params = connect_params();
        params["client"]["instanceId"] = json!("behind");
        behind.hello(params).await.unwrap();
        let entries = behind.ok("system-presence", json!({})).await;
        entries.as_array().unwrap().iter().find(|entry| entry["instanceId"] == "behind").unwrap()["ip"].clone()
    };
    assert_eq!(seen(gateway.port()).await, "127.0.0.1");
    assert_eq!(patch(&mut client, json!({ "gateway": { "trustedProxies": ["127.0.0.1"] } })).await["applied"], "hot");
    assert_eq!(seen(gateway.port()).await, "203.0.113.7");
    patch(&mut client, json!({ "gateway": { "trustedProxies": [] } })).await;
    assert_eq!(seen(gateway.port()).await, "127.0.0.1");
}

#[tokio::test]
async fn defect_13_another_port_is_listened_on_while_runs_and_connections_go_on() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, _) =
        client.agent(json!({ "message": "echo begun; until [ -e go ]; do sleep 0.05; done; echo done", "idempotencyKey": "r" })).await;
    client.until("output", |client| client.runs.get("r").is_some_and(|run| run.text().contains("begun"))).await;
    // A port that is taken: everything stays, and the caller is told.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = taken.local_addr().unwrap().port();
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let refused = client.err("config.patch", json!({ "raw": json!({ "gateway": { "port": busy } }).to_string(), "baseHash": hash })).await;
    assert_eq!(refused["details"]["code"], "CONFIG_NOT_APPLIED", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains(&format!("cannot listen on 127.0.0.1:{busy}")), "{refused}");
    let mut still = Client::connect(&gateway).await;
    assert_eq!(still.ok("health", json!({})).await["config"]["issues"][0]["path"], "gateway.port");
    // It becomes free, and the gateway moves there by itself.
    drop(taken);
    let mut seen = 1;
    assert_eq!(changed(&mut client, &mut seen).await["changed"], json!(["gateway.port"]));
    let mut there = Client::try_connect(busy).await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", gateway.port())).await.is_err(), "the old port is closed");
    // On all addresses of the same port and back: the kernel does not let both exist, so one makes room for the other.
    let wide = json!({ "gateway": { "bind": "lan", "dangerouslyAllowPlaintext": true } });
    assert_eq!(patch(&mut there, wide).await["applied"], "hot");
    Client::try_connect(busy).await.unwrap();
    assert_eq!(patch(&mut there, json!({ "gateway": { "bind": null, "dangerouslyAllowPlaintext": null } })).await["applied"], "hot");
    Client::try_connect(busy).await.unwrap();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    assert_eq!(client.response(&id).await["payload"]["status"], "ok", "the connection and its run have seen nothing of it");
}

#[tokio::test]
async fn tls_is_switched_on_for_new_connections() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(patch(&mut client, json!({ "gateway": { "tls": { "enabled": true } } })).await["applied"], "hot");
    assert!(Client::try_connect(gateway.port()).await.is_err(), "plain text is not understood any more");
    assert_eq!(client.ok("health", json!({})).await["ok"], true, "who is there stays");
    let bad = json!({ "gateway": { "tls": { "certPath": "/nowhere/c.pem", "keyPath": "/nowhere/k.pem" } } });
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let refused = client.err("config.patch", json!({ "raw": bad.to_string(), "baseHash": hash })).await;
    assert!(refused["message"].as_str().unwrap().contains("gateway.tls: /nowhere/c.pem"), "{refused}");
    patch(&mut client, json!({ "gateway": { "tls": null } })).await;
    Client::connect(&gateway).await;
}

#[tokio::test]
async fn defect_21_included_files_are_watched_and_meta_restarts_nothing() {
    let mut gateway = Gateway::prepared(&json!({}));
    let work = gateway.state_dir().join("work");
    let include = gateway.state_dir().join("parts");
    std::fs::create_dir(&include).unwrap();
    let part = |n: u32| format!("{{ defaults: {{ maxConcurrent: {n}, workspace: '{}', shell: '/bin/bash' }} }}", work.display());
    let write = |n: u32| {
        std::fs::write(include.join("agents.json"), part(n)).unwrap();
        std::fs::set_permissions(include.join("agents.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(2);
    let main = text(&gateway, &json!({ "agents": null })).replace("\"agents\":null", "\"agents\":{\"$include\":\"./parts/agents.json\"}");
    gateway.write_config(&main);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    write(3);
    assert_eq!(changed(&mut client, &mut seen).await["changed"], json!(["agents.defaults.maxConcurrent"]));
    let answer = patch(&mut client, json!({ "agents": { "defaults": { "maxConcurrent": 4 } } })).await;
    assert_eq!(answer["applied"], "hot");
    assert!(std::fs::read_to_string(include.join("agents.json")).unwrap().contains("maxConcurrent: 4"), "it is changed where it stands");
    assert_eq!(std::fs::read_to_string(gateway.config_path()).unwrap(), main);
    let boot = client.ok("status", json!({})).await["bootId"].clone();
    let answer = patch(&mut client, json!({ "meta": { "lastTouchedAt": "2026-11-21T07:00:00Z" } })).await;
    assert_eq!((&answer["applied"], &answer["restart"]), (&json!("hot"), &Value::Null));
    assert_eq!(client.ok("status", json!({})).await["bootId"], boot);
}

#[tokio::test]
async fn the_modes_of_reload_are_kept_to() {
    let gateway = Gateway::with(&json!({ "gateway": { "reload": { "mode": "hot", "debounceMs": 10 } } }));
    let mut client = Client::connect(&gateway).await;
    let mut seen = 0;
    replace(
        &gateway,
        &text(&gateway, &json!({ "logging": { "maxFileBytes": 1_000_000 }, "agents": { "defaults": { "maxConcurrent": 3 } } })),
    );
    let event = changed(&mut client, &mut seen).await;
    assert_eq!((&event["applied"], &event["restartNeeded"]), (&json!("restart-needed"), &json!(["logging.maxFileBytes"])));
    let status = client.ok("status", json!({})).await;
    assert_eq!((&status["runs"]["max"], &status["config"]["restartNeeded"]), (&json!(3), &json!(["logging.maxFileBytes"])));
    // Taken back, nothing waits.
    replace(&gateway, &text(&gateway, &json!({ "logging": { "maxFileBytes": 16_777_216 } })));
    let waits = changed(&mut client, &mut seen).await["restartNeeded"].clone();
    assert_eq!(waits, json!(["logging.maxFileBytes"]), "a key that is given differs from one that is not");
    // Off: the file may say what it likes until somebody asks.
    replace(&gateway, &text(&gateway, &json!({ "gateway": { "reload": { "mode": "off" } } })));
    changed(&mut client, &mut seen).await;
    replace(&gateway, &text(&gateway, &json!({ "agents": { "defaults": { "maxConcurrent": 8 } } })));
    let got = client.ok("config.get", json!({})).await;
    assert_ne!(got["hash"], got["appliedHash"]);
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], 3);
    gateway.signal(Signal::HUP);
    assert_eq!(changed(&mut client, &mut seen).await["changed"], json!(["agents.defaults.maxConcurrent"]));
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], 8);
}

#[tokio::test]
async fn r17_without_inotify_the_file_is_looked_at_instead() {
    let mut gateway = Gateway::prepared(&json!({}));
    // A user namespace of its own, in which there are no inotify instances.
    let none = ["unshare", "--user", "--map-root-user", "bash", "-c", "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"", "-"];
    let works = crate::nginx::program("unshare")
        .args(["--user", "--map-root-user", "bash", "-c", "echo 0 > /proc/sys/user/max_inotify_instances"])
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        return crate::nginx::skip("no user namespaces here");
    }
    gateway.wrapper(&none);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    until("the gateway says so", || gateway.log().contains("looked at every 5 s")).await;
    // The log has the line a moment before health knows.
    let began = Instant::now();
    while client.ok("health", json!({})).await["config"]["watcher"] != "polling" {
        assert!(began.elapsed() < Duration::from_secs(30), "health does not know of it");
    }
    replace(&gateway, &text(&gateway, &json!({ "agents": { "defaults": { "maxConcurrent": 7 } } })));
    assert_eq!(changed(&mut client, &mut 0).await["applied"], "hot");
}

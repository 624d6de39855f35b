//! The audit log of a real daemon: what stands in it, when, and that nobody can change it unseen.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon_life::can_mount;
use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::nginx::{program, skip};
use crate::shim::until;
use crate::sockets::{Raw, get};

/// `audit …` over the files of this gateway.
fn audit(gateway: &Gateway, words: &[&str]) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
    command.arg("audit").args(words).env_clear().env("HOME", "/").env("SKYKOI_STATE_DIR", gateway.state_dir());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The records that are in the files now.
pub fn records(gateway: &Gateway, filter: &[&str]) -> Vec<Value> {
    let output = audit(gateway, &[&["export"], filter].concat());
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sha256(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn segment(gateway: &Gateway) -> std::path::PathBuf {
    gateway.state_dir().join("audit/000001.jsonl")
}

#[tokio::test]
async fn m106_who_did_what_is_recorded_and_a_change_of_it_is_found_offline() {
    let mut gateway = Gateway::start();
    let key = String::from_utf8(audit(&gateway, &["key"]).stdout).unwrap().trim().to_owned();
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": "echo audited", "idempotencyKey": "r"})).await;
    client.until_end("r").await;
    let health = client.ok("health", json!({})).await;
    assert_eq!((&health["audit"]["ok"], health["audit"]["key"].as_str()), (&json!(true), Some(key.as_str())));
    assert!(gateway.stop().success());
    let actions: Vec<String> = records(&gateway, &[]).iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect();
    assert_eq!(actions, ["boot", "auth.ok", "exec", "stop"]);
    let exec = records(&gateway, &["--action", "exec"]).remove(0);
    assert_eq!((exec["actor"].as_str(), exec["decision"].as_str(), exec["target"].as_str()), (Some("token"), Some("allow"), Some("r")));
    assert_eq!(exec["targetDigest"], sha256("echo audited"));
    assert!(exec["detail"].get("command").is_none(), "the text is only written where it is asked for: {exec}");

    let good = audit(&gateway, &["verify", "--key", &key]);
    assert!(good.status.success() && said(&good).contains("ok: 4 records"), "{}", said(&good));
    // The head that was shown while it ran stands in the log that was written afterwards.
    let head = format!("{}:{}", health["audit"]["n"], health["audit"]["hash"].as_str().unwrap());
    assert!(audit(&gateway, &["verify", "--head", &head]).status.success());
    let text = std::fs::read_to_string(segment(&gateway)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cases = [
        ("edited", text.replace("\"allow\",\"detail", "\"deny\",\"detail"), 2),
        ("removed", [lines[0], lines[1], lines[3]].join("\n") + "\n", 3),
        ("reordered", [lines[0], lines[2], lines[1], lines[3]].join("\n") + "\n", 2),
        ("truncated", [lines[0], lines[1]].join("\n") + "\n", 3),
        ("truncated", text[..text.len() - 9].to_owned(), 4),
    ];
    for (kind, changed, n) in cases {
        assert_ne!(changed, text);
        std::fs::write(segment(&gateway), changed).unwrap();
        let bad = audit(&gateway, &["verify", "--key", &key, "--json"]);
        let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
        assert_eq!(
            (bad.status.code(), report["fault"]["kind"].as_str(), &report["fault"]["n"]),
            (Some(65), Some(kind), &json!(n)),
            "{report}"
        );
    }
    std::fs::write(segment(&gateway), &text).unwrap();
    let other = audit(&gateway, &["verify", "--key", "no-key"]);
    assert_eq!(other.status.code(), Some(64), "no key: {}", said(&other));
    assert_eq!(audit(&gateway, &["verify", "--key", &"A".repeat(43)]).status.code(), Some(65));
}

#[tokio::test]
async fn an_exec_is_on_stable_storage_before_its_process_has_its_task() {
    let mut gateway = Gateway::prepared(&json!({}));
    gateway.env("SKYKOI_FAILPOINT", "runs.after_spawn:1");
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let id = client.request("agent", json!({"message": "echo x > ran", "idempotencyKey": "r"})).await;
    let _ = client.frame().await;
    assert!(gateway.ends_within(Duration::from_secs(30)), "{id}");
    gateway.kill();
    assert_eq!(records(&gateway, &["--action", "exec", "--target", "r"]).len(), 1);
    // And a crash leaves a chain that is whole.
    let verified = audit(&gateway, &["verify"]);
    assert!(verified.status.success() && said(&verified).contains("not that of an orderly stop"), "{}", said(&verified));
    gateway.clear_env();
    gateway.launch();
    assert!(gateway.stop().success());
    assert!(audit(&gateway, &["verify"]).status.success());
    let boots = records(&gateway, &["--action", "boot"]);
    assert!(boots.len() == 2 && boots[0]["boot"] != boots[1]["boot"]);
}

#[tokio::test]
async fn m1_refusals_at_the_door_are_recorded_and_a_flood_of_them_is_counted() {
    let mut gateway = Gateway::start();
    for n in 0..130 {
        let mut params = connect_params();
        params["auth"]["token"] = json!(format!("wrong-{n}"));
        assert!(Client::open(gateway.port(), &[]).await.hello(params).await.is_err());
    }
    let mut raw = Raw::to(&gateway).await;
    raw.send(get("/ws", "Origin: https://evil.example\r\n").replace("{port}", &gateway.port().to_string()).as_bytes()).await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 403"));
    assert!(gateway.stop().success());
    let failed = records(&gateway, &["--action", "auth.fail"]);
    assert_eq!(
        (failed.len(), failed[0]["reason"].as_str(), failed[0]["ip"].as_str()),
        (100, Some("AUTH_TOKEN_MISMATCH"), Some("127.0.0.1"))
    );
    assert!(failed.iter().any(|record| record["reason"] == "AUTH_RATE_LIMITED"));
    let stop = records(&gateway, &["--action", "stop"]).remove(0);
    assert_eq!(stop["detail"]["skipped"], 31, "30 wrong secrets and the foreign origin");
    let text = std::fs::read_to_string(segment(&gateway)).unwrap();
    assert!(!text.contains("wrong-") && !text.contains(TOKEN));
}

#[tokio::test]
async fn m1_a_foreign_origin_is_recorded() {
    let mut gateway = Gateway::start();
    let mut raw = Raw::to(&gateway).await;
    raw.send(get("/ws", "Origin: https://evil.example\r\n").replace("{port}", &gateway.port().to_string()).as_bytes()).await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 403"));
    assert!(gateway.stop().success());
    let denied = records(&gateway, &["--action", "origin.denied"]).remove(0);
    assert_eq!((denied["target"].as_str(), denied["decision"].as_str()), (Some("https://evil.example"), Some("deny")));
}

#[tokio::test]
async fn aborts_denials_and_changes_of_the_config_are_recorded_with_who_and_what() {
    let mut gateway = Gateway::with(&json!({"audit": {"commands": true}, "logging": {"redactSensitive": "tools"}}));
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": "export API_TOKEN=canary-4711; sleep 1000", "idempotencyKey": "long"})).await;
    client.until("it runs", |client| client.runs.contains_key("long")).await;
    client.ok("runs.abort", json!({"runId": "long"})).await;
    client.until_end("long").await;
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let raw = json!({"exec": {"security": "deny"}}).to_string();
    let applied = client.ok("config.patch", json!({"raw": raw, "baseHash": hash})).await;
    client.agent(json!({"message": "echo no", "idempotencyKey": "denied"})).await;
    client.until_end("denied").await;
    assert!(gateway.stop().success());

    let exec = records(&gateway, &["--action", "exec", "--target", "long"]).remove(0);
    assert_eq!(exec["detail"]["command"], "export API_TOKEN=[hidden]; sleep 1000");
    let abort = records(&gateway, &["--action", "abort"]).remove(0);
    assert_eq!((abort["actor"].as_str(), abort["target"].as_str()), (Some("token"), Some("long")));
    let write = records(&gateway, &["--action", "config.write"]).remove(0);
    assert_eq!((&write["detail"]["from"], &write["detail"]["to"]), (&hash, &applied["hash"]));
    assert_eq!((write["credentialId"].as_str(), &write["detail"]["changed"]), (Some("token"), &json!(["exec.security"])));
    let change = records(&gateway, &["--action", "config.change"]).remove(0);
    assert_eq!((change["actor"].as_str(), &change["detail"]["changed"]), (Some("gateway"), &json!(["exec.security"])));
    let denied = records(&gateway, &["--decision", "deny"]).remove(0);
    assert_eq!((denied["action"].as_str(), denied["target"].as_str()), (Some("exec"), Some("denied")));
    assert!(!std::fs::read_to_string(segment(&gateway)).unwrap().contains("canary-4711"));
    let shown = said(&audit(&gateway, &["show", "--action", "abort"]));
    assert!(shown.contains("abort") && shown.contains("token") && shown.contains("long"), "{shown}");
}

#[tokio::test]
async fn m88_without_room_for_its_record_no_command_starts_and_it_works_again_when_there_is_room() {
    if !can_mount() {
        return skip("no mounts of one's own are permitted here");
    }
    let mut gateway = Gateway::prepared(&json!({}));
    let dir = gateway.state_dir().join("audit");
    std::fs::create_dir(&dir).unwrap();
    let mount = format!("mount -t tmpfs -o size=64k,mode=700 none '{}' && exec \"$@\"", dir.display());
    gateway.wrapper(&["unshare", "-rm", "bash", "-c", &mount, "bash"]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.script("echo a > a").await["payload"]["status"], "ok");
    // The mount is seen only from inside; so is what fills it.
    let ballast = format!("/proc/{}/root{}/ballast", gateway.pid(), dir.display());
    let mut file = std::fs::File::create(&ballast).unwrap();
    for size in [4096, 1] {
        while std::io::Write::write_all(&mut file, &vec![b'x'; size]).is_ok() {}
    }
    // What is left of the last page still takes some records.
    let refused = loop {
        let last = client.script("echo b >> b").await;
        if last["ok"] == false {
            break last;
        }
    };
    assert!(refused["error"]["message"].as_str().unwrap().contains("audit log"), "{refused}");
    let ran = std::fs::read_to_string(gateway.state_dir().join("work/b")).unwrap_or_default();
    assert_eq!(client.script("echo c > c").await["ok"], false);
    assert!(!gateway.state_dir().join("work/c").exists(), "{ran}");
    assert_eq!(client.ok("health", json!({})).await["failing"], json!(["audit"]));
    assert!(client.ok("runs.list", json!({})).await["runs"].is_array(), "reads work");
    // Emptied first: a child that another test is just starting may have the file open too, and would keep its blocks.
    file.set_len(0).unwrap();
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(client.script("echo d > d").await["payload"]["status"], "ok");
    assert_eq!(client.ok("health", json!({})).await["audit"]["ok"], true);
}

#[tokio::test]
async fn the_head_is_told_to_the_daemons_log_and_kept_beside_the_records() {
    let mut gateway = Gateway::start();
    until("the first head is told", || gateway.log().contains("head of the audit log")).await;
    assert!(gateway.stop().success());
    let told: Value = serde_json::from_slice(&std::fs::read(gateway.state_dir().join("audit/head.json")).unwrap()).unwrap();
    let last = records(&gateway, &[]).pop().unwrap();
    assert_eq!((&told["n"], &told["hash"]), (&last["n"], &last["hash"]));
    assert!(gateway.log().contains(last["hash"].as_str().unwrap()));
    // A key that is not one is not replaced, and nothing starts with it.
    let key = gateway.state_dir().join("gateway/identity-key.pem");
    std::fs::write(&key, "broken").unwrap();
    assert_eq!(gateway.try_launch().unwrap_err().code(), Some(78));
    assert!(gateway.log().contains("identity-key.pem"));
}

#[tokio::test]
async fn m59_changes_of_credentials_their_ends_and_what_is_asked_beyond_them_are_recorded() {
    const CI: &str = "ci-token-5e0b7c1f94a2d36880aa13f7";
    const SHORT: &str = "short-token-91c3d7700fe8b2a64d5512ce";
    const BOSS: &str = "boss-token-08f1a6cc2b9e4d7735b0e4d1";
    let named = |name: &str, token: &str, scopes: &[&str]| json!({ "name": name, "token": token, "scopes": scopes });
    let tokens = |list: Value| json!({ "gateway": { "auth": { "tokens": list, "rateLimit": { "maxAttempts": 2 } } } });
    let params = |token: &str| {
        let mut params = connect_params();
        params["auth"]["token"] = json!(token);
        params
    };
    let mut gateway = Gateway::prepared(&json!({}));
    let mut short = named("short", SHORT, &["operator.read"]);
    // The daemon starts and two clients come within this time, on a busy machine too.
    short["expiresAt"] = json!(skykoi_gateway::clock::iso(skykoi_gateway::clock::now_ms() + 12_000));
    let config = crate::live_config::text(&gateway, &tokens(json!([named("ci", CI, &["operator.read"]), short])));
    gateway.write_config(&config);
    gateway.launch();
    let mut ci = Client::try_connect_as(gateway.port(), params(CI)).await.unwrap();
    ci.err("config.set", json!({})).await;
    let mut short = Client::try_connect_as(gateway.port(), params(SHORT)).await.unwrap();
    assert_eq!(short.until_closed().await.reason, "credential expired");
    let mut local = Client::local(&gateway).await;
    let altered = named("ci", CI, &["operator.read", "operator.write"]);
    crate::live_config::patch(&mut local, tokens(json!([altered, named("boss", BOSS, &["operator.admin"])]))).await;
    ci.until_closed().await;
    crate::live_config::patch(&mut local, tokens(json!([named("ci", BOSS, &["operator.read", "operator.write"])]))).await;
    for _ in 0..3 {
        let mut client = Client::open_from([127, 0, 0, 9], gateway.port(), &[]).await;
        client.hello(params("skg_wrong")).await.unwrap_err();
    }
    assert!(gateway.stop().success());

    let of = |action: &str| records(&gateway, &["--action", action]);
    let targets = |action: &str| of(action).iter().map(|record| record["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let denied = of("scope.denied").remove(0);
    let told = (&denied["actor"], &denied["target"], &denied["reason"]);
    assert_eq!(told, (&json!("token:ci"), &json!("config.set"), &json!("operator.admin")));
    let ended = of("credential.expire").remove(0);
    assert_eq!((&ended["actor"], &ended["credentialId"]), (&json!("token:short"), &json!("token:short")));
    assert_eq!((targets("scope.change"), targets("credential.new")), (vec!["token:ci".to_owned()], vec!["token:boss".to_owned()]));
    assert_eq!(targets("credential.rotate"), ["token:ci"]);
    let mut gone = targets("credential.revoke");
    gone.sort();
    assert_eq!(gone, ["token:boss", "token:short"]);
    assert_eq!(of("auth.lockout").remove(0)["ip"], "127.0.0.9");
    let text = std::fs::read_to_string(segment(&gateway)).unwrap();
    assert!([CI, SHORT, BOSS].iter().all(|secret| !text.contains(secret)));
}

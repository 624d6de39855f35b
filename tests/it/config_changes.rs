//! Changes of the configuration by clients and by the command line: who wins, what is hidden, what a crash leaves.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::live_config::{patch, text};
use crate::nginx::{program, skip};

#[tokio::test]
async fn m97_of_two_clients_with_one_hash_one_wins() {
    let gateway = Gateway::start();
    let (mut one, mut other) = (Client::connect(&gateway).await, Client::connect(&gateway).await);
    let hash = one.ok("config.get", json!({})).await["hash"].clone();
    let write = |n: u32| json!({ "raw": json!({ "agents": { "defaults": { "maxConcurrent": n } } }).to_string(), "baseHash": hash });
    let (first, second) = tokio::join!(one.call("config.patch", write(2)), other.call("config.patch", write(3)));
    let won: Vec<&Value> = [&first, &second].into_iter().filter(|res| res["ok"] == true).collect();
    let lost: Vec<&Value> = [&first, &second].into_iter().filter(|res| res["ok"] == false).collect();
    assert_eq!((won.len(), lost.len()), (1, 1), "{first} {second}");
    assert_eq!(lost[0]["error"]["message"], "config changed since last load; re-run config.get and retry");
    let left = won[0]["payload"]["config"]["agents"]["defaults"]["maxConcurrent"].clone();
    assert_eq!(one.ok("health", json!({})).await["runs"]["max"], left);
}

#[tokio::test]
async fn r12_the_gateway_may_die_at_every_step_of_a_save_and_the_file_is_old_or_new() {
    for (point, passes) in [
        ("config.made", 1),
        ("config.half_written", 1),
        ("config.written", 1),
        ("config.rotated", 4),
        ("config.backed_up", 1),
        ("config.renamed", 1),
    ] {
        for pass in 1..=passes {
            let mut gateway = Gateway::prepared(&json!({}));
            let old = std::fs::read_to_string(gateway.config_path()).unwrap();
            gateway.env("SKYKOI_FAILPOINT", &format!("{point}:{pass}"));
            gateway.launch();
            let mut client = Client::connect(&gateway).await;
            let hash = client.ok("config.get", json!({})).await["hash"].clone();
            client.request("config.patch", json!({ "raw": "{ agents: { defaults: { maxConcurrent: 7 } } }", "baseHash": hash })).await;
            assert!(gateway.ends_within(Duration::from_secs(30)), "{point}:{pass} was not reached");
            gateway.kill();
            let found = std::fs::read_to_string(gateway.config_path()).unwrap();
            let new = found.contains("maxConcurrent\":7") || found.contains("\"maxConcurrent\": 7");
            assert_eq!(new, point == "config.renamed", "{point}: {found}");
            assert!(new || found == old, "{point}");
            gateway.clear_env();
            gateway.launch();
            let mut client = Client::connect(&gateway).await;
            patch(&mut client, json!({ "agents": { "defaults": { "maxConcurrent": 6 } } })).await;
            assert!(!gateway.state_dir().join(".skykoi.json.tmp").exists(), "what the dead one left is gone");
        }
    }
}

#[tokio::test]
async fn m88_a_config_that_cannot_be_written_stays_and_the_caller_is_told() {
    let gateway = Gateway::start();
    let old = std::fs::read_to_string(gateway.config_path()).unwrap();
    let mut client = Client::connect(&gateway).await;
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    // What a file system without room or rights does at the first step.
    std::fs::create_dir(gateway.state_dir().join(".skykoi.json.tmp")).unwrap();
    let refused = client.err("config.patch", json!({ "raw": "{ agents: { defaults: { maxConcurrent: 7 } } }", "baseHash": hash })).await;
    assert_eq!((&refused["code"], &refused["details"]["code"]), (&json!("UNAVAILABLE"), &json!("CONFIG_NOT_WRITTEN")), "{refused}");
    assert_eq!(std::fs::read_to_string(gateway.config_path()).unwrap(), old);
    std::fs::remove_dir(gateway.state_dir().join(".skykoi.json.tmp")).unwrap();
    patch(&mut client, json!({ "agents": { "defaults": { "maxConcurrent": 7 } } })).await;
}

#[tokio::test]
async fn m88_a_full_file_system_leaves_the_config_as_it_was_until_there_is_room() {
    let mut gateway = Gateway::prepared(&json!({}));
    let dir = gateway.state_dir().join("full");
    std::fs::create_dir(&dir).unwrap();
    // A small file system of its own, seen only by the daemon and, through its root, by this test.
    let mount = format!("mount -t tmpfs -o size=64k none {0} && cp -p {1} {0}/c.json", dir.display(), gateway.config_path().display());
    if !program("unshare")
        .args(["--user", "--map-root-user", "--mount", "bash", "-c", &mount])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skip("no user namespaces with mounts here");
    }
    gateway.wrapper(&["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", &format!("{mount} && exec \"$@\""), "-"]);
    gateway.env("SKYKOI_CONFIG_PATH", dir.join("c.json").to_str().unwrap());
    gateway.launch();
    let inside = std::path::PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), dir.display()));
    let old = std::fs::read_to_string(inside.join("c.json")).unwrap();
    let filler = inside.join("filler");
    // As much as there is room for: the write that fails is the last one.
    let _ = std::fs::write(&filler, vec![0; 1 << 20]);
    let mut client = Client::connect(&gateway).await;
    let hash = client.ok("config.get", json!({})).await["hash"].clone();
    let change = json!({ "raw": "{ agents: { defaults: { maxConcurrent: 7 } } }", "baseHash": hash });
    let refused = client.err("config.patch", change.clone()).await;
    assert_eq!((&refused["code"], &refused["details"]["code"]), (&json!("UNAVAILABLE"), &json!("CONFIG_NOT_WRITTEN")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("No space left"), "{refused}");
    assert_eq!(std::fs::read_to_string(inside.join("c.json")).unwrap(), old);
    assert_eq!(client.script("echo runs").await["payload"]["status"], "ok");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(client.ok("config.patch", change).await["applied"], "hot");
}

#[tokio::test]
async fn a_reader_sees_the_config_without_its_secrets_and_writes_none() {
    let mut gateway = Gateway::prepared(&json!({}));
    let canaries = json!({
        "env": { "vars": { "A": "canary-1" } },
        "models": { "providers": { "p": { "baseUrl": "https://x", "apiKey": "${KEY}", "models": [] } } },
        "channels": { "chat": { "botToken": "canary-2" } },
    });
    let marked = format!("// token: canary-3\n{}", text(&gateway, &canaries));
    gateway.write_config(&marked);
    gateway.env("KEY", "canary-4");
    gateway.launch();
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = connect_params();
    params["scopes"] = json!(["operator.read"]);
    client.hello(params).await.unwrap();
    let got = client.ok("config.get", json!({})).await;
    assert!(!got.to_string().contains("canary") && !got.to_string().contains(TOKEN), "{got}");
    assert_eq!(got["parsed"]["models"]["providers"]["p"]["apiKey"], "${KEY}");
    assert_eq!(got["config"]["models"]["providers"]["p"]["apiKey"], "__SKYKOI_REDACTED__");
    let refused = client.err("config.set", json!({ "raw": got["raw"], "baseHash": got["hash"] })).await;
    assert_eq!(refused["details"]["code"], "MISSING_SCOPE");
    // What was shown comes back, and the file says what it said.
    let mut admin = Client::connect(&gateway).await;
    assert_eq!(admin.ok("config.set", json!({ "raw": got["raw"], "baseHash": got["hash"] })).await["changed"], json!([]));
    let code = |text: &str| text.lines().skip(1).collect::<String>();
    assert_eq!(code(&std::fs::read_to_string(gateway.config_path()).unwrap()), code(&marked));
}

#[tokio::test]
async fn the_command_line_changes_a_key_through_the_gateway_and_without_one() {
    let mut gateway = Gateway::start();
    let run = |gateway: &Gateway, words: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
        command.env_clear().env("SKYKOI_STATE_DIR", gateway.state_dir()).env("HOME", gateway.state_dir()).arg("config").args(words);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    let mut client = Client::connect(&gateway).await;
    assert_eq!(
        run(&gateway, &["set", "agents.defaults.maxConcurrent", "3"]),
        (0, "agents.defaults.maxConcurrent: saved and in effect\n".to_owned())
    );
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], 3);
    assert_eq!(run(&gateway, &["get", "agents.defaults.maxConcurrent"]), (0, "3\n".to_owned()));
    let (code, said) = run(&gateway, &["set", "gateway.prot", "3"]);
    assert!(code == 64 && said.contains("gateway.prot: unknown key, did you mean `port`?"), "{code} {said}");
    assert_eq!(run(&gateway, &["unset", "agents.defaults.maxConcurrent"]).0, 0);
    assert_eq!(client.ok("health", json!({})).await["runs"]["max"], 4);
    gateway.kill();
    let (code, said) = run(&gateway, &["set", "agents.list", "[{ id: 'main', name: 'Koi' }]"]);
    assert!(code == 0 && said.starts_with("agents.list: saved in "), "{code} {said}");
    assert_eq!(run(&gateway, &["set", "agents.list[0].name", "Two"]).0, 0);
    assert_eq!(run(&gateway, &["get", "agents.list[0].name"]), (0, "Two\n".to_owned()));
    let (code, said) = run(&gateway, &["unset", "gateway.mode"]);
    assert!(code == 78 && said.contains("gateway.mode: is missing"), "{code} {said}");
    assert_eq!(run(&gateway, &["get", "gateway.auth.token"]), (0, "__SKYKOI_REDACTED__\n".to_owned()));
    assert!(Path::new(&gateway.state_dir().join("skykoi.json.bak.1")).exists());
}

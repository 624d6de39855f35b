//! What front ends call besides runs and sessions: the machine, the log, files of agents, who is told of tools.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::sockets::PATIENCE;

/// A connection with these parameters merged into the usual ones.
async fn with(gateway: &Gateway, patch: Value) -> Client {
    let mut params = connect_params();
    crate::harness::gateway::merge(&mut params, &patch);
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(params).await.unwrap();
    client
}

/// The streams of the events of a run that a client was told, by seq.
fn streams(client: &Client, run: &str) -> Vec<(u64, String)> {
    client.runs[run].events.iter().map(|(seq, event)| (*seq, event["stream"].as_str().unwrap().to_owned())).collect()
}

fn tools(client: &Client, run: &str) -> Vec<u64> {
    streams(client, run).into_iter().filter(|(_, stream)| stream == "tool").map(|(seq, _)| seq).collect()
}

#[tokio::test]
async fn a_run_that_burns_a_processor_shows_in_the_next_health_event() {
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "healthIntervalMs": 1000 } } }));
    let mut client = Client::connect(&gateway).await;
    assert!(client.hello["snapshot"]["health"]["system"]["cpu"]["count"].as_u64().unwrap() > 0);
    let script = "while :; do :; done";
    client.agent(json!({ "message": script, "idempotencyKey": "burn", "timeout": 60 })).await;
    let burns = |event: &&Value| {
        let runs = event["payload"]["system"]["runs"].as_array();
        let run = runs.and_then(|runs| runs.iter().find(|run| run["runId"] == "burn"));
        event["event"] == "health"
            && run.is_some_and(|run| run["cpuPercent"].as_f64().unwrap() > 10.0 && run["rssBytes"].as_u64().unwrap() > 0)
    };
    client.until("the burning run in health", |client| client.events.iter().any(|event| burns(&event))).await;
    let event = client.events.iter().rfind(burns).unwrap().clone();
    let system = &event["payload"]["system"];
    assert_eq!(system["gpu"], Value::Null);
    assert!(system["cpu"]["percent"].as_f64().unwrap() > 0.0, "{system}");
    let status = client.ok("status", json!({})).await;
    assert!(status["system"]["runs"].as_array().unwrap().iter().any(|run| run["runId"] == "burn"), "{status}");
    client.ok("runs.abort", json!({ "runId": "burn" })).await;
    client.until_end("burn").await;
    client
        .until("health without it", |client| {
            let newest = client.events.iter().rev().find(|event| event["event"] == "health");
            newest.is_some_and(|event| event["payload"]["system"]["runs"] == json!([]))
        })
        .await;
}

#[tokio::test]
async fn a_run_of_an_earlier_daemon_is_seen_too() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({ "message": "echo up; sleep 60", "idempotencyKey": "old" })).await;
    // Its first event comes before its command.
    client.until("its command", |client| client.runs.get("old").is_some_and(|run| !run.text().is_empty())).await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    let status = client.ok("status", json!({})).await;
    let runs = status["system"]["runs"].as_array().unwrap();
    assert!(runs.iter().any(|run| run["runId"] == "old" && run["processes"].as_u64().unwrap() >= 2), "{status}");
}

#[tokio::test]
async fn tools_are_told_to_the_connection_that_started_the_run_and_to_nobody_else() {
    let gateway = Gateway::start();
    let mut starter = Client::connect(&gateway).await;
    let mut observer = Client::connect(&gateway).await;
    let (id, _) = starter.agent(json!({ "message": "echo a", "idempotencyKey": "r" })).await;
    assert_eq!(starter.response(&id).await["payload"]["status"], "ok");
    observer.until_end("r").await;
    assert_eq!((tools(&starter, "r"), tools(&observer, "r")), (vec![2, 4], vec![]));
    // Who asks for the journal gets it whole.
    observer.subscribe("r", 0).await;
    observer.until("the whole run", |client| client.runs["r"].last == 5).await;
    assert_eq!(tools(&observer, "r"), [2, 4]);
}

#[tokio::test]
async fn a_client_without_the_cap_and_a_gateway_that_is_quiet_tell_nothing_of_tools() {
    let gateway = Gateway::with(&json!({ "agents": { "defaults": { "verboseDefault": "off" } } }));
    let mut quiet = Client::connect(&gateway).await;
    quiet.script("echo a").await;
    let run = quiet.runs.keys().next().unwrap().clone();
    assert_eq!(streams(&quiet, &run).into_iter().map(|(_, stream)| stream).collect::<Vec<_>>(), ["lifecycle", "exec", "lifecycle"]);
    let loud = Gateway::start();
    let mut plain = with(&loud, json!({ "caps": [] })).await;
    plain.script("echo a").await;
    let run = plain.runs.keys().next().unwrap().clone();
    assert!(tools(&plain, &run).is_empty());
}

#[tokio::test]
async fn the_log_is_read_by_cursor_and_holds_no_secret() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut first = client.ok("logs.tail", json!({})).await;
    let is_ready =
        |tail: &Value| tail["lines"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("\"message\":\"ready\""));
    // It lets clients in a moment before it says so.
    let said = tokio::time::timeout(PATIENCE, async {
        while !is_ready(&first) {
            first = client.ok("logs.tail", json!({})).await;
        }
    });
    said.await.expect("it says that it is ready");
    let file = std::path::PathBuf::from(first["file"].as_str().unwrap());
    assert_eq!(file, gateway.state_dir().join("logs/gateway.jsonl"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut params = connect_params();
    params["auth"]["token"] = json!("wrong-secret-5f1c");
    assert!(Client::open(gateway.port(), &[]).await.hello(params).await.is_err());
    client.script("echo very-private-output; export SECRET=very-private-variable").await;
    let (mut cursor, mut seen) = (first["cursor"].clone(), String::new());
    let noticed = tokio::time::timeout(PATIENCE, async {
        while !seen.contains("connection refused") {
            let more = client.ok("logs.tail", json!({ "cursor": cursor })).await;
            assert_eq!(more["reset"], false);
            for line in more["lines"].as_array().unwrap() {
                let record: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
                assert!(record["time"].is_string() && record["level"].is_string() && record["message"].is_string(), "{record}");
                seen.push_str(line.as_str().unwrap());
            }
            cursor = more["cursor"].clone();
        }
    });
    noticed.await.unwrap();
    assert!(!seen.contains("\"ready\""), "what was read before comes again");
    let all = std::fs::read_to_string(&file).unwrap() + &gateway.log();
    for secret in [TOKEN, "wrong-secret-5f1c", "very-private"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_full_log_is_turned_over_and_its_readers_begin_anew() {
    let gateway = Gateway::with(&json!({ "logging": { "level": "debug", "maxFileBytes": 65_536 } }));
    let mut client = Client::connect(&gateway).await;
    let first = client.ok("logs.tail", json!({})).await;
    let turned = gateway.state_dir().join("logs/gateway.jsonl.1");
    let full = tokio::time::timeout(PATIENCE, async {
        while !turned.exists() {
            client.err("runs.get", json!({ "runId": "x".repeat(200) })).await;
        }
    });
    full.await.unwrap();
    assert!(turned.metadata().unwrap().len() <= 65_536);
    let mut next = client.ok("logs.tail", json!({ "cursor": 65_000 })).await;
    assert_eq!((&next["reset"], next["size"].as_u64().unwrap() < 65_536), (&json!(true), true), "{}", first["cursor"]);
    next = client.ok("logs.tail", json!({ "cursor": next["cursor"] })).await;
    assert_eq!(next["reset"], false);
}

#[tokio::test]
async fn files_of_an_agent_are_never_reached_through_a_link() {
    let gateway = Gateway::start();
    let work = gateway.state_dir().join("work");
    std::fs::create_dir_all(&work).unwrap();
    let secret = gateway.state_dir().join("secret");
    std::fs::write(&secret, "private").unwrap();
    symlink(&secret, work.join("SOUL.md")).unwrap();
    symlink("nowhere", work.join("USER.md")).unwrap();
    let mut client = Client::connect(&gateway).await;
    for name in ["SOUL.md", "USER.md"] {
        let read = client.err("agents.files.get", json!({ "agentId": "main", "name": name })).await;
        let written = client.err("agents.files.set", json!({ "agentId": "main", "name": name, "content": "x" })).await;
        for error in [read, written] {
            assert_eq!((&error["code"], &error["details"]["code"]), (&json!("INVALID_REQUEST"), &json!("FILE_REFUSED")), "{error}");
            assert!(error["message"].as_str().unwrap().contains("links are not followed"), "{error}");
        }
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "private");
    let listed = client.ok("agents.files.list", json!({ "agentId": "MAIN" })).await;
    assert!(listed["files"].as_array().unwrap().iter().all(|file| file["missing"] == true), "{listed}");
    let long = client.err("agents.files.set", json!({ "agentId": "main", "name": "TOOLS.md", "content": "x".repeat((1 << 20) + 1) })).await;
    assert!(long["message"].as_str().unwrap().contains("1048576 bytes"), "{long}");
}

#[tokio::test]
async fn what_an_agent_says_of_itself_is_shown() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let bare = client.ok("agent.identity.get", json!({})).await;
    assert_eq!((&bare["name"], &bare["avatar"]), (&json!("Assistant"), &json!("A")));
    let text = "- Name: Koi\n- Emoji: 🐟\n- Avatar: koi.png\n";
    client.ok("agents.files.set", json!({ "agentId": "main", "name": "IDENTITY.md", "content": text })).await;
    std::fs::write(gateway.state_dir().join("work/koi.png"), "abc").unwrap();
    let shown = client.ok("agent.identity.get", json!({})).await;
    let data = "data:image/png;base64,YWJj";
    assert_eq!((&shown["name"], &shown["avatar"], &shown["emoji"]), (&json!("Koi"), &json!(data), &json!("🐟")));
    let listed = client.ok("agents.list", json!({})).await;
    let identity = &listed["agents"][0]["identity"];
    assert_eq!((&identity["avatar"], &identity["avatarUrl"]), (&json!("koi.png"), &json!(data)), "{identity}");
}

#[tokio::test]
async fn a_report_of_a_command_line_is_present_until_it_leaves() {
    let gateway = Gateway::start();
    let mut watcher = Client::connect(&gateway).await;
    let mut reporter = with(&gateway, json!({ "client": { "id": "cli", "mode": "cli" } })).await;
    reporter.ok("system-event", json!({ "text": "Node: desk (10.0.0.9) · app 3", "deviceId": "D-1" })).await;
    let shown = |client: &Client| {
        let newest = client.events.iter().rev().find(|event| event["event"] == "presence");
        newest.is_some_and(|event| event["payload"]["presence"].as_array().unwrap().iter().any(|entry| entry["deviceId"] == "D-1"))
    };
    watcher.until("the report", shown).await;
    drop(reporter);
    watcher.until("its end", |client| !shown(client)).await;
    let status = watcher.ok("status", json!({})).await;
    assert_eq!(status["queuedSystemEvents"], json!(["Node: desk (10.0.0.9) · app 3"]));
}

#[tokio::test]
async fn defect_25_runs_have_their_own_directories_and_the_daemon_keeps_its_own() {
    let gateway = Gateway::with(&json!({ "agents": { "list": [{ "id": "a", "workspace": "a" }, { "id": "b", "workspace": "b" }] } }));
    let own = || std::fs::read_link(format!("/proc/{}/cwd", gateway.pid())).unwrap();
    let before = own();
    let mut client = Client::connect(&gateway).await;
    // Each waits for the other, so both are at work at once.
    let script =
        |me: &str, other: &str| format!("touch here; until [ -e ../{other}/here ]; do sleep 0.01; done; echo {me} $(basename $PWD)");
    let (first, one) = client.agent(json!({ "agentId": "a", "message": script("a", "b") })).await;
    let (second, two) = client.agent(json!({ "agentId": "b", "message": script("b", "a") })).await;
    client.response(&first).await;
    client.response(&second).await;
    for (ack, text) in [(one, "a a\n"), (two, "b b\n")] {
        assert_eq!(client.runs[ack["runId"].as_str().unwrap()].text(), text);
    }
    assert_eq!(own(), before);
}

#[tokio::test]
async fn defect_33_only_configured_models_are_listed_and_answers_stay_small() {
    let provider = json!({ "baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions", "models": [{ "id": "m", "name": "M", "input": ["text"] }] });
    let gateway = Gateway::with(&json!({ "models": { "mode": "replace", "providers": { "p": provider } } }));
    let mut client = Client::connect(&gateway).await;
    client.script("true").await;
    let models = client.ok("models.list", json!({})).await;
    let ids: BTreeSet<&str> = models["models"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from(["m"]));
    let sessions = client.ok("sessions.list", json!({})).await.to_string();
    assert!(sessions.len() < 4096, "{} bytes for one session", sessions.len());
}

#[tokio::test]
async fn defect_34_one_day_is_one_day() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    client.script("true").await;
    let cost = client.ok("usage.cost", json!({ "days": 1 })).await;
    assert_eq!((&cost["days"], cost["daily"].as_array().unwrap().len()), (&json!(1), 1));
    // The run may have ended just before midnight.
    let two = client.ok("usage.cost", json!({ "days": 2 })).await;
    assert_eq!((&two["totals"]["runs"], &two["totals"]["totalTokens"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn nobody_listening_nothing_is_looked_up_and_the_first_to_come_gets_news() {
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "healthIntervalMs": 1000 } } }));
    let mut client = Client::connect(&gateway).await;
    let before = client.hello["snapshot"]["stateVersion"]["health"].as_u64().unwrap();
    assert!(before <= 1, "{before}");
    let next = tokio::time::timeout(
        Duration::from_secs(60),
        client.until("health", |client| client.events.iter().any(|event| event["event"] == "health")),
    );
    next.await.unwrap();
}

#[tokio::test]
async fn agents_are_written_into_the_authors_text_and_act_at_once() {
    let gateway = Gateway::start();
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    gateway.write_config(&text.replacen('{', "{ // mine\n", 1));
    let mut client = Client::connect(&gateway).await;
    let made = client.ok("agents.create", json!({ "name": "Side Kick", "workspace": "side" })).await;
    assert_eq!(made["agentId"], "side-kick");
    // The agent that was there without being listed stays, and stays the default one.
    let listed = client.ok("agents.list", json!({})).await;
    let ids: Vec<&str> = listed["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &listed["defaultId"]), (vec!["main", "side-kick"], &json!("main")));
    let (id, ack) = client.agent(json!({ "agentId": "side-kick", "message": "basename $PWD; ls" })).await;
    client.response(&id).await;
    let said = client.runs[ack["runId"].as_str().unwrap()].text();
    assert!(said.starts_with("side\n") && said.contains("SOUL.md") && said.contains("BOOTSTRAP.md"), "{said}");
    let busy = client.agent(json!({ "agentId": "side-kick", "message": "sleep 60", "idempotencyKey": "busy" })).await;
    client.until("its start", |client| client.runs.contains_key("busy")).await;
    let refused = client.err("agents.delete", json!({ "agentId": "side-kick" })).await;
    assert_eq!((&refused["details"]["code"], &refused["retryable"]), (&json!("AGENT_BUSY"), &json!(true)), "{refused}");
    client.ok("runs.abort", json!({ "runId": "busy" })).await;
    client.response(&busy.0).await;
    let gone = client.ok("agents.delete", json!({ "agentId": "side-kick" })).await;
    let trashed = std::path::PathBuf::from(gone["trashed"][0].as_str().unwrap());
    assert!(trashed.join("SOUL.md").exists() && !gateway.state_dir().join("side").exists(), "{gone}");
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    assert!(text.contains("// mine") && !text.contains("side-kick") && text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn agents_that_are_made_at_the_same_moment_are_all_there() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut sent = Vec::new();
    for n in 0..4 {
        sent.push(client.request("agents.create", json!({ "name": format!("a{n}"), "workspace": format!("w{n}") })).await);
    }
    for id in sent {
        let answer = client.response(&id).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let listed = client.ok("agents.list", json!({})).await;
    assert_eq!(listed["agents"].as_array().unwrap().len(), 5, "{listed}");
}

#[tokio::test]
async fn a_workspace_that_others_use_or_that_holds_more_stays_where_it_is() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    // The home directory of the tests is the state directory.
    for (name, workspace) in [("home", "~"), ("shared", "work")] {
        client.ok("agents.create", json!({ "name": name, "workspace": workspace })).await;
        let gone = client.ok("agents.delete", json!({ "agentId": name })).await;
        assert_eq!(gone["trashed"], json!([]), "{name}");
    }
    assert!(gateway.config_path().exists() && gateway.state_dir().join("work/SOUL.md").exists());
}

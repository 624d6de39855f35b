//! M92: clocks that jump and a process that stands still. Nothing expires because of either; what is told in order stays in order.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};

const DAY_MS: i64 = 86_400_000;
const YEAR_MS: i64 = 365 * DAY_MS;

/// A gateway whose wall clock the test sets.
struct Clocked {
    gateway: Gateway,
}

impl Clocked {
    fn start() -> Self {
        let mut gateway = Gateway::prepared(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 3 } } } }));
        let file = gateway.state_dir().join("clock");
        std::fs::write(&file, "0").unwrap();
        gateway.env("SKYKOI_CLOCK_SHIFT", file.to_str().unwrap());
        gateway.launch();
        Self { gateway }
    }

    /// Moves the wall clock to this far from the real one.
    fn shift(&self, ms: i64) {
        // By a rename, so that the daemon never reads half a number.
        let (file, beside) = (self.gateway.state_dir().join("clock"), self.gateway.state_dir().join("clock.new"));
        std::fs::write(&beside, ms.to_string()).unwrap();
        std::fs::rename(beside, file).unwrap();
    }
}

/// Runs a script under a key to its end; gives the final payload.
async fn run(client: &mut Client, key: &str) -> Value {
    let (id, _) = client.agent(json!({"message": format!("echo {key} >> ran"), "idempotencyKey": key})).await;
    client.response(&id).await["payload"].clone()
}

async fn newest_first(client: &mut Client) -> Vec<String> {
    let list = client.ok("runs.list", json!({"limit": 100})).await;
    list["runs"].as_array().unwrap().iter().map(|row| row["runId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn m92_steps_of_the_wall_clock_expire_nothing_and_change_no_order() {
    let mut clocked = Clocked::start();
    let mut client = Client::connect(&clocked.gateway).await;
    let mut watcher = Client::connect(&clocked.gateway).await;
    let long = "echo began; while [ ! -e go ]; do sleep 0.02; done; echo ended";
    client.agent(json!({"message": long, "idempotencyKey": "long", "sessionKey": "long", "timeout": 600})).await;
    client.until("it began", |client| client.runs.get("long").is_some_and(|run| run.text() == "began\n")).await;
    let mut asked = vec!["long".to_owned()];
    let mut finals = Vec::new();
    for (n, shift) in [0, DAY_MS, -DAY_MS, -10 * YEAR_MS, 10 * YEAR_MS, 0].into_iter().enumerate() {
        clocked.shift(shift);
        let key = format!("k{n}");
        finals.push(run(&mut client, &key).await);
        asked.insert(0, key);
        assert_eq!(newest_first(&mut client).await, asked, "in the order in which they were accepted, at {shift}");
        // Every earlier key still leads to its own run.
        for (m, last) in finals.iter().enumerate() {
            assert_eq!(client.ok("agent", json!({"message": format!("echo k{m} >> ran"), "idempotencyKey": format!("k{m}")})).await, *last);
        }
        let began = Instant::now();
        assert_eq!(client.ok("agent.wait", json!({"runId": "long", "timeoutMs": 200})).await["status"], "timeout");
        assert!(began.elapsed() >= Duration::from_millis(200) && began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(watcher.ok("health", json!({})).await["ok"], true);
        assert_eq!(watcher.ok("health", json!({})).await["connections"], 2, "nobody was dropped");
    }
    clocked.shift(-10 * YEAR_MS);
    clocked.gateway.kill_and_restart();
    let mut client = Client::connect(&clocked.gateway).await;
    assert_eq!(newest_first(&mut client).await, asked);
    finals.push(run(&mut client, "after").await);
    assert_eq!(newest_first(&mut client).await[0], "after");
    std::fs::write(clocked.gateway.state_dir().join("work/go"), "").unwrap();
    client.subscribe("long", 0).await;
    client.until_end("long").await;
    assert_eq!(client.runs["long"].text(), "began\nended\n");
    let ran = std::fs::read_to_string(clocked.gateway.state_dir().join("work/ran")).unwrap();
    assert_eq!(ran.lines().count(), finals.len(), "each ran once");
}

#[tokio::test]
async fn m92_a_lock_against_guessing_outlasts_every_step_of_the_clock() {
    let clocked = Clocked::start();
    let mut wrong = connect_params();
    wrong["auth"]["token"] = json!("not the token");
    for _ in 0..3 {
        Client::open(clocked.gateway.port(), &[]).await.hello(wrong.clone()).await.unwrap_err();
    }
    for shift in [0, DAY_MS, -DAY_MS, 10 * YEAR_MS, -10 * YEAR_MS] {
        clocked.shift(shift);
        let refused = Client::open(clocked.gateway.port(), &[]).await.hello(connect_params()).await.unwrap_err();
        assert_eq!(refused["error"]["details"]["code"], "AUTH_RATE_LIMITED", "{shift}: {refused}");
        assert!(refused["error"]["retryAfterMs"].as_u64().unwrap() <= 300_000, "{refused}");
    }
}

/// What a run is known by within the 30 days after its end, and what a client is told after them.
#[tokio::test]
async fn m92_m102_a_run_is_found_for_thirty_days_and_then_its_clients_are_told_to_forget_it() {
    let mut clocked = Clocked::start();
    let mut client = Client::connect(&clocked.gateway).await;
    let last = run(&mut client, "r").await;
    let head = last["head"].as_u64().unwrap();
    for days in [1, 29] {
        clocked.gateway.stop();
        clocked.shift(days * DAY_MS);
        clocked.gateway.launch();
        let mut client = Client::connect(&clocked.gateway).await;
        let began = Instant::now();
        let waited = client.ok("agent.wait", json!({"runId": "r", "timeoutMs": 60000})).await;
        assert_eq!((&waited["outcome"], &waited["head"]), (&last["result"], &last["head"]), "after {days} days");
        assert!(began.elapsed() < Duration::from_secs(10), "a run that is known is not waited for");
        client.subscribe("r", 0).await;
        client.until_end("r").await;
        assert_eq!(client.runs["r"].events.len() as u64, head);
    }
    clocked.gateway.stop();
    clocked.shift(31 * DAY_MS);
    clocked.gateway.launch();
    let mut client = Client::connect(&clocked.gateway).await;
    let forgotten = async {
        loop {
            let res = client.call("runs.subscribe", json!({"runId": "r", "after": head})).await;
            if res["ok"] == false {
                break res["error"].clone();
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), forgotten).await.expect("it is forgotten");
    let todo = json!({"code": "RUN_NOT_FOUND", "retentionMs": 30 * DAY_MS, "recommendedNextStep": "forget_run"});
    assert_eq!((error["code"].as_str(), &error["details"]), (Some("INVALID_REQUEST"), &todo));
    assert_eq!(client.ok("agent.wait", json!({"runId": "r", "timeoutMs": 100})).await["status"], "timeout");
    assert!(clocked.gateway.journals().is_empty(), "and its output with it");
}

#[tokio::test]
async fn m92_a_daemon_that_stood_still_drops_nobody_and_loses_nothing() {
    let _turn = crate::reconnects::ALONE.lock().await;
    // Longer than a busy machine keeps the clients from answering.
    let limits = json!({ "pingIntervalMs": 1000, "pongTimeoutMs": 7000, "writeTimeoutMs": 7000, "tickIntervalMs": 1000 });
    let gateway = Gateway::with(&json!({ "gateway": { "limits": limits } }));
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(Client::connect(&gateway).await);
    }
    let script = "for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 1.5; done; exit 4";
    clients[0].agent(json!({"message": script, "idempotencyKey": "r", "timeout": 60})).await;
    for _ in 0..2 {
        gateway.signal(Signal::STOP);
        // Longer than any answer to a ping may take. Time is what this test is about.
        let until = tokio::time::Instant::now() + Duration::from_secs(9);
        let mut reading = JoinSet::new();
        for mut client in clients.drain(..) {
            reading.spawn(async move {
                // Reading answers the pings that came before. At its end all that came has been read: it must not be cut off within a frame.
                let _ = tokio::time::timeout_at(until, async { while client.frame().await.is_ok() {} }).await;
                client
            });
        }
        clients = reading.join_all().await;
        gateway.signal(Signal::CONT);
        for client in &mut clients {
            client.ok("health", json!({})).await;
        }
    }
    for client in &mut clients {
        let end = client.until_end("r").await;
        assert_eq!(end["data"]["exitCode"], 4, "{end}");
        assert_eq!(client.runs["r"].text(), "1\n2\n3\n4\n5\n6\n7\n8\n");
    }
}

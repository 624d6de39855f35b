//! M99: daemons that crash again and again. The third crash in a short time makes the next daemon careful: it serves, but does not start by itself what may be the cause.

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::shim::until;

const WINDOW_MS: u64 = 300_000;

fn limits(boots: u64, window_ms: u64) -> Value {
    json!({
        "gateway": { "limits": { "safeModeBoots": boots, "safeModeWindowMs": window_ms } },
        "agents": { "defaults": { "maxConcurrent": 2 } },
    })
}

fn go(gateway: &Gateway) {
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
}

/// Starts a run that ends when the file `go` is made, and behind it, in its session, one for each key.
async fn line_up(gateway: &Gateway, keys: &[&str]) {
    let mut client = Client::connect(gateway).await;
    let first = "echo began; while [ ! -e go ]; do sleep 0.02; done";
    client.agent(json!({"message": first, "idempotencyKey": "first", "sessionKey": "s"})).await;
    for key in keys {
        client.agent(json!({"message": format!("echo {key} >> ran"), "idempotencyKey": key, "sessionKey": "s"})).await;
    }
    client.until("the first is at work", |client| client.runs.get("first").is_some_and(|run| run.last >= 3)).await;
}

/// The state of a run, once it has one behind its acceptance.
async fn status_of(client: &mut Client, run_id: &str) -> String {
    loop {
        let row = client.ok("runs.get", json!({"runId": run_id})).await;
        if row["status"] != "accepted" {
            return row["status"].as_str().unwrap().to_owned();
        }
    }
}

fn ran(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap_or_default()
}

#[tokio::test]
async fn m99_after_three_crashes_the_gateway_serves_but_starts_no_queued_run_until_it_is_restarted_in_order() {
    let mut gateway = Gateway::with(&limits(3, WINDOW_MS));
    line_up(&gateway, &["q1", "q2"]).await;
    for crash in 1..=3 {
        let mut client = Client::connect(&gateway).await;
        assert!(client.hello.get("safeMode").is_none(), "{crash}: {}", client.hello);
        assert!(client.ok("health", json!({})).await.get("safeMode").is_none());
        gateway.kill_and_restart();
    }
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.hello["safeMode"], true);
    assert_eq!(client.hello["snapshot"]["health"]["safeMode"], true);
    let health = client.ok("health", json!({})).await;
    assert_eq!((&health["safeMode"], &health["ok"], &health["runs"]["queued"]), (&json!(true), &json!(true), &json!(2)));
    let status = client.ok("status", json!({})).await;
    let warning = status["warnings"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(
        warning.starts_with("safe mode: ") && warning.contains("2 queued runs are held") && warning.contains("orderly restart"),
        "{warning}"
    );
    // What was at work is followed to its end.
    assert_eq!(status_of(&mut client, "first").await, "running");
    go(&gateway);
    assert_eq!(client.ok("agent.wait", json!({"runId": "first"})).await["status"], "ok");
    // What is asked for now runs at once, but not before the held runs of its session.
    assert_eq!(client.script("echo new").await["payload"]["status"], "ok");
    client.agent(json!({"message": "echo q3 >> ran", "idempotencyKey": "q3", "sessionKey": "s"})).await;
    for held in ["q1", "q2", "q3"] {
        assert_eq!(status_of(&mut client, held).await, "queued");
    }
    assert_eq!(client.ok("runs.abort", json!({"runId": "q2"})).await["aborted"], true);
    assert_eq!(client.ok("agent.wait", json!({"runId": "q2"})).await["status"], "aborted");
    assert_eq!(ran(&gateway), "");
    assert!(gateway.stop().success());
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert!(client.hello.get("safeMode").is_none(), "an orderly stop forgets the crashes");
    for key in ["q1", "q3"] {
        assert_eq!(client.ok("agent.wait", json!({"runId": key})).await["status"], "ok");
    }
    assert_eq!(ran(&gateway), "q1\nq3\n", "in their order");
}

#[tokio::test]
async fn m99_safe_mode_ends_by_itself_when_the_daemon_has_lived_long_enough() {
    // Long enough for the crash to fall into it, and for a look at what it does, on a machine that stands still now and then.
    let mut gateway = Gateway::with(&limits(1, 15_000));
    line_up(&gateway, &["q1"]).await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.hello["safeMode"], true, "{}", gateway.log());
    assert_eq!(status_of(&mut client, "q1").await, "queued");
    go(&gateway);
    client
        .until("health says that it is over", |client| {
            client.events.iter().any(|event| event["event"] == "health" && event["payload"].get("safeMode").is_none())
        })
        .await;
    assert_eq!(client.ok("agent.wait", json!({"runId": "q1"})).await["status"], "ok");
    assert!(Client::connect(&gateway).await.hello.get("safeMode").is_none());
    assert!(!client.ok("status", json!({})).await["warnings"].to_string().contains("safe mode"));
}

#[tokio::test]
async fn m99_a_start_that_is_refused_with_a_reason_is_no_crash() {
    let mut gateway = Gateway::with(&limits(1, WINDOW_MS));
    assert!(gateway.stop().success());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = std::fs::read_to_string(gateway.config_path()).unwrap();
    let port = taken.local_addr().unwrap().port();
    gateway.write_config(&config.replace("\"port\":0", &format!("\"port\":{port}")));
    assert_eq!(gateway.try_launch().unwrap_err().code(), Some(75));
    gateway.write_config(&config);
    gateway.launch();
    assert!(Client::connect(&gateway).await.hello.get("safeMode").is_none());
    // A second signal cuts the stop short; it was asked for all the same.
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": "echo x"})).await;
    gateway.signal(rustix::process::Signal::TERM);
    until("the stop has begun", || gateway.log().matches("asked to stop").count() == 2).await;
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait();
    gateway.launch();
    assert!(Client::connect(&gateway).await.hello.get("safeMode").is_none());
}

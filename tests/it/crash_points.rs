//! The daemon dies at every named point between "written" and "told", once at each, and is started again. The same request then gives the same run, executed once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};

/// Every point of the daemon that a run passes, and how many of its passes are tried.
const POINTS: &[(&str, u32)] = &[
    ("store.before_commit", 4),
    ("store.after_commit", 4),
    ("store.before_reply", 4),
    ("runs.after_accept", 1),
    ("runs.after_ack", 1),
    ("runs.before_spawn", 1),
    ("runs.after_spawn", 1),
    ("runs.before_finish", 1),
    ("runs.after_finish", 1),
];

fn request() -> Value {
    json!({"message": "echo run >> ran; echo one; sleep 0.05; echo two; exit 4", "idempotencyKey": "k"})
}

/// Starts the daemon, which may die on the way, and asks for the run. Returns whether it was accepted.
async fn ask(gateway: &mut Gateway) -> bool {
    if gateway.try_launch().is_err() {
        return false;
    }
    let Ok(mut client) = Client::try_connect(gateway.port()).await else { return false };
    client.request("agent", request()).await;
    let mut accepted = false;
    while let Ok(frame) = client.frame().await {
        accepted |= frame["payload"]["status"] == "accepted";
        if frame["payload"]["result"].is_object() {
            break;
        }
    }
    accepted
}

/// Asks again, on a daemon that lives, and checks that there is one run, one execution and one end.
async fn verify(gateway: &Gateway, accepted: bool, place: &str) {
    let mut client = Client::connect(gateway).await;
    let before = client.ok("runs.list", json!({})).await["runs"].as_array().unwrap().len();
    assert!(!accepted || before == 1, "{place}: an accepted run is lost");
    let id = client.request("agent", request()).await;
    let mut last = client.response(&id).await;
    if last["payload"]["result"].is_null() {
        last = client.response(&id).await;
    }
    assert_eq!((last["payload"]["runId"].as_str(), last["payload"]["exitCode"].as_i64()), (Some("k"), Some(4)), "{place}: {last}");
    client.subscribe("k", 0).await;
    client.until_end("k").await;
    assert_eq!(client.runs["k"].text(), "one\ntwo\n", "{place}");
    let rows = client.ok("runs.list", json!({})).await;
    assert_eq!(rows["runs"].as_array().unwrap().len(), 1, "{place}: {rows}");
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "run\n", "{place}: executed once");
    gateway.journal("k").assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m84_the_daemon_may_die_at_every_point_of_a_run() {
    for (point, passes) in POINTS {
        for pass in 1..=*passes {
            let place = format!("{point}:{pass}");
            let mut gateway = Gateway::start();
            gateway.kill();
            gateway.env("SKYKOI_FAILPOINT", &place);
            let accepted = ask(&mut gateway).await;
            if gateway.is_running() {
                // The store commits at other times too, so its last passes may lie behind the run. A process that dies closes its connections before it is gone.
                let patience = if *passes > 1 { Duration::from_millis(500) } else { Duration::from_secs(30) };
                let died = gateway.ends_within(patience);
                assert!(died || *passes > 1, "{place} was not reached");
                gateway.kill();
            }
            gateway.clear_env();
            gateway.launch();
            verify(&gateway, accepted, &place).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m84_the_daemon_may_die_while_it_takes_up_what_the_last_one_left() {
    for pass in 1..=3 {
        let mut gateway = Gateway::start();
        let mut client = Client::connect(&gateway).await;
        // One at work, two behind it in the same session.
        for n in 1..=3 {
            let message = format!("while [ ! -e go ]; do sleep 0.01; done; echo {n} >> ran; exit {n}");
            client.agent(json!({"message": message, "idempotencyKey": format!("r{n}")})).await;
        }
        client.until("the first is at work", |client| client.runs.get("r1").is_some_and(|run| run.last >= 2)).await;
        gateway.kill();
        gateway.env("SKYKOI_FAILPOINT", &format!("runs.recover:{pass}"));
        assert!(gateway.try_launch().is_err());
        gateway.clear_env();
        gateway.launch();
        std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
        let mut client = Client::connect(&gateway).await;
        for n in 1..=3 {
            let waited = client.ok("agent.wait", json!({"runId": format!("r{n}")})).await;
            assert_eq!(waited["outcome"]["exitCode"], n);
            gateway.journal(&format!("r{n}")).assert_whole();
        }
        assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "1\n2\n3\n");
    }
}

#[tokio::test]
async fn m84_a_killed_shim_ends_its_run_as_interrupted_and_the_next_one_starts() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let script = "echo run >> ran; echo ready; (setsid sleep 1000 &) ; sleep 1000";
    let (id, _) = client.agent(json!({"message": script, "idempotencyKey": "lost"})).await;
    let (next, _) = client.agent(json!({"message": "echo next"})).await;
    client.until("output", |client| client.runs.get("lost").is_some_and(|run| !run.text().is_empty())).await;
    let (_, pid) = gateway.shims()[0].clone();
    crate::harness::kill_9(pid);
    let last = client.response(&id).await;
    assert_eq!((last["ok"].as_bool(), last["error"]["code"].as_str()), (Some(false), Some("UNAVAILABLE")), "{last}");
    let result = &last["payload"]["result"];
    assert_eq!((result["status"].as_str(), result["mayHaveRun"].as_bool()), (Some("interrupted"), Some(true)));
    assert_eq!(client.response(&next).await["payload"]["status"], "ok");
    gateway.journal("lost").assert_whole();
    // Asked again, it is told and not run again.
    let again = client.call("agent", json!({"message": script, "idempotencyKey": "lost"})).await;
    assert_eq!(again["payload"]["result"], *result);
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "run\n");
    gateway.is_clean().await;
}

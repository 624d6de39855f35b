//! Runs in namespaces of their own end as others do: their exit codes, their aborts, and nothing of them is left.

use serde_json::json;

use super::{isolated, ran};
use crate::harness::Client;

/// Processes that do not want to be found.
const HIDING: &str = "(setsid sleep 1000 &); (setsid bash -c 'setsid sleep 1000 & setsid sleep 1000 &' &); (exec >&- 2>&- <&-; sleep 1000) & env -i sleep 1000 &";

#[tokio::test]
async fn m77_exit_codes_come_through_every_level() {
    for level in ["workspace", "strict"] {
        let Some(gateway) = isolated(&json!({ "level": level }), &json!({})) else { continue };
        let mut client = Client::connect(&gateway).await;
        for code in [0, 1, 77] {
            assert_eq!(ran(&mut client, &format!("exit {code}")).await.0["exitCode"], code, "{level}");
        }
        let long = format!("# {}\nexit 9", "x".repeat(200 * 1024));
        assert_eq!(ran(&mut client, &long).await.0["exitCode"], 9, "{level}: a script that is longer than an argument");
    }
}

#[tokio::test]
async fn m75_nothing_of_an_isolated_run_outlives_it() {
    for level in ["workspace", "strict"] {
        let Some(gateway) = isolated(&json!({ "level": level }), &json!({})) else { continue };
        let mut client = Client::connect(&gateway).await;
        let (result, _) = ran(&mut client, &format!("{HIDING} echo ready; exit 4")).await;
        assert_eq!(result["exitCode"], 4, "{level}: {result}");
        assert!(result["swept"].as_u64().unwrap() >= 4, "{level}: {result}");
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn m75_an_abort_ends_all_of_an_isolated_run_after_its_grace() {
    // Time enough for who obeys to be heard on a busy machine too.
    let grace = json!({ "agents": { "defaults": { "graceMs": 5000 } } });
    for level in ["workspace", "strict"] {
        let Some(gateway) = isolated(&json!({ "level": level }), &grace) else { continue };
        let mut client = Client::connect(&gateway).await;
        // One obeys and is heard doing so, which proves that there was a grace; the others do not.
        let script =
            format!("trap 'echo farewell; exit 0' TERM; (trap '' TERM; sleep 1000) & {HIDING} echo ready; while :; do sleep 0.05; done");
        let (id, ack) = client.agent(json!({ "message": script })).await;
        let run_id = ack["runId"].as_str().unwrap().to_owned();
        client.until("output", |client| client.runs.get(&run_id).is_some_and(|run| run.text().contains("ready"))).await;
        client.ok("runs.abort", json!({ "runId": run_id })).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "aborted", "{level}: {last}");
        assert!(last["payload"]["result"]["durationMs"].as_u64().unwrap() < 30_000, "{level}: {last}");
        assert!(client.runs[&run_id].text().contains("farewell"), "{level}: no grace");
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn m75_what_a_killed_host_process_leaves_in_a_namespace_is_ended() {
    let Some(gateway) = isolated(&json!({ "level": "strict" }), &json!({})) else { return };
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": format!("{HIDING} echo ready; sleep 1000") })).await;
    let run_id = ack["runId"].as_str().unwrap().to_owned();
    client.until("output", |client| client.runs.get(&run_id).is_some_and(|run| run.text().contains("ready"))).await;
    let shims = gateway.shims();
    crate::harness::kill_9(shims[0].1);
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "interrupted", "{last}");
    gateway.is_clean().await;
}

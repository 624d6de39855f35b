//! Chats and a daemon that is killed in the middle of them.

use serde_json::json;

use super::{dialogue, gateway, go, held, quick, ran, send, until_ran};
use crate::harness::Client;
use crate::harness::model::said;

#[tokio::test]
async fn what_waits_is_taken_up_in_order_and_each_message_is_executed_once() {
    for mode in ["collect", "followup", "steer", "interrupt"] {
        let mut gateway = gateway(&json!({ "mode": mode }));
        let mut client = Client::connect(&gateway).await;
        let first = json!({ "sessionKey": "s", "message": held("a"), "idempotencyKey": "a", "queueMode": "followup" });
        client.ok("chat.send", first).await;
        until_ran(&gateway, &["a"]).await;
        // An interrupt would end the first one: there only the last message is one.
        for name in ["b", "c"] {
            let mode = if mode == "interrupt" && name == "b" { "followup" } else { mode };
            client.ok("chat.send", json!({ "sessionKey": "s", "message": quick(name), "idempotencyKey": name, "queueMode": mode })).await;
        }
        gateway.kill_and_restart();
        let mut client = Client::connect(&gateway).await;
        go(&gateway, "a");
        for (name, message) in [("b", quick("b")), ("c", quick("c"))] {
            let mode = if mode == "interrupt" && name == "b" { "followup" } else { mode };
            let params = json!({ "sessionKey": "s", "message": message, "idempotencyKey": name, "queueMode": mode });
            let again = client.call("chat.send", params).await;
            assert!(matches!(again["payload"]["status"].as_str(), Some("in_flight" | "ok")), "{mode}: {again}");
        }
        let outcome = async |client: &mut Client, run: &str| client.ok("agent.wait", json!({ "runId": run })).await["outcome"].clone();
        let (b, c) = (outcome(&mut client, "b").await, outcome(&mut client, "c").await);
        assert_eq!(c["status"], "ok", "{mode}");
        match mode {
            "collect" => assert_eq!(b["mergedInto"], "c"),
            "interrupt" => assert_eq!((b["status"].as_str(), b["stopReason"].as_str()), (Some("aborted"), Some("interrupt"))),
            _ => assert_eq!((b["status"].as_str(), b.get("mergedInto")), (Some("ok"), None)),
        }
        let expected: &[&str] = if mode == "interrupt" { &["a", "c"] } else { &["a", "b", "c"] };
        assert_eq!(ran(&gateway), expected, "{mode}");
    }
}

#[tokio::test]
async fn a_merged_turn_at_work_ends_for_all_its_messages_after_a_kill() {
    let mut gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    send(&mut client, "b", &quick("b")).await;
    send(&mut client, "c", &held("c")).await;
    go(&gateway, "a");
    until_ran(&gateway, &["a", "b", "c"]).await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    go(&gateway, "c");
    assert_eq!(said(&client.until_said("c").await), "b done\nc done");
    let waited = client.ok("agent.wait", json!({ "runId": "b" })).await;
    assert_eq!((waited["status"].as_str(), waited["outcome"]["mergedInto"].as_str()), (Some("ok"), Some("c")));
    assert_eq!(ran(&gateway), ["a", "b", "c"]);
    let texts = dialogue(&gateway);
    assert_eq!((texts.len(), texts[3].as_str()), (4, "assistant: b done\nc done\n"), "{texts:?}");
}

#[tokio::test]
async fn the_daemon_may_die_at_every_point_of_a_merged_turn_and_everything_is_told_once() {
    let points = [
        ("store.before_commit", 8),
        ("store.after_commit", 8),
        ("runs.before_spawn", 2),
        ("runs.after_spawn", 2),
        ("runs.before_finish", 3),
        ("runs.after_transcript", 3),
        ("runs.after_finish", 3),
    ];
    for (point, passes) in points {
        for pass in 1..=passes {
            let place = format!("{point}:{pass}");
            let mut gateway = gateway(&json!({ "debounceMs": 1 }));
            gateway.kill();
            gateway.env("SKYKOI_FAILPOINT", &place);
            if gateway.try_launch().is_ok()
                && let Ok(mut client) = Client::try_connect(gateway.port()).await
            {
                for (name, message) in [("a", "sleep 0.1; echo a >> ran; echo a done".to_owned()), ("b", quick("b")), ("c", quick("c"))] {
                    client.request("chat.send", json!({ "sessionKey": "s", "message": message, "idempotencyKey": name })).await;
                }
                while let Ok(frame) = client.frame().await {
                    if frame["event"] == "chat" && frame["payload"]["runId"] == "b" && frame["payload"]["state"] == "final" {
                        break;
                    }
                }
            }
            gateway.kill();
            gateway.clear_env();
            gateway.launch();
            let mut client = Client::connect(&gateway).await;
            for (name, message) in [("a", "sleep 0.1; echo a >> ran; echo a done".to_owned()), ("b", quick("b")), ("c", quick("c"))] {
                send(&mut client, name, &message).await;
            }
            for name in ["a", "b", "c"] {
                let waited = client.ok("agent.wait", json!({ "runId": name })).await;
                assert_eq!(waited["status"], "ok", "{place}: {name}: {waited}");
            }
            let mut executed = ran(&gateway);
            assert_eq!(executed.first().map(String::as_str), Some("a"), "{place}");
            executed.sort();
            assert_eq!(executed, ["a", "b", "c"], "{place}: each once");
            let said: Vec<String> = dialogue(&gateway).into_iter().filter(|text| text.starts_with("assistant: ")).collect();
            let answers = said.concat();
            for name in ["a", "b", "c"] {
                assert_eq!(answers.matches(&format!("{name} done")).count(), 1, "{place}: {said:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_transcript_that_cannot_be_written_holds_nothing_up_and_is_completed_at_the_next_start() {
    let mut gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    // A file where the folder should be: nothing can be written below it.
    let blocked = gateway.state_dir().join("agents/main");
    std::fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    std::fs::write(&blocked, "").unwrap();
    send(&mut client, "k", "echo out").await;
    assert_eq!(said(&client.until_said("k").await), "out");
    assert_eq!(client.ok("agent.wait", json!({ "runId": "k" })).await["status"], "ok");
    std::fs::remove_file(&blocked).unwrap();
    gateway.kill_and_restart();
    crate::shim::until("the transcript is complete", || dialogue(&gateway).len() == 2).await;
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "l", "echo more").await;
    client.until_said("l").await;
    assert_eq!(dialogue(&gateway), ["user: echo out", "assistant: out\n", "user: echo more", "assistant: more\n"]);
}

//! Messages to a session that is busy, in each mode.

use serde_json::json;

use super::{dialogue, gateway, go, held, quick, ran, send, until_ran};
use crate::harness::model::said;
use crate::harness::{Client, Gateway};

#[tokio::test]
async fn defect_27_collected_messages_are_one_turn_and_each_client_hears_the_end_once() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    let b = send(&mut client, "b", &quick("b")).await;
    assert_eq!((b["status"].as_str(), &b["position"]), (Some("started"), &json!(1)));
    let c = send(&mut client, "c", &held("c")).await;
    assert_eq!(c["position"], 2);
    assert_eq!(client.ok("runs.get", json!({ "runId": "c" })).await["position"], 2);
    assert!(!client.chats.contains_key("b"), "no early end");
    go(&gateway, "a");
    assert_eq!(said(&client.until_said("a").await), "a done");
    until_ran(&gateway, &["a", "b", "c"]).await;
    let row = client.ok("runs.get", json!({ "runId": "b" })).await;
    assert_eq!((row["status"].as_str(), row["mergedInto"].as_str()), (Some("running"), Some("c")));
    assert_eq!(send(&mut client, "b", &quick("b")).await["status"], "in_flight");
    go(&gateway, "c");
    let (last, merged) = (client.until_said("c").await, client.until_said("b").await);
    assert_eq!((last["state"].as_str(), said(&last)), (Some("final"), "b done\nc done"));
    assert_eq!((merged["state"].as_str(), merged["mergedInto"].as_str(), merged.get("message")), (Some("final"), Some("c"), None));
    let waited = client.ok("agent.wait", json!({ "runId": "b" })).await;
    assert_eq!((waited["status"].as_str(), waited["outcome"]["mergedInto"].as_str()), (Some("ok"), Some("c")));
    assert_eq!(
        dialogue(&gateway),
        [
            format!("user: {}", held("a")),
            "assistant: a done\n".into(),
            format!("user: {}\n{}", quick("b"), held("c")),
            "assistant: b done\nc done\n".into()
        ]
    );
}

/// Whether other sessions are busy makes no difference to what becomes of messages to a free one.
#[tokio::test]
async fn two_messages_at_once_to_a_free_session_have_a_turn_each_also_when_all_places_are_taken() {
    for places in [1, 4] {
        let gateway =
            Gateway::with(&json!({ "messages": { "queue": { "debounceMs": 50 } }, "agents": { "defaults": { "maxConcurrent": places } } }));
        let mut client = Client::connect(&gateway).await;
        client.agent(json!({ "message": held("x"), "idempotencyKey": "x", "sessionKey": "other" })).await;
        until_ran(&gateway, &["x"]).await;
        let mut asked = Vec::new();
        for name in ["a", "b"] {
            let params = json!({ "sessionKey": "s", "message": quick(name), "idempotencyKey": name });
            asked.push(client.request("chat.send", params).await);
        }
        for id in asked {
            assert_eq!(client.response(&id).await["payload"]["status"], "started");
        }
        go(&gateway, "x");
        for name in ["a", "b"] {
            let last = client.until_said(name).await;
            assert_eq!((said(&last), last.get("mergedInto")), (&*format!("{name} done"), None), "{places} places");
        }
    }
}

#[tokio::test]
async fn followups_and_steers_that_the_runner_cannot_take_are_turns_of_their_own() {
    for mode in ["followup", "steer", "steer-backlog", "queue"] {
        let gateway = gateway(&json!({ "mode": mode }));
        let mut client = Client::connect(&gateway).await;
        send(&mut client, "a", &held("a")).await;
        until_ran(&gateway, &["a"]).await;
        for name in ["b", "c"] {
            send(&mut client, name, &quick(name)).await;
        }
        go(&gateway, "a");
        for name in ["a", "b", "c"] {
            assert_eq!(said(&client.until_said(name).await), format!("{name} done"), "{mode}");
        }
        assert_eq!(ran(&gateway), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn an_interrupt_ends_what_works_and_what_waits() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &format!("echo part; {}", held("a"))).await;
    client.until("the first word", |client| client.chats.contains_key("a")).await;
    until_ran(&gateway, &["a"]).await;
    send(&mut client, "b", &quick("b")).await;
    let params = json!({ "sessionKey": "s", "message": quick("c"), "idempotencyKey": "c", "queueMode": "interrupt" });
    client.ok("chat.send", params).await;
    assert_eq!(said(&client.until_said("c").await), "c done");
    let (a, b) = (client.until_said("a").await, client.until_said("b").await);
    assert_eq!((a["state"].as_str(), a["stopReason"].as_str(), said(&a)), (Some("aborted"), Some("interrupt"), "part"));
    assert_eq!((b["state"].as_str(), b["stopReason"].as_str(), said(&b)), (Some("aborted"), Some("interrupt"), ""));
    assert_eq!(ran(&gateway), ["a", "c"]);
}

#[tokio::test]
async fn defect_28_beyond_the_cap_the_rule_decides_who_goes() {
    for drop in ["old", "new", "summarize"] {
        let gateway = gateway(&json!({ "cap": 2, "drop": drop }));
        let mut client = Client::connect(&gateway).await;
        send(&mut client, "a", &held("a")).await;
        until_ran(&gateway, &["a"]).await;
        for name in ["b", "c"] {
            send(&mut client, name, &quick(name)).await;
        }
        let params = json!({ "sessionKey": "s", "message": quick("d"), "idempotencyKey": "d" });
        if drop == "new" {
            let refused = client.err("chat.send", params).await;
            assert_eq!((refused["code"].as_str(), refused["details"]["code"].as_str()), (Some("UNAVAILABLE"), Some("QUEUE_FULL")));
            assert_eq!(refused["retryable"], true);
            assert_eq!(send(&mut client, "b", &quick("b")).await["status"], "in_flight", "what was taken is known");
        } else {
            client.ok("chat.send", params).await;
        }
        if drop == "old" {
            let gone = client.until_said("b").await;
            assert_eq!((gone["state"].as_str(), gone["stopReason"].as_str()), (Some("aborted"), Some("overflow")));
        }
        go(&gateway, "a");
        let (carrier, executed, spoken) = match drop {
            "old" => ("d", ["a", "c", "d"], "c done\nd done"),
            "new" => ("c", ["a", "b", "c"], "b done\nc done"),
            _ => ("d", ["a", "c", "d"], "c done\nd done"),
        };
        assert_eq!(said(&client.until_said(carrier).await), spoken, "{drop}");
        assert_eq!(ran(&gateway), executed, "{drop}");
        if drop == "summarize" {
            let summed = client.until_said("b").await;
            assert_eq!((summed["state"].as_str(), summed["mergedInto"].as_str()), (Some("final"), Some("d")));
            let asked = dialogue(&gateway)[2].clone();
            assert!(asked.starts_with("user: # 1 earlier messages were left out:\n# - echo b >> ran; echo b done\n"), "{asked}");
        }
    }
}

#[tokio::test]
async fn requests_of_agent_wait_in_line_and_are_never_merged() {
    let gateway = gateway(&json!({}));
    let mut client = Client::connect(&gateway).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    send(&mut client, "b", &quick("b")).await;
    client.agent(json!({ "message": quick("x"), "idempotencyKey": "x", "sessionKey": "s" })).await;
    send(&mut client, "c", &quick("c")).await;
    go(&gateway, "a");
    for name in ["a", "b", "x", "c"] {
        assert_eq!(said(&client.until_said(name).await), format!("{name} done"));
    }
    assert_eq!(ran(&gateway), ["a", "b", "x", "c"]);
}

#[tokio::test]
async fn the_sessions_own_mode_comes_before_the_configuration() {
    let gateway = gateway(&json!({ "mode": "followup" }));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "s", "message": "/queue collect debounce:20ms" })).await;
    send(&mut client, "a", &held("a")).await;
    until_ran(&gateway, &["a"]).await;
    for name in ["b", "c"] {
        send(&mut client, name, &quick(name)).await;
    }
    go(&gateway, "a");
    assert_eq!(client.until_said("b").await["mergedInto"], "c");
}

#[tokio::test]
async fn messages_sent_without_waiting_for_answers_have_their_turns_in_order() {
    let gateway = gateway(&json!({ "mode": "followup", "cap": 100 }));
    let mut client = Client::connect(&gateway).await;
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let method = if n % 3 == 0 { "agent" } else { "chat.send" };
        client.request(method, json!({ "sessionKey": "s", "message": format!("echo {name} >> ran"), "idempotencyKey": name })).await;
    }
    client.until_said("n19").await;
    assert_eq!(ran(&gateway), names);
}

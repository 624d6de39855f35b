//! Who is told what of a run: `runs.subscribe` from any place, any number of times and connections, without a hole and without a repeat. The client's model fails on either.

use serde_json::{Value, json};

use crate::harness::model::RunView;
use crate::harness::raw::connect_frame;
use crate::harness::{Client, Gateway};
use crate::shim::until;
use crate::sockets::Raw;

/// Prints `n` when the file `go-n` appears in the workspace, so that a test decides how far the run is.
const STEPS: &str = "for n in $(seq 1 40); do while [ ! -e go-$n ]; do sleep 0.01; done; echo $n; sleep 0.01; done";

fn go(gateway: &Gateway, steps: std::ops::RangeInclusive<u32>) {
    let work = gateway.state_dir().join("work");
    std::fs::create_dir_all(&work).unwrap();
    steps.for_each(|n| std::fs::write(work.join(format!("go-{n}")), "").unwrap());
}

async fn printed(client: &mut Client, run_id: &str, n: u32) {
    let wanted = format!("{n}\n");
    client.until(&format!("step {n}"), |client| client.runs.get(run_id).is_some_and(|run| run.text().ends_with(&wanted))).await;
}

fn all(n: u32) -> String {
    (1..=n).map(|n| format!("{n}\n")).collect()
}

#[tokio::test]
async fn a_new_connection_says_what_it_has_and_gets_the_rest_once_and_then_live() {
    let gateway = Gateway::start();
    let mut first = Client::connect(&gateway).await;
    first.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    go(&gateway, 1..=10);
    printed(&mut first, "r", 10).await;
    let head = first.runs["r"].last;
    for after in [0, 1, head - 1, head] {
        let mut later = Client::connect(&gateway).await;
        let reply = later.subscribe("r", after).await;
        assert_eq!((reply["status"].as_str(), reply["head"].as_u64()), (Some("running"), Some(head)));
        later.until("all there is", |client| client.runs["r"].last == head).await;
        assert_eq!(later.runs["r"].events.len() as u64, head - after);
    }
    let mut later = Client::connect(&gateway).await;
    later.subscribe("r", 3).await;
    go(&gateway, 11..=40);
    let end = later.until_end("r").await;
    assert_eq!(later.runs["r"].events.keys().copied().collect::<Vec<_>>(), (4..=end["seq"].as_u64().unwrap()).collect::<Vec<_>>());
    first.until_end("r").await;
    assert_eq!(first.runs["r"].text(), all(40));
}

#[tokio::test]
async fn a_client_that_asks_for_a_run_before_it_has_hello_gets_every_event_of_it() {
    const CLIENTS: usize = 40;
    let gateway = Gateway::start();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let mut raw = Raw::open(&gateway).await;
        // In one go, so that the run may end before the connection's writer has looked at anything.
        raw.call(&connect_frame()).await;
        raw.ask("run", "agent", json!({ "message": "echo here", "sessionKey": format!("s{n}"), "idempotencyKey": format!("r{n}") })).await;
        clients.push(raw);
    }
    for (n, raw) in clients.iter_mut().enumerate() {
        let mut view = RunView::default();
        let last = loop {
            let frame = raw.next_json().await.unwrap();
            if frame["event"] == "agent" && frame["payload"]["runId"] == format!("r{n}") {
                view.take(&frame["payload"]);
            } else if frame["id"] == "run" && frame["payload"]["status"] != "accepted" {
                break frame;
            }
        };
        assert_eq!((last["payload"]["status"].as_str(), view.text().as_str()), (Some("ok"), "here\n"), "client {n}: {last}");
        assert_eq!(view.events.len() as u64, last["payload"]["head"].as_u64().unwrap());
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_gets_a_running_run_from_its_next_event_on() {
    let gateway = Gateway::start();
    let mut first = Client::connect(&gateway).await;
    first.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    go(&gateway, 1..=5);
    printed(&mut first, "r", 5).await;
    // Many, because what is said right behind a hello must not be lost either when nobody has come to look yet.
    for n in 6..=30 {
        let head = first.runs["r"].last;
        let mut silent = Client::connect(&gateway).await;
        go(&gateway, n..=n);
        printed(&mut silent, "r", n).await;
        assert_eq!(silent.runs["r"].events.first_key_value().unwrap().0, &(head + 1));
        printed(&mut first, "r", n).await;
    }
    let head = first.runs["r"].last;
    let mut silent = Client::connect(&gateway).await;
    go(&gateway, 31..=31);
    printed(&mut silent, "r", 31).await;
    // Asking late for what came before brings exactly that, and then the rest.
    silent.subscribe("r", 2).await;
    silent.until("the rest", |client| client.runs["r"].events.contains_key(&head)).await;
    go(&gateway, 32..=40);
    let end = silent.until_end("r").await;
    assert_eq!(silent.runs["r"].events.len() as u64, end["seq"].as_u64().unwrap() - 2);
    assert_eq!(silent.runs["r"].last, end["seq"].as_u64().unwrap());
}

#[tokio::test]
async fn subscribing_twice_or_to_what_is_live_anyway_repeats_nothing() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    for _ in 0..3 {
        client.request("runs.subscribe", json!({"runId": "r"})).await;
    }
    go(&gateway, 1..=20);
    printed(&mut client, "r", 20).await;
    let last = client.runs["r"].last;
    for after in [0, last / 2, last] {
        client.ok("runs.subscribe", json!({"runId": "r", "after": after})).await;
    }
    go(&gateway, 21..=40);
    let end = client.until_end("r").await;
    assert_eq!(client.runs["r"].text(), all(40));
    // Also when the run is over, and with an answer behind it that shows that nothing more came.
    client.ok("runs.subscribe", json!({"runId": "r", "after": 0})).await;
    client.ok("health", json!({})).await;
    client.ok("health", json!({})).await;
    assert_eq!(client.runs["r"].events.len() as u64, end["seq"].as_u64().unwrap());
}

#[tokio::test]
async fn a_run_faster_than_its_subscription_is_not_told_twice() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    for n in 0..10 {
        let key = format!("fast-{n}");
        let (id, _) = client.agent(json!({"message": "echo x", "idempotencyKey": key})).await;
        if n % 2 == 0 {
            client.response(&id).await;
        }
        client.ok("runs.subscribe", json!({"runId": key})).await;
        client.until_end(&key).await;
        assert_eq!(client.runs[&key].events.first_key_value().unwrap().0, &1);
    }
    client.ok("health", json!({})).await;
}

#[tokio::test]
async fn after_unsubscribe_nothing_comes_until_a_subscription_which_begins_where_it_says() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut witness = Client::connect(&gateway).await;
    client.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    witness.subscribe("r", 0).await;
    go(&gateway, 1..=5);
    printed(&mut client, "r", 5).await;
    let had = client.runs["r"].last;
    assert_eq!(client.ok("runs.unsubscribe", json!({"runId": "r"})).await, json!({"runId": "r", "ok": true}));
    go(&gateway, 6..=10);
    printed(&mut witness, "r", 10).await;
    client.ok("health", json!({})).await;
    assert_eq!(client.runs["r"].last, had, "nothing came");
    client.runs.remove("r");
    client.subscribe("r", had - 2).await;
    printed(&mut client, "r", 10).await;
    assert_eq!(client.runs["r"].events.first_key_value().unwrap().0, &(had - 1));
    assert_eq!(client.ok("runs.unsubscribe", json!({"runId": "r"})).await["ok"], true);
    go(&gateway, 11..=40);
    witness.until_end("r").await;
    client.runs.remove("r");
    client.subscribe("r", 0).await;
    client.until_end("r").await;
    assert_eq!(client.runs["r"].events, witness.runs["r"].events);
}

#[tokio::test]
async fn m102_places_that_cannot_be_are_refused_and_ones_that_may_come_are_waited_for() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let last = client.script("echo x").await;
    let (run_id, head) = (last["payload"]["runId"].clone(), last["payload"]["head"].as_u64().unwrap());
    let mut other = Client::connect(&gateway).await;
    let ahead = other.err("runs.subscribe", json!({"runId": run_id, "after": head + 1})).await;
    let todo = json!({"code": "CURSOR_AHEAD", "head": head, "recommendedNextStep": "subscribe_from_start"});
    assert_eq!((ahead["code"].as_str(), &ahead["details"]), (Some("INVALID_REQUEST"), &todo));
    assert_eq!(other.ok("runs.subscribe", json!({"runId": run_id, "after": head})).await["head"], head);
    for bad in [json!(-1), json!("1"), json!(1.5)] {
        assert_eq!(other.err("runs.subscribe", json!({"runId": run_id, "after": bad})).await["code"], "INVALID_REQUEST");
    }
    let unknown = other.err("runs.subscribe", json!({"runId": "nobody"})).await;
    let todo = json!({"code": "RUN_NOT_FOUND", "retentionMs": 2_592_000_000_u64, "recommendedNextStep": "forget_run"});
    assert_eq!(unknown["details"], todo);
    assert_eq!(other.err("runs.unsubscribe", json!({"runId": "nobody"})).await["details"]["code"], "RUN_NOT_FOUND");
    // A place beyond the head of a run at work may yet come.
    client.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    go(&gateway, 1..=1);
    printed(&mut client, "r", 1).await;
    let place = client.runs["r"].last + 3;
    let mut ahead = Client::connect(&gateway).await;
    ahead.subscribe("r", place).await;
    for n in 2..=40 {
        go(&gateway, n..=n);
        printed(&mut client, "r", n).await;
    }
    ahead.until_end("r").await;
    assert_eq!(ahead.runs["r"].events.first_key_value().unwrap().0, &(place + 1));
}

#[tokio::test]
async fn many_connections_follow_one_run_from_many_places() {
    let gateway = Gateway::start();
    let mut starter = Client::connect(&gateway).await;
    starter.agent(json!({"message": STEPS, "idempotencyKey": "r"})).await;
    go(&gateway, 1..=15);
    printed(&mut starter, "r", 15).await;
    let mut followers = Vec::new();
    for after in 0..=starter.runs["r"].last {
        let mut follower = if after % 2 == 0 { Client::connect(&gateway).await } else { Client::local(&gateway).await };
        follower.subscribe("r", after).await;
        followers.push((after, follower));
    }
    go(&gateway, 16..=40);
    starter.until_end("r").await;
    for (after, mut follower) in followers {
        follower.until_end("r").await;
        let wanted: Vec<(&u64, &Value)> = starter.runs["r"].events.range(after + 1..).collect();
        assert_eq!(follower.runs["r"].events.iter().collect::<Vec<_>>(), wanted);
    }
}

#[tokio::test]
async fn twenty_megabytes_reach_a_reader_that_comes_late_and_one_that_stood_still() {
    // How long the readers stand still depends on the machine, and is not what this is about.
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "writeTimeoutMs": 600_000 } } }));
    let mut client = Client::connect(&gateway).await;
    let mut sleeper = Client::connect(&gateway).await;
    let script = "base64 -w 99 /dev/zero | head -c 20000000; echo; touch printed; while [ ! -e go-1 ]; do sleep 0.01; done; echo last";
    client.agent(json!({"message": script, "idempotencyKey": "big"})).await;
    until("everything is printed", || gateway.state_dir().join("work/printed").exists()).await;
    let before = gateway.own_bytes();
    let mut late = Client::connect(&gateway).await;
    late.subscribe("big", 0).await;
    late.until("most of it", |client| client.runs["big"].last > 50).await;
    go(&gateway, 1..=1);
    for reader in [&mut late, &mut sleeper, &mut client] {
        let end = reader.until_end("big").await;
        assert_eq!(end["data"]["stdoutBytes"], 20_000_006);
        assert_eq!(end["data"]["droppedBytes"], 0);
        let text = reader.runs["big"].text();
        assert_eq!(text.len(), 20_000_006);
        assert!(text.ends_with("\nlast\n"));
    }
    let grown = gateway.own_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "the daemon grew by {grown} bytes");
}

#[tokio::test]
async fn m27_a_reset_in_the_middle_of_a_run_leaves_the_run_alone() {
    let gateway = Gateway::start();
    for frames in 0..8 {
        let key = format!("reset-{frames}");
        let mut client = Client::connect_abruptly(&gateway).await;
        let message = "for n in 1 2 3 4 5; do echo $n; sleep 0.01; done; exit 5";
        client.request("agent", json!({"message": message, "idempotencyKey": key, "sessionKey": key})).await;
        // The request itself may be lost with the connection only before any answer.
        let mut acked = false;
        for _ in 0..frames {
            acked |= client.frame().await.unwrap()["payload"]["status"] == "accepted";
        }
        drop(client);
        let mut later = Client::connect(&gateway).await;
        if !acked {
            later.agent(json!({"message": message, "idempotencyKey": key, "sessionKey": key})).await;
        }
        let waited = later.ok("agent.wait", json!({"runId": key})).await;
        assert_eq!((waited["status"].as_str(), waited["outcome"]["exitCode"].as_i64()), (Some("error"), Some(5)), "{waited}");
        let journal = gateway.journal(&key);
        journal.assert_whole();
        let text: String = journal.lines.iter().filter_map(|line| line["text"].as_str()).collect();
        assert_eq!(text, "1\n2\n3\n4\n5\n");
    }
}

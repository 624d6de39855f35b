//! Events that are not about runs: presence, tick, shutdown; and the number that each connection counts.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::raw::connect_frame;
use crate::harness::{Client, Gateway};
use crate::sockets::Raw;

/// Whether the newest presence event of this client shows the installation.
fn shows(client: &Client, instance: &str) -> bool {
    let newest = client.events.iter().rev().find(|event| event["event"] == "presence");
    newest.is_some_and(|event| event["payload"]["presence"].as_array().unwrap().iter().any(|entry| entry["instanceId"] == instance))
}

async fn named(gateway: &Gateway, instance: &str) -> Client {
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = connect_params();
    params["client"]["instanceId"] = json!(instance);
    client.hello(params).await.unwrap();
    client
}

#[tokio::test]
async fn defect_02_presence_tells_of_a_connect_and_of_its_end_also_to_the_newcomer() {
    let gateway = Gateway::start();
    let mut first = named(&gateway, "first").await;
    first.until("its own presence", |client| shows(client, "first")).await;
    let mut second = named(&gateway, "second").await;
    let snapshot = second.hello["snapshot"]["presence"].as_array().unwrap();
    assert!(snapshot.iter().any(|entry| entry["instanceId"] == "second"), "the newcomer is in its own hello");
    assert!(snapshot.iter().any(|entry| entry["instanceId"] == "first"));
    first.until("the second", |client| shows(client, "second")).await;
    second.until("itself", |client| shows(client, "second")).await;
    let version = |client: &Client| {
        let event = client.events.iter().rev().find(|event| event["event"] == "presence").unwrap();
        event["stateVersion"]["presence"].as_u64().unwrap()
    };
    let before = version(&first);
    drop(second);
    first.until("the end of the second", |client| !shows(client, "second")).await;
    assert!(version(&first) > before);
    assert!(shows(&first, "first"));
}

#[tokio::test]
async fn a_client_without_read_gets_ticks_and_nothing_else() {
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "tickIntervalMs": 1000, "healthIntervalMs": 1000 } } }));
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = connect_params();
    params["scopes"] = json!(["operator.pairing"]);
    client.hello(params).await.unwrap();
    let mut other = named(&gateway, "other").await;
    assert_eq!(other.script("echo secret").await["payload"]["status"], "ok");
    client.until("two ticks", |client| client.events.iter().filter(|event| event["event"] == "tick").count() >= 2).await;
    let names: Vec<&Value> = client.events.iter().map(|event| &event["event"]).collect();
    assert!(names.iter().all(|name| *name == "connect.challenge" || *name == "tick"), "{names:?}");
}

/// Sends a request and counts the presence events before its answer. Nothing is parsed: 300 clients are told of 200 each time.
async fn presences_before(raw: &mut Raw, request: &Value) -> usize {
    raw.call(request).await;
    let mut count = 0;
    loop {
        let (_, frame) = raw.read_frame().await.expect("an open connection");
        if frame.starts_with(br#"{"type":"res""#) {
            return count;
        }
        count += usize::from(frame.starts_with(br#"{"type":"event","event":"presence""#));
    }
}

#[tokio::test]
async fn three_hundred_clients_that_come_cost_each_a_few_presence_events() {
    let gateway = Gateway::start();
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::open(&gateway).await;
        assert_eq!(presences_before(&mut raw, &connect_frame()).await, 0, "nothing comes before hello");
        clients.push(raw);
    }
    // At most four a second, and more seldom the more clients there are.
    for (n, raw) in clients.iter_mut().enumerate() {
        let count = presences_before(raw, &json!({ "type": "req", "id": "h", "method": "health" })).await;
        let most = usize::try_from(began.elapsed().as_millis() / 250).unwrap() + 2;
        assert!(count <= most && count < 100, "{count} presence events, {most} were to be expected");
        assert!(count > 0 || n > 0, "the first was told of the others");
    }
}

#[tokio::test]
async fn m98_on_sigterm_every_client_is_told_and_then_closed_1012() {
    let mut gateway = Gateway::start();
    let mut clients = vec![Client::local(&gateway).await];
    for n in 0..5 {
        clients.push(named(&gateway, &format!("i-{n}")).await);
    }
    let (_, ack) = clients[1].agent(json!({ "message": "sleep 1; echo outlived", "idempotencyKey": "outlives" })).await;
    assert_eq!(ack["status"], "accepted");
    clients[1].until("the start of the run", |client| client.runs.contains_key("outlives")).await;
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    for (n, client) in clients.iter_mut().enumerate() {
        client.until("the announcement", |client| client.events.iter().any(|event| event["event"] == "shutdown")).await;
        let end = client.until_closed().await;
        let wanted = if n == 0 { (None, "") } else { (Some(1012), "service restart") };
        assert_eq!((end.code, end.reason.as_str()), wanted);
    }
    assert!(gateway.wait().success());
    // It came to its end in order, and not to the limit of a whole stop.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    // The run went on without the daemon.
    gateway.launch();
    let waited = Client::connect(&gateway).await.ok("agent.wait", json!({ "runId": "outlives" })).await;
    assert_eq!((&waited["status"], &waited["outcome"]["stdoutBytes"]), (&json!("ok"), &json!(9)), "{waited}");
}

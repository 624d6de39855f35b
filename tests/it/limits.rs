//! Bounds of one connection: bytes, frames, calls at once, calls per second.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::raw::closed;
use crate::harness::{Client, Gateway};
use crate::sockets::{Raw, masked};

/// A script that runs until the file of this name is made in its workspace.
fn until_made(name: &str) -> String {
    format!("until [ -e {name} ]; do sleep 0.02; done")
}

/// A health request padded to exactly this many bytes.
fn padded(bytes: usize) -> String {
    let frame = |pad: &str| json!({ "type": "req", "id": "big", "method": "health", "params": { "pad": pad } }).to_string();
    let text = frame(&"x".repeat(bytes - frame("").len()));
    assert_eq!(text.len(), bytes);
    text
}

#[tokio::test]
async fn m18_before_hello_64_kib_is_the_most() {
    let gateway = Gateway::start();
    let mut raw = Raw::open(&gateway).await;
    raw.frame(0x81, padded(65 * 1024).as_bytes()).await;
    assert_eq!(raw.end().await, closed(1009, "message too big"));
    // Exactly the limit is read and judged like any first frame.
    let mut raw = Raw::open(&gateway).await;
    raw.frame(0x81, padded(64 * 1024).as_bytes()).await;
    assert_eq!(raw.response("big").await["error"]["details"]["code"], "CONNECT_FIRST");
}

#[tokio::test]
async fn m18_after_hello_25_mib_is_the_most_on_both_transports() {
    let gateway = Gateway::start();
    let most = padded(25 << 20);
    let mut raw = Raw::connected(&gateway).await;
    raw.frame(0x81, most.as_bytes()).await;
    assert_eq!(raw.response("big").await["ok"], true);
    // The header alone is enough to know.
    let over = masked(0x81, format!("{most} ").as_bytes());
    raw.send(&over[..20]).await;
    assert_eq!(raw.end().await, closed(1009, "message too big"));
    let mut local = Client::local(&gateway).await;
    local.send_text(&most).await;
    assert_eq!(local.response("big").await["ok"], true);
    local.send_text(&format!("{most}  ")).await;
    assert_eq!(local.until_closed().await.code, None);
}

#[tokio::test]
async fn m38_a_message_of_1_mib_runs() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let last = client.script(&format!("# {}\necho whole", "x".repeat(1 << 20))).await;
    assert_eq!((last["payload"]["status"].as_str(), last["payload"]["result"]["stdoutBytes"].as_u64()), (Some("ok"), Some(6)), "{last}");
}

#[tokio::test]
async fn m32_a_hundred_thousand_nested_arrays_are_one_bad_frame() {
    let gateway = Gateway::start();
    let mut raw = Raw::connected(&gateway).await;
    for text in ["[".repeat(100_000), format!("{{\"a\":{}", "[".repeat(100_000))] {
        raw.frame(0x81, text.as_bytes()).await;
        assert_eq!(raw.response("invalid").await["error"]["code"], "INVALID_REQUEST");
    }
    let nested =
        format!(r#"{{"type":"req","id":"deep","method":"health","params":{{"a":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    raw.frame(0x81, nested.as_bytes()).await;
    let res = raw.next_json().await;
    assert!(res.is_ok(), "{res:?}");
    Client::connect(&gateway).await.ok("health", json!({})).await;
}

#[tokio::test]
async fn m39_an_id_in_use_is_refused_and_the_first_request_goes_on() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": until_made("go"), "sessionKey": "a" })).await;
    for method in ["health", "agent"] {
        client.send(&json!({ "type": "req", "id": id, "method": method, "params": { "message": "echo twice" } })).await;
        let res = client.response(&id).await;
        assert_eq!((&res["ok"], &res["error"]["details"]["code"]), (&json!(false), &json!("DUPLICATE_ID")), "{res}");
    }
    client.agent(json!({ "message": "touch go", "sessionKey": "b" })).await;
    let last = client.response(&id).await;
    assert_eq!((&last["payload"]["runId"], &last["payload"]["status"]), (&ack["runId"], &json!("ok")));
    // Answered, the id is free again.
    client.send(&json!({ "type": "req", "id": id, "method": "health" })).await;
    assert_eq!(client.response(&id).await["ok"], true);
}

#[tokio::test]
async fn m40_33_calls_in_flight_are_one_too_many_and_aborts_and_pings_pass() {
    let gateway = Gateway::start();
    let mut raw = Raw::connected(&gateway).await;
    raw.ask("run", "agent", json!({ "message": "sleep 300", "idempotencyKey": "long" })).await;
    assert_eq!(raw.response("run").await["payload"]["status"], "accepted");
    for n in 0..32 {
        raw.ask(&format!("wait{n}"), "agent.wait", json!({ "runId": "long", "timeoutMs": 600_000 })).await;
    }
    raw.ask("over", "agent.wait", json!({ "runId": "long" })).await;
    let refused = raw.response("over").await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["details"]["code"]), (&json!("UNAVAILABLE"), &json!("TOO_MANY_INFLIGHT")));
    assert_eq!(refused["error"]["retryable"], true);
    assert!(refused["error"]["retryAfterMs"].as_u64().unwrap() > 0);
    raw.frame(0x89, b"alive").await;
    while raw.read_frame().await.unwrap() != (0x8A, b"alive".to_vec()) {}
    // Another connection has places of its own.
    Client::connect(&gateway).await.ok("health", json!({})).await;
    raw.ask("abort", "runs.abort", json!({ "runId": "long" })).await;
    let mut answers = HashMap::new();
    while answers.len() < 34 {
        let frame = raw.next_json().await.unwrap();
        if frame["type"] == "res" {
            answers.insert(frame["id"].as_str().unwrap().to_owned(), frame);
        }
    }
    assert_eq!(answers["abort"]["payload"]["aborted"], true);
    assert_eq!(answers["run"]["payload"]["status"], "aborted");
    for n in 0..32 {
        assert_eq!(answers[&format!("wait{n}")]["payload"]["status"], "aborted");
    }
    // The places are free again.
    raw.ask("after", "health", json!({})).await;
    assert_eq!(raw.response("after").await["ok"], true);
}

#[tokio::test]
async fn m40_writes_beyond_the_burst_are_told_when_to_come_again() {
    let limits = json!({ "gateway": { "limits": { "writesPerSecond": 1, "writeBurst": 400 } } });
    let gateway = Gateway::with(&limits);
    let mut raw = Raw::connected(&gateway).await;
    // Refused for their parameters behind the limit: nothing has to run.
    let bad = |n: usize| json!({ "type": "req", "id": format!("w{n}"), "method": "agent", "params": {} });
    let bytes: Vec<u8> = (0..450).flat_map(|n| masked(0x81, bad(n).to_string().as_bytes())).collect();
    raw.send(&bytes).await;
    let mut limited = 0_u32;
    for n in 0..450 {
        let error = raw.response(&format!("w{n}")).await["error"].clone();
        if error["details"]["code"] == "RATE_LIMITED" {
            assert!(n >= 400, "{n}: {error}");
            assert!((1..=1000).contains(&error["retryAfterMs"].as_u64().unwrap()), "{error}");
            limited += 1;
        } else {
            assert_eq!(error["code"], "INVALID_REQUEST", "{error}");
        }
    }
    assert!(limited >= 30, "{limited}");
    // Reads and aborts are not counted.
    raw.ask("read", "health", json!({})).await;
    assert_eq!(raw.response("read").await["ok"], true);
    raw.ask("abort", "chat.abort", json!({ "sessionKey": "main" })).await;
    assert_eq!(raw.response("abort").await["ok"], true);
}

/// A named token with these scopes, for the config and for `connect`.
fn named(name: &str, scopes: &[&str]) -> (Value, Value) {
    let token = format!("skg_test_{name}_0123456789abcdef0123456789abcdef");
    let mut params = connect_params();
    params["auth"] = json!({ "token": token });
    params["scopes"] = json!(scopes);
    (json!({ "name": name, "token": token, "scopes": scopes }), params)
}

#[tokio::test]
async fn m40_more_connections_give_one_credential_no_more_writes_and_no_more_reads() {
    let (ci, ci_params) = named("ci", &["operator.read", "operator.write"]);
    let (web, web_params) = named("web", &["operator.read", "operator.write"]);
    let limits = json!({ "sharedWritesPerSecond": 1, "sharedWriteBurst": 5, "readsPerSecond": 1, "readBurst": 6 });
    let gateway = Gateway::with(&json!({ "gateway": { "limits": limits, "auth": { "tokens": [ci, web] } } }));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::try_connect_as(gateway.port(), ci_params.clone()).await.unwrap());
    }
    for (method, passes) in [("agent", 5), ("health", 6)] {
        let mut limited = Vec::new();
        // So many that enough are refused also if the machine stands still for seconds, in which some come back.
        for n in 0..40 {
            let answer = clients[n % 3].call(method, json!({})).await;
            let error = &answer["error"];
            if error["details"]["code"] == "RATE_LIMITED" {
                assert_eq!((&error["details"]["limitedBy"], &error["retryable"]), (&json!("credential"), &json!(true)), "{error}");
                assert!((1..=1000).contains(&error["retryAfterMs"].as_u64().unwrap()), "{error}");
                limited.push(n);
            }
        }
        assert!(limited.first().is_some_and(|first| *first >= passes) && limited.len() >= 2, "{method}: {limited:?}");
    }
    // Neither somebody else nor who administers the gateway pays for it.
    let mut other = Client::try_connect_as(gateway.port(), web_params).await.unwrap();
    other.ok("health", json!({})).await;
    let mut admin = Client::connect(&gateway).await;
    for _ in 0..20 {
        admin.ok("health", json!({})).await;
    }
    // Work can be ended whatever was used up.
    clients[0].ok("chat.abort", json!({ "sessionKey": "main" })).await;
}

#[tokio::test]
async fn m40_clients_of_one_address_share_its_budget_behind_a_proxy() {
    let (one, one_params) = named("one", &["operator.read"]);
    let (two, two_params) = named("two", &["operator.read"]);
    let patch = json!({ "gateway": {
        "limits": { "readsPerSecond": 1, "readBurst": 50 }, "trustedProxies": ["127.0.0.1"], "auth": { "tokens": [one, two] },
    } });
    let gateway = Gateway::with(&patch);
    let mut first = Client::open(gateway.port(), &[("X-Forwarded-For", "203.0.113.9")]).await;
    first.hello(one_params).await.unwrap();
    let mut second = Client::open(gateway.port(), &[("X-Forwarded-For", "::ffff:203.0.113.9")]).await;
    second.hello(two_params).await.unwrap();
    for _ in 0..49 {
        first.ok("health", json!({})).await;
    }
    // The second has all of its own left. One comes back each second: a machine that stands still for some leaves the address short all the same.
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(second.call("health", json!({})).await["error"]["details"]["limitedBy"].clone());
    }
    assert!(answers.contains(&json!("address")), "{answers:?}");
}

#[tokio::test]
async fn m46_an_address_that_connects_without_getting_in_is_told_when_to_come_again() {
    let patch = json!({ "gateway": { "limits": { "connectsPerMinute": 5 }, "trustedProxies": ["127.0.0.1"] } });
    let gateway = Gateway::with(&patch);
    let upgrade = async |address: &str| {
        let mut raw = Raw::to(&gateway).await;
        let request = raw.upgrade("/ws", &format!("X-Forwarded-For: {address}\r\n"));
        raw.request(&request).await
    };
    for n in 0..5 {
        let answer = upgrade("203.0.113.9").await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{n}: {answer}");
    }
    let refused = upgrade("203.0.113.9").await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    let after = refused.to_lowercase().split("retry-after: ").nth(1).unwrap().lines().next().unwrap().trim().parse::<u64>().unwrap();
    assert!((1..=12).contains(&after), "{refused}");
    assert!(upgrade("203.0.113.10").await.starts_with("HTTP/1.1 101 "));
    // Who gets in is not counted, however often.
    for _ in 0..12 {
        let mut client = Client::open(gateway.port(), &[("X-Forwarded-For", "203.0.113.11")]).await;
        client.hello(connect_params()).await.unwrap();
    }
}

#[tokio::test]
async fn m41_every_length_of_wait_has_an_answer() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    for (wait, method, params) in [
        (json!(-1), "agent.wait", json!({ "runId": "x" })),
        (json!(9_007_199_254_740_992_u64), "agent.wait", json!({ "runId": "x" })),
        (json!(u64::MAX), "agent.wait", json!({ "runId": "x" })),
        (json!("1"), "agent.wait", json!({ "runId": "x" })),
    ] {
        let mut params: Value = params;
        params["timeoutMs"] = wait.clone();
        let error = client.err(method, params).await;
        assert!(error["message"].as_str().unwrap().starts_with("invalid agent.wait params: at /timeoutMs: must be "), "{wait}: {error}");
    }
    assert_eq!(client.ok("agent.wait", json!({ "runId": "x", "timeoutMs": 0 })).await["status"], "timeout");
    let error = client.err("agent", json!({ "message": "true", "timeout": -1 })).await;
    assert_eq!(error["message"], "invalid agent params: at /timeout: must be >= 0");
    // 0 is no limit, and the largest number is not beyond any clock.
    for timeout in [json!(0), json!(9_007_199_254_740_991_u64)] {
        let (id, _) = client.agent(json!({ "message": "true", "timeout": timeout })).await;
        assert_eq!(client.response(&id).await["payload"]["status"], "ok");
        let waited = json!({ "runId": "never", "timeoutMs": 9_007_199_254_740_991_u64 });
        client.request("agent.wait", waited).await;
    }
    client.ok("health", json!({})).await;
}

#[tokio::test]
async fn m21_m22_m23_broken_frames_end_the_connection_with_their_code() {
    let gateway = Gateway::start();
    for (bytes, code) in
        [(masked(0x82, b"{}"), 1003), (masked(0x88, &1005_u16.to_be_bytes()), 1002), (masked(0x89, b"").repeat(1000), 1008)]
    {
        let mut raw = Raw::connected(&gateway).await;
        raw.send(&bytes).await;
        assert_eq!(raw.end().await.map(|(code, _)| code), Some(code));
    }
    // A close is answered with its own code, an empty one with 1000.
    for (payload, code) in [(&b"\x0f\xa0bye"[..], 4000), (b"", 1000)] {
        let mut raw = Raw::connected(&gateway).await;
        raw.frame(0x88, payload).await;
        assert_eq!(raw.end().await, closed(code, ""));
    }
}

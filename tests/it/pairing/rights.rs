//! What devices and those who decide about them may do, and how it ends.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{audit, code, told, with_scopes};
use crate::harness::{Client, Device, Gateway};

const BOTH: [&str; 2] = ["operator.read", "operator.write"];

#[tokio::test]
async fn m58_nobody_approves_above_their_own_scopes_their_own_request_or_twice() {
    let gateway = Gateway::start();
    let mut clerk = with_scopes(&gateway, &["operator.pairing", "operator.read", "operator.write"]).await;
    let mut owner = Client::connect(&gateway).await;
    let approve = |request: &str| json!({ "requestId": request });

    let admin = Device::random();
    let request = admin.ask(&gateway, &json!({ "scopes": ["operator.admin"] })).await;
    // To the clerk it looks like a request that is not there.
    let denied = clerk.err("device.pair.approve", approve(&request)).await;
    assert_eq!(denied, clerk.err("device.pair.approve", approve("no-such-request")).await);
    assert_eq!(code(&denied), "PAIRING_NOT_FOUND");
    owner.ok("device.pair.approve", approve(&request)).await;
    assert_eq!(code(&owner.err("device.pair.approve", approve(&request)).await), "PAIRING_DECIDED");
    assert_eq!(code(&clerk.err("device.pair.approve", approve(&request)).await), "PAIRING_NOT_FOUND");
    assert_eq!(code(&owner.err("device.pair.reject", approve(&request)).await), "PAIRING_DECIDED");

    // The device is an admin now, and wants a second role: somebody else must say so.
    let mut own = admin.connect(&gateway, &json!({ "scopes": ["operator.admin"] })).await.unwrap();
    let role = admin.ask(&gateway, &json!({ "role": "node" })).await;
    assert_eq!(code(&own.err("device.pair.approve", approve(&role)).await), "PAIRING_OWN_REQUEST");
    owner.ok("device.pair.approve", approve(&role)).await;
    let denials = audit(&gateway).into_iter().filter(|record| record["action"] == "pair.approve" && record["decision"] == "deny").count();
    assert!(denials >= 3, "refusals are recorded too: {denials}");
}

#[tokio::test]
async fn m58_who_was_rejected_does_not_ask_again_at_once() {
    let gateway = Gateway::start();
    let mut owner = Client::connect(&gateway).await;
    let device = Device::random();
    let request = device.ask(&gateway, &json!({})).await;
    assert_eq!(owner.ok("device.pair.reject", json!({ "requestId": request })).await["deviceId"], device.id);
    owner.until("its end", |client| !told(client, "device.pair.resolved").is_empty()).await;
    assert_eq!(told(&owner, "device.pair.resolved")[0]["decision"], "rejected");
    for _ in 0..3 {
        assert_eq!(code(&device.connect(&gateway, &json!({})).await.err().unwrap()), "PAIRING_REJECTED");
    }
    assert_eq!(told(&owner, "device.pair.requested").len(), 1);
}

#[tokio::test]
async fn m58_defect_19_rotation_and_revocation_never_reach_above_the_caller() {
    let gateway = Gateway::start();
    let mut clerk = with_scopes(&gateway, &["operator.pairing", "operator.read"]).await;
    let (admin, writer) = (Device::random(), Device::random());
    let (mut live, _) = admin.pair(&gateway, &["operator.admin"]).await;
    let (_writing, _) = writer.pair(&gateway, &BOTH).await;
    for id in [&admin.id, &writer.id] {
        for (method, more) in
            [("device.token.rotate", json!(["operator.read"])), ("device.token.rotate", json!(null)), ("device.token.revoke", json!(null))]
        {
            let mut params = json!({ "deviceId": id, "role": "operator" });
            if more.is_array() {
                params["scopes"] = more;
            }
            let denied = clerk.err(method, params.clone()).await;
            params["deviceId"] = json!("no-such-device");
            assert_eq!(denied, clerk.err(method, params).await, "{method}");
        }
        assert_eq!(code(&clerk.err("device.pair.remove", json!({ "deviceId": id })).await), "DEVICE_NOT_FOUND");
    }
    live.ok("health", json!({})).await;
}

#[tokio::test]
async fn m52_m83_a_device_does_what_was_approved_and_no_more_whatever_it_asks_for() {
    let gateway = Gateway::start();
    let device = Device::random();
    let request = device.ask(&gateway, &json!({ "scopes": ["operator.admin"] })).await;
    let mut owner = Client::local(&gateway).await;
    let narrowed = json!({ "requestId": request, "scopes": ["operator.write"] });
    assert_eq!(owner.ok("device.pair.approve", narrowed).await["device"]["scopes"], json!(["operator.write"]));
    let mut less = device.connect(&gateway, &json!({ "scopes": ["operator.admin"] })).await.unwrap();
    assert_eq!(less.hello["auth"]["scopes"], json!([]), "admin was asked for and not granted");
    assert_eq!(code(&less.err("config.get", json!({})).await), "MISSING_SCOPE");

    let device = Device::random();
    let (mut client, token) = device.pair(&gateway, &BOTH).await;
    assert_eq!(client.hello["auth"]["scopes"], json!(BOTH));
    let all = ["operator.admin", "operator.approvals", "operator.pairing", "operator.read", "operator.write"];
    let mut greedy = device.with_token(&gateway, &token, &all).await.unwrap();
    assert_eq!(greedy.hello["auth"]["scopes"], json!(BOTH));
    for (method, params) in [
        ("device.pair.list", json!({})),
        ("device.pair.approve", json!({ "requestId": "x" })),
        ("device.pair.setup", json!({})),
        ("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" })),
        ("config.patch", json!({ "raw": "{}", "baseHash": "x" })),
    ] {
        assert_eq!(code(&greedy.err(method, params).await), "MISSING_SCOPE", "{method}");
    }
    client.script("true").await;
}

#[tokio::test]
async fn a_device_gets_its_own_new_token_and_nobody_elses() {
    let gateway = Gateway::start();
    let mut owner = Client::local(&gateway).await;
    let scopes = ["operator.read", "operator.pairing"];
    let device = Device::random();
    let (_, token) = device.pair(&gateway, &scopes).await;
    let mut live = device.with_token(&gateway, &token, &scopes).await.unwrap();
    let params = json!({ "deviceId": device.id, "role": "operator" });
    let own = live.ok("device.token.rotate", params.clone()).await;
    let new = own["token"].as_str().unwrap().to_owned();
    let end = live.until_closed().await;
    assert_eq!((end.code, end.reason.as_str()), (Some(1008), "credential revoked"), "the old token is over, behind the answer");
    assert_eq!(code(&device.with_token(&gateway, &token, &scopes).await.err().unwrap()), "AUTH_DEVICE_TOKEN_MISMATCH");
    let mut live = device.with_token(&gateway, &new, &scopes).await.unwrap();

    let narrowed = json!({ "deviceId": device.id, "role": "operator", "scopes": ["operator.read"] });
    let other = owner.ok("device.token.rotate", narrowed).await;
    assert!(other.get("token").is_none() && other["scopes"] == json!(["operator.read"]), "{other}");
    assert_eq!(live.until_closed().await.code, Some(1008));
    assert_eq!(code(&device.with_token(&gateway, &new, &scopes).await.err().unwrap()), "AUTH_DEVICE_TOKEN_MISMATCH");
    let fetched = device.connect(&gateway, &json!({ "scopes": scopes })).await.unwrap();
    assert_eq!(fetched.hello["auth"]["scopes"], json!(["operator.read"]));
    assert!(fetched.hello["auth"]["deviceToken"].is_string());
    // The secret that opens the gateway is not one of a device.
    let mut secret = Client::connect(&gateway).await;
    assert!(secret.ok("device.token.rotate", params).await.get("token").is_none());
}

#[tokio::test]
async fn m59_defect_19_a_revoked_device_is_cut_off_within_a_second_and_its_runs_go_as_the_config_says() {
    for (on_revoke, status) in [("continue", "ok"), ("abort", "aborted")] {
        let gateway = Gateway::with(&json!({ "gateway": { "pairing": { "onRevoke": on_revoke } } }));
        let mut owner = Client::connect(&gateway).await;
        let device = Device::random();
        let (_, token) = device.pair(&gateway, &BOTH).await;
        let mut live = device.with_token(&gateway, &token, &BOTH).await.unwrap();
        let script = "until [ -e go ]; do sleep 0.05; done";
        live.agent(json!({ "message": script, "idempotencyKey": "r", "timeout": 60 })).await;
        live.until("its start", |client| client.runs.contains_key("r")).await;
        let asked = Instant::now();
        owner.ok("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" })).await;
        let end = live.until_closed().await;
        // The second is that of a release build; a debug build beside other tests may wait for the disk alone that long.
        let bound = if cfg!(debug_assertions) { 20 } else { 1 };
        assert!(asked.elapsed() < Duration::from_secs(bound), "{:?}", asked.elapsed());
        assert_eq!((end.code, end.reason.as_str()), (Some(1008), "credential revoked"));
        assert_eq!(code(&device.with_token(&gateway, &token, &BOTH).await.err().unwrap()), "AUTH_DEVICE_TOKEN_MISMATCH");
        if status == "ok" {
            assert_eq!(owner.ok("runs.get", json!({ "runId": "r" })).await["status"], "running");
            std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
        }
        let ended = owner.ok("agent.wait", json!({ "runId": "r", "timeoutMs": 20_000 })).await;
        assert_eq!(owner.ok("runs.get", json!({ "runId": "r" })).await["status"], status, "{ended}");
        let recorded = |record: &serde_json::Value| record["action"] == "credential.revoke" && record["target"] == device.id;
        assert!(audit(&gateway).iter().any(recorded));
    }
}

#[tokio::test]
async fn a_device_that_is_removed_or_loses_one_role_keeps_nothing_of_it() {
    let gateway = Gateway::start();
    let mut owner = Client::local(&gateway).await;
    let device = Device::random();
    let (mut live, token) = device.pair(&gateway, &BOTH).await;
    let role = device.ask(&gateway, &json!({ "role": "node" })).await;
    owner.ok("device.pair.approve", json!({ "requestId": role })).await;
    let mut node = device.connect(&gateway, &json!({ "role": "node" })).await.unwrap();
    owner.ok("device.token.revoke", json!({ "deviceId": device.id, "role": "node" })).await;
    assert_eq!(node.until_closed().await.reason, "credential revoked");
    live.ok("health", json!({})).await;
    owner.ok("device.pair.remove", json!({ "deviceId": device.id })).await;
    assert_eq!(live.until_closed().await.reason, "credential revoked");
    assert_eq!(code(&device.with_token(&gateway, &token, &BOTH).await.err().unwrap()), "AUTH_DEVICE_TOKEN_MISMATCH");
    let refused = device.connect(&gateway, &json!({})).await.err().unwrap();
    assert_eq!(refused["error"]["details"]["reason"], "not-paired");
}

//! The handshake in time and under attack: late, early, pipelined, guessed.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::raw::{closed, connect_frame};
use crate::harness::{Client, Gateway};
use crate::sockets::{Raw, masked, status};

fn with_token(token: &str) -> Value {
    let mut params = connect_params();
    params["auth"]["token"] = json!(token);
    params
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_1000_when_its_time_is_up() {
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "handshakeTimeoutMs": 300 } } }));
    let began = Instant::now();
    let mut silent = Raw::to(&gateway).await;
    // Signs of life are answered, and do not prolong the wait. They come with the upgrade: sent later, they could be too late on a busy machine.
    let signs = [masked(0x8A, b""), masked(0x89, b"early")].concat();
    silent.send(&[silent.upgrade("/ws", "").into_bytes(), signs].concat()).await;
    assert_eq!(status(&silent.request("").await), 101);
    assert_eq!(silent.next_json().await.unwrap()["event"], "connect.challenge");
    assert_eq!(silent.read_frame().await, Some((0x8A, b"early".to_vec())));
    assert_eq!(silent.end().await, closed(1000, ""));
    assert!(began.elapsed().as_millis() >= 300);
    // The local socket has the same patience; its close is the end of the stream.
    assert_eq!(Client::open_local(&gateway).await.until_closed().await.code, None);
}

#[tokio::test]
async fn defect_03_frames_behind_a_connect_are_answered_after_its_hello() {
    let gateway = Gateway::start();
    let mut raw = Raw::open(&gateway).await;
    let mut bytes = masked(0x81, connect_frame().to_string().as_bytes());
    for n in 0..100 {
        let frame = json!({ "type": "req", "id": format!("p{n}"), "method": "health" });
        bytes.extend(masked(0x81, frame.to_string().as_bytes()));
    }
    raw.send(&bytes).await;
    let mut answered = Vec::new();
    while answered.len() < 101 {
        let frame = raw.next_json().await.unwrap();
        if frame["type"] == "res" {
            assert_eq!(frame["ok"], true, "{frame}");
            answered.push(frame["id"].as_str().unwrap().to_owned());
        } else {
            assert!(!answered.is_empty(), "an event before hello: {frame}");
        }
    }
    assert_eq!(answered[0], "connect");
    assert_eq!(answered[1..], (0..100).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn m42_m44_m47_defect_16_the_eleventh_guess_from_an_address_is_not_looked_at() {
    let gateway = Gateway::start();
    for n in 0..10 {
        let mut client = Client::open(gateway.port(), &[]).await;
        let refused = client.hello(with_token(&format!("guess-{n}"))).await.unwrap_err();
        assert_eq!(refused["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH", "{refused}");
        assert_eq!(client.until_closed().await.code, Some(1008));
    }
    // Not even the right one: otherwise a guesser would learn from the answer.
    for token in ["guess-11", TOKEN] {
        let mut client = Client::open(gateway.port(), &[]).await;
        let locked = client.hello(with_token(token)).await.unwrap_err()["error"].clone();
        assert_eq!(locked["details"]["code"], "AUTH_RATE_LIMITED", "{locked}");
        assert_eq!(locked["retryable"], true);
        let wait = locked["retryAfterMs"].as_u64().unwrap();
        assert!((1..=300_000).contains(&wait), "{wait}");
        assert_eq!(client.until_closed().await.code, Some(1008));
    }
    // Another address, a client behind the proxy and the local socket are other people.
    Client::open_from([127, 0, 0, 2], gateway.port(), &[]).await.hello(connect_params()).await.unwrap();
    Client::local(&gateway).await.ok("health", json!({})).await;
    let log = gateway.log();
    assert!(!log.contains("guess-") && !log.contains(TOKEN), "a guess is in the log");
}

#[tokio::test]
async fn m43_m50_behind_a_trusted_proxy_each_client_has_a_budget_of_its_own() {
    let gateway = Gateway::with(&json!({ "gateway": { "trustedProxies": ["127.0.0.1"], "auth": { "rateLimit": { "maxAttempts": 3 } } } }));
    let try_from = async |forwarded: &str, token: &str| {
        let mut client = Client::open(gateway.port(), &[("X-Forwarded-For", forwarded)]).await;
        client.hello(with_token(token)).await.map_err(|res| res["error"]["details"]["code"].as_str().unwrap().to_owned())
    };
    // What the client claims stands on the left and changes nothing, nor does another spelling of its address.
    for forwarded in ["203.0.113.9", "127.0.0.1, 203.0.113.9", "::ffff:203.0.113.9"] {
        assert_eq!(try_from(forwarded, "wrong").await, Err("AUTH_TOKEN_MISMATCH".to_owned()));
    }
    assert_eq!(try_from("8.8.8.8, 203.0.113.9", TOKEN).await, Err("AUTH_RATE_LIMITED".to_owned()));
    assert_eq!(try_from("203.0.113.10", TOKEN).await, Ok(()));
    // From an address that is no proxy the header is not read: this is one more client, with a budget of its own.
    let mut other = Client::open_from([127, 0, 0, 3], gateway.port(), &[("X-Forwarded-For", "203.0.113.9")]).await;
    other.hello(connect_params()).await.unwrap();
}

#[tokio::test]
async fn m46_a_missing_secret_is_refused_and_never_counted() {
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 2 } } } }));
    for _ in 0..20 {
        let mut client = Client::open(gateway.port(), &[]).await;
        let refused = client.hello(with_token("")).await.unwrap_err();
        assert_eq!(refused["error"]["code"], "NOT_PAIRED", "{refused}");
    }
    Client::connect(&gateway).await;
}

#[tokio::test]
async fn the_local_socket_is_for_its_owner_only() {
    let gateway = Gateway::start();
    let mode = std::fs::metadata(gateway.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// `connect` parameters in which the device signs this connection's nonce.
fn with_device(nonce: &str, token: &str) -> Value {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let key = pair.public_key().as_ref();
    let id: String = ring::digest::digest(&ring::digest::SHA256, key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    // Long ago: what counts is the nonce.
    let text = format!("v3|{id}|test|test|operator|operator.admin|1600000000000|{token}|{nonce}|linux|");
    let mut params = with_token(token);
    params["device"] = json!({
        "id": id, "publicKey": URL_SAFE_NO_PAD.encode(key), "signature": URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes())),
        "signedAt": 1_600_000_000_000_u64, "nonce": nonce,
    });
    params
}

/// The nonce of the challenge that the client has read or reads now.
async fn nonce(client: &mut Client) -> String {
    client.until("the challenge", |client| !client.events.is_empty()).await;
    client.events[0]["payload"]["nonce"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn m55_m56_a_device_that_proves_itself_is_shown_and_one_that_does_not_is_refused() {
    let gateway = Gateway::start();
    let mut watcher = Client::connect(&gateway).await;
    for local in [false, true] {
        let mut client = if local { Client::open_local(&gateway).await } else { Client::open(gateway.port(), &[]).await };
        let nonce = nonce(&mut client).await;
        let params = with_device(&nonce, TOKEN);
        client.hello(params.clone()).await.unwrap();
        let shown = watcher.ok("system-presence", json!({})).await;
        let ids: Vec<_> = shown.as_array().unwrap().iter().filter_map(|entry| entry.get("deviceId")).collect();
        assert_eq!(ids, [&params["device"]["id"]]);
        // The same proof again is another connection's.
        let mut thief = Client::open(gateway.port(), &[]).await;
        let refused = thief.hello(params).await.unwrap_err();
        assert_eq!(refused["error"]["message"], "device nonce mismatch");
        assert_eq!(refused["error"]["details"]["code"], "DEVICE_AUTH_NONCE_MISMATCH");
        let end = thief.until_closed().await;
        assert_eq!((end.code, end.reason.as_str()), (Some(1008), "device nonce mismatch"));
    }
    // A proof is no credential: it only lets the device ask.
    let mut client = Client::open(gateway.port(), &[]).await;
    let nonce = nonce(&mut client).await;
    let refused = client.hello(with_device(&nonce, "")).await.unwrap_err();
    assert_eq!(refused["error"]["details"]["code"], "PAIRING_REQUIRED", "{refused}");
}

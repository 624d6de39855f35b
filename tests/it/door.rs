//! The rules before the WebSocket, against the gateway itself: what the HTTP side tells, whom it turns away, and what it lets through.

use serde_json::{Value, json};

use crate::harness::raw::connect_frame;
use crate::harness::{Client, Gateway};
use crate::sockets::{Raw, get, masked, status};

async fn ask(gateway: &Gateway, request: &str) -> String {
    let mut raw = Raw::to(gateway).await;
    raw.send(request.replace("{port}", &raw.port.to_string()).as_bytes()).await;
    raw.rest().await
}

/// The status of an upgrade with these header lines.
async fn upgrade(gateway: &Gateway, target: &str, headers: &str) -> u16 {
    let mut raw = Raw::to(gateway).await;
    status(&raw.request(&raw.upgrade(target, headers)).await)
}

#[tokio::test]
async fn m1_m2_a_foreign_origin_is_403_before_the_upgrade_and_leaves_a_line_in_the_log() {
    let gateway = Gateway::with(&json!({ "gateway": { "publicUrls": ["https://koi.test"] } }));
    for origin in ["https://evil.example", "null", "https://koi.test.evil.example", "http://koi.test", "https://koi.test:8443"] {
        assert_eq!(upgrade(&gateway, "/ws", &format!("Origin: {origin}\r\n")).await, 403, "{origin}");
    }
    for origin in ["https://koi.test".to_owned(), format!("http://127.0.0.1:{}", gateway.port())] {
        assert_eq!(upgrade(&gateway, "/ws", &format!("Origin: {origin}\r\n")).await, 101, "{origin}");
    }
    assert!(gateway.log().contains("origin not allowed"), "{}", gateway.log());
}

#[tokio::test]
async fn m3_no_origin_and_the_right_token_is_let_in_with_the_scopes_it_asks_for() {
    let gateway = Gateway::start();
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = crate::harness::client::connect_params();
    params["scopes"] = json!(["operator.read"]);
    client.hello(params).await.unwrap();
    assert_eq!(client.hello["auth"]["scopes"], json!(["operator.read"]));
}

#[tokio::test]
async fn m4_two_origins_or_two_hosts_are_400() {
    let gateway = Gateway::start();
    let own = format!("Origin: http://127.0.0.1:{}\r\n", gateway.port());
    assert_eq!(upgrade(&gateway, "/ws", &own.repeat(2)).await, 400);
    assert_eq!(upgrade(&gateway, "/ws", &format!("Host: 127.0.0.1:{}\r\n", gateway.port())).await, 400);
}

#[tokio::test]
async fn m5_m6_hosts_that_are_not_ours_are_refused() {
    let gateway = Gateway::with(&json!({ "gateway": { "publicUrls": ["https://koi.test"] } }));
    let port = gateway.port();
    for (host, expected) in [
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        (format!("koi.test.:{port}"), 421),
        ("127.evil.com".to_owned(), 421),
        (format!("user@127.0.0.1:{port}"), 400),
        (format!("[::1%25lo]:{port}"), 400),
        ("koi.test".to_owned(), 200),
        (format!("localhost:{port}"), 200),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n");
        let request = if expected == 200 { request.replace(&format!("Origin: http://{host}\r\n"), "") } else { request };
        assert_eq!(status(&ask(&gateway, &request).await), expected, "{host}");
    }
}

#[tokio::test]
async fn m11_a_connect_in_the_packet_of_the_upgrade_is_answered() {
    let gateway = Gateway::start();
    let mut raw = Raw::to(&gateway).await;
    let mut bytes = raw.upgrade("/ws", "").into_bytes();
    bytes.extend(masked(0x81, connect_frame().to_string().as_bytes()));
    raw.send(&bytes).await;
    assert_eq!(status(&raw.request("").await), 101);
    assert_eq!(raw.response("connect").await["payload"]["type"], "hello-ok");
}

#[tokio::test]
async fn m12_defect_26_probes_say_their_one_word_and_no_version_path_or_count() {
    let gateway = Gateway::start();
    let _busy = Client::connect(&gateway).await;
    for (path, wanted) in [
        ("/healthz", json!({ "ok": true, "status": "live" })),
        ("/health", json!({ "ok": true, "status": "live" })),
        ("/startupz", json!({ "ok": true, "status": "started" })),
        ("/readyz", json!({ "ready": true, "failing": [] })),
    ] {
        let answer = ask(&gateway, &get(path, "")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), wanted, "{path}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(!head.to_ascii_lowercase().contains("server:") && !head.contains(version), "{head}");
    }
}

#[tokio::test]
async fn m13_a_token_in_the_url_is_refused_and_never_logged() {
    let gateway = Gateway::start();
    assert_eq!(upgrade(&gateway, "/ws?token=canary-5521", "").await, 400);
    assert_eq!(upgrade(&gateway, "/?auth=canary-5521", "").await, 400);
    let log = gateway.log();
    assert!(log.contains("credentials do not belong in the url") && !log.contains("canary"), "{log}");
    assert!(!log.contains(crate::harness::gateway::TOKEN), "the token is in the log");
}

#[tokio::test]
async fn m14_compression_is_not_negotiated_and_everything_works() {
    let gateway = Gateway::start();
    let mut raw = Raw::to(&gateway).await;
    let head = raw.request(&raw.upgrade("/api/agent/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 101") && !head.to_ascii_lowercase().contains("extensions"), "{head}");
    raw.call(&connect_frame()).await;
    assert_eq!(raw.response("connect").await["ok"], true);
}

#[tokio::test]
async fn defect_26_health_over_http_is_the_gateways_own_answer_and_no_page() {
    let gateway = Gateway::start();
    for path in ["/health", "/healthz"] {
        let answer = ask(&gateway, &get(path, "Accept: text/html\r\n")).await;
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with(r#"{"ok":true,"status":"live"}"#), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("content-type: application/json"), "{answer}");
    }
}

#[tokio::test]
async fn defect_30_names_of_headers_count_in_any_case() {
    let gateway = Gateway::start();
    for name in ["ORIGIN", "origin", "oRiGiN"] {
        assert_eq!(upgrade(&gateway, "/ws", &format!("{name}: https://evil.example\r\n")).await, 403, "{name}");
    }
    let mut raw = Raw::to(&gateway).await;
    let request = raw.upgrade("/ws", "");
    let loud: String = request
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, value)) if !line.starts_with("GET") => format!("{}:{value}\r\n", name.to_uppercase()),
            _ => format!("{line}\r\n"),
        })
        .collect();
    assert_eq!(status(&raw.request(&loud).await), 101, "{loud}");
}

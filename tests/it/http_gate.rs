//! Raw HTTP against the real listeners: what gets to the probes, what gets upgraded, and what every other request is told.

use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::harness::Gateway;
use crate::shim::until;
use crate::sockets::{Raw, Server, get, settings, start, status};

/// The status of an upgrade request with one text replaced.
async fn upgrade_with(server: &Server, from: &str, to: &str) -> String {
    let mut raw = server.connect().await;
    let request = raw.upgrade("/ws", "");
    assert!(request.contains(from), "{from}");
    raw.request(&request.replace(from, to)).await
}

#[tokio::test]
async fn m12_probes_answer_without_a_credential_and_tell_nothing_else() {
    let server = start(settings()).await;
    for (path, body) in [
        ("/healthz", r#"{"ok":true,"status":"live"}"#),
        ("/health", r#"{"ok":true,"status":"live"}"#),
        ("/startupz", r#"{"ok":true,"status":"started"}"#),
        ("/startup", r#"{"ok":true,"status":"started"}"#),
        ("/readyz", r#"{"ready":true,"failing":[]}"#),
        ("/ready", r#"{"ready":true,"failing":[]}"#),
        ("/api/health", r#"{"ready":true,"failing":[]}"#),
    ] {
        let answer = server.ask(&get(path, "")).await;
        assert_eq!(status(&answer), 200, "{path}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
        let lower = answer.to_ascii_lowercase();
        assert!(lower.contains("x-content-type-options: nosniff") && lower.contains("cache-control: no-store"), "{answer}");
        assert!(!lower.contains("server:") && !lower.contains("access-control"), "{answer}");
        let head = server.ask(&get(path, "").replace("GET", "HEAD")).await;
        assert_eq!((status(&head), head.ends_with("\r\n\r\n")), (200, true), "{head}");
    }
    server.echo.ready.store(false, Ordering::Relaxed);
    for path in ["/readyz", "/ready", "/api/health"] {
        let answer = server.ask(&get(path, "")).await;
        assert_eq!(status(&answer), 503);
        assert!(answer.ends_with(r#"{"ready":false,"failing":["store"]}"#), "{answer}");
    }
    assert_eq!(status(&server.ask(&get("/healthz", "")).await), 200, "living is not being ready");
}

#[tokio::test]
async fn every_other_path_is_404_and_every_other_verb_405() {
    let server = start(settings()).await;
    for path in ["/x", "/healthz/", "/ws/", "/api/agent", "/index.html", "//ws", "/%77s/x"] {
        assert_eq!(status(&server.ask(&get(path, "")).await), 404, "{path}");
    }
    for verb in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        for path in ["/healthz", "/ws", "/"] {
            let answer = server.ask(&get(path, "").replace("GET", verb)).await;
            assert_eq!(status(&answer), 405, "{verb} {path}");
            assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
        }
    }
}

#[tokio::test]
async fn m1_m2_defect_15_foreign_and_null_origins_are_403_before_the_upgrade() {
    let server = start(settings()).await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "file://"] {
        let mut raw = server.connect().await;
        let answer = raw.request(&raw.upgrade("/ws", &format!("Origin: {origin}\r\n"))).await;
        assert_eq!(status(&answer), 403, "{origin}");
        // Forwarding headers change no verdict.
        let mut raw = server.connect().await;
        let headers =
            format!("Origin: {origin}\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: {}\r\n", origin.trim_start_matches("https://"));
        assert_eq!(status(&raw.request(&raw.upgrade("/ws", &headers)).await), 403, "{origin}");
        assert_eq!(status(&server.ask(&get("/healthz", &format!("Origin: {origin}\r\n"))).await), 403, "{origin}");
    }
}

#[tokio::test]
async fn m3_no_origin_and_own_origins_are_upgraded_on_every_socket_path() {
    let server = start(settings()).await;
    let port = server.address().port();
    for path in ["/", "/ws", "/api/agent/ws", "/ws?session=main"] {
        for origin in ["", "Origin: https://vm.example.com\r\n", &format!("Origin: http://localhost:{port}\r\n")] {
            let mut raw = server.connect().await;
            let answer = raw.request(&raw.upgrade(path, origin)).await;
            assert_eq!(status(&answer), 101, "{path} {origin}");
            assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the accept key of the RFC's example: {answer}");
            raw.frame(0x81, b"hi").await;
            raw.expect_text("hi").await;
        }
    }
}

#[tokio::test]
async fn m4_two_origins_or_two_hosts_are_400() {
    let server = start(settings()).await;
    for double in ["Origin: https://vm.example.com\r\nOrigin: https://vm.example.com\r\n", "Host: vm.example.com\r\n"] {
        let mut raw = server.connect().await;
        assert_eq!(status(&raw.request(&raw.upgrade("/ws", double)).await), 400, "{double}");
        assert_eq!(status(&server.ask(&get("/healthz", double)).await), 400, "{double}");
    }
    assert_eq!(status(&server.ask("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await), 400, "no host");
    assert_eq!(status(&server.ask(&get("http://evil.example/healthz", "")).await), 400, "a target with a host of its own");
}

#[tokio::test]
async fn m5_m6_foreign_and_odd_hosts_are_refused_on_every_path() {
    let server = start(settings()).await;
    let port = server.address().port();
    let table = [
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        ("127.evil.com".to_owned(), 421),
        (format!("localhost.:{port}"), 421),
        (format!("user@127.0.0.1:{port}"), 400),
        (format!("[::1%25lo]:{port}"), 400),
    ];
    for (host, expected) in table {
        for path in ["/healthz", "/ws", "/nowhere"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n");
            assert_eq!(status(&server.ask(&request).await), expected, "{host} {path}");
        }
    }
}

#[tokio::test]
async fn m7_upgrades_that_are_not_websocket_13_are_refused() {
    let server = start(settings()).await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(status(&upgrade_with(&server, key, "").await), 400, "no key");
    for bad in ["short", "", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZXM=", "not*base64*not*base64*=="] {
        assert_eq!(status(&upgrade_with(&server, "dGhlIHNhbXBsZSBub25jZQ==", bad).await), 400, "{bad:?}");
    }
    assert_eq!(status(&upgrade_with(&server, key, &key.repeat(2)).await), 400, "two keys");
    for version in ["Sec-WebSocket-Version: 12\r\n", ""] {
        let answer = upgrade_with(&server, "Sec-WebSocket-Version: 13\r\n", version).await;
        assert_eq!(status(&answer), 426);
        assert!(answer.to_ascii_lowercase().contains("sec-websocket-version: 13\r\n"), "{answer}");
    }
    assert_eq!(status(&upgrade_with(&server, "Connection: Upgrade", "Connection: keep-alive").await), 400);
    assert_eq!(status(&upgrade_with(&server, "Upgrade: websocket", "Upgrade: h2c").await), 400);
    assert_eq!(status(&upgrade_with(&server, "HTTP/1.1", "HTTP/1.0").await), 400);
    assert_eq!(status(&upgrade_with(&server, "GET", "POST").await), 405);
    assert_eq!(status(&upgrade_with(&server, "Connection: Upgrade", "Connection: keep-alive, Upgrade").await), 101, "as browsers write it");
    let plain = server.ask(&get("/ws", "")).await;
    assert_eq!(status(&plain), 426);
    assert!(plain.ends_with("this address speaks websocket\n"), "{plain}");
}

#[tokio::test]
async fn m8_large_heads_are_431() {
    let server = start(settings()).await;
    for headers in [format!("X-Big: {}\r\n", "x".repeat(100 * 1024)), "X-Many: x\r\n".repeat(1000)] {
        let answer = server.ask(&get("/healthz", &headers)).await;
        assert_eq!(status(&answer), 431);
    }
}

#[tokio::test(start_paused = true)]
async fn m8_slow_heads_and_silent_sockets_are_closed_at_ten_seconds() {
    let server = start(settings()).await;
    for sent in ["", "G", "GET /healthz HTTP/1.1\r\nHost: 127"] {
        let began = tokio::time::Instant::now();
        let mut raw = server.connect().await;
        raw.send(sent.as_bytes()).await;
        let mut all = Vec::new();
        let _ = raw.stream.read_to_end(&mut all).await;
        assert!((10..=11).contains(&began.elapsed().as_secs()), "{sent:?}: {:?}", began.elapsed());
        assert!(!String::from_utf8_lossy(&all).contains("200 OK"));
    }
    server.counts_become((0, 0)).await;
}

#[tokio::test]
async fn m9_requests_with_a_body_are_400_and_closed() {
    let server = start(settings()).await;
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let mut raw = server.connect().await;
        raw.send(raw.upgrade("/ws", headers).as_bytes()).await;
        raw.send(b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n").await;
        let answer = raw.rest().await;
        assert_eq!(status(&answer), 400, "{headers}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing behind it is answered: {answer}");
    }
}

#[tokio::test]
async fn m9_a_request_pipelined_behind_an_upgrade_is_no_frame_and_closes() {
    let server = start(settings()).await;
    let mut raw = server.connect().await;
    let twice = raw.upgrade("/ws", "").repeat(2);
    assert_eq!(status(&raw.request(&twice).await), 101);
    raw.expect_close(1002).await;
}

#[tokio::test]
async fn m10_other_protocols_on_the_plain_port_are_closed() {
    let server = start(settings()).await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x00\x00\r\n\r\n",
    ] {
        let mut raw = server.connect().await;
        raw.send(bytes).await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || status(&answer) == 400, "{answer}");
    }
    server.counts_become((0, 0)).await;
}

#[tokio::test]
async fn m13_a_credential_in_the_url_is_400_and_is_not_logged() {
    let gateway = Gateway::with(&json!({ "logging": { "level": "trace" } }));
    let mut raw = Raw::to(&gateway).await;
    let answer = raw.request(&raw.upgrade("/ws?token=canary-7391", "")).await;
    assert_eq!(status(&answer), 400);
    assert!(!answer.contains("canary"), "{answer}");
    until("the refusal is logged", || gateway.log().contains("credentials do not belong in the url")).await;
    assert!(!gateway.log().contains("canary"), "{}", gateway.log());
    let server = start(settings()).await;
    for query in [
        "token=s",
        "a=b&access_token=s",
        "AUTH=s",
        "auth-token=s",
        "%74oken=s",
        "password=",
        "api_key=s",
        "token",
        "Authorization=Bearer+s",
    ] {
        let mut raw = server.connect().await;
        let answer = raw.request(&raw.upgrade(&format!("/ws?{query}"), "")).await;
        assert_eq!(status(&answer), 400, "{query}");
        let answer = server.ask(&get(&format!("/healthz?{query}"), "")).await;
        assert_eq!(status(&answer), 400, "{query}");
        assert!(!answer.contains("=s"), "{answer}");
    }
}

#[tokio::test]
async fn m14_compression_is_offered_and_not_negotiated() {
    let server = start(settings()).await;
    let mut raw = server.connect().await;
    let headers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat\r\n";
    let answer = raw.request(&raw.upgrade("/ws", headers)).await;
    assert_eq!(status(&answer), 101);
    let lower = answer.to_ascii_lowercase();
    assert!(!lower.contains("sec-websocket-extensions") && !lower.contains("sec-websocket-protocol"), "{answer}");
    raw.frame(0x81, b"plain").await;
    raw.expect_text("plain").await;
}

//! The main job through the shipped nginx site: WSS in front, the gateway behind.

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use skykoi_gateway::transport::tls;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};
use crate::nginx::Nginx;

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// A gateway with the settings that `deploy/install.sh` makes, and nginx in front of it.
fn proxied() -> Option<(Gateway, Nginx)> {
    let gateway = Gateway::with(&json!({ "gateway": { "publicUrls": ["https://koi.test"], "trustedProxies": ["127.0.0.1", "::1"] } }));
    let nginx = Nginx::start(gateway.port())?;
    Some((gateway, nginx))
}

/// Opens a WebSocket through nginx from this address, with these headers.
async fn open(nginx: &Nginx, source: [u8; 4], headers: &[(&str, &str)]) -> Result<Client, String> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let stream = socket.connect((LOOPBACK, nginx.port).into()).await.map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(tls::client_config(Some(&nginx.certificate()), None, None).unwrap());
    let stream = connector.connect(ServerName::try_from("koi.test").unwrap(), stream).await.map_err(|error| error.to_string())?;
    Client::upgrade(stream, "koi.test", headers).await
}

async fn connect(nginx: &Nginx) -> Client {
    let mut client = open(nginx, LOOPBACK, &[("Origin", "https://koi.test")]).await.unwrap();
    client.hello(connect_params()).await.unwrap();
    client
}

#[tokio::test]
async fn a_run_is_accepted_streamed_and_ended_through_nginx() {
    let Some((_gateway, nginx)) = proxied() else { return };
    let mut client = connect(&nginx).await;
    // The second line is only printed when the first was seen: nothing between waits for more.
    let script = "echo first; until [ -e go ]; do sleep 0.02; done; echo second; exit 3";
    let (id, ack) = client.agent(json!({ "message": script, "idempotencyKey": "p", "sessionKey": "a" })).await;
    assert_eq!(ack["status"], "accepted");
    client.until("the first line", |client| client.runs.get("p").is_some_and(|run| run.text() == "first\n")).await;
    client.agent(json!({ "message": "touch go", "sessionKey": "b" })).await;
    let last = client.response(&id).await;
    assert_eq!((&last["payload"]["status"], &last["payload"]["exitCode"]), (&json!("error"), &json!(3)));
    assert_eq!(client.runs["p"].text(), "first\nsecond\n");
}

#[tokio::test]
async fn a_flood_comes_through_nginx_whole() {
    let Some((_gateway, nginx)) = proxied() else { return };
    let mut client = connect(&nginx).await;
    let (id, ack) = client.agent(json!({ "message": "seq 1 200000" })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(client.runs[ack["runId"].as_str().unwrap()].text() == wanted, "the output is not whole");
}

#[tokio::test]
async fn only_pages_of_the_public_address_may_connect_through_nginx() {
    let Some((_gateway, nginx)) = proxied() else { return };
    for origin in ["https://evil.example", "null", "http://koi.test", "https://koi.test:444"] {
        assert!(open(&nginx, LOOPBACK, &[("Origin", origin)]).await.is_err(), "{origin}");
    }
    // What a page cannot write, but a liar can, changes nothing.
    let lies = [("Origin", "https://evil.example"), ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", "evil.example")];
    assert!(open(&nginx, LOOPBACK, &lies).await.is_err());
    assert!(open(&nginx, LOOPBACK, &[("Origin", "https://koi.test")]).await.is_ok());
    assert!(open(&nginx, LOOPBACK, &[]).await.is_ok());
}

#[tokio::test]
async fn m50_each_client_behind_nginx_has_its_own_budget_of_guesses() {
    let Some((gateway, nginx)) = proxied() else { return };
    let guess = async |source: [u8; 4], token: Option<&str>| -> Result<(), Value> {
        // The claimed address stands left of the one that nginx saw.
        let mut client = open(&nginx, source, &[("X-Forwarded-For", "198.51.100.7")]).await.unwrap();
        let mut params = connect_params();
        if let Some(token) = token {
            params["auth"]["token"] = json!(token);
        }
        client.hello(params).await.map_err(|res| res["error"]["details"]["code"].clone())
    };
    for _ in 0..10 {
        assert_eq!(guess([127, 0, 0, 5], Some("wrong")).await, Err(json!("AUTH_TOKEN_MISMATCH")));
    }
    assert_eq!(guess([127, 0, 0, 5], None).await, Err(json!("AUTH_RATE_LIMITED")));
    assert_eq!(guess([127, 0, 0, 6], None).await, Ok(()));
    Client::connect(&gateway).await;
}

/// A run of 60 numbered lines, disturbed in its middle; the client comes back and has every line once.
async fn disturbed(key: &str, disturb: impl AsyncFn(&Nginx)) {
    let Some((_gateway, nginx)) = proxied() else { return };
    let mut client = connect(&nginx).await;
    let script = "for i in $(seq 1 60); do echo line $i; sleep 0.02; done; exit 7";
    client.agent(json!({ "message": script, "idempotencyKey": key })).await;
    client.until("ten lines", |client| client.runs.get(key).is_some_and(|run| run.text().lines().count() >= 10)).await;
    disturb(&nginx).await;
    // What still comes is taken; a connection that is gone says so. In between nothing is known to be lost or not.
    while let Ok(frame) = client.frame().await {
        if frame["type"] == "event" && client.runs[key].terminal().is_some() {
            break;
        }
    }
    let had = client.runs[key].clone();
    let mut again = connect(&nginx).await;
    let mut text = had.text();
    if had.terminal().is_none() {
        again.subscribe(key, had.last).await;
        let end = again.until_end(key).await;
        assert_eq!(end["data"]["exitCode"], 7);
        // A subscription that is served late goes back for what lacks when the end has been told already.
        again.until("all before the end", |client| end["seq"] == client.runs[key].last).await;
        text.push_str(&again.runs[key].text());
    }
    let wanted: String = (1..=60).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text, wanted);
    let waited = again.ok("agent.wait", json!({ "runId": key })).await;
    assert_eq!((&waited["status"], &waited["outcome"]["exitCode"]), (&json!("error"), &json!(7)));
}

#[tokio::test]
async fn m105_a_reload_of_nginx_loses_nothing() {
    disturbed("reload", async |nginx| {
        nginx.reload();
        // New connections are taken meanwhile.
        connect(nginx).await.ok("health", json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn m105_a_kill_of_nginx_loses_nothing() {
    disturbed("kill", async |nginx| {
        nginx.kill();
        nginx.start_again();
    })
    .await;
}

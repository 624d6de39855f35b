//! Peers that are gone without a word, and crowds that never say one: both end, and clients at work do not notice.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::raw::closed;
use crate::harness::{Client, Gateway};
use crate::sockets::Raw;

/// How many connections without a credential there may be.
const NEWCOMERS: usize = 512;

/// How many descriptors the gateway has open.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

/// A hundred more silent sockets. Lets those go that the gateway has ended, so that a test needs no more descriptors than there are places; gives how many those were.
async fn hundred_more(gateway: &Gateway, silent: &mut Vec<TcpStream>) -> usize {
    for _ in 0..100 {
        silent.push(TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap());
    }
    let (came, began) = (silent.len(), Instant::now());
    silent.retain(is_open);
    while silent.len() > NEWCOMERS {
        assert!(began.elapsed() < Duration::from_secs(60), "{} silent sockets are held", silent.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
        silent.retain(is_open);
    }
    came - silent.len()
}

/// Whether nothing was said on a connection and it has not ended.
fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0; 512]).is_err_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock)
}

/// How long a peer may take to answer a ping: longer than a busy machine keeps a test from going on.
const PONG: Duration = Duration::from_secs(10);

/// Pings often.
fn quick() -> Gateway {
    let pong_ms = u64::try_from(PONG.as_millis()).unwrap();
    Gateway::with(&json!({ "gateway": { "limits": { "pingIntervalMs": 200, "pongTimeoutMs": pong_ms, "tickIntervalMs": 1000 } } }))
}

/// Waits until so many connections are left, the asking one included.
async fn connections_become(client: &mut Client, wanted: u64) {
    let began = Instant::now();
    loop {
        let count = client.ok("status", json!({})).await["connections"].as_u64().unwrap();
        if count == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{count} connections instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn m24_a_peer_that_answers_no_ping_is_ended_and_one_that_does_stays() {
    let gateway = quick();
    let mut asker = Client::local(&gateway).await;
    let began = Instant::now();
    let mut deaf = Raw::connected(&gateway).await;
    let mut lively = Client::connect(&gateway).await;
    connections_become(&mut asker, 3).await;
    let gone = Cell::new(false);
    let ended = async {
        let mut pinged = false;
        // It reads all the time: only its pongs are missing.
        while let Some((first, _)) = deaf.read_frame().await {
            pinged |= first == 0x89;
        }
        assert!(pinged);
        assert!(began.elapsed() >= PONG, "{:?}", began.elapsed());
        gone.set(true);
    };
    // Reading is what answers pings: when the other one is gone, and so long later that it would be gone too, this one is still there.
    let ticks = |client: &Client| client.events.iter().filter(|event| event["event"] == "tick").count();
    let outlives = lively.until("the end of the other", |client| gone.get() && ticks(client) >= 12);
    tokio::join!(ended, outlives);
    connections_become(&mut asker, 2).await;
}

/// Forwards both ways until `cut`; from then on it takes nothing and gives nothing, and closes nothing.
async fn relay(listener: TcpListener, port: u16, cut: Arc<Notify>) {
    let (mut near, _) = listener.accept().await.unwrap();
    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = cut.notified() => std::future::pending().await,
    }
}

#[tokio::test]
async fn m25_a_line_that_goes_dead_is_noticed_and_its_run_goes_on() {
    let gateway = quick();
    let mut asker = Client::local(&gateway).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap();
    let cut = Arc::new(Notify::new());
    let relaying = relay(listener, gateway.port(), Arc::clone(&cut));
    let talk = async {
        let stream = TcpStream::connect(near).await.unwrap();
        let mut client = Client::upgrade(stream, &format!("127.0.0.1:{}", gateway.port()), &[]).await.unwrap();
        client.hello(crate::harness::client::connect_params()).await.unwrap();
        client.agent(json!({ "message": "for i in 1 2 3; do echo $i; sleep 0.3; done", "idempotencyKey": "dead-line" })).await;
        connections_become(&mut asker, 2).await;
        cut.notify_one();
        connections_become(&mut asker, 1).await;
        let waited = asker.ok("agent.wait", json!({ "runId": "dead-line" })).await;
        assert_eq!(waited["status"], "ok");
        drop(client);
    };
    tokio::select! {
        () = relaying => panic!("the relay ends only with the test"),
        () = talk => {}
    }
}

#[tokio::test]
async fn m26_ten_thousand_silent_sockets_keep_nobody_at_work_from_working() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let before = descriptors(&gateway);
    let (mut silent, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        client.ok("health", json!({})).await;
        refused += hundred_more(&gateway, &mut silent).await;
        let held = descriptors(&gateway).saturating_sub(before);
        assert!(held <= NEWCOMERS + 16, "{held} descriptors for strangers");
    }
    assert!(refused >= 10_000 - NEWCOMERS, "{refused} of 10,000 were refused");
    // On a slow machine those that came first have had their time; then others fill their places.
    while silent.len() < NEWCOMERS {
        hundred_more(&gateway, &mut silent).await;
    }
    // Who is in works as before; the owner of the machine can always come in.
    let mut late = Raw::to(&gateway).await;
    let refused = late.rest().await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!(client.script("echo on").await["payload"]["status"], "ok");
    Client::local(&gateway).await.ok("health", json!({})).await;
    drop(silent);
    // The places come back.
    let began = Instant::now();
    while Client::try_connect(gateway.port()).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "the places of silent sockets stay taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn half_a_close_ends_the_connection_too() {
    let gateway = Gateway::start();
    let mut asker = Client::local(&gateway).await;
    let mut raw = Raw::connected(&gateway).await;
    connections_become(&mut asker, 2).await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
    connections_become(&mut asker, 1).await;
    let mut rest = Vec::new();
    let _ = raw.stream.read_to_end(&mut rest).await;
    // And a message that is begun and not finished is given up on.
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "messageTimeoutMs": 300 } } }));
    let mut raw = Raw::connected(&gateway).await;
    raw.frame(0x01, b"{\"type\":").await;
    assert_eq!(raw.end().await, closed(1008, "message timed out"));
}

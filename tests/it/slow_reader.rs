//! M101: clients that stop reading while a run prints 50 MB. They slow nobody, cost the daemon little, are told, and miss nothing when they come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::raw::closed;
use crate::harness::{Client, Gateway};
use crate::live_config::patch;
use crate::sockets::{PATIENCE, Raw, masked};

const BYTES: u64 = 50_000_000;
/// What one client that does not read may cost.
const MAX_PER_CLIENT: u64 = 4 << 20;
const SLOW: u64 = 4;

/// Long enough for a client that reads, on a machine that keeps it from reading now and then.
const PATIENT_MS: u64 = 600_000;

fn gateway() -> Gateway {
    Gateway::with(&json!({ "gateway": { "limits": { "writeTimeoutMs": PATIENT_MS } }, "logging": { "level": "info" } }))
}

/// Sets how long a write to connections that are opened from now on may stall.
async fn write_timeout(client: &mut Client, ms: u64) {
    let done = patch(client, json!({ "gateway": { "limits": { "writeTimeoutMs": ms } } })).await;
    assert_eq!(done["applied"], "hot", "{done}");
}

/// Runs the flood and reads it all; gives the most memory that the daemon was seen with.
async fn flood(gateway: &Gateway, client: &mut Client, key: &str) -> u64 {
    let script = format!("yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {BYTES}");
    let id = client.request("agent", json!({ "message": script, "idempotencyKey": key })).await;
    let mut peak = 0;
    let mut frames = 0_u64;
    loop {
        let frame = client.frame().await.unwrap();
        frames += 1;
        if frames.is_multiple_of(50) {
            peak = peak.max(gateway.own_bytes());
        }
        if frame["id"] == id && frame["payload"]["status"] != "accepted" {
            assert_eq!(frame["payload"]["result"]["stdoutBytes"], BYTES, "{frame}");
            assert_eq!(frame["payload"]["result"]["droppedBytes"], 0, "{frame}");
            break;
        }
    }
    let run = &client.runs[key];
    assert_eq!(run.text().len() as u64, BYTES);
    peak.max(gateway.own_bytes())
}

#[tokio::test]
async fn m101_clients_that_stop_reading_slow_nobody_cost_little_and_come_back_to_everything() {
    let gateway = gateway();
    let mut client = Client::connect(&gateway).await;
    write_timeout(&mut client, 500).await;
    let alone = flood(&gateway, &mut client, "alone").await;
    client.runs.clear();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(Raw::connected(&gateway).await);
    }
    // The one that comes back reads it all.
    write_timeout(&mut client, PATIENT_MS).await;
    let with_slow = flood(&gateway, &mut client, "crowd").await;
    let growth = with_slow.saturating_sub(alone);
    assert!(growth <= SLOW * MAX_PER_CLIENT, "{} KiB per client", growth / SLOW / 1024);
    // Others come and are answered at once.
    let began = Instant::now();
    Client::local(&gateway).await.ok("health", json!({})).await;
    assert!(began.elapsed().as_secs() < 20);
    let wanted = &client.runs["crowd"].events;
    for (n, raw) in slow.iter_mut().enumerate() {
        let last = reads_again(raw).await;
        assert!(last < *wanted.keys().last().unwrap(), "it read up to {last}");
        if n == 0 {
            comes_back(&gateway, last, wanted).await;
        }
    }
}

/// Reads what was on its way and the close; gives the last event it had.
async fn reads_again(raw: &mut Raw) -> u64 {
    let mut last = 0;
    let end = loop {
        match raw.next_json().await {
            Ok(frame) if frame["event"] == "agent" => {
                // The call of the tool is the second event, and none of this client's business.
                last = if last == 1 { 3 } else { last + 1 };
                assert_eq!(frame["payload"]["seq"], last);
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end, closed(1008, "slow consumer"));
    assert!(last > 0);
    last
}

/// Gets the rest by a subscription on a new connection.
async fn comes_back(gateway: &Gateway, last: u64, wanted: &BTreeMap<u64, Value>) {
    let mut again = Client::connect(gateway).await;
    let reply = again.subscribe("crowd", last).await;
    assert_eq!(&reply["head"], wanted.keys().last().unwrap());
    again.until_end("crowd").await;
    let rest: Vec<&Value> = again.runs["crowd"].events.values().collect();
    assert_eq!(rest, wanted.range(last + 1..).map(|(_, event)| event).collect::<Vec<_>>());
}

/// The close frame at the end of everything that was sent.
fn last_close(mut bytes: &[u8]) -> Option<(u16, String)> {
    loop {
        let (first, length, head) = match *bytes {
            [first, length @ 0..=125, ..] => (first, usize::from(length), 2),
            [first, 126, a, b, ..] => (first, usize::from(u16::from_be_bytes([a, b])), 4),
            [first, 127, a, b, c, d, e, f, g, h, ..] => (first, usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).unwrap(), 10),
            _ => return None,
        };
        let payload = bytes.get(head..head + length)?;
        if first == 0x88 {
            return Some((u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap()));
        }
        bytes = &bytes[head + length..];
    }
}

#[tokio::test]
async fn m101_a_reader_of_a_byte_at_a_time_is_given_up_and_told_so_when_it_reads_on() {
    let gateway = gateway();
    let mut client = Client::connect(&gateway).await;
    write_timeout(&mut client, 500).await;
    let mut raw = Raw::connected(&gateway).await;
    let mut bytes = Vec::new();
    tokio::select! {
        _ = flood(&gateway, &mut client, "dripped") => {}
        () = async {
            loop {
                bytes.push(raw.stream.read_u8().await.unwrap());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } => {}
    }
    let read = tokio::time::timeout(PATIENCE, raw.stream.read_to_end(&mut bytes)).await;
    read.expect("the connection ends").unwrap();
    assert_eq!(last_close(&bytes), closed(1008, "slow consumer"));
}

#[tokio::test]
async fn m101_answers_that_nobody_reads_end_the_connection_cost_little_and_are_told() {
    const REQUESTS: usize = 20_000;
    let gateway = gateway();
    let ask = |n: usize| masked(0x81, json!({"type": "req", "id": format!("a{n}"), "method": "health"}).to_string().as_bytes());
    let all: Vec<u8> = (0..REQUESTS).flat_map(ask).collect();
    let mut reader = Client::connect(&gateway).await;
    write_timeout(&mut reader, 500).await;
    for _ in 0..500 {
        reader.ok("health", json!({})).await;
    }
    let before = gateway.own_bytes();
    let mut raw = Raw::connected(&gateway).await;
    // Else the kernel alone could hold all the answers.
    rustix::net::sockopt::set_socket_recv_buffer_size(&raw.stream, 16 * 1024).unwrap();
    // The gateway may close before it has read them all.
    let _ = tokio::time::timeout(PATIENCE, raw.stream.write_all(&all)).await;
    let mut peak = before;
    let began = Instant::now();
    // Longer than a busy machine takes to fill the kernel's buffers and a write may stall; others are served all the while.
    while began.elapsed() < Duration::from_secs(10) {
        reader.ok("health", json!({})).await;
        peak = peak.max(gateway.own_bytes());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(peak - before <= MAX_PER_CLIENT, "{} KiB", (peak - before) / 1024);
    assert_eq!(raw.end().await, closed(1008, "slow consumer"));
}

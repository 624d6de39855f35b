//! What a front end asks for when it opens: the list of many sessions, and a page of a long history.

use std::time::Instant;

use serde_json::{Map, Value, json};
use skykoi_gateway::tasks::Tasks;
use skykoi_gateway::transcript::Transcripts;
use skykoi_gateway::transcript::entry::{Header, NewEntry};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE};
use crate::report::{Bound, Report, ms, percentile};
use crate::{Effort, Error};

/// Connections that make sessions, and requests on their way on each.
const MAKERS: usize = 8;
const WINDOW: usize = 16;
/// Bytes of one message of the history.
const MESSAGE_BYTES: usize = 2048;
/// Messages appended with one sync.
const BATCH: usize = 1000;

/// Lists of sessions and pages of history.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    // Making so many sessions is no part of what is measured.
    let home = Home::with(&json!({ "writesPerSecond": 1_000_000, "writeBurst": 1_000_000 }))?;
    let daemon = Daemon::start(&home).await?;
    make(effort.sessions, &daemon).await?;
    let mut client = daemon.connect_as_admin().await?;
    let lists = [
        ("sessions.list", json!({ "limit": 100, "includeDerivedTitles": true, "includeLastMessage": true }), Bound::Most(5.0)),
        ("sessions.list of a search", json!({ "search": "bench-77", "limit": 100 }), Bound::Most(5.0)),
    ];
    for (name, params, bound) in lists {
        let took = asked(&mut client, effort.pages, "sessions.list", &params).await?;
        report.figure(format!("{name} of {}, p50", effort.sessions), percentile(&took, 50.0), "ms", Bound::None);
        report.figure(format!("{name} of {}, p99", effort.sessions), percentile(&took, 99.0), "ms", bound);
    }
    history(effort, &home, &daemon, &mut client, report).await?;
    daemon.stop().await
}

/// Makes sessions on several connections at once, so that they share syncs.
async fn make(count: usize, daemon: &Daemon) -> Result<(), Error> {
    let tasks = Tasks::new();
    let (done, mut results) = mpsc::channel(MAKERS);
    for lane in 0..MAKERS {
        let (client, done) = (daemon.connect_as_admin().await?, done.clone());
        tasks.spawn("sessions.maker", async move {
            let _ = done.send(make_some(client, (lane..count).step_by(MAKERS)).await).await;
        });
    }
    for _ in 0..MAKERS {
        tokio::time::timeout(PATIENCE * 6, results.recv()).await?.ok_or("a maker is gone")??;
    }
    Ok(())
}

async fn make_some(mut client: Client, numbers: impl Iterator<Item = usize>) -> Result<(), Error> {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(WINDOW) {
        let mut ids = Vec::new();
        for number in some {
            let params = json!({ "key": format!("bench-{number}"), "label": format!("Session number {number}") });
            ids.push(client.request("sessions.patch", &params).await?);
        }
        for id in ids {
            let answer = client.any_answer().await?;
            if answer["ok"] != true {
                return Err(format!("session {id}: {answer}").into());
            }
        }
    }
    Ok(())
}

/// How long each of so many equal requests takes, in ms.
async fn asked(client: &mut Client, times: usize, method: &str, params: &Value) -> Result<Vec<f64>, Error> {
    let mut took = Vec::new();
    // The first ones fill caches.
    for round in 0..times + 3 {
        let began = Instant::now();
        let id = client.request(method, params).await?;
        let start = format!("{{\"type\":\"res\",\"id\":\"{id}\",\"ok\":true");
        tokio::time::timeout(PATIENCE, client.starting_with(start.as_bytes())).await??;
        if round >= 3 {
            took.push(ms(began.elapsed()));
        }
    }
    Ok(took)
}

async fn history(effort: Effort, home: &Home, daemon: &Daemon, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let made = client.call("sessions.patch", &json!({ "key": "history", "verboseLevel": "on" })).await?;
    let session = made["payload"]["entry"]["sessionId"].as_str().ok_or("no session")?.to_owned();
    let (state_dir, cwd) = (home.path().to_owned(), home.workspace().display().to_string());
    let bytes = effort.history_mib << 20;
    tokio::task::spawn_blocking(move || write_history(&state_dir, &session, &cwd, bytes)).await??;
    let before = daemon.own_memory()?;
    let mut most = before;
    let params = json!({ "sessionKey": "history", "limit": 200 });
    let mut took = Vec::new();
    for _ in 0..effort.pages.div_ceil(10) {
        took.extend(asked(client, 10, "chat.history", &params).await?);
        most = most.max(daemon.own_memory()?);
    }
    let name = format!("chat.history of {} MiB", effort.history_mib);
    report.figure(format!("{name}, p50"), percentile(&took, 50.0), "ms", Bound::Most(20.0));
    report.figure(format!("{name}, p99"), percentile(&took, 99.0), "ms", Bound::None);
    report.figure(format!("{name}, growth of the daemon"), (most - before) / 1e6, "MB", Bound::Most(8.0));
    Ok(())
}

/// A long conversation, written by the gateway's own writer.
fn write_history(state_dir: &std::path::Path, session: &str, cwd: &str, bytes: usize) -> Result<(), Error> {
    let transcripts = Transcripts::new(state_dir);
    let path = transcripts.path("main", session)?;
    let header = Header { id: session.to_owned(), cwd: cwd.to_owned() };
    let text = "What is said here is of no importance, but of a certain length. ".repeat(MESSAGE_BYTES / 64);
    let mut number = 0_u64;
    for _ in 0..bytes.div_ceil(MESSAGE_BYTES * BATCH) {
        let entries = (0..BATCH).map(|_| {
            number += 1;
            let role = if number % 2 == 1 { "user" } else { "assistant" };
            let at = 1_790_000_000_000 + number * 1000;
            let mut message = Map::new();
            message.insert("role".to_owned(), json!(role));
            message.insert("content".to_owned(), json!([{ "type": "text", "text": format!("{number}: {text}") }]));
            message.insert("timestamp".to_owned(), json!(at));
            NewEntry::message(Value::Object(message), at)
        });
        transcripts.append_all(&path, &header, entries.collect())?;
    }
    Ok(())
}

//! Many connections that watch many runs at once: what an event costs the daemon, and how late it is.

use std::time::Instant;

use serde_json::json;
use skykoi_gateway::clock::now_ms;
use skykoi_gateway::tasks::Tasks;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE};
use crate::report::{Bound, Report, percentile};
use crate::{Effort, Error};

/// What begins every event of a run.
const EVENT: &[u8] = b"{\"type\":\"event\",\"event\":\"agent\"";
/// What stands before the text in one.
const TEXT: &[u8] = b"\"text\":\"";

/// What one connection saw.
struct Seen {
    /// Messages of any kind.
    events: u64,
    /// How late each line was, in ms.
    lateness: Vec<f64>,
}

/// Processor time per delivered event, and lateness.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let daemon = Daemon::start(&home).await?;
    let tasks = Tasks::new();
    let (done, mut seen) = mpsc::channel(effort.watchers);
    for _ in 0..effort.watchers {
        let (client, done) = (daemon.connect().await?, done.clone());
        tasks.spawn("watcher", async move {
            let _ = done.send(watch(client, effort.streams).await).await;
        });
    }
    let mut starter = daemon.connect().await?;
    let (began, before) = (Instant::now(), daemon.cpu_ms()?);
    for number in 0..effort.streams {
        // The shell says the time itself and waits without another process.
        let script = format!(
            "mkfifo wait{number}; exec 9<>wait{number}; for i in {{1..{}}}; do echo $EPOCHREALTIME; read -t 0.1 -u 9; done",
            effort.stream_ticks
        );
        starter.request("agent", &json!({ "message": script, "sessionKey": format!("agent:main:watched{number}") })).await?;
    }
    let (mut events, mut lateness) = (0, Vec::new());
    for _ in 0..effort.watchers {
        let one = tokio::time::timeout(PATIENCE * 3, seen.recv()).await?.ok_or("a watcher is gone")??;
        events += one.events;
        lateness.extend(one.lateness);
    }
    let cpu = daemon.cpu_ms()? - before;
    let name = format!("{} runs to {} watchers", effort.streams, effort.watchers);
    report.figure(format!("{name}, events"), events as f64 / began.elapsed().as_secs_f64(), "per s", Bound::None);
    report.figure(format!("{name}, processor time of the daemon"), cpu * 1000.0 / events as f64, "µs/event", Bound::None);
    report.figure(format!("{name}, lateness p50"), percentile(&lateness, 50.0), "ms", Bound::None);
    report.figure(format!("{name}, lateness p99"), percentile(&lateness, 99.0), "ms", Bound::None);
    daemon.stop().await
}

/// Reads until all runs have ended.
async fn watch(mut client: Client, runs: usize) -> Result<Seen, Error> {
    let mut seen = Seen { events: 0, lateness: Vec::new() };
    let mut ended = 0;
    while ended < runs {
        let text = client.text().await?;
        seen.events += 1;
        if !text.starts_with(EVENT) {
            continue;
        }
        if let Some(said) = said_at(text) {
            seen.lateness.push((now_ms() as f64 - said).max(0.0));
        }
        ended += usize::from(
            text.windows(14).any(|part| part == b"\"phase\":\"end\",") && text.windows(11).any(|part| part == b"\"lifecycle\""),
        );
    }
    Ok(seen)
}

/// The time at which the newest line of an event was printed, in ms since the epoch.
fn said_at(event: &[u8]) -> Option<f64> {
    let at = event.windows(TEXT.len()).position(|part| part == TEXT)? + TEXT.len();
    let text = std::str::from_utf8(event.get(at..)?.split(|byte| *byte == b'"').next()?).ok()?;
    let line = text.trim_end_matches("\\n").rsplit("\\n").next()?;
    Some(line.parse::<f64>().ok()? * 1000.0)
}

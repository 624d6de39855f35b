//! A thousand clients: how fast they come in, what each of them costs while it is silent, and how soon all of them hear of one event.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use skykoi_gateway::tasks::Tasks;
use tokio::sync::mpsc;

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE};
use crate::report::{Bound, Report, ms, percentile};
use crate::{Effort, Error};

/// Handshakes at a time; the gateway takes 32 from one address.
const AT_ONCE: usize = 16;
/// Between two events, so that none is joined with the one before it.
const PAUSE: Duration = Duration::from_millis(25);
const FIFO: &str = "broadcast";

/// Connects per second, memory per connection, and the latency of a broadcast.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let daemon = std::sync::Arc::new(Daemon::start(&home).await?);
    let mut runner = daemon.connect().await?;
    let settle = Duration::from_millis(effort.settle_ms);
    tokio::time::sleep(settle / 5).await;
    let before = daemon.own_memory()?;

    let tasks = Tasks::new();
    let (arrived, mut arrivals) = mpsc::channel(effort.clients * 2);
    let (came, mut comers) = mpsc::channel(effort.clients);
    let began = Instant::now();
    for lane in 0..AT_ONCE {
        let (daemon, each, arrived, came) = (daemon.clone(), tasks.clone(), arrived.clone(), came.clone());
        let share = (lane..effort.clients).step_by(AT_ONCE).count();
        tasks.spawn("crowd.lane", async move {
            for _ in 0..share {
                let client = daemon.connect().await;
                let good = client.is_ok();
                if let Ok(client) = client {
                    each.spawn("crowd.client", listen(client, arrived.clone()));
                }
                let _ = came.send(good).await;
            }
        });
    }
    for _ in 0..effort.clients {
        if comers.recv().await != Some(true) {
            return Err("a client could not connect".into());
        }
    }
    report.figure("connects", effort.clients as f64 / began.elapsed().as_secs_f64(), "per s", Bound::None);
    // The news of the last newcomers is told to all.
    tokio::time::sleep(settle).await;
    let each = (daemon.own_memory()? - before) / effort.clients as f64 / 1024.0;
    report.figure(format!("idle connection, {} of them", effort.clients), each, "KiB each", Bound::Most(16.0));

    runner.request("agent", &json!({ "message": format!("mkfifo {FIFO}; exec cat {FIFO}") })).await?;
    let fifo = home.workspace().join(FIFO);
    let latencies = tokio::time::timeout(PATIENCE * 3, broadcast(effort, fifo, &mut arrivals)).await??;
    report.figure("broadcast to all, p50", percentile(&latencies, 50.0), "ms", Bound::None);
    report.figure("broadcast to all, p99", percentile(&latencies, 99.0), "ms", Bound::None);
    Ok(())
}

/// Tells when each piece of output came.
async fn listen(mut client: Client, arrived: mpsc::Sender<(u64, Instant)>) {
    while let Ok(text) = client.text().await {
        if !text.starts_with(b"{\"type\":\"event\",\"event\":\"agent\"") {
            continue;
        }
        let now = Instant::now();
        let round = serde_json::from_slice::<serde_json::Value>(text)
            .ok()
            .and_then(|event| event["payload"]["text"].as_str().and_then(|text| text.trim().parse().ok()));
        if let Some(round) = round
            && arrived.send((round, now)).await.is_err()
        {
            return;
        }
    }
}

/// Lets a command print a line, again and again, and returns how long each took to each client.
async fn broadcast(effort: Effort, fifo: std::path::PathBuf, arrivals: &mut mpsc::Receiver<(u64, Instant)>) -> Result<Vec<f64>, Error> {
    while !fifo.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Opening waits for the command to read.
    let mut fifo = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(fifo)).await??;
    let mut latencies = Vec::new();
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for round in 0..effort.broadcasts as u64 {
        tokio::time::sleep(PAUSE).await;
        let sent = Instant::now();
        fifo.write_all(format!("{round}\n").as_bytes())?;
        while counts.get(&round).copied().unwrap_or(0) < effort.clients {
            let (of, at) = arrivals.recv().await.ok_or("the crowd is gone")?;
            *counts.entry(of).or_default() += 1;
            if of == round {
                latencies.push(ms(at.duration_since(sent)));
            }
        }
    }
    Ok(latencies)
}

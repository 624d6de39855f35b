//! Readers that have stopped reading while a run prints a lot: what each costs, what others feel, and what they are told when they read again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE};
use crate::report::{Bound, Report, ms, percentile};
use crate::{Effort, Error};

/// Readers that stop.
const DEAF: usize = 4;
/// Pause between two calls of the one whose answers are timed.
const PAUSE: Duration = Duration::from_millis(2);

/// What a flood was like for those who read.
struct Flood {
    /// Times of calls meanwhile, in ms.
    calls: Vec<f64>,
    /// Most memory of the daemon, in bytes.
    most: f64,
}

/// Memory, times of others, and the close.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::with(&json!({ "writeTimeoutMs": 1000 }))?;
    let daemon = Daemon::start(&home).await?;
    flood(effort, &daemon, "warm").await?;
    let alone = flood(effort, &daemon, "alone").await?;
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        deaf.push(daemon.connect().await?);
    }
    let beside = flood(effort, &daemon, "beside").await?;
    let (before, after) = (percentile(&alone.calls, 99.0), percentile(&beside.calls, 99.0));
    report.figure("a call during a flood, p99", before, "ms", Bound::None);
    report.figure(format!("the same beside {DEAF} readers that stopped, p99"), after, "ms", Bound::None);
    report.figure("the one to the other", after / before, "ratio", Bound::Most(2.0));
    report.figure("memory for a reader that stopped", (beside.most - alone.most).max(0.0) / DEAF as f64 / 1e6, "MB", Bound::Most(4.2));
    let mut told = 0;
    for client in deaf {
        told += usize::from(tokio::time::timeout(PATIENCE, reads_again(client)).await?);
    }
    report.figure("readers that stopped and were told 1008", told as f64, "of 4", Bound::Least(DEAF as f64));
    daemon.stop().await
}

/// Whether what comes to an end with the right close frame.
async fn reads_again(mut client: Client) -> bool {
    loop {
        if let Err(error) = client.text().await {
            return error.to_string().contains("slow consumer");
        }
    }
}

/// A run that prints as fast as it can, read by one client, while another makes one call after the other.
async fn flood(effort: Effort, daemon: &Daemon, key: &str) -> Result<Flood, Error> {
    let (mut reader, mut caller) = (daemon.connect().await?, daemon.connect().await?);
    // The caller is not told of the run, so that only the daemon decides how long an answer takes.
    let script = format!("head -c {} /dev/zero | base64", (effort.deaf_mib << 20) / 77 * 57);
    let params = json!({ "message": script, "sessionKey": format!("agent:main:{key}"), "idempotencyKey": key });
    let id = reader.request("agent", &params).await?;
    reader.answer(&id).await?;
    caller.call("runs.unsubscribe", &json!({ "runId": key })).await?;
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let calls = async {
        let (mut times, mut most) = (Vec::new(), 0_f64);
        while stopped.try_recv().is_err() {
            let began = Instant::now();
            caller.call("health", &json!({})).await?;
            times.push(ms(began.elapsed()));
            most = most.max(daemon.rss()?);
            tokio::time::sleep(PAUSE).await;
        }
        Ok::<_, Error>(Flood { calls: times, most })
    };
    let reading = async {
        let last = loop {
            let text = reader.text().await?;
            if text.starts_with(b"{\"type\":\"res\"") {
                break serde_json::from_slice::<Value>(text)?;
            }
        };
        let _ = stop.send(()).await;
        if last["payload"]["status"] == "ok" { Ok::<_, Error>(()) } else { Err(format!("the flood did not end well: {last}").into()) }
    };
    let (flood, read) = tokio::time::timeout(PATIENCE * 3, async { tokio::join!(calls, reading) }).await?;
    read?;
    flood
}

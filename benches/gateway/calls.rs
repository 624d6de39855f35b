//! Round trips of `health`, many at a time, beside a bare server that gives the same number of bytes back without looking at anything.

use std::time::{Duration, Instant};

use serde_json::json;
use skykoi_gateway::tasks::Tasks;
use tokio::sync::mpsc;

use crate::bare::Bare;
use crate::client::{Client, frame};
use crate::daemon::{Daemon, Home, PATIENCE};
use crate::report::{Bound, Report, median};
use crate::{Effort, Error};

/// Requests on their way on each connection: as many as the gateway serves one connection at once.
const WINDOW: usize = 32;
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Only answers like this are counted; with any other the round would not end.
const ANSWER: &[u8] = b"{\"type\":\"res\",\"id\":\"b1\",\"ok\":true";

/// Round trips per second, and as a share of the bare server's.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let daemon = Daemon::start(&home).await?;
    let mut client = daemon.connect().await?;
    let answer = client.call("health", &json!({})).await?.to_string();
    drop(client);
    let bare = Bare::start(answer.len()).await?;
    for connections in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            ours.push(daemon.connect().await?);
            theirs.push(Client::open(bare.address).await?);
        }
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        let length = Duration::from_millis(effort.call_round_ms);
        // The first round of each warms up.
        for round in 0..=effort.call_rounds {
            let (rate, back) = calls(ours, length).await?;
            ours = back;
            let (their_rate, back) = calls(theirs, length).await?;
            theirs = back;
            if round > 0 {
                our_rates.push(rate);
                their_rates.push(their_rate);
            }
        }
        let (rate, their_rate) = (median(&our_rates), median(&their_rates));
        report.figure(format!("health round trips, {connections} conn."), rate, "per s", Bound::None);
        report.figure(format!("bare server, {connections} conn."), their_rate, "per s", Bound::None);
        report.figure(format!("health to bare server, {connections} conn."), rate / their_rate, "ratio", Bound::Least(0.7));
    }
    drop(bare);
    daemon.stop().await
}

/// Keeps every connection busy for `length`. Returns the answers per second and the connections, with nothing on its way.
async fn calls(clients: Vec<Client>, length: Duration) -> Result<(f64, Vec<Client>), Error> {
    let tasks = Tasks::new();
    let (done, mut results) = mpsc::channel(clients.len());
    let count = clients.len();
    let began = Instant::now();
    for client in clients {
        let done = done.clone();
        tasks.spawn("calls.client", async move {
            let _ = done.send(pump(client, began + length).await).await;
        });
    }
    let (mut answers, mut back) = (0, Vec::new());
    for _ in 0..count {
        let (client, got) = tokio::time::timeout(PATIENCE, results.recv()).await?.ok_or("a client is gone")??;
        answers += got;
        back.push(client);
    }
    Ok((answers as f64 / began.elapsed().as_secs_f64(), back))
}

async fn pump(mut client: Client, until: Instant) -> Result<(Client, usize), Error> {
    let one = frame(r#"{"type":"req","id":"b1","method":"health","params":{}}"#);
    let window = one.repeat(WINDOW);
    let (mut answers, mut on_their_way) = (0, WINDOW);
    client.send(&window).await?;
    while on_their_way > 0 {
        let got = client.count(ANSWER).await?;
        answers += got;
        on_their_way -= got;
        if got > 0 && Instant::now() < until {
            client.send(window.get(..one.len() * got).unwrap_or_default()).await?;
            on_their_way += got;
        }
    }
    Ok((client, answers))
}

//! A thousand clients that lose their daemon and come back at once, as stock front ends do it.

use std::time::{Duration, Instant};

use serde_json::json;
use skykoi_gateway::tasks::Tasks;
use tokio::sync::{mpsc, watch};

use crate::daemon::{Daemon, Home, PATIENCE, connect_to};
use crate::report::{Bound, Report, ms, percentile};
use crate::{Effort, Error};

/// The waits of the stock front end between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(800);
const FACTOR: f64 = 1.7;
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How long it takes until all are back and told of the run that goes on.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let daemon = Daemon::start(&home).await?;
    let mut starter = daemon.connect().await?;
    let id = starter.request("agent", &json!({ "message": "echo up; exec sleep 600", "idempotencyKey": "storm" })).await?;
    starter.answer(&id).await?;
    let tasks = Tasks::new();
    let (place, _) = watch::channel(daemon.address);
    let (here, mut comers) = mpsc::channel(effort.clients);
    for _ in 0..effort.clients {
        let (mut place, here) = (place.subscribe(), here.clone());
        tasks.spawn("storm.client", async move {
            // Comes, is left alone, comes again.
            for _ in 0..2 {
                let address = *place.borrow_and_update();
                let began = Instant::now();
                let mut wait = FIRST_WAIT;
                let client = loop {
                    if let Ok(client) = come(address).await {
                        break client;
                    }
                    tokio::time::sleep(wait).await;
                    wait = wait.mul_f64(FACTOR).min(LONGEST_WAIT);
                };
                if here.send(ms(began.elapsed())).await.is_err() || place.changed().await.is_err() {
                    return;
                }
                drop(client);
            }
        });
    }
    all(effort.clients, &mut comers).await?;
    drop(starter);
    daemon.kill().await?;
    let daemon = Daemon::start(&home).await?;
    let before = daemon.rss()?;
    place.send(daemon.address)?;
    let took = all(effort.clients, &mut comers).await?;
    report.figure(format!("{} clients come back, p50", effort.clients), percentile(&took, 50.0), "ms", Bound::None);
    report.figure(format!("{} clients come back, all", effort.clients), percentile(&took, 100.0) / 1000.0, "s", Bound::Most(10.0));
    report.figure("growth of the daemon meanwhile", (daemon.rss()? - before) / 1e6, "MB", Bound::None);
    let mut last = daemon.connect().await?;
    last.call("runs.abort", &json!({ "runId": "storm" })).await?;
    last.call("agent.wait", &json!({ "runId": "storm" })).await?;
    daemon.stop().await
}

/// One try: a connection, and the subscription to the run with everything that it has said.
async fn come(address: std::net::SocketAddr) -> Result<crate::client::Client, Error> {
    let mut client = connect_to(address).await?;
    let id = client.request("runs.subscribe", &json!({ "runId": "storm", "after": 0 })).await?;
    let answer = tokio::time::timeout(PATIENCE, client.answer(&id)).await??;
    if answer["ok"] == true { Ok(client) } else { Err(format!("not subscribed: {answer}").into()) }
}

async fn all(count: usize, comers: &mut mpsc::Receiver<f64>) -> Result<Vec<f64>, Error> {
    let mut took = Vec::with_capacity(count);
    while took.len() < count {
        took.push(tokio::time::timeout(PATIENCE * 3, comers.recv()).await?.ok_or("the clients are gone")?);
    }
    Ok(took)
}

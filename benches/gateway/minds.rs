//! Agents: how much later than its model an agent says its first word, and what many of them at once take.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE, memory};
use crate::fake_model::{Answer, FakeModel};
use crate::report::{Bound, Report, median, ms, percentile};
use crate::{Effort, Error};

/// Time between two words of a model; real ones say twenty to a hundred in a second.
const PAUSE_MS: u64 = 25;

/// First words, then many at once.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let fake = FakeModel::start([]).await?;
    let home = Home::minded(&fake.url())?;
    let daemon = Daemon::start(&home).await?;
    let mut client = daemon.connect().await?;
    first_words(effort, &fake, &mut client, report).await?;
    many(effort, &fake, &daemon, &mut client, report).await?;
    daemon.stop().await
}

/// How long after the first byte of a model's answer the client has the first text of it.
async fn first_words(effort: Effort, fake: &FakeModel, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let mut late = Vec::new();
    // The first rounds make directories and fill caches.
    for round in 0..effort.turns + 3 {
        fake.push([Answer::text("One two three four five six.")]);
        let params = json!({ "message": "go", "sessionKey": format!("agent:main:first{round}") });
        let id = client.request("agent", &params).await?;
        let mut first = None;
        let last = tokio::time::timeout(PATIENCE, async {
            client.answer(&id).await?;
            loop {
                let message = client.message().await?;
                if first.is_none() && is_text(&message) {
                    first = Some(Instant::now());
                }
                if message["id"] == id.as_str() {
                    return Ok::<Value, Error>(message);
                }
            }
        })
        .await??;
        let (first, spoke) = (first.ok_or_else(|| format!("no text: {last}"))?, fake.spoke());
        let spoke = spoke.last().ok_or("nobody asked the model")?;
        if round >= 3 {
            late.push(ms(first - *spoke));
        }
    }
    // The frames before the first word are written at once with it.
    report.figure("first byte of a model to first delta, p50", median(&late), "ms", Bound::Most(5.0));
    report.figure("first byte of a model to first delta, p99", percentile(&late, 99.0), "ms", Bound::None);
    Ok(())
}

/// Many agents whose models talk at the same time.
async fn many(effort: Effort, fake: &FakeModel, daemon: &Daemon, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let text = "word ".repeat(effort.words);
    for _ in 0..effort.agents {
        fake.push([Answer { pause_ms: PAUSE_MS, piece: Some(5), ..Answer::text(&text) }]);
    }
    let mut ids = Vec::new();
    for number in 0..effort.agents {
        let params = json!({ "message": "go", "sessionKey": format!("agent:main:many{number}") });
        ids.push(client.request("agent", &params).await?);
    }
    let (mut accepted, mut talking) = (0, std::collections::HashSet::new());
    while accepted < effort.agents || talking.len() < effort.agents {
        let message = tokio::time::timeout(PATIENCE, client.message()).await??;
        accepted += usize::from(message["payload"]["status"] == "accepted");
        if is_text(&message) {
            talking.insert(message["payload"]["runId"].to_string());
        }
    }
    // From here all of them talk, and nothing starts.
    let (began, before) = (Instant::now(), daemon.cpu_ms()?);
    let (mut sizes, mut events, mut ended) = (Vec::new(), 0_u64, 0);
    let (mut cpu, mut took) = (0.0, 0.0);
    while ended < effort.agents {
        let message = tokio::time::timeout(PATIENCE, client.message()).await??;
        events += 1;
        let is_last = message["type"] == "res";
        if is_last && message["payload"]["status"] != "ok" {
            return Err(format!("an agent failed: {message}").into());
        }
        ended += usize::from(is_last);
        if ended == 0 {
            (cpu, took) = (daemon.cpu_ms()? - before, ms(began.elapsed()));
        }
        // Once, in the middle.
        if sizes.is_empty() && message["payload"]["data"]["text"].as_str().is_some_and(|shown| shown.len() > text.len() / 2) {
            // One that has just ended is no longer to be looked at.
            let size = |pid| Some((memory(pid, "Rss:").ok()? / 1e6, memory(pid, "Pss:").ok()? / 1e6));
            sizes.extend(daemon.shims()?.into_iter().filter_map(size));
        }
    }
    let name = format!("{} agents at once", effort.agents);
    let of = |pick: fn(&(f64, f64)) -> f64| sizes.iter().map(pick).fold(0.0, f64::max);
    report.figure(format!("{name}, processor time of the daemon"), cpu / took * 100.0, "% of a core", Bound::Most(10.0));
    report.figure(format!("{name}, events"), events as f64 / took * 1000.0, "per s", Bound::None);
    // On a machine that is too slow all may have ended before they were looked at.
    if !sizes.is_empty() {
        report.figure(format!("{name}, largest host process (RSS)"), of(|size| size.0), "MB", Bound::Most(12.0));
        report.figure(format!("{name}, largest host process (PSS)"), of(|size| size.1), "MB", Bound::None);
    }
    Ok(())
}

fn is_text(message: &Value) -> bool {
    message["event"] == "agent" && message["payload"]["stream"] == "assistant"
}

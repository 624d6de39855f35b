//! Runs: how soon a request is safe, how soon its output is there, what its host process takes while it waits, and what a flood does.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::client::Client;
use crate::daemon::{Daemon, Home, PATIENCE, command, memory};
use crate::report::{Bound, Report, median, ms, percentile};
use crate::{Effort, Error};

/// What runs, here and there.
const COMMAND: &str = "echo hi";
/// Bytes of the bare append.
const BLOCK: [u8; 4096] = [b'x'; 4096];
/// How often memory is looked at during a flood.
const LOOK: Duration = Duration::from_millis(20);

/// Acks, first output, shims and floods.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let daemon = Daemon::start(&home).await?;
    let mut client = daemon.connect().await?;
    starts(effort, &home, &mut client, report).await?;
    idle_shims(effort, &daemon, &mut client, report).await?;
    flood(effort, &daemon, &mut client, report).await?;
    daemon.stop().await
}

async fn starts(effort: Effort, home: &Home, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let mut append = File::options().create(true).append(true).open(home.path().join("append"))?;
    let (mut acks, mut syncs, mut firsts, mut bares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first rounds make directories and fill caches.
    for round in 0..effort.runs + 3 {
        let (ack, first) = tokio::time::timeout(PATIENCE, one_run(client)).await??;
        let sync = bare_sync(&mut append)?;
        let bare = bare_bash(&home.workspace()).await?;
        if round >= 3 {
            acks.push(ack);
            syncs.push(sync);
            firsts.push(first);
            bares.push(bare);
        }
    }
    for percent in [50.0, 99.0] {
        let (ack, sync) = (percentile(&acks, percent), percentile(&syncs, percent));
        report.figure(format!("agent to durable ack, p{percent}"), ack, "ms", Bound::None);
        report.figure(format!("bare fdatasync of 4 KiB, p{percent}"), sync, "ms", Bound::None);
        report.figure(format!("ack to bare fdatasync, p{percent}"), ack / sync, "ratio", Bound::Most(2.0));
    }
    let (first, bare) = (median(&firsts), median(&bares));
    report.figure("ack to first output, p50", first, "ms", Bound::Most(8.0));
    report.figure("ack to first output, p99", percentile(&firsts, 99.0), "ms", Bound::None);
    report.figure("bare bash to first output, p50", bare, "ms", Bound::None);
    report.figure("first output to bare bash", first / bare, "ratio", Bound::Most(2.5));
    Ok(())
}

/// One run to its end: ms from the request to the ack, and from there to the first output.
async fn one_run(client: &mut Client) -> Result<(f64, f64), Error> {
    let asked = Instant::now();
    let id = client.request("agent", &json!({ "message": COMMAND })).await?;
    let ack = client.answer(&id).await?;
    let acked = Instant::now();
    if ack["payload"]["status"] != "accepted" {
        return Err(format!("not accepted: {ack}").into());
    }
    let mut first = None;
    loop {
        let message = client.message().await?;
        if first.is_none() && is_output(&message) {
            first = Some(acked.elapsed());
        }
        if message["id"] == id.as_str() {
            let first = first.ok_or("a run without output")?;
            return Ok((ms(acked - asked), ms(first)));
        }
    }
}

fn is_output(message: &Value) -> bool {
    message["event"] == "agent" && message["payload"]["stream"] == "exec"
}

fn bare_sync(file: &mut File) -> Result<f64, Error> {
    let began = Instant::now();
    file.write_all(&BLOCK)?;
    file.sync_data()?;
    Ok(ms(began.elapsed()))
}

/// The same command without anything around it, from its start to its first byte.
async fn bare_bash(dir: &Path) -> Result<f64, Error> {
    let began = Instant::now();
    let mut child = command("/bin/bash")
        .args(["-c", COMMAND])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdout = child.stdout.take().ok_or("bash has no stdout")?;
    let mut byte = [0];
    stdout.read_exact(&mut byte).await?;
    let first = ms(began.elapsed());
    child.wait().await?;
    Ok(first)
}

/// The memory of shims whose commands sleep. Pages that they share with the daemon count in parts.
async fn idle_shims(effort: Effort, daemon: &Daemon, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let (count, mut runs) = (effort.shims, Vec::new());
    for number in 0..count {
        let params = json!({ "message": "echo up; exec sleep 60", "sessionKey": format!("agent:main:idle{number}") });
        let id = client.request("agent", &params).await?;
        runs.push((client.answer(&id).await?["payload"]["runId"].clone(), id));
        while !is_output(&client.message().await?) {}
    }
    tokio::time::sleep(Duration::from_millis(effort.settle_ms)).await;
    let sizes = daemon.shims()?.into_iter().map(|pid| memory(pid, "Pss:")).collect::<Result<Vec<_>, _>>()?;
    if sizes.len() != count {
        return Err(format!("{} shims instead of {count}", sizes.len()).into());
    }
    report.figure(format!("idle shim, {count} of them (PSS)"), median(&sizes) / 1e6, "MB", Bound::Most(1.0));
    for (run, id) in runs {
        client.request("runs.abort", &json!({ "runId": run })).await?;
        tokio::time::timeout(PATIENCE, client.answer(&id)).await??;
    }
    Ok(())
}

/// A command that writes as fast as it is read, while its output is also delivered.
async fn flood(effort: Effort, daemon: &Daemon, client: &mut Client, report: &mut Report) -> Result<(), Error> {
    let before = daemon.rss()?;
    let bytes = effort.flood_mib << 20;
    // A line of base64 is 57 bytes in and 77 out.
    let script = format!("head -c {} /dev/zero | base64", bytes / 77 * 57);
    let id = client.request("agent", &json!({ "message": script, "sessionKey": "agent:main:flood" })).await?;
    client.answer(&id).await?;
    let mut most = before;
    let mut looks = tokio::time::interval(LOOK);
    let last = tokio::time::timeout(PATIENCE * 3, async {
        loop {
            tokio::select! {
                _ = looks.tick() => most = most.max(daemon.rss()?),
                text = client.text() => {
                    let text = text?;
                    if text.starts_with(b"{\"type\":\"res\"") {
                        return Ok::<Value, Error>(serde_json::from_slice(text)?);
                    }
                }
            }
        }
    })
    .await??;
    let result = &last["payload"];
    if last["id"] != id.as_str() || result["status"] != "ok" {
        return Err(format!("the flood did not end well: {last}").into());
    }
    let written = result["result"]["stdoutBytes"].as_f64().or_else(|| result["stdoutBytes"].as_f64()).ok_or("no count of output")?;
    let seconds = result["durationMs"].as_f64().ok_or("no duration")? / 1000.0;
    report.figure("output of one run", written / 1e6 / seconds, "MB/s", Bound::Least(50.0));
    report.figure("growth of the daemon meanwhile", (most.max(daemon.rss()?) - before) / 1e6, "MB", Bound::Most(8.0));
    Ok(())
}

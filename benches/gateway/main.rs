//! Measures the gateway as its users meet it: the real program, started from its binary, on a disk, over loopback.
//!
//! ```text
//! make bench                          every figure, one JSON line each, then a table
//! cargo bench -- --quick --no-bounds  a short run that only shows that everything works
//! cargo bench -- calls work           only these parts of: startup, crowd, calls, work, sessions, watchers, storm, deaf, minds
//! ```
//! Figures with a bound fail the run when they miss it. Where the machine decides more than the program (round trips, syncs, starting a process), the bound is a ratio to the least that has to be done anyway, measured in turns with it: on a slow or busy machine both suffer alike.

#![expect(clippy::indexing_slicing, reason = "what is indexed is JSON, which never panics")]

mod bare;
mod calls;
mod client;
mod crowd;
mod daemon;
mod deaf;
#[path = "../../tests/fake_model/mod.rs"]
#[expect(dead_code, unused_imports, clippy::expect_used, reason = "tests use more of it, and a fake that cannot go on must fail loudly")]
mod fake_model;
mod minds;
mod report;
mod sessions;
mod startup;
mod storm;
mod watchers;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use report::Report;

/// What can go wrong while measuring; any of it ends the bench.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// How much of everything is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long a daemon is left alone before its memory is looked at, in ms.
    pub settle_ms: u64,
    /// Starts of the daemon.
    pub starts: usize,
    /// Clients in the crowd.
    pub clients: usize,
    /// Events sent to the crowd.
    pub broadcasts: usize,
    /// Rounds of calls, each once per server.
    pub call_rounds: usize,
    /// Length of such a round in ms.
    pub call_round_ms: u64,
    /// Runs that are acknowledged.
    pub runs: usize,
    /// MiB that one run writes.
    pub flood_mib: u64,
    /// Idle host processes that are looked at.
    pub shims: usize,
    /// Sessions that are listed, and how often.
    pub sessions: usize,
    /// Lists and pages of history that are asked for.
    pub pages: usize,
    /// MiB of a transcript.
    pub history_mib: usize,
    /// Connections that watch runs.
    pub watchers: usize,
    /// Runs that they watch.
    pub streams: usize,
    /// How long these runs print, in tenths of a second.
    pub stream_ticks: usize,
    /// MiB that a run writes beside readers that have stopped.
    pub deaf_mib: u64,
    /// Turns of an agent, one after the other.
    pub turns: usize,
    /// Agents at work at once.
    pub agents: usize,
    /// Words that each of them is told by its model.
    pub words: usize,
}

const FULL: Effort = Effort {
    settle_ms: 5000,
    starts: 15,
    clients: 1000,
    broadcasts: 100,
    call_rounds: 9,
    call_round_ms: 400,
    runs: 300,
    flood_mib: 512,
    shims: 20,
    sessions: 10_000,
    pages: 300,
    history_mib: 50,
    watchers: 200,
    streams: 20,
    stream_ticks: 50,
    deaf_mib: 128,
    turns: 100,
    agents: 20,
    words: 400,
};
const QUICK: Effort = Effort {
    settle_ms: 300,
    starts: 2,
    clients: 50,
    broadcasts: 5,
    call_rounds: 1,
    call_round_ms: 100,
    runs: 5,
    flood_mib: 16,
    shims: 2,
    sessions: 100,
    pages: 5,
    history_mib: 2,
    watchers: 10,
    streams: 3,
    stream_ticks: 5,
    deaf_mib: 24,
    turns: 3,
    agents: 2,
    words: 20,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let done = match args.as_slice() {
        [mode, size] if mode == bare::MODE => bare::serve(size).map(|()| true),
        _ => {
            // Cargo says `--bench` when it was asked for measures, and nothing when `cargo test --bench gateway` runs this.
            let quick = has("--quick") || !has("--bench");
            let parts: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
            let lenient = has("--no-bounds") || !has("--bench");
            measure(if quick { QUICK } else { FULL }, &parts).map(|good| good || lenient)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Takes every figure of the parts, or of all when none is named. Returns whether all bounds are kept.
fn measure(effort: Effort, parts: &[&str]) -> Result<bool, Error> {
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let began = Instant::now();
    // Who asks one thing and waits for it has one thread: a hand-over between two would be counted as the gateway's.
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pressing = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    if wanted("startup") {
        waiting.block_on(startup::measure(effort, &mut report))?;
    }
    if wanted("crowd") {
        pressing.block_on(crowd::measure(effort, &mut report))?;
    }
    if wanted("calls") {
        pressing.block_on(calls::measure(effort, &mut report))?;
    }
    if wanted("work") {
        waiting.block_on(work::measure(effort, &mut report))?;
    }
    if wanted("sessions") {
        waiting.block_on(sessions::measure(effort, &mut report))?;
    }
    if wanted("watchers") {
        pressing.block_on(watchers::measure(effort, &mut report))?;
    }
    if wanted("storm") {
        pressing.block_on(storm::measure(effort, &mut report))?;
    }
    if wanted("deaf") {
        pressing.block_on(deaf::measure(effort, &mut report))?;
    }
    if wanted("minds") {
        pressing.block_on(minds::measure(effort, &mut report))?;
    }
    report.table(began.elapsed());
    Ok(report.all_kept())
}

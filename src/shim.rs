//! The host process of one run: takes the spec, runs the runner, writes the journal, serves the control socket, sweeps, and writes the last line.
//!
//! Started by the daemon as `skykoi-gateway shim` with the spec's socket as stdin and the locked journal as stdout. It outlives the daemon: the end of the control stream means nothing to it.
//! Whatever happens in here ends in exactly one terminal line; if the process itself is killed, the daemon finds the lock free and writes that line.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::exec::proc::this_process;
use crate::exec::{sweep, usage};
use crate::journal::writer::Writer;
use crate::journal::{self, line::Template};
use crate::memory;
use crate::protocol::event::agent::{Lifecycle, Stream};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::runs::control::{self, RunSpec};
use crate::runs::orphans::become_subreaper;
use crate::runs::runner::{Job, RESOURCE, RunError, Work};
use crate::runs::runners;
use crate::runs::sink::RunSink;
use crate::runs::stop::{Cause, Stop};
use crate::tasks::Tasks;
use limits::Held;

mod limits;
pub mod relay;
mod serve;

/// How long the last sweep may take.
const SWEEP_LIMIT: Duration = Duration::from_millis(1500);
/// How long followers are given to hear of the last line; the end of the stream tells them too.
const FAREWELL: Duration = Duration::from_millis(50);
/// How much longer than the grace a runner that was told to stop may take before it is left behind.
const RUNNER_LIMIT: Duration = Duration::from_secs(5);

/// Exit code: the run has its terminal line.
const DONE: u8 = 0;
/// Exit code: nothing ran, because there was no task.
const NO_TASK: u8 = 69;
/// Exit code: the end of the run could not be written.
const FAILED: u8 = 70;

/// Runs the shim and returns its exit code: 0 if the run has its terminal line, 69 if it never started, 70 if its end could not be written.
#[must_use]
pub fn main() -> u8 {
    crate::daemon::harden::quiet_panics();
    // It holds keys that its run must not see.
    crate::daemon::harden::close_process();
    let (task, journal) = match take_over() {
        Ok(taken) => taken,
        Err(failed) => return leave(NO_TASK, "take over stdin and stdout", &failed),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(failed) => return leave(NO_TASK, "start", &failed),
    };
    let code = runtime.block_on(host(task, journal));
    // Nothing here is worth waiting for any more.
    runtime.shutdown_background();
    code
}

/// Moves the task's stream and the journal away from stdin and stdout, where every command would inherit them, and becomes a session leader and a subreaper.
fn take_over() -> io::Result<(std::os::unix::net::UnixStream, File)> {
    close_inherited();
    let task = io::stdin().as_fd().try_clone_to_owned()?;
    let journal = io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    // The session's number is the mark by which later daemons find our descendants. It fails only for the leader of a group, which the launcher sees to.
    rustix::process::setsid()?;
    become_subreaper()?;
    let task = std::os::unix::net::UnixStream::from(task);
    task.set_nonblocking(true)?;
    Ok((task, File::from(journal)))
}

/// Closes what the daemon itself was started with and never closed, such as descriptors of whoever called it: every command would have them too.
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    for fd in open {
        // That of the list itself is closed already.
        let _ = nix::unistd::close(fd);
    }
}

async fn host(task: std::os::unix::net::UnixStream, journal: File) -> u8 {
    let received = async {
        let mut daemon = UnixStream::from_std(task)?;
        let spec = control::receive::<RunSpec>(&mut daemon).await?;
        let spec = spec.ok_or(io::ErrorKind::UnexpectedEof)?;
        let template = Template::new(spec.run_id.clone(), spec.session_key.clone());
        Ok::<_, io::Error>((daemon, spec, Writer::new(journal, template)?))
    };
    let (daemon, mut spec, writer) = match received.await {
        Ok(received) => received,
        Err(failed) => return leave(NO_TASK, "receive the task", &failed),
    };
    let out = RunSink::new(writer);
    let tasks = Tasks::new();
    let stop = Stop::new();
    let socket = serve::start(&tasks, &out, &stop, daemon, spec.socket_path.as_deref());
    tasks.spawn("memory", memory::keep(tasks.stop_token()));

    let started_at = now_ms();
    let started = Instant::now();
    if let Err(failed) = out.emit(Stream::Lifecycle, &Lifecycle::Start { started_at, host: this_process(journal::VERSION) }) {
        return leave(NO_TASK, "write the first line of the journal", &failed);
    }
    let held = Held::prepare(&mut spec);
    let outcome = work(&tasks, Job { spec, started_at, started }, &out, &stop).await;
    let outcome = settle(outcome, held, started_at, started).await;
    let written = out.finish(&Lifecycle::terminal(outcome));
    drop(out);
    tasks.stop(FAREWELL).await;
    drop(socket);
    match written {
        Ok(()) => DONE,
        Err(failed) => leave(FAILED, "write the last line of the journal", &failed),
    }
}

/// Runs the runner until it is done, telling it to stop when its time is over or the process is asked to end.
async fn work(tasks: &Tasks, job: Job, out: &RunSink, stop: &Stop) -> Outcome {
    let Some(entry) = runners::find(&job.spec.runner) else {
        return failed(format!("this version has no runner named {}", job.spec.runner));
    };
    let limit = job.spec.timeout_ms.map(|ms| job.started + Duration::from_millis(ms));
    let patience = Duration::from_millis(job.spec.grace_ms).saturating_add(RUNNER_LIMIT);
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    tasks.spawn("stop", watch(stop.clone(), limit, ended));
    let work = (entry.build)().run(job, out.clone(), stop.clone());
    let outcome = supervise(tasks, work, stop, patience).await;
    drop(guard);
    outcome
}

/// Turns whatever a runner does into an outcome: also a panic, and also no end at all within `patience` of the stop.
async fn supervise(tasks: &Tasks, work: Work, stop: &Stop, patience: Duration) -> Outcome {
    let (done, result) = oneshot::channel();
    // A task of its own, so that a panic ends the runner and not the shim.
    let runner = tasks.spawn("runner", async move {
        let _ = done.send(work.await);
    });
    let too_late = async {
        stop.token().cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        result = result => match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(RunError::Denied(denied))) => {
                let outcome = Outcome::without_work(RunStatus::Error, Some(RunErrorCode::ExecDenied), denied.reason.clone(), now_ms());
                Outcome { denied: Some(denied), ..outcome }
            }
            Ok(Err(RunError::Resource(summary))) => Outcome { fault: Some(RESOURCE.to_owned()), ..failed(summary) },
            Ok(Err(RunError::Unavailable(summary))) => failed(summary),
            Err(_) => failed("the runner failed inside; this is a fault of the gateway".to_owned()),
        },
        () = too_late => {
            runner.abort();
            let summary = "ended by force: it did not stop when told to";
            match stop.cause() {
                Some(Cause::Abort(reason)) => {
                    Outcome { stop_reason: Some(reason.clone()), ..Outcome::without_work(RunStatus::Aborted, None, summary, now_ms()) }
                }
                _ => Outcome::without_work(RunStatus::Timeout, Some(RunErrorCode::AgentTimeout), summary, now_ms()),
            }
        }
    }
}

/// Turns the time limit and signals to this process into a stop. A signal must not end the shim silently.
async fn watch(stop: Stop, limit: Option<Instant>, ended: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
    let time_is_over = async {
        match limit {
            Some(limit) => tokio::time::sleep_until(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => stop.call(Cause::Timeout),
        _ = term.recv() => stop.call(Cause::Abort("signal".to_owned())),
        _ = int.recv() => stop.call(Cause::Abort("signal".to_owned())),
        () = ended.cancelled() => return,
    }
    // Further signals are taken and change nothing.
    ended.cancelled().await;
}

/// Sweeps what is left of the run and fills in what only the shim knows. After this nothing of the run is alive.
async fn settle(mut outcome: Outcome, held: Held, started_at: u64, started: Instant) -> Outcome {
    held.kill();
    let swept = sweep::sweep_all(SWEEP_LIMIT).await;
    if swept.left > 0 {
        note(&format!("{} processes could not be killed", swept.left));
    }
    let usage = usage::of_children();
    outcome.swept = outcome.swept.saturating_add(swept.killed);
    outcome.cpu_ms = usage.cpu_ms;
    outcome.peak_rss_bytes = usage.peak_rss_bytes;
    held.settle(&mut outcome);
    outcome.started_at.get_or_insert(started_at);
    outcome.ended_at = now_ms();
    if outcome.duration_ms == 0 {
        outcome.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
    outcome
}

fn failed(summary: String) -> Outcome {
    Outcome::without_work(RunStatus::Error, Some(RunErrorCode::Unavailable), summary, now_ms())
}

fn leave(code: u8, what: &str, failed: &io::Error) -> u8 {
    note(&format!("failed to {what}: {failed}"));
    code
}

/// A line in the shims' log. It may be gone, which must not hurt.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "shim {}: {text}", std::process::id());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(9);

    #[tokio::test]
    async fn a_runner_that_panics_becomes_an_error_of_the_run() {
        let outcome = supervise(&Tasks::new(), Box::pin(async { panic!("a fault") }), &Stop::new(), PATIENCE).await;
        assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_does_not_stop_is_left_behind() {
        for (cause, status) in [(Cause::Timeout, RunStatus::Timeout), (Cause::Abort("rpc".into()), RunStatus::Aborted)] {
            let stop = Stop::new();
            stop.call(cause);
            let begun = Instant::now();
            let outcome = supervise(&Tasks::new(), Box::pin(std::future::pending()), &stop, PATIENCE).await;
            assert_eq!((outcome.status, begun.elapsed() >= PATIENCE), (status, true));
        }
    }
}

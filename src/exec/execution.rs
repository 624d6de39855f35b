//! One command from its start to the moment when nothing of it is left to wait for.
//!
//! ```text
//! runs ── stop ──> TERM to the group ── grace ──> KILL ──┐
//!   └──── ends by itself ────────────────────────────────┴─> pipes at their end?
//!                                      yes: done · after 100 ms not: sweep, read the rest, done
//! ```
//! Output is drained all the time, also while the command is being ended, so that a full pipe never keeps it alive.

use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::company::{Company, Member};
use super::drain::Drain;
use super::output::{Output, Sink};
use super::process::{Leader, Running};
use super::sweep::{Swept, group_lives};

/// How long pipes that others hold open are waited for after the command's end.
const HELD_WAIT: Duration = Duration::from_millis(100);
/// How often the rest of the group is looked at while it may still end by itself.
const GROUP_LOOK: Duration = Duration::from_millis(10);
/// How long a sweep may take, and how long the rest of the output may take after it.
const SWEEP_LIMIT: Duration = Duration::from_millis(1000);
const REST_LIMIT: Duration = Duration::from_millis(500);
/// How long a killed process may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How a command is ended and read.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// Most bytes per second taken from a pipe.
    pub max_bytes_per_second: Option<u64>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Somebody else still held its output open.
    pub pipes_held_open: bool,
    /// Processes that had to be killed because they held it.
    pub swept: Swept,
}

/// Follows a command to its end. `stop` starts the ladder TERM, grace, KILL.
///
/// # Errors
/// If the process cannot be waited for, or outlives its KILL (stuck in the kernel).
pub async fn follow<S: Sink>(running: Running, output: &mut Output<S>, rules: Rules, stop: &CancellationToken) -> io::Result<Ended> {
    let member = Company::alone().join(running.leader.pids());
    follow_in(running, output, rules, stop, &member).await
}

/// Follows one of several commands: what belongs to the others is left alone. `member` is what it became by joining them, right behind its start.
///
/// # Errors
/// As [`follow`].
pub async fn follow_in<S: Sink>(
    running: Running,
    output: &mut Output<S>,
    rules: Rules,
    stop: &CancellationToken,
    member: &Member,
) -> io::Result<Ended> {
    let Running { mut leader, stdout, stderr, .. } = running;
    let hurry = CancellationToken::new();
    let mut drain = Drain::new(stdout, stderr, rules.max_bytes_per_second, hurry.clone());
    let mut reading = Alongside { future: std::pin::pin!(drain.run(output)), done: false };

    let (status, kill_at) = reading.during(end_of(&mut leader, rules.grace, stop, member)).await?;
    hurry.cancel();
    if let Some(kill_at) = kill_at {
        // The shell is often the first to obey; what it started gets the rest of the grace too.
        reading.during(end_of_group(leader.pid(), kill_at)).await;
        reading.during(member.end_group(SWEEP_LIMIT)).await;
    }
    if !reading.done {
        // In two parts: when this process itself is held up, the time is over before what lies in the pipes is read.
        for _ in 0..2 {
            reading.done = reading.done || tokio::time::timeout(HELD_WAIT / 2, reading.future.as_mut()).await.is_ok();
        }
    }
    let mut ended = Ended { status, pipes_held_open: !reading.done, swept: Swept::default() };
    if !reading.done {
        ended.swept = reading.during(member.sweep(SWEEP_LIMIT)).await;
    }
    if !reading.done {
        // With the holders gone, only what the pipes still hold is left to read.
        let _ = tokio::time::timeout(REST_LIMIT, reading.future.as_mut()).await;
    }
    Ok(ended)
}

/// Waits for the leader and ends it when told to. The time is that of the KILL that the rest of the group has to fear, if there was a stop.
async fn end_of(
    leader: &mut Leader,
    grace: Duration,
    stop: &CancellationToken,
    member: &Member,
) -> io::Result<(ExitStatus, Option<Instant>)> {
    let mut child_ended = signal(SignalKind::child())?;
    // Orphans that ended before we listened are announced no more.
    member.reap();
    loop {
        tokio::select! {
            status = leader.wait() => return Ok((status?, None)),
            () = stop.cancelled() => break,
            // Orphans that end become ours to bury; a long run would else collect them.
            _ = child_ended.recv() => member.reap(),
        }
    }
    leader.signal_group(Signal::TERM);
    // A command that is stopped would only see the TERM once it goes on.
    leader.signal_group(Signal::CONT);
    let kill_at = Instant::now() + grace;
    if let Ok(status) = timeout_at(kill_at, leader.wait()).await {
        return Ok((status?, Some(kill_at)));
    }
    leader.signal_group(Signal::KILL);
    match tokio::time::timeout(KILL_LIMIT, leader.wait()).await {
        Ok(status) => Ok((status?, None)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the command is stuck in the kernel and cannot be killed")),
    }
}

async fn end_of_group(group: u32, kill_at: Instant) {
    while group_lives(group) && Instant::now() < kill_at {
        sleep_until(kill_at.min(Instant::now() + GROUP_LOOK)).await;
    }
}

/// The reading that goes on beside whatever else is waited for.
struct Alongside<'a, F> {
    future: Pin<&'a mut F>,
    done: bool,
}

impl<F: Future<Output = ()>> Alongside<'_, F> {
    async fn during<T>(&mut self, main: impl Future<Output = T>) -> T {
        let mut main = std::pin::pin!(main);
        loop {
            tokio::select! {
                result = &mut main => return result,
                () = self.future.as_mut(), if !self.done => self.done = true,
            }
        }
    }
}

//! A program on the other side of its pipes: lines in, lines out, and what it said on stderr.
//!
//! Writing and reading go on side by side: a program that writes before it reads on never keeps us, and we never keep it.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::lines::{Line, Lines};
use crate::exec::process::Leader;
use crate::exec::program::Talking;

/// How much of the end of stderr is kept, in bytes.
pub const STDERR_KEPT: usize = 8 * 1024;
/// Bytes per read.
const READ_BYTES: usize = 64 * 1024;
/// How long a program may take to end by itself once nobody speaks with it any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long pipes that others hold open are waited for after the program's end.
const HELD_WAIT: Duration = Duration::from_millis(200);
/// How long a killed process may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The program.
#[derive(Debug)]
pub struct Peer {
    leader: Leader,
    stdin: Option<Sender>,
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    outgoing: VecDeque<u8>,
    lines: Lines,
    ready: VecDeque<Line>,
    tail: VecDeque<u8>,
    /// It has ended; from then on its pipes are not waited for.
    deaf_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl Peer {
    /// The program that was started.
    #[must_use]
    pub fn new(talking: Talking) -> Self {
        let Talking { leader, stdin, stdout, stderr } = talking;
        Self {
            leader,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            outgoing: VecDeque::new(),
            lines: Lines::default(),
            ready: VecDeque::new(),
            tail: VecDeque::new(),
            deaf_at: None,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// The process ids that nobody else may reap.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        self.leader.pids()
    }

    /// Says a line, as soon as the program reads.
    pub fn say(&mut self, line: &Value) {
        if self.stdin.is_some() {
            self.outgoing.extend(line.to_string().into_bytes());
            self.outgoing.push_back(b'\n');
        }
    }

    /// The next line; `None` once the program has closed its stdout, or has ended and only its commands hold it open. Safe to cancel.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let Some(stdout) = &self.stdout else { return self.lines.end() };
            let what = tokio::select! {
                biased;
                _ = stdout.readable() => What::Stdout,
                () = readable(self.stderr.as_ref()) => What::Stderr,
                () = at(self.deaf_at) => What::Held,
                () = writable(self.stdin.as_ref()), if !self.outgoing.is_empty() => What::Stdin,
                _ = self.leader.wait(), if self.deaf_at.is_none() => What::Gone,
            };
            match what {
                What::Gone => self.deaf_at = Some(Instant::now() + HELD_WAIT),
                What::Held => self.stdout = None,
                What::Stdout => {
                    self.read_stdout();
                    if self.stdout.is_none() {
                        // Nobody reads on behind the end, and its last words may lie there already.
                        self.read_stderr();
                    }
                }
                What::Stderr => self.read_stderr(),
                What::Stdin => self.write(),
            }
        }
    }

    /// What it said last on stderr, at most [`STDERR_KEPT`] bytes.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.tail.iter().copied().collect::<Vec<u8>>()).trim().to_owned()
    }

    /// Ends the program and waits for it: by closing its stdin when it is at rest, else and after a while by TERM, and after `grace` by KILL. What it says meanwhile is dropped.
    ///
    /// # Errors
    /// If it cannot be waited for, or outlives its KILL.
    pub async fn end(&mut self, at_rest: bool, grace: Duration) -> io::Result<ExitStatus> {
        // Closing is no cancel: some would finish their turn first.
        self.outgoing.clear();
        self.stdin = None;
        if at_rest && let Ok(status) = timeout(FAREWELL, self.wait()).await {
            return status;
        }
        self.leader.signal_group(Signal::TERM);
        self.leader.signal_group(Signal::CONT);
        if let Ok(status) = timeout_at(Instant::now() + grace, self.wait()).await {
            return status;
        }
        self.leader.signal_group(Signal::KILL);
        let stuck = || io::Error::new(io::ErrorKind::TimedOut, "the program is stuck in the kernel and cannot be killed");
        timeout(KILL_LIMIT, self.leader.wait()).await.unwrap_or_else(|_| Err(stuck()))
    }

    /// Waits for the end, reading on, so that a full pipe never keeps the program.
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            let what = tokio::select! {
                status = self.leader.wait() => {
                    // What is left in the pipe says why it ended.
                    self.read_stderr();
                    return status;
                }
                _ = readable(self.stdout.as_ref()) => What::Stdout,
                _ = readable(self.stderr.as_ref()) => What::Stderr,
            };
            match what {
                What::Stdout => {
                    self.read_stdout();
                    self.ready.clear();
                }
                _ => self.read_stderr(),
            }
        }
    }

    fn read_stdout(&mut self) {
        let Some(stdout) = &self.stdout else { return };
        match stdout.try_read(&mut self.buffer) {
            Ok(0) => self.stdout = None,
            Ok(size) => self.lines.push(self.buffer.get(..size).unwrap_or_default(), &mut self.ready),
            Err(wait) if wait.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stdout = None,
        }
    }

    fn read_stderr(&mut self) {
        let Some(stderr) = &self.stderr else { return };
        match stderr.try_read(&mut self.buffer) {
            Ok(0) => self.stderr = None,
            Ok(size) => {
                self.tail.extend(self.buffer.get(..size).unwrap_or_default());
                let over = self.tail.len().saturating_sub(STDERR_KEPT);
                drop(self.tail.drain(..over));
            }
            Err(wait) if wait.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.stderr = None,
        }
    }

    fn write(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        match stdin.try_write(self.outgoing.as_slices().0) {
            Ok(size) => drop(self.outgoing.drain(..size)),
            Err(wait) if wait.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                // It reads no more; that it says no more either is seen by itself.
                self.stdin = None;
                self.outgoing = VecDeque::new();
            }
        }
    }
}

enum What {
    Gone,
    Held,
    Stdout,
    Stderr,
    Stdin,
}

async fn readable(pipe: Option<&Receiver>) {
    match pipe {
        // An error shows itself again in the read.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// Waits for the moment; for ever, if there is none.
pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn writable(pipe: Option<&Sender>) {
    match pipe {
        Some(pipe) => drop(pipe.writable().await),
        None => std::future::pending().await,
    }
}

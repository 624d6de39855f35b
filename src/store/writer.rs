//! The one thread that writes: it takes what waits, commits it as one group, and only then answers.
//!
//! ```text
//!  writing ──write fails for want of space──> full ──a write works──> writing
//!     └──write fails otherwise (sync, device)──> poisoned      (no way back but a restart)
//! ```
//! A failed sync is not tried again: the kernel may have dropped the pages that it could not write, and a second sync would then succeed without them.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::error::StoreError;
use super::op::{Applied, Backend, Op};
use super::warm::Warm;
use crate::failpoint::failpoint;

/// At most so many operations share a commit.
const GROUP: usize = 256;

/// Whether writes work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes, as far as known.
    Writing,
    /// The last write found no space; reads work.
    Full,
    /// No, for good. The daemon must end with exit code 70 and start anew.
    Poisoned(String),
}

/// What goes to the writer.
#[derive(Debug)]
pub enum Message {
    /// An operation, and who waits for its result, if anybody.
    Op(Op, Option<oneshot::Sender<Result<Applied, StoreError>>>),
    /// Commit what came before, checkpoint, close the file.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// Durations of commits, for `status`.
#[derive(Debug, Default)]
pub struct Meter {
    last_us: AtomicU64,
    max_us: AtomicU64,
    commits: AtomicU64,
    ops: AtomicU64,
}

/// A reading of the meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Duration of the last commit in microseconds.
    pub last_us: u64,
    /// The longest one.
    pub max_us: u64,
    /// How many commits there were.
    pub commits: u64,
    /// How many operations they held.
    pub ops: u64,
}

impl Meter {
    fn note(&self, begun: Instant, ops: usize) {
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.ops.fetch_add(ops as u64, Ordering::Relaxed);
    }

    /// What it shows now.
    #[must_use]
    pub fn read(&self) -> Latency {
        Latency {
            last_us: self.last_us.load(Ordering::Relaxed),
            max_us: self.max_us.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            ops: self.ops.load(Ordering::Relaxed),
        }
    }
}

/// The body of the writer thread.
pub struct Writer {
    backend: Box<dyn Backend>,
    queue: mpsc::Receiver<Message>,
    health: watch::Sender<Health>,
    meter: Arc<Meter>,
    warm: Warm,
}

impl Writer {
    /// A writer that serves `queue` until it is told to close or nobody is left to ask.
    #[must_use]
    pub fn new(
        backend: Box<dyn Backend>,
        queue: mpsc::Receiver<Message>,
        health: watch::Sender<Health>,
        meter: Arc<Meter>,
        warm: Warm,
    ) -> Self {
        Self { backend, queue, health, meter, warm }
    }

    /// Serves the queue.
    pub fn run(self) {
        let Self { backend, mut queue, health, meter, warm } = self;
        // If the thread unwinds, the drop of this tells everybody; the handles then see a poisoned store instead of waiting.
        let mut desk = Desk { backend: Some(backend), health, meter, warm, finished: false };
        while let Some(first) = queue.blocking_recv() {
            let (batch, close) = group(first, &mut queue);
            desk.serve(batch);
            if let Some(answer) = close {
                queue.close();
                let result = desk.close();
                let _ = answer.send(result);
                return;
            }
            if queue.is_empty() {
                desk.rest();
            }
        }
        let _ = desk.close();
    }
}

type Waiting = (Op, Option<oneshot::Sender<Result<Applied, StoreError>>>);

/// What waits already, up to a full group or a request to close.
fn group(first: Message, queue: &mut mpsc::Receiver<Message>) -> (Vec<Waiting>, Option<oneshot::Sender<Result<(), StoreError>>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Op(op, answer) => batch.push((op, answer)),
            Message::Close(answer) => return (batch, Some(answer)),
        }
        next = if batch.len() < GROUP { queue.try_recv().ok() } else { None };
    }
    (batch, None)
}

struct Desk {
    backend: Option<Box<dyn Backend>>,
    health: watch::Sender<Health>,
    meter: Arc<Meter>,
    warm: Warm,
    finished: bool,
}

impl Desk {
    fn serve(&mut self, batch: Vec<Waiting>) {
        if batch.is_empty() {
            return;
        }
        let (ops, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let results = match self.commit(&ops) {
            Ok(results) => results,
            Err(error) => vec![Err(error); ops.len()],
        };
        failpoint!("store.before_reply");
        for ((op, answer), result) in ops.iter().zip(answers).zip(results) {
            match answer {
                // Whoever waited may have left; that is their right.
                Some(answer) => drop(answer.send(result)),
                None => {
                    if let Err(error) = result {
                        warn!(?op, %error, "a note was not stored");
                    }
                }
            }
        }
    }

    fn rest(&mut self) {
        if let (Some(backend), Health::Writing) = (self.backend.as_mut(), &*self.health.borrow()) {
            backend.rest();
        }
    }

    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let health = self.health.borrow().clone();
        if let Health::Poisoned(cause) = health {
            return Err(StoreError::Poisoned(cause));
        }
        if health == Health::Writing && ops.iter().all(|op| matches!(op, Op::Ping)) {
            return Ok(vec![Ok(Applied::Done); ops.len()]);
        }
        let Some(backend) = self.backend.as_mut() else { return Err(StoreError::Closed) };
        let begun = Instant::now();
        let outcome = backend.apply(ops);
        self.meter.note(begun, ops.len());
        match &outcome {
            Ok(results) => self.warm.committed(ops, results),
            Err(_) => self.warm.forget(),
        }
        match &outcome {
            Ok(_) => self.turn(Health::Writing),
            Err(StoreError::DiskFull) => self.turn(Health::Full),
            Err(error) if error.is_fatal() => self.turn(Health::Poisoned(error.to_string())),
            // Nothing was written, and the next write may work.
            Err(error) => warn!(%error, ops = ops.len(), "a commit failed"),
        }
        outcome
    }

    fn turn(&self, now: Health) {
        let changed = self.health.send_if_modified(|health| mem::replace(health, now.clone()) != now);
        match now {
            _ if !changed => {}
            Health::Writing => info!("the store writes again"),
            Health::Full => warn!("the disk is full: nothing new is accepted until there is space"),
            Health::Poisoned(cause) => error!(cause, "a write failed: the store is out of use until a restart"),
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.finished = true;
        let Some(mut backend) = self.backend.take() else { return Ok(()) };
        match self.health.borrow().clone() {
            // What is in the log may be more than what was promised; the next start sorts it out.
            Health::Poisoned(cause) => Err(StoreError::Poisoned(cause)),
            Health::Writing | Health::Full => backend.checkpoint(),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !self.finished {
            self.turn(Health::Poisoned("the writer thread ended unexpectedly".to_owned()));
        }
    }
}

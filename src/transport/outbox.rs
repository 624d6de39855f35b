//! The writer of one connection: takes answers, signals, states and run events, and writes everything that is ready in one go.
//!
//! Order of a round: answers and control, then signals, then states, then logs, fair between runs. `seq` counts the events of this connection from 1; a counted drop would show as a jump. Nothing waits here but answers, and those against a budget of bytes; a peer that stops reading is closed as a slow consumer and leaves only its cursors behind.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt, StreamMap};
use tokio_util::sync::CancellationToken;

use super::chats::Chats;
use super::feeds::{Feeds, Wake};
use super::liveness::Liveness;
use super::tails::Tails;
use super::watches::Watches;
use super::wire::Framing;
use crate::events::hub::Signal;
use crate::protocol::frame::{self, StateVersion};
use crate::rpc::call::{Budgeted, Outgoing};
use crate::runs::log::RunLog;

/// About how many bytes go into one write.
const BATCH_BYTES: usize = 64 << 10;
/// A buffer larger than this is given back when the connection is idle.
const IDLE_BYTES: usize = 4 << 10;
/// How long a slow consumer may take to read its close frame.
const LINGER: Duration = Duration::from_secs(60);

/// The writer's half of a connection.
pub struct Outbox {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    framing: Framing,
    queue: mpsc::Receiver<Box<Outgoing>>,
    patience: Duration,
    slow: CancellationToken,
    closed: CancellationToken,
    liveness: Arc<Liveness>,
    batch: Vec<u8>,
    /// Ends of the frames in `batch`, so that a stalled write can stop at the end of one.
    ends: Vec<usize>,
    /// What the frames in `batch` hold of the budget.
    permit: Option<OwnedSemaphorePermit>,
    scratch: Vec<u8>,
    seq: u64,
    tails: Tails,
    chats: Chats,
    watches: Watches,
    finals: Vec<(Arc<RunLog>, Budgeted)>,
    closing: Option<(u16, String)>,
}

type Wakes = StreamMap<u8, Pin<Box<dyn Stream<Item = Wake> + Send>>>;

/// Why the loop ended.
enum End {
    /// The peer or the daemon ended it; nothing more can or need be written.
    Gone,
    /// A close frame was written.
    Closed,
    /// The peer does not read.
    Slow,
}

impl Outbox {
    /// A writer that takes from `queue`. `closed` ends it and is cancelled when it ends; `slow` too, by a sender or by itself, where the peer does not read.
    pub fn new(
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        framing: Framing,
        queue: mpsc::Receiver<Box<Outgoing>>,
        slow: CancellationToken,
        closed: CancellationToken,
        liveness: Arc<Liveness>,
        patience: Duration,
    ) -> Self {
        Self {
            writer: Box::into_pin(writer as Box<dyn AsyncWrite + Send>),
            framing,
            queue,
            patience,
            slow,
            closed,
            liveness,
            batch: Vec::new(),
            ends: Vec::new(),
            permit: None,
            scratch: Vec::new(),
            seq: 0,
            tails: Tails::default(),
            chats: Chats::default(),
            watches: Watches::default(),
            finals: Vec::new(),
            closing: None,
        }
    }

    /// Writes until the connection ends. `opened` brings what the connection listens to after hello.
    pub async fn run(mut self, opened: oneshot::Receiver<Feeds>) {
        let end = self.write_all(opened).await;
        // From here on senders find nobody.
        self.queue.close();
        match end {
            End::Gone => {}
            End::Closed => {
                let _ = tokio::time::timeout(self.patience, self.writer.shutdown()).await;
            }
            End::Slow => {
                self.slow.cancel();
                self.linger().await;
            }
        }
        self.closed.cancel();
    }

    async fn write_all(&mut self, opened: oneshot::Receiver<Feeds>) -> End {
        let mut opened = Some(opened);
        let mut feeds: Option<Feeds> = None;
        let mut wakes = Wakes::new();
        loop {
            // Runs first, then the queue, then lines: a run that is known here had its `accepted` queued before, so no event overtakes it.
            if let Some(feeds) = &mut feeds {
                feeds.new_runs().into_iter().for_each(|log| self.follow(log));
            }
            let drained = self.drain_queue();
            if let Some(feeds) = feeds.as_mut().filter(|_| drained) {
                self.collect_logs(feeds).await;
            }
            if self.batch.is_empty() {
                if let Some((code, reason)) = self.closing.take() {
                    self.framing.close(code, &reason, &mut self.batch);
                    self.ends.push(self.batch.len());
                    return if self.flush().await { End::Closed } else { End::Slow };
                }
            } else {
                if !self.flush().await {
                    return End::Slow;
                }
                continue;
            }
            self.shrink();
            let held_until = self.tails.held_until();
            // A subscription may be taken before the feeds are: its lines are read once they are here.
            if feeds.is_some() && (self.tails.has_unread() || self.chats.has_news(&self.tails)) {
                continue;
            }
            tokio::select! {
                biased;
                () = self.closed.cancelled() => return End::Gone,
                () = self.slow.cancelled() => return End::Slow,
                item = self.queue.recv() => match item {
                    Some(item) => self.take(*item),
                    None => return End::Gone,
                },
                got = async { match opened.as_mut() { Some(opened) => opened.await, None => std::future::pending().await } } => {
                    opened = None;
                    if let Ok(mut got) = got {
                        wakes = got.wakes();
                        self.open(&mut got);
                        feeds = Some(got);
                    }
                }
                Some((_, wake)) = wakes.next(), if feeds.is_some() => {
                    if let Some(end) = feeds.as_ref().and_then(|feeds| self.on_wake(wake, feeds)) {
                        return end;
                    }
                }
                body = self.watches.next() => self.event(&body, None),
                () = tokio::time::sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => self.tails.release(),
            }
        }
    }

    fn on_wake(&mut self, wake: Wake, feeds: &Feeds) -> Option<End> {
        match wake {
            Wake::State(body) => self.event(&body, Some(feeds.versions())),
            Wake::Signal(Some(Signal::Event(_, body))) => self.event(&body, None),
            Wake::Signal(Some(Signal::Close(code, reason))) => self.closing = Some((code, reason.to_owned())),
            Wake::Ended(reason) => self.closing = Some((1008, reason.to_owned())),
            // The feeds have turned it into an end where it is one.
            Wake::Signal(Some(Signal::Revoked)) => {}
            Wake::Signal(None) => return Some(End::Slow),
            Wake::Bell => {}
            Wake::Tick(body) => self.event(&body, None),
            Wake::Ping => match self.liveness.on_timer(Instant::now()) {
                super::liveness::Step::Nothing => {}
                super::liveness::Step::Ping => {
                    self.framing.ping(b"", &mut self.batch);
                    self.ends.push(self.batch.len());
                }
                super::liveness::Step::Dead => return Some(End::Gone),
            },
        }
        None
    }

    /// Takes what is queued into the batch. Returns whether that was all.
    fn drain_queue(&mut self) -> bool {
        while self.batch.len() < BATCH_BYTES && self.closing.is_none() {
            match self.queue.try_recv() {
                Ok(item) => self.take(*item),
                Err(_) => return true,
            }
        }
        false
    }

    fn take(&mut self, item: Outgoing) {
        match item {
            Outgoing::Frame(frame) => self.frame(frame),
            Outgoing::AfterRun(log, frame) => self.finals.push((log, frame)),
            Outgoing::Started(log, detail) => self.tails.started(&log, detail),
            Outgoing::Follow(log, after) => self.tails.follow(log, after),
            Outgoing::Unfollow(file_id) => self.tails.unfollow(&file_id),
            Outgoing::Watch(watching, events) => self.watches.open(watching, events),
            Outgoing::Pong(payload) => {
                self.framing.pong(&payload, &mut self.batch);
                self.ends.push(self.batch.len());
            }
            Outgoing::Close(code, reason) => self.closing = Some((code, reason)),
        }
    }

    /// Puts lines of runs, and the finals that waited for them, into the batch.
    async fn collect_logs(&mut self, feeds: &mut Feeds) {
        if feeds.reads_logs() {
            let known = self.tails.len();
            let mut fresh = Vec::new();
            if !self.finals.is_empty() {
                // A final's run may have been announced since; it is followed, but read only after the next look at the queue.
                fresh = feeds.new_runs();
                fresh.iter().for_each(|log| self.tails.start(Arc::clone(log)));
            }
            for round in 0..known {
                if self.batch.len() >= BATCH_BYTES {
                    break;
                }
                let lines: Vec<Bytes> = self.tails.read(round, BATCH_BYTES / 2).await;
                for line in lines {
                    self.line(feeds.agent_prefix(), &line);
                }
            }
            self.tails.rotate();
            while self.batch.len() < BATCH_BYTES
                && let Some(event) = self.chats.next(&self.tails)
            {
                self.line(feeds.chat_prefix(), &event);
            }
            fresh.iter().for_each(|log| self.chats.start(log));
        }
        let finals = std::mem::take(&mut self.finals);
        for (log, frame) in finals {
            if feeds.reads_logs() && self.tails.is_behind(&log) {
                self.finals.push((log, frame));
            } else {
                self.frame(frame);
            }
        }
    }

    /// Delivers the runs that there are: those that have begun since the connection subscribed from their first event, the others from where they were then. This writer may come to look long after that, and the client has its hello already.
    fn open(&mut self, feeds: &mut Feeds) {
        let live = feeds.at_work();
        feeds.new_runs().into_iter().for_each(|log| self.follow(log));
        live.iter().for_each(|(_, log)| self.chats.start(log));
        self.tails.hold(live);
    }

    /// Delivers a run that has just started.
    fn follow(&mut self, log: Arc<RunLog>) {
        self.chats.start(&log);
        self.tails.start(log);
    }

    fn frame(&mut self, frame: Budgeted) {
        self.framing.text_header(frame.bytes.len(), &mut self.batch);
        self.batch.extend_from_slice(&frame.bytes);
        self.framing.text_trailer(&mut self.batch);
        self.ends.push(self.batch.len());
        match (&mut self.permit, frame.permit) {
            (Some(held), Some(more)) => held.merge(more),
            (None, more) => self.permit = more,
            (Some(_), None) => {}
        }
    }

    fn event(&mut self, body: &[u8], version: Option<StateVersion>) {
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        self.end_event(version);
    }

    fn line(&mut self, prefix: &[u8], line: &[u8]) {
        self.scratch.clear();
        self.scratch.extend_from_slice(prefix);
        self.scratch.extend_from_slice(line);
        self.end_event(None);
    }

    fn end_event(&mut self, version: Option<StateVersion>) {
        self.seq += 1;
        frame::event_end(Some(self.seq), version, &mut self.scratch);
        self.framing.text_header(self.scratch.len(), &mut self.batch);
        self.batch.extend_from_slice(&self.scratch);
        self.framing.text_trailer(&mut self.batch);
        self.ends.push(self.batch.len());
    }

    /// Writes the batch. Returns false when the peer does not read.
    async fn flush(&mut self) -> bool {
        let mut written = 0;
        while written < self.batch.len() {
            let rest = self.batch.get(written..).unwrap_or_default();
            match tokio::time::timeout(self.patience, self.writer.write(rest)).await {
                Ok(Ok(n)) if n > 0 => written += n,
                Ok(_) => {
                    self.closed.cancel();
                    self.batch.clear();
                    break;
                }
                Err(_) => {
                    self.keep_current_frame(written);
                    return false;
                }
            }
        }
        self.batch.clear();
        self.ends.clear();
        self.permit = None;
        let flushed = tokio::time::timeout(self.patience, self.writer.flush()).await;
        flushed.is_ok()
    }

    /// Leaves only the unwritten rest of the frame that is half out.
    fn keep_current_frame(&mut self, written: usize) {
        let end = self.ends.iter().copied().find(|end| *end >= written).unwrap_or(self.batch.len());
        self.batch.truncate(end);
        self.batch.drain(..written);
    }

    /// Tells a slow consumer why, should it read again, without keeping more than one frame for it.
    async fn linger(&mut self) {
        self.permit = None;
        self.finals.clear();
        self.framing.close(1008, "slow consumer", &mut self.batch);
        let writer = &mut self.writer;
        let batch = &self.batch;
        let told = tokio::time::timeout(LINGER, async {
            writer.write_all(batch).await?;
            writer.shutdown().await
        });
        tokio::select! {
            _ = told => {}
            () = self.closed.cancelled() => {}
        }
    }

    fn shrink(&mut self) {
        for buffer in [&mut self.batch, &mut self.scratch] {
            if buffer.capacity() > IDLE_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

//! A run's events as the daemon hands them out: the newest lines in memory, all of them in the journal, and any number of readers that each hold a cursor.
//!
//! A fast, a slow, a late and a reconnecting reader are one case: who is behind the lines in memory reads the file. Nothing is queued per reader, so a reader that stops costs its cursor and no more.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::chat::Chat;
use super::runners;
use crate::journal::reader::Reader;
use crate::protocol::ids::{RunId, SessionKey};

/// How many bytes of a run's newest lines stay in memory.
const RING_BYTES: usize = 1 << 20;

/// The events of one run.
#[derive(Debug)]
pub struct RunLog {
    /// Name of the run on disk.
    pub file_id: String,
    /// Name of the run on the wire.
    pub run_id: RunId,
    /// Whose run it is.
    pub principal: Arc<str>,
    /// Its `chat` events.
    pub chat: Chat,
    /// Whether a model speaks in it: output of commands is then that of tools.
    pub of_model: bool,
    path: PathBuf,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<(u64, Bytes)>,
    bytes: usize,
    head: u64,
    finished: bool,
}

/// What memory can say to a reader.
enum Recent {
    Lines(Vec<(u64, Bytes)>),
    /// Nothing beyond the cursor yet.
    Nothing,
    /// The lines are only in the file by now.
    InFile,
}

impl RunLog {
    /// The log of a run that has not ended; nothing is known of its journal yet.
    #[must_use]
    pub fn live(file_id: &str, run_id: RunId, session_key: SessionKey, path: PathBuf) -> Self {
        let chat = Chat::new(run_id.clone(), session_key);
        Self { file_id: file_id.to_owned(), run_id, principal: Arc::default(), chat, of_model: false, path, ring: Mutex::default() }
    }

    /// The log of a run that ended with line `head`.
    #[must_use]
    pub fn finished(file_id: &str, run_id: RunId, session_key: SessionKey, path: PathBuf, head: u64) -> Self {
        let ring = Ring { head, finished: true, ..Ring::default() };
        Self { ring: Mutex::new(ring), ..Self::live(file_id, run_id, session_key, path) }
    }

    /// The same log, of a run of this principal.
    #[must_use]
    pub fn of(self, principal: &str) -> Self {
        Self { principal: principal.into(), ..self }
    }

    /// The same log, of a run with this runner.
    #[must_use]
    pub fn by(mut self, runner: &str) -> Self {
        self.of_model = runners::uses_model(runner);
        self.chat = self.chat.of_model(self.of_model);
        self
    }

    /// Takes the next line over from the journal. `last` marks the terminal line.
    pub fn append(&self, seq: u64, line: Bytes, last: bool) {
        self.chat.take(seq, &line);
        let mut ring = self.lock();
        ring.head = seq;
        ring.finished = last;
        ring.bytes += line.len();
        ring.lines.push_back((seq, line));
        while ring.bytes > RING_BYTES && ring.lines.len() > 1 {
            if let Some((_, evicted)) = ring.lines.pop_front() {
                ring.bytes -= evicted.len();
            }
        }
    }

    /// Nothing more comes, even if the newest line is no terminal one.
    pub fn close(&self) {
        self.lock().finished = true;
    }

    /// Seq of the newest line; 0 = none.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.lock().head
    }

    /// Whether the newest line is the run's last.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Whether a reader that wants `next` has had everything there will ever be.
    #[must_use]
    pub fn is_exhausted(&self, next: u64) -> bool {
        let ring = self.lock();
        ring.finished && next > ring.head
    }

    /// A reader of every line with a seq above `after`.
    #[must_use]
    pub fn cursor(&self, after: u64) -> Cursor {
        Cursor { next: after + 1, reader: None }
    }

    fn recent(&self, next: u64, max_bytes: usize) -> Recent {
        let ring = self.lock();
        if next > ring.head {
            return Recent::Nothing;
        }
        let Some(&(first, _)) = ring.lines.front() else { return Recent::InFile };
        let Some(skip) = next.checked_sub(first).and_then(|skip| usize::try_from(skip).ok()) else { return Recent::InFile };
        let mut taken = 0;
        let lines = ring.lines.iter().skip(skip).take_while(|(_, line)| {
            let fits = taken == 0 || taken + line.len() <= max_bytes;
            taken += line.len();
            fits
        });
        Recent::Lines(lines.cloned().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's place in a run's log.
#[derive(Debug)]
pub struct Cursor {
    /// Seq of the next line to read.
    pub next: u64,
    reader: Option<Reader>,
}

impl Cursor {
    /// The next lines, about `max_bytes` of them and at least one if there is one; empty when the reader is at the head.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn read(&mut self, log: &RunLog, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let lines = match log.recent(self.next, max_bytes) {
            Recent::Nothing => return Ok(Vec::new()),
            Recent::Lines(lines) => {
                self.reader = None;
                lines
            }
            Recent::InFile => self.read_file(log, max_bytes).await?,
        };
        if let Some((seq, _)) = lines.last() {
            self.next = seq + 1;
        }
        Ok(lines)
    }

    /// Moves the cursor.
    pub fn seek(&mut self, next: u64) {
        if self.next != next {
            self.next = next;
            self.reader = None;
        }
    }

    async fn read_file(&mut self, log: &RunLog, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let (next, head) = (self.next, log.head());
        let reader = self.reader.take();
        let path = log.path.clone();
        let (reader, lines) = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(&path)?,
            };
            reader.seek_seq(next.saturating_sub(1))?;
            let lines = reader.read_after(max_bytes)?;
            Ok((reader, lines))
        })
        .await
        .map_err(io::Error::other)??;
        self.reader = Some(reader);
        // The file may be ahead of what the daemon has announced; such lines come when they are announced.
        let lines: Vec<_> = lines.into_iter().map(|line| (line.seq, line.bytes)).filter(|(seq, _)| (next..=head).contains(seq)).collect();
        if lines.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the journal is shorter than its head"));
        }
        Ok(lines)
    }
}

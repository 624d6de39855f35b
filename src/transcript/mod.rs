//! Transcripts: the conversation of a session as JSON lines, `<state>/agents/<agent>/sessions/<session id>.jsonl`.
//!
//! The first line is a header, every further one an entry that names the entry it follows; the way back from the newest is the current conversation. The form is the original's, so that
//! files pass from one to the other. An append is one write and one sync; a torn last line is cut off before the next append and passed over by readers; a damaged line costs itself only.
//!
//! Everything here blocks: [`Transcripts::run`] takes it off the runtime's threads. It knows nothing of runs and of how sessions are named.

pub mod backward;
pub mod branch;
pub mod clean;
pub mod count;
pub mod entry;
pub mod error;
pub mod glance;
pub mod message;
pub mod page;
pub mod place;
pub mod recall;
pub mod rewrite;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use count::Count;
use entry::{Header, NewEntry};
use error::{Result, TranscriptError};
use page::{Page, Query, Row};
use place::Place;
use rewrite::Compacted;
use writer::{Appended, Tail};

/// How many files are known at once; files in use stay known beyond it.
const KNOWN: usize = 256;

/// The transcripts beneath one state directory. Cheap to clone; paths are absolute or relative to that directory, and never lead out of it.
#[derive(Clone)]
pub struct Transcripts {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    files: Mutex<HashMap<PathBuf, Arc<Known>>>,
}

/// What is known of one file. Who holds `tail` is its only writer.
#[derive(Default)]
struct Known {
    tail: Mutex<Option<Tail>>,
    count: Mutex<Count>,
}

impl Transcripts {
    /// The transcripts beneath this state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { inner: Arc::new(Inner { root: state_dir.to_owned(), files: Mutex::default() }) }
    }

    /// Where the conversation `session_id` of an agent is kept.
    ///
    /// # Errors
    /// Ids that cannot be names of files.
    pub fn path(&self, agent_id: &str, session_id: &str) -> Result<PathBuf> {
        let plain = |id: &str| {
            !id.is_empty()
                && id.len() <= 128
                && !id.starts_with('.')
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let path = self.inner.root.join("agents").join(agent_id).join("sessions").join(format!("{session_id}.jsonl"));
        if plain(agent_id) && plain(session_id) { Ok(path) } else { Err(TranscriptError::Outside(path)) }
    }

    /// Does `work` on a thread that may block.
    ///
    /// # Errors
    /// What `work` says.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let ours = self.clone();
        tokio::task::spawn_blocking(move || work(&ours)).await.unwrap_or(Err(TranscriptError::Lost))
    }

    /// Appends an entry behind the newest one; when this returns it is on the disk. A file that does not exist is made, with `header` as its first line. An entry with a key that
    /// stands in the newest part of the file already is not appended again.
    ///
    /// # Errors
    /// The file cannot be opened or written; nothing of the entry remains in it then, or the next append removes it.
    pub fn append(&self, path: &Path, header: &Header, entry: NewEntry) -> Result<Appended> {
        self.append_all(path, header, vec![entry])?.pop().ok_or(TranscriptError::Lost)
    }

    /// As [`Self::append`] for several entries, in one write: all of them are in the file, or none is.
    ///
    /// # Errors
    /// See [`Self::append`].
    pub fn append_all(&self, path: &Path, header: &Header, entries: Vec<NewEntry>) -> Result<Vec<Appended>> {
        let own = |name: &String| matches!(name.as_str(), "type" | "id" | "parentId" | "timestamp" | "key");
        if entries.iter().any(|entry| entry.fields.keys().any(own)) {
            return Err(TranscriptError::Entry("its fields name what the transcript itself says"));
        }
        let path = self.inner.root.join(path);
        let known = self.known(&path);
        let mut tail = lock(&known.tail);
        let place = Place::find(&self.inner.root, &path, true)?.ok_or_else(|| TranscriptError::Outside(path.clone()))?;
        writer::append(&place, header, entries, &mut tail, &mut lock(&known.count))
    }

    /// A page of the conversation, newest rows first asked for, oldest first given. An absent file has no rows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn page(&self, path: &Path, query: Query) -> Result<Page> {
        let path = self.inner.root.join(path);
        let Some((file, len)) = self.open(&path)? else { return Ok(Page::default()) };
        let known = self.known(&path);
        let (page, count) = page::read(&file, len, query, || *lock(&known.count)).map_err(TranscriptError::io("read", &path))?;
        *lock(&known.count) = count;
        Ok(page)
    }

    /// The message with this entry id. None if there is none, or if its line is longer than `max_bytes`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, path: &Path, id: &str, max_bytes: usize) -> Result<Option<Row>> {
        let path = self.inner.root.join(path);
        let Some((file, len)) = self.open(&path)? else { return Ok(None) };
        let failed = TranscriptError::io("read", &path);
        let Some((line, back)) = rewrite::find(&file, len, id, max_bytes).map_err(&failed)? else { return Ok(None) };
        let known = self.known(&path);
        let lines = lock(&known.count).lines_before(&file, len).map_err(&failed)?;
        let message = entry::Facts::read(&line).and_then(|facts| facts.message).map(ToOwned::to_owned);
        Ok(message.map(|message| Row {
            id: Some(id.to_owned()),
            seq: lines.saturating_sub(back),
            content: page::Content::Message(message),
        }))
    }

    /// The header of the file, if it has one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn header(&self, path: &Path) -> Result<Option<Header>> {
        self.look(path, rewrite::header)
    }

    /// The first thing the user said, as far as it stands within the first `max_bytes`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn first_user_text(&self, path: &Path, max_bytes: usize) -> Result<Option<String>> {
        self.look(path, |file, _| glance::first_user_text(file, max_bytes))
    }

    /// The part of the conversation that its next turn builds on. None if there is no file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn recall(&self, path: &Path) -> Result<Option<recall::Recall>> {
        self.look(path, |file, len| recall::read(file, len).map(Some))
    }

    /// The last thing that user or assistant said, if any of it stands within the last `max_bytes`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_text(&self, path: &Path, max_bytes: usize) -> Result<Option<String>> {
        self.look(path, |file, len| glance::last_text(file, len, max_bytes))
    }

    /// The last `limit` items of the conversation, oldest first, each cut to `max_chars`. None if there is no file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn preview(&self, path: &Path, limit: usize, max_chars: usize) -> Result<Option<Vec<glance::Item>>> {
        self.look(path, |file, len| glance::preview(file, len, limit, max_chars).map(Some))
    }

    /// Keeps the newest `keep` entries of the conversation, the header, and whatever call a kept result of a tool belongs to; the old file is kept as `<file>.bak.<time>`. `header` is
    /// for a file that has lost its own.
    ///
    /// # Errors
    /// The file cannot be read or written; it is as it was then.
    pub fn compact(&self, path: &Path, keep: usize, header: &Header, at: u64) -> Result<Compacted> {
        let path = self.inner.root.join(path);
        let known = self.known(&path);
        let mut tail = lock(&known.tail);
        *tail = None;
        let Some(place) = Place::find(&self.inner.root, &path, false)? else { return Ok(Compacted::Missing) };
        rewrite::compact(&place, keep.max(1), header, at)
    }

    /// Renames the file to `<file>.<why>.<time>`; `why` is `deleted` or `reset`. Says where it stands now; none if there was none.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub fn archive(&self, path: &Path, why: &'static str, at: u64) -> Result<Option<PathBuf>> {
        let path = self.inner.root.join(path);
        let known = self.known(&path);
        let mut tail = lock(&known.tail);
        *tail = None;
        let Some(place) = Place::find(&self.inner.root, &path, false)? else { return Ok(None) };
        rewrite::archive(&place, why, at)
    }

    fn look<T>(&self, path: &Path, work: impl FnOnce(&File, u64) -> std::io::Result<Option<T>>) -> Result<Option<T>> {
        let path = self.inner.root.join(path);
        let Some((file, len)) = self.open(&path)? else { return Ok(None) };
        work(&file, len).map_err(TranscriptError::io("read", &path))
    }

    fn open(&self, path: &Path) -> Result<Option<(File, u64)>> {
        let Some(place) = Place::find(&self.inner.root, path, false)? else { return Ok(None) };
        let Some(file) = place.open(OFlags::RDONLY)? else { return Ok(None) };
        let len = file.metadata().map_err(TranscriptError::io("read", path))?.len();
        Ok(Some((file, len)))
    }

    fn known(&self, path: &Path) -> Arc<Known> {
        let mut files = lock(&self.inner.files);
        if files.len() >= KNOWN && !files.contains_key(path) {
            files.retain(|_, known| Arc::strong_count(known) > 1);
        }
        Arc::clone(files.entry(path.to_owned()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

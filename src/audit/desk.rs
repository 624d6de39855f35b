//! Where records are written: one group at a time, each with its number and the hash of the one before, into the segment that is open.
//!
//! A group is there as a whole or not at all: when the disk fills in the middle, the file is cut back to where it was and the numbers are given back. A failed sync is not tried again, because the kernel may have dropped what it could not write.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::key::Key;
use super::record::{self, Hash, Place, sha256};
use super::segment::{self, Segment};
use super::{Action, AuditError, Event, Head, Health, Limits, State, Waiting};
use crate::clock::now_ms;
use crate::config::paths::private_dir;

/// The actions whose records are signed: each vouches for everything before it.
pub const SIGNED: &[Action] = &[Action::Boot, Action::Stop, Action::Seal, Action::Repair, Action::Gap, Action::Prune];
/// The file with the head as it was last told, by which a log that was cut off is known.
pub const HEAD_FILE: &str = "head.json";
/// Most that is digested of a damaged end, in bytes.
const MAX_DAMAGE: u64 = 64 * 1024 * 1024;

/// The head as it was last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldHead {
    /// Number of the last record.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
    /// When it was told, ms since the epoch.
    pub ts: u64,
    /// The key's signature over the hash.
    pub sig: String,
}

/// The writing end of the log.
pub struct Desk {
    dir: PathBuf,
    boot: String,
    key: Arc<Key>,
    limits: Limits,
    segment: Segment,
    file: File,
    /// Length of the file; always a boundary between records.
    len: u64,
    head: Head,
    synced: bool,
    health: Health,
}

impl Desk {
    /// Opens the log behind its last whole record. Beside the desk come the events that say what was not as it should be.
    pub fn open(dir: &Path, boot: &str, key: Arc<Key>, limits: Limits) -> io::Result<(Self, Vec<Event>)> {
        private_dir(dir)?;
        let mut events = Vec::new();
        let mut segments = segment::list(dir)?;
        // A file without content holds no record: the segment before it had not been finished when it was made.
        while segments.len() > 1 && segments.last().is_some_and(|last| last.path.metadata().is_ok_and(|file| file.len() == 0)) {
            segments.pop().map_or(Ok(()), |empty| std::fs::remove_file(empty.path))?;
        }
        let (mut head, mut go_on, mut number) = (Head::default(), None, 1);
        for (back, found) in segments.iter().rev().enumerate() {
            let tail = segment::tail(&found.path)?;
            if back == 0 {
                let sealed = tail.last.as_ref().is_some_and(|(_, sealed)| *sealed);
                number = if sealed || tail.good < tail.len { found.number + 1 } else { found.number };
                go_on = (number == found.number).then_some(tail.len);
            }
            if tail.good < tail.len && back == 0 {
                events.push(damage(found, tail.good, tail.len)?);
            }
            if let Some((last, _)) = tail.last {
                head = last;
                break;
            }
        }
        if let Some(told) = told_head(dir)
            && (told.n > head.n || (told.n == head.n && told.hash != head.hash))
        {
            let reason = format!("the log ends with record {}, but record {} had been written", head.n, told.n);
            events.push(Event::new(Action::Gap).because(&reason).with("n", told.n).with("hash", told.hash.to_string()));
        }
        let segment = Segment::new(dir, number);
        let file = match go_on {
            Some(_) => OpenOptions::new().append(true).open(&segment.path)?,
            None => begin(dir, &segment)?,
        };
        let (len, health) = (go_on.unwrap_or(0), Health::Writing);
        let desk = Self { dir: dir.to_owned(), boot: boot.to_owned(), key, limits, segment, file, len, head, synced: true, health };
        Ok((desk, events))
    }

    /// Where the chain stands.
    pub fn state(&self) -> State {
        State { head: self.head.clone(), synced: self.synced, segment: self.segment.number, health: self.health.clone() }
    }

    /// Writes a group, behind a record of the notes that were lost before it, and syncs it if somebody waits for it.
    pub fn write(&mut self, group: &[Waiting], lost: u64) -> Result<(), AuditError> {
        let told = (lost > 0).then(|| (Event::new(Action::Lost).with("count", lost), now_ms()));
        let lost = told.iter().map(|(event, ts)| (event, *ts));
        let outcome = self.put(lost.chain(group.iter().map(|waiting| (&waiting.event, waiting.ts))));
        let outcome = match outcome {
            Ok(()) if group.iter().any(|waiting| waiting.answer.is_some()) => self.sync(),
            other => other,
        };
        if outcome.is_ok() && self.len >= self.limits.segment_bytes {
            self.turn_over();
        }
        outcome
    }

    /// Makes everything written so far survive a power cut.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        self.usable()?;
        if !self.synced {
            self.file.sync_data().map_err(|cause| self.fail(format!("a sync failed: {cause}")))?;
            self.synced = true;
        }
        Ok(())
    }

    /// Syncs the head, signs it, and keeps it beside the segments.
    pub fn tell_head(&mut self) -> Result<ToldHead, AuditError> {
        self.sync()?;
        let Head { n, hash } = self.head.clone();
        let told = ToldHead { n, hash, ts: now_ms(), sig: URL_SAFE_NO_PAD.encode(self.key.sign(&hash)) };
        if let Err(cause) = self.keep_head(&told) {
            warn!(%cause, "the head of the audit log could not be kept beside it; the log of the daemon has it");
        }
        Ok(told)
    }

    fn keep_head(&self, told: &ToldHead) -> io::Result<()> {
        let beside = self.dir.join("head.json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(told)?)?;
        std::fs::rename(&beside, self.dir.join(HEAD_FILE))
    }

    fn usable(&self) -> Result<(), AuditError> {
        match &self.health {
            Health::Broken(cause) => Err(AuditError::Broken(cause.clone())),
            Health::Writing | Health::Failing(_) => Ok(()),
        }
    }

    fn fail(&mut self, cause: String) -> AuditError {
        error!(cause, "the audit log is out of use until a restart");
        self.health = Health::Broken(cause.clone());
        AuditError::Broken(cause)
    }

    /// Writes these events as one piece.
    fn put<'e>(&mut self, events: impl Iterator<Item = (&'e Event, u64)>) -> Result<(), AuditError> {
        self.usable()?;
        let (mut text, mut head) = (Vec::new(), self.head.clone());
        for (event, ts) in events {
            let place = Place { n: head.n + 1, ts, boot: &self.boot, prev: head.hash };
            let signer = SIGNED.contains(&event.action).then_some(self.key.as_ref());
            let hash = record::write(event, place, signer, &mut text).map_err(|cause| AuditError::Refused(cause.to_string()))?;
            head = Head { n: head.n + 1, hash };
        }
        if let Err(cause) = self.file.write_all(&text) {
            // A part of the group may be in the file; without the cut the next record would be glued to it.
            if let Err(cut) = self.file.set_len(self.len) {
                return Err(self.fail(format!("a write failed ({cause}) and could not be undone ({cut})")));
            }
            let error = match cause.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AuditError::Full,
                _ => AuditError::Refused(cause.to_string()),
            };
            self.health = Health::Failing(error.clone());
            return Err(error);
        }
        self.len += text.len() as u64;
        (self.head, self.synced, self.health) = (head, false, Health::Writing);
        Ok(())
    }

    /// Finishes the segment with a signed record and begins the next. If that cannot be, this one goes on and it is tried again.
    fn turn_over(&mut self) {
        let next = Segment::new(&self.dir, self.segment.number + 1);
        let file = match begin(&self.dir, &next) {
            Ok(file) => file,
            Err(cause) => return warn!(%cause, "the next segment of the audit log cannot be begun; the full one goes on"),
        };
        let seal = Event::new(Action::Seal).target(&self.segment.name());
        if let Err(error) = self.put(std::iter::once((&seal, now_ms()))).and_then(|()| self.sync()) {
            let _ = std::fs::remove_file(&next.path);
            return warn!(%error, "the full segment of the audit log could not be sealed; it goes on");
        }
        let done = std::mem::replace(&mut self.segment, next);
        (self.file, self.len) = (file, 0);
        info!(segment = done.name(), n = self.head.n, hash = %self.head.hash, "a segment of the audit log is finished");
        self.prune();
    }

    /// Deletes the oldest segments beyond the bound, each behind a record that names its last hash, so that the rest can still be checked.
    fn prune(&mut self) {
        let oldest = match segment::list(&self.dir) {
            Ok(mut all) => {
                let beyond = all.len().saturating_sub(self.limits.segments.max(2));
                all.truncate(beyond);
                all
            }
            Err(cause) => return warn!(%cause, "the segments of the audit log cannot be counted"),
        };
        for old in oldest {
            let last = segment::tail(&old.path).ok().and_then(|tail| tail.last);
            let Some((Head { n, hash }, _)) = last else { continue };
            let event = Event::new(Action::Prune).target(&old.name()).with("n", n).with("hash", hash.to_string());
            let pruned = self.put(std::iter::once((&event, now_ms()))).and_then(|()| self.sync());
            let pruned = pruned.map_err(|error| error.to_string());
            if let Err(cause) = pruned.and_then(|()| std::fs::remove_file(&old.path).map_err(|cause| cause.to_string())) {
                return warn!(cause, segment = old.name(), "an old segment of the audit log stays");
            }
        }
    }
}

/// Makes a segment and sees to it that its name survives a power cut.
fn begin(dir: &Path, segment: &Segment) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&segment.path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// What stands behind the last whole record of a segment.
fn damage(segment: &Segment, good: u64, len: u64) -> io::Result<Event> {
    let mut bytes = vec![0; usize::try_from((len - good).min(MAX_DAMAGE)).unwrap_or(0)];
    File::open(&segment.path)?.read_exact_at(&mut bytes, good)?;
    let reason = format!("the last {} bytes of {} are no whole record", len - good, segment.name());
    let event = Event::new(Action::Repair).target(&segment.name()).because(&reason);
    Ok(event.with("offset", good).with("bytes", len - good).digest(sha256(&bytes).0))
}

/// The head as it was last told, if it was.
pub fn told_head(dir: &Path) -> Option<ToldHead> {
    serde_json::from_slice(&std::fs::read(dir.join(HEAD_FILE)).ok()?).ok()
}

//! Appends entries: one write and one sync each, behind the newest entry, never twice under one key.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::OFlags;

use super::backward::Backward;
use super::count::Count;
use super::entry::{Facts, Header, NewEntry, Parent, fresh_id, glimpse};
use super::error::{Result, TranscriptError};
use super::place::Place;

/// How far back keys are looked for when a file is opened: the last so many lines …
const KEY_LINES: usize = 512;
/// … within so many bytes.
const KEY_BYTES: u64 = 4 * 1024 * 1024;
/// How many keys of a file are remembered.
const KEYS: usize = 512;
/// A line longer than this, in bytes, is not looked into.
const MAX_LINE: usize = 32 * 1024 * 1024;

/// An entry that is in the file and on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its id.
    pub id: String,
    /// Its place in the file: how many lines stand before it. The first entry behind a header has 1.
    pub seq: u64,
    /// False if it was there already, under the same key.
    pub fresh: bool,
}

/// What is known of the end of a file, as long as nobody else writes to it.
#[derive(Debug)]
pub(super) struct Tail {
    device: u64,
    inode: u64,
    len: u64,
    newest: Parent,
    keys: VecDeque<(String, String, u64)>,
}

/// Appends `entry`, after repairing a torn last line; makes the file with `header` if there is none.
pub(super) fn append(place: &Place, header: &Header, entry: NewEntry, tail: &mut Option<Tail>, count: &mut Count) -> Result<Appended> {
    let writing = TranscriptError::io("append to", place.path());
    let flags = OFlags::RDWR | OFlags::APPEND;
    let (mut file, made) = match place.open(flags)? {
        Some(file) => (file, false),
        None => (place.open(flags | OFlags::CREATE)?.ok_or_else(|| writing(io::ErrorKind::NotFound.into()))?, true),
    };
    let mut known = match tail.take() {
        Some(known) if known.is_of(&file).map_err(&writing)? => known,
        _ => Tail::read(&mut file, count).map_err(&writing)?,
    };
    if let Some(key) = &entry.key
        && let Some((_, id, seq)) = known.keys.iter().find(|(name, ..)| name == key)
    {
        let found = Appended { id: id.clone(), seq: *seq, fresh: false };
        *tail = Some(known);
        return Ok(found);
    }
    let seq = count.lines_before(&file, known.len).map_err(&writing)? + u64::from(known.len == 0);
    let (id, key) = (fresh_id(), entry.key.clone());
    let mut bytes = if known.len == 0 { header.line(entry.at) } else { Vec::new() };
    bytes.extend_from_slice(&entry.line(&id, &known.newest));
    if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
        // Half a line would be repaired by the next append; taking it back now spares readers the sight of it.
        let _ = file.set_len(known.len);
        return Err(writing(error));
    }
    if made {
        place.sync_folder().map_err(&writing)?;
    }
    known.len += bytes.len() as u64;
    known.newest = Parent::Id(id.clone());
    if let Some(key) = key {
        known.remember(key, id.clone(), seq);
    }
    *tail = Some(known);
    Ok(Appended { id, seq, fresh: true })
}

impl Tail {
    /// Whether the file is the one that is known, unchanged.
    fn is_of(&self, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        Ok((meta.dev(), meta.ino(), meta.len()) == (self.device, self.inode, self.len))
    }

    /// Looks at the end of a file and repairs it.
    fn read(file: &mut File, count: &mut Count) -> io::Result<Self> {
        let len = repair(file)?;
        let meta = file.metadata()?;
        let mut known = Self { device: meta.dev(), inode: meta.ino(), len, newest: Parent::None, keys: VecDeque::new() };
        let mut number = count.lines_before(file, len)?;
        let mut lines = Backward::new(file, len, MAX_LINE);
        let mut looked = 0;
        while let Some(line) = lines.previous()? {
            number = number.saturating_sub(1);
            looked += 1;
            let newest_known = matches!(known.newest, Parent::Id(_));
            if newest_known && (looked > KEY_LINES || len - line.offset > KEY_BYTES) {
                break;
            }
            let (kind, id, key) = match Facts::read(&line.bytes) {
                Some(facts) => (facts.kind.into_owned(), facts.id, facts.key),
                None if line.is_whole() => continue,
                None => (glimpse(&line.bytes, "type").unwrap_or_default(), glimpse(&line.bytes, "id"), None),
            };
            match id {
                _ if kind == "session" => {}
                // Entries of an old form have no ids; only saying nothing keeps what follows them behind them.
                None if !newest_known => known.newest = Parent::Unsaid,
                None => {}
                Some(id) => {
                    if let Some(key) = key {
                        known.keys.push_front((key, id.clone(), number));
                    }
                    if !newest_known {
                        known.newest = Parent::Id(id);
                    }
                }
            }
        }
        Ok(known)
    }

    fn remember(&mut self, key: String, id: String, seq: u64) {
        if self.keys.len() >= KEYS {
            self.keys.pop_front();
        }
        self.keys.push_back((key, id, seq));
    }
}

/// Makes the file end with a newline and returns its length: a whole entry gets the newline it lacks, half a one is cut off.
fn repair(file: &mut File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let last = Backward::new(file, len, MAX_LINE).previous()?;
    let Some(last) = last.filter(|line| !line.ended) else { return Ok(len) };
    if last.is_whole() && Facts::read(&last.bytes).is_some() {
        file.write_all(b"\n")?;
    } else {
        file.set_len(last.offset)?;
    }
    file.sync_data()?;
    Ok(file.metadata()?.len())
}

//! The two things that happen to a transcript as a whole: it is shortened, or put away.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use serde_json::{Map, Value, json};

use super::backward::Backward;
use super::branch::{Branch, Link};
use super::entry::{Facts, Header, fresh_id};
use super::error::{Result, TranscriptError};
use super::message;
use super::place::Place;
use crate::clock::iso;

/// Lines are looked into up to this length, bytes: a call of a tool stands well within it.
const LOOK: usize = 1024 * 1024;

/// What a shortening did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// There is no transcript.
    Missing,
    /// It is no longer than it may be; so many entries stand in it.
    Short(u64),
    /// So many entries were kept; the old file stands here.
    Done(u64, PathBuf),
}

struct Kept {
    offset: u64,
    len: u64,
    id: Option<String>,
    parent: Option<String>,
}

/// Keeps the newest `keep` entries of the conversation, and more if a tool's result would lose its call; the old file stays beside the new one.
pub(super) fn compact(place: &Place, keep: usize, header: &Header, at: u64) -> Result<Compacted> {
    let failed = TranscriptError::io("shorten", place.path());
    let Some(file) = place.open(OFlags::RDONLY)? else { return Ok(Compacted::Missing) };
    let len = file.metadata().map_err(&failed)?.len();
    let (kept, more) = choose(&file, len, keep).map_err(&failed)?;
    if !more {
        return Ok(Compacted::Short(kept.len() as u64));
    }
    let mut new_name = place.name().to_owned();
    new_name.push(".new");
    place.remove(&new_name).map_err(&failed)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let new = place.open_as(&new_name, flags)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    if let Err(error) = write(&file, len, &kept, header, at, new) {
        let _ = place.remove(&new_name);
        return Err(failed(error));
    }
    let archived = free_name(place, "bak", at, |name| place.link(name)).map_err(&failed)?;
    place.replace_by(&new_name).and_then(|()| place.sync_folder()).map_err(&failed)?;
    Ok(Compacted::Done(kept.len() as u64, archived))
}

/// Renames the file to `<file>.<why>.<time>` and says where it stands now; none if there was none.
pub(super) fn archive(place: &Place, why: &str, at: u64) -> Result<Option<PathBuf>> {
    let failed = TranscriptError::io("put away", place.path());
    if place.open(OFlags::RDONLY)?.is_none() {
        return Ok(None);
    }
    let archived = free_name(place, why, at, |name| place.rename_to(name)).map_err(&failed)?;
    place.sync_folder().map_err(&failed)?;
    Ok(Some(archived))
}

/// Tries names until one is free.
fn free_name(place: &Place, why: &str, at: u64, take: impl Fn(&OsString) -> io::Result<bool>) -> io::Result<PathBuf> {
    let time = iso(at).replace(':', "-");
    for n in 1..1000 {
        let mut name = place.name().to_owned();
        name.push(if n == 1 { format!(".{why}.{time}") } else { format!(".{why}.{time}-{n}") });
        if take(&name)? {
            return Ok(place.path().with_file_name(name));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The entries to keep, oldest first, and whether there are older ones.
fn choose(file: &File, len: u64, keep: usize) -> io::Result<(Vec<Kept>, bool)> {
    let mut branch = Branch::new(file, len, LOOK);
    let mut kept = Vec::new();
    let mut unanswered = HashSet::new();
    let mut more = false;
    while let Some(link) = branch.previous()? {
        let message = message_of(&link);
        // A result without its call means nothing to anybody, and models refuse it. A call that is not found in the same turn is lost anyway.
        let turn_begins = message.as_ref().is_some_and(|message| message::role(message) == "user");
        if kept.len() >= keep && (unanswered.is_empty() || turn_begins) {
            more = true;
            break;
        }
        if let Some(message) = message {
            if let Some(call) = message.get("toolCallId").and_then(Value::as_str) {
                unanswered.insert(call.to_owned());
            }
            for (call, _) in message::tool_calls(&message) {
                unanswered.remove(call);
            }
        }
        let parent = match link.parent {
            super::entry::Parent::Id(id) => Some(id),
            _ => None,
        };
        kept.push(Kept { offset: link.offset, len: link.len, id: link.id, parent });
    }
    kept.reverse();
    Ok((kept, more))
}

fn message_of(link: &Link) -> Option<Value> {
    serde_json::from_str(link.facts()?.message?.get()).ok()
}

/// Writes header and entries, each behind the one before it.
fn write(old: &File, len: u64, kept: &[Kept], header: &Header, at: u64, new: File) -> io::Result<()> {
    let mut out = BufWriter::new(new);
    out.write_all(&header_line(old, len)?.unwrap_or_else(|| header.line(at)))?;
    let mut before: Option<String> = None;
    for entry in kept {
        let mut line = vec![0; usize::try_from(entry.len).map_err(io::Error::other)?];
        old.read_exact_at(&mut line, entry.offset)?;
        let id = entry.id.clone().unwrap_or_else(fresh_id);
        if entry.id.is_none() || entry.parent != before || before.is_none() {
            line = placed(&line, &id, before.as_deref())?;
        }
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        before = Some(id);
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// The file's own header line, with its newline.
fn header_line(file: &File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = vec![0; usize::try_from(len.min(LOOK as u64)).unwrap_or(LOOK)];
    file.read_exact_at(&mut head, 0)?;
    let line = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_header = line.ends_with(b"\n") && Facts::read(line).is_some_and(|facts| facts.kind == "session");
    Ok(is_header.then(|| line.to_vec()))
}

/// The line with this id and parent, everything else as it was.
fn placed(line: &[u8], id: &str, parent: Option<&str>) -> io::Result<Vec<u8>> {
    let mut old: Map<String, Value> = serde_json::from_slice(line)?;
    let mut entry = Map::new();
    entry.insert("type".to_owned(), old.remove("type").unwrap_or_default());
    entry.insert("id".to_owned(), json!(id));
    entry.insert("parentId".to_owned(), json!(parent));
    old.shift_remove("id");
    old.shift_remove("parentId");
    entry.extend(old);
    Ok(serde_json::to_vec(&Value::Object(entry))?)
}

/// The header of a file, if it has one.
pub(super) fn header(file: &File, len: u64) -> io::Result<Option<Header>> {
    let Some(line) = header_line(file, len)? else { return Ok(None) };
    Ok(Facts::read(&line)
        .map(|facts| Header { id: facts.id.unwrap_or_default(), cwd: facts.cwd.map(std::borrow::Cow::into_owned).unwrap_or_default() }))
}

/// Finds the entry with this id, wherever it stands, and returns its line and how many lines stand from it to the end.
pub(super) fn find(file: &File, len: u64, id: &str, max_line: usize) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut lines = Backward::new(file, len, max_line);
    let mut back = 0;
    while let Some(line) = lines.previous()? {
        back += u64::from(line.ended);
        // Most lines are not it; only one in whose text the id occurs is read.
        if memchr::memmem::find(&line.bytes, id.as_bytes()).is_none() || !line.is_whole() {
            continue;
        }
        if Facts::read(&line.bytes).is_some_and(|facts| facts.id.as_deref() == Some(id) && facts.kind != "session") {
            return Ok(Some((line.bytes, back)));
        }
    }
    Ok(None)
}

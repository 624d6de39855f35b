//! Checks a log from its first record to its last, offline: with the files, the public key, and heads that were kept elsewhere.
//!
//! It stops at the first fault and says which record is bad and why. A chain proves what is between its signed records; what was cut off its end shows only against a head (see `head.json`, the daemon's log, `health`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::desk::{HEAD_FILE, SIGNED, told_head};
use super::key::Verifier;
use super::record::{self, Hash, Record, Unreadable, sha256};
use super::segment::{self, Segment};
use super::{Action, Head};

/// What was done to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A record is not as it was written.
    Edited,
    /// Records are missing in the middle or at the beginning.
    Removed,
    /// Records stand in another order, or twice.
    Reordered,
    /// The end is missing.
    Truncated,
    /// A signature is missing or another's: records were made without the gateway's key.
    Forged,
}

/// The first fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Number of the first bad record.
    pub n: u64,
    /// What was done.
    pub kind: Kind,
    /// The file, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The line in it, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What was found, for a person.
    pub text: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Number of the first record; 0 = there is none.
    pub first: u64,
    /// Number of the last good record.
    pub last: u64,
    /// Its hash.
    pub hash: Hash,
    /// Good records.
    pub records: u64,
    /// Files.
    pub segments: u64,
    /// Good signatures.
    pub signed: u64,
    /// Number of the last record that a signature vouches for, with all before it.
    pub vouched: u64,
    /// Whether the last record is that of an orderly stop. If not, the daemon is at work, has crashed, or the end was cut off.
    pub closed: bool,
    /// What is worth knowing and no fault.
    pub notices: Vec<String>,
    /// The first fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Checks the log in `dir`. `keys`: the public keys that may have signed it; `heads`: heads that were kept elsewhere.
///
/// # Errors
/// A file cannot be read.
pub fn verify(dir: &Path, keys: &[Verifier], heads: &[Head]) -> io::Result<Report> {
    let segments = segment::list(dir)?;
    let mut wanted: BTreeMap<u64, Vec<Hash>> = BTreeMap::new();
    for head in heads {
        wanted.entry(head.n).or_default().push(head.hash);
    }
    let mut walk =
        Walk { dir, keys, wanted, report: Report::default(), head: Head::default(), missing: None, pruned: false, pending: None };
    if let Some(told) = told_head(dir) {
        if keys.iter().any(|key| key.verify(&told.hash, &told.sig)) {
            walk.wanted.entry(told.n).or_default().push(told.hash);
        } else {
            walk.report.notices.push(format!("{HEAD_FILE} is not signed by the key and was not used"));
        }
    }
    for (at, segment) in segments.iter().enumerate() {
        walk.report.segments += 1;
        if let Err(fault) = walk.segment(segment, segments.get(at + 1))? {
            walk.report.fault = Some(fault);
            return Ok(walk.report);
        }
    }
    walk.report.fault = walk.end().err();
    Ok(walk.report)
}

/// Every record of a log that can be read, with its line as it lies there, in the order of the files. `take` says whether to go on.
///
/// # Errors
/// A file cannot be read.
pub fn each(dir: &Path, mut take: impl FnMut(Record, &str) -> bool) -> io::Result<()> {
    for segment in segment::list(dir)? {
        let bytes = std::fs::read(&segment.path)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok((record, _)) = record::read(line)
                && !take(record, &String::from_utf8_lossy(line))
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A damaged end that the first record of the next segment must name.
struct Damage {
    segment: String,
    offset: u64,
    bytes: u64,
    digest: Hash,
    line: u64,
}

struct Walk<'w> {
    dir: &'w Path,
    keys: &'w [Verifier],
    wanted: BTreeMap<u64, Vec<Hash>>,
    report: Report,
    head: Head,
    /// The log begins behind this head, which a later record must name as pruned.
    missing: Option<Head>,
    pruned: bool,
    pending: Option<Damage>,
}

/// Where a record stands.
struct At<'a> {
    segment: &'a Segment,
    line: u64,
}

impl At<'_> {
    fn fault(&self, n: u64, kind: Kind, text: impl Into<String>) -> Fault {
        Fault { n, kind, segment: Some(self.segment.name()), line: Some(self.line), text: text.into() }
    }
}

impl Walk<'_> {
    fn segment(&mut self, segment: &Segment, next: Option<&Segment>) -> io::Result<Result<(), Fault>> {
        let bytes = std::fs::read(&segment.path)?;
        let mut offset = 0_usize;
        let mut at = At { segment, line: 0 };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at.line += 1;
            let whole = line.strip_suffix(b"\n");
            let read = whole.map(record::read);
            if let Some(Ok((record, hash))) = read {
                if let Err(fault) = self.record(&record, hash, &at) {
                    return Ok(Err(fault));
                }
            } else if whole.is_none() && next.is_some() {
                // Only the last line of a file can lack its newline; the next file must begin by saying so.
                let rest = bytes.get(offset..).unwrap_or_default();
                let (offset, len) = (offset as u64, rest.len() as u64);
                self.pending = Some(Damage { segment: segment.name(), offset, bytes: len, digest: sha256(rest), line: at.line });
            } else {
                return Ok(Err(self.unreadable(read, &at)));
            }
            offset += line.len();
        }
        Ok(Ok(()))
    }

    fn unreadable(&self, read: Option<Result<(Record, Hash), Unreadable>>, at: &At<'_>) -> Fault {
        let n = self.head.n + 1;
        match read {
            Some(Err(cause)) => at.fault(n, Kind::Edited, format!("record {n} is not as it was written: {cause}")),
            _ => at.fault(
                n,
                Kind::Truncated,
                format!("record {n} is cut off in the middle; if the daemon has just crashed, its next start notes that"),
            ),
        }
    }

    fn record(&mut self, record: &Record, hash: Hash, at: &At<'_>) -> Result<(), Fault> {
        if self.report.records == 0 {
            self.begin(record);
        }
        self.settle(record, at)?;
        self.place(record, at)?;
        let signed = self.signature(record, &hash, at)?;
        if let Some(hashes) = self.wanted.remove(&record.n)
            && hashes.iter().any(|wanted| *wanted != hash)
        {
            let text = format!(
                "record {} is another than the head that was kept elsewhere names; it or records before it were made anew",
                record.n
            );
            return Err(at.fault(record.n, Kind::Edited, text));
        }
        if record.action == Action::Gap.name() {
            let text = format!(
                "the daemon found at its start that the records before it had been cut off: {}",
                record.reason.as_deref().unwrap_or("-")
            );
            return Err(at.fault(record.n, Kind::Truncated, text));
        }
        if record.action == Action::Prune.name()
            && let Some(missing) = &self.missing
        {
            self.pruned |= record.detail.get("n").is_some_and(|n| *n == missing.n)
                && record.detail.get("hash").is_some_and(|hash| *hash == missing.hash.to_string());
        }
        if record.action == Action::Lost.name() {
            let count = record.detail.get("count").map_or_else(|| "some".to_owned(), ToString::to_string);
            self.report.notices.push(format!("record {}: {count} notes were lost before it", record.n));
        }
        self.head = Head { n: record.n, hash };
        (self.report.last, self.report.hash) = (record.n, hash);
        self.report.records += 1;
        self.report.closed = record.action == Action::Stop.name();
        if signed {
            self.report.signed += 1;
            self.report.vouched = record.n;
        }
        Ok(())
    }

    /// The first record that is there need not be the first that was written.
    fn begin(&mut self, record: &Record) {
        if record.n > 1 && self.head.n == 0 {
            let before = Head { n: record.n - 1, hash: record.prev };
            self.wanted = self.wanted.split_off(&record.n);
            self.head = before.clone();
            self.missing = Some(before);
        }
        self.report.first = record.n;
    }

    /// A damaged end of the last file must be named by the first record of this one.
    fn settle(&mut self, record: &Record, at: &At<'_>) -> Result<(), Fault> {
        let Some(damage) = self.pending.take() else { return Ok(()) };
        let Damage { segment, offset, bytes, digest, line } = damage;
        let named = record.action == Action::Repair.name()
            && record.target.as_deref() == Some(&segment)
            && record.detail.get("offset").is_some_and(|n| *n == offset)
            && record.detail.get("bytes").is_some_and(|n| *n == bytes)
            && record.target_digest == Some(digest);
        if !named {
            let n = self.head.n + 1;
            let text = format!("record {n} is cut off in the middle, and {} does not begin by saying so", at.segment.name());
            return Err(Fault { n, kind: Kind::Truncated, segment: Some(segment), line: Some(line), text });
        }
        self.report
            .notices
            .push(format!("record {}: {bytes} bytes at the end of {segment} are no whole record, as a crash leaves them", record.n));
        Ok(())
    }

    fn place(&self, record: &Record, at: &At<'_>) -> Result<(), Fault> {
        let expected = self.head.n + 1;
        if record.n > expected {
            let later = self.stands_later(expected);
            let (kind, what) = if later { (Kind::Reordered, "stands in a later place") } else { (Kind::Removed, "is missing") };
            return Err(at.fault(expected, kind, format!("record {expected} {what}; record {} follows record {}", record.n, self.head.n)));
        }
        if record.n < expected {
            let text = format!("record {} stands behind record {}, where it does not belong", record.n, self.head.n);
            return Err(at.fault(expected, Kind::Reordered, text));
        }
        if record.prev != self.head.hash {
            // A record that a good signature vouches for is as it was written, so then it is the later one.
            let n = if self.head.n > self.report.vouched { self.head.n } else { expected };
            return Err(at.fault(
                n,
                Kind::Edited,
                format!("record {expected} was written behind another record {} than the one here", self.head.n),
            ));
        }
        Ok(())
    }

    fn stands_later(&self, n: u64) -> bool {
        let mut found = false;
        // What cannot be read cannot be the record that is looked for.
        let _ = each(self.dir, |record, _| {
            found |= record.n == n;
            !found
        });
        found
    }

    /// Whether the record is signed, and well.
    fn signature(&self, record: &Record, hash: &Hash, at: &At<'_>) -> Result<bool, Fault> {
        let needed = SIGNED.iter().any(|action| action.name() == record.action);
        match &record.sig {
            None if needed => Err(at.fault(record.n, Kind::Forged, format!("record {} ({}) is not signed", record.n, record.action))),
            None => Ok(false),
            Some(sig) if self.keys.iter().any(|key| key.verify(hash, sig)) => Ok(true),
            Some(_) => {
                let text = format!(
                    "record {} is not signed by the given key; every record since {} may have been made anew",
                    record.n,
                    self.report.vouched + 1
                );
                Err(at.fault(record.n, Kind::Forged, text))
            }
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        let n = self.head.n + 1;
        let fault = |n, kind, text: String| Fault { n, kind, segment: None, line: None, text };
        if let Some(missing) = &self.missing
            && !self.pruned
        {
            let text = format!("records 1 to {} are missing, and no record says that they were deleted for their age", missing.n);
            return Err(fault(1, Kind::Removed, text));
        }
        if let Some((head, _)) = self.wanted.last_key_value() {
            let text = format!("the log ends with record {}, but record {head} had been written", self.head.n);
            return Err(fault(n, Kind::Truncated, text));
        }
        if !self.report.closed && self.report.records > 0 {
            let text = "the last record is not that of an orderly stop: the daemon is at work, has crashed, or the end was cut off; compare the head with the daemon's log";
            self.report.notices.push(text.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What happens to the output of a command: cut into chunks, complete up to a cap, and beyond it the newest part, with exact counts of what was left out.
//!
//! The command is never blocked for want of room: beyond the cap its output is still read, counted and forgotten.
//! Pure but for its [`Sink`]: no pipes and no clock here.

use std::collections::VecDeque;

use super::utf8::Decoder;
use crate::protocol::escape::{escaped_len, fitting_prefix};
use crate::protocol::event::agent::Source;

/// Most bytes of one chunk, escaped.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// What a line costs beyond its text, in bytes; roughly, it only guards the cap.
const LINE_OVERHEAD: u64 = 256;

/// Where chunks go.
pub trait Sink {
    /// Stores a chunk. `dropped_bytes` were left out just before it. Returns whether it was stored; if not, it counts as dropped.
    fn chunk(&mut self, source: Source, text: &str, dropped_bytes: Option<u64>) -> bool;
}

/// The counts of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes the command wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes the command wrote to stderr.
    pub stderr_bytes: u64,
    /// Bytes of both that no chunk holds.
    pub dropped_bytes: u64,
}

impl Counts {
    /// Adds those of another command.
    pub fn add(&mut self, other: Self) {
        self.stdout_bytes += other.stdout_bytes;
        self.stderr_bytes += other.stderr_bytes;
        self.dropped_bytes += other.dropped_bytes;
    }

    /// Bytes that chunks hold.
    #[must_use]
    pub fn kept(self) -> u64 {
        (self.stdout_bytes + self.stderr_bytes).saturating_sub(self.dropped_bytes)
    }
}

/// The output of one command on its way to a sink.
#[derive(Debug)]
pub struct Output<S> {
    sink: S,
    counts: Counts,
    stdout: Decoder,
    stderr: Decoder,
    /// How many bytes of lines may still be stored before the tail begins.
    room: u64,
    tail: Tail,
    /// Bytes dropped since the last chunk that was stored.
    gap: u64,
}

impl<S: Sink> Output<S> {
    /// Output with at most `cap_bytes` of lines, of which `tail_bytes` (at most half) are for the newest.
    pub fn new(sink: S, cap_bytes: u64, tail_bytes: u64) -> Self {
        let tail_bytes = tail_bytes.min(cap_bytes / 2);
        Self {
            sink,
            counts: Counts::default(),
            stdout: Decoder::default(),
            stderr: Decoder::default(),
            room: cap_bytes - tail_bytes,
            tail: Tail { limit: tail_bytes, ..Tail::default() },
            gap: 0,
        }
    }

    /// Takes what was read from a pipe.
    pub fn push(&mut self, source: Source, bytes: &[u8]) {
        let size = bytes.len() as u64;
        let decoder = match source {
            Source::Stdout => {
                self.counts.stdout_bytes += size;
                &mut self.stdout
            }
            Source::Stderr => {
                self.counts.stderr_bytes += size;
                &mut self.stderr
            }
        };
        let before = decoder.held() as u64;
        let text = decoder.push(bytes);
        let raw = before + size - decoder.held() as u64;
        self.text(source, &text, raw);
    }

    /// Ends both pipes: what was held back comes out, then the tail. The counts are final after this.
    pub fn finish(&mut self) -> Counts {
        for (source, raw, text) in
            [(Source::Stdout, self.stdout.held(), self.stdout.finish()), (Source::Stderr, self.stderr.held(), self.stderr.finish())]
        {
            self.text(source, &text, raw as u64);
        }
        for piece in std::mem::take(&mut self.tail.pieces) {
            self.store(piece.source, &piece.text, piece.raw);
        }
        self.counts
    }

    /// The sink.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// `raw` bytes of the pipe became `text`. Where bytes were replaced the lengths differ, so each piece carries its share of `raw` and the last one what is left.
    fn text(&mut self, source: Source, text: &str, raw: u64) {
        let exact = text.len() as u64 == raw;
        let (mut rest, mut raw_left) = (text, raw);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(fitting_prefix(rest, self.tail.piece_limit()));
            let share = if after.is_empty() {
                raw_left
            } else if exact {
                piece.len() as u64
            } else {
                raw_len(piece).min(raw_left)
            };
            raw_left -= share;
            rest = after;
            self.piece(source, piece, share);
        }
    }

    fn piece(&mut self, source: Source, text: &str, raw: u64) {
        let cost = escaped_len(text) as u64 + LINE_OVERHEAD;
        if self.tail.active || cost > self.room {
            let lost = self.tail.push(Piece { source, text: text.to_owned(), raw, cost });
            self.counts.dropped_bytes += lost;
            self.gap += lost;
            return;
        }
        self.room -= cost;
        self.store(source, text, raw);
    }

    fn store(&mut self, source: Source, text: &str, raw: u64) {
        let gap = (self.gap > 0).then_some(self.gap);
        if self.sink.chunk(source, text, gap) {
            self.gap = 0;
        } else {
            self.counts.dropped_bytes += raw;
            self.gap += raw;
        }
    }
}

/// How many bytes of a pipe became this text, if every U+FFFD in it stands for one byte. Close enough where a piece is cut out of damaged text; sums stay exact.
fn raw_len(text: &str) -> u64 {
    let replaced = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
    (text.len() - 2 * replaced) as u64
}

/// The newest output, kept in memory while the head is full.
#[derive(Debug, Default)]
struct Tail {
    limit: u64,
    /// Once the head is full everything goes here, so that order is kept.
    active: bool,
    used: u64,
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    source: Source,
    text: String,
    raw: u64,
    cost: u64,
}

impl Tail {
    /// Pieces are small against the whole tail, so that it always holds most of what it may.
    fn piece_limit(&self) -> usize {
        if !self.active || self.limit == 0 {
            return CHUNK_BYTES;
        }
        usize::try_from(self.limit / 8).unwrap_or(CHUNK_BYTES).clamp(1024, CHUNK_BYTES)
    }

    /// Takes the newest piece and returns how many bytes fell out.
    fn push(&mut self, piece: Piece) -> u64 {
        self.active = true;
        match self.pieces.back_mut() {
            // Small writes are joined, so that a million of them do not cost a million lines.
            Some(last) if last.source == piece.source && last.cost + piece.cost < CHUNK_BYTES as u64 && last.cost < self.limit / 8 => {
                last.text.push_str(&piece.text);
                last.raw += piece.raw;
                last.cost += piece.cost - LINE_OVERHEAD;
                self.used += piece.cost - LINE_OVERHEAD;
            }
            _ => {
                self.used += piece.cost;
                self.pieces.push_back(piece);
            }
        }
        let mut lost = 0;
        while self.used > self.limit
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.used -= oldest.cost;
            lost += oldest.raw;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Stored {
        chunks: Vec<(Source, String, Option<u64>)>,
        refuse_after: Option<usize>,
    }

    impl Sink for Stored {
        fn chunk(&mut self, source: Source, text: &str, dropped_bytes: Option<u64>) -> bool {
            if self.refuse_after.is_some_and(|n| self.chunks.len() >= n) {
                return false;
            }
            self.chunks.push((source, text.to_owned(), dropped_bytes));
            true
        }
    }

    fn output(cap: u64, tail: u64) -> Output<Stored> {
        Output::new(Stored::default(), cap, tail)
    }

    #[test]
    fn m76_output_below_the_cap_is_complete_and_in_order() {
        let mut out = output(1 << 20, 1 << 10);
        out.push(Source::Stdout, "aé".as_bytes());
        out.push(Source::Stderr, b"!");
        out.push(Source::Stdout, &"€".as_bytes()[..2]);
        out.push(Source::Stdout, &"€".as_bytes()[2..]);
        let counts = out.finish();
        assert_eq!(counts, Counts { stdout_bytes: 6, stderr_bytes: 1, dropped_bytes: 0 });
        let texts: Vec<_> = out.sink.chunks.iter().map(|(source, text, gap)| (*source, text.as_str(), *gap)).collect();
        assert_eq!(texts, [(Source::Stdout, "aé", None), (Source::Stderr, "!", None), (Source::Stdout, "€", None)]);
    }

    #[test]
    fn m76_a_flood_keeps_head_and_tail_and_counts_the_rest_exactly() {
        let mut out = output(1 << 20, 1 << 18);
        let mut all = Vec::new();
        for n in 0..200_000 {
            let line = format!("line {n}\n");
            all.extend_from_slice(line.as_bytes());
            out.push(Source::Stdout, line.as_bytes());
        }
        let counts = out.finish();
        let chunks = &out.sink.chunks;
        let gaps: Vec<usize> = (0..chunks.len()).filter(|n| chunks[*n].2.is_some()).collect();
        let &[gap] = &gaps[..] else { panic!("{} gaps", gaps.len()) };
        let head: String = chunks[..gap].iter().map(|c| c.1.as_str()).collect();
        let tail: String = chunks[gap..].iter().map(|c| c.1.as_str()).collect();
        assert!(all.starts_with(head.as_bytes()) && all.ends_with(tail.as_bytes()));
        assert_eq!(counts.dropped_bytes, (all.len() - head.len() - tail.len()) as u64);
        assert_eq!(chunks[gap].2, Some(counts.dropped_bytes));
        assert!(tail.len() as u64 > (1 << 18) * 3 / 4, "the tail is nearly full: {}", tail.len());
        let stored: u64 = chunks.iter().map(|c| escaped_len(&c.1) as u64).sum();
        assert!(stored <= 1 << 20);
    }

    #[test]
    fn m76_the_cap_is_in_escaped_bytes_and_so_is_a_chunk() {
        let mut out = output(1 << 20, 0);
        for _ in 0..64 {
            out.push(Source::Stdout, &[0; 65536]);
        }
        let counts = out.finish();
        assert!(out.sink.chunks.iter().all(|c| escaped_len(&c.1) <= CHUNK_BYTES));
        let stored: u64 = out.sink.chunks.iter().map(|c| c.1.len() as u64).sum();
        assert!(stored * 6 <= 1 << 20);
        assert_eq!(stored + counts.dropped_bytes, counts.stdout_bytes);
    }

    #[test]
    fn a_sink_that_refuses_makes_a_counted_gap() {
        let mut out = output(1 << 20, 0);
        out.sink().refuse_after = Some(1);
        out.push(Source::Stdout, b"ab");
        out.push(Source::Stdout, b"cde");
        out.sink().refuse_after = None;
        out.push(Source::Stdout, b"f");
        assert_eq!(out.finish().dropped_bytes, 3);
        assert_eq!(out.sink.chunks[1], (Source::Stdout, "f".to_owned(), Some(3)));
    }

    proptest! {
        #[test]
        fn m76_whatever_comes_stored_and_dropped_add_up(
            writes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..100)), 0..30),
            cap in 0_u64..12_000,
            tail in 0_u64..9_000,
        ) {
            let mut out = output(cap, tail);
            let mut total = 0;
            let mut valid = true;
            for (stderr, bytes) in &writes {
                total += bytes.len() as u64;
                valid &= bytes.is_ascii();
                out.push(if *stderr { Source::Stderr } else { Source::Stdout }, bytes);
            }
            let counts = out.finish();
            prop_assert_eq!(counts.stdout_bytes + counts.stderr_bytes, total);
            prop_assert!(counts.dropped_bytes <= total);
            let stored: u64 = out.sink.chunks.iter().map(|c| c.1.len() as u64).sum();
            prop_assert!(!valid || stored + counts.dropped_bytes == total);
            let cost: u64 = out.sink.chunks.iter().map(|c| escaped_len(&c.1) as u64).sum();
            prop_assert!(cost <= cap);
        }

        #[test]
        fn m76_plain_text_adds_up_exactly(writes in proptest::collection::vec("[a-z\\n\u{0}é]{0,100}", 0..30), cap in 0_u64..12_000, tail in 0_u64..9_000) {
            let mut out = output(cap, tail);
            for text in &writes {
                out.push(Source::Stdout, text.as_bytes());
            }
            let counts = out.finish();
            let stored: u64 = out.sink.chunks.iter().map(|c| c.1.len() as u64).sum();
            prop_assert_eq!(stored + counts.dropped_bytes, counts.stdout_bytes);
        }
    }
}

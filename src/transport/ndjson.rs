//! Newline-delimited messages: the same frames as over WebSocket, one per line, for the local socket and for tests.
//!
//! Blank lines are skipped, a carriage return before the newline is dropped. There are no pings and no close frame: the end of the stream is the close. The unfinished last line of a stream that ends is dropped, as it would be in any log.

use std::future::poll_fn;
use std::time::Duration;

use crate::transport::intake::{Intake, Source, Stopped};
use crate::transport::wire::{Incoming, ReadLimits};

/// Reads the lines of one connection.
pub struct Reader {
    intake: Intake,
    /// Bytes of the read-ahead that are known to hold no newline.
    searched: usize,
    max_message_bytes: usize,
    ended: bool,
}

impl Reader {
    /// Reads lines from `socket`.
    #[must_use]
    pub fn new(socket: Source, limits: &ReadLimits) -> Self {
        let intake = Intake::new(socket, Vec::new(), limits.message_timeout);
        Self { intake, searched: 0, max_message_bytes: limits.max_message_bytes, ended: false }
    }

    /// Changes the longest line that is taken.
    pub fn set_limits(&mut self, max_message_bytes: usize) {
        self.max_message_bytes = max_message_bytes;
    }

    /// The next line. After a violation or the end it says `End` forever. Losing the future before it is ready loses nothing.
    pub async fn next(&mut self) -> Incoming {
        while !self.ended {
            match self.line() {
                Some(Incoming::Text(line)) if line.is_empty() => continue,
                Some(Incoming::Text(line)) => return Incoming::Text(line),
                Some(other) => {
                    self.ended = true;
                    return other;
                }
                None => {}
            }
            if let Err(stopped) = poll_fn(|cx| self.intake.poll_more(cx)).await {
                self.ended = true;
                return match stopped {
                    Stopped::End => Incoming::End,
                    Stopped::TimedOut => Incoming::Violation { code: 1008, reason: "message timed out" },
                };
            }
        }
        Incoming::End
    }

    /// See [`Intake::drain`].
    pub async fn drain(&mut self, at_most: Duration) {
        self.ended = true;
        self.intake.drain(at_most).await;
    }

    /// Cuts the next line from what was read. `None`: it has not ended yet.
    fn line(&mut self) -> Option<Incoming> {
        const TOO_BIG: Incoming = Incoming::Violation { code: 1009, reason: "message too big" };
        let ahead = self.intake.ahead();
        let newline = ahead.get(self.searched..)?.iter().position(|byte| *byte == b'\n');
        let Some(newline) = newline.map(|at| at + self.searched) else {
            self.searched = ahead.len();
            // One byte more than the limit may be the carriage return of a line that just fits.
            return (ahead.len() > self.max_message_bytes.saturating_add(1)).then_some(TOO_BIG);
        };
        let line = ahead.get(..newline)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.max_message_bytes {
            return Some(TOO_BIG);
        }
        let text = std::str::from_utf8(line).map(str::to_owned);
        self.intake.consume(newline + 1);
        self.intake.message_ended();
        self.searched = 0;
        Some(text.map_or(Incoming::Violation { code: 1007, reason: "invalid utf-8" }, Incoming::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    fn pair(max_message_bytes: usize) -> (DuplexStream, Reader) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let limits = ReadLimits { max_message_bytes, max_fragments: 1, message_timeout: Duration::from_secs(10) };
        (theirs, Reader::new(Box::new(ours), &limits))
    }

    async fn read_all(bytes: &[u8], limit: usize) -> Vec<Incoming> {
        let (mut peer, mut reader) = pair(limit);
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        let mut all = Vec::new();
        while all.last() != Some(&Incoming::End) {
            all.push(reader.next().await);
        }
        all
    }

    fn text(line: &str) -> Incoming {
        Incoming::Text(line.to_owned())
    }

    const TOO_BIG: Incoming = Incoming::Violation { code: 1009, reason: "message too big" };

    #[tokio::test]
    async fn lines_are_messages_whatever_ends_them() {
        let all = read_all("{}\r\n\n\r\n[\"é\"]\nunfinished".as_bytes(), 100).await;
        assert_eq!(all, [text("{}"), text("[\"é\"]"), Incoming::End]);
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
        assert_eq!(read_all(b"12345\r\n12345\n", 5).await, [text("12345"), text("12345"), Incoming::End]);
        assert_eq!(read_all(b"123456\n", 5).await, [TOO_BIG, Incoming::End]);
        assert_eq!(read_all(b"1234567", 5).await, [TOO_BIG, Incoming::End], "without waiting for its end");
    }

    #[tokio::test]
    async fn a_line_that_is_not_utf8_ends_the_connection() {
        let bad = Incoming::Violation { code: 1007, reason: "invalid utf-8" };
        assert_eq!(read_all(b"ok\n\xff\nnever\n", 100).await, [text("ok"), bad, Incoming::End]);
    }

    #[tokio::test]
    async fn a_line_may_come_byte_by_byte_and_a_dropped_wait_loses_nothing() {
        let (mut peer, mut reader) = pair(100);
        for byte in b"hello\n" {
            let waiting = tokio::time::timeout(Duration::ZERO, reader.next()).await;
            assert!(waiting.is_err());
            peer.write_all(&[*byte]).await.unwrap();
        }
        assert_eq!(reader.next().await, text("hello"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_line_must_end_in_time_and_a_silent_peer_may_be_silent() {
        let (mut peer, mut reader) = pair(100);
        assert!(tokio::time::timeout(Duration::from_secs(3600), reader.next()).await.is_err());
        peer.write_all(b"{").await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(reader.next().await, Incoming::Violation { code: 1008, reason: "message timed out" });
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_raised_limit_holds_from_the_next_line_on() {
        let (mut peer, mut reader) = pair(5);
        peer.write_all(b"12345\n1234567890\n").await.unwrap();
        assert_eq!(reader.next().await, text("12345"));
        reader.set_limits(10);
        assert_eq!(reader.next().await, text("1234567890"));
    }
}

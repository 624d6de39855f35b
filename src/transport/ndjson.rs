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

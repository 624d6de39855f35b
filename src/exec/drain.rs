//! Reads the two output pipes of a command until both are at their end.
//!
//! After a read a pipe is left alone for a few milliseconds and then read until it is empty once: the first line is never delayed, a flood costs few wake-ups, and the kernel's buffer holds a command back that writes too fast.

use std::io;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::output::{Output, Sink};
use crate::protocol::event::agent::Source;

/// How long a pipe is left alone after a read, so that small writes come together in one event.
const QUIET: Duration = Duration::from_millis(5);
/// The same after a read that filled whole events: waiting longer would join nothing and only slow the command down.
const QUIET_IN_FLOOD: Duration = Duration::from_millis(2);
/// Bytes per read: with room for what escaping adds to ordinary text, one read is one event of at most 64 KiB.
const READ_BYTES: usize = 56 * 1024;
/// Most bytes taken from one pipe in a row.
const BURST_BYTES: usize = 1024 * 1024;

/// The two pipes of a command.
#[derive(Debug)]
pub struct Drain {
    stdout: Pipe,
    stderr: Pipe,
    max_bytes_per_second: Option<u64>,
    /// From now on nothing is waited for: the command has ended.
    hurry: CancellationToken,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Pipe {
    source: Source,
    receiver: Receiver,
    quiet_until: Option<Instant>,
    ended: bool,
}

impl Drain {
    /// A drain of these pipes. `hurry` ends the pauses between reads.
    #[must_use]
    pub fn new(stdout: Receiver, stderr: Receiver, max_bytes_per_second: Option<u64>, hurry: CancellationToken) -> Self {
        let pipe = |source, receiver| Pipe { source, receiver, quiet_until: None, ended: false };
        Self {
            stdout: pipe(Source::Stdout, stdout),
            stderr: pipe(Source::Stderr, stderr),
            max_bytes_per_second,
            hurry,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Reads into `output` until both pipes are at their end. Safe to cancel.
    pub async fn run<S: Sink>(&mut self, output: &mut Output<S>) {
        while !(self.stdout.ended && self.stderr.ended) {
            let pipe = tokio::select! {
                () = self.stdout.ready(&self.hurry), if !self.stdout.ended => &mut self.stdout,
                () = self.stderr.ready(&self.hurry), if !self.stderr.ended => &mut self.stderr,
            };
            let taken = pipe.read(&mut self.buffer, output);
            pipe.quiet_until = (taken > 0).then(|| Instant::now() + pause_after(taken, self.max_bytes_per_second));
            // A pipe that is always full must not keep the control connection from being served.
            tokio::task::yield_now().await;
        }
    }
}

/// The pause after a read of `taken` bytes; with a limit, long enough that it is not exceeded.
fn pause_after(taken: usize, max_bytes_per_second: Option<u64>) -> Duration {
    let quiet = if taken >= READ_BYTES { QUIET_IN_FLOOD } else { QUIET };
    match max_bytes_per_second {
        Some(rate) => quiet.max(Duration::from_secs_f64(taken as f64 / rate.max(1) as f64)),
        None => quiet,
    }
}

impl Pipe {
    async fn ready(&self, hurry: &CancellationToken) {
        if let Some(until) = self.quiet_until {
            tokio::select! {
                () = sleep_until(until) => {}
                () = hurry.cancelled() => {}
            }
        }
        // An error shows itself again in the read.
        let _ = self.receiver.readable().await;
    }

    /// Reads what is there, at most a burst, and returns how many bytes that were.
    fn read<S: Sink>(&mut self, buffer: &mut [u8], output: &mut Output<S>) -> usize {
        let mut taken = 0;
        while taken < BURST_BYTES {
            match self.receiver.try_read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => {
                    output.push(self.source, buffer.get(..n).unwrap_or_default());
                    taken += n;
                    // The pipe was empty at that moment. Reading on would make an event of every byte of a command that writes single bytes.
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(busy) if busy.kind() == io::ErrorKind::Interrupted => {}
                Err(empty) if empty.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Texts(String);

    impl Sink for Texts {
        fn chunk(&mut self, _: Source, text: &str, _: Option<u64>) -> bool {
            self.0.push_str(text);
            true
        }
    }

    #[tokio::test]
    async fn both_pipes_are_read_to_their_ends() {
        let (out_reader, mut out_writer) = std::io::pipe().unwrap();
        let (err_reader, mut err_writer) = std::io::pipe().unwrap();
        let receivers = (Receiver::from_owned_fd(out_reader.into()).unwrap(), Receiver::from_owned_fd(err_reader.into()).unwrap());
        let mut output = Output::new(Texts(String::new()), 1 << 20, 0);
        out_writer.write_all(b"one").unwrap();
        err_writer.write_all(b"two").unwrap();
        drop((out_writer, err_writer));
        Drain::new(receivers.0, receivers.1, None, CancellationToken::new()).run(&mut output).await;
        let counts = output.finish();
        assert_eq!((counts.stdout_bytes, counts.stderr_bytes), (3, 3));
        assert!(["onetwo", "twoone"].contains(&output.sink().0.as_str()));
    }

    #[test]
    fn the_pause_follows_the_rate_and_is_never_shorter_than_the_quiet_time() {
        assert_eq!(pause_after(1000, Some(1000)), Duration::from_secs(1));
        assert_eq!(pause_after(1, Some(1_000_000)), QUIET);
        assert_eq!(pause_after(0, Some(0)), QUIET);
        assert_eq!(pause_after(READ_BYTES, None), QUIET_IN_FLOOD);
    }
}

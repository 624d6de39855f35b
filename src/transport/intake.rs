//! Read-ahead of one socket: takes what the kernel has, keeps it until it is asked for, and watches that a begun message ends in time.
//!
//! An idle connection owns no buffer here: bytes are first read to the stack, and the heap buffer is given back as soon as it is empty and the socket has nothing more. That is what keeps thousands of idle connections cheap.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The readable half of any socket.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Bytes taken from the socket in one go.
const READ_BYTES: usize = 16 * 1024;

/// A sender that keeps at least this many bytes per second coming may take longer than the message timeout, so that a large message over a slow line arrives while a trickle of single bytes does not hold a connection.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

/// Why no more bytes come.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The peer closed its side, or the socket failed.
    #[error("the peer is gone")]
    End,
    /// A message was begun and not finished in time.
    #[error("message timed out")]
    TimedOut,
}

/// The socket with the bytes read ahead of what was asked for.
pub struct Intake {
    socket: Source,
    ahead: Vec<u8>,
    at: usize,
    timeout: Duration,
    /// When the message being read began, and how many bytes of it have come.
    began: Option<(Instant, u64)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Intake {
    /// Starts with `ahead`, the bytes that came in the same packet as the end of the handshake.
    #[must_use]
    pub fn new(socket: Source, ahead: Vec<u8>, timeout: Duration) -> Self {
        let began = (!ahead.is_empty()).then(|| (Instant::now(), 0));
        Self { socket, ahead, at: 0, timeout, began, alarm: None }
    }

    /// The bytes read and not yet consumed.
    #[must_use]
    pub fn ahead(&self) -> &[u8] {
        self.ahead.get(self.at..).unwrap_or_default()
    }

    /// Drops the first `count` of [`Intake::ahead`].
    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.ahead.len());
        if self.at == self.ahead.len() {
            self.ahead.clear();
            self.at = 0;
        }
    }

    /// Hands out everything that was read ahead.
    pub fn take_ahead(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.ahead);
        all.drain(..self.at.min(all.len()));
        self.at = 0;
        all
    }

    /// Says that a message has ended: the clock of the next one starts with its first byte.
    pub fn message_ended(&mut self) {
        self.alarm = None;
        self.began = (!self.ahead().is_empty()).then(|| (Instant::now(), 0));
    }

    /// Waits until at least one more byte is in [`Intake::ahead`].
    ///
    /// # Errors
    /// [`Stopped`] when none will come.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.at > 0 {
            self.ahead.drain(..self.at);
            self.at = 0;
        }
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buf = ReadBuf::uninit(&mut space);
        let count = ready!(self.poll_socket(cx, &mut buf))?;
        debug_assert_eq!(count, buf.filled().len());
        self.ahead.extend_from_slice(buf.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket past the read-ahead, which must be empty; for the body of large frames.
    ///
    /// # Errors
    /// [`Stopped`] when no more bytes will come.
    pub fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<usize, Stopped>> {
        let before = buf.filled().len();
        let read: Poll<io::Result<()>> = Pin::new(&mut self.socket).poll_read(cx, buf);
        match read {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len() - before;
                if count == 0 {
                    return Poll::Ready(Err(Stopped::End));
                }
                let (_, bytes) = self.began.get_or_insert_with(|| (Instant::now(), 0));
                *bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Stopped::End)),
            Poll::Pending => {
                if self.ahead.is_empty() && self.ahead.capacity() > 0 {
                    self.ahead = Vec::new();
                }
                self.poll_alarm(cx)
            }
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Stopped>> {
        let Some((began, bytes)) = self.began else { return Poll::Pending };
        let deadline = began + self.timeout + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(Stopped::TimedOut))
    }

    /// Reads and throws away what the peer still sends, until it closes or the time is up. A socket closed with unread bytes is reset by the kernel, and the peer would lose the close frame sent just before.
    pub async fn drain(&mut self, at_most: Duration) {
        self.ahead = Vec::new();
        self.at = 0;
        self.began = None;
        let silence = std::future::poll_fn(|cx| {
            loop {
                let mut space = [MaybeUninit::uninit(); READ_BYTES];
                let mut buf = ReadBuf::uninit(&mut space);
                let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf));
                if read.is_err() || buf.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        });
        let _ = tokio::time::timeout(at_most, silence).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;

    fn pair(timeout_s: u64) -> (tokio::io::DuplexStream, Intake) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (theirs, Intake::new(Box::new(ours), Vec::new(), Duration::from_secs(timeout_s)))
    }

    #[tokio::test]
    async fn an_idle_connection_owns_no_buffer() {
        let (mut peer, mut intake) = pair(10);
        peer.write_all(b"hello").await.unwrap();
        poll_fn(|cx| intake.poll_more(cx)).await.unwrap();
        assert_eq!(intake.ahead(), b"hello");
        intake.consume(5);
        intake.message_ended();
        poll_fn(|cx| {
            assert!(intake.poll_more(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(intake.ahead.capacity(), 0);
        assert!(intake.alarm.is_none(), "waiting for the next message has no deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_message_must_end_in_time_but_a_steady_sender_may_take_longer() {
        let (mut peer, mut intake) = pair(10);
        peer.write_all(&[0; 64 * 1024]).await.unwrap();
        let began = Instant::now();
        let stopped = loop {
            if let Err(stopped) = poll_fn(|cx| intake.poll_more(cx)).await {
                break stopped;
            }
        };
        assert!(matches!(stopped, Stopped::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 14, "ten seconds and one for every 16 KiB that came");
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_the_end() {
        let (peer, mut intake) = pair(10);
        drop(peer);
        assert!(matches!(poll_fn(|cx| intake.poll_more(cx)).await, Err(Stopped::End)));
    }
}

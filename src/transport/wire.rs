//! What the rest of the gateway knows of a socket: a [`Link`] with messages coming in, bytes going out, and who is at the other end.
//!
//! A message is one text. How it is framed (WebSocket or lines) is a value, not a type, so that a connection is one piece of code.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastwebsockets::{Frame, Payload};
use tokio::io::AsyncWrite;

use crate::audit::Event;
use crate::auth::probe::Seen;
use crate::transport::admission::ConnectionGuard;
use crate::transport::{ndjson, ws};

/// What a peer sent, or why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole message, valid UTF-8.
    Text(String),
    /// A binary message; comes only after [`MessageReader::take_binary`].
    Binary(Vec<u8>),
    /// A ping; answer with a pong of the same payload (at most 125 bytes).
    Ping(Vec<u8>),
    /// An answer to our ping (or an unasked one).
    Pong,
    /// The peer's close frame with its code, if it gave one. Answer with a close frame, then end.
    Close(Option<u16>),
    /// The peer broke a rule: send this close, [`MessageReader::drain`], then end.
    Violation {
        /// Close code.
        code: u16,
        /// Close reason.
        reason: &'static str,
    },
    /// The stream ended or failed. Nothing can be sent that would be read.
    End,
}

/// How much of a peer's bytes one message may take.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    /// Longest message in bytes, over all its fragments.
    pub max_message_bytes: usize,
    /// Most frames that one message may come in.
    pub max_fragments: usize,
    /// Longest time from a message's first byte to its last. A sender that keeps 16 KiB per second coming gets longer.
    pub message_timeout: Duration,
}

/// The messages of one connection.
pub enum MessageReader {
    /// WebSocket frames.
    WebSocket(ws::Reader),
    /// One message per line.
    Lines(ndjson::Reader),
}

impl MessageReader {
    /// The next message. A future that is dropped in the middle of a message loses it: drop it only to end the connection.
    pub async fn next(&mut self) -> Incoming {
        match self {
            Self::WebSocket(reader) => reader.next().await,
            Self::Lines(reader) => reader.next().await,
        }
    }

    /// Changes the limits from the next frame on.
    pub fn set_limits(&mut self, max_message_bytes: usize, max_fragments: usize) {
        match self {
            Self::WebSocket(reader) => reader.set_limits(max_message_bytes, max_fragments),
            Self::Lines(reader) => reader.set_limits(max_message_bytes),
        }
    }

    /// Takes binary messages too, where the framing has them. The gateway speaks text only and closes with 1003 instead.
    pub fn take_binary(&mut self) {
        if let Self::WebSocket(reader) = self {
            reader.take_binary();
        }
    }

    /// Reads and throws away what the peer still sends, until it closes or `at_most` is over. Call it after the last bytes are written and the writer is shut down: a socket closed with unread bytes is reset, and the peer loses our close frame.
    pub async fn drain(&mut self, at_most: Duration) {
        match self {
            Self::WebSocket(reader) => reader.drain(at_most).await,
            Self::Lines(reader) => reader.drain(at_most).await,
        }
    }
}

/// How messages become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// WebSocket frames, unmasked as a server's are.
    WebSocket,
    /// One message per line.
    Lines,
}

impl Framing {
    /// Appends what stands before a text of `payload_len` bytes.
    pub fn text_header(self, payload_len: usize, out: &mut Vec<u8>) {
        if self == Self::Lines {
            return;
        }
        out.push(0x81);
        match (u8::try_from(payload_len), u16::try_from(payload_len)) {
            (Ok(short @ 0..=125), _) => out.push(short),
            (_, Ok(medium)) => {
                out.push(126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(127);
                out.extend_from_slice(&u64::try_from(payload_len).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
    }

    /// Appends what stands after a text. A text must hold no newline, which JSON as we write it never does.
    pub fn text_trailer(self, out: &mut Vec<u8>) {
        if self == Self::Lines {
            out.push(b'\n');
        }
    }

    /// Appends a ping; `payload` is cut to 125 bytes. Lines have none.
    pub fn ping(self, payload: &[u8], out: &mut Vec<u8>) {
        let payload = Payload::Borrowed(cut(payload));
        self.control(Frame::new(true, fastwebsockets::OpCode::Ping, None, payload), out);
    }

    /// Appends a pong; `payload` is cut to 125 bytes. Lines have none.
    pub fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(Frame::pong(Payload::Borrowed(cut(payload))), out);
    }

    /// Appends a close frame; `reason` is cut to 123 bytes between characters. Lines have none: there the end of the stream is the close.
    pub fn close(self, code: u16, reason: &str, out: &mut Vec<u8>) {
        let reason = reason.get(..reason.floor_char_boundary(123)).unwrap_or_default();
        self.control(Frame::close(code, reason.as_bytes()), out);
    }

    fn control(self, mut frame: Frame<'_>, out: &mut Vec<u8>) {
        if self == Self::Lines {
            return;
        }
        let mut head = [0; 16];
        let size = frame.fmt_head(&mut head);
        out.extend_from_slice(head.get(..size).unwrap_or_default());
        out.extend_from_slice(&frame.payload);
    }
}

/// A control frame carries at most 125 bytes.
fn cut(payload: &[u8]) -> &[u8] {
    payload.get(..125).unwrap_or(payload)
}

/// Who is at the other end. It is a fact for limits, logs and the local rule; it never gives a TCP peer a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp {
        /// The client's address behind trusted proxies, IPv4-mapped IPv6 folded to IPv4.
        addr: IpAddr,
        /// The peer of the socket itself.
        socket: SocketAddr,
        /// Whether TLS ends here.
        tls: bool,
    },
    /// A process of this machine over the local socket: its uid is ours or root's.
    Local {
        /// The uid that the kernel vouches for.
        uid: u32,
    },
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { addr, .. } => write!(f, "{addr}"),
            Self::Local { uid } => write!(f, "uid {uid}"),
        }
    }
}

/// A connection that got through the door, before its first message.
pub struct Link {
    /// What comes in.
    pub reader: MessageReader,
    /// Where bytes made by `framing` go. Flush after each batch; shut down at the end.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// How to make those bytes.
    pub framing: Framing,
    /// Who is at the other end.
    pub peer: Peer,
    /// The request's Origin, already checked. Browsers always send one.
    pub origin: Option<String>,
    /// The request's Host, already checked.
    pub host: Option<String>,
    /// The request's User-Agent, for display only.
    pub user_agent: Option<String>,
    /// The place of this connection among the counted ones; keep it as long as the connection lives.
    pub guard: ConnectionGuard,
}

/// Whether the gateway can serve, and what is in the way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    /// Whether requests can be served.
    pub ready: bool,
    /// Names of the parts that fail; empty when ready.
    pub failing: Vec<&'static str>,
}

/// What the listeners hand connections to.
pub trait Serve: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(self: Arc<Self>, link: Link) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Answers the readiness probe.
    fn ready(&self) -> Readiness;

    /// Notes for the audit log that somebody was refused before there was a connection to serve.
    fn denied(&self, _event: Event) {}

    /// A request carries the word of a probe of the proxy; `seen` says what arrived.
    fn probed(&self, _word: &str, _seen: &dyn Fn() -> Seen) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn a_text_header_uses_the_shortest_length() {
        let header = |len| written(|out| Framing::WebSocket.text_header(len, out));
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 255, 255]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn lines_have_only_a_newline() {
        let all = written(|out| {
            Framing::Lines.text_header(2, out);
            out.extend_from_slice(b"{}");
            Framing::Lines.text_trailer(out);
            Framing::Lines.ping(b"x", out);
            Framing::Lines.pong(b"x", out);
            Framing::Lines.close(1008, "no", out);
        });
        assert_eq!(all, b"{}\n");
        assert!(written(|out| Framing::WebSocket.text_trailer(out)).is_empty());
    }

    #[test]
    fn control_frames_never_exceed_what_they_may_carry() {
        assert_eq!(written(|out| Framing::WebSocket.ping(b"ab", out)), [0x89, 2, b'a', b'b']);
        assert_eq!(written(|out| Framing::WebSocket.pong(&[7; 200], out)).len(), 127);
        assert_eq!(written(|out| Framing::WebSocket.close(1000, "", out)), [0x88, 2, 0x03, 0xe8]);
        let close = written(|out| Framing::WebSocket.close(1008, &"é".repeat(100), out));
        assert_eq!(close[..4], [0x88, 124, 0x03, 0xf0], "61 whole characters of two bytes");
        assert!(std::str::from_utf8(&close[4..]).is_ok());
    }
}

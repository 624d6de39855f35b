//! The rules of RFC 6455 that the WebSocket crate does not enforce, checked on the bytes before it sees them.
//!
//! `fastwebsockets` 0.10.0 takes unmasked frames, control frames of any size, a new message inside an unfinished one, a message cut inside a character, and fragments without a limit on their sum; on most errors it just drops the socket. [`StrictRead`] sits below it: every header is read and judged here first, and then the crate gets exactly the bytes of that one frame. So it never reserves memory for a length that we would refuse, and it never holds bytes of the next frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::transport::intake::{Intake, Stopped};
use crate::transport::utf8::Utf8Check;

/// A broken rule: the close code to answer with, and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Close code: 1002, 1003, 1007, 1008 or 1009.
    pub code: u16,
    /// Close reason.
    pub reason: &'static str,
}

const fn violation(code: u16, reason: &'static str) -> Fault {
    Fault::Violation(Violation { code, reason })
}

/// Why reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke a rule and is told so.
    Violation(Violation),
    /// The peer is gone.
    End,
}

impl From<Stopped> for Fault {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::End => Self::End,
            Stopped::TimedOut => violation(1008, "message timed out"),
        }
    }
}

/// What kind of frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first or only frame of a text message.
    Text,
    /// The first or only frame of a binary message.
    Binary,
    /// A further frame of the open message.
    Continuation,
    /// A close frame.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Kind {
    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame header that passed all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of frame.
    pub kind: Kind,
    /// Whether the message (or control frame) ends with this frame.
    pub fin: bool,
    /// Bytes of payload.
    pub payload_bytes: usize,
    /// Bytes of the header itself.
    head_bytes: usize,
    mask: [u8; 4],
}

/// The bytes of one socket, cut into judged frames.
pub struct StrictRead {
    intake: Intake,
    max_message_bytes: usize,
    max_fragments: usize,
    takes_binary: bool,
    message: Option<OpenMessage>,
    frame: Option<OpenFrame>,
    fault: Option<Fault>,
}

/// A message whose last frame has not ended.
#[derive(Debug, Default)]
struct OpenMessage {
    bytes: usize,
    fragments: usize,
    binary: bool,
    text: Utf8Check,
}

/// The frame that is being handed to the WebSocket crate.
#[derive(Debug)]
struct OpenFrame {
    head_left: usize,
    payload_left: usize,
    /// Payload bytes handed on so far: the place in the mask.
    payload_done: usize,
    mask: [u8; 4],
    check_text: bool,
}

impl StrictRead {
    /// Reads frames from `intake`. Messages of exactly `max_message_bytes` are taken.
    #[must_use]
    pub fn new(intake: Intake, max_message_bytes: usize, max_fragments: usize) -> Self {
        Self { intake, max_message_bytes, max_fragments, takes_binary: false, message: None, frame: None, fault: None }
    }

    /// Changes the limits from the next frame on.
    pub fn set_limits(&mut self, max_message_bytes: usize, max_fragments: usize) {
        self.max_message_bytes = max_message_bytes;
        self.max_fragments = max_fragments;
    }

    /// Takes binary messages too. The gateway never does; the conformance suite asks for them.
    pub fn take_binary(&mut self) {
        self.takes_binary = true;
    }

    /// Waits for the next frame's header and judges it. Afterwards this reader yields exactly the bytes of that frame, header included. Losing the future before it is ready loses nothing.
    ///
    /// # Errors
    /// The broken rule, or the end of the connection.
    pub async fn next_header(&mut self) -> Result<Header, Fault> {
        std::future::poll_fn(|cx| self.poll_header(cx)).await
    }

    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<Result<Header, Fault>> {
        loop {
            match parse_header(self.intake.ahead()) {
                Ok(Some(header)) => return Poll::Ready(self.admit(header).map(|()| header)),
                Ok(None) if !self.takes_binary && is_binary(self.intake.ahead()) => return Poll::Ready(Err(no_binary())),
                Ok(None) => ready!(self.intake.poll_more(cx))?,
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    }

    /// Applies the rules that need the state of the message.
    fn admit(&mut self, header: Header) -> Result<(), Fault> {
        let mut check_text = false;
        if header.kind == Kind::Binary && !self.takes_binary {
            return Err(no_binary());
        }
        if !header.kind.is_control() {
            match (header.kind, &self.message) {
                (Kind::Continuation, None) => return Err(violation(1002, "continuation without a message")),
                (Kind::Text | Kind::Binary, Some(_)) => return Err(violation(1002, "message inside a message")),
                _ => {}
            }
            let binary = header.kind == Kind::Binary;
            let message = self.message.get_or_insert_with(|| OpenMessage { binary, ..OpenMessage::default() });
            if header.payload_bytes > self.max_message_bytes.saturating_sub(message.bytes) {
                return Err(violation(1009, "message too big"));
            }
            message.bytes += header.payload_bytes;
            message.fragments += 1;
            if message.fragments > self.max_fragments.max(1) {
                return Err(violation(1008, "too many fragments"));
            }
            // A message that came whole in one frame is checked by the WebSocket crate after unmasking; only what comes in pieces has to be checked piece by piece.
            let whole = header.kind == Kind::Text && header.fin && self.intake.ahead().len() >= header.head_bytes + header.payload_bytes;
            check_text = !whole && !message.binary;
        }
        self.frame = Some(OpenFrame {
            head_left: header.head_bytes,
            payload_left: header.payload_bytes,
            payload_done: 0,
            mask: header.mask,
            check_text,
        });
        Ok(())
    }

    /// Says that the frame of `header` was read to its end.
    ///
    /// # Errors
    /// 1007 when it ended a message inside a character.
    pub fn frame_ended(&mut self, header: Header) -> Result<(), Fault> {
        self.frame = None;
        if !header.kind.is_control() && header.fin {
            let message = self.message.take();
            if message.is_some_and(|message| !message.text.is_complete()) {
                return Err(violation(1007, "invalid utf-8"));
            }
        }
        if self.message.is_none() {
            self.intake.message_ended();
        }
        Ok(())
    }

    /// The fault that made a read fail, if one did.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// See [`Intake::drain`].
    pub async fn drain(&mut self, at_most: std::time::Duration) {
        self.intake.drain(at_most).await;
    }

    fn fail(&mut self, fault: Fault) -> Poll<io::Result<()>> {
        self.fault = Some(fault);
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    fn poll_payload(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, left: usize) -> Poll<Result<usize, Fault>> {
        let ahead = self.intake.ahead();
        if !ahead.is_empty() {
            let count = ahead.len().min(left).min(buf.remaining());
            let piece = ahead.get(..count).unwrap_or_default();
            check_piece(&mut self.message, self.frame.as_ref(), piece)?;
            buf.put_slice(piece);
            self.intake.consume(count);
            return Poll::Ready(Ok(count));
        }
        // Large payloads go straight into the message's own memory. The bound keeps the clearing of that memory cheap.
        let room = buf.remaining().min(left).min(64 * 1024);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let count = ready!(self.intake.poll_socket(cx, &mut part))?;
        check_piece(&mut self.message, self.frame.as_ref(), part.filled())?;
        buf.advance(count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncRead for StrictRead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(frame) = &mut this.frame else { return this.fail(Fault::End) };
        if frame.head_left > 0 {
            // The whole header is in the read-ahead, since it was judged there.
            let count = frame.head_left.min(this.intake.ahead().len()).min(buf.remaining());
            buf.put_slice(this.intake.ahead().get(..count).unwrap_or_default());
            frame.head_left -= count;
            this.intake.consume(count);
        }
        let (head_left, left) = (frame.head_left, frame.payload_left);
        // With the payload at hand both go in one answer; otherwise the header alone is progress enough.
        if head_left > 0 || left == 0 || buf.remaining() == 0 || (!buf.filled().is_empty() && this.intake.ahead().is_empty()) {
            return Poll::Ready(Ok(()));
        }
        match ready!(this.poll_payload(cx, buf, left)) {
            Ok(count) => {
                if let Some(frame) = &mut this.frame {
                    frame.payload_left -= count;
                    frame.payload_done += count;
                }
                Poll::Ready(Ok(()))
            }
            Err(fault) => this.fail(fault),
        }
    }
}

/// Checks masked payload bytes as text where the message came in pieces.
fn check_piece(message: &mut Option<OpenMessage>, frame: Option<&OpenFrame>, masked: &[u8]) -> Result<(), Fault> {
    let (Some(message), Some(frame)) = (message, frame) else { return Ok(()) };
    if !frame.check_text {
        return Ok(());
    }
    let mut mask = frame.mask;
    mask.rotate_left(frame.payload_done % 4);
    // The length is a multiple of four, so that the mask starts anew with each round.
    let mut plain = [0_u8; 1024];
    for piece in masked.chunks(plain.len()) {
        let Some(plain) = plain.get_mut(..piece.len()) else { continue };
        plain.copy_from_slice(piece);
        fastwebsockets::unmask(plain, mask);
        message.text.push(plain).map_err(|_| violation(1007, "invalid utf-8"))?;
    }
    Ok(())
}

/// Whether the first byte that is there begins a binary message.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0b0111_1111 == 0x2)
}

fn no_binary() -> Fault {
    violation(1003, "binary messages are not taken")
}

/// Reads a header and applies the rules that need nothing else. `None` means that bytes are missing.
fn parse_header(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first & 0b0111_0000 != 0 {
        return Err(violation(1002, "reserved bits set"));
    }
    let fin = first & 0b1000_0000 != 0;
    let kind = match first & 0b0000_1111 {
        0x0 => Kind::Continuation,
        0x1 => Kind::Text,
        0x2 => Kind::Binary,
        0x8 => Kind::Close,
        0x9 => Kind::Ping,
        0xA => Kind::Pong,
        _ => return Err(violation(1002, "reserved opcode")),
    };
    if kind.is_control() && !fin {
        return Err(violation(1002, "fragmented control frame"));
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & 0b1000_0000 == 0 {
        return Err(violation(1002, "frame is not masked"));
    }
    let code = second & 0b0111_1111;
    if kind.is_control() && code > 125 {
        return Err(violation(1002, "control frame too long"));
    }
    let Some((payload_bytes, length_end)) = parse_length(bytes, code)? else { return Ok(None) };
    let Some(&mask) = bytes.get(length_end..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
    Ok(Some(Header { kind, fin, payload_bytes, head_bytes: length_end + 4, mask }))
}

/// The payload's length and where its field ends.
fn parse_length(bytes: &[u8], code: u8) -> Result<Option<(usize, usize)>, Fault> {
    let rest = bytes.get(2..).unwrap_or_default();
    let (length, end, least) = match code {
        126 => match rest.first_chunk::<2>() {
            Some(field) => (u64::from(u16::from_be_bytes(*field)), 4, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(field) => (u64::from_be_bytes(*field), 10, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 2, 0),
    };
    if length >= 1 << 63 {
        return Err(violation(1002, "length out of range"));
    }
    if length < least {
        return Err(violation(1002, "length not in its shortest form"));
    }
    Ok(Some((usize::try_from(length).unwrap_or(usize::MAX), end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Result<Option<(Kind, usize)>, (u16, &'static str)> {
        match parse_header(bytes) {
            Ok(header) => Ok(header.map(|header| (header.kind, header.payload_bytes))),
            Err(Fault::Violation(Violation { code, reason })) => Err((code, reason)),
            Err(Fault::End) => panic!("a header cannot be an end"),
        }
    }

    #[test]
    fn a_header_is_judged_at_the_first_byte_that_breaks_a_rule() {
        let table: &[(&[u8], u16, &str)] = &[
            (&[0xC1], 1002, "reserved bits set"),
            (&[0xA1], 1002, "reserved bits set"),
            (&[0x91], 1002, "reserved bits set"),
            (&[0x83], 1002, "reserved opcode"),
            (&[0x8B], 1002, "reserved opcode"),
            (&[0x09], 1002, "fragmented control frame"),
            (&[0x81, 0x05], 1002, "frame is not masked"),
            (&[0x89, 0xFE], 1002, "control frame too long"),
            (&[0x88, 0xFF], 1002, "control frame too long"),
            (&[0x81, 0xFE, 0, 125], 1002, "length not in its shortest form"),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 255, 255], 1002, "length not in its shortest form"),
            (&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002, "length out of range"),
        ];
        for (bytes, code, reason) in table {
            assert_eq!(verdict(bytes), Err((*code, *reason)), "{bytes:x?}");
            assert_eq!(verdict(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:x?} less its last byte");
        }
    }

    #[test]
    fn every_length_form_is_read() {
        let read = |start: &[u8]| verdict(&[start, &[1, 2, 3, 4]].concat()).unwrap().unwrap().1;
        assert_eq!(read(&[0x81, 0x80]), 0);
        assert_eq!(read(&[0x81, 0xFD]), 125);
        assert_eq!(read(&[0x81, 0xFE, 0, 126]), 126);
        assert_eq!(read(&[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]), 65_536);
        assert_eq!(read(&[0x81, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255]), usize::MAX >> 1);
    }
}

//! WebSocket messages of one connection: `fastwebsockets` above our guard, joined into whole texts.
//!
//! The crate's reader is made anew for each frame that begins, over a borrow of the guard. It costs one short-lived buffer per frame and holds none while the connection is idle, and since the guard hands out exactly one frame, nothing is lost with it.

use std::time::Duration;

use bytes::BytesMut;
use fastwebsockets::{Payload, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::time::Instant;

use crate::transport::guard::{Fault, Header, Kind, StrictRead, Violation};
use crate::transport::intake::{Intake, Source};
use crate::transport::wire::{Incoming, ReadLimits};

/// Pings taken at once, and pings per second after that.
const PING_BURST: f64 = 20.0;
const PINGS_PER_SECOND: f64 = 10.0;

/// Payloads of at least this size keep the memory they were read into; smaller ones move to memory of their own size, since a request may live for hours.
const KEEP_MEMORY_FROM: usize = 16 * 1024;

/// Reads the messages of one WebSocket, server side.
pub struct Reader {
    guard: StrictRead,
    /// The joined fragments of the open message.
    joined: Vec<u8>,
    pings: PingRate,
    max_message_bytes: usize,
    ended: bool,
}

impl Reader {
    /// Reads from `socket`, starting with the bytes `ahead` that came with the handshake.
    #[must_use]
    pub fn new(socket: Source, ahead: Vec<u8>, limits: &ReadLimits) -> Self {
        let intake = Intake::new(socket, ahead, limits.message_timeout);
        Self {
            guard: StrictRead::new(intake, limits.max_message_bytes, limits.max_fragments),
            joined: Vec::new(),
            pings: PingRate::new(),
            max_message_bytes: limits.max_message_bytes,
            ended: false,
        }
    }

    /// Changes the limits from the next frame on.
    pub fn set_limits(&mut self, max_message_bytes: usize, max_fragments: usize) {
        self.max_message_bytes = max_message_bytes;
        self.guard.set_limits(max_message_bytes, max_fragments);
    }

    /// The next message. After a close, a violation or the end it says `End` forever.
    pub async fn next(&mut self) -> Incoming {
        if self.ended {
            return Incoming::End;
        }
        let incoming = match self.read().await {
            Ok(incoming) => incoming,
            Err(Fault::End) => Incoming::End,
            Err(Fault::Violation(Violation { code, reason })) => Incoming::Violation { code, reason },
        };
        self.ended = matches!(incoming, Incoming::End | Incoming::Close(_) | Incoming::Violation { .. });
        incoming
    }

    /// See [`Intake::drain`].
    pub async fn drain(&mut self, at_most: Duration) {
        self.ended = true;
        self.guard.drain(at_most).await;
    }

    async fn read(&mut self) -> Result<Incoming, Fault> {
        loop {
            let header = self.guard.next_header().await?;
            let payload = self.payload().await?;
            self.guard.frame_ended(header)?;
            if let Some(incoming) = self.take(header, payload)? {
                return Ok(incoming);
            }
        }
    }

    /// Lets the crate read and unmask the one frame that the guard has admitted.
    async fn payload(&mut self) -> Result<BytesMut, Fault> {
        // The writer that comes with the pair is never used: frames are written by the outbox.
        let (mut reader, _writer): (WebSocketRead<&mut StrictRead>, _) =
            after_handshake_split(&mut self.guard, tokio::io::sink(), Role::Server);
        reader.set_auto_close(false);
        reader.set_auto_pong(false);
        // The crate refuses a frame exactly at its limit.
        reader.set_max_message_size(self.max_message_bytes.max(125).saturating_add(1));
        let mut nothing_to_send = |_frame| std::future::ready(Ok::<(), std::io::Error>(()));
        let read = match reader.read_frame(&mut nothing_to_send).await {
            Ok(frame) => match frame.payload {
                Payload::Bytes(bytes) => Ok(bytes),
                other => Ok(BytesMut::from(&*other)),
            },
            Err(error) => Err(error),
        };
        drop(reader);
        read.map_err(|error| self.guard.take_fault().unwrap_or_else(|| fault_of(&error)))
    }

    /// Gives the frame its meaning. `None`: the message goes on.
    fn take(&mut self, header: Header, payload: BytesMut) -> Result<Option<Incoming>, Fault> {
        match header.kind {
            Kind::Ping if self.pings.admit(Instant::now()) => Ok(Some(Incoming::Ping(payload.to_vec()))),
            Kind::Ping => Err(Fault::Violation(Violation { code: 1008, reason: "too many pings" })),
            Kind::Pong => Ok(Some(Incoming::Pong)),
            Kind::Close => close_code(&payload).map(|code| Some(Incoming::Close(code))),
            Kind::Text if header.fin => text(into_vec(payload)).map(Some),
            Kind::Text | Kind::Continuation => {
                self.joined.extend_from_slice(&payload);
                if !header.fin {
                    return Ok(None);
                }
                text(std::mem::take(&mut self.joined)).map(Some)
            }
        }
    }
}

fn into_vec(payload: BytesMut) -> Vec<u8> {
    if payload.len() < KEEP_MEMORY_FROM { payload.to_vec() } else { Vec::from(payload) }
}

fn text(bytes: Vec<u8>) -> Result<Incoming, Fault> {
    String::from_utf8(bytes).map(Incoming::Text).map_err(|_| Fault::Violation(Violation { code: 1007, reason: "invalid utf-8" }))
}

fn fault_of(error: &WebSocketError) -> Fault {
    match error {
        WebSocketError::InvalidUTF8 => Fault::Violation(Violation { code: 1007, reason: "invalid utf-8" }),
        WebSocketError::FrameTooLarge => Fault::Violation(Violation { code: 1009, reason: "message too big" }),
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => Fault::End,
        _ => Fault::Violation(Violation { code: 1002, reason: "protocol error" }),
    }
}

/// The code of a close frame's payload; none when it is empty.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let bad = |reason| Err(Fault::Violation(Violation { code: 1002, reason }));
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { bad("close frame of one byte") };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 section 7.4 and the registry: 1004 to 1006 and 1015 never travel, 3000 to 4999 belong to libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return bad("bad close code");
    }
    if std::str::from_utf8(reason).is_err() {
        return bad("close reason is not utf-8");
    }
    Ok(Some(code))
}

/// A bucket of pings that refills with time.
#[derive(Debug)]
struct PingRate {
    left: f64,
    at: Option<Instant>,
}

impl PingRate {
    const fn new() -> Self {
        Self { left: PING_BURST, at: None }
    }

    fn admit(&mut self, now: Instant) -> bool {
        if let Some(at) = self.at {
            let refill = now.saturating_duration_since(at).as_secs_f64() * PINGS_PER_SECOND;
            self.left = (self.left + refill).min(PING_BURST);
        }
        self.at = Some(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

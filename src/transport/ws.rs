//! WebSocket messages of one connection: `fastwebsockets` above our guard, joined into whole texts.
//!
//! The crate's reader is made anew for each frame that begins, over a borrow of the guard. It costs one short-lived buffer per frame and holds none while the connection is idle, and since the guard hands out exactly one frame, nothing is lost with it.

use std::time::Duration;

use bytes::BytesMut;
use fastwebsockets::{Payload, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::time::Instant;

use crate::transport::control::{PingRate, close_code};
use crate::transport::guard::{Fault, Header, Kind, StrictRead, Violation};
use crate::transport::intake::{Intake, Source};
use crate::transport::wire::{Incoming, ReadLimits};

/// Payloads of at least this size keep the memory they were read into; smaller ones move to memory of their own size, since a request may live for hours.
const KEEP_MEMORY_FROM: usize = 16 * 1024;

/// Reads the messages of one WebSocket, server side.
pub struct Reader {
    guard: StrictRead,
    /// The joined fragments of the open message.
    joined: Vec<u8>,
    /// Whether that message is binary.
    joins_binary: bool,
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
            joins_binary: false,
            pings: PingRate::default(),
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

    /// See [`StrictRead::take_binary`].
    pub fn take_binary(&mut self) {
        self.guard.take_binary();
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
            Kind::Binary if header.fin => Ok(Some(Incoming::Binary(into_vec(payload)))),
            Kind::Text | Kind::Binary | Kind::Continuation => {
                self.joins_binary = header.kind == Kind::Binary || (self.joins_binary && header.kind == Kind::Continuation);
                self.joined.extend_from_slice(&payload);
                if !header.fin {
                    return Ok(None);
                }
                let joined = std::mem::take(&mut self.joined);
                if self.joins_binary { Ok(Some(Incoming::Binary(joined))) } else { text(joined).map(Some) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    const LIMIT: usize = 100_000;

    /// For messages that come in many small pieces, with time for all of them.
    const AN_HOUR: Duration = Duration::from_secs(3600);

    fn pair() -> (DuplexStream, Reader) {
        pair_within(Duration::from_secs(10))
    }

    fn pair_within(message_timeout: Duration) -> (DuplexStream, Reader) {
        let (ours, theirs) = tokio::io::duplex(1 << 22);
        let limits = ReadLimits { max_message_bytes: LIMIT, max_fragments: 8, message_timeout };
        (theirs, Reader::new(Box::new(ours), Vec::new(), &limits))
    }

    /// A masked frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..65_536 => {
                out.push(0xFE);
                out.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                out.push(0xFF);
                out.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    async fn read_all(frames: &[Vec<u8>]) -> Vec<Incoming> {
        let (mut peer, mut reader) = pair();
        peer.write_all(&frames.concat()).await.unwrap();
        drop(peer);
        let mut all = Vec::new();
        while all.last() != Some(&Incoming::End) {
            all.push(reader.next().await);
        }
        all
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(text.to_owned())
    }

    #[tokio::test]
    async fn messages_whole_and_in_fragments_with_control_frames_between() {
        let all = read_all(&[
            frame(0x81, b"one"),
            frame(0x01, b"tw"),
            frame(0x89, b"p"),
            frame(0x00, "o\u{e9}".as_bytes()),
            frame(0x8A, b""),
            frame(0x80, b""),
            frame(0x81, b""),
            frame(0x88, &[0x0F, 0xA0, b'x']),
            frame(0x81, b"after the close"),
        ])
        .await;
        let expected =
            [text("one"), Incoming::Ping(b"p".to_vec()), Incoming::Pong, text("two\u{e9}"), text(""), Incoming::Close(Some(4000))];
        assert_eq!(all[..6], expected);
        assert_eq!(all[6..], [Incoming::End]);
    }

    #[tokio::test]
    async fn any_cut_of_the_bytes_gives_the_same_messages() {
        let long = "\u{20ac}".repeat(30_000);
        let bytes = [frame(0x81, b"hi"), frame(0x01, &long.as_bytes()[..40_001]), frame(0x80, &long.as_bytes()[40_001..])].concat();
        for chunk in [1, 2, 3, 7, 1000, 16_384, 65_537] {
            let (mut peer, mut reader) = pair_within(AN_HOUR);
            let write = async {
                for chunk in bytes.chunks(chunk) {
                    peer.write_all(chunk).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let read = async { (reader.next().await, reader.next().await) };
            let ((), read) = tokio::join!(write, read);
            assert_eq!(read, (text("hi"), text(&long)), "in chunks of {chunk}");
        }
    }

    #[tokio::test]
    async fn bytes_that_came_with_the_handshake_are_the_first_frame() {
        let (ours, mut peer) = tokio::io::duplex(100);
        let bytes = frame(0x81, b"early");
        let limits = ReadLimits { max_message_bytes: 100, max_fragments: 8, message_timeout: Duration::from_secs(10) };
        let mut reader = Reader::new(Box::new(ours), bytes[..4].to_vec(), &limits);
        peer.write_all(&bytes[4..]).await.unwrap();
        assert_eq!(reader.next().await, text("early"));
    }

    #[tokio::test]
    async fn a_bad_byte_inside_an_unfinished_frame_is_refused_at_once() {
        let (mut peer, mut reader) = pair();
        let bytes = frame(0x81, b"good\xf4\x90 and much more");
        peer.write_all(&bytes[..bytes.len() - 10]).await.unwrap();
        assert_eq!(reader.next().await, Incoming::Violation { code: 1007, reason: "invalid utf-8" });
    }

    #[tokio::test]
    async fn the_limit_counts_all_fragments_and_can_be_raised() {
        let (mut peer, mut reader) = pair();
        peer.write_all(&frame(0x81, &vec![b'x'; LIMIT])).await.unwrap();
        assert!(matches!(reader.next().await, Incoming::Text(text) if text.len() == LIMIT));
        reader.set_limits(LIMIT + 1, 8);
        peer.write_all(&[frame(0x01, &vec![b'x'; LIMIT]), frame(0x80, b"y")].concat()).await.unwrap();
        assert!(matches!(reader.next().await, Incoming::Text(text) if text.len() == LIMIT + 1));
        // Only the header comes: nothing is read or reserved for the payload.
        peer.write_all(&frame(0x81, &vec![b'x'; LIMIT + 2])[..14]).await.unwrap();
        assert_eq!(reader.next().await, Incoming::Violation { code: 1009, reason: "message too big" });
        assert_eq!(reader.next().await, Incoming::End);
    }

    #[tokio::test(start_paused = true)]
    async fn m23_pings_beyond_the_rate_end_the_connection() {
        let (mut peer, mut reader) = pair();
        for _ in 0..20 {
            peer.write_all(&frame(0x89, b"")).await.unwrap();
            assert_eq!(reader.next().await, Incoming::Ping(Vec::new()));
        }
        tokio::time::advance(Duration::from_millis(1000)).await;
        for _ in 0..10 {
            peer.write_all(&frame(0x89, b"")).await.unwrap();
            assert_eq!(reader.next().await, Incoming::Ping(Vec::new()));
        }
        peer.write_all(&frame(0x89, b"")).await.unwrap();
        assert_eq!(reader.next().await, Incoming::Violation { code: 1008, reason: "too many pings" });
    }

    #[tokio::test(start_paused = true)]
    async fn m19_a_fragment_that_is_never_finished_ends_at_ten_seconds_and_pings_do_not_prolong_it() {
        let (mut peer, mut reader) = pair();
        assert!(tokio::time::timeout(Duration::from_secs(3600), reader.next()).await.is_err(), "silence alone ends nothing");
        let began = Instant::now();
        peer.write_all(&frame(0x01, b"begun")).await.unwrap();
        let ping = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                peer.write_all(&frame(0x89, b"")).await.unwrap();
            }
            peer
        };
        let read = async { [reader.next().await, reader.next().await, reader.next().await, reader.next().await] };
        let (_peer, read) = tokio::join!(ping, read);
        assert_eq!(read[3], Incoming::Violation { code: 1008, reason: "message timed out" });
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    /// Starts of frames, mostly good ones, so that a sequence gets some way.
    const FIRST_BYTES: &[u8] = &[0x81, 0x81, 0x81, 0x01, 0x01, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88, 0x82, 0xC1, 0x83, 0x09];
    /// Payloads are repetitions of one of these: letters, characters of every length, and pieces that only together or never are UTF-8.
    const PIECES: &[&[u8]] =
        &[b"a", "\u{e9}".as_bytes(), "\u{20ac}".as_bytes(), "\u{1f600}".as_bytes(), b"\xf0\x9f", b"\x98\x80", b"\xff", b"\x03\xe8"];

    proptest::proptest! {
        #[test]
        fn no_bytes_can_panic_or_hang_the_reader(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                read_all(&[bytes]).await;
            });
        }

        #[test]
        fn good_and_bad_frames_mean_the_same_however_the_bytes_are_cut(
            frames in proptest::collection::vec((proptest::sample::select(FIRST_BYTES), 0..PIECES.len(), 0..40_usize), 1..10),
            cuts in proptest::collection::vec(1..50_usize, 1..10),
        ) {
            let frames: Vec<Vec<u8>> = frames.into_iter().map(|(first, piece, times)| frame(first, &PIECES[piece].repeat(times))).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let whole = read_all(&frames).await;
                let (mut peer, mut reader) = pair_within(AN_HOUR);
                let bytes = frames.concat();
                let write = async move {
                    let mut rest = &bytes[..];
                    for cut in cuts.iter().cycle() {
                        let (now, later) = rest.split_at((*cut).min(rest.len()));
                        // The reader may have left after a violation.
                        if now.is_empty() || peer.write_all(now).await.is_err() {
                            break;
                        }
                        tokio::task::yield_now().await;
                        rest = later;
                    }
                };
                let read = async {
                    let mut all = Vec::new();
                    while all.last() != Some(&Incoming::End) {
                        all.push(reader.next().await);
                    }
                    all
                };
                let ((), cut) = tokio::join!(write, read);
                assert_eq!(cut, whole);
            });
        }
    }
}

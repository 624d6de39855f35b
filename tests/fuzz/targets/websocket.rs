//! The bytes of a WebSocket behind its handshake, read at once, byte by byte, and as what came along with the request: all three must give the same messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use skykoi_gateway::transport::wire::{Incoming, ReadLimits};
use skykoi_gateway::transport::ws::Reader;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::{Target, outcome};

const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 4096, max_fragments: 16, message_timeout: Duration::from_secs(10) };

pub const TARGET: Target = Target {
    name: "websocket",
    words: &[
        "\u{1}",
        "\u{0}",
        "\u{2}",
        "\u{8}",
        "\u{9}",
        "\u{a}",
        "\u{0}\u{0}\u{0}\u{0}",
        "~\u{1}\u{0}",
        "\u{7f}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}\u{0}",
        "{\"type\":\"req\"}",
        "é",
        "\u{1f41f}",
        "\u{3}è",
        "\u{3}í",
    ],
    max: 16 * 1024,
    seeds: frames,
    run,
};

/// Small frames of every kind, masked with zeros so that their payload can be read.
fn frames() -> Vec<Vec<u8>> {
    let frame = |first: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    };
    let close = frame(0x88, &[0x03, 0xe8]);
    vec![
        [frame(0x81, b"{}"), close.clone()].concat(),
        [frame(0x01, "ab\u{e9}".as_bytes()), frame(0x89, b"ping"), frame(0x00, b"c"), frame(0x80, b"d"), frame(0x8a, b"")].concat(),
        frame(0x82, b"binary"),
        frame(0x88, b""),
        frame(0x88, b"\x03\xf0because"),
        [&[0x81, 0xfe, 0, 130, 0, 0, 0, 0][..], &[b'x'; 130]].concat(),
        [&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[b'x'; 200]].concat(),
        vec![0x81, 0x02, b'{', b'}'],
        frame(0x89, b"").repeat(40),
        close,
    ]
}

thread_local! {
    /// Its clock stands still, so that no rate and no time limit depends on the machine.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

/// Gives its bytes in pieces of one size.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    size: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = (self.at + self.size.min(buf.remaining())).min(self.bytes.len());
        buf.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

fn run(input: &[u8]) -> u64 {
    let read = |ahead: usize, size: usize| {
        let (ahead, rest) = input.split_at(ahead.min(input.len()));
        RUNTIME.with(|runtime| runtime.block_on(messages(ahead.to_vec(), Pieces { bytes: rest.to_vec(), at: 0, size })))
    };
    let whole = read(0, usize::MAX);
    assert_eq!(alike(&whole), alike(&read(0, 1)), "byte by byte");
    assert_eq!(alike(&whole), alike(&read(usize::MAX, 1)), "all of it came with the request");
    let kinds: Vec<String> = whole.iter().take(8).map(kind).collect();
    outcome(kinds)
}

/// A frame with two faults may be refused for either of them, whichever byte is seen first.
fn alike(messages: &[Incoming]) -> Vec<Incoming> {
    let plain = |message: &Incoming| match message {
        Incoming::Violation { .. } => Incoming::Violation { code: 0, reason: "" },
        other => other.clone(),
    };
    messages.iter().map(plain).collect()
}

async fn messages(ahead: Vec<u8>, source: Pieces) -> Vec<Incoming> {
    let bytes = ahead.len() + source.bytes.len();
    let mut reader = Reader::new(Box::new(source), ahead, &LIMITS);
    let (mut all, mut total) = (Vec::new(), 0);
    loop {
        let message = reader.next().await;
        match &message {
            Incoming::Text(text) => total += text.len(),
            Incoming::Ping(payload) => total += payload.len(),
            Incoming::Violation { code, .. } => assert!([1002, 1003, 1007, 1008, 1009].contains(code), "{code}"),
            Incoming::Close(code) => {
                assert!(code.is_none_or(|code| (1000..5000).contains(&code) && ![1004, 1005, 1006, 1015].contains(&code)))
            }
            Incoming::Binary(_) => panic!("a binary message where none is taken"),
            Incoming::Pong | Incoming::End => {}
        }
        let over = matches!(message, Incoming::End | Incoming::Close(_) | Incoming::Violation { .. });
        all.push(message);
        assert!(total <= bytes && all.len() <= bytes + 1, "more came out than went in");
        if over {
            assert_eq!(reader.next().await, Incoming::End, "nothing comes behind the end");
            return all;
        }
    }
}

fn kind(message: &Incoming) -> String {
    match message {
        Incoming::Text(text) => format!("text {}", text.len().min(200).ilog2_or_zero()),
        Incoming::Binary(_) => "binary".to_owned(),
        Incoming::Ping(_) => "ping".to_owned(),
        Incoming::Pong => "pong".to_owned(),
        Incoming::Close(code) => format!("close {code:?}"),
        Incoming::Violation { code, reason } => format!("{code} {reason}"),
        Incoming::End => "end".to_owned(),
    }
}

trait Magnitude {
    fn ilog2_or_zero(self) -> u32;
}

impl Magnitude for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

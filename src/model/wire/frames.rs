//! Amazon's event stream: frames with a prelude, headers, a body and two checksums, read out of bytes that may be split anywhere.

use super::Fault;

/// Bytes in front of the headers, and with the last checksum.
const PRELUDE: usize = 12;
const OVERHEAD: usize = PRELUDE + 4;
/// Most bytes of one frame, as Amazon says.
const MAX_FRAME: usize = 16 << 20;

/// What a frame holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// `event`, `exception` or `error`.
    pub(super) kind: String,
    /// The name of the event or exception.
    pub(super) name: String,
    /// The words of an `error`.
    pub(super) text: String,
    /// Its body.
    pub(super) body: Vec<u8>,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes bytes in, and calls `each` for every frame that they complete, until it fails.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&Frame) -> Result<(), Fault>) -> Result<(), Fault> {
        self.bytes.extend_from_slice(bytes);
        let mut rest = self.bytes.as_slice();
        while let Some((frame, behind)) = split(rest)? {
            each(&frame)?;
            rest = behind;
        }
        let read = self.bytes.len() - rest.len();
        self.bytes.drain(..read);
        Ok(())
    }

    /// Whether nothing of a frame is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn garbled(what: &str) -> Fault {
    Fault::Garbled(format!("event stream: {what}"))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first frame and what is behind it; `None` if it is not whole.
fn split(bytes: &[u8]) -> Result<Option<(Frame, &[u8])>, Fault> {
    let Some(prelude) = bytes.get(..8) else { return Ok(None) };
    let (Some(total), Some(headers), Some(sum)) = (word(bytes, 0), word(bytes, 4), word(bytes, 8)) else { return Ok(None) };
    if crc(prelude) != sum {
        return Err(garbled("the checksum of a prelude is wrong"));
    }
    let (total, headers) = (total as usize, headers as usize);
    if total > MAX_FRAME || total < OVERHEAD || headers > total - OVERHEAD {
        return Err(garbled("the lengths of a frame are wrong"));
    }
    let Some((whole, behind)) = bytes.split_at_checked(total) else { return Ok(None) };
    let Some((checked, sum)) = whole.split_last_chunk() else { return Ok(None) };
    if crc(checked) != u32::from_be_bytes(*sum) {
        return Err(garbled("the checksum of a frame is wrong"));
    }
    let inside = checked.get(PRELUDE..).unwrap_or_default();
    let (headers, body) = inside.split_at_checked(headers).unwrap_or((inside, &[]));
    let mut frame = Frame { body: body.to_vec(), ..Frame::default() };
    read_headers(headers, &mut frame).ok_or_else(|| garbled("a header is cut off"))?;
    Ok(Some((frame, behind)))
}

/// Reads the headers; `None` if they do not add up. Only texts matter here.
fn read_headers(mut bytes: &[u8], frame: &mut Frame) -> Option<()> {
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let (length, rest) = match kind {
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            6 | 7 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            9 => (16, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        if *kind == 7 {
            let text = || String::from_utf8_lossy(value).into_owned();
            match name {
                b":message-type" => frame.kind = text(),
                b":event-type" | b":exception-type" | b":error-code" => frame.name = text(),
                b":error-message" => frame.text = text(),
                _ => {}
            }
        }
    }
    Some(())
}

const TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated by the compiler, and n is below 256")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
}

/// CRC-32 as in zip and Ethernet.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        let [low, ..] = sum.to_le_bytes();
        TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default() ^ (sum >> 8)
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    use super::*;

    fn written(kind: &str, name: &str, body: &[u8]) -> Vec<u8> {
        let text = |text: &str| HeaderValue::String(text.to_owned().into());
        let message = Message::new(body.to_vec())
            .add_header(Header::new(":message-type", text(kind)))
            .add_header(Header::new("flag", HeaderValue::Bool(true)))
            .add_header(Header::new("no", HeaderValue::Bool(false)))
            .add_header(Header::new("byte", HeaderValue::Byte(1)))
            .add_header(Header::new("short", HeaderValue::Int16(2)))
            .add_header(Header::new("int", HeaderValue::Int32(3)))
            .add_header(Header::new("long", HeaderValue::Int64(4)))
            .add_header(Header::new("bytes", HeaderValue::ByteArray(vec![1, 2, 3].into())))
            .add_header(Header::new("uuid", HeaderValue::Uuid(7)))
            .add_header(Header::new(":event-type", text(name)));
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<Frame>, Fault> {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.feed(piece, |frame| {
                all.push(frame.clone());
                Ok(())
            })?;
        }
        assert!(frames.is_empty());
        Ok(all)
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn any_byte_that_is_changed_is_seen() {
        let frame = written("event", "messageStop", b"{}");
        for at in 0..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 0x10;
            let mut frames = Frames::default();
            assert!(frames.feed(&bad, |_| panic!("byte {at}")).is_err(), "byte {at}");
        }
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused_before_anything_is_kept_for_them() {
        for (total, headers) in [(15_u32, 0_u32), (u32::MAX, 0), (MAX_FRAME as u32 + 1, 0), (20, 5), (20, u32::MAX)] {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            let sum = crc(&bytes);
            bytes.extend(sum.to_be_bytes());
            assert!(Frames::default().feed(&bytes, |_| panic!()).is_err(), "{total} {headers}");
        }
    }

    proptest! {
        #[test]
        fn frames_of_amazon_are_read_wherever_they_are_split(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4),
            cuts in proptest::collection::vec(0..600_usize, 0..9),
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| written("event", "e", body)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let frame = |body: &Vec<u8>| Frame { kind: "event".to_owned(), name: "e".to_owned(), body: body.clone(), ..Frame::default() };
            prop_assert_eq!(read(&pieces).unwrap(), bodies.iter().map(frame).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_the_reader_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frames::default().feed(&bytes, |_| Ok(()));
        }
    }
}

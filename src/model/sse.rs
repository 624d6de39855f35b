//! Reads server-sent events out of bytes that may be split anywhere, as the standard of the web says: lines end with CR, LF or both, a byte order mark in front is passed over, comments and unknown fields too.
//!
//! It joins nothing and reconnects nothing; ids and retry times mean nothing for an answer that is asked for once.

/// Most bytes of one event. Answers come in pieces of a few bytes; whoever sends more without an end has lost its way.
const MAX_EVENT: usize = 8 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its name; empty if it has none.
    pub(crate) name: String,
    /// Its lines, joined by LF.
    pub(crate) data: String,
}

/// An event does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT} bytes")]
pub(crate) struct EventTooLong;

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    /// The last byte was a CR, so that an LF now belongs to it.
    after_cr: bool,
    /// A line was read, so that what looks like a byte order mark is none.
    begun: bool,
}

impl Sse {
    /// Takes bytes in, and calls `each` for every event that they complete.
    ///
    /// # Errors
    /// An event is too long; nothing more can be read then.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(SseEvent)) -> Result<(), EventTooLong> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            let (head, rest) = bytes.split_at(end);
            self.keep(head)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
                [_, rest @ ..] => {
                    self.after_cr = rest.is_empty();
                    rest
                }
                [] => rest,
            };
            if let Some(event) = self.end_line() {
                each(event);
            }
        }
        self.keep(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.event.data.len() + bytes.len() > MAX_EVENT {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// A line is whole; an empty one ends the event, if there is any data.
    fn end_line(&mut self) -> Option<SseEvent> {
        let mut line = self.line.as_slice();
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.line.clear();
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.strip_prefix(b":").unwrap_or(value);
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        self.line.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut sse = Sse::default();
        let mut events = Vec::new();
        for piece in pieces {
            sse.feed(piece, |event| events.push((event.name, event.data))).unwrap();
        }
        events
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn lines_end_with_lf_cr_or_both() {
        for end in ["\n", "\r", "\r\n"] {
            let text = format!("event: a{end}data: 1{end}data:2{end}{end}data{end}{end}");
            assert_eq!(read(&[text.as_bytes()]), [event("a", "1\n2"), event("", "")], "{end:?}");
        }
        assert_eq!(read(&[b"data: 1\r", b"\n", b"\r", b"\ndata: 2\n\n"]), [event("", "1"), event("", "2")]);
    }

    #[test]
    fn a_byte_order_mark_comments_and_strange_fields_are_passed_over() {
        assert_eq!(read(&["\u{feff}data: 1\n: ping\nid: 7\nretry: 3\nwhat\n\n".as_bytes()]), [event("", "1")]);
        assert_eq!(read(&["data: 1\n\n\u{feff}data: 2\n\n".as_bytes()]), [event("", "1")]);
    }

    #[test]
    fn an_event_without_data_is_none_and_an_unfinished_one_is_not_told() {
        assert_eq!(read(&[b"event: ping\n\n", b"data: 1\n"]), []);
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut sse = Sse::default();
        let block = vec![b'x'; 1 << 20];
        let refused = (0..9).any(|_| sse.feed(&block, |_| panic!("no event")).is_err());
        assert!(refused);
        let mut sse = Sse::default();
        let lines = b"data: xxxxxxxxxxxxxxxx\n".repeat(1 << 16);
        assert!((0..9).any(|_| sse.feed(&lines, |_| panic!("no event")).is_err()));
    }

    proptest! {
        #[test]
        fn events_are_the_same_wherever_the_bytes_are_split(
            events in proptest::collection::vec(("[a-z_]{0,8}", "[^\r\n]{0,20}"), 0..6),
            ends in proptest::collection::vec(0..3_usize, 32),
            cuts in proptest::collection::vec(0..400_usize, 0..12),
        ) {
            let mut ends = ends.iter().cycle().map(|end| ["\n", "\r", "\r\n"][*end]);
            let mut text = String::new();
            let mut push = |line: &str| { text.push_str(line); text.push_str(ends.next().unwrap()); };
            for (name, data) in &events {
                push(&format!("event: {name}"));
                push(&format!("data: {data}"));
                push(":x");
                push("");
            }
            // A lone CR in front of what begins with LF would be one end of a line; the comment between them keeps them apart, and so does this.
            push(":end");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]));
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(read(&single), read(&[text.as_bytes()]));
        }
    }
}

//! Bytes of a program become lines of JSON: LF alone ends a line, and a line that is too long is forgotten whole.

use memchr::memchr;
use serde_json::Value;

/// Longest line in bytes; results of tools can be large.
pub const MAX_LINE: usize = 16 * 1024 * 1024;
/// Capacity that is kept for the next line once a long one has been read, in bytes.
const KEPT: usize = 64 * 1024;

/// What a line was.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// An object.
    Message(Value),
    /// Something else, such as a banner; its length in bytes.
    Garbage(usize),
    /// Longer than a line may be; its length in bytes.
    TooLong(usize),
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub struct Lines {
    held: Vec<u8>,
    /// Bytes of the current line that were thrown away.
    dropped: usize,
    limit: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_limit(MAX_LINE)
    }
}

impl Lines {
    /// With another limit than [`MAX_LINE`].
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { held: Vec::new(), dropped: 0, limit }
    }

    /// Takes bytes and gives the lines that end in them. Empty lines are none.
    pub fn push(&mut self, mut bytes: &[u8], into: &mut impl Extend<Line>) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.hold(line);
            into.extend(self.end());
        }
        self.hold(bytes);
    }

    /// The program says no more; what it said last may lack its LF.
    pub fn end(&mut self) -> Option<Line> {
        let dropped = std::mem::take(&mut self.dropped);
        let line = match serde_json::from_slice(&self.held) {
            _ if dropped > 0 => Some(Line::TooLong(dropped + self.held.len())),
            Ok(Value::Object(object)) => Some(Line::Message(Value::Object(object))),
            _ if self.held.trim_ascii().is_empty() => None,
            _ => Some(Line::Garbage(self.held.len())),
        };
        self.held.clear();
        self.held.shrink_to(KEPT);
        line
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.dropped > 0 || self.held.len() + bytes.len() > self.limit {
            self.dropped += self.held.len() + bytes.len();
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(limit: usize, pieces: &[&str]) -> Vec<Line> {
        let (mut lines, mut found) = (Lines::with_limit(limit), Vec::new());
        for piece in pieces {
            lines.push(piece.as_bytes(), &mut found);
        }
        found.extend(lines.end());
        found
    }

    #[test]
    fn only_lf_ends_a_line_wherever_the_bytes_are_cut() {
        let text = "{\"a\":\"x\u{2028}y\u{85}z\"}\r\n{\"b\":1}\n";
        let want = [Line::Message(json!({ "a": "x\u{2028}y\u{85}z" })), Line::Message(json!({ "b": 1 }))];
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(lines(1000, &[&text[..cut], &text[cut..]]), want, "cut at {cut}");
        }
    }

    #[test]
    fn garbage_lines_are_known_as_such_and_empty_ones_are_nothing() {
        assert_eq!(
            lines(1000, &["Welcome!\n\n  \n[1]\n{\"a\":1}\n{\"b\":"]),
            [Line::Garbage(8), Line::Garbage(3), Line::Message(json!({ "a": 1 })), Line::Garbage(5)]
        );
    }

    #[test]
    fn a_huge_line_is_forgotten_whole_and_the_next_one_is_heard() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
        assert_eq!(lines(50, &[&long[..30], &long[30..], "\n{\"b\":1}\n"]), [Line::TooLong(108), Line::Message(json!({ "b": 1 }))]);
        assert_eq!(lines(50, &[&long]), [Line::TooLong(108)]);
    }
}

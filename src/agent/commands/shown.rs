//! What a terminal shows, as text: it goes back to the beginning of each line, which a text does not.
//!
//! Output comes in chunks that are cut anywhere, so a `\r` at the end of one waits for what follows it.

/// The text of a terminal, chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The last chunk ended with a `\r`, which has not been given yet.
    returned: bool,
}

impl Shown {
    /// The next chunk as text.
    pub fn text(&mut self, chunk: &str) -> String {
        if chunk.is_empty() {
            return String::new();
        }
        let text = format!("{}{chunk}", self.rest());
        self.returned = text.ends_with('\r');
        text.strip_suffix('\r').unwrap_or(&text).replace("\r\n", "\n")
    }

    /// What still waits, because nothing follows it.
    pub fn rest(&mut self) -> &'static str {
        if std::mem::take(&mut self.returned) { "\r" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_line_is_one_however_it_is_cut() {
        let whole = "one\r\n50 %\r100 %\r\n\r\r\nü\r";
        let places: Vec<usize> = (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)).collect();
        for (first, second) in places.iter().flat_map(|first| places.iter().map(move |second| (*first, *second))) {
            let Some(middle) = whole.get(first..second) else { continue };
            let mut shown = Shown::default();
            let mut text: String = [&whole[..first], middle, &whole[second..]].map(|chunk| shown.text(chunk)).concat();
            text.push_str(shown.rest());
            assert_eq!(text, "one\n50 %\r100 %\n\r\nü\r", "cut at {first} and {second}");
            assert_eq!(shown.rest(), "");
        }
    }
}

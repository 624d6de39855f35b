//! What is kept of a command's output for the model: its beginning and its newest part, with places in it counted in bytes of the whole.

/// How much of the beginning is kept, bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// How much of the newest is kept at least, bytes; at most twice that.
const TAIL_BYTES: usize = 192 * 1024;

/// The output of a command.
#[derive(Debug, Default)]
pub(super) struct Kept {
    head: String,
    tail: String,
    /// Where the tail begins.
    tail_at: u64,
    total: u64,
}

impl Kept {
    /// Takes what is new.
    pub fn push(&mut self, text: &str) {
        self.total += text.len() as u64;
        let mut rest = text;
        if self.tail.is_empty() && self.tail_at == self.head.len() as u64 {
            let (first, more) = text.split_at(text.floor_char_boundary(HEAD_BYTES.saturating_sub(self.head.len())));
            self.head.push_str(first);
            self.tail_at = self.head.len() as u64;
            rest = more;
        }
        self.tail.push_str(rest);
        if self.tail.len() > 2 * TAIL_BYTES {
            let cut = self.tail.ceil_char_boundary(self.tail.len() - TAIL_BYTES);
            self.tail.drain(..cut);
            self.tail_at += cut as u64;
        }
    }

    /// How long the whole is.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What came since `place`; what is not there any more stands as a note.
    pub fn since(&self, place: u64) -> String {
        let from = |text: &str, at: u64| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            text.get(text.ceil_char_boundary(at.min(text.len()))..).unwrap_or_default().to_owned()
        };
        let head_end = self.head.len() as u64;
        let mut out = if place < head_end { from(&self.head, place) } else { String::new() };
        let gap = self.tail_at.saturating_sub(place.max(head_end));
        if gap > 0 {
            out.push_str(&format!("\n[… {gap} bytes left out …]\n"));
        }
        out.push_str(&from(&self.tail, place.saturating_sub(self.tail_at)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_output_is_whole_and_can_be_read_on_from_any_place() {
        let mut kept = Kept::default();
        kept.push("one\n");
        let place = kept.total();
        kept.push("zwei ü\n");
        assert_eq!((kept.since(0).as_str(), kept.since(place).as_str(), kept.since(99).as_str()), ("one\nzwei ü\n", "zwei ü\n", ""));
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_newest_part() {
        let mut kept = Kept::default();
        let mut all = String::new();
        for n in 0..200_000 {
            let line = format!("zeile {n} ü\n");
            kept.push(&line);
            all.push_str(&line);
        }
        assert_eq!(kept.total(), all.len() as u64);
        let shown = kept.since(0);
        let (head, rest) = shown.split_once("\n[… ").unwrap();
        let (gap, tail) = rest.split_once(" bytes left out …]\n").unwrap();
        assert!(all.starts_with(head) && all.ends_with(tail));
        assert_eq!(gap.parse::<usize>().unwrap() + head.len() + tail.len(), all.len());
        assert!(head.len() <= HEAD_BYTES && (TAIL_BYTES - 4..=2 * TAIL_BYTES).contains(&tail.len()));
        assert_eq!(kept.since(kept.total() - 3), "\u{fc}\n");
    }
}

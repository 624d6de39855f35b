//! What is new in output that a program repeats, and the exit codes that stand in it as words.

/// Most bytes of output of a call that are remembered to find out what is new.
const REMEMBERED: usize = 1024 * 1024;
/// How much of the end is looked for in a text that does not begin as the one before.
const OVERLAP: usize = 256;
/// Longest result of a call in a message, in bytes; head and tail stay.
const MAX_RESULT: usize = 128 * 1024;

/// The output of one call, as far as it was told.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    text: String,
    /// All of it, in bytes.
    len: usize,
}

/// What a whole text adds to what was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// Nothing.
    Nothing,
    /// This comes behind it.
    Behind(String),
    /// This stood before it.
    Before(String),
}

impl Seen {
    /// All that was told, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is remembered of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: &str) {
        self.len += piece.len();
        self.text.push_str(piece);
        if self.text.len() > 2 * REMEMBERED {
            let from = self.text.ceil_char_boundary(self.text.len() - REMEMBERED);
            drop(self.text.drain(..from));
        }
    }

    /// Takes the whole output as it stands now, and says what is new in it. Programs cut the beginning off long output.
    pub fn whole(&mut self, whole: &str) -> New {
        let new = self.compare(whole);
        if let New::Behind(piece) = &new {
            let piece = piece.clone();
            self.push(&piece);
        } else if let New::Before(piece) = &new {
            if self.forgotten() == 0 {
                self.text.insert_str(0, piece);
            }
            self.len += piece.len();
        }
        new
    }

    /// How much of the beginning is not remembered, in bytes.
    fn forgotten(&self) -> usize {
        self.len - self.text.len()
    }

    fn compare(&self, whole: &str) -> New {
        // What is remembered is the end of what was told: it must stand where it stood then.
        if let Some(rest) = whole.get(self.forgotten()..).and_then(|end| end.strip_prefix(self.text.as_str())) {
            return if rest.is_empty() { New::Nothing } else { New::Behind(rest.to_owned()) };
        }
        if whole.ends_with(self.text.as_str()) {
            let before = whole.get(..whole.len().saturating_sub(self.len)).unwrap_or_default();
            return if before.is_empty() { New::Nothing } else { New::Before(before.to_owned()) };
        }
        let from = self.text.ceil_char_boundary(self.text.len().saturating_sub(OVERLAP));
        let tail = self.text.get(from..).unwrap_or_default();
        match whole.rfind(tail).and_then(|at| whole.get(at + tail.len()..)) {
            Some("") => New::Nothing,
            Some(rest) => New::Behind(rest.to_owned()),
            None => New::Behind(whole.to_owned()),
        }
    }
}

/// The number behind `words` at the beginning of a line of `text`, the last of them, and the text without that line.
#[must_use]
pub fn code_in_words(text: &str, words: &str) -> Option<(i32, String)> {
    let place =
        text.rmatch_indices(words).map(|(at, _)| at).find(|at| *at == 0 || text.get(..*at).is_some_and(|before| before.ends_with('\n')))?;
    let (before, line) = text.split_at(place);
    let rest = line.get(words.len()..)?;
    let (number, after) = rest.split_once('\n').unwrap_or((rest, ""));
    let code = number.trim().parse().ok()?;
    let joined = format!("{}{after}", before.strip_suffix("\n\n").unwrap_or(before));
    Some((code, joined))
}

/// The result of a call, short enough for a message.
#[must_use]
pub fn fitting(text: &str) -> String {
    if text.len() <= MAX_RESULT {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(MAX_RESULT / 2);
    let tail = text.ceil_char_boundary(text.len() - MAX_RESULT / 2);
    let (first, last) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{first}\n… {} bytes left out …\n{last}", tail - head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_that_is_all_the_same_is_told_once() {
        let mut seen = Seen::default();
        let mut told = 0;
        for step in 1..=40 {
            let whole = "x".repeat(step * 100_000);
            if let New::Behind(piece) = seen.whole(&whole) {
                told += piece.len();
            }
        }
        assert_eq!((told, seen.len()), (4_000_000, 4_000_000));
        // A first piece that was never told.
        let mut seen = Seen::default();
        let lines: Vec<String> = (0..400_000).map(|line| format!("{line:9}\n")).collect();
        lines.iter().for_each(|line| seen.push(line));
        assert_eq!(seen.whole(&format!("first{}", lines.concat())), New::Before("first".to_owned()));
        assert_eq!(seen.len(), 4_000_005);
        assert_eq!(seen.whole(&format!("first{}last", lines.concat())), New::Behind("last".to_owned()));
    }

    #[test]
    fn cumulative_output_becomes_what_is_new_in_it() {
        let mut seen = Seen::default();
        let steps = ["", "out1\n", "out1\nout2\n", "out1\nout2\n", "out1\nout2\nout3\n"];
        let new: Vec<New> = steps.iter().map(|whole| seen.whole(whole)).collect();
        let behind = |text: &str| New::Behind(text.to_owned());
        assert_eq!(new, [New::Nothing, behind("out1\n"), behind("out2\n"), New::Nothing, behind("out3\n")]);
    }

    #[test]
    fn a_prefix_that_was_kept_back_is_found() {
        let mut seen = Seen::default();
        seen.push("out2\n");
        seen.push("out3\n");
        assert_eq!(seen.whole("out1\nout2\nout3\n"), New::Before("out1\n".to_owned()));
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn output_whose_beginning_was_cut_off_goes_on_where_it_was() {
        let mut seen = Seen::default();
        seen.push(&"abcdefgh\n".repeat(100));
        let cut = format!("{}new\n", "abcdefgh\n".repeat(40));
        assert_eq!(seen.whole(&cut), New::Behind("new\n".to_owned()));
        assert_eq!(seen.whole("something else"), New::Behind("something else".to_owned()));
    }

    #[test]
    fn exit_codes_in_words_are_read_and_taken_out() {
        assert_eq!(code_in_words("Exit code 3\nhi\nerr", "Exit code "), Some((3, "hi\nerr".to_owned())));
        let pi = "out1\ne\n\n\nCommand exited with code 4";
        assert_eq!(code_in_words(pi, "Command exited with code "), Some((4, "out1\ne\n".to_owned())));
        assert_eq!(code_in_words("say Exit code 3", "Exit code "), None);
        assert_eq!(code_in_words("Exit code many", "Exit code "), None);
    }

    #[test]
    fn a_long_result_keeps_its_head_and_its_tail() {
        let text = format!("HEAD{}TAIL", "ä".repeat(MAX_RESULT));
        let short = fitting(&text);
        assert!(short.len() < MAX_RESULT + 100 && short.starts_with("HEAD") && short.ends_with("TAIL"), "{}", short.len());
    }
}

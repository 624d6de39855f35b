//! How a command is shown to the person who decides about it: the words that will run, so written that nothing in them can pass for something else.
//!
//! The text is made from the plan, never from what somebody typed. Whatever could hide, turn around or move text on a screen is written as `\u{…}`, and a long text shows its beginning and its end with the count of what is left out.

use super::plan::Plan;

/// Longest prompt, bytes.
pub const MAX_PROMPT: usize = 4096;
/// What a long text shows of its beginning and of its end, bytes.
const HEAD: usize = 2600;
const TAIL: usize = 1300;

/// Characters that need no quotes beside letters and digits.
const PLAIN: &str = "_./:=@%+,-";

/// Blocks whose letters are written from right to left, so that they would turn their neighbours around.
const RIGHT_TO_LEFT: [(u32, u32); 5] = [(0x0590, 0x08ff), (0xfb1d, 0xfdff), (0xfe70, 0xfeff), (0x1_0800, 0x1_0fff), (0x1_e800, 0x1_efff)];
/// Letters that are not seen, and those that look like ASCII.
const DECEPTIVE: [(u32, u32); 6] =
    [(0x115f, 0x1160), (0x17b4, 0x17b5), (0x3164, 0x3164), (0xff00, 0xffef), (0x1_d400, 0x1_d7ff), (0x1_f100, 0x1_f1ff)];

/// Whether a character is seen as what it is: a printable one of ASCII, or a letter or digit that stays in its place.
#[must_use]
pub fn is_honest(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{ff}' => c.is_alphanumeric(),
        _ => c.is_alphanumeric() && !within(c, &RIGHT_TO_LEFT) && !within(c, &DECEPTIVE),
    }
}

/// Whether a character lies in a block of letters that nobody sees or that look like others.
#[must_use]
pub fn is_deceptive(c: char) -> bool {
    within(c, &DECEPTIVE)
}

fn within(c: char, blocks: &[(u32, u32)]) -> bool {
    blocks.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

/// The prompt for a plan: its pipeline on one line, then the files and the folder. At most [`MAX_PROMPT`] bytes.
#[must_use]
pub fn of_plan(plan: &Plan) -> String {
    let mut text = String::new();
    for (n, stage) in plan.stages.iter().enumerate() {
        text.push_str(if n == 0 { "" } else { " | " });
        for (n, argument) in stage.argv.iter().enumerate() {
            text.push_str(if n == 0 { "" } else { " " });
            text.push_str(&word(argument));
        }
    }
    let mut foot = String::new();
    for stage in &plan.stages {
        let files = [("program", &stage.exe)].into_iter();
        let files = files.chain(stage.script.as_ref().map(|script| ("script", &script.file)));
        for (what, file) in files.chain(stage.files.iter().map(|file| ("file", file))) {
            let digest = file.sha256.get(..12).unwrap_or(&file.sha256);
            foot.push_str(&format!("\n{what} {} sha256 {digest}", word(&file.path.to_string_lossy())));
        }
    }
    foot.push_str(&format!("\nin {}", word(&plan.cwd.path.to_string_lossy())));
    let foot = shortened(&foot, MAX_PROMPT / 4);
    format!("{}{foot}", shortened(&text, MAX_PROMPT - foot.len()))
}

/// One word of a command, in quotes if it needs them.
#[must_use]
pub fn word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", escaped(text))
}

/// A text on one line, with every character that is not seen as what it is written as its number.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ if is_honest(c) => out.push(c),
            _ => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out
}

/// The beginning and the end of a text of more than `most` bytes, with the count of the characters between them.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let scale = |part: usize| most.saturating_sub(80) * part / (HEAD + TAIL);
    let head = floor(text, scale(HEAD));
    let tail = ceil(text, text.len() - scale(TAIL));
    let (start, rest) = text.split_at_checked(head).unwrap_or((text, ""));
    let end = rest.get(tail.saturating_sub(head)..).unwrap_or_default();
    let left_out = rest.chars().count() - end.chars().count();
    format!("{start} [... {left_out} characters left out ...] {end}")
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::policy::plan::tests::sample_plan;

    #[test]
    fn m72_a_prompt_shows_the_words_that_run_and_their_files() {
        let text = of_plan(&sample_plan(&[&["grep", "-c", "a b"], &["wc", ""]]));
        assert!(text.starts_with("grep -c 'a b' | wc ''\nprogram /usr/bin/grep sha256 2d711642b726\nprogram /usr/bin/wc"), "{text}");
        assert!(text.ends_with("\nin /w"), "{text}");
    }

    #[test]
    fn m72_what_hides_or_turns_text_around_is_written_as_its_number() {
        for (hidden, shown) in [
            ("a\u{200b}b", "a\\u{200b}b"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\nb\rc", "a\\nb\\u{d}c"),
            ("a\u{a0}b", "a\\u{a0}b"),
            ("\u{ff1b}", "\\u{ff1b}"),
            ("\u{3164}", "\\u{3164}"),
            ("\u{5d0}1", "\\u{5d0}1"),
            ("\u{feff}", "\\u{feff}"),
            ("it's \\u{41}", "it\\'s \\\\u{41}"),
            ("Größe 大", "Größe 大"),
        ] {
            assert_eq!(word(hidden), format!("'{shown}'"));
        }
    }

    #[test]
    fn m72_a_prompt_of_a_mebibyte_shows_both_ends_and_the_count() {
        for filler in ["x", "\u{1b}", "大", "'"] {
            let long = format!("first{}last", filler.repeat((1 << 20) / filler.len()));
            let text = of_plan(&sample_plan(&[&["echo", &long, "end"]]));
            assert!(text.len() <= MAX_PROMPT, "{}", text.len());
            let line = text.lines().next().unwrap();
            assert!(line.starts_with("echo ") && line.contains("first") && line.ends_with("end"), "{line}");
            assert!(line.contains(" characters left out ...] "), "{line}");
        }
        let many = vec!["w"; 400];
        assert!(of_plan(&sample_plan(&[&many, &many, &many, &many])).len() <= MAX_PROMPT);
    }
}

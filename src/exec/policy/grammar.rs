//! The one form in which a command may be written in allowlist mode: words and pipelines of words, nothing else.
//!
//! It is a small part of what shells understand, chosen so that every shell reads it the same way; whatever is outside is refused with the reason named, never guessed at. Bytes come first: a character that a person cannot see as what it is, or that a shell might take for a blank, is refused wherever it stands, in quotes too.
//!
//! ```text
//! pipeline = command ("|" command){0,3}      command = word (" "+ word)*
//! word     = part+      part = plain | 'literal' | "literal without $ ` \" | \printable
//! ```

use super::prompt::is_deceptive;

/// Longest command, bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most words of all stages together.
pub const MAX_WORDS: usize = 256;
/// Most stages of a pipeline.
pub const MAX_STAGES: usize = 4;

/// Characters with a meaning for some shell, with the reason that is named when one stands outside quotes.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("$`*?[]{}~!", "EXPANSION", "would be expanded by a shell"),
    (";&", "OPERATOR", "joins commands"),
    ("<>", "REDIRECTION", "redirects; a command here reads and writes no files but those it is told to"),
    ("()", "GROUPING", "groups commands"),
    ("#", "COMMENT", "may begin a comment"),
];

/// Words that are no programs for a shell.
const RESERVED: &[&str] = &[
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "select", "function", "time",
    "coproc", "{", "}", "!", "[[", "]]",
];

/// Why a text is no command of this grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// The rule, one word in capitals.
    pub token: &'static str,
    /// What stands where, and what to do about it.
    pub text: String,
}

fn refused<T>(token: &'static str, text: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { token, text: text.into() })
}

/// The words of a pipeline, stage by stage: at least one stage, each of at least one word.
///
/// # Errors
/// The text is not of this grammar.
pub fn parse(text: &str) -> Result<Vec<Vec<String>>, Refused> {
    check_characters(text)?;
    let mut reader = Reader::default();
    let mut chars = text.chars().enumerate();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' => reader.end_word()?,
            '|' => reader.end_stage(at)?,
            '\'' => match closing(&mut chars, '\'', |_| None)? {
                Some(inner) => reader.push_str(&inner),
                None => return refused("QUOTE", format!("the single quote at character {} is not closed", at + 1)),
            },
            '"' => match closing(&mut chars, '"', in_double_quotes)? {
                Some(inner) => reader.push_str(&inner),
                None => return refused("QUOTE", format!("the double quote at character {} is not closed", at + 1)),
            },
            '\\' => match chars.next() {
                Some((_, next)) if (' '..='~').contains(&next) => reader.push(next),
                _ => return refused("BACKSLASH", format!("the backslash at character {} has no printable character behind it", at + 1)),
            },
            _ => match SPECIAL.iter().find(|(set, ..)| set.contains(c)) {
                Some((_, token, why)) => return refused(token, format!("{c:?} at character {} {why}; quote it if it is text", at + 1)),
                None => reader.push(c),
            },
        }
    }
    reader.end_word()?;
    reader.finish()
}

/// A character that a shell still acts on inside double quotes.
fn in_double_quotes(c: char) -> Option<&'static str> {
    match c {
        '$' | '`' => Some("EXPANSION"),
        '\\' => Some("BACKSLASH"),
        _ => None,
    }
}

/// Everything up to `end`; None if it never comes.
fn closing(
    chars: &mut impl Iterator<Item = (usize, char)>,
    end: char,
    bad: impl Fn(char) -> Option<&'static str>,
) -> Result<Option<String>, Refused> {
    let mut inner = String::new();
    for (at, c) in chars {
        if c == end {
            return Ok(Some(inner));
        }
        if let Some(token) = bad(c) {
            return refused(token, format!("{c:?} at character {} is not literal in double quotes; use single quotes", at + 1));
        }
        inner.push(c);
    }
    Ok(None)
}

/// The first look, at every character: what may stand anywhere at all.
fn check_characters(text: &str) -> Result<(), Refused> {
    if text.len() > MAX_BYTES {
        return refused("TOO_LONG", format!("the command has {} bytes and may have {MAX_BYTES}", text.len()));
    }
    for (at, c) in text.chars().enumerate() {
        let (token, what) = match c {
            ' '..='~' => continue,
            '\n' => ("NEWLINE", "is a line end; one command at a time"),
            '\0'..='\u{9f}' => ("CONTROL", "is a control character"),
            _ if is_deceptive(c) || !c.is_alphanumeric() => ("CHARACTER", "is no letter or digit and may be taken for something else"),
            _ => continue,
        };
        return refused(token, format!("{} at character {} {what}", c.escape_unicode(), at + 1));
    }
    Ok(())
}

#[derive(Default)]
struct Reader {
    stages: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    count: usize,
}

impl Reader {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn push_str(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) -> Result<(), Refused> {
        let Some(word) = self.word.take() else { return Ok(()) };
        if self.words.is_empty() {
            check_name(&word)?;
        }
        self.count += 1;
        if self.count > MAX_WORDS {
            return refused("TOO_MANY_WORDS", format!("a command may have {MAX_WORDS} words"));
        }
        self.words.push(word);
        Ok(())
    }

    fn end_stage(&mut self, at: usize) -> Result<(), Refused> {
        self.end_word()?;
        if self.words.is_empty() {
            return refused("OPERATOR", format!("'|' at character {} has no command before it", at + 1));
        }
        self.stages.push(std::mem::take(&mut self.words));
        if self.stages.len() >= MAX_STAGES {
            return refused("TOO_MANY_STAGES", format!("a pipeline may have {MAX_STAGES} stages"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Vec<String>>, Refused> {
        match (self.words.is_empty(), self.stages.is_empty()) {
            (true, true) => refused("EMPTY", "there is no command"),
            (true, false) => refused("OPERATOR", "the last '|' has no command behind it"),
            _ => {
                self.stages.push(self.words);
                Ok(self.stages)
            }
        }
    }
}

/// A shell takes some first words for something else than a program, quoted or not.
fn check_name(word: &str) -> Result<(), Refused> {
    if word.is_empty() {
        return refused("EMPTY", "the name of the program is empty");
    }
    if word.contains('=') {
        return refused("ASSIGNMENT", "a command may not begin with NAME=value; variables come from the configuration");
    }
    if RESERVED.contains(&word) {
        return refused("RESERVED_WORD", format!("`{word}` is a word of shells; only programs run here"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

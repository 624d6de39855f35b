//! Whether a program is there, which one it is, and what it says about itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::spec::Kind;
use crate::exec::program::find;

/// What is known of an installed program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its file.
    pub path: Option<PathBuf>,
    /// Its version, as it writes it.
    pub version: Option<String>,
    /// Why it cannot be used, one line; absent if it can.
    pub why_not: Option<String>,
}

/// Looks for the program of a kind: the first word of `command`, or the kind's own when that is empty, in the `PATH` of `env`.
///
/// # Errors
/// One line: what is missing, and what to do.
pub fn locate(kind: Kind, command: &[String], env: &BTreeMap<String, String>) -> Result<PathBuf, String> {
    let Some(name) = command.first().map(String::as_str).or_else(|| kind.command()) else {
        return Err("no command is configured; a program that speaks the Agent Client Protocol has no name of its own".to_owned());
    };
    find(name, env.get("PATH").map(OsStr::new)).ok_or_else(|| {
        if name.contains('/') {
            format!("{name} is not there, or is no program")
        } else {
            format!("{name} is not installed, or in no directory of PATH; configure its whole path")
        }
    })
}

/// What a program says when it is asked for its version; `ask` runs a file with `--version` and returns its stdout, or why there is none. A program that says nothing is there all the same.
#[must_use]
pub fn probe(
    kind: Kind,
    command: &[String],
    env: &BTreeMap<String, String>,
    ask: impl FnOnce(&PathBuf) -> Result<String, String>,
) -> Found {
    let path = match locate(kind, command, env) {
        Ok(path) => path,
        Err(why_not) => return Found { why_not: Some(why_not), ..Found::default() },
    };
    let (version, why_not) = match ask(&path) {
        Ok(text) => (version(&text), None),
        Err(why) => (None, Some(why)),
    };
    Found { path: Some(path), version, why_not }
}

/// The first word of the text that looks like a version.
fn version(text: &str) -> Option<String> {
    let looks = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '/' | '@'));
    words.find_map(|word| Some(word.trim_start_matches('v')).filter(looks).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        BTreeMap::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())])
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let found = probe(Kind::Codex, &["no-such-codex".to_owned()], &env(), |_| unreachable!());
        assert!(found.path.is_none() && found.why_not.unwrap().contains("configure its whole path"));
        let none = probe(Kind::Acp, &[], &env(), |_| unreachable!());
        assert!(none.why_not.unwrap().starts_with("no command is configured"));
        assert_eq!(locate(Kind::Pi, &["/no/pi".to_owned()], &env()).unwrap_err(), "/no/pi is not there, or is no program");
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, want) in [
            ("codex-cli 0.169.0\n", Some("0.169.0")),
            ("2.1.329 (Claude Code)\n", Some("2.1.329")),
            ("0.87.1\n", Some("0.87.1")),
            ("tool v1.2.3-beta", Some("1.2.3-beta")),
            ("", None),
            ("no version here.", None),
        ] {
            assert_eq!(version(text).as_deref(), want, "{text}");
        }
        let found = probe(Kind::Codex, &["sh".to_owned()], &env(), |_| Err("it did not answer within 5 s".to_owned()));
        assert!(found.path.is_some() && found.version.is_none() && found.why_not.is_some());
    }
}

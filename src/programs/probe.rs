//! Where a program is, and which version it says it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::spec::Kind;
use crate::exec::program::find;

/// Looks for the program of a kind: the first word of `command`, or the kind's own when that is empty, in the `PATH` of `env`.
///
/// # Errors
/// One line: what is missing, and what to do.
pub fn locate(kind: Kind, command: &[String], env: &BTreeMap<String, String>) -> Result<PathBuf, String> {
    let Some(name) = command.first().map(String::as_str).or_else(|| kind.command()) else {
        let text =
            "no command is configured; a program that speaks the Agent Client Protocol has no name of its own, set runners.acp.command";
        return Err(text.to_owned());
    };
    find(name, env.get("PATH").map(OsStr::new)).ok_or_else(|| {
        let runner = kind.name();
        if name.contains('/') {
            format!("{name} is not there, or is no program; correct runners.{runner}.command{}", kind.install())
        } else {
            format!(
                "{name} is not installed, or in no directory of PATH{}, or set runners.{runner}.command to its whole path",
                kind.install()
            )
        }
    })
}

/// The first word of what a program says about itself that looks like a version.
#[must_use]
pub fn version(text: &str) -> Option<String> {
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
        let found = locate(Kind::Codex, &["no-such-codex".to_owned()], &env());
        assert!(found.unwrap_err().contains("set runners.codex.command to its whole path"));
        assert!(locate(Kind::Acp, &[], &env()).unwrap_err().starts_with("no command is configured"));
        let gone = locate(Kind::Pi, &["/no/pi".to_owned()], &env()).unwrap_err();
        assert!(gone.starts_with("/no/pi is not there, or is no program; correct runners.pi.command; install it with `npm"), "{gone}");
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
    }
}

//! Hides in the text of a command what looks like a secret. Only used where `audit.commands` asks for texts; it errs on the side of hiding.
//!
//! It goes by words, as a shell would separate them, and knows no shell: a secret that a script puts together is not seen, and a digest is always there beside the text.

use std::borrow::Cow;

/// What stands in place of a secret.
const HIDDEN: &str = "[hidden]";
/// Parts of names that say what their value is.
const NAMES: [&str; 11] =
    ["secret", "token", "passw", "pwd", "apikey", "api_key", "api-key", "credential", "private", "authorization", "access_key"];
/// Beginnings of values that are secrets by themselves.
const VALUES: [&str; 9] = ["skg_", "sk-", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "AKIA", "eyJ"];
/// Words behind which a secret follows.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// The text with what looks like a secret hidden.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // The word before was the name of a secret, such as `--password`, or a scheme.
    let mut expected = false;
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '&' | '"' | '\'' | '`' | '(' | ')')) {
        let end = piece.char_indices().next_back().filter(|(_, c)| is_border(*c)).map_or(piece.len(), |(at, _)| at);
        let (word, border) = piece.split_at(end);
        if word.is_empty() {
            // A quote between a name and its value changes nothing; a new command does.
            expected &= !border.contains([';', '|', '&', '\n']);
            shown.push_str(border);
            continue;
        }
        let (text, next) = word_of(word, expected);
        shown.push_str(&text);
        shown.push_str(border);
        expected = next && !border.contains([';', '|', '&', '\n']);
    }
    shown
}

fn is_border(c: char) -> bool {
    c.is_whitespace() || matches!(c, ';' | '|' | '&' | '"' | '\'' | '`' | '(' | ')')
}

/// A word as it is shown, and whether the next one is a secret.
fn word_of(word: &str, expected: bool) -> (Cow<'_, str>, bool) {
    let lower = word.to_ascii_lowercase();
    if SCHEMES.contains(&lower.as_str()) {
        return (Cow::Borrowed(word), true);
    }
    if expected {
        // `Authorization: token …` has one more word before the secret.
        return (Cow::Borrowed(HIDDEN), names_secret(word));
    }
    if let Some((name, value)) = word.split_once(['=', ':'])
        && names_secret(name)
    {
        let sign = word.get(name.len()..=name.len()).unwrap_or("=");
        // `Authorization:` and `TOKEN="…` have their value in the next word.
        return if value.is_empty() { (Cow::Borrowed(word), true) } else { (Cow::Owned(format!("{name}{sign}{HIDDEN}")), false) };
    }
    if let Some(hidden) = without_login(word) {
        return (Cow::Owned(hidden), false);
    }
    let begins = |at: &usize| !word.get(..*at).is_some_and(|before| before.ends_with(|c: char| c.is_ascii_alphanumeric()));
    if let Some(at) = VALUES.iter().filter_map(|value| word.find(value)).filter(begins).min() {
        return (Cow::Owned(format!("{}{HIDDEN}", word.get(..at).unwrap_or_default())), false);
    }
    (Cow::Borrowed(word), word.starts_with('-') && names_secret(word))
}

fn names_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    NAMES.iter().any(|part| lower.contains(part)) || lower.ends_with("_key") || lower.ends_with("-key")
}

/// `https://user:password@host` without what stands before the `@`.
fn without_login(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let (login, _) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{HIDDEN}{}", rest.get(login.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_the_rest_stays() {
        let rows = [
            ("ls -la /tmp", "ls -la /tmp"),
            ("mysql --password=abc -h db", "mysql --password=[hidden] -h db"),
            ("mysql --password abc -h db", "mysql --password [hidden] -h db"),
            ("API_TOKEN=abc; echo ok", "API_TOKEN=[hidden]; echo ok"),
            ("API_TOKEN='abc' x", "API_TOKEN='[hidden]' x"),
            ("curl -H \"Authorization: Bearer abc\" u", "curl -H \"Authorization: Bearer [hidden]\" u"),
            ("curl -H 'x-api-key: abc' u", "curl -H 'x-api-key: [hidden]' u"),
            ("git clone https://me:abc@host/x", "git clone https://[hidden]@host/x"),
            ("echo skg_abc sk-abc", "echo [hidden] [hidden]"),
            ("export AWS_SECRET_ACCESS_KEY=abc && run", "export AWS_SECRET_ACCESS_KEY=[hidden] && run"),
            ("echo --token; ls x", "echo --token; ls x"),
            ("curl -H 'Authorization: token abc' u", "curl -H 'Authorization: [hidden] [hidden]' u"),
            ("rm disk-1 task-2", "rm disk-1 task-2"),
        ];
        for (text, shown) in rows {
            assert_eq!(redact(text), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_value_behind_a_telling_name_is_never_shown(before in "[ -~]{0,20}", value in "[A-Za-z0-9]{12}", after in "[ -~]{0,20}") {
            for form in [format!("{before} --token {value} {after}"), format!("{before};PASSWORD={value} {after}")] {
                // Text around it may hold the value only if it was made to.
                if !before.contains(&value) && !after.contains(&value) {
                    proptest::prop_assert!(!redact(&form).contains(&value), "{form}");
                }
            }
        }
    }
}

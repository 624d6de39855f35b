//! `config check|schema|explain|show`: the config from the side of the person who writes it.
//!
//! Each command writes to the given output and returns the program's exit code, so that it is tested without a process.

use std::io::{self, Write};

use crate::config::explain::Explained;
use crate::config::layers::Sources;
use crate::config::load::{Loaded, load};
use crate::config::problem::{ConfigError, lines};
use crate::config::reference::reference_md;
use crate::config::schema::{COMMITTED, schema};

/// What is asked about the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Whether a gateway would start with it.
    Check,
    /// Its JSON Schema.
    Schema,
    /// Its reference, as Markdown.
    Reference,
    /// What one key is for, what it is, and who set it.
    Explain {
        /// The key, such as `gateway.port`.
        key: String,
        /// As JSON.
        json: bool,
    },
    /// All of it with defaults filled in and secrets hidden, as JSON.
    Show,
}

const OK: u8 = 0;
const USAGE: u8 = 64;

/// Does it. The answer is the exit code: 0, 64 for a key that does not exist, 78 for a config that does not start.
///
/// # Errors
/// The output cannot be written.
pub fn run(command: &ConfigCommand, sources: &Sources, out: &mut dyn Write) -> io::Result<u8> {
    match command {
        ConfigCommand::Schema => {
            out.write_all(COMMITTED.as_bytes())?;
            Ok(OK)
        }
        ConfigCommand::Reference => {
            out.write_all(reference_md(&schema()).as_bytes())?;
            Ok(OK)
        }
        ConfigCommand::Check | ConfigCommand::Explain { .. } | ConfigCommand::Show => match load(sources) {
            Ok(loaded) => with_config(command, &loaded, out),
            Err(error) => {
                writeln!(out, "{error}")?;
                Ok(ConfigError::EXIT_CODE)
            }
        },
    }
}

fn with_config(command: &ConfigCommand, loaded: &Loaded, out: &mut dyn Write) -> io::Result<u8> {
    match command {
        ConfigCommand::Explain { key, json } => explain(loaded, key, *json, out),
        ConfigCommand::Show => {
            writeln!(out, "{:#}", loaded.show())?;
            Ok(OK)
        }
        ConfigCommand::Check | ConfigCommand::Schema | ConfigCommand::Reference => check(loaded, out),
    }
}

fn check(loaded: &Loaded, out: &mut dyn Write) -> io::Result<u8> {
    if !loaded.exists {
        writeln!(out, "{} does not exist; defaults apply", loaded.path.display())?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let blockers = loaded.start_blockers();
    if blockers.is_empty() {
        writeln!(out, "{} is right", loaded.path.display())?;
        return Ok(OK);
    }
    writeln!(out, "{}", lines(&blockers))?;
    Ok(ConfigError::EXIT_CODE)
}

fn explain(loaded: &Loaded, key: &str, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    let explained = match loaded.explain(key) {
        Ok(explained) => explained,
        Err(problem) => {
            writeln!(out, "{problem}")?;
            return Ok(USAGE);
        }
    };
    let Explained { path, value, layer, doc, allowed, reload } = explained;
    if json {
        let object = serde_json::json!({ "key": path.to_string(), "value": value, "layer": layer, "doc": doc, "allowed": allowed, "reload": reload });
        writeln!(out, "{object}")?;
        return Ok(OK);
    }
    writeln!(out, "{path} = {value}\n  set by: {layer}")?;
    if !allowed.is_empty() {
        writeln!(out, "  allowed: {}", allowed.join(", "))?;
    }
    writeln!(out, "  on change: {reload}")?;
    if !doc.is_empty() {
        writeln!(out, "  {doc}")?;
    }
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::init::{default_file, new_token, write_new};
    use crate::config::layers::FlagLayer;

    fn said(dir: &std::path::Path, command: &ConfigCommand) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(command, &Sources { flags: FlagLayer::from(dir.to_owned()), ..Sources::default() }, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    fn key(key: &str) -> ConfigCommand {
        ConfigCommand::Explain { key: key.to_owned(), json: false }
    }

    #[test]
    fn a_right_config_is_checked_shown_and_explained_without_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let token = new_token().unwrap();
        write_new(&dir.path().join("skykoi.json"), &default_file(&token, dir.path())).unwrap();
        for command in [ConfigCommand::Check, ConfigCommand::Show, key("gateway.auth.token"), key("gateway.auth")] {
            let (code, text) = said(dir.path(), &command);
            assert_eq!(code, 0, "{text}");
            assert!(!text.contains(&token), "{text}");
        }
        let (_, text) = said(dir.path(), &key("gateway.bind"));
        assert!(
            text.starts_with("gateway.bind = \"loopback\"\n  set by: file ") && text.contains("allowed: auto, lan, loopback"),
            "{text}"
        );
        let json = ConfigCommand::Explain { key: "gateway.port".to_owned(), json: true };
        assert!(said(dir.path(), &json).1.starts_with("{\"key\":\"gateway.port\",\"value\":18789,\"layer\":\"file "));
    }

    #[test]
    fn wrong_and_missing_configs_end_with_78_and_unknown_keys_with_64() {
        let dir = tempfile::tempdir().unwrap();
        let (code, text) = said(dir.path(), &ConfigCommand::Check);
        assert_eq!(code, 78);
        assert!(text.contains("does not exist; defaults apply\n") && text.contains("gateway.mode: is missing"), "{text}");
        assert_eq!(said(dir.path(), &key("gateway.prot")), (64, "gateway.prot: unknown key, did you mean `port`?\n".to_owned()));
        write_new(&dir.path().join("skykoi.json"), "{ x: 1 }").unwrap();
        for command in [ConfigCommand::Check, ConfigCommand::Show, key("gateway.port")] {
            let (code, text) = said(dir.path(), &command);
            assert_eq!(code, 78);
            assert!(text.ends_with("skykoi.json:1:3: x: unknown key\n"), "{text}");
        }
    }

    #[test]
    fn the_schema_is_printed_even_when_the_config_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        write_new(&dir.path().join("skykoi.json"), "{ x: 1 }").unwrap();
        let (code, text) = said(dir.path(), &ConfigCommand::Schema);
        assert_eq!(code, 0);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}

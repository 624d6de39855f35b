//! `token new|list|revoke|rotate|password`: secrets for the door of a gateway. A secret is printed once, when it is made; the config gets its hash.

use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::config_edit::edit;
use super::error::{CONFIG, CliError, OK};
use super::output::Output;
use super::start::PlaceArgs;
use super::table::columns;
use crate::auth::password;
use crate::clock::{from_iso, iso, now_ms};
use crate::config::init::new_token;
use crate::config::key_path::{KeyPath, Step};
use crate::config::layers::Sources;
use crate::config::load::load;
use crate::config::login::NamedToken;
use crate::config::login_rules::{MIN_PASSWORD, hash_of_token};
use crate::protocol::scope::Scope;

/// Longest password.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// Make, list and take back tokens
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
    /// Where configuration and state are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What to do with tokens.
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Print a new random token of 256 bits; with a name its hash goes into the configuration, without one it is stored nowhere
    New {
        /// Its name; runs that are started with it belong to it
        name: Option<String>,
        /// What it permits, such as `read,write`: read, write, approvals, pairing, admin
        #[arg(long, value_delimiter = ',', value_name = "SCOPES", requires = "name")]
        scopes: Vec<String>,
        /// Give its holder one session and one directory of its own, and nothing else to read
        #[arg(long, requires = "name")]
        confined: bool,
        /// When it ends: a span such as `30d` or `12h`, or a time such as `2027-01-01T00:00:00Z`; never if absent
        #[arg(long, value_name = "WHEN", requires = "name")]
        expires: Option<String>,
    },
    /// List the tokens with a name, their scopes and when they end; secrets are never shown
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a token back; connections that came with it end at once
    Revoke {
        /// Its name
        name: String,
    },
    /// Print a new token in place of the old one, with the same name and scopes; connections that came with the old one end at once
    Rotate {
        /// Its name
        name: String,
        /// When the new one ends; as the old one if absent
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// Read a password from stdin and print its hash for gateway.auth.password
    Password,
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The system has no randomness; the configuration cannot be changed; the command line is wrong.
pub fn run(args: &TokenArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let sources = args.place.sources();
    match &args.command {
        TokenCommand::New { name: None, .. } => {
            out.line(&made()?)?;
            Ok(OK)
        }
        TokenCommand::New { name: Some(name), scopes, expires, confined } => {
            let (scopes, expires) = (scopes_of(scopes)?, expires.as_deref().map(|text| ending(text, now_ms())).transpose()?);
            let mut entry = json!({ "name": name, "scopes": scopes });
            if let (Some(expires), Some(entry)) = (expires, entry.as_object_mut()) {
                entry.insert("expiresAt".to_owned(), expires.into());
            }
            if let (true, Some(entry)) = (*confined, entry.as_object_mut()) {
                entry.insert("confined".to_owned(), true.into());
            }
            super::wait(add(name, entry, &sources, out))
        }
        TokenCommand::List { json } => list(*json, &sources, out),
        TokenCommand::Revoke { name } => super::wait(revoke(name, &sources, out)),
        TokenCommand::Rotate { name, expires } => {
            let expires = expires.as_deref().map(|text| ending(text, now_ms())).transpose()?;
            super::wait(rotate(name, expires.as_deref(), &sources, out))
        }
        TokenCommand::Password => hash_password(&mut std::io::stdin(), out),
    }
}

fn made() -> Result<String, CliError> {
    new_token().map_err(|error| CliError::Local(error.to_string()))
}

fn scopes_of(words: &[String]) -> Result<Vec<&'static str>, CliError> {
    let full = |word: &String| Scope::parse(word).or_else(|| Scope::parse(&format!("operator.{word}")));
    let scopes: Option<Vec<&'static str>> = words.iter().map(|word| full(word).map(Scope::name)).collect();
    scopes.filter(|scopes| !scopes.is_empty()).ok_or_else(|| {
        CliError::Usage(
            "say what the token permits with --scopes, such as --scopes read,write: read, write, approvals, pairing, admin".to_owned(),
        )
    })
}

/// The moment that a span from now or a time says, as an ISO time.
fn ending(text: &str, now: u64) -> Result<String, CliError> {
    const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];
    let span = UNITS.iter().find_map(|(unit, ms)| text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*ms)?.checked_add(now));
    let at = from_iso(text).or(span).filter(|at| *at > now);
    at.map(iso).ok_or_else(|| {
        CliError::Usage(format!("--expires {text}: give a span such as 30d or 12h, or a time to come such as 2027-01-01T00:00:00Z"))
    })
}

fn entries(config: &Value) -> &[Value] {
    config.pointer("/gateway/auth/tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn place_of(config: &Value, name: &str) -> Option<KeyPath> {
    let same = |entry: &Value| entry.get("name").and_then(Value::as_str).is_some_and(|known| known.eq_ignore_ascii_case(name));
    let index = entries(config).iter().position(same)?;
    Some(KeyPath::parse("gateway.auth.tokens").join(Step::Index(index)))
}

fn unknown(name: &str) -> CliError {
    CliError::Usage(format!("no token has the name {name}; `token list` shows them all"))
}

async fn add(name: &str, mut entry: Value, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let token = made()?;
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("hash".to_owned(), hash_of_token(&token).into());
    }
    let change = |config: &Value| {
        if place_of(config, name).is_some() {
            return Err(CliError::Usage(format!("there is a token {name} already; `token rotate {name}` replaces it")));
        }
        let tokens = KeyPath::parse("gateway.auth.tokens");
        Ok(match entries(config).len() {
            0 => (tokens, json!([entry.clone()])),
            count => (tokens.join(Step::Index(count)), entry.clone()),
        })
    };
    hand_over(&token, edit(sources, &change, out).await?, out)
}

async fn rotate(name: &str, expires: Option<&str>, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let token = made()?;
    let mut patch = Map::from_iter([("hash".to_owned(), hash_of_token(&token).into()), ("token".to_owned(), Value::Null)]);
    if let Some(expires) = expires {
        patch.insert("expiresAt".to_owned(), expires.into());
    }
    let change = |config: &Value| Ok((place_of(config, name).ok_or_else(|| unknown(name))?, Value::Object(patch.clone())));
    hand_over(&token, edit(sources, &change, out).await?, out)
}

/// Prints the secret, this once, when the gateway knows its hash.
fn hand_over(token: &str, changed: Result<String, u8>, out: &mut Output<'_>) -> Result<u8, CliError> {
    match changed {
        Ok(said) => {
            out.line(token)?;
            out.say(&said);
            out.say("this is shown once; the configuration holds only its hash");
            Ok(OK)
        }
        Err(code) => Ok(code),
    }
}

async fn revoke(name: &str, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let change = |config: &Value| Ok((place_of(config, name).ok_or_else(|| unknown(name))?, Value::Null));
    match edit(sources, &change, out).await? {
        Ok(said) => {
            out.line(&format!("{name} is revoked; {said}"))?;
            Ok(OK)
        }
        Err(code) => Ok(code),
    }
}

fn list(as_json: bool, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            out.say(&error.to_string());
            return Ok(CONFIG);
        }
    };
    let tokens = &loaded.config.gateway.auth.tokens;
    let ended = |token: &NamedToken| token.expires_at.as_deref().and_then(from_iso).is_some_and(|at| at <= now_ms());
    let scopes = |token: &NamedToken| token.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>();
    if as_json {
        let row = |token: &NamedToken| json!({ "name": token.name, "scopes": scopes(token), "expiresAt": token.expires_at, "expired": ended(token) });
        out.line(&Value::Array(tokens.iter().map(row).collect()).to_string())?;
        return Ok(OK);
    }
    let mut rows = vec![["NAME", "SCOPES", "ENDS"].map(str::to_owned).to_vec()];
    for token in tokens {
        let ends = token.expires_at.clone().unwrap_or_else(|| "never".to_owned());
        let short = scopes(token).iter().map(|scope| scope.trim_start_matches("operator.")).collect::<Vec<_>>().join(",");
        rows.push(vec![token.name.clone(), short, if ended(token) { format!("{ends} (ended)") } else { ends }]);
    }
    out.line(&columns(&rows))?;
    Ok(OK)
}

fn hash_password(stdin: &mut dyn Read, out: &mut Output<'_>) -> Result<u8, CliError> {
    let mut text = String::new();
    stdin.take(MAX_PASSWORD_BYTES).read_to_string(&mut text).map_err(|error| CliError::Usage(format!("stdin: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.chars().count() < MIN_PASSWORD {
        return Err(CliError::Usage(format!("give a password of at least {MIN_PASSWORD} characters on stdin")));
    }
    out.line(&password::hash(text).map_err(|error| CliError::Local(error.to_string()))?)?;
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::init::{default_file, write_new};
    use crate::config::layers::FlagLayer;

    fn said(work: impl FnOnce(&mut Output<'_>) -> Result<u8, CliError>) -> Result<(u8, String), String> {
        let (mut result, mut talk) = (Vec::new(), Vec::new());
        let code = work(&mut Output { result: &mut result, talk: &mut talk }).map_err(|error| error.to_string())?;
        Ok((code, String::from_utf8(result).unwrap()))
    }

    #[test]
    fn tokens_are_made_listed_replaced_and_taken_back_and_only_hashes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skykoi.json");
        write_new(&path, &default_file(&new_token().unwrap(), dir.path())).unwrap();
        let place = PlaceArgs { state_dir: Some(dir.path().to_owned()), config: Some(path.clone()) };
        let sources =
            Sources { flags: FlagLayer { config: Some(path.clone()), ..FlagLayer::from(dir.path().to_owned()) }, ..Sources::default() };
        let run = |command| said(|out| run(&TokenArgs { command, place: place.clone() }, out));
        let new = |name: &str, scopes: &str, expires: Option<&str>| {
            let scopes = scopes.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            run(TokenCommand::New { name: Some(name.to_owned()), scopes, expires: expires.map(str::to_owned), confined: false })
        };
        let (_, first) = new("ci", "read,write", None).unwrap();
        let (_, second) = new("lab", "operator.read", Some("30d")).unwrap();
        let text = || std::fs::read_to_string(&path).unwrap();
        assert!(text().contains(&hash_of_token(first.trim())) && text().contains("// SkyKoi Gateway."), "{}", text());
        assert!(!text().contains(first.trim()) && !text().contains(second.trim()));
        assert!(new("CI", "read", None).unwrap_err().contains("token rotate"));
        assert!(new("x", "", None).unwrap_err().contains("--scopes"));
        assert!(new("x", "everything", None).unwrap_err().contains("--scopes"));
        assert!(new("x", "read", Some("1999-01-01T00:00:00Z")).unwrap_err().contains("--expires"));
        let (_, rotated) = run(TokenCommand::Rotate { name: "ci".to_owned(), expires: None }).unwrap();
        assert!(text().contains(&hash_of_token(rotated.trim())) && !text().contains(&hash_of_token(first.trim())));
        let (_, listed) = said(|out| list(false, &sources, out)).unwrap();
        assert!(listed.contains("ci    read,write  never") && listed.contains("lab   read"), "{listed}");
        assert!(!listed.contains("sha256") && !listed.contains(&hash_of_token(second.trim())[7..]));
        run(TokenCommand::Revoke { name: "ci".to_owned() }).unwrap();
        assert!(run(TokenCommand::Revoke { name: "ci".to_owned() }).unwrap_err().contains("no token has the name ci"));
        let (_, listed) = said(|out| list(true, &sources, out)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()[0]["name"], "lab");
    }

    #[test]
    fn a_password_is_read_from_stdin_and_only_its_hash_is_printed() {
        let (code, hash) = said(|out| hash_password(&mut "correct horse battery\n".as_bytes(), out)).unwrap();
        assert!(code == OK && password::verify(hash.trim(), "correct horse battery"));
        assert!(said(|out| hash_password(&mut "short".as_bytes(), out)).is_err());
    }

    #[test]
    fn an_end_is_a_span_or_a_time_to_come() {
        assert_eq!(ending("1d", 0).unwrap(), "1970-01-02T00:00:00.000Z");
        assert_eq!(ending("2027-01-01T00:00:00Z", 0).unwrap(), "2027-01-01T00:00:00.000Z");
        for wrong in ["", "d", "0h", "-1d", "1w", "18446744073709551615d"] {
            assert!(ending(wrong, 5).is_err(), "{wrong}");
        }
    }
}

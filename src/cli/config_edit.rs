//! `config get|set|unset`: one key. A running gateway makes the change and takes it at once; without one the file is changed by the same editor.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::client::Client;
use super::error::{CONFIG, CliError, Refusal};
use super::output::Output;
use super::target::Target;
use crate::config::change::{Base, ChangeError, Edit, Stored, change};
use crate::config::key_path::KeyPath;
use crate::config::layers::Sources;
use crate::config::load::load;
use crate::config::parse::parse;
use crate::config::paths::Paths;
use crate::config::schema::{flag, part, schema};

/// How often a change is tried again when somebody else changes the file at the same time.
const TRIES: usize = 3;
/// Longest value from stdin.
const MAX_VALUE_BYTES: u64 = 1 << 20;

/// Prints one value as it would be after a start: texts bare, everything else as JSON, secrets hidden. The exit code is 78 for a config that is wrong, and 64 for a key that does not exist.
///
/// # Errors
/// The output cannot be written.
pub fn get(key: &str, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            out.say(&error.to_string());
            return Ok(CONFIG);
        }
    };
    let explained = loaded.explain(key).map_err(|problem| CliError::Usage(problem.to_string()))?;
    out.line(&explained.value.as_str().map_or_else(|| explained.value.to_string(), str::to_owned))?;
    Ok(0)
}

/// Sets a key. `value` is JSON5 where the key takes more than a text, and `-` reads it from stdin.
///
/// # Errors
/// A secret on the command line; the change is refused.
pub async fn set(key: &str, value: &str, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    let path = KeyPath::parse(key);
    let value = value_of(&path, value, &mut std::io::stdin())?;
    alter(&path, value, sources, out).await
}

/// Takes a key away.
///
/// # Errors
/// The change is refused.
pub async fn unset(key: &str, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    alter(&KeyPath::parse(key), Value::Null, sources, out).await
}

fn value_of(path: &KeyPath, given: &str, stdin: &mut dyn Read) -> Result<Value, CliError> {
    let schema = schema();
    let part = part(&schema, path);
    if path.0.is_empty() {
        return Err(CliError::Usage("name a key, such as gateway.port".to_owned()));
    }
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        stdin.take(MAX_VALUE_BYTES).read_to_string(&mut text).map_err(|error| CliError::Usage(format!("stdin: {error}")))?;
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    } else if part.is_some_and(|part| flag(part, "x-secret")) && !given.starts_with("${") {
        return Err(CliError::Usage(format!(
            "{path} is a secret, and every user of this machine can read a command line: give `-` and the secret on stdin, or '${{NAME}}' for a variable of the environment"
        )));
    }
    let is_text = part.and_then(|part| part.get("type")).is_some_and(|kind| kind == "string");
    if is_text && !text.starts_with(['"', '\'']) {
        return Ok(text.into());
    }
    match parse(Path::new("the value"), &text) {
        Ok(value) => Ok(value),
        // A bare word where more than a text may stand.
        Err(_) if !text.starts_with(['{', '[', '"', '\'']) && !text.is_empty() => Ok(text.into()),
        Err(error) => Err(CliError::Usage(error.to_string())),
    }
}

async fn alter(path: &KeyPath, value: Value, sources: &Sources, out: &mut Output<'_>) -> Result<u8, CliError> {
    if path.0.is_empty() {
        return Err(CliError::Usage("name a key, such as gateway.port".to_owned()));
    }
    match edit(sources, &|_| Ok((path.clone(), value.clone())), out).await? {
        Ok(said) => {
            out.line(&said)?;
            Ok(0)
        }
        Err(code) => Ok(code),
    }
}

/// What is to be changed in a config that says this: the key, and what is merged in there.
pub(super) type Change<'c> = &'c (dyn Fn(&Value) -> Result<(KeyPath, Value), CliError> + Sync);

/// Makes a change, through the running gateway or on the file. What became of it in one line, or the exit code of a refusal that was said.
///
/// # Errors
/// The change cannot be made or is refused.
pub(super) async fn edit(sources: &Sources, change: Change<'_>, out: &mut Output<'_>) -> Result<Result<String, u8>, CliError> {
    let paths = Paths::find(sources).map_err(|error| CliError::Usage(error.to_string()))?;
    let target = Target::Local { socket: paths.socket(), state_dir: paths.state_dir.clone() };
    match Client::connect(&target).await {
        Ok(mut client) => match through(&mut client, change, &paths).await? {
            Some(said) => Ok(Ok(said)),
            // The gateway that runs here has another config file.
            None => directly(change, sources, out),
        },
        Err(CliError::Unreachable(_)) => directly(change, sources, out),
        Err(other) => Err(other),
    }
}

/// Has the running gateway make the change. None: it has another config.
async fn through(client: &mut Client, change: Change<'_>, paths: &Paths) -> Result<Option<String>, CliError> {
    for left in (0..TRIES).rev() {
        let now = client.call("config.get", &json!({})).await?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if now.get("path").and_then(Value::as_str).map(|path| real(Path::new(path))) != Some(real(&paths.config_path)) {
            return Ok(None);
        }
        let (path, value) = change(now.get("config").unwrap_or(&Value::Null))?;
        let mut params = json!({ "raw": value.to_string(), "at": path.to_string() });
        if let (Some(params), Some(hash)) = (params.as_object_mut(), now.get("hash").filter(|hash| hash.is_string())) {
            params.insert("baseHash".to_owned(), hash.clone());
        }
        match client.call("config.patch", &params).await {
            Ok(answer) => return Ok(Some(outcome(&path, &answer))),
            Err(CliError::Refused(refusal)) if refusal.detail_code() == "CONFIG_CONFLICT" && left > 0 => {}
            Err(CliError::Refused(refusal)) => return Err(CliError::Refused(Box::new(with_issues(*refusal)))),
            Err(other) => return Err(other),
        }
    }
    Err(CliError::Local("the config is changed by others all the time; try again".to_owned()))
}

/// What became of it, in one line.
fn outcome(path: &KeyPath, answer: &Value) -> String {
    let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let how = match word("applied") {
        _ if answer.get("noop") == Some(&Value::Bool(true)) => "was so already",
        "hot" | "none" => "saved and in effect",
        "restart" => "saved; the gateway restarts itself to take it, and runs go on",
        _ => "saved; it takes effect with the next start of the gateway",
    };
    format!("{path}: {how}")
}

/// A person at a terminal reads the message only, so the particulars go into it.
fn with_issues(mut refusal: Refusal) -> Refusal {
    let issues = refusal.details.as_ref().and_then(|details| details.get("issues")).and_then(Value::as_array).cloned().unwrap_or_default();
    for issue in issues {
        let text = |key: &str| issue.get(key).and_then(Value::as_str).unwrap_or_default();
        let place = |key: &str| issue.get(key).and_then(Value::as_u64);
        let spot = place("line").map_or_else(String::new, |line| format!(":{line}:{}", place("column").unwrap_or(1)));
        let file = if text("file").is_empty() { String::new() } else { format!("{}{spot}: ", text("file")) };
        refusal.message.push_str(&format!("\n{file}{}: {}", text("path"), text("message")));
    }
    refusal
}

fn directly(make: Change<'_>, sources: &Sources, out: &mut Output<'_>) -> Result<Result<String, u8>, CliError> {
    let stored = Stored::read(sources).map_err(|error| CliError::Local(error.to_string()))?;
    let hash = stored.hash();
    let now = stored.document.and_then(Result::ok).and_then(|document| document.merged().ok()).unwrap_or_default();
    let (path, value) = make(&now)?;
    match change(sources, Base::Hash(hash.as_deref()), &Edit::Merge { at: path.clone(), patch: value }) {
        Ok(saved) => {
            let how = if saved.written { "saved in" } else { "was so already in" };
            Ok(Ok(format!("{path}: {how} {}", saved.loaded.path.display())))
        }
        Err(ChangeError::Busy) => Err(CliError::Local(ChangeError::Busy.to_string())),
        Err(ChangeError::Io { path, cause }) => Err(CliError::Create { path, error: cause }),
        Err(error) => {
            out.say(&error.full_text());
            Ok(Err(CONFIG))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str, stdin: &str) -> Result<Value, String> {
        value_of(&KeyPath::parse(key), value, &mut stdin.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_a_text_where_the_key_is_one_and_json5_elsewhere() {
        assert_eq!(read("gateway.port", "4000", ""), Ok(json!(4000)));
        assert_eq!(read("gateway.bind", "lan", ""), Ok(json!("lan")));
        assert_eq!(read("gateway.publicUrls", "['https://x']", ""), Ok(json!(["https://x"])));
        assert_eq!(read("agents.defaults.workspace", "12", ""), Ok(json!("12")));
        assert_eq!(read("agents.defaults.model", "a/b", ""), Ok(json!("a/b")));
        assert_eq!(read("agents.defaults.model", "{ primary: 'a/b' }", ""), Ok(json!({ "primary": "a/b" })));
        assert!(read("gateway.auth", "{ mode: ", "").unwrap_err().contains("the text ends"));
    }

    #[test]
    fn a_secret_comes_on_stdin_only() {
        let refused = read("gateway.auth.token", "very-secret-word", "").unwrap_err();
        assert!(refused.contains("on stdin") && !refused.contains("very-secret-word"), "{refused}");
        assert_eq!(read("gateway.auth.token", "-", "very-secret-word\n"), Ok(json!("very-secret-word")));
        assert_eq!(read("gateway.auth.token", "${TOKEN}", ""), Ok(json!("${TOKEN}")));
    }
}

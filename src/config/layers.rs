//! Where a key can be given besides the file: credentials of the service supervisor, flags, the environment. Credentials win over flags, those over the environment, that over the file, that over the defaults.
//!
//! The environment is handed in, never read here, so that two tests can have two of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::host::Host;
use super::key_path::{KeyPath, Step};
use super::problem::{Origin, Problem};
use super::read_file::read;
use super::schema::{flag, part, schema};

/// What the command line says about the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagLayer {
    /// `--port`.
    pub port: Option<u16>,
    /// `--bind`: a word of `gateway.bind`, or an IP address.
    pub bind: Option<String>,
    /// `--token-file`: a file that holds nothing but the token.
    pub token_file: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--config`; the file must exist.
    pub config: Option<PathBuf>,
}

/// Everything outside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The command line.
    pub flags: FlagLayer,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// How to find out what this machine can give to isolated runs.
    pub host: Host,
}

impl Sources {
    /// These flags and the environment of this process; names and values that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process(flags: FlagLayer) -> Self {
        let env = std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        Self { flags, env: env.collect(), host: Host::default() }
    }
}

impl Sources {
    /// Files outside the configuration that hold secrets of the gateway: that of `--token-file`, and what the service supervisor hands over.
    #[must_use]
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let handed = self.env.get("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty()).map(PathBuf::from);
        let files = self.flags.token_file.iter().cloned().chain(handed);
        files.map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
    }
}

/// One key given outside the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key.
    pub path: KeyPath,
    /// Who gave it.
    pub origin: Origin,
    /// The value.
    pub value: Value,
}

/// How a text of the environment becomes a value.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Bind,
    /// `1` or `true` makes the key false.
    Skip,
}

const VARIABLES: [(&str, &str, Form); 6] = [
    ("SKYKOI_GATEWAY_PORT", "gateway.port", Form::Number),
    ("SKYKOI_GATEWAY_BIND", "gateway.bind", Form::Bind),
    ("SKYKOI_GATEWAY_TOKEN", "gateway.auth.token", Form::Text),
    ("SKYKOI_GATEWAY_PASSWORD", "gateway.auth.password", Form::Text),
    ("SKYKOI_LOG_LEVEL", "logging.level", Form::Text),
    ("SKYKOI_SKIP_CRON", "cron.enabled", Form::Skip),
];

/// The variables among them whose text is a secret. A daemon does not keep them in its environment.
pub const SECRET_VARIABLES: &[&str] = &["SKYKOI_GATEWAY_TOKEN", "SKYKOI_GATEWAY_PASSWORD"];

/// Where the service supervisor puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// All keys given outside the file, weakest first. An empty variable counts as absent.
///
/// # Errors
/// Flags and variables whose text cannot be a value; a token file that cannot be read.
pub fn overrides(sources: &Sources) -> Result<Vec<Override>, Vec<Problem>> {
    let mut list = Vec::new();
    let mut problems = Vec::new();
    for (name, key, form) in VARIABLES {
        if let Some(text) = sources.env.get(name).filter(|text| !text.is_empty()) {
            add(&mut list, &mut problems, Origin::Env(name), key, form, text);
        }
    }
    let flags = &sources.flags;
    if let Some(port) = flags.port {
        list.push(Override { path: KeyPath::of_keys("gateway.port"), origin: Origin::Flag("--port"), value: port.into() });
    }
    if let Some(bind) = &flags.bind {
        add(&mut list, &mut problems, Origin::Flag("--bind"), "gateway.bind", Form::Bind, bind);
    }
    if let Some(file) = &flags.token_file {
        match secret_in(file, Origin::Flag("--token-file"), "gateway.auth.token") {
            Ok(token) => add(&mut list, &mut problems, Origin::Flag("--token-file"), "gateway.auth.token", Form::Text, &token),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(dir) = sources.env.get(CREDENTIALS).filter(|dir| !dir.is_empty()) {
        for name in credentials(Path::new(dir)) {
            let origin = Origin::Credential(name.clone());
            match secret_in(&Path::new(dir).join(&name), origin.clone(), &name) {
                Ok(secret) => list.push(Override { path: KeyPath::of_keys(&name), origin, value: secret.into() }),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

/// Names of the credentials that are for us: those that are called like the key of a secret, such as `gateway.auth.token`. Others belong to somebody else.
fn credentials(dir: &Path) -> Vec<String> {
    let schema = schema();
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| part(&schema, &KeyPath::of_keys(name)).is_some_and(|part| flag(part, "x-secret"))).collect();
    names.sort();
    names
}

fn add(list: &mut Vec<Override>, problems: &mut Vec<Problem>, origin: Origin, key: &str, form: Form, text: &str) {
    let path = KeyPath::of_keys(key);
    let value = match form {
        Form::Text => Value::from(text),
        Form::Number => match text.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => {
                problems.push(Problem { origin: Some(origin), ..Problem::value(path, "must be a whole number") });
                return;
            }
        },
        Form::Bind if text.parse::<IpAddr>().is_ok() => {
            let host = KeyPath::of_keys("gateway.customBindHost");
            list.push(Override { path: host, origin: origin.clone(), value: text.into() });
            "custom".into()
        }
        Form::Bind => Value::from(text),
        Form::Skip if matches!(text, "1" | "true" | "yes") => false.into(),
        Form::Skip => return,
    };
    list.push(Override { path, origin, value });
}

/// The secret that a file holds and nothing else.
fn secret_in(file: &Path, origin: Origin, key: &str) -> Result<String, Problem> {
    let wrong = |reason: String| Problem { origin: Some(origin.clone()), ..Problem::value(KeyPath::of_keys(key), reason) };
    match read(file) {
        Ok(Some(text)) => Ok(text.text.trim_end_matches(['\r', '\n']).to_owned()),
        Ok(None) => Err(wrong(format!("the file {} does not exist", file.display()))),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Lays the keys over the file's value; later ones win.
pub fn lay_over(value: &mut Value, list: &[Override]) {
    for over in list {
        set(value, &over.path.0, over.value.clone());
    }
}

fn set(value: &mut Value, path: &[Step], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let (Value::Object(object), Step::Key(key)) = (value, step) {
        set(object.entry(key.clone()).or_insert(Value::Null), rest, new);
    }
}

/// Who gave the key last, outside the file.
#[must_use]
pub fn origin_of<'l>(list: &'l [Override], path: &KeyPath) -> Option<&'l Origin> {
    list.iter().rev().find(|over| over.path == *path).map(|over| &over.origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sources(flags: FlagLayer, env: &[(&str, &str)]) -> Sources {
        let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Sources { flags, env, ..Sources::default() }
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_the_file() {
        let flags = FlagLayer { port: Some(3), bind: Some("lan".to_owned()), ..FlagLayer::default() };
        let list =
            overrides(&sources(flags, &[("SKYKOI_GATEWAY_PORT", "2"), ("SKYKOI_GATEWAY_BIND", "10.0.0.1"), ("SKYKOI_LOG_LEVEL", "")]))
                .unwrap();
        let mut value = json!({ "gateway": { "port": 1, "mode": "local" } });
        lay_over(&mut value, &list);
        assert_eq!(value, json!({ "gateway": { "port": 3, "mode": "local", "customBindHost": "10.0.0.1", "bind": "lan" } }));
        assert_eq!(origin_of(&list, &KeyPath::parse("gateway.port")), Some(&Origin::Flag("--port")));
        assert_eq!(origin_of(&list, &KeyPath::parse("gateway.mode")), None);
    }

    #[test]
    fn a_variable_that_is_no_number_is_refused_by_its_name_without_its_text() {
        let problems = overrides(&sources(FlagLayer::default(), &[("SKYKOI_GATEWAY_PORT", "canary")])).unwrap_err();
        assert_eq!(problems[0].to_string(), "env SKYKOI_GATEWAY_PORT: gateway.port: must be a whole number");
    }

    #[test]
    fn a_token_file_gives_the_token_without_its_line_end() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let flags = |file: &Path| FlagLayer { token_file: Some(file.to_owned()), ..FlagLayer::default() };
        let list = overrides(&sources(flags(&file), &[("SKYKOI_GATEWAY_TOKEN", "other")])).unwrap();
        assert_eq!(list.last().unwrap().value, "0123456789abcdef");
        let problems = overrides(&sources(flags(&dir.path().join("none")), &[])).unwrap_err();
        assert!(problems[0].to_string().contains("does not exist"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(overrides(&sources(flags(&file), &[])).unwrap_err()[0].to_string().contains("can be written by others"));
    }

    #[test]
    fn a_credential_named_like_a_secret_key_gives_it_and_wins() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("gateway.auth.token", "from-the-supervisor\n"), ("gateway.port", "1"), ("other", "x")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let env = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap()), ("SKYKOI_GATEWAY_TOKEN", "from-the-environment")];
        let list = overrides(&sources(FlagLayer::default(), &env)).unwrap();
        let mut value = json!({});
        lay_over(&mut value, &list);
        assert_eq!(value, json!({ "gateway": { "auth": { "token": "from-the-supervisor" } } }));
        assert_eq!(list.last().unwrap().origin.to_string(), "credential gateway.auth.token");
    }

    #[test]
    fn variables_of_secrets_are_those_whose_keys_are() {
        let schema = schema();
        let secret = |key: &str| part(&schema, &KeyPath::of_keys(key)).is_some_and(|part| flag(part, "x-secret"));
        let names: Vec<&str> = VARIABLES.iter().filter(|(_, key, _)| secret(key)).map(|(name, ..)| *name).collect();
        assert_eq!(names, SECRET_VARIABLES);
    }

    #[test]
    fn cron_can_be_skipped() {
        let list = overrides(&sources(FlagLayer::default(), &[("SKYKOI_SKIP_CRON", "1")])).unwrap();
        assert_eq!(list[0].value, json!(false));
        assert!(overrides(&sources(FlagLayer::default(), &[("SKYKOI_SKIP_CRON", "0")])).unwrap().is_empty());
    }
}

//! Which runners can work here: what each needs, where it was found, and what is missing.
//!
//! Programs are looked for as a run would look for them. Their version is that of the package they lie in; a program without one is asked, once for each file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::Gateway;
use super::agents::Agents;
use super::endpoints::{endpoint, of_program, unaliased};
use super::minds::variable;
use super::programs::configured;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::exec::program::find;
use crate::model::endpoint::Auth;
use crate::programs::probe::locate;
use crate::programs::spec::Kind;
use crate::protocol::ids::AgentId;

/// One runner.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerRow {
    /// Its name in `agents.*.runner`.
    pub name: &'static str,
    /// Whether a run with it could start now, as far as can be known without starting one.
    pub available: bool,
    /// The program that it drives; of `agent`, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The program's version, or that of the gateway for runners that are part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it has what it needs to be let in at its provider; absent if that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// Where the program keeps its state and its login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Why it is not available, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The agents that work with it.
    pub agents: Vec<AgentId>,
}

/// Asks a program for its version.
pub type Ask<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Gateway {
    /// Every runner that there can be, in the order in which people are told of them. Nothing is started: of a program whose package does not say its version, only what it has said before is told.
    #[must_use]
    pub fn runners(&self) -> Vec<RunnerRow> {
        rows(&self.loaded(), &self.agents(), &|path| self.versions.known(path))
    }

    /// The same, and asks programs for their version that have not said it yet. Blocks for some seconds at worst.
    #[must_use]
    pub fn runners_asked(&self) -> Vec<RunnerRow> {
        let children = self.runs.children();
        rows(&self.loaded(), &self.agents(), &|path| self.versions.ask(path, &environment(), &children))
    }
}

/// Every runner that there can be with this configuration.
#[must_use]
pub fn rows(loaded: &Loaded, agents: &Agents, ask: Ask<'_>) -> Vec<RunnerRow> {
    let mut rows = vec![shell(&loaded.config), agent(&loaded.config)];
    rows.extend(Kind::ALL.map(|kind| external(loaded, kind, &environment(), ask)));
    for row in &mut rows {
        row.agents = agents.all().iter().filter(|agent| agent.runner == row.name).map(|agent| agent.id.clone()).collect();
    }
    rows
}

/// Of what a run finds in its environment, that by which programs are found and work.
fn environment() -> BTreeMap<String, String> {
    ["PATH", "HOME"].into_iter().filter_map(|name| Some((name.to_owned(), variable(name)?))).collect()
}

fn row(name: &'static str, available: bool) -> RunnerRow {
    RunnerRow { name, available, path: None, version: None, authenticated: None, home: None, reason: None, agents: Vec::new() }
}

fn own_version() -> Option<String> {
    Some(super::VERSION.to_owned())
}

fn shell(config: &Config) -> RunnerRow {
    let shell = config.shell();
    let found = find(&shell.to_string_lossy(), None).is_some();
    let reason = (!found).then(|| format!("{} is no program; set agents.defaults.shell", shell.display()));
    RunnerRow { path: Some(shell.to_string_lossy().into_owned()), version: own_version(), reason, ..row("shell", found) }
}

/// The built-in agent is there when the default agent's model can be asked.
fn agent(config: &Config) -> RunnerRow {
    let model = config.agent(None).and_then(|agent| agent.model).and_then(|model| model.primary);
    let endpoint = match model {
        Some(name) => endpoint(config, &name, &variable),
        None => Err("no model is configured; set agents.defaults.model, such as \"anthropic/claude-sonnet-4-5\"".to_owned()),
    };
    let authenticated = endpoint.as_ref().ok().and_then(|endpoint| let_in(&endpoint.auth, None));
    RunnerRow { version: own_version(), authenticated, reason: endpoint.as_ref().err().cloned(), ..row("agent", endpoint.is_ok()) }
}

/// Whether there are credentials, as far as that is known without asking anybody; `without` where none are given.
fn let_in(auth: &Auth, without: Option<bool>) -> Option<bool> {
    match auth {
        Auth::Key { .. } | Auth::Bearer { .. } => Some(true),
        Auth::Aws(aws) => ["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"].iter().any(|name| aws.variable(name).is_some()).then_some(true),
        Auth::None => without,
    }
}

fn external(loaded: &Loaded, kind: Kind, env: &BTreeMap<String, String>, ask: Ask<'_>) -> RunnerRow {
    let program = configured(loaded, kind);
    let mut env = env.clone();
    env.extend(program.env.get("PATH").map(|path| ("PATH".to_owned(), path.clone())));
    let home = program.home.as_ref().map(|home| home.to_string_lossy().into_owned());
    // Whose model it would ask.
    let config = &loaded.config;
    let named = config.agent(None).and_then(|agent| agent.model?.primary).map(|name| unaliased(config, &name));
    let asks = || {
        let asked = program.asked(kind, named.as_deref());
        let model = named.as_deref().and_then(|full| kind.known().model(full, asked.as_deref()));
        of_program(config, kind, asked.as_deref(), model.or_else(|| program.model.clone()).as_deref(), &variable)
    };
    let way = program.proxied.then(asks);
    let unfit = way.as_ref().and_then(|way| way.as_ref().err().cloned());
    match unfit.map_or_else(|| locate(kind, &program.command, &env), Err) {
        Err(reason) => RunnerRow { home, reason: Some(reason), ..row(kind.name(), false) },
        Ok(path) => RunnerRow {
            // Of the one that speaks for others nothing is known but the protocol.
            version: version_of(&path).or_else(|| if kind == Kind::Acp { None } else { ask(&path) }),
            path: Some(path.to_string_lossy().into_owned()),
            authenticated: way.and_then(Result::ok).map_or_else(|| program.authenticated(kind), |way| let_in(&way.auth, Some(true))),
            home,
            ..row(kind.name(), true)
        },
    }
}

/// The version in the `package.json` of the package that a program lies in.
fn version_of(program: &Path) -> Option<String> {
    let real: PathBuf = program.canonicalize().ok()?;
    let manifest = real.ancestors().skip(1).take(4).map(|dir| dir.join("package.json")).find(|file| file.is_file())?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
    manifest.get("version")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_found_with_the_version_of_its_package_and_without_being_started() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("lib/pi");
        std::fs::create_dir_all(package.join("bin")).unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::write(package.join("package.json"), r#"{"version":"9.8.7"}"#).unwrap();
        let program = package.join("bin/pi.js");
        std::fs::write(&program, "exit 1").unwrap();
        std::os::unix::fs::symlink(&program, dir.path().join("bin/pi")).unwrap();
        let config = serde_json::json!({ "runners": { "codex": { "command": "/no/codex" }, "acp": { "passthrough": ["HOME"] } } });
        let loaded = loaded(dir.path(), &config);
        let env = BTreeMap::from([("PATH".to_owned(), dir.path().join("bin").to_str().unwrap().to_owned())]);
        let look = |kind| external(&loaded, kind, &env, &|_| panic!("its package says it"));
        assert!(look(Kind::Pi).path.is_none(), "it may not be executed");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let pi = look(Kind::Pi);
        assert_eq!((pi.version.as_deref(), pi.available, pi.authenticated), (Some("9.8.7"), true, None));
        assert_eq!(pi.home.unwrap(), dir.path().join("runners/pi").to_str().unwrap());
        for (kind, reason) in [
            (Kind::Codex, "/no/codex is not there"),
            (Kind::Claude, "npm install -g @anthropic-ai/claude-code"),
            (Kind::Acp, "runners.acp.command"),
        ] {
            let row = look(kind);
            assert!(!row.available && row.reason.as_ref().unwrap().contains(reason), "{row:?}");
        }
    }

    #[test]
    fn a_program_of_no_package_is_asked_for_its_version_and_a_login_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("runners/codex")).unwrap();
        std::fs::write(dir.path().join("runners/codex/auth.json"), "{}").unwrap();
        let loaded = loaded(dir.path(), &serde_json::json!({ "runners": { "codex": { "command": "/bin/sh" } } }));
        let row = external(&loaded, Kind::Codex, &BTreeMap::new(), &|path| Some(format!("of {}", path.display())));
        assert_eq!((row.version.as_deref(), row.authenticated), (Some("of /bin/sh"), Some(true)));
    }

    fn loaded(state: &Path, config: &serde_json::Value) -> Loaded {
        use crate::config::layers::{FlagLayer, Sources};
        std::fs::write(state.join("skykoi.json"), config.to_string()).unwrap();
        crate::config::load::load(&Sources { flags: FlagLayer::from(state.to_owned()), ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_built_in_agent_says_what_it_lacks() {
        let of = |config: serde_json::Value| agent(&serde_json::from_value(config).unwrap());
        assert!(of(serde_json::json!({})).reason.is_some_and(|reason| reason.contains("agents.defaults.model")));
        let config = serde_json::json!({
            "agents": { "defaults": { "model": "box/m" } },
            "models": { "providers": { "box": { "baseUrl": "http://h/v1", "apiKey": "k" } } },
        });
        let found = of(config);
        assert_eq!((found.available, found.authenticated, found.reason), (true, Some(true), None));
    }
}

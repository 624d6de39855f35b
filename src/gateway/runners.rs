//! Which runners can work here: what each needs, where it was found, and what is missing.
//!
//! Programs are looked for in the gateway's `PATH` and nothing is started: their version is that of the package they lie in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::Gateway;
use super::endpoints::endpoint;
use super::minds::variable;
use crate::config::Config;
use crate::model::endpoint::Auth;
use crate::protocol::ids::AgentId;
use crate::runs::runners;

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
    /// Why it is not available, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The agents that work with it.
    pub agents: Vec<AgentId>,
}

/// An agent program that a runner drives.
struct Program {
    runner: &'static str,
    /// Its name in `PATH`.
    name: &'static str,
    /// Its package, to be installed with npm.
    package: &'static str,
    /// Variables that let it in.
    keys: &'static [&'static str],
    /// Files below the home directory in which it keeps a login.
    logins: &'static [&'static str],
}

/// The programs.
const PROGRAMS: [Program; 3] = [
    Program { runner: "codex", name: "codex", package: "@openai/codex", keys: &["OPENAI_API_KEY"], logins: &[".codex/auth.json"] },
    Program {
        runner: "claude",
        name: "claude",
        package: "@anthropic-ai/claude-code",
        keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK"],
        logins: &[".claude/.credentials.json"],
    },
    Program {
        runner: "pi",
        name: "pi",
        package: "@earendil-works/pi-coding-agent",
        keys: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY"],
        logins: &[".pi/agent/auth.json", ".pi/agent/models.json"],
    },
];

impl Gateway {
    /// Every runner that there can be, in the order in which people are told of them.
    #[must_use]
    pub fn runners(&self) -> Vec<RunnerRow> {
        let (loaded, agents) = (self.loaded(), self.agents());
        let home = &loaded.paths.home;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut rows = vec![shell(&loaded.config), agent(&loaded.config)];
        rows.extend(PROGRAMS.iter().map(|program| external(program, &path, home)));
        rows.push(RunnerRow { authenticated: None, reason: unbuilt("acp"), ..row("acp", runners::is_available("acp")) });
        for row in &mut rows {
            row.agents = agents.all().iter().filter(|agent| agent.runner == row.name).map(|agent| agent.id.clone()).collect();
        }
        rows
    }
}

fn row(name: &'static str, available: bool) -> RunnerRow {
    RunnerRow { name, available, path: None, version: None, authenticated: None, reason: None, agents: Vec::new() }
}

/// Why a runner is not there, if this version has none of this name.
fn unbuilt(name: &str) -> Option<String> {
    (!runners::is_available(name)).then(|| format!("this version has no runner \"{name}\""))
}

fn own_version() -> Option<String> {
    Some(super::VERSION.to_owned())
}

fn shell(config: &Config) -> RunnerRow {
    let shell = config.shell();
    let found = is_program(&shell);
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
    let authenticated = endpoint.as_ref().ok().and_then(|endpoint| match &endpoint.auth {
        Auth::Key { .. } | Auth::Bearer { .. } => Some(true),
        Auth::Aws(aws) => ["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"].iter().any(|name| aws.variable(name).is_some()).then_some(true),
        Auth::None => None,
    });
    RunnerRow { version: own_version(), authenticated, reason: endpoint.as_ref().err().cloned(), ..row("agent", endpoint.is_ok()) }
}

fn external(program: &Program, path: &std::ffi::OsStr, home: &Path) -> RunnerRow {
    let found = std::env::split_paths(path).map(|dir| dir.join(program.name)).find(|path| is_program(path));
    let Some(found) = found else {
        let reason =
            format!("the program `{}` is not in the gateway's PATH; install it with `npm install -g {}`", program.name, program.package);
        return RunnerRow { reason: unbuilt(program.runner).or(Some(reason)), ..row(program.runner, false) };
    };
    let login = program.logins.iter().any(|file| home.join(file).exists()) || program.keys.iter().any(|key| variable(key).is_some());
    RunnerRow {
        version: version_of(&found),
        path: Some(found.to_string_lossy().into_owned()),
        // It may be let in by other ways than those that are known here.
        authenticated: login.then_some(true),
        reason: unbuilt(program.runner),
        ..row(program.runner, runners::is_available(program.runner))
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
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
        let look = || external(&PROGRAMS[2], dir.path().join("bin").as_os_str(), dir.path());
        assert!(look().path.is_none(), "it may not be executed");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!((look().version.as_deref(), look().path.is_some()), (Some("9.8.7"), true));
        let missing = external(&PROGRAMS[0], dir.path().join("bin").as_os_str(), dir.path());
        assert!(!missing.available && missing.reason.is_some());
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

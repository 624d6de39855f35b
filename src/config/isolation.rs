//! What `agents.*.sandbox` and `agents.*.limits` mean for an agent, what makes them wrong, and what this machine must give for them.

use std::path::{Path, PathBuf};

use super::Config;
use super::agent_parts::Switch;
use super::agents::Agent;
use super::key_path::{KeyPath, Step};
use super::load::Loaded;
use super::paths::expand_home;
use super::problem::Problem;
use super::sandbox::{Limits, Sandbox, SandboxMode, WorkspaceAccess};
use crate::protocol::isolation::{Abilities, Access, Isolation, Level, Limits as Bounds};

/// Where every user of a machine may write. Level `workspace` leaves them open.
pub const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The isolation of one agent's runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentIsolation {
    /// That of the sessions that are isolated.
    pub isolated: Isolation,
    /// Whether the agent's main session is one of them.
    pub main_too: bool,
}

impl AgentIsolation {
    /// That of a run, by whether its session is the agent's main one.
    #[must_use]
    pub fn of_session(&self, is_main: bool) -> Isolation {
        if is_main && !self.main_too {
            return Isolation { limits: self.isolated.limits.clone(), ..Isolation::default() };
        }
        self.isolated.clone()
    }
}

impl Config {
    /// The isolation of the runs of a listed agent, or of one that only has the defaults. Paths are as they stand in the file, `~` replaced by `home`.
    #[must_use]
    pub fn isolation(&self, agent: Option<&Agent>, home: &Path) -> AgentIsolation {
        let none = Sandbox::default();
        let common = self.agents.defaults.sandbox.as_ref().unwrap_or(&none);
        let own = agent.and_then(|agent| agent.sandbox.as_ref()).unwrap_or(&none);
        let limits = bounds(agent.and_then(|agent| agent.limits.as_ref()), self.agents.defaults.limits.as_ref());
        // A level of its own says that the agent is isolated, whatever the common mode.
        let inherited = common.mode.filter(|mode| own.level.is_none() || *mode != SandboxMode::Off);
        let mode = own.mode.or(inherited);
        let level = match (mode, own.level.or(common.level)) {
            (Some(SandboxMode::Off), _) | (None, None) => Level::Off,
            (_, Some(level)) => level,
            (Some(SandboxMode::All | SandboxMode::NonMain), None) => Level::Strict,
        };
        if level == Level::Off {
            return AgentIsolation { isolated: Isolation { limits, ..Isolation::default() }, main_too: true };
        }
        let network = own.network.or(common.network).map_or(level == Level::Workspace, |switch| switch == Switch::On);
        let read_only = if own.read_only_paths.is_empty() { &common.read_only_paths } else { &own.read_only_paths };
        let isolated = Isolation {
            level,
            network,
            workspace: match own.workspace_access.or(common.workspace_access) {
                None | Some(WorkspaceAccess::Rw) => Access::ReadWrite,
                Some(WorkspaceAccess::Ro) => Access::ReadOnly,
                Some(WorkspaceAccess::None) => Access::None,
            },
            read_only: read_only.iter().map(|path| expand_home(Path::new(path), home)).collect(),
            limits,
        };
        AgentIsolation { isolated, main_too: mode != Some(SandboxMode::NonMain) }
    }
}

fn bounds(own: Option<&Limits>, common: Option<&Limits>) -> Bounds {
    let none = Limits::default();
    let (own, common) = (own.unwrap_or(&none), common.unwrap_or(&none));
    Bounds {
        memory_bytes: own.memory_bytes.or(common.memory_bytes),
        cpu_percent: own.cpu_percent.or(common.cpu_percent),
        cpu_seconds: own.cpu_seconds.or(common.cpu_seconds),
        tasks: own.tasks.or(common.tasks),
        io_weight: own.io_weight.or(common.io_weight),
        open_files: own.open_files.or(common.open_files),
        file_size_bytes: own.file_size_bytes.or(common.file_size_bytes),
        oom_score_adj: own.oom_score_adj.or(common.oom_score_adj),
    }
}

/// What is wrong whatever the config is used for.
pub(super) fn wrong(config: &Config, problems: &mut Vec<Problem>) {
    let of_agents = config.agents.list.iter().enumerate();
    let blocks = of_agents.map(|(index, agent)| (agent_key(Some(index), "sandbox"), agent.sandbox.as_ref()));
    for (path, block) in std::iter::once((agent_key(None, "sandbox"), config.agents.defaults.sandbox.as_ref())).chain(blocks) {
        let Some(sandbox) = block else { continue };
        if sandbox.mode == Some(SandboxMode::Off)
            && let Some(level @ (Level::Workspace | Level::Strict)) = sandbox.level
        {
            let text = format!("\"off\" and level \"{}\" contradict each other; leave out mode, or set level to \"off\"", level.name());
            problems.push(Problem::value(path.key("mode"), text));
        }
        if matches!(sandbox.mode, Some(SandboxMode::All | SandboxMode::NonMain)) && sandbox.level == Some(Level::Off) {
            problems.push(Problem::value(path.key("level"), "\"off\" contradicts mode; set mode to \"off\", or give another level"));
        }
        for (index, text) in sandbox.read_only_paths.iter().enumerate() {
            if !text.starts_with('/') && text != "~" && !text.starts_with("~/") {
                let path = path.key("readOnlyPaths").join(Step::Index(index));
                problems.push(Problem::value(path, "must be absolute, or begin with ~/"));
            }
        }
    }
}

fn agent_key(index: Option<usize>, key: &str) -> KeyPath {
    match index {
        Some(index) => KeyPath::parse("agents.list").join(Step::Index(index)).key(key),
        None => KeyPath::parse("agents.defaults").key(key),
    }
}

impl Loaded {
    /// The isolation of every agent, with the place of its entry in the list.
    fn isolations(&self) -> impl Iterator<Item = (Option<usize>, String, AgentIsolation)> + '_ {
        let config = &self.config;
        config.agent_ids().into_iter().map(|id| {
            let index = config.agents.list.iter().position(|agent| agent.id.eq_ignore_ascii_case(&id));
            let agent = index.and_then(|index| config.agents.list.get(index));
            (index, id, config.isolation(agent, &self.paths.home))
        })
    }

    /// Everything that no isolated run may see: state, configuration, keys and log of this gateway.
    #[must_use]
    pub fn protected(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let named = [&config.gateway.tls.cert_path, &config.gateway.tls.key_path, &config.logging.file];
        let mut paths = vec![self.paths.state_dir.clone(), self.path.clone()];
        paths.extend(self.files.iter().cloned());
        paths.extend(named.into_iter().flatten().map(PathBuf::from));
        paths.extend(self.secret_files.iter().cloned());
        // Two names of one file: both are closed.
        let real: Vec<PathBuf> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
        paths.extend(real);
        paths.sort();
        // What lies in another of them is closed with it.
        paths.dedup_by(|later, earlier| later.starts_with(earlier));
        paths
    }

    /// What keeps a gateway with this config from isolating its runs as it says.
    #[must_use]
    pub fn isolation_blockers(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let protected = self.protected();
        let mut asked = None;
        for (index, id, isolation) in self.isolations() {
            let wanted = &isolation.isolated;
            if wanted.level == Level::Off {
                continue;
            }
            let abilities = asked.get_or_insert_with(|| self.host.abilities());
            let of_agent = index.filter(|index| self.config.agents.list.get(*index).is_some_and(|agent| agent.sandbox.is_some()));
            let block = agent_key(of_agent, "sandbox");
            if let Some(abilities) = abilities {
                lacking(&block, wanted, abilities, &mut problems);
            }
            if wanted.level == Level::Workspace && wanted.workspace == Access::None {
                problems.push(Problem::value(block.key("workspaceAccess"), "`none` needs level \"strict\""));
            }
            let workspace = self.config.agent(Some(&id)).map(|agent| real(&agent.workspace));
            if let Some(workspace) = workspace
                && let Some(inside) = protected.iter().find(|path| path.starts_with(&workspace))
            {
                let text = format!(
                    "is where isolated runs may write, but {} of the gateway lies in it; give the agent a directory of its own",
                    inside.display()
                );
                problems.push(Problem::value(agent_key(index, "workspace"), text));
            }
            open_places(&block, wanted, &protected, &mut problems);
        }
        problems.dedup();
        problems
    }
}

/// The directory with its links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn lacking(block: &KeyPath, wanted: &Isolation, abilities: &Abilities, problems: &mut Vec<Problem>) {
    let ability = if wanted.level == Level::Strict { &abilities.strict } else { &abilities.workspace };
    let why = |missing: &Option<String>| missing.clone().unwrap_or_else(|| "the trial failed".to_owned());
    if !ability.available {
        let text = format!("\"{}\" cannot be given by this machine: {}", wanted.level.name(), why(&ability.missing));
        problems.push(Problem::value(block.key("level"), text));
    } else if wanted.network && !abilities.filtered_network.available {
        let text = format!(
            "\"on\" cannot be given by this machine, because the metadata service could not be kept out: {}; set network to \"off\"",
            why(&abilities.filtered_network.missing)
        );
        problems.push(Problem::value(block.key("network"), text));
    }
}

/// Places that the level leaves open and that hold something of the gateway's.
fn open_places(block: &KeyPath, wanted: &Isolation, protected: &[PathBuf], problems: &mut Vec<Problem>) {
    if wanted.level == Level::Workspace {
        for place in TEMPORARY {
            if let Some(inside) = protected.iter().find(|path| path.starts_with(real(Path::new(place)))) {
                let text = format!(
                    "\"workspace\" leaves {place} open, and {} of the gateway lies in it; move it, or use level \"strict\"",
                    inside.display()
                );
                problems.push(Problem::value(block.key("level"), text));
            }
        }
    }
    for (index, path) in wanted.read_only.iter().enumerate() {
        let path = real(path);
        if let Some(inside) = protected.iter().find(|secret| secret.starts_with(&path) || path.starts_with(secret)) {
            let text = format!("would show {} of the gateway to isolated runs", inside.display());
            problems.push(Problem::value(block.key("readOnlyPaths").join(Step::Index(index)), text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn isolation(defaults: Value, own: Value) -> AgentIsolation {
        let mut agent = json!({ "id": "a" });
        agent.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(json!({ "agents": { "defaults": defaults, "list": [agent] } })).unwrap();
        config.isolation(config.agents.list.first(), Path::new("/home/u"))
    }

    #[test]
    fn a_level_alone_holds_for_all_sessions_and_a_mode_alone_means_the_strictest_level() {
        let level = |defaults: Value, own: Value| {
            let found = isolation(defaults, own);
            (found.of_session(true).level, found.of_session(false).level)
        };
        let sandbox = |value: Value| json!({ "sandbox": value });
        assert_eq!(level(json!({}), json!({})), (Level::Off, Level::Off));
        assert_eq!(level(sandbox(json!({ "mode": "off" })), json!({})), (Level::Off, Level::Off));
        assert_eq!(level(sandbox(json!({ "level": "workspace" })), json!({})), (Level::Workspace, Level::Workspace));
        assert_eq!(level(sandbox(json!({ "mode": "all" })), json!({})), (Level::Strict, Level::Strict));
        assert_eq!(level(sandbox(json!({ "mode": "non-main" })), json!({})), (Level::Off, Level::Strict));
        assert_eq!(level(sandbox(json!({ "mode": "non-main", "level": "workspace" })), json!({})), (Level::Off, Level::Workspace));
        // An agent's own block wins, key by key.
        assert_eq!(level(sandbox(json!({ "level": "strict" })), sandbox(json!({ "mode": "off" }))), (Level::Off, Level::Off));
        assert_eq!(
            level(sandbox(json!({ "mode": "off" })), sandbox(json!({ "level": "workspace" }))),
            (Level::Workspace, Level::Workspace)
        );
    }

    #[test]
    fn network_is_on_by_default_on_the_lower_level_only() {
        let network = |sandbox: Value| isolation(json!({ "sandbox": sandbox }), json!({})).isolated.network;
        assert!(network(json!({ "level": "workspace" })));
        assert!(!network(json!({ "level": "workspace", "network": "off" })));
        assert!(!network(json!({ "level": "strict" })));
        assert!(network(json!({ "level": "strict", "network": "on" })));
    }

    #[test]
    fn limits_hold_also_without_isolation_and_an_agents_own_come_first() {
        let found = isolation(
            json!({ "limits": { "memoryBytes": 1_073_741_824, "tasks": 64 } }),
            json!({ "limits": { "tasks": 8 }, "sandbox": { "mode": "non-main", "level": "strict", "readOnlyPaths": ["~/tools"] } }),
        );
        let main = found.of_session(true);
        assert_eq!((main.level, main.limits.memory_bytes, main.limits.tasks), (Level::Off, Some(1 << 30), Some(8)));
        assert_eq!(found.of_session(false).read_only, [PathBuf::from("/home/u/tools")]);
    }

    #[test]
    fn contradictions_are_named_with_what_to_do() {
        let text = |value: Value| {
            let config: Config = serde_json::from_value(json!({ "agents": { "defaults": { "sandbox": value } } })).unwrap();
            let mut problems = Vec::new();
            wrong(&config, &mut problems);
            problems.first().map(ToString::to_string).unwrap_or_default()
        };
        assert!(text(json!({ "mode": "off", "level": "strict" })).contains("agents.defaults.sandbox.mode: \"off\" and level \"strict\""));
        assert!(text(json!({ "mode": "all", "level": "off" })).contains("agents.defaults.sandbox.level"));
        assert!(text(json!({ "readOnlyPaths": ["opt"] })).contains("readOnlyPaths[0]: must be absolute"));
        assert_eq!(text(json!({ "mode": "off", "level": "off" })), "");
    }
}

//! What the config means: agents with their defaults filled in, the rules of exec from both spellings, the models that are configured.
//!
//! Other floors ask here instead of reading raw keys, so that a default or an alias is known in one place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Config;
use super::agent_parts::Identity;
use super::agents::{Agent, Runner};
use super::cross::is_agent_id;
use super::gateway::Bind;
use super::login::AuthMode;
use super::model_ref::ModelRef;
use super::net::{Network, Origin};
use super::paths::{Paths, expand_home};
use super::problem::Problem;
use super::tool_policy::{Rules, permits_exec};
use super::tools::{Exec, ExecAsk, ExecHost, ExecSecurity};

/// The id of the agent that exists when none is listed.
pub const MAIN_AGENT: &str = "main";

/// One agent, with everything the defaults give it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSettings {
    /// Its id, lower case.
    pub id: String,
    /// What people call it; else the identity's name, else the id.
    pub name: String,
    /// How it presents itself.
    pub identity: Identity,
    /// Its directory, absolute.
    pub workspace: PathBuf,
    /// What turns a message into its work.
    pub runner: Runner,
    /// Its model.
    pub model: Option<ModelRef>,
    /// Whether requests that name no agent go to it.
    pub is_default: bool,
    /// How its commands run.
    pub exec: ExecSettings,
    /// Whether the rules of `tools` let it run commands at all.
    pub may_exec: bool,
}

/// How commands run, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// Which commands run.
    pub security: ExecSecurity,
    /// Where.
    pub host: ExecHost,
    /// When a person is asked.
    pub ask: ExecAsk,
    /// Directories put before `PATH`.
    pub path_prepend: Vec<String>,
    /// Programs that only read and print.
    pub safe_bins: Vec<String>,
    /// After this time a model's command goes on in the background, ms.
    pub background_ms: u64,
    /// Time limit of one command of a model, seconds.
    pub timeout_sec: u64,
    /// How long ended commands are remembered, ms.
    pub cleanup_ms: u64,
    /// Tells the session when a background command ends.
    pub notify_on_exit: bool,
}

/// One model that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// Its id at the provider.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its provider; empty when the config names none.
    pub provider: String,
    /// Size of its context window, tokens.
    pub context_window: Option<u64>,
    /// Whether it thinks before it answers; unknown when it is only named.
    pub reasoning: Option<bool>,
}

impl Config {
    /// The agent of that id (in any case), or the default one; `None` for an id that is not configured.
    #[must_use]
    pub fn agent(&self, id: Option<&str>) -> Option<AgentSettings> {
        let default = self.default_agent_id();
        let id = id.map_or_else(|| default.clone(), str::to_lowercase);
        let listed = self.agents.list.iter().find(|agent| agent.id.to_lowercase() == id);
        if listed.is_none() && !(self.agents.list.is_empty() && id == default) {
            return None;
        }
        let model = listed.and_then(|agent| agent.model.clone()).or_else(|| self.agents.defaults.model.clone());
        let identity = listed.and_then(|agent| agent.identity.clone()).unwrap_or_default();
        let name = listed.and_then(|agent| agent.name.clone()).or_else(|| identity.name.clone());
        let runner = listed.and_then(|agent| agent.runner).or(self.agents.defaults.runner);
        let has_model = model.as_ref().is_some_and(|model| model.primary.is_some());
        Some(AgentSettings {
            name: name.unwrap_or_else(|| id.clone()),
            identity,
            workspace: self.workspace(listed, &id, id == default),
            runner: runner.unwrap_or(if has_model { Runner::Agent } else { Runner::Shell }),
            model,
            is_default: id == default,
            exec: self.exec_of(listed),
            may_exec: self.may_exec(listed),
            id,
        })
    }

    fn workspace(&self, listed: Option<&Agent>, id: &str, is_default: bool) -> PathBuf {
        let common = self.agents.defaults.workspace.as_ref().filter(|_| is_default);
        let own = listed.and_then(|agent| agent.workspace.as_ref());
        own.or(common).map_or_else(|| PathBuf::from(workspace_name(id, is_default)), PathBuf::from)
    }

    /// Fills in what depends on the user: directories and files, made absolute, and the shell. Done once, right after reading.
    pub fn settle(&mut self, paths: &Paths, env: &BTreeMap<String, String>) {
        let shell = env.get("SHELL").filter(|shell| Path::new(shell).is_absolute() && Path::new(shell).exists());
        self.agents.defaults.shell = self.agents.defaults.shell.take().or_else(|| shell.cloned());
        let default = self.default_agent_id();
        let full = |given: Option<&String>, name: String| {
            let path =
                given.map_or_else(|| paths.state_dir.join(name), |given| paths.state_dir.join(expand_home(Path::new(given), &paths.home)));
            Some(path.to_string_lossy().into_owned())
        };
        for path in [&mut self.gateway.tls.cert_path, &mut self.gateway.tls.key_path].into_iter().flatten() {
            *path = paths.state_dir.join(expand_home(Path::new(path), &paths.home)).to_string_lossy().into_owned();
        }
        let log =
            self.logging.file.as_ref().map_or_else(|| paths.log(), |file| paths.state_dir.join(expand_home(Path::new(file), &paths.home)));
        self.logging.file = Some(log.to_string_lossy().into_owned());
        self.runners.settle(paths);
        let common = self.agents.defaults.workspace.take();
        self.agents.defaults.workspace = full(common.as_ref(), workspace_name(&default, true));
        for agent in &mut self.agents.list {
            let id = agent.id.to_lowercase();
            let is_default = id == default;
            let given = agent.workspace.clone().or_else(|| common.clone().filter(|_| is_default));
            agent.workspace = full(given.as_ref(), workspace_name(&id, is_default));
        }
    }

    /// The ids of all agents, lower case, in the order of the list.
    #[must_use]
    pub fn agent_ids(&self) -> Vec<String> {
        if self.agents.list.is_empty() {
            return vec![MAIN_AGENT.to_owned()];
        }
        self.agents.list.iter().map(|agent| agent.id.to_lowercase()).collect()
    }

    /// The agent for requests that name none.
    #[must_use]
    pub fn default_agent_id(&self) -> String {
        let marked = self.agents.list.iter().find(|agent| agent.default == Some(true));
        marked.or(self.agents.list.first()).map_or_else(|| MAIN_AGENT.to_owned(), |agent| agent.id.to_lowercase())
    }

    /// Whether a text can be the id of an agent at all.
    #[must_use]
    pub fn is_agent_id(text: &str) -> bool {
        is_agent_id(text)
    }

    /// How commands run by the common rule: `exec` and `tools.exec` are the same keys.
    #[must_use]
    pub fn exec(&self) -> ExecSettings {
        self.exec_of(None)
    }

    /// An agent's own rules can only take away what the common ones permit.
    fn may_exec(&self, agent: Option<&Agent>) -> bool {
        let common = Rules {
            profile: self.tools.profile,
            allow: self.tools.allow.as_deref(),
            also_allow: self.tools.also_allow.as_deref(),
            deny: self.tools.deny.as_deref(),
        };
        let own = agent.and_then(|agent| agent.tools.as_ref()).map_or_else(Rules::default, |tools| Rules {
            profile: tools.profile,
            allow: tools.allow.as_deref(),
            also_allow: tools.also_allow.as_deref(),
            deny: tools.deny.as_deref(),
        });
        permits_exec(common) && permits_exec(own)
    }

    fn exec_of(&self, agent: Option<&Agent>) -> ExecSettings {
        let none = Exec::default();
        let top = self.exec.as_ref().unwrap_or(&none);
        let nested = self.tools.exec.as_ref().unwrap_or(&none);
        let own = agent.and_then(|agent| agent.tools.as_ref()?.exec.as_ref()).unwrap_or(&none);
        // With nothing configured no command runs: a gateway without a decision must not be a shell for everybody.
        let common = top.security.or(nested.security).unwrap_or(ExecSecurity::Deny);
        let common_bins = top.safe_bins.clone().or_else(|| nested.safe_bins.clone());
        let common_bins = common_bins.unwrap_or_else(|| SAFE_BINS.map(str::to_owned).to_vec());
        let common_ask = top.ask.or(nested.ask).unwrap_or(ExecAsk::OnMiss);
        ExecSettings {
            security: own.security.map_or(common, |own| own.stricter(common)),
            host: own.host.or(top.host).or(nested.host).unwrap_or(ExecHost::Gateway),
            ask: own.ask.map_or(common_ask, |own| own.stricter(common_ask)),
            path_prepend: first(&[&own.path_prepend, &top.path_prepend, &nested.path_prepend]),
            safe_bins: common_bins.into_iter().filter(|name| own.safe_bins.as_ref().is_none_or(|own| own.contains(name))).collect(),
            background_ms: own.background_ms.or(top.background_ms).or(nested.background_ms).unwrap_or(10_000),
            timeout_sec: own.timeout_sec.or(top.timeout_sec).or(nested.timeout_sec).unwrap_or(1800),
            cleanup_ms: own.cleanup_ms.or(top.cleanup_ms).or(nested.cleanup_ms).unwrap_or(1_800_000),
            notify_on_exit: own.notify_on_exit.or(top.notify_on_exit).or(nested.notify_on_exit).unwrap_or(true),
        }
    }

    /// The configured models: the providers' rows, then those that agents or settings only name.
    #[must_use]
    pub fn models(&self) -> Vec<ModelRow> {
        let mut rows: BTreeMap<(String, String), ModelRow> = BTreeMap::new();
        for (provider, settings) in &self.models.providers {
            for model in &settings.models {
                let row = ModelRow {
                    id: model.id.clone(),
                    name: model.name.clone(),
                    provider: provider.clone(),
                    context_window: Some(model.context_window.unwrap_or(200_000)),
                    reasoning: Some(model.reasoning),
                };
                rows.insert((provider.clone(), model.id.clone()), row);
            }
        }
        let of_agents = self.agents.list.iter().filter_map(|agent| agent.model.as_ref());
        let named = self.agents.defaults.model.iter().chain(of_agents).flat_map(ModelRef::names);
        for name in named.chain(self.agents.defaults.models.keys().map(String::as_str)) {
            let (provider, id) = name.split_once('/').unwrap_or(("", name));
            rows.entry((provider.to_owned(), id.to_owned())).or_insert_with(|| ModelRow {
                id: id.to_owned(),
                name: id.to_owned(),
                provider: provider.to_owned(),
                context_window: None,
                reasoning: None,
            });
        }
        rows.into_values().collect()
    }

    /// The shell that runs scripts: the configured one, the user's, or the first that exists.
    #[must_use]
    pub fn shell(&self) -> PathBuf {
        let known = self.agents.defaults.shell.as_ref().map(PathBuf::from);
        known.unwrap_or_else(|| PathBuf::from(if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }))
    }

    /// Which secret is asked for.
    #[must_use]
    pub fn auth_mode(&self) -> AuthMode {
        let auth = &self.gateway.auth;
        let implied = if auth.token.is_none() && auth.password.is_some() { AuthMode::Password } else { AuthMode::Token };
        auth.mode.unwrap_or(implied)
    }

    /// The addresses to listen on. The second of two may be missing on a machine without IPv6.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        let hosts: Vec<IpAddr> = match self.gateway.bind {
            Bind::Auto | Bind::Loopback | Bind::Tailnet => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Bind::Lan => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            Bind::Custom => self.gateway.custom_bind_host.iter().filter_map(|host| host.parse().ok()).collect(),
        };
        hosts.into_iter().map(|host| SocketAddr::new(host, self.gateway.port)).collect()
    }

    /// Whether nobody outside this machine can reach the listener.
    #[must_use]
    pub fn binds_loopback_only(&self) -> bool {
        self.listen_addresses().iter().all(|address| address.ip().is_loopback())
    }

    /// The gateway's own public origins.
    #[must_use]
    pub fn public_origins(&self) -> Vec<Origin> {
        self.gateway.public_urls.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Every origin a browser may come from: the own ones and those of `gateway.controlUi.allowedOrigins`.
    #[must_use]
    pub fn allowed_origins(&self) -> Vec<Origin> {
        let listed = self.gateway.control_ui.allowed_origins.iter().filter_map(|text| text.parse().ok());
        self.public_origins().into_iter().chain(listed).collect()
    }

    /// The reverse proxies whose forwarded-for header is believed.
    #[must_use]
    pub fn trusted_proxies(&self) -> Vec<Network> {
        self.gateway.trusted_proxies.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// What keeps a gateway from starting with this config.
    #[must_use]
    pub fn start_blockers(&self) -> Vec<Problem> {
        super::cross::start_blockers(self)
    }
}

/// Programs that read their input and print, unless the configuration names others.
const SAFE_BINS: [&str; 9] = ["jq", "grep", "cut", "sort", "uniq", "head", "tail", "tr", "wc"];

fn workspace_name(id: &str, is_default: bool) -> String {
    if is_default { "workspace".to_owned() } else { format!("workspace-{id}") }
}

fn first(places: &[&Option<Vec<String>>]) -> Vec<String> {
    places.iter().find_map(|place| place.as_ref()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;

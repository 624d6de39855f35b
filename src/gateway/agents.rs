//! The configured agents, resolved once for each configuration.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::config::agent_parts::{Heartbeat, Identity};
use crate::config::isolation::AgentIsolation;
use crate::config::tools::ExecSecurity;
use crate::exec::policy::rule::Wish;
use crate::protocol::event::health::{AgentHealth, HeartbeatHealth, SessionCounts};
use crate::protocol::ids::AgentId;
use crate::protocol::run::RunErrorCode;
use crate::runs::runners;
use crate::runs::spec::{Refusal, Work};

/// One agent, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: Option<String>,
    /// How it presents itself, as far as the configuration says.
    pub identity: Identity,
    /// Where its runs work.
    pub workspace: PathBuf,
    /// Name of its runner.
    pub runner: String,
    /// Its model.
    pub model: Option<String>,
    /// Whether requests that name no agent go to it.
    pub is_default: bool,
    /// Which commands it may run.
    pub exec: ExecSecurity,
    /// Whether the rules of `tools` let it run commands at all.
    pub may_exec: bool,
    /// What is configured of its heartbeats.
    pub heartbeat: Heartbeat,
    /// How its runs are shut in and limited.
    pub isolation: AgentIsolation,
}

/// The agents and the rules of their runs.
pub struct Agents {
    agents: Vec<Arc<Agent>>,
    default_id: AgentId,
    shell: PathBuf,
    timeout_ms: u64,
}

/// Longest time limit of a run: 30 days, which a request's 0 stands for.
pub const MAX_TIMEOUT_MS: u64 = 30 * 24 * 3600 * 1000;

impl Agents {
    /// The agents of this configuration; `home` is what `~` stands for.
    #[must_use]
    pub fn new(config: &Config, home: &Path) -> Self {
        let settings = config.agent_ids().into_iter().filter_map(|id| config.agent(Some(id.as_str())));
        let mut agents: Vec<Arc<Agent>> = settings
            .map(|settings| Agent {
                name: settings.identity.name.clone().or_else(|| (settings.name != settings.id).then(|| settings.name.clone())),
                id: AgentId(settings.id),
                identity: settings.identity,
                workspace: settings.workspace,
                runner: settings.runner.name(),
                model: settings.model.and_then(|model| model.primary),
                is_default: settings.is_default,
                exec: settings.exec.security,
                may_exec: settings.may_exec,
                heartbeat: Heartbeat::default(),
                isolation: AgentIsolation::default(),
            })
            .map(|mut agent| {
                let listed = config.agents.list.iter().find(|listed| listed.id.eq_ignore_ascii_case(agent.id.as_str()));
                let heartbeat = listed.and_then(|listed| listed.heartbeat.as_ref()).or(config.agents.defaults.heartbeat.as_ref());
                agent.heartbeat = heartbeat.cloned().unwrap_or_default();
                agent.isolation = config.isolation(listed, home);
                Arc::new(agent)
            })
            .collect();
        agents.sort_by_key(|agent| !agent.is_default);
        Self {
            agents,
            default_id: AgentId(config.default_agent_id()),
            shell: config.shell(),
            timeout_ms: config.agents.defaults.timeout_seconds.saturating_mul(1000).min(MAX_TIMEOUT_MS),
        }
    }

    /// All agents, the default one first.
    #[must_use]
    pub fn all(&self) -> &[Arc<Agent>] {
        &self.agents
    }

    /// The agent with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents.iter().find(|agent| agent.id.as_str() == id)
    }

    /// Id of the default agent.
    #[must_use]
    pub fn default_id(&self) -> &AgentId {
        &self.default_id
    }

    /// The work of a run of `agent`: what it runs, where, how shut in, for how long, or why it may not. `is_main`: in the agent's main session.
    #[must_use]
    pub fn work(&self, agent: &Agent, is_main: bool, message: String, timeout_ms: Option<u64>) -> Work {
        let timeout_ms = match timeout_ms {
            None => self.timeout_ms,
            Some(0) => MAX_TIMEOUT_MS,
            Some(ms) => ms.min(MAX_TIMEOUT_MS),
        };
        Work {
            message,
            cwd: agent.workspace.clone(),
            shell: self.shell.clone(),
            timeout_ms,
            refusal: Self::refusal(agent),
            attachments: Vec::new(),
            exec: Wish::default(),
            extra_system_prompt: None,
            thinking: None,
            compact: None,
            isolation: agent.isolation.of_session(is_main),
            tell: None,
            nested: false,
            env: BTreeMap::new(),
        }
    }

    /// The agents as health shows them, with what is known of their sessions.
    #[must_use]
    pub fn health(&self, mut sessions: HashMap<AgentId, SessionCounts>) -> Vec<AgentHealth> {
        self.agents
            .iter()
            .map(|agent| AgentHealth {
                heartbeat: heartbeat(&agent.heartbeat),
                sessions: sessions.remove(&agent.id).unwrap_or_default(),
                agent_id: agent.id.clone(),
                name: agent.name.clone(),
                is_default: agent.is_default,
                runner: agent.runner.clone(),
            })
            .collect()
    }

    fn refusal(agent: &Agent) -> Option<Refusal> {
        let Some(runner) = runners::find(&agent.runner) else {
            let summary = format!(
                "this version has no runner \"{}\", which agent \"{}\" needs; see runners.list, or set runner: \"shell\" for it to run its messages as shell scripts",
                agent.runner, agent.id
            );
            return Some(Refusal { code: RunErrorCode::Unavailable, summary });
        };
        if !runner.message_is_command {
            // Its messages are no commands; each command of its tools is judged by itself.
            return None;
        }
        if agent.exec == ExecSecurity::Deny {
            let summary =
                "exec.security is \"deny\": no command may run; set it to \"allowlist\" for listed ones or \"full\" for all".to_owned();
            return Some(Refusal { code: RunErrorCode::ExecDenied, summary });
        }
        if !agent.may_exec {
            let summary = format!("the rules of `tools` (allow, deny, profile) do not let agent \"{}\" run commands", agent.id);
            return Some(Refusal { code: RunErrorCode::ExecDenied, summary });
        }
        None
    }
}

/// The heartbeats of an agent as health shows them: off, with what is configured for the time when there are some.
fn heartbeat(configured: &Heartbeat) -> HeartbeatHealth {
    HeartbeatHealth {
        enabled: false,
        every: "disabled",
        every_ms: None,
        prompt: configured.prompt.clone().unwrap_or_default(),
        target: configured.target.clone().unwrap_or_else(|| "last".to_owned()),
        model: configured.model.clone(),
        ack_max_chars: configured.ack_max_chars.unwrap_or(300),
    }
}

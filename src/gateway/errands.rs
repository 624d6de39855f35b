//! Errands of agents: what their tools for sessions and sub-agents want of the daemon, and who is told when a sub-agent is done.
//!
//! An agent sees the sessions of its own agent; those of others only where `tools.agentToAgent` permits it, and a sub-agent has no errands. Neither has a run that works in a part of its agent's folder, as those of a portal's users do: what other users said is none of its affair, and such a user has one run at a time.

mod look;
mod start;

use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Gateway;
use crate::config::tools::AgentToAgent;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::runs::control::Done;
use crate::runs::errands::{Doing, Errands, Sent};
use crate::runs::live::Ended;
use crate::runs::spec::Work;
use crate::sessions::key::{agent_of, is_subagent};
use crate::store::record::RunRecord;
use crate::store::sessions::SessionRecord;

/// Does the errands of a gateway's runs.
pub struct Errander {
    gateway: Weak<Gateway>,
}

impl Errander {
    /// That of this gateway.
    #[must_use]
    pub fn of(gateway: &Arc<Gateway>) -> Self {
        Self { gateway: Arc::downgrade(gateway) }
    }
}

/// What is told to a model: a text, or why there is none.
type Told = Result<String, String>;

/// An errand: its tool and how it is done.
type Row = (&'static str, fn(Errand) -> Doing<Told>);

static ERRANDS: [Row; 5] = [
    ("sessions_list", |errand| Box::pin(async move { errand.list().await })),
    ("sessions_history", |errand| Box::pin(async move { errand.history().await })),
    ("agents_list", |errand| Box::pin(async move { errand.agents() })),
    ("sessions_send", |errand| Box::pin(async move { errand.say().await })),
    ("sessions_spawn", |errand| Box::pin(async move { errand.spawn().await })),
];

impl Errands for Errander {
    fn run(&self, sent: Sent) -> Doing<Done> {
        let gateway = self.gateway.upgrade();
        Box::pin(async move {
            let Some(gateway) = gateway.filter(|gateway| !gateway.is_stopping()) else {
                // The shim is not answered, so it asks the next daemon.
                sent.gone.cancelled().await;
                return Done::failed("the gateway is stopping");
            };
            let Some((_, run)) = ERRANDS.iter().find(|(tool, _)| *tool == sent.errand.tool) else {
                return Done::failed(format!("this gateway has no tool {}", sent.errand.tool));
            };
            if is_subagent(&sent.run.session_key) {
                return Done::failed("a sub-agent does its task alone: it sees no other sessions and starts none");
            }
            let errand = Errand { gateway, sent };
            if errand.is_of_one_user() {
                return Done::failed("a run that is confined to a part of its agent's folder sees no other sessions and starts none");
            }
            match run(errand).await {
                Ok(text) => Done { text, is_error: false },
                Err(why) => Done::failed(why),
            }
        })
    }

    fn ended(&self, run: RunRecord, work: Work, ended: Ended, said: String) -> Doing<()> {
        let gateway = self.gateway.upgrade();
        Box::pin(async move {
            if let Some(gateway) = gateway {
                start::report(&gateway, &run, work, &ended, &said).await;
            }
        })
    }
}

/// An errand that is being done.
struct Errand {
    gateway: Arc<Gateway>,
    sent: Sent,
}

impl Errand {
    fn arguments<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(&self.sent.errand.args).map_err(|error| format!("Wrong arguments: {error}."))
    }

    fn own_key(&self) -> &SessionKey {
        &self.sent.run.session_key
    }

    fn own_agent(&self) -> &AgentId {
        &self.sent.run.agent_id
    }

    /// Whether the run works in a part of its agent's folder.
    fn is_of_one_user(&self) -> bool {
        self.gateway.agents().get(self.own_agent().as_str()).is_none_or(|agent| agent.workspace != self.sent.work.cwd)
    }

    /// Whether the sessions of an agent may be seen.
    fn sees_agent(&self, agent: &AgentId) -> bool {
        let loaded = self.gateway.loaded();
        agent == self.own_agent() || talks(loaded.config.tools.agent_to_agent.as_ref(), [self.own_agent(), agent])
    }

    fn sees(&self, session: &SessionRecord) -> bool {
        session.key == *self.own_key() || agent_of(&session.key).is_some_and(|agent| self.sees_agent(&agent))
    }

    /// The session that a model names.
    async fn session(&self, name: &str) -> Result<SessionRecord, String> {
        let unknown = || format!("There is no session {name} that you may see; sessions_list names them.");
        let settings = self.gateway.sessions.settings();
        let key = settings.canonical(name, self.own_agent()).map_err(|wrong| format!("The session {name} {wrong}."))?;
        let found = self.gateway.sessions.get(&key).await.map_err(|cause| format!("The sessions cannot be read: {cause}."))?;
        // One that may not be seen is as one that is not there.
        found.filter(|session| self.sees(session)).ok_or_else(unknown)
    }
}

/// Whether the rules let these agents talk with each other.
fn talks(rules: Option<&AgentToAgent>, agents: [&AgentId; 2]) -> bool {
    let Some(rules) = rules.filter(|rules| rules.enabled == Some(true)) else { return false };
    let listed = |agent: &AgentId| {
        rules.allow.as_ref().is_none_or(|allow| allow.iter().any(|name| name == "*" || name.trim().eq_ignore_ascii_case(agent.as_str())))
    };
    agents.into_iter().all(listed)
}

/// A value as the model is shown it.
fn shown(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_talk_only_where_it_is_permitted_to_both() {
        let (a, b) = (AgentId::from("a"), AgentId::from("b"));
        let rules = |enabled, allow: Option<&[&str]>| AgentToAgent {
            enabled,
            allow: allow.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        };
        let may = |rules: &AgentToAgent| talks(Some(rules), [&a, &b]);
        assert!(!talks(None, [&a, &b]) && !may(&rules(None, None)) && !may(&rules(Some(false), Some(&["*"]))));
        assert!(may(&rules(Some(true), None)) && may(&rules(Some(true), Some(&["*"]))) && may(&rules(Some(true), Some(&["A", "b"]))));
        assert!(!may(&rules(Some(true), Some(&["a"]))) && !may(&rules(Some(true), Some(&[]))));
    }

    #[test]
    fn every_tool_for_sessions_has_an_errand() {
        let names: Vec<&str> = ERRANDS.iter().map(|(tool, _)| *tool).collect();
        assert_eq!(names, ["sessions_list", "sessions_history", "agents_list", "sessions_send", "sessions_spawn"]);
    }
}

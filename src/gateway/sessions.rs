//! Sessions as clients see them: a stored row joined with its runs and its model.

use super::Gateway;
use super::endpoints::unaliased;
use crate::protocol::ids::{AgentId, RunId};
use crate::protocol::run::RunStatus;
use crate::protocol::session::SessionRow;
use crate::sessions::models::{ModelName, ModelRules};
use crate::store::sessions::{Listed, SessionRecord};

impl Gateway {
    /// The model of an agent's sessions that choose none.
    #[must_use]
    pub fn default_model(&self, agent: &AgentId) -> ModelName {
        let agents = self.agents();
        let agent = agents.get(agent.as_str()).or_else(|| agents.get(agents.default_id().as_str()));
        ModelName::of(agent.and_then(|agent| agent.model.as_deref()))
    }

    /// Which models the sessions of an agent may choose.
    #[must_use]
    pub fn model_rules(&self, agent: &AgentId) -> ModelRules {
        let loaded = self.loaded();
        let models = &loaded.config.agents.defaults.models;
        let aliases = models.iter().filter_map(|(name, settings)| Some((settings.alias.clone()?, name.clone())));
        ModelRules { allowed: models.keys().cloned().collect(), aliases: aliases.collect(), default: self.default_model(agent) }
    }

    /// Names of the models that an agent's sessions can choose among, its own first.
    #[must_use]
    pub fn model_names(&self, agent: &AgentId) -> Vec<String> {
        let loaded = self.loaded();
        let config = &loaded.config;
        let own = config.agent(Some(agent.as_str())).and_then(|agent| agent.model).unwrap_or_default();
        let listed = config.models().into_iter().filter(|row| !row.provider.is_empty()).map(|row| format!("{}/{}", row.provider, row.id));
        let mut names: Vec<String> = Vec::new();
        for name in own.names().map(|name| unaliased(config, name)).chain(listed) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The model of a session: the chosen one, else the one that answered last, else the agent's.
    #[must_use]
    pub fn model_of(&self, session: &SessionRecord) -> ModelName {
        let entry = &session.entry;
        let default = self.default_model(&session.agent_id);
        if let Some(model) = &entry.model_override {
            return ModelName { provider: entry.provider_override.clone().or(default.provider), model: Some(model.clone()) };
        }
        match &entry.model {
            Some(model) => ModelName { provider: entry.model_provider.clone(), model: Some(model.clone()) },
            None => default,
        }
    }

    /// A session's row, without the texts of its transcript.
    #[must_use]
    pub fn session_row(&self, listed: Listed) -> SessionRow {
        let Listed { session, run_count, last_run } = listed;
        let ModelName { provider, model } = self.model_of(&session);
        let working = last_run.as_ref().is_some_and(|run| !run.status.is_terminal());
        let active_run_ids: Vec<RunId> =
            if working { self.runs.live_of(&session.key).iter().map(|live| live.record.run_id.clone()).collect() } else { Vec::new() };
        let lost = last_run.as_ref().is_some_and(|run| matches!(run.status, RunStatus::Aborted | RunStatus::Interrupted));
        let kind = session.kind();
        let queued = if working { self.runs.waiting_in(&session.key) } else { 0 };
        let entry = session.entry;
        SessionRow {
            kind,
            key: session.key,
            agent_id: session.agent_id,
            created_at: session.created_at,
            derived_title: None,
            last_message_preview: None,
            run_count,
            last_run_status: last_run.as_ref().map(|run| run.status),
            last_run_id: last_run.map(|run| run.run_id),
            has_active_run: !active_run_ids.is_empty(),
            queued,
            active_run_ids,
            session_id: entry.session_id,
            updated_at: entry.updated_at,
            aborted_last_run: entry.aborted_last_run.unwrap_or(false) || lost,
            system_sent: entry.system_sent,
            label: entry.label,
            display_name: entry.display_name,
            spawned_by: entry.spawned_by,
            channel: entry.channel,
            subject: entry.subject,
            group_channel: entry.group_channel,
            space: entry.space,
            chat_type: entry.chat_type,
            origin: entry.origin,
            thinking_level: entry.thinking_level,
            verbose_level: entry.verbose_level,
            reasoning_level: entry.reasoning_level,
            elevated_level: entry.elevated_level,
            send_policy: entry.send_policy,
            queue_mode: entry.queue_mode,
            input_tokens: entry.input_tokens,
            output_tokens: entry.output_tokens,
            total_tokens: entry.total_tokens,
            response_usage: entry.response_usage,
            model_provider: provider,
            model,
            context_tokens: entry.context_tokens,
            delivery_context: entry.delivery_context,
            last_channel: entry.last_channel,
            last_to: entry.last_to,
            last_account_id: entry.last_account_id,
        }
    }
}

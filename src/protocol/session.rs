//! Sessions as clients see them: what is kept of one, and its row in a list.

pub mod entry;
pub mod patch;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::ids::{AgentId, RunId, SessionKey};
use super::run::RunStatus;

/// What kind of conversation a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// With one partner, or an agent's own.
    Direct,
    /// With a group or a channel.
    Group,
    /// The one for all senders.
    Global,
    /// Of messages whose sender is unknown.
    Unknown,
    /// One run of a job; lists leave it out.
    Run,
}

impl SessionKind {
    /// The kind that the key and the kind of chat tell.
    #[must_use]
    pub fn of(key: &str, chat_type: Option<&str>) -> Self {
        let is_run = || key.split_once(":cron:").is_some_and(|(_, job)| job.contains(":run:"));
        match key {
            "global" => Self::Global,
            "unknown" => Self::Unknown,
            _ if is_run() => Self::Run,
            _ if matches!(chat_type, Some("group" | "channel")) => Self::Group,
            _ if key.contains(":group:") || key.contains(":channel:") => Self::Group,
            _ => Self::Direct,
        }
    }

    /// The word on the wire and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Global => "global",
            Self::Unknown => "unknown",
            Self::Run => "run",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Direct, Self::Group, Self::Global, Self::Unknown, Self::Run].into_iter().find(|kind| kind.name() == name)
    }
}

/// One row of `sessions.list`. Large things that an entry may hold are not in it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// The session.
    pub key: SessionKey,
    /// What kind of conversation it is.
    pub kind: SessionKind,
    /// Its agent.
    pub agent_id: AgentId,
    /// First use, ms since the epoch.
    pub created_at: u64,
    /// Beginning of the first message, at most 60 characters; only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derived_title: Option<String>,
    /// Beginning of the newest message; only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message_preview: Option<String>,
    /// How many runs it has had.
    pub run_count: u64,
    /// Its newest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_id: Option<RunId>,
    /// How that run stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_status: Option<RunStatus>,
    /// Whether a run of it is waiting or at work.
    pub has_active_run: bool,
    /// How many of them wait.
    pub queued: usize,
    /// Those runs, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active_run_ids: Vec<RunId>,
    /// Id of the conversation inside the session; a reset makes a new one.
    pub session_id: String,
    /// Last activity, ms since the epoch.
    pub updated_at: u64,
    /// Whether the last run was aborted or lost.
    pub aborted_last_run: bool,
    /// Whether the conversation has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_sent: Option<bool>,
    /// A unique name given by a person or program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Session that started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned_by: Option<String>,
    /// Channel of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Subject of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Channel of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_channel: Option<String>,
    /// Space of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Kind of chat: `direct`, `group` or `channel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_type: Option<String>,
    /// Where the session came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
    /// How much a model thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// How much is told of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    /// Whether front ends show thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_level: Option<String>,
    /// Kept for front ends; it permits nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elevated_level: Option<String>,
    /// `allow` or `deny`, whatever the rules say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_policy: Option<String>,
    /// How messages wait while a run is at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<String>,
    /// Tokens of all prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of all answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens in the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// What stands below an answer of what it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_usage: Option<String>,
    /// Provider of its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Size of the model's context in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Where answers are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_context: Option<Value>,
    /// Channel of the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_channel: Option<String>,
    /// Receiver of the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_to: Option<String>,
    /// Account of the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_account_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_by_the_key_and_the_kind_of_chat() {
        let of = |key: &str| SessionKind::of(key, None).name();
        assert_eq!((of("global"), of("unknown"), of("agent:main:main")), ("global", "unknown", "direct"));
        assert_eq!((of("agent:main:x:group:1"), of("agent:main:x:channel:1")), ("group", "group"));
        assert_eq!((of("agent:main:cron:job"), of("agent:main:cron:job:run:1")), ("direct", "run"));
        assert_eq!(SessionKind::of("agent:main:x", Some("channel")), SessionKind::Group);
        assert_eq!(SessionKind::parse("group"), Some(SessionKind::Group));
    }
}

//! What is kept of a session, field by field as existing clients and stores name them.
//!
//! Words such as levels are kept as text, so that an older or newer store's word is never lost; `sessions.patch` is where they are judged. Fields of a store that are not named here, or have another type, are kept beside this as JSON (`store::sessions`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares the entry: two fields that are always there, and many that may be.
macro_rules! entry {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// What is kept of a session.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        pub struct SessionEntry {
            /// Id of the conversation; a reset makes a new one.
            pub session_id: String,
            /// Last activity, ms since the epoch.
            pub updated_at: u64,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }
    };
}

entry! {
    /// The transcript, if it is not at the usual place.
    session_file: String,
    /// Session that started this one.
    spawned_by: String,
    /// Whether the conversation has begun.
    system_sent: bool,
    /// Whether the last run was aborted or lost.
    aborted_last_run: bool,
    /// Kind of chat: `direct`, `group` or `channel`.
    chat_type: String,
    /// How much a model thinks.
    thinking_level: String,
    /// How much is told of tools: `on`, `off` or `full`.
    verbose_level: String,
    /// Whether front ends show thoughts: `on` or `stream`.
    reasoning_level: String,
    /// Kept for front ends, permits nothing here: `on`, `off`, `ask` or `full`.
    elevated_level: String,
    /// When answers are spoken.
    tts_auto: String,
    /// Where commands run.
    exec_host: String,
    /// Which commands run.
    exec_security: String,
    /// When a person is asked before a command.
    exec_ask: String,
    /// The node that runs commands.
    exec_node: String,
    /// What stands below an answer of what it used: `tokens` or `full`.
    response_usage: String,
    /// Provider of the model chosen for this session.
    provider_override: String,
    /// The model chosen for this session.
    model_override: String,
    /// Credentials chosen for this session.
    auth_profile_override: String,
    /// Who chose them.
    auth_profile_override_source: String,
    /// Compactions when they were chosen.
    auth_profile_override_compaction_count: u64,
    /// When a group's message is answered: `mention` or `always`.
    group_activation: String,
    /// Whether a group still has to be introduced.
    group_activation_needs_system_intro: bool,
    /// `allow` or `deny`, whatever the rules say.
    send_policy: String,
    /// How messages wait while a run is at work.
    queue_mode: String,
    /// Quiet time before waiting messages are taken together, ms.
    queue_debounce_ms: u64,
    /// Most messages that wait.
    queue_cap: u64,
    /// Which messages are dropped beyond that.
    queue_drop: String,
    /// Tokens of all prompts.
    input_tokens: u64,
    /// Tokens of all answers.
    output_tokens: u64,
    /// Tokens in the context.
    total_tokens: u64,
    /// Provider of the model that answered last.
    model_provider: String,
    /// The model that answered last.
    model: String,
    /// Size of its context in tokens.
    context_tokens: u64,
    /// How often the transcript was compacted.
    compaction_count: u64,
    /// When memory was last written down, ms since the epoch.
    memory_flush_at: u64,
    /// Compactions at that time.
    memory_flush_compaction_count: u64,
    /// Sessions of other programs, by program.
    cli_session_ids: Value,
    /// Folders in which those sessions were begun, by program.
    cli_session_folders: Value,
    /// Session of one such program.
    claude_cli_session_id: String,
    /// A unique name given by a person or program.
    label: String,
    /// Name to show.
    display_name: String,
    /// Channel of the conversation.
    channel: String,
    /// Group of the conversation.
    group_id: String,
    /// Subject of the group.
    subject: String,
    /// Channel of the group.
    group_channel: String,
    /// Space of the group.
    space: String,
    /// Where the session came from.
    origin: Value,
    /// Where answers are delivered.
    delivery_context: Value,
    /// Channel of the last message.
    last_channel: String,
    /// Receiver of the last message.
    last_to: String,
    /// Account of the last message.
    last_account_id: String,
    /// Thread of the last message.
    last_thread_id: Value,
    /// Text of the last heartbeat.
    last_heartbeat_text: String,
    /// When it was sent, ms since the epoch.
    last_heartbeat_sent_at: u64,
}

impl SessionEntry {
    /// An entry of a conversation that begins now.
    #[must_use]
    pub fn begun(session_id: String, now: u64) -> Self {
        Self { session_id, updated_at: now, ..Self::default() }
    }

    /// What is searched for a text: the names of the session, lower case, one a line.
    #[must_use]
    pub fn search_text(&self, key: &str) -> String {
        let names = [Some(key), Some(&self.session_id), self.label.as_deref(), self.display_name.as_deref(), self.subject.as_deref()];
        names.into_iter().flatten().collect::<Vec<_>>().join("\n").to_lowercase()
    }
}

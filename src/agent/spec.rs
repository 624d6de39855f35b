//! What an agent's turn is, complete: whoever hosts it needs nothing else from the daemon. Holds no secret; the models are opened by who starts the turn.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::tool_policy::Rules;
use crate::config::tools::Profile;
use crate::model::{Block, Message, Thinking};

/// One turn of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// What is to be done.
    #[serde(default)]
    pub task: Task,
    /// The conversation until now, oldest first, as it is sent to the model; it may begin and end with either role.
    #[serde(default)]
    pub history: Vec<Message>,
    /// When each message of the history was said, ms since the epoch.
    #[serde(default)]
    pub history_times: Vec<u64>,
    /// What the user says now: text and pictures.
    #[serde(default)]
    pub prompt: Vec<Block>,
    /// The agent's directory: files of instructions, and where relative paths begin.
    pub workspace: PathBuf,
    /// Whether this is the agent's main session, the only one that sees MEMORY.md.
    #[serde(default)]
    pub main_session: bool,
    /// Further instructions of the request or the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_system_prompt: Option<String>,
    /// How the agent is called, if the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The shell that runs commands, a path or a name; shown to the model.
    #[serde(default)]
    pub shell: String,
    /// Time zone in which the date is told, of the IANA list; the host's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// How much the model thinks.
    #[serde(default)]
    pub thinking: Thinking,
    /// What must be known of the model.
    pub model: ModelFacts,
    /// The same of its fallbacks, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<ModelFacts>,
    /// Files of instructions in the system prompt.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// Which tools there are.
    #[serde(default)]
    pub tools: ToolRules,
    /// Where the tools for files may work.
    #[serde(default)]
    pub files: FileRules,
    /// How commands run.
    #[serde(default)]
    pub exec: ExecRules,
    /// How pages are fetched; absent = they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchRules>,
    /// Whether it may look at other sessions, talk to them and start some.
    #[serde(default)]
    pub sessions: bool,
    /// What the turn may use.
    #[serde(default)]
    pub budgets: Budgets,
    /// How a long conversation is shortened.
    #[serde(default)]
    pub compaction: CompactionRules,
    /// Which old results are left out of what the model is sent; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<PruningRules>,
}

impl AgentSpec {
    /// What must be known of the model at this place: the first or one of its fallbacks.
    #[must_use]
    pub fn facts(&self, place: usize) -> &ModelFacts {
        place.checked_sub(1).and_then(|place| self.fallbacks.get(place)).unwrap_or(&self.model)
    }
}

/// What is to be done in a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Task {
    /// Answer the prompt.
    #[default]
    Answer,
    /// Write down what is worth remembering and put a summary in place of the history; the prompt is empty.
    Compact {
        /// What the summary is to look after, in the user's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
    },
}

/// What the loop must know of the model that it asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFacts {
    /// The provider's id in the configuration.
    pub provider: String,
    /// The model as the provider knows it.
    pub model: String,
    /// The language spoken, such as `anthropic-messages`.
    #[serde(default)]
    pub api: String,
    /// Size of the context window, tokens.
    pub context_window: u64,
    /// Longest answer, tokens.
    pub max_tokens: u64,
    /// Whether it looks at pictures.
    #[serde(default)]
    pub images: bool,
    /// What it costs.
    #[serde(default)]
    pub cost: Price,
}

/// What tokens cost, dollars per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Price {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the provider's cache.
    pub cache_read: f64,
    /// Written to the provider's cache.
    pub cache_write: f64,
}

/// Files of instructions in the system prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bootstrap {
    /// Leaves them out.
    pub skip: bool,
    /// Most characters of one file.
    pub max_chars: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { skip: false, max_chars: 20_000 }
    }
}

/// Which tools there are. A tool is offered if every layer permits it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolRules {
    /// The layers: the common rules, those of the agent, those for the provider or model.
    pub layers: Vec<ToolLayer>,
    /// Offers `apply_patch`.
    pub apply_patch: bool,
}

impl ToolRules {
    /// The layers, as the rules are asked.
    #[must_use]
    pub fn rules(&self) -> Vec<Rules<'_>> {
        self.layers.iter().map(ToolLayer::rules).collect()
    }
}

/// One layer of rules for tools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolLayer {
    /// The set to start from.
    pub profile: Option<Profile>,
    /// Only these.
    pub allow: Option<Vec<String>>,
    /// These besides the profile.
    pub also_allow: Option<Vec<String>>,
    /// Never these.
    pub deny: Option<Vec<String>>,
}

impl ToolLayer {
    fn rules(&self) -> Rules<'_> {
        let Self { profile, allow, also_allow, deny } = self;
        Rules { profile: *profile, allow: allow.as_deref(), also_allow: also_allow.as_deref(), deny: deny.as_deref() }
    }
}

/// Where the tools for files may work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileRules {
    /// Only beneath the workspace, through no link. Set when the run is shut in.
    pub workspace_only: bool,
    /// Nothing is written.
    pub read_only: bool,
    /// Directories and files that are never opened: the gateway's own.
    pub protected: Vec<PathBuf>,
    /// Files that may be read although they lie there: attachments.
    pub attachments: Vec<PathBuf>,
}

/// How commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecRules {
    /// After this time a command goes on in the background, ms.
    pub background_ms: u64,
    /// Time limit of one command, ms.
    pub timeout_ms: u64,
    /// How long ended commands are remembered, ms.
    pub cleanup_ms: u64,
    /// Time between TERM and KILL, ms.
    pub grace_ms: u64,
    /// Most bytes of output of all commands in the journal; each has room for 64 KiB.
    pub cap_bytes: u64,
    /// How much of the newest output of each is kept beyond that.
    pub tail_bytes: u64,
    /// Most bytes per second taken from one pipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<u64>,
    /// Commands that may run at once.
    pub max_commands: usize,
    /// Whether the model is told with the next results that a command in the background has ended.
    pub notify_on_exit: bool,
}

impl Default for ExecRules {
    fn default() -> Self {
        Self {
            background_ms: 10_000,
            timeout_ms: 1_800_000,
            cleanup_ms: 1_800_000,
            grace_ms: 5000,
            cap_bytes: 64 << 20,
            tail_bytes: 1 << 20,
            max_bytes_per_second: None,
            max_commands: 16,
            notify_on_exit: true,
        }
    }
}

/// How pages are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FetchRules {
    /// Characters of a page when the call does not say.
    pub max_chars: usize,
    /// Most characters a call may ask for.
    pub max_chars_cap: usize,
    /// Time limit, ms.
    pub timeout_ms: u64,
    /// Most redirects followed.
    pub max_redirects: u32,
    /// Sent as `User-Agent`.
    pub user_agent: Option<String>,
}

impl Default for FetchRules {
    fn default() -> Self {
        Self { max_chars: 20_000, max_chars_cap: 50_000, timeout_ms: 30_000, max_redirects: 3, user_agent: None }
    }
}

/// What a turn may use. The time limit of the run itself is its host's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Budgets {
    /// Requests to the model.
    pub turns: u32,
    /// Tokens, those of every request added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Time after which the model is not asked again, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { turns: 200, tokens: None, cost: None, ms: None }
    }
}

/// How a long conversation is shortened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompactionRules {
    /// Summarises in parts, and leaves out what the model does not summarise.
    pub in_parts: bool,
    /// Tokens kept free in the window, besides those of an answer.
    pub reserve_tokens: u64,
    /// Share of the window that stays of the newest part, 0.1 to 0.9.
    pub keep_share: f64,
    /// Has the agent write memory files before.
    pub memory_flush: bool,
    /// What it is told for that; a text of ours if absent.
    pub flush_prompt: Option<String>,
    /// Stands behind the system prompt for that.
    pub flush_system: Option<String>,
}

impl Default for CompactionRules {
    fn default() -> Self {
        Self { in_parts: true, reserve_tokens: 20_000, keep_share: 0.25, memory_flush: true, flush_prompt: None, flush_system: None }
    }
}

/// Which old results of tools are left out of what a model is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PruningRules {
    /// How long the provider keeps what it was sent, ms.
    pub ttl_ms: u64,
    /// Results behind the newest so many answers stay.
    pub keep_last_assistants: usize,
    /// Share of the window at which results are shortened.
    pub soft_trim_ratio: f64,
    /// Share of the window at which results are removed.
    pub hard_clear_ratio: f64,
    /// Least characters of all results together for that.
    pub min_prunable_chars: u64,
    /// Only results of these tools; all if empty.
    pub allow: Vec<String>,
    /// Never those of these.
    pub deny: Vec<String>,
    /// Results of more characters are shortened.
    pub max_chars: usize,
    /// To so many of the beginning.
    pub head_chars: usize,
    /// And so many of the end.
    pub tail_chars: usize,
    /// What stands for a removed result; absent = none is removed.
    pub placeholder: Option<String>,
}

impl Default for PruningRules {
    fn default() -> Self {
        Self {
            ttl_ms: 300_000,
            keep_last_assistants: 3,
            soft_trim_ratio: 0.3,
            hard_clear_ratio: 0.5,
            min_prunable_chars: 50_000,
            allow: Vec::new(),
            deny: Vec::new(),
            max_chars: 4000,
            head_chars: 1500,
            tail_chars: 1500,
            placeholder: Some("[Old tool result content cleared]".to_owned()),
        }
    }
}

//! Section `agents`: the defaults of all agents and the list of agents.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent_parts::{
    Budget, Compaction, ContextPruning, GroupChat, Heartbeat, HumanDelay, Identity, Subagents, Switch, Thinking, Verbose,
};
use super::model_ref::ModelRef;
use super::open::Open;
use super::sandbox::{Limits, Sandbox};
use super::section::{section, words};
use super::tools::AgentTools;

words! {
    /// What turns a message into work.
    enum Runner {
        /// The message is a shell script.
        Shell,
        /// The message goes to a model that uses tools.
        Agent,
        /// The message goes to the program `codex`.
        Codex,
        /// The message goes to the program `claude`.
        Claude,
        /// The message goes to the program `pi`.
        Pi,
        /// The message goes to a program that speaks the Agent Client Protocol.
        Acp,
    }
}

words! {
    /// How times are written to a model.
    enum TimeFormat {
        /// By the machine's locale.
        Auto,
        /// 12 hours.
        #[serde(rename = "12")]
        Twelve,
        /// 24 hours.
        #[serde(rename = "24")]
        TwentyFour,
    }
}

words! {
    /// Whether elevated commands run.
    enum Elevated {
        /// Never.
        Off,
        /// Yes.
        On,
        /// After asking.
        Ask,
        /// Without asking.
        Full,
    }
}

words! {
    /// When a block of an answer is sent.
    enum BlockBreak {
        /// At the end of a text part.
        #[serde(rename = "text_end")]
        TextEnd,
        /// At the end of the message.
        #[serde(rename = "message_end")]
        MessageEnd,
    }
}

words! {
    /// When a typing sign is shown.
    enum TypingMode {
        /// Never.
        Never,
        /// At once.
        Instant,
        /// While thinking.
        Thinking,
        /// With the first text.
        Message,
    }
}

section! {
    /// The agents.
    struct Agents {
        /// What every agent starts from.
        defaults: AgentDefaults,
        /// The agents; when empty there is one, `main`.
        list: Vec<Agent>,
    }
}

section! {
    /// What every agent starts from.
    struct AgentDefaults {
        /// What turns a message into work; default `agent` when a model is configured, else `shell`.
        runner: Option<Runner>,
        /// The model of agents that name none.
        model: Option<ModelRef>,
        /// The model for images.
        #[schemars(extend("x-acts" = false))]
        image_model: Option<ModelRef>,
        /// Settings per `provider/model`; when not empty, also the list of models that may be chosen.
        models: BTreeMap<String, ModelSettings>,
        /// Directory in which the default agent works, made with mode 0700; default `<state>/workspace`.
        workspace: Option<String>,
        /// Root of the repository that is shown to a model.
        #[schemars(extend("x-acts" = false))]
        repo_root: Option<String>,
        /// The shell that runs scripts; default the user's `SHELL`, else `/bin/bash`, else `/bin/sh`.
        shell: Option<String>,
        /// The environment of processes.
        env: EnvFence,
        /// Bounds of what a run prints.
        output: Output,
        /// Time limit of a run, seconds.
        #[schemars(range(min = 1, max = 31_536_000))]
        timeout_seconds: u64 = 600,
        /// Time between the polite and the forced end of a run's processes, ms.
        #[schemars(range(max = 600_000))]
        grace_ms: u64 = 5000,
        /// Runs at work at once; others wait.
        #[schemars(range(min = 1, max = 1024))]
        max_concurrent: usize = 4,
        /// Leaves out the bootstrap files.
        skip_bootstrap: Option<bool>,
        /// Most characters of bootstrap files.
        #[schemars(range(min = 1))]
        bootstrap_max_chars: u64 = 20_000,
        /// Time zone of the user, as in the IANA list.
        user_timezone: Option<String>,
        /// How times are written.
        #[schemars(extend("x-acts" = false))]
        time_format: Option<TimeFormat>,
        /// Time zone of message envelopes: `utc`, `local`, `user` or a name of the IANA list.
        #[schemars(extend("x-acts" = false))]
        envelope_timezone: Option<String>,
        /// Timestamps in message envelopes.
        #[schemars(extend("x-acts" = false))]
        envelope_timestamp: Option<Switch>,
        /// Elapsed times in message envelopes.
        #[schemars(extend("x-acts" = false))]
        envelope_elapsed: Option<Switch>,
        /// Largest context window that is used, tokens; a model with a smaller one has its own.
        #[schemars(range(min = 1))]
        context_tokens: Option<u64>,
        /// External agent programs by name.
        #[schemars(extend("x-acts" = false))]
        cli_backends: Option<Open>,
        /// Search in memory files.
        #[schemars(extend("x-acts" = false))]
        memory_search: Option<Open>,
        /// How much a model thinks.
        thinking_default: Option<Thinking>,
        /// How much of the tools' work is shown.
        verbose_default: Option<Verbose>,
        /// Whether elevated commands run.
        #[schemars(extend("x-acts" = false))]
        elevated_default: Option<Elevated>,
        /// Sends answers block by block.
        #[schemars(extend("x-acts" = false))]
        block_streaming_default: Option<Switch>,
        /// When a block is sent.
        #[schemars(extend("x-acts" = false))]
        block_streaming_break: Option<BlockBreak>,
        /// Size of blocks.
        #[schemars(extend("x-acts" = false))]
        block_streaming_chunk: Option<Open>,
        /// Joining of blocks.
        #[schemars(extend("x-acts" = false))]
        block_streaming_coalesce: Option<Open>,
        /// Pauses between blocks.
        #[schemars(extend("x-acts" = false))]
        human_delay: Option<HumanDelay>,
        /// Largest attached medium, MiB.
        #[schemars(range(min = 0))]
        #[schemars(extend("x-acts" = false))]
        media_max_mb: Option<f64>,
        /// Time between typing signs, seconds.
        #[schemars(extend("x-acts" = false))]
        typing_interval_seconds: Option<u64>,
        /// When a typing sign is shown.
        #[schemars(extend("x-acts" = false))]
        typing_mode: Option<TypingMode>,
        /// Agents started by agents.
        subagents: Option<Subagents>,
        /// Which old results of tools are left out of what a model is sent. Transcripts keep them.
        context_pruning: Option<ContextPruning>,
        /// How a long context is summarised.
        compaction: Option<Compaction>,
        /// Regular wake-ups.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        heartbeat: Option<Heartbeat>,
        /// Isolation of processes.
        sandbox: Option<Sandbox>,
        /// What a run may use.
        limits: Option<Limits>,
        /// What one turn of the built-in agent may use.
        budget: Option<Budget>,
    }
}

section! {
    /// Settings of one model.
    struct ModelSettings {
        /// A short name for it.
        alias: Option<String>,
        /// Fields of the requests to it: `temperature` (0 to 2), `topP` (0 to 1), `maxTokens` (longest answer) and `cacheRetention` (`none`, `short`, `long`) in every provider's spelling; any others go to the provider as they are, at Bedrock as `additionalModelRequestFields`. While a Claude thinks, it takes no `temperature`, `topP` and `top_k`, and gets none.
        params: Option<Open>,
        /// Streams answers.
        #[schemars(extend("x-acts" = false))]
        streaming: Option<bool>,
    }
}

section! {
    /// The environment of processes.
    struct EnvFence {
        /// Names of variables that are passed on besides the fixed list. The gateway's own secrets never are.
        passthrough: Vec<String>,
    }
}

section! {
    /// Bounds of what a run prints.
    struct Output {
        /// Complete output is kept up to this size, bytes; beyond it head and tail stay and the middle is counted.
        #[schemars(range(min = 65_536, max = 17_179_869_184_u64))]
        journal_cap_bytes: u64 = 67_108_864,
        /// How much of the end is kept beyond the cap, bytes.
        #[schemars(range(min = 0, max = 67_108_864))]
        tail_bytes: u64 = 1_048_576,
        /// Slows a run that prints faster than this, bytes per second; no limit when absent.
        #[schemars(range(min = 1024))]
        max_bytes_per_second: Option<u64>,
    }
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agent {
    /// Its id: a letter or digit, then up to 63 letters, digits, `-` or `_`. Compared without regard to case.
    pub id: String,
    /// Makes it the default agent; else the first of the list is.
    pub default: Option<bool>,
    /// What people call it.
    pub name: Option<String>,
    /// Its directory; default `<state>/workspace-<id>`, for the default agent that of `agents.defaults`.
    pub workspace: Option<String>,
    /// Directory for its own state; default `<state>/agents/<id>/agent`. No two agents may share one.
    pub agent_dir: Option<String>,
    /// What turns a message into its work.
    pub runner: Option<Runner>,
    /// Its model.
    pub model: Option<ModelRef>,
    /// Names of its skills; all when absent.
    #[schemars(extend("x-acts" = false))]
    pub skills: Option<Vec<String>>,
    /// Search in memory files.
    #[schemars(extend("x-acts" = false))]
    pub memory_search: Option<Open>,
    /// Pauses between blocks.
    #[schemars(extend("x-acts" = false))]
    pub human_delay: Option<HumanDelay>,
    /// Regular wake-ups.
    #[schemars(extend("x-reload" = "none", "x-acts" = false))]
    pub heartbeat: Option<Heartbeat>,
    /// How it presents itself.
    pub identity: Option<Identity>,
    /// How it behaves in groups.
    #[schemars(extend("x-acts" = false))]
    pub group_chat: Option<GroupChat>,
    /// Agents started by it.
    pub subagents: Option<Subagents>,
    /// Isolation of its processes; keys that are absent are those of the defaults.
    pub sandbox: Option<Sandbox>,
    /// What its runs may use; keys that are absent are those of the defaults.
    pub limits: Option<Limits>,
    /// What one turn of it may use; keys that are absent are those of the defaults.
    pub budget: Option<Budget>,
    /// What its model may use.
    pub tools: Option<AgentTools>,
}

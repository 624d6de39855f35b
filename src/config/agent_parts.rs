//! Parts of an agent's settings that stand both in the defaults and in the list.

use super::model_ref::ModelRef;
use super::open::Open;
use super::section::{section, words};

words! {
    /// A switch written as a word.
    enum Switch {
        /// No.
        Off,
        /// Yes.
        On,
    }
}

words! {
    /// How much a model thinks.
    enum Thinking {
        /// Not at all.
        Off,
        /// As little as it can.
        Minimal,
        /// Little.
        Low,
        /// Some.
        Medium,
        /// Much.
        High,
        /// As much as it can.
        Xhigh,
    }
}

words! {
    /// How much of the tools' work is shown.
    enum Verbose {
        /// Nothing.
        Off,
        /// That a tool ran.
        On,
        /// Its output too.
        Full,
    }
}

words! {
    /// Pauses between blocks.
    enum DelayMode {
        /// None.
        Off,
        /// Like a person.
        Natural,
        /// Between `minMs` and `maxMs`.
        Custom,
    }
}

words! {
    /// What is cut from a long context.
    enum PruningMode {
        /// Nothing.
        Off,
        /// Old tool results, once the provider's cache has expired.
        CacheTtl,
    }
}

words! {
    /// How a long context is summarised.
    enum CompactionMode {
        /// At the end of the window.
        Default,
        /// Earlier, in parts.
        Safeguard,
    }
}

section! {
    /// Pauses between blocks of an answer.
    struct HumanDelay {
        /// Which pauses.
        mode: Option<DelayMode>,
        /// Shortest pause, ms.
        min_ms: Option<u64>,
        /// Longest pause, ms.
        max_ms: Option<u64>,
    }
}

section! {
    /// Regular wake-ups of an agent.
    struct Heartbeat {
        /// Time between them: a number and `ms`, `s`, `m` or `h`; `0m` is off.
        every: Option<String>,
        /// The hours in which they happen.
        active_hours: Option<ActiveHours>,
        /// The model that is asked.
        model: Option<String>,
        /// The session in which they happen.
        session: Option<String>,
        /// Sends the model's reasoning too.
        include_reasoning: Option<bool>,
        /// Where an answer goes: `last`, `none` or a channel.
        target: Option<String>,
        /// The receiver.
        to: Option<String>,
        /// The channel's account.
        account_id: Option<String>,
        /// What the agent is told.
        prompt: Option<String>,
        /// Answers up to this many characters that only acknowledge are dropped.
        ack_max_chars: Option<u64>,
    }
}

section! {
    /// Hours of a day.
    struct ActiveHours {
        /// `HH:MM`.
        start: Option<String>,
        /// `HH:MM`, up to `24:00`.
        end: Option<String>,
        /// Their time zone.
        timezone: Option<String>,
    }
}

section! {
    /// How an agent presents itself.
    struct Identity {
        /// Its name.
        name: Option<String>,
        /// Its theme.
        theme: Option<String>,
        /// Its sign.
        emoji: Option<String>,
        /// Its picture: a URL, a data URL, or a path inside its workspace.
        avatar: Option<String>,
    }
}

section! {
    /// How an agent behaves in groups.
    struct GroupChat {
        /// Patterns that count as a mention.
        mention_patterns: Option<Vec<String>>,
        /// Messages of a group that are shown to the model.
        history_limit: Option<u64>,
    }
}

section! {
    /// Agents started by agents.
    struct Subagents {
        /// At work at once, those too that other agents wait for; default 8. Counts for all agents, in the defaults only.
        #[schemars(range(min = 1))]
        max_concurrent: Option<u32>,
        /// Archived after this many minutes.
        #[schemars(range(min = 1), extend("x-acts" = false))]
        archive_after_minutes: Option<u32>,
        /// Agents that may be started besides the own one; `*` is any.
        allow_agents: Option<Vec<String>>,
        /// Their model.
        model: Option<ModelRef>,
        /// How much it thinks.
        thinking: Option<String>,
    }
}

section! {
    /// What is cut from a long context.
    struct ContextPruning {
        /// When.
        mode: Option<PruningMode>,
        /// Age of what may be cut: a number and `ms`, `s`, `m` or `h`.
        ttl: Option<String>,
        /// Newest answers that are never cut.
        keep_last_assistants: Option<u32>,
        /// Share of the window at which results are shortened.
        #[schemars(range(min = 0, max = 1))]
        soft_trim_ratio: Option<f64>,
        /// Share of the window at which results are removed.
        #[schemars(range(min = 0, max = 1))]
        hard_clear_ratio: Option<f64>,
        /// Results below this size are left alone.
        min_prunable_tool_chars: Option<u64>,
        /// Tools whose results may or may not be cut.
        tools: Option<Open>,
        /// How results are shortened.
        soft_trim: Option<Open>,
        /// How results are removed.
        hard_clear: Option<Open>,
    }
}

section! {
    /// How a long context is summarised.
    struct Compaction {
        /// When.
        #[schemars(extend("x-acts" = false))]
        mode: Option<CompactionMode>,
        /// Tokens kept free.
        reserve_tokens_floor: Option<u64>,
        /// Share of the window that history may take.
        #[schemars(range(min = 0.1, max = 0.9))]
        max_history_share: Option<f64>,
        /// Writing memory files before the summary.
        memory_flush: Option<MemoryFlush>,
    }
}

section! {
    /// Writing memory files before a summary.
    struct MemoryFlush {
        /// Does it.
        enabled: Option<bool>,
        /// Tokens before the end of the window at which it happens.
        #[schemars(extend("x-acts" = false))]
        soft_threshold_tokens: Option<u64>,
        /// What the agent is told.
        prompt: Option<String>,
        /// Added to the system prompt.
        system_prompt: Option<String>,
    }
}

section! {
    /// What one turn of the built-in agent may use. A turn that has used it up ends after its last tool and says so.
    struct Budget {
        /// Requests to the model; default 200.
        #[schemars(range(min = 1))]
        turns: Option<u32>,
        /// Tokens, those of every request added up.
        #[schemars(range(min = 1))]
        tokens: Option<u64>,
        /// What the tokens cost, dollars. Means something only for models whose `cost` is configured.
        #[schemars(range(min = 0.0))]
        cost_usd: Option<f64>,
        /// Time after which the model is not asked again; the run's own time limit ends also what it does at that moment.
        #[schemars(range(min = 1))]
        seconds: Option<u64>,
    }
}

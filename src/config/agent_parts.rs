//! Parts of an agent's settings that stand both in the defaults and in the list.

use super::model_ref::ModelRef;
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
        /// At once, in one request; what is too long for that is cut. Without a summary the conversation stays as it is.
        Default,
        /// In parts, with the changed files and the failed calls beside it. What the model does not summarise, because it refuses or says that it is too long, is left out and a note says so.
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
        /// Minutes after its last use at which the session of one is forgotten and its transcript put away; default 60.
        #[schemars(range(min = 1))]
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
    /// Which old results of tools are left out of what a model is sent.
    struct ContextPruning {
        /// When; default `off`.
        mode: Option<PruningMode>,
        /// How long the provider keeps a conversation after each request; results are cut only when that has passed: a number and `ms`, `s`, `m` or `h`, default `5m`.
        ttl: Option<String>,
        /// Results behind the newest so many answers are never cut; default 3.
        keep_last_assistants: Option<u32>,
        /// Share of the window at which results are shortened; default 0.3.
        #[schemars(range(min = 0, max = 1))]
        soft_trim_ratio: Option<f64>,
        /// Share of the window at which results are removed, the oldest first; default 0.5.
        #[schemars(range(min = 0, max = 1))]
        hard_clear_ratio: Option<f64>,
        /// Results are removed only if there are so many characters of them; default 50000.
        min_prunable_tool_chars: Option<u64>,
        /// Tools whose results may or may not be cut.
        tools: Option<PrunedTools>,
        /// How results are shortened.
        soft_trim: Option<SoftTrim>,
        /// How results are removed.
        hard_clear: Option<HardClear>,
    }
}

section! {
    /// Tools whose results may or may not be cut, by names in which `*` stands for any text.
    struct PrunedTools {
        /// Only these; all if absent or empty.
        allow: Option<Vec<String>>,
        /// Never these.
        deny: Option<Vec<String>>,
    }
}

section! {
    /// How results are shortened.
    struct SoftTrim {
        /// Longer ones are, characters; default 4000.
        max_chars: Option<u64>,
        /// How much of the beginning stays; default 1500.
        head_chars: Option<u64>,
        /// How much of the end stays; default 1500.
        tail_chars: Option<u64>,
    }
}

section! {
    /// How results are removed.
    struct HardClear {
        /// Does it; default true.
        enabled: Option<bool>,
        /// What stands in their place.
        placeholder: Option<String>,
    }
}

section! {
    /// How a long context is summarised.
    struct Compaction {
        /// How the summary is made; default `safeguard`.
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

//! Sections `tools` and `exec`: what agents may use, and how commands run. `exec.*` and `tools.exec.*` are the same keys.

use std::collections::BTreeMap;

use super::open::Open;
use super::secret::Secret;
use super::section::{section, words};

words! {
    /// A ready-made set of tools.
    enum Profile {
        /// The fewest.
        Minimal,
        /// For work on files.
        Coding,
        /// For talk.
        Messaging,
        /// All.
        Full,
    }
}

words! {
    /// Where commands run.
    enum ExecHost {
        /// In a sandbox; refused at start.
        Sandbox,
        /// On this machine.
        Gateway,
        /// On an attached node; refused at start.
        Node,
    }
}

words! {
    /// Which commands run.
    enum ExecSecurity {
        /// None.
        Deny,
        /// Those that exec-approvals.json lists, and `safeBins`: single programs and pipelines of them, started without a shell.
        Allowlist,
        /// All.
        Full,
    }
}

words! {
    /// When a person is asked.
    enum ExecAsk {
        /// Never.
        Off,
        /// When the command is not listed, in mode `allowlist`.
        OnMiss,
        /// Always, also before what is listed and in mode `full`.
        Always,
    }
}

impl ExecSecurity {
    /// The one of the two that lets fewer commands run.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let rank = |security| match security {
            Self::Deny => 0,
            Self::Allowlist => 1,
            Self::Full => 2,
        };
        if rank(self) <= rank(other) { self } else { other }
    }
}

impl ExecAsk {
    /// The one of the two with which a person is asked more often.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let rank = |ask| match ask {
            Self::Always => 0,
            Self::OnMiss => 1,
            Self::Off => 2,
        };
        if rank(self) <= rank(other) { self } else { other }
    }
}

section! {
    /// How commands run. Keys of `exec` and `tools.exec` are the same; given in both places they must be equal.
    struct Exec {
        /// Where commands run; default `gateway`.
        host: Option<ExecHost>,
        /// Which commands run; default `deny`.
        security: Option<ExecSecurity>,
        /// When a person is asked; default `on-miss`. A command that nobody can be asked about does not run.
        ask: Option<ExecAsk>,
        /// The node for host `node`.
        #[schemars(extend("x-acts" = false))]
        node: Option<String>,
        /// Directories put before `PATH`; mode `allowlist` has a `PATH` of its own.
        path_prepend: Option<Vec<String>>,
        /// Programs that mode `allowlist` lets read their input and print, by name; default jq, grep, cut, sort, uniq, head, tail, tr and wc. An agent's own list can only shorten it.
        safe_bins: Option<Vec<String>>,
        /// After this time a model's command goes on in the background, ms; default 10000.
        #[schemars(range(min = 1))]
        background_ms: Option<u64>,
        /// Time limit of one command of a model, seconds; default 1800.
        #[schemars(range(min = 1))]
        timeout_sec: Option<u64>,
        /// How long ended commands are remembered, ms; default 1800000.
        #[schemars(range(min = 1))]
        cleanup_ms: Option<u64>,
        /// Tells the model with the next result of a tool when a command in the background has ended; default true.
        notify_on_exit: Option<bool>,
        /// The tool that applies patches.
        apply_patch: Option<ApplyPatch>,
        /// Time after which a person is told that an approved command still runs, ms.
        #[schemars(extend("x-acts" = false))]
        approval_running_notice_ms: Option<u64>,
    }
}

section! {
    /// The tool that applies patches.
    struct ApplyPatch {
        /// Offers it; default false.
        enabled: Option<bool>,
        /// Models it is offered to.
        allow_models: Option<Vec<String>>,
    }
}

section! {
    /// What agents may use. Names without regard to case; `*` matches any; `group:fs` and others name groups; deny wins.
    struct Tools {
        /// The set to start from.
        profile: Option<Profile>,
        /// Only these.
        allow: Option<Vec<String>>,
        /// These besides the profile; not together with `allow`.
        also_allow: Option<Vec<String>>,
        /// Never these.
        deny: Option<Vec<String>>,
        /// Rules per provider or `provider/model`.
        by_provider: BTreeMap<String, ToolPolicy>,
        /// How commands run.
        exec: Option<Exec>,
        /// Search and fetch.
        web: Option<Web>,
        /// Understanding of media.
        #[schemars(extend("x-acts" = false))]
        media: Option<Open>,
        /// Understanding of links.
        #[schemars(extend("x-acts" = false))]
        links: Option<Open>,
        /// Sending of messages.
        #[schemars(extend("x-acts" = false))]
        message: Option<Open>,
        /// Lets agents see sessions of other agents and talk in them; without it each knows its own only.
        agent_to_agent: Option<AgentToAgent>,
        /// Commands outside the sandbox.
        #[schemars(extend("x-acts" = false))]
        elevated: Option<ElevatedTools>,
        /// Tools of agents started by agents: a further layer of rules for them.
        subagents: Option<ToolRules>,
        /// Tools inside the sandbox.
        #[schemars(extend("x-acts" = false))]
        sandbox: Option<ToolRules>,
    }
}

section! {
    /// What one agent may use.
    struct AgentTools {
        /// The set to start from.
        profile: Option<Profile>,
        /// Only these.
        allow: Option<Vec<String>>,
        /// These besides the profile; not together with `allow`.
        also_allow: Option<Vec<String>>,
        /// Never these.
        deny: Option<Vec<String>>,
        /// Rules per provider or `provider/model`.
        by_provider: BTreeMap<String, ToolPolicy>,
        /// How its commands run. It can narrow the common rule, never widen it.
        exec: Option<Exec>,
        /// Commands outside the sandbox.
        #[schemars(extend("x-acts" = false))]
        elevated: Option<ElevatedTools>,
        /// Tools inside the sandbox.
        #[schemars(extend("x-acts" = false))]
        sandbox: Option<ToolRules>,
    }
}

section! {
    /// A rule for tools.
    struct ToolPolicy {
        /// The set to start from.
        profile: Option<Profile>,
        /// Only these.
        allow: Option<Vec<String>>,
        /// These besides the profile; not together with `allow`.
        also_allow: Option<Vec<String>>,
        /// Never these.
        deny: Option<Vec<String>>,
    }
}

section! {
    /// A rule for tools, one level down.
    struct ToolRules {
        /// The rule.
        tools: Option<ToolPolicy>,
    }
}

section! {
    /// Talk between agents.
    struct AgentToAgent {
        /// Permits it; default false.
        enabled: Option<bool>,
        /// Agents that may, and whose sessions may be seen; `*` is any, and so is an absent list.
        allow: Option<Vec<String>>,
    }
}

section! {
    /// Commands outside the sandbox.
    struct ElevatedTools {
        /// Permits them.
        enabled: Option<bool>,
        /// Senders that may, per provider.
        allow_from: Option<Open>,
    }
}

section! {
    /// Search and fetch.
    struct Web {
        /// Web search.
        #[schemars(extend("x-acts" = false))]
        search: Option<WebSearch>,
        /// Reading of pages.
        fetch: Option<WebFetch>,
    }
}

words! {
    /// Who searches.
    enum SearchProvider {
        /// Brave.
        Brave,
        /// Perplexity.
        Perplexity,
    }
}

section! {
    /// Web search.
    struct WebSearch {
        /// Offers it.
        enabled: Option<bool>,
        /// Who searches.
        provider: Option<SearchProvider>,
        /// The provider's key.
        api_key: Option<Secret<String>>,
        /// Most results.
        #[schemars(range(min = 1))]
        max_results: Option<u32>,
        /// Time limit, seconds.
        #[schemars(range(min = 1))]
        timeout_seconds: Option<u32>,
        /// How long results are kept, minutes.
        cache_ttl_minutes: Option<u32>,
        /// Settings of that provider.
        perplexity: Option<Perplexity>,
    }
}

section! {
    /// Settings of the provider Perplexity.
    struct Perplexity {
        /// Its key.
        api_key: Option<Secret<String>>,
        /// Its address.
        base_url: Option<String>,
        /// Its model.
        model: Option<String>,
    }
}

section! {
    /// Reading of pages.
    struct WebFetch {
        /// Offers it.
        enabled: Option<bool>,
        /// Most characters.
        #[schemars(range(min = 1))]
        max_chars: Option<u64>,
        /// What a call may ask for at most.
        #[schemars(range(min = 1))]
        max_chars_cap: Option<u64>,
        /// Time limit, seconds.
        #[schemars(range(min = 1))]
        timeout_seconds: Option<u32>,
        /// How long pages are kept, minutes.
        #[schemars(extend("x-acts" = false))]
        cache_ttl_minutes: Option<u32>,
        /// Most redirects followed.
        max_redirects: Option<u32>,
        /// Sent as `User-Agent`.
        user_agent: Option<String>,
    }
}

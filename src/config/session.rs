//! Section `session`: which messages share a session, and when a session starts afresh.

use std::collections::BTreeMap;

use super::agents::TypingMode;
use super::section::{section, words};

words! {
    /// What a session belongs to.
    enum SessionScope {
        /// One per sender.
        PerSender,
        /// One for all.
        Global,
    }
}

words! {
    /// Which session a direct message goes to.
    enum DmScope {
        /// The agent's main session.
        Main,
        /// One per sender.
        PerPeer,
        /// One per channel and sender.
        PerChannelPeer,
        /// One per account, channel and sender.
        PerAccountChannelPeer,
    }
}

words! {
    /// When a session starts afresh.
    enum ResetMode {
        /// Once a day, at `atHour`.
        Daily,
        /// After `idleMinutes` without a message.
        Idle,
    }
}

words! {
    /// Whether messages are sent.
    enum SendAction {
        /// Yes.
        Allow,
        /// No.
        Deny,
    }
}

words! {
    /// Kinds of chats.
    enum ChatType {
        /// Two people.
        Direct,
        /// A group.
        Group,
        /// A channel.
        Channel,
    }
}

section! {
    /// Sessions.
    struct Session {
        /// What a session belongs to.
        scope: SessionScope = SessionScope::PerSender,
        /// Which session a direct message goes to.
        dm_scope: DmScope = DmScope::Main,
        /// Ids that are the same person, by name.
        identity_links: BTreeMap<String, Vec<String>>,
        /// Messages that start a session afresh.
        #[schemars(extend("x-acts" = false))]
        reset_triggers: Vec<String> = vec!["/new".to_owned(), "/reset".to_owned()],
        /// Old spelling of an idle reset, minutes; used when `reset` is absent.
        #[schemars(range(min = 1))]
        idle_minutes: Option<u32>,
        /// When a session starts afresh.
        reset: Option<Reset>,
        /// The same per kind of chat.
        reset_by_type: Option<ResetByType>,
        /// The same per channel.
        reset_by_channel: BTreeMap<String, Reset>,
        /// Where sessions are kept; read and ignored, the state directory decides.
        #[schemars(extend("x-acts" = false))]
        store: Option<String>,
        /// Time between typing signs, seconds.
        #[schemars(extend("x-acts" = false))]
        typing_interval_seconds: Option<u64>,
        /// When a typing sign is shown.
        #[schemars(extend("x-acts" = false))]
        typing_mode: Option<TypingMode>,
        /// Read and ignored: the main session is always `main`.
        #[schemars(extend("x-acts" = false))]
        main_key: Option<String>,
        /// Which sessions may send.
        send_policy: Option<SendPolicy>,
        /// Talk between agents.
        #[schemars(extend("x-acts" = false))]
        agent_to_agent: Option<PingPong>,
    }
}

section! {
    /// When a session starts afresh.
    struct Reset {
        /// The rule; default `daily`.
        mode: Option<ResetMode>,
        /// Hour of the day, local time; default 4.
        #[schemars(range(min = 0, max = 23))]
        at_hour: Option<u8>,
        /// Minutes without a message; default 60 in mode `idle`. Beside `daily`, whichever comes first.
        #[schemars(range(min = 1))]
        idle_minutes: Option<u32>,
    }
}

section! {
    /// When a session starts afresh, per kind of chat.
    struct ResetByType {
        /// Direct messages.
        dm: Option<Reset>,
        /// Groups.
        group: Option<Reset>,
        /// Threads.
        thread: Option<Reset>,
    }
}

section! {
    /// Which sessions may send: the first deny wins, then the first allow, then the default.
    struct SendPolicy {
        /// When no rule matches.
        default: Option<SendAction>,
        /// The rules.
        rules: Vec<SendRule>,
    }
}

section! {
    /// One rule.
    struct SendRule {
        /// What it says.
        action: Option<SendAction>,
        /// Whom it is about.
        #[serde(rename = "match")]
        matches: SendMatch,
    }
}

section! {
    /// Whom a rule is about; all keys given must match.
    struct SendMatch {
        /// The channel.
        channel: Option<String>,
        /// The kind of chat.
        chat_type: Option<ChatType>,
        /// The beginning of the session key.
        key_prefix: Option<String>,
    }
}

section! {
    /// Talk between agents.
    struct PingPong {
        /// Most answers to and fro.
        #[schemars(range(min = 0, max = 5))]
        max_ping_pong_turns: Option<u8>,
    }
}

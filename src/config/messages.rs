//! Sections `messages` and `commands`: how messages are queued and answered, and which slash commands work.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent_parts::GroupChat;
use super::open::Open;
use super::section::{section, words};

words! {
    /// What happens to a message while a run is at work.
    enum QueueMode {
        /// It is told to the run at work.
        Steer,
        /// It waits and gets an answer of its own.
        Followup,
        /// It waits, and waiting ones are answered together.
        Collect,
        /// As `steer`, and it waits besides.
        SteerBacklog,
        /// As `steer-backlog`.
        #[serde(rename = "steer+backlog")]
        SteerPlusBacklog,
        /// As `steer`.
        Queue,
        /// The run at work is aborted.
        Interrupt,
    }
}

words! {
    /// What goes when too many wait.
    enum QueueDrop {
        /// The oldest.
        Old,
        /// The newest.
        New,
        /// The oldest, leaving a summary.
        Summarize,
    }
}

words! {
    /// Which messages get a reaction.
    enum AckScope {
        /// Those in a group that name the agent.
        GroupMentions,
        /// Those in a group.
        GroupAll,
        /// Direct ones.
        Direct,
        /// All.
        All,
    }
}

section! {
    /// How messages are queued and answered.
    struct Messages {
        /// Put before messages.
        #[schemars(extend("x-acts" = false))]
        message_prefix: Option<String>,
        /// Put before answers.
        #[schemars(extend("x-acts" = false))]
        response_prefix: Option<String>,
        /// Behaviour in groups.
        #[schemars(extend("x-acts" = false))]
        group_chat: Option<GroupChat>,
        /// What happens to messages while a run is at work.
        queue: Option<Queue>,
        /// Joining of messages that come close together.
        #[schemars(extend("x-acts" = false))]
        inbound: Option<Inbound>,
        /// The reaction to a message.
        #[schemars(extend("x-acts" = false))]
        ack_reaction: Option<String>,
        /// Which messages get it.
        #[schemars(extend("x-acts" = false))]
        ack_reaction_scope: Option<AckScope>,
        /// Takes it away after the answer.
        #[schemars(extend("x-acts" = false))]
        remove_ack_after_reply: Option<bool>,
        /// Speech.
        #[schemars(extend("x-acts" = false))]
        tts: Option<Open>,
    }
}

section! {
    /// What happens to messages while a run is at work.
    struct Queue {
        /// The rule; default `collect`.
        mode: Option<QueueMode>,
        /// The rule per channel; chats of this gateway are the channel `webchat`.
        by_channel: BTreeMap<String, QueueMode>,
        /// Quiet time before waiting messages are taken, ms; default 1000.
        debounce_ms: Option<u64>,
        /// The same per channel.
        debounce_ms_by_channel: BTreeMap<String, u64>,
        /// Most waiting; default 20.
        #[schemars(range(min = 1))]
        cap: Option<u32>,
        /// What goes when more come; default `summarize`.
        drop: Option<QueueDrop>,
    }
}

section! {
    /// Joining of messages that come close together.
    struct Inbound {
        /// Quiet time, ms.
        debounce_ms: Option<u64>,
        /// The same per channel.
        by_channel: BTreeMap<String, u64>,
    }
}

/// `true`, `false` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum AutoSwitch {
    /// As the channel can.
    #[serde(rename = "auto")]
    Auto,
    /// Yes or no.
    #[serde(untagged)]
    Fixed(bool),
}

impl TryFrom<serde_json::Value> for AutoSwitch {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        match value {
            serde_json::Value::Bool(fixed) => Ok(Self::Fixed(fixed)),
            serde_json::Value::String(word) if word == "auto" => Ok(Self::Auto),
            _ => Err("must be true, false or \"auto\""),
        }
    }
}

impl JsonSchema for AutoSwitch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AutoSwitch".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [true, false, "auto"] })
    }
}

section! {
    /// Which slash commands work.
    struct Commands {
        /// Registers commands with channels that can.
        #[schemars(extend("x-acts" = false))]
        native: Option<AutoSwitch>,
        /// Registers skills with channels that can.
        #[schemars(extend("x-acts" = false))]
        native_skills: Option<AutoSwitch>,
        /// Reads commands in texts.
        text: bool = true,
        /// `/bash`.
        #[schemars(extend("x-acts" = false))]
        bash: bool = false,
        /// Time after which `/bash` goes on in the background, ms.
        #[schemars(range(min = 0, max = 30_000))]
        #[schemars(extend("x-acts" = false))]
        bash_foreground_ms: Option<u64>,
        /// `/config`.
        #[schemars(extend("x-acts" = false))]
        config: bool = false,
        /// `/debug`.
        #[schemars(extend("x-acts" = false))]
        debug: bool = false,
        /// `/restart`.
        #[schemars(extend("x-acts" = false))]
        restart: bool = false,
        /// Asks groups of permitted senders.
        #[schemars(extend("x-acts" = false))]
        use_access_groups: bool = true,
        /// Senders that count as the owner.
        #[schemars(extend("x-acts" = false))]
        owner_allow_from: Option<Vec<serde_json::Value>>,
    }
}

//! Events: what the server sends unasked. One payload per file, one line per event in [`EVENTS`].

pub mod agent;
pub mod approval;
pub mod chat;
pub mod config;
pub mod device;
pub mod health;
pub mod presence;
pub mod session_message;
pub mod sessions_changed;
pub mod shutdown;
pub mod tick;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::connect::Challenge;
use super::scope::Scope;

/// How an event reaches a connection that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Only the newest value matters; older ones are skipped.
    State,
    /// Every item matters; each reader has a cursor and reads at its own pace.
    Log,
    /// A fact that must arrive; who cannot take it is disconnected.
    Signal,
}

impl Class {
    /// The word for it in the schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Log => "log",
            Self::Signal => "signal",
        }
    }
}

/// One event of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct EventEntry {
    /// Name on the wire.
    pub name: &'static str,
    /// Scope a connection needs to get it; none = every connection.
    pub scope: Option<Scope>,
    /// How it is delivered.
    pub class: Class,
    /// Schema of the payload.
    pub payload: fn(&mut SchemaGenerator) -> Schema,
    /// What it says, one sentence.
    pub summary: &'static str,
}

/// Schema of a payload. Empty in a release build, which has no use for it and would carry the derivation of every type.
fn subschema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    if cfg!(debug_assertions) { generator.subschema_for::<T>() } else { Schema::default() }
}

/// Every event, in the order shown to clients.
pub static EVENTS: &[EventEntry] = &[
    EventEntry {
        name: "connect.challenge",
        scope: None,
        class: Class::Signal,
        payload: subschema::<Challenge>,
        summary: "First frame on every connection; carries the nonce that a device signs.",
    },
    EventEntry {
        name: "agent",
        scope: Some(Scope::Read),
        class: Class::Log,
        payload: subschema::<agent::AgentEvent>,
        summary: "One event of a run, exactly as it stands in the run's journal.",
    },
    EventEntry {
        name: "chat",
        scope: Some(Scope::Read),
        class: Class::Log,
        payload: subschema::<chat::ChatEvent>,
        summary: "What a run says as a chat shows it: the text so far, at most once in 150 ms, then exactly one last event behind the run's last `agent` event. Who lags gets the newest text only.",
    },
    EventEntry {
        name: "session.message",
        scope: Some(Scope::Read),
        class: Class::Log,
        payload: subschema::<session_message::SessionMessage>,
        summary: "A message was added to the conversation of a session to which the connection listens. Who lags behind 256 of them sees a jump in `seq` and asks for the history.",
    },
    EventEntry {
        name: "presence",
        scope: Some(Scope::Read),
        class: Class::State,
        payload: subschema::<presence::PresenceEvent>,
        summary: "Who is connected; sent after connects and disconnects, at most four times a second.",
    },
    EventEntry {
        name: "sessions.changed",
        scope: Some(Scope::Read),
        class: Class::State,
        payload: subschema::<sessions_changed::SessionsChanged>,
        summary: "Something happened to a session; only after `sessions.subscribe`. Several changes of one session may come as one.",
    },
    EventEntry {
        name: "tick",
        scope: None,
        class: Class::State,
        payload: subschema::<tick::Tick>,
        summary: "Sign of life every `policy.tickIntervalMs`.",
    },
    EventEntry {
        name: "health",
        scope: Some(Scope::Read),
        class: Class::State,
        payload: subschema::<health::HealthSummary>,
        summary: "The gateway's health, on its timer and when it changes.",
    },
    EventEntry {
        name: "config.changed",
        scope: Some(Scope::Read),
        class: Class::Signal,
        payload: subschema::<config::ConfigChanged>,
        summary: "The configuration file has changed: what was taken, what waits for a restart, or what is wrong with it.",
    },
    EventEntry {
        name: "exec.approval.requested",
        scope: Some(Scope::Approvals),
        class: Class::Signal,
        payload: subschema::<approval::ApprovalRequested>,
        summary: "Somebody must decide about a command. It is durable before anybody is told, and `exec.approval.list` has it for those who come later.",
    },
    EventEntry {
        name: "exec.approval.resolved",
        scope: Some(Scope::Approvals),
        class: Class::Signal,
        payload: subschema::<approval::ApprovalResolved>,
        summary: "An approval was decided; the decision is durable.",
    },
    EventEntry {
        name: "exec.approval.expired",
        scope: Some(Scope::Approvals),
        class: Class::Signal,
        payload: subschema::<approval::ApprovalExpired>,
        summary: "An approval waits no more: nobody decided in time, or what asked for it is gone.",
    },
    EventEntry {
        name: "device.pair.requested",
        scope: Some(Scope::Pairing),
        class: Class::Signal,
        payload: subschema::<device::PairRequestRow>,
        summary: "A device asks to be paired. One that asks again within the time of its request causes no other event.",
    },
    EventEntry {
        name: "device.pair.resolved",
        scope: Some(Scope::Pairing),
        class: Class::Signal,
        payload: subschema::<device::DevicePairResolved>,
        summary: "A device was approved or rejected, or its request has expired.",
    },
    EventEntry {
        name: "shutdown",
        scope: None,
        class: Class::Signal,
        payload: subschema::<shutdown::Shutdown>,
        summary: "The daemon is about to stop; connections close with 1012 after it.",
    },
];

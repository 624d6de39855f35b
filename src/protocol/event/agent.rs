//! `agent`: one event of a run. A line of the run's journal is exactly this payload.
//!
//! `seq` counts from 1 without holes; the last line of a run is the only `lifecycle` line whose phase is `end` or `error`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::run::Outcome;
use crate::protocol::usage::TokenUsage;

/// The call of a run whose message itself is the command; calls of models have ids of the model's choice.
pub const MESSAGE_CALL: &str = "exec-1";

/// Payload of the `agent` event. The keys are written in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentEvent {
    /// The run.
    pub run_id: RunId,
    /// 1, 2, 3 … within the run.
    pub seq: u64,
    /// What kind of event `data` is.
    pub stream: Stream,
    /// When it happened, ms since the epoch.
    pub ts: u64,
    /// The run's session, canonical.
    pub session_key: SessionKey,
    /// `streaming` on events that carry `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Streaming>,
    /// A piece of output; it stands nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Depends on `stream`: [`Lifecycle`], [`Tool`], [`ExecOutput`], [`AssistantText`], [`ThinkingText`], [`Whole`] or [`Compacted`].
    #[schemars(with = "EventData")]
    pub data: Value,
}

/// What `data` may be, by `stream`.
//
// Only for the schema: the events themselves keep it as a value, because few readers look into it.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum EventData {
    /// Of a `lifecycle` event.
    Lifecycle(Box<Lifecycle>),
    /// Of a `tool` event.
    Tool(Tool),
    /// Of an `exec` event.
    Exec(ExecOutput),
    /// Of an `assistant` event.
    Assistant(AssistantText),
    /// Of a `message` event.
    Message(Box<Whole>),
    /// Of a `compaction` event.
    Compaction(Compacted),
    /// Of a `thinking` event.
    Thinking(ThinkingText),
}

/// The kinds of run events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Start and end of the run.
    Lifecycle,
    /// Start and result of a tool call.
    Tool,
    /// Output of a command.
    Exec,
    /// Text of a model.
    Assistant,
    /// What a model thinks.
    Thinking,
    /// A message that is whole: what the transcript is written from.
    Message,
    /// Earlier parts of the conversation were replaced by a summary.
    Compaction,
}

/// `data` of an `assistant` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssistantText {
    /// The whole text of the current message so far. A shorter one than before, or one behind a `message` event, begins the next message.
    pub text: String,
    /// What is new in it.
    pub delta: String,
}

/// `data` of a `thinking` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThinkingText {
    /// What is new.
    pub delta: String,
}

/// `data` of a `message` event. From these lines alone the transcript is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    /// `{role: "assistant" | "user", content: [block]}`; a block is `{type: "text", text}`, `{type: "thinking", text, signature}`, `{type: "redacted", data}`, `{type: "toolUse", id, name, input}`, `{type: "toolResult", id, content, isError}` or `{type: "image", mimeType, data}`.
    pub message: Value,
    /// Who made a message of the assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its model, as the provider knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The language in which it was asked, such as `anthropic-messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// What the request used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// Why the model stopped: `stop`, `toolUse`, `length`, `refusal`, `aborted`, `error`, or the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What went wrong, for `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For what the user said while the run worked: the gateway's own name of the run that it came with. That one is part of this run by this line, and ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// `data` of a `compaction` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compacted {
    /// What the replaced part said.
    pub summary: String,
    /// How many of the newest messages stay as they are; the summary stands for all before them.
    pub kept_messages: u64,
    /// Tokens of the conversation before.
    pub tokens_before: u64,
    /// Tokens after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_after: Option<u64>,
}

/// The constant `streaming`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Streaming {
    /// More may follow.
    Streaming,
}

/// `data` of a `lifecycle` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Lifecycle {
    /// First line of every run that began.
    Start {
        /// When the work started, ms since the epoch.
        started_at: u64,
        /// The process that hosts the run.
        host: HostProcess,
    },
    /// A request to a model failed and is made again.
    Retry {
        /// 1 for the first time.
        attempt: u32,
        /// What went wrong, one line.
        error: String,
        /// How long it is waited for, ms.
        delay_ms: u64,
        /// `provider/model` that is asked now, if that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// The program that does the run's work has a name for the conversation, by which it can be taken up again.
    Session {
        /// Name of the runner.
        runner: String,
        /// An id or a path, as the program wants it back.
        reference: String,
    },
    /// Something that a person may want to know; the run goes on.
    Warning {
        /// One line.
        text: String,
    },
    /// Last line of a run that was served: its own end, or an abort.
    End(Outcome),
    /// Last line of a run that could not run, timed out or was lost.
    Error(Failure),
}

/// `data` of the `lifecycle` error event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The same text as `outcome.summary`, where existing clients look for it.
    pub error: String,
    /// When it ended, ms since the epoch.
    pub ended_at: u64,
    /// The whole outcome.
    pub outcome: Outcome,
}

impl Lifecycle {
    /// The last line of a run that ended so.
    #[must_use]
    pub fn terminal(outcome: Outcome) -> Self {
        if outcome.served() {
            Self::End(outcome)
        } else {
            Self::Error(Failure { error: outcome.summary.clone(), ended_at: outcome.ended_at, outcome })
        }
    }

    /// The outcome, if this is a last line.
    #[must_use]
    pub fn into_outcome(self) -> Option<Outcome> {
        match self {
            Self::Start { .. } | Self::Retry { .. } | Self::Session { .. } | Self::Warning { .. } => None,
            Self::End(outcome) => Some(outcome),
            Self::Error(failure) => Some(failure.outcome),
        }
    }
}

/// Enough to find the process that hosts a run again after a restart, and never a stranger with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostProcess {
    /// Version of the journal's form.
    pub v: u32,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, from `/proc/<pid>/stat`.
    pub start_ticks: u64,
    /// The kernel's boot id.
    pub boot_id: String,
}

/// `data` of a `tool` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Tool {
    /// A call begins.
    Start {
        /// Name of the tool, such as `exec`.
        name: String,
        /// The call, unique in the run.
        tool_call_id: String,
        /// For `exec`: `command` and `cwd`.
        args: Value,
        /// What the call is for, if who called said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// A call that runs has something to show.
    Update {
        /// The call.
        tool_call_id: String,
        /// Everything that it has given so far.
        partial_result: Value,
    },
    /// A call is over.
    Result {
        /// Name of the tool.
        name: String,
        /// The call.
        tool_call_id: String,
        /// Exit code of the command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Name of the signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// How long it took in ms.
        duration_ms: u64,
        /// Whether it failed.
        is_error: bool,
        /// What it gave, shortened; of a command, its output stands in the `exec` events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
}

/// Name of the argument in which a caller says what a call is for. It is no argument of the tool.
const DESCRIPTION: &str = "_description";

impl Tool {
    /// A call that begins. An argument `_description` is taken out of the others and shown as the call's description.
    #[must_use]
    pub fn start(name: &str, tool_call_id: &str, mut args: Value) -> Self {
        let taken = args.as_object_mut().and_then(|args| args.remove(DESCRIPTION));
        let description = taken.and_then(|text| text.as_str().map(str::to_owned)).filter(|text| !text.trim().is_empty());
        Self::Start { name: name.to_owned(), tool_call_id: tool_call_id.to_owned(), args, description }
    }
}

/// How much of a run's tool calls a connection is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ToolDetail {
    /// Nothing.
    #[default]
    None,
    /// That they begin and end, without their results.
    Brief,
    /// Everything.
    Full,
}

impl ToolDetail {
    /// Of a verbosity: `full`, `on`, anything else is off.
    #[must_use]
    pub fn of_verbosity(word: &str) -> Self {
        match word {
            "full" => Self::Full,
            "on" => Self::Brief,
            _ => Self::None,
        }
    }
}

/// `data` of an `exec` event; the chunk itself is the event's `text`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecOutput {
    /// Which pipe it came from.
    pub source: Source,
    /// The call it belongs to.
    pub tool_call_id: String,
    /// Bytes of output that were left out just before this chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_bytes: Option<u64>,
}

/// An output pipe of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_description_among_the_arguments_is_shown_beside_them() {
        let start = |args| serde_json::to_value(Tool::start("exec", "c", args)).unwrap();
        let described = start(json!({ "command": "ls", "_description": "look around" }));
        assert_eq!((&described["args"], &described["description"]), (&json!({ "command": "ls" }), &json!("look around")));
        for args in
            [json!({ "command": "ls" }), json!({ "command": "ls", "_description": 5 }), json!({ "command": "ls", "_description": " " })]
        {
            let plain = start(args);
            assert_eq!((&plain["args"], plain.get("description")), (&json!({ "command": "ls" }), None));
        }
        assert_eq!(start(json!("text"))["args"], "text");
    }
}

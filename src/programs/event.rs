//! What happens in a turn of a program, in words that belong to none of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Message, StopReason, Usage};

/// One thing that happened. Every call that starts ends before [`Event::End`], which is the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The program's own name for the conversation, by which it is taken up again.
    Session {
        /// An id or a path, as the program wants it back.
        reference: String,
    },
    /// Words of the answer.
    Text {
        /// What is new.
        delta: String,
    },
    /// Thoughts.
    Thinking {
        /// What is new.
        delta: String,
    },
    /// A call begins.
    ToolStart {
        /// The call, unique in the conversation.
        id: String,
        /// The tool; [`EXEC`] for whatever runs a command.
        name: String,
        /// Its arguments; for [`EXEC`] `command` and, if known, `cwd`.
        args: Value,
    },
    /// Output of a call while it works.
    ToolOutput {
        /// The call.
        id: String,
        /// What is new; stdout and stderr are one.
        text: String,
        /// It belongs before everything that was told of this call: the program had kept it back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        first: bool,
    },
    /// A call is over.
    ToolEnd {
        /// The call.
        id: String,
        /// The tool.
        name: String,
        /// Whether it failed.
        is_error: bool,
        /// Exit code of the command, where the program says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What the model was given, or what is known of it.
        result: String,
    },
    /// A whole message of the conversation, in order: the assistant's with its blocks, or the results of its calls.
    Message {
        /// The message.
        message: Message,
        /// What was used since the last one, if known by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Used>,
        /// Why the model stopped; only for the assistant's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<StopReason>,
        /// The model that spoke, in the program's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// For what the user said meanwhile: its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<String>,
    },
    /// What was used and belongs to no message. The sum over these and all messages is the turn's.
    Usage(Used),
    /// Something that a person may want to know; the turn goes on.
    Warning {
        /// One line.
        text: String,
        /// The program tries again by itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        retry: bool,
    },
    /// The turn is over.
    End(End),
}

/// Name of every tool that runs a command.
pub const EXEC: &str = "exec";

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// Tokens.
    pub tokens: Usage,
    /// US dollars, as the program reckons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Used {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.tokens.input += other.tokens.input;
        self.tokens.output += other.tokens.output;
        self.tokens.cache_read += other.tokens.cache_read;
        self.tokens.cache_write += other.tokens.cache_write;
        self.cost_usd = match (self.cost_usd, other.cost_usd) {
            (Some(own), Some(more)) => Some(own + more),
            (own, more) => own.or(more),
        };
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.tokens == Usage::default() && self.cost_usd.is_none_or(|cost| cost == 0.0)
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Its kind.
    pub how: How,
    /// What was wrong, one line for people; empty when nothing was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What to do about it, if it is known what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// The ends of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// By itself.
    Done,
    /// Because it was told to stop.
    Cancelled,
    /// Something went wrong.
    Failed,
}

/// Failures that somebody can do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The program no longer has the conversation that it was to take up. Another one can be begun.
    SessionLost,
    /// The program has no valid credentials for its model.
    Auth,
    /// The program ended, or could not be spoken with.
    Exited,
    /// The program said nothing for too long.
    Silent,
}

impl End {
    /// The good end.
    #[must_use]
    pub fn done() -> Self {
        Self { how: How::Done, message: String::new(), cause: None }
    }

    /// The end that was asked for.
    #[must_use]
    pub fn cancelled() -> Self {
        Self { how: How::Cancelled, message: String::new(), cause: None }
    }

    /// A failure, in one line.
    #[must_use]
    pub fn failed(message: impl Into<String>, cause: Option<Cause>) -> Self {
        Self { how: How::Failed, message: message.into(), cause }
    }
}

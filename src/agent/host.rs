//! What the loop needs from outside, and what it tells.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::spec::Price;
use crate::exec::output::{Counts, Sink};
use crate::exec::process::Running;
use crate::model::{ErrorKind, Message, StopReason, Usage};
use crate::protocol::run::Denied;

/// Who hosts an agent's turn.
pub trait Host: Send + Sync {
    /// Tells of something that happened. What was told stays told, whatever happens next.
    ///
    /// # Errors
    /// If it cannot be written down; nothing that changes the machine is then begun.
    fn emit(&self, event: &AgentEvent) -> io::Result<()>;

    /// Where the output of the command of this call goes.
    fn output(&self, tool_call_id: &str) -> Box<dyn Sink + Send>;

    /// Asks the gate about a command and starts it exactly as it was allowed, shut in as the run is. Waits as long as the gate does; the loop drops the future when it is to stop.
    fn start(&self, command: Command) -> Starting<'_>;

    /// Has the daemon do something for a tool, and waits for what comes of it; the loop drops the future when it is to stop. A host that offers no such tool has nobody to send.
    fn errand(&self, errand: Errand) -> Doing<'_> {
        Box::pin(std::future::ready(Err(format!("{} is not offered here", errand.tool))))
    }

    /// What the user says while the turn goes on, oldest first, with a name to [take](Self::took) it by; none if nothing waits.
    fn told(&self) -> Option<(String, String)> {
        None
    }

    /// What was said under this name is part of the conversation now.
    fn took(&self, _name: &str) {}

    /// Fires when the turn is to end.
    fn stop(&self) -> &CancellationToken;

    /// Wall time, ms since the epoch.
    fn now_ms(&self) -> u64;
}

/// The future of a command that is started.
pub type Starting<'a> = Pin<Box<dyn Future<Output = Result<Running, NotStarted>> + Send + 'a>>;

/// The future of an errand: what the model is told, or why it failed.
pub type Doing<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// A use of a tool that only the daemon can serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    /// The call.
    pub tool_call_id: String,
    /// The tool.
    pub tool: &'static str,
    /// Its arguments.
    pub args: Value,
}

/// A command that a model wants to run.
#[derive(Debug)]
pub struct Command {
    /// The call.
    pub tool_call_id: String,
    /// What the shell is to run.
    pub command: String,
    /// The folder to run in, absolute.
    pub cwd: PathBuf,
    /// Variables besides the run's own; their names are not yet judged.
    pub env: BTreeMap<String, String>,
    /// The end from which the command reads its input; none = its input is at its end from the start.
    pub stdin: Option<OwnedFd>,
    /// Whether it gets a terminal, which is then what it reads from.
    pub pty: bool,
}

/// Why a command did not start. Nothing of it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStarted {
    /// Set if the rules or a person refused.
    pub denied: Option<Denied>,
    /// One line, for the model and for people.
    pub message: String,
}

/// What happens in a turn, in the order in which it happens.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// Words of the model.
    Text {
        /// All of the current message so far.
        text: String,
        /// What is new.
        delta: String,
    },
    /// Thoughts of the model.
    Thinking {
        /// What is new.
        delta: String,
    },
    /// A tool begins.
    ToolStart {
        /// The call.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments; for `exec`: `command` and `cwd` are always there.
        args: Value,
    },
    /// A tool has something to show before it is done.
    ToolUpdate {
        /// The call.
        id: String,
        /// The tool.
        name: String,
        /// What it has so far.
        partial: String,
    },
    /// A tool is done. Each that began is done once.
    ToolResult {
        /// The call.
        id: String,
        /// The tool.
        name: String,
        /// Whether it failed.
        is_error: bool,
        /// What the model is told, as text.
        result: String,
        /// Exit code of its command.
        exit_code: Option<i32>,
        /// Name of the signal that ended its command.
        signal: Option<String>,
        /// How long it took, ms.
        duration_ms: u64,
    },
    /// A whole message that belongs into the transcript: what the model said, or the results of tools.
    Message(Box<Whole>),
    /// The conversation is being shortened, or was.
    Compaction(Compaction),
}

/// A whole message.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The message. Of the model: with its thoughts and their seals; broken off it holds what was whole, and the text as far as it came.
    pub message: Message,
    /// What the request used; zero for results.
    pub usage: Usage,
    /// What that cost.
    pub spent: Spent,
    /// Which of the turn's models said it, from 0: the first or one of its fallbacks.
    pub by: usize,
    /// Why the model stopped; none for results of tools and for what was broken off.
    pub stop: Option<StopReason>,
    /// Why it was broken off, one line: `aborted`, or what the provider said.
    pub broken: Option<String>,
    /// For what the user said meanwhile: the name that it had with the [host](Host::told).
    pub told: Option<String>,
}

impl Whole {
    /// A message that no model said.
    #[must_use]
    pub fn of(message: Message) -> Self {
        Self { message, usage: Usage::default(), spent: Spent::default(), by: 0, stop: None, broken: None, told: None }
    }
}

/// What tokens cost, dollars, by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Of what was read.
    pub input: f64,
    /// Of what was written.
    pub output: f64,
    /// Of reading the cache.
    pub cache_read: f64,
    /// Of writing it.
    pub cache_write: f64,
}

impl Spent {
    /// What these tokens cost.
    #[must_use]
    pub fn of(usage: Usage, price: Price) -> Self {
        let part = |tokens: u64, price: f64| tokens as f64 * price / 1_000_000.0;
        Self {
            input: part(usage.input, price.input),
            output: part(usage.output, price.output),
            cache_read: part(usage.cache_read, price.cache_read),
            cache_write: part(usage.cache_write, price.cache_write),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.input + self.output + self.cache_read + self.cache_write
    }

    /// Adds more.
    pub fn add(&mut self, more: Self) {
        self.input += more.input;
        self.output += more.output;
        self.cache_read += more.cache_read;
        self.cache_write += more.cache_write;
    }
}

/// Steps of a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// It begins.
    Start {
        /// Estimated tokens of the conversation.
        tokens_before: u64,
    },
    /// It is done: the summary stands in the place of all messages but the newest.
    End {
        /// The summary.
        summary: String,
        /// How many of the messages, history and those of this turn, the summary stands for. Memory-flush messages do not count: they are never told as messages.
        replaced: usize,
        /// Estimated tokens before it.
        tokens_before: u64,
        /// Estimated tokens after it.
        tokens_after: u64,
    },
    /// It failed; the conversation is as it was.
    Failed {
        /// Why, one line.
        message: String,
    },
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The kind of end.
    pub end: End,
    /// One line that a person understands.
    pub summary: String,
    /// The text of the last message of the model.
    pub text: String,
    /// What all requests used together.
    pub usage: Usage,
    /// What that cost.
    pub spent: Spent,
    /// How often the model was asked.
    pub turns: u32,
    /// What its commands printed.
    pub printed: Counts,
}

/// Kinds of ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The model is done.
    Done,
    /// The host wanted it.
    Stopped,
    /// The longest answer was reached; the text breaks off.
    MaxTokens,
    /// The model refused.
    Refused,
    /// A budget is used up.
    Budget(Budget),
    /// The model gave no answer.
    Model(ErrorKind),
    /// What happens can no longer be written down, or a fault inside.
    Failed,
}

impl End {
    /// The end as a code, such as `MODEL_AUTH`; none if all went well or the host wanted it.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Done | Self::Stopped => return None,
            Self::MaxTokens => "MODEL_MAX_TOKENS",
            Self::Refused | Self::Model(ErrorKind::Refusal) => "MODEL_REFUSED",
            Self::Budget(Budget::Turns) => "BUDGET_TURNS",
            Self::Budget(Budget::Tokens) => "BUDGET_TOKENS",
            Self::Budget(Budget::Cost) => "BUDGET_COST",
            Self::Budget(Budget::Time) => "BUDGET_TIME",
            Self::Model(ErrorKind::Auth) => "MODEL_AUTH",
            Self::Model(ErrorKind::RateLimit) => "MODEL_RATE_LIMIT",
            Self::Model(ErrorKind::Overloaded) => "MODEL_OVERLOADED",
            Self::Model(ErrorKind::ContextLength) => "MODEL_CONTEXT_LENGTH",
            Self::Model(ErrorKind::BadRequest) => "MODEL_BAD_REQUEST",
            Self::Model(ErrorKind::Transport) => "MODEL_TRANSPORT",
            Self::Failed => "AGENT_FAILED",
        })
    }
}

/// What can be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Requests to the model.
    Turns,
    /// Tokens.
    Tokens,
    /// Dollars.
    Cost,
    /// Time.
    Time,
}

//! Access to language models: one neutral request and one neutral stream of events, whatever language the provider speaks.
//!
//! Nothing here knows of runs, tools or transcripts.

mod answer;
mod api;
mod aws;
mod chain;
mod door;
pub mod endpoint;
mod failure;
pub(crate) mod http;
mod login;
pub mod notice;
pub mod proxy;
pub(crate) mod sse;
pub mod trusted;
mod wire;

use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_stream::Stream;

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person, or the results of tools on their behalf.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// Its blocks, in order; never empty when it is sent.
    pub content: Vec<Block>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture.
    Image {
        /// Its media type.
        mime_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// What the model thought. Providers want it back unchanged, with its signature, in the turn in which tools were used.
    Thinking {
        /// The thoughts; empty when the provider keeps them to itself.
        text: String,
        /// The provider's seal over them.
        signature: Option<String>,
    },
    /// Thoughts that only the provider can read.
    Redacted {
        /// As they came.
        data: String,
    },
    /// The model wants a tool to be used.
    ToolUse {
        /// The call, unique in the conversation.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments, an object.
        input: Value,
    },
    /// What a tool gave. For each use there is exactly one.
    ToolResult {
        /// The call.
        id: String,
        /// Text and pictures.
        content: Vec<Self>,
        /// Whether it failed.
        is_error: bool,
    },
}

/// A tool as the model is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON schema of its arguments, an object.
    pub schema: Value,
}

/// How much a model thinks before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// Not at all.
    #[default]
    Off,
    /// A little.
    Minimal,
    /// Some.
    Low,
    /// More.
    Medium,
    /// Much.
    High,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The system prompt; it and the tools are marked for the provider's cache.
    pub system: String,
    /// The conversation; the last message is the user's. Its end is marked for the cache too.
    pub messages: Vec<Message>,
    /// The tools it may use.
    pub tools: Vec<ToolSpec>,
    /// Longest answer in tokens.
    pub max_tokens: u64,
    /// How much it thinks.
    pub thinking: Thinking,
}

/// What a model says, piece by piece.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Words.
    Text(String),
    /// Thoughts.
    Thinking(String),
    /// The seal over the thoughts of the current block.
    Signature(String),
    /// Thoughts that only the provider can read, whole.
    Redacted(String),
    /// A use of a tool begins; its arguments follow.
    ToolStart {
        /// The call.
        id: String,
        /// The tool.
        name: String,
    },
    /// A piece of the JSON text of the arguments.
    ToolArgs(String),
    /// The current block is whole.
    BlockEnd,
    /// What was used so far; later ones replace earlier ones.
    Usage(Usage),
    /// The last event.
    Stop(StopReason),
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopReason {
    /// It is done.
    End,
    /// It waits for the results of tools.
    ToolUse,
    /// The answer is as long as it may be.
    MaxTokens,
    /// It refused.
    Refusal,
    /// Another reason, in the provider's words.
    Other(String),
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Read, without those from the cache.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache.
    pub cache_write: u64,
}

/// What kind of failure it was; it says whether another try or another model may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The provider does not know or trust us.
    Auth,
    /// Too much was asked in too short a time.
    RateLimit,
    /// The provider has no room now.
    Overloaded,
    /// The conversation is longer than the model's window.
    ContextLength,
    /// The request makes no sense to the provider.
    BadRequest,
    /// The provider would not answer this.
    Refusal,
    /// The provider could not be reached, or broke off.
    Transport,
}

/// Why a model gave no answer, or not the rest of it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// One line for people: who said what.
    pub message: String,
    /// When the provider wants to be asked again, in ms.
    pub retry_after_ms: Option<u64>,
}

/// Events of one answer: it ends behind the first `Stop` or the first error. Dropping it ends the request.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, ModelError>> + Send>>;

/// A model that can be asked.
pub trait Model: Send + Sync {
    /// Asks. What is wrong with the request or the way there is the stream's first item.
    fn ask(&self, request: &Request) -> Events;

    /// Which of its endpoints answers, or answered last, from 0.
    fn answering(&self) -> usize {
        0
    }
}

/// Opens a model: the first endpoint is asked, the others only when it fails in a way in which another may help. Nothing is read or connected before the first request; without an endpoint every request is refused.
#[must_use]
pub fn open(endpoints: Vec<endpoint::Endpoint>) -> Box<dyn Model> {
    Box::new(chain::Chain::new(endpoints, notice::Told::default()))
}

/// As [`open`], and tells `listener` of tries and fallbacks as they happen. It is called by whoever reads the events, and must not block.
#[must_use]
pub fn open_with(endpoints: Vec<endpoint::Endpoint>, listener: Arc<dyn Fn(notice::Notice) + Send + Sync>) -> Box<dyn Model> {
    Box::new(chain::Chain::new(endpoints, notice::Told(Some(listener))))
}

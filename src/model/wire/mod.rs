//! The languages of providers: how a request is written in each, and how its answer is read.

mod anthropic;
mod anthropic_answer;
mod bedrock;
mod bedrock_answer;
mod claude;
mod frames;
mod openai;
mod openai_answer;

use std::collections::BTreeMap;

use serde_json::Value;

use super::endpoint::{Api, Endpoint};
use super::failure::Said;
use super::sse::{Sse, SseEvent};
use super::{Block, Event, Request};

/// One language.
pub(super) trait Wire: Sync {
    /// The whole address of a request.
    fn url(&self, endpoint: &Endpoint, base: &str) -> String;

    /// Headers of every request, besides those of the login.
    fn headers(&self) -> &'static [(&'static str, &'static str)];

    /// The media type of an answer.
    fn media_type(&self) -> &'static str;

    /// The body of a request.
    ///
    /// # Errors
    /// The conversation holds what JSON cannot.
    fn body(&self, endpoint: &Endpoint, request: &Request) -> serde_json::Result<Vec<u8>>;

    /// Reads one answer.
    fn reader(&self) -> Box<dyn Reader>;
}

/// Reads an answer as its bytes come, split anywhere.
pub(super) trait Reader: Send {
    /// Takes bytes in and adds the events that they complete to `out`; behind a `Stop` nothing is added.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Fault>;

    /// The body is at its end: adds what was still held back.
    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Fault>;
}

/// Why an answer ends without a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The provider says so.
    Said(Said),
    /// It cannot be read.
    Garbled(String),
    /// It ended too early.
    Cut,
}

/// The language of an API; none if nobody here speaks it.
pub(super) fn wire(api: Api) -> Option<&'static dyn Wire> {
    match api {
        Api::AnthropicMessages => Some(&anthropic::Anthropic),
        Api::OpenaiCompletions => Some(&openai::OpenAi),
        Api::BedrockConverseStream => Some(&bedrock::Bedrock),
        Api::GoogleGenerativeAi => None,
    }
}

/// The bound of an answer.
fn max_tokens(endpoint: &Endpoint, request: &Request) -> u64 {
    request.max_tokens.min(endpoint.max_tokens).max(1)
}

/// Tools that are named in the conversation but no longer given; providers want every one they read of to be described.
fn forgotten<'a>(request: &'a Request) -> Vec<&'a str> {
    if !request.tools.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&'a str> = Vec::new();
    for block in request.messages.iter().flat_map(|message| &message.content) {
        if let Block::ToolUse { name, .. } = block
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    names
}

/// Fields of the configuration that go to the provider as they are. Those that are written anyway keep what is written.
fn others<'a>(endpoint: &'a Endpoint, written: &[&str]) -> BTreeMap<&'a str, &'a Value> {
    let fields = endpoint.params.rest.iter().map(|(name, value)| (name.as_str(), value));
    fields.filter(|(name, _)| !written.contains(name)).collect()
}

/// Whether a model sees pictures of this kind. One that it does not know would have the whole request refused, and every later one of the conversation.
fn sees(endpoint: &Endpoint, mime_type: &str) -> bool {
    endpoint.images && ["image/png", "image/jpeg", "image/gif", "image/webp"].contains(&mime_type)
}

/// What a tool is said to be that is named only in the past.
const FORGOTTEN: &str = "No longer available; do not use it.";
/// What takes the place of a picture that the model cannot see.
const UNSEEN: &str = "[a picture, which this model cannot see]";

/// Reads the events that these bytes complete, up to the first that is wrong.
///
/// # Errors
/// What `take` says of an event, or that one does not end.
fn each_event(sse: &mut Sse, bytes: &[u8], mut take: impl FnMut(&SseEvent) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut taken = Ok(());
    let read = sse.feed(bytes, |event| {
        if taken.is_ok() {
            taken = take(&event);
        }
    });
    taken.and(read.map_err(|error| Fault::Garbled(error.to_string())))
}

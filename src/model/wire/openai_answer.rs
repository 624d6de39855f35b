//! Answers in the language of OpenAI's chat completions, as many servers speak it: blocks have no ends, calls may be mixed, the end may come with `[DONE]` or without.

use serde::Deserialize;
use serde_json::Value;

use super::{Fault, Reader, each_event};
use crate::model::failure::Said;
use crate::model::sse::{Sse, SseEvent};
use crate::model::{Event, StopReason, Usage};

/// Most calls of tools in one answer.
const MAX_CALLS: usize = 256;

/// One answer.
#[derive(Default)]
pub(super) struct Answer {
    sse: Sse,
    state: State,
}

#[derive(Default)]
struct State {
    open: Open,
    calls: Vec<Call>,
    reason: Option<StopReason>,
    done: bool,
}

/// The block that is being told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    #[default]
    None,
    Thinking,
    Text,
    /// The call with this place in the list; those behind it wait until it is whole.
    Call(usize),
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// What was not yet told.
    args: String,
    /// Its beginning was told.
    told: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Tokens>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    /// Thoughts, as servers of open models name them.
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    /// A text of JSON; some servers give the object itself.
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Reader for Answer {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Fault> {
        let Self { sse, state, .. } = self;
        each_event(sse, bytes, |event| if state.done { Ok(()) } else { state.take(event, out) })
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Fault> {
        if self.state.done {
            return Ok(());
        }
        // Without a reason nobody knows whether it was all.
        if self.state.reason.is_none() {
            return Err(Fault::Cut);
        }
        self.state.finish(out);
        Ok(())
    }
}

impl State {
    fn take(&mut self, event: &SseEvent, out: &mut Vec<Event>) -> Result<(), Fault> {
        if event.data.trim() == "[DONE]" {
            if self.reason.is_none() {
                return Err(Fault::Cut);
            }
            self.finish(out);
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(&event.data).map_err(|error| Fault::Garbled(error.to_string()))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let mut said = Said::default();
            said.read(&error);
            return Err(Fault::Said(said));
        }
        if let Some(tokens) = chunk.usage {
            let cached = tokens.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
            let input = tokens.prompt_tokens.saturating_sub(cached);
            out.push(Event::Usage(Usage { input, output: tokens.completion_tokens, cache_read: cached, cache_write: 0 }));
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(()) };
        let delta = choice.delta;
        self.words(Open::Thinking, delta.reasoning_content, Event::Thinking, out);
        self.words(Open::Text, delta.content, Event::Text, out);
        if delta.refusal.as_ref().is_some_and(|refusal| !refusal.is_empty()) {
            self.words(Open::Text, delta.refusal, Event::Text, out);
            self.reason = Some(StopReason::Refusal);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, out)?;
        }
        if let Some(word) = choice.finish_reason
            && self.reason != Some(StopReason::Refusal)
        {
            self.reason = Some(reason(word));
        }
        Ok(())
    }

    fn words(&mut self, kind: Open, words: Option<String>, event: fn(String) -> Event, out: &mut Vec<Event>) {
        let Some(words) = words.filter(|words| !words.is_empty()) else { return };
        if self.open != kind {
            self.close(out);
            self.open = kind;
        }
        out.push(event(words));
    }

    fn call(&mut self, delta: CallDelta, out: &mut Vec<Event>) -> Result<(), Fault> {
        let function = delta.function.unwrap_or(FunctionDelta { name: None, arguments: None });
        let id = delta.id.filter(|id| !id.is_empty());
        let known = match delta.index {
            Some(index) => self.calls.iter().position(|call| call.index == Some(index)),
            // Without an index a new id begins a new call, and what has none belongs to the last.
            None => match &id {
                Some(id) => self.calls.iter().position(|call| call.id == *id),
                None => self.calls.len().checked_sub(1),
            },
        };
        let at = match known {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => return Err(Fault::Garbled(format!("more than {MAX_CALLS} calls of tools"))),
            None => {
                self.calls.push(Call { index: delta.index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if call.id.is_empty() {
            call.id = id.unwrap_or_default();
        }
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        match function.arguments {
            Some(Value::String(piece)) => call.args.push_str(&piece),
            None | Some(Value::Null) => {}
            Some(object) => call.args.push_str(&object.to_string()),
        }
        match self.open {
            Open::Call(open) if open == at => push_args(call, out),
            // It waits for the one that is being told, and for its own name.
            Open::Call(_) => {}
            _ if call.told => return Err(Fault::Garbled("words inside the arguments of a call".to_owned())),
            _ if call.name.is_empty() => {}
            _ => {
                self.close(out);
                self.open = Open::Call(at);
                self.start(at, out);
            }
        }
        Ok(())
    }

    fn start(&mut self, at: usize, out: &mut Vec<Event>) {
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.id.is_empty() {
            // Some servers give none; the results are matched by it.
            call.id = format!("call_{}", uuid::Uuid::new_v4().simple());
        }
        call.told = true;
        out.push(Event::ToolStart { id: call.id.clone(), name: call.name.clone() });
        push_args(call, out);
    }

    /// Ends the open block.
    fn close(&mut self, out: &mut Vec<Event>) {
        if self.open != Open::None {
            out.push(Event::BlockEnd);
        }
        self.open = Open::None;
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.close(out);
        for at in 0..self.calls.len() {
            if self.calls.get(at).is_some_and(|call| !call.told) {
                self.start(at, out);
                out.push(Event::BlockEnd);
            }
        }
        self.done = true;
        let mut reason = self.reason.take().unwrap_or(StopReason::End);
        // Some servers say `stop` behind calls.
        if reason == StopReason::End && !self.calls.is_empty() {
            reason = StopReason::ToolUse;
        }
        out.push(Event::Stop(reason));
    }
}

fn push_args(call: &mut Call, out: &mut Vec<Event>) {
    if !call.args.is_empty() {
        out.push(Event::ToolArgs(std::mem::take(&mut call.args)));
    }
}

fn reason(word: String) -> StopReason {
    match word.as_str() {
        "stop" => StopReason::End,
        "tool_calls" | "function_call" => StopReason::ToolUse,
        "length" => StopReason::MaxTokens,
        "content_filter" => StopReason::Refusal,
        _ => StopReason::Other(word),
    }
}

#[cfg(test)]
#[path = "openai_answer_tests.rs"]
mod tests;

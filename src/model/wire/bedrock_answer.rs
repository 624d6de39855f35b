//! Answers in the language of Amazon Bedrock's converse stream: frames with one step each, and frames that are exceptions.
//!
//! The counts come behind the stop, so the stop is held back until they are there or the stream ends.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::frames::{Frame, Frames};
use super::{Fault, Reader};
use crate::model::failure::Said;
use crate::model::{Event, StopReason, Usage};

/// One answer.
#[derive(Default)]
pub(super) struct Answer {
    frames: Frames,
    state: State,
}

#[derive(Default)]
struct State {
    reason: Option<StopReason>,
    done: bool,
}

#[derive(Deserialize)]
struct Start {
    start: Option<Begun>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    tool_use: Option<Tool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    tool_use_id: String,
    name: String,
}

#[derive(Deserialize)]
struct Step {
    delta: Delta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta {
    text: Option<String>,
    tool_use: Option<Input>,
    reasoning_content: Option<Reasoning>,
}

#[derive(Deserialize)]
struct Input {
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    stop_reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_write_input_tokens: u64,
}

impl Reader for Answer {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Fault> {
        let state = &mut self.state;
        self.frames.feed(bytes, |frame| if state.done { Ok(()) } else { state.take(frame, out) })
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Fault> {
        if self.state.done {
            return Ok(());
        }
        if !self.frames.is_empty() || self.state.reason.is_none() {
            return Err(Fault::Cut);
        }
        self.state.finish(out);
        Ok(())
    }
}

impl State {
    fn take(&mut self, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Fault> {
        if frame.kind != "event" {
            return Err(exception(frame));
        }
        match frame.name.as_str() {
            "contentBlockStart" => {
                if let Some(tool) = json::<Start>(frame)?.start.and_then(|start| start.tool_use) {
                    out.push(Event::ToolStart { id: tool.tool_use_id, name: tool.name });
                }
            }
            "contentBlockDelta" => {
                let delta = json::<Step>(frame)?.delta;
                push(out, Event::Text, delta.text);
                push(out, Event::ToolArgs, delta.tool_use.map(|tool| tool.input));
                if let Some(thoughts) = delta.reasoning_content {
                    push(out, Event::Thinking, thoughts.text);
                    push(out, Event::Signature, thoughts.signature);
                    push(out, Event::Redacted, thoughts.redacted_content);
                }
            }
            "contentBlockStop" => out.push(Event::BlockEnd),
            "messageStop" => self.reason = Some(reason(json::<Stop>(frame)?.stop_reason)),
            "metadata" => {
                if let Some(tokens) = json::<Metadata>(frame)?.usage {
                    out.push(Event::Usage(Usage {
                        input: tokens.input_tokens,
                        output: tokens.output_tokens,
                        cache_read: tokens.cache_read_input_tokens,
                        cache_write: tokens.cache_write_input_tokens,
                    }));
                }
                if self.reason.is_some() {
                    self.finish(out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.done = true;
        out.push(Event::Stop(self.reason.take().unwrap_or(StopReason::End)));
    }
}

fn json<T: DeserializeOwned>(frame: &Frame) -> Result<T, Fault> {
    serde_json::from_slice(&frame.body).map_err(|error| Fault::Garbled(format!("event `{}`: {error}", frame.name)))
}

fn exception(frame: &Frame) -> Fault {
    let mut said = Said { codes: vec![frame.name.clone()], text: frame.text.clone() };
    if let Ok(body) = serde_json::from_slice::<Value>(&frame.body) {
        said.read(&body);
    }
    Fault::Said(said)
}

fn push(out: &mut Vec<Event>, event: fn(String) -> Event, text: Option<String>) {
    out.extend(text.filter(|text| !text.is_empty()).map(event));
}

fn reason(word: String) -> StopReason {
    match word.as_str() {
        "end_turn" | "stop_sequence" => StopReason::End,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
        "guardrail_intervened" | "content_filtered" | "refusal" => StopReason::Refusal,
        _ => StopReason::Other(word),
    }
}

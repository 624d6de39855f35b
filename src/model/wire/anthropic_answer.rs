//! Answers in the language of Anthropic's messages: server-sent events, each with the JSON of one step.

use serde::Deserialize;
use serde_json::Value;

use super::{Fault, Reader, each_event};
use crate::model::failure::Said;
use crate::model::sse::{Sse, SseEvent};
use crate::model::{Event, StopReason, Usage};

/// One answer.
#[derive(Default)]
pub(super) struct Answer {
    sse: Sse,
    state: State,
}

#[derive(Default)]
struct State {
    usage: Usage,
    reason: Option<StopReason>,
    done: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Step {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        content_block: Begun,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop,
    MessageDelta {
        delta: End,
        usage: Option<Tokens>,
    },
    MessageStop,
    Error {},
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Begun {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct End {
    stop_reason: Option<String>,
}

/// Counts that are left out, or null, are those told before.
#[derive(Deserialize)]
struct Tokens {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Reader for Answer {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), Fault> {
        let Self { sse, state, .. } = self;
        each_event(sse, bytes, |event| if state.done { Ok(()) } else { state.take(event, out) })
    }

    fn end(&mut self, _: &mut Vec<Event>) -> Result<(), Fault> {
        if self.state.done { Ok(()) } else { Err(Fault::Cut) }
    }
}

impl State {
    fn take(&mut self, event: &SseEvent, out: &mut Vec<Event>) -> Result<(), Fault> {
        let step: Step = serde_json::from_str(&event.data).map_err(|error| Fault::Garbled(format!("event `{}`: {error}", event.name)))?;
        match step {
            Step::MessageStart { message } => self.count(message.usage, out),
            Step::ContentBlockStart { content_block } => begin(content_block, out),
            Step::ContentBlockDelta { delta } => match delta {
                Delta::Text { text } => push(out, Event::Text, text),
                Delta::InputJson { partial_json } => push(out, Event::ToolArgs, partial_json),
                Delta::Thinking { thinking } => push(out, Event::Thinking, thinking),
                Delta::Signature { signature } => push(out, Event::Signature, signature),
                Delta::Unknown => {}
            },
            Step::ContentBlockStop => out.push(Event::BlockEnd),
            Step::MessageDelta { delta, usage } => {
                self.count(usage, out);
                self.reason = delta.stop_reason.map(reason).or_else(|| self.reason.take());
            }
            Step::MessageStop => {
                self.done = true;
                out.push(Event::Stop(self.reason.take().unwrap_or(StopReason::End)));
            }
            Step::Error {} => {
                let mut said = Said::default();
                said.read(&serde_json::from_str(&event.data).unwrap_or_default());
                return Err(Fault::Said(said));
            }
            Step::Unknown => {}
        }
        Ok(())
    }

    fn count(&mut self, tokens: Option<Tokens>, out: &mut Vec<Event>) {
        let Some(tokens) = tokens else { return };
        let usage = &mut self.usage;
        usage.input = tokens.input_tokens.unwrap_or(usage.input);
        usage.output = tokens.output_tokens.unwrap_or(usage.output);
        usage.cache_read = tokens.cache_read_input_tokens.unwrap_or(usage.cache_read);
        usage.cache_write = tokens.cache_creation_input_tokens.unwrap_or(usage.cache_write);
        out.push(Event::Usage(*usage));
    }
}

/// What a block already holds when it begins; nearly always nothing.
fn begin(block: Begun, out: &mut Vec<Event>) {
    match block {
        Begun::Text { text } => push(out, Event::Text, text),
        Begun::Thinking { thinking, signature } => {
            push(out, Event::Thinking, thinking);
            push(out, Event::Signature, signature);
        }
        Begun::RedactedThinking { data } => out.push(Event::Redacted(data)),
        Begun::ToolUse { id, name, input } => {
            out.push(Event::ToolStart { id, name });
            // Some servers give the arguments at once.
            if input.as_object().is_some_and(|input| !input.is_empty()) {
                out.push(Event::ToolArgs(input.to_string()));
            }
        }
        Begun::Unknown => {}
    }
}

fn push(out: &mut Vec<Event>, event: fn(String) -> Event, text: String) {
    if !text.is_empty() {
        out.push(event(text));
    }
}

fn reason(word: String) -> StopReason {
    match word.as_str() {
        "end_turn" | "stop_sequence" => StopReason::End,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
        "refusal" => StopReason::Refusal,
        _ => StopReason::Other(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"read","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: something_new
data: {"type":"something_new","x":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

    fn read(text: &str) -> (Vec<Event>, Option<Fault>) {
        let (mut answer, mut out) = (Answer::default(), Vec::new());
        let fed = answer.feed(text.as_bytes(), &mut out);
        let ended = fed.and_then(|()| answer.end(&mut out));
        (out, ended.err())
    }

    #[test]
    fn an_answer_becomes_events() {
        let usage = |output| Event::Usage(Usage { input: 25, output, cache_read: 7, cache_write: 3 });
        let wanted = vec![
            usage(1),
            Event::Thinking("hm".to_owned()),
            Event::Signature("sig".to_owned()),
            Event::BlockEnd,
            Event::ToolStart { id: "t1".to_owned(), name: "read".to_owned() },
            Event::ToolArgs("{\"a\":1}".to_owned()),
            Event::BlockEnd,
            usage(15),
            Event::Stop(StopReason::ToolUse),
        ];
        assert_eq!(read(ANSWER), (wanted, None));
    }

    #[test]
    fn an_answer_cut_anywhere_has_no_end() {
        for end in (0..ANSWER.len() - 1).step_by(37) {
            let (events, fault) = read(&ANSWER[..end]);
            assert_eq!(fault, Some(Fault::Cut), "{end}");
            assert!(!events.iter().any(|event| matches!(event, Event::Stop(_))));
        }
    }

    #[test]
    fn an_error_in_the_middle_and_nonsense_end_it() {
        let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        let said = Said { codes: vec!["overloaded_error".to_owned()], text: "Overloaded".to_owned() };
        assert_eq!(read(error).1, Some(Fault::Said(said)));
        assert!(matches!(read("data: hello\n\n").1, Some(Fault::Garbled(_))));
        assert!(matches!(
            read("data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\"}}\n\n").1,
            Some(Fault::Garbled(_))
        ));
    }
}

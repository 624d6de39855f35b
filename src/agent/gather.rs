//! Makes a message of what a model says piece by piece, and tells of it while it comes.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::host::{AgentEvent, Host};
use crate::model::{Block, ErrorKind, Event, Events, ModelError, StopReason, Usage};

/// Least time between two events of one kind.
const PAUSE: Duration = Duration::from_millis(100);
/// Each text event repeats the whole text, so the longer it is the rarer they are: this many repeated bytes per second at most.
const REPEATED_PER_SECOND: u64 = 16 * 1024;
/// Most bytes of one answer, of all its blocks; a model that never ends must not fill the memory.
const MAX_ANSWER: usize = 8 << 20;

/// What a model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// Its blocks. The uses of tools among them are those in `uses`, in the same order.
    pub content: Vec<Block>,
    /// Uses of tools whose arguments are no JSON object, by their place among the blocks, with what is wrong with them.
    pub malformed: Vec<(usize, String)>,
    /// What it used.
    pub usage: Usage,
    /// How it ended.
    pub ending: Ending,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ending {
    /// As the model wanted.
    Whole(StopReason),
    /// The host wanted it.
    Stopped,
    /// The model broke off, or never began.
    Failed(ModelError),
}

impl Default for Ending {
    fn default() -> Self {
        Self::Whole(StopReason::End)
    }
}

impl Answer {
    /// The words of it.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// A block that is not whole yet.
enum Open {
    Text(String),
    Thinking(String, Option<String>),
    Tool { id: String, name: String, args: String },
}

/// Reads an answer to its end, or until `stop` fires. `quiet` tells nobody of it. An event that cannot be written down is lost; the whole message follows.
pub(super) async fn gather(mut events: Events, host: &dyn Host, stop: &CancellationToken, quiet: bool) -> Answer {
    let mut gathering = Gathering { host, quiet, answer: Answer::default(), open: None, teller: Teller::default(), bytes: 0 };
    let ending = loop {
        let due = gathering.teller.due();
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => break Ending::Stopped,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                gathering.tell();
                continue;
            }
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Stop(reason))) => break Ending::Whole(reason),
            Some(Ok(event)) => gathering.take(event),
            Some(Err(failed)) => break Ending::Failed(failed),
            None => break Ending::Failed(broke_off("the model's answer ended in the middle")),
        }
        if gathering.bytes > MAX_ANSWER {
            break Ending::Failed(broke_off("the model's answer is longer than 8 MiB"));
        }
    };
    gathering.end(ending)
}

fn broke_off(message: &str) -> ModelError {
    ModelError { kind: ErrorKind::Transport, message: message.to_owned(), retry_after_ms: None }
}

struct Gathering<'a> {
    host: &'a dyn Host,
    quiet: bool,
    answer: Answer,
    open: Option<Open>,
    teller: Teller,
    bytes: usize,
}

impl Gathering<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Text(more) => {
                self.bytes += more.len();
                self.teller.text(&more);
                if let Some(Open::Text(text)) = &mut self.open {
                    text.push_str(&more);
                } else {
                    self.close();
                    self.open = Some(Open::Text(more));
                }
            }
            Event::Thinking(more) => {
                self.bytes += more.len();
                self.teller.thinking(&more);
                if let Some(Open::Thinking(text, _)) = &mut self.open {
                    text.push_str(&more);
                } else {
                    self.close();
                    self.open = Some(Open::Thinking(more, None));
                }
            }
            Event::Signature(seal) => {
                self.bytes += seal.len();
                if let Some(Open::Thinking(_, signature)) = &mut self.open {
                    signature.get_or_insert_default().push_str(&seal);
                } else {
                    self.close();
                    self.open = Some(Open::Thinking(String::new(), Some(seal)));
                }
            }
            Event::Redacted(data) => {
                self.bytes += data.len();
                self.close();
                self.answer.content.push(Block::Redacted { data });
            }
            Event::ToolStart { id, name } => {
                self.close();
                // What was said before a tool is used is shown before it.
                self.tell_all();
                self.open = Some(Open::Tool { id, name, args: String::new() });
            }
            Event::ToolArgs(more) => {
                self.bytes += more.len();
                if let Some(Open::Tool { args, .. }) = &mut self.open {
                    args.push_str(&more);
                }
            }
            Event::BlockEnd => self.close(),
            Event::Usage(usage) => self.answer.usage = usage,
            Event::Stop(_) => {}
        }
        if self.teller.due().is_some_and(|due| due <= Instant::now()) {
            self.tell();
        }
    }

    /// Puts the open block among the others; one without content is none.
    fn close(&mut self) {
        match self.open.take() {
            Some(Open::Text(text)) if !text.is_empty() => self.answer.content.push(Block::Text { text }),
            Some(Open::Thinking(text, signature)) if signature.is_some() || !text.is_empty() => {
                self.answer.content.push(Block::Thinking { text, signature });
            }
            Some(Open::Tool { id, name, args }) => {
                let input = arguments(&args).unwrap_or_else(|wrong| {
                    self.answer.malformed.push((self.answer.content.len(), wrong));
                    Value::Object(serde_json::Map::new())
                });
                self.answer.content.push(Block::ToolUse { id, name, input });
            }
            _ => {}
        }
    }

    fn end(mut self, ending: Ending) -> Answer {
        if matches!(ending, Ending::Whole(_)) {
            self.close();
        } else {
            // Of what broke off only words are kept as far as they came: half a thought has no seal, and half a call must not be made.
            if matches!(self.open, Some(Open::Text(_))) {
                self.close();
            }
            self.answer.content.retain(|block| !matches!(block, Block::ToolUse { .. }));
            self.answer.malformed.clear();
        }
        self.tell_all();
        self.answer.ending = ending;
        self.answer
    }

    /// Tells what is due.
    fn tell(&mut self) {
        let now = Instant::now();
        for event in self.teller.take(|due| due <= now) {
            self.emit(&event);
        }
    }

    /// Tells all that is not told yet.
    fn tell_all(&mut self) {
        for event in self.teller.take(|_| true) {
            self.emit(&event);
        }
    }

    fn emit(&self, event: &AgentEvent) {
        if !self.quiet {
            let _: io::Result<()> = self.host.emit(event);
        }
    }
}

/// The arguments of a use, an object. None at all count as an empty one.
fn arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err("The arguments are no JSON object. Call the tool again with an object.".to_owned()),
        Err(error) => {
            let begin: String = text.chars().take(200).collect();
            Err(format!("The arguments are no JSON ({error}). They begin with: {begin}\nCall the tool again with valid JSON."))
        }
    }
}

/// What is told, together, not too often.
#[derive(Default)]
struct Teller {
    text: String,
    text_told: usize,
    text_due: Option<Instant>,
    text_last: Option<Instant>,
    thinking: String,
    thinking_due: Option<Instant>,
    thinking_last: Option<Instant>,
}

impl Teller {
    fn text(&mut self, more: &str) {
        self.text.push_str(more);
        if !more.is_empty() {
            let pause = PAUSE.max(Duration::from_millis(self.text.len() as u64 * 1000 / REPEATED_PER_SECOND));
            self.text_due.get_or_insert_with(|| self.text_last.map_or_else(Instant::now, |last| last + pause));
        }
    }

    fn thinking(&mut self, more: &str) {
        self.thinking.push_str(more);
        if !more.is_empty() {
            self.thinking_due.get_or_insert_with(|| self.thinking_last.map_or_else(Instant::now, |last| last + PAUSE));
        }
    }

    fn due(&self) -> Option<Instant> {
        self.text_due.into_iter().chain(self.thinking_due).min()
    }

    /// What is to be told now: thoughts before words, as they come.
    fn take(&mut self, is_due: impl Fn(Instant) -> bool) -> Vec<AgentEvent> {
        let now = Instant::now();
        let mut events = Vec::new();
        if self.thinking_due.is_some_and(&is_due) {
            (self.thinking_due, self.thinking_last) = (None, Some(now));
            events.push(AgentEvent::Thinking { delta: std::mem::take(&mut self.thinking) });
        }
        if self.text_due.is_some_and(&is_due) {
            (self.text_due, self.text_last) = (None, Some(now));
            let delta = self.text.get(self.text_told..).unwrap_or_default().to_owned();
            self.text_told = self.text.len();
            events.push(AgentEvent::Text { text: self.text.clone(), delta });
        }
        events
    }
}

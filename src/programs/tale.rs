//! Puts a turn in order: blocks into messages, calls with exactly one result each, and an end after which nothing comes.
//!
//! Programs repeat themselves, forget to say that a call is over, and speak of calls after the end. What comes out of here is whole all the same: a conversation that a model can be given again.

use std::collections::VecDeque;

use serde_json::Value;

use super::event::{EXEC, End, Event, How, Used};
use super::output::{New, Seen, fitting};
use crate::model::{Block, Message, Role, StopReason};

/// What a call was given that its program never ended.
const UNFINISHED: &str = "interrupted: the call was not finished when the turn ended";

/// What is known of a turn.
#[derive(Debug, Default)]
pub struct Tale {
    events: Vec<Event>,
    calls: Vec<Call>,
    /// Messages that are not all told; the last one may still grow.
    exchanges: VecDeque<Exchange>,
    used: Used,
    model: Option<String>,
    said: bool,
    late: u64,
    end: Option<End>,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    seen: Seen,
}

/// A message of the assistant, and the results of its calls.
#[derive(Debug, Default)]
struct Exchange {
    blocks: Vec<(String, Block)>,
    stop: Option<StopReason>,
    /// No more blocks come.
    closed: bool,
    told: bool,
    results: Vec<Block>,
}

/// How a call ended.
#[derive(Clone, Debug, Default)]
pub struct Finish {
    /// Whether it failed.
    pub is_error: bool,
    /// Exit code of the command, if it is known.
    pub exit_code: Option<i32>,
    /// The whole output of the command, if the program says it; what was not told of it is told now.
    pub output: Option<String>,
    /// What the model was given; the output when absent.
    pub result: Option<String>,
}

impl Tale {
    /// The events since the last time.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How the turn ended, once it did.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether calls are at work.
    #[must_use]
    pub fn has_open_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether this call is at work.
    #[must_use]
    pub fn is_open(&self, id: &str) -> bool {
        self.calls.iter().any(|call| call.id == id)
    }

    /// Whether this call is at work and runs a command.
    #[must_use]
    pub fn is_exec(&self, id: &str) -> bool {
        self.calls.iter().any(|call| call.id == id && call.name == EXEC)
    }

    /// Whether the program said or did anything at all.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.said
    }

    /// How many things came after the end, or about calls that were over.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// How much of the output of a call was told, in bytes.
    #[must_use]
    pub fn output_len(&self, id: &str) -> usize {
        self.calls.iter().find(|call| call.id == id).map_or(0, |call| call.seen.len())
    }

    /// The program's name for the conversation.
    pub fn session(&mut self, reference: &str) {
        self.tell(Event::Session { reference: reference.to_owned() });
    }

    /// The model that speaks from now on.
    pub fn model(&mut self, name: &str) {
        self.model = Some(name.to_owned());
    }

    /// A piece of text of the block `key`, a name that is unique in the message.
    pub fn text(&mut self, key: &str, delta: &str) {
        if delta.is_empty() || self.is_over() {
            return;
        }
        match self.block(key, || Block::Text { text: String::new() }) {
            Some(Block::Text { text }) => text.push_str(delta),
            _ => return,
        }
        self.tell(Event::Text { delta: delta.to_owned() });
    }

    /// The whole text of a block; what was not told of it is told now.
    pub fn text_whole(&mut self, key: &str, whole: &str) {
        if whole.is_empty() || self.is_over() {
            return;
        }
        let Some(Block::Text { text }) = self.block(key, || Block::Text { text: String::new() }) else { return };
        let new = whole.strip_prefix(text.as_str()).unwrap_or_default().to_owned();
        whole.clone_into(text);
        if !new.is_empty() {
            self.tell(Event::Text { delta: new });
        }
    }

    /// A piece of thought.
    pub fn thinking(&mut self, key: &str, delta: &str) {
        if delta.is_empty() || self.is_over() {
            return;
        }
        match self.block(key, || Block::Thinking { text: String::new(), signature: None }) {
            Some(Block::Thinking { text, .. }) => text.push_str(delta),
            _ => return,
        }
        self.tell(Event::Thinking { delta: delta.to_owned() });
    }

    /// A whole thought, with its seal.
    pub fn thinking_whole(&mut self, key: &str, whole: &str, seal: Option<&str>) {
        if self.is_over() || (whole.is_empty() && seal.is_none()) {
            return;
        }
        let Some(Block::Thinking { text, signature }) = self.block(key, || Block::Thinking { text: String::new(), signature: None }) else {
            return;
        };
        let new = whole.strip_prefix(text.as_str()).unwrap_or_default().to_owned();
        whole.clone_into(text);
        *signature = seal.map(str::to_owned).or_else(|| signature.take());
        if !new.is_empty() {
            self.tell(Event::Thinking { delta: new });
        }
    }

    /// The message has said that it will use a tool. The call itself begins with [`Self::tool_start`].
    pub fn tool_use(&mut self, id: &str, name: &str, input: &Value) {
        // A message that was told with it stays as it is.
        let told = self.exchanges.iter().any(|exchange| exchange.told && exchange.blocks.iter().any(|(key, _)| key == id));
        if !told && !self.is_over() {
            let made = || Block::ToolUse { id: id.to_owned(), name: name.to_owned(), input: input.clone() };
            if let Some(block) = self.block(id, made) {
                *block = made();
            }
        }
    }

    /// A call begins. One that has begun before is only told once.
    pub fn tool_start(&mut self, id: &str, name: &str, args: Value) {
        if self.is_over() || self.is_open(id) {
            return;
        }
        if self.exchanges.iter().any(|exchange| exchange.results.iter().any(|result| is_result_of(result, id))) {
            self.late += 1;
            return;
        }
        self.tool_use(id, name, &args);
        self.calls.push(Call { id: id.to_owned(), name: name.to_owned(), seen: Seen::default() });
        self.tell(Event::ToolStart { id: id.to_owned(), name: name.to_owned(), args });
    }

    /// A piece of the output of a call.
    pub fn output(&mut self, id: &str, text: &str) {
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id) else {
            self.late += 1;
            return;
        };
        if !text.is_empty() {
            call.seen.push(text);
            self.tell(Event::ToolOutput { id: id.to_owned(), text: text.to_owned(), first: false });
        }
    }

    /// The output of a call as it stands now; what is new in it is told.
    pub fn output_whole(&mut self, id: &str, whole: &str) {
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id) else {
            self.late += 1;
            return;
        };
        let (text, first) = match call.seen.whole(whole) {
            New::Nothing => return,
            New::Behind(text) => (text, false),
            New::Before(text) => (text, true),
        };
        self.tell(Event::ToolOutput { id: id.to_owned(), text, first });
    }

    /// A call is over. One that is over already stays as it was told.
    pub fn tool_end(&mut self, id: &str, finish: Finish) {
        if let Some(output) = &finish.output
            && self.is_open(id)
        {
            self.output_whole(id, output);
        }
        let Some(place) = self.calls.iter().position(|call| call.id == id) else {
            self.late += 1;
            return;
        };
        let call = self.calls.remove(place);
        let result = finish.result.or(finish.output).unwrap_or_else(|| call.seen.text().to_owned());
        let Finish { is_error, exit_code, .. } = finish;
        let result = fitting(&result);
        self.tell(Event::ToolEnd { id: call.id.clone(), name: call.name, is_error, exit_code, result: result.clone() });
        let block = Block::ToolResult { id: call.id, content: vec![Block::Text { text: result }], is_error };
        let owner = self.exchanges.iter_mut().find(|exchange| exchange.blocks.iter().any(|(key, _)| key == id));
        if let Some(exchange) = owner {
            exchange.results.push(block);
            exchange.closed = true;
        }
        self.settle();
    }

    /// The assistant's message is whole.
    pub fn message_end(&mut self, stop: Option<StopReason>) {
        if let Some(exchange) = self.exchanges.back_mut().filter(|exchange| !exchange.closed) {
            exchange.stop = stop;
            exchange.closed = true;
        }
        self.settle();
    }

    /// More was used. It is told with the next message, or at the end.
    pub fn used(&mut self, more: Used) {
        if self.end.is_none() {
            self.used.add(more);
        }
    }

    /// Something worth a word.
    pub fn warn(&mut self, text: impl Into<String>, retry: bool) {
        self.tell(Event::Warning { text: text.into(), retry });
    }

    /// The turn is over: closes what is open. A second end changes nothing.
    pub fn finish(&mut self, end: End) {
        if self.is_over() {
            return;
        }
        let open: Vec<String> = self.calls.iter().map(|call| call.id.clone()).collect();
        for id in open {
            let told = self.calls.iter().find(|call| call.id == id).map(|call| call.seen.text().to_owned()).unwrap_or_default();
            let result = if told.is_empty() { UNFINISHED.to_owned() } else { format!("{told}\n{UNFINISHED}") };
            self.tool_end(&id, Finish { is_error: true, result: Some(result), ..Finish::default() });
        }
        // A use that never began still has its result.
        for exchange in &mut self.exchanges {
            exchange.closed = true;
            for (id, block) in &exchange.blocks {
                if matches!(block, Block::ToolUse { .. }) && !exchange.results.iter().any(|result| is_result_of(result, id)) {
                    let content = vec![Block::Text { text: "not started: the turn ended before".to_owned() }];
                    exchange.results.push(Block::ToolResult { id: id.clone(), content, is_error: true });
                }
            }
        }
        if end.how == How::Done
            && let Some(last) = self.exchanges.back_mut().filter(|last| !last.told && last.results.is_empty())
        {
            last.stop.get_or_insert(StopReason::End);
        }
        self.settle();
        let left = std::mem::take(&mut self.used);
        if !left.is_none() {
            self.events.push(Event::Usage(left));
        }
        self.events.push(Event::End(end.clone()));
        self.end = Some(end);
    }

    fn is_over(&mut self) -> bool {
        self.late += u64::from(self.end.is_some());
        self.end.is_some()
    }

    fn tell(&mut self, event: Event) {
        if self.end.is_some() {
            self.late += 1;
            return;
        }
        self.said |= !matches!(event, Event::Session { .. } | Event::Warning { .. });
        self.events.push(event);
    }

    /// The block of this key in the message that grows, made if there is none.
    fn block(&mut self, key: &str, make: impl FnOnce() -> Block) -> Option<&mut Block> {
        // A block that is spoken of again, of a message that is not told yet.
        let known = |exchange: &Exchange| !exchange.told && exchange.blocks.iter().any(|(known, _)| known == key);
        let place = match self.exchanges.iter().position(known) {
            Some(place) => place,
            None => {
                if self.exchanges.back().is_none_or(|last| last.closed) {
                    self.exchanges.push_back(Exchange::default());
                }
                let last = self.exchanges.len() - 1;
                self.exchanges.get_mut(last)?.blocks.push((key.to_owned(), make()));
                last
            }
        };
        self.exchanges.get_mut(place)?.blocks.iter_mut().find(|(known, _)| known == key).map(|(_, block)| block)
    }

    /// Tells the messages that are whole, in order.
    fn settle(&mut self) {
        while let Some(first) = self.exchanges.front_mut() {
            if !first.closed {
                return;
            }
            let uses = first.blocks.iter().filter(|(_, block)| matches!(block, Block::ToolUse { .. })).count();
            if !first.told {
                first.told = true;
                let content: Vec<Block> = first.blocks.iter().map(|(_, block)| block.clone()).filter(|block| !is_empty(block)).collect();
                let stop = first.stop.clone().or((uses > 0).then_some(StopReason::ToolUse));
                if !content.is_empty() {
                    let used = std::mem::take(&mut self.used);
                    let usage = (!used.is_none()).then_some(used);
                    let message = Message { role: Role::Assistant, content };
                    self.events.push(Event::Message { message, usage, stop, model: self.model.clone(), told: None });
                }
            }
            if first.results.len() < uses {
                return;
            }
            // In the order of the uses, whatever order they ended in.
            let order = |result: &Block| first.blocks.iter().position(|(key, _)| is_result_of(result, key));
            first.results.sort_by_key(|result| order(result));
            let content = std::mem::take(&mut first.results);
            if !content.is_empty() {
                let message = Message { role: Role::User, content };
                self.events.push(Event::Message { message, usage: None, stop: None, model: None, told: None });
            }
            self.exchanges.pop_front();
        }
    }
}

fn is_result_of(block: &Block, call: &str) -> bool {
    matches!(block, Block::ToolResult { id, .. } if id == call)
}

fn is_empty(block: &Block) -> bool {
    match block {
        Block::Text { text } => text.is_empty(),
        Block::Thinking { text, signature } => text.is_empty() && signature.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

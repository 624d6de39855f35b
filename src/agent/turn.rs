//! One turn of an agent, from its prompt to its end.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::budget::{Ledger, all};
use super::calls::{self, Use};
use super::commands::Commands;
use super::conversation::{estimate, ids, mended, tokens_of, user};
use super::gather::{Answer, Ending, gather};
use super::host::{AgentEvent, End, Finish, Host, Spent, Whole};
use super::mcp::Mcp;
use super::prompt::system;
use super::pruning::{Dated, pruned};
use super::spec::{AgentSpec, Task};
use super::tools::files::Files;
use super::tools::process::row;
use super::tools::{Context, Tool, described, offered};
use crate::exec::company::Company;
use crate::model::{Block, ErrorKind, Message, Model, ModelError, Request, Role, StopReason, Thinking, ToolSpec, Usage};

/// What the model is told when nobody has said anything.
const GO_ON: &str = "Go on.";
/// What stands for the uses of tools in an answer that was too long.
const CUT_OFF: &str = "It did not run: your answer reached its longest length, so the call may be cut off. Use shorter arguments, in several calls if need be.";

/// Runs a turn to its end. Whatever happens, each use of a tool that was told in a message has exactly one result in the next one, and nothing that the turn started runs on.
pub async fn run(spec: AgentSpec, model: Arc<dyn Model>, host: Arc<dyn Host>, mcp: Mcp) -> Finish {
    let mut turn = Turn::new(spec, model, host, mcp);
    let end = match turn.context.spec.task.clone() {
        Task::Answer => turn.answer().await,
        Task::Compact { instructions } => turn.compact_by_wish(instructions.as_deref()).await,
    };
    tokio::join!(turn.context.commands.end(), turn.context.mcp.end());
    let printed = turn.context.commands.printed();
    let Turn { ledger, said, .. } = turn;
    Finish { printed, end: end.end, summary: end.summary, text: said, usage: ledger.usage, spent: ledger.spent, turns: ledger.turns }
}

/// The end of a turn and what to say of it.
pub(super) struct Ended {
    pub end: End,
    pub summary: String,
}

impl Ended {
    pub fn new(end: End, summary: impl Into<String>) -> Self {
        Self { end, summary: summary.into() }
    }

    pub fn stopped() -> Self {
        Self::new(End::Stopped, "aborted")
    }

    /// What happens can no longer be told, so nothing more may happen.
    pub fn unwritten(failed: &io::Error) -> Self {
        Self::new(End::Failed, format!("stopped: what happens cannot be written down ({failed})"))
    }

    fn failed(error: &ModelError) -> Self {
        Self::new(End::Model(error.kind), error.message.clone())
    }
}

/// What goes on in a turn.
pub(super) struct Turn {
    pub context: Arc<Context>,
    pub model: Arc<dyn Model>,
    pub tools: Vec<&'static Tool>,
    specs: Vec<ToolSpec>,
    pub system: String,
    /// The conversation as it was told; it is mended only for the model.
    pub messages: Vec<Message>,
    /// When each of them was said, ms since the epoch.
    pub times: Vec<u64>,
    /// How many messages before those the summary at their head stands for, itself counted once.
    pub replaced: usize,
    pub ledger: Ledger,
    /// Tokens of the last request and its answer, and how many messages that were.
    pub measured: Option<(u64, usize)>,
    /// How often the model had been asked when the conversation was last shortened.
    pub compacted_at: Option<u32>,
    /// Every id of a use.
    ids: BTreeSet<String>,
    /// The text of the last answer.
    said: String,
}

impl Turn {
    fn new(mut spec: AgentSpec, model: Arc<dyn Model>, host: Arc<dyn Host>, mcp: Mcp) -> Self {
        let mut messages = std::mem::take(&mut spec.history);
        if !spec.prompt.is_empty() {
            messages.push(Message { role: Role::User, content: spec.prompt.clone() });
        }
        let mut times = std::mem::take(&mut spec.history_times);
        // Of a daemon that does not say when: then all of it is new.
        times.resize(messages.len(), host.now_ms());
        let tools = offered(&spec);
        let specs = tools.iter().map(|tool| described(tool, &spec)).chain(mcp.described()).collect();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
        let system = system(&spec, &names, host.now_ms());
        let ledger = Ledger::new(spec.budgets);
        let (files, commands) = (Files::new(&spec), Commands::new(spec.exec, host.stop(), Company::several()));
        let ids = ids(&messages);
        let context = Arc::new(Context { spec, host, files, commands, mcp });
        let (replaced, measured, compacted_at, said) = (0, None, None, String::new());
        Self { context, model, tools, specs, system, messages, times, replaced, ledger, measured, compacted_at, ids, said }
    }

    async fn answer(&mut self) -> Ended {
        loop {
            if self.context.host.stop().is_cancelled() {
                return Ended::stopped();
            }
            if let Some((budget, summary)) = self.ledger.exceeded() {
                return Ended::new(End::Budget(budget), summary);
            }
            if let Err(failed) = self.hear() {
                return Ended::unwritten(&failed);
            }
            if self.is_too_long()
                && let Err(ended) = self.compact(None, true).await
            {
                return ended;
            }
            if let Some(ended) = self.step().await {
                return ended;
            }
        }
    }

    /// Asks once and does what the answer wants. `None` = the model waits for what came of it.
    async fn step(&mut self) -> Option<Ended> {
        let request = self.request(self.system.clone(), &self.shown(), self.specs.clone());
        let host = Arc::clone(&self.context.host);
        let mut answer = gather(self.model.ask(&request), &*host, host.stop(), false).await;
        let paid = self.account(answer.usage);
        match std::mem::take(&mut answer.ending) {
            Ending::Whole(stop) => self.take(answer, stop, paid).await,
            Ending::Stopped => Some(self.broken(answer, paid, "aborted").err().unwrap_or_else(Ended::stopped)),
            Ending::Failed(error) => {
                let nothing_came = answer.content.is_empty();
                if error.kind == ErrorKind::ContextLength && nothing_came && self.may_compact() {
                    // Our estimate was wrong; there is no room for a flush either.
                    return self.compact(None, false).await.err();
                }
                Some(self.broken(answer, paid, &error.message).err().unwrap_or_else(|| Ended::failed(&error)))
            }
        }
    }

    /// The conversation as the model is shown it now.
    pub fn shown(&self) -> Cow<'_, [Message]> {
        let spec = &self.context.spec;
        let conversation = Dated { messages: &self.messages, times: &self.times };
        let pruned =
            spec.pruning.as_ref().and_then(|rules| pruned(conversation, self.context.host.now_ms(), spec.model.context_window, rules));
        pruned.map_or(Cow::Borrowed(&self.messages), Cow::Owned)
    }

    /// What the model is sent.
    pub fn request(&self, system: String, messages: &[Message], tools: Vec<ToolSpec>) -> Request {
        let mut messages = mended(messages);
        if messages.last().is_none_or(|last| last.role == Role::Assistant) {
            messages.push(user(GO_ON));
        }
        let facts = &self.context.spec.model;
        let max_tokens = facts.max_tokens.min(facts.context_window / 2).max(1);
        Request { system, messages, tools, max_tokens, thinking: self.context.spec.thinking }
    }

    /// Writes down what an answer used; returns which of the models gave it, and what that cost.
    fn account(&mut self, usage: Usage) -> (usize, Spent) {
        let by = self.model.answering();
        (by, self.ledger.add(usage, self.context.spec.facts(by).cost))
    }

    /// A whole answer.
    async fn take(&mut self, mut answer: Answer, stop: StopReason, (by, spent): (usize, Spent)) -> Option<Ended> {
        self.name_uses(&mut answer.content);
        self.said = answer.text();
        let uses = uses(&answer, &stop);
        let message = Message { role: Role::Assistant, content: answer.content };
        if let Err(failed) = self.tell(Whole { usage: answer.usage, spent, by, stop: Some(stop.clone()), ..Whole::of(message) }) {
            return Some(Ended::unwritten(&failed));
        }
        self.measured = Some((all(answer.usage), self.messages.len())).filter(|(tokens, _)| *tokens > 0);
        if uses.is_empty() {
            let ended = self.done(&stop);
            let may_go_on = ended.end == End::Done && self.ledger.exceeded().is_none() && !self.context.host.stop().is_cancelled();
            // What was said during the answer is answered in the same turn.
            return match if may_go_on { self.hear() } else { Ok(false) } {
                Ok(true) => None,
                Ok(false) => Some(ended),
                Err(failed) => Some(Ended::unwritten(&failed)),
            };
        }
        let (mut results, written) = calls::run_all(&self.context, &self.tools, uses).await;
        self.add_news(&mut results);
        let results = Message { role: Role::User, content: results };
        written.and(self.tell(Whole::of(results))).err().map(|failed| Ended::unwritten(&failed))
    }

    /// Takes what the user says meanwhile into the conversation. Returns whether there was anything.
    fn hear(&mut self) -> io::Result<bool> {
        let mut heard = false;
        while let Some((name, text)) = self.context.host.told() {
            self.tell(Whole { told: Some(name.clone()), ..Whole::of(user(&text)) })?;
            self.context.host.took(&name);
            heard = true;
        }
        Ok(heard)
    }

    /// Says behind the last result which commands have ended in the background.
    fn add_news(&self, results: &mut [Block]) {
        let Some(Block::ToolResult { content, .. }) = results.last_mut() else { return };
        for command in self.context.commands.news() {
            let text = format!("[Ended in the background: {}. Its output: process poll.]", row(&command));
            content.push(Block::Text { text });
        }
    }

    /// An answer that broke off: its words stay.
    fn broken(&mut self, answer: Answer, (by, spent): (usize, Spent), why: &str) -> Result<(), Ended> {
        self.said = answer.text();
        if answer.content.is_empty() && all(answer.usage) == 0 {
            return Ok(());
        }
        let message = Message { role: Role::Assistant, content: answer.content };
        let whole = Whole { usage: answer.usage, spent, by, broken: Some(why.to_owned()), ..Whole::of(message) };
        self.tell(whole).map_err(|failed| Ended::unwritten(&failed))
    }

    /// Tells of a whole message and adds it to the conversation; one without content is told for what it used.
    fn tell(&mut self, whole: Whole) -> io::Result<()> {
        let message = whole.message.clone();
        self.context.host.emit(&AgentEvent::Message(Box::new(whole)))?;
        self.messages.push(message);
        self.times.push(self.context.host.now_ms());
        Ok(())
    }

    /// Gives uses without an id, or with one that was there before, one of their own.
    pub(super) fn name_uses(&mut self, content: &mut [Block]) {
        for block in content {
            if let Block::ToolUse { id, .. } = block
                && (id.is_empty() || !self.ids.insert(id.clone()))
            {
                let mut n = self.ids.len();
                let fresh = loop {
                    let fresh = format!("call_{n}");
                    if self.ids.insert(fresh.clone()) {
                        break fresh;
                    }
                    n += 1;
                };
                *id = fresh;
            }
        }
    }

    fn done(&self, stop: &StopReason) -> Ended {
        match stop {
            StopReason::MaxTokens => Ended::new(End::MaxTokens, "the model's answer reached its longest length and breaks off"),
            StopReason::Refusal => Ended::new(End::Refused, "the model refused to answer"),
            _ => Ended::new(End::Done, "completed"),
        }
    }

    /// How many tokens the next request has, roughly.
    pub fn length(&self) -> u64 {
        match self.measured {
            Some((tokens, messages)) => tokens.saturating_add(estimate(self.messages.get(messages..).unwrap_or_default())),
            None => {
                let tools: usize = self.specs.iter().map(|tool| tool.description.len() + tool.schema.to_string().len()).sum();
                tokens_of(self.system.len() + tools).saturating_add(estimate(&self.shown()))
            }
        }
    }

    /// A request to the model on the side, of which nobody is told while it comes.
    pub async fn ask_aside(&mut self, request: Request) -> Answer {
        let host = Arc::clone(&self.context.host);
        let answer = gather(self.model.ask(&request), &*host, host.stop(), true).await;
        self.account(answer.usage);
        answer
    }

    /// What the model is told of some of the tools.
    pub fn told_of(&self, names: &[&str]) -> Vec<ToolSpec> {
        self.specs.iter().filter(|spec| names.contains(&spec.name.as_str())).cloned().collect()
    }

    /// A request without tools and thoughts.
    pub fn plain_request(&self, system: &str, messages: &[Message]) -> Request {
        Request { thinking: Thinking::Off, ..self.request(system.to_owned(), messages, Vec::new()) }
    }
}

/// The uses of tools in an answer.
pub(super) fn uses(answer: &Answer, stop: &StopReason) -> Vec<Use> {
    let cut_off = matches!(stop, StopReason::MaxTokens).then(|| CUT_OFF.to_owned());
    let uses = answer.content.iter().enumerate().filter_map(|(at, block)| match block {
        Block::ToolUse { id, name, input } => {
            let malformed = answer.malformed.iter().find(|(place, _)| *place == at).map(|(_, wrong)| wrong.clone());
            let wrong = cut_off.clone().or(malformed);
            Some(Use { id: id.clone(), name: name.clone(), input: input.clone(), wrong })
        }
        _ => None,
    });
    uses.collect()
}

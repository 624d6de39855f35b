//! Writes what happens in a program's turn into the run's journal. Small pieces of text come together in one line, so that a fast model costs few lines and a slow one is seen at once.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::ours::Ours;
use crate::agent::hands::Done;
use crate::exec::env::looks_secret;
use crate::exec::output::{Counts, Output};
use crate::model::{Block, Role, StopReason};
use crate::programs::event::{EXEC, Event, Used};
use crate::programs::spec::{Kind, ProgramSpec};
use crate::protocol::event::agent::{AssistantText, Lifecycle, Source, Stream, ThinkingText, Tool, Whole};
use crate::protocol::usage::{TokenCost, TokenUsage};
use crate::runs::control::OutputLimits;
use crate::runs::sink::{CallOutput, RunSink};

/// Shortest time between two lines of text.
const PAUSE: Duration = Duration::from_millis(100);
/// A longer text is told less often, so that repeating it costs about the same bytes per second.
const STEADY_BYTES: usize = 4 << 10;
/// Least room for the output of a call, in bytes.
const LEAST_ROOM: u64 = 64 << 10;
/// Shortest value that is taken for a secret; shorter ones stand in ordinary text.
const SECRET_LEN: usize = 6;

/// Tells a turn.
#[derive(Debug)]
pub struct Teller {
    out: RunSink,
    kind: Kind,
    limits: OutputLimits,
    secrets: Vec<String>,
    telling: Mutex<Telling>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Telling {
    /// Text of the last whole message that had any.
    answer: String,
    /// Text of the current message, and how much of it was told.
    text: String,
    told: usize,
    thinking: String,
    /// When what is held back must be told.
    due: Option<Instant>,
    last: Option<Instant>,
    /// A message that may yet learn what it used.
    held: Option<Whole>,
    calls: HashMap<String, Call>,
    /// Calls of our own tool, if the program has it.
    ours: Option<Ours>,
    counts: Counts,
    used: Used,
    content: bool,
    failed: Option<io::Error>,
}

impl Telling {
    /// A message of the model with these blocks is whole.
    fn next_message(&mut self, blocks: &[Block]) {
        let text = |block: &Block| if let Block::Text { text } = block { Some(text.clone()) } else { None };
        let words: String = blocks.iter().filter_map(text).collect();
        if !words.trim().is_empty() {
            self.answer = words;
        }
        self.text.clear();
        self.told = 0;
    }
}

#[derive(Debug)]
struct Call {
    output: Output<CallOutput>,
    started: Instant,
}

impl Teller {
    /// A teller of a turn of this kind of program.
    pub fn new(out: RunSink, kind: Kind, limits: OutputLimits, spec: &ProgramSpec) -> Self {
        let secret = |(name, value): (&String, &String)| (looks_secret(name) && value.len() >= SECRET_LEN).then(|| value.clone());
        let key = spec.ready.proxy.iter().map(|proxy| proxy.key.clone());
        let secrets = spec.env.iter().filter_map(secret).chain(key).collect();
        let telling = Telling { ours: spec.hands.map(|_| Ours::default()), ..Telling::default() };
        Self { out, kind, limits, secrets, telling: Mutex::new(telling), news: Notify::new() }
    }

    /// Tells an event.
    pub fn take(&self, event: Event) {
        let mut telling = self.lock();
        if let Err(failed) = self.tell(&mut telling, event) {
            telling.failed.get_or_insert(failed);
        }
        drop(telling);
        self.news.notify_one();
    }

    /// Our own tool is used: tells of it, if the program has not. Returns the name of the call.
    pub fn begin(&self, named: Option<String>, command: &str, cwd: &Path) -> String {
        let mut telling = self.lock();
        let (id, is_new) = telling.ours.get_or_insert_default().begin(named, command);
        telling.content = true;
        if is_new {
            let start = Tool::start(EXEC, &id, json!({ "command": command, "cwd": cwd.to_string_lossy() }));
            let told =
                self.flush(&mut telling).and_then(|()| self.release(&mut telling)).and_then(|()| self.out.emit(Stream::Tool, &start));
            self.note(&mut telling, told.map(drop));
        }
        id
    }

    /// A call of our own tool is over.
    pub fn end(&self, id: &str, done: &Done) {
        let mut telling = self.lock();
        let Some(begun) = telling.ours.as_mut().and_then(|ours| ours.end(id)) else { return };
        let end = Tool::Result {
            name: EXEC.to_owned(),
            tool_call_id: id.to_owned(),
            exit_code: done.exit_code,
            signal: done.signal.clone(),
            duration_ms: ms_since(begun),
            is_error: done.is_error,
            // What was printed stands in lines of its own.
            result: (done.exit_code.is_none() && done.signal.is_none()).then(|| json!(done.text)),
        };
        let told = self.flush(&mut telling).and_then(|()| self.release(&mut telling)).and_then(|()| self.out.emit(Stream::Tool, &end));
        self.note(&mut telling, told.map(drop));
    }

    /// Nothing more comes of our own tool: calls whose commands could not be ended in time are over all the same.
    pub fn end_all(&self) {
        let open = self.lock().ours.as_ref().map(Ours::open).unwrap_or_default();
        let lost = Done { text: "its command did not end when it was told to".to_owned(), is_error: true, exit_code: None, signal: None };
        open.iter().for_each(|id| self.end(id, &lost));
    }

    /// Commands of our own tool printed so much.
    pub fn printed(&self, counts: Counts) {
        self.lock().counts.add(counts);
    }

    fn note(&self, telling: &mut Telling, told: io::Result<()>) {
        if let Err(failed) = told {
            telling.failed.get_or_insert(failed);
            self.news.notify_one();
        }
    }

    /// Tells something that is no event of the program.
    pub fn warn(&self, text: &str) {
        self.take(Event::Warning { text: text.to_owned(), retry: false });
    }

    /// Tells what was held back when its time has come. Ends only when the journal takes no more.
    pub async fn keep_telling(&self) -> io::Error {
        loop {
            let due = {
                let mut telling = self.lock();
                if let Some(failed) = telling.failed.take() {
                    return failed;
                }
                telling.due
            };
            match due {
                Some(due) => {
                    sleep_until(due).await;
                    let mut telling = self.lock();
                    if let Err(failed) = self.flush(&mut telling).and_then(|()| self.release(&mut telling)) {
                        return failed;
                    }
                }
                None => self.news.notified().await,
            }
        }
    }

    /// Whether the program said or did anything.
    pub fn has_content(&self) -> bool {
        self.lock().content
    }

    /// The text of the last message of the model that had any.
    pub fn answer(&self) -> String {
        self.lock().answer.clone()
    }

    /// How much its commands printed.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What the turn used; none if the program does not say.
    pub fn usage(&self) -> Option<TokenUsage> {
        let used = self.lock().used;
        (!used.is_none()).then(|| usage(used))
    }

    /// The text without the values of the program's secret variables.
    pub fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }

    fn tell(&self, telling: &mut Telling, event: Event) -> io::Result<()> {
        telling.content |= !matches!(event, Event::Session { .. } | Event::Warning { .. } | Event::Usage(_) | Event::End(_));
        match event {
            Event::Text { delta } => {
                self.release(telling)?;
                telling.text.push_str(&delta);
                return self.soon(telling);
            }
            Event::Thinking { delta } => {
                self.release(telling)?;
                telling.thinking.push_str(&delta);
                return self.soon(telling);
            }
            Event::Usage(more) => {
                telling.used.add(more);
                if let Some(whole) = &mut telling.held {
                    whole.usage.get_or_insert_default().add(&usage(more));
                }
                return Ok(());
            }
            _ => {}
        }
        self.flush(telling)?;
        self.release(telling)?;
        if is_of_our_tool(telling, &event) {
            return Ok(());
        }
        match event {
            Event::Session { reference } => {
                self.out.emit(Stream::Lifecycle, &Lifecycle::Session { runner: self.kind.name().to_owned(), reference })?;
                // With it a run that is killed can be taken up again.
                self.out.sync()?;
            }
            Event::Warning { text, .. } => {
                let text = self.without_secrets(&text);
                self.out.emit(Stream::Lifecycle, &Lifecycle::Warning { text })?;
            }
            Event::ToolStart { id, name, args } => {
                self.out.emit(Stream::Tool, &Tool::start(&name, &id, args))?;
                let room = self.limits.cap_bytes.saturating_sub(telling.counts.kept()).max(LEAST_ROOM);
                let output = Output::new(self.out.output(&id), room, self.limits.tail_bytes);
                telling.calls.insert(id, Call { output, started: Instant::now() });
            }
            Event::ToolOutput { id, text, .. } => {
                if let Some(call) = telling.calls.get_mut(&id) {
                    call.output.push(Source::Stdout, text.as_bytes());
                }
            }
            Event::ToolEnd { id, name, is_error, exit_code, result } => {
                let (counts, duration) = match telling.calls.remove(&id) {
                    Some(mut call) => (call.output.finish(), call.started.elapsed()),
                    None => (Counts::default(), Duration::ZERO),
                };
                telling.counts.add(counts);
                let result = (name != EXEC || counts.stdout_bytes == 0).then(|| json!(result)).filter(|result| result != "");
                let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let end = Tool::Result { name, tool_call_id: id, exit_code, signal: None, duration_ms, is_error, result };
                self.out.emit(Stream::Tool, &end)?;
            }
            Event::Message { message, usage: used, stop, model, told } => {
                let of_model = message.role == Role::Assistant;
                if of_model {
                    telling.next_message(&message.content);
                }
                telling.used.add(used.unwrap_or_default());
                let whole = Whole {
                    message: serde_json::to_value(message)?,
                    provider: of_model.then(|| self.kind.name().to_owned()),
                    model: model.filter(|_| of_model),
                    api: of_model.then(|| self.kind.name().to_owned()),
                    usage: used.map(usage),
                    stop_reason: stop.map(word),
                    error: None,
                    told,
                };
                return self.hold(telling, whole);
            }
            Event::Text { .. } | Event::Thinking { .. } | Event::Usage(_) => {}
            Event::End(_) => self.out.sync()?,
        }
        Ok(())
    }

    /// Keeps a message until it is certain what was used for it.
    fn hold(&self, telling: &mut Telling, whole: Whole) -> io::Result<()> {
        let is_told = whole.told.is_some();
        telling.held = Some(whole);
        if is_told {
            // Who hears that it was taken finds it in the journal, whatever happens next.
            self.release(telling)?;
            return self.out.sync();
        }
        telling.due.get_or_insert(Instant::now() + PAUSE);
        Ok(())
    }

    /// Tells what is new in the text, now or when the pause is over.
    fn soon(&self, telling: &mut Telling) -> io::Result<()> {
        let pause = PAUSE.mul_f64((telling.text.len() as f64 / STEADY_BYTES as f64).max(1.0));
        let due = telling.last.map_or_else(Instant::now, |last| last + pause);
        if due <= Instant::now() {
            return self.flush(telling);
        }
        telling.due.get_or_insert(due);
        Ok(())
    }

    fn flush(&self, telling: &mut Telling) -> io::Result<()> {
        telling.due = None;
        if !telling.thinking.is_empty() {
            let delta = std::mem::take(&mut telling.thinking);
            telling.last = Some(Instant::now());
            self.out.emit(Stream::Thinking, &ThinkingText { delta })?;
        }
        if telling.told < telling.text.len() {
            let delta = telling.text.get(telling.told..).unwrap_or_default().to_owned();
            telling.told = telling.text.len();
            telling.last = Some(Instant::now());
            self.out.emit(Stream::Assistant, &AssistantText { text: telling.text.clone(), delta })?;
        }
        Ok(())
    }

    /// Writes the message that was held.
    fn release(&self, telling: &mut Telling) -> io::Result<()> {
        match telling.held.take() {
            Some(whole) => self.out.emit(Stream::Message, &whole).map(drop),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is about a call of our own tool, of which is told here: how its command ended is known, also if the program did not wait for it.
fn is_of_our_tool(telling: &mut Telling, event: &Event) -> bool {
    let Some(ours) = &mut telling.ours else { return false };
    match event {
        Event::ToolStart { id, args, .. } => !ours.told(id, args),
        Event::ToolOutput { id, .. } | Event::ToolEnd { id, .. } => ours.name(id).is_some(),
        _ => false,
    }
}

fn ms_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn usage(used: Used) -> TokenUsage {
    let cost = used.cost_usd.map(|total| TokenCost { total, ..TokenCost::default() });
    let tokens = used.tokens;
    TokenUsage { input: tokens.input, output: tokens.output, cache_read: tokens.cache_read, cache_write: tokens.cache_write, cost }
}

fn word(stop: StopReason) -> String {
    match stop {
        StopReason::End => "stop".to_owned(),
        StopReason::ToolUse => "toolUse".to_owned(),
        StopReason::MaxTokens => "length".to_owned(),
        StopReason::Refusal => "refusal".to_owned(),
        StopReason::Other(other) => other,
    }
}

//! Reads a message of a chat: is it a stop word, a command, directives with or without a question, or just something to do?
//!
//! Pure: a text and a few facts in, a decision out; whoever asked carries it out. What is no command of ours goes on as text, so a script may begin with `/bin/ls`.

use serde_json::{Map, Value, json};

use super::queue_words::{self, Queue, QueuePatch};
use super::replies;
use super::table::{Kind, Level, Spec, find};

/// Messages that end the session's runs, beside `/stop`; the whole message, in any case.
const STOP_WORDS: &[&str] = &["stop", "esc", "abort", "wait", "exit", "interrupt"];

/// What the decision may depend on.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Messages that start a session afresh (`session.resetTriggers`).
    pub reset_triggers: &'a [String],
    /// Whether commands are read at all (`commands.text`).
    pub text_commands: bool,
    /// The agent.
    pub agent: &'a str,
    /// Name of its runner.
    pub runner: &'a str,
    /// Names of the models that may answer, as `provider/model`; empty if none does.
    pub models: &'a [String],
    /// Canonical key of the session.
    pub session_key: &'a str,
    /// Id of the conversation, if it has begun.
    pub session_id: Option<&'a str>,
    /// The session's entry as JSON: levels, queue settings, tokens.
    pub entry: Option<&'a Map<String, Value>>,
    /// How messages wait in this session, everything considered.
    pub queue: Queue,
    /// The run at work, and since when, ms since the epoch.
    pub at_work: Option<(&'a str, u64)>,
    /// How many messages wait.
    pub waiting: usize,
    /// Version of the gateway.
    pub version: &'a str,
    /// How long it has been up, in ms.
    pub uptime_ms: u64,
    /// Now, ms since the epoch.
    pub now: u64,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A turn, as it stands.
    Turn,
    /// The session's runs are to end.
    Stop,
    /// A command, or directives.
    Command(Command),
}

/// What is to be done, in this order: the actions; then the rest as a turn, or if there is none the reply as an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// What changes.
    pub actions: Vec<Action>,
    /// What is answered at once, without a turn.
    pub reply: Option<String>,
    /// What remains to be done as a turn.
    pub rest: Option<String>,
    /// That turn is to shorten the conversation, and its summary to look after this; `rest` is the whole message then.
    pub compact: Option<String>,
}

/// A change that a message asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The session starts afresh; its runs end.
    Reset,
    /// Parameters of `sessions.patch` for this session; null clears.
    Patch(Map<String, Value>),
    /// How messages wait in this session; null clears.
    Queue(QueuePatch),
}

/// Whether the whole message asks for the end of the session's runs.
#[must_use]
pub fn is_stop(message: &str) -> bool {
    let word = message.trim();
    word.eq_ignore_ascii_case("/stop") || STOP_WORDS.iter().any(|stop| word.eq_ignore_ascii_case(stop))
}

/// What the message is.
#[must_use]
pub fn decide(message: &str, facts: &Facts<'_>) -> Decision {
    if is_stop(message) {
        return Decision::Stop;
    }
    if !facts.text_commands {
        return Decision::Turn;
    }
    if let Some(rest) = after_trigger(message, facts.reset_triggers) {
        return Decision::Command(reset(rest, facts));
    }
    directives(message, facts).map_or(Decision::Turn, Decision::Command)
}

/// What follows a reset trigger, if the message begins with one.
fn after_trigger<'m>(message: &'m str, triggers: &[String]) -> Option<&'m str> {
    let message = message.trim();
    triggers.iter().map(|trigger| trigger.trim()).filter(|trigger| !trigger.is_empty()).find_map(|trigger| {
        let (head, rest) = message.split_at_checked(trigger.len())?;
        let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
        (ends && head.to_lowercase() == trigger.to_lowercase()).then(|| rest.trim_start())
    })
}

fn reset(rest: &str, facts: &Facts<'_>) -> Command {
    let mut actions = vec![Action::Reset];
    let (first, behind) = split_word(rest);
    let model = model_named(first, facts.models);
    if let Some(model) = model {
        actions.push(Action::Patch(patch("model", json!(model))));
    }
    let rest = if model.is_some() { behind } else { rest };
    // What follows may hold directives of its own.
    let mut command = match directives(rest, facts) {
        Some(inner) => inner,
        None if rest.is_empty() => Command { reply: Some(replies::reset(model)), ..Command::default() },
        None => Command { rest: Some(rest.to_owned()), ..Command::default() },
    };
    command.actions.splice(0..0, actions);
    command
}

/// Reads commands and directives in front of a message. None if there are none.
fn directives(message: &str, facts: &Facts<'_>) -> Option<Command> {
    let mut command = Command::default();
    let mut replies = Vec::new();
    let mut rest = message.trim();
    let mut found = false;
    while let Some((spec, behind)) = named(rest) {
        let Some((done, left)) = one(spec, behind, facts) else { break };
        found = true;
        match done {
            Done::Answer(text) => replies.push(text),
            Done::Change(action, text) => {
                command.actions.push(action);
                replies.push(text);
            }
            Done::Compact(instructions) => {
                (command.rest, command.compact) = (Some(message.trim().to_owned()), Some(instructions));
                return Some(command);
            }
            // A wrong word changes nothing, and what follows is not what the user meant to send.
            Done::Wrong(text) => return Some(Command { reply: Some(text), ..Command::default() }),
        }
        rest = left.trim_start();
    }
    if !found {
        return None;
    }
    if rest.is_empty() {
        command.reply = Some(replies.join("\n"));
    } else {
        command.rest = Some(rest.to_owned());
    }
    Some(command)
}

/// The command at the start of a text, and what follows its name.
fn named(text: &str) -> Option<(&'static Spec, &str)> {
    let text = text.strip_prefix('/')?;
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let rest = match rest.chars().next() {
        None => rest,
        Some(c) if c.is_whitespace() => rest,
        Some(':') => rest.get(1..)?,
        Some(_) => return None,
    };
    find(name).map(|spec| (spec, rest))
}

/// What one command comes to.
pub(super) enum Done {
    Answer(String),
    Change(Action, String),
    Compact(String),
    Wrong(String),
}

/// Carries out one command as far as it can be without side effects. None if it is not meant: something follows that does not belong to it.
fn one<'m>(spec: &'static Spec, rest: &'m str, facts: &Facts<'_>) -> Option<(Done, &'m str)> {
    let (word, behind) = split_word(rest);
    match spec.kind {
        // The words that reset are configured, and stop is the whole message; both were looked for before.
        Kind::Reset | Kind::Stop => None,
        // These stand alone.
        Kind::Status => rest.trim().is_empty().then(|| (Done::Answer(replies::status(facts)), "")),
        Kind::Help => rest.trim().is_empty().then(|| (Done::Answer(replies::help(facts)), "")),
        Kind::Commands => rest.trim().is_empty().then(|| (Done::Answer(replies::commands(facts)), "")),
        Kind::Models => rest.trim().is_empty().then(|| (Done::Answer(replies::models(facts)), "")),
        Kind::Compact if facts.models.is_empty() => Some((Done::Answer(replies::no_model(facts)), "")),
        Kind::Compact => Some((Done::Compact(rest.trim().to_owned()), "")),
        Kind::Queue => Some(queue_words::read(rest, facts)),
        Kind::Model if word.is_empty() => Some((Done::Answer(replies::model(facts)), "")),
        Kind::Model => Some((model(word, facts), behind)),
        Kind::Level(level) if word.is_empty() => Some((Done::Answer(replies::level(spec, level, facts)), "")),
        Kind::Level(level) => Some((set_level(spec, level, word, facts), behind)),
    }
}

fn set_level(spec: &Spec, level: Level, word: &str, facts: &Facts<'_>) -> Done {
    match level.words.iter().find(|known| known.eq_ignore_ascii_case(word)) {
        Some(known) => Done::Change(Action::Patch(patch(level.field, json!(known))), replies::level_set(level, known, facts)),
        None => Done::Wrong(replies::wrong_level(spec, level, word)),
    }
}

fn model(word: &str, facts: &Facts<'_>) -> Done {
    if facts.models.is_empty() {
        return Done::Wrong(replies::no_model(facts));
    }
    if matches!(word, "default" | "reset") {
        return Done::Change(Action::Patch(patch("model", Value::Null)), "The session uses the agent's model.".to_owned());
    }
    match model_named(word, facts.models) {
        Some(model) => Done::Change(Action::Patch(patch("model", json!(model))), format!("Model set to {model}.")),
        None => Done::Wrong(replies::unknown_model(word, facts)),
    }
}

/// The model that a word names: in full, or by its part behind the provider if that is unique.
fn model_named<'f>(word: &str, models: &'f [String]) -> Option<&'f str> {
    let exact = models.iter().find(|model| model.eq_ignore_ascii_case(word));
    let short = || {
        let mut fits = models.iter().filter(|model| model.split_once('/').is_some_and(|(_, name)| name.eq_ignore_ascii_case(word)));
        fits.next().filter(|_| fits.next().is_none())
    };
    if word.is_empty() { None } else { exact.or_else(short).map(String::as_str) }
}

fn patch(field: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(field.to_owned(), value)])
}

/// The first word of a text and what stands behind it; a newline ends a word like a space does.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;

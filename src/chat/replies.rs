//! What commands answer.

use std::fmt::Write as _;

use serde_json::Value;

use super::commands::Facts;
use super::queue_words::QueuePatch;
use super::table::{COMMANDS, Level, QUEUE_MODES, Spec};

/// After a reset without a first message.
pub(super) fn reset(model: Option<&str>) -> String {
    model.map_or_else(|| "New session started.".to_owned(), |model| format!("New session started with model {model}."))
}

/// `/help`.
pub(super) fn help(facts: &Facts<'_>) -> String {
    let does = if facts.models.is_empty() {
        format!("Agent \"{}\" runs what you send with its runner \"{}\".", facts.agent, facts.runner)
    } else {
        format!("Agent \"{}\" answers what you send.", facts.agent)
    };
    let shown = ["new", "stop", "status", "queue"];
    let lines = COMMANDS.iter().filter(|spec| shown.contains(&spec.name)).map(line).collect::<Vec<_>>();
    format!("{does}\n\n{}\n\n/commands lists all commands. `stop` alone ends the run too.", lines.join("\n"))
}

/// `/commands`.
pub(super) fn commands(facts: &Facts<'_>) -> String {
    let (of_models, others): (Vec<&Spec>, Vec<&Spec>) = COMMANDS.iter().partition(|spec| spec.for_models);
    let list = |specs: &[&Spec]| specs.iter().map(|spec| line(spec)).collect::<Vec<_>>().join("\n");
    let title = if facts.models.is_empty() { "For models, which this agent has none of:" } else { "For models:" };
    format!("{}\n\n{title}\n{}", list(&others), list(&of_models))
}

fn line(spec: &Spec) -> String {
    let usage = if spec.usage.is_empty() { String::new() } else { format!(" {}", spec.usage) };
    format!("/{}{usage} - {}", spec.name, spec.summary)
}

/// `/status`.
pub(super) fn status(facts: &Facts<'_>) -> String {
    let mut text = format!("SkyKoi Gateway {}, up {}.\n", facts.version, span(facts.uptime_ms));
    // Writing into a text cannot fail.
    let _ = write!(text, "Agent: {} (runner {})\nSession: {}", facts.agent, facts.runner, facts.session_key);
    if let Some(id) = facts.session_id {
        let _ = write!(text, "\nConversation: {id}");
    }
    if let Some(at) = field(facts, "updatedAt").and_then(Value::as_u64) {
        let _ = write!(text, ", last active {} ago", span(facts.now.saturating_sub(at)));
    }
    let _ = match facts.at_work {
        Some((run, since)) => write!(text, "\nAt work: run {run}, for {}", span(facts.now.saturating_sub(since))),
        None => write!(text, "\nAt work: nothing"),
    };
    if facts.waiting > 0 {
        let _ = write!(text, "; {} waiting", facts.waiting);
    }
    let _ = write!(text, "\nQueue: {}", rules(facts));
    if facts.models.is_empty() {
        let _ = write!(text, "\nModel: none");
    } else {
        let _ = write!(text, "\nModel: {}", current_model(facts));
        if let Some(tokens) = field(facts, "totalTokens").and_then(Value::as_u64) {
            let _ = write!(text, ", {tokens} tokens");
        }
    }
    for level in levels() {
        if let Some(word) = field(facts, level.field).and_then(Value::as_str) {
            let _ = write!(text, "\n{}: {word}", level.title);
        }
    }
    text
}

/// `/queue` alone.
pub(super) fn queue(facts: &Facts<'_>) -> String {
    format!("Queue: {}.\nModes: {}. Example: /queue collect debounce:2s cap:25 drop:summarize", rules(facts), QUEUE_MODES.join(", "))
}

/// After `/queue` with settings.
pub(super) fn queue_set(change: QueuePatch) -> String {
    let mut parts = Vec::new();
    if change == (QueuePatch { mode: Some(None), debounce_ms: Some(None), cap: Some(None), drop: Some(None) }) {
        return "Queue settings of this session cleared; the configuration's apply.".to_owned();
    }
    parts.extend(change.mode.flatten().map(|mode| format!("mode {}", mode.name())));
    parts.extend(change.debounce_ms.flatten().map(|ms| format!("debounce {ms} ms")));
    parts.extend(change.cap.flatten().map(|cap| format!("cap {cap}")));
    parts.extend(change.drop.flatten().map(|drop| format!("drop {}", drop.name())));
    format!("Queue set: {}.", parts.join(", "))
}

/// After `/queue` with something that it does not know.
pub(super) fn wrong_queue(word: &str) -> String {
    format!(
        "\"{}\" is no queue mode. Modes: {}. Settings: debounce:2s, cap:20, drop:summarize; `reset` clears them.",
        short(word),
        QUEUE_MODES.join(", ")
    )
}

fn rules(facts: &Facts<'_>) -> String {
    let queue = &facts.queue;
    format!("{}, debounce {} ms, cap {}, drop {}", queue.mode.name(), queue.debounce_ms, queue.cap, queue.drop.name())
}

/// A level's command alone.
pub(super) fn level(spec: &Spec, level: Level, facts: &Facts<'_>) -> String {
    let current = field(facts, level.field).and_then(Value::as_str).unwrap_or("off");
    let mut text = format!("{}: {current}. Set it with /{} {}.{}", level.title, spec.name, level.words.join("|"), unused(facts));
    let tokens = |name: &str| field(facts, name).and_then(Value::as_u64);
    if let (true, Some(read), Some(written)) = (level.field == "responseUsage", tokens("inputTokens"), tokens("outputTokens")) {
        // Writing into a text cannot fail.
        let _ = write!(text, "\nThis conversation: {read} tokens read, {written} written");
        if let Some(now) = tokens("totalTokens") {
            let _ = write!(text, ", {now} in the model's window");
        }
        text.push('.');
    }
    text
}

/// After a level was set.
pub(super) fn level_set(level: Level, word: &str, facts: &Facts<'_>) -> String {
    let note = level.note.map(|note| format!(" {note}")).unwrap_or_default();
    format!("{} set to {word}.{note}{}", level.title, unused(facts))
}

/// After a level's command with a word that it does not know.
pub(super) fn wrong_level(spec: &Spec, level: Level, word: &str) -> String {
    format!("\"{}\" is no {}. Use /{} {}.", short(word), level.title.to_lowercase(), spec.name, level.words.join("|"))
}

/// Says so when what was set has no effect.
fn unused(facts: &Facts<'_>) -> String {
    if facts.models.is_empty() {
        format!(
            " It is kept, but has no effect: agent \"{}\" works with the runner \"{}\", which uses no model.",
            facts.agent, facts.runner
        )
    } else {
        String::new()
    }
}

/// `/model` alone.
pub(super) fn model(facts: &Facts<'_>) -> String {
    if facts.models.is_empty() {
        return no_model(facts);
    }
    format!("Model: {}. Set it with /model provider/model; /models lists them.", current_model(facts))
}

/// `/models`.
pub(super) fn models(facts: &Facts<'_>) -> String {
    if facts.models.is_empty() {
        return no_model(facts);
    }
    format!("Models:\n{}", facts.models.iter().map(|model| format!("- {model}")).collect::<Vec<_>>().join("\n"))
}

/// There is nothing to choose.
pub(super) fn no_model(facts: &Facts<'_>) -> String {
    format!("Agent \"{}\" works with the runner \"{}\", which uses no model; there is none to choose.", facts.agent, facts.runner)
}

/// After `/model` with a name that nothing has.
pub(super) fn unknown_model(word: &str, facts: &Facts<'_>) -> String {
    format!("There is no model \"{}\". Models: {}.", short(word), facts.models.join(", "))
}

fn current_model(facts: &Facts<'_>) -> String {
    let chosen = field(facts, "modelOverride").and_then(Value::as_str);
    let provider = field(facts, "providerOverride").and_then(Value::as_str);
    match (provider, chosen) {
        (Some(provider), Some(model)) => format!("{provider}/{model}"),
        (None, Some(model)) => model.to_owned(),
        _ => facts.models.first().map_or_else(|| "none".to_owned(), |model| format!("{model} (the agent's)")),
    }
}

fn levels() -> impl Iterator<Item = Level> {
    COMMANDS.iter().filter_map(|spec| match spec.kind {
        super::table::Kind::Level(level) => Some(level),
        _ => None,
    })
}

fn field<'f>(facts: &Facts<'f>, name: &str) -> Option<&'f Value> {
    facts.entry?.get(name).filter(|value| !value.is_null())
}

fn short(word: &str) -> String {
    crate::transcript::glance::cut(word, 40)
}

/// A time as a person would say it.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!([0, 59_999, 60_000, 7_380_000, 90_000_000].map(span), ["0 s", "59 s", "1 min", "2 h 3 min", "1 d 1 h"]);
    }
}

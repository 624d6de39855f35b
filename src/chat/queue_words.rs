//! `/queue`: how messages wait while a run is at work, and how a message changes that.

use super::commands::{Action, Done, Facts, split_word};
use super::replies;
use super::table::QUEUE_DROPS;
use crate::config::messages::{QueueDrop, QueueMode};

/// How messages wait while a run is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// What happens to a message.
    pub mode: QueueMode,
    /// Quiet time before waiting messages are taken, ms.
    pub debounce_ms: u64,
    /// Most messages that wait.
    pub cap: u32,
    /// What goes when more come.
    pub drop: QueueDrop,
}

impl Default for Queue {
    fn default() -> Self {
        Self { mode: QueueMode::Collect, debounce_ms: 1000, cap: 20, drop: QueueDrop::Summarize }
    }
}

/// A change of how messages wait in a session: none = as it is, `Some(None)` = back to the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePatch {
    /// What happens to a message.
    pub mode: Option<Option<QueueMode>>,
    /// Quiet time before waiting messages are taken, ms.
    pub debounce_ms: Option<Option<u64>>,
    /// Most messages that wait.
    pub cap: Option<Option<u32>>,
    /// What goes when more come.
    pub drop: Option<Option<QueueDrop>>,
}

/// `/queue`: settings as far as they go; what follows them is the message.
pub(super) fn read<'m>(rest: &'m str, facts: &Facts<'_>) -> (Done, &'m str) {
    let mut change = QueuePatch::default();
    let mut left = rest;
    loop {
        let (word, behind) = split_word(left);
        match setting(word, &mut change) {
            Ok(true) => left = behind,
            Ok(false) => break,
            Err(wrong) => return (Done::Wrong(wrong), ""),
        }
    }
    if change != QueuePatch::default() {
        return (Done::Change(Action::Queue(change), replies::queue_set(change)), left);
    }
    let (word, _) = split_word(left);
    let done = if word.is_empty() { Done::Answer(replies::queue(facts)) } else { Done::Wrong(replies::wrong_queue(word)) };
    (done, "")
}

/// Takes one setting of the queue. False if the word is none.
fn setting(word: &str, change: &mut QueuePatch) -> Result<bool, String> {
    let lower = word.to_ascii_lowercase();
    if let Some(mode) = mode_named(&lower) {
        change.mode = Some(Some(mode));
        return Ok(true);
    }
    match lower.split_once([':', '=']) {
        None if matches!(lower.as_str(), "reset" | "default" | "clear") => {
            *change = QueuePatch { mode: Some(None), debounce_ms: Some(None), cap: Some(None), drop: Some(None) };
        }
        Some(("debounce", text)) => {
            let wrong = || format!("\"{text}\" is no time. Examples: debounce:500ms, debounce:2s, debounce:1m.");
            change.debounce_ms = Some(Some(milliseconds(text).ok_or_else(wrong)?));
        }
        Some(("cap", text)) => {
            let cap = text.parse().ok().filter(|cap| (1..=500).contains(cap));
            change.cap = Some(Some(cap.ok_or_else(|| format!("\"{text}\" is no number of messages. It must be 1 to 500."))?));
        }
        Some(("drop", text)) => {
            let drop = match text {
                "old" => QueueDrop::Old,
                "new" => QueueDrop::New,
                "summarize" | "summary" | "summarise" => QueueDrop::Summarize,
                _ => return Err(format!("\"{text}\" is no way to drop messages. One of: {}.", QUEUE_DROPS.join(", "))),
            };
            change.drop = Some(Some(drop));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn mode_named(word: &str) -> Option<QueueMode> {
    Some(match word {
        "collect" => QueueMode::Collect,
        "followup" | "follow-up" => QueueMode::Followup,
        // `queue` is the old name.
        "steer" | "queue" => QueueMode::Steer,
        "steer-backlog" | "steer+backlog" => QueueMode::SteerBacklog,
        "interrupt" => QueueMode::Interrupt,
        _ => return None,
    })
}

/// A time such as `500ms`, `2s`, `0.5s` or `1m`; a bare number is milliseconds. At most an hour.
fn milliseconds(text: &str) -> Option<u64> {
    let units = [("ms", 1.0), ("s", 1000.0), ("m", 60_000.0), ("", 1.0)];
    let (number, unit) = units.into_iter().find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, unit)))?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let ms: f64 = if plain { number.parse::<f64>().ok()? * unit } else { return None };
    // Bounded, so the conversion is exact enough.
    (ms <= 3_600_000.0).then(|| ms.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_queue_are_bounded_and_plain() {
        assert_eq!(
            ["250", "500ms", "2s", "0.5s", "1m", "60m"].map(milliseconds),
            [Some(250), Some(500), Some(2000), Some(500), Some(60_000), Some(3_600_000)]
        );
        assert_eq!(["", "s", "-1s", "1h", "61m", "1e9s", "inf", "NaNs", "1.2.3s"].map(milliseconds), [None; 9]);
    }
}

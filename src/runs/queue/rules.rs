//! How a message waits while its session is busy; stored with its run, so that a restart changes nothing.

use serde::{Deserialize, Serialize};

/// What happens to a message while a run of its session is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Waiting messages are answered together, after the run and a quiet time.
    Collect,
    /// Each waiting message has a turn of its own, in order.
    Followup,
    /// The run at work is told, if its runner can be told anything; else as `followup`.
    Steer,
    /// As `steer`, and the message has a turn of its own besides.
    SteerBacklog,
    /// What waits is dropped, the run at work is aborted, and the message is next.
    Interrupt,
}

impl Mode {
    /// The mode of this name; `queue` and `steer+backlog` are old spellings.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "collect" => Self::Collect,
            "followup" => Self::Followup,
            "steer" | "queue" => Self::Steer,
            "steer-backlog" | "steer+backlog" => Self::SteerBacklog,
            "interrupt" => Self::Interrupt,
            _ => return None,
        })
    }
}

/// What goes when more messages wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The oldest: its run ends without a turn.
    Old,
    /// The newest: it is refused.
    New,
    /// The oldest, but the next turn is told its first line, and it ends with that turn.
    Summarize,
}

impl Overflow {
    /// The rule of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "old" => Self::Old,
            "new" => Self::New,
            "summarize" => Self::Summarize,
            _ => return None,
        })
    }
}

/// The rules of one message. A run without them (a request of `agent`) waits for its turn and is never merged or dropped for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What happens while a run is at work.
    pub mode: Mode,
    /// Quiet time before collected messages are answered, ms.
    pub debounce_ms: u64,
    /// Most messages of a session that wait; at least 1.
    pub cap: usize,
    /// What goes when more come.
    pub drop: Overflow,
}

impl Default for Rules {
    fn default() -> Self {
        Self { mode: Mode::Collect, debounce_ms: 1000, cap: 20, drop: Overflow::Summarize }
    }
}

impl Rules {
    /// The rules as the store keeps them.
    #[must_use]
    pub fn to_text(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }

    /// The rules that the store kept; text of a version that we do not know counts as the usual rules.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_as_they_were_stored_and_nonsense_is_the_usual() {
        let rules = Rules { mode: Mode::SteerBacklog, debounce_ms: 5, cap: 3, drop: Overflow::New };
        assert_eq!(Rules::from_text(&rules.to_text()), rules);
        assert_eq!(Rules::from_text("{}"), Rules::default());
    }

    #[test]
    fn old_spellings_of_modes_are_understood() {
        assert_eq!(Mode::parse("queue"), Some(Mode::Steer));
        assert_eq!(Mode::parse("steer+backlog"), Mode::parse("steer-backlog"));
        assert_eq!((Mode::parse("Collect"), Overflow::parse("none")), (None, None));
    }
}

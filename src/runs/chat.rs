//! A run's `chat` events, made from its lines while they come: the newest delta, and the last event.
//!
//! They are no log: of the deltas only the newest matters, so a reader that lags costs nothing and gets the text of now. Each is serialised once; one that a reader cannot use as a continuation exists besides as a replacement, made when the first such reader asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::{Answer, shown};
use crate::clock::now_ms;
use crate::protocol::event::chat::{ChatEvent, ChatMessage, ChatState};
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};

/// Shortest time between two deltas of a run.
pub const INTERVAL: Duration = Duration::from_millis(150);
/// A longer text is sent less often, so that repeating it costs about the same bytes per second.
const STEADY_BYTES: usize = 4 << 10;

/// The `chat` events of one run.
#[derive(Debug)]
pub struct Chat {
    run_id: RunId,
    session_key: SessionKey,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    answer: Answer,
    /// Seq of the newest line that was taken in.
    seq: u64,
    /// How many deltas there were.
    version: u64,
    /// Length of the text of the newest delta.
    told: usize,
    delta: Bytes,
    /// The newest delta for readers that did not get the one before.
    replacement: Option<Bytes>,
    delta_at: Option<Instant>,
    /// Somebody will call [`Chat::publish`] when the time has come.
    awaited: bool,
    last: Option<Bytes>,
}

/// When to publish again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When there are new lines.
    Later,
    /// At this time, if nobody does it before; said once.
    At(Instant),
}

/// What a reader is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing new.
    None,
    /// A delta, and its version.
    Delta(Bytes, u64),
    /// The last event.
    Last(Bytes),
}

impl Chat {
    /// The chat of a run that has said nothing.
    #[must_use]
    pub fn new(run_id: RunId, session_key: SessionKey) -> Self {
        Self { run_id, session_key, inner: Mutex::default() }
    }

    /// The chat of a run in which a model speaks, or of one that is the output of a command.
    #[must_use]
    pub fn of_model(self, of_model: bool) -> Self {
        self.lock().answer.of_model(of_model);
        self
    }

    /// Takes the next line of the run's journal in.
    pub fn take(&self, seq: u64, line: &Bytes) {
        let mut inner = self.lock();
        inner.seq = seq;
        inner.answer.take(line);
    }

    /// Makes a delta of what is new, unless the last one was just now.
    pub fn publish(&self, now: Instant) -> Next {
        let mut inner = self.lock();
        let text = inner.answer.so_far();
        if inner.last.is_some() || text.len() <= inner.told {
            inner.awaited = false;
            return Next::Later;
        }
        let pause = INTERVAL.mul_f64((text.len() as f64 / STEADY_BYTES as f64).max(1.0));
        if let Some(due) = inner.delta_at.map(|at| at + pause).filter(|due| *due > now) {
            return if std::mem::replace(&mut inner.awaited, true) { Next::Later } else { Next::At(due) };
        }
        let new = text.get(inner.told..).unwrap_or_default().to_owned();
        let delta = self.delta(&inner, new, (inner.told == 0).then_some(false));
        (inner.told, inner.delta, inner.replacement) = (inner.answer.so_far().len(), delta, None);
        inner.version += 1;
        inner.delta_at = Some(now);
        inner.awaited = false;
        Next::Later
    }

    /// Says that the time of [`Next::At`] has come.
    pub fn wake(&self, now: Instant) -> Next {
        self.lock().awaited = false;
        self.publish(now)
    }

    /// What a reader has not had that has had version `seen`.
    pub fn news(&self, seen: u64) -> News {
        let mut inner = self.lock();
        if let Some(last) = &inner.last {
            return News::Last(last.clone());
        }
        if inner.version <= seen {
            return News::None;
        }
        if inner.version == seen + 1 {
            return News::Delta(inner.delta.clone(), inner.version);
        }
        let replacement = inner.replacement.clone().unwrap_or_else(|| {
            let whole = inner.answer.so_far().get(..inner.told).unwrap_or_default().to_owned();
            self.delta(&inner, whole, Some(true))
        });
        inner.replacement = Some(replacement.clone());
        News::Delta(replacement, inner.version)
    }

    /// Whether [`Self::news`] has something: a delta, or the last event.
    #[must_use]
    pub fn has_news(&self, seen: u64) -> (bool, bool) {
        let inner = self.lock();
        (inner.version > seen, inner.last.is_some())
    }

    /// What the run has said.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.lock().answer.clone()
    }

    /// The last event; a second call changes nothing. `head` is the seq of the run's last line; `note` stands below an answer.
    pub fn end(&self, outcome: &Outcome, head: u64, note: Option<&str>) {
        let mut inner = self.lock();
        if inner.last.is_some() {
            return;
        }
        let state = match outcome.status {
            RunStatus::Aborted | RunStatus::Timeout => ChatState::Aborted,
            _ if outcome.served() => ChatState::Final,
            _ => ChatState::Error,
        };
        let mut event = ChatEvent::new(self.run_id.clone(), self.session_key.clone(), head, state);
        event.merged_into.clone_from(&outcome.merged_into);
        event.stop_reason = Some(match outcome.status {
            RunStatus::Timeout => "timeout".to_owned(),
            _ => outcome.stop_reason.clone().unwrap_or_else(|| "stop".to_owned()),
        });
        if state == ChatState::Error || outcome.status == RunStatus::Timeout {
            event.error_message = Some(outcome.summary.clone());
        }
        if state == ChatState::Error {
            event.stop_reason = None;
        }
        if event.merged_into.is_none() {
            let mut text = last_text(&inner.answer, outcome);
            if let (Some(note), ChatState::Final, false) = (note, state, text.is_empty()) {
                text = format!("{text}\n\n{note}");
            }
            event.message = (!text.is_empty()).then(|| ChatMessage::assistant(text, outcome.ended_at));
        }
        inner.last = serde_json::to_vec(&event).ok().map(Bytes::from);
        // Nobody asks for the text again: a finished run costs its last event while somebody still has to be given it.
        inner.answer = Answer::default();
        (inner.delta, inner.replacement) = (Bytes::new(), None);
    }

    fn delta(&self, inner: &Inner, new: String, replace: Option<bool>) -> Bytes {
        let mut event = ChatEvent::new(self.run_id.clone(), self.session_key.clone(), inner.seq, ChatState::Delta);
        let whole = inner.answer.so_far();
        let text = if replace == Some(true) { new.clone() } else { whole.to_owned() };
        event.delta_text = Some(new);
        event.replace = replace.filter(|replace| *replace);
        event.message = Some(ChatMessage::assistant(text, now_ms()));
        serde_json::to_vec(&event).unwrap_or_default().into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the last event shows: everything that was said, and for a command that failed how.
#[must_use]
pub fn last_text(answer: &Answer, outcome: &Outcome) -> String {
    let said = answer.said(outcome);
    let text = shown(&said.text);
    if outcome.status == RunStatus::Error && outcome.served() {
        let joint = if text.is_empty() { "" } else { "\n\n" };
        return format!("{text}{joint}[{}]", outcome.summary);
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::{Chunk, Template};
    use crate::protocol::event::agent::Source;
    use crate::protocol::run::RunErrorCode;
    use serde_json::Value;

    fn chat() -> Chat {
        Chat::new("r".into(), "agent:main:main".into())
    }

    fn print(chat: &Chat, seq: u64, text: &str) {
        let mut line = Vec::new();
        let chunk = Chunk { source: Source::Stdout, tool_call_id: "c", text, dropped_bytes: None };
        Template::new("r".into(), "s".into()).chunk(seq, 1, &chunk, &mut line);
        line.pop();
        chat.take(seq, &line.into());
    }

    fn json(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn delta(chat: &Chat, seen: u64) -> (Value, u64) {
        let News::Delta(bytes, version) = chat.news(seen) else { panic!("no delta") };
        (json(&bytes), version)
    }

    #[test]
    fn deltas_come_at_once_then_at_most_one_per_interval_and_the_newest_to_who_lags() {
        let (chat, start) = (chat(), Instant::now());
        print(&chat, 2, "a\n");
        assert_eq!(chat.publish(start), Next::Later);
        let (first, version) = delta(&chat, 0);
        assert_eq!(
            (first["deltaText"].as_str(), first["message"]["content"][0]["text"].as_str(), &first["seq"]),
            (Some("a"), Some("a"), &Value::from(2))
        );
        assert_eq!((version, chat.news(1)), (1, News::None));
        print(&chat, 3, "b\n");
        assert_eq!(chat.publish(start), Next::At(start + INTERVAL));
        print(&chat, 4, "c\n");
        assert_eq!(chat.publish(start), Next::Later, "it is awaited already");
        assert_eq!((chat.wake(start + INTERVAL), chat.publish(start + INTERVAL)), (Next::Later, Next::Later));
        let (next, version) = delta(&chat, 1);
        assert_eq!((next["deltaText"].as_str(), next.get("replace"), version), (Some("\nb\nc"), None, 2));
        let (whole, _) = delta(&chat, 0);
        assert_eq!((whole["deltaText"].as_str(), &whole["replace"]), (Some("a\nb\nc"), &Value::from(true)));
        assert_eq!(whole["message"]["content"][0]["text"], "a\nb\nc");
    }

    #[test]
    fn a_longer_text_is_repeated_less_often() {
        let (chat, start) = (chat(), Instant::now());
        print(&chat, 1, &"x".repeat(STEADY_BYTES * 2));
        chat.publish(start);
        print(&chat, 2, "y");
        assert!(matches!(chat.publish(start), Next::At(due) if due - start > INTERVAL * 2 - Duration::from_millis(1)));
    }

    #[test]
    fn there_is_one_last_event_and_it_says_how_the_run_ended() {
        let end = |status, code, text: &str| {
            let chat = chat();
            print(&chat, 2, text);
            let stop_reason = (status == RunStatus::Aborted).then(|| "rpc".to_owned());
            let outcome = Outcome { stop_reason, ..Outcome::without_work(status, code, "why", 5) };
            chat.end(&outcome, 9, Some("Usage: much."));
            chat.end(&Outcome::without_work(RunStatus::Ok, None, "again", 6), 10, None);
            let News::Last(last) = chat.news(0) else { panic!("no last event") };
            json(&last)
        };
        let ok = end(RunStatus::Ok, None, "out\n");
        assert_eq!(
            (ok["state"].as_str(), ok["message"]["content"][0]["text"].as_str(), &ok["seq"]),
            (Some("final"), Some("out\n\nUsage: much."), &Value::from(9))
        );
        let failed = end(RunStatus::Error, None, "out\n");
        assert_eq!(
            (failed["state"].as_str(), failed["message"]["content"][0]["text"].as_str()),
            (Some("final"), Some("out\n\n[why]\n\nUsage: much."))
        );
        let aborted = end(RunStatus::Aborted, None, "part");
        assert_eq!(
            (aborted["state"].as_str(), aborted["stopReason"].as_str(), aborted["message"].is_object()),
            (Some("aborted"), Some("rpc"), true)
        );
        let late = end(RunStatus::Timeout, Some(RunErrorCode::AgentTimeout), "");
        assert_eq!(
            (late["state"].as_str(), late["stopReason"].as_str(), late["errorMessage"].as_str()),
            (Some("aborted"), Some("timeout"), Some("why"))
        );
        let lost = end(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), "");
        assert_eq!((lost["state"].as_str(), lost["errorMessage"].as_str(), lost.get("message")), (Some("error"), Some("why"), None));
    }

    #[test]
    fn defect_27_a_merged_run_ends_with_the_name_of_its_turn_and_no_text_of_its_own() {
        let chat = chat();
        chat.end(&Outcome { merged_into: Some("other".into()), ..Outcome::without_work(RunStatus::Ok, None, "x", 1) }, 1, None);
        let News::Last(last) = chat.news(0) else { panic!("no last event") };
        assert_eq!((json(&last)["mergedInto"].as_str(), json(&last).get("message")), (Some("other"), None));
    }
}

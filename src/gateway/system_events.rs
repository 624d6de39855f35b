//! System events: short notes for a session's next turn, such as “Node: laptop connected”. Held in memory, a few per session.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::ids::SessionKey;

/// Most events that wait for one session; the oldest leave.
const PER_SESSION: usize = 20;
/// Most sessions with events; the one that has waited longest loses its own.
const SESSIONS: usize = 1000;

/// What waits for the sessions. Clones are the same.
#[derive(Clone, Default)]
pub struct SystemEvents {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    sessions: HashMap<SessionKey, Session>,
    /// Counts the events, so that it is known which session has waited longest.
    count: u64,
}

#[derive(Default)]
struct Session {
    texts: VecDeque<String>,
    /// What the last event was about.
    about: Option<String>,
    last: u64,
}

impl SystemEvents {
    /// Adds an event, unless it repeats the one before it. `about` names what it tells of.
    pub fn push(&self, key: &SessionKey, text: &str, about: Option<&str>) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        waiting.count += 1;
        let count = waiting.count;
        if waiting.sessions.len() >= SESSIONS && !waiting.sessions.contains_key(key) {
            let oldest = waiting.sessions.iter().min_by_key(|(_, session)| session.last).map(|(key, _)| key.clone());
            oldest.map(|oldest| waiting.sessions.remove(&oldest));
        }
        let session = waiting.sessions.entry(key.clone()).or_default();
        session.last = count;
        session.about = about.map(str::to_owned);
        if session.texts.back().is_some_and(|last| last == text) {
            return;
        }
        session.texts.push_back(text.to_owned());
        if session.texts.len() > PER_SESSION {
            session.texts.pop_front();
        }
    }

    /// Whether the last event of this session told of something else.
    #[must_use]
    pub fn is_about_another(&self, key: &SessionKey, about: &str) -> bool {
        self.lock().sessions.get(key).is_none_or(|session| session.about.as_deref() != Some(about))
    }

    /// What waits for a session, oldest first.
    #[must_use]
    pub fn waiting(&self, key: &SessionKey) -> Vec<String> {
        self.lock().sessions.get(key).map(|session| session.texts.iter().cloned().collect()).unwrap_or_default()
    }

    /// Takes out what waits for a session, oldest first.
    #[must_use]
    pub fn take(&self, key: &SessionKey) -> Vec<String> {
        self.lock().sessions.remove(key).map(|session| session.texts.into_iter().collect()).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_the_newest_twenty_and_repeats_are_one() {
        let (events, key) = (SystemEvents::default(), SessionKey::from("agent:main:main"));
        for text in ["a", "a ", " ", "b", "a"] {
            events.push(&key, text, None);
        }
        assert_eq!(events.waiting(&key), ["a", "b", "a"]);
        (0..30).for_each(|n| events.push(&key, &n.to_string(), None));
        assert_eq!(events.waiting(&key), (10..30).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(events.waiting(&"other".into()).is_empty());
    }

    #[test]
    fn what_a_turn_was_told_waits_no_more() {
        let (events, key) = (SystemEvents::default(), SessionKey::from("k"));
        events.push(&key, "one", None);
        assert_eq!((events.clone().take(&key), events.waiting(&key).len()), (vec!["one".to_owned()], 0));
    }

    #[test]
    fn it_is_known_what_the_last_event_was_about() {
        let (events, key) = (SystemEvents::default(), SessionKey::from("k"));
        assert!(events.is_about_another(&key, "x"));
        events.push(&key, "one", Some("x"));
        assert!(!events.is_about_another(&key, "x") && events.is_about_another(&key, "y"));
        events.push(&key, "two", None);
        assert!(events.is_about_another(&key, "x"));
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let events = SystemEvents::default();
        (0..SESSIONS + 5).for_each(|n| events.push(&SessionKey(n.to_string()), "x", None));
        assert!(events.waiting(&"4".into()).is_empty());
        assert_eq!(events.waiting(&"5".into()).len(), 1);
    }
}

//! Which sessions a connection watches. The methods change it, the connection's writer reads it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::events::hub::SessionEvent;
use crate::protocol::ids::SessionKey;

/// Most sessions whose messages one connection watches.
pub const MAX_WATCHED: usize = 64;

/// What one connection watches.
#[derive(Debug, Default)]
pub struct Watching {
    list: AtomicBool,
    messages: Mutex<HashSet<SessionKey>>,
}

impl Watching {
    /// Watches the list of sessions, or no longer.
    pub fn set_list(&self, watched: bool) {
        self.list.store(watched, Ordering::Release);
    }

    /// Watches the messages of a session. Returns false if the connection watches as many as it may.
    #[must_use]
    pub fn add(&self, key: SessionKey) -> bool {
        let mut messages = self.lock();
        messages.contains(&key) || (messages.len() < MAX_WATCHED && messages.insert(key))
    }

    /// Watches the messages of a session no longer.
    pub fn remove(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    /// Whether the connection gets this event.
    #[must_use]
    pub fn wants(&self, event: &SessionEvent) -> bool {
        match &event.messages_of {
            None => self.list.load(Ordering::Acquire),
            Some(key) => self.lock().contains(key),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<SessionKey>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_gets_what_it_watches_up_to_a_bound() {
        let watching = Watching::default();
        let event = |key: Option<&str>| SessionEvent { messages_of: key.map(SessionKey::from), body: bytes::Bytes::new() };
        assert!(!watching.wants(&event(None)) && !watching.wants(&event(Some("a"))));
        watching.set_list(true);
        assert!(watching.add(SessionKey::from("a")) && watching.wants(&event(None)) && watching.wants(&event(Some("a"))));
        for n in 1..MAX_WATCHED {
            assert!(watching.add(SessionKey(n.to_string())));
        }
        assert!(!watching.add(SessionKey::from("b")) && watching.add(SessionKey::from("a")));
        watching.remove(&SessionKey::from("a"));
        assert!(!watching.wants(&event(Some("a"))) && watching.add(SessionKey::from("b")));
    }
}

//! Which runs' `chat` events a connection is being sent, and how far it is with each.
//!
//! Every run that is at work or starts while the connection is open. Of the deltas only the newest is sent; the last event comes once, behind the run's last `agent` event.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::tails::{Tails, fingerprint};
use crate::runs::chat::News;
use crate::runs::log::RunLog;

/// How many runs that are through are remembered, so that a late announcement does not start them again.
const REMEMBERED: usize = 256;

#[derive(Debug)]
struct Entry {
    log: Arc<RunLog>,
    /// Version of the newest delta that was sent.
    seen: u64,
}

/// The chats of one connection.
#[derive(Debug, Default)]
pub struct Chats {
    entries: Vec<Entry>,
    through: VecDeque<u64>,
}

impl Chats {
    /// Sends the chat of this run from now on; does nothing if it is or was sent.
    pub fn start(&mut self, log: &Arc<RunLog>) {
        let known = self.entries.iter().any(|entry| entry.log.file_id == log.file_id) || self.through.contains(&fingerprint(&log.file_id));
        if !known {
            self.entries.push(Entry { log: Arc::clone(log), seen: 0 });
        }
    }

    /// The next event, if there is one that may be sent now.
    pub fn next(&mut self, tails: &Tails) -> Option<Bytes> {
        let at = self.entries.iter().position(|entry| entry.is_ready(tails))?;
        let entry = self.entries.get_mut(at)?;
        match entry.log.chat.news(entry.seen) {
            News::None => None,
            News::Delta(delta, version) => {
                entry.seen = version;
                Some(delta)
            }
            News::Last(last) => {
                let entry = self.entries.remove(at);
                self.through.push_back(fingerprint(&entry.log.file_id));
                if self.through.len() > REMEMBERED {
                    self.through.pop_front();
                }
                if self.entries.is_empty() {
                    // An idle connection keeps no room for many.
                    self.entries = Vec::new();
                }
                Some(last)
            }
        }
    }

    /// Whether [`Self::next`] has something.
    #[must_use]
    pub fn has_news(&self, tails: &Tails) -> bool {
        self.entries.iter().any(|entry| entry.is_ready(tails))
    }
}

impl Entry {
    /// A delta may be sent at any time, the last event only behind the run's own last one.
    fn is_ready(&self, tails: &Tails) -> bool {
        let (delta, last) = self.log.chat.has_news(self.seen);
        if last { !tails.is_pending(&self.log) } else { delta }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::{Outcome, RunStatus};
    use tokio::time::Instant;

    fn log() -> Arc<RunLog> {
        Arc::new(RunLog::live("f", "r".into(), "s".into(), "/nonexistent".into()))
    }

    fn line(text: &str) -> Bytes {
        format!("{{\"stream\":\"exec\",\"text\":\"{text}\"}}").into()
    }

    fn end(log: &RunLog) {
        log.chat.end(&Outcome::without_work(RunStatus::Ok, None, "x", 1), 2, None);
    }

    #[tokio::test]
    async fn the_last_event_waits_for_the_runs_own_and_comes_once() {
        let (log, mut tails, mut chats) = (log(), Tails::default(), Chats::default());
        tails.start(Arc::clone(&log));
        chats.start(&log);
        log.append(1, line("a"), false);
        log.chat.publish(Instant::now());
        assert!(chats.next(&tails).is_some());
        assert!(chats.next(&tails).is_none());
        log.append(2, line("b"), true);
        end(&log);
        assert!(!chats.has_news(&tails), "the run's last event is not delivered");
        assert_eq!(tails.read(0, 1000).await.len(), 2);
        tails.rotate();
        assert!(chats.next(&tails).is_some_and(|last| last.windows(5).any(|part| part == b"final")));
        chats.start(&log);
        assert!(chats.next(&tails).is_none());
    }

    #[tokio::test]
    async fn a_run_that_is_not_followed_ends_in_its_chat_all_the_same() {
        let (log, mut tails, mut chats) = (log(), Tails::default(), Chats::default());
        tails.start(Arc::clone(&log));
        chats.start(&log);
        tails.unfollow("f");
        log.append(1, line("a"), true);
        end(&log);
        assert!(chats.next(&tails).is_some());
    }
}

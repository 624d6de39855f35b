//! What users say to a run at work, as its shim holds it: given to a runner that listens, and answered whether it was taken.
//!
//! Before the runner listens messages wait, and when it does not listen any more they are refused, so that each becomes a turn of its own. A message that was taken is taken once, however often a daemon asks: one that is started anew does not know what the last one heard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::control::FromShim;

/// Most messages that wait; more are refused.
const MOST: usize = 16;

/// The messages of a run. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: VecDeque<Message>,
    /// Given to the runner, not answered yet.
    given: HashMap<String, mpsc::Sender<FromShim>>,
    /// What was answered.
    taken: HashMap<String, bool>,
}

#[derive(Debug)]
struct Message {
    tell: String,
    text: String,
    reply: mpsc::Sender<FromShim>,
}

/// Who listens; when this is dropped, nobody does any more.
#[derive(Debug)]
pub struct Listener(Inbox);

impl Inbox {
    /// Takes a message of a daemon, by its own name; `reply` is where the answer goes.
    pub fn tell(&self, tell: String, text: String, reply: mpsc::Sender<FromShim>) {
        let mut state = self.lock();
        if let Some(taken) = state.taken.get(&tell).copied() {
            drop(state);
            return answer(&reply, tell, taken);
        }
        if let Some(known) = state.given.get_mut(&tell) {
            // The daemon that asked before is gone.
            *known = reply;
            return;
        }
        if let Some(known) = state.waiting.iter_mut().find(|message| message.tell == tell) {
            known.reply = reply;
            return;
        }
        if state.closed || state.waiting.len() >= MOST {
            state.taken.insert(tell.clone(), false);
            drop(state);
            return answer(&reply, tell, false);
        }
        state.waiting.push_back(Message { tell, text, reply });
        drop(state);
        self.news.notify_one();
    }

    /// Begins to listen. There is one listener at a time.
    #[must_use]
    pub fn listen(&self) -> Listener {
        self.lock().closed = false;
        Listener(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next message: its name and its text. Each is to be [answered](Self::answer). Safe to cancel.
    pub async fn next(&mut self) -> (String, String) {
        loop {
            if let Some(message) = self.now() {
                return message;
            }
            self.0.news.notified().await;
        }
    }

    /// As [`Self::next`], if there is a message already.
    #[must_use]
    pub fn now(&self) -> Option<(String, String)> {
        let mut state = self.0.lock();
        let Message { tell, text, reply } = state.waiting.pop_front()?;
        state.given.insert(tell.clone(), reply);
        Some((tell, text))
    }

    /// Says whether the program was told.
    pub fn answer(&self, tell: &str, taken: bool) {
        let mut state = self.0.lock();
        let reply = state.given.remove(tell);
        state.taken.insert(tell.to_owned(), taken);
        drop(state);
        if let Some(reply) = reply {
            answer(&reply, tell.to_owned(), taken);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let mut refused: Vec<(String, mpsc::Sender<FromShim>)> = state.given.drain().collect();
        refused.extend(state.waiting.drain(..).map(|message| (message.tell, message.reply)));
        state.taken.extend(refused.iter().map(|(tell, _)| (tell.clone(), false)));
        drop(state);
        for (tell, reply) in refused {
            answer(&reply, tell, false);
        }
    }
}

/// A daemon that is gone, or that does not read, asks again or hears of the run's end.
fn answer(reply: &mpsc::Sender<FromShim>, tell: String, taken: bool) {
    let _ = reply.try_send(FromShim::Told { tell, taken });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tell: &str, taken: bool) -> FromShim {
        FromShim::Told { tell: tell.to_owned(), taken }
    }

    #[tokio::test]
    async fn a_message_waits_for_the_listener_and_is_taken_once_whoever_asks() {
        let inbox = Inbox::default();
        let (first, mut gone) = mpsc::channel(4);
        let (second, mut heard) = mpsc::channel(4);
        inbox.tell("a".into(), "text".into(), first.clone());
        inbox.tell("a".into(), "text".into(), second.clone());
        let mut listener = inbox.listen();
        assert_eq!(listener.next().await, ("a".to_owned(), "text".to_owned()));
        inbox.tell("a".into(), "text".into(), second.clone());
        listener.answer("a", true);
        assert_eq!(heard.recv().await, Some(told("a", true)));
        inbox.tell("a".into(), "text".into(), second);
        assert_eq!(heard.recv().await, Some(told("a", true)));
        drop((first, inbox, listener));
        assert_eq!(gone.recv().await, None);
    }

    #[tokio::test]
    async fn when_nobody_listens_any_more_all_is_refused() {
        let inbox = Inbox::default();
        let (reply, mut heard) = mpsc::channel(4);
        let mut listener = inbox.listen();
        for name in ["a", "b"] {
            inbox.tell(name.into(), String::new(), reply.clone());
        }
        listener.next().await;
        drop(listener);
        inbox.tell("c".into(), String::new(), reply.clone());
        inbox.tell("a".into(), String::new(), reply);
        for name in ["a", "b", "c", "a"] {
            assert_eq!(heard.recv().await, Some(told(name, false)));
        }
    }
}

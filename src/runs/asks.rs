//! The questions of a run, as its shim holds them: may this command start? Each waits for the first daemon that answers it.
//!
//! A question stays open until it is answered, so a daemon that is started anew is asked again, and a command whose answer was lost on the way has not run. While there is no daemon, the command waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::control::{FromShim, Judgement, Wanted};

/// Most questions that are open at a time.
const MOST: usize = 64;

/// The open questions of a run. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Asks {
    open: Arc<Mutex<Open>>,
    /// Changes with every question and every withdrawal.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    /// Number of the newest question.
    newest: u64,
    waiting: BTreeMap<u64, (Wanted, oneshot::Sender<Judgement>)>,
    /// The newest withdrawn ones.
    withdrawn: Vec<u64>,
}

impl Default for Asks {
    fn default() -> Self {
        Self { open: Arc::default(), changed: watch::Sender::new(0) }
    }
}

/// An open question; withdrawn when this is dropped.
struct Waiting<'a> {
    asks: &'a Asks,
    ask: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut open = self.asks.lock();
        if open.waiting.remove(&self.ask).is_some() {
            open.withdrawn.push(self.ask);
            let over = open.withdrawn.len().saturating_sub(MOST);
            open.withdrawn.drain(..over);
            drop(open);
            self.asks.changed.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}

impl Asks {
    /// Asks whether a command may start, and waits for the answer, however long that takes. Dropping the future withdraws the question.
    pub async fn ask(&self, wanted: Wanted) -> Judgement {
        let (sender, answer) = oneshot::channel();
        let ask = {
            let mut open = self.lock();
            if open.waiting.len() >= MOST {
                let message = format!("{MOST} commands wait for an answer already");
                return Judgement::Refused { denied: None, message };
            }
            open.newest += 1;
            let ask = open.newest;
            open.waiting.insert(ask, (wanted, sender));
            ask
        };
        let _waiting = Waiting { asks: self, ask };
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        answer.await.unwrap_or_else(|_| Judgement::Refused { denied: None, message: "the question was lost".to_owned() })
    }

    /// Takes an answer; only the first one to a question counts.
    pub fn answer(&self, ask: u64, judgement: Judgement) {
        if let Some((_, sender)) = self.lock().waiting.remove(&ask) {
            // Who asked may have left in this moment; nothing starts then.
            let _ = sender.send(judgement);
        }
    }

    /// Changes when there is something to tell a daemon.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What a daemon is to be told that knows these open questions of ours.
    pub fn news(&self, known: &mut Vec<u64>) -> Vec<FromShim> {
        let open = self.lock();
        let mut news = Vec::new();
        for (ask, (wanted, _)) in &open.waiting {
            if !known.contains(ask) {
                news.push(FromShim::Ask { ask: *ask, wanted: Box::new(wanted.clone()) });
            }
        }
        news.extend(known.iter().filter(|ask| open.withdrawn.contains(ask)).map(|ask| FromShim::Withdraw { ask: *ask }));
        *known = open.waiting.keys().copied().collect();
        news
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(command: &str) -> Wanted {
        Wanted { tool_call_id: "c".into(), command: command.into(), cwd: "/".into(), env: BTreeMap::new(), native: false }
    }

    fn start() -> Judgement {
        Judgement::Start { plan: None, env: BTreeMap::new() }
    }

    fn asked(news: &[FromShim]) -> Vec<u64> {
        news.iter().filter_map(|news| if let FromShim::Ask { ask, .. } = news { Some(*ask) } else { None }).collect()
    }

    #[tokio::test]
    async fn every_daemon_is_asked_until_one_has_answered_and_the_first_answer_counts() {
        let asks = Asks::default();
        let other = asks.clone();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let answering = async {
            let mut changes = other.changes();
            changes.wait_for(|n| *n > 0).await.unwrap();
            assert_eq!(asked(&other.news(&mut first)), [1]);
            assert!(other.news(&mut first).is_empty(), "each is asked once");
            assert_eq!(asked(&other.news(&mut second)), [1], "another daemon");
            other.answer(1, start());
            other.answer(1, Judgement::Refused { denied: None, message: "late".into() });
            assert!(other.news(&mut Vec::new()).is_empty());
        };
        let (judgement, ()) = tokio::join!(asks.ask(wanted("ls")), answering);
        assert_eq!(judgement, start());
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_withdraws_the_question() {
        let asks = Asks::default();
        let mut known = Vec::new();
        {
            let mut asking = Box::pin(asks.ask(wanted("ls")));
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx).is_pending())).await);
            assert_eq!(asked(&asks.news(&mut known)), [1]);
        }
        assert_eq!(asks.news(&mut known), [FromShim::Withdraw { ask: 1 }]);
        assert!(asks.news(&mut known).is_empty() && asks.news(&mut Vec::new()).is_empty());
    }
}

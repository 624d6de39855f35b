//! The questions of a run, as its shim holds them: may this command start, and what came of this errand? Each waits for the first daemon that answers it.
//!
//! A question stays open until it is answered, so a daemon that is started anew is asked again, and a command whose answer was lost on the way has not run. While there is no daemon, the command waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::control::{Done, Errand, FromShim, Judgement, Wanted};

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
    waiting: BTreeMap<u64, Question>,
    /// The newest withdrawn ones.
    withdrawn: Vec<u64>,
}

/// What is asked, and who waits for the answer.
#[derive(Debug)]
enum Question {
    Command(Box<Wanted>, oneshot::Sender<Judgement>),
    Errand(Errand, oneshot::Sender<Done>),
}

impl Question {
    fn told(&self, ask: u64) -> FromShim {
        match self {
            Self::Command(wanted, _) => FromShim::Ask { ask, wanted: wanted.clone() },
            Self::Errand(errand, _) => FromShim::Errand { ask, errand: errand.clone() },
        }
    }
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
        let refused = |message: String| Judgement::Refused { denied: None, message };
        let (sender, answer) = oneshot::channel();
        match self.put(Question::Command(Box::new(wanted), sender)) {
            Ok(_waiting) => answer.await.unwrap_or_else(|_| refused("the question was lost".to_owned())),
            Err(full) => refused(full),
        }
    }

    /// Has a daemon do something for a tool, and waits for what came of it, however long that takes. Dropping the future withdraws the question, not what was done.
    pub async fn errand(&self, errand: Errand) -> Done {
        let (sender, answer) = oneshot::channel();
        match self.put(Question::Errand(errand, sender)) {
            Ok(_waiting) => answer.await.unwrap_or_else(|_| Done::failed("the question was lost")),
            Err(full) => Done::failed(full),
        }
    }

    fn put(&self, question: Question) -> Result<Waiting<'_>, String> {
        let ask = {
            let mut open = self.lock();
            if open.waiting.len() >= MOST {
                return Err(format!("{MOST} calls wait for an answer already"));
            }
            open.newest += 1;
            let ask = open.newest;
            open.waiting.insert(ask, question);
            ask
        };
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Ok(Waiting { asks: self, ask })
    }

    /// Takes an answer about a command; only the first one to a question counts.
    pub fn answer(&self, ask: u64, judgement: Judgement) {
        let mut open = self.lock();
        if matches!(open.waiting.get(&ask), Some(Question::Command(..)))
            && let Some(Question::Command(_, sender)) = open.waiting.remove(&ask)
        {
            // Who asked may have left in this moment; nothing starts then.
            let _ = sender.send(judgement);
        }
    }

    /// Takes what came of an errand; only the first one counts.
    pub fn done(&self, ask: u64, done: Done) {
        let mut open = self.lock();
        if matches!(open.waiting.get(&ask), Some(Question::Errand(..)))
            && let Some(Question::Errand(_, sender)) = open.waiting.remove(&ask)
        {
            // Who asked may have left in this moment; what was done stays done.
            let _ = sender.send(done);
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
        news.extend(open.waiting.iter().filter(|(ask, _)| !known.contains(ask)).map(|(ask, question)| question.told(*ask)));
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
    async fn an_errand_is_told_to_each_daemon_and_takes_no_judgement_for_its_result() {
        let asks = Asks::default();
        let errand = Errand { tool_call_id: "c".into(), tool: "sessions_list".into(), args: "{}".into() };
        let other = asks.clone();
        let answering = async {
            other.changes().wait_for(|n| *n > 0).await.unwrap();
            for _ in 0..2 {
                assert_eq!(other.news(&mut Vec::new()), [FromShim::Errand { ask: 1, errand: errand.clone() }]);
            }
            other.answer(1, start());
            other.done(1, Done { text: "none".into(), is_error: false });
        };
        let (done, ()) = tokio::join!(asks.errand(errand.clone()), answering);
        assert_eq!(done.text, "none");
        let (judgement, ()) = tokio::join!(asks.ask(wanted("ls")), async {
            tokio::task::yield_now().await;
            asks.done(2, Done::failed("no"));
            asks.answer(2, start());
        });
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

//! Messages for a run at work, on the daemon's side: handed to the run's shim, and, once the program has them, part of that run. Until then each keeps its place in the line, and one that is not taken has a turn of its own.
//!
//! ```text
//! queue: Steer ──> run at work ──> shim: Tell ──> Told taken ──> merged into the run at work, durably
//!                      └── ended, does not listen, cannot ──────> Declined: waits in line
//! ```
//! A daemon that dies between the two asks again; the shim knows what was taken, and so does the journal: where it names a message, that was delivered, also if the run has ended by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::live::Live;
use super::queue::Event;
use super::queue::rules::{Mode, Rules};
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::failpoint::failpoint;
use crate::protocol::run::RunStatus;
use crate::store::error::StoreError;
use crate::store::record::RunRecord;

/// Messages that wait to be told to one run.
const MOST: usize = 16;

/// A message for a run at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tell {
    /// The run that it came with.
    pub run: String,
    /// What is said.
    pub text: String,
}

/// The messages for one run.
#[derive(Debug)]
pub(super) struct Tells {
    sender: mpsc::Sender<Tell>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Taken by who speaks with the shim.
    receiver: Option<mpsc::Receiver<Tell>>,
    /// Not answered yet.
    open: Vec<String>,
    closed: bool,
}

impl Default for Tells {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MOST);
        Self { sender, state: Mutex::new(State { receiver: Some(receiver), open: Vec::new(), closed: false }) }
    }
}

impl Tells {
    /// Hands a message on. Returns whether there is somebody who will answer.
    fn put(&self, tell: Tell) -> bool {
        let mut state = self.lock();
        let run = tell.run.clone();
        if state.closed || self.sender.try_send(tell).is_err() {
            return false;
        }
        state.open.push(run);
        true
    }

    /// Gives the messages to who speaks with the shim, for as long as it does.
    pub fn receiver(&self) -> Option<mpsc::Receiver<Tell>> {
        self.lock().receiver.take()
    }

    /// Takes note of an answer. Returns whether one was waited for.
    fn answered(&self, run: &str) -> bool {
        let mut state = self.lock();
        let known = state.open.len();
        state.open.retain(|other| other != run);
        state.open.len() < known
    }

    /// The run has ended: no message reaches it any more. Returns those that had no answer.
    fn close(&self) -> Vec<String> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.open)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next message for a run; none when there never is one.
pub(super) async fn next_tell(tells: &mut Option<mpsc::Receiver<Tell>>) -> Option<Tell> {
    tells.as_mut()?.recv().await
}

impl Supervisor {
    /// Tells the run at work what came with another one, if that is nothing but words.
    pub(super) fn steer(&self, run: String, into: &str) {
        let told = self.live(&run).zip(self.live(into)).is_some_and(|(message, at_work)| {
            let same = message.record.agent_id == at_work.record.agent_id && message.record.runner == at_work.record.runner;
            let text = message.work().ok().filter(is_words).map(|work| work.message);
            same && text.is_some_and(|text| at_work.tells.put(Tell { run: run.clone(), text }))
        });
        if !told {
            self.decide(Event::Declined(run));
        }
    }

    /// The shim says what became of a message.
    pub(super) async fn steered(&self, at_work: &Arc<Live>, run: String, taken: bool) {
        if !at_work.tells.answered(&run) {
            return;
        }
        failpoint!("runs.steered");
        if !taken || !self.take_in(at_work, &run).await {
            self.decide(Event::Declined(run));
        }
    }

    /// Makes a waiting message that a run at work was told a part of that run. Returns whether it was waiting to be one.
    pub(super) async fn take_in(&self, at_work: &Arc<Live>, run: &str) -> bool {
        let Some(message) = self.live(run).filter(|message| joins(&message.record)) else { return false };
        if !self.queue().withdraw(run) {
            // Somebody ended it, it is part of the run already, or it is told to the next turn.
            return false;
        }
        if let Err(cause) = self.join(at_work, &message).await {
            // It has a turn of its own, too: that is better than none.
            warn!(run_id = %message.record.run_id, %cause, "a message that a run at work was told could not be noted as its own");
            self.start_again(&message);
        }
        true
    }

    async fn join(&self, at_work: &Arc<Live>, message: &Arc<Live>) -> Result<(), StoreError> {
        let (carrier, spec) = (&at_work.record.file_id, at_work.spec().to_owned());
        self.inner.store.merge_runs(carrier, vec![message.record.file_id.clone()], spec).await?;
        info!(run_id = %message.record.run_id, into = %at_work.record.run_id, "a run at work was told a message");
        at_work.carry(message);
        message.set_status(RunStatus::Running, None);
        // Who asked for its end meanwhile means the run that it is part of now.
        let asked = message.abort_asked().borrow().clone();
        if let Some(reason) = asked {
            at_work.ask_abort(&reason);
        }
        Ok(())
    }

    /// Joins the messages of an earlier daemon's unfinished runs with the runs that had them: what a journal says was taken is delivered, whether or not that daemon came to know.
    ///
    /// # Errors
    /// The store did not take it.
    pub(super) async fn join_told(&self, unfinished: &[Arc<Live>]) -> Result<(), StoreError> {
        for at_work in unfinished.iter().filter(|live| live.log.of_model) {
            let waits = |other: &Arc<Live>| {
                let same = other.record.session_key == at_work.record.session_key && other.record.file_id != at_work.record.file_id;
                same && other.carrier().is_none() && joins(&other.record)
            };
            if !unfinished.iter().any(waits) {
                continue;
            }
            for run in self.spoken(at_work).await.told {
                if let Some(message) = unfinished.iter().find(|other| other.record.file_id == run && waits(other)) {
                    self.join(at_work, message).await?;
                }
            }
        }
        Ok(())
    }

    /// Nothing reaches an ended run: what it was not told waits for its turn.
    pub(super) fn stop_telling(&self, ended: &Live) {
        for run in ended.tells.close() {
            self.decide(Event::Declined(run));
        }
    }
}

/// Whether a message that was told to a run at work has no turn of its own besides.
fn joins(message: &RunRecord) -> bool {
    message.queue.as_deref().is_some_and(|rules| Rules::from_text(rules).mode == Mode::Steer)
}

/// Whether a message is nothing but its words, so that the run at work can take it as it is.
fn is_words(work: &Work) -> bool {
    work.attachments.is_empty()
        && work.env.is_empty()
        && work.exec.is_empty()
        && work.extra_system_prompt.is_none()
        && work.thinking.is_none()
        && work.compact.is_none()
        && work.refusal.is_none()
        && work.tell.is_none()
        && !work.nested
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_message_is_answered_or_given_back_at_the_end() {
        let tells = Tells::default();
        let tell = |run: &str| Tell { run: run.into(), text: "x".into() };
        assert!(tells.put(tell("a")) && tells.put(tell("b")));
        let mut receiver = tells.receiver().unwrap();
        assert!(tells.receiver().is_none(), "one speaks with the shim");
        assert_eq!(receiver.recv().await, Some(tell("a")));
        assert!(tells.answered("a") && !tells.answered("a"));
        assert_eq!(tells.close(), ["b"]);
        assert!(!tells.put(tell("c")), "nobody would answer");
    }

    #[test]
    fn no_more_messages_are_taken_than_can_wait() {
        let tells = Tells::default();
        let put = |n: usize| tells.put(Tell { run: n.to_string(), text: String::new() });
        assert_eq!((0..MOST + 5).filter(|n| put(*n)).count(), MOST);
    }
}

//! Who is asked before a program runs a command.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use serde_json::Value;

/// What a call does to the machine, as far as it can be known from its tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It runs a command, which can do anything.
    Command,
    /// It reads.
    Read,
    /// It changes these files; empty = it does not say which.
    Write(Vec<PathBuf>),
    /// Nobody here knows.
    Other,
}

/// What a program wants to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The call that it is about.
    pub call_id: String,
    /// The tool; [`super::event::EXEC`] for a command.
    pub tool: String,
    /// What it does.
    pub effect: Effect,
    /// The command line, for a command.
    pub command: Option<String>,
    /// Where it would run, if the program says so.
    pub cwd: Option<PathBuf>,
    /// The arguments of any other tool, or one line about it.
    pub args: Value,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may, this once.
    Allow,
    /// It may not; the model is told why.
    Deny {
        /// One line.
        reason: String,
    },
}

/// The answer, once it is there.
pub type Answer = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// Somebody who decides. The answer may take as long as a person does, and outlive the daemon.
pub trait Approver: Send + Sync {
    /// Asks about one call. Dropping the answer takes the question back.
    fn ask(&self, question: Question) -> Answer;
}

/// Says the same to everything.
#[derive(Clone, Debug)]
pub struct Always(pub Decision);

impl Approver for Always {
    fn ask(&self, _: Question) -> Answer {
        let decision = self.0.clone();
        Box::pin(async move { decision })
    }
}

/// Questions that are not answered yet.
#[derive(Default)]
pub(super) struct Open(Vec<(u64, Answer)>);

impl Open {
    /// Adds one under its number.
    pub(super) fn push(&mut self, ask: u64, answer: Answer) {
        self.0.push((ask, answer));
    }

    /// Whether nobody is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all questions back.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The next answer; never, while nobody is asked. Safe to cancel.
    pub(super) async fn next(&mut self) -> (u64, Decision) {
        std::future::poll_fn(|context| {
            for (place, (ask, answer)) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(decision) = answer.as_mut().poll(context) {
                    let ask = *ask;
                    drop(self.0.swap_remove(place));
                    return Poll::Ready((ask, decision));
                }
            }
            Poll::Pending
        })
        .await
    }
}

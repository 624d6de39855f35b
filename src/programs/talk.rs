//! The language of a program as a state machine: what it hears, and what it wants done because of that.

use std::time::Duration;

use serde_json::Value;

use super::approver::{Decision, Question};
use super::event::Cause;
use super::spec::{Kind, ProgramSpec};
use super::tale::Tale;

/// What comes of one step.
#[derive(Debug, Default)]
pub struct Turn {
    /// What is known of the turn, and its events.
    pub tale: Tale,
    /// Lines to say, in order.
    pub say: Vec<Value>,
    /// Questions to put, each with the number under which the answer comes back.
    pub ask: Vec<(u64, Question)>,
    /// Which of the user's words the program has taken, or not, that were to be [told later](Steer::Later).
    pub told: Vec<(u64, bool)>,
    /// Wants [`Talk::waited`] after this time; a later wish replaces an earlier one.
    pub wait: Option<Duration>,
}

/// What becomes of something that the user says while the program works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// The program has it.
    Taken,
    /// The program says whether it takes it; the answer stands in [`Turn::told`].
    Later,
    /// The program cannot be told now.
    Not,
}

/// One conversation with one program. Unknown lines change nothing, whatever they hold.
pub trait Talk: Send {
    /// Says the first words.
    fn open(&mut self, turn: &mut Turn);
    /// Takes a line of the program.
    fn heard(&mut self, line: Value, turn: &mut Turn);
    /// Takes the answer to a question.
    fn decided(&mut self, ask: u64, decision: Decision, turn: &mut Turn);
    /// Asks the program to stop what it does. All questions are taken back.
    fn cancel(&mut self, turn: &mut Turn);
    /// Tells it something while it works; `number` is new with every call.
    fn steer(&mut self, number: u64, text: &str, turn: &mut Turn) -> Steer;
    /// The time that it wanted to wait is over.
    fn waited(&mut self, turn: &mut Turn);
    /// The program ended in the middle of the turn, with these words on stderr. Returns what that means, if it is known.
    fn exited(&self, _stderr: &str) -> Option<Cause> {
        None
    }
}

/// Who speaks the language of this program. `prompt` is what the user says and `cwd` where it works.
#[must_use]
pub fn talk(spec: &ProgramSpec, prompt: &str, cwd: &str) -> Box<dyn Talk> {
    match spec.kind {
        Kind::Codex => Box::new(super::codex::Codex::new(spec, prompt, cwd)),
        Kind::Claude => Box::new(super::claude::Claude::new(spec, prompt, cwd)),
        Kind::Pi => Box::new(super::pi::Pi::new(spec, prompt, cwd)),
        Kind::Acp => Box::new(super::acp::Acp::new(spec, prompt, cwd)),
    }
}

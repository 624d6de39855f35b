//! Which commands may run: the decision itself, apart from whoever starts them.
//!
//! ```text
//! rule (strictest of all) ── deny ──────────────────────────────────────────> Deny
//!        │           └────── full ──> the shell, unless a person is asked always ──> Allow(None) | Ask
//!        └─ allowlist ──> grammar ──> resolve ──> identity ──> entry and profile ──> Allow(plan) | Ask | Deny
//! ```
//! In allowlist mode no shell ever sees the text: what was analysed is the plan, and the plan is what runs (`exec::planned`). Whatever the grammar does not know is refused, with the reason named; there is no second opinion for what is too difficult.
//!
//! Nothing here starts a process, asks a person or writes a record.

pub mod plan;
pub mod prompt;
pub mod rule;
pub mod subject;

pub use crate::protocol::run::{Denied, DeniedCode};
pub use plan::Plan;
pub use rule::Rule;
pub use subject::Subject;

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It runs: by this plan, or, in mode `full`, by the shell.
    Allow(Option<Box<Plan>>),
    /// It runs once a person has allowed exactly this. [`Subject::plan`] is what then runs.
    Ask(Box<Subject>),
    /// It does not run.
    Deny(Denied),
}

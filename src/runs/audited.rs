//! The records of the audit log about runs: what was started or refused, for whom, with which command.
//!
//! The SHA-256 of the command's text is always there; the text itself only where `audit.commands` asks for it, with what looks like a secret hidden.

use super::control::RunSpec;
use super::live::Live;
use super::spec::{Refusal, Work};
use super::supervisor::Supervisor;
use crate::audit::redact::redact;
use crate::audit::{Action, Decision, Event};

/// Longest text of a command in a record, in bytes.
const COMMAND: usize = 4096;

impl Supervisor {
    /// That a run's command is about to start. Its process gets its task only when this is on stable storage.
    pub(super) fn exec_allowed(&self, live: &Live, spec: &RunSpec) -> Event {
        let event = self.exec(live, &spec.message).decided(Decision::Allow);
        event.with("cwd", spec.cwd.to_string_lossy()).with("shell", spec.shell.as_str())
    }

    /// Notes that a run's command was refused.
    pub(super) fn note_denied(&self, live: &Live, work: &Work, refusal: &Refusal) {
        let event = self.exec(live, &work.message).decided(Decision::Deny);
        self.inner.audit.note(event.because(&refusal.summary));
    }

    fn exec(&self, live: &Live, command: &str) -> Event {
        let record = &live.record;
        let event = Event::new(Action::Exec)
            .by(&record.principal)
            .target(record.run_id.as_str())
            .digest_of(command.as_bytes())
            .with("session", record.session_key.as_str())
            .with("agent", record.agent_id.as_str())
            .with("runner", record.runner.as_str())
            .with("commandBytes", command.len());
        if !self.settings().audit_commands {
            return event;
        }
        let mut text = redact(command);
        text.truncate(text.floor_char_boundary(COMMAND));
        event.with("command", text)
    }
}

//! The records of the audit log about runs: what was started or refused, for whom, with which command.
//!
//! The SHA-256 of the command's text is always there; the text itself only where `audit.commands` asks for it, with what looks like a secret hidden.

use std::path::Path;

use serde_json::json;

use super::control::RunSpec;
use super::live::Live;
use super::runners;
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::audit::redact::redact;
use crate::audit::{Action, Decision, Event};
use crate::exec::policy::Plan;
use crate::exec::policy::plan::sha256;

/// Longest text of a command in a record, in bytes.
const COMMAND: usize = 4096;

impl Supervisor {
    /// That a run's command, or a run whose tools have commands, is about to start. Its process gets its task only when this is on stable storage.
    pub(super) fn start_allowed(&self, live: &Live, spec: &RunSpec) -> Event {
        if runners::uses_model(&spec.runner) {
            let event = Event::new(Action::AgentStart).by(&live.record.principal).target(live.record.run_id.as_str());
            let event = event.digest_of(spec.message.as_bytes()).with("session", live.record.session_key.as_str());
            return event.with("agent", live.record.agent_id.as_str()).with("runner", spec.runner.as_str());
        }
        self.allowed(live, &spec.message, &spec.cwd, &spec.shell, spec.plan.as_deref())
    }

    /// That a command of a tool is about to start. The run is told only when this is on stable storage.
    pub(super) fn command_allowed(&self, live: &Live, work: &Work, plan: Option<&Plan>) -> Event {
        self.allowed(live, &work.message, &work.cwd, &work.shell.to_string_lossy(), plan)
    }

    fn allowed(&self, live: &Live, command: &str, cwd: &Path, shell: &str, plan: Option<&Plan>) -> Event {
        let event = self.exec(live, command).decided(Decision::Allow);
        let event = event.with("cwd", cwd.to_string_lossy());
        let Some(plan) = plan else { return event.with("shell", shell) };
        let programs: Vec<_> = plan.stages.iter().map(|stage| stage.exe.path.to_string_lossy()).collect();
        let digest = sha256(&serde_json::to_vec(plan).unwrap_or_default());
        event.with("programs", json!(programs)).with("planSha256", digest)
    }

    /// Notes that a run's command was refused, and by which rule.
    pub(super) fn note_denied(&self, live: &Live, work: &Work, rule: &str) {
        let event = self.exec(live, &work.message).decided(Decision::Deny);
        self.inner.audit.note(event.because(rule));
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

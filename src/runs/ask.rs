//! Questions of shims: each command that a tool of a run wants to start goes through the one gate here, and its answer back.
//!
//! ```text
//! tool ──> shim: Ask ──> gate (rules, approval) ──> audit record synced ──> Answer: plan and environment ──> shim starts it, once
//!                           └── refused, expired, withdrawn, aborted ──────> Answer: why ──> the model is told
//! ```
//! A connection that ends takes its questions with it; the shim asks the next daemon again.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use super::control::{Errand, Judgement, ToShim, Wanted};
use super::live::Live;
use super::policy::{Admitted, Which};
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::config::tools::ExecSecurity;
use crate::exec::env;
use crate::exec::policy::Denied;
use crate::protocol::frame::short;
use crate::protocol::isolation::Level;

/// Answers that wait to be sent to one shim.
const ANSWERS: usize = 16;
/// Most questions of one shim that are looked at together; it has no more open.
const MOST: usize = 64;

/// The questions of one shim that this daemon works on.
pub(super) struct Desk {
    supervisor: Supervisor,
    live: Arc<Live>,
    /// Each ends when its guard is dropped.
    open: HashMap<u64, DropGuard>,
    sender: mpsc::Sender<ToShim>,
    /// Answers, to be sent to the shim.
    pub answers: mpsc::Receiver<ToShim>,
}

impl Desk {
    /// A desk for the shim of this run.
    pub fn new(supervisor: &Supervisor, live: &Arc<Live>) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS);
        Self { supervisor: supervisor.clone(), live: Arc::clone(live), open: HashMap::new(), sender, answers }
    }

    /// Works on a question; a repeated one is the same.
    pub fn ask(&mut self, ask: u64, wanted: Wanted) {
        if self.open.contains_key(&ask) || self.open.len() >= MOST {
            return;
        }
        let gone = CancellationToken::new();
        self.open.insert(ask, gone.clone().drop_guard());
        let (supervisor, live, sender) = (self.supervisor.clone(), Arc::clone(&self.live), self.sender.clone());
        let asking = live.asking.token();
        self.supervisor.inner.tasks.spawn("run.ask", async move {
            let judgement = Box::new(supervisor.judge_wanted(&live, ask, wanted, &gone).await);
            // Whatever was asked is settled; the run's end need not wait for the answer to be taken.
            drop(asking);
            // If nobody takes it, the shim is gone, or asks the next daemon.
            let _ = sender.send(ToShim::Answer { ask, judgement }).await;
        });
    }

    /// Works on an errand; a repeated one is the same.
    pub fn errand(&mut self, ask: u64, errand: Errand) {
        if self.open.contains_key(&ask) || self.open.len() >= MOST {
            return;
        }
        let gone = CancellationToken::new();
        self.open.insert(ask, gone.clone().drop_guard());
        let (supervisor, live, sender) = (self.supervisor.clone(), Arc::clone(&self.live), self.sender.clone());
        self.supervisor.inner.tasks.spawn("run.errand", async move {
            let done = supervisor.do_errand(&live, errand, gone).await;
            // As above; the next daemon finds what was begun.
            let _ = sender.send(ToShim::Done { ask, done }).await;
        });
    }

    /// Ends the work on a question.
    pub fn withdraw(&mut self, ask: u64) {
        self.open.remove(&ask);
    }
}

impl Supervisor {
    async fn judge_wanted(&self, live: &Arc<Live>, ask: u64, wanted: Wanted, gone: &CancellationToken) -> Judgement {
        let work = match live.work() {
            Ok(work) => work,
            Err(cause) => return refused(format!("the stored request cannot be read: {cause}")),
        };
        let which = if wanted.native { Which::Native(ask) } else { Which::Ask(ask) };
        let work = match self.work_of(live, work, wanted) {
            Ok(work) => work,
            Err(denied) => {
                return Judgement::Refused { message: denied.reason.clone(), denied: Some(denied) };
            }
        };
        match self.clear(live, &work, &which, gone).await {
            Ok(Admitted { plan, env }) => {
                // What a person allowed is the text; the program starts it in its own way.
                let plan = plan.filter(|_| !matches!(which, Which::Native(_)));
                let event = self.command_allowed(live, &work, plan.as_deref());
                if let Err(cause) = self.inner.audit.append(event).await {
                    error!(run_id = %live.record.run_id, %cause, "a command was not started, because there would be no record of it");
                    return refused(format!("not started, because there would be no record of it: {cause}"));
                }
                Judgement::Start { plan, env }
            }
            Err(outcome) => Judgement::Refused { denied: outcome.denied.clone(), message: outcome.summary.clone() },
        }
    }

    /// The run's work with this command in the place of its message.
    fn work_of(&self, live: &Live, work: Work, wanted: Wanted) -> Result<Work, Denied> {
        let rules = &self.settings().exec;
        let rule = rules.agents.get(&live.record.agent_id).unwrap_or(&rules.common);
        if !rule.may_exec {
            return Err(Denied::by_rule("TOOLS", "the rules of `tools` (allow, deny, profile) do not let this agent run commands"));
        }
        for (name, value) in &wanted.env {
            if let Err(why) = env::check_requested(name, value) {
                return Err(Denied::by_rule("ENV", format!("env: {} {why}", short(name))));
            }
        }
        if !wanted.env.is_empty() && rule.rule.narrowed(work.exec).security != ExecSecurity::Full {
            return Err(Denied::by_rule("ENV", "env: commands from a list run in a fixed environment"));
        }
        let shut_in = work.isolation.level != Level::Off;
        let inside = if work.isolation.level == Level::Strict { wanted.cwd == work.cwd } else { wanted.cwd.starts_with(&work.cwd) };
        if shut_in && (!inside || wanted.cwd.components().any(|part| part == std::path::Component::ParentDir)) {
            let text = format!("an isolated run works in {}; change the folder inside the command", work.cwd.display());
            return Err(Denied::by_rule("FOLDER", text));
        }
        let mut env = work.env.clone();
        env.extend(wanted.env);
        Ok(Work { message: wanted.command, cwd: wanted.cwd, env, ..work })
    }
}

fn refused(message: String) -> Judgement {
    Judgement::Refused { denied: None, message }
}

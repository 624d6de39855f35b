//! The gate before every command: the one that is a run's message, and each one that a tool of a run wants to start. Decided here, in the daemon, before a process of it exists; the shim looks a second time and starts what was decided about.
//!
//! The rules are those of the moment in which the command starts, so a rule that was narrowed while it waited holds for it too.

use std::collections::{BTreeMap, HashMap};

use super::live::Live;
use super::native;
use super::runners;
use super::spec::Work;
use super::supervisor::{Settings, Supervisor};
use crate::clock::now_ms;
use crate::config::tools::{ExecAsk, ExecSecurity};
use crate::exec::env;
use crate::exec::policy::decide::{Basis, Request, decide};
use crate::exec::policy::lasting;
use crate::exec::policy::trust::Trust;
use crate::exec::policy::{self, Denied, Plan, Rule, Verdict};
use crate::protocol::ids::AgentId;
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};

/// What the configuration says about commands.
#[derive(Clone, Debug)]
pub struct ExecRules {
    /// For an agent that is not configured any more.
    pub common: AgentRule,
    /// For each agent.
    pub agents: HashMap<AgentId, AgentRule>,
}

/// What it says for one agent.
#[derive(Clone, Debug)]
pub struct AgentRule {
    /// Which commands run, and when a person is asked.
    pub rule: Rule,
    /// Programs that may run with their input only.
    pub safe_bins: Vec<String>,
    /// Whether the rules of `tools` let it run commands at all.
    pub may_exec: bool,
}

/// What the rules say about a command.
#[derive(Debug)]
pub(super) struct Judged {
    /// The decision.
    pub verdict: Verdict,
    /// The whole environment that it was made for.
    pub env: BTreeMap<String, String>,
    /// The strictest rule.
    pub rule: Rule,
    /// Whether a person who is asked may allow it for always.
    pub always: bool,
}

/// Which command of a run is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The run's message, if that is one.
    Message,
    /// The one that this question is about.
    Ask(u64),
    /// The same, of a command that an agent program starts by itself.
    Native(u64),
}

impl Which {
    /// What an approval of it is bound to: another command of the same run, also one of the same text, is another one.
    pub fn name(&self, live: &Live) -> String {
        match self {
            Self::Message => live.record.run_id.0.clone(),
            Self::Ask(ask) | Self::Native(ask) => format!("{}#{ask}", live.record.run_id),
        }
    }
}

/// A command that may start.
#[derive(Debug)]
pub(super) struct Admitted {
    /// What is to be started; none = the shell, with the whole message.
    pub plan: Option<Box<Plan>>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}

impl Supervisor {
    /// What the rules say about a command of this run, now; `work` says where and as what it would run.
    ///
    /// # Errors
    /// They cannot be read, so nothing runs.
    pub(super) async fn judge(&self, live: &Live, work: &Work, which: &Which) -> Result<Judged, Denied> {
        let settings = self.settings();
        let env = environment(&settings, live, work);
        if *which == Which::Message && !runners::find(&live.record.runner).is_some_and(|runner| runner.message_is_command) {
            return Ok(Judged { verdict: Verdict::Allow(None), env, rule: settings.exec.common.rule, always: false });
        }
        let entries = self.inner.entries.entries(live.record.agent_id.as_str());
        let entries = entries.map_err(|fault| Denied::by_rule("POLICY", format!("no command runs until this is mended: {fault}")))?;
        let AgentRule { rule, safe_bins, .. } = settings.exec.agents.get(&live.record.agent_id).unwrap_or(&settings.exec.common).clone();
        let rule = rule.narrowed(entries.wish).narrowed(work.exec);
        let is_native = matches!(which, Which::Native(_));
        let applied = if is_native { native::rule(rule)? } else { rule };
        if applied.security == ExecSecurity::Full && applied.ask != ExecAsk::Always {
            return Ok(Judged { verdict: Verdict::Allow(None), env, rule, always: false });
        }
        let planned = applied.security == ExecSecurity::Allowlist;
        let env = if planned { policy::env::planned(env, &settings.env_passthrough) } else { env };
        let (work, run_id, requester) = (work.clone(), which.name(live), live.record.principal.clone());
        let deciding = tokio::task::spawn_blocking(move || {
            let trust = Trust::default();
            let basis = Basis { rule: applied, safe_bins: &safe_bins, entries: &entries, trust: &trust };
            let Work { message, cwd, shell, .. } = &work;
            let request = Request { command: message, cwd, env: &env, shell, run_id: &run_id, requester: &requester };
            let verdict = decide(&basis, &request);
            let asked = if let Verdict::Ask(subject) = &verdict { subject.plan() } else { None };
            let always = !is_native && asked.is_some_and(|plan| lasting::entries(&basis, &request, &plan).is_some());
            (verdict, always, env)
        });
        let (verdict, always, env) =
            deciding.await.map_err(|_| Denied::by_rule("POLICY", "the decision failed inside; the log says more"))?;
        Ok(Judged { verdict, env, rule, always })
    }

    /// The strictest rule for commands of a run, now, and whether the rules of `tools` let it run any.
    ///
    /// # Errors
    /// The rules cannot be read, so nothing runs.
    pub(super) fn rule_of(&self, live: &Live, work: &Work) -> Result<AgentRule, Denied> {
        let settings = self.settings();
        let entries = self.inner.entries.entries(live.record.agent_id.as_str());
        let entries = entries.map_err(|fault| Denied::by_rule("POLICY", format!("no command runs until this is mended: {fault}")))?;
        let found = settings.exec.agents.get(&live.record.agent_id).unwrap_or(&settings.exec.common).clone();
        Ok(AgentRule { rule: found.rule.narrowed(entries.wish).narrowed(work.exec), ..found })
    }

    /// What was wrong with the approvals file at the last look, if anything was; as long as it is, no command runs.
    #[must_use]
    pub fn policy_fault(&self) -> Option<String> {
        self.inner.entries.fault()
    }

    /// Looks whether the approvals file has changed. Commands do that by themselves.
    pub fn look_at_policy(&self) {
        self.inner.entries.look();
    }
}

fn environment(settings: &Settings, live: &Live, work: &Work) -> BTreeMap<String, String> {
    let mut env = env::child_env(std::env::vars_os(), &settings.env_passthrough, &work.env, &live.record.file_id);
    env.extend(work.attachment_env());
    env
}

/// The outcome of a run whose command was refused: nothing of it ran.
pub(super) fn refused(denied: Denied) -> Outcome {
    let outcome = Outcome::without_work(RunStatus::Error, Some(RunErrorCode::ExecDenied), denied.reason.clone(), now_ms());
    Outcome { denied: Some(denied), ..outcome }
}

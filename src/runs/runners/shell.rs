//! The runner `shell`: the message is a script, run by the user's shell, or a command that was planned and runs without one. Works offline on a fresh machine.
//!
//! Its events: `tool` start, output as `exec` chunks, `tool` result; the `lifecycle` lines around them are the shim's.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::json;

use super::ending::{Closing, Ending, elapsed_ms};
use crate::exec::execution::{Ended, Rules, follow};
use crate::exec::isolate::{Confinement, Wrapped};
use crate::exec::output::{Counts, Output};
use crate::exec::planned::{self, PlannedError};
use crate::exec::policy::Plan;
use crate::exec::policy::trust::Trust;
use crate::exec::process::{OOM_SCORE_ADJ, Running, Script, spawn_fed, spawn_on_terminal};
use crate::exec::terminal::TERM;
use crate::protocol::event::agent::{Stream, Tool};
use crate::protocol::run::{Outcome, RunStatus};
use crate::runs::control::RunSpec;
use crate::runs::launcher::this_program;
use crate::runs::runner::{Job, RunError, Runner, Work};
use crate::runs::sink::RunSink;
use crate::runs::stop::Stop;

/// The runner.
#[derive(Clone, Copy, Debug)]
pub struct Shell;

impl Runner for Shell {
    fn run(&self, job: Job, out: RunSink, stop: Stop) -> Work {
        Box::pin(run(job, out, stop))
    }
}

async fn run(job: Job, out: RunSink, stop: Stop) -> Result<Outcome, RunError> {
    let spec = &job.spec;
    if stop.cause().is_some() {
        return Ok(Outcome { started_at: None, ..outcome(&job, &stop, None, Counts::default()) });
    }
    let args = json!({ "command": spec.message, "cwd": spec.cwd.to_string_lossy() });
    let start = Tool::start("exec", &spec.tool_call_id, args);
    // A journal that takes no lines must not run anything: nobody could ever know.
    out.emit(Stream::Tool, &start).map_err(|e| RunError::Unavailable(format!("the journal cannot be written: {e}")))?;

    let running = match start_command(spec) {
        Ok(running) => running,
        Err(failed) => {
            result(&job, &out, None);
            return Err(failed);
        }
    };
    // While the command starts; a power cut before this line is on disk loses the run's start, which is then found in the store.
    let _ = out.sync();

    let limits = spec.output;
    let mut output = Output::new(out.output(&spec.tool_call_id), limits.cap_bytes, limits.tail_bytes);
    let rules = Rules { grace: Duration::from_millis(spec.grace_ms), max_bytes_per_second: limits.max_bytes_per_second };
    let ended = follow(running, &mut output, rules, stop.token()).await;
    let counts = output.finish();
    match ended {
        Ok(ended) => {
            result(&job, &out, Some(ended.status));
            Ok(outcome(&job, &stop, Some(ended), counts))
        }
        Err(failed) => {
            result(&job, &out, None);
            Err(RunError::Unavailable(failed.to_string()))
        }
    }
}

/// Starts what was planned, or the shell with the whole message if nothing had to be; either shut in as the agent's isolation says.
fn start_command(spec: &RunSpec) -> Result<Running, RunError> {
    start_wanted(spec, spec.plan.as_deref(), &spec.message, &spec.cwd, &spec.env, None)
}

/// Starts a command as it was allowed, shut in as the run is; `stdin` is what it reads, nothing if absent. A planned one reads nothing, because that is what was decided about.
pub(super) fn start_wanted(
    spec: &RunSpec,
    plan: Option<&Plan>,
    command: &str,
    cwd: &Path,
    env: &BTreeMap<String, String>,
    stdin: Option<OwnedFd>,
) -> Result<Running, RunError> {
    let (wrapped, oom_score_adj) = around(spec, env)?;
    match plan {
        Some(plan) => planned::spawn(plan, env, &Trust::default(), &wrapped, oom_score_adj).map_err(not_planned),
        None => {
            let (shell, text, cwd, env) = (spec.shell.clone(), command.to_owned(), cwd.to_owned(), env.clone());
            Ok(spawn_fed(&Script { shell, text, cwd, env, wrapped, oom_score_adj }, stdin)?)
        }
    }
}

/// The same on a terminal of its own. On that of a planned command nobody types.
pub(super) fn start_on_terminal(
    spec: &RunSpec,
    plan: Option<&Plan>,
    command: &str,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Running, RunError> {
    let (wrapped, oom_score_adj) = around(spec, env)?;
    let program = this_program().map_err(|failed| unknown_program(&failed))?;
    if let Some(plan) = plan {
        return planned::spawn_on_terminal(plan, env, &Trust::default(), &wrapped, oom_score_adj, &program).map_err(not_planned);
    }
    let (shell, text, cwd, mut env) = (spec.shell.clone(), command.to_owned(), cwd.to_owned(), env.clone());
    env.insert("TERM".to_owned(), TERM.to_owned());
    let script = Script { shell, text, cwd, env, wrapped, oom_score_adj };
    Ok(spawn_on_terminal(&script, &program)?)
}

/// What stands before a command of this run, and how early the kernel ends it.
pub(super) fn around(spec: &RunSpec, env: &BTreeMap<String, String>) -> Result<(Wrapped, i32), RunError> {
    let confinement = spec.confinement.as_ref();
    let wrapped = confinement.map(|confinement| wrap(confinement, spec, env)).transpose();
    let wrapped = wrapped.map_err(|failed| unknown_program(&failed))?.unwrap_or_default();
    let oom_score_adj = confinement.and_then(|confinement| confinement.isolation.limits.oom_score_adj).unwrap_or(OOM_SCORE_ADJ);
    Ok((wrapped, oom_score_adj))
}

fn not_planned(failed: PlannedError) -> RunError {
    match failed {
        PlannedError::Denied(denied) => RunError::Denied(denied),
        PlannedError::Spawn(failed) => failed.into(),
    }
}

fn unknown_program(failed: &io::Error) -> RunError {
    RunError::Unavailable(format!("the path of this program is not known: {failed}"))
}

/// The run's own folder is what it may work in, wherever in it a command runs.
fn wrap(confinement: &Confinement, spec: &RunSpec, env: &BTreeMap<String, String>) -> io::Result<Wrapped> {
    Ok(confinement.wrap(&this_program()?, &spec.cwd, env))
}

/// Writes the result of the call. A journal that is full loses it; the terminal line says the same.
fn result(job: &Job, out: &RunSink, status: Option<ExitStatus>) {
    let result = Tool::Result {
        name: "exec".to_owned(),
        tool_call_id: job.spec.tool_call_id.clone(),
        exit_code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()).map(signal_name),
        duration_ms: elapsed_ms(job),
        is_error: !status.is_some_and(|status| status.success()),
        result: None,
    };
    let _ = out.emit(Stream::Tool, &result);
}

fn outcome(job: &Job, stop: &Stop, ended: Option<Ended>, counts: Counts) -> Outcome {
    let status = ended.map(|ended| ended.status);
    let exit_code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal()).map(signal_name);
    let closing = Closing::now(job);
    let took = &closing.took;
    let ending = closing.stopped(stop).unwrap_or_else(|| match (exit_code, &signal) {
        (Some(0), _) => Ending::new(RunStatus::Ok, None, format!("completed in {took}")),
        (Some(code), _) => Ending::new(RunStatus::Error, None, format!("exit code {code} after {took}")),
        (None, Some(signal)) => Ending::new(RunStatus::Error, None, format!("killed by {signal} after {took}")),
        (None, None) => Ending::new(RunStatus::Error, None, format!("ended in an unknown way after {took}")),
    });
    Outcome {
        exit_code,
        signal,
        pipes_held_open: ended.is_some_and(|ended| ended.pipes_held_open),
        swept: ended.map_or(0, |ended| ended.swept.killed),
        ..closing.outcome(ending, counts)
    }
}

/// The name of a signal, such as `SIGSEGV`.
fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| format!("SIG{number}"), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::RunErrorCode;
    use crate::runs::control::tests::sample_spec;
    use crate::runs::stop::Cause;

    fn ended(raw: i32) -> Option<Ended> {
        Some(Ended { status: ExitStatus::from_raw(raw), pipes_held_open: false, swept: Default::default() })
    }

    fn outcome_of(stop: &Stop, raw: i32) -> Outcome {
        let mut spec = sample_spec();
        spec.timeout_ms = Some(5000);
        let job = Job { spec, started_at: 1, started: tokio::time::Instant::now() };
        outcome(&job, stop, ended(raw), Counts::default())
    }

    #[test]
    fn m77_exits_and_signals_are_told_apart() {
        let stop = Stop::new();
        let ok = outcome_of(&stop, 0);
        assert_eq!((ok.status, ok.exit_code, ok.served()), (RunStatus::Ok, Some(0), true));
        assert!(ok.summary.starts_with("completed in "));
        let code = outcome_of(&stop, 137 << 8);
        assert_eq!((code.status, code.exit_code, code.signal.as_deref(), code.served()), (RunStatus::Error, Some(137), None, true));
        let signal = outcome_of(&stop, 11);
        assert_eq!((signal.status, signal.exit_code, signal.signal.as_deref()), (RunStatus::Error, None, Some("SIGSEGV")));
        assert!(signal.summary.starts_with("killed by SIGSEGV"));
        assert_eq!(outcome_of(&stop, 40).signal.as_deref(), Some("SIG40"));
    }

    #[test]
    fn a_stop_decides_whatever_the_exit_code() {
        let stop = Stop::new();
        stop.call(Cause::Timeout);
        let late = outcome_of(&stop, 0);
        assert_eq!(
            (late.status, late.code, late.summary.as_str()),
            (RunStatus::Timeout, Some(RunErrorCode::AgentTimeout), "timed out after 5 s")
        );
        let stop = Stop::new();
        stop.call(Cause::Abort("rpc".into()));
        let aborted = outcome_of(&stop, 15);
        assert_eq!((aborted.status, aborted.code, aborted.stop_reason.as_deref()), (RunStatus::Aborted, None, Some("rpc")));
        assert!(aborted.served());
    }
}

//! The runners of agent programs that are not ours: `codex`, `claude`, `pi` and `acp`. Starts the program in the run's place, carries one turn of its conversation, and writes what happens into the journal.
//!
//! A program that lost the conversation it was to take up begins another one, once, and the journal says so.
//! Its commands run inside of it: what it leaves behind when its turn is over, the shim sweeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::ending::{Closing, Ending};
use crate::exec::process::OOM_SCORE_ADJ;
use crate::exec::program::{self, Talking};
use crate::programs::drive::{Aside, Patience, drive};
use crate::programs::event::{Cause as Failure, End, How};
use crate::programs::peer::Peer;
use crate::programs::probe::locate;
use crate::programs::spec::{Kind, ProgramSpec};
use crate::programs::talk::talk;
use crate::protocol::run::{self, Outcome, RunErrorCode, RunStatus};
use crate::runs::launcher::this_program;
use crate::runs::runner::{Job, RunError, Runner, Work};
use crate::runs::sink::RunSink;
use crate::runs::stop::Stop;

mod asking;
mod hands;
mod ours;
mod prepare;
mod teller;

use asking::Gatekeeper;
use hands::Desk;
pub use hands::KEY;
use teller::Teller;

/// Most of the grace that a program is given to stop by itself, before it is told by a signal.
const CANCEL: Duration = Duration::from_secs(3);
/// Directories that Codex's own fence leaves behind, empty, where there were none. An empty `.git` misleads other tools.
const STRAYS: [&str; 4] = [".git", ".codex", ".agents", ".aws"];
/// Messages for a program at work that wait.
const TOLD: usize = 1;

/// The runner of programs of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Program(pub Kind);

impl Runner for Program {
    fn run(&self, job: Job, out: RunSink, stop: Stop) -> Work {
        Box::pin(run(self.0, job, out, stop))
    }
}

async fn run(kind: Kind, job: Job, out: RunSink, stop: Stop) -> Result<Outcome, RunError> {
    let spec = job.spec.program.as_deref().filter(|spec| spec.kind == kind);
    let missing = || RunError::Unavailable(format!("the run has no task for the program of its runner {}", kind.name()));
    let mut spec = spec.cloned().ok_or_else(missing)?;
    let way = tokio::select! {
        way = prepare::way(&job, &mut spec) => way?,
        // Credentials may be far away; whoever stops the run does not wait for them.
        () = stop.token().cancelled() => None,
    };
    let done = turns(kind, &job, spec, &out, &stop).await;
    if let Some(way) = way {
        way.close().await;
    }
    done
}

/// The run's turn, and another one if the program lost the conversation.
async fn turns(kind: Kind, job: &Job, mut spec: ProgramSpec, out: &RunSink, stop: &Stop) -> Result<Outcome, RunError> {
    let teller = Arc::new(Teller::new(out.clone(), kind, job.spec.output, &spec));
    if stop.cause().is_some() {
        return Ok(Outcome { started_at: None, ..outcome(job, stop, &End::cancelled(), &teller) });
    }
    let cwd = &job.spec.cwd;
    let missing: Vec<_> = STRAYS.iter().map(|name| cwd.join(name)).filter(|dir| dir.symlink_metadata().is_err()).collect();
    let mut end = turn(job, &spec, out, stop, &teller).await?;
    // One that holds something is not removed.
    missing.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    if end.cause == Some(Failure::SessionLost) && spec.session.is_some() && stop.cause().is_none() && !teller.has_content() {
        spec.session = None;
        teller.warn("the program no longer has the conversation; it begins another one and knows nothing of what was said before");
        end = turn(job, &spec, out, stop, &teller).await?;
    }
    Ok(outcome(job, stop, &end, &teller))
}

/// One turn of one process.
async fn turn(job: &Job, spec: &ProgramSpec, out: &RunSink, stop: &Stop, teller: &Arc<Teller>) -> Result<End, RunError> {
    let cwd = job.spec.cwd.to_string_lossy();
    let mut spec = spec.clone();
    let (desk, company) = prepare::desk(job, &mut spec, out, stop, teller).await?;
    let spec = &spec;
    let mut peer = Peer::new(start(job, spec)?);
    let member = company.join(peer.pids());
    let serving = serve(desk.as_ref(), peer.pids().first().copied());
    let mut talk = talk(spec, spec.prompt.as_deref().unwrap_or(&job.spec.message), &cwd);
    let gate = Gatekeeper::new(out.asks(), &job.spec.cwd, spec.approvals);
    let grace = Duration::from_millis(job.spec.grace_ms);
    let patience = Patience { silence: Duration::from_millis(spec.silence_ms), cancel: (grace / 2).min(CANCEL), grace: grace / 2 };
    let (speaker, mut told) = mpsc::channel(TOLD);
    let mut listener = out.inbox().listen();
    let told_to = Arc::clone(teller);
    let mut tell = move |event| told_to.take(event);
    let driven = drive(&mut peer, &mut *talk, &gate, patience, stop.token(), &mut told, &mut tell);
    let unavailable = |failed: std::io::Error| RunError::Unavailable(format!("signals cannot be listened to: {failed}"));
    let mut child_ended = signal(SignalKind::child()).map_err(unavailable)?;
    let reaping = async {
        loop {
            // Orphans that end become ours to bury; a long run would else collect them.
            member.reap();
            let _ = child_ended.recv().await;
        }
    };
    let listening = async {
        loop {
            let (tell, text) = listener.next().await;
            let (taken, answer) = oneshot::channel();
            let is_told = speaker.send(Aside { name: tell.clone(), text, taken }).await.is_ok() && answer.await.unwrap_or(false);
            listener.answer(&tell, is_told);
        }
    };
    let end = tokio::select! {
        end = driven => Ok(end),
        () = serving => Err(RunError::Unavailable("the tool exec is served no more".to_owned())),
        () = listening => Err(RunError::Unavailable("nobody listens any more".to_owned())),
        () = reaping => Err(RunError::Unavailable("signals are gone".to_owned())),
        // Nobody could ever know what it does from here on; the sweep ends it.
        failed = teller.keep_telling() => Err(RunError::Unavailable(format!("the journal cannot be written: {failed}"))),
    };
    if let Some(desk) = desk {
        desk.close().await;
        if !desk.was_reached() && end.as_ref().is_ok_and(|end| end.how == How::Done) {
            teller.warn("the program never connected to the tool exec of the gateway, so it could run no commands");
        }
    }
    end
}

/// Serves the commands of a program of this process id, if it does not run them itself. Never ends.
async fn serve(desk: Option<&Arc<Desk>>, program: Option<u32>) {
    match (desk, program) {
        (Some(desk), Some(program)) => desk.serve(program).await,
        _ => std::future::pending().await,
    }
}

fn start(job: &Job, spec: &ProgramSpec) -> Result<Talking, RunError> {
    let mut env = job.spec.env.clone();
    env.extend(spec.env.clone());
    env.retain(|name, _| !spec.ready.without().contains(&name.as_str()));
    env.extend(spec.ready.env(spec.kind));
    let path = locate(spec.kind, &spec.command, &env).map_err(RunError::Unavailable)?;
    // What it was installed beside, such as the interpreter of its own script; behind all that is found without it.
    if let (Some(known), Some(beside)) = (env.get_mut("PATH"), path.parent().and_then(std::path::Path::to_str)) {
        known.push(':');
        known.push_str(beside);
    }
    let own = this_program().map_err(|failed| RunError::Unavailable(format!("the path of this program is not known: {failed}")))?;
    let confinement = job.spec.confinement.as_ref();
    let wrapped = confinement.map(|confinement| confinement.wrap(&own, &job.spec.cwd, &env)).unwrap_or_default();
    let oom_score_adj = confinement.and_then(|confinement| confinement.isolation.limits.oom_score_adj).unwrap_or(OOM_SCORE_ADJ);
    let mut words: Vec<std::ffi::OsString> = spec.argv().into_iter().map(Into::into).collect();
    match words.first_mut().filter(|_| !spec.command.is_empty()) {
        Some(first) => *first = path.into(),
        None => words.insert(0, path.into()),
    }
    let program = program::Program { words, cwd: job.spec.cwd.clone(), env, wrapped, tied_by: Some(own), oom_score_adj };
    Ok(program::start(&program)?)
}

fn outcome(job: &Job, stop: &Stop, end: &End, teller: &Teller) -> Outcome {
    let closing = Closing::now(job);
    let took = &closing.took;
    let ending = closing.stopped(stop).unwrap_or_else(|| match end.how {
        How::Done => Ending::new(RunStatus::Ok, None, format!("completed in {took}")),
        How::Cancelled => Ending::new(RunStatus::Error, None, format!("the program stopped by itself after {took}")),
        How::Failed => Ending::new(RunStatus::Error, Some(RunErrorCode::Unavailable), teller.without_secrets(&end.message)),
    });
    Outcome { usage: teller.usage(), payloads: run::Said::of(&teller.answer()), ..closing.outcome(ending, teller.counts()) }
}

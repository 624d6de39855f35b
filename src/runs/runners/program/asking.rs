//! What a program may do when it asks. Commands are judged by the daemon's gate, the same that judges all others; reading is free; writing stays in the run's folder, unless nobody has to be asked at all.
//!
//! The program starts its command by itself and in its own way, so the gate is told so (`native`): a plan, which only the gateway can carry out, is no answer to it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::programs::approver::{Answer, Approver, Decision, Effect, Question};
use crate::programs::spec::Approvals;
use crate::runs::asks::Asks;
use crate::runs::control::{Judgement, Wanted};

/// Who answers the questions of a program.
#[derive(Clone, Debug)]
pub struct Gatekeeper {
    cwd: PathBuf,
    asks: Asks,
    /// Nobody has to be asked; commands are told all the same.
    free: bool,
}

impl Gatekeeper {
    /// One for a run in `cwd` whose commands are asked about by `asks`.
    pub fn new(asks: &Asks, cwd: &Path, approvals: Approvals) -> Self {
        Self { cwd: cwd.to_owned(), asks: asks.clone(), free: approvals == Approvals::Record }
    }

    /// About what is no command.
    fn may(&self, question: &Question) -> Decision {
        match &question.effect {
            Effect::Command => deny("the program does not say which command it would run"),
            _ if self.free => Decision::Allow,
            Effect::Read => Decision::Allow,
            Effect::Write(files) if !files.is_empty() && files.iter().all(|file| is_below(&self.cwd, file)) => Decision::Allow,
            Effect::Write(_) => deny("it would write outside of the folder of this run, or does not say where"),
            Effect::Other => {
                deny(format!("the gateway does not know what {} would do; allow it in the program's own configuration", question.tool))
            }
        }
    }
}

impl Approver for Gatekeeper {
    fn ask(&self, question: Question) -> Answer {
        let command = question.command.clone().filter(|command| question.effect == Effect::Command && !command.trim().is_empty());
        let Some(command) = command else {
            let decision = self.may(&question);
            return Box::pin(async move { decision });
        };
        let cwd = question.cwd.map_or_else(|| self.cwd.clone(), |cwd| self.cwd.join(cwd));
        let wanted = Wanted { tool_call_id: question.call_id, command, cwd, env: BTreeMap::new(), native: true };
        let asks = self.asks.clone();
        Box::pin(async move {
            match asks.ask(wanted).await {
                Judgement::Start { plan: None, .. } => Decision::Allow,
                // A daemon that does not know of programs which start their commands themselves.
                Judgement::Start { plan: Some(_), .. } => deny("only the gateway could run it as it was allowed, and not the program"),
                Judgement::Refused { message, .. } => Decision::Deny { reason: message },
            }
        })
    }
}

fn deny(reason: impl Into<String>) -> Decision {
    Decision::Deny { reason: reason.into() }
}

/// Whether a file is, or would be, below the folder, links followed as far as they are there.
fn is_below(folder: &Path, file: &Path) -> bool {
    if file.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    let file = folder.join(file);
    let Ok(folder) = folder.canonicalize() else { return false };
    // A link to nowhere would be written through.
    let is_there = |file: &&Path| file.symlink_metadata().is_ok();
    let known = file.ancestors().find(is_there).and_then(|known| known.canonicalize().ok());
    known.is_some_and(|known| known.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::control::FromShim;

    fn question(effect: Effect, command: Option<&str>) -> Question {
        let command = command.map(str::to_owned);
        Question { call_id: "c".into(), tool: "T".into(), effect, command, cwd: None, args: serde_json::Value::Null }
    }

    #[tokio::test]
    async fn a_command_is_asked_about_as_one_that_the_program_starts_and_a_plan_is_no_answer() {
        let asks = Asks::default();
        let gate = Gatekeeper::new(&asks, Path::new("/w"), Approvals::Record);
        let plan = Some(Box::new(crate::exec::policy::plan::tests::sample_plan(&[&["ls"]])));
        let refused = Judgement::Refused { denied: None, message: "no".into() };
        for (n, (judgement, want)) in [
            (Judgement::Start { plan: None, env: BTreeMap::new() }, Ok(())),
            (Judgement::Start { plan, env: BTreeMap::new() }, Err("only the gateway could")),
            (refused, Err("no")),
        ]
        .into_iter()
        .enumerate()
        {
            let mut asking = gate.ask(question(Effect::Command, Some("ls")));
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx).is_pending())).await);
            let [FromShim::Ask { ask, wanted }] = &asks.news(&mut Vec::new())[..] else { panic!("one question") };
            assert_eq!((*ask, wanted.native, wanted.cwd.as_path()), (n as u64 + 1, true, Path::new("/w")));
            asks.answer(*ask, judgement);
            match (asking.await, want) {
                (Decision::Allow, Ok(())) => {}
                (Decision::Deny { reason }, Err(start)) => assert!(reason.starts_with(start), "{reason}"),
                (other, want) => panic!("{other:?} {want:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_command_is_free_only_where_nobody_has_to_be_asked() {
        let of = async |approvals, effect, command| {
            Gatekeeper::new(&Asks::default(), Path::new("/tmp"), approvals).ask(question(effect, command)).await == Decision::Allow
        };
        assert!(of(Approvals::Ask, Effect::Read, None).await);
        assert!(!of(Approvals::Ask, Effect::Other, None).await && of(Approvals::Record, Effect::Other, None).await);
        assert!(!of(Approvals::Ask, Effect::Write(Vec::new()), None).await && of(Approvals::Record, Effect::Write(Vec::new()), None).await);
        assert!(!of(Approvals::Record, Effect::Command, None).await && !of(Approvals::Record, Effect::Command, Some(" ")).await);
    }

    #[test]
    fn writing_stays_in_the_folder_whatever_the_path_looks_like() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ws");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("out")).unwrap();
        std::os::unix::fs::symlink("/no/such/file", folder.join("dangling")).unwrap();
        for inside in ["new", "sub/new", "sub/a/b/c"] {
            assert!(is_below(&folder, Path::new(inside)) && is_below(&folder, &folder.join(inside)), "{inside}");
        }
        for outside in ["../x", "/etc/passwd", "out/x", "sub/../../x", "dangling", "/"] {
            assert!(!is_below(&folder, Path::new(outside)), "{outside}");
        }
    }
}

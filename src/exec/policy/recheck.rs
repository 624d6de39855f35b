//! The second look, right before the start: every part of a plan is opened again, compared with what was decided about, and held until it runs.

use std::collections::BTreeMap;

use super::plan::{Identity, Plan, Stage, env_digests};
use super::trust::{self, Held, HeldFolder, Trust};
use super::{Denied, DeniedCode};
use crate::config::tools::ExecSecurity;

/// A plan whose files are held: what runs is what was decided about, whatever happens to names meanwhile.
#[derive(Debug)]
pub struct Ready {
    /// The folder to run in.
    pub cwd: HeldFolder,
    /// The programs, in the order of the plan.
    pub stages: Vec<ReadyStage>,
}

/// A stage whose file is held.
#[derive(Debug)]
pub struct ReadyStage {
    /// Its arguments, its name first.
    pub argv: Vec<String>,
    /// The file that is executed.
    pub exe: Held,
    /// The content of its script, and the place of the script's name among the arguments.
    pub script: Option<(Vec<u8>, usize)>,
}

/// Opens everything that a plan names and compares it. `env` is the environment that it is to run with.
///
/// # Errors
/// Something is not as it was: `APPROVAL_STALE` for a plan that a person allowed, else `EXEC_DENIED`.
pub fn recheck(plan: &Plan, env: &BTreeMap<String, String>, trust: &Trust) -> Result<Ready, Denied> {
    look(plan, env, trust).map_err(|denied| match &plan.approval {
        Some(_) => Denied { code: DeniedCode::ApprovalStale, ..denied },
        None => denied,
    })
}

fn look(plan: &Plan, env: &BTreeMap<String, String>, trust: &Trust) -> Result<Ready, Denied> {
    if plan.mode == ExecSecurity::Deny || plan.stages.is_empty() {
        return Err(Denied::by_rule("PLAN", "the plan of this run names nothing that may run"));
    }
    let cwd = trust::folder(&plan.cwd.path)?;
    if cwd.folder != plan.cwd {
        return Err(changed(&plan.cwd.path, "is not the folder that it was"));
    }
    let now = env_digests(env);
    if now != plan.env {
        let differs = |name: &&String| now.get(*name) != plan.env.get(*name);
        let name = now.keys().chain(plan.env.keys()).find(differs).cloned().unwrap_or_default();
        return Err(Denied::by_rule("CHANGED", format!("the variable {name} is not as it was when the command was allowed")));
    }
    let stages = plan.stages.iter().map(|stage| ready(plan.mode, stage, trust)).collect::<Result<_, _>>()?;
    Ok(Ready { cwd, stages })
}

fn ready(mode: ExecSecurity, stage: &Stage, trust: &Trust) -> Result<ReadyStage, Denied> {
    let open = |file: &Identity| {
        let held = if mode == ExecSecurity::Full { trust::plain_file(&file.path) } else { trust.trusted(&file.path) };
        same(held?, file)
    };
    let exe = open(&stage.exe)?;
    for file in &stage.files {
        same(trust::plain_file(&file.path)?, file)?;
    }
    let script = match &stage.script {
        None => None,
        Some(script) => {
            let held = open(&script.file)?;
            let content = held.content(super::decide::MAX_SCRIPT).ok();
            // The bytes that are handed over are those that were digested, not those of a later look.
            let content = content.filter(|content| super::plan::sha256(content) == script.file.sha256);
            let content = content.ok_or_else(|| changed(&script.file.path, "changed while it was read"))?;
            Some((content, 1 + usize::from(script.option.is_some())))
        }
    };
    Ok(ReadyStage { argv: stage.argv.clone(), exe, script })
}

fn same(held: Held, wanted: &Identity) -> Result<Held, Denied> {
    if held.identity == *wanted { Ok(held) } else { Err(changed(&wanted.path, "is not the file that it was when the command was allowed")) }
}

fn changed(path: &std::path::Path, what: &str) -> Denied {
    Denied::by_rule("CHANGED", format!("{} {what}", path.display()))
}

//! The decision about one command.
//!
//! Every stage of a pipeline is judged for itself and the strictest judgement counts. What is refused outright (the form, a file that is not trusted, a folder) cannot be asked about either; what is only not listed can, once, for exactly this plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::class::{self, base};
use super::entries::Entries;
use super::plan::{Plan, Script, Stage, env_digests};
use super::profiles::{self, Reach};
use super::rule::Rule;
use super::subject::Subject;
use super::trust::{self, Held, Kind, Trust};
use super::{Denied, DeniedCode, Verdict, grammar};
use crate::config::tools::{ExecAsk, ExecSecurity};

/// Longest script that a shell is given as one argument, bytes; a person could not read more either.
const MAX_SHELL_TEXT: usize = 64 * 1024;
/// Most arguments of a stage that are looked at as files which it might execute.
const MAX_FILES: usize = 32;
/// Largest script with a pinned digest, bytes.
pub const MAX_SCRIPT: u64 = 4 << 20;

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// The strictest rule.
    pub rule: Rule,
    /// Programs that may run with their input only.
    pub safe_bins: &'a [String],
    /// What the approvals file says.
    pub entries: &'a Entries,
    /// Whose files are trusted.
    pub trust: &'a Trust,
}

/// A command that somebody wants to run.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its text.
    pub command: &'a str,
    /// The folder to run in.
    pub cwd: &'a Path,
    /// The whole environment.
    pub env: &'a BTreeMap<String, String>,
    /// The shell of the mode `full`.
    pub shell: &'a Path,
    /// The run.
    pub run_id: &'a str,
    /// Who asked for it.
    pub requester: &'a str,
}

/// Decides about a command. Reads files and blocks as long as that takes.
#[must_use]
pub fn decide(basis: &Basis<'_>, request: &Request<'_>) -> Verdict {
    match verdict(basis, request) {
        Ok(verdict) => verdict,
        Err(denied) => Verdict::Deny(denied),
    }
}

fn verdict(basis: &Basis<'_>, request: &Request<'_>) -> Result<Verdict, Denied> {
    let ask = basis.rule.ask;
    match basis.rule.security {
        ExecSecurity::Deny => Err(Denied::by_rule("DENY", "exec.security is \"deny\": no command may run")),
        ExecSecurity::Full if ask != ExecAsk::Always => Ok(Verdict::Allow(None)),
        ExecSecurity::Full => Ok(asked(&shell_plan(request)?, request)),
        ExecSecurity::Allowlist => {
            let (plan, miss) = plan(basis, request)?;
            match (miss, ask) {
                (None, ExecAsk::Off | ExecAsk::OnMiss) => Ok(Verdict::Allow(Some(Box::new(plan)))),
                (Some(miss), ExecAsk::Off) => Err(miss),
                (_, ExecAsk::Always) | (Some(_), ExecAsk::OnMiss) => Ok(asked(&plan, request)),
            }
        }
    }
}

fn asked(plan: &Plan, request: &Request<'_>) -> Verdict {
    Verdict::Ask(Box::new(Subject::new(plan, request.run_id, request.requester)))
}

/// The answer to a command that nobody is there to be asked about.
#[must_use]
pub fn unanswered(subject: &Subject) -> Denied {
    let command = subject.prompt.lines().next().unwrap_or_default();
    let command: String = command.chars().take(200).collect();
    let reason = format!("this command needs a person's approval and nobody can give it: {command}");
    Denied { code: DeniedCode::ApprovalNoApprover, token: "ASK".to_owned(), reason }
}

/// The plan of a command in allowlist mode, and why it may not run unasked, if it may not.
fn plan(basis: &Basis<'_>, request: &Request<'_>) -> Result<(Plan, Option<Denied>), Denied> {
    let words = grammar::parse(request.command).map_err(|refused| Denied::by_rule(refused.token, refused.text))?;
    let cwd = trust::folder(request.cwd)?;
    let (mut stages, mut miss) = (Vec::new(), None);
    for argv in words {
        let (stage, missed) = stage(basis, argv, &cwd.folder.path)?;
        stages.push(stage);
        miss = miss.or(missed);
    }
    let env = env_digests(request.env);
    Ok((Plan { mode: ExecSecurity::Allowlist, stages, cwd: cwd.folder, env, approval: None }, miss))
}

fn stage(basis: &Basis<'_>, mut argv: Vec<String>, cwd: &Path) -> Result<(Stage, Option<Denied>), Denied> {
    let name = argv.first().cloned().unwrap_or_default();
    let file = basis.trust.program(&basis.trust.locate(&name)?)?;
    let arguments = argv.get(1..).unwrap_or_default();
    match &file.kind {
        Kind::Neither => {
            Err(Denied::by_rule("NOT_A_PROGRAM", format!("{} is neither a program nor a script", file.identity.path.display())))
        }
        Kind::Program => {
            let unbounded = unbounded(basis.trust, &name, &file);
            let files = if unbounded.is_some() { named_files(arguments, cwd) } else { Vec::new() };
            let miss = match unbounded {
                Some(why) => Some(Denied::by_rule("UNBOUNDED", why)),
                None => unlisted(basis, &name, &file, arguments),
            };
            Ok((Stage { argv, exe: file.identity, script: None, files }, miss))
        }
        Kind::Script { interpreter, option } => {
            let through = basis.trust.program(&basis.trust.locate(interpreter)?)?;
            let (reader, option) = (base(&through.identity.path).to_owned(), option.clone());
            let kind = class::of_name(&reader).filter(|kind| class::reads_scripts(kind) && through.kind == Kind::Program);
            if kind.is_none() || !interpreter.starts_with('/') {
                let reason = format!("{} is started through {interpreter}, which is no interpreter itself", file.identity.path.display());
                return Err(Denied::by_rule("SCRIPT", reason));
            }
            if file.identity.size > MAX_SCRIPT {
                return Err(Denied::by_rule("TOO_LARGE", format!("{} is larger than a script may be", file.identity.path.display())));
            }
            let miss = if let Some(why) = unbounded(basis.trust, &name, &file) {
                Some(Denied::by_rule("UNBOUNDED", why))
            } else if basis.entries.pins(&file.identity) && basis.entries.names(&through.identity) {
                profiles::check("", arguments, Reach::Files).err().map(|why| Denied::by_rule("ARGUMENTS", why))
            } else {
                let reason = format!(
                    "{} is a script; it needs an entry with the sha256 of its content, and one for its interpreter {}",
                    file.identity.path.display(),
                    through.identity.path.display()
                );
                Some(Denied::by_rule("SCRIPT", reason))
            };
            // What the kernel would make of it; the script's own name stands where the shim puts the held file.
            argv.splice(..1, [reader].into_iter().chain(option.clone()).chain([file.identity.path.to_string_lossy().into_owned()]));
            Ok((Stage { argv, exe: through.identity, script: Some(Script { file: file.identity, option }), files: Vec::new() }, miss))
        }
    }
}

/// Why a program is one that runs others, if it is.
fn unbounded(trust: &Trust, name: &str, file: &Held) -> Option<String> {
    let (typed, real) = (base(Path::new(name)), base(&file.identity.path));
    for name in [typed, real] {
        if let Some(kind) = class::of_name(name) {
            return Some(format!("`{name}` is a {kind}; such programs run others and can only be allowed once, by a person"));
        }
    }
    if typed != real {
        return Some(format!("`{typed}` is another name of {}, which may act by its name; call it by that", file.identity.path.display()));
    }
    // A second name of the same file: it may be one of those under that name.
    if file.links > 1 && trust.is_also(&file.identity, class::names()) {
        return Some(format!("`{real}` is the same file as a program that runs others"));
    }
    None
}

/// Why a bounded program may not run unasked, if it may not.
fn unlisted(basis: &Basis<'_>, name: &str, file: &Held, arguments: &[String]) -> Option<Denied> {
    let real = base(&file.identity.path);
    let by_entry = basis.entries.names(&file.identity).then(|| profiles::check(real, arguments, Reach::Files));
    // A safe program is one of the system's folders, by its name alone.
    let is_safe = basis.safe_bins.iter().any(|safe| safe == name);
    let by_name = (is_safe && !name.contains('/')).then(|| profiles::check(real, arguments, Reach::Stdin));
    match (by_entry, by_name) {
        (Some(Ok(())), _) | (_, Some(Ok(()))) => None,
        (Some(Err(why)), _) | (None, Some(Err(why))) => Some(Denied::by_rule("ARGUMENTS", why)),
        (None, None) => {
            Some(Denied::by_rule("NOT_LISTED", format!("{} is not listed in exec-approvals.json", file.identity.path.display())))
        }
    }
}

/// The files that arguments name, which the program might execute. What is no plain file, or cannot be opened, is none.
fn named_files(arguments: &[String], cwd: &Path) -> Vec<super::plan::Identity> {
    let named = arguments.iter().filter(|argument| !argument.starts_with('-') && !argument.is_empty());
    let real = named.filter_map(|argument| std::fs::canonicalize(cwd.join(argument)).ok());
    real.filter_map(|path| trust::plain_file(&path).ok()).map(|held| held.identity).take(MAX_FILES).collect()
}

/// The plan of a command that the shell runs, for a person to allow.
fn shell_plan(request: &Request<'_>) -> Result<Plan, Denied> {
    if request.command.len() > MAX_SHELL_TEXT || request.command.contains('\0') {
        let reason = format!(
            "the command has {} bytes or a NUL byte in it; one that is asked about may have {MAX_SHELL_TEXT}",
            request.command.len()
        );
        return Err(Denied::by_rule("TOO_LONG", reason));
    }
    let shown = request.shell.display();
    let real = std::fs::canonicalize(request.shell).map_err(|cause| Denied::by_rule("NOT_FOUND", format!("the shell {shown}: {cause}")))?;
    let exe = trust::plain_file(&real)?.identity;
    let argv = vec![request.shell.to_string_lossy().into_owned(), "-c".to_owned(), request.command.to_owned()];
    let stages = vec![Stage { argv, exe, script: None, files: Vec::new() }];
    let cwd = trust::folder(request.cwd)?.folder;
    Ok(Plan { mode: ExecSecurity::Full, stages, cwd, env: env_digests(request.env), approval: None })
}

#[cfg(test)]
mod tests;

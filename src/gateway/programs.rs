//! From the configuration to agent programs that can be started: which file, with which environment, where its state is, and what one turn of it is told.
//!
//! Keys go only where they are named: what a program gets of the gateway's environment stands in its `passthrough`, and the rest in its `env`. It gets them by the run's private stream, never by an argument.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::endpoints::{of_program, unaliased};
use super::minds::{exec, file_note, noted, pictures, thinking_word, variable};
use crate::config::Config;
use crate::config::load::Loaded;
use crate::config::paths::private_dir;
use crate::config::runners::{By, CommandLine};
use crate::config::secret::Secret;
use crate::programs::spec::{Approvals, Kind, ProgramSpec};
use crate::runs::brief::{ProgramTask, Recalled};
use crate::runs::spec::Work;
use crate::store::record::RunRecord;

/// A program as it is configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The program and its arguments; empty = the kind's own name.
    pub command: Vec<String>,
    /// Its variables besides those of every run: names passed on, then values given.
    pub env: BTreeMap<String, String>,
    /// Where it keeps its state; none = where it does by itself, outside of what the gateway looks after.
    pub home: Option<PathBuf>,
    /// Whether that is the user's own directory of the program, which it finds by itself.
    pub is_users: bool,
    /// The model when nobody else names one.
    pub model: Option<String>,
    /// How long it may say nothing, ms.
    pub silence_ms: u64,
    /// Codex's own fence.
    pub sandbox: Option<String>,
    /// Mode of an ACP session.
    pub mode: Option<String>,
    /// How an ACP program is told who we are.
    pub auth: Option<String>,
    /// Whether the gateway runs its commands.
    pub hands: bool,
    /// Whether the gateway has the credentials of its model.
    pub proxied: bool,
    /// The provider whose credentials those are.
    pub provider: Option<String>,
}

/// What the configuration says about programs of this kind.
#[must_use]
pub fn configured(loaded: &Loaded, kind: Kind) -> Program {
    let runners = &loaded.config.runners;
    type Common<'a> =
        (&'a Option<CommandLine>, &'a BTreeMap<String, Secret<String>>, &'a [String], &'a Option<String>, &'a Option<String>, u64);
    type Sides<'a> = (Option<By>, Option<By>, &'a Option<String>);
    macro_rules! common {
        ($of:expr) => {
            (
                (&$of.command, &$of.env, &$of.passthrough[..], &$of.home, &$of.model, $of.silence_seconds),
                ($of.exec, $of.credentials, &$of.provider),
            )
        };
    }
    let ((command, env, passthrough, home, model, silence), (exec, credentials, provider)): (Common<'_>, Sides<'_>) = match kind {
        Kind::Codex => common!(runners.codex),
        Kind::Claude => common!(runners.claude),
        Kind::Pi => common!(runners.pi),
        Kind::Acp => common!(runners.acp),
    };
    let passed = passthrough.iter().filter_map(|name| Some((name.clone(), known_variable(&loaded.config, name)?)));
    let given = env.iter().map(|(name, value)| (name.clone(), value.expose().clone()));
    let (home, is_users) = home_of(loaded, kind, home.as_deref());
    let of = |wanted: Kind, word: Option<String>| word.filter(|_| kind == wanted);
    Program {
        command: command.clone().map(|line| line.0).unwrap_or_default(),
        env: passed.chain(given).collect(),
        home,
        is_users,
        model: model.clone(),
        silence_ms: silence.saturating_mul(1000),
        sandbox: of(Kind::Codex, runners.codex.sandbox.map(|sandbox| sandbox.name())),
        mode: of(Kind::Acp, runners.acp.mode.clone()),
        auth: of(Kind::Acp, runners.acp.auth.clone()),
        hands: exec == Some(By::Gateway),
        proxied: credentials == Some(By::Gateway),
        provider: provider.clone(),
    }
}

/// A variable of the gateway's environment, or of section `env`.
#[must_use]
pub fn known_variable(config: &Config, name: &str) -> Option<String> {
    variable(name).or_else(|| config.env.vars.get(name).map(|value| value.expose().clone())).filter(|value| !value.is_empty())
}

/// The directory of a program's state: the configured one, else one of the gateway's own, unless only the user's has a login.
fn home_of(loaded: &Loaded, kind: Kind, given: Option<&str>) -> (Option<PathBuf>, bool) {
    let known = kind.known();
    if let Some(given) = given {
        return (Some(PathBuf::from(given)), false);
    }
    let Some(usual) = known.usual_home else { return (None, false) };
    let (own, users) = (loaded.paths.state_dir.join("runners").join(kind.name()), loaded.paths.home.join(usual));
    if !known.has_login(&own) && known.has_login(&users) { (Some(users), true) } else { (Some(own), false) }
}

impl Program {
    /// Whether it has what it needs to be let in at its provider; absent if that cannot be known.
    #[must_use]
    pub fn authenticated(&self, kind: Kind) -> Option<bool> {
        let known = kind.known();
        let by_key = known.keys.iter().any(|key| self.env.contains_key(*key));
        // It may be let in by other ways than those that are known here.
        (by_key || self.home.as_deref().is_some_and(|home| known.has_login(home))).then_some(true)
    }

    /// The provider that the gateway asks for it, if it does and that is not the usual one; `named` is the model that the session or the agent names.
    #[must_use]
    pub fn asked(&self, kind: Kind, named: Option<&str>) -> Option<String> {
        if self.proxied { kind.known().asked(self.provider.as_deref(), named) } else { None }
    }

    /// Its variables, with those that say where its state is and keep it quiet; what is configured wins.
    fn variables(&self, kind: Kind) -> BTreeMap<String, String> {
        let known = kind.known();
        let mut env: BTreeMap<String, String> = known.quiet.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if let Some(home) = self.home.as_ref().filter(|_| !self.is_users) {
            env.insert(known.home_variable.to_owned(), home.to_string_lossy().into_owned());
        }
        env.extend(self.env.clone());
        env
    }

    /// What must be open to it also where runs are shut in.
    fn places(&self, kind: Kind, user: &Path) -> Vec<PathBuf> {
        let mut places: Vec<PathBuf> = self.home.iter().cloned().collect();
        if self.is_users && kind == Kind::Claude {
            // Beside its directory it has a file of its own.
            places.push(user.join(".claude.json"));
        }
        places
    }
}

/// What a run of a program is told.
///
/// # Errors
/// One line: why it cannot run, and what to do about it.
pub fn task(
    loaded: &Loaded,
    kind: Kind,
    run: &RunRecord,
    work: &Work,
    recalled: Recalled,
    approvals: Approvals,
) -> Result<ProgramTask, String> {
    let (config, name) = (&loaded.config, kind.name());
    if work.compact.is_some() {
        return Err(format!(
            "the runner \"{name}\" keeps its conversations itself and shortens them when it has to; begin a new one with /new"
        ));
    }
    if let Some(variable) = work.env.keys().find(|variable| kind.known().is_its_own(variable)) {
        return Err(format!(
            "env: {variable} says what the program of runner \"{name}\" trusts and talks to; a request cannot set it, runners.{name}.env can"
        ));
    }
    let program = configured(loaded, kind);
    if let Some(home) = program.home.as_ref().filter(|_| !program.is_users) {
        private_dir(home).map_err(|cause| format!("the directory {} of runner \"{name}\" cannot be made: {cause}", home.display()))?;
    }
    let id = run.agent_id.as_str();
    let agent = config.agent(Some(id)).ok_or_else(|| format!("there is no agent \"{id}\" any more"))?;
    let mut spec = ProgramSpec::new(kind, program.command.clone());
    spec.env = program.variables(kind);
    spec.hands = program.hands.then(|| exec(config, &agent));
    let agents = agent.model.and_then(|model| model.primary).map(|name| unaliased(config, &name));
    let chosen = recalled.model.as_ref().and_then(|(provider, model)| Some(format!("{}/{model}", provider.as_deref()?)));
    let asked = program.asked(kind, chosen.as_deref().or(agents.as_deref()));
    spec.model = model(kind, &recalled, agents.as_deref(), asked.as_deref())?.or_else(|| program.model.clone());
    spec.prompt = Some(prompt(work, &recalled.notes));
    spec.pictures = pictures(work);
    let here = |cwd: &Option<PathBuf>| cwd.as_ref() == Some(&work.cwd);
    spec.session = recalled.program.filter(|program| here(&program.cwd)).map(|program| program.reference);
    spec.system = work.extra_system_prompt.clone();
    let chosen = work.thinking.as_deref().or(recalled.thinking.as_deref());
    if let Some(level) = thinking_word(chosen, config.agents.defaults.thinking_default) {
        spec.think(&level, chosen.is_some());
    }
    spec.approvals = approvals;
    (spec.sandbox, spec.mode, spec.auth) = (program.sandbox.clone(), program.mode.clone(), program.auth.clone());
    spec.session_dir = program.home.as_ref().filter(|_| kind == Kind::Pi).map(|home| home.join("sessions"));
    spec.silence_ms = program.silence_ms;
    if program.proxied {
        spec.provider = Some(Box::new(of_program(config, kind, asked.as_deref(), spec.model.as_deref(), &variable)?));
    }
    Ok(ProgramTask { spec, writable: program.places(kind, &loaded.paths.home) })
}

/// The session's own model or the agent's, as the program spells it. That an agent's is none for the program is no error, because agents of several runners share the defaults; that a person's choice is none is one.
fn model(kind: Kind, recalled: &Recalled, of_agent: Option<&str>, asked: Option<&str>) -> Result<Option<String>, String> {
    let known = kind.known();
    let Some((provider, chosen)) = &recalled.model else { return Ok(of_agent.and_then(|full| known.model(full, asked))) };
    match provider {
        None => Ok(Some(chosen.clone())),
        Some(provider) => known.model(&format!("{provider}/{chosen}"), asked).map(Some).ok_or_else(|| {
            let can = if known.providers.is_empty() { "none but that of its configuration".to_owned() } else { known.providers.join(", ") };
            format!(
                "the session's model {provider}/{chosen} is none for the runner \"{}\" (it can use models of: {can}); choose another with /model, or `/model default`",
                kind.name()
            )
        }),
    }
}

/// What happened since the last turn, what the user says, and which files came with it.
fn prompt(work: &Work, notes: &[String]) -> String {
    let files = work.attachments.iter().map(|file| file_note(&file.name, &file.mime_type, &file.path));
    noted(notes).into_iter().chain([work.message.clone()]).chain(files).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests;

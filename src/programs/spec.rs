//! What a program is told about its turn: which one it is, how it is started, and what it is to do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ready::Ready;
use crate::agent::spec::ExecRules;
use crate::model::endpoint::Endpoint;

/// The languages that programs speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Codex, by its app server.
    Codex,
    /// Claude Code, by lines of JSON with its control protocol.
    Claude,
    /// pi, by its RPC mode.
    Pi,
    /// Any program that speaks the Agent Client Protocol.
    Acp,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Codex, Self::Claude, Self::Pi, Self::Acp];

    /// Its name in the configuration, which is also that of its runner.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Codex => "codex",
            Self::Claude => "claude",
            Self::Pi => "pi",
            Self::Acp => "acp",
        }
    }

    /// The command when none is configured; the Agent Client Protocol has no program of its own.
    #[must_use]
    pub fn command(self) -> Option<&'static str> {
        match self {
            Self::Acp => None,
            _ => Some(self.name()),
        }
    }

    /// Whether the program asks before it runs a command. One that never does may only work where nobody has to be asked.
    #[must_use]
    pub fn asks(self) -> bool {
        !matches!(self, Self::Pi)
    }
}

/// Who decides about the commands that a program wants to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approvals {
    /// The gateway, about all that the program asks about; it is told to ask as often as it can.
    #[default]
    Ask,
    /// Nobody has to be asked, but the gateway is told of each command before it runs, and writes it down.
    Record,
    /// Nobody: all is allowed.
    Never,
}

/// A picture that came with the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    /// Where it lies.
    pub path: PathBuf,
    /// Its media type.
    pub mime_type: String,
    /// Its bytes in base64.
    pub data: String,
}

/// A turn for a program. Travels with the run's spec only, because its environment may hold keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramSpec {
    /// The language it speaks.
    pub kind: Kind,
    /// The program, a path or a name in `PATH`, and arguments that stand before ours.
    pub command: Vec<String>,
    /// Its environment besides that of the run's commands, such as keys and places of its state; wins over it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the user says; the run's message when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Pictures beside the prompt, for programs that take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<Picture>,
    /// The conversation to take up, as an earlier turn named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The model, as the program spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Text for the program's own system prompt, behind what it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How much the model thinks, in the program's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Who decides about its commands.
    #[serde(default)]
    pub approvals: Approvals,
    /// The program's own fence around its commands, for those that have one: Codex's `read-only`, `workspace-write`, `danger-full-access`; absent = the last, since runs have a fence of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The mode of an ACP session, such as `read-only`; absent = the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How an ACP program is to be told who we are, an id of its list; absent = not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// Directory for sessions of a program that wants to be told; it is pi's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_dir: Option<PathBuf>,
    /// How long the program may say nothing while no call is open and nobody is asked, ms.
    #[serde(default = "default_silence_ms")]
    pub silence_ms: u64,
    /// The gateway runs its commands, by these rules, and it has no shell of its own; absent = it runs them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hands: Option<ExecRules>,
    /// The provider whom the run's host asks for it, with the key, which the program does not get; absent = it asks by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<Endpoint>>,
    /// What the run's host has made ready; it is made there and never sent.
    #[serde(skip)]
    pub ready: Ready,
}

/// Five minutes: longer than the slowest model thinks without a word, shorter than ten retries of a wrong key.
#[must_use]
pub fn default_silence_ms() -> u64 {
    300_000
}

impl ProgramSpec {
    /// A turn with nothing special in it.
    #[must_use]
    pub fn new(kind: Kind, command: Vec<String>) -> Self {
        Self {
            kind,
            command,
            env: BTreeMap::new(),
            prompt: None,
            pictures: Vec::new(),
            session: None,
            model: None,
            system: None,
            thinking: None,
            approvals: Approvals::Ask,
            sandbox: None,
            mode: None,
            auth: None,
            session_dir: None,
            silence_ms: default_silence_ms(),
            hands: None,
            provider: None,
            ready: Ready::default(),
        }
    }

    /// The whole command line. Secrets are never part of it.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv = self.command.clone();
        match self.kind {
            Kind::Codex => {
                self.ready.codex(&mut argv);
                argv.push("app-server".to_owned());
            }
            Kind::Claude => super::claude::arguments(self, &mut argv),
            Kind::Pi => super::pi::arguments(self, &mut argv),
            Kind::Acp => {}
        }
        argv
    }
}

impl fmt::Debug for ProgramSpec {
    /// Without the values of variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("ProgramSpec").field("kind", &self.kind).field("command", &self.command).field("env", &names).finish_non_exhaustive()
    }
}

/// Adds `name value` if there is a value.
pub(super) fn option(argv: &mut Vec<String>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        argv.extend([name.to_owned(), value.to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_environment_is_in_no_debug_text_and_no_argument() {
        for kind in Kind::ALL {
            let mut spec = ProgramSpec::new(kind, vec![kind.name().to_owned()]);
            spec.env.insert("THE_KEY".to_owned(), "s3cret".to_owned());
            assert!(!format!("{spec:?}").contains("s3cret") && format!("{spec:?}").contains("THE_KEY"));
            assert!(!spec.argv().join(" ").contains("s3cret"));
        }
    }

    #[test]
    fn a_spec_of_an_older_daemon_is_understood() {
        let spec: ProgramSpec = serde_json::from_str(r#"{"kind":"codex","command":["codex"],"later":1}"#).unwrap();
        assert_eq!(spec, ProgramSpec::new(Kind::Codex, vec!["codex".to_owned()]));
        assert_eq!(spec.argv(), ["codex", "app-server"]);
    }
}

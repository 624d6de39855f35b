//! Section `runners`: agent programs that are not part of the gateway. Which file each of them is, what it finds in its environment, and where it keeps its state.
//!
//! A program that is not there is no fault of the configuration: its runner is then not available, and nothing else changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Config;
use super::key_path::{KeyPath, Step};
use super::paths::{Paths, expand_home};
use super::problem::Problem;
use super::secret::Secret;
use super::section::{section, words};

/// A program and the arguments that stand before ours. A text is the whole name or path of a program, whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CommandLine(pub Vec<String>);

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = CommandLine;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path of a program, or a list of it and its arguments")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CommandLine, E> {
        Ok(CommandLine(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandLine, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        Ok(CommandLine(words))
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for CommandLine {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CommandLine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
            ],
        })
    }
}

words! {
    /// Who does something that an agent program could do itself.
    enum By {
        /// The program.
        Native,
        /// The gateway.
        Gateway,
    }
}

words! {
    /// Codex's own fence around its commands.
    enum CodexSandbox {
        /// They only read.
        ReadOnly,
        /// They write in the workspace.
        WorkspaceWrite,
        /// There is none; the gateway's own, `agents.*.sandbox`, holds all the same.
        DangerFullAccess,
    }
}

/// Declares the keys of one program: those that all of them have, then its own.
macro_rules! program {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$inner:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        section! {
            $(#[$meta])*
            struct $name {
                /// The program: its path, or its name in the gateway's `PATH`; as a list with arguments that stand before the gateway's own.
                command: Option<CommandLine>,
                /// Variables for the program, beside those of every run. All count as secrets; `${NAME}` keeps them out of this file. Its commands see them, too.
                env: BTreeMap<String, Secret<String>>,
                /// Names of variables of the gateway (or of section `env`) that the program gets, such as the key of its provider. Without a name here it gets none that looks like a secret.
                passthrough: Vec<String>,
                /// The model, as the program spells it, where neither the session nor the agent names one that it can use.
                model: Option<String>,
                /// How long the program may say nothing while no tool works and nobody is asked, seconds; then its run ends.
                #[schemars(range(min = 1, max = 86_400))]
                silence_seconds: u64 = 300,
                /// Who runs its commands; default `native`, the program. With `gateway` it has the gateway's tool `exec` in the place of a shell of its own, so its commands have the same rules, approvals, fence and limits as those of the built-in agent. Not for `pi`; one of `acp` is only offered the tool, and its own shell must be switched off in its own configuration.
                exec: Option<By>,
                /// Who has the credentials of its model's provider; default `native`, the program: from its own login, or from `env` and `passthrough`. With `gateway` it asks the model through the host process of its run, with a key that is good for this run alone; the real one is that of `provider` and never reaches the run. On Amazon Bedrock, for `claude`, `pi` and `acp`, the host process signs the requests with the gateway's credentials of AWS; variables with other ones are taken from the program. Codex speaks to providers with OpenAI's Responses alone; providers of `api` `google-generative-ai` are for `acp`, as Gemini CLI asks them.
                credentials: Option<By>,
                /// The provider whose credentials those are, an id of `models.providers`, `anthropic`, `openai` or `amazon-bedrock`; default for `claude` `amazon-bedrock` where the session's or agent's model is there, else `anthropic`, `openai` for `codex`, and for the others what stands before the `/` of the model.
                provider: Option<String>,
                $($(#[$inner])* $field: $kind,)*
            }
        }
    };
}

program! {
    /// Codex, by its app server.
    struct Codex {
        /// Its directory of state, `CODEX_HOME`, absolute, with `~`, or below the state directory; default `runners/codex` below that, or `~/.codex` as long as only there is a login.
        home: Option<String>,
        /// Its own fence around its commands; default `danger-full-access`, because runs have a fence of the gateway's.
        sandbox: Option<CodexSandbox>,
    }
}

program! {
    /// Claude Code.
    struct Claude {
        /// Its directory of state, `CLAUDE_CONFIG_DIR`, absolute, with `~`, or below the state directory; default `runners/claude` below that, or `~/.claude` as long as only there is a login.
        home: Option<String>,
    }
}

program! {
    /// pi, by its RPC mode. It asks nobody about its commands, so it works only where nobody has to be asked.
    struct Pi {
        /// Its directory of state, `PI_CODING_AGENT_DIR`, absolute, with `~`, or below the state directory; default `runners/pi` below that, or `~/.pi/agent` as long as only there is a login.
        home: Option<String>,
    }
}

program! {
    /// A program that speaks the Agent Client Protocol, such as `["gemini", "--acp"]` or `["opencode", "acp"]`. It has no name of its own, so it needs `command`.
    struct Acp {
        /// Its home directory, `HOME`, absolute, with `~`, or below the state directory; default the user's.
        home: Option<String>,
        /// The mode of its sessions, one of its own words. What a program does in a mode that nobody chose may ask nobody.
        mode: Option<String>,
        /// How it is told who we are: the id of a method of its own list; default not at all.
        auth: Option<String>,
    }
}

section! {
    /// Agent programs that are not part of the gateway. An agent works with one when its `runner` names it.
    struct Runners {
        /// Most runs of such programs at once; default what fits into the machine's memory, reckoned with 250 MB each and 600 MB for `acp`. Others wait for their turn.
        #[schemars(range(min = 1))]
        max_concurrent: Option<usize>,
        /// Codex.
        codex: Codex,
        /// Claude Code.
        claude: Claude,
        /// pi.
        pi: Pi,
        /// Any program that speaks the Agent Client Protocol.
        acp: Acp,
    }
}

/// What all programs have, borrowed.
type Parts<'a> = (&'static str, &'a mut Option<CommandLine>, &'a mut Option<String>, &'a BTreeMap<String, Secret<String>>, &'a [String]);

impl Runners {
    fn parts(&mut self) -> [Parts<'_>; 4] {
        let Self { codex, claude, pi, acp, .. } = self;
        [
            ("codex", &mut codex.command, &mut codex.home, &codex.env, &codex.passthrough),
            ("claude", &mut claude.command, &mut claude.home, &claude.env, &claude.passthrough),
            ("pi", &mut pi.command, &mut pi.home, &pi.env, &pi.passthrough),
            ("acp", &mut acp.command, &mut acp.home, &acp.env, &acp.passthrough),
        ]
    }

    /// Makes paths absolute: `~` is the user's home directory, and a directory without a place lies below the state directory. A program by its name alone stays a name.
    pub(super) fn settle(&mut self, paths: &Paths) {
        for (_, command, home, ..) in self.parts() {
            if let Some(program) = command.as_mut().and_then(|line| line.0.first_mut()).filter(|program| program.starts_with('~')) {
                *program = expand_home(Path::new(program), &paths.home).to_string_lossy().into_owned();
            }
            if let Some(home) = home {
                *home = paths.state_dir.join(expand_home(Path::new(home), &paths.home)).to_string_lossy().into_owned();
            }
        }
    }
}

/// What is wrong whatever the config is used for.
pub(super) fn wrong(config: &Config, problems: &mut Vec<Problem>) {
    for (name, command, _, env, passthrough) in config.runners.clone().parts() {
        let path = KeyPath::parse("runners").key(name);
        if let Some(program) = command.as_ref().and_then(|line| line.0.first())
            && program.contains('/')
            && !program.starts_with('/')
        {
            problems.push(Problem::value(path.key("command"), "must be a name in PATH, an absolute path, or begin with ~/"));
        }
        for variable in env.keys().filter(|variable| !is_variable(variable)) {
            problems.push(Problem::value(path.key("env").key(variable), "is no name of a variable: letters, digits and `_`"));
        }
        for (index, _) in passthrough.iter().enumerate().filter(|(_, variable)| !is_variable(variable)) {
            let text = "is no name of a variable: letters, digits and `_`; values stand in env";
            problems.push(Problem::value(path.key("passthrough").join(Step::Index(index)), text));
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Runners {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_command_is_a_path_or_a_list_and_paths_become_absolute() {
        let mut runners = read(json!({
            "codex": { "command": "~/bin/co dex", "home": "mine" },
            "claude": { "command": ["claude", "--debug"], "home": "~/.claude" },
            "acp": { "command": ["/opt/x", "acp"] },
        }));
        runners.settle(&Paths::in_state_dir("/s".into(), "/home/u".into()));
        let words = |line: &Option<CommandLine>| line.clone().unwrap().0;
        assert_eq!(words(&runners.codex.command), ["/home/u/bin/co dex"]);
        assert_eq!(words(&runners.claude.command), ["claude", "--debug"]);
        assert_eq!(words(&runners.acp.command), ["/opt/x", "acp"]);
        assert_eq!((runners.codex.home.as_deref(), runners.claude.home.as_deref()), (Some("/s/mine"), Some("/home/u/.claude")));
        assert_eq!((runners.pi.home, runners.pi.silence_seconds), (None, 300));
    }

    #[test]
    fn keys_are_closed_and_those_of_one_program_are_not_those_of_another() {
        for bad in [
            json!({ "codex": { "comand": "x" } }),
            json!({ "claude": { "sandbox": "read-only" } }),
            json!({ "codex": { "mode": "x" } }),
            json!({ "codex": { "sandbox": "none" } }),
            json!({ "gemini": {} }),
            json!({ "pi": { "command": 3 } }),
        ] {
            assert!(serde_json::from_value::<Runners>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_of_variables_are_never_shown_and_names_must_be_names() {
        let runners =
            read(json!({ "codex": { "env": { "A": "canary", "B-C": "x" }, "passthrough": ["OK", "A=canary2", "1"], "command": "bin/x" } }));
        assert!(!serde_json::to_string(&runners).unwrap().contains("\"canary\""));
        let mut problems = Vec::new();
        wrong(&Config { runners, ..Config::default() }, &mut problems);
        let paths: Vec<String> = problems.iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(
            paths,
            ["runners.codex.command", "runners.codex.env.B-C", "runners.codex.passthrough[1]", "runners.codex.passthrough[2]"],
            "{problems:?}"
        );
    }
}

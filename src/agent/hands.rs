//! The tool `exec` without the loop: for agent programs that have a loop of their own and no shell.
//!
//! It is the same tool: what is asked, started, bounded and ended, and in which words its model is told, is what the loop's own calls do. There is no background: a call lasts as long as its command.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::commands::{Commands, Wanted};
use super::host::Host;
use super::spec::ExecRules;
use super::tools::Given;
use super::tools::exec::ended;
use crate::exec::company::Company;
use crate::exec::output::Counts;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The command.
    pub command: String,
    /// The folder, from the run's own on; that one when absent.
    #[serde(default, alias = "workdir")]
    pub cwd: Option<String>,
    /// Time limit, seconds; the longest when absent.
    #[serde(default)]
    pub timeout: Option<f64>,
}

impl Asked {
    /// Reads arguments.
    ///
    /// # Errors
    /// What is wrong with them, for the model.
    pub fn of(arguments: Value) -> Result<Self, String> {
        let asked: Self = serde_json::from_value(arguments).map_err(|error| format!("Wrong arguments: {error}."))?;
        if asked.command.trim().is_empty() { Err("The command is empty.".to_owned()) } else { Ok(asked) }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What the model is told: the output, beginning and end, and how it ended.
    pub text: String,
    /// Whether it failed.
    pub is_error: bool,
    /// Exit code of the command.
    pub exit_code: Option<i32>,
    /// Name of the signal that ended it.
    pub signal: Option<String>,
}

/// Runs commands for whoever asks.
pub struct Hands {
    commands: Commands,
    host: Arc<dyn Host>,
    folder: PathBuf,
}

impl Hands {
    /// Hands that work in `folder`. What they start belongs to `company`, and ends when the host stops.
    #[must_use]
    pub fn new(rules: ExecRules, host: Arc<dyn Host>, folder: PathBuf, company: Company) -> Self {
        Self { commands: Commands::new(rules, host.stop(), company), host, folder }
    }

    /// The folder in which a command runs.
    #[must_use]
    pub fn folder(&self, asked: &Asked) -> PathBuf {
        self.folder.join(asked.cwd.as_deref().unwrap_or(".")).components().filter(|part| *part != std::path::Component::CurDir).collect()
    }

    /// Has the command judged, runs it and waits for its end. `cancelled` ends it, also while it is being asked about.
    pub async fn exec(&self, id: &str, asked: Asked, cancelled: &CancellationToken) -> Done {
        let rules = *self.commands.rules();
        let longest = Duration::from_millis(rules.timeout_ms);
        let wish = asked.timeout.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let timeout = wish.map_or(longest, |seconds| Duration::from_secs_f64(seconds.min(longest.as_secs_f64())));
        let cwd = self.folder(&asked);
        let wanted = Wanted {
            tool_call_id: id.to_owned(),
            text: asked.command,
            cwd,
            env: Default::default(),
            timeout,
            open_input: false,
            pty: false,
        };
        let stop = self.host.stop();
        let started = tokio::select! {
            started = self.commands.start(&self.host, wanted) => started,
            () = stop.cancelled() => return Given::error("Cancelled before the command began.").into(),
            () = cancelled.cancelled() => return Given::error("Cancelled before the command began.").into(),
        };
        let command = match started {
            Ok(command) => command,
            Err(why) => return Given::error(format!("The command did not run: {}", why.message)).into(),
        };
        let ending = self.commands.ending();
        let stopped = tokio::select! {
            _ = command.wait(timeout.saturating_add(ending)) => false,
            () = stop.cancelled() => true,
            () = cancelled.cancelled() => true,
        };
        if stopped {
            command.stop.cancel();
            command.wait(ending).await;
        }
        ended(&command, &command.output(), stopped).into()
    }

    /// What the commands that ended have printed.
    #[must_use]
    pub fn printed(&self) -> Counts {
        self.commands.printed()
    }

    /// Ends what runs and waits for it.
    pub async fn end(&self) {
        self.commands.end().await;
    }
}

impl From<Given> for Done {
    fn from(given: Given) -> Self {
        Self { text: given.words(), is_error: given.is_error, exit_code: given.exit_code, signal: given.signal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_that_make_no_sense_are_answered_in_words() {
        let of = |arguments: Value| Asked::of(arguments).map(|asked| (asked.command, asked.cwd));
        assert_eq!(of(json!({ "command": "ls", "cwd": "sub", "timeout": 2 })), Ok(("ls".into(), Some("sub".into()))));
        assert_eq!(of(json!({ "command": "ls", "workdir": "/tmp" })).unwrap().1.as_deref(), Some("/tmp"));
        for (wrong, words) in [
            (json!({ "command": " \n" }), "empty"),
            (json!({}), "missing field `command`"),
            (json!({ "command": ["ls"] }), "invalid type"),
            (json!({ "command": "ls", "env": { "A": "b" } }), "unknown field `env`"),
            (Value::Null, "Wrong arguments"),
        ] {
            let said = of(wrong).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}

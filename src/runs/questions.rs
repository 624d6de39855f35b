//! What a run's shim asks of the daemon while it works, and what it is answered: whether a command may start, and what only the daemon can do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exec::policy::Plan;
use crate::protocol::run::Denied;

/// A command that a tool wants to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// The call of the tool.
    pub tool_call_id: String,
    /// What the shell is to run.
    pub command: String,
    /// The folder to run in, absolute.
    pub cwd: PathBuf,
    /// Variables besides the run's own, not yet judged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// An agent program starts it by itself, in its own way: a plan cannot be carried out, and the words are all that is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
}

/// A use of a tool that only the daemon can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errand {
    /// The call of the tool; with the run it names the errand, so that one that is told twice is done once.
    pub tool_call_id: String,
    /// The tool.
    pub tool: String,
    /// Its arguments, JSON as text.
    pub args: String,
}

/// What came of an errand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What the model is told.
    pub text: String,
    /// Whether it failed.
    #[serde(default)]
    pub is_error: bool,
}

impl Done {
    /// A failure, in words for the model.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: true }
    }
}

/// What the daemon says about a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// It may start now, exactly so and once.
    Start {
        /// What is to be started; none = the shell, with the whole command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<Plan>>,
        /// The whole environment.
        env: BTreeMap<String, String>,
    },
    /// It may not.
    Refused {
        /// Set if the rules or a person refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denied: Option<Denied>,
        /// One line, for the model and for people.
        message: String,
    },
}

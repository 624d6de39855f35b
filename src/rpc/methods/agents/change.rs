//! Changes of the list of agents in the configuration: made on the text of its author, and put into effect at once.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::agents::Agent as Listed;
use crate::config::change::{Base, ChangeError, Edit, change};
use crate::config::key_path::{KeyPath, Step};
use crate::config::layers::Sources;
use crate::config::load::{Loaded, load};
use crate::config::resolve::MAIN_AGENT;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::rpc::call::Call;
use crate::rpc::methods::config;
use crate::workspace::beneath::Dir;
use crate::workspace::files::MAX_BYTES;
use crate::workspace::identity::with_lines;

/// How often a change is tried when somebody else changes the file meanwhile.
const TRIES: usize = 5;

/// The list as the file on disk has it.
pub struct List {
    /// The configuration on disk.
    pub loaded: Loaded,
}

/// What is to be done with the list.
pub enum Plan {
    /// Merge a value into the entry at this place; one past the end adds it. Null takes the entry away.
    Entry(usize, Value),
    /// Replace a list that is empty, which stands for the one agent `main`.
    Whole(Value),
    /// Merge a value at another key.
    At(KeyPath, Value),
}

impl List {
    /// The place of the entry of this agent.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.entries().iter().position(|agent| agent.id.eq_ignore_ascii_case(id))
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Listed] {
        &self.loaded.config.agents.list
    }

    /// Whether there is such an agent; with an empty list there is one, `main`.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.position(id).is_some() || (self.entries().is_empty() && id == MAIN_AGENT)
    }

    /// Adds an entry.
    #[must_use]
    pub fn added(&self, entry: Value) -> Plan {
        if self.entries().is_empty() {
            // An entry of its own must not make the agent that was there disappear.
            return Plan::Whole(json!([{ "id": MAIN_AGENT }, entry]));
        }
        Plan::Entry(self.entries().len(), entry)
    }

    /// Merges into the entry of an agent that [is there](Self::has).
    #[must_use]
    pub fn merged(&self, id: &str, mut patch: Value) -> Plan {
        match self.position(id) {
            Some(at) => Plan::Entry(at, patch),
            None => {
                if let Some(entry) = patch.as_object_mut() {
                    entry.insert("id".to_owned(), json!(id));
                }
                Plan::Whole(json!([patch]))
            }
        }
    }
}

/// Changes the configuration on disk. `plan` looks at the list as it stands; it is asked again when somebody else was faster. Blocks.
///
/// # Errors
/// What `plan` refuses, or why nothing was written.
pub fn edit<T>(sources: &Sources, plan: impl Fn(&List) -> Result<(Plan, T), RpcError>) -> Result<T, RpcError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let loaded = load(sources)
            .map_err(|error| RpcError::invalid(format!("invalid config; fix before patching: {error}")).with_code("CONFIG_INVALID"))?;
        let base = loaded.hash.clone();
        let (step, value) = plan(&List { loaded })?;
        let list = KeyPath::parse("agents.list");
        let (at, patch) = match step {
            Plan::Entry(index, patch) => (list.join(Step::Index(index)), patch),
            Plan::Whole(patch) => (list, patch),
            Plan::At(at, patch) => (at, patch),
        };
        match change(sources, Base::Hash(base.as_deref()), &Edit::Merge { at, patch }) {
            Ok(_) => return Ok(value),
            Err(ChangeError::Conflict) if tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs what blocks, then has the gateway take the configuration as it is on disk now.
///
/// # Errors
/// What `work` refuses, or the gateway cannot take the result.
pub async fn in_effect<T: Send + 'static>(
    cx: &Call,
    work: impl FnOnce(&Sources) -> Result<T, RpcError> + Send + 'static,
) -> Result<T, RpcError> {
    let sources = cx.gateway.configuration.sources().clone();
    let done = tokio::task::spawn_blocking(move || work(&sources)).await;
    let value = done.map_err(|cause| RpcError::unavailable("internal error", cause).with_code("INTERNAL"))??;
    let outcome = config::taken(cx, config::MIN_DELAY_MS, None).await?;
    match outcome.issues.first() {
        None => Ok(value),
        Some(first) => {
            let text = format!("the config was saved, but cannot be taken: {}: {}", first.path, first.message);
            Err(RpcError::invalid(text).with_code("CONFIG_NOT_APPLIED"))
        }
    }
}

/// No agent has this id.
#[must_use]
pub fn not_found(id: &str) -> RpcError {
    RpcError::invalid(format!("agent \"{}\" not found", short(id))).with_code("AGENT_NOT_FOUND")
}

/// Adds lines to the `IDENTITY.md` of a workspace.
///
/// # Errors
/// The file cannot be read or written.
pub fn introduce(workspace: &Path, lines: &[(&str, Option<&str>)]) -> Result<(), RpcError> {
    let name = "IDENTITY.md";
    let written = Dir::open(workspace).and_then(|dir| {
        let text = dir.read(Path::new(name), MAX_BYTES)?.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned());
        dir.write(name, with_lines(&text.unwrap_or_default(), lines).as_bytes())
    });
    written.map_err(|error| RpcError::unavailable(format!("{} could not be written: {error}", workspace.join(name).display()), error))
}

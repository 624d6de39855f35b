//! `config.get`: the configuration as its author wrote it and as it is in effect, secrets hidden.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::change::Stored;
use crate::config::layers::Sources;
use crate::config::load::{Loaded, load};
use crate::config::parse::parse;
use crate::config::redact::redacted;
use crate::config::schema::schema;
use crate::gateway::configuration::issue;
use crate::protocol::error::RpcError;
use crate::protocol::event::config::ConfigIssue;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// The configuration: what is on disk, whether it is right, and what is in effect. Secrets are hidden everywhere; a marker that is sent back in a change stands for the stored secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetParams {}

/// The configuration.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSnapshot {
    /// The main file.
    pub path: String,
    /// Whether it exists.
    pub exists: bool,
    /// Its text with secrets hidden; null when there is none, or when it does not parse and so nothing tells what in it is secret.
    pub raw: Option<String>,
    /// What that text says, `$include` and `${NAME}` kept; null when it does not parse.
    pub parsed: Value,
    /// Whether a gateway would start with what is on disk.
    pub valid: bool,
    /// The whole of it with includes, defaults, flags and environment; what is in effect when the file is not right.
    pub config: Value,
    /// Hash of the files, to be sent back with a change as `baseHash`; null when there is no file.
    pub hash: Option<String>,
    /// Hash of what is in effect.
    pub applied_hash: Option<String>,
    /// Changed keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// What is wrong with the file.
    pub issues: Vec<ConfigIssue>,
    /// What a person should know about it.
    pub warnings: Vec<ConfigIssue>,
    /// Always empty: no old spelling is rewritten here.
    pub legacy_issues: Vec<ConfigIssue>,
}

/// `config.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "config.get";
    const SCOPE: Scope = Scope::Read;
    type Params = GetParams;
    type Output = ConfigSnapshot;

    async fn call(cx: Call, _params: GetParams) -> Result<ConfigSnapshot, RpcError> {
        let (sources, running) = (cx.gateway.configuration.sources().clone(), cx.gateway.loaded());
        let restart_needed = cx.gateway.configuration.health().restart_needed;
        // What is not wrong with the file but with putting it into effect, such as a port that is taken.
        let standing = cx.gateway.configuration.issues();
        let reading = tokio::task::spawn_blocking(move || snapshot(&sources, &running));
        let mut snapshot = reading.await.map_err(|cause| RpcError::unavailable("internal error", cause).with_code("INTERNAL"))?;
        snapshot.restart_needed = restart_needed;
        if snapshot.valid && snapshot.hash != snapshot.applied_hash {
            snapshot.warnings.extend(standing);
        }
        Ok(snapshot)
    }
}

fn snapshot(sources: &Sources, running: &Arc<Loaded>) -> ConfigSnapshot {
    // Held, so that all that follows shares one parsed schema.
    let schema = schema();
    let stored = Stored::read(sources).ok();
    let raw = stored.as_ref().and_then(|stored| stored.raw.as_deref()).and_then(|raw| redacted(raw, &schema));
    let parsed = raw.as_deref().and_then(|raw| parse(&running.path, raw).ok()).unwrap_or_default();
    let (loaded, mut issues) = match load(sources) {
        Ok(loaded) => {
            let blockers = loaded.start_blockers().iter().map(issue).collect();
            (Some(loaded), blockers)
        }
        Err(error) => (None, error.problems().iter().map(issue).collect::<Vec<_>>()),
    };
    if loaded.is_none() && issues.is_empty() {
        issues.push(plain("cannot be read"));
    }
    let shown = loaded.as_ref().filter(|_| issues.is_empty()).unwrap_or(running);
    ConfigSnapshot {
        path: running.path.display().to_string(),
        exists: stored.as_ref().is_some_and(|stored| stored.raw.is_some()),
        raw,
        parsed,
        valid: issues.is_empty(),
        config: shown.show(),
        hash: stored.and_then(|stored| stored.hash()),
        applied_hash: running.hash.clone(),
        restart_needed: Vec::new(),
        issues,
        warnings: loaded.iter().flat_map(|loaded| &loaded.warnings).map(|text| plain(text)).collect(),
        legacy_issues: Vec::new(),
    }
}

fn plain(text: &str) -> ConfigIssue {
    ConfigIssue { path: String::new(), message: text.to_owned(), file: None, line: None, column: None }
}

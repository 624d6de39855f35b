//! Methods about the configuration: see it, change it, learn what it may hold.

pub mod apply;
pub mod get;
pub mod lookup;
pub mod patch;
pub mod schema;
pub mod set;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::audit::Action;
use crate::config::change::{Base, Edit, Saved, change};
use crate::gateway::configuration::Outcome;
use crate::protocol::error::RpcError;
use crate::protocol::event::config::Applied;
use crate::rpc::call::Call;

/// How long the gateway waits with a restart that a change needs, so that the answer arrives, ms.
const RESTART_DELAY_MS: u64 = 2000;
/// Shortest and longest delay of a restart, ms; without any the answer would meet a closed connection.
const MIN_DELAY_MS: u64 = 100;
const MAX_DELAY_MS: u64 = 60_000;

/// What was saved and what became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedReply {
    /// Always true.
    pub ok: bool,
    /// The configuration file.
    pub path: String,
    /// The configuration as it is now, with defaults, secrets hidden.
    pub config: Value,
    /// Hash of the files as they are now, for the next change.
    pub hash: Option<String>,
    /// Whether every byte is as it was, so that nothing was written.
    pub noop: bool,
    /// The keys that changed, without their values.
    pub changed: Vec<String>,
    /// What became of the change in the running gateway.
    pub applied: Applied,
    /// Changed keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// The restart that follows; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// A restart of the gateway by itself. Runs go on meanwhile.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Always true.
    pub ok: bool,
    /// The process, which stays the same.
    pub pid: u32,
    /// Time until it begins, ms.
    pub delay_ms: u64,
    /// Always `emit`: the gateway does it without a signal.
    pub mode: &'static str,
    /// Why, as the caller said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Saves a change. `by` is said in the log beside the names of the keys.
async fn save(cx: &Call, by: &'static str, base_hash: Option<String>, edit: Edit) -> Result<Saved, RpcError> {
    let sources = cx.gateway.configuration.sources().clone();
    let before = cx.gateway.loaded().hash.clone();
    let base = base_hash.filter(|hash| !hash.is_empty());
    let saving = tokio::task::spawn_blocking(move || change(&sources, Base::Hash(base.as_deref()), &edit));
    let saved =
        saving.await.map_err(|cause| RpcError::unavailable("internal error", cause).with_code("INTERNAL"))?.map_err(RpcError::from)?;
    if saved.written {
        let changed = saved.changed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let keys: Vec<String> = saved.changed.iter().map(ToString::to_string).collect();
        let event = cx.caller.event(Action::ConfigWrite).target(&saved.loaded.path.display().to_string());
        cx.gateway
            .audit
            .note(event.with("method", by).with("from", before.clone()).with("to", saved.loaded.hash.clone()).with("changed", keys));
        tracing::info!(by, connection = %cx.caller.conn_id, ?before, after = ?saved.loaded.hash, changed, "the configuration was written");
    }
    Ok(saved)
}

/// Puts what was saved into effect.
async fn apply(cx: &Call, saved: Saved, delay_ms: Option<u64>, note: Option<String>) -> Result<AppliedReply, RpcError> {
    let delay_ms = delay_ms.unwrap_or(RESTART_DELAY_MS).max(MIN_DELAY_MS);
    let outcome = cx.gateway.configuration.reload(delay_ms).await;
    let Outcome { applied, restart_needed, issues, .. } = outcome
        .ok_or_else(|| RpcError::try_again("the gateway is stopping; the next start takes what was saved", 1500).with_code("STOPPING"))?;
    if let Some(first) = issues.first() {
        let text =
            format!("the config was saved, but cannot be taken: {}: {}; the gateway goes on with the last one", first.path, first.message);
        return Err(RpcError::invalid(text)
            .with_code("CONFIG_NOT_APPLIED")
            .with_detail("issues", serde_json::to_value(&issues).unwrap_or_default()));
    }
    let restart =
        (applied == Applied::Restart).then(|| Restart { ok: true, pid: std::process::id(), delay_ms, mode: "emit", reason: note });
    Ok(AppliedReply {
        ok: true,
        path: saved.loaded.path.display().to_string(),
        config: saved.loaded.show(),
        hash: saved.loaded.hash.clone(),
        noop: !saved.written,
        changed: saved.changed.iter().map(ToString::to_string).collect(),
        applied,
        restart_needed,
        restart,
    })
}

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
use crate::gateway::restart_note::RestartNote;
use crate::protocol::error::RpcError;
use crate::protocol::event::config::Applied;
use crate::protocol::ids::SessionKey;
use crate::rpc::call::Call;

/// How long the gateway waits with a restart that a change needs once the answer is on its way, so that it arrives, ms.
const RESTART_DELAY_MS: u64 = 2000;
/// Shortest and longest delay of a restart, ms; without any the answer would meet a closed connection.
pub(super) const MIN_DELAY_MS: u64 = 100;
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
    /// The note that the start after the restart makes a system event of; absent without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
}

/// A note for the start after a restart.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sentinel {
    /// Its file.
    pub path: String,
    /// What stands in it.
    pub payload: RestartNote,
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

/// Who wants a change, why, and for whom; of interest if it needs a restart.
struct Why {
    method: &'static str,
    session_key: Option<SessionKey>,
    note: Option<String>,
}

impl Why {
    /// Refuses a session key that means nothing, before anything is saved.
    fn new(cx: &Call, method: &'static str, session_key: Option<&str>, note: Option<String>) -> Result<Self, RpcError> {
        let session_key = session_key.filter(|key| !key.trim().is_empty());
        let session_key = session_key.map(|key| {
            let canonical = cx.gateway.sessions.settings().canonical(key, cx.gateway.agents().default_id());
            canonical.map_err(|problem| {
                RpcError::invalid(format!("invalid {method} params: at /sessionKey: {problem}")).with_code("INVALID_SESSION_KEY")
            })
        });
        Ok(Self { method, session_key: session_key.transpose()?, note })
    }
}

/// Has what was saved taken into effect. A restart that this needs comes `delay_ms` after the answer of the call, however long that takes to make.
///
/// # Errors
/// The gateway is stopping.
pub(super) async fn taken(cx: &Call, delay_ms: u64, note: Option<RestartNote>) -> Result<Outcome, RpcError> {
    let stopping = || RpcError::try_again("the gateway is stopping; the next start takes what was saved", 1500).with_code("STOPPING");
    let mut outcome = cx.gateway.configuration.reload(delay_ms, note).await.ok_or_else(stopping)?;
    if let Some(pending) = outcome.restart.take() {
        cx.after(move || drop(pending));
    }
    Ok(outcome)
}

/// Puts what was saved into effect.
async fn apply(cx: &Call, saved: Saved, delay_ms: Option<u64>, why: Why) -> Result<AppliedReply, RpcError> {
    let Why { method, session_key, note } = why;
    let left = RestartNote::new(method, &saved.loaded.path, session_key, note.clone(), cx.gateway.now());
    let delay_ms = delay_ms.unwrap_or(RESTART_DELAY_MS).max(MIN_DELAY_MS);
    let Outcome { applied, restart_needed, issues, noted, .. } = taken(cx, delay_ms, Some(left.clone())).await?;
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
        sentinel: noted.then(|| Sentinel { path: RestartNote::path(&saved.loaded.paths.state_dir).display().to_string(), payload: left }),
    })
}

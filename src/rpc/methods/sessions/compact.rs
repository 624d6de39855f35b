//! `sessions.compact`: keep only the newest part of a session's transcript.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{cwd_of, failed, key_of, refused, still_active};
use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::store::sessions::{Edited, SessionEdit};
use crate::transcript::entry::Header;
use crate::transcript::rewrite::Compacted;

/// Entries that are kept if the client does not say.
const KEEP: usize = 400;

/// Keep only the newest entries of a session's transcript. Its header stays, no result of a tool loses its call, and the whole file is kept beside it. Not while a run of the session is at work.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompactParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// How many entries stay; 400 if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_lines: Option<u64>,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CompactReply {
    /// Always true.
    pub ok: bool,
    /// The session's canonical key.
    pub key: SessionKey,
    /// Whether anything was left out.
    pub compacted: bool,
    /// Where the whole file is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<String>,
    /// How many entries there are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// Why there was nothing to do: `no sessionId` or `no transcript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// `sessions.compact`.
pub struct Compact;

impl Method for Compact {
    const NAME: &'static str = "sessions.compact";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = CompactParams;
    type Output = CompactReply;

    async fn call(cx: Call, params: CompactParams) -> Result<CompactReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        let nothing = |key, reason, kept| CompactReply { ok: true, key, compacted: false, archived: None, kept, reason };
        // No turn begins meanwhile, and one that is at work keeps its transcript.
        let _closed = gateway.sessions.close(&key).await;
        if !gateway.runs.live_of(&key).is_empty() {
            return Err(still_active(&key));
        }
        let Some(session) = gateway.sessions.get(&key).await? else { return Ok(nothing(key, Some("no sessionId"), None)) };
        let (path, now) = (gateway.sessions.transcript_path(&session), gateway.now());
        let header = Header { id: session.entry.session_id.clone(), cwd: cwd_of(gateway, &session.agent_id) };
        let keep = params.max_lines.map_or(KEEP, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
        let compacted = gateway.transcripts.run(move |transcripts| transcripts.compact(&path, keep, &header, now)).await;
        let (kept, archived) = match compacted.map_err(failed("the transcript could not be compacted"))? {
            Compacted::Missing => return Ok(nothing(key, Some("no transcript"), None)),
            Compacted::Short(entries) => return Ok(nothing(key, None, Some(entries))),
            Compacted::Done(kept, archived) => (kept, archived),
        };
        let session_id = session.entry.session_id;
        let counted = SessionEdit::new(move |row| {
            let Some(row) = row.filter(|row| row.entry.session_id == session_id) else { return Ok(Edited::Same) };
            let mut row = row.clone();
            row.entry.input_tokens = None;
            row.entry.output_tokens = None;
            row.entry.total_tokens = None;
            row.title = None;
            Ok(Edited::Put(Box::new(row)))
        });
        gateway.sessions.edit(&key, "compact", counted).await.map_err(refused)?;
        Ok(CompactReply { ok: true, key, compacted: true, archived: Some(archived.display().to_string()), kept: Some(kept), reason: None })
    }
}

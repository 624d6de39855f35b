//! `sessions.preview`: the last few things that were said in some sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_of;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::transcript::glance;

/// Most sessions of one request; more are left out.
const MAX_KEYS: usize = 64;

/// The last few things that were said in some sessions, oldest first. Of more than 64 keys only the first 64 are answered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewParams {
    /// The sessions, in any form.
    #[schemars(length(min = 1))]
    pub keys: Vec<String>,
    /// Most items of each, at most 50; 12 if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
    /// Most characters of each text, 20 to 2000; 240 if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_chars: Option<u64>,
}

/// The previews.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PreviewReply {
    /// When this was answered, ms since the epoch.
    pub ts: u64,
    /// One for each key, in their order.
    pub previews: Vec<Preview>,
}

/// One session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Preview {
    /// The key as it was asked for.
    pub key: String,
    /// Whether there is anything to show.
    pub status: Status,
    /// What was said, oldest first.
    pub items: Vec<Item>,
}

/// Whether there is anything to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Yes.
    Ok,
    /// Nothing was said yet.
    Empty,
    /// There is no such session.
    Missing,
    /// Its transcript cannot be read.
    Error,
}

/// One thing that was said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Item {
    /// `user`, `assistant`, `tool`, `system` or `other`.
    pub role: &'static str,
    /// The text, cut.
    pub text: String,
}

/// `sessions.preview`.
pub struct GetPreview;

impl Method for GetPreview {
    const NAME: &'static str = "sessions.preview";
    const SCOPE: Scope = Scope::Read;
    type Params = PreviewParams;
    type Output = PreviewReply;

    async fn call(cx: Call, params: PreviewParams) -> Result<PreviewReply, RpcError> {
        let number = |given: Option<u64>, default: usize| given.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let limit = number(params.limit, 12).min(50);
        let max_chars = number(params.max_chars, 240).clamp(20, 2000);
        let mut previews = Vec::new();
        for key in params.keys.into_iter().take(MAX_KEYS) {
            let (status, items) = one(&cx, &key, limit, max_chars).await?;
            previews.push(Preview { key, status, items });
        }
        Ok(PreviewReply { ts: cx.gateway.now(), previews })
    }
}

async fn one(cx: &Call, key: &str, limit: usize, max_chars: usize) -> Result<(Status, Vec<Item>), RpcError> {
    let gateway = &cx.gateway;
    let session = match key_of(gateway, GetPreview::NAME, key) {
        Ok(key) => gateway.sessions.get(&key).await?,
        Err(_) => None,
    };
    let Some(session) = session else { return Ok((Status::Missing, Vec::new())) };
    let path = gateway.sessions.transcript_path(&session);
    let read = gateway.transcripts.run(move |transcripts| transcripts.preview(&path, limit, max_chars)).await;
    Ok(match read {
        Err(cause) => {
            tracing::warn!(%cause, "a transcript cannot be previewed");
            (Status::Error, Vec::new())
        }
        Ok(items) => {
            let items: Vec<_> = items.unwrap_or_default().into_iter().map(|glance::Item { role, text }| Item { role, text }).collect();
            (if items.is_empty() { Status::Empty } else { Status::Ok }, items)
        }
    })
}

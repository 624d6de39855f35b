//! `chat.history`: what was said in a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::place::{self, Place};
use crate::chat::history::{Form, MAX_BYTES, fitting};
use crate::protocol::error::RpcError;
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::runs::handle::Handle;
use crate::transcript::page::Query;

/// What was said in a session, oldest first: the newest `limit` messages, fewer if they are more than `maxBytes` of JSON. A session that does not exist has said nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HistoryParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub session_key: String,
    /// Agent of a key that names none; the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Most messages; 200 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
    /// How many of the newest messages to leave out: `nextOffset` of the answer before.
    #[serde(default)]
    #[schemars(range(max = 10_000_000))]
    pub offset: Option<usize>,
    /// Most bytes of JSON in all messages; 6 MiB if absent, and at most.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_bytes: Option<usize>,
    /// Most characters of one text; longer ones are cut.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_chars: Option<usize>,
}

/// What was said.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryReply {
    /// The session, canonical.
    pub session_key: SessionKey,
    /// Id of the conversation; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The messages, oldest first. On protocol 4 each has a key `__openclaw` with the `id` of its entry, its place `seq` in the transcript and its `kind`; on protocol 3 only rows that are no messages have a key `__SKYKOI` with `kind` and `id`.
    #[schemars(with = "Vec<Value>")]
    pub messages: Vec<Box<RawValue>>,
    /// How much a model thinks in this session.
    pub thinking_level: String,
    /// How much is told of tools in this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    /// Protocol 4: whether there are older messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
    /// Protocol 4: `offset` of the next older page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<usize>,
    /// Protocol 4: what is at work in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_info: Option<SessionInfo>,
    /// Protocol 4: the run at work, whose answer is not among the messages yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_run: Option<InFlightRun>,
}

/// What is at work in a session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Whether anything is.
    pub has_active_run: bool,
    /// The runs, waiting ones too.
    pub active_run_ids: Vec<RunId>,
}

/// The run at work.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlightRun {
    /// The run.
    pub run_id: RunId,
    /// When its work started, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// What it has said so far, as its `chat` deltas say it.
    pub text: String,
}

/// `chat.history`.
pub struct History;

impl Method for History {
    const NAME: &'static str = "chat.history";
    const SCOPE: Scope = Scope::Read;
    type Params = HistoryParams;
    type Output = HistoryReply;

    async fn call(cx: Call, params: HistoryParams) -> Result<HistoryReply, RpcError> {
        let (key, place) = place::find(&cx, Self::NAME, params.agent_id.as_deref(), &params.session_key).await?;
        let v4 = cx.caller.protocol >= 4;
        let offset = params.offset.unwrap_or(0);
        let query = Query {
            limit: params.limit.unwrap_or(200).clamp(1, 1000),
            offset,
            max_bytes: params.max_bytes.unwrap_or(MAX_BYTES).clamp(1, MAX_BYTES),
            numbered: v4,
        };
        let form = Form { protocol: cx.caller.protocol, max_chars: params.max_chars };
        // Taken before the transcript is read: an answer that is written meanwhile is then shown twice rather than never.
        let (session_info, in_flight_run) = if v4 { at_work(&cx, &key) } else { (None, None) };
        let (messages, more) = match &place {
            Some(place) => read(&cx, place, query, form).await?,
            None => (Vec::new(), false),
        };
        let entry = place.as_ref().map(|place| &place.session.entry);
        let default = cx.gateway.loaded().config.agents.defaults.thinking_default.map(|level| level.name());
        Ok(HistoryReply {
            session_key: key,
            session_id: entry.map(|entry| entry.session_id.clone()),
            thinking_level: entry.and_then(|entry| entry.thinking_level.clone()).or(default).unwrap_or_else(|| "off".to_owned()),
            verbose_level: entry.and_then(|entry| entry.verbose_level.clone()),
            has_more: v4.then_some(more),
            next_offset: (v4 && more).then_some(offset + messages.len()),
            messages,
            session_info,
            in_flight_run,
        })
    }
}

/// The messages of a page as they go out, and whether there are older ones.
async fn read(cx: &Call, place: &Place, query: Query, form: Form) -> Result<(Vec<Box<RawValue>>, bool), RpcError> {
    let (path, media) = (place.path.clone(), cx.gateway.media.clone());
    let read = cx.gateway.transcripts.run(move |transcripts| {
        let page = transcripts.page(&path, query)?;
        if page.damaged > 0 {
            tracing::warn!(path = %path.display(), lines = page.damaged, "damaged lines of a transcript were passed over");
        }
        Ok(fitting(&page, query.max_bytes, form, &media))
    });
    Ok(read.await?)
}

fn at_work(cx: &Call, key: &SessionKey) -> (Option<SessionInfo>, Option<InFlightRun>) {
    let mut lives = cx.gateway.runs.live_of(key);
    lives.retain(|live| cx.caller.knows(&live.record));
    let working = lives.iter().find_map(|live| {
        let started_at = live.row(None).started_at?;
        let log = cx.gateway.runs.log_of(&Handle::Live(Arc::clone(live)));
        Some(InFlightRun { run_id: live.record.run_id.clone(), started_at: Some(started_at), text: log.chat.answer().so_far().to_owned() })
    });
    let active_run_ids: Vec<RunId> = lives.iter().map(|live| live.record.run_id.clone()).collect();
    (Some(SessionInfo { has_active_run: !active_run_ids.is_empty(), active_run_ids }), working)
}

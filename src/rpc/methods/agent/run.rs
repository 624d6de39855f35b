//! `agent`: give an agent a message. Answered twice: `accepted` when the run is on disk, and the outcome when it has ended.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{AckStatus, Reply, ack, conclude, final_of};
use super::{files, target, tools, variables};
use crate::chat::attachments::Attachment;
use crate::config::tools::{ExecAsk, ExecSecurity};
use crate::exec::policy::rule::Wish;
use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::ids::RunId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::error::queue_full;
use crate::rpc::method::{Effect, Method, Rate};
use crate::rpc::portal;
use crate::runs::handle::Handle;
use crate::runs::supervisor::Submitted;
use crate::store::record::NewRun;

/// Longest title of a run, in characters.
const TITLE: usize = 120;

/// Give an agent a message. The first answer is `accepted` with the run's id, once the run is durable; the second, with the same request id, is its outcome. With `idempotencyKey` the same request again gives the same run and the same outcome.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunParams {
    /// What the agent is to do; for the runner `shell`, a script.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Names this request and becomes the run's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<String>,
    /// The agent; the default one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The session, in any form; the agent's main session if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Id of the conversation; accepted for existing clients, the session decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Time limit in seconds; 0 means 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// A name for the run in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub label: Option<String>,
    /// Thinking level; has a meaning for models only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Whether to deliver to a channel; there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver: Option<bool>,
    /// Channel of the conversation: `webchat` or `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Queue lane, as other servers know them; a name changes nothing here: all lanes share `agents.defaults.maxConcurrent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Further instructions; kept with the run, with a meaning for models only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_system_prompt: Option<String>,
    /// How strict commands are to be: it can only narrow the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecWish>,
    /// Files for the run, at most 32 and no larger than `policy.attachments` of hello says. Commands find their paths in `SKYKOI_ATTACHMENTS`, one a line, and in `SKYKOI_ATTACHMENT_1`, `SKYKOI_ATTACHMENT_2`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Attachment>>,
    /// Variables for the commands of the run, at most 64 with 32 KiB together. Names that change what programs load or run, and the gateway's own, are refused; and all of them unless `exec.security` is `full`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub env: BTreeMap<String, String>,
    /// The sender, for `session.dmScope`; has a meaning only without `sessionKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Message that this one replies to; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Channel of the reply; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_channel: Option<String>,
    /// The sender's account, for `session.dmScope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Account of the reply; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_account_id: Option<String>,
    /// Thread on the channel; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Group on the channel; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Channel of the group; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_channel: Option<String>,
    /// Space of the group; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_space: Option<String>,
    /// Session that started this one; no meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawned_by: Option<String>,
}

/// How strict a request wants commands to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecWish {
    /// Which commands run at most: `deny` or `allowlist`; `full` changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<ExecSecurity>,
    /// When a person is asked at least: `on-miss` or `always`; `off` changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<ExecAsk>,
}

/// `agent`.
pub struct Run;

impl Method for Run {
    const NAME: &'static str = "agent";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Runs;
    type Params = RunParams;
    type Output = Reply;

    async fn call(cx: Call, params: RunParams) -> Result<Reply, RpcError> {
        if cx.gateway.is_stopping() {
            return Err(RpcError::try_again("the gateway is stopping", 2000).with_code("STOPPING"));
        }
        let order = cx.caller.order.lock().await;
        let new = new_run(&cx, params).await?;
        let detail = tools::detail(&cx, &new.session_key, None).await;
        let alone = portal::alone(&cx, &new).await?;
        let (handle, first) = match cx.gateway.runs.submit_in_order(new, order).await? {
            Submitted::Conflict => {
                return Err(RpcError::new(ErrorCode::IdempotencyConflict, "this idempotencyKey was used with other parameters")
                    .with_code("IDEMPOTENCY_CONFLICT"));
            }
            Submitted::Full(full) => return Err(queue_full(full)),
            Submitted::New(ticket) => {
                let position = cx.gateway.runs.next_position(&ticket.live.record);
                cx.ack(&Reply::Ack(ack(&Handle::Live(ticket.live.clone()), AckStatus::Accepted, position))).await;
                tools::tell(&cx, &ticket.live.log, detail).await;
                (Handle::Live(ticket.release()), true)
            }
            Submitted::Same(handle) => (handle, false),
        };
        drop(alone);
        if !first && handle.ended().is_none() {
            if let Handle::Live(live) = &handle {
                tools::tell(&cx, &live.log, detail).await;
            }
            let status = if cx.caller.protocol >= 4 { AckStatus::InFlight } else { AckStatus::Accepted };
            let position = match &handle {
                Handle::Live(live) => cx.gateway.runs.position(live),
                Handle::Past(_) => None,
            };
            cx.ack(&Reply::Ack(ack(&handle, status, position))).await;
        }
        let ended = tokio::select! {
            ended = handle.wait(None) => ended,
            // The run goes on without its asker; `agent.wait` gives the same outcome to anybody later.
            () = cx.caller.closed.cancelled() => None,
        };
        let Some(ended) = ended else {
            return Err(RpcError::try_again("the connection ended before the run did", 0));
        };
        if first {
            cx.answer_after(cx.gateway.runs.log_of(&handle));
        }
        conclude(final_of(&handle, ended))
    }
}

async fn new_run(cx: &Call, mut params: RunParams) -> Result<NewRun, RpcError> {
    let gateway = &cx.gateway;
    let (agent, session_key) = target::resolve(gateway, Run::NAME, params.agent_id.as_deref(), params.session_key.as_deref())?;
    let session_key = target::of_sender(gateway, &agent.id, session_key, &params);
    let session = gateway.sessions.get(&session_key).await?;
    target::may_send_in(gateway, &session_key, session.as_ref(), params.channel.as_deref())?;
    let wish = params.exec.map_or_else(Wish::default, |wish| Wish { security: wish.security, ask: wish.ask });
    let wish = wish.and(target::exec_wish(session.as_ref()));
    if let Some(channel) = params.channel.as_deref().filter(|channel| !matches!(*channel, "" | "webchat" | "last")) {
        let text = format!("invalid agent params: unknown channel: {}", crate::protocol::frame::short(channel));
        return Err(RpcError::invalid(text).with_code("UNKNOWN_CHANNEL"));
    }
    variables::check(Run::NAME, &agent, &params.env)?;
    let attachments = files::take(cx, &mut params.attachments).await?;
    let key = params.idempotency_key.clone();
    let digest = digest_of(&params);
    let title = params.label.clone().unwrap_or_else(|| title_of(&params.message));
    let is_main = gateway.sessions.settings().main_key(&agent.id) == session_key;
    let mut work = gateway.agents().work(&agent, is_main, params.message, params.timeout.map(|seconds| seconds.saturating_mul(1000)));
    (work.attachments, work.exec) = (attachments, wish);
    (work.extra_system_prompt, work.thinking, work.env) = (params.extra_system_prompt, params.thinking, params.env);
    if let Some(home) = &cx.caller.home {
        work.cwd.push(&home.directory);
    }
    let spec = serde_json::to_string(&work).map_err(|error| RpcError::unavailable("the request could not be stored", error))?;
    Ok(NewRun {
        file_id: uuid::Uuid::now_v7().simple().to_string(),
        run_id: key.as_ref().map_or_else(RunId::fresh, |key| RunId(key.clone())),
        principal: cx.caller.principal.to_string(),
        method: Run::NAME,
        key,
        digest,
        session_key,
        agent_id: agent.id.clone(),
        runner: agent.runner.clone(),
        title,
        spec,
        queue: None,
        accepted_at: cx.gateway.now(),
    })
}

/// SHA-256 of the parameters in one fixed spelling: key order and absent values make no difference.
#[must_use]
pub fn digest_of(params: &impl Serialize) -> [u8; 32] {
    let text = serde_json::to_vec(params).unwrap_or_default();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, &text).as_ref());
    bytes
}

/// The first line with text, cut.
#[must_use]
pub fn title_of(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(TITLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> RunParams {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_digest_ignores_spelling_and_sees_content() {
        let a = digest_of(&params(r#"{"message":"x","timeout":5}"#));
        assert_eq!(a, digest_of(&params(r#"{ "timeout": 5, "message": "x", "label": null }"#)));
        assert_ne!(a, digest_of(&params(r#"{"message":"x","timeout":6}"#)));
    }

    #[test]
    fn a_title_is_the_first_line_with_text() {
        assert_eq!(title_of("\n\n  df -h  \nls"), "df -h");
        assert_eq!(title_of(&"é".repeat(300)).chars().count(), TITLE);
        assert_eq!(title_of(" \n "), "");
    }
}

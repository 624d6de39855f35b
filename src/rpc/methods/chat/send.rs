//! `chat.send`: say something in a session. Answered once, when the message is on disk; what becomes of it comes as `agent` and `chat` events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::abort::note_aborted;
use super::command;
use crate::chat::attachments::Attachment;
use crate::chat::commands::Decision;
use crate::gateway::agents::Agent;
use crate::gateway::queueing;
use crate::protocol::error::RpcError;
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::RunStatus;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::error::queue_full;
use crate::rpc::method::{Effect, Method, Rate};
use crate::rpc::methods::agent::answers::not_served;
use crate::rpc::methods::agent::run::{digest_of, title_of};
use crate::rpc::methods::agent::{files, target, tools};
use crate::rpc::portal;
use crate::runs::handle::Handle;
use crate::runs::queue::rules::{Mode, Rules};
use crate::runs::spec::Attached;
use crate::runs::supervisor::Submitted;
use crate::store::record::NewRun;
use crate::store::sessions::SessionRecord;

/// Say something in a session: a message for its agent, a command such as `/status`, or a stop word. The answer comes when the message is durable; the run's `agent` and `chat` events follow, under `runId`. While the session is busy the message waits by its queue mode. With `idempotencyKey` the same request again starts nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub session_key: String,
    /// What is said; may be empty beside attachments.
    pub message: String,
    /// Names this request and becomes the run's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<String>,
    /// Thinking level; has a meaning for models only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Whether to deliver to a channel; there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver: Option<bool>,
    /// Files for the run, as in `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Attachment>>,
    /// Time limit of the run in ms; 0 means 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What happens while a run is at work, for this message: `collect`, `followup`, `steer`, `steer-backlog`, `interrupt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<String>,
    /// Id of the conversation; accepted for existing clients, the session decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The agent; the session's one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Accepted for existing clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_mode: Option<Value>,
}

/// The message was taken.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The run; what it says comes under this id.
    pub run_id: RunId,
    /// What becomes of the message.
    pub status: SentStatus,
    /// The session, canonical.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// The run's place in the queue if it has to wait, 1 = next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SentStatus {
    /// It is on disk and has its turn, now or later.
    Started,
    /// It is an earlier, equal request whose run is not over.
    InFlight,
    /// It is an earlier, equal request whose run was served.
    Ok,
}

/// Runs were asked to end.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Always true.
    pub ok: bool,
    /// Whether there was anything to end.
    pub aborted: bool,
    /// The runs that were asked to end.
    pub run_ids: Vec<RunId>,
}

/// The answer: to a message, or to a stop word.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SendReply {
    /// To a message.
    Sent(Sent),
    /// To a stop word.
    Stopped(Stopped),
}

/// `chat.send`.
pub struct Send;

impl Method for Send {
    const NAME: &'static str = "chat.send";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Runs;
    type Params = SendParams;
    type Output = SendReply;

    async fn call(cx: Call, params: SendParams) -> Result<SendReply, RpcError> {
        if cx.gateway.is_stopping() {
            return Err(RpcError::try_again("the gateway is stopping", 2000).with_code("STOPPING"));
        }
        let gateway = cx.gateway.clone();
        let (agent, key) = target::resolve(&gateway, Self::NAME, params.agent_id.as_deref(), Some(&params.session_key))?;
        let order = cx.caller.order.lock().await;
        let request = Request::new(&cx, &agent, key, params).await?;
        match request.decide() {
            Decision::Stop => {
                drop(order);
                Ok(SendReply::Stopped(request.stop().await))
            }
            Decision::Turn => request.submit(None, order).await,
            Decision::Command(command) => {
                let request = Request { compact: command.compact.clone(), ..request };
                command::carry_out(&request, command, order).await
            }
        }
    }
}

/// One message, with what is known of its session.
pub(super) struct Request<'a> {
    pub cx: &'a Call,
    pub agent: &'a Agent,
    pub key: SessionKey,
    pub session: Option<SessionRecord>,
    pub rules: Rules,
    pub files: Vec<Attached>,
    pub params: SendParams,
    /// The turn is to shorten the conversation.
    pub compact: Option<String>,
}

impl<'a> Request<'a> {
    /// Everything that is checked before the message is looked at.
    async fn new(cx: &'a Call, agent: &'a Agent, key: SessionKey, mut params: SendParams) -> Result<Self, RpcError> {
        let attached = params.attachments.as_ref().is_some_and(|attachments| !attachments.is_empty());
        if params.message.trim().is_empty() && !attached {
            return Err(RpcError::invalid("message or attachment required").with_code("MESSAGE_REQUIRED"));
        }
        if let Some(mode) = params.queue_mode.as_deref().filter(|mode| Mode::parse(mode).is_none()) {
            let mode = crate::protocol::frame::short(mode);
            let text = format!(
                "invalid chat.send params: at /queueMode: \"{mode}\" is none of collect, followup, steer, steer-backlog, interrupt"
            );
            return Err(RpcError::invalid(text).with_code("UNKNOWN_QUEUE_MODE"));
        }
        let session = cx.gateway.sessions.get(&key).await?;
        let entry = session.as_ref().map(|session| &session.entry);
        target::may_send_in(&cx.gateway, &key, session.as_ref(), None)?;
        let loaded = cx.gateway.loaded();
        let queue = loaded.config.messages.as_ref().and_then(|messages| messages.queue.as_ref());
        let rules = queueing::rules(queue, entry, params.queue_mode.as_deref());
        let files = files::take(cx, &mut params.attachments).await?;
        Ok(Self { cx, agent, key, session, rules, files, params, compact: None })
    }

    async fn stop(&self) -> Stopped {
        let lives = self.cx.gateway.runs.abort_session(&self.key, |run| self.cx.caller.knows(run), "stop").await;
        let run_ids: Vec<RunId> = lives.iter().map(|live| live.record.run_id.clone()).collect();
        note_aborted(self.cx, &run_ids, "stop");
        Stopped { ok: true, aborted: !run_ids.is_empty(), run_ids }
    }

    /// Makes the message a run; `text` stands in its place if a command has taken something away.
    pub async fn submit(&self, text: Option<String>, order: MutexGuard<'_, ()>) -> Result<SendReply, RpcError> {
        let runs = &self.cx.gateway.runs;
        let new = self.new_run(text)?;
        let detail = tools::detail(self.cx, &self.key, None).await;
        let _alone = portal::alone(self.cx, &new).await?;
        match runs.submit_in_order(new, order).await? {
            Submitted::Full(full) => Err(queue_full(full)),
            Submitted::New(ticket) => {
                let run_id = ticket.live.record.run_id.clone();
                let position = runs.next_position(&ticket.live.record);
                tools::tell(self.cx, &ticket.live.log, detail).await;
                // Behind the answer, so that no event of the run can overtake it.
                self.cx.after(move || drop(ticket.release()));
                Ok(self.sent(run_id, SentStatus::Started, position))
            }
            known => self.known(known),
        }
    }

    /// The answer to a request that was made before; `New` and `Full` are none.
    pub fn known(&self, known: Submitted) -> Result<SendReply, RpcError> {
        let Submitted::Same(handle) = known else {
            let text = "this idempotencyKey was used with another message";
            let conflict = RpcError::invalid(text).with_code("IDEMPOTENCY_CONFLICT");
            return Err(conflict.with_detail("reason", json!("chat-request-conflict")));
        };
        let run_id = handle.record().run_id.clone();
        match handle.ended() {
            None => {
                let position = match &handle {
                    Handle::Live(live) if live.status() == RunStatus::Queued => self.cx.gateway.runs.position(live),
                    _ => None,
                };
                Ok(self.sent(run_id, SentStatus::InFlight, position))
            }
            Some(ended) if ended.outcome.served() => Ok(self.sent(run_id, SentStatus::Ok, None)),
            Some(ended) => Err(not_served(&handle, ended)),
        }
    }

    /// What the store is to keep.
    pub fn new_run(&self, text: Option<String>) -> Result<NewRun, RpcError> {
        let (gateway, params) = (&self.cx.gateway, &self.params);
        let message = text.unwrap_or_else(|| params.message.clone());
        let title = title_of(&message);
        let is_main = gateway.sessions.settings().main_key(&self.agent.id) == self.key;
        let mut work = gateway.agents().work(self.agent, is_main, message, params.timeout_ms);
        work.attachments.clone_from(&self.files);
        work.thinking.clone_from(&params.thinking);
        work.compact.clone_from(&self.compact);
        work.exec = target::exec_wish(self.session.as_ref());
        if let Some(home) = &self.cx.caller.home {
            work.cwd.push(&home.directory);
        }
        let spec = serde_json::to_string(&work).map_err(|error| RpcError::unavailable("the request could not be stored", error))?;
        Ok(NewRun {
            file_id: uuid::Uuid::now_v7().simple().to_string(),
            run_id: self.run_id(),
            principal: self.cx.caller.principal.to_string(),
            method: Send::NAME,
            key: params.idempotency_key.clone(),
            digest: digest_of(params),
            session_key: self.key.clone(),
            agent_id: self.agent.id.clone(),
            runner: self.agent.runner.clone(),
            title,
            spec,
            queue: Some(self.rules.to_text()),
            accepted_at: gateway.now(),
        })
    }

    /// The id under which this message is answered.
    pub fn run_id(&self) -> RunId {
        self.params.idempotency_key.as_ref().map_or_else(RunId::fresh, |key| RunId(key.clone()))
    }

    /// The answer to a message that was taken.
    pub fn sent(&self, run_id: RunId, status: SentStatus, position: Option<usize>) -> SendReply {
        SendReply::Sent(Sent { run_id, status, session_key: self.key.clone(), agent_id: self.agent.id.clone(), position })
    }
}

//! Carries out what a message asks for beside its turn: changes of the session, and an answer that needs no run.

use serde_json::Value;
use tokio::sync::MutexGuard;

use super::send::{Request, SendReply, SentStatus};
use crate::chat::commands::{Action, Command, Decision, Facts, decide};
use crate::chat::queue_words::{Queue, QueuePatch};
use crate::chat::uses_models;
use crate::config::messages::{QueueDrop, QueueMode};
use crate::gateway::VERSION;
use crate::protocol::error::RpcError;
use crate::protocol::run::RunStatus;
use crate::protocol::session::entry::SessionEntry;
use crate::protocol::session::patch::PatchParams;
use crate::rpc::methods::agent::run::digest_of;
use crate::rpc::methods::sessions::{not_quiet, refused};
use crate::runs::queue::rules::{Mode, Overflow, Rules};
use crate::sessions::patch;
use crate::sessions::turn::TurnKind;
use crate::store::sessions::SessionRecord;
use crate::transcript::entry::NewEntry;
use crate::transcript::message::{self, Making};

impl Request<'_> {
    /// What the message is.
    pub fn decide(&self) -> Decision {
        let gateway = &self.cx.gateway;
        let entry = self.session.as_ref().and_then(|session| serde_json::to_value(&session.entry).ok());
        let lives = gateway.runs.live_of(&self.key);
        let at_work = lives.iter().find(|live| live.status() == RunStatus::Running);
        let settings = gateway.sessions.settings();
        let loaded = gateway.loaded();
        let models = if uses_models(&self.agent.runner) { gateway.model_names(&self.agent.id) } else { Vec::new() };
        let commands = loaded.config.commands.as_ref();
        let facts = Facts {
            reset_triggers: &settings.rules.reset_triggers,
            text_commands: commands.is_none_or(|commands| commands.text),
            agent: self.agent.id.as_str(),
            runner: &self.agent.runner,
            models: &models,
            session_key: self.key.as_str(),
            session_id: self.session.as_ref().map(|session| session.entry.session_id.as_str()),
            entry: entry.as_ref().and_then(Value::as_object),
            queue: words_of(self.rules),
            at_work: at_work.map(|live| (live.record.run_id.as_str(), live.record.started_at.unwrap_or(live.record.accepted_at))),
            waiting: gateway.runs.waiting_in(&self.key),
            version: VERSION,
            uptime_ms: gateway.uptime_ms(),
            now: gateway.now(),
        };
        decide(&self.params.message, &facts)
    }
}

/// Does what a command says: its changes, then its rest as a turn, or if there is none its reply as an answer.
///
/// # Errors
/// A change is refused or cannot be stored, or the turn is refused.
pub(super) async fn carry_out(request: &Request<'_>, command: Command, order: MutexGuard<'_, ()>) -> Result<SendReply, RpcError> {
    let gateway = &request.cx.gateway;
    let Command { actions, reply, rest, .. } = command;
    // The same request again must not change anything again.
    if rest.is_some() {
        if let Some(known) = gateway.runs.known_request(request.new_run(rest.clone())?).await? {
            return request.known(known);
        }
    } else if let Some(key) = &request.params.idempotency_key {
        match gateway.commands.note(&request.cx.caller.principal, key, digest_of(&request.params)) {
            None => {}
            Some(true) => return Ok(request.sent(request.run_id(), SentStatus::Ok, None)),
            Some(false) => return request.known(crate::runs::supervisor::Submitted::Conflict),
        }
    }
    for action in actions {
        act(request, action).await?;
    }
    if rest.is_some() {
        return request.submit(rest, order).await;
    }
    answer(request, &reply.unwrap_or_default()).await
}

async fn act(request: &Request<'_>, action: Action) -> Result<(), RpcError> {
    let (gateway, key) = (&request.cx.gateway, &request.key);
    let (now, own, models) = (gateway.now(), key.clone(), gateway.model_rules(&request.agent.id));
    match action {
        Action::Reset => drop(gateway.reset_session(key).await.map_err(|error| not_quiet(key, error))?),
        Action::Patch(mut fields) => {
            fields.insert("key".to_owned(), Value::from(key.as_str()));
            let patch: PatchParams = serde_json::from_value(Value::Object(fields))
                .map_err(|error| RpcError::unavailable("the command could not be carried out", error))?;
            let edit = move |row: &mut SessionRecord| patch::apply(&mut row.entry, own.as_str(), &patch, &models, now);
            gateway.sessions.update(key, now, "patch", edit).await.map_err(refused)?;
        }
        Action::Queue(change) => {
            let edit = move |row: &mut SessionRecord| {
                set_queue(&mut row.entry, &change);
                Ok(())
            };
            gateway.sessions.update(key, now, "patch", edit).await.map_err(refused)?;
        }
    }
    Ok(())
}

/// Answers without a run: the message and the answer go into the transcript, and the answer to everybody, behind ours.
async fn answer(request: &Request<'_>, text: &str) -> Result<SendReply, RpcError> {
    let gateway = &request.cx.gateway;
    let (run_id, now) = (request.run_id(), gateway.now());
    let turn = gateway.sessions.begin_turn(&request.key, now, TurnKind::Message).await?;
    let making = Making { api: "gateway", provider: "gateway", model: "gateway", stop_reason: "injected", error: None };
    let entries = vec![
        NewEntry::message(message::user(&request.params.message, now), now),
        NewEntry::message(message::assistant(text, &making, now), now),
    ];
    // An answer that cannot be written down is given all the same; the log says so.
    gateway.scribe.append(&turn, &request.agent.workspace.to_string_lossy(), entries).await;
    let (gateway, key, text, named) = (gateway.clone(), request.key.clone(), text.to_owned(), run_id.clone());
    request.cx.after(move || gateway.publish_final(named, key, text, now));
    Ok(request.sent(run_id, SentStatus::Started, None))
}

fn set_queue(entry: &mut SessionEntry, change: &QueuePatch) {
    if let Some(mode) = change.mode {
        entry.queue_mode = mode.map(QueueMode::name);
    }
    if let Some(debounce_ms) = change.debounce_ms {
        entry.queue_debounce_ms = debounce_ms;
    }
    if let Some(cap) = change.cap {
        entry.queue_cap = cap.map(u64::from);
    }
    if let Some(drop) = change.drop {
        entry.queue_drop = drop.map(QueueDrop::name);
    }
}

/// The rules in the words of the configuration.
fn words_of(rules: Rules) -> Queue {
    Queue {
        mode: match rules.mode {
            Mode::Collect => QueueMode::Collect,
            Mode::Followup => QueueMode::Followup,
            Mode::Steer => QueueMode::Steer,
            Mode::SteerBacklog => QueueMode::SteerBacklog,
            Mode::Interrupt => QueueMode::Interrupt,
        },
        debounce_ms: rules.debounce_ms,
        cap: u32::try_from(rules.cap).unwrap_or(u32::MAX),
        drop: match rules.drop {
            Overflow::Old => QueueDrop::Old,
            Overflow::New => QueueDrop::New,
            Overflow::Summarize => QueueDrop::Summarize,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_queue_are_set_and_cleared_one_by_one() {
        let mut entry = SessionEntry { queue_debounce_ms: Some(5), ..SessionEntry::default() };
        let change = QueuePatch { mode: Some(Some(QueueMode::SteerBacklog)), cap: Some(Some(3)), ..QueuePatch::default() };
        set_queue(&mut entry, &change);
        set_queue(&mut entry, &QueuePatch { cap: Some(None), ..QueuePatch::default() });
        assert_eq!((entry.queue_mode.as_deref(), entry.queue_cap, entry.queue_debounce_ms), (Some("steer-backlog"), None, Some(5)));
    }
}

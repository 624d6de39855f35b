//! Joins runs, sessions and transcripts: a run's turn begins its session's turn, and what was said is written down.
//!
//! What a command printed appears as models write it: a call of a tool, its result, and an answer whose text is the output. So every client shows it, and those that understand tools show the command too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{error, warn};

use super::recollect::{self, Recollection};
use super::system_events::SystemEvents;
use crate::chat::history::without_places;
use crate::clock::now_ms;
use crate::events::hub::{Hub, SessionEvent};
use crate::protocol::event::agent::Tool;
use crate::protocol::event::session_message::SessionMessage;
use crate::protocol::frame;
use crate::protocol::run::{Outcome, RunStatus};
use crate::runs::answer::{Answer, Call};
use crate::runs::brief::{AGENT, ProgramSession, Recalled};
use crate::runs::chronicle::{Chronicle, Closing, Opening, Recorded, Writing};
use crate::runs::runners;
use crate::runs::spoken::{Piece, Spoken};
use crate::sessions::turn::{Turn, TurnEnd, TurnKind, Usage};
use crate::sessions::{Sessions, programs};
use crate::store::record::RunRecord;
use crate::store::sessions::SessionRecord;
use crate::transcript::Transcripts;
use crate::transcript::entry::{Header, NewEntry};
use crate::transcript::message::{self, FileRef, Making};
use crate::transcript::writer::Appended;

/// Most bytes of a command that a call shows; the user's message has it whole.
const COMMAND: usize = 16 << 10;

/// Writes the turns of runs into the transcripts of their sessions. Clones are the same one.
#[derive(Clone)]
pub struct Scribe {
    sessions: Sessions,
    transcripts: Transcripts,
    hub: Arc<Hub>,
    /// Notes for the next turns of sessions.
    pub system_events: SystemEvents,
    /// Turns that have begun, by the file id of their run.
    turns: Arc<Mutex<HashMap<String, Turn>>>,
}

impl Scribe {
    /// A scribe for these sessions.
    #[must_use]
    pub fn new(sessions: Sessions, transcripts: Transcripts, hub: Arc<Hub>) -> Self {
        Self { sessions, transcripts, hub, system_events: SystemEvents::default(), turns: Arc::default() }
    }

    /// Appends entries to the transcript of a turn and tells who listens. Returns whether they are written.
    pub async fn append(&self, turn: &Turn, cwd: &str, entries: Vec<NewEntry>) -> bool {
        let header = Header { id: turn.session.entry.session_id.clone(), cwd: cwd.to_owned() };
        let messages: Vec<Option<Value>> = entries.iter().map(|entry| entry.fields.get("message").cloned()).collect();
        let path = turn.transcript.clone();
        let appended = match self.transcripts.run(move |transcripts| transcripts.append_all(&path, &header, entries)).await {
            Ok(appended) => appended,
            Err(cause) => {
                error!(session = %turn.session.key, %cause, "the transcript could not be written");
                return false;
            }
        };
        for (message, entry) in messages.into_iter().zip(appended).filter(|(_, entry)| entry.fresh) {
            if let Some(message) = message {
                self.announce(&turn.session, &entry, message);
            }
        }
        true
    }

    /// Tells the connections that watch the session of a message that is in its transcript now.
    pub fn announce(&self, session: &SessionRecord, entry: &Appended, mut message: Value) {
        if !self.hub.sessions_are_watched() {
            return;
        }
        without_places(&mut message);
        let event = SessionMessage {
            session_key: session.key.clone(),
            session_id: session.entry.session_id.clone(),
            message_id: entry.id.clone(),
            message_seq: entry.seq,
            message,
        };
        let body = Bytes::from(frame::event_start("session.message", &event));
        self.hub.session_event(SessionEvent { messages_of: Some(session.key.clone()), body });
    }

    /// The turn of a run: as it began, or for one that an earlier daemon began, its session as it is. None = its session or conversation is gone, and nothing is to be written.
    async fn turn(&self, run: &RunRecord) -> Result<Option<Turn>, ()> {
        let begun = self.turns().get(&run.file_id).cloned();
        let session = match self.sessions.get(&run.session_key).await {
            Ok(session) => session,
            Err(cause) => {
                warn!(run_id = %run.run_id, %cause, "a run's session cannot be looked up");
                return Err(());
            }
        };
        let Some(session) = session else { return Ok(None) };
        Ok(match begun {
            Some(turn) => (turn.session.entry.session_id == session.entry.session_id).then_some(turn),
            None => {
                let transcript = self.sessions.transcript_path(&session);
                Some(Turn { session, transcript, stale: None, kind: TurnKind::Message })
            }
        })
    }

    async fn write_close(&self, closing: &Closing) -> Recorded {
        let run = &closing.opening.run;
        let turn = self.turn(run).await;
        let begun = self.turns().remove(&run.file_id);
        let session_of = |turn: &Turn| turn.session.entry.session_id.clone();
        let turn = match turn {
            Ok(Some(turn)) => turn,
            // A conversation that is gone needs nothing more.
            gone => {
                let session_id = begun.as_ref().map(session_of);
                return Recorded { written: gone.is_ok(), session_id, response_usage: None };
            }
        };
        let session_id = Some(session_of(&turn));
        let mut entries = vec![said(&closing.opening)];
        let of_model = runners::uses_model(&run.runner);
        entries.extend(if of_model {
            told(run, &closing.spoken, &closing.outcome)
        } else {
            answered(run, &closing.answer, &closing.outcome)
        });
        let written = self.append(&turn, &closing.opening.work.cwd.to_string_lossy(), entries).await;
        if let Some(reference) = &closing.spoken.session
            && let Err(cause) = self.sessions.keep_program(&turn, &run.runner, reference, &closing.opening.work.cwd).await
        {
            warn!(run_id = %run.run_id, %cause, "the next turn begins another conversation with its program, because this one's name could not be kept");
        }
        let aborted = matches!(closing.outcome.status, RunStatus::Aborted | RunStatus::Interrupted);
        self.sessions.finish_turn(&turn, closing.outcome.ended_at, TurnEnd { aborted, usage: usage_of(&closing.spoken) });
        Recorded { written, session_id, response_usage: turn.session.entry.response_usage.clone() }
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, HashMap<String, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scribe {
    async fn remembered(&self, run: &RunRecord) -> Result<Recalled, String> {
        let begun = self.turns().get(&run.file_id).cloned();
        let (session, transcript) = match begun {
            Some(turn) => (turn.session, turn.transcript),
            None => match self.sessions.get(&run.session_key).await {
                Ok(Some(session)) => {
                    let transcript = self.sessions.transcript_path(&session);
                    (session, transcript)
                }
                Ok(None) => return Ok(Recalled::default()),
                Err(cause) => return Err(format!("the session cannot be looked up: {cause}")),
            },
        };
        let Recollection { history, files } = if run.runner == AGENT {
            let read = self.transcripts.run(move |transcripts| transcripts.recall(&transcript)).await;
            let read = read.map_err(|cause| format!("the conversation cannot be read: {cause}"))?;
            recollect::of_transcript(read.unwrap_or_default())
        } else {
            Recollection::default()
        };
        let entry = &session.entry;
        let program = programs::known(entry, &run.runner)
            .map(|(reference, cwd)| ProgramSession { reference: reference.to_owned(), cwd: cwd.map(Into::into) });
        Ok(Recalled {
            history,
            files,
            model: entry.model_override.clone().map(|model| (entry.provider_override.clone(), model)),
            thinking: entry.thinking_level.clone(),
            notes: self.system_events.take(&run.session_key),
            is_main: self.sessions.settings().main_key(&run.agent_id) == run.session_key,
            program,
        })
    }
}

impl Chronicle for Scribe {
    fn begin(&self, run: &RunRecord) -> Writing<()> {
        let (scribe, file_id, run_id, key) = (self.clone(), run.file_id.clone(), run.run_id.clone(), run.session_key.clone());
        Box::pin(async move {
            match scribe.sessions.begin_turn(&key, now_ms(), TurnKind::Message).await {
                Ok(turn) => drop(scribe.turns().insert(file_id, turn)),
                // The run is promised; a session that cannot be looked up does not take it back.
                Err(cause) => warn!(%run_id, %cause, "a turn could not be noted in its session"),
            }
        })
    }

    fn recall(&self, run: &RunRecord) -> Writing<Result<Recalled, String>> {
        let (scribe, run) = (self.clone(), run.clone());
        Box::pin(async move { scribe.remembered(&run).await })
    }

    fn open(&self, opening: Opening) -> Writing<()> {
        let scribe = self.clone();
        Box::pin(async move {
            let turn = scribe.turns().get(&opening.run.file_id).cloned();
            if let Some(turn) = turn {
                // What fails here is tried again when the turn is over.
                scribe.append(&turn, &opening.work.cwd.to_string_lossy(), vec![said(&opening)]).await;
            }
        })
    }

    fn close(&self, mut closing: Closing) -> Writing<Recorded> {
        let scribe = self.clone();
        // Our own agent says with each message what it used, and what its summaries used belongs to none.
        if let Some(usage) = closing.outcome.usage.filter(|_| closing.opening.run.runner != AGENT) {
            closing.spoken.complete(&usage);
        }
        Box::pin(async move { scribe.write_close(&closing).await })
    }
}

/// What the user said.
fn said(opening: &Opening) -> NewEntry {
    let mut message = message::user(&opening.work.message, opening.at);
    let paths: Vec<_> = opening.work.attachments.iter().map(|file| (file, file.path.to_string_lossy())).collect();
    let files = paths.iter().map(|(file, path)| FileRef { name: &file.name, mime_type: &file.mime_type, bytes: file.bytes, path });
    message::attach(&mut message, files);
    name_run(&mut message, &opening.run);
    NewEntry::message(message, opening.at).once(format!("{}:user", opening.run.file_id))
}

/// What a model and its tools said: entry by entry, then what never became whole, then why there is nothing more.
fn told(run: &RunRecord, spoken: &Spoken, outcome: &Outcome) -> Vec<NewEntry> {
    let (mut entries, mut names, mut last_failed) = (Vec::new(), HashMap::new(), false);
    for (n, (at, piece)) in spoken.pieces.iter().enumerate() {
        match piece {
            Piece::Message(whole) => {
                last_failed = whole.error.is_some();
                for (i, mut message) in recollect::to_transcript(whole, *at, &mut names).into_iter().enumerate() {
                    name_run(&mut message, run);
                    entries.push(NewEntry::message(message, *at).once(format!("{}:m:{n}:{i}", run.file_id)));
                }
            }
            Piece::Compaction(compacted) => {
                let entry = NewEntry::summary(&compacted.summary, compacted.kept_messages, compacted.tokens_before, *at);
                entries.push(entry.once(format!("{}:m:{n}", run.file_id)));
            }
        }
    }
    let (stop_reason, error) = if outcome.status == RunStatus::Aborted { ("aborted", None) } else { ("error", Some(&*outcome.summary)) };
    let failed = outcome.status == RunStatus::Error && !last_failed || !outcome.served();
    let rest = spoken.unfinished.as_ref().map(|(at, text)| (*at, text.as_str()));
    if let Some((at, text)) = rest.or((failed && !last_failed).then_some((outcome.ended_at, ""))) {
        let making = Making { api: &run.runner, provider: &run.runner, model: &run.runner, stop_reason, error };
        let mut last = message::assistant(text, &making, at);
        name_run(&mut last, run);
        entries.push(NewEntry::message(last, at).once(format!("{}:answer", run.file_id)));
    }
    entries
}

/// What a turn used, for its session: sums, and the size of the conversation as the model saw it last.
fn usage_of(spoken: &Spoken) -> Option<Usage> {
    let sum = spoken.usage?;
    let asked = spoken.pieces.iter().rev().find_map(|(_, piece)| match piece {
        Piece::Message(whole) if whole.usage.is_some_and(|usage| usage.total() > 0) => Some(whole),
        _ => None,
    });
    let last = asked.and_then(|whole| whole.usage).unwrap_or_default();
    Some(Usage {
        input: sum.prompt(),
        output: sum.output,
        total: last.total(),
        context: None,
        provider: asked.and_then(|whole| whole.provider.clone()),
        model: asked.and_then(|whole| whole.model.clone()),
    })
}

/// What was answered: each call with its result, then the text.
fn answered(run: &RunRecord, answer: &Answer, outcome: &Outcome) -> Vec<NewEntry> {
    let at = outcome.ended_at;
    let said = answer.said(outcome);
    let mut entries = Vec::new();
    for (n, call) in answer.calls().iter().enumerate() {
        let making = Making { api: &run.runner, provider: &run.runner, model: &run.runner, stop_reason: "toolUse", error: None };
        let mut calls = message::assistant("", &making, outcome.started_at.unwrap_or(at));
        if let Some(map) = calls.as_object_mut() {
            map.insert(
                "content".to_owned(),
                json!([{ "type": "toolCall", "id": call.id, "name": call.name, "arguments": shortened(&call.args) }]),
            );
        }
        name_run(&mut calls, run);
        entries.push(NewEntry::message(calls, at).once(format!("{}:call:{n}", run.file_id)));
        let mut result = result_of(call, outcome, said.left_out);
        name_run(&mut result, run);
        entries.push(NewEntry::message(result, at).once(format!("{}:result:{n}", run.file_id)));
    }
    let (stop_reason, error) = match outcome.status {
        RunStatus::Aborted => ("aborted", None),
        _ if outcome.served() => ("stop", None),
        _ => ("error", Some(outcome.summary.as_str())),
    };
    let mut text = said.text;
    if outcome.status == RunStatus::Error && outcome.served() {
        let joint = if text.trim().is_empty() { "" } else { "\n\n" };
        text = format!("{}{joint}[{}]", text.trim_end(), outcome.summary);
    }
    let making = Making { api: &run.runner, provider: &run.runner, model: &run.runner, stop_reason, error };
    let mut last = message::assistant(&text, &making, at);
    name_run(&mut last, run);
    entries.push(NewEntry::message(last, at).once(format!("{}:answer", run.file_id)));
    entries
}

fn result_of(call: &Call, outcome: &Outcome, left_out: u64) -> Value {
    let (exit_code, signal, duration_ms, failed) = match &call.result {
        Some(Tool::Result { exit_code, signal, duration_ms, is_error, .. }) => (*exit_code, signal.clone(), *duration_ms, *is_error),
        _ => (outcome.exit_code, outcome.signal.clone(), outcome.duration_ms, true),
    };
    json!({
        "role": "toolResult",
        "toolCallId": call.id,
        "toolName": call.name,
        "content": [{ "type": "text", "text": outcome.summary }],
        "isError": failed,
        "details": {
            "status": outcome.status,
            "command": shortened(&call.args).get("command"),
            "cwd": call.args.get("cwd"),
            "exitCode": exit_code,
            "signal": signal,
            "durationMs": duration_ms,
            "stdoutBytes": outcome.stdout_bytes,
            "stderrBytes": outcome.stderr_bytes,
            "leftOutBytes": left_out,
            "truncated": left_out > 0 || outcome.truncated,
        },
        "timestamp": outcome.ended_at,
    })
}

/// Arguments whose command is not longer than a person would look at.
fn shortened(args: &Value) -> Value {
    let mut args = args.clone();
    if let Some(Value::String(command)) = args.get_mut("command")
        && command.len() > COMMAND
    {
        command.truncate(command.floor_char_boundary(COMMAND));
        command.push('…');
    }
    args
}

fn name_run(message: &mut Value, run: &RunRecord) {
    if let Some(map) = message.as_object_mut() {
        map.insert("runId".to_owned(), json!(run.run_id));
    }
}

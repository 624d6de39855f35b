//! Any program that speaks the Agent Client Protocol, version 1.
//!
//! What is measured and not obvious: some never announce a call before they ask about it; output comes in three ways and the exit code in three others, or not at all; a failure of the provider can look like a good end; a mode that nobody chose may ask nobody.

use serde_json::{Value, json};

use super::approver::{Decision, Effect, Question};
use super::event::{Cause, EXEC, End, Used};
use super::rpc::{self, Failure, Heard};
use super::spec::{Approvals, ProgramSpec};
use super::talk::{Steer, Talk, Turn};
use crate::model::Usage;

mod calls;
mod session;

use calls::Calls;

/// What we wait for an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Initialize,
    Authenticate,
    New,
    Resume,
    Load,
    Option,
    Prompt,
}

/// The conversation.
#[derive(Debug)]
pub struct Acp {
    spec: ProgramSpec,
    prompt: String,
    cwd: String,
    session: String,
    requests: Vec<Waiting>,
    /// Whether it can resume a session, and whether it can load one with its history.
    can: (bool, bool),
    /// Whether it looks at pictures.
    sees: bool,
    /// Requests that set the session up, still to be sent.
    options: Vec<(&'static str, Value)>,
    questions: Vec<(u64, Value, Vec<Value>)>,
    asked: u64,
    calls: Calls,
    /// The history is being told again.
    replaying: bool,
    /// Something of the history was told.
    retold: bool,
    prompted: bool,
    cancelled: bool,
    cost: Option<f64>,
}

impl Acp {
    /// A conversation about `prompt`.
    #[must_use]
    pub fn new(spec: &ProgramSpec, prompt: &str, cwd: &str) -> Self {
        Self {
            spec: spec.clone(),
            prompt: prompt.to_owned(),
            cwd: cwd.to_owned(),
            session: String::new(),
            requests: Vec::new(),
            can: (false, false),
            sees: false,
            options: Vec::new(),
            questions: Vec::new(),
            asked: 0,
            calls: Calls::new(cwd, spec.ready.hands.is_some()),
            replaying: false,
            retold: false,
            prompted: false,
            cancelled: false,
            cost: None,
        }
    }

    /// Requests are numbered from 1 in the order in which they are sent.
    fn request(&mut self, what: Waiting, method: &str, params: Value, turn: &mut Turn) {
        self.requests.push(what);
        turn.say.push(rpc::request(self.requests.len() as u64, method, params));
    }

    fn answered(&mut self, request: u64, result: Result<Value, Failure>, turn: &mut Turn) {
        let place = usize::try_from(request).ok().and_then(|number| number.checked_sub(1));
        let Some(what) = place.and_then(|place| self.requests.get(place)).copied() else { return };
        match (what, result) {
            (Waiting::Initialize, Ok(result)) => self.welcomed(result, turn),
            (Waiting::Authenticate, Ok(_)) => self.begin_session(turn),
            (Waiting::New | Waiting::Resume | Waiting::Load, Ok(result)) => self.settled(&result, turn),
            (Waiting::Option, Ok(_)) => self.next_option(turn),
            (Waiting::Prompt, Ok(result)) => self.ended(&result, turn),
            (Waiting::Resume | Waiting::Load, Err(failed)) => {
                turn.tale.finish(End::failed(failed.message, Some(Cause::SessionLost)));
            }
            (_, Err(_)) if self.cancelled => turn.tale.finish(End::cancelled()),
            (_, Err(failed)) => {
                let auth = matches!(failed.code, -32000 | 401 | 403);
                turn.tale.finish(End::failed(failed.message, auth.then_some(Cause::Auth)));
            }
        }
    }

    fn updated(&mut self, params: &Value, turn: &mut Turn) {
        let update = params.get("update").unwrap_or(&Value::Null);
        let text = |path: &str| update.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let other = params.get("sessionId").and_then(Value::as_str).is_some_and(|session| session != self.session);
        if self.replaying || !self.prompted || other {
            self.retold |= self.replaying;
            return;
        }
        match text("/sessionUpdate") {
            "agent_message_chunk" => {
                let key = self.calls.text_key(text("/messageId"), "text");
                turn.tale.text(&key, text("/content/text"));
            }
            "agent_thought_chunk" => {
                let key = self.calls.text_key(text("/messageId"), "thought");
                turn.tale.thinking(&key, text("/content/text"));
            }
            "tool_call" | "tool_call_update" => self.calls.update(update, false, &mut turn.tale),
            "usage_update" => self.paid(update, turn),
            _ => {}
        }
    }

    /// The cost is a sum over the session.
    fn paid(&mut self, update: &Value, turn: &mut Turn) {
        let Some(sum) = update.pointer("/cost/amount").and_then(Value::as_f64) else { return };
        if update.pointer("/cost/currency").and_then(Value::as_str).is_none_or(|currency| currency == "USD") {
            let before = self.cost.replace(sum).or((self.spec.session.is_none()).then_some(0.0));
            let more = before.map(|before| (sum - before).max(0.0));
            turn.tale.used(Used { cost_usd: more, ..Used::default() });
        }
    }

    fn ended(&mut self, result: &Value, turn: &mut Turn) {
        let first = |paths: &[&str]| paths.iter().find_map(|path| result.pointer(path)?.as_u64()).unwrap_or_default();
        let quota = "/_meta/quota/token_count";
        turn.tale.used(Used {
            tokens: Usage {
                input: first(&["/usage/inputTokens", &format!("{quota}/input_tokens"), &format!("{quota}/inputTokens")]),
                output: first(&["/usage/outputTokens", &format!("{quota}/output_tokens"), &format!("{quota}/outputTokens")]),
                cache_read: first(&["/usage/cachedReadTokens", &format!("{quota}/cachedInputTokens")]),
                cache_write: first(&["/usage/cachedWriteTokens"]),
            },
            cost_usd: None,
        });
        turn.tale.finish(match result.get("stopReason").and_then(Value::as_str).unwrap_or_default() {
            "cancelled" => End::cancelled(),
            // Some swallow the error of the provider; an answer without a word or a deed is none.
            "end_turn" if !turn.tale.has_content() => {
                End::failed("the program ended its turn without an answer; its model may have failed", None)
            }
            "end_turn" => End::done(),
            "max_tokens" => End::failed("the answer reached the longest length that the model may give", None),
            "max_turn_requests" => End::failed("the program asked its model as often as it may in one turn", None),
            "refusal" => End::failed("the model refused", None),
            other => End::failed(format!("the turn stopped: {other}"), None),
        });
    }

    fn permission(&mut self, id: Value, params: &Value, turn: &mut Turn) {
        let call = params.get("toolCall").unwrap_or(&Value::Null);
        // Some say of a call only here that there is one.
        self.calls.update(call, true, &mut turn.tale);
        let call_id = call.get("toolCallId").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (tool, args) = self.calls.tool(&call_id);
        let text = |key: &str| args.get(key).and_then(Value::as_str).map(str::to_owned);
        let command = (tool == EXEC).then(|| text("command")).flatten();
        let cwd = text("cwd").map(Into::into);
        let options = params.get("options").and_then(Value::as_array).cloned().unwrap_or_default();
        let locations = call.get("locations").and_then(Value::as_array).into_iter().flatten();
        let files = locations.filter_map(|place| Some(place.get("path")?.as_str()?.into()));
        let effect = match self.calls.kind(&call_id) {
            "execute" => Effect::Command,
            "read" | "search" | "think" => Effect::Read,
            "edit" | "delete" | "move" => Effect::Write(files.collect()),
            _ => Effect::Other,
        };
        self.asked += 1;
        self.questions.push((self.asked, id, options));
        match self.spec.approvals {
            Approvals::Never => self.decided(self.asked, Decision::Allow, turn),
            // The tool asks for itself, before it starts anything.
            _ if self.calls.is_ours(&call_id) => self.decided(self.asked, Decision::Allow, turn),
            Approvals::Ask | Approvals::Record => turn.ask.push((self.asked, Question { call_id, tool, effect, command, cwd, args })),
        }
    }
}

impl Talk for Acp {
    fn open(&mut self, turn: &mut Turn) {
        let client = json!({ "name": "skykoi", "title": "SkyKoi Gateway", "version": env!("CARGO_PKG_VERSION") });
        // Output of terminals comes in a member that three adapters agree on and the protocol does not know.
        let capabilities =
            json!({ "fs": { "readTextFile": false, "writeTextFile": false }, "terminal": false, "_meta": { "terminal_output": true } });
        let params = json!({ "protocolVersion": 1, "clientCapabilities": capabilities, "clientInfo": client });
        self.request(Waiting::Initialize, "initialize", params, turn);
    }

    fn heard(&mut self, line: Value, turn: &mut Turn) {
        match rpc::sort(line) {
            Heard::Answer(id, result) => self.answered(id, result, turn),
            Heard::Request(id, method, params) if method == "session/request_permission" => self.permission(id, &params, turn),
            Heard::Request(id, method, _) => turn.say.push(rpc::unknown(&id, &method)),
            Heard::Notice(method, params) if method == "session/update" => self.updated(&params, turn),
            Heard::Notice(..) | Heard::Other => {}
        }
    }

    fn decided(&mut self, ask: u64, decision: Decision, turn: &mut Turn) {
        let Some(place) = self.questions.iter().position(|(number, ..)| *number == ask) else { return };
        let (_, id, options) = self.questions.swap_remove(place);
        let kinds = match decision {
            Decision::Allow => ["allow_once", "allow_always"],
            Decision::Deny { .. } => ["reject_once", "reject_always"],
        };
        let of_kind = |kind: &str| options.iter().find(|option| option.get("kind").and_then(Value::as_str) == Some(kind));
        let chosen = kinds.iter().find_map(|kind| of_kind(kind)?.get("optionId").cloned());
        let outcome = match chosen {
            Some(option) => json!({ "outcome": "selected", "optionId": option }),
            None => json!({ "outcome": "cancelled" }),
        };
        turn.say.push(rpc::answer(&id, json!({ "outcome": outcome })));
    }

    fn cancel(&mut self, turn: &mut Turn) {
        self.cancelled = true;
        if self.prompted {
            turn.say.push(rpc::notice("session/cancel", json!({ "sessionId": self.session })));
        } else {
            turn.tale.finish(End::cancelled());
        }
        for (_, id, _) in self.questions.drain(..) {
            turn.say.push(rpc::answer(&id, json!({ "outcome": { "outcome": "cancelled" } })));
        }
    }

    fn steer(&mut self, _: u64, _: &str, _: &mut Turn) -> Steer {
        Steer::Not
    }

    fn waited(&mut self, _: &mut Turn) {}
}

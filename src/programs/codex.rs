//! Codex by its app server: JSON-RPC over lines.
//!
//! What is measured and not obvious: an interrupted turn says nothing of its command, which runs on until its terminals are cleaned; a turn can be over before its commands are; the first output of a command comes only with its end; what was used is a sum over the thread.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::approver::{Decision, Effect, Question};
use super::event::{Cause, EXEC, End, Used};
use super::mcp;
use super::rpc::{self, Failure, Heard};
use super::spec::{Approvals, ProgramSpec};
use super::tale::Finish;
use super::talk::{Steer, Talk, Turn};
use crate::model::Usage;

/// How long items are waited for whose turn is over, once its terminals were cleaned.
const LATE: Duration = Duration::from_secs(3);

const INITIALIZE: u64 = 1;
const THREAD: u64 = 2;
const START: u64 = 3;

/// The conversation.
#[derive(Debug)]
pub struct Codex {
    spec: ProgramSpec,
    prompt: String,
    cwd: String,
    thread: String,
    turn: String,
    requests: u64,
    /// Requests that tell it something, and what that is.
    told: Vec<(u64, u64)>,
    /// What the thread had used before this turn.
    base: Option<Tokens>,
    questions: Vec<(u64, Value)>,
    asked: u64,
    /// The files that each change of files is about.
    changes: Vec<(String, Vec<PathBuf>)>,
    cancelled: bool,
    /// How the turn ended, while its items are waited for.
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    input: u64,
    cached: u64,
    written: u64,
    output: u64,
}

impl Codex {
    /// A conversation about `prompt`.
    #[must_use]
    pub fn new(spec: &ProgramSpec, prompt: &str, cwd: &str) -> Self {
        Self {
            spec: spec.clone(),
            prompt: prompt.to_owned(),
            cwd: cwd.to_owned(),
            thread: String::new(),
            turn: String::new(),
            requests: START,
            told: Vec::new(),
            base: None,
            questions: Vec::new(),
            asked: 0,
            changes: Vec::new(),
            cancelled: false,
            ended: None,
        }
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        rpc::request(self.requests, method, params)
    }

    fn thread_request(&self) -> Value {
        let policy = match self.spec.approvals {
            Approvals::Ask | Approvals::Record => "untrusted",
            Approvals::Never => "never",
        };
        let sandbox = self.spec.sandbox.as_deref().unwrap_or("danger-full-access");
        let mut params = json!({ "cwd": self.cwd, "approvalPolicy": policy, "sandbox": sandbox });
        if let Some(params) = params.as_object_mut() {
            let given = [("model", &self.spec.model), ("developerInstructions", &self.spec.system), ("threadId", &self.spec.session)];
            params.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))));
        }
        let method = if self.spec.session.is_some() { "thread/resume" } else { "thread/start" };
        rpc::request(THREAD, method, params)
    }

    fn answered(&mut self, request: u64, result: Result<Value, Failure>, turn: &mut Turn) {
        match (request, result) {
            (INITIALIZE, Ok(_)) => {
                turn.say.push(rpc::notice("initialized", json!({})));
                turn.say.push(self.thread_request());
            }
            (THREAD, Ok(result)) => {
                let text = |path: &str| result.pointer(path).and_then(Value::as_str).unwrap_or_default();
                text("/thread/id").clone_into(&mut self.thread);
                turn.tale.session(&self.thread);
                let model = if text("/model").is_empty() { text("/thread/model") } else { text("/model") };
                if !model.is_empty() {
                    turn.tale.model(model);
                }
                if self.cancelled {
                    return turn.tale.finish(End::cancelled());
                }
                let text = json!({ "type": "text", "text": self.prompt });
                let pictures = self.spec.pictures.iter().map(|picture| json!({ "type": "localImage", "path": picture.path }));
                let input: Vec<Value> = [text].into_iter().chain(pictures).collect();
                let mut params = json!({ "threadId": self.thread, "input": input });
                if let (Some(params), Some(effort)) = (params.as_object_mut(), &self.spec.thinking) {
                    params.insert("effort".to_owned(), json!(effort));
                }
                turn.say.push(rpc::request(START, "turn/start", params));
            }
            (START, Ok(result)) => {
                let id = result.pointer("/turn/id").and_then(Value::as_str).unwrap_or_default();
                self.begun(id, turn);
            }
            (INITIALIZE | THREAD | START, Err(failed)) => {
                let lost = request == THREAD && self.spec.session.is_some();
                turn.tale.finish(End::failed(failed.message, lost.then_some(Cause::SessionLost)));
            }
            // The turn may have ended before it was told.
            (request, result) => {
                let place = self.told.iter().position(|(other, _)| *other == request);
                turn.told.extend(place.map(|place| (self.told.swap_remove(place).1, result.is_ok())));
            }
        }
    }

    /// The turn has its name, by which it can be stopped.
    fn begun(&mut self, id: &str, turn: &mut Turn) {
        let new = self.turn.is_empty() && !id.is_empty();
        if new {
            id.clone_into(&mut self.turn);
        }
        if new && self.cancelled {
            self.interrupt(turn);
        }
    }

    fn interrupt(&mut self, turn: &mut Turn) {
        let params = json!({ "threadId": self.thread, "turnId": self.turn });
        let interrupt = self.request("turn/interrupt", params);
        turn.say.push(interrupt);
    }

    fn told(&mut self, method: &str, params: &Value, turn: &mut Turn) {
        let text = |path: &str| params.pointer(path).and_then(Value::as_str).unwrap_or_default();
        // Other threads are those of agents that it started by itself.
        if !self.thread.is_empty() && !text("/threadId").is_empty() && text("/threadId") != self.thread {
            return;
        }
        match method {
            "turn/started" => self.begun(text("/turn/id"), turn),
            "item/started" => self.item(params.get("item").unwrap_or(&Value::Null), false, turn),
            "item/completed" => {
                self.item(params.get("item").unwrap_or(&Value::Null), true, turn);
                self.end_when_quiet(turn);
            }
            "item/agentMessage/delta" => turn.tale.text(text("/itemId"), text("/delta")),
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => turn.tale.thinking(text("/itemId"), text("/delta")),
            "item/commandExecution/outputDelta" => turn.tale.output(text("/itemId"), text("/delta")),
            "thread/tokenUsage/updated" => self.used(params, turn),
            "error" => {
                let retry = params.get("willRetry").and_then(Value::as_bool).unwrap_or_default();
                // One that is final comes again with the end of the turn.
                if retry {
                    turn.tale.warn(format!("{} {}", text("/error/message"), text("/error/additionalDetails")).trim(), true);
                }
            }
            "warning" => turn.tale.warn(text("/message"), false),
            "serverRequest/resolved" => {
                let id = params.get("requestId").unwrap_or(&Value::Null);
                self.questions.retain(|(_, request)| request != id);
            }
            "turn/completed" if self.turn.is_empty() || text("/turn/id") == self.turn => self.completed(params, turn),
            _ => {}
        }
    }

    fn item(&mut self, item: &Value, over: bool, turn: &mut Turn) {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
        let (id, status) = (text("id"), text("status"));
        let call = match text("type") {
            "agentMessage" => {
                if over {
                    turn.tale.text_whole(id, text("text"));
                }
                return;
            }
            "reasoning" => {
                let parts = |key: &str| {
                    let parts = item.get(key).and_then(Value::as_array).into_iter().flatten();
                    parts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n")
                };
                let whole = Some(parts("summary")).filter(|text| !text.is_empty()).unwrap_or_else(|| parts("content"));
                if over {
                    turn.tale.thinking_whole(id, &whole, None);
                }
                return;
            }
            "commandExecution" => (EXEC, json!({ "command": unwrapped(item), "cwd": text("cwd") })),
            "fileChange" => {
                let files = item.get("changes").and_then(Value::as_array).into_iter().flatten();
                let paths = files.flat_map(|file| [file.get("path"), file.pointer("/kind/move_path")]).flatten();
                self.changes.push((id.to_owned(), paths.filter_map(|path| Some(path.as_str()?.into())).collect()));
                ("apply_patch", json!({ "changes": item.get("changes") }))
            }
            "mcpToolCall" if (text("server"), text("tool")) == (mcp::SERVER, mcp::TOOL) => {
                (EXEC, mcp::shown(item.get("arguments"), &self.cwd))
            }
            "mcpToolCall" => ("mcp", json!({ "server": text("server"), "tool": text("tool"), "arguments": item.get("arguments") })),
            "webSearch" => ("web_search", json!({ "query": text("query") })),
            _ => return,
        };
        turn.tale.tool_start(id, call.0, call.1);
        if !over {
            return;
        }
        let exit_code = item.get("exitCode").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok()).filter(|code| *code >= 0);
        let is_error = matches!(status, "failed" | "declined") || exit_code.is_some_and(|code| code != 0);
        let output = item.get("aggregatedOutput").and_then(Value::as_str).map(str::to_owned);
        let said = item.pointer("/error/message").or_else(|| item.pointer("/result/content/0/text")).and_then(Value::as_str);
        let result = match status {
            "declined" => Some("declined".to_owned()),
            _ => said.map(str::to_owned),
        };
        turn.tale.tool_end(id, Finish { is_error, exit_code, output, result });
    }

    /// The sum over the thread counts, not what was used last, which is told again at an interrupt.
    fn used(&mut self, params: &Value, turn: &mut Turn) {
        let tokens = |which: &str| {
            let number = |key: &str| params.pointer(&format!("/tokenUsage/{which}/{key}")).and_then(Value::as_u64).unwrap_or_default();
            let (input, cached) = (number("inputTokens"), number("cachedInputTokens"));
            Tokens { input: input.saturating_sub(cached), cached, written: number("cacheWriteInputTokens"), output: number("outputTokens") }
        };
        let (total, last) = (tokens("total"), tokens("last"));
        let since = self.base.unwrap_or_else(|| total.minus(last));
        self.base = Some(total);
        let more = total.minus(since);
        let tokens = Usage { input: more.input, output: more.output, cache_read: more.cached, cache_write: more.written };
        turn.tale.used(Used { tokens, cost_usd: None });
    }

    fn completed(&mut self, params: &Value, turn: &mut Turn) {
        let text = |path: &str| params.pointer(path).and_then(Value::as_str);
        let end = match text("/turn/status") {
            Some("completed") => End::done(),
            Some("interrupted") => End::cancelled(),
            _ => {
                let info = params.pointer("/turn/error/codexErrorInfo").map(Value::to_string).unwrap_or_default();
                let cause = (info.contains("nauthorized") || info.contains("401")).then_some(Cause::Auth);
                End::failed(text("/turn/error/message").unwrap_or("the turn failed"), cause)
            }
        };
        self.ended = Some(end);
        if turn.tale.has_open_calls() {
            // Its command runs on in a terminal of the background, which outlives no run.
            let clean = self.request("thread/backgroundTerminals/clean", json!({ "threadId": self.thread }));
            turn.say.push(clean);
            turn.wait = Some(LATE);
        }
        self.end_when_quiet(turn);
    }

    fn end_when_quiet(&mut self, turn: &mut Turn) {
        if !turn.tale.has_open_calls()
            && let Some(end) = self.ended.take()
        {
            turn.tale.finish(end);
        }
    }

    fn wanted(&mut self, id: Value, method: &str, params: &Value, turn: &mut Turn) {
        let text = |key: &str| params.get(key).and_then(Value::as_str).unwrap_or_default();
        let call_id = text("itemId").to_owned();
        let question = match method {
            "item/commandExecution/requestApproval" => {
                let (command, cwd) = (whole(params), text("cwd"));
                let args = json!({ "command": command, "cwd": cwd });
                turn.tale.tool_start(&call_id, EXEC, args.clone());
                let cwd = Some(cwd).filter(|cwd| !cwd.is_empty()).map(Into::into);
                let tool = EXEC.to_owned();
                Question { call_id, tool, effect: Effect::Command, command: Some(command), cwd, args }
            }
            "item/fileChange/requestApproval" => {
                let args = json!({ "reason": text("reason"), "grantRoot": text("grantRoot") });
                let changed = self.changes.iter().filter(|(id, _)| *id == call_id).flat_map(|(_, files)| files.clone());
                let root = Some(text("grantRoot")).filter(|root| !root.is_empty()).map(Into::into);
                let effect = Effect::Write(changed.chain(root).collect());
                Question { call_id, tool: "apply_patch".to_owned(), effect, command: None, cwd: None, args }
            }
            "mcpServer/elicitation/request" => return turn.say.push(rpc::answer(&id, json!({ "action": "decline" }))),
            _ => return turn.say.push(rpc::unknown(&id, method)),
        };
        self.asked += 1;
        self.questions.push((self.asked, id));
        match self.spec.approvals {
            Approvals::Never => self.decided(self.asked, Decision::Allow, turn),
            Approvals::Ask | Approvals::Record => turn.ask.push((self.asked, question)),
        }
    }
}

impl Talk for Codex {
    fn open(&mut self, turn: &mut Turn) {
        let client = json!({ "name": "skykoi", "title": "SkyKoi Gateway", "version": env!("CARGO_PKG_VERSION") });
        // Cleaning terminals is one of the interfaces that it calls experimental.
        let params = json!({ "clientInfo": client, "capabilities": { "experimentalApi": true } });
        turn.say.push(rpc::request(INITIALIZE, "initialize", params));
    }

    fn heard(&mut self, line: Value, turn: &mut Turn) {
        match rpc::sort(line) {
            Heard::Answer(id, result) => self.answered(id, result, turn),
            Heard::Request(id, method, params) => self.wanted(id, &method, &params, turn),
            Heard::Notice(method, params) => self.told(&method, &params, turn),
            Heard::Other => {}
        }
    }

    fn decided(&mut self, ask: u64, decision: Decision, turn: &mut Turn) {
        let Some(place) = self.questions.iter().position(|(number, _)| *number == ask) else { return };
        let (_, id) = self.questions.swap_remove(place);
        let word = if decision == Decision::Allow { "accept" } else { "decline" };
        turn.say.push(rpc::answer(&id, json!({ "decision": word })));
    }

    fn cancel(&mut self, turn: &mut Turn) {
        self.cancelled = true;
        for (_, id) in self.questions.drain(..) {
            turn.say.push(rpc::answer(&id, json!({ "decision": "cancel" })));
        }
        if !self.turn.is_empty() {
            self.interrupt(turn);
        }
    }

    fn steer(&mut self, number: u64, text: &str, turn: &mut Turn) -> Steer {
        if self.turn.is_empty() || self.ended.is_some() {
            return Steer::Not;
        }
        let params = json!({ "threadId": self.thread, "expectedTurnId": self.turn, "input": [{ "type": "text", "text": text }] });
        let steer = self.request("turn/steer", params);
        self.told.push((self.requests, number));
        turn.say.push(steer);
        Steer::Later
    }

    fn waited(&mut self, turn: &mut Turn) {
        if let Some(end) = self.ended.take() {
            turn.tale.finish(end);
        }
    }
}

impl Tokens {
    fn minus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            cached: self.cached.saturating_sub(other.cached),
            written: self.written.saturating_sub(other.written),
            output: self.output.saturating_sub(other.output),
        }
    }
}

/// The command of an item as the model wrote it, without the shell around it.
fn unwrapped(item: &Value) -> String {
    let actions = item.get("commandActions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match (script(item), actions) {
        (Err(command), [one]) => one.get("command").and_then(Value::as_str).unwrap_or(command).to_owned(),
        (Ok(script) | Err(script), _) => script.to_owned(),
    }
}

/// The same for somebody who decides about it: nothing that its actions, which are a summary, might leave out.
fn whole(item: &Value) -> String {
    let (Ok(script) | Err(script)) = script(item);
    script.to_owned()
}

/// The script of the shell, or the whole command line if that cannot be told.
fn script(item: &Value) -> Result<&str, &str> {
    let command = item.get("command").and_then(Value::as_str).unwrap_or_default();
    let script = command.split_once(" -lc '").and_then(|(_, script)| script.strip_suffix('\''));
    // A quote inside would have been escaped.
    script.filter(|script| !script.contains('\'')).ok_or(command)
}

//! Claude Code: lines of JSON in both directions, with its control protocol.
//!
//! What is measured and not obvious: text comes twice, as deltas and as a block; the word `success` stands beside `is_error`; costs are sums over the session; a failed command tells its exit code in words; the end of stdin is no cancel.

use std::time::Duration;

use serde_json::{Value, json};

use super::approver::{Decision, Effect, Question};
use super::event::{Cause, EXEC, End, Used};
use super::mcp::CLAUDE_TOOL;
use super::output::code_in_words;
use super::spec::{Approvals, Picture, ProgramSpec, option};
use super::tale::Finish;
use super::talk::{Steer, Talk, Turn};
use crate::model::{StopReason, Usage};

/// Longest text that is given as an argument, in bytes; the kernel takes no more than 128 KiB.
const MAX_ARGUMENT: usize = 100 * 1024;
/// How long another turn is waited for, of what it was told while it ended.
const AGAIN: Duration = Duration::from_millis(1000);
/// Its tool for commands.
const BASH: &str = "Bash";

/// Our arguments behind the program.
pub(super) fn arguments(spec: &ProgramSpec, argv: &mut Vec<String>) {
    let fixed = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose", "--include-partial-messages"];
    argv.extend(fixed.map(str::to_owned));
    argv.extend(["--permission-prompt-tool", "stdio", "--permission-mode", "default"].map(str::to_owned));
    option(argv, "--resume", spec.session.as_deref());
    option(argv, "--model", spec.model.as_deref());
    let system = spec.system.as_deref().map(|text| text.get(..text.floor_char_boundary(MAX_ARGUMENT)).unwrap_or_default());
    option(argv, "--append-system-prompt", system);
    spec.ready.claude(argv);
}

/// The conversation.
#[derive(Debug)]
pub struct Claude {
    prompt: String,
    pictures: Vec<Picture>,
    cwd: String,
    session: Option<String>,
    resumed: bool,
    system_cut: bool,
    approvals: Approvals,
    /// Number of the block that is streamed; each has one of its own.
    block: u64,
    /// A block was streamed and its repetition has not come yet.
    streamed: bool,
    requests: u64,
    /// Questions with the id of their request and the input that they were about.
    questions: Vec<(u64, String, Value)>,
    cancelled: bool,
    /// The user has said something since the last end of a turn.
    told: bool,
    /// The end, as long as another turn may follow by itself.
    ended: Option<End>,
}

impl Claude {
    /// A conversation about `prompt`.
    #[must_use]
    pub fn new(spec: &ProgramSpec, prompt: &str, cwd: &str) -> Self {
        Self {
            prompt: prompt.to_owned(),
            pictures: spec.pictures.clone(),
            cwd: cwd.to_owned(),
            session: None,
            resumed: spec.session.is_some(),
            system_cut: spec.system.as_ref().is_some_and(|text| text.len() > MAX_ARGUMENT),
            approvals: spec.approvals,
            block: 0,
            streamed: false,
            requests: 0,
            questions: Vec::new(),
            cancelled: false,
            told: false,
            ended: None,
        }
    }

    fn control(&mut self, request: Value) -> Value {
        self.requests += 1;
        json!({ "type": "control_request", "request_id": format!("gw{}", self.requests), "request": request })
    }

    fn user(&self, text: &str, pictures: &[Picture]) -> Value {
        let source = |picture: &Picture| json!({ "type": "base64", "media_type": picture.mime_type, "data": picture.data });
        let pictures = pictures.iter().map(|picture| json!({ "type": "image", "source": source(picture) }));
        let content: Vec<Value> = [json!({ "type": "text", "text": text })].into_iter().chain(pictures).collect();
        let message = json!({ "role": "user", "content": content });
        json!({ "type": "user", "message": message, "parent_tool_use_id": null, "session_id": self.session.as_deref().unwrap_or_default() })
    }

    fn system(&mut self, line: &Value, turn: &mut Turn) {
        let text = |key: &str| line.get(key).and_then(Value::as_str);
        match text("subtype") {
            // It comes again for every turn, and not always as the first line.
            Some("init") => {
                self.ended = None;
                if let Some(session) = text("session_id").filter(|session| self.session.as_deref() != Some(*session)) {
                    self.session = Some(session.to_owned());
                    turn.tale.session(session);
                }
                if let Some(model) = text("model") {
                    turn.tale.model(model);
                }
            }
            Some("api_retry") => {
                let number = |key: &str| line.get(key).and_then(Value::as_u64).unwrap_or_default();
                let why = text("error").unwrap_or("an error");
                let (attempt, most, status) = (number("attempt"), number("max_retries"), number("error_status"));
                turn.tale.warn(format!("the model's provider answered {status} ({why}), try {attempt} of {most} follows"), true);
            }
            _ => {}
        }
    }

    fn streamed(&mut self, event: &Value, turn: &mut Turn) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        match text("/type") {
            Some("content_block_start") => {
                self.block += 1;
                self.streamed = matches!(text("/content_block/type"), Some("text" | "thinking"));
            }
            Some("content_block_delta") => {
                let key = self.key();
                match text("/delta/type") {
                    Some("text_delta") => turn.tale.text(&key, text("/delta/text").unwrap_or_default()),
                    Some("thinking_delta") => turn.tale.thinking(&key, text("/delta/thinking").unwrap_or_default()),
                    _ => {}
                }
            }
            Some("message_delta") => {
                if let Some(stop) = text("/delta/stop_reason") {
                    turn.tale.message_end(Some(stop_reason(stop)));
                }
            }
            _ => {}
        }
    }

    fn key(&self) -> String {
        format!("block {}", self.block)
    }

    /// A finished block: what was streamed of it is known, what was not is new.
    fn block(&mut self, block: &Value, turn: &mut Turn) {
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type");
        if matches!(kind, "text" | "thinking") {
            if !std::mem::take(&mut self.streamed) {
                self.block += 1;
            }
            let key = self.key();
            if kind == "text" {
                turn.tale.text_whole(&key, text("text"));
            } else {
                turn.tale.thinking_whole(&key, text("thinking"), Some(text("signature")).filter(|seal| !seal.is_empty()));
            }
        } else if kind == "tool_use" {
            let (name, args) = self.tool(text("name"), block.get("input"));
            turn.tale.tool_start(text("id"), &name, args);
        }
    }

    fn tool(&self, name: &str, input: Option<&Value>) -> (String, Value) {
        let mut args = input.cloned().unwrap_or_else(|| json!({}));
        if name != BASH && name != CLAUDE_TOOL {
            return (name.to_owned(), args);
        }
        if let Some(args) = args.as_object_mut() {
            args.entry("cwd").or_insert_with(|| json!(self.cwd));
        }
        (EXEC.to_owned(), args)
    }

    fn asked(&mut self, line: &Value, turn: &mut Turn) {
        let id = line.get("request_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = line.get("request").unwrap_or(&Value::Null);
        let text = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("subtype") != "can_use_tool" {
            let error = format!("this client has no request {}", text("subtype"));
            turn.say.push(json!({ "type": "control_response", "response": { "subtype": "error", "request_id": id, "error": error } }));
            return;
        }
        let input = request.get("input").cloned().unwrap_or_else(|| json!({}));
        let (tool, args) = self.tool(text("tool_name"), Some(&input));
        let call_id = text("tool_use_id").to_owned();
        // The block with the call may be missing when another agent of the program asks.
        turn.tale.tool_start(&call_id, &tool, args.clone());
        self.requests += 1;
        let ask = self.requests;
        self.questions.push((ask, id, input));
        if self.approvals == Approvals::Never {
            return self.decided(ask, Decision::Allow, turn);
        }
        let command = (tool == EXEC).then(|| args.get("command").and_then(Value::as_str)).flatten().map(str::to_owned);
        let cwd = Some(self.cwd.clone().into());
        let effect = effect(&tool, &args);
        turn.ask.push((ask, Question { call_id, tool, effect, command, cwd, args }));
    }

    fn result_of_tool(block: &Value, turn: &mut Turn) {
        if block.get("type").and_then(Value::as_str) != Some("tool_result") {
            return;
        }
        let id = block.get("tool_use_id").and_then(Value::as_str).unwrap_or_default();
        let is_error = block.get("is_error").and_then(Value::as_bool).unwrap_or_default();
        let result = match block.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
                texts.join("\n")
            }
            _ => String::new(),
        };
        let (exit_code, output) = match code_in_words(&result, "Exit code ").filter(|_| is_error && result.starts_with("Exit code ")) {
            Some((code, output)) => (Some(code), Some(output)),
            None if is_error => (None, None),
            None => (Some(0), Some(result.clone())),
        };
        let exec = turn.tale.is_exec(id);
        let (exit_code, output) = if exec { (exit_code, output) } else { (None, None) };
        turn.tale.tool_end(id, Finish { is_error, exit_code, output, result: Some(result) });
    }

    fn result(&mut self, line: &Value, turn: &mut Turn) {
        let text = |key: &str| line.get(key).and_then(Value::as_str);
        // The sums over the session are no help when it was taken up again.
        for (_, model) in line.get("model_usage_since_last_result").and_then(Value::as_object).into_iter().flatten() {
            let number = |key: &str| model.get(key).and_then(Value::as_u64).unwrap_or_default();
            turn.tale.used(Used {
                tokens: Usage {
                    input: number("inputTokens"),
                    output: number("outputTokens"),
                    cache_read: number("cacheReadInputTokens"),
                    cache_write: number("cacheCreationInputTokens"),
                },
                cost_usd: model.get("costUSD").and_then(Value::as_f64),
            });
        }
        let failed = line.get("is_error").and_then(Value::as_bool).unwrap_or(text("subtype") != Some("success"));
        if text("terminal_reason").is_some_and(|reason| reason.starts_with("aborted_")) {
            return turn.tale.finish(End::cancelled());
        }
        if !failed && line.get("queued_turn_count").and_then(Value::as_u64).is_some_and(|queued| queued > 0) {
            // What it was told meanwhile has an answer of its own, which is still the same run.
            return;
        }
        if !failed && std::mem::take(&mut self.told) {
            // It may have been told in the moment in which it ended; then it begins anew by itself.
            self.ended = Some(End::done());
            turn.wait = Some(AGAIN);
            return;
        }
        if !failed {
            return turn.tale.finish(End::done());
        }
        if self.cancelled {
            return turn.tale.finish(End::cancelled());
        }
        let errors = line.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let message = text("result").map(str::to_owned).into_iter().chain(errors.map(str::to_owned)).collect::<Vec<_>>().join("; ");
        let status = line.get("api_error_status").and_then(Value::as_u64);
        let cause = match status {
            Some(401 | 403) => Some(Cause::Auth),
            _ if self.resumed && message.contains("No conversation found") => Some(Cause::SessionLost),
            _ => None,
        };
        let message = if message.is_empty() { text("subtype").unwrap_or("failed").to_owned() } else { message };
        turn.tale.finish(End::failed(message, cause));
    }
}

impl Talk for Claude {
    fn open(&mut self, turn: &mut Turn) {
        if self.system_cut {
            turn.tale.warn(format!("the system prompt was cut at {MAX_ARGUMENT} bytes, more cannot be given to Claude Code"), false);
        }
        let initialize = self.control(json!({ "subtype": "initialize", "hooks": null }));
        let pictures = std::mem::take(&mut self.pictures);
        let user = self.user(&self.prompt, &pictures);
        turn.say.extend([initialize, user]);
    }

    fn heard(&mut self, line: Value, turn: &mut Turn) {
        // What agents of the program's own say is not the answer; their calls show themselves when they ask.
        let inner = line.get("parent_tool_use_id").is_some_and(|parent| !parent.is_null());
        let content = |line: &Value| line.pointer("/message/content").and_then(Value::as_array).cloned().unwrap_or_default();
        match line.get("type").and_then(Value::as_str) {
            Some("system") => self.system(&line, turn),
            Some("stream_event") if !inner => self.streamed(line.get("event").unwrap_or(&Value::Null), turn),
            Some("assistant") if !inner => content(&line).iter().for_each(|block| self.block(block, turn)),
            Some("user") => content(&line).iter().for_each(|block| Self::result_of_tool(block, turn)),
            Some("control_request") => self.asked(&line, turn),
            Some("control_cancel_request") => {
                let id = line.get("request_id").and_then(Value::as_str).unwrap_or_default();
                self.questions.retain(|(_, request, _)| request != id);
            }
            Some("result") => self.result(&line, turn),
            _ => {}
        }
    }

    fn decided(&mut self, ask: u64, decision: Decision, turn: &mut Turn) {
        let Some(place) = self.questions.iter().position(|(number, ..)| *number == ask) else { return };
        let (_, request, input) = self.questions.swap_remove(place);
        let response = match decision {
            Decision::Allow => json!({ "behavior": "allow", "updatedInput": input }),
            Decision::Deny { reason } => json!({ "behavior": "deny", "message": reason }),
        };
        turn.say
            .push(json!({ "type": "control_response", "response": { "subtype": "success", "request_id": request, "response": response } }));
    }

    fn cancel(&mut self, turn: &mut Turn) {
        self.cancelled = true;
        let asks: Vec<u64> = self.questions.iter().map(|(ask, ..)| *ask).collect();
        for ask in asks {
            self.decided(ask, Decision::Deny { reason: "the run was stopped".to_owned() }, turn);
        }
        let interrupt = self.control(json!({ "subtype": "interrupt" }));
        turn.say.push(interrupt);
    }

    fn steer(&mut self, _: u64, text: &str, turn: &mut Turn) -> Steer {
        turn.say.push(self.user(text, &[]));
        self.told = true;
        Steer::Taken
    }

    fn waited(&mut self, turn: &mut Turn) {
        if let Some(end) = self.ended.take() {
            turn.tale.finish(end);
        }
    }
}

/// What its tools do.
fn effect(tool: &str, args: &Value) -> Effect {
    match tool {
        EXEC => Effect::Command,
        "Read" | "Glob" | "Grep" | "LS" | "NotebookRead" => Effect::Read,
        "Write" | "Edit" | "MultiEdit" | "NotebookEdit" => {
            let file = args.get("file_path").or_else(|| args.get("notebook_path")).and_then(Value::as_str);
            Effect::Write(file.map(Into::into).into_iter().collect())
        }
        _ => Effect::Other,
    }
}

fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" | "stop_sequence" => StopReason::End,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "refusal" => StopReason::Refusal,
        other => StopReason::Other(other.to_owned()),
    }
}

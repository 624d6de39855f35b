//! pi by its RPC mode, of the versions 0.73 and 0.87.
//!
//! What is measured and not obvious: 0.73 repeats the whole message in every piece and has no `agent_settled`; output of a call is repeated whole each time; exit codes stand in it as words; nobody is asked about commands.

use std::time::Duration;

use serde_json::{Value, json};

use super::approver::Decision;
use super::event::{Cause, EXEC, End, Used};
use super::output::code_in_words;
use super::spec::{Picture, ProgramSpec, option};
use super::tale::Finish;
use super::talk::{Steer, Talk, Turn};
use crate::model::{StopReason, Usage};

/// How long 0.87 may take to settle after its end.
const SETTLE: Duration = Duration::from_secs(10);
/// The same for a program of which it is not known whether it ever says so.
const SETTLE_UNKNOWN: Duration = Duration::from_secs(1);
/// Its tool for commands.
const BASH: &str = "bash";

/// Our arguments behind the program.
pub(super) fn arguments(spec: &ProgramSpec, argv: &mut Vec<String>) {
    argv.extend(["--mode", "rpc"].map(str::to_owned));
    match spec.ready.proxy {
        Some(_) => spec.ready.pi(argv),
        None => option(argv, "--model", spec.model.as_deref()),
    }
    option(argv, "--thinking", spec.thinking.as_deref());
    option(argv, "--session-dir", spec.session_dir.as_deref().and_then(std::path::Path::to_str));
    option(argv, "--session", spec.session.as_deref());
    option(argv, "--append-system-prompt", spec.system.as_deref());
}

/// The conversation.
#[derive(Debug)]
pub struct Pi {
    prompt: String,
    pictures: Vec<Picture>,
    cwd: String,
    resumed: bool,
    requests: u64,
    /// Number of the message.
    message: u64,
    /// Whether it is one that repeats the message in every piece; unknown before the first piece.
    repeats: Option<bool>,
    /// Why the last message of the assistant stopped.
    last: Option<(String, String)>,
    /// The request whose answer says that nothing follows the end.
    confirming: Option<String>,
    /// Requests that tell it something, and what that is.
    told: Vec<(String, u64)>,
    prompted: bool,
    cancelled: bool,
}

impl Pi {
    /// A conversation about `prompt`.
    #[must_use]
    pub fn new(spec: &ProgramSpec, prompt: &str, cwd: &str) -> Self {
        Self {
            prompt: prompt.to_owned(),
            pictures: spec.pictures.clone(),
            cwd: cwd.to_owned(),
            resumed: spec.session.is_some(),
            requests: 0,
            message: 0,
            repeats: None,
            last: None,
            confirming: None,
            told: Vec::new(),
            prompted: false,
            cancelled: false,
        }
    }

    fn command(&mut self, mut command: Value) -> (String, Value) {
        self.requests += 1;
        let id = format!("gw{}", self.requests);
        if let Some(command) = command.as_object_mut() {
            command.insert("id".to_owned(), json!(id));
        }
        (id, command)
    }

    fn say(&mut self, command: Value, turn: &mut Turn) {
        let (_, command) = self.command(command);
        turn.say.push(command);
    }

    fn answered(&mut self, line: &Value, turn: &mut Turn) {
        let text = |path: &str| line.pointer(path).and_then(Value::as_str);
        let failed = line.get("success").and_then(Value::as_bool) == Some(false);
        let confirms = self.confirming.is_some() && text("/id") == self.confirming.as_deref();
        match text("/command") {
            Some("get_state") if confirms => {
                self.confirming = None;
                let streams = line.pointer("/data/isStreaming").and_then(Value::as_bool).unwrap_or_default();
                if self.repeats != Some(false) && !streams {
                    self.finish(turn);
                }
            }
            Some("get_state") if self.prompted => {}
            Some("get_state") if failed => turn.tale.finish(End::failed(text("/error").unwrap_or("pi has no state"), None)),
            Some("get_state") => {
                if let Some(session) = text("/data/sessionFile").or_else(|| text("/data/sessionId")) {
                    turn.tale.session(session);
                }
                if let Some(model) = text("/data/model/id") {
                    turn.tale.model(model);
                }
                if self.cancelled {
                    return turn.tale.finish(End::cancelled());
                }
                self.prompted = true;
                let mut prompt = json!({ "type": "prompt", "message": self.prompt });
                let picture = |picture: &Picture| json!({ "type": "image", "data": picture.data, "mimeType": picture.mime_type });
                let pictures: Vec<Value> = self.pictures.drain(..).map(|one| picture(&one)).collect();
                if let Some(prompt) = prompt.as_object_mut().filter(|_| !pictures.is_empty()) {
                    prompt.insert("images".to_owned(), json!(pictures));
                }
                self.say(prompt, turn);
            }
            Some("prompt") if failed => turn.tale.finish(End::failed(text("/error").unwrap_or("pi took no message"), None)),
            Some("steer") => {
                let place = self.told.iter().position(|(id, _)| Some(id.as_str()) == text("/id"));
                turn.told.extend(place.map(|place| (self.told.swap_remove(place).1, !failed)));
            }
            _ => {}
        }
    }

    fn updated(&mut self, line: &Value, turn: &mut Turn) {
        self.repeats.get_or_insert(line.get("message").is_some());
        let Some(event) = line.get("assistantMessageEvent") else { return };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let key = self.key(event.get("contentIndex").and_then(Value::as_u64).unwrap_or_default());
        match text("type") {
            "text_delta" => turn.tale.text(&key, text("delta")),
            "text_end" => turn.tale.text_whole(&key, text("content")),
            "thinking_delta" => turn.tale.thinking(&key, text("delta")),
            "thinking_end" => turn.tale.thinking_whole(&key, text("content"), None),
            _ => {}
        }
    }

    fn key(&self, index: u64) -> String {
        format!("message {} {index}", self.message)
    }

    /// A whole message. Of the assistant's it has all that was streamed, the seals, the calls, and what was used.
    fn message(&mut self, message: &Value, turn: &mut Turn) {
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("role") != "assistant" {
            return;
        }
        let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
        for (index, block) in (0..).zip(blocks) {
            let key = self.key(index);
            let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
            match text("type") {
                "text" => turn.tale.text_whole(&key, text("text")),
                "thinking" => turn.tale.thinking_whole(&key, text("thinking"), block.get("thinkingSignature").and_then(Value::as_str)),
                "toolCall" => {
                    let (name, args) = self.tool(text("name"), block.get("arguments"));
                    turn.tale.tool_use(text("id"), &name, &args);
                }
                _ => {}
            }
        }
        let number = |key: &str| message.pointer(&format!("/usage/{key}")).and_then(Value::as_u64).unwrap_or_default();
        turn.tale.used(Used {
            tokens: Usage {
                input: number("input"),
                output: number("output"),
                cache_read: number("cacheRead"),
                cache_write: number("cacheWrite"),
            },
            cost_usd: message.pointer("/usage/cost/total").and_then(Value::as_f64),
        });
        let stop = text("stopReason");
        self.last = Some((stop.to_owned(), text("errorMessage").to_owned()));
        // A message whose calls are at work grows no more either; the end of a call closes it.
        turn.tale.message_end(match stop {
            "stop" => Some(StopReason::End),
            "toolUse" => Some(StopReason::ToolUse),
            "length" => Some(StopReason::MaxTokens),
            other => Some(StopReason::Other(other.to_owned())),
        });
        self.message += 1;
    }

    fn tool(&self, name: &str, input: Option<&Value>) -> (String, Value) {
        let mut args = input.cloned().unwrap_or_else(|| json!({}));
        if name != BASH {
            return (name.to_owned(), args);
        }
        if let Some(args) = args.as_object_mut() {
            args.entry("cwd").or_insert_with(|| json!(self.cwd));
        }
        (EXEC.to_owned(), args)
    }

    fn call(&mut self, line: &Value, turn: &mut Turn) {
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
        let (id, bash) = (text("toolCallId"), text("toolName") == BASH);
        let whole = |key: &str| {
            let parts = line.pointer(&format!("/{key}/content")).and_then(Value::as_array).into_iter().flatten();
            parts.filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
        };
        match text("type") {
            "tool_execution_start" => {
                let (name, args) = self.tool(text("toolName"), line.get("args"));
                turn.tale.tool_start(id, &name, args);
            }
            "tool_execution_update" if bash => turn.tale.output_whole(id, &whole("partialResult")),
            "tool_execution_end" => {
                let result = whole("result");
                let is_error = line.get("isError").and_then(Value::as_bool).unwrap_or_default();
                let (exit_code, output) = match code_in_words(&result, "Command exited with code ").filter(|_| is_error) {
                    Some((code, output)) => (Some(code), Some(output)),
                    None if is_error => (None, None),
                    None => (Some(0), Some(result.clone()).filter(|text| text != "(no output)")),
                };
                let (exit_code, output) = if bash { (exit_code, output) } else { (None, None) };
                turn.tale.tool_end(id, Finish { is_error, exit_code, output, result: Some(result) });
            }
            _ => {}
        }
    }

    /// The agent stopped. Retries and compaction may follow, and only 0.87 says when nothing does.
    fn stopped(&mut self, line: &Value, turn: &mut Turn) {
        if line.get("willRetry").is_some() {
            self.repeats = Some(false);
        }
        if self.repeats == Some(false) {
            turn.wait = Some(SETTLE);
            return;
        }
        let (id, command) = self.command(json!({ "type": "get_state" }));
        self.confirming = Some(id);
        turn.say.push(command);
        turn.wait = Some(SETTLE_UNKNOWN);
    }

    fn goes_on(&mut self, turn: &mut Turn) {
        self.confirming = None;
        // As good as never: the next end replaces it.
        turn.wait = Some(Duration::from_secs(24 * 3600));
    }

    fn finish(&mut self, turn: &mut Turn) {
        let (stop, error) = self.last.clone().unwrap_or_default();
        turn.tale.finish(match stop.as_str() {
            "aborted" => End::cancelled(),
            _ if self.cancelled => End::cancelled(),
            "error" if error.is_empty() => End::failed("the model failed without a word", None),
            "error" => {
                let auth = error.starts_with("401") || error.starts_with("403");
                End::failed(error, auth.then_some(Cause::Auth))
            }
            "length" => End::failed("the answer reached the longest length that the model may give", None),
            "" => End::failed("pi ended its turn without an answer", None),
            _ => End::done(),
        });
    }
}

impl Talk for Pi {
    fn open(&mut self, turn: &mut Turn) {
        self.say(json!({ "type": "get_state" }), turn);
    }

    fn heard(&mut self, line: Value, turn: &mut Turn) {
        let text = |key: &str| line.get(key).and_then(Value::as_str);
        match text("type").unwrap_or_default() {
            "response" => self.answered(&line, turn),
            "message_update" => self.updated(&line, turn),
            "message_end" => self.message(line.get("message").unwrap_or(&Value::Null), turn),
            "tool_execution_start" | "tool_execution_update" | "tool_execution_end" => self.call(&line, turn),
            "agent_end" => self.stopped(&line, turn),
            "agent_settled" => self.finish(turn),
            "agent_start" | "compaction_start" | "auto_compaction_start" => self.goes_on(turn),
            "auto_retry_start" => {
                self.goes_on(turn);
                turn.tale.warn(text("errorMessage").unwrap_or("the model's provider failed"), true);
            }
            // Its extensions ask a person who is not here; a question of theirs is no approval.
            "extension_ui_request" if matches!(text("method"), Some("select" | "confirm" | "input" | "editor")) => {
                turn.say.push(json!({ "type": "extension_ui_response", "id": line.get("id"), "cancelled": true }));
            }
            _ => {}
        }
    }

    fn decided(&mut self, _: u64, _: Decision, _: &mut Turn) {}

    fn cancel(&mut self, turn: &mut Turn) {
        self.cancelled = true;
        self.say(json!({ "type": "abort" }), turn);
    }

    fn steer(&mut self, number: u64, text: &str, turn: &mut Turn) -> Steer {
        if !self.prompted {
            return Steer::Not;
        }
        let (id, command) = self.command(json!({ "type": "steer", "message": text }));
        self.told.push((id, number));
        turn.say.push(command);
        Steer::Later
    }

    fn waited(&mut self, turn: &mut Turn) {
        self.finish(turn);
    }

    fn exited(&self, stderr: &str) -> Option<Cause> {
        let text = stderr.to_lowercase();
        let gone = ["not found", "no such", "does not exist", "no session"].iter().any(|words| text.contains(words));
        (self.resumed && text.contains("session") && gone).then_some(Cause::SessionLost)
    }
}

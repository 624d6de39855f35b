//! Calls of an ACP program, put together from whatever it says of them.

use serde_json::{Map, Value, json};

use crate::programs::event::EXEC;
use crate::programs::output::code_in_words;
use crate::programs::tale::{Finish, Tale};

/// The calls of a turn.
#[derive(Debug)]
pub struct Calls {
    cwd: String,
    /// Whether it is offered the tool of the gateway.
    offered: bool,
    known: Vec<Call>,
    /// Pieces of text without a message's id belong together until a call comes between.
    part: u64,
}

/// One call, as far as it is known.
#[derive(Debug, Default)]
struct Call {
    id: String,
    kind: String,
    name: String,
    title: String,
    input: Map<String, Value>,
    exit_code: Option<i32>,
    /// Output comes in pieces; what stands in `content` is then no output.
    in_pieces: bool,
    result: Option<String>,
    started: bool,
    over: bool,
    /// It uses the tool of the gateway, which judges its command by itself.
    ours: bool,
}

/// How the one program that asks before it uses the tool of the gateway begins the names of such calls.
const OURS: &str = "mcp_gw_exec__";

impl Calls {
    /// No calls. Commands run in `cwd` unless a program says otherwise; `offered` says that there is the tool of the gateway, too.
    pub fn new(cwd: &str, offered: bool) -> Self {
        Self { cwd: cwd.to_owned(), offered, known: Vec::new(), part: 0 }
    }

    /// The name of the block to which a piece of text belongs.
    pub fn text_key(&self, message: &str, kind: &str) -> String {
        format!("{kind} {} {message}", self.part)
    }

    /// What is known of a call: the tool and its arguments.
    pub fn tool(&self, id: &str) -> (String, Value) {
        self.known.iter().find(|call| call.id == id).map_or_else(|| ("tool".to_owned(), json!({})), |call| call.tool(&self.cwd))
    }

    /// The kind of a call, in the words of the protocol.
    pub fn kind(&self, id: &str) -> &str {
        self.known.iter().find(|call| call.id == id).map_or("", |call| call.kind.as_str())
    }

    /// Whether the call uses the tool of the gateway, and the question about it is therefore none.
    pub fn is_ours(&self, id: &str) -> bool {
        self.known.iter().any(|call| call.id == id && call.ours)
    }

    /// Takes whatever an update says. `asked`: it is a question, so that nothing more will be known before the answer.
    pub fn update(&mut self, update: &Value, asked: bool, tale: &mut Tale) {
        let text = |key: &str| update.get(key).and_then(Value::as_str);
        let Some(id) = text("toolCallId") else { return };
        if !self.known.iter().any(|call| call.id == id) {
            self.part += 1;
            self.known.push(Call { id: id.to_owned(), ..Call::default() });
        }
        let Some(call) = self.known.iter_mut().find(|call| call.id == id) else { return };
        for (key, field) in [("kind", &mut call.kind), ("title", &mut call.title), ("name", &mut call.name)] {
            if let Some(value) = text(key).filter(|value| !value.is_empty()) {
                value.clone_into(field);
            }
        }
        if let Some(input) = update.get("rawInput").and_then(Value::as_object) {
            call.input.extend(input.clone());
        }
        if asked && self.offered && call.kind == "other" && id.starts_with(OURS) {
            // The arguments stand in the question as text.
            let said = update.pointer("/content/0/content/text").and_then(Value::as_str);
            let input = said.and_then(|said| serde_json::from_str::<Map<String, Value>>(said).ok());
            call.input.extend(input.unwrap_or_default());
            call.ours = true;
        }
        let pending = text("status").is_none_or(|status| status == "pending");
        if !call.started && (asked || call.command().is_some() || !pending || update.pointer("/_meta/terminal_output").is_some()) {
            call.started = true;
            let (name, args) = call.tool(&self.cwd);
            tale.tool_start(id, &name, args);
        }
        call.take_output(update, tale);
        match text("status") {
            Some("completed") => call.end(false, tale),
            Some("failed") => call.end(true, tale),
            _ => {}
        }
    }
}

impl Call {
    fn is_command(&self) -> bool {
        self.kind == "execute" || self.ours
    }

    /// The command line, if it is one that runs a command and has said it.
    fn command(&self) -> Option<String> {
        match self.input.get("command").filter(|_| self.is_command()) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Array(words)) => Some(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
            _ => None,
        }
    }

    fn tool(&self, cwd: &str) -> (String, Value) {
        if self.is_command() {
            // Those that give no input have the command as the title.
            let command = self.command().unwrap_or_else(|| self.title.clone());
            let cwd = self.input.get("cwd").and_then(Value::as_str).unwrap_or(cwd);
            return (EXEC.to_owned(), json!({ "command": command, "cwd": cwd }));
        }
        let name = [&self.name, &self.kind].into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_else(|| "tool".to_owned());
        let mut args = self.input.clone();
        if args.is_empty() && !self.title.is_empty() {
            args.insert("title".to_owned(), json!(self.title));
        }
        (name, Value::Object(args))
    }

    fn take_output(&mut self, update: &Value, tale: &mut Tale) {
        let meta = |path: &str| update.pointer(&format!("/_meta/{path}"));
        for path in ["terminal_output/data", "terminal_output_delta/data"] {
            if let Some(piece) = meta(path).and_then(Value::as_str).filter(|_| self.kind == "execute") {
                self.in_pieces = true;
                tale.output(&self.id, piece);
                self.see_code(piece);
            }
        }
        let code = meta("terminal_exit/exit_code").or_else(|| update.pointer("/rawOutput/metadata/exit")).and_then(Value::as_i64);
        if let Some(code) = code.and_then(|code| i32::try_from(code).ok()).filter(|code| *code >= 0) {
            self.exit_code.get_or_insert(code);
        }
        let parts = update.get("content").and_then(Value::as_array).into_iter().flatten();
        let texts: Vec<&str> = parts.filter_map(|part| part.pointer("/content/text")?.as_str()).collect();
        if !texts.is_empty() && self.started {
            let whole = texts.join("\n");
            // What one program says of a command before it runs is neither output nor result.
            if self.kind == "execute" && whole.starts_with("[current working directory ") {
                return;
            }
            if self.kind == "execute" && !self.in_pieces {
                tale.output_whole(&self.id, &whole);
            }
            self.result = Some(whole);
        }
    }

    /// Words win over a number: one adapter gives the number 1 for every failure.
    fn see_code(&mut self, piece: &str) {
        if let Some((code, _)) = code_in_words(piece, "Command exited with code ") {
            self.exit_code = Some(code);
        }
    }

    fn end(&mut self, failed: bool, tale: &mut Tale) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let exec = self.is_command();
        let is_error = failed || (exec && self.exit_code.is_some_and(|code| code != 0));
        let result = self.result.take().filter(|_| !exec || !self.in_pieces);
        tale.tool_end(&self.id, Finish { is_error, exit_code: self.exit_code, output: None, result });
    }
}

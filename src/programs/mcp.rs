//! Our side of the Model Context Protocol: a server whose one tool runs a command, for programs that have no shell of their own.
//!
//! A state machine without I/O, as the languages of the programs are: lines in, and what is to be done because of them out. The answers hold text alone: a program that is also given structured content shows its model nothing else.

use serde_json::{Value, json};

use super::lines::Line;
use super::rpc::{self, Heard};

/// The name under which programs know the server.
pub const SERVER: &str = "gw";
/// The name of its tool.
pub const TOOL: &str = "exec";
/// What Claude Code calls the two of them.
pub const CLAUDE_TOOL: &str = "mcp__gw__exec";

/// The versions of the protocol that are spoken; what is used here is the same in all of them.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Where programs say which call of theirs it is.
const CALL_IDS: [&str; 2] = ["/_meta/claudecode~1toolUseId", "/_meta/callId"];
/// Longest id of a call that is taken over, in bytes.
const MAX_CALL_ID: usize = 200;

/// What a line wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// This is to be said.
    Say(Value),
    /// The tool is to be used; the answer is [`done`] or [`refused`].
    Call(Call),
    /// Nobody wants the answer to the request of this id any more, and none is to be given.
    Cancel(Value),
}

/// One use of the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The id of the request.
    pub request: Value,
    /// The program's own name for the call, if it says one.
    pub call_id: Option<String>,
    /// The arguments, not yet looked at.
    pub arguments: Value,
}

/// The server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Longest time of a command that may be asked for, in seconds.
    most_seconds: u64,
}

impl Server {
    /// One whose commands take at most this long.
    #[must_use]
    pub fn new(most_seconds: u64) -> Self {
        Self { most_seconds }
    }

    /// Takes a line of the client; nothing is to be done about most notices.
    #[must_use]
    pub fn heard(&self, line: Line) -> Option<Act> {
        let line = match line {
            Line::Message(line) => line,
            Line::Garbage(_) => {
                return Some(Act::Say(error(&Value::Null, -32700, "a line that is no JSON object; batches are not spoken here")));
            }
            Line::TooLong(bytes) => return Some(Act::Say(error(&Value::Null, -32600, &format!("a line of {bytes} bytes is too long")))),
        };
        match rpc::sort(line) {
            Heard::Request(id, ..) if !(id.is_string() || id.is_i64() || id.is_u64()) => {
                Some(Act::Say(error(&Value::Null, -32600, "the id of a request is a string or a whole number")))
            }
            Heard::Request(id, method, params) => Some(self.wanted(id, &method, params)),
            Heard::Notice(method, params) if method == "notifications/cancelled" => {
                params.get("requestId").map(|id| Act::Cancel(id.clone()))
            }
            Heard::Notice(..) | Heard::Answer(..) | Heard::Other => None,
        }
    }

    fn wanted(&self, id: Value, method: &str, mut params: Value) -> Act {
        match method {
            "initialize" => {
                let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
                let version = VERSIONS.into_iter().find(|version| *version == asked).unwrap_or(VERSIONS[0]);
                let server = json!({ "name": "skykoi-gateway", "title": "SkyKoi Gateway", "version": env!("CARGO_PKG_VERSION") });
                Act::Say(rpc::answer(&id, json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": server })))
            }
            "ping" => Act::Say(rpc::answer(&id, json!({}))),
            "tools/list" => Act::Say(rpc::answer(&id, json!({ "tools": [self.described()] }))),
            "tools/call" if params.get("name").and_then(Value::as_str) == Some(TOOL) => {
                let call_id = CALL_IDS.iter().find_map(|path| params.pointer(path)?.as_str()).map(str::to_owned);
                let call_id = call_id.filter(|id| !id.is_empty() && id.len() <= MAX_CALL_ID);
                let arguments = params.get_mut("arguments").map(Value::take).unwrap_or_default();
                Act::Call(Call { request: id, call_id, arguments })
            }
            "tools/call" => Act::Say(error(&id, -32602, &format!("the only tool here is {TOOL}"))),
            _ => Act::Say(error(&id, -32601, &format!("this server has no method {method}"))),
        }
    }

    fn described(&self) -> Value {
        let most = self.most_seconds;
        let description = format!(
            "Run a shell command on this machine and wait for its end. Returns its output and exit code; long output keeps its beginning and its end. It may have to be approved by a person first. Everything that it starts ends with it, or with your turn. There is no terminal and no input. Time limit: {most} s."
        );
        json!({
            "name": TOOL,
            "title": "Run a command",
            "description": description,
            "inputSchema": {
                "type": "object",
                "properties": {
                    "command": { "type": "string", "description": "The command" },
                    "cwd": { "type": "string", "description": "Directory to run in; the workspace by default" },
                    "timeout": { "type": "number", "description": format!("Time limit in seconds, at most {most}") },
                },
                "required": ["command"],
                "additionalProperties": false,
            },
        })
    }
}

/// Arguments of the tool as people are shown them: with the folder in which it runs.
#[must_use]
pub fn shown(arguments: Option<&Value>, cwd: &str) -> Value {
    let mut args = arguments.cloned().unwrap_or_else(|| json!({}));
    if let Some(args) = args.as_object_mut() {
        args.entry("cwd").or_insert_with(|| json!(cwd));
    }
    args
}

/// The answer to a use of the tool.
#[must_use]
pub fn done(request: &Value, text: &str, is_error: bool) -> Value {
    rpc::answer(request, json!({ "content": [{ "type": "text", "text": text }], "isError": is_error }))
}

/// The answer to a request that could not be taken at all.
#[must_use]
pub fn refused(request: &Value, why: &str) -> Value {
    error(request, -32603, why)
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(line: Value) -> Option<Act> {
        Server::new(600).heard(Line::Message(line))
    }

    fn said(line: Value) -> Value {
        match heard(line) {
            Some(Act::Say(said)) => said,
            other => panic!("{other:?}"),
        }
    }

    fn request(method: &str, params: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
    }

    #[test]
    fn the_version_of_the_client_is_spoken_and_an_unknown_one_is_answered_with_ours() {
        for (asked, spoken) in [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2031-01-01", "2025-11-25")] {
            let answer = said(request("initialize", json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": {} })));
            assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!(7), &json!(spoken)));
            assert_eq!(answer["result"]["capabilities"], json!({ "tools": {} }));
            assert!(answer["result"]["serverInfo"]["name"].is_string() && answer["result"]["serverInfo"]["version"].is_string());
        }
        assert_eq!(heard(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })), None);
    }

    #[test]
    fn one_tool_is_listed_with_a_schema_of_its_arguments() {
        let answer = said(request("tools/list", json!({ "_meta": { "progressToken": 0 } })));
        let [tool] = answer["result"]["tools"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        assert_eq!((&tool["name"], &tool["inputSchema"]["type"]), (&json!("exec"), &json!("object")));
        assert_eq!(tool["inputSchema"]["required"], json!(["command"]));
        assert!(tool.get("outputSchema").is_none(), "with one, structured content would be expected");
        assert!(jsonschema::validator_for(&tool["inputSchema"]).unwrap().is_valid(&json!({ "command": "ls", "timeout": 3 })));
    }

    #[test]
    fn a_call_says_which_one_it_is_to_the_program_as_each_program_does() {
        for (meta, id) in [
            (json!({ "claudecode/toolUseId": "toolu_1", "progressToken": 2 }), Some("toolu_1")),
            (json!({ "callId": "call_2", "threadId": "t" }), Some("call_2")),
            (json!({ "callId": "" }), None),
            (json!({ "callId": "x".repeat(1000) }), None),
            (Value::Null, None),
        ] {
            let params = json!({ "name": "exec", "arguments": { "command": "ls" }, "_meta": meta });
            let Some(Act::Call(call)) = heard(request("tools/call", params)) else { panic!("a call") };
            assert_eq!((call.call_id.as_deref(), &call.request, &call.arguments), (id, &json!(7), &json!({ "command": "ls" })));
        }
        assert_eq!(said(request("tools/call", json!({ "name": "other" })))["error"]["code"], -32602);
    }

    #[test]
    fn pings_are_answered_cancels_are_heard_and_nonsense_is_refused_by_its_number() {
        assert_eq!(said(request("ping", json!({}))), json!({ "jsonrpc": "2.0", "id": 7, "result": {} }));
        assert_eq!(said(json!({ "id": "s", "method": "ping" }))["id"], "s");
        let cancel = json!({ "method": "notifications/cancelled", "params": { "requestId": 7, "reason": "r" } });
        assert_eq!(heard(cancel), Some(Act::Cancel(json!(7))));
        // Claude Code asks this first, and speaks the protocol as we know it when it is refused.
        assert_eq!(said(request("server/discover", json!({})))["error"]["code"], -32601);
        assert_eq!(said(json!({ "id": 1.5, "method": "ping" }))["error"]["code"], -32600);
        let server = Server::new(1);
        for (line, code) in [(Line::Garbage(3), -32700), (Line::TooLong(9), -32600)] {
            let Some(Act::Say(answer)) = server.heard(line) else { panic!("an answer") };
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &Value::Null));
        }
        for nothing in [json!({ "id": 3, "result": {} }), json!({}), json!({ "method": "notifications/unknown" })] {
            assert_eq!(heard(nothing), None);
        }
    }

    #[test]
    fn an_answer_holds_text_alone() {
        let answer = done(&json!(7), "hi\n\n[Exit code 0]", false);
        assert_eq!(answer["result"], json!({ "content": [{ "type": "text", "text": "hi\n\n[Exit code 0]" }], "isError": false }));
    }
}

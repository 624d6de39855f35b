//! A program that plays a capture of a real one: a script that says the recorded lines, and goes on only when it has heard what must come between them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use skykoi_gateway::programs::spec::{Approvals, Kind, ProgramSpec};

use crate::executable;
use crate::shim::Bench;

/// What every stub begins with: `expect WORD` reads until a line has the word in it, and writes down what it heard; `after WORD` only if it was not heard before.
pub const HEAD: &str = r#"#!/bin/bash
expect() {
  while IFS= read -r line; do
    printf '%s\n' "$line" >> "$0.heard"
    case "$line" in *"$1"*) return;; esac
  done
  echo "hung up before $1" >&2; exit 9
}
# The same, for what may have been heard before.
after() { grep -qF "$1" "$0.heard" 2>/dev/null || expect "$1"; }
rest() { while IFS= read -r line; do printf '%s\n' "$line" >> "$0.heard"; done; exit 0; }
"#;

/// A run of a program that is this script.
pub fn scripted(kind: Kind, script: &str) -> Bench {
    let mut bench = Bench::new("the prompt");
    let path = bench.dir.path().join("stub");
    executable::write(&path, format!("{HEAD}{script}\n").as_bytes());
    let mut spec = ProgramSpec::new(kind, vec![path.to_str().unwrap().to_owned()]);
    spec.approvals = Approvals::Never;
    bench.spec.runner = kind.name().to_owned();
    bench.spec.program = Some(Box::new(spec));
    bench
}

/// What a stand-in for Claude Code begins with that starts the server it was given: `call ID CALL COMMAND` uses the tool, `use` and `result` tell of it as Claude Code does, `hear` waits for an answer, and `say` ends the turn.
const MCP: &str = r#"
config=$(printf '%s\n' "$@" | grep mcpServers)
server=$(sed 's/.*"command":"\([^"]*\)".*/\1/' <<< "$config")
place=$(sed 's/.*"args":\["mcp","\([^"]*\)"\].*/\1/' <<< "$config")
quoted() { local text=${1//\\/\\\\}; printf '"%s"' "${text//\"/\\\"}"; }
ask() { printf '%s\n' "$1" >&"${GW[1]}"; }
hear() { IFS= read -r line <&"${GW[0]}" && printf '%s\n' "$line" >> "$0.mcp"; }
hello() {
  coproc GW { exec "$server" mcp "$place" 2>> "$0.err"; }
  ask '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"stub","version":"1"}}}'; hear
  ask '{"jsonrpc":"2.0","method":"notifications/initialized"}'
  ask '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'; hear
}
asked() { ask "{\"jsonrpc\":\"2.0\",\"id\":$1,\"method\":\"tools/call\",\"params\":{\"name\":\"exec\",\"arguments\":{\"command\":$(quoted "$4")$3},\"_meta\":{\"claudecode/toolUseId\":\"$2\"}}}"; }
call() { asked "$1" "$2" '' "$3"; }
timed() { asked "$1" "$2" ",\"timeout\":$3" "$4"; }
cancel() { ask "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":$1}}"; }
ping() { ask "{\"jsonrpc\":\"2.0\",\"id\":$1,\"method\":\"ping\"}"; }
use() { echo "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"tool_use\",\"id\":\"$1\",\"name\":\"mcp__gw__exec\",\"input\":{\"command\":$(quoted "$2")}}]}}"; }
result() { echo "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"$1\",\"content\":\"$2\"}]}}"; }
say() { echo "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"$1\"}]}}"; echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"$1\"}"; }
until_there() { until [ -e "${0%/*}/$1" ]; do sleep 0.01; done; }
until_told() { until grep -qs "\"toolCallId\":\"$1\"" "${0%/*}"/runs/*/*.ndjson; do sleep 0.01; done; }
expect '"type":"user"'
"#;

/// The script of a program that uses our tool.
pub fn mcp_client(script: &str) -> String {
    format!("{MCP}{script}\nrest")
}

/// A run of a program that plays the capture of this name.
pub fn playing(name: &str) -> Bench {
    let kind = Kind::ALL.into_iter().find(|kind| name.starts_with(kind.name())).unwrap();
    scripted(kind, &script(kind, name))
}

/// What the gateway said to the program.
pub fn heard(bench: &Bench) -> Vec<Value> {
    let text = fs::read_to_string(bench.dir.path().join("stub.heard")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a program that is this script and returns its path. What its newest process was told stands in `<name>.heard`, and the arguments of each of them, one line a process, in `<name>.args`.
pub fn program(dir: &Path, name: &str, script: &str) -> String {
    let path = dir.join(name);
    let text = format!("{HEAD}rm -f \"$0.heard\"; printf '%s\\n' \"$*\" >> \"$0.args\"\n{script}\n");
    executable::write(&path, text.as_bytes());
    path.to_str().unwrap().to_owned()
}

/// The script that plays the capture of this name.
pub fn script(kind: Kind, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(format!("{name}.jsonl"));
    let mut script = String::new();
    if kind == Kind::Claude {
        script.push_str("expect '\"type\":\"user\"'\n");
    }
    for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["msg"];
        if line["dir"] == "!" {
            let word = match (message.get("decide").is_some(), kind) {
                (true, Kind::Claude) => "control_response",
                (true, _) => "\"result\"",
                (false, Kind::Pi) => "abort",
                (false, Kind::Acp) => "session/cancel",
                (false, _) => "interrupt",
            };
            writeln!(script, "expect '{word}'").unwrap();
            continue;
        }
        // An answer comes behind its question.
        if let (Some(id), None) = (message.get("id"), message.get("method")) {
            writeln!(script, "after '\"id\":{id}'").unwrap();
        }
        writeln!(script, "cat <<'END_{number}'\n{message}\nEND_{number}").unwrap();
    }
    script.push_str("rest");
    script
}

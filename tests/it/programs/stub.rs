//! A program that plays a capture of a real one: a script that says the recorded lines, and goes on only when it has heard what must come between them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use skykoi_gateway::programs::spec::{Approvals, Kind, ProgramSpec};

use crate::shim::Bench;

/// What every stub begins with: `expect WORD` reads until a line has the word in it, and writes down what it heard; `after WORD` only if it was not heard before.
const HEAD: &str = r#"#!/bin/bash
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
    fs::write(&path, format!("{HEAD}{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = ProgramSpec::new(kind, vec![path.to_str().unwrap().to_owned()]);
    spec.approvals = Approvals::Never;
    bench.spec.runner = kind.name().to_owned();
    bench.spec.program = Some(Box::new(spec));
    bench
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
    fs::write(&path, format!("{HEAD}rm -f \"$0.heard\"; printf '%s\\n' \"$*\" >> \"$0.args\"\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
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

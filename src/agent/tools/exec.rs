//! The tool `exec`: a command of the shell, waited for, or left to run in the background.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bound::{RESULT_BYTES, bounded};
use super::{Call, Context, Given, Tool, always};
use crate::agent::commands::{Command, Ended, Wanted};
use crate::agent::spec::AgentSpec;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "exec",
    group: "group:runtime",
    reads_only: false,
    offered: always,
    describe,
    shown,
    run: |context, call| Box::pin(run(context, call)),
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    command: String,
    #[serde(alias = "cwd")]
    workdir: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    timeout: Option<f64>,
    #[serde(default)]
    background: bool,
    #[serde(default)]
    pty: bool,
    #[serde(alias = "yield_ms")]
    yield_ms: Option<u64>,
}

fn describe(spec: &AgentSpec) -> (&'static str, Value) {
    let text = "Run a shell command. It is answered when the command ends, or when it has run for yieldMs: then it goes on in the background and the process tool looks after it. Use background: true for servers and for what reads input; what is started with & ends with the command if it holds its output. Everything ends with your turn. Programs that want a terminal get one with pty: true.";
    let schema = json!({
        "type": "object",
        "properties": {
            "command": { "type": "string", "description": "The command" },
            "workdir": { "type": "string", "description": "Directory to run in; the workspace by default" },
            "env": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Further variables" },
            "timeout": { "type": "number", "description": format!("Time limit in seconds, at most {}", spec.exec.timeout_ms / 1000) },
            "background": { "type": "boolean", "description": "Do not wait; its input stays open for process write" },
            "pty": { "type": "boolean", "description": "Give it a terminal, for programs that ask or draw; type with process write and send-keys" },
            "yieldMs": { "type": "integer", "description": format!("How long to wait for its end, in ms; {} by default", spec.exec.background_ms) },
        },
        "required": ["command"],
    });
    (text, schema)
}

/// The arguments with the folder in which it really runs.
fn shown(context: &Context, input: &Value) -> Value {
    let mut input = input.clone();
    if let Some(map) = input.as_object_mut() {
        let word = map.get("workdir").or_else(|| map.get("cwd")).and_then(Value::as_str).unwrap_or(".");
        let cwd = context.files.path(word).to_string_lossy().into_owned();
        map.remove("workdir");
        map.insert("cwd".to_owned(), Value::String(cwd));
        map.entry("command").or_insert_with(|| Value::String(String::new()));
    }
    input
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    let arguments = match call.arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(wrong) => return wrong,
    };
    if arguments.command.trim().is_empty() {
        return Given::error("The command is empty.");
    }
    let rules = *context.commands.rules();
    let longest = Duration::from_millis(rules.timeout_ms);
    let asked = arguments.timeout.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    let timeout = asked.map_or(longest, |seconds| Duration::from_secs_f64(seconds.min(longest.as_secs_f64())));
    let ending = context.commands.ending();
    let patience = Duration::from_millis(arguments.yield_ms.unwrap_or(rules.background_ms)).min(timeout.saturating_add(ending));
    let wanted = Wanted {
        tool_call_id: call.id,
        text: arguments.command,
        cwd: context.files.path(arguments.workdir.as_deref().unwrap_or(".")),
        env: arguments.env,
        timeout,
        open_input: arguments.background,
        pty: arguments.pty,
    };
    let stop = context.host.stop();
    let started = tokio::select! {
        started = context.commands.start(&context.host, wanted) => started,
        () = stop.cancelled() => return Given::error("Cancelled before the command began."),
    };
    let command = match started {
        Ok(command) => command,
        Err(why) => return Given::error(format!("The command did not run: {}", why.message)),
    };
    if arguments.background {
        command.told_that_it_runs_on();
        return Given::text(format!(
            "Runs in the background as process {} (pid {}). Look after it with the process tool.",
            command.id, command.pid
        ));
    }
    let has_ended = tokio::select! {
        has_ended = command.wait(patience) => has_ended,
        () = stop.cancelled() => command.wait(ending).await,
    };
    if has_ended { ended(&command, &command.output(), stop.is_cancelled()) } else { still_runs(&command) }
}

/// What the model is told of a command that runs on; one whose time is over has failed, however its end comes.
fn still_runs(command: &Command) -> Given {
    command.told_that_it_runs_on();
    let output = bounded(&command.output(), RESULT_BYTES);
    let gap = if output.is_empty() { "" } else { "\n\n" };
    let is_error = command.is_over_its_limit();
    let limit = if is_error { "Its time limit was over and it is being ended. " } else { "" };
    let text = format!(
        "{output}{gap}[{limit}It still runs after {}, from now on in the background as process {} (pid {}). Look after it with the process tool.]",
        seconds(command.ran_for()),
        command.id,
        command.pid
    );
    Given { is_error, ..Given::text(text) }
}

/// What the model is told of a command that has ended: its output, and how.
pub(in crate::agent) fn ended(command: &Command, output: &str, stopped: bool) -> Given {
    let Some(ended) = command.ended() else { return still_runs(command) };
    command.told_of_its_end();
    let output = bounded(output.trim_end_matches('\n'), RESULT_BYTES);
    let took = seconds(command.ran_for());
    let how = match &ended {
        Ended { timed_out: true, .. } => format!("Its time limit was over; ended after {took}."),
        _ if stopped => format!("Cancelled after {took}."),
        Ended { lost: Some(why), .. } => format!("Its end is not known: {why}."),
        Ended { exit_code: Some(code), .. } => format!("Exit code {code} after {took}."),
        Ended { signal: Some(signal), .. } => format!("Killed by {signal} after {took}."),
        _ => format!("Ended after {took}."),
    };
    let body = if output.is_empty() { "(no output)" } else { output.as_str() };
    let is_error = stopped || ended.timed_out || ended.exit_code != Some(0);
    Given { is_error, exit_code: ended.exit_code, signal: ended.signal, ..Given::text(format!("{body}\n\n[{how}]")) }
}

/// A duration for people.
pub(super) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) { format!("{} ms", duration.as_millis()) } else { format!("{:.1} s", duration.as_secs_f64()) }
}

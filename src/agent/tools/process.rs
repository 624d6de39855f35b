//! The tool `process`: looks after commands in the background.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bound::{RESULT_BYTES, bounded};
use super::exec::{ended, seconds};
use super::{Call, Context, Given, Tool, always, plain};
use crate::agent::commands::Command;
use crate::agent::spec::AgentSpec;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "process",
    group: "group:runtime",
    reads_only: false,
    offered: always,
    describe,
    shown: plain,
    run: |context, call| Box::pin(run(context, call)),
};

/// Longest wait of a poll, ms.
const MAX_WAIT_MS: u64 = 120_000;

/// Keys by name, as a terminal sends them.
const KEYS: [(&str, &str); 17] = [
    ("enter", "\n"),
    ("return", "\n"),
    ("tab", "\t"),
    ("space", " "),
    ("escape", "\x1b"),
    ("esc", "\x1b"),
    ("backspace", "\x7f"),
    ("up", "\x1b[A"),
    ("down", "\x1b[B"),
    ("right", "\x1b[C"),
    ("left", "\x1b[D"),
    ("home", "\x1b[H"),
    ("end", "\x1b[F"),
    ("pageup", "\x1b[5~"),
    ("pagedown", "\x1b[6~"),
    ("delete", "\x1b[3~"),
    ("insert", "\x1b[2~"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: Action,
    #[serde(alias = "sessionId", alias = "processId")]
    id: Option<String>,
    data: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    eof: bool,
    #[serde(alias = "timeout", alias = "wait_ms")]
    wait_ms: Option<u64>,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    List,
    Poll,
    Log,
    Write,
    SendKeys,
    Kill,
}

fn describe(_: &AgentSpec) -> (&'static str, Value) {
    let text = "Look after commands in the background. list: all of them. poll: what is new of one, waiting up to waitMs for its end. log: all its output, by lines. write: data to its input. send-keys: named keys to its input. kill: end it.";
    let schema = json!({
        "type": "object",
        "properties": {
            "action": { "type": "string", "enum": ["list", "poll", "log", "write", "send-keys", "kill"] },
            "id": { "type": "string", "description": "The process, such as p1" },
            "data": { "type": "string", "description": "For write" },
            "keys": { "type": "array", "items": { "type": "string" }, "description": "For send-keys: enter, tab, escape, up, ctrl-c, ctrl-d, or text" },
            "eof": { "type": "boolean", "description": "For write: close its input behind the data; on a terminal, ctrl-d" },
            "waitMs": { "type": "integer", "description": "For poll" },
            "offset": { "type": "integer", "description": "For log: first line, from 1; the last lines if absent" },
            "limit": { "type": "integer", "description": "For log: number of lines" },
        },
        "required": ["action"],
    });
    (text, schema)
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    let arguments = match call.arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(wrong) => return wrong,
    };
    if arguments.action == Action::List {
        return list(&context);
    }
    let Some(id) = &arguments.id else { return Given::error("This action needs the id of a process; list shows them.") };
    let Some(command) = context.commands.find(id) else { return Given::error(format!("There is no process {id}; list shows them.")) };
    match arguments.action {
        Action::List => list(&context),
        Action::Poll => poll(&context, &command, arguments.wait_ms.unwrap_or(0).min(MAX_WAIT_MS)).await,
        Action::Log => log(&command, arguments.offset, arguments.limit.unwrap_or(200).max(1)),
        Action::Write => write(&command, arguments.data.unwrap_or_default().as_bytes(), arguments.eof).await,
        Action::SendKeys => send(&command, &arguments.keys).await,
        Action::Kill => kill(&context, &command).await,
    }
}

fn list(context: &Context) -> Given {
    // The list says how each has ended.
    let _ = context.commands.news();
    let rows: Vec<String> = context.commands.list().iter().map(|command| row(command)).collect();
    Given::text(if rows.is_empty() { "There are no processes.".to_owned() } else { rows.join("\n") })
}

/// A command in one line.
pub(in crate::agent) fn row(command: &Command) -> String {
    let state = command.ended().map_or_else(
        || "running".to_owned(),
        |ended| match (ended.exit_code, ended.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by {signal}"),
            (None, None) => "ended".to_owned(),
        },
    );
    let text: String = command.text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{} pid {} · {state} · {} · {} bytes · {text}", command.id, command.pid, seconds(command.ran_for()), command.printed())
}

async fn poll(context: &Context, command: &Command, wait_ms: u64) -> Given {
    let stop = context.host.stop();
    tokio::select! {
        _ = command.wait(Duration::from_millis(wait_ms)) => {}
        () = stop.cancelled() => return Given::error("Cancelled."),
    }
    let output = command.fresh_output();
    if command.ended().is_some() {
        return Given { is_error: false, ..ended(command, &output, false) };
    }
    let output = bounded(&output, RESULT_BYTES);
    let body = if output.is_empty() { "(no new output)" } else { output.as_str() };
    Given::text(format!("{body}\n\n[{} still runs, since {}.]", command.id, seconds(command.ran_for())))
}

fn log(command: &Command, offset: Option<usize>, limit: usize) -> Given {
    let output = command.output();
    let total = output.lines().count();
    let first = offset.unwrap_or(total.saturating_sub(limit) + 1).max(1);
    let lines: Vec<&str> = output.lines().skip(first - 1).take(limit).collect();
    let last = first - 1 + lines.len();
    Given::text(format!("{}\n\n[Lines {first} to {last} of {total} that are kept.]", bounded(&lines.join("\n"), RESULT_BYTES)))
}

async fn write(command: &Command, bytes: &[u8], close: bool) -> Given {
    if command.ended().is_some() {
        return Given::error(format!("{} has ended.", command.id));
    }
    let written = if command.is_typed_to && close {
        // Its input ends when the terminal says so, and then goes on.
        command.write(&[bytes, b"\x04"].concat(), false).await
    } else {
        command.write(bytes, close).await
    };
    match written {
        Ok(()) => {
            Given::text(format!("Wrote {} bytes to {}{}.", bytes.len(), command.id, if close { " and closed its input" } else { "" }))
        }
        Err(wrong) => Given::error(wrong),
    }
}

async fn send(command: &Command, keys: &[String]) -> Given {
    if keys.is_empty() {
        return Given::error("send-keys needs keys.");
    }
    if command.is_typed_to {
        let text: String = keys.iter().map(|key| if is_enter(key) { "\r".to_owned() } else { typed(key) }).collect();
        return write(command, text.as_bytes(), false).await;
    }
    // There is no terminal that makes signals and ends of these keys, so we do.
    if keys.iter().any(|key| typed(key) == "\x03") {
        command.stop.cancel();
        return Given::text(format!("{} was told to end.", command.id));
    }
    let close = keys.iter().any(|key| typed(key) == "\x04");
    let text: String = keys.iter().map(|key| typed(key)).filter(|sent| sent != "\x04").collect();
    write(command, text.as_bytes(), close).await
}

/// What a key sends: by its name, else itself.
fn typed(key: &str) -> String {
    if let Some((_, sent)) = KEYS.iter().find(|(name, _)| key.eq_ignore_ascii_case(name)) {
        return (*sent).to_owned();
    }
    let lower = key.to_ascii_lowercase();
    let letter = ["ctrl-", "ctrl+", "c-", "^"].iter().find_map(|prefix| lower.strip_prefix(prefix));
    let control = letter.and_then(|letter| match letter.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(char::from(letter.to_ascii_uppercase() - b'A' + 1)),
        _ => None,
    });
    control.map_or_else(|| key.to_owned(), |control| control.to_string())
}

/// A terminal sends another byte for it than stands at the end of a line.
fn is_enter(key: &str) -> bool {
    ["enter", "return"].iter().any(|name| key.eq_ignore_ascii_case(name))
}

async fn kill(context: &Context, command: &Command) -> Given {
    if command.ended().is_some() {
        command.told_of_its_end();
        return Given::text(format!("{} had ended already.", command.id));
    }
    command.stop.cancel();
    if command.wait(context.commands.ending()).await {
        command.told_of_its_end();
        Given::text(format!("Ended {}.\n{}", command.id, row(command)))
    } else {
        Given::error(format!("{} does not end although it was killed.", command.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_as_a_terminal_would() {
        assert_eq!(["Enter", "C-a", "up", "x", "C-", "ü"].map(typed), ["\n", "\x01", "\x1b[A", "x", "C-", "ü"]);
        assert_eq!(["ctrl-c", "Ctrl+D", "^Z", "c-c", "^", "PageUp"].map(typed), ["\x03", "\x04", "\x1a", "\x03", "^", "\x1b[5~"]);
    }
}

//! `sessions list|show|reset|delete|import`: what conversations there are, and what to do about them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ask};
use super::error::CliError;
use super::output::Output;
use super::table::{columns, duration, plain};
use super::target::{Target, TargetArgs};
use crate::clock;

/// Longest title in the list.
const TITLE: usize = 60;

/// See, reset and delete sessions
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SessionsCommand,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What to do with sessions.
#[derive(Subcommand, Clone, Debug)]
pub enum SessionsCommand {
    /// List sessions, the most recently used first
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Only sessions of this agent
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Only sessions with this in their key, id, label, name or subject
        #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
        search: Option<String>,
        /// Only sessions used within so many minutes
        #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..))]
        active: Option<u32>,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one session: its settings, its counts and the last things that were said
    Show {
        /// The session: its key or the short form, such as `main`
        key: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Start a session's conversation afresh; its runs are aborted, its settings stay
    Reset {
        /// The session
        key: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a session; its runs are aborted, its transcript is renamed
    Delete {
        /// The session
        key: String,
        /// Leave the transcript where it is
        #[arg(long)]
        keep_transcript: bool,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take over the sessions of the original from its sessions.json; the file stays as it is
    Import {
        /// The file, on the gateway's machine
        path: PathBuf,
        /// Whose sessions they are, if the file's place does not say so
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// The gateway cannot be reached or refuses.
pub async fn run(args: SessionsArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    match args.command {
        SessionsCommand::List { limit, agent, search, active, json } => {
            let mut params = json!({"limit": limit, "includeDerivedTitles": true, "includeGlobal": true, "includeUnknown": true});
            for (name, value) in
                [("agentId", agent.map(Value::from)), ("search", search.map(Value::from)), ("activeMinutes", active.map(Value::from))]
            {
                if let (Some(value), Some(params)) = (value, params.as_object_mut()) {
                    params.insert(name.to_owned(), value);
                }
            }
            ask(&target, "sessions.list", &params, json, list, out).await
        }
        SessionsCommand::Show { key, json } => show(&target, &key, json, out).await,
        SessionsCommand::Reset { key, json } => ask(&target, "sessions.reset", &json!({"key": key}), json, was_reset, out).await,
        SessionsCommand::Delete { key, keep_transcript, json } => {
            let params = json!({"key": key, "deleteTranscript": !keep_transcript});
            ask(&target, "sessions.delete", &params, json, was_deleted, out).await
        }
        SessionsCommand::Import { path, agent, json } => {
            let path = std::path::absolute(&path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
            let mut params = json!({"path": path});
            if let (Some(agent), Some(params)) = (agent, params.as_object_mut()) {
                params.insert("agentId".to_owned(), agent.into());
            }
            ask(&target, "sessions.import", &params, json, imported, out).await
        }
    }
}

async fn show(target: &Target, key: &str, as_json: bool, out: &mut Output<'_>) -> Result<u8, CliError> {
    let mut client = Client::connect(target).await?;
    let answer = client.call("sessions.describe", &json!({"key": key})).await?;
    if as_json {
        out.line(&answer.to_string())?;
        return Ok(0);
    }
    let Some(session) = answer.get("session").filter(|session| session.is_object()) else {
        return Err(CliError::Local(format!("no session found: {}", plain(key, 64))));
    };
    let said = client.call("sessions.preview", &json!({"keys": [key], "limit": 6, "maxChars": 160})).await?;
    out.line(&shown(session, said.pointer("/previews/0/items").and_then(Value::as_array).map_or(&[], Vec::as_slice)))?;
    Ok(0)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn age(session: &Value, now: u64) -> String {
    session
        .get("updatedAt")
        .and_then(Value::as_u64)
        .filter(|at| *at > 0)
        .map_or_else(|| "-".to_owned(), |at| duration(now.saturating_sub(at)))
}

fn list(answer: &Value) -> String {
    let now = clock::now_ms();
    let mut rows = vec![["SESSION", "USED", "RUNS", "STATUS", "TITLE"].map(str::to_owned).to_vec()];
    for session in answer.get("sessions").and_then(Value::as_array).into_iter().flatten() {
        let title = ["label", "displayName", "subject", "derivedTitle"].into_iter().find_map(|name| text(session, name));
        rows.push(vec![
            plain(text(session, "key").unwrap_or("-"), 72),
            age(session, now),
            session.get("runCount").and_then(Value::as_u64).unwrap_or(0).to_string(),
            plain(text(session, "lastRunStatus").unwrap_or("-"), 16),
            plain(title.unwrap_or("-"), TITLE),
        ]);
    }
    let shown = rows.len() - 1;
    if shown == 0 {
        return "no sessions".to_owned();
    }
    let total = answer.get("totalCount").and_then(Value::as_u64).unwrap_or(0);
    let more = if total > shown as u64 { format!("\n{shown} of {total}; --limit and --search show others") } else { String::new() };
    columns(&rows) + &more
}

fn shown(session: &Value, said: &[Value]) -> String {
    let field = |name: &str, key: &str| text(session, key).map(|value| vec![name.to_owned(), plain(value, 200)]);
    let number = |name: &str, key: &str| session.get(key).and_then(Value::as_u64).map(|n| vec![name.to_owned(), n.to_string()]);
    let rows = [
        field("session", "key"),
        field("agent", "agentId"),
        field("kind", "kind"),
        field("label", "label"),
        field("name", "displayName"),
        field("title", "derivedTitle"),
        field("conversation", "sessionId"),
        Some(vec!["used".to_owned(), format!("{} ago", age(session, clock::now_ms()))]),
        number("runs", "runCount"),
        field("last run", "lastRunId"),
        field("its status", "lastRunStatus"),
        field("started by", "spawnedBy"),
        field("model", "model"),
        field("thinking", "thinkingLevel"),
        field("verbose", "verboseLevel"),
        field("elevated", "elevatedLevel"),
        field("sending", "sendPolicy"),
        number("tokens", "totalTokens"),
    ];
    let mut lines = columns(&rows.into_iter().flatten().collect::<Vec<_>>());
    for item in said {
        lines.push_str(&format!("\n{:>9}: {}", text(item, "role").unwrap_or("-"), plain(text(item, "text").unwrap_or(""), 160)));
    }
    lines
}

fn was_reset(answer: &Value) -> String {
    let id = answer.pointer("/entry/sessionId").and_then(Value::as_str).unwrap_or("-");
    format!("{} starts afresh as {}", plain(text(answer, "key").unwrap_or("-"), 72), plain(id, 64))
}

fn was_deleted(answer: &Value) -> String {
    let key = plain(text(answer, "key").unwrap_or("-"), 72);
    if answer.get("deleted").and_then(Value::as_bool) != Some(true) {
        return format!("there was no session {key}");
    }
    let kept = answer.pointer("/archived/0").and_then(Value::as_str).map(|path| format!("; its transcript is {}", plain(path, 400)));
    format!("deleted {key}{}", kept.unwrap_or_default())
}

fn imported(answer: &Value) -> String {
    let count = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut lines = vec![format!(
        "took over {} of {} sessions from {}",
        count("imported"),
        count("found"),
        plain(text(answer, "path").unwrap_or("-"), 400)
    )];
    let problems = answer.get("problems").and_then(Value::as_array).into_iter().flatten();
    lines.extend(problems.filter_map(Value::as_str).map(|problem| format!("  {}", plain(problem, 300))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_each_session_by_the_best_name_it_has() {
        let answer = json!({"totalCount": 5, "sessions": [
            {"key": "agent:main:main", "updatedAt": 1, "runCount": 2, "lastRunStatus": "ok", "derivedTitle": "ls\u{1b}[2J"},
            {"key": "agent:main:x", "label": "mine", "derivedTitle": "no"},
        ]});
        let text = list(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("agent:main:main  ") && lines[1].ends_with("2     ok      ls [2J"), "{text}");
        assert!(lines[2].ends_with("mine") && lines[3].starts_with("2 of 5"), "{text}");
        assert_eq!(list(&json!({"sessions": []})), "no sessions");
    }

    #[test]
    fn a_session_is_shown_without_the_rows_it_does_not_have() {
        let said = [json!({"role": "user", "text": "hello\nthere"})];
        let text = shown(&json!({"key": "agent:main:main", "agentId": "main", "kind": "direct", "runCount": 3}), &said);
        assert!(
            text.contains("used") && text.contains("- ago") && text.ends_with("     user: hello there") && !text.contains("label"),
            "{text}"
        );
    }

    #[test]
    fn what_was_done_is_said_in_one_line() {
        assert_eq!(was_deleted(&json!({"key": "k", "deleted": false})), "there was no session k");
        assert_eq!(was_deleted(&json!({"key": "k", "deleted": true, "archived": ["/a"]})), "deleted k; its transcript is /a");
        assert_eq!(was_reset(&json!({"key": "k", "entry": {"sessionId": "s"}})), "k starts afresh as s");
        assert_eq!(
            imported(&json!({"path": "/p", "found": 3, "imported": 2, "problems": ["x"]})),
            "took over 2 of 3 sessions from /p\n  x"
        );
    }
}

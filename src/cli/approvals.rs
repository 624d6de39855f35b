//! `approvals list|show|allow|deny`: commands that wait for a person, and what the person decides.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ask};
use super::error::CliError;
use super::output::Output;
use super::table::{columns, duration, plain};
use super::target::{Target, TargetArgs};
use crate::clock;

/// Length of a full id; a shorter one is the beginning of one.
const FULL_ID: usize = 32;
/// Longest command in the list.
const COMMAND: usize = 60;

/// See and decide which commands may run
#[derive(Args, Clone, Debug)]
pub struct ApprovalsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ApprovalsCommand,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What to do with approvals.
#[derive(Subcommand, Clone, Debug)]
pub enum ApprovalsCommand {
    /// List what waits for a decision, oldest first
    List {
        /// Those that are over too, newest first
        #[arg(long)]
        all: bool,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: exactly what would run, where, for whom, and what became of it
    Show {
        /// The approval, or the beginning of its id while it waits
        id: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Allow a command to run, once and exactly as it is shown
    Allow {
        /// The approval, or the beginning of its id
        id: String,
        /// From now on the same program needs no asking, as far as its arguments are harmless
        #[arg(long)]
        always: bool,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a command
    Deny {
        /// The approval, or the beginning of its id
        id: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The gateway refuses or stays away.
pub async fn run(args: ApprovalsArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    match args.command {
        ApprovalsCommand::List { all, json } => ask(&target, "exec.approval.list", &json!({"all": all}), json, list, out).await,
        ApprovalsCommand::Show { id, json } => {
            let id = full_id(&target, id).await?;
            ask(&target, "exec.approval.get", &json!({"id": id}), json, show, out).await
        }
        ApprovalsCommand::Allow { id, always, json } => {
            let decision = if always { "allow-always" } else { "allow-once" };
            decide(&target, id, decision, json, out).await
        }
        ApprovalsCommand::Deny { id, json } => decide(&target, id, "deny", json, out).await,
    }
}

async fn decide(target: &Target, id: String, decision: &str, as_json: bool, out: &mut Output<'_>) -> Result<u8, CliError> {
    let id = full_id(target, id).await?;
    ask(target, "exec.approval.resolve", &json!({"id": id, "decision": decision}), as_json, resolved, out).await
}

/// The id that begins so among those that wait; a full one as it is.
async fn full_id(target: &Target, id: String) -> Result<String, CliError> {
    if id.len() >= FULL_ID {
        return Ok(id);
    }
    let waiting = Client::connect(target).await?.call("exec.approval.list", &json!({})).await?;
    the_one(&waiting, &id).map_err(CliError::Usage)
}

fn the_one(waiting: &Value, start: &str) -> Result<String, String> {
    let ids = waiting.as_array().into_iter().flatten().filter_map(|row| row.get("id").and_then(Value::as_str));
    let mut found = ids.filter(|id| id.starts_with(start));
    let shown = plain(start, 64);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (Some(_), Some(_)) => Err(format!("several approvals begin with {shown}; give more of the id")),
        (None, _) => Err(format!("no approval that waits begins with {shown}; `approvals list --all` shows those that are over")),
    }
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, path: &str) -> Option<u64> {
    value.pointer(path).and_then(Value::as_u64)
}

fn list(answer: &Value) -> String {
    let now = clock::now_ms();
    let mut rows = vec![["APPROVAL", "STATE", "LEFT", "ASKED BY", "AGENT", "COMMAND"].map(str::to_owned).to_vec()];
    for row in answer.as_array().into_iter().flatten() {
        let waits = text(row, "/state") == "pending";
        let left = number(row, "/expiresAtMs").filter(|_| waits).map(|at| duration(at.saturating_sub(now)));
        rows.push(vec![
            plain(text(row, "/id"), 64),
            plain(text(row, "/state"), 16),
            left.unwrap_or_else(|| "-".to_owned()),
            plain(text(row, "/requester/principal"), 40),
            plain(text(row, "/request/agentId"), 24),
            plain(text(row, "/request/command"), COMMAND),
        ]);
    }
    if rows.len() == 1 {
        return "nothing waits for a decision".to_owned();
    }
    columns(&rows)
}

fn show(approval: &Value) -> String {
    let field = |path: &str| approval.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let now = clock::now_ms();
    let left = number(approval, "/expiresAtMs").filter(|_| text(approval, "/state") == "pending");
    let votes: Vec<String> = approval
        .pointer("/votes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|vote| format!("{} {}", text(vote, "/by/principal"), text(vote, "/decision")))
        .collect();
    let needed = number(approval, "/needed").unwrap_or(1);
    let rows = [
        ("approval", field("/id")),
        ("state", field("/state")),
        ("why", field("/reason")),
        ("waits for", left.map(|at| duration(at.saturating_sub(now)))),
        ("run", field("/runId")),
        ("session", field("/request/sessionKey")),
        ("agent", field("/request/agentId")),
        ("asked by", field("/requester/principal")),
        ("needs", (needed > 1).then(|| format!("{needed} approvers"))),
        ("votes", (!votes.is_empty()).then(|| votes.join(", "))),
        ("digest", field("/digest")),
    ];
    let rows: Vec<_> = rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), plain(&value?, 200)])).collect();
    // The prompt has lines of its own, and nothing else in it that a terminal acts on.
    let prompt: Vec<String> = text(approval, "/prompt").lines().map(|line| format!("  {}", plain(line, 4096))).collect();
    format!("{}\n\n{}", columns(&rows), prompt.join("\n"))
}

fn resolved(answer: &Value) -> String {
    let id = plain(text(answer, "/id"), 64);
    match (text(answer, "/state"), number(answer, "/missing").unwrap_or(0)) {
        ("pending", missing) => format!("{id}: counted; {missing} more must allow it"),
        (state, _) => format!("{id}: {}", plain(state, 16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_shortened_as_long_as_it_means_one() {
        let waiting = json!([{"id": "3f00"}, {"id": "3f11"}, {"id": "aa00"}]);
        assert_eq!(the_one(&waiting, "aa").as_deref(), Ok("aa00"));
        assert!(the_one(&waiting, "3f").unwrap_err().contains("several"));
        assert!(the_one(&waiting, "b").unwrap_err().contains("no approval"));
    }

    #[test]
    fn m72_what_is_shown_cannot_move_the_cursor() {
        let approval = json!({"id": "3f", "state": "pending", "prompt": "ls\u{1b}[2J\nin /w", "votes": [], "expiresAtMs": 1});
        let text = show(&approval);
        assert!(text.ends_with("  ls [2J\n  in /w") && !text.contains('\u{1b}'), "{text:?}");
        assert_eq!(list(&json!([])), "nothing waits for a decision");
        assert!(list(&json!([approval])).contains("pending"));
    }

    #[test]
    fn a_vote_that_is_not_the_last_says_how_many_are_missing() {
        assert_eq!(resolved(&json!({"id": "a", "state": "pending", "missing": 2})), "a: counted; 2 more must allow it");
        assert_eq!(resolved(&json!({"id": "a", "state": "denied", "missing": 0})), "a: denied");
    }
}

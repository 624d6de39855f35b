//! `runs list|show|follow|abort`: what ran, what runs, and what to do about it.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::ask;
use super::error::CliError;
use super::interrupt::Interrupts;
use super::output::Output;
use super::table::{bytes, columns, duration, plain};
use super::target::{Target, TargetArgs};
use super::watch::{Watch, conclude};
use crate::clock;

/// Longest title in the list.
const TITLE: usize = 60;

/// See, follow and abort runs
#[derive(Args, Clone, Debug)]
pub struct RunsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RunsCommand,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What to do with runs.
#[derive(Subcommand, Clone, Debug)]
pub enum RunsCommand {
    /// List runs, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Only runs of this session
        #[arg(long, value_name = "KEY")]
        session: Option<String>,
        /// Only runs in this status: accepted, queued, running, ok, error, aborted, timeout or interrupted
        #[arg(long)]
        status: Option<String>,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one run: where it stands and how it ended
    Show {
        /// The run, as `runs list` names it
        run_id: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a run's output from its beginning and go on live; exits as the run does
    Follow {
        /// The run
        run_id: String,
        /// Begin behind the event with this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
        /// Print events as lines of JSON
        #[arg(long)]
        json: bool,
    },
    /// End a run: its processes get TERM, and KILL after a grace period
    Abort {
        /// The run
        run_id: String,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The gateway refuses or stays away.
pub async fn run(args: RunsArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    match args.command {
        RunsCommand::List { limit, session, status, json } => {
            let params = json!(ListParams { limit, session_key: session, status });
            ask(&target, "runs.list", &params, json, list, out).await
        }
        RunsCommand::Show { run_id, json } => ask(&target, "runs.get", &json!({"runId": run_id}), json, show, out).await,
        RunsCommand::Abort { run_id, json } => ask(&target, "runs.abort", &json!({"runId": run_id}), json, aborted, out).await,
        RunsCommand::Follow { run_id, after, json } => follow(&target, run_id, after, json, out).await,
    }
}

/// Parameters of the method `runs.list`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListParams {
    limit: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
}

/// Ctrl-C only leaves here: who watches a run does not own it.
async fn follow(target: &Target, run_id: String, after: u64, as_json: bool, out: &mut Output<'_>) -> Result<u8, CliError> {
    let (_never, mut nobody) = Interrupts::channel();
    let mut pressed = Interrupts::take().map_err(|error| CliError::Local(format!("cannot take Ctrl-C: {error}")))?;
    let mut watch = Watch::known(target, run_id.clone(), after, as_json, out, &mut nobody);
    let outcome = tokio::select! {
        outcome = watch.to_end() => outcome?,
        () = pressed.next() => return Err(CliError::Interrupted),
    };
    Ok(conclude(out, Some(&run_id), &outcome))
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, path: &str) -> Option<u64> {
    value.pointer(path).and_then(Value::as_u64)
}

fn list(answer: &Value) -> String {
    let now = clock::now_ms();
    let mut rows = vec![["RUN", "STATUS", "AGE", "TOOK", "SESSION", "TITLE"].map(str::to_owned).to_vec()];
    for run in answer.get("runs").and_then(Value::as_array).into_iter().flatten() {
        let age = number(run, "/acceptedAt").map_or_else(|| "-".to_owned(), |at| duration(now.saturating_sub(at)));
        let took = number(run, "/outcome/durationMs").map_or_else(|| "-".to_owned(), duration);
        rows.push(vec![
            plain(text(run, "/runId"), 64),
            plain(text(run, "/status"), 16),
            age,
            took,
            plain(text(run, "/sessionKey"), 40),
            plain(text(run, "/title"), TITLE),
        ]);
    }
    if rows.len() == 1 {
        return "no runs".to_owned();
    }
    columns(&rows)
}

fn show(run: &Value) -> String {
    let time = |path: &str| number(run, path).map(moment);
    let rows: [(&str, Option<String>); 15] = [
        ("run", Some(text(run, "/runId").to_owned())),
        ("status", Some(text(run, "/status").to_owned())),
        ("title", Some(text(run, "/title").to_owned())),
        ("agent", Some(text(run, "/agentId").to_owned())),
        ("session", Some(text(run, "/sessionKey").to_owned())),
        ("place in queue", number(run, "/position").map(|n| n.to_string())),
        ("waits for approval", run.pointer("/approval/id").and_then(Value::as_str).map(str::to_owned)),
        ("accepted", time("/acceptedAt")),
        ("started", time("/startedAt")),
        ("ended", time("/outcome/endedAt")),
        ("took", number(run, "/outcome/durationMs").map(duration)),
        ("summary", run.pointer("/outcome/summary").and_then(Value::as_str).map(str::to_owned)),
        ("output", number(run, "/outcome/stdoutBytes").map(|n| bytes(n + number(run, "/outcome/stderrBytes").unwrap_or(0)))),
        ("cpu time", number(run, "/outcome/cpuMs").map(duration)),
        ("peak memory", number(run, "/outcome/peakRssBytes").map(bytes)),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), plain(&value?, 200)]));
    columns(&rows.collect::<Vec<_>>())
}

fn aborted(answer: &Value) -> String {
    let (run_id, status) = (plain(text(answer, "/runId"), 64), plain(text(answer, "/status"), 16));
    if answer.get("aborted").and_then(Value::as_bool) == Some(true) {
        return format!("aborting {run_id}");
    }
    format!("{run_id} is over already ({status})")
}

/// A time as ISO 8601, UTC, to the second.
fn moment(ms: u64) -> String {
    let stamp = i64::try_from(ms / 1000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    stamp.map_or_else(|| "-".to_owned(), |stamp| stamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_row_for_each_run_and_survives_missing_keys() {
        let answer = json!({"runs": [
            {"runId": "r1", "status": "ok", "sessionKey": "agent:main:main", "title": "ls\u{1b}[2J", "acceptedAt": 1, "outcome": {"durationMs": 1500}},
            {"runId": "r2"},
        ]});
        let text = list(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("r1   ok") && lines[1].contains("1.5 s") && lines[1].ends_with("ls [2J"), "{text}");
        assert_eq!(list(&json!({"runs": []})), "no runs");
    }

    #[test]
    fn a_run_is_shown_without_the_rows_it_does_not_have() {
        let text = show(
            &json!({"runId": "r1", "status": "queued", "title": "t", "agentId": "main", "sessionKey": "k", "acceptedAt": 1_795_132_800_000_u64, "position": 2}),
        );
        assert!(text.contains("place in queue  2") && text.contains("2026-11-20T"), "{text}");
        assert!(!text.contains("ended"), "{text}");
    }
}

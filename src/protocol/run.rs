//! A run as clients see it: its states, its outcome, its listing row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approval::AwaitedApproval;
use super::ids::{AgentId, RunId, SessionKey};
use super::isolation::{Level, LimitsApplied};
use super::run_meta::RunMeta;
use super::usage::TokenUsage;

/// Where a run stands. `accepted` → `queued` → `running` → one of the five ends, and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// On disk, not yet given a place.
    Accepted,
    /// Waiting for its session or for a permit.
    Queued,
    /// Its shim is at work.
    Running,
    /// Ended well.
    Ok,
    /// Ended with a failure: a non-zero exit, a signal of its own, or it could not start.
    Error,
    /// Ended because somebody asked.
    Aborted,
    /// Ended by its time limit.
    Timeout,
    /// Its shim or the machine died; what it did until then is unknown, and it is never run again.
    Interrupted,
}

impl RunStatus {
    /// Every status, in order of life.
    pub const ALL: [Self; 8] =
        [Self::Accepted, Self::Queued, Self::Running, Self::Ok, Self::Error, Self::Aborted, Self::Timeout, Self::Interrupted];

    /// Whether the run is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Accepted | Self::Queued | Self::Running)
    }

    /// The wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Aborted => "aborted",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }

    /// The status of this wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// Why a run that did not run to its own end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunErrorCode {
    /// The time limit.
    AgentTimeout,
    /// The runner, its program or its host process is not there, or was lost.
    Unavailable,
    /// The exec policy refused.
    ExecDenied,
}

/// Why the exec policy did not let a command run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denied {
    /// What kind of refusal it is.
    pub code: DeniedCode,
    /// The rule that was broken, one word in capitals such as `EXPANSION`.
    pub token: String,
    /// One line that a person understands.
    pub reason: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeniedCode {
    /// The rules do not permit the command.
    ExecDenied,
    /// A person would have to allow it, and there is nobody to ask.
    ApprovalNoApprover,
    /// It was allowed, and since then something that was allowed has changed.
    ApprovalStale,
}

impl Denied {
    /// A refusal by the rules.
    #[must_use]
    pub fn by_rule(token: &str, reason: impl Into<String>) -> Self {
        Self { code: DeniedCode::ExecDenied, token: token.to_owned(), reason: reason.into() }
    }
}

/// How a run ended: the payload of its final response, and the `data` of its terminal event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// One of the five ends.
    pub status: RunStatus,
    /// One line that a person understands.
    pub summary: String,
    /// Set when the run did not run to its own end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<RunErrorCode>,
    /// Set with the code `EXEC_DENIED`: which rule refused the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denied>,
    /// Exit code of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Name of the signal that ended the command, such as `SIGKILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why it was aborted: `rpc` (a client), `stop` (the operator), …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// When the work started, ms since the epoch; absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it ended, ms since the epoch.
    pub ended_at: u64,
    /// Monotonic duration of the work in ms.
    pub duration_ms: u64,
    /// Bytes the command wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes the command wrote to stderr.
    pub stderr_bytes: u64,
    /// Bytes of output that are not in the journal.
    pub dropped_bytes: u64,
    /// Whether output was dropped.
    pub truncated: bool,
    /// User and system CPU time of the run's processes in ms.
    pub cpu_ms: u64,
    /// Largest resident set of one of the run's processes in bytes.
    pub peak_rss_bytes: u64,
    /// A process outside the command still held its output open when the run was ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pipes_held_open: bool,
    /// How many left-over processes were killed at the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub swept: u32,
    /// How far its commands were shut in; absent = not at all.
    #[serde(default, skip_serializing_if = "Level::is_off")]
    pub sandbox: Level,
    /// Which limits it had; absent = none were configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsApplied>,
    /// The kernel ended processes of the run because it used more memory than it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// The run whose turn answered this one too; how that one ended is how this one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<RunId>,
    /// For `interrupted`: whether the work may have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_have_run: Option<bool>,
    /// Why it failed, as a word for programs, such as `MODEL_AUTH` or `RESOURCE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What its models used; absent if it asked none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// What its agent said last. Empty for a run whose message was a command: its output stands in the events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payloads: Vec<Said>,
    /// How its turn went, as other servers of the protocol tell it. Absent in the terminal event, and if there was no turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<RunMeta>,
}

/// An answer of an agent, as far as it is repeated in the outcome of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Said {
    /// Its words, at most 64 KiB of them.
    pub text: String,
    /// The words go on in the transcript.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Said {
    /// Longest text, bytes.
    const MOST: usize = 64 << 10;

    /// The payloads of an answer: one, or none for an answer without a word.
    #[must_use]
    pub fn of(text: &str) -> Vec<Self> {
        let kept = text.get(..text.floor_char_boundary(Self::MOST)).unwrap_or(text);
        if kept.trim().is_empty() { Vec::new() } else { vec![Self { text: kept.to_owned(), truncated: kept.len() < text.len() }] }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde calls")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Outcome {
    /// An outcome with counters at zero, for ends in which nothing ran.
    #[must_use]
    pub fn without_work(status: RunStatus, code: Option<RunErrorCode>, summary: impl Into<String>, now_ms: u64) -> Self {
        Self {
            status,
            summary: summary.into(),
            code,
            denied: None,
            exit_code: None,
            signal: None,
            stop_reason: None,
            started_at: None,
            ended_at: now_ms,
            duration_ms: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_bytes: 0,
            truncated: false,
            cpu_ms: 0,
            peak_rss_bytes: 0,
            pipes_held_open: false,
            swept: 0,
            sandbox: Level::Off,
            limits: None,
            oom_killed: false,
            merged_into: None,
            may_have_run: None,
            fault: None,
            usage: None,
            payloads: Vec::new(),
            meta: None,
        }
    }

    /// Whether the final response is `ok: true`: the request was served, or somebody asked for its end.
    #[must_use]
    pub fn served(&self) -> bool {
        self.code.is_none() && matches!(self.status, RunStatus::Ok | RunStatus::Error | RunStatus::Aborted)
    }
}

/// One run in `runs.list` and `runs.get`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Where it stands.
    pub status: RunStatus,
    /// First line of the message, at most 120 characters.
    pub title: String,
    /// When it was accepted, ms since the epoch.
    pub accepted_at: u64,
    /// When its work started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// Place in the queue, 1 = next, while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The approval that it waits for, before its command may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<AwaitedApproval>,
    /// The run whose turn answers this one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<RunId>,
    /// Highest `seq` in its journal.
    pub head: u64,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

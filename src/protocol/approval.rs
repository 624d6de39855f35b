//! An approval as clients see it: a person's leave for one exact command, asked for, given or refused, and used once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{AgentId, RunId, SessionKey};

/// Where an approval stands. `pending` leads to one of the next five; only an allowed one leads to `used` or `stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Nobody has decided yet, or not enough have.
    Pending,
    /// Allowed, for this one time.
    AllowedOnce,
    /// Allowed, and an entry for the time to come was written.
    AllowedAlways,
    /// Refused.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// What asked for it is gone: its run was aborted, or the gateway was restarted.
    Cancelled,
    /// Allowed, and what it was for has started.
    Used,
    /// Allowed, but what was to start was no longer what was shown; nothing ran.
    Stale,
}

impl ApprovalState {
    /// Every state, in order of life.
    pub const ALL: [Self; 8] =
        [Self::Pending, Self::AllowedOnce, Self::AllowedAlways, Self::Denied, Self::Expired, Self::Cancelled, Self::Used, Self::Stale];

    /// The wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AllowedOnce => "allowed-once",
            Self::AllowedAlways => "allowed-always",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Used => "used",
            Self::Stale => "stale",
        }
    }

    /// The state of this wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it was allowed and is not used yet.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::AllowedOnce | Self::AllowedAlways)
    }
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// This one time.
    AllowOnce,
    /// Now, and from now on without asking.
    AllowAlways,
    /// No.
    Deny,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::AllowOnce, Self::AllowAlways, Self::Deny];

    /// The wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow-once",
            Self::AllowAlways => "allow-always",
            Self::Deny => "deny",
        }
    }

    /// The decision of this wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.name() == name)
    }
}

/// What is to be run, in the form that existing clients show. Every text is escaped: control and format characters stand as `\u{…}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// The command, at most 4 KiB; of a longer one the beginning and the end.
    pub command: String,
    /// Where it runs.
    pub cwd: Option<String>,
    /// On which host: `gateway`.
    pub host: Option<String>,
    /// The rule for commands: `deny`, `allowlist` or `full`.
    pub security: Option<String>,
    /// When a person is asked: `off`, `on-miss` or `always`.
    pub ask: Option<String>,
    /// The agent.
    pub agent_id: Option<AgentId>,
    /// The program that runs, as far as it is known.
    pub resolved_path: Option<String>,
    /// The session.
    pub session_key: Option<SessionKey>,
}

/// Who asked or decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// Whose credential it was.
    pub principal: String,
    /// The connection; absent when it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn_id: Option<String>,
}

/// One vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vote {
    /// Who.
    pub by: Party,
    /// What.
    pub decision: Decision,
    /// When, ms since the epoch.
    pub ts: u64,
}

/// One approval with everything that is known of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// What is to be run.
    pub request: ApprovalRequest,
    /// What a person is shown, escaped, at most 4 KiB.
    pub prompt: String,
    /// SHA-256 of everything that the approval is bound to, hexadecimal.
    pub digest: String,
    /// What may be decided.
    pub allowed_decisions: Vec<Decision>,
    /// The run that waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Who asked. Nobody approves what they asked for themselves.
    pub requester: Party,
    /// How many different approvers must allow it.
    pub needed: u32,
    /// The votes so far.
    pub votes: Vec<Vote>,
    /// When it was asked for, ms since the epoch.
    pub created_at_ms: u64,
    /// Until when it waits, ms since the epoch.
    pub expires_at_ms: u64,
    /// When it left `pending`, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at_ms: Option<u64>,
    /// Whose decision it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// Why it was cancelled or went stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The approval that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwaitedApproval {
    /// Its id.
    pub id: String,
    /// Until when it waits, ms since the epoch.
    pub expires_at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes_and_are_read_back() {
        for state in ApprovalState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(ApprovalState::parse(state.name()), Some(state));
        }
        for decision in Decision::ALL {
            assert_eq!(serde_json::to_value(decision).unwrap(), decision.name());
            assert_eq!(Decision::parse(decision.name()), Some(decision));
        }
        assert_eq!(Decision::parse("allow"), None);
    }
}

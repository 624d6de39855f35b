//! `meta` of an outcome: the facts of a run under the names by which clients of other servers of the protocol look for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Outcome, RunStatus};
use super::usage::TokenUsage;

/// How a turn went. What stands elsewhere in the outcome is the same there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunMeta {
    /// Monotonic duration of the work in ms.
    pub duration_ms: u64,
    /// Who answered.
    pub agent_meta: AgentMeta,
    /// It was ended before its own end: by somebody, or by its time limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// Why it failed; only if the model or its program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MetaError>,
    /// Why the model stopped last, such as `stop`, `length`, `refusal`, `error` or `aborted`; absent if none spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

/// Who answered a turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentMeta {
    /// The conversation that the turn belongs to; absent if that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The provider of the model that answered last; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// That model, as its provider knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What all requests used; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<MetaUsage>,
}

/// Tokens of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetaUsage {
    /// Tokens read, without those from the cache.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens read from the cache.
    pub cache_read: u64,
    /// Tokens written to the cache.
    pub cache_write: u64,
    /// All of them.
    pub total: u64,
}

impl From<TokenUsage> for MetaUsage {
    fn from(usage: TokenUsage) -> Self {
        let total = usage.total();
        let TokenUsage { input, output, cache_read, cache_write, cost: _ } = usage;
        Self { input, output, cache_read, cache_write, total }
    }
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetaError {
    /// `context_overflow`, or the outcome's `fault` in small letters, such as `model_auth`.
    pub kind: String,
    /// One line that a person understands.
    pub message: String,
}

impl RunMeta {
    /// What this outcome says of it; who answered is for others to say. None if there was no turn.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        outcome.started_at?;
        let kind = |fault: &str| if fault == "MODEL_CONTEXT_LENGTH" { "context_overflow".to_owned() } else { fault.to_lowercase() };
        let error = outcome.fault.as_deref().map(|fault| MetaError { kind: kind(fault), message: outcome.summary.clone() });
        Some(Self {
            duration_ms: outcome.duration_ms,
            agent_meta: AgentMeta { usage: outcome.usage.map(MetaUsage::from), ..AgentMeta::default() },
            aborted: matches!(outcome.status, RunStatus::Aborted | RunStatus::Timeout | RunStatus::Interrupted),
            error,
            stop_reason: None,
        })
    }

    /// The same with the conversation and with who answered: provider, model, and why it stopped.
    #[must_use]
    pub fn with(mut self, session_id: Option<String>, by: (Option<String>, Option<String>, Option<String>)) -> Self {
        let agent = &mut self.agent_meta;
        agent.session_id = session_id;
        (agent.provider, agent.model, self.stop_reason) = by;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::RunErrorCode;

    #[test]
    fn the_meta_of_an_outcome_repeats_its_facts_and_a_run_without_a_turn_has_none() {
        let waited = Outcome::without_work(RunStatus::Aborted, None, "aborted before it started", 9);
        assert_eq!(RunMeta::of(&waited), None);
        let mut outcome = Outcome { started_at: Some(2), duration_ms: 7, ..waited };
        outcome.usage = Some(TokenUsage { input: 1, output: 2, cache_read: 3, cache_write: 4, cost: None });
        let meta = RunMeta::of(&outcome).unwrap();
        assert_eq!((meta.duration_ms, meta.aborted, meta.agent_meta.usage.unwrap().total), (7, true, 10));
        let failed = |fault: &str| {
            let code = Some(RunErrorCode::Unavailable);
            let outcome = Outcome::without_work(RunStatus::Error, code, "why", 9);
            let meta = RunMeta::of(&Outcome { started_at: Some(2), fault: Some(fault.to_owned()), ..outcome }).unwrap();
            (meta.aborted, meta.error.unwrap().kind)
        };
        assert_eq!(failed("MODEL_CONTEXT_LENGTH"), (false, "context_overflow".to_owned()));
        assert_eq!(failed("MODEL_AUTH"), (false, "model_auth".to_owned()));
    }
}

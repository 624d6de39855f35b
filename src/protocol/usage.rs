//! What was used: tokens and their cost, and what runs used of the machine.

use schemars::JsonSchema;
use serde::Serialize;

/// Sums. Tokens and costs are those that runs report; a run of the shell runner has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageTotals {
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
    /// Tokens read from a provider's cache.
    pub cache_read: u64,
    /// Tokens written to it.
    pub cache_write: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// All cost.
    pub total_cost: f64,
    /// Cost of prompts.
    pub input_cost: f64,
    /// Cost of answers.
    pub output_cost: f64,
    /// Cost of reading the cache.
    pub cache_read_cost: f64,
    /// Cost of writing it.
    pub cache_write_cost: f64,
    /// Answers whose cost is not known.
    pub missing_cost_entries: u64,
    /// Runs that ended.
    pub runs: u64,
    /// Those of them that did not end well.
    pub failed_runs: u64,
    /// How long they worked, ms.
    pub duration_ms: u64,
    /// Processor time that they used, ms.
    pub cpu_ms: u64,
    /// Bytes that they printed.
    pub output_bytes: u64,
}

/// One day.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct UsageDay {
    /// The day by the clock of the machine, `YYYY-MM-DD`.
    pub date: String,
    /// What was used on it.
    #[serde(flatten)]
    pub totals: UsageTotals,
}

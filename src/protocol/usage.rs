//! What was used: tokens and their cost, and what runs used of the machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Runs whose models have no known price.
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

/// What one request to a model, or several together, used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenUsage {
    /// Tokens read, without those from the cache.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens read from the cache.
    pub cache_read: u64,
    /// Tokens written to the cache.
    pub cache_write: u64,
    /// What they cost; absent if the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<TokenCost>,
}

/// A cost in dollars, by kind of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenCost {
    /// Of what was read.
    pub input: f64,
    /// Of what was written.
    pub output: f64,
    /// Of reading the cache.
    pub cache_read: f64,
    /// Of writing it.
    pub cache_write: f64,
    /// All of it.
    pub total: f64,
}

impl TokenUsage {
    /// All tokens.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write
    }

    /// Tokens of the conversation as the model was asked about it.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }

    /// What of this is not in `part`; none if nothing is.
    #[must_use]
    pub fn beyond(&self, part: &Self) -> Option<Self> {
        let left = |all: f64, part: f64| (all - part).max(0.0);
        let cost = self.cost.map(|all| {
            let part = part.cost.unwrap_or_default();
            TokenCost {
                input: left(all.input, part.input),
                output: left(all.output, part.output),
                cache_read: left(all.cache_read, part.cache_read),
                cache_write: left(all.cache_write, part.cache_write),
                total: left(all.total, part.total),
            }
        });
        let rest = Self {
            input: self.input.saturating_sub(part.input),
            output: self.output.saturating_sub(part.output),
            cache_read: self.cache_read.saturating_sub(part.cache_read),
            cache_write: self.cache_write.saturating_sub(part.cache_write),
            cost: cost.filter(|cost| cost.total > 0.0 || part.cost.is_none()),
        };
        (rest.total() > 0 || rest.cost.is_some()).then_some(rest)
    }

    /// Adds another request's.
    pub fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.cost = match (self.cost, other.cost) {
            (Some(mut sum), Some(more)) => {
                sum.input += more.input;
                sum.output += more.output;
                sum.cache_read += more.cache_read;
                sum.cache_write += more.cache_write;
                sum.total += more.total;
                Some(sum)
            }
            (one, other) => one.or(other),
        };
    }
}

//! What a turn has used, and what it still may.

use std::time::Duration;

use tokio::time::Instant;

use super::host::Budget;
use super::spec::{Budgets, Price};
use crate::model::Usage;

/// The account of a turn.
#[derive(Debug)]
pub(super) struct Ledger {
    budgets: Budgets,
    price: Price,
    started: Instant,
    /// All requests together.
    pub usage: Usage,
    /// Dollars.
    pub cost: f64,
    /// Requests.
    pub turns: u32,
}

impl Ledger {
    /// An account on which nothing stands yet.
    pub fn new(budgets: Budgets, price: Price) -> Self {
        Self { budgets, price, started: Instant::now(), usage: Usage::default(), cost: 0.0, turns: 0 }
    }

    /// Writes a request down; returns what it cost.
    pub fn add(&mut self, usage: Usage) -> f64 {
        let cost = cost(usage, self.price);
        self.turns = self.turns.saturating_add(1);
        self.cost += cost;
        let total = &mut self.usage;
        total.input = total.input.saturating_add(usage.input);
        total.output = total.output.saturating_add(usage.output);
        total.cache_read = total.cache_read.saturating_add(usage.cache_read);
        total.cache_write = total.cache_write.saturating_add(usage.cache_write);
        cost
    }

    /// The first budget that is used up, with what to say of it.
    pub fn exceeded(&self) -> Option<(Budget, String)> {
        let budgets = &self.budgets;
        if self.turns >= budgets.turns {
            return Some((Budget::Turns, format!("stopped after {} requests to the model, which is the limit of a turn", self.turns)));
        }
        let tokens = all(self.usage);
        if let Some(limit) = budgets.tokens.filter(|limit| tokens >= *limit) {
            return Some((Budget::Tokens, format!("stopped: {tokens} of {limit} tokens are used")));
        }
        if let Some(limit) = budgets.cost.filter(|limit| self.cost >= *limit) {
            return Some((Budget::Cost, format!("stopped: ${:.4} of ${limit:.4} are spent", self.cost)));
        }
        if let Some(limit) = budgets.ms.filter(|limit| self.started.elapsed() >= Duration::from_millis(*limit)) {
            return Some((Budget::Time, format!("stopped: the {} s of a turn are over", limit / 1000)));
        }
        None
    }
}

/// All tokens of a request, whatever they cost.
pub(super) fn all(usage: Usage) -> u64 {
    usage.input.saturating_add(usage.output).saturating_add(usage.cache_read).saturating_add(usage.cache_write)
}

/// What a request cost, dollars.
fn cost(usage: Usage, price: Price) -> f64 {
    let part = |tokens: u64, price: f64| tokens as f64 * price / 1_000_000.0;
    part(usage.input, price.input)
        + part(usage.output, price.output)
        + part(usage.cache_read, price.cache_read)
        + part(usage.cache_write, price.cache_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_budget_ends_the_turn_when_it_is_used_up() {
        let usage = Usage { input: 10, output: 20, cache_read: 30, cache_write: 40 };
        let price = Price { input: 1.0, output: 2.0, cache_read: 3.0, cache_write: 4.0 };
        let budgets = Budgets { turns: 2, ..Budgets::default() };
        let after = |budgets: Budgets, requests: u32| {
            let mut ledger = Ledger::new(budgets, price);
            for _ in 0..requests {
                assert!((ledger.add(usage) - 0.0003).abs() < 1e-9);
            }
            ledger.exceeded().map(|(budget, _)| budget)
        };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Turns)));
        let budgets = Budgets { tokens: Some(200), ..Budgets::default() };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Tokens)));
        let budgets = Budgets { cost: Some(0.0005), ..Budgets::default() };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Cost)));
        let ledger = Ledger::new(Budgets { ms: Some(1000), ..Budgets::default() }, price);
        assert_eq!(ledger.exceeded(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ledger.exceeded().map(|(budget, _)| budget), Some(Budget::Time));
    }
}

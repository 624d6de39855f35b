//! What a turn has used, and what it still may.

use std::time::Duration;

use tokio::time::Instant;

use super::host::{Budget, Spent};
use super::spec::{Budgets, Price};
use crate::model::Usage;

/// The account of a turn.
#[derive(Debug)]
pub(super) struct Ledger {
    budgets: Budgets,
    started: Instant,
    /// All requests together.
    pub usage: Usage,
    /// What they cost.
    pub spent: Spent,
    /// Requests.
    pub turns: u32,
}

impl Ledger {
    /// An account on which nothing stands yet.
    pub fn new(budgets: Budgets) -> Self {
        Self { budgets, started: Instant::now(), usage: Usage::default(), spent: Spent::default(), turns: 0 }
    }

    /// Writes a request down, at the price of who answered it; returns what it cost.
    pub fn add(&mut self, usage: Usage, price: Price) -> Spent {
        let spent = Spent::of(usage, price);
        self.turns = self.turns.saturating_add(1);
        self.spent.add(spent);
        let total = &mut self.usage;
        total.input = total.input.saturating_add(usage.input);
        total.output = total.output.saturating_add(usage.output);
        total.cache_read = total.cache_read.saturating_add(usage.cache_read);
        total.cache_write = total.cache_write.saturating_add(usage.cache_write);
        spent
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
        if let Some(limit) = budgets.cost.filter(|limit| self.spent.total() >= *limit) {
            return Some((Budget::Cost, format!("stopped: ${:.4} of ${limit:.4} are spent", self.spent.total())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_budget_ends_the_turn_when_it_is_used_up() {
        let usage = Usage { input: 10, output: 20, cache_read: 30, cache_write: 40 };
        let price = Price { input: 1.0, output: 2.0, cache_read: 3.0, cache_write: 4.0 };
        let budgets = Budgets { turns: 2, ..Budgets::default() };
        let after = |budgets: Budgets, requests: u32| {
            let mut ledger = Ledger::new(budgets);
            for _ in 0..requests {
                assert!((ledger.add(usage, price).total() - 0.0003).abs() < 1e-9);
            }
            ledger.exceeded().map(|(budget, _)| budget)
        };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Turns)));
        let budgets = Budgets { tokens: Some(200), ..Budgets::default() };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Tokens)));
        let budgets = Budgets { cost: Some(0.0005), ..Budgets::default() };
        assert_eq!((after(budgets, 1), after(budgets, 2)), (None, Some(Budget::Cost)));
        let ledger = Ledger::new(Budgets { ms: Some(1000), ..Budgets::default() });
        assert_eq!(ledger.exceeded(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ledger.exceeded().map(|(budget, _)| budget), Some(Budget::Time));
    }
}

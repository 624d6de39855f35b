//! The line that a session may have below each answer (`responseUsage`, the command `/usage`): what the turn used.

use std::fmt::Write as _;

use crate::protocol::run::Outcome;

/// The line for a session whose setting this is, `tokens` or `full`. None if it wants none, or no model was asked.
///
/// It belongs to the event that shows an answer and not to the conversation, so no model ever reads it.
#[must_use]
pub fn usage_line(setting: &str, outcome: &Outcome) -> Option<String> {
    let full = match setting {
        "tokens" | "on" => false,
        "full" => true,
        _ => return None,
    };
    let usage = outcome.usage?;
    let mut line = format!("Usage: {} tokens read, {} written", usage.input, usage.output);
    if full {
        let seconds = outcome.duration_ms as f64 / 1000.0;
        let price = usage.cost.map_or_else(|| "price not known".to_owned(), |cost| format!("${:.4}", cost.total));
        // Writing into a text cannot fail.
        let _ = write!(line, "; {} from the cache, {} to it; {price}; {seconds:.1} s", usage.cache_read, usage.cache_write);
    }
    Some(line + ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::RunStatus;
    use crate::protocol::usage::{TokenCost, TokenUsage};

    #[test]
    fn a_setting_tells_how_much_the_line_says() {
        let cost = TokenCost { total: 0.012_34, ..TokenCost::default() };
        let usage = TokenUsage { input: 1200, output: 340, cache_read: 5000, cache_write: 7, cost: Some(cost) };
        let outcome = Outcome { usage: Some(usage), duration_ms: 2345, ..Outcome::without_work(RunStatus::Ok, None, "done", 1) };
        assert_eq!(usage_line("tokens", &outcome).unwrap(), "Usage: 1200 tokens read, 340 written.");
        let full = "Usage: 1200 tokens read, 340 written; 5000 from the cache, 7 to it; $0.0123; 2.3 s.";
        assert_eq!(usage_line("full", &outcome).unwrap(), full);
        let unpriced = Outcome { usage: Some(TokenUsage { cost: None, ..usage }), ..outcome.clone() };
        assert!(usage_line("full", &unpriced).unwrap().contains("price not known"));
        assert_eq!(usage_line("off", &outcome), None);
        assert_eq!(usage_line("full", &Outcome { usage: None, ..outcome }), None);
    }
}

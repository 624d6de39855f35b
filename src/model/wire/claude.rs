//! How Claude is told to think, which is the same at Anthropic and at Bedrock.
//!
//! Claude 4.6 and later decide themselves how much they think and take an effort; later ones refuse the older way, a budget of tokens. Earlier ones know only the budget.

use serde::Serialize;

use super::max_tokens;
use crate::model::endpoint::Endpoint;
use crate::model::{Block, Request, Role, Thinking};

/// Least budget that is accepted, in tokens.
const LEAST_BUDGET: u64 = 1024;

/// The fields that say it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Thoughts {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Way>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Effort>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Way {
    Enabled {
        budget_tokens: u64,
    },
    Adaptive {
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'static str>,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Effort {
    effort: &'static str,
}

impl Thoughts {
    /// What this request says of thinking; nothing if the model cannot, need not or, in the middle of a turn that began without it, must not think.
    pub(super) fn of(endpoint: &Endpoint, request: &Request) -> Self {
        if !endpoint.reasoning || request.thinking == Thinking::Off {
            return Self::default();
        }
        let version = version(&endpoint.model);
        if version >= Some((4, 6)) {
            let effort = match request.thinking {
                Thinking::Off | Thinking::Minimal | Thinking::Low => "low",
                Thinking::Medium => "medium",
                Thinking::High => "high",
            };
            // From 4.7 on thoughts come only if they are asked for.
            let display = (version > Some((4, 6))).then_some("summarized");
            return Self { thinking: Some(Way::Adaptive { display }), output_config: Some(Effort { effort }) };
        }
        let budget: u64 = match request.thinking {
            Thinking::Off | Thinking::Minimal => LEAST_BUDGET,
            Thinking::Low => 4096,
            Thinking::Medium => 10_240,
            Thinking::High => 24_576,
        };
        // The budget is a part of the answer's bound, and some of that must be left for the answer.
        let budget = budget.min(max_tokens(endpoint, request).saturating_sub(LEAST_BUDGET));
        if budget < LEAST_BUDGET || !begins_with_thoughts(request) {
            return Self::default();
        }
        Self { thinking: Some(Way::Enabled { budget_tokens: budget }), output_config: None }
    }

    /// What the configuration says of the choice of words, temperature and share of the likeliest; a model that thinks takes neither.
    pub(super) fn sampling(&self, endpoint: &Endpoint) -> (Option<f64>, Option<f64>) {
        let params = &endpoint.params;
        if self.is_empty() { (params.temperature, params.top_p) } else { (None, None) }
    }

    /// The names of fields that this writes, or that must not stand beside it.
    pub(super) fn names(&self) -> &'static [&'static str] {
        if self.is_empty() { &[] } else { &["output_config", "top_k"] }
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.thinking.is_none()
    }
}

/// Whether the turn that goes on may have thoughts: one in which tools were used must have begun with them, signed.
fn begins_with_thoughts(request: &Request) -> bool {
    let turns = request.messages.iter().rev();
    let answers = |content: &[Block]| content.iter().any(|block| matches!(block, Block::ToolResult { .. }));
    if !request.messages.last().is_some_and(|last| answers(&last.content)) {
        return true;
    }
    let said = turns.filter(|message| message.role == Role::Assistant).map(|message| &message.content).next();
    let thought = |block: &Block| match block {
        Block::Thinking { signature, .. } => signature.is_some(),
        Block::Redacted { .. } => true,
        _ => false,
    };
    said.is_some_and(|content| content.first().is_some_and(thought))
}

/// The version that a name of Claude says, such as 4.6 of `us.anthropic.claude-opus-4-6-v1` and 3.7 of `claude-3-7-sonnet-20250219`. A date is none.
pub(super) fn version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude-")?;
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() < 3);
    let mut parts = name.split(['-', '.', ':', '@']).skip_while(|part| number(part).is_none());
    let major = number(parts.next()?)?;
    Some((major, parts.next().and_then(number).unwrap_or(0)))
}

/// Whether it is a Claude.
pub(super) fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Message;
    use crate::model::endpoint::Api;

    fn said(model: &str, thinking: Thinking, max_tokens: u64, messages: Vec<Message>) -> Value {
        let mut endpoint = Endpoint::new("anthropic", model, Api::AnthropicMessages);
        (endpoint.reasoning, endpoint.max_tokens) = (true, 64_000);
        let request = Request { system: String::new(), messages, tools: Vec::new(), max_tokens, thinking };
        serde_json::to_value(Thoughts::of(&endpoint, &request)).unwrap()
    }

    #[test]
    fn versions_are_read_from_names() {
        let names = [
            ("us.anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", Some((4, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-opus-4.7", Some((4, 7))),
            ("gpt-5", None),
            ("claude-instant", None),
        ];
        for (name, wanted) in names {
            assert_eq!(version(name), wanted, "{name}");
        }
    }

    #[test]
    fn new_models_take_an_effort_and_old_ones_a_budget_within_the_bound() {
        assert_eq!(said("claude-opus-4-6", Thinking::Off, 8000, vec![]), json!({}));
        let effort = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}});
        assert_eq!(said("claude-opus-4-6", Thinking::Medium, 8000, vec![]), effort);
        assert_eq!(said("claude-opus-4-7", Thinking::Low, 8000, vec![])["thinking"]["display"], "summarized");
        assert_eq!(
            said("claude-sonnet-4-5", Thinking::High, 64_000, vec![]),
            json!({"thinking": {"type": "enabled", "budget_tokens": 24_576}})
        );
        assert_eq!(said("claude-sonnet-4-5", Thinking::High, 8192, vec![])["thinking"]["budget_tokens"], 7168);
        assert_eq!(said("claude-sonnet-4-5", Thinking::High, 2000, vec![]), json!({}));
    }

    #[test]
    fn a_turn_that_began_without_thoughts_goes_on_without() {
        let tool = Block::ToolUse { id: "1".to_owned(), name: "t".to_owned(), input: json!({}) };
        let result =
            Message { role: Role::User, content: vec![Block::ToolResult { id: "1".to_owned(), content: vec![], is_error: false }] };
        let thought = |signature: Option<&str>| Block::Thinking { text: "x".to_owned(), signature: signature.map(str::to_owned) };
        for (first, thinks) in [(vec![], false), (vec![thought(None)], false), (vec![thought(Some("s"))], true)] {
            let content = first.into_iter().chain([tool.clone()]).collect();
            let messages = vec![Message { role: Role::Assistant, content }, result.clone()];
            let value = said("claude-sonnet-4-5", Thinking::Low, 64_000, messages);
            assert_eq!(value.get("thinking").is_some(), thinks);
        }
    }
}

//! The conversation as a model may be sent it: roles take turns, and each use of a tool has exactly one result, in the message behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Block, Message, Role};

/// What stands for a result that was never written.
const NO_RESULT: &str = "There is no result: the work ended before the tool did.";
/// What stands before a conversation whose beginning is not there.
const CUT: &str = "(The beginning of this conversation is left out.)";
/// Bytes of text per token, roughly; it errs on the side of too many tokens.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens of a picture, roughly.
const IMAGE_TOKENS: u64 = 1600;

/// A text of the user.
pub(super) fn user(text: impl Into<String>) -> Message {
    Message { role: Role::User, content: vec![Block::Text { text: text.into() }] }
}

/// The uses of tools in a message: their places and ids.
fn uses(message: &Message) -> impl Iterator<Item = &str> {
    message.content.iter().filter_map(|block| match block {
        Block::ToolUse { id, .. } => Some(id.as_str()),
        _ => None,
    })
}

/// Every id of a use in a conversation.
pub(super) fn ids(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().flat_map(uses).map(str::to_owned).collect()
}

/// The same conversation in a form that every provider takes. What is right stays as it is.
pub(super) fn mended(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    let mut waiting: Vec<String> = Vec::new();
    for message in messages {
        match message.role {
            Role::Assistant => {
                answer(&mut out, &mut waiting, Vec::new());
                let content: Vec<Block> = message.content.iter().filter(|block| !is_empty(block)).cloned().collect();
                if !content.is_empty() {
                    push(&mut out, Role::Assistant, content);
                    waiting = unique(out.last_mut());
                }
            }
            Role::User => {
                let (mut results, mut rest) = (Vec::new(), Vec::new());
                for block in &message.content {
                    match block {
                        Block::ToolResult { .. } => results.push(block.clone()),
                        other if is_empty(other) => {}
                        other => rest.push(other.clone()),
                    }
                }
                answer(&mut out, &mut waiting, results);
                if !rest.is_empty() {
                    push(&mut out, Role::User, rest);
                }
            }
        }
    }
    answer(&mut out, &mut waiting, Vec::new());
    if out.first().is_some_and(|first| first.role == Role::Assistant) {
        out.insert(0, user(CUT));
    }
    out
}

/// Adds to the last message if it is of the same role.
fn push(out: &mut Vec<Message>, role: Role, content: Vec<Block>) {
    match out.last_mut() {
        Some(last) if last.role == role => last.content.extend(content),
        _ => out.push(Message { role, content }),
    }
}

/// The ids of the uses in a message, after those that stand there twice are taken out.
fn unique(message: Option<&mut Message>) -> Vec<String> {
    let Some(message) = message else { return Vec::new() };
    let mut seen = Vec::new();
    message.content.retain(|block| match block {
        Block::ToolUse { id, .. } if seen.contains(id) => false,
        Block::ToolUse { id, .. } => {
            seen.push(id.clone());
            true
        }
        _ => true,
    });
    seen
}

/// Answers the uses that wait, each once and in their order; results of anything else are left out.
fn answer(out: &mut Vec<Message>, waiting: &mut Vec<String>, results: Vec<Block>) {
    if waiting.is_empty() {
        return;
    }
    let find = |wanted: &str| {
        let own = |block: &&Block| matches!(block, Block::ToolResult { id, .. } if id == wanted);
        results.iter().find(own).cloned().unwrap_or_else(|| result(wanted, NO_RESULT, true))
    };
    let content = waiting.iter().map(|id| find(id)).collect();
    waiting.clear();
    push(out, Role::User, content);
}

/// A result that is text.
pub(super) fn result(id: &str, text: &str, is_error: bool) -> Block {
    Block::ToolResult { id: id.to_owned(), content: vec![Block::Text { text: text.to_owned() }], is_error }
}

fn is_empty(block: &Block) -> bool {
    match block {
        Block::Text { text } => text.trim().is_empty(),
        Block::Thinking { text, signature } => text.is_empty() && signature.is_none(),
        _ => false,
    }
}

/// How many tokens a conversation has, roughly.
pub(super) fn estimate(messages: &[Message]) -> u64 {
    messages.iter().flat_map(|message| &message.content).map(tokens).sum()
}

/// How many tokens so many bytes of text are, roughly.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

fn tokens(block: &Block) -> u64 {
    match block {
        Block::Text { text } => tokens_of(text.len()),
        Block::Image { .. } => IMAGE_TOKENS,
        Block::Thinking { text, signature } => tokens_of(text.len() + signature.as_ref().map_or(0, String::len)),
        Block::Redacted { data } => tokens_of(data.len()),
        Block::ToolUse { name, input, .. } => tokens_of(name.len() + size(input)),
        Block::ToolResult { content, .. } => content.iter().map(tokens).sum(),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value) + 4).sum::<usize>() + 2,
        _ => 5,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn used(id: &str) -> Block {
        Block::ToolUse { id: id.into(), name: "read".into(), input: json!({}) }
    }

    /// Fails unless roles take turns from the user on, nothing is empty, and each use has exactly one result behind it.
    pub(in crate::agent) fn assert_valid(messages: &[Message]) {
        let mut waiting: Vec<String> = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            assert_eq!(message.role, if at % 2 == 0 { Role::User } else { Role::Assistant }, "{at}: {messages:#?}");
            assert!(!message.content.is_empty());
            let mut given: Vec<String> = Vec::new();
            for block in &message.content {
                if let Block::ToolResult { id, .. } = block {
                    given.push(id.clone());
                }
            }
            assert_eq!(given, waiting, "{at}: {messages:#?}");
            waiting = uses(message).map(str::to_owned).collect();
        }
        assert!(waiting.is_empty(), "{messages:#?}");
    }

    #[test]
    fn missing_results_are_made_and_strange_ones_left_out() {
        let assistant = |content| Message { role: Role::Assistant, content };
        let conversation = [
            assistant(vec![used("a"), used("b")]),
            Message { role: Role::User, content: vec![result("b", "B", false), result("z", "Z", false)] },
            user("and?"),
            user(""),
            assistant(vec![used("c")]),
        ];
        let mended = mended(&conversation);
        assert_valid(&mended);
        assert_eq!(mended.len(), 5);
        assert_eq!(mended[2].content, [result("a", NO_RESULT, true), result("b", "B", false), Block::Text { text: "and?".into() }]);
        let right = [user("x"), assistant(vec![Block::Text { text: "y".into() }]), user("z")];
        assert_eq!(super::mended(&right), right);
    }

    fn block() -> impl Strategy<Value = Block> {
        prop_oneof![
            "[a-c ]{0,3}".prop_map(|text| Block::Text { text }),
            "[a-d]".prop_map(|id| used(&id)),
            "[a-d]".prop_map(|id| result(&id, "r", false)),
            Just(Block::Thinking { text: String::new(), signature: None }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_is_mended(
            messages in proptest::collection::vec((any::<bool>(), proptest::collection::vec(block(), 0..4)), 0..8),
        ) {
            let messages: Vec<Message> = messages
                .into_iter()
                .map(|(assistant, mut content)| {
                    // A result is the user's, a use the model's.
                    content.retain(|block| match block {
                        Block::ToolUse { .. } => assistant,
                        Block::ToolResult { .. } => !assistant,
                        _ => true,
                    });
                    Message { role: if assistant { Role::Assistant } else { Role::User }, content }
                })
                .collect();
            assert_valid(&mended(&messages));
        }
    }
}

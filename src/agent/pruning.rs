//! Shortens and removes old results of tools in what a model is sent; what was told, and the transcript, stay as they are.
//!
//! Providers keep a conversation for a while, and who asks again within that time pays little for what stands there unchanged. So nothing is cut while that time goes on: what may be cut is decided when it has passed, and for what was there by then.
//! That is read from the times of the messages alone, so every later request cuts the same and finds what the first one has left with the provider, whichever turn, run or daemon makes it.

use super::conversation::estimate;
use super::spec::PruningRules;
use crate::config::tool_policy::{Rules, permits};
use crate::model::{Block, Message, Role};

/// A conversation with the time of each message, ms since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dated<'a> {
    pub messages: &'a [Message],
    pub times: &'a [u64],
}

/// The conversation as the model is sent it now; none if it is sent as it is.
pub(super) fn pruned(conversation: Dated<'_>, now: u64, window: u64, rules: &PruningRules) -> Option<Vec<Message>> {
    let end = kept_too_long(conversation, now, rules.ttl_ms)?;
    let old = conversation.messages.get(..end)?;
    let mut pruning = Pruning { rules, window, messages: old.to_vec(), tokens: estimate(old) };
    let places = pruning.places();
    if !pruning.soft(&places) {
        return None;
    }
    pruning.hard(&places);
    let mut messages = pruning.messages;
    messages.extend_from_slice(conversation.messages.get(end..).unwrap_or_default());
    Some(messages)
}

/// How many messages the newest request had that was made when the provider no longer kept what it was sent before; none if there was no such request.
fn kept_too_long(conversation: Dated<'_>, now: u64, ttl_ms: u64) -> Option<usize> {
    let Dated { messages, times } = conversation;
    if messages.len() != times.len() {
        return None;
    }
    let (mut found, mut last) = (None, None);
    for (at, message) in messages.iter().enumerate().filter(|(_, message)| message.role == Role::Assistant) {
        let asked = at.checked_sub(1).and_then(|before| times.get(before)).copied();
        if passed(last, asked, ttl_ms) {
            found = Some(at);
        }
        last = times.get(at).copied().filter(|_| !message.content.is_empty()).or(last);
    }
    if passed(last, Some(now), ttl_ms) { Some(messages.len()) } else { found }
}

fn passed(from: Option<u64>, to: Option<u64>, ttl_ms: u64) -> bool {
    from.zip(to).is_some_and(|(from, to)| to.saturating_sub(from) > ttl_ms)
}

struct Pruning<'a> {
    rules: &'a PruningRules,
    window: u64,
    messages: Vec<Message>,
    tokens: u64,
}

impl Pruning<'_> {
    /// Share of the window that the conversation takes.
    fn ratio(&self) -> f64 {
        self.tokens as f64 / self.window.max(1) as f64
    }

    /// Results that may be cut: message and block. Not before the user has said anything, not in the newest part, none with pictures, and only of the tools that the rules name.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut assistants =
            self.messages.iter().enumerate().rev().filter(|(_, message)| message.role == Role::Assistant).map(|(at, _)| at);
        let keep = self.rules.keep_last_assistants;
        let end = if keep == 0 { Some(self.messages.len()) } else { assistants.nth(keep - 1) };
        let says =
            |message: &Message| message.role == Role::User && message.content.iter().any(|block| matches!(block, Block::Text { .. }));
        let Some((end, begin)) = end.zip(self.messages.iter().position(says)) else { return Vec::new() };
        let named = |wanted: &str| {
            let uses = self.messages.iter().flat_map(|message| &message.content);
            let mut names = uses.filter_map(|block| match block {
                Block::ToolUse { id, name, .. } if id == wanted => Some(name.as_str()),
                _ => None,
            });
            names.next().unwrap_or_default()
        };
        let (allow, deny) = (&self.rules.allow, &self.rules.deny);
        let rules = Rules { allow: Some(allow.as_slice()).filter(|allow| !allow.is_empty()), deny: Some(deny), ..Rules::default() };
        let may = |block: &Block| match block {
            Block::ToolResult { id, content, .. } => {
                !content.iter().any(|part| matches!(part, Block::Image { .. })) && permits(rules, &named(id).to_lowercase(), "")
            }
            _ => false,
        };
        let mut places = Vec::new();
        for (at, message) in self.messages.iter().enumerate().take(end).skip(begin) {
            places.extend(message.content.iter().enumerate().filter(|(_, block)| may(block)).map(|(block, _)| (at, block)));
        }
        places
    }

    /// Shortens long results. Returns whether the conversation is long enough for that.
    fn soft(&mut self, places: &[(usize, usize)]) -> bool {
        if self.ratio() < self.rules.soft_trim_ratio || places.is_empty() {
            return false;
        }
        for place in places {
            let rules = self.rules;
            self.change(*place, |text| trimmed(text, rules));
        }
        true
    }

    /// Removes results, the oldest first, until the conversation is short enough.
    fn hard(&mut self, places: &[(usize, usize)]) {
        let Some(placeholder) = self.rules.placeholder.clone() else { return };
        let least = self.rules.hard_clear_ratio;
        let chars = places.iter().filter_map(|place| self.text(*place)).map(|text| text.chars().count() as u64).sum::<u64>();
        if self.ratio() < least || chars < self.rules.min_prunable_chars {
            return;
        }
        for place in places {
            if self.ratio() < least {
                return;
            }
            self.change(*place, |text| (text.len() > placeholder.len()).then(|| placeholder.clone()));
        }
    }

    fn text(&self, (message, block): (usize, usize)) -> Option<String> {
        match self.messages.get(message)?.content.get(block)? {
            Block::ToolResult { content, .. } => {
                let texts = content.iter().filter_map(|part| if let Block::Text { text } = part { Some(text.as_str()) } else { None });
                Some(texts.collect::<Vec<_>>().join("\n"))
            }
            _ => None,
        }
    }

    fn change(&mut self, place: (usize, usize), make: impl FnOnce(&str) -> Option<String>) {
        let Some(text) = self.text(place).and_then(|text| make(&text)) else { return };
        let Some(message) = self.messages.get_mut(place.0) else { return };
        let before = estimate(std::slice::from_ref(message));
        if let Some(Block::ToolResult { content, .. }) = message.content.get_mut(place.1) {
            *content = vec![Block::Text { text }];
        }
        let after = estimate(std::slice::from_ref(message));
        self.tokens = self.tokens.saturating_sub(before).saturating_add(after);
    }
}

/// The beginning and the end of a text that is too long.
fn trimmed(text: &str, rules: &PruningRules) -> Option<String> {
    let chars = text.chars().count();
    let (most, head, tail) = (rules.max_chars, rules.head_chars, rules.tail_chars);
    if chars <= most || head.saturating_add(tail) >= chars {
        return None;
    }
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(chars - tail).collect();
    Some(format!("{begin}\n...\n{end}\n\n[Tool result trimmed: kept first {head} chars and last {tail} chars of {chars} chars.]"))
}

#[cfg(test)]
mod tests {
    use super::super::conversation::{result, user};
    use super::*;
    use serde_json::json;

    const MINUTE: u64 = 60_000;

    fn rules() -> PruningRules {
        PruningRules {
            ttl_ms: 5 * MINUTE,
            keep_last_assistants: 1,
            min_prunable_chars: 10,
            max_chars: 100,
            head_chars: 10,
            tail_chars: 5,
            ..PruningRules::default()
        }
    }

    /// Turns of a call, its result of 3000 characters and an answer, each turn an hour behind the one before.
    fn conversation(turns: u64) -> (Vec<Message>, Vec<u64>) {
        let (mut messages, mut times) = (Vec::new(), Vec::new());
        for n in 0..turns {
            let call = Block::ToolUse { id: format!("c{n}"), name: if n == 0 { "read" } else { "exec" }.into(), input: json!({}) };
            let said = |content| Message { role: Role::Assistant, content };
            let output = format!("{n}{}END", "x".repeat(2996));
            messages.extend([
                user("go"),
                said(vec![call]),
                Message { role: Role::User, content: vec![result(&format!("c{n}"), &output, false)] },
                said(vec![Block::Text { text: "done".into() }]),
            ]);
            times.extend([0, 1, 2, 3].map(|at| n * 60 * MINUTE + at));
        }
        (messages, times)
    }

    /// The text of each result, as far as it tells what became of it.
    fn results(messages: &[Message]) -> Vec<&'static str> {
        let blocks = messages.iter().flat_map(|message| &message.content);
        let texts = blocks.filter_map(|block| match block {
            Block::ToolResult { content, .. } => content.first(),
            _ => None,
        });
        let word = |text: &Block| match text {
            Block::Text { text } if text.contains("Tool result trimmed") => "short",
            Block::Text { text } if text.contains("cleared") => "gone",
            _ => "whole",
        };
        texts.map(word).collect()
    }

    fn sent(turns: u64, now: u64, window: u64, rules: &PruningRules) -> Vec<&'static str> {
        let (messages, times) = conversation(turns);
        let conversation = Dated { messages: &messages, times: &times };
        pruned(conversation, now, window, rules).map_or_else(|| results(&messages), |messages| results(&messages))
    }

    #[test]
    fn nothing_is_cut_while_the_provider_keeps_it_and_old_results_are_when_it_does_not() {
        let now = 2 * 60 * MINUTE;
        assert_eq!(sent(1, 4 * MINUTE, 3000, &rules()), ["whole"], "nobody has waited");
        assert_eq!(sent(3, now + MINUTE, 5000, &rules()), ["short", "short", "whole"], "what was there before the last pause");
        assert_eq!(sent(3, now + 9 * MINUTE, 5000, &rules()), ["short", "short", "short"]);
        assert_eq!(sent(3, now + 9 * MINUTE, 100_000, &rules()), ["whole"; 3], "there is room");
        let (messages, mut times) = conversation(3);
        times.pop();
        assert_eq!(
            pruned(Dated { messages: &messages, times: &times }, now * 9, 1000, &rules()),
            None,
            "times that do not fit say nothing"
        );
    }

    #[test]
    fn later_requests_cut_what_the_first_one_did() {
        let (mut messages, mut times) = conversation(3);
        let pause = times[11] + 10 * MINUTE;
        messages.push(user("next"));
        times.push(pause);
        let first = pruned(Dated { messages: &messages, times: &times }, pause, 5000, &rules()).unwrap();
        let before = messages.len();
        let call = Block::ToolUse { id: "n".into(), name: "exec".into(), input: json!({}) };
        messages.push(Message { role: Role::Assistant, content: vec![call] });
        messages.push(Message { role: Role::User, content: vec![result("n", &"y".repeat(5000), false)] });
        times.extend([pause + 1, pause + 2]);
        for now in [pause + 3, pause + 4 * MINUTE] {
            let second = pruned(Dated { messages: &messages, times: &times }, now, 5000, &rules()).unwrap();
            assert_eq!((&second[..before], &second[before..]), (&first[..], &messages[before..]));
        }
    }

    #[test]
    fn results_go_when_shortening_is_not_enough_the_oldest_first_and_only_of_tools_that_may() {
        let now = 9 * 60 * MINUTE;
        let plain = rules();
        assert_eq!(sent(3, now, 100, &plain), ["gone", "gone", "gone"]);
        let untouched = PruningRules { soft_trim_ratio: 0.3, max_chars: 10_000, ..rules() };
        assert_eq!(sent(3, now, 5000, &untouched), ["gone", "whole", "whole"], "until it is short enough");
        assert_eq!(sent(3, now, 100, &PruningRules { placeholder: None, ..rules() }), ["short"; 3]);
        assert_eq!(sent(3, now, 100, &PruningRules { min_prunable_chars: 50_000, ..rules() }), ["short"; 3]);
        assert_eq!(sent(3, now, 100, &PruningRules { deny: vec!["ex*".into()], ..rules() }), ["gone", "whole", "whole"]);
        assert_eq!(sent(3, now, 100, &PruningRules { allow: vec!["exec".into()], ..rules() }), ["whole", "gone", "gone"]);
        assert_eq!(sent(3, now, 100, &PruningRules { keep_last_assistants: 4, ..rules() }), ["gone", "whole", "whole"]);
        assert_eq!(sent(3, now, 100, &PruningRules { keep_last_assistants: 99, ..rules() }), ["whole"; 3]);
    }

    #[test]
    fn a_trimmed_text_has_its_ends_and_says_how_much_is_gone() {
        let text = format!("beginning{}end!!", "ü".repeat(200));
        let short = trimmed(&text, &rules()).unwrap();
        assert!(short.starts_with("beginningü\n...\nend!!\n"), "{short}");
        assert!(short.ends_with("kept first 10 chars and last 5 chars of 214 chars.]"), "{short}");
        assert_eq!(trimmed("short", &rules()), None);
    }
}

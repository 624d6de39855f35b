//! Makes a conversation shorter before it outgrows the model's window: what is worth remembering goes to memory files, then a summary stands for all but the newest messages.

use std::sync::Arc;

use super::calls;
use super::conversation::{estimate, user};
use super::gather::{Answer, Ending};
use super::host::{AgentEvent, Compaction, End};
use super::prompt::day;
use super::turn::{Ended, Turn, uses};
use crate::model::{Block, Message, Role, StopReason};

/// Tools that write down what is to be remembered.
const MEMORY_TOOLS: [&str; 3] = ["read", "write", "edit"];
/// Most requests for that.
const FLUSH_TURNS: usize = 6;

const BEHIND: &str = "(The conversation until here was shortened. This is its summary.)";

impl Turn {
    /// Whether the next request would leave too little room.
    pub(super) fn is_too_long(&self) -> bool {
        self.may_compact() && self.length() >= self.room()
    }

    /// Whether the model was asked since the conversation was last shortened: else it would not help.
    pub(super) fn may_compact(&self) -> bool {
        self.compacted_at.is_none_or(|at| self.ledger.turns > at + 1) && self.messages.len() > 1
    }

    /// How many tokens a conversation may have. In a small window what is kept free is a part of it.
    fn room(&self) -> u64 {
        let spec = &self.context.spec;
        let window = spec.model.context_window;
        window - spec.model.max_tokens.min(window / 4) - spec.compaction.reserve_tokens.min(window / 4)
    }

    /// The turn that `/compact` makes.
    pub(super) async fn compact_by_wish(&mut self, instructions: Option<&str>) -> Ended {
        if self.messages.is_empty() {
            return Ended::new(End::Done, "nothing to compact");
        }
        let before = estimate(&self.messages);
        match self.shorten(instructions, true, self.messages.len(), true).await {
            Err(ended) => ended,
            Ok(Err(why)) => Ended::new(End::Failed, format!("the conversation is not compacted: {why}")),
            Ok(Ok(())) => Ended::new(End::Done, format!("compacted: about {before} tokens are now about {}", estimate(&self.messages))),
        }
    }

    /// Makes the conversation shorter; if that fails it stays as it is.
    ///
    /// # Errors
    /// The end of the turn: it was stopped, or what happens can no longer be written down.
    pub(super) async fn compact(&mut self, instructions: Option<&str>, flush: bool) -> Result<(), Ended> {
        let cut = self.cut();
        self.shorten(instructions, flush, cut, false).await.map(drop)
    }

    /// The first message that stays: the newest stay, and never results without their uses.
    fn cut(&self) -> usize {
        let spec = &self.context.spec;
        let share = (spec.model.context_window as f64 * spec.compaction.keep_share.clamp(0.05, 0.9)) as u64;
        // A window that is smaller than we were told must not keep everything.
        let keep = share.min(estimate(&self.messages) / 2);
        let begins = |message: &&Message| {
            message.role == Role::Assistant || !message.content.iter().any(|block| matches!(block, Block::ToolResult { .. }))
        };
        let (mut cut, mut tokens) = (self.messages.len(), 0);
        for (at, message) in self.messages.iter().enumerate().rev() {
            tokens += estimate(std::slice::from_ref(message));
            if tokens > keep && cut < self.messages.len() {
                break;
            }
            if Some(message).filter(begins).is_some() {
                cut = at;
            }
        }
        cut
    }

    /// Puts a summary in the place of the first `cut` messages, `by_wish` of the user. The inner error says why not.
    async fn shorten(&mut self, instructions: Option<&str>, flush: bool, cut: usize, by_wish: bool) -> Result<Result<(), String>, Ended> {
        let tokens_before = self.length();
        self.compacted_at = Some(self.ledger.turns);
        self.tell_of(Compaction::Start { tokens_before })?;
        if flush {
            self.flush().await;
        }
        // Asking for the summary is no step of the turn.
        let done = if cut == 0 { Err("there is nothing to shorten".to_owned()) } else { self.summary(instructions, cut, by_wish).await };
        self.compacted_at = Some(self.ledger.turns);
        if self.context.host.stop().is_cancelled() {
            self.tell_of(Compaction::Failed { message: "aborted".to_owned() })?;
            return Err(Ended::stopped());
        }
        match done {
            Err(message) => {
                self.tell_of(Compaction::Failed { message: message.clone() })?;
                Ok(Err(message))
            }
            Ok(summary) => {
                // A summary that is replaced stood for others.
                let replaced = cut + self.replaced.saturating_sub(1);
                self.messages.splice(..cut, [user(format!("{BEHIND}\n\n{summary}"))]);
                self.times.splice(..cut, [self.context.host.now_ms()]);
                (self.replaced, self.measured) = (replaced, None);
                let tokens_after = self.length();
                self.tell_of(Compaction::End { summary, replaced, tokens_before, tokens_after })?;
                Ok(Ok(()))
            }
        }
    }

    fn tell_of(&self, step: Compaction) -> Result<(), Ended> {
        self.context.host.emit(&AgentEvent::Compaction(step)).map_err(|failed| Ended::unwritten(&failed))
    }

    /// Has the agent write down what is worth remembering. Nobody is told of the words, only of the tools; a failure harms nothing.
    async fn flush(&mut self) {
        let spec = &self.context.spec;
        let tools = self.told_of(&MEMORY_TOOLS);
        if !spec.compaction.memory_flush || !tools.iter().any(|tool| tool.name == "write") {
            return;
        }
        let file = format!("memory/{}.md", day(spec, self.context.host.now_ms()));
        let ask = spec.compaction.flush_prompt.clone().unwrap_or_else(|| {
            format!("This conversation is about to be shortened. Write what is worth remembering and is in no file yet to {file} (read it first if it is there and keep what stands in it). Answer with NO_REPLY when that is done, or if there is nothing.")
        });
        let known: Vec<_> = self.tools.iter().filter(|tool| MEMORY_TOOLS.contains(&tool.name)).copied().collect();
        let extra = spec.compaction.flush_system.as_deref().map(|extra| format!("\n\n{extra}"));
        let system = format!("{}{}", self.system, extra.unwrap_or_default());
        let mut messages = self.shown().into_owned();
        messages.push(user(ask));
        for _ in 0..FLUSH_TURNS {
            if self.context.host.stop().is_cancelled() || self.ledger.exceeded().is_some() {
                return;
            }
            let request = self.request(system.clone(), &messages, tools.clone());
            let mut answer = self.ask_aside(request).await;
            self.name_uses(&mut answer.content);
            let uses = if matches!(answer.ending, Ending::Whole(_)) { uses(&answer, &StopReason::ToolUse) } else { Vec::new() };
            if uses.is_empty() {
                return;
            }
            let Answer { content, .. } = answer;
            messages.push(Message { role: Role::Assistant, content });
            let (results, written) = calls::run_all(&Arc::clone(&self.context), &known, uses).await;
            messages.push(Message { role: Role::User, content: results });
            if written.is_err() {
                return;
            }
        }
    }
}

//! Orders in which programs speak, and the one order that comes out.

use serde_json::json;

use super::*;
use crate::model::Usage;

fn short(events: &[Event]) -> Vec<String> {
    let block = |block: &Block| match block {
        Block::Text { text } => text.clone(),
        Block::Thinking { text, .. } => format!("({text})"),
        Block::ToolUse { id, .. } => format!("use {id}"),
        Block::ToolResult { id, is_error, .. } => format!("result {id}{}", if *is_error { "!" } else { "" }),
        other => format!("{other:?}"),
    };
    let line = |event: &Event| match event {
        Event::Text { delta } => format!("+{delta}"),
        Event::ToolStart { id, .. } => format!("start {id}"),
        Event::ToolOutput { id, text, first } => format!("{}{id}: {text}", if *first { "before " } else { "" }),
        Event::ToolEnd { id, is_error, .. } => format!("end {id}{}", if *is_error { "!" } else { "" }),
        Event::Message { message, .. } => {
            let blocks: Vec<String> = message.content.iter().map(block).collect();
            format!("{:?}[{}]", message.role, blocks.join(", "))
        }
        Event::End(end) => format!("{:?}", end.how),
        other => format!("{other:?}"),
    };
    events.iter().map(line).collect()
}

fn ok(output: &str) -> Finish {
    Finish { output: Some(output.to_owned()), ..Finish::default() }
}

#[test]
fn calls_that_overlap_give_messages_in_which_each_use_has_one_result() {
    let mut tale = Tale::default();
    tale.text("t", "Both.");
    tale.tool_start("a", "exec", json!({}));
    tale.tool_start("b", "exec", json!({}));
    tale.tool_end("b", ok("B"));
    tale.tool_start("c", "exec", json!({}));
    tale.tool_end("c", ok(""));
    tale.tool_end("a", ok(""));
    tale.text("u", "Done.");
    tale.finish(End::done());
    assert_eq!(
        short(&tale.take()),
        [
            "+Both.",
            "start a",
            "start b",
            "b: B",
            "end b",
            "Assistant[Both., use a, use b]",
            "start c",
            "end c",
            "end a",
            "User[result a, result b]",
            "Assistant[use c]",
            "User[result c]",
            "+Done.",
            "Assistant[Done.]",
            "Done",
        ]
    );
}

#[test]
fn every_open_call_is_closed_before_the_end_and_nothing_comes_after_it() {
    let mut tale = Tale::default();
    tale.tool_use("never", "exec", &json!({}));
    tale.tool_start("a", "exec", json!({}));
    tale.output("a", "half");
    tale.finish(End::cancelled());
    let events = tale.take();
    assert_eq!(
        short(&events),
        ["start a", "a: half", "end a!", "Assistant[use never, use a]", "User[result never!, result a!]", "Cancelled"]
    );
    assert!(matches!(&events[2], Event::ToolEnd { result, .. } if result.starts_with("half\ninterrupted")));
    tale.text("x", "late");
    tale.output("a", "late");
    tale.tool_end("a", ok("late"));
    tale.finish(End::done());
    assert_eq!((tale.take(), tale.late(), tale.end().map(|end| end.how)), (Vec::new(), 4, Some(How::Cancelled)));
}

#[test]
fn a_repeated_text_is_told_once_and_a_missing_rest_is_told_at_last() {
    let mut tale = Tale::default();
    tale.text("t", "Hel");
    tale.text_whole("t", "Hello");
    tale.text_whole("t", "Hello");
    tale.text_whole("u", "Whole.");
    tale.message_end(None);
    assert_eq!(short(&tale.take()), ["+Hel", "+lo", "+Whole.", "Assistant[Hello, Whole.]"]);
}

#[test]
fn what_was_used_stands_with_one_message_or_at_the_end_and_nowhere_twice() {
    let mut tale = Tale::default();
    let used = |input| Used { tokens: Usage { input, ..Usage::default() }, cost_usd: None };
    tale.text("t", "a");
    tale.used(used(1));
    tale.message_end(None);
    tale.used(used(2));
    tale.used(used(4));
    tale.finish(End::done());
    let events = tale.take();
    assert!(matches!(&events[1], Event::Message { usage: Some(one), .. } if *one == used(1)));
    assert!(matches!(&events[2], Event::Usage(rest) if *rest == used(6)));
}

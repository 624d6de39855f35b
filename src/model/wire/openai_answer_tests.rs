//! Answers as several servers write them.

use serde_json::json;

use super::*;

fn read(chunks: &[Value]) -> (Vec<Event>, Option<Fault>) {
    let text: String =
        chunks.iter().map(|chunk| format!("data: {}\n\n", chunk.as_str().map_or_else(|| chunk.to_string(), str::to_owned))).collect();
    let (mut answer, mut out) = (Answer::default(), Vec::new());
    let fed = answer.feed(text.as_bytes(), &mut out);
    let ended = fed.and_then(|()| answer.end(&mut out));
    (out, ended.err())
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn call(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: Value) -> Value {
    let mut call = json!({"id": id, "function": {"name": name, "arguments": arguments}});
    if let Some(index) = index {
        call["index"] = json!(index);
    }
    delta(json!({"tool_calls": [call]}))
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn done() -> Value {
    json!("[DONE]")
}

fn start(id: &str, name: &str) -> Event {
    Event::ToolStart { id: id.to_owned(), name: name.to_owned() }
}

fn args(text: &str) -> Event {
    Event::ToolArgs(text.to_owned())
}

#[test]
fn calls_that_are_mixed_come_one_after_the_other() {
    let chunks = [
        delta(json!({"content": "I look"})),
        call(Some(0), Some("a"), Some("read"), json!("")),
        call(Some(1), Some("b"), Some("exec"), json!("{\"x\"")),
        call(Some(0), None, None, json!("{\"p\":")),
        call(Some(1), None, None, json!(":1}")),
        call(Some(0), None, None, json!("2}")),
        finish("tool_calls"),
        done(),
    ];
    let wanted = vec![
        Event::Text("I look".to_owned()),
        Event::BlockEnd,
        start("a", "read"),
        args("{\"p\":"),
        args("2}"),
        Event::BlockEnd,
        start("b", "exec"),
        args("{\"x\":1}"),
        Event::BlockEnd,
        Event::Stop(StopReason::ToolUse),
    ];
    assert_eq!(read(&chunks), (wanted, None));
}

#[test]
fn calls_without_index_with_objects_or_behind_stop_are_understood() {
    let chunks = [call(None, Some("a"), Some("read"), json!({"p": 1})), call(None, Some("b"), Some("read"), json!("{}")), finish("stop")];
    let wanted = vec![
        start("a", "read"),
        args("{\"p\":1}"),
        Event::BlockEnd,
        start("b", "read"),
        args("{}"),
        Event::BlockEnd,
        Event::Stop(StopReason::ToolUse),
    ];
    assert_eq!(read(&chunks), (wanted, None));
    let (events, fault) = read(&[call(Some(0), None, Some("read"), json!("{}")), finish("tool_calls"), done()]);
    assert!(matches!(&events[0], Event::ToolStart { id, .. } if id.starts_with("call_")) && fault.is_none(), "{events:?}");
}

#[test]
fn thoughts_refusals_and_counts_are_told() {
    let usage =
        json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}});
    let (events, _) = read(&[delta(json!({"reasoning": "hm"})), delta(json!({"content": "yes"})), finish("length"), usage, done()]);
    let wanted = vec![
        Event::Thinking("hm".to_owned()),
        Event::BlockEnd,
        Event::Text("yes".to_owned()),
        Event::Usage(Usage { input: 20, output: 4, cache_read: 10, cache_write: 0 }),
        Event::BlockEnd,
        Event::Stop(StopReason::MaxTokens),
    ];
    assert_eq!(events, wanted);
    let (events, _) = read(&[delta(json!({"refusal": "I will not."})), finish("stop"), done()]);
    assert_eq!(events.last(), Some(&Event::Stop(StopReason::Refusal)));
    let (events, _) = read(&[finish("content_filter"), done()]);
    assert_eq!(events, [Event::Stop(StopReason::Refusal)]);
}

#[test]
fn what_has_no_end_is_cut_and_what_is_an_error_is_told() {
    assert_eq!(read(&[delta(json!({"content": "a"}))]).1, Some(Fault::Cut));
    assert_eq!(read(&[delta(json!({"content": "a"})), done()]).1, Some(Fault::Cut));
    assert!(read(&[finish("stop")]).1.is_none());
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "slow"}});
    let said = Said { codes: vec!["rate_limit_exceeded".to_owned()], text: "slow".to_owned() };
    assert_eq!(read(&[error]).1, Some(Fault::Said(said)));
    assert!(matches!(read(&[json!("nonsense")]).1, Some(Fault::Garbled(_))));
    let many: Vec<Value> = (0..300).map(|index| call(Some(index), Some(&index.to_string()), Some("t"), json!("{}"))).collect();
    assert!(matches!(read(&many).1, Some(Fault::Garbled(_))));
}

#[test]
fn words_inside_the_arguments_of_a_call_are_not_guessed_around() {
    let chunks = [call(Some(0), Some("a"), Some("t"), json!("{")), delta(json!({"content": "x"})), call(Some(0), None, None, json!("}"))];
    assert!(matches!(read(&chunks).1, Some(Fault::Garbled(_))));
}

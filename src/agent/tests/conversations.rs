//! What a turn tells and sends, whatever the model says and whenever it is stopped.

use std::path::Path;
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::json;

use super::fakes::{Answer, Noted, args, calls, fails, play, says, spec, usage};
use crate::agent::conversation::{mended, tests::assert_valid};
use crate::agent::host::{AgentEvent, Budget, Compaction, End};
use crate::agent::spec::{Budgets, Task};
use crate::model::{Block, ErrorKind, Event, Message, Role, StopReason};

fn text(text: &str) -> Block {
    Block::Text { text: text.into() }
}

/// Each use told in a message has one result in the next, every tool that began has ended once, and nothing is sent that is not valid.
fn assert_whole(host: &Noted, requests: &[crate::model::Request]) {
    let told: Vec<Message> = host.messages().into_iter().filter(|message| !message.content.is_empty()).collect();
    let mut conversation = vec![Message { role: Role::User, content: vec![text("go")] }];
    conversation.extend(told);
    assert_valid(&conversation);
    for request in requests {
        assert_valid(&request.messages);
        assert_eq!(request.messages.last().unwrap().role, Role::User);
    }
    let order = host.order();
    let begun: Vec<&str> = order.split(' ').filter_map(|mark| mark.strip_prefix('+')).collect();
    for id in &begun {
        assert_eq!(order.split(' ').filter(|mark| mark.strip_prefix('-') == Some(id)).count(), 1, "{order}");
    }
}

#[tokio::test]
async fn a_turn_uses_tools_until_the_model_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let write = args(&json!({ "path": "a/ü.txt", "content": "hällo\n" }));
    let mut first = vec![
        Ok(Event::Thinking("hm".into())),
        Ok(Event::Thinking("m".into())),
        Ok(Event::Signature("seal".into())),
        Ok(Event::BlockEnd),
        Ok(Event::Text("I write.".into())),
        Ok(Event::BlockEnd),
    ];
    first.extend(calls(&[("c1", "write", &write)]));
    let second = calls(&[("c2", "read", r#"{"path":"a/ü.txt"}"#)]);
    let (finish, host, requests) = play(spec(dir.path()), Noted::default(), vec![first, second, says("It is there.")]).await;
    assert_eq!((finish.end, finish.text.as_str(), finish.turns), (End::Done, "It is there.", 3));
    assert_eq!((finish.usage, (finish.spent.total() * 1e6).round()), (usage(30, 15), 60.0));
    assert_whole(&host, &requests);
    let messages = host.messages();
    let thought = Block::Thinking { text: "hmm".into(), signature: Some("seal".into()) };
    assert_eq!(messages[0].content[..2], [thought.clone(), text("I write.")]);
    assert_eq!(requests[1].messages[1].content[0], thought, "thoughts go back with their seal");
    assert_eq!(host.results()[1], ("c2".into(), false, "     1\thällo\n".into()));
    assert_eq!(host.order(), "+c1 -c1 +c2 -c2");
    assert!(requests[0].system.contains(&dir.path().display().to_string()) && requests[0].tools.len() == 6);
}

#[tokio::test]
async fn what_only_reads_runs_at_once_and_the_rest_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let script = calls(&[
        ("r1", "read", r#"{"path":"x"}"#),
        ("r2", "read", r#"{"path":"y"}"#),
        ("w1", "write", r#"{"path":"x","content":"1"}"#),
        ("r3", "read", r#"{"path":"x"}"#),
    ]);
    let (_, host, requests) = play(spec(dir.path()), Noted::default(), vec![script]).await;
    assert_whole(&host, &requests);
    let results = host.results();
    assert!(results[0].1 && results[1].1 && !results[2].1, "{results:?}");
    assert_eq!(results[3], ("r3".into(), false, "     1\t1\n".into()));
}

#[tokio::test]
async fn strange_calls_get_a_result_that_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let script = calls(&[
        ("a", "read", r#"{"path": "x"#),
        ("b", "read", "[1]"),
        ("c", "nothing", "{}"),
        ("d", "read", "{}"),
        ("", "process", r#"{"action":"list"}"#),
        ("a", "process", r#"{"action":"list"}"#),
    ]);
    let (finish, host, requests) = play(spec(dir.path()), Noted::default(), vec![script]).await;
    assert_eq!(finish.end, End::Done);
    assert_whole(&host, &requests);
    let results = host.results();
    for (at, said) in [(0, "no JSON"), (1, "no JSON object"), (2, "There is no tool named nothing"), (3, "missing field `path`")] {
        assert!(results[at].1 && results[at].2.contains(said), "{:?}", results[at]);
    }
    assert!(results[4].0.starts_with("call_") && !results[4].1 && results[5].0.starts_with("call_") && results[5].0 != results[4].0);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_runs_no_tool_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut cut = calls(&[("w", "write", r#"{"path":"x","content":"1"}"#)]);
    *cut.last_mut().unwrap() = Ok(Event::Stop(StopReason::MaxTokens));
    let (finish, host, requests) = play(spec(dir.path()), Noted::default(), vec![cut, says("ok")]).await;
    assert_eq!(finish.end, End::Done);
    assert_whole(&host, &requests);
    assert!(!dir.path().join("x").exists() && host.results()[0].2.contains("longest length"));
    let long = vec![Ok(Event::Text("half".into())), Ok(Event::Stop(StopReason::MaxTokens))];
    let (finish, ..) = play(spec(dir.path()), Noted::default(), vec![long]).await;
    assert_eq!((finish.end.code(), finish.text.as_str()), (Some("MODEL_MAX_TOKENS"), "half"));
}

#[tokio::test]
async fn an_error_of_the_model_ends_the_turn_and_keeps_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut broken: Answer = vec![Ok(Event::Thinking("x".into())), Ok(Event::BlockEnd), Ok(Event::Text("half ü".into()))];
    broken.extend(fails(ErrorKind::Overloaded));
    let (finish, host, requests) = play(spec(dir.path()), Noted::default(), vec![broken]).await;
    assert_eq!((finish.end.code(), finish.summary.as_str()), (Some("MODEL_OVERLOADED"), "the provider says Overloaded"));
    assert_whole(&host, &requests);
    assert_eq!(host.messages()[0].content.last(), Some(&text("half ü")));
    let (finish, host, _) = play(spec(dir.path()), Noted::default(), vec![fails(ErrorKind::Auth)]).await;
    assert!(finish.end == End::Model(ErrorKind::Auth) && host.messages().is_empty());
    let (finish, ..) = play(spec(dir.path()), Noted::default(), vec![vec![Ok(Event::Text("a".into()))]]).await;
    assert_eq!(finish.end, End::Model(ErrorKind::Transport));
}

#[tokio::test]
async fn budgets_end_a_turn_behind_whole_messages() {
    let dir = tempfile::tempdir().unwrap();
    let endless = || (0..9).map(|n| calls(&[(format!("c{n}").as_str(), "process", r#"{"action":"list"}"#)])).collect::<Vec<_>>();
    for (budgets, budget, turns) in [
        (Budgets { turns: 3, ..Budgets::default() }, Budget::Turns, 3),
        (Budgets { tokens: Some(30), ..Budgets::default() }, Budget::Tokens, 2),
        (Budgets { cost: Some(0.00003), ..Budgets::default() }, Budget::Cost, 2),
        (Budgets { ms: Some(0), ..Budgets::default() }, Budget::Time, 0),
    ] {
        let mut spec = spec(dir.path());
        spec.budgets = budgets;
        let (finish, host, requests) = play(spec, Noted::default(), endless()).await;
        assert_eq!((finish.end, finish.turns), (End::Budget(budget), turns));
        assert_whole(&host, &requests);
    }
}

#[tokio::test]
async fn nothing_happens_that_cannot_be_written_down() {
    let dir = tempfile::tempdir().unwrap();
    for refuse_at in 0..12 {
        let script = vec![calls(&[("w", "write", r#"{"path":"x","content":"1"}"#)]), says("done")];
        let host = Noted { refuse_at: Some(refuse_at), ..Noted::default() };
        let (finish, host, _) = play(spec(dir.path()), host, script).await;
        let wrote = dir.path().join("x").exists();
        assert!(!wrote || host.order().starts_with("+w"), "{refuse_at}");
        assert!(finish.end == End::Failed || host.events.lock().unwrap().len() >= 5, "{refuse_at}: {finish:?}");
        let _ = std::fs::remove_file(dir.path().join("x"));
    }
}

#[tokio::test]
async fn a_long_conversation_is_shortened_and_the_newest_part_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    (spec.model.context_window, spec.model.max_tokens) = (20_000, 1000);
    for n in 0..20 {
        spec.history.push(Message { role: Role::User, content: vec![text(&format!("question {n} {}", "x ".repeat(1000)))] });
        spec.history.push(Message { role: Role::Assistant, content: vec![text(&format!("answer {n}"))] });
    }
    let flush = calls(&[("f", "write", r#"{"path":"memory/2026-11-21.md","content":"remember"}"#)]);
    let script = vec![flush, says("NO_REPLY"), says("They began."), says("They talked."), says("Here I am.")];
    let (finish, host, requests) = play(spec.clone(), Noted::default(), script).await;
    assert_eq!((finish.end, finish.text.as_str(), finish.turns), (End::Done, "Here I am.", 5));
    let second = format!("{:?}", requests[3].messages);
    assert!(second.contains("summary of the conversation so far") && second.contains("They began."), "it is made in parts: {second}");
    assert_eq!(std::fs::read_to_string(dir.path().join("memory/2026-11-21.md")).unwrap(), "remember");
    let events = host.events.lock().unwrap().clone();
    let Some(AgentEvent::Compaction(Compaction::End { summary, replaced, tokens_before, tokens_after })) =
        events.iter().find(|event| matches!(event, AgentEvent::Compaction(Compaction::End { .. })))
    else {
        panic!("{events:?}")
    };
    assert!(summary == "They talked." && *replaced < 41 && *replaced > 20 && tokens_after < tokens_before, "{replaced}");
    let last = requests.last().unwrap();
    assert!(last.messages.len() < 20 && format!("{:?}", last.messages[0]).contains("They talked."));
    assert!(requests[0].messages.len() == 41 && requests[0].tools.iter().all(|tool| tool.name != "exec"));
    requests.iter().for_each(|request| assert_valid(&request.messages));
    drop(events);

    spec.compaction.memory_flush = false;
    let mut at_once = spec.clone();
    at_once.compaction.in_parts = false;
    let (finish, _, requests) = play(at_once, Noted::default(), vec![says("They talked."), says("Here I am.")]).await;
    assert_eq!((finish.end, requests.len()), (End::Done, 2), "or at once");
    for (answer, wanted) in [
        (fails(ErrorKind::Refusal), "says Refusal"),
        (fails(ErrorKind::ContextLength), "says ContextLength"),
        (says(" "), "gave no summary"),
    ] {
        let (finish, _, requests) = play(spec.clone(), Noted::default(), vec![says("They began."), answer, says("all the same")]).await;
        let head = format!("{:?}", requests[2].messages[0]);
        assert!(finish.end == End::Done && head.contains("They began.") && head.contains(wanted), "{head}");
    }
    let (finish, host, requests) = play(spec, Noted::default(), vec![fails(ErrorKind::Overloaded), says("all the same")]).await;
    assert!(finish.end == End::Done && requests[1].messages.len() == 41, "a summary that fails changes nothing");
    assert!(matches!(&host.events.lock().unwrap()[1], AgentEvent::Compaction(Compaction::Failed { .. })));
}

#[tokio::test]
async fn compaction_by_wish_and_after_the_provider_said_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.history =
        mended(&[Message { role: Role::User, content: vec![text("a")] }, Message { role: Role::Assistant, content: vec![text("b")] }]);
    let (finish, host, requests) =
        play(spec.clone(), Noted::default(), vec![fails(ErrorKind::ContextLength), says("sum"), says("ok")]).await;
    assert_eq!((finish.end, finish.turns, requests.len()), (End::Done, 3, 3));
    assert_whole(&host, &requests[..1]);
    let again = vec![fails(ErrorKind::ContextLength), says("sum"), fails(ErrorKind::ContextLength)];
    let (finish, ..) = play(spec.clone(), Noted::default(), again).await;
    assert_eq!(finish.end.code(), Some("MODEL_CONTEXT_LENGTH"));

    spec.prompt.clear();
    spec.task = Task::Compact { instructions: Some("names".into()) };
    let (finish, host, requests) = play(spec, Noted::default(), vec![says("NO_REPLY"), says("short")]).await;
    assert!(finish.end == End::Done && finish.summary.starts_with("compacted: "), "{finish:?}");
    assert!(format!("{:?}", requests[1].messages).contains("look after this: names"));
    let events = host.events.lock().unwrap();
    assert!(matches!(events.last(), Some(AgentEvent::Compaction(Compaction::End { replaced: 2, .. }))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn deltas_come_together_and_repeat_little() {
    let dir = tempfile::tempdir().unwrap();
    let word = "wörd ";
    let mut answer: Answer = (0..20_000).map(|_| Ok(Event::Text(word.into()))).collect();
    answer.push(Ok(Event::Stop(StopReason::End)));
    let (finish, host, _) = play(spec(dir.path()), Noted::default(), vec![answer]).await;
    assert_eq!(finish.text.len(), word.len() * 20_000);
    let (mut together, mut lines) = (String::new(), 0);
    for event in host.events.lock().unwrap().iter() {
        if let AgentEvent::Text { text, delta } = event {
            together.push_str(delta);
            lines += 1;
            assert_eq!(&together, text);
        }
    }
    assert!(together == finish.text && lines <= 3, "{lines}");
}

/// Any answer of a model: words, thoughts, calls, right and wrong, with any end.
fn answer() -> impl Strategy<Value = Answer> {
    let call = prop_oneof![
        Just(("read", r#"{"path":"x"}"#)),
        Just(("write", r#"{"path":"x","content":"é"}"#)),
        Just(("exec", r#"{"command":"echo hi"}"#)),
        Just(("exec", r#"{"command":"sleep 300"}"#)),
        Just(("exec", r#"{"command":"sleep 300","background":true}"#)),
        Just(("process", r#"{"action":"list"}"#)),
        Just(("nothing", "{")),
    ];
    let piece = prop_oneof![
        3 => "[a-zé]{0,5}".prop_map(|text| vec![Ok(Event::Text(text))]),
        1 => Just(vec![Ok(Event::Thinking("t".into())), Ok(Event::Signature("s".into())), Ok(Event::BlockEnd)]),
        3 => (call, "[ab]?").prop_map(|((name, args), id)| {
            let mut piece = calls(&[(&id, name, args)]);
            piece.truncate(4);
            piece
        }),
    ];
    let end = prop_oneof![
        3 => Just(vec![Ok(Event::Stop(StopReason::ToolUse))]),
        1 => Just(vec![Ok(Event::Stop(StopReason::End))]),
        1 => Just(vec![Ok(Event::Stop(StopReason::MaxTokens))]),
        1 => Just(fails(ErrorKind::Transport)),
        1 => Just(Vec::new()),
    ];
    (proptest::collection::vec(piece, 0..4), end).prop_map(|(pieces, end)| pieces.into_iter().flatten().chain(end).collect())
}

fn any_turn(dir: &Path, script: Vec<Answer>, stop_at: Option<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut spec = spec(dir);
        (spec.exec.background_ms, spec.exec.grace_ms) = (50, 50);
        let host = Noted { stop_at, ..Noted::default() };
        let begun = std::time::Instant::now();
        let (_, host, requests) = play(spec, host, script).await;
        assert_whole(&host, &requests);
        assert!(begun.elapsed() < std::time::Duration::from_secs(120));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_model_says_and_whenever_it_is_stopped_the_transcript_is_whole(
        script in proptest::collection::vec(answer(), 1..4),
        stop_at in proptest::option::of(0_usize..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        any_turn(dir.path(), script, stop_at);
    }
}

#[tokio::test]
async fn what_the_user_says_meanwhile_is_in_the_next_request_and_an_answer_that_was_the_last_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let asides = ["first", "second"].map(|text| (text.to_owned(), format!("{text}!")));
    let host = Noted { asides: Mutex::new(vec![(1, asides[0].clone()), (2, asides[1].clone())]), ..Noted::default() };
    let (finish, noted, requests) =
        play(spec(dir.path()), host, vec![calls(&[("c", "read", r#"{"path":"no"}"#)]), says("one"), says("two")]).await;
    assert_eq!((finish.end, finish.text.as_str(), requests.len()), (End::Done, "two", 3));
    let last = |n: usize| format!("{:?}", requests[n].messages.last().unwrap().content);
    assert!(last(1).contains("ToolResult") && last(1).contains("first!"), "behind the results: {}", last(1));
    assert!(last(2).contains("second!"), "{}", last(2));
    assert_eq!(*noted.taken.lock().unwrap(), ["first", "second"]);
}

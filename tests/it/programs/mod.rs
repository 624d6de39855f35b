//! The runners of agent programs in a real shim, with programs that play what was recorded of the real ones, or do what programs should not.

mod asking;
mod daemon;
mod faults;
mod hands;
mod live;
mod stub;

use serde_json::{Value, json};
use skykoi_gateway::programs::spec::Kind;
use skykoi_gateway::protocol::run::{RunErrorCode, RunStatus};
use skykoi_gateway::runs::spoken::Piece;

use crate::shim::{Bench, Ended};
use stub::{heard, playing, scripted};

/// The `data` of the lines of a stream.
fn data<'a>(ended: &'a Ended, stream: &str) -> Vec<&'a Value> {
    ended.lines.iter().filter(|line| line["stream"] == stream).map(|line| &line["data"]).collect()
}

/// The `data` of lifecycle lines of a phase.
fn phase<'a>(ended: &'a Ended, phase: &str) -> Vec<&'a Value> {
    data(ended, "lifecycle").into_iter().filter(|data| data["phase"] == phase).collect()
}

/// The text of the last message of the assistant.
fn last_text(ended: &Ended) -> String {
    let mut messages = data(ended, "message").into_iter().filter(|data| data["message"]["role"] == "assistant");
    let blocks = messages.next_back().unwrap()["message"]["content"].as_array().unwrap();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

#[tokio::test]
async fn every_kind_of_program_gives_the_same_lines() {
    let cases = [
        ("codex-tool", "Tool said: Chunk ID", Some(4), "out2\nout3\ne\nout1\n"),
        ("claude-exit-code", "Tool said: Exit code 3", Some(3), "hi\nerr"),
        ("claude-approval", "Tool said: made", Some(0), "made\ne"),
        ("pi-tool", "Tool said: out1", Some(4), "out1\nout2\nout3\ne\n"),
        ("pi-0.73-tool", "Tool said: out1", Some(4), "out1\nout2\nout3\ne\n"),
        ("acp-claude-tool", "Tool said: Exit code 4", Some(4), "Exit code 4\nout1\ne"),
        ("acp-opencode-tool", "Tool said: ", Some(4), "out1\ne\n"),
    ];
    for (name, text, code, output) in cases {
        let bench = playing(name);
        let ended = bench.run().await;
        assert_eq!((ended.outcome.status, ended.outcome.code), (RunStatus::Ok, None), "{name}: {}", ended.outcome.summary);
        let [session] = phase(&ended, "session")[..] else { panic!("{name}: one session") };
        assert_eq!(session["runner"], bench.spec.runner, "{name}");
        assert!(last_text(&ended).starts_with(text), "{name}: {}", last_text(&ended));
        let [start, result] = data(&ended, "tool")[..] else { panic!("{name}: one call, {:?}", data(&ended, "tool")) };
        assert_eq!((&start["name"], &start["toolCallId"]), (&json!("exec"), &result["toolCallId"]), "{name}");
        assert_eq!(result["exitCode"].as_i64(), code, "{name}");
        assert_eq!((ended.text("stdout").as_str(), ended.outcome.stdout_bytes), (output, output.len() as u64), "{name}");
        let last = data(&ended, "assistant").last().unwrap()["text"].as_str().unwrap().to_owned();
        assert_eq!(last, last_text(&ended), "{name}: what was streamed last is the last message");
        assert_eq!(ended.outcome.payloads.iter().map(|said| said.text.as_str()).collect::<String>(), last, "{name}");
        // The conversation can be given to a model again: each use has its result in the next message.
        let blocks: Vec<&Value> = data(&ended, "message").iter().flat_map(|data| data["message"]["content"].as_array().unwrap()).collect();
        let of = |kind: &str, key: &str| blocks.iter().filter(|b| b["type"] == kind).map(|b| b[key].clone()).collect::<Vec<_>>();
        assert_eq!(of("toolUse", "id"), of("toolResult", "id"), "{name}");
        assert_eq!(of("toolUse", "id").len(), 1, "{name}");
    }
}

#[tokio::test]
async fn what_was_used_stands_in_the_messages_and_in_the_outcome_alike() {
    for (name, tokens, has_cost) in
        [("claude-think", 130, true), ("pi-tool", 240, true), ("codex-tool", 240, false), ("acp-claude-tool", 260, true)]
    {
        let bench = playing(name);
        let ended = bench.run().await;
        let usage = ended.outcome.usage.unwrap_or_else(|| panic!("{name}: no usage"));
        assert_eq!((usage.total(), usage.cost.is_some()), (tokens, has_cost), "{name}");
        // As the transcript has it: a program on a busy machine may say it so late that its message is written already.
        let mut spoken = skykoi_gateway::runs::spoken::read(&bench.journal(), true).unwrap();
        spoken.complete(&usage);
        let of = |piece: &Piece| if let Piece::Message(whole) = piece { whole.usage } else { None };
        let sum: u64 = spoken.pieces.iter().filter_map(|(_, piece)| of(piece)).map(|usage| usage.total()).sum();
        assert_eq!(sum, tokens, "{name}");
    }
}

#[tokio::test]
async fn a_failure_says_what_the_program_said() {
    for (name, words) in [
        ("claude-success-with-is-error", "401"),
        ("codex-failed", "high demand"),
        ("pi-failed", "fake error"),
        ("acp-pi-swallowed-error", "without an answer"),
        ("acp-claude-auth", "Authentication required"),
    ] {
        let outcome = playing(name).run().await.outcome;
        assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)), "{name}");
        assert!(outcome.summary.contains(words), "{name}: {}", outcome.summary);
    }
}

#[tokio::test]
async fn an_abort_reaches_the_program_and_closes_its_call() {
    for name in ["claude-interrupt-command", "pi-abort-command", "pi-0.73-abort-command", "acp-codex-cancel"] {
        let bench = playing(name);
        let mut started = bench.start().await;
        wait_for(&bench, |line| line["stream"] == "tool").await;
        bench.abort(&mut started, "rpc").await;
        let ended = bench.finish(started).await;
        assert_eq!((ended.outcome.status, ended.outcome.stop_reason.as_deref()), (RunStatus::Aborted, Some("rpc")), "{name}");
        let [_, result] = data(&ended, "tool")[..] else { panic!("{name}: {:?}", data(&ended, "tool")) };
        assert_eq!(result["isError"], true, "{name}");
        let words = ["interrupt", "abort", "session/cancel"];
        assert!(heard(&bench).iter().any(|line| words.iter().any(|word| line.to_string().contains(word))), "{name}: it was asked to stop");
    }
}

#[tokio::test]
async fn an_interrupted_codex_is_told_to_clean_its_terminals() {
    let bench = playing("codex-interrupt-command");
    let mut started = bench.start().await;
    wait_for(&bench, |line| line["stream"] == "tool").await;
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Aborted);
    let methods: Vec<Value> = heard(&bench).iter().map(|line| line["method"].clone()).collect();
    assert!(methods.contains(&json!("turn/interrupt")) && methods.contains(&json!("thread/backgroundTerminals/clean")), "{methods:?}");
}

#[tokio::test]
async fn a_conversation_that_is_lost_is_begun_anew_once_and_the_journal_says_so() {
    let lost =
        r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: x"]}"#;
    let found = r#"{"type":"result","subtype":"success","is_error":false,"result":"hi"}"#;
    let text = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}]}}"#;
    let script =
        format!("expect '\"type\":\"user\"'\ncase \"$*\" in *--resume*) echo '{lost}';; *) echo '{text}'; echo '{found}';; esac\nrest");
    let mut bench = scripted(Kind::Claude, &script);
    bench.spec.program.as_mut().unwrap().session = Some("x".to_owned());
    let ended = bench.run().await;
    assert_eq!((ended.outcome.status, last_text(&ended).as_str()), (RunStatus::Ok, "hi"));
    let [warning] = phase(&ended, "warning")[..] else { panic!("one warning") };
    assert!(warning["text"].as_str().unwrap().contains("begins another one"));
}

/// Waits until a line is in the journal.
async fn wait_for(bench: &Bench, wanted: impl Fn(&Value) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let text = std::fs::read_to_string(bench.journal()).unwrap_or_default();
        if text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|line| wanted(&line)) {
            return;
        }
        assert!(begun.elapsed() < crate::shim::PATIENCE, "it never came: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

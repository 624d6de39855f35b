//! Programs without a shell of their own: a stub starts our server as Claude Code would, asks it for commands, and a test that stands in for the daemon says which may run.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use skykoi_gateway::agent::spec::ExecRules;
use skykoi_gateway::programs::spec::Kind;
use skykoi_gateway::protocol::run::RunStatus;
use skykoi_gateway::runs::control::{FromShim, Judgement, ToShim, receive, send};

use super::stub::{mcp_client, scripted};
use super::{data, last_text, phase};
use crate::shim::{Bench, Ended, until};

/// A run of Claude Code's stand-in whose commands are the gateway's.
fn bench(script: &str) -> Bench {
    let mut bench = scripted(Kind::Claude, &mcp_client(script));
    bench.spec.grace_ms = 1000;
    let rules = ExecRules { grace_ms: 500, timeout_ms: 60_000, ..ExecRules::default() };
    bench.spec.program.as_mut().unwrap().hands = Some(rules);
    bench
}

/// Runs it to its end; whatever is asked is answered by `judge`. Gives what was asked, too.
async fn judged(bench: &Bench, judge: impl Fn(&str) -> Judgement) -> (Ended, Vec<String>) {
    let mut started = bench.start().await;
    let mut asked = Vec::new();
    while let Ok(Some(said)) = receive::<FromShim>(&mut started.control).await {
        let FromShim::Ask { ask, wanted } = said else { continue };
        let judgement = Box::new(judge(&wanted.command));
        asked.push(wanted.command.clone());
        send(&mut started.control, &ToShim::Answer { ask, judgement }).await.unwrap();
    }
    (bench.finish(started).await, asked)
}

fn allow(bench: &Bench) -> impl Fn(&str) -> Judgement {
    let env = bench.spec.env.clone();
    move |_| Judgement::Start { plan: None, env: env.clone() }
}

/// What the stub was answered, by the id of its request.
fn answers(bench: &Bench) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(bench.dir.path().join("stub.mcp")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["id"].to_string(), line)).collect()
}

fn tool_lines(ended: &Ended) -> Vec<(String, String)> {
    let shown = |data: &&Value| (data["phase"].as_str().unwrap().to_owned(), data["toolCallId"].as_str().unwrap().to_owned());
    data(ended, "tool").iter().map(shown).collect()
}

fn calls(lines: &[(String, String)]) -> Vec<(&str, &str)> {
    lines.iter().map(|(phase, id)| (phase.as_str(), id.as_str())).collect()
}

#[tokio::test]
async fn a_command_through_our_tool_is_one_call_with_chunks_and_exit_code_whoever_tells_of_it_first() {
    let told = ["use toolu_1 'echo one; echo two >&2; exit 3'", "call 5 toolu_1 'echo one; echo two >&2; exit 3'", "hear"];
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        let script: Vec<&str> = order.iter().map(|step| told[*step]).collect();
        let bench = bench(&format!("hello\n{}\nresult toolu_1 'one and two'\nsay done\n", script.join("\n")));
        let (ended, asked) = judged(&bench, allow(&bench)).await;
        assert_eq!((ended.outcome.status, asked.len()), (RunStatus::Ok, 1), "{order:?}: {}", ended.outcome.summary);
        assert_eq!(calls(&tool_lines(&ended)), [("start", "toolu_1"), ("result", "toolu_1")], "{order:?}");
        let result = data(&ended, "tool")[1];
        assert_eq!((&result["exitCode"], &result["name"], &result["isError"]), (&json!(3), &json!("exec"), &json!(true)));
        assert_eq!((ended.text("stdout").as_str(), ended.text("stderr").as_str()), ("one\n", "two\n"), "{order:?}");
        assert!(data(&ended, "exec").iter().all(|chunk| chunk["toolCallId"] == "toolu_1"));
        assert_eq!((ended.outcome.stdout_bytes, ended.outcome.stderr_bytes), (4, 4));
        let answer = answers(&bench).remove("5").unwrap();
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("one") && text.contains("two") && text.contains("Exit code 3"), "{answer}");
        assert!(answer["result"].get("structuredContent").is_none() && answer["result"]["isError"] == true, "{answer}");
        assert_eq!(last_text(&ended), "done");
        assert!(phase(&ended, "warning").is_empty());
    }
}

#[tokio::test]
async fn a_program_that_does_not_name_its_calls_has_one_call_for_each_command_all_the_same() {
    let script = "hello\ncall 5 '' 'echo a'\nhear\nuse x 'echo a'\nresult x a\nuse y 'echo b'\nuntil_told y\ncall 6 '' 'echo b'\nhear\nresult y b\nsay done\n";
    let bench = bench(script);
    let (ended, _) = judged(&bench, allow(&bench)).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok, "{}", ended.outcome.summary);
    assert_eq!(calls(&tool_lines(&ended)), [("start", "gw_1"), ("result", "gw_1"), ("start", "y"), ("result", "y")]);
    assert_eq!(ended.text("stdout"), "a\nb\n");
}

#[tokio::test]
async fn what_is_refused_does_not_run_and_the_model_is_told_why() {
    let bench = bench("hello\nuse t 'touch ran'\ncall 5 t 'touch ran'\nhear\nresult t no\nsay done\n");
    let refuse = |_: &str| Judgement::Refused { denied: None, message: "a person refused".to_owned() };
    let (ended, _) = judged(&bench, refuse).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    assert!(!bench.dir.path().join("ran").exists());
    let result = data(&ended, "tool")[1];
    assert!(result["isError"] == true && result["exitCode"].is_null(), "{result}");
    assert!(result["result"].as_str().unwrap().contains("a person refused"), "{result}");
    assert!(answers(&bench)["5"].to_string().contains("a person refused"));
}

#[tokio::test]
async fn a_flood_comes_back_to_the_model_as_its_beginning_and_its_end() {
    let flood = "seq 200000";
    let bench = bench(&format!("hello\nuse t '{flood}'\ncall 5 t '{flood}'\nhear\nresult t much\nsay done\n"));
    let (ended, _) = judged(&bench, allow(&bench)).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    let answer = answers(&bench).remove("5").unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.len() < 40_000 && text.starts_with("1\n2\n") && text.contains("\n200000\n") && text.contains("bytes left out"),
        "{}",
        text.len()
    );
    assert_eq!(ended.outcome.stdout_bytes, (1..=200_000_u32).map(|n| n.to_string().len() as u64 + 1).sum::<u64>());
}

#[tokio::test]
async fn a_time_limit_and_a_cancel_end_the_command_with_all_it_started() {
    let slow = "touch \"$0.x\"; (sleep 1000 &); sleep 1000";
    let limited = bench(&format!("hello\nuse t x\ntimed 5 t 1 '{slow}'\nhear\nresult t late\nsay done\n"));
    let (ended, _) = judged(&limited, allow(&limited)).await;
    assert!(answers(&limited)["5"].to_string().contains("time limit was over"), "{:?}", answers(&limited));
    assert_eq!((ended.outcome.status, data(&ended, "tool")[1]["isError"].clone()), (RunStatus::Ok, json!(true)));

    let cancelled =
        bench("hello\nuse t x\ncall 5 t 'touch began; sleep 1000'\nuntil_there began\ncancel 5\nping 6\nhear\nresult t gone\nsay done\n");
    let (ended, _) = judged(&cancelled, allow(&cancelled)).await;
    let answers = answers(&cancelled);
    assert!(!answers.contains_key("5") && answers.contains_key("6"), "a call that was cancelled has no answer: {answers:?}");
    let result = data(&ended, "tool")[1];
    assert!(ended.outcome.status == RunStatus::Ok && result["isError"] == true && result["exitCode"].is_null(), "{result}");
}

#[tokio::test]
async fn an_abort_ends_what_the_program_had_us_start() {
    let bench = bench("hello\nuse t 'touch began; sleep 1000'\ncall 5 t 'touch began; sleep 1000'\nhear\nrest\n");
    let mut started = bench.start().await;
    let began = bench.dir.path().join("began");
    while !began.exists() {
        let said = tokio::time::timeout(std::time::Duration::from_millis(20), receive::<FromShim>(&mut started.control)).await;
        if let Ok(Ok(Some(FromShim::Ask { ask, .. }))) = said {
            let judgement = Box::new(allow(&bench)(""));
            send(&mut started.control, &ToShim::Answer { ask, judgement }).await.unwrap();
        }
    }
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Aborted);
    assert_eq!(calls(&tool_lines(&ended)), [("start", "t"), ("result", "t")]);
}

#[tokio::test]
async fn only_the_program_may_use_the_tool_and_not_the_commands_that_it_started() {
    let bench = bench("hello\nuse t x\nuntil_there go\ncall 5 t 'touch ran'\nhear\nresult t x\nsay done\n");
    let mut started = bench.start().await;
    let path = bench.spec.socket_path.as_ref().unwrap().with_extension("exec");
    until("the socket is there", || path.exists()).await;
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Of our user, and no part of the run.
    let mut stranger = UnixStream::connect(&path).unwrap();
    let _ = stranger.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
    let mut said = String::new();
    tokio::task::spawn_blocking(move || {
        let _ = stranger.read_to_string(&mut said);
        assert_eq!(said, "");
    })
    .await
    .unwrap();
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    let mut first = true;
    while let Ok(Some(said)) = receive::<FromShim>(&mut started.control).await {
        let FromShim::Ask { ask, .. } = said else { continue };
        assert!(std::mem::take(&mut first), "one question");
        let judgement = Box::new(allow(&bench)(""));
        send(&mut started.control, &ToShim::Answer { ask, judgement }).await.unwrap();
    }
    bench.finish(started).await;
    assert!(!path.exists());

    // A command of the run hangs from the host and not from the program.
    let word = env!("CARGO_BIN_EXE_skykoi-gateway");
    let script = format!("hello\nuse t x\ncall 5 t 'echo \"{{}}\" | {word} mcp {{place}}; echo came $?'\nhear\nresult t x\nsay done\n");
    let inner = self::bench(&script.replace("{place}", "'\"$place\"'"));
    let (ended, _) = judged(&inner, allow(&inner)).await;
    assert_eq!(ended.text("stdout"), "came 0\n", "hung up on without a word");
}

#[tokio::test]
async fn pi_and_a_program_that_never_comes_for_the_tool_are_told_about_in_words() {
    let mut pi = scripted(Kind::Pi, "rest");
    pi.spec.program.as_mut().unwrap().hands = Some(ExecRules::default());
    let ended = pi.run().await;
    assert!(
        ended.outcome.summary.contains("Model Context Protocol") && ended.outcome.summary.contains("\"native\""),
        "{}",
        ended.outcome.summary
    );
    let alone = bench("say hi\n");
    let ended = alone.run().await;
    let [warning] = phase(&ended, "warning")[..] else { panic!("one warning") };
    assert!(warning["text"].as_str().unwrap().contains("never connected"), "{warning}");
}

#[tokio::test]
async fn an_isolated_program_reaches_the_tool_by_a_port_of_its_machine_and_not_at_all_without_a_network() {
    use skykoi_gateway::exec::isolate::Confinement;
    use skykoi_gateway::protocol::isolation::{Isolation, Level};
    let isolated = |network: bool| {
        let mut bench = bench("hello\nuse t 'echo hi'\ncall 5 t 'echo hi'\nhear\nresult t hi\nsay done\n");
        let isolation = Isolation { level: Level::Workspace, network, ..Isolation::default() };
        bench.spec.confinement = Some(Confinement { isolation, ..Confinement::default() });
        bench
    };
    let bench = isolated(true);
    let (ended, asked) = judged(&bench, allow(&bench)).await;
    if ended.outcome.summary.contains("ended in the middle") {
        return crate::nginx::skip("no Landlock here");
    }
    assert_eq!((ended.outcome.status, asked.len()), (RunStatus::Ok, 1), "{}", ended.outcome.summary);
    assert_eq!((ended.text("stdout").as_str(), calls(&tool_lines(&ended)).len()), ("hi\n", 2));
    let ended = isolated(false).run().await;
    assert!(ended.outcome.summary.contains("sandbox.network") && ended.outcome.summary.contains("\"native\""), "{}", ended.outcome.summary);
}

//! Tools as a model uses them, with real files and real commands.

use std::sync::Arc;

use serde_json::json;

use super::fakes::{Noted, args, calls, play, says, spec, until};
use crate::agent::host::{AgentEvent, End};
use crate::agent::spec::{AgentSpec, FetchRules, ToolLayer};
use crate::exec::proc::{all, stat};

/// The results of one call after the other: whether they failed, and their texts.
async fn results(spec: AgentSpec, uses: &[(&str, serde_json::Value)]) -> Vec<(bool, String)> {
    let script = uses.iter().enumerate().map(|(n, (name, value))| calls(&[(format!("c{n}").as_str(), name, &args(value))])).collect();
    let (finish, host, _) = play(spec, Noted::default(), script).await;
    assert_eq!(finish.end, End::Done);
    host.results().into_iter().map(|(_, is_error, text)| (is_error, text)).collect()
}

#[tokio::test]
async fn sk41_exec_has_a_folder_an_environment_an_exit_code_and_a_time_limit() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let uses = [
        ("exec", json!({ "command": "pwd; echo $FRUIT; echo err >&2; exit 3", "workdir": "sub", "env": { "FRUIT": "äpfel" } })),
        ("exec", json!({ "command": "echo begin; touch begun; sleep 30", "timeout": 0.05 })),
        ("exec", json!({ "command": "true" })),
        ("exec", json!({ "command": "true", "workdir": "none" })),
        ("exec", json!({ "command": "kill -9 $$" })),
    ];
    let results = results(spec(dir.path()), &uses).await;
    let (failed, text) = &results[0];
    let at = dir.path().canonicalize().unwrap().join("sub");
    assert!(*failed && text.contains(&format!("{}\n", at.display())) && text.contains("äpfel") && text.contains("err"), "{text}");
    assert!(text.contains("[Exit code 3 after "), "{text}");
    assert!(results[1].0 && results[1].1.starts_with("begin") && results[1].1.contains("time limit"), "{}", results[1].1);
    assert!(!results[2].0 && results[2].1.starts_with("(no output)"));
    assert!(results[3].0 && results[3].1.contains("does not exist"), "{}", results[3].1);
    assert!(results[4].0 && results[4].1.contains("Killed by SIGKILL"), "{}", results[4].1);
}

#[tokio::test]
async fn a_command_that_ignores_term_is_reported_as_over_its_time_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.exec.grace_ms = 2500;
    let command = json!({ "command": "trap '' TERM; touch begun; sleep 300", "timeout": 0.05 });
    let results = results(spec, &[("exec", command)]).await;
    assert!(results[0].0 && results[0].1.contains("[Its time limit was over; ended after "), "{}", results[0].1);
}

#[tokio::test]
async fn a_key_that_is_typed_before_a_command_has_its_terminal_reaches_it() {
    let dir = tempfile::tempdir().unwrap();
    // In the place of the hidden command, and slower. It stays, because other tests of this process take a child with a session of its own for an orphan; and no shell has the terminal, because one that is about to start something may put an interrupt off until that ends.
    // Who starts these tests may have left the signal ignored, which is inherited; the daemon does not.
    let confine = "until [ -e go ]; do sleep 0.02; done; env --default-signal=INT setsid -c sleep 300; exit $?";
    std::fs::write(dir.path().join("confine"), confine).unwrap();
    let uses = [
        ("exec", json!({ "command": "true", "pty": true, "background": true })),
        ("process", json!({ "action": "send-keys", "id": "p1", "keys": ["ctrl-c"] })),
        ("process", json!({ "action": "poll", "id": "p1", "waitMs": 60_000 })),
    ];
    let script = uses.iter().map(|(name, value)| calls(&[(value["action"].as_str().unwrap_or("start"), name, &args(value))])).collect();
    let host = Arc::new(Noted::default());
    let watch = async {
        until("a key is typed", || host.order().contains("+send-keys")).await;
        std::fs::write(dir.path().join("go"), "").unwrap();
    };
    let (_, ()) = tokio::join!(play(spec(dir.path()), Arc::clone(&host), script), watch);
    let results = host.results();
    assert!(results[1].2.starts_with("Wrote 1 bytes") && results[2].2.contains("[Exit code 130 after "), "{results:?}");
}

#[tokio::test]
async fn sk41_a_command_goes_on_in_the_background_and_process_looks_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let uses = [
        ("exec", json!({ "command": "while read line; do echo \"got $line\"; done; echo bye", "background": true })),
        ("process", json!({ "action": "write", "id": "p1", "data": "ä\n" })),
        ("process", json!({ "action": "send-keys", "id": "p1", "keys": ["b", "Enter", "C-d"] })),
        ("process", json!({ "action": "poll", "id": "p1", "waitMs": 60_000 })),
        ("process", json!({ "action": "log", "id": "p1", "offset": 2, "limit": 1 })),
        ("exec", json!({ "command": "echo one; touch begun; sleep 60", "yieldMs": 300 })),
        ("process", json!({ "action": "poll", "id": "p2" })),
        ("process", json!({ "action": "list" })),
        ("process", json!({ "action": "kill", "id": "p2" })),
        ("process", json!({ "action": "write", "id": "p2", "data": "x" })),
        ("process", json!({ "action": "poll", "id": "p9" })),
    ];
    let mut spec = spec(dir.path());
    // TERM ends what is killed here, and its end is waited for a little longer than this.
    spec.exec.grace_ms = 30_000;
    let results = results(spec, &uses).await;
    assert!(results[0].1.contains("process p1"), "{results:?}");
    assert!(results[3].1.contains("got ä\ngot b\nbye") && results[3].1.contains("Exit code 0"), "{}", results[3].1);
    assert!(results[4].1.starts_with("got b\n"), "{}", results[4].1);
    assert!(!results[5].0 && results[5].1.starts_with("one\n") && results[5].1.contains("process p2"), "{}", results[5].1);
    assert!(results[6].1.starts_with("(no new output)"), "{}", results[6].1);
    assert!(
        results[7].1.contains("p1 pid") && results[7].1.contains("exit code 0") && results[7].1.contains("running"),
        "{}",
        results[7].1
    );
    assert!(!results[8].0 && results[8].1.contains("killed by SIGTERM"), "{}", results[8].1);
    assert!(results[9].0 && results[9].1.contains("has ended") && results[10].0);
}

#[tokio::test]
async fn the_model_is_told_once_when_a_command_in_the_background_ends() {
    let dir = tempfile::tempdir().unwrap();
    // Until it has ended and was reaped, and a while longer for what this process does then.
    let wait = "while [ ! -e gone ]; do sleep 0.02; done; while kill -0 $(cat gone) 2>/dev/null; do sleep 0.02; done; sleep 0.2";
    let uses = [
        ("exec", json!({ "command": "echo hi; echo $$ > pid; mv pid gone; exit 4", "background": true })),
        ("exec", json!({ "command": wait })),
        ("exec", json!({ "command": "true" })),
    ];
    let script: Vec<_> =
        uses.iter().enumerate().map(|(n, (name, value))| calls(&[(format!("c{n}").as_str(), name, &args(value))])).collect();
    for notify_on_exit in [true, false] {
        let mut spec = spec(dir.path());
        spec.exec.notify_on_exit = notify_on_exit;
        let (_, _, requests) = play(spec, Noted::default(), script.clone()).await;
        let told = |n: usize| format!("{:?}", requests[n].messages.last().unwrap()).matches("Ended in the background: p1 ").count();
        assert_eq!([told(1), told(2), told(3)], [0, usize::from(notify_on_exit), 0]);
        let text = format!("{:?}", requests[2].messages.last().unwrap());
        assert_eq!(text.contains("exit code 4"), notify_on_exit, "{text}");
        std::fs::remove_file(dir.path().join("gone")).unwrap();
    }
    // Who has looked needs no telling.
    let looked = [
        ("exec", json!({ "command": "exit 4", "background": true })),
        ("process", json!({ "action": "poll", "id": "p1", "waitMs": 60_000 })),
        ("exec", json!({ "command": "true" })),
    ];
    let texts: Vec<String> = results(spec(dir.path()), &looked).await.into_iter().map(|(_, text)| text).collect();
    assert!(texts[1].contains("Exit code 4") && !texts.iter().any(|text| text.contains("Ended in the background")), "{texts:?}");
}

#[tokio::test]
async fn a_flood_is_bounded_for_the_model_and_told_to_the_host_whole() {
    let dir = tempfile::tempdir().unwrap();
    let flood = args(&json!({ "command": "seq 1 200000" }));
    let (_, host, requests) = play(spec(dir.path()), Noted::default(), vec![calls(&[("f", "exec", &flood)]), says("x")]).await;
    let (_, is_error, text) = host.results().remove(0);
    assert!(!is_error && text.len() < 32 * 1024 && text.starts_with("1\n2\n") && text.contains("\n200000\n"), "{}", text.len());
    assert!(text.contains("bytes left out"));
    let all: usize = host.output.lock().unwrap().iter().map(|(_, text)| text.len()).sum();
    assert_eq!(all, (1..=200_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>());
    assert!(format!("{:?}", requests[1].messages).len() < 80_000);
}

#[tokio::test]
async fn a_stop_ends_commands_and_keeps_what_they_printed() {
    let dir = tempfile::tempdir().unwrap();
    // It says that it has started when neither process hears TERM any more: one that TERM ended would leave the other to a shim's sweep.
    let command = args(&json!({ "command": "trap '' TERM; echo $$; (sleep 300) & echo started; sleep 300" }));
    let host = Noted::default();
    let (stop, output) = (host.stop.clone(), host.output.clone());
    let watch = async {
        until("the command has started", || output.lock().unwrap().iter().any(|(_, text)| text.contains("started"))).await;
        stop.cancel();
    };
    let script = vec![calls(&[("x", "exec", &command), ("y", "exec", &command)])];
    let mut spec = spec(dir.path());
    spec.exec.grace_ms = 50;
    let ((finish, host, _), ()) = tokio::join!(play(spec, host, script), watch);
    assert_eq!(finish.end, End::Stopped);
    let messages = host.messages();
    assert_eq!(messages.len(), 2, "the results are told although it was stopped");
    let results = host.results();
    assert!(results.len() == 1 && results[0].1 && results[0].2.contains("started") && results[0].2.contains("Cancelled"), "{results:?}");
    let group: u32 = results[0].2.lines().next().unwrap().parse().unwrap();
    let lives = || all().into_iter().filter_map(stat).any(|process| process.pgrp == group && !process.is_dead());
    // A process that was killed needs a moment to die.
    until("nothing of the command is left", || !lives()).await;
}

#[tokio::test]
async fn a_command_that_the_gate_refuses_is_a_result_and_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let host = Noted { deny: Some("not on the list".into()), ..Noted::default() };
    let (finish, host, _) =
        play(spec(dir.path()), host, vec![calls(&[("x", "exec", r#"{"command":"touch x"}"#)]), says("I may not.")]).await;
    assert_eq!(finish.end, End::Done);
    assert_eq!(host.results()[0].2, "The command did not run: not on the list");
    let events = host.events.lock().unwrap();
    let cwd = dir.path().canonicalize().unwrap();
    let shown = events.iter().any(
        |event| matches!(event, AgentEvent::ToolStart { args, .. } if args["cwd"].as_str() == cwd.to_str() && args["command"] == "touch x"),
    );
    assert!(shown, "{events:?}");
}

#[tokio::test]
async fn sk42_denied_tools_are_neither_offered_nor_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.tools.layers = vec![
        ToolLayer { deny: Some(vec!["group:runtime".into()]), ..ToolLayer::default() },
        ToolLayer { allow: Some(vec!["exec".into(), "read".into(), "write".into()]), ..ToolLayer::default() },
    ];
    spec.files.read_only = true;
    let (_, host, requests) = play(spec, Noted::default(), vec![calls(&[("x", "exec", r#"{"command":"touch x"}"#)])]).await;
    let names: Vec<&str> = requests[0].tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["read"]);
    assert!(host.results()[0].2.contains("no tool named exec") && !dir.path().join("x").exists());
}

#[tokio::test]
async fn files_are_written_edited_and_read_as_text_and_as_pictures() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
    std::fs::write(dir.path().join("bin"), b"a\0b").unwrap();
    let uses = [
        ("write", json!({ "path": "d/a.txt", "content": "eins\nzwei\ndrei ü\n" })),
        ("edit", json!({ "path": "d/a.txt", "oldText": "zwei", "newText": "2" })),
        ("read", json!({ "path": "d/a.txt", "offset": 2, "limit": 1 })),
        ("read", json!({ "path": "p.png" })),
        ("read", json!({ "path": "bin" })),
        ("edit", json!({ "path": "none", "oldText": "a", "newText": "b" })),
    ];
    let results = results(spec(dir.path()), &uses).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("d/a.txt")).unwrap(), "eins\n2\ndrei ü\n");
    assert!(results[2].1.starts_with("     2\t2\n[Lines 2 to 2 of 3."), "{}", results[2].1);
    assert!(!results[3].0 && results[3].1.ends_with("[image/png]"));
    assert!(results[4].0 && results[4].1.contains("no text") && results[5].1 == "none does not exist.");
}

#[tokio::test]
async fn pages_are_fetched_only_when_the_configuration_says_so_and_never_from_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    spec.fetch = Some(FetchRules::default());
    let call = calls(&[("x", "web_fetch", r#"{"url":"http://169.254.169.254/latest/meta-data/"}"#)]);
    let (_, host, requests) = play(spec.clone(), Noted::default(), vec![call.clone()]).await;
    assert!(requests[0].tools.iter().any(|tool| tool.name == "web_fetch"));
    assert!(host.results()[0].1 && host.results()[0].2.contains("not in the public internet"), "{:?}", host.results());
    spec.fetch = None;
    let (_, host, _) = play(spec, Noted::default(), vec![call]).await;
    assert!(host.results()[0].2.contains("no tool named web_fetch"));
}

#[tokio::test]
async fn tools_for_sessions_are_errands_and_offered_only_where_they_make_sense() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path());
    let call = calls(&[("x", "sessions_spawn", r#"{"task":"look"}"#)]);
    let (_, host, _) = play(spec.clone(), Noted::default(), vec![call.clone()]).await;
    assert!(host.results()[0].2.contains("no tool named sessions_spawn"));
    spec.sessions = true;
    let (_, host, requests) = play(spec.clone(), Noted::default(), vec![call.clone()]).await;
    let names: Vec<&str> = requests[0].tools.iter().map(|tool| tool.name.as_str()).filter(|name| name.contains('s')).collect();
    for name in ["sessions_list", "sessions_history", "sessions_send", "sessions_spawn", "agents_list"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(host.results()[0], ("x".to_owned(), false, r#"x sessions_spawn {"task":"look"}"#.to_owned()));
    let (_, host, _) = play(spec.clone(), Noted { deny: Some("no".into()), ..Noted::default() }, vec![call]).await;
    assert_eq!(host.results()[0], ("x".to_owned(), true, "no sessions_spawn".to_owned()));
    spec.tools.layers = vec![ToolLayer { deny: Some(vec!["group:sessions".into()]), ..ToolLayer::default() }];
    let (_, _, requests) = play(spec, Noted::default(), vec![]).await;
    assert!(!requests[0].tools.iter().any(|tool| tool.name.starts_with("sessions_") || tool.name == "agents_list"));
}

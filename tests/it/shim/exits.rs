//! How commands end, and what the events say about it.

use serde_json::json;
use skykoi_gateway::protocol::run::{RunErrorCode, RunStatus};

use super::Bench;

#[tokio::test]
async fn a_script_gives_exactly_the_promised_events() {
    let bench = Bench::new("echo out; echo err >&2");
    let ended = bench.run().await;
    assert_eq!(ended.shape(), ["lifecycle:start", "tool:start", "exec", "tool:result", "lifecycle:end"]);
    assert_eq!((ended.text("stdout").as_str(), ended.text("stderr").as_str()), ("out\n", "err\n"));
    let lines = &ended.lines;
    assert_eq!((&lines[0]["runId"], &lines[0]["sessionKey"]), (&json!("run-1"), &json!("agent:main:main")));
    assert_eq!(lines[0]["data"]["host"]["v"], 1);
    let cwd = bench.dir.path().to_str().unwrap();
    assert_eq!(
        lines[1]["data"],
        json!({"phase": "start", "name": "exec", "toolCallId": "call_1", "args": {"command": bench.spec.message, "cwd": cwd}})
    );
    assert_eq!(lines[2]["status"], "streaming");
    assert_eq!(lines[2]["data"]["toolCallId"], "call_1");
    assert!(lines[2]["data"].get("text").is_none());
    let result = &lines[lines.len() - 2]["data"];
    assert_eq!((&result["exitCode"], &result["isError"]), (&json!(0), &json!(false)));
    let outcome = ended.outcome;
    assert_eq!((outcome.status, outcome.exit_code, outcome.stdout_bytes, outcome.stderr_bytes), (RunStatus::Ok, Some(0), 4, 4));
    assert!(outcome.served() && outcome.summary.starts_with("completed in ") && outcome.peak_rss_bytes > 100_000);
    assert!(outcome.started_at.unwrap() <= outcome.ended_at && outcome.swept == 0 && !outcome.pipes_held_open);
}

#[tokio::test]
async fn m77_exit_codes_and_signals_are_distinct() {
    for (script, code, signal) in [
        ("exit 1", Some(1), None),
        ("exit 137", Some(137), None),
        ("kill -SEGV $$", None, Some("SIGSEGV")),
        ("kill -KILL $$", None, Some("SIGKILL")),
    ] {
        let ended = Bench::new(script).run().await;
        let outcome = &ended.outcome;
        assert_eq!(
            (outcome.status, outcome.code, outcome.exit_code, outcome.signal.as_deref()),
            (RunStatus::Error, None, code, signal),
            "{script}"
        );
        let result = &ended.lines[ended.lines.len() - 2]["data"];
        assert_eq!((result["exitCode"].as_i64(), result["signal"].as_str()), (code.map(i64::from), signal));
        assert_eq!(result["isError"], true);
        assert_eq!(ended.shape().last().unwrap(), "lifecycle:end");
    }
}

#[tokio::test]
async fn m77_what_cannot_be_started_is_unavailable_and_says_why() {
    type Spoil = fn(&mut Bench);
    let spoil: [(&str, Spoil); 4] = [
        ("/no/such/shell", |bench| bench.spec.shell = "/no/such/shell".into()),
        ("does not exist", |bench| bench.spec.cwd = bench.dir.path().join("gone")),
        ("NUL", |bench| bench.spec.message = "echo a\0b".into()),
        ("no runner named", |bench| bench.spec.runner = "none".into()),
    ];
    for (text, change) in spoil {
        let mut bench = Bench::new("true");
        change(&mut bench);
        let ended = bench.run().await;
        assert_eq!((ended.outcome.status, ended.outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
        assert!(ended.outcome.summary.contains(text), "{}", ended.outcome.summary);
        assert_eq!(ended.shape().last().unwrap(), "lifecycle:error");
    }
}

#[tokio::test]
async fn m77_a_script_of_any_length_runs_with_its_stdin_at_the_end() {
    let bench = Bench::new(&format!("x='{}'\necho ${{#x}}; cat; echo done", "y".repeat(3 << 20)));
    let ended = bench.run().await;
    assert_eq!(ended.text("stdout"), format!("{}\ndone\n", 3 << 20));
}

#[tokio::test]
async fn m79_a_time_limit_of_nothing_and_of_one_millisecond_both_time_out() {
    for timeout in [0, 1, 300] {
        let mut bench = Bench::new("sleep 100");
        bench.spec.timeout_ms = Some(timeout);
        // Nothing here needs the KILL, so its end does not wait for it.
        bench.spec.grace_ms = 60_000;
        let ended = bench.run().await;
        assert_eq!((ended.outcome.status, ended.outcome.code), (RunStatus::Timeout, Some(RunErrorCode::AgentTimeout)));
        assert_eq!(ended.outcome.summary, format!("timed out after {timeout} ms"));
        assert!(!ended.outcome.served() && ended.took.as_secs() < 30);
    }
}

#[tokio::test]
async fn a_command_sees_only_its_own_environment_and_three_plain_descriptors() {
    let bench = Bench::new("env; echo --; ls -l /proc/$$/fd; echo --; cat /proc/self/status; echo --; cat; tty");
    let ended = bench.run().await;
    let text = ended.text("stdout");
    let parts: Vec<&str> = text.split("--\n").collect();
    let mut names: Vec<&str> = parts[0].lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PWD", "SHLVL", "SKYKOI_RUN", "_"]);
    assert!(parts[1].contains("0 -> /dev/null") && !parts[1].contains("ndjson"), "{}", parts[1]);
    assert!(!parts[1].contains("socket:"), "{}", parts[1]);
    assert!(parts[2].contains("SigBlk:\t0000000000000000"), "{}", parts[2]);
    assert_eq!(parts[3], "not a tty\n");
}

#[tokio::test]
async fn a_shim_has_no_environment_that_its_commands_could_read() {
    let bench = Bench::new("tr '\\0' '\\n' </proc/$PPID/environ | grep -c .; cat /proc/$PPID/cmdline");
    let text = bench.run().await.text("stdout");
    assert!(text.starts_with("0\n"), "{text}");
    assert!(text.ends_with("shim\0"), "the spec is not in the arguments: {text}");
}

//! How runs end on the wire: every field of the final, aborts, time limits, refusals, and what a command may know.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::model::{outcome_of, without_meta};
use crate::harness::{Client, Gateway};

/// A script that ends only when somebody ends it; it says `ready` once it runs.
const ENDLESS: &str = "echo ready; sleep 1000";

/// Starts a run and waits until it has printed something.
async fn running(client: &mut Client, params: Value) -> (String, String) {
    let (id, ack) = client.agent(params).await;
    let run_id = ack["runId"].as_str().unwrap().to_owned();
    client.until("output", |client| client.runs.get(&run_id).is_some_and(|run| !run.text().is_empty())).await;
    (id, run_id)
}

#[tokio::test]
async fn the_final_says_everything_and_the_same_as_the_last_event_and_the_row() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo err >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3";
    let last = client.script(script).await;
    assert_eq!(last["ok"], true, "a command that ran to its end was served, whatever its exit code");
    let payload = &last["payload"];
    let result = &payload["result"];
    assert_eq!((payload["status"].as_str(), payload["exitCode"].as_i64()), (Some("error"), Some(3)));
    for key in ["status", "summary", "exitCode", "startedAt", "endedAt", "durationMs"] {
        assert_eq!(payload[key], result[key], "{key}");
    }
    assert_eq!((result["stdoutBytes"].as_u64(), result["stderrBytes"].as_u64()), (Some(100_001), Some(4)));
    assert_eq!((result["truncated"].as_bool(), result["droppedBytes"].as_u64()), (Some(false), Some(0)));
    assert!(result["cpuMs"].as_u64().unwrap() > 0, "{result}");
    assert!(result["peakRssBytes"].as_u64().unwrap() > 1 << 20, "{result}");
    let (started, ended) = (result["startedAt"].as_u64().unwrap(), result["endedAt"].as_u64().unwrap());
    assert!(started <= ended && ended - started + 50 >= result["durationMs"].as_u64().unwrap(), "{result}");
    let run_id = payload["runId"].as_str().unwrap();
    assert_eq!(outcome_of(client.runs[run_id].terminal().unwrap()), without_meta(result));
    assert_eq!(result["meta"]["durationMs"], result["durationMs"]);
    let row = client.ok("runs.get", json!({"runId": run_id})).await;
    assert_eq!(row["outcome"], *result);
    let waited = client.ok("agent.wait", json!({"runId": run_id})).await;
    assert_eq!((&waited["outcome"], &waited["head"]), (result, &payload["head"]));
}

#[tokio::test]
async fn m77_exit_codes_signals_and_a_shell_that_is_not_there_are_told_apart() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    for (script, status, exit_code, signal) in [
        ("true", "ok", Some(0), None),
        ("exit 1", "error", Some(1), None),
        ("exit 137", "error", Some(137), None),
        ("kill -SEGV $$", "error", None, Some("SIGSEGV")),
        ("/no/such/program", "error", Some(127), None),
    ] {
        let last = client.script(script).await;
        let result = &last["payload"]["result"];
        assert_eq!(last["ok"], true, "{script}");
        assert_eq!((result["status"].as_str(), result["exitCode"].as_i64(), result["signal"].as_str()), (Some(status), exit_code, signal));
    }
    let gateway = Gateway::with(&json!({"agents": {"defaults": {"shell": "/no/such/shell"}}}));
    let mut client = Client::connect(&gateway).await;
    let last = client.script("true").await;
    assert_eq!((last["ok"].as_bool(), last["error"]["code"].as_str()), (Some(false), Some("UNAVAILABLE")));
    assert!(last["error"]["message"].as_str().unwrap().contains("/no/such/shell"), "{last}");
    assert_eq!(last["payload"]["status"], "error");
}

#[tokio::test]
async fn m76_output_beyond_the_cap_is_counted_and_the_end_is_kept() {
    let gateway = Gateway::with(&json!({"agents": {"defaults": {"output": {"journalCapBytes": 131_072, "tailBytes": 16_384}}}}));
    let mut client = Client::connect(&gateway).await;
    let last = client.script("yes 0123456789abcdef | head -c 2000000; echo THE END").await;
    let result = &last["payload"]["result"];
    assert_eq!((result["truncated"].as_bool(), result["stdoutBytes"].as_u64()), (Some(true), Some(2_000_008)));
    let run = &client.runs[last["payload"]["runId"].as_str().unwrap()];
    assert!(run.text().starts_with("0123456789abcdef\n") && run.text().ends_with("THE END\n"));
    assert_eq!(run.text().len() as u64 + result["droppedBytes"].as_u64().unwrap(), 2_000_008);
    let noted: u64 = run.events.values().filter_map(|event| event["data"]["droppedBytes"].as_u64()).sum();
    let at_end = outcome_of(run.terminal().unwrap())["droppedBytes"].as_u64().unwrap();
    assert_eq!(noted - at_end, at_end, "the chunks say where the bytes are missing");
}

#[tokio::test]
async fn m76_bytes_that_are_no_text_become_replacement_characters_and_are_counted_as_they_were() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let last = client.script(r#"printf 'a\377b\303'; sleep 0.05; printf '\251\0\033[1m'"#).await;
    let run = &client.runs[last["payload"]["runId"].as_str().unwrap()];
    assert_eq!(run.text(), "a\u{fffd}bé\0\u{1b}[1m");
    assert_eq!(last["payload"]["result"]["stdoutBytes"], 10);
}

#[tokio::test]
async fn m75_nothing_of_a_run_outlives_it() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let script = "(setsid sleep 1000 &) ; (trap '' TERM; sleep 1000; :) & (exec >&- 2>&- <&-; sleep 1000) & echo ready";
    let last = client.script(script).await;
    assert_eq!(last["payload"]["status"], "ok");
    assert!(last["payload"]["result"]["swept"].as_u64().unwrap() >= 3, "{last}");
    gateway.is_clean().await;
}

#[tokio::test]
async fn m78_a_run_at_work_is_aborted_once_and_asking_again_changes_nothing() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, run_id) = running(&mut client, json!({"message": ENDLESS})).await;
    let mut other = Client::connect(&gateway).await;
    let ask = json!({"runId": run_id});
    let (first, second) = (client.request("runs.abort", ask.clone()).await, other.request("runs.abort", ask.clone()).await);
    // Either of them may be looked at first, and the run may be over before the other one is.
    let answers = [client.response(&first).await, other.response(&second).await];
    assert!(answers.iter().all(|answer| answer["ok"] == true && answer["payload"]["runId"] == run_id), "{answers:?}");
    assert!(answers.iter().any(|answer| answer["payload"]["aborted"] == true), "{answers:?}");
    let last = client.response(&id).await;
    assert_eq!((last["ok"].as_bool(), last["payload"]["status"].as_str()), (Some(true), Some("aborted")));
    assert_eq!(last["payload"]["stopReason"], "rpc");
    let late = client.ok("runs.abort", ask.clone()).await;
    assert_eq!((late["aborted"].as_bool(), late["status"].as_str()), (Some(false), Some("aborted")));
    gateway.journal(&run_id).assert_whole();
    gateway.is_clean().await;
    let unknown = client.err("runs.abort", json!({"runId": "no-such-run"})).await;
    assert_eq!((unknown["code"].as_str(), unknown["details"]["code"].as_str()), (Some("INVALID_REQUEST"), Some("RUN_NOT_FOUND")));
}

#[tokio::test]
async fn m78_a_queued_run_is_aborted_before_it_starts_and_the_next_one_moves_up() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (first, first_run) = running(&mut client, json!({"message": ENDLESS})).await;
    let (second, _) = client.agent(json!({"message": "echo never", "idempotencyKey": "second"})).await;
    let (third, _) = client.agent(json!({"message": "echo third", "idempotencyKey": "third"})).await;
    for (run_id, position) in [("second", 1), ("third", 2)] {
        let mut row = client.ok("runs.get", json!({"runId": run_id})).await;
        while row["status"] == "accepted" {
            // Its place is given once the acknowledgement is on its way.
            row = client.ok("runs.get", json!({"runId": run_id})).await;
        }
        assert_eq!((row["status"].as_str(), row["position"].as_u64()), (Some("queued"), Some(position)), "{run_id}");
    }
    let aborted = client.ok("runs.abort", json!({"runId": "second"})).await;
    assert_eq!(aborted["aborted"], true);
    let last = client.response(&second).await;
    assert_eq!((last["ok"].as_bool(), last["payload"]["status"].as_str()), (Some(true), Some("aborted")));
    assert_eq!(last["payload"]["result"]["mayHaveRun"], false);
    assert_eq!(client.runs["second"].events.len(), 1, "its only event is its end");
    assert_eq!(client.ok("runs.get", json!({"runId": "third"})).await["position"], 1);
    client.ok("runs.abort", json!({"runId": first_run})).await;
    assert_eq!(client.response(&first).await["payload"]["status"], "aborted");
    assert_eq!(client.response(&third).await["payload"]["status"], "ok");
    assert_eq!(client.runs["third"].text(), "third\n");
    gateway.journal("second").assert_whole();
}

#[tokio::test]
async fn chat_abort_ends_every_run_of_a_session_and_no_other() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (other, other_run) = running(&mut client, json!({"message": ENDLESS, "sessionKey": "agent:main:other"})).await;
    let (first, first_run) = running(&mut client, json!({"message": ENDLESS, "sessionKey": "agent:main:one"})).await;
    let (second, _) = client.agent(json!({"message": ENDLESS, "sessionKey": "agent:main:one", "idempotencyKey": "queued"})).await;
    let wrong = client.err("chat.abort", json!({"sessionKey": "agent:main:one", "runId": other_run})).await;
    assert_eq!(wrong["details"]["code"], "RUN_MISMATCH");
    let reply = client.ok("chat.abort", json!({"sessionKey": "agent:main:one"})).await;
    assert_eq!(reply, json!({"ok": true, "aborted": true, "runIds": [first_run, "queued"]}));
    for id in [first, second] {
        assert_eq!(client.response(&id).await["payload"]["status"], "aborted");
    }
    assert_eq!(client.ok("chat.abort", json!({"sessionKey": "agent:main:one"})).await["aborted"], false);
    assert_eq!(client.ok("runs.get", json!({"runId": other_run})).await["status"], "running");
    let reply = client.ok("chat.abort", json!({"sessionKey": "agent:main:other", "runId": other_run})).await;
    assert_eq!(reply["runIds"], json!([other_run]));
    assert_eq!(client.response(&other).await["payload"]["status"], "aborted");
    let rows = client.ok("sessions.list", json!({})).await;
    let keys: Vec<&str> = rows["sessions"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(rows["count"], 2);
    assert!(keys.contains(&"agent:main:one") && keys.contains(&"agent:main:other"), "{keys:?}");
    for row in rows["sessions"].as_array().unwrap() {
        assert_eq!((row["abortedLastRun"].as_bool(), row["lastRunStatus"].as_str()), (Some(true), Some("aborted")), "{row}");
    }
}

#[tokio::test]
async fn m79_a_time_limit_ends_a_run_and_zero_is_none() {
    let gateway = Gateway::with(&json!({"agents": {"defaults": {"timeoutSeconds": 1}}}));
    let mut client = Client::connect(&gateway).await;
    // It may take longer than its time to say anything.
    let (id, ack) = client.agent(json!({"message": ENDLESS, "timeout": 1, "sessionKey": "a"})).await;
    let (by_default, _) = client.agent(json!({"message": ENDLESS, "sessionKey": "b"})).await;
    let (unlimited, _) = client.agent(json!({"message": "sleep 1.5; echo done", "timeout": 0, "sessionKey": "c"})).await;
    for id in [id, by_default] {
        let last = client.response(&id).await;
        assert_eq!((last["ok"].as_bool(), last["error"]["code"].as_str()), (Some(false), Some("AGENT_TIMEOUT")), "{last}");
        assert_eq!(last["error"]["message"], "timed out after 1 s");
        let result = &last["payload"]["result"];
        assert_eq!((result["status"].as_str(), result["code"].as_str()), (Some("timeout"), Some("AGENT_TIMEOUT")));
        // The upper bound has room for a machine that stands still now and then.
        assert!((1000..20_000).contains(&result["durationMs"].as_u64().unwrap()), "{result}");
    }
    let waited = client.ok("agent.wait", json!({"runId": ack["runId"]})).await;
    assert_eq!((waited["status"].as_str(), waited["outcome"]["status"].as_str()), (Some("timeout"), Some("timeout")));
    assert_eq!(client.response(&unlimited).await["payload"]["status"], "ok");
}

#[tokio::test]
async fn m62_with_security_deny_nothing_is_spawned_and_the_answer_says_what_to_do() {
    let gateway = Gateway::with(&json!({"exec": {"security": "deny"}}));
    let mut client = Client::connect(&gateway).await;
    let touched = gateway.state_dir().join("touched");
    let last = client.script(&format!("touch {}", touched.display())).await;
    assert_eq!((last["ok"].as_bool(), last["error"]["code"].as_str()), (Some(false), Some("EXEC_DENIED")), "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("exec.security"), "{last}");
    assert_eq!(last["payload"]["result"]["code"], "EXEC_DENIED");
    let run_id = last["payload"]["runId"].as_str().unwrap();
    let journal = gateway.journal(run_id);
    journal.assert_whole();
    assert_eq!((journal.lines.len(), journal.scan.host.is_none()), (1, true), "no shim was started");
    assert!(!touched.exists());
    assert!(!gateway.state_dir().join("logs/shim.log").exists(), "the shims' log is made with the first shim");
}

#[tokio::test]
async fn an_agent_that_needs_a_model_says_which_runner_works() {
    let gateway = Gateway::with(&json!({"agents": {"defaults": {"runner": "agent"}}}));
    let mut client = Client::connect(&gateway).await;
    let last = client.script("hello").await;
    assert_eq!((last["ok"].as_bool(), last["error"]["code"].as_str()), (Some(false), Some("UNAVAILABLE")));
    assert!(last["error"]["message"].as_str().unwrap().contains(r#"runner: "shell""#), "{last}");
    assert_eq!(last["payload"]["status"], "error");
}

#[tokio::test]
async fn the_workspace_is_made_private_and_is_where_scripts_run() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let workspace = gateway.state_dir().join("work");
    assert!(!workspace.exists());
    let last = client.script("pwd; umask").await;
    let text = client.runs[last["payload"]["runId"].as_str().unwrap()].text();
    assert_eq!(text.lines().next(), workspace.to_str());
    assert_eq!(std::fs::metadata(&workspace).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn defect_18_a_command_knows_no_secret_of_the_gateway() {
    let mut gateway = Gateway::prepared(&json!({"agents": {"defaults": {"env": {"passthrough": ["WANTED_TOKEN"]}}}}));
    for (name, value) in [
        ("SKYKOI_GATEWAY_TOKEN", crate::harness::gateway::TOKEN),
        ("CANARY_API_KEY", "canary-1"),
        ("NOTIFY_SOCKET", "/nonexistent/canary-2"),
        ("LD_PRELOAD", ""),
        ("ODD", "canary-3"),
        ("LANG", "C.UTF-8"),
        ("WANTED_TOKEN", "passed"),
    ] {
        gateway.env(name, value);
    }
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let script = "env; echo fds; ls -l /proc/self/fd; echo ready; while [ ! -e go ]; do sleep 0.02; done";
    let (id, run_id) = running(&mut client, json!({ "message": script })).await;
    // While it runs: no process of the gateway or the run has the token in its arguments, and no shim has an environment.
    let shims = gateway.shims();
    assert_eq!(shims.len(), 1);
    let tree = skykoi_gateway::exec::proc::descendants(gateway.pid());
    assert!(tree.len() >= 2);
    for pid in tree.iter().map(|process| process.pid).chain([gateway.pid()]) {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(crate::harness::gateway::TOKEN));
    }
    assert_eq!(std::fs::read(format!("/proc/{}/environ", shims[0].1)).unwrap(), b"");
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    client.response(&id).await;
    let text = client.runs[&run_id].text();
    assert!(!text.contains("canary") && !text.contains(crate::harness::gateway::TOKEN), "{text}");
    let env: BTreeMap<&str, &str> = text.split("fds\n").next().unwrap().lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!((env["LANG"], env["WANTED_TOKEN"]), ("C.UTF-8", "passed"));
    assert_eq!(env["SKYKOI_RUN"], gateway.journal(&run_id).file_id());
    // Nothing of the gateway is open in it: no socket, no database, no journal. (What this test itself was given may be.)
    let open = text.split("fds\n").nth(1).unwrap();
    assert!(!open.contains("socket:") && !open.contains(gateway.state_dir().to_str().unwrap()), "{open}");
}

#[tokio::test]
async fn the_local_socket_tells_the_same_as_the_web_socket() {
    let gateway = Gateway::start();
    let mut web = Client::connect(&gateway).await;
    let mut local = Client::local(&gateway).await;
    let (id, ack) = local.agent(json!({"message": "echo one; echo two >&2; exit 4", "idempotencyKey": "both"})).await;
    assert_eq!(ack["runId"], "both");
    let last = local.response(&id).await;
    assert_eq!(last["payload"]["exitCode"], 4);
    web.until_end("both").await;
    // The whole journal, also of the tools that only the starter is told of.
    web.subscribe("both", 0).await;
    web.until("the whole run", |client| client.runs["both"].last == 6).await;
    assert_eq!(web.runs["both"].events, local.runs["both"].events);
    let ask = json!({"runId": "both"});
    assert_eq!(web.ok("agent.wait", ask.clone()).await, local.ok("agent.wait", ask).await);
    assert_eq!(web.hello["features"], local.hello["features"]);
}

//! Approvals of a real daemon: a command that must be allowed waits where everybody can see it, runs once and exactly as it was shown, and otherwise never becomes a process.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::nginx::program;

/// A gateway that asks about every command, with these settings of `approvals.exec`.
fn asking(exec: &Value) -> Gateway {
    Gateway::with(&json!({ "exec": { "security": "full", "ask": "always" }, "approvals": { "exec": exec } }))
}

/// Starts a run; gives the request's id, the run's and the approval that it waits for, as the approver hears of it.
async fn waiting(client: &mut Client, approver: &mut Client, script: &str) -> (String, String, Value) {
    let (id, ack) = client.agent(json!({"message": script})).await;
    let run_id = ack["runId"].as_str().unwrap().to_owned();
    let asked = event(approver, "exec.approval.requested", &run_id).await;
    (id, run_id, asked)
}

fn events<'c>(client: &'c Client, name: &str, run_id: &str) -> Vec<&'c Value> {
    let of = |frame: &&Value| frame["event"] == name && frame["payload"]["runId"] == run_id;
    client.events.iter().filter(of).map(|frame| &frame["payload"]).collect()
}

async fn event(client: &mut Client, name: &str, run_id: &str) -> Value {
    client.until(&format!("{name} of {run_id}"), |client| !events(client, name, run_id).is_empty()).await;
    events(client, name, run_id)[0].clone()
}

async fn resolve(client: &mut Client, asked: &Value, decision: &str) -> Value {
    client.call("exec.approval.resolve", json!({"id": asked["id"], "decision": decision})).await
}

/// The detail code and the word of a run that did not run; nothing of it became a process.
fn refusal(gateway: &Gateway, last: &Value) -> (String, String) {
    assert_eq!(last["error"]["code"], "EXEC_DENIED", "{last}");
    let journal = gateway.journal(last["payload"]["runId"].as_str().unwrap());
    journal.assert_whole();
    assert!(journal.lines.len() == 1 && journal.scan.host.is_none(), "a process was started: {last}");
    let text = |key: &str| last["error"]["details"][key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("token"))
}

fn code(res: &Value) -> &str {
    res["error"]["details"]["code"].as_str().unwrap_or_else(|| panic!("{res}"))
}

#[tokio::test]
async fn m71_defect_20_a_command_waits_where_it_can_be_seen_and_runs_once_when_somebody_else_allows_it() {
    let gateway = asking(&json!({}));
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, run_id, asked) = waiting(&mut client, &mut approver, "echo ran >> ran; echo hello").await;
    assert_eq!(asked["request"]["command"], "echo ran >> ran; echo hello");
    assert_eq!(
        (&asked["request"]["host"], &asked["request"]["security"], &asked["request"]["ask"]),
        (&json!("gateway"), &json!("full"), &json!("always"))
    );
    assert_eq!(asked["id"].as_str().unwrap().len(), 32);
    let row = client.ok("runs.get", json!({"runId": run_id})).await;
    assert_eq!((&row["approval"]["id"], &row["status"]), (&asked["id"], &json!("queued")));
    assert_eq!(client.ok("status", json!({})).await["runs"]["awaitingApproval"], 1);
    assert_eq!(client.ok("exec.approval.list", json!({})).await[0]["id"], asked["id"]);
    assert!(!gateway.state_dir().join("work/ran").exists());

    assert_eq!(code(&resolve(&mut client, &asked, "allow-once").await), "FORBIDDEN", "who asked");
    let wait = approver.request("exec.approval.waitDecision", json!({"id": asked["id"]})).await;
    let other = json!({"id": asked["id"], "decision": "allow-once", "runId": "another"});
    assert_eq!(approver.err("exec.approval.resolve", other).await["details"]["code"], "MISMATCH");
    assert_eq!(resolve(&mut approver, &asked, "allow-once").await["ok"], true);
    assert_eq!(approver.response(&wait).await["payload"]["decision"], "allow-once");
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert_eq!(client.runs[&run_id].text(), "hello\n");
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "ran\n");

    assert_eq!(code(&resolve(&mut approver, &asked, "allow-once").await), "USED");
    assert_eq!(code(&resolve(&mut approver, &asked, "deny").await), "USED");
    let row = client.ok("runs.get", json!({"runId": run_id})).await;
    assert_eq!(row.get("approval"), None);
    let resolved = event(&mut approver, "exec.approval.resolved", &run_id).await;
    assert_eq!((&resolved["decision"], &resolved["resolvedBy"]), (&json!("allow-once"), &json!("local")));
    // The next one is asked about anew.
    let (id, _, again) = waiting(&mut client, &mut approver, "echo ran >> ran; echo hello").await;
    assert_ne!(again["id"], asked["id"]);
    assert_eq!(resolve(&mut approver, &again, "deny").await["ok"], true);
    assert_eq!(refusal(&gateway, &client.response(&id).await), ("EXEC_DENIED".into(), "DENIED".into()));
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "ran\n");
}

#[tokio::test]
async fn m71_without_anybody_who_may_decide_the_answer_comes_at_once_and_only_approvers_hear_of_it() {
    let gateway = asking(&json!({}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(refusal(&gateway, &client.script("touch ran").await).0, "APPROVAL_NO_APPROVER");
    let mut reader = Client::open_local(&gateway).await;
    let mut params = crate::harness::client::connect_params();
    params["scopes"] = json!(["operator.write", "operator.pairing"]);
    reader.hello(params).await.unwrap();
    assert_eq!(refusal(&gateway, &client.script("touch ran").await).0, "APPROVAL_NO_APPROVER", "that one may not decide");
    let mut approver = Client::local(&gateway).await;
    let (id, _, asked) = waiting(&mut client, &mut approver, "true").await;
    assert_eq!(reader.err("exec.approval.list", json!({})).await["details"]["code"], "MISSING_SCOPE");
    let denied = reader.err("exec.approval.resolve", json!({"id": asked["id"], "decision": "allow-once"})).await;
    assert_eq!(denied["details"]["code"], "MISSING_SCOPE");
    resolve(&mut approver, &asked, "allow-once").await;
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    reader.ok("status", json!({})).await;
    assert!(reader.events.iter().all(|frame| !frame["event"].as_str().unwrap().starts_with("exec.approval")), "{:?}", reader.events);
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn an_approver_who_comes_later_finds_what_waits_if_the_configuration_waits() {
    let gateway = asking(&json!({ "withoutApprover": "wait" }));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({"message": "echo late"})).await;
    let asked = event(&mut client, "exec.approval.requested", ack["runId"].as_str().unwrap()).await;
    let mut approver = Client::local(&gateway).await;
    let waits = approver.ok("exec.approval.list", json!({})).await;
    assert_eq!((&waits[0]["id"], &waits[0]["digest"]), (&asked["id"], &asked["digest"]));
    let exact = json!({"id": asked["id"], "decision": "allow-once", "digest": asked["digest"], "runId": ack["runId"]});
    assert_eq!(approver.ok("exec.approval.resolve", exact).await["state"], "allowed-once");
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
}

#[tokio::test]
async fn m71_defect_20_what_nobody_decides_in_time_ends_its_run_and_a_late_click_is_told_so() {
    let gateway = asking(&json!({ "timeoutMs": 1000 }));
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, run_id, asked) = waiting(&mut client, &mut approver, "touch ran").await;
    assert_eq!(refusal(&gateway, &client.response(&id).await), ("EXEC_DENIED".into(), "EXPIRED".into()));
    let expired = event(&mut approver, "exec.approval.expired", &run_id).await;
    assert_eq!((&expired["id"], &expired["state"]), (&asked["id"], &json!("expired")));
    assert_eq!(code(&resolve(&mut approver, &asked, "allow-once").await), "EXPIRED");
    assert!(approver.ok("exec.approval.list", json!({})).await.as_array().unwrap().is_empty());
}

#[tokio::test]
async fn m71_a_restart_cancels_what_waits_and_nothing_runs_by_a_late_click() {
    let mut gateway = asking(&json!({}));
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (_, run_id, asked) = waiting(&mut client, &mut approver, "touch ran").await;
    gateway.kill_and_restart();
    let mut approver = Client::local(&gateway).await;
    let ended = approver.ok("agent.wait", json!({"runId": run_id})).await;
    assert_eq!((&ended["outcome"]["code"], &ended["outcome"]["denied"]["token"]), (&json!("EXEC_DENIED"), &json!("CANCELLED")), "{ended}");
    let late = resolve(&mut approver, &asked, "allow-once").await;
    assert_eq!((code(&late), &late["error"]["details"]["reason"]), ("CANCELLED", &json!("restart")));
    let found = approver.ok("exec.approval.get", json!({"id": asked["id"]})).await;
    assert_eq!(
        (&found["state"], &found["reason"], &found["requester"]["principal"]),
        (&json!("cancelled"), &json!("restart"), &json!("token"))
    );
    let waited = approver.ok("exec.approval.waitDecision", json!({"id": asked["id"]})).await;
    assert_eq!(waited["decision"], Value::Null);
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn m78_an_abort_while_it_waits_ends_run_and_approval_once() {
    let gateway = asking(&json!({}));
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, run_id, asked) = waiting(&mut client, &mut approver, "touch ran").await;
    assert_eq!(client.ok("runs.abort", json!({"runId": run_id})).await["aborted"], true);
    let last = client.response(&id).await;
    assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(true), &json!("aborted")), "{last}");
    assert_eq!(client.ok("runs.abort", json!({"runId": run_id})).await["aborted"], false);
    let gone = event(&mut approver, "exec.approval.expired", &run_id).await;
    assert_eq!((&gone["id"], &gone["state"]), (&asked["id"], &json!("cancelled")));
    assert_eq!(code(&resolve(&mut approver, &asked, "allow-once").await), "CANCELLED");
    let journal = gateway.journal(&run_id);
    assert_eq!(journal.lines.len(), 1, "one last line and nothing else");
    assert!(!gateway.state_dir().join("work/ran").exists());
}

/// Changes something while a command waits, allows it, and expects that nothing runs.
async fn goes_stale(gateway: &mut Gateway, script: &str, change: impl AsyncFnOnce(&mut Gateway, &mut Client)) {
    let mut approver = Client::local(gateway).await;
    let mut client = Client::connect(gateway).await;
    let (id, run_id, asked) = waiting(&mut client, &mut approver, script).await;
    change(gateway, &mut client).await;
    assert_eq!(resolve(&mut approver, &asked, "allow-once").await["ok"], true);
    let last = client.response(&id).await;
    assert_eq!(refusal(gateway, &last).0, "APPROVAL_STALE", "{last}");
    let found = approver.ok("exec.approval.get", json!({"id": asked["id"]})).await;
    assert_eq!(found["state"], "stale");
    assert_eq!(code(&resolve(&mut approver, &asked, "allow-once").await), "APPROVAL_STALE");
    assert!(!gateway.state_dir().join("ran").exists(), "{run_id}");
}

#[tokio::test]
async fn m70_another_folder_in_the_place_of_the_one_that_was_shown_is_stale() {
    let mut gateway = asking(&json!({}));
    goes_stale(&mut gateway, "touch ../ran", async |gateway, _| {
        let work = gateway.state_dir().join("work");
        std::fs::rename(&work, gateway.state_dir().join("elsewhere")).unwrap();
        std::fs::create_dir(&work).unwrap();
    })
    .await;
}

#[tokio::test]
async fn m70_another_environment_than_the_one_that_was_shown_is_stale() {
    let mut gateway = Gateway::prepared(&json!({ "exec": { "security": "full", "ask": "always" } }));
    gateway.env("FLAVOUR", "mint");
    gateway.launch();
    goes_stale(&mut gateway, "touch ../ran", async |_, client| {
        let hash = client.ok("config.get", json!({})).await["hash"].clone();
        let patch = r#"{ agents: { defaults: { env: { passthrough: ["FLAVOUR"] } } } }"#;
        client.ok("config.patch", json!({"raw": patch, "baseHash": hash})).await;
    })
    .await;
}

#[tokio::test]
async fn m70_other_rules_than_those_it_was_asked_under_are_stale() {
    let mut gateway = asking(&json!({}));
    goes_stale(&mut gateway, "touch ../ran", async |_, client| {
        let hash = client.ok("config.get", json!({})).await["hash"].clone();
        client.ok("config.patch", json!({"raw": r#"{ exec: { ask: "off" } }"#, "baseHash": hash})).await;
    })
    .await;
}

/// A gateway in mode allowlist that asks about what is not listed, with a script in its workspace.
fn listing() -> Gateway {
    let mut gateway = Gateway::prepared(&json!({ "exec": { "security": "allowlist", "ask": "on-miss" } }));
    let work = gateway.state_dir().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("script.sh"), "echo from the script\n").unwrap();
    std::fs::write(work.join("data"), "a\nb\n").unwrap();
    gateway.launch();
    gateway
}

#[tokio::test]
async fn m70_a_script_that_was_rewritten_after_it_was_shown_does_not_run() {
    let mut gateway = listing();
    goes_stale(&mut gateway, "bash script.sh", async |gateway, _| {
        std::fs::write(gateway.state_dir().join("work/script.sh"), "touch ../ran\n").unwrap();
    })
    .await;
}

#[tokio::test]
async fn m71_what_is_allowed_for_always_is_not_asked_about_again_and_what_runs_others_cannot_be() {
    let gateway = listing();
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, _, asked) = waiting(&mut client, &mut approver, "bash script.sh").await;
    assert_eq!(asked["allowedDecisions"], json!(["allow-once", "deny"]));
    assert_eq!(code(&resolve(&mut approver, &asked, "allow-always").await), "DECISION_UNAVAILABLE");
    assert_eq!(resolve(&mut approver, &asked, "allow-once").await["ok"], true);
    let last = client.response(&id).await;
    assert_eq!(
        (&last["payload"]["status"], client.runs[last["payload"]["runId"].as_str().unwrap()].text().as_str()),
        (&json!("ok"), "from the script\n")
    );

    let (id, _, asked) = waiting(&mut client, &mut approver, "wc -l data").await;
    assert_eq!(asked["allowedDecisions"], json!(["allow-once", "allow-always", "deny"]));
    assert_eq!(resolve(&mut approver, &asked, "allow-always").await["payload"]["state"], "allowed-always");
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    let file = client.ok("exec.approvals.get", json!({})).await;
    let entry = &file["file"]["agents"]["main"]["allowlist"][0];
    let wc = std::fs::canonicalize("/usr/bin/wc").unwrap();
    assert_eq!((entry["pattern"].as_str().unwrap(), entry["lastUsedCommand"].as_str().unwrap()), (wc.to_str().unwrap(), "wc -l data"));
    assert_eq!(client.script("wc -c data").await["payload"]["status"], "ok", "nobody is asked");
    let (id, _, asked) = waiting(&mut client, &mut approver, "bash script.sh").await;
    resolve(&mut approver, &asked, "deny").await;
    assert_eq!(refusal(&gateway, &client.response(&id).await).1, "DENIED");
}

#[tokio::test]
async fn m72_a_prompt_hides_nothing_and_is_short_whatever_the_command() {
    let gateway = asking(&json!({}));
    let mut approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, _, asked) = waiting(&mut client, &mut approver, "echo \u{202e}a\u{200b}\u{1b}[2J\nrm -rf x").await;
    for text in [asked["request"]["command"].as_str().unwrap(), asked["prompt"].as_str().unwrap()] {
        assert!(text.contains("\\u{202e}a\\u{200b}\\u{1b}[2J\\nrm -rf x") && !text.contains('\u{1b}'), "{text}");
    }
    resolve(&mut approver, &asked, "deny").await;
    client.response(&id).await;
    let (id, _, asked) = waiting(&mut client, &mut approver, &format!("echo first{}last", "\u{1b}".repeat(20_000))).await;
    for text in [asked["request"]["command"].as_str().unwrap(), asked["prompt"].as_str().unwrap()] {
        assert!(text.len() <= 4096 && text.contains("first") && text.contains("last") && text.contains("characters left out"), "{text}");
    }
    resolve(&mut approver, &asked, "deny").await;
    client.response(&id).await;
    let endless = client.script(&format!("true {}", "x".repeat(1 << 20))).await;
    assert_eq!(refusal(&gateway, &endless).1, "TOO_LONG");
}

/// The words of the command line with which a script talks to its own gateway.
fn own(gateway: &Gateway, words: &str) -> String {
    format!("{} {words} --state-dir {}", env!("CARGO_BIN_EXE_skykoi-gateway"), gateway.state_dir().display())
}

#[tokio::test]
async fn m83_a_run_that_finds_the_socket_may_change_neither_rules_nor_approvals_nor_devices() {
    let gateway = Gateway::with(&json!({ "approvals": { "exec": { "withoutApprover": "wait" } } }));
    let mut client = Client::connect(&gateway).await;
    let pending = client.request("exec.approval.request", json!({"command": "ls", "timeoutMs": 600_000})).await;
    client.until("its event", |client| client.events.iter().any(|frame| frame["event"] == "exec.approval.requested")).await;
    let id = client.ok("exec.approval.list", json!({})).await[0]["id"].as_str().unwrap().to_owned();
    for words in [
        "call config.patch --params '{\"raw\":\"{}\"}'",
        "call exec.approvals.get",
        "call exec.approvals.set --params '{\"file\":{\"version\":1}}'",
        "call device.pair.list",
        "approvals list",
        &format!("approvals allow {id}"),
    ] {
        for script in [own(&gateway, words), format!("setsid -f sh -c '{} 2>&1' | cat", own(&gateway, words).replace('\'', "'\\''"))] {
            let last = client.script(&script).await;
            let text = client.runs[last["payload"]["runId"].as_str().unwrap()].text();
            assert!(text.contains("missing scope: operator."), "{script}: {text} {last}");
        }
    }
    let last = client.script(&own(&gateway, "runs list")).await;
    assert_eq!(last["payload"]["exitCode"], 0, "what a run may see it still sees: {last}");
    // The same command from outside is its owner's.
    let mut approver = Client::local(&gateway).await;
    approver.ok("exec.approval.resolve", json!({"id": id, "decision": "allow-once"})).await;
    assert_eq!(client.response(&pending).await["payload"]["decision"], "allow-once");
}

#[tokio::test]
async fn the_command_line_lists_shows_and_decides() {
    let gateway = asking(&json!({ "withoutApprover": "wait" }));
    let run = |words: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
        let output = command.args(words).env("SKYKOI_STATE_DIR", gateway.state_dir()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run(&["approvals", "list"]), (0, "nothing waits for a decision\n".to_owned(), String::new()));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({"message": "echo by hand"})).await;
    let asked = event(&mut client, "exec.approval.requested", ack["runId"].as_str().unwrap()).await;
    let approval = asked["id"].as_str().unwrap();
    let (code, list, _) = run(&["approvals", "list"]);
    assert!(code == 0 && list.contains(approval) && list.contains("echo by hand"), "{list}");
    let (code, shown, _) = run(&["approvals", "show", &approval[..8]]);
    assert!(code == 0 && shown.contains("bash") && shown.contains("'echo by hand'") && shown.contains("asked by"), "{shown}");
    let (code, _, said) = run(&["approvals", "allow", approval, "--always"]);
    assert!(code != 0 && said.contains("allow-always is unavailable"), "{said}");
    let (code, done, _) = run(&["approvals", "allow", &approval[..8]]);
    assert_eq!((code, done), (0, format!("{approval}: allowed-once\n")));
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    let (code, _, said) = run(&["approvals", "deny", approval]);
    assert!(code != 0 && said.contains("it was used"), "{said}");
    let (_, all, _) = run(&["approvals", "list", "--all"]);
    assert!(all.contains("used"), "{all}");
}

#[tokio::test]
async fn m73_a_policy_file_that_others_may_write_lets_nothing_run_and_is_not_asked_about() {
    let mut gateway = Gateway::prepared(&json!({ "exec": { "security": "full", "ask": "always" } }));
    let path = gateway.state_dir().join("exec-approvals.json");
    std::fs::write(&path, "{\"version\":1}").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    gateway.launch();
    let _approver = Client::local(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(refusal(&gateway, &client.script("touch ran").await), ("EXEC_DENIED".into(), "POLICY".into()));
    assert!(client.ok("exec.approval.list", json!({"all": true})).await.as_array().unwrap().is_empty());
}

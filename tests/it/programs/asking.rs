//! Commands that programs want to run, through the one gate: policy, persons, audit.

use serde_json::{Value, json};
use skykoi_gateway::programs::spec::Kind;

use super::live::{ASKED, DONE, INIT, TEXT, chat, gateway_of, starts};
use crate::harness::approver::{approver, asked, commands_in_audit};
use crate::harness::model::said;
use crate::harness::{Client, Gateway};
use crate::shim::until;

/// Claude Code asks about a command and runs it if it may; its answer is what it was told.
fn asks(command: &str) -> String {
    let input = json!({ "command": command }).to_string();
    let request = format!(
        r#"{{"type":"control_request","request_id":"q1","request":{{"subtype":"can_use_tool","tool_name":"Bash","input":{input},"tool_use_id":"c1"}}}}"#
    );
    let allowed = format!("*'\"behavior\":\"allow\"'*) {command};;");
    format!("{ASKED}{INIT}\ncat <<'END'\n{request}\nEND\nexpect control_response\ncase \"$line\" in {allowed} esac\n{TEXT}\n{DONE}")
}

/// The same of Codex: its request comes in the middle of a turn.
fn codex_asks(command: &str) -> String {
    let lines = [
        json!({ "id": 1, "result": {} }),
        json!({ "id": 2, "result": { "thread": { "id": "T1" } } }),
        json!({ "id": 3, "result": { "turn": { "id": "U1", "status": "inProgress" } } }),
    ];
    let mut script = String::new();
    for line in &lines {
        script.push_str(&format!("after '\"id\":{}'\ncat <<'END'\n{line}\nEND\n", line["id"]));
    }
    let wrapped = format!("/bin/bash -lc '{command}'");
    let ask = json!({ "id": 0, "method": "item/commandExecution/requestApproval", "params": { "itemId": "c1", "command": wrapped, "commandActions": [{ "command": "something harmless" }] } });
    let done = json!({ "method": "turn/completed", "params": { "threadId": "T1", "turn": { "id": "U1", "status": "completed" } } });
    let item = json!({ "method": "item/completed", "params": { "item": { "type": "commandExecution", "id": "c1", "command": wrapped, "status": "completed", "exitCode": 0 } } });
    let said = json!({ "method": "item/completed", "params": { "item": { "type": "agentMessage", "id": "m1", "text": "hi" } } });
    format!(
        "{script}cat <<'END'\n{ask}\nEND\nexpect '\"decision\"'\ncase \"$line\" in *'\"accept\"'*) {command};; esac\ncat <<'END'\n{item}\n{said}\n{done}\nEND\nrest"
    )
}

fn ran(gateway: &Gateway) -> bool {
    gateway.state_dir().join("work/ran").exists()
}

#[tokio::test]
async fn a_person_decides_about_a_programs_command_and_sees_all_of_it() {
    for (kind, script) in [(Kind::Claude, asks("touch ran")), (Kind::Codex, codex_asks("touch ran"))] {
        for (decision, runs) in [("allow-once", true), ("deny", false)] {
            let (_dir, gateway) = gateway_of(kind, &script, &json!({ "exec": { "ask": "always" } }));
            let mut approver = approver(&gateway).await;
            let mut client = Client::connect(&gateway).await;
            client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
            let question = asked(&mut approver, 0).await;
            assert_eq!((&question["request"]["command"], &question["runId"]), (&json!("touch ran"), &json!("k")), "{question}");
            assert!(!question["allowed"].to_string().contains("allow-always"), "{question}");
            assert!(!ran(&gateway));
            approver.ok("exec.approval.resolve", json!({ "id": question["id"], "decision": decision })).await;
            let last = client.until_said("k").await;
            assert_eq!((last["state"].as_str(), said(&last)), (Some("final"), "hi"), "{kind:?} {last}");
            assert_eq!(ran(&gateway), runs, "{kind:?} {decision}");
            // What was refused is noted, and nobody waits until it is written.
            until("the decision is recorded", || !commands_in_audit(&gateway).is_empty()).await;
            let decisions: Vec<Value> = commands_in_audit(&gateway).iter().map(|record| record["decision"].clone()).collect();
            assert_eq!(decisions, [json!(if runs { "allow" } else { "deny" })], "{kind:?}");
        }
    }
}

#[tokio::test]
async fn where_nobody_has_to_be_asked_a_command_is_recorded_and_with_ask_off_the_program_is_not_even_told_to_ask() {
    let (dir, gateway) = gateway_of(Kind::Claude, &asks("touch ran"), &json!({}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "k", "do it").await), "hi");
    assert!(ran(&gateway));
    assert_eq!(commands_in_audit(&gateway).len(), 1);
    assert_eq!(starts(&dir).len(), 1);
    let (_dir, gateway) = gateway_of(Kind::Claude, &asks("touch ran"), &json!({ "exec": { "ask": "off" } }));
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "k", "do it").await;
    assert!(ran(&gateway));
    assert_eq!(commands_in_audit(&gateway).len(), 0);
}

#[tokio::test]
async fn a_list_of_allowed_commands_allows_no_program_to_run_one_but_a_person_does() {
    let list = |ask: &str| json!({ "exec": { "security": "allowlist", "ask": ask } });
    let file =
        json!({ "version": 1, "agents": { "main": { "allowlist": [{ "pattern": "/usr/bin/touch" }, { "pattern": "/bin/touch" }] } } });
    let (_dir, gateway) = gateway_of(Kind::Claude, &asks("touch ran"), &list("off"));
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "k", "do it").await), "hi");
    assert!(!ran(&gateway));
    until("the decision is recorded", || !commands_in_audit(&gateway).is_empty()).await;
    assert_eq!(commands_in_audit(&gateway)[0]["decision"], "deny");
    let (_dir, gateway) = gateway_of(Kind::Claude, &asks("touch ran"), &list("on-miss"));
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
    let question = asked(&mut approver, 0).await;
    approver.ok("exec.approval.resolve", json!({ "id": question["id"], "decision": "allow-once" })).await;
    client.until_said("k").await;
    assert!(ran(&gateway));
}

#[tokio::test]
async fn pi_works_only_where_nobody_must_be_asked_and_no_program_where_nothing_may_run() {
    for (kind, exec, words) in [
        (Kind::Pi, json!({ "ask": "always" }), "asks nobody"),
        (Kind::Pi, json!({ "security": "allowlist" }), "asks nobody"),
        (Kind::Claude, json!({ "security": "deny" }), "exec.security is \"deny\""),
    ] {
        let (dir, gateway) = gateway_of(kind, "exit 1", &json!({ "exec": exec }));
        let mut client = Client::connect(&gateway).await;
        let (id, _) = client.agent(json!({ "message": "hello" })).await;
        let refused = client.response(&id).await;
        assert_eq!(refused["error"]["code"], "EXEC_DENIED", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
        assert!(starts(&dir).is_empty(), "it was not even started");
    }
}

#[tokio::test]
async fn a_question_of_a_program_outlives_the_daemon_that_was_asked() {
    let patch = json!({ "exec": { "ask": "always" }, "approvals": { "exec": { "withoutApprover": "wait" } } });
    let (_dir, mut gateway) = gateway_of(Kind::Claude, &asks("touch ran"), &patch);
    let mut first = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
    let before = asked(&mut first, 0).await;
    gateway.kill_and_restart();
    let mut second = approver(&gateway).await;
    let mut list = second.ok("exec.approval.list", json!({})).await;
    if list.as_array().is_none_or(Vec::is_empty) {
        list = json!([asked(&mut second, 0).await]);
    }
    assert_ne!(list[0]["id"], before["id"]);
    second.ok("exec.approval.resolve", json!({ "id": list[0]["id"], "decision": "allow-once" })).await;
    let mut client = Client::connect(&gateway).await;
    let last = client.ok("agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    assert!(ran(&gateway));
}

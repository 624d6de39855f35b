//! The death of the daemon in the middle of an agent's work: nothing is lost, nothing runs twice, and there is one end.

use serde_json::{Value, json};

use super::{fake, gateway, hurried, result_of, shape, told, transcript, worker};
use crate::fake_model::{Answer, Fault, Say};
use crate::harness::Client;
use crate::harness::approver::{approver, asked};

fn exec(id: &str, command: &str) -> Say {
    Say::Tool(id.to_owned(), "exec".to_owned(), json!({ "command": command }))
}

#[tokio::test]
async fn kill_9_in_the_middle_of_an_answer_loses_nothing_of_it() {
    let text = "A word after a word after a word. ".repeat(30);
    let fake = fake([Answer { hold: vec![40], ..Answer::text(&text) }]).await;
    let mut gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "tell", "idempotencyKey": "k" })).await;
    client.until("some words", |client| client.chats.get("k").is_some_and(|chat| chat.deltas > 0)).await;
    gateway.kill_and_restart();
    fake.go_on();
    let mut client = Client::connect(&gateway).await;
    let last = client.ok("agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    let messages = transcript(&gateway);
    assert_eq!(shape(&messages), ["user:text", "assistant:text"]);
    assert_eq!(messages[1]["content"][0]["text"], text.as_str());
    assert_eq!(fake.seen().len(), 1, "the model was asked once");
    client.subscribe("k", 0).await;
    client.until_end("k").await;
    assert_eq!(client.runs["k"].events.values().filter(|event| crate::harness::model::is_terminal(event)).count(), 1);
}

#[tokio::test]
async fn kill_9_in_the_middle_of_a_command_lets_it_end_and_the_model_go_on() {
    let command = "echo once >> ran; while [ ! -e go ]; do sleep 0.02; done; echo finished";
    let fake = fake([Answer::say([exec("t1", command)]), Answer::say([exec("t2", "echo more >> ran")]), Answer::text("done")]).await;
    let mut gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
    crate::shim::until("the command runs", || gateway.state_dir().join("work/ran").exists()).await;
    gateway.kill();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    // The next command needs a daemon and waits for one.
    fake.until_seen(2).await;
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let last = client.ok("agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "once\nmore\n");
    assert!(result_of(&fake, "t1").contains("finished"));
    let messages = transcript(&gateway);
    assert_eq!(
        shape(&messages),
        ["user:text", "assistant:toolCall", "toolResult:text", "assistant:toolCall", "toolResult:text", "assistant:text"]
    );
}

#[tokio::test]
async fn a_command_that_waits_for_a_person_is_asked_about_again_by_the_next_daemon_and_runs_once() {
    let fake = fake([Answer::say([exec("t", "echo once >> ran")]), Answer::text("done")]).await;
    let mut gateway =
        gateway(&fake, &json!({ "exec": { "security": "full", "ask": "always" }, "approvals": { "exec": { "withoutApprover": "wait" } } }));
    let mut first = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "do it", "idempotencyKey": "k" })).await;
    let before = asked(&mut first, 0).await;
    gateway.kill_and_restart();
    let mut second = approver(&gateway).await;
    let waits = async |client: &mut Client| client.ok("exec.approval.list", json!({})).await;
    let mut list = waits(&mut second).await;
    if list.as_array().is_none_or(Vec::is_empty) {
        list = json!([asked(&mut second, 0).await]);
    }
    assert_ne!(list[0]["id"], before["id"]);
    let late = second.err("exec.approval.resolve", json!({ "id": before["id"], "decision": "allow-once" })).await;
    assert!(late["details"]["code"].is_string(), "{late}");
    second.ok("exec.approval.resolve", json!({ "id": list[0]["id"], "decision": "allow-once" })).await;
    let mut client = Client::connect(&gateway).await;
    let last: Value = client.ok("agent.wait", json!({ "runId": "k", "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "once\n");
}

#[tokio::test]
async fn a_shim_that_is_killed_leaves_the_text_that_was_shown() {
    let text = "A word after a word after a word. ".repeat(30);
    let fake = fake([Answer::text(&text).faulty(40, Fault::Stall)]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "tell", "idempotencyKey": "k" })).await;
    client.until("some words", |client| client.chats.get("k").is_some_and(|chat| chat.deltas > 0)).await;
    for (_, shim) in gateway.shims() {
        crate::harness::kill_9(shim);
    }
    let last = client.until_said("k").await;
    assert_eq!(last["state"], "error", "{last}");
    let messages = transcript(&gateway);
    assert_eq!(shape(&messages), ["user:text", "assistant:text"]);
    let kept = messages[1]["content"][0]["text"].as_str().unwrap();
    assert!(kept.starts_with(client.chats["k"].text.trim_end()) && text.starts_with(kept), "{kept}");
}

/// A run of a [`worker`] that has been told a message, of which the daemon died when it heard that it was taken, and that has told its model.
async fn told_and_dead(fake: &crate::fake_model::FakeModel) -> crate::harness::Gateway {
    let mut gateway = gateway(fake, &json!({ "messages": { "queue": { "mode": "steer" } } }));
    gateway.kill();
    gateway.env("SKYKOI_FAILPOINT", "runs.steered");
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "work", "idempotencyKey": "a" })).await;
    client.until("some words", |client| client.chats.get("a").is_some_and(|chat| chat.deltas > 0)).await;
    client.request("chat.send", json!({ "sessionKey": "main", "message": "hurry", "idempotencyKey": "b" })).await;
    while client.frame().await.is_ok() {}
    gateway.kill();
    gateway.clear_env();
    crate::shim::until("the model is told", || hurried(fake) > 0).await;
    gateway
}

#[tokio::test]
async fn a_message_that_a_run_has_taken_is_answered_once_though_the_daemon_died_and_the_run_ended() {
    let fake = fake(worker(Answer::text("I hurry."))).await;
    let mut gateway = told_and_dead(&fake).await;
    crate::shim::until("the run has ended", || gateway.shims().is_empty()).await;
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let second = client.ok("agent.wait", json!({ "runId": "b", "timeoutMs": 30_000 })).await;
    assert_eq!((&second["status"], &second["outcome"]["mergedInto"]), (&json!("ok"), &json!("a")), "{second}");
    assert_eq!(hurried(&fake), 1, "the model was told once");
    assert_eq!(told(&transcript(&gateway)), ["user:text", "user:text", "assistant:text"]);
    // And again: what is decided stays so.
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    let again = client.ok("agent.wait", json!({ "runId": "b", "timeoutMs": 30_000 })).await;
    assert_eq!(again["outcome"], second["outcome"]);
    assert_eq!(hurried(&fake), 1);
}

#[tokio::test]
async fn a_message_that_a_run_has_taken_is_part_of_it_while_it_works_and_when_its_host_is_killed() {
    for is_killed in [false, true] {
        let answer = Answer::text(&"I hurry. ".repeat(30));
        let answer = if is_killed { answer.faulty(12, Fault::Stall) } else { Answer { hold: vec![12], ..answer } };
        let fake = fake(worker(answer)).await;
        let mut gateway = told_and_dead(&fake).await;
        if is_killed {
            for (_, shim) in gateway.shims() {
                crate::harness::kill_9(shim);
            }
        }
        gateway.launch();
        fake.go_on();
        let mut client = Client::connect(&gateway).await;
        let second = client.ok("agent.wait", json!({ "runId": "b", "timeoutMs": 30_000 })).await;
        let status = if is_killed { "interrupted" } else { "ok" };
        assert_eq!((&second["status"], &second["outcome"]["mergedInto"]), (&json!(status), &json!("a")), "{second}");
        assert_eq!(hurried(&fake), 1, "it has no turn of its own");
        let said = shape(&transcript(&gateway)).into_iter().filter(|message| message == "user:text").count();
        assert_eq!(said, 2);
    }
}

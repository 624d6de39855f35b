//! Models that do not answer, and secrets that stay where they belong.

use std::path::Path;

use serde_json::json;

use super::{KEY, fake, gateway, say, shape, transcript};
use crate::fake_model::{Answer, Fault, Say};
use crate::harness::Client;

#[tokio::test]
async fn a_key_that_is_refused_ends_the_run_with_the_reason_and_the_session_goes_on() {
    let fake = fake([Answer::error(401, "authentication_error", "invalid x-api-key")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "hello", "idempotencyKey": "k" })).await;
    let last = client.until_said("k").await;
    assert_eq!(last["state"], "error", "{last}");
    assert!(!last.to_string().contains(KEY));
    let row = client.ok("runs.get", json!({ "runId": "k" })).await;
    assert_eq!((&row["outcome"]["status"], &row["outcome"]["fault"]), (&json!("error"), &json!("MODEL_AUTH")), "{row}");
    let messages = transcript(&gateway);
    let answer = messages.last().unwrap();
    assert_eq!((&answer["role"], &answer["stopReason"]), (&json!("assistant"), &json!("error")));
    fake.push([Answer::text("better")]);
    let again = say(&mut client, "again").await;
    assert_eq!(again["payload"]["status"], "ok", "{again}");
}

#[tokio::test]
async fn an_agent_call_tells_the_code_of_its_failure() {
    let fake = fake([Answer::error(400, "invalid_request_error", "no such model")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "hello").await;
    assert_eq!(
        (&last["ok"], &last["error"]["code"], &last["error"]["details"]["code"]),
        (&json!(false), &json!("UNAVAILABLE"), &json!("MODEL_BAD_REQUEST"))
    );
}

#[tokio::test]
async fn too_many_requests_are_made_again_and_the_answer_is_whole() {
    let mut busy = Answer::error(429, "rate_limit_error", "slow down");
    busy.headers.insert("retry-after-ms".into(), "20".into());
    let fake = fake([busy, Answer::text("Here I am.")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "hello").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let tries: Vec<_> =
        client.runs.values().flat_map(|run| run.events.values()).filter(|event| event["data"]["phase"] == "retry").collect();
    assert_eq!(tries.len(), 1);
    assert_eq!((&tries[0]["data"]["attempt"], &tries[0]["data"]["delayMs"]), (&json!(1), &json!(20)), "{}", tries[0]);
    assert_eq!((fake.seen().len(), fake.spoke().len()), (2, 1));
    assert_eq!(shape(&transcript(&gateway)).last().map(String::as_str), Some("assistant:text"));
}

#[tokio::test]
async fn a_turn_that_has_used_its_budget_ends_after_its_tool_and_says_so() {
    let fake = fake([Answer::tool("t", "exec", json!({ "command": "echo once >> ran" })), Answer::text("nobody asks for this")]).await;
    let list = json!([{ "id": "main", "budget": { "turns": 1 } }]);
    let gateway = gateway(&fake, &json!({ "agents": { "defaults": { "budget": { "turns": 9, "costUsd": 5 } }, "list": list } }));
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "work").await;
    let result = &last["payload"]["result"];
    assert_eq!((&last["ok"], &result["status"], &result["fault"]), (&json!(true), &json!("error"), &json!("BUDGET_TURNS")), "{last}");
    assert_eq!((fake.seen().len(), fake.left()), (1, 1));
    assert_eq!(shape(&transcript(&gateway)), ["user:text", "assistant:toolCall", "toolResult:text", "assistant:text"]);
    assert!(gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn an_abort_in_the_middle_of_an_answer_keeps_what_was_said_and_hangs_up() {
    let fake = fake([Answer::text(&"Much to say. ".repeat(50)).faulty(12, Fault::Stall)]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "tell", "idempotencyKey": "k" })).await;
    client.until("some words", |client| client.chats.get("k").is_some_and(|chat| chat.deltas > 0)).await;
    client.ok("chat.abort", json!({ "sessionKey": "main", "runId": "k" })).await;
    let last = client.until_said("k").await;
    assert_eq!((&last["state"], &last["stopReason"]), (&json!("aborted"), &json!("rpc")), "{last}");
    assert!(last["message"]["content"][0]["text"].as_str().unwrap().starts_with("Much to say."));
    let messages = transcript(&gateway);
    assert_eq!(
        (shape(&messages), &messages[1]["stopReason"]),
        (vec!["user:text".to_owned(), "assistant:text".to_owned()], &json!("aborted"))
    );
    fake.until_gone().await;
}

#[tokio::test]
async fn a_model_that_falls_silent_ends_with_its_run() {
    let fake = fake([Answer::text("I was about to").faulty(3, Fault::Stall)]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "tell", "timeout": 5 })).await;
    let last = client.response(&id).await;
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("AGENT_TIMEOUT")), "{last}");
    fake.until_gone().await;
}

#[tokio::test]
async fn the_key_of_a_provider_is_in_no_file_log_argument_or_environment() {
    let wait = "env; touch began; while [ ! -e go ]; do sleep 0.02; done";
    let fake = fake([Answer::say([Say::Tool("t".into(), "exec".into(), json!({ "command": wait }))]), Answer::text("done")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "do it" })).await;
    crate::shim::until("the command runs", || gateway.state_dir().join("work/began").exists()).await;
    for (_, shim) in gateway.shims() {
        let tree = skykoi_gateway::exec::proc::descendants(shim);
        for pid in tree.iter().map(|process| process.pid).chain([shim]) {
            for file in ["environ", "cmdline"] {
                let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&text).contains(KEY), "/proc/{pid}/{file}");
            }
        }
    }
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    assert!(!client.runs[ack["runId"].as_str().unwrap()].text().contains(KEY));
    assert!(!client.events.iter().any(|event| event.to_string().contains(KEY)));
    let config = gateway.config_path();
    search(gateway.state_dir(), &config);
}

/// No file beneath this folder but the configuration holds the key.
fn search(folder: &Path, config: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            search(&path, config);
        } else if kind.is_file() && !path.to_string_lossy().starts_with(&*config.to_string_lossy()) {
            let text = std::fs::read(&path).unwrap_or_default();
            assert!(memchr::memmem::find(&text, KEY.as_bytes()).is_none(), "{}", path.display());
        }
    }
}

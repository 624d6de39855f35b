//! Runs of the built-in agent: a real daemon, a real shim, and a model server that says what its script tells it to.

mod crashes;
mod failures;
pub mod mcp;
mod meta;
mod sessions;
mod shorter;
mod talk;
mod terminal;
mod tools;

use serde_json::{Value, json};

use crate::fake_model::{Answer, FakeModel, Say};
use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};

/// The key of the provider; it may stand nowhere but in the configuration and in requests to the provider.
const KEY: &str = "canary-model-key-90125";

async fn fake(answers: impl IntoIterator<Item = Answer>) -> FakeModel {
    FakeModel::start(answers).await.unwrap()
}

/// A gateway whose agent asks the fake in this language.
fn gateway_in(fake: &FakeModel, api: &str, patch: &Value) -> Gateway {
    Gateway::with(&config(fake, api, patch))
}

/// Its configuration.
fn config(fake: &FakeModel, api: &str, patch: &Value) -> Value {
    let mut config = json!({
        "agents": { "defaults": { "model": "fake/mind-1", "skipBootstrap": true } },
        "models": { "providers": { "fake": {
            "baseUrl": fake.url(), "apiKey": KEY, "api": api,
            "models": [
                { "id": "mind-1", "name": "Mind", "reasoning": true, "contextWindow": 100_000, "maxTokens": 4000, "cost": { "input": 3, "output": 15 } },
                { "id": "mind-2", "name": "Other mind" },
            ],
        } } },
    });
    merge(&mut config, patch);
    config
}

fn gateway(fake: &FakeModel, patch: &Value) -> Gateway {
    gateway_in(fake, "anthropic-messages", patch)
}

/// Says something to the agent and waits for its end; gives the final frame.
async fn say(client: &mut Client, message: &str) -> Value {
    let (id, _) = client.agent(json!({ "message": message })).await;
    client.response(&id).await
}

/// The messages of the one transcript of the agent.
fn transcript(gateway: &Gateway) -> Vec<Value> {
    let folder = gateway.state_dir().join("agents/main/sessions");
    let files: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "message").map(|line| line["message"].clone()).collect()
}

/// Role and kinds of blocks of each message, such as `assistant:thinking,toolCall`.
fn shape(messages: &[Value]) -> Vec<String> {
    let kinds = |message: &Value| {
        let blocks = message["content"].as_array().unwrap();
        blocks.iter().map(|block| block["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(",")
    };
    messages.iter().map(|message| format!("{}:{}", message["role"].as_str().unwrap(), kinds(message))).collect()
}

/// A model that works on and on until it hears that it should hurry. So what it is told comes while it works, however long that is on its way.
fn worker(hurried: Answer) -> [Answer; 2] {
    let look = Say::Tool("look".to_owned(), "process".to_owned(), json!({ "action": "list" }));
    let work = Answer { keep: true, delay_ms: 200, ..Answer::say([Say::Text("Work after work.".to_owned()), look]) };
    [Answer { when: Some("hurry".to_owned()), ..hurried }, work]
}

/// How many requests had it that the model should hurry.
fn hurried(fake: &FakeModel) -> usize {
    fake.seen().iter().filter(|seen| seen.text.contains("hurry")).count()
}

/// The shape of a turn of a [`worker`], without its work: how often it did that is a matter of time.
fn told(messages: &[Value]) -> Vec<String> {
    let mut shape = shape(messages);
    shape.retain(|message| !["assistant:text,toolCall", "toolResult:text"].contains(&message.as_str()));
    shape
}

/// The text that the model was given as the result of this call, in the last request.
fn result_of(fake: &FakeModel, call: &str) -> String {
    let seen = fake.seen();
    let body = &seen.last().unwrap().body;
    let blocks = body["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_array()).flatten();
    let found: Vec<&Value> = blocks.filter(|block| block["type"] == "tool_result" && block["tool_use_id"] == call).collect();
    assert_eq!(found.len(), 1, "{body}");
    found[0]["content"].to_string()
}

//! Models over real sockets, against the scripted server.

mod answers;
mod bedrock;
mod failures;
mod proxy;
mod signed;

use serde_json::Value;
use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth, Endpoint};
use skykoi_gateway::model::{Block, Event, Message, ModelError, Request, Role, Thinking, ToolSpec, open};
use tokio_stream::StreamExt as _;

use crate::fake_model::{Answer, FakeModel, Say};

/// The key of the tests; no error may hold it.
const KEY: &str = "canary-key-4711";

async fn fake(answers: impl IntoIterator<Item = Answer>) -> FakeModel {
    FakeModel::start(answers).await.unwrap()
}

/// An endpoint at the fake that tries again soon.
fn endpoint(fake: &FakeModel, api: Api) -> Endpoint {
    let (provider, model) = match api {
        Api::AnthropicMessages => ("anthropic", "claude-sonnet-4-5"),
        Api::OpenaiCompletions => ("openai", "gpt-x"),
        Api::BedrockConverseStream => ("amazon-bedrock", "us.anthropic.claude-opus-4-6-v1:0"),
        Api::GoogleGenerativeAi => ("google", "gemini-2.5-pro"),
    };
    let mut endpoint = Endpoint::new(provider, model, api);
    endpoint.base_url = fake.url();
    endpoint.auth = Auth::Key { key: Secret::new(KEY.to_owned()) };
    (endpoint.reasoning, endpoint.images) = (true, true);
    endpoint.retry.base_ms = 1;
    endpoint
}

fn request(text: &str) -> Request {
    let tool = |name: &str| ToolSpec {
        name: name.to_owned(),
        description: format!("tool {name}"),
        schema: serde_json::json!({"type": "object", "properties": {"path": {"type": "string"}}}),
    };
    Request {
        system: "You are a test.".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Block::Text { text: text.to_owned() }] }],
        tools: vec![tool("read"), tool("exec")],
        max_tokens: 4096,
        thinking: Thinking::Off,
    }
}

/// All events of one answer.
async fn ask(endpoints: Vec<Endpoint>, request: &Request) -> Vec<Result<Event, ModelError>> {
    open(endpoints).ask(request).collect().await
}

/// The answer's events, texts of one block joined, without counts.
fn joined(events: &[Result<Event, ModelError>]) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events.iter().map(|event| event.clone().unwrap()) {
        match (all.last_mut(), event) {
            (Some(Event::Text(text)), Event::Text(more))
            | (Some(Event::Thinking(text)), Event::Thinking(more))
            | (Some(Event::ToolArgs(text)), Event::ToolArgs(more)) => text.push_str(&more),
            (_, Event::Usage(_)) => {}
            (_, event) => all.push(event),
        }
    }
    all
}

/// The error at the end, and the events before it.
fn failed(events: Vec<Result<Event, ModelError>>) -> (Vec<Event>, ModelError) {
    let mut events = events;
    let error = events.pop().unwrap().unwrap_err();
    assert!(!error.message.contains("canary") && !error.message.contains('\n'), "{error:?}");
    (events.into_iter().map(Result::unwrap).collect(), error)
}

fn say_all() -> Vec<Say> {
    vec![
        Say::Thinking("Let me see what is there.".to_owned(), "c2VhbA==".to_owned()),
        Say::Text("I read grün 🌱 files now.".to_owned()),
        Say::Tool("call_1".to_owned(), "read".to_owned(), serde_json::json!({"path": "src/ä.rs"})),
        Say::Tool("call_2".to_owned(), "exec".to_owned(), serde_json::json!({"path": "x y", "n": [1, 2]})),
    ]
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

/// The types of the blocks of one message, as they were sent.
fn blocks_of(body: &Value, index: usize) -> Vec<&str> {
    body["messages"][index]["content"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect()
}

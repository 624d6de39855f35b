//! Answers that go well, in each language.

use serde_json::json;
use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth};
use skykoi_gateway::model::{Block, Event, Message, Role, StopReason, Thinking, Usage, open};
use tokio_stream::StreamExt as _;

use super::{KEY, ask, blocks_of, endpoint, fake, joined, request, say_all, text};
use crate::fake_model::{Answer, Fault};

/// Every language that is spoken.
const ALL: [Api; 3] = [Api::AnthropicMessages, Api::OpenaiCompletions, Api::BedrockConverseStream];

fn wanted(api: Api) -> Vec<Event> {
    let tool = |id: &str, name: &str, args: &str| {
        [Event::ToolStart { id: id.to_owned(), name: name.to_owned() }, Event::ToolArgs(args.to_owned()), Event::BlockEnd]
    };
    let mut events = vec![Event::Thinking("Let me see what is there.".to_owned())];
    if api != Api::OpenaiCompletions {
        events.push(Event::Signature("c2VhbA==".to_owned()));
    }
    events.extend([Event::BlockEnd, text("I read grün 🌱 files now."), Event::BlockEnd]);
    events.extend(tool("call_1", "read", "{\"path\":\"src/ä.rs\"}"));
    events.extend(tool("call_2", "exec", "{\"path\":\"x y\",\"n\":[1,2]}"));
    events.push(Event::Stop(StopReason::ToolUse));
    events
}

#[tokio::test]
async fn an_answer_is_the_same_however_its_bytes_are_split() {
    for api in ALL {
        for (piece, bytes) in [(12, None), (1, None), (1, Some(1)), (400, Some(7)), (5, Some(3))] {
            let answer = Answer { piece: Some(piece), bytes, cache_read: 7, ..Answer::say(say_all()) };
            let fake = fake([answer]).await;
            let mut asked = request("hello");
            asked.thinking = Thinking::Low;
            let events = ask(vec![endpoint(&fake, api)], &asked).await;
            assert_eq!(joined(&events), wanted(api), "{api:?} {piece} {bytes:?}");
            let usage = events.iter().rev().find_map(|event| match event {
                Ok(Event::Usage(usage)) => Some(*usage),
                _ => None,
            });
            assert_eq!(usage, Some(Usage { input: 20, output: 10, cache_read: 7, cache_write: 0 }), "{api:?}");
        }
    }
}

#[tokio::test]
async fn what_a_model_thought_goes_back_with_its_seal() {
    for api in [Api::AnthropicMessages] {
        let fake = fake([Answer::text("done")]).await;
        let mut asked = request("hello");
        asked.thinking = Thinking::Medium;
        let thoughts = Block::Thinking { text: "hm".to_owned(), signature: Some("c2VhbA==".to_owned()) };
        let call = Block::ToolUse { id: "c".to_owned(), name: "read".to_owned(), input: json!({"path": "a"}) };
        let out = Block::Text { text: "out".to_owned() };
        asked.messages.push(Message { role: Role::Assistant, content: vec![thoughts, Block::Redacted { data: "AAEC".to_owned() }, call] });
        let result = Block::ToolResult { id: "c".to_owned(), content: vec![out], is_error: true };
        asked.messages.push(Message { role: Role::User, content: vec![result] });
        let events = ask(vec![endpoint(&fake, api)], &asked).await;
        assert_eq!(joined(&events).first(), Some(&text("done")));
        let seen = fake.seen();
        let body = &seen[0].body;
        assert_eq!(blocks_of(body, 1), ["thinking", "redacted_thinking", "tool_use"]);
        assert_eq!(body["messages"][1]["content"][0]["signature"], "c2VhbA==");
        assert_eq!(body["messages"][2]["content"][0]["is_error"], true);
    }
}

#[tokio::test]
async fn a_tool_and_its_result_go_round() {
    for api in ALL {
        let fake = fake([
            Answer::tool("c1", "read", json!({"path": "a"})),
            Answer { when: Some("what is in a".to_owned()), ..Answer::text("done") },
        ])
        .await;
        let mut asked = request("look");
        let said = joined(&ask(vec![endpoint(&fake, api)], &asked).await);
        let start = Event::ToolStart { id: "c1".to_owned(), name: "read".to_owned() };
        assert_eq!(said[..2], [start, Event::ToolArgs("{\"path\":\"a\"}".to_owned())]);
        let call = Block::ToolUse { id: "c1".to_owned(), name: "read".to_owned(), input: json!({"path": "a"}) };
        let out = Block::Text { text: "what is in a".to_owned() };
        let result = Block::ToolResult { id: "c1".to_owned(), content: vec![out], is_error: false };
        asked.messages.push(Message { role: Role::Assistant, content: vec![call] });
        asked.messages.push(Message { role: Role::User, content: vec![result] });
        assert_eq!(joined(&ask(vec![endpoint(&fake, api)], &asked).await)[0], text("done"));
        assert_eq!(fake.left(), 0);
    }
}

#[tokio::test]
async fn anthropic_is_asked_with_its_key_its_version_and_the_headers_of_the_configuration() {
    let fake = fake([Answer::text("a"), Answer::text("b")]).await;
    let mut one = endpoint(&fake, Api::AnthropicMessages);
    one.headers.insert("X-Tenant".to_owned(), Secret::new("t-1".to_owned()));
    ask(vec![one.clone()], &request("hello")).await;
    one.auth = Auth::Bearer { key: Secret::new(KEY.to_owned()) };
    ask(vec![one], &request("hello")).await;
    let seen = fake.seen();
    assert_eq!(seen[0].path, "/v1/messages");
    assert_eq!(seen[0].header("x-api-key"), Some(KEY));
    assert_eq!(seen[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen[0].header("x-tenant"), Some("t-1"));
    assert_eq!(seen[1].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen[1].header("x-api-key"), None);
}

#[tokio::test]
async fn the_next_request_goes_over_the_same_connection() {
    for api in ALL {
        let fake = fake([Answer::text("one"), Answer::text("two"), Answer::text("three")]).await;
        let model = open(vec![endpoint(&fake, api)]);
        for word in ["one", "two", "three"] {
            let events: Vec<_> = model.ask(&request("hello")).collect().await;
            assert_eq!(joined(&events)[0], text(word));
        }
        assert!(fake.seen().iter().all(|seen| seen.connection == 0), "{api:?}");
    }
}

#[tokio::test]
async fn dropping_an_answer_ends_its_request() {
    for api in ALL {
        let story = Answer { piece: Some(1), ..Answer::text("a long story") };
        let fake = fake([story.faulty(5, Fault::Stall)]).await;
        let model = open(vec![endpoint(&fake, api)]);
        let mut events = model.ask(&request("hello"));
        while !matches!(events.next().await.unwrap().unwrap(), Event::Text(_)) {}
        fake.until_seen(1).await;
        drop(events);
        fake.until_gone().await;
    }
}

#[tokio::test]
async fn words_come_while_the_rest_is_still_on_its_way() {
    for api in ALL {
        let story = Answer { piece: Some(1), ..Answer::text("abc") };
        let fake = fake([story.faulty(4, Fault::Stall)]).await;
        let mut one = endpoint(&fake, api);
        one.timeouts.silence_ms = 60_000;
        let model = open(vec![one]);
        let mut events = model.ask(&request("hello"));
        let first = async { while !matches!(events.next().await.unwrap().unwrap(), Event::Text(_)) {} };
        tokio::time::timeout(std::time::Duration::from_secs(60), first).await.expect("the first word waits for the last");
    }
}

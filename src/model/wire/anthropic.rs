//! Requests in the language of Anthropic's messages.
//!
//! Marks for the cache stand behind the tools, behind the system prompt, and at the ends of the last two messages of the user: so each turn finds what the one before has written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::anthropic_answer::Answer;
use super::claude::Thoughts;
use super::{FORGOTTEN, Reader, UNSEEN, Wire, forgotten, max_tokens, others, sees};
use crate::config::model_params::Retention;
use crate::model::endpoint::Endpoint;
use crate::model::{Block, Request, Role};

/// The language.
pub(super) struct Anthropic;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(flatten)]
    thoughts: Thoughts,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<&'a str, &'a Value>,
    messages: Vec<Turn<'a>>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Role,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Mark>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a Value),
    Any { r#type: &'static str },
}

/// The end of a part of the conversation that the provider may keep.
#[derive(Clone, Copy, Serialize)]
struct Mark {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl Mark {
    /// As the configuration wants it; none if nothing is to be kept.
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let ttl = match endpoint.params.cache_retention {
            Some(Retention::None) => return None,
            Some(Retention::Long) => Some("1h"),
            Some(Retention::Short) | None => None,
        };
        Some(Self { r#type: "ephemeral", ttl })
    }
}

#[derive(Serialize)]
struct Part<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Mark>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Text { text: &'a str },
    Image { source: Source<'a> },
    Thinking { thinking: &'a str, signature: &'a str },
    RedactedThinking { data: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: &'a Value },
    ToolResult { tool_use_id: &'a str, content: Vec<Part<'a>>, is_error: bool },
}

#[derive(Serialize)]
struct Source<'a> {
    r#type: &'static str,
    media_type: &'a str,
    data: &'a str,
}

impl Wire for Anthropic {
    fn url(&self, _: &Endpoint, base: &str) -> String {
        let base = base.trim_end_matches('/');
        if base.ends_with("/v1") { format!("{base}/messages") } else { format!("{base}/v1/messages") }
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01"), ("accept", "text/event-stream")]
    }

    fn media_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn body(&self, endpoint: &Endpoint, request: &Request) -> serde_json::Result<Vec<u8>> {
        let thoughts = Thoughts::of(endpoint, request);
        let mark = Mark::of(endpoint);
        let system = [request.system.as_str()].into_iter().filter(|text| !text.trim().is_empty());
        let mut tools = tools(request);
        if let Some(last) = tools.last_mut() {
            last.cache_control = mark;
        }
        let mut messages = turns(endpoint, request, !thoughts.is_empty());
        let ends = messages.iter_mut().rev().filter(|turn| turn.role == Role::User).filter_map(|turn| turn.content.last_mut());
        for end in ends.take(2) {
            end.cache_control = mark;
        }
        let system = system.map(|text| Part { kind: Kind::Text { text }, cache_control: mark }).collect();
        let max_tokens = max_tokens(endpoint, request);
        let (temperature, top_p) = thoughts.sampling(endpoint);
        let others = others(endpoint, thoughts.names());
        let model = &endpoint.model;
        serde_json::to_vec(&Body { model, max_tokens, stream: true, system, tools, thoughts, temperature, top_p, others, messages })
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Answer::default())
    }
}

fn tools(request: &Request) -> Vec<Tool<'_>> {
    let given = request.tools.iter().map(|tool| Tool {
        name: &tool.name,
        description: &tool.description,
        input_schema: Schema::Given(&tool.schema),
        cache_control: None,
    });
    let lost = forgotten(request).into_iter().map(|name| Tool {
        name,
        description: FORGOTTEN,
        input_schema: Schema::Any { r#type: "object" },
        cache_control: None,
    });
    given.chain(lost).collect()
}

fn turns<'a>(endpoint: &Endpoint, request: &'a Request, thinks: bool) -> Vec<Turn<'a>> {
    let turn = |message: &'a crate::model::Message| {
        let content: Vec<Part<'a>> = message.content.iter().filter_map(|block| part(endpoint, block, thinks)).collect();
        Turn { role: message.role, content }
    };
    request.messages.iter().map(turn).filter(|turn| !turn.content.is_empty()).collect()
}

/// A block as it is sent, if it can be. Empty texts and unsigned thoughts are refused by the provider; thoughts of a model that does not think now are passed over by it, and it wants none if it does not think.
fn part<'a>(endpoint: &Endpoint, block: &'a Block, thinks: bool) -> Option<Part<'a>> {
    let kind = match block {
        Block::Text { text } if text.trim().is_empty() => return None,
        Block::Text { text } => Kind::Text { text },
        Block::Image { mime_type, .. } if !sees(endpoint, mime_type) => Kind::Text { text: UNSEEN },
        Block::Image { mime_type, data } => Kind::Image { source: Source { r#type: "base64", media_type: mime_type, data } },
        Block::Thinking { text, signature: Some(signature) } if thinks => Kind::Thinking { thinking: text, signature },
        Block::Redacted { data } if thinks => Kind::RedactedThinking { data },
        Block::Thinking { .. } | Block::Redacted { .. } => return None,
        Block::ToolUse { id, name, input } => Kind::ToolUse { id, name, input },
        Block::ToolResult { id, content, is_error } => {
            let content = content.iter().filter_map(|block| part(endpoint, block, thinks)).collect();
            Kind::ToolResult { tool_use_id: id, content, is_error: *is_error }
        }
    };
    Some(Part { kind, cache_control: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::model_params::ModelParams;
    use crate::model::endpoint::Api;
    use crate::model::{Message, Thinking, ToolSpec};

    fn written(endpoint: &Endpoint, request: &Request) -> Value {
        serde_json::from_slice(&Anthropic.body(endpoint, request).unwrap()).unwrap()
    }

    fn user(content: Vec<Block>) -> Message {
        Message { role: Role::User, content }
    }

    fn text(text: &str) -> Block {
        Block::Text { text: text.to_owned() }
    }

    fn conversation() -> Request {
        let thoughts = Block::Thinking { text: "hm".to_owned(), signature: Some("sig".to_owned()) };
        let sealed = Block::Redacted { data: "xyz".to_owned() };
        let call = Block::ToolUse { id: "t1".to_owned(), name: "read".to_owned(), input: json!({"path": "a"}) };
        let picture = Block::Image { mime_type: "image/png".to_owned(), data: "AAAA".to_owned() };
        let result = Block::ToolResult { id: "t1".to_owned(), content: vec![text("out"), picture], is_error: false };
        Request {
            system: "be good".to_owned(),
            messages: vec![
                user(vec![text("hello"), text(" ")]),
                Message { role: Role::Assistant, content: vec![thoughts, sealed, text(""), call] },
                user(vec![result]),
            ],
            tools: vec![ToolSpec { name: "read".to_owned(), description: "reads".to_owned(), schema: json!({"type": "object"}) }],
            max_tokens: 1 << 20,
            thinking: Thinking::Low,
        }
    }

    #[test]
    fn a_conversation_is_written_with_marks_thoughts_and_pictures() {
        let mut endpoint = Endpoint::new("anthropic", "claude-sonnet-4-5", Api::AnthropicMessages);
        (endpoint.reasoning, endpoint.images) = (true, true);
        let mark = json!({"type": "ephemeral"});
        let wanted = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 8192, "stream": true,
            "system": [{"type": "text", "text": "be good", "cache_control": mark}],
            "tools": [{"name": "read", "description": "reads", "input_schema": {"type": "object"}, "cache_control": mark}],
            "thinking": {"type": "enabled", "budget_tokens": 4096},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": mark}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "xyz"},
                    {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": false, "content": [
                    {"type": "text", "text": "out"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ], "cache_control": mark}]},
            ],
        });
        assert_eq!(written(&endpoint, &conversation()), wanted);
    }

    #[test]
    fn fields_of_the_configuration_are_sent_and_none_that_thoughts_do_not_go_with() {
        let mut endpoint = Endpoint::new("anthropic", "claude-sonnet-4-5", Api::AnthropicMessages);
        let rest = json!({ "top_k": 5, "service_tier": "auto" }).as_object().cloned().unwrap();
        endpoint.params = ModelParams { temperature: Some(0.25), top_p: Some(0.5), rest, ..ModelParams::default() };
        let request = conversation();
        let value = written(&endpoint, &request);
        let fields = |value: &Value| ["temperature", "top_p", "top_k", "service_tier"].map(|name| value.get(name).cloned());
        assert_eq!(fields(&value), [Some(json!(0.25)), Some(json!(0.5)), Some(json!(5)), Some(json!("auto"))]);
        endpoint.reasoning = true;
        let value = written(&endpoint, &request);
        assert_eq!(fields(&value), [None, None, None, Some(json!("auto"))]);
        assert_eq!(value["thinking"]["type"], "enabled");
        endpoint.params.cache_retention = Some(Retention::Long);
        assert_eq!(written(&endpoint, &request)["system"][0]["cache_control"], json!({ "type": "ephemeral", "ttl": "1h" }));
        endpoint.params.cache_retention = Some(Retention::None);
        assert!(!written(&endpoint, &request).to_string().contains("cache_control"));
    }

    #[test]
    fn a_model_without_eyes_and_thoughts_gets_neither_and_forgotten_tools_are_named() {
        let mut endpoint = Endpoint::new("x", "m", Api::AnthropicMessages);
        let mut request = conversation();
        request.messages[0].content.push(Block::Image { mime_type: "image/svg+xml".to_owned(), data: "AAAA".to_owned() });
        endpoint.images = true;
        assert_eq!(written(&endpoint, &request)["messages"][0]["content"][1]["text"], UNSEEN, "nor what no model knows");
        endpoint.images = false;
        request.messages[0].content.pop();
        request.tools.clear();
        let value = written(&endpoint, &request);
        assert_eq!(value.get("thinking"), None);
        assert_eq!(value["messages"][1]["content"].as_array().unwrap().len(), 1);
        assert_eq!(value["messages"][2]["content"][0]["content"][1]["text"], UNSEEN);
        assert_eq!(value["tools"][0]["name"], "read");
    }

    #[test]
    fn an_address_may_hold_the_version_or_not() {
        let endpoint = Endpoint::new("x", "m", Api::AnthropicMessages);
        for base in ["http://h", "http://h/", "http://h/v1", "http://h/v1/"] {
            assert_eq!(Anthropic.url(&endpoint, base), "http://h/v1/messages");
        }
    }
}

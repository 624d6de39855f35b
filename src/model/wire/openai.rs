//! Requests in the language of OpenAI's chat completions, which many servers speak more or less.
//!
//! Only what nearly all of them understand is sent. Thoughts are not sent back: the language has no place for them. Its cache needs no marks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::openai_answer::Answer;
use super::{FORGOTTEN, Reader, UNSEEN, Wire, forgotten, max_tokens, others, sees};
use crate::config::model_params::Retention;
use crate::config::models::MaxTokensField;
use crate::model::endpoint::Endpoint;
use crate::model::{Block, Message, Request, Role, Thinking};

/// The language.
pub(super) struct OpenAi;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'static str>,
    #[serde(flatten)]
    others: BTreeMap<&'a str, &'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    messages: Vec<Turn<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Value>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Turn<'a> {
    System {
        content: &'a str,
    },
    Developer {
        content: &'a str,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        /// Null if only tools are used.
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: String,
    },
}

/// A lone text is sent as one: not every server reads lists.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Image },
}

#[derive(Serialize)]
struct Image {
    url: String,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Called<'a>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: String,
}

impl Wire for OpenAi {
    fn url(&self, _: &Endpoint, base: &str) -> String {
        format!("{}/chat/completions", base.trim_end_matches('/'))
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("accept", "text/event-stream")]
    }

    fn media_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn body(&self, endpoint: &Endpoint, request: &Request) -> serde_json::Result<Vec<u8>> {
        let own = endpoint.base_url.is_empty() || Some(endpoint.base_url.trim_end_matches('/')) == endpoint.api.home();
        let usual = if own { MaxTokensField::MaxCompletionTokens } else { MaxTokensField::MaxTokens };
        let bound = Some(max_tokens(endpoint, request));
        let (max_tokens, max_completion_tokens) = match endpoint.compat.max_tokens_field.unwrap_or(usual) {
            MaxTokensField::MaxTokens => (bound, None),
            MaxTokensField::MaxCompletionTokens => (None, bound),
        };
        let effort = match request.thinking {
            Thinking::Off => None,
            // Only some models know a lesser one.
            Thinking::Minimal | Thinking::Low => Some("low"),
            Thinking::Medium => Some("medium"),
            Thinking::High => Some("high"),
        };
        let thinks = endpoint.compat.reasoning_effort.unwrap_or(endpoint.reasoning);
        let reasoning_effort = effort.filter(|_| thinks);
        // Others have no such field, and some refuse what they do not know.
        let prompt_cache_retention = (own && endpoint.params.cache_retention == Some(Retention::Long)).then_some("24h");
        let mut written = Vec::new();
        written.extend(reasoning_effort.map(|_| "reasoning_effort"));
        written.extend(prompt_cache_retention.map(|_| "prompt_cache_retention"));
        serde_json::to_vec(&Body {
            model: &endpoint.model,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            max_tokens,
            max_completion_tokens,
            reasoning_effort,
            temperature: endpoint.params.temperature,
            top_p: endpoint.params.top_p,
            prompt_cache_retention,
            others: others(endpoint, &written),
            tools: tools(request),
            messages: turns(endpoint, request),
        })
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Answer::default())
    }
}

fn tools(request: &Request) -> Vec<Tool<'_>> {
    let tool = |name, description, parameters| Tool { r#type: "function", function: Function { name, description, parameters } };
    let given = request.tools.iter().map(|spec| tool(&spec.name, &spec.description, Some(&spec.schema)));
    given.chain(forgotten(request).into_iter().map(|name| tool(name, FORGOTTEN, None))).collect()
}

fn turns<'a>(endpoint: &Endpoint, request: &'a Request) -> Vec<Turn<'a>> {
    let mut turns = Vec::new();
    if !request.system.trim().is_empty() {
        let content = request.system.as_str();
        let developer = endpoint.compat.developer_role == Some(true);
        turns.push(if developer { Turn::Developer { content } } else { Turn::System { content } });
    }
    for message in &request.messages {
        match message.role {
            Role::Assistant => turns.extend(said(message)),
            Role::User => asked(endpoint, message, &mut turns),
        }
    }
    turns
}

fn said(message: &Message) -> Option<Turn<'_>> {
    let (mut texts, mut tool_calls) = (Vec::new(), Vec::new());
    for block in &message.content {
        match block {
            Block::Text { text } if !text.is_empty() => texts.push(text.as_str()),
            Block::ToolUse { id, name, input } => {
                tool_calls.push(Call { id, r#type: "function", function: Called { name, arguments: input.to_string() } });
            }
            _ => {}
        }
    }
    let content = (!texts.is_empty()).then(|| texts.join("\n"));
    (content.is_some() || !tool_calls.is_empty()).then_some(Turn::Assistant { content, tool_calls })
}

/// What the user said. Results of tools come first and hold only text; their pictures are shown behind them.
fn asked<'a>(endpoint: &Endpoint, message: &'a Message, turns: &mut Vec<Turn<'a>>) {
    let mut parts = Vec::new();
    for block in &message.content {
        let Block::ToolResult { id, content, is_error } = block else {
            parts.extend(part(endpoint, block));
            continue;
        };
        let mut texts: Vec<&str> = if *is_error { vec!["[failed]"] } else { Vec::new() };
        for inner in content {
            match inner {
                Block::Text { text } => texts.push(text),
                Block::Image { mime_type, .. } if sees(endpoint, mime_type) => parts.extend(part(endpoint, inner)),
                _ => texts.push(UNSEEN),
            }
        }
        turns.push(Turn::Tool { tool_call_id: id, content: texts.join("\n") });
    }
    match parts.as_slice() {
        [] => {}
        [Part::Text { text }] => turns.push(Turn::User { content: Content::Text(text) }),
        _ => turns.push(Turn::User { content: Content::Parts(parts) }),
    }
}

fn part<'a>(endpoint: &Endpoint, block: &'a Block) -> Option<Part<'a>> {
    match block {
        Block::Text { text } if !text.trim().is_empty() => Some(Part::Text { text }),
        Block::Image { mime_type, data } if sees(endpoint, mime_type) => {
            Some(Part::ImageUrl { image_url: Image { url: format!("data:{mime_type};base64,{data}") } })
        }
        Block::Image { .. } => Some(Part::Text { text: UNSEEN }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::ToolSpec;
    use crate::model::endpoint::Api;

    fn conversation() -> Request {
        let text = |text: &str| Block::Text { text: text.to_owned() };
        let picture = || Block::Image { mime_type: "image/png".to_owned(), data: "AAAA".to_owned() };
        let call = |id: &str| Block::ToolUse { id: id.to_owned(), name: "read".to_owned(), input: json!({"path": "a"}) };
        let result = |id: &str, content, is_error| Block::ToolResult { id: id.to_owned(), content, is_error };
        let thoughts = Block::Thinking { text: "hm".to_owned(), signature: None };
        Request {
            system: "be good".to_owned(),
            messages: vec![
                Message { role: Role::User, content: vec![text("look"), picture()] },
                Message { role: Role::Assistant, content: vec![thoughts, call("1"), call("2")] },
                Message {
                    role: Role::User,
                    content: vec![result("1", vec![text("out"), picture()], false), result("2", vec![text("no")], true)],
                },
                Message { role: Role::Assistant, content: vec![text("seen")] },
                Message { role: Role::User, content: vec![text("thanks")] },
            ],
            tools: vec![ToolSpec { name: "read".to_owned(), description: "reads".to_owned(), schema: json!({"type": "object"}) }],
            max_tokens: 100,
            thinking: Thinking::High,
        }
    }

    fn written(endpoint: &Endpoint) -> Value {
        serde_json::from_slice(&OpenAi.body(endpoint, &conversation()).unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_is_written_with_calls_results_and_pictures() {
        let mut endpoint = Endpoint::new("openai", "gpt-x", Api::OpenaiCompletions);
        (endpoint.reasoning, endpoint.images) = (true, true);
        let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}});
        let wanted = json!({
            "model": "gpt-x", "stream": true, "stream_options": {"include_usage": true},
            "max_completion_tokens": 100, "reasoning_effort": "high",
            "tools": [{"type": "function", "function": {"name": "read", "description": "reads", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "system", "content": "be good"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
                {"role": "assistant", "content": null, "tool_calls": [call("1"), call("2")]},
                {"role": "tool", "tool_call_id": "1", "content": "out"},
                {"role": "tool", "tool_call_id": "2", "content": "[failed]\nno"},
                {"role": "user", "content": [picture]},
                {"role": "assistant", "content": "seen"},
                {"role": "user", "content": "thanks"},
            ],
        });
        assert_eq!(written(&endpoint), wanted);
    }

    #[test]
    fn fields_of_the_configuration_are_sent_but_for_what_the_gateway_says_itself() {
        let mut endpoint = Endpoint::new("openai", "gpt-x", Api::OpenaiCompletions);
        endpoint.params.rest = json!({ "seed": 7, "reasoning_effort": "minimal" }).as_object().cloned().unwrap();
        (endpoint.params.temperature, endpoint.params.top_p) = (Some(0.25), Some(0.5));
        endpoint.params.cache_retention = Some(Retention::Long);
        let fields =
            |value: &Value| ["temperature", "top_p", "seed", "reasoning_effort", "prompt_cache_retention"].map(|name| value[name].clone());
        assert_eq!(fields(&written(&endpoint)), [json!(0.25), json!(0.5), json!(7), json!("minimal"), json!("24h")]);
        endpoint.reasoning = true;
        "http://127.0.0.1:8000/v1".clone_into(&mut endpoint.base_url);
        assert_eq!(fields(&written(&endpoint)), [json!(0.25), json!(0.5), json!(7), json!("high"), Value::Null]);
    }

    #[test]
    fn other_servers_get_what_the_configuration_says_they_know() {
        let mut endpoint = Endpoint::new("local", "llama", Api::OpenaiCompletions);
        "http://127.0.0.1:8000/v1/".clone_into(&mut endpoint.base_url);
        let value = written(&endpoint);
        assert_eq!((&value["max_tokens"], value.get("max_completion_tokens"), value.get("reasoning_effort")), (&json!(100), None, None));
        assert_eq!(value["messages"][1]["content"][1]["text"], UNSEEN);
        assert_eq!(OpenAi.url(&endpoint, &endpoint.base_url), "http://127.0.0.1:8000/v1/chat/completions");
        endpoint.compat.developer_role = Some(true);
        endpoint.compat.max_tokens_field = Some(MaxTokensField::MaxCompletionTokens);
        let value = written(&endpoint);
        assert_eq!((&value["messages"][0]["role"], &value["max_completion_tokens"]), (&json!("developer"), &json!(100)));
    }
}

//! Requests in the language of Amazon Bedrock's converse stream.
//!
//! Turns must alternate, so neighbours of the same role become one. Marks for the cache are blocks of their own, and only some models know them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::bedrock_answer::Answer;
use super::claude::{Thoughts, is_claude};
use super::{FORGOTTEN, Reader, UNSEEN, Wire, forgotten, max_tokens, others, sees};
use crate::config::model_params::Retention;
use crate::model::aws::signature::encoded;
use crate::model::endpoint::Endpoint;
use crate::model::{Block, Request, Role};

/// The language.
pub(super) struct Bedrock;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Part<'a>>,
    messages: Vec<Turn<'a>>,
    inference_config: Inference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Additional::is_empty")]
    additional_model_request_fields: Additional<'a>,
    #[serde(flatten)]
    others: BTreeMap<&'a str, &'a Value>,
}

/// Fields that the language does not know and the model does.
#[derive(Serialize)]
struct Additional<'a> {
    #[serde(flatten)]
    thoughts: Thoughts,
    #[serde(flatten)]
    others: BTreeMap<&'a str, &'a Value>,
}

impl Additional<'_> {
    fn is_empty(&self) -> bool {
        self.thoughts.is_empty() && self.others.is_empty()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<&'a Value>,
}

/// Fields of a request itself that the configuration may name; any other is the model's.
const OF_REQUEST: [&str; 6] =
    ["guardrailConfig", "performanceConfig", "requestMetadata", "serviceTier", "promptVariables", "additionalModelResponseFieldPaths"];
const STOP_SEQUENCES: &str = "stopSequences";

#[derive(Serialize)]
struct ToolConfig<'a> {
    tools: Vec<Tool<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Tool<'a> {
    #[serde(rename_all = "camelCase")]
    ToolSpec {
        name: &'a str,
        description: &'a str,
        input_schema: Json<'a>,
    },
    CachePoint(Mark),
}

#[derive(Serialize)]
struct Json<'a> {
    json: Schema<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a Value),
    Any { r#type: &'static str },
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Role,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Part<'a> {
    Text(&'a str),
    Image { format: &'a str, source: Source<'a> },
    ReasoningContent(Reasoning<'a>),
    ToolUse { tool_use_id: &'a str, name: &'a str, input: &'a Value },
    ToolResult { tool_use_id: &'a str, content: Vec<Self>, status: &'static str },
    CachePoint(Mark),
}

#[derive(Serialize)]
struct Source<'a> {
    bytes: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Reasoning<'a> {
    ReasoningText { text: &'a str, signature: &'a str },
    RedactedContent(&'a str),
}

/// The end of a part of the conversation that the provider may keep.
#[derive(Clone, Copy, Serialize)]
struct Mark {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl Wire for Bedrock {
    fn url(&self, endpoint: &Endpoint, base: &str) -> String {
        format!("{}/model/{}/converse-stream", base.trim_end_matches('/'), encoded(&endpoint.model, b""))
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("accept", "application/vnd.amazon.eventstream")]
    }

    fn media_type(&self) -> &'static str {
        "application/vnd.amazon.eventstream"
    }

    fn body(&self, endpoint: &Endpoint, request: &Request) -> serde_json::Result<Vec<u8>> {
        let thoughts = Thoughts::of(endpoint, request);
        let knows = || endpoint.compat.cache_marks.unwrap_or_else(|| is_claude(&endpoint.model) || endpoint.model.contains("nova"));
        let retention = endpoint.params.cache_retention;
        // Nova keeps nothing for an hour.
        let ttl = (retention == Some(Retention::Long) && is_claude(&endpoint.model)).then_some("1h");
        let mark = Mark { r#type: "default", ttl };
        let marks = retention != Some(Retention::None) && knows();
        let mut system: Vec<Part<'_>> =
            [request.system.as_str()].into_iter().filter(|text| !text.trim().is_empty()).map(Part::Text).collect();
        let mut messages = turns(endpoint, request, !thoughts.is_empty());
        let mut tools = tools(request);
        if marks {
            if !system.is_empty() {
                system.push(Part::CachePoint(mark));
            }
            // Nova keeps system and messages only.
            if !tools.is_empty() && is_claude(&endpoint.model) {
                tools.push(Tool::CachePoint(mark));
            }
            for turn in messages.iter_mut().rev().filter(|turn| turn.role == Role::User).take(2) {
                turn.content.push(Part::CachePoint(mark));
            }
        }
        let (temperature, top_p) = thoughts.sampling(endpoint);
        let (mut of_request, mut of_model) = (others(endpoint, thoughts.names()), BTreeMap::new());
        let stop_sequences = of_request.remove(STOP_SEQUENCES);
        of_request.retain(|name, value| {
            let is_known = OF_REQUEST.contains(name);
            if !is_known {
                of_model.insert(*name, *value);
            }
            is_known
        });
        serde_json::to_vec(&Body {
            system,
            messages,
            inference_config: Inference { max_tokens: max_tokens(endpoint, request), temperature, top_p, stop_sequences },
            tool_config: (!tools.is_empty()).then_some(ToolConfig { tools }),
            additional_model_request_fields: Additional { thoughts, others: of_model },
            others: of_request,
        })
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Answer::default())
    }
}

fn tools(request: &Request) -> Vec<Tool<'_>> {
    let tool = |name, description, json| Tool::ToolSpec { name, description, input_schema: Json { json } };
    let given = request.tools.iter().map(|spec| tool(&spec.name, &spec.description, Schema::Given(&spec.schema)));
    let lost = forgotten(request).into_iter().map(|name| tool(name, FORGOTTEN, Schema::Any { r#type: "object" }));
    given.chain(lost).collect()
}

fn turns<'a>(endpoint: &Endpoint, request: &'a Request, thinks: bool) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in &request.messages {
        let content: Vec<Part<'a>> = message.content.iter().filter_map(|block| part(endpoint, block, thinks)).collect();
        match turns.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == message.role => last.content.extend(content),
            _ => turns.push(Turn { role: message.role, content }),
        }
    }
    turns
}

/// A block as it is sent, if it can be.
fn part<'a>(endpoint: &Endpoint, block: &'a Block, thinks: bool) -> Option<Part<'a>> {
    Some(match block {
        Block::Text { text } if text.trim().is_empty() => return None,
        Block::Text { text } => Part::Text(text),
        Block::Image { mime_type, .. } if !sees(endpoint, mime_type) => Part::Text(UNSEEN),
        Block::Image { mime_type, data } => {
            Part::Image { format: mime_type.strip_prefix("image/").unwrap_or(mime_type), source: Source { bytes: data } }
        }
        Block::Thinking { text, signature: Some(signature) } if thinks => {
            Part::ReasoningContent(Reasoning::ReasoningText { text, signature })
        }
        Block::Redacted { data } if thinks => Part::ReasoningContent(Reasoning::RedactedContent(data)),
        Block::Thinking { .. } | Block::Redacted { .. } => return None,
        Block::ToolUse { id, name, input } => Part::ToolUse { tool_use_id: id, name, input },
        Block::ToolResult { id, content, is_error } => {
            let mut content: Vec<Part<'a>> = content.iter().filter_map(|block| part(endpoint, block, thinks)).collect();
            if content.is_empty() {
                content.push(Part::Text("(nothing)"));
            }
            Part::ToolResult { tool_use_id: id, content, status: if *is_error { "error" } else { "success" } }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::endpoint::Api;
    use crate::model::{Message, Thinking, ToolSpec};

    fn written(endpoint: &Endpoint, request: &Request) -> Value {
        serde_json::from_slice(&Bedrock.body(endpoint, request).unwrap()).unwrap()
    }

    fn conversation() -> Request {
        let text = |text: &str| Block::Text { text: text.to_owned() };
        let thoughts = Block::Thinking { text: "hm".to_owned(), signature: Some("sig".to_owned()) };
        let call = Block::ToolUse { id: "t1".to_owned(), name: "read".to_owned(), input: json!({"path": "a"}) };
        let picture = Block::Image { mime_type: "image/png".to_owned(), data: "AAAA".to_owned() };
        let result = Block::ToolResult { id: "t1".to_owned(), content: vec![text("out"), picture], is_error: true };
        let user = |content| Message { role: Role::User, content };
        Request {
            system: "be good".to_owned(),
            messages: vec![
                user(vec![text("one")]),
                user(vec![text("two")]),
                Message { role: Role::Assistant, content: vec![thoughts, Block::Redacted { data: "eHl6".to_owned() }, call] },
                user(vec![result, Block::ToolResult { id: "t2".to_owned(), content: vec![], is_error: false }]),
            ],
            tools: vec![ToolSpec { name: "read".to_owned(), description: "reads".to_owned(), schema: json!({"type": "object"}) }],
            max_tokens: 100,
            thinking: Thinking::High,
        }
    }

    #[test]
    fn a_conversation_is_written_with_marks_thoughts_and_pictures() {
        let mut endpoint = Endpoint::new("amazon-bedrock", "us.anthropic.claude-opus-4-6-v1", Api::BedrockConverseStream);
        (endpoint.reasoning, endpoint.images) = (true, true);
        let mark = json!({"cachePoint": {"type": "default"}});
        let wanted = json!({
            "system": [{"text": "be good"}, mark],
            "messages": [
                {"role": "user", "content": [{"text": "one"}, {"text": "two"}, mark]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"reasoningContent": {"redactedContent": "eHl6"}},
                    {"toolUse": {"toolUseId": "t1", "name": "read", "input": {"path": "a"}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "status": "error", "content": [
                        {"text": "out"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    ]}},
                    {"toolResult": {"toolUseId": "t2", "status": "success", "content": [{"text": "(nothing)"}]}},
                    mark,
                ]},
            ],
            "inferenceConfig": {"maxTokens": 100},
            "toolConfig": {"tools": [
                {"toolSpec": {"name": "read", "description": "reads", "inputSchema": {"json": {"type": "object"}}}}, mark,
            ]},
            "additionalModelRequestFields": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        });
        assert_eq!(written(&endpoint, &conversation()), wanted);
    }

    #[test]
    fn fields_of_the_configuration_are_put_where_the_language_has_them() {
        let mut endpoint = Endpoint::new("amazon-bedrock", "us.anthropic.claude-opus-4-6-v1", Api::BedrockConverseStream);
        let rest = json!({ "top_k": 5, "stopSequences": ["END"], "guardrailConfig": { "guardrailIdentifier": "g" } });
        endpoint.params.rest = rest.as_object().cloned().unwrap();
        (endpoint.params.temperature, endpoint.params.top_p) = (Some(0.25), Some(0.5));
        let value = written(&endpoint, &conversation());
        let inference = json!({ "maxTokens": 100, "temperature": 0.25, "topP": 0.5, "stopSequences": ["END"] });
        assert_eq!((&value["inferenceConfig"], &value["guardrailConfig"]["guardrailIdentifier"]), (&inference, &json!("g")));
        assert_eq!(value["additionalModelRequestFields"], json!({ "top_k": 5 }));
        endpoint.reasoning = true;
        let value = written(&endpoint, &conversation());
        assert_eq!(value["inferenceConfig"], json!({ "maxTokens": 100, "stopSequences": ["END"] }));
        assert!(value["additionalModelRequestFields"].get("top_k").is_none(), "{value}");
        endpoint.params.cache_retention = Some(Retention::Long);
        assert_eq!(written(&endpoint, &conversation())["system"][1], json!({ "cachePoint": { "type": "default", "ttl": "1h" } }));
        endpoint.params.cache_retention = Some(Retention::None);
        assert!(!written(&endpoint, &conversation()).to_string().contains("cachePoint"));
    }

    #[test]
    fn a_model_that_knows_no_marks_and_no_thoughts_gets_none() {
        let endpoint = Endpoint::new("amazon-bedrock", "meta.llama3-70b", Api::BedrockConverseStream);
        let mut request = conversation();
        request.tools.clear();
        let value = written(&endpoint, &request);
        assert!(!value.to_string().contains("cachePoint") && !value.to_string().contains("reasoningContent"), "{value}");
        assert_eq!(value.get("additionalModelRequestFields"), None);
        assert_eq!(value["toolConfig"]["tools"][0]["toolSpec"]["name"], "read");
    }

    #[test]
    fn a_model_is_one_part_of_the_path() {
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x-v1:0";
        let endpoint = Endpoint::new("amazon-bedrock", arn, Api::BedrockConverseStream);
        let wanted = "https://h/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x-v1%3A0/converse-stream";
        assert_eq!(Bedrock.url(&endpoint, "https://h/"), wanted);
    }
}

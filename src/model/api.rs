//! The languages of providers, and what everybody who asks in one of them has to know of it.

use serde::{Deserialize, Serialize};

use crate::config::models::ModelApi;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Anthropic's messages.
    AnthropicMessages,
    /// OpenAI's chat completions.
    OpenaiCompletions,
    /// Amazon Bedrock's converse stream.
    BedrockConverseStream,
    /// Google's generative AI. Nobody here speaks it; it is passed on for programs that do.
    GoogleGenerativeAi,
}

impl Api {
    /// The language that a provider's `api` names, if it is spoken here.
    #[must_use]
    pub fn of(api: ModelApi) -> Option<Self> {
        match api {
            ModelApi::AnthropicMessages => Some(Self::AnthropicMessages),
            ModelApi::OpenaiCompletions => Some(Self::OpenaiCompletions),
            ModelApi::BedrockConverseStream => Some(Self::BedrockConverseStream),
            ModelApi::OpenaiResponses | ModelApi::GoogleGenerativeAi | ModelApi::GithubCopilot => None,
        }
    }

    /// The same, if its requests can be passed on for a program that speaks it.
    #[must_use]
    pub fn passed_on(api: ModelApi) -> Option<Self> {
        match api {
            // To the one who only passes it on they are the same.
            ModelApi::OpenaiResponses => Some(Self::OpenaiCompletions),
            ModelApi::GoogleGenerativeAi => Some(Self::GoogleGenerativeAi),
            _ => Self::of(api),
        }
    }

    /// What the providers that need no entry in the configuration speak.
    #[must_use]
    pub fn of_provider(provider: &str) -> Option<Self> {
        match provider {
            "anthropic" => Some(Self::AnthropicMessages),
            "openai" => Some(Self::OpenaiCompletions),
            "amazon-bedrock" => Some(Self::BedrockConverseStream),
            _ => None,
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic-messages",
            Self::OpenaiCompletions => "openai-completions",
            Self::BedrockConverseStream => "bedrock-converse-stream",
            Self::GoogleGenerativeAi => "google-generative-ai",
        }
    }

    /// Where it is spoken if nobody says otherwise; `None` if that takes a region.
    pub(super) fn home(self) -> Option<&'static str> {
        match self {
            Self::AnthropicMessages => Some("https://api.anthropic.com"),
            Self::OpenaiCompletions => Some("https://api.openai.com/v1"),
            Self::BedrockConverseStream => None,
            Self::GoogleGenerativeAi => Some("https://generativelanguage.googleapis.com"),
        }
    }

    /// The header that carries a key, and what stands before it.
    pub(super) fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::AnthropicMessages => ("x-api-key", ""),
            Self::OpenaiCompletions | Self::BedrockConverseStream => ("authorization", "Bearer "),
            Self::GoogleGenerativeAi => ("x-goog-api-key", ""),
        }
    }
}

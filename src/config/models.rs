//! Section `models`: providers of models and the models they have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::section::{section, words};

words! {
    /// How the providers given relate to the built-in ones.
    enum ModelsMode {
        /// Both count.
        Merge,
        /// Only the ones given.
        Replace,
    }
}

words! {
    /// How a provider is logged in to.
    enum ProviderAuth {
        /// A key.
        ApiKey,
        /// What the AWS tools use: variables, profile, or the machine's role.
        AwsSdk,
        /// OAuth.
        Oauth,
        /// A token.
        Token,
    }
}

words! {
    /// The language a provider speaks.
    enum ModelApi {
        /// OpenAI's chat completions.
        OpenaiCompletions,
        /// OpenAI's responses.
        OpenaiResponses,
        /// Anthropic's messages.
        AnthropicMessages,
        /// Google's generative AI.
        GoogleGenerativeAi,
        /// GitHub Copilot.
        GithubCopilot,
        /// Amazon Bedrock's converse stream.
        BedrockConverseStream,
    }
}

words! {
    /// What a model reads.
    enum ModelInput {
        /// Text.
        Text,
        /// Images.
        Image,
    }
}

words! {
    /// The name of the field that bounds an answer.
    enum MaxTokensField {
        /// `max_tokens`.
        #[serde(rename = "max_tokens")]
        MaxTokens,
        /// `max_completion_tokens`.
        #[serde(rename = "max_completion_tokens")]
        MaxCompletionTokens,
    }
}

section! {
    /// Providers of models.
    struct Models {
        /// How `providers` relates to the built-in ones.
        mode: ModelsMode = ModelsMode::Merge,
        /// The providers by id.
        providers: BTreeMap<String, Provider>,
        /// Looks up the models of Amazon Bedrock.
        #[schemars(extend("x-acts" = false))]
        bedrock_discovery: Option<BedrockDiscovery>,
    }
}

/// One provider of models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Its address.
    pub base_url: String,
    /// Its key.
    pub api_key: Option<Secret<String>>,
    /// How it is logged in to.
    pub auth: Option<ProviderAuth>,
    /// The language it speaks.
    pub api: Option<ModelApi>,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret<String>>,
    /// Sends the key as `Authorization`.
    pub auth_header: Option<bool>,
    /// Its models.
    #[serde(default)]
    pub models: Vec<Model>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// Its id, as the provider knows it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The language it speaks, when not its provider's.
    pub api: Option<ModelApi>,
    /// Whether it thinks before it answers.
    #[serde(default)]
    pub reasoning: bool,
    /// What it reads; default text.
    pub input: Option<Vec<ModelInput>>,
    /// What it costs.
    #[serde(default)]
    pub cost: Cost,
    /// Size of its context window, tokens; default 200000.
    #[schemars(range(min = 1))]
    pub context_window: Option<u64>,
    /// Longest answer, tokens; default 8192, never more than the window.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u64>,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret<String>>,
    /// Ways in which it differs.
    pub compat: Option<Compat>,
}

section! {
    /// What a model costs, dollars per million tokens.
    struct Cost {
        /// Read.
        input: f64 = 0.0,
        /// Written.
        output: f64 = 0.0,
        /// Read from the cache.
        cache_read: f64 = 0.0,
        /// Written to the cache.
        cache_write: f64 = 0.0,
    }
}

section! {
    /// Ways in which a model differs from what its API says.
    struct Compat {
        /// It stores answers.
        supports_store: Option<bool>,
        /// It knows the role `developer`.
        supports_developer_role: Option<bool>,
        /// It knows the effort of reasoning.
        supports_reasoning_effort: Option<bool>,
        /// The name of the field that bounds an answer.
        max_tokens_field: Option<MaxTokensField>,
    }
}

section! {
    /// Looks up the models of Amazon Bedrock.
    struct BedrockDiscovery {
        /// Does it.
        enabled: Option<bool>,
        /// The region.
        region: Option<String>,
        /// Only these vendors.
        provider_filter: Option<Vec<String>>,
        /// Time between look-ups, seconds.
        refresh_interval: Option<u64>,
        /// Context window of models that do not say.
        #[schemars(range(min = 1))]
        default_context_window: Option<u64>,
        /// Longest answer of models that do not say.
        #[schemars(range(min = 1))]
        default_max_tokens: Option<u64>,
    }
}

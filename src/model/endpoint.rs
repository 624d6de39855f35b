//! Everything that is needed to open one model: where it is, what it speaks, who we are there and what it costs.
//!
//! The daemon makes it of the configuration and sends it to a run's shim over the private stream, with the secrets in it. They are `Secret`s everywhere else, so this is the only form in which they are written out: nothing but that stream may serialise an endpoint.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::api::Api;

use super::Usage;
use crate::config::model_params::ModelParams;
use crate::config::models::MaxTokensField;
use crate::config::secret::Secret;

/// One model at one provider.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The provider's id, as in `provider/model`; stands in errors.
    pub provider: String,
    /// The model, as the provider knows it.
    pub model: String,
    /// The language it speaks.
    pub api: Api,
    /// Its address; empty = the one that everybody uses. `/v1` belongs to it for OpenAI, and may stand there for Anthropic.
    #[serde(default)]
    pub base_url: String,
    /// How we are known there.
    #[serde(default)]
    pub auth: Auth,
    /// Sent with every request; they win over our own of the same name.
    #[serde(default, with = "written_map")]
    pub headers: BTreeMap<String, Secret<String>>,
    /// Size of the context window in tokens.
    pub context_window: u64,
    /// Longest answer in tokens; a request's own bound is cut to it.
    pub max_tokens: u64,
    /// What it costs.
    #[serde(default)]
    pub cost: Cost,
    /// Whether it can think before it answers. If not, what a request says of thinking is left out.
    #[serde(default)]
    pub reasoning: bool,
    /// Whether it sees pictures. If not, a note takes their place.
    #[serde(default)]
    pub images: bool,
    /// Ways in which it differs from what its API says.
    #[serde(default)]
    pub compat: Compat,
    /// Fields of its requests that the configuration names.
    #[serde(default)]
    pub params: ModelParams,
    /// How long it may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How often it is asked again.
    #[serde(default)]
    pub retry: Retry,
}

impl Endpoint {
    /// A model with everything else as it is if nobody says otherwise: no key, a window of 200000 tokens, answers of at most 8192.
    #[must_use]
    pub fn new(provider: &str, model: &str, api: Api) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            api,
            base_url: String::new(),
            auth: Auth::None,
            headers: BTreeMap::new(),
            context_window: 200_000,
            max_tokens: 8192,
            cost: Cost::default(),
            reasoning: false,
            images: false,
            compat: Compat::default(),
            params: ModelParams::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
        }
    }
}

/// How we are known to a provider.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Auth {
    /// Not at all, or by a header of the configuration.
    #[default]
    None,
    /// A key, in the header in which the API wants it (`x-api-key` for Anthropic, else `Authorization`).
    Key {
        /// The key.
        #[serde(with = "written")]
        key: Secret<String>,
    },
    /// A token, as `Authorization: Bearer`.
    Bearer {
        /// The token.
        #[serde(with = "written")]
        key: Secret<String>,
    },
    /// What the AWS tools use.
    Aws(Aws),
}

/// Where AWS credentials are looked for: `AWS_BEARER_TOKEN_BEDROCK`, the variables with keys, web identity, the profile's file, the container's endpoint, the instance's role; the first that is there counts.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Aws {
    /// The region; absent = as the variables, the profile or the address say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The variables of [`Aws::VARIABLES`] that are set. The process's own environment is not looked at.
    #[serde(default, with = "written_map")]
    pub variables: BTreeMap<String, Secret<String>>,
}

impl Aws {
    /// The variables that matter.
    pub const VARIABLES: &'static [&'static str] = &[
        "AWS_ACCESS_KEY_ID",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL_STS",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "HOME",
    ];

    /// Takes what matters out of an environment; empty values count as absent.
    pub fn of_environment(region: Option<String>, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let matters = |(name, value): &(String, String)| !value.is_empty() && Self::VARIABLES.contains(&name.as_str());
        Self { region, variables: variables.into_iter().filter(matters).map(|(name, value)| (name, Secret::new(value))).collect() }
    }

    /// A variable's value.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.expose().as_str())
    }
}

/// Dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from the cache.
    pub cache_read: f64,
    /// Written to the cache.
    pub cache_write: f64,
}

impl Cost {
    /// What these tokens cost, in dollars.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "2^53 tokens are more than anybody can pay")]
    pub fn of(&self, usage: &Usage) -> f64 {
        let parts = [
            (self.input, usage.input),
            (self.output, usage.output),
            (self.cache_read, usage.cache_read),
            (self.cache_write, usage.cache_write),
        ];
        parts.iter().map(|(price, tokens)| price * *tokens as f64).sum::<f64>() / 1e6
    }
}

/// Ways in which a model differs from what its API says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compat {
    /// The name of the field that bounds an answer (OpenAI); absent = `max_completion_tokens` at OpenAI's own address, `max_tokens` elsewhere.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Whether the system prompt has the role `developer` (OpenAI); absent = no.
    pub developer_role: Option<bool>,
    /// Whether `reasoning_effort` is understood (OpenAI); absent = if the model thinks.
    pub reasoning_effort: Option<bool>,
    /// Whether marks for the cache are understood (Bedrock); absent = for Claude and Nova.
    pub cache_marks: Option<bool>,
}

/// How long an answer may take, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect_ms: u64,
    /// Without a byte, from the request on.
    pub silence_ms: u64,
    /// For the whole answer, with all tries.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 10_000, silence_ms: 180_000, total_ms: 1_800_000 }
    }
}

/// How often a model is asked again before its first word, if that may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// Tries in all, at least 1.
    pub attempts: u32,
    /// The first pause, ms; each further one is twice as long, give or take a quarter.
    pub base_ms: u64,
    /// The longest pause, ms. If the provider asks for a longer one, the next model is asked instead.
    pub max_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, base_ms: 500, max_ms: 60_000 }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Endpoint");
        out.field("provider", &self.provider).field("model", &self.model).field("api", &self.api);
        out.field("auth", &self.auth).field("headers", &self.headers.keys());
        out.finish_non_exhaustive()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Key { .. } => f.write_str("Key(…)"),
            Self::Bearer { .. } => f.write_str("Bearer(…)"),
            Self::Aws(aws) => aws.fmt(f),
        }
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).field("variables", &self.variables.keys()).finish()
    }
}

/// A secret written out, for the private stream.
mod written {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Secret<String>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret<String>, D::Error> {
        Secret::deserialize(from)
    }
}

/// Named secrets written out, for the private stream.
pub(crate) mod written_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer>(secrets: &BTreeMap<String, Secret<String>>, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(secrets.iter().map(|(name, secret)| (name, secret.expose())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Secret<String>>, D::Error> {
        BTreeMap::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(auth: Auth) -> Endpoint {
        let text = r#"{"provider":"p","model":"m","api":"anthropic-messages","contextWindow":1000,"maxTokens":100}"#;
        let mut endpoint: Endpoint = serde_json::from_str(text).unwrap();
        endpoint.auth = auth;
        endpoint.headers.insert("x-tenant".to_owned(), Secret::new("canary-header".to_owned()));
        endpoint
    }

    #[test]
    fn an_endpoint_survives_the_private_stream_and_is_not_shown() {
        let variables = [("AWS_SECRET_ACCESS_KEY", "canary-aws"), ("AWS_REGION", ""), ("EDITOR", "vi")];
        let aws = Aws::of_environment(Some("eu-west-1".to_owned()), variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(aws.variables.keys().collect::<Vec<_>>(), ["AWS_SECRET_ACCESS_KEY"]);
        let key = || Secret::new("canary-key".to_owned());
        for auth in [Auth::None, Auth::Key { key: key() }, Auth::Bearer { key: key() }, Auth::Aws(aws)] {
            let endpoint = endpoint(auth);
            let text = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&text).unwrap(), endpoint, "{text}");
            let shown = format!("{endpoint:?} {:?}", endpoint.auth);
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_price_is_per_million_tokens() {
        let cost = Cost { input: 3.0, output: 15.0, cache_read: 0.3, cache_write: 3.75 };
        let usage = Usage { input: 1_000_000, output: 100_000, cache_read: 2_000_000, cache_write: 0 };
        assert!((cost.of(&usage) - 5.1).abs() < 1e-9);
    }
}

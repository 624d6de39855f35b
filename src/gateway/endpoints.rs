//! From the configuration to models that can be asked: which name means which provider, where that is, and who we are there.
//!
//! `provider/model` is looked up among `models.providers`; `anthropic`, `openai` and `amazon-bedrock` need no entry there. A key is `apiKey` of the provider, else the variable `<PROVIDER>_API_KEY` of the gateway or of the section `env`.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::model_params::ModelParams;
use crate::config::models::{Model, ModelApi, ModelInput, ModelsMode, Provider, ProviderAuth};
use crate::config::secret::Secret;
use crate::model::endpoint::{Api, Auth, Aws, Compat, Cost, Endpoint};
use crate::programs::spec::Kind;

/// Variables by name.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The model of this name, `provider/model` or an alias.
///
/// # Errors
/// One line: what is missing, and where to put it.
pub fn endpoint(config: &Config, name: &str, variables: Variables<'_>) -> Result<Endpoint, String> {
    let name = unaliased(config, name);
    let Some((provider, model)) = name.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty()) else {
        return Err(format!("\"{name}\" names no model; write it as provider/model, such as anthropic/claude-sonnet-4-5"));
    };
    let settings = config.models.providers.get(provider);
    let known = Api::of_provider(provider).filter(|_| settings.is_some() || config.models.mode == ModelsMode::Merge);
    if settings.is_none() && known.is_none() {
        return Err(format!("there is no provider \"{provider}\" for the model {name}; add models.providers.{provider} with its baseUrl"));
    }
    let row = settings.and_then(|settings| settings.models.iter().find(|row| row.id == model));
    let api = match row.and_then(|row| row.api).or(settings.and_then(|settings| settings.api)) {
        Some(api) => Api::of(api).ok_or_else(|| format!("models.providers.{provider}: the api \"{}\" is not spoken here", word(api)))?,
        None => known.unwrap_or(Api::OpenaiCompletions),
    };
    let mut endpoint = place(config, provider, model, api, variables)?;
    endpoint.headers.extend(row.iter().flat_map(|row| &row.headers).map(|(name, value)| (name.clone(), value.clone())));
    describe(&mut endpoint, row);
    endpoint.params = ModelParams::of_model(config, &name);
    endpoint.max_tokens = endpoint.params.max_tokens.unwrap_or(endpoint.max_tokens).min(endpoint.context_window);
    Ok(endpoint)
}

/// The provider that an agent program asks in its own way, and the model that it asks for; `provider` is the configured one, `model` the program's own spelling.
///
/// # Errors
/// One line: what is missing or does not fit, and where to put it.
pub fn of_program(
    config: &Config,
    kind: Kind,
    provider: Option<&str>,
    model: Option<&str>,
    variables: Variables<'_>,
) -> Result<Endpoint, String> {
    // The first one where a provider does not say what it speaks.
    let (usual, spoken): (_, &[Api]) = match kind {
        Kind::Claude => (Some("anthropic"), &[Api::AnthropicMessages, Api::BedrockConverseStream]),
        Kind::Codex => (Some("openai"), &[Api::OpenaiCompletions]),
        Kind::Pi => (None, &[Api::OpenaiCompletions, Api::AnthropicMessages, Api::BedrockConverseStream]),
        Kind::Acp => (None, &[Api::OpenaiCompletions, Api::AnthropicMessages, Api::BedrockConverseStream, Api::GoogleGenerativeAi]),
    };
    let spelled = model.and_then(|model| model.split_once('/')).filter(|(first, _)| provider.is_none_or(|provider| provider == *first));
    let named = provider.or(usual).or(spelled.map(|(first, _)| first));
    let name = kind.name();
    let Some(provider) = named else {
        return Err(format!("runners.{name}: credentials are \"gateway\", so provider must say whose, or model begin with it"));
    };
    let model = spelled.filter(|(first, _)| *first == provider).map_or(model, |(_, rest)| Some(rest));
    if model.is_none() && kind == Kind::Pi {
        return Err(format!("runners.{name}: credentials are \"gateway\", so model must say which model it asks for"));
    }
    let model = model.unwrap_or_default();
    let settings = config.models.providers.get(provider);
    let known = Api::of_provider(provider).filter(|_| settings.is_some() || config.models.mode == ModelsMode::Merge);
    let api = match settings.and_then(|settings| settings.api) {
        Some(given) => Api::passed_on(given)
            .ok_or_else(|| format!("models.providers.{provider}: requests of the api \"{}\" are not passed on", word(given)))?,
        None => known.or(settings.and(spoken.first().copied())).ok_or_else(|| {
            format!("there is no provider \"{provider}\"; add models.providers.{provider} with its baseUrl, or name another one")
        })?,
    };
    if !spoken.contains(&api) {
        let why = if kind == Kind::Codex { " (the Responses API of OpenAI)" } else { "" };
        return Err(format!(
            "the provider \"{provider}\" does not speak the language of {name}{why}; name another one in runners.{name}.provider"
        ));
    }
    let mut endpoint = place(config, provider, model, api, variables)?;
    describe(&mut endpoint, settings.and_then(|settings| settings.models.iter().find(|row| row.id == model)));
    Ok(endpoint)
}

/// A model at a provider: where that is, and who we are there.
fn place(config: &Config, provider: &str, model: &str, api: Api, variables: Variables<'_>) -> Result<Endpoint, String> {
    let settings = config.models.providers.get(provider);
    let mut endpoint = Endpoint::new(provider, model, api);
    endpoint.base_url = settings.map(|settings| settings.base_url.clone()).unwrap_or_default();
    endpoint.auth = auth(config, provider, settings, api, variables)?;
    let headers = settings.iter().flat_map(|settings| &settings.headers);
    endpoint.headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(endpoint)
}

/// What an alias stands for; any other name as it is.
#[must_use]
pub fn unaliased(config: &Config, name: &str) -> String {
    let name = name.trim();
    let models = &config.agents.defaults.models;
    let of = models.iter().find(|(_, settings)| settings.alias.as_deref().is_some_and(|alias| alias.eq_ignore_ascii_case(name)));
    of.map_or_else(|| name.to_owned(), |(full, _)| full.clone())
}

fn word(api: ModelApi) -> String {
    api.name()
}

/// What the model can, by its name and by what the configuration says of it.
fn describe(endpoint: &mut Endpoint, row: Option<&Model>) {
    (endpoint.reasoning, endpoint.images) = abilities(&endpoint.model);
    if let Some(row) = row {
        take_over(endpoint, row);
    }
    endpoint.max_tokens = endpoint.max_tokens.min(endpoint.context_window);
}

fn take_over(endpoint: &mut Endpoint, row: &Model) {
    endpoint.context_window = row.context_window.unwrap_or(endpoint.context_window);
    endpoint.max_tokens = row.max_tokens.unwrap_or(endpoint.max_tokens);
    endpoint.reasoning = row.reasoning;
    endpoint.images = row.input.as_ref().is_some_and(|inputs| inputs.contains(&ModelInput::Image));
    let cost = &row.cost;
    endpoint.cost = Cost { input: cost.input, output: cost.output, cache_read: cost.cache_read, cache_write: cost.cache_write };
    if let Some(compat) = &row.compat {
        endpoint.compat = Compat {
            max_tokens_field: compat.max_tokens_field,
            developer_role: compat.supports_developer_role,
            reasoning_effort: compat.supports_reasoning_effort,
            ..Compat::default()
        };
    }
}

/// Whether a model that the configuration only names thinks, and sees pictures, by its name.
fn abilities(model: &str) -> (bool, bool) {
    let has = |words: &[&str]| words.iter().any(|word| model.contains(word));
    let claude = has(&["claude"]);
    let thinks = claude && has(&["-4", "-5", "3-7"]) || has(&["gpt-5", "o1", "o3", "o4-"]);
    (thinks, claude || has(&["gpt-4o", "gpt-4.1", "gpt-5", "nova"]))
}

fn auth(config: &Config, provider: &str, settings: Option<&Provider>, api: Api, variables: Variables<'_>) -> Result<Auth, String> {
    let own = |name: &str| config.env.vars.get(name).map(|value| value.expose().clone());
    let variable = |name: &str| variables(name).or_else(|| own(name)).filter(|value| !value.is_empty());
    let name = format!("{}_API_KEY", provider.to_uppercase().replace(['-', '.'], "_"));
    let given = settings.and_then(|settings| settings.api_key.clone());
    let kind = settings.and_then(|settings| settings.auth);
    if api == Api::BedrockConverseStream && (given.is_none() || kind == Some(ProviderAuth::AwsSdk)) {
        let region = config.models.bedrock_discovery.as_ref().and_then(|discovery| discovery.region.clone());
        let found: BTreeMap<String, String> =
            Aws::VARIABLES.iter().filter_map(|name| variable(name).map(|value| ((*name).to_owned(), value))).collect();
        return Ok(Auth::Aws(Aws::of_environment(region, found)));
    }
    let Some(key) = given.or_else(|| variable(&name).map(Secret::new)) else {
        let headers = settings.is_some_and(|settings| !settings.headers.is_empty());
        let elsewhere = settings.is_some_and(|settings| !settings.base_url.is_empty());
        if headers || elsewhere {
            // Somebody's own server may let everybody in.
            return Ok(Auth::None);
        }
        return Err(format!(
            "there is no key for the provider \"{provider}\": set models.providers.{provider}.apiKey, or {name} in the gateway's environment"
        ));
    };
    let bearer = matches!(kind, Some(ProviderAuth::Token | ProviderAuth::Oauth))
        || settings.is_some_and(|settings| settings.auth_header == Some(true));
    Ok(if bearer { Auth::Bearer { key } } else { Auth::Key { key } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(config: Value, name: &str, variables: &[(&str, &str)]) -> Result<Endpoint, String> {
        let config: Config = serde_json::from_value(config).unwrap();
        let find = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        endpoint(&config, name, &find)
    }

    #[test]
    fn well_known_providers_need_only_a_key() {
        let found = of(json!({}), "anthropic/claude-sonnet-4-5", &[("ANTHROPIC_API_KEY", "canary")]).unwrap();
        assert_eq!((found.api, found.base_url.as_str(), found.reasoning, found.images), (Api::AnthropicMessages, "", true, true));
        assert!(matches!(&found.auth, Auth::Key { key } if key.expose() == "canary"));
        let none = of(json!({}), "openai/gpt-5", &[]).unwrap_err();
        assert!(none.contains("models.providers.openai.apiKey") && none.contains("OPENAI_API_KEY"), "{none}");
        let own = of(json!({ "env": { "OPENAI_API_KEY": "x" } }), "openai/gpt-5", &[]).unwrap();
        assert!(matches!(own.auth, Auth::Key { .. }));
        let aws = of(json!({}), "amazon-bedrock/us.anthropic.claude-opus-4-6-v1", &[("AWS_REGION", "eu-west-1")]).unwrap();
        assert!(matches!(&aws.auth, Auth::Aws(aws) if aws.variable("AWS_REGION") == Some("eu-west-1")));
        assert_eq!(aws.model, "us.anthropic.claude-opus-4-6-v1");
    }

    #[test]
    fn a_provider_of_ones_own_says_where_it_is_and_what_its_models_are() {
        let config = json!({
            "models": { "providers": { "box": {
                "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "k", "authHeader": true, "headers": { "x-a": "1" },
                "models": [{ "id": "m/1", "name": "M", "contextWindow": 1000, "maxTokens": 5000, "input": ["text"], "cost": { "input": 2 }, "headers": { "x-b": "2" } }],
            } } },
            "agents": { "defaults": { "models": { "box/m/1": { "alias": "Small", "params": { "temperature": 0.5, "maxTokens": 700 } } } } },
        });
        for name in ["box/m/1", "small"] {
            let found = of(config.clone(), name, &[]).unwrap();
            assert_eq!((found.provider.as_str(), found.model.as_str(), found.api), ("box", "m/1", Api::OpenaiCompletions));
            assert_eq!((found.context_window, found.max_tokens, found.cost.input), (1000, 700, 2.0));
            assert_eq!(found.params.temperature, Some(0.5));
            assert_eq!(found.headers.keys().collect::<Vec<_>>(), ["x-a", "x-b"]);
            assert!(matches!(found.auth, Auth::Bearer { .. }));
        }
    }

    #[test]
    fn a_program_is_led_to_a_provider_that_speaks_its_language_and_to_no_other() {
        let config: Config = serde_json::from_value(json!({ "models": { "providers": {
            "own": { "baseUrl": "http://h/v1", "apiKey": "k", "api": "openai-responses", "headers": { "x-a": "1" } },
            "far": { "baseUrl": "http://g", "apiKey": "k", "api": "google-generative-ai" },
            "hub": { "baseUrl": "http://c", "apiKey": "k", "api": "github-copilot" },
        } } }))
        .unwrap();
        let variables = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "canary".to_owned());
        let of = |kind, provider, model| of_program(&config, kind, provider, model, &variables);
        let own = of(Kind::Codex, Some("own"), Some("m")).unwrap();
        assert_eq!((own.base_url.as_str(), own.model.as_str(), own.headers.len()), ("http://h/v1", "m", 1));
        let usual = of(Kind::Claude, None, None).unwrap();
        assert!(matches!(usual.auth, Auth::Key { .. }) && (usual.provider.as_str(), usual.model.as_str()) == ("anthropic", ""));
        for spelled in ["own/m/1", "m/1"] {
            let pi = of(Kind::Pi, Some("own"), Some(spelled)).unwrap();
            assert_eq!((pi.provider.as_str(), pi.model.as_str()), ("own", "m/1"));
        }
        assert_eq!(of(Kind::Pi, None, Some("own/m/1")).unwrap().model, "m/1");
        for (kind, provider) in [(Kind::Claude, Some("amazon-bedrock")), (Kind::Pi, None), (Kind::Acp, Some("amazon-bedrock"))] {
            let amazon = of(kind, provider, Some("amazon-bedrock/eu.x-v1:0")).unwrap();
            assert_eq!((amazon.api, amazon.model.as_str()), (Api::BedrockConverseStream, "eu.x-v1:0"), "{kind:?}");
            assert!(matches!(amazon.auth, Auth::Aws(_)));
        }
        assert_eq!(of(Kind::Acp, Some("far"), None).unwrap().api, Api::GoogleGenerativeAi);
        for (kind, provider, model, words) in [
            (Kind::Claude, Some("own"), None, "language of claude"),
            (Kind::Codex, Some("amazon-bedrock"), None, "language of codex (the Responses API"),
            (Kind::Pi, Some("far"), Some("m"), "language of pi"),
            (Kind::Claude, Some("far"), Some("m"), "language of claude"),
            (Kind::Acp, Some("hub"), Some("m"), "are not passed on"),
            (Kind::Acp, Some("nowhere"), None, "models.providers.nowhere"),
            (Kind::Codex, None, None, "OPENAI_API_KEY"),
            (Kind::Acp, None, Some("plain"), "provider must say whose"),
            (Kind::Pi, Some("own"), None, "model must say"),
        ] {
            let why = of(kind, provider, model).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_to_do() {
        for (config, name, reason) in [
            (json!({}), "sonnet", "names no model"),
            (json!({}), "nowhere/m", "models.providers.nowhere"),
            (json!({ "models": { "mode": "replace" } }), "openai/gpt-5", "models.providers.openai"),
            (
                json!({ "models": { "providers": { "g": { "baseUrl": "http://h", "api": "google-generative-ai" } } } }),
                "g/m",
                "is not spoken here",
            ),
        ] {
            let error = of(config, name, &[("OPENAI_API_KEY", "k")]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}

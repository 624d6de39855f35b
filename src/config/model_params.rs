//! What `agents.defaults.models.*.params` says: fields of the requests to one model. Some mean the same in every language and are put where that language has them; all others go to the provider as they are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Config;
use super::key_path::KeyPath;
use super::open::Open;
use super::problem::Problem;
use super::section::words;

words! {
    /// How long a provider keeps what it is told to keep.
    enum Retention {
        /// It is told to keep nothing.
        None,
        /// As long as it usually does.
        Short,
        /// As long as it can: an hour at Anthropic and Bedrock, a day at OpenAI.
        Long,
    }
}

/// The fields of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelParams {
    /// How freely it chooses words, 0 to 2.
    pub temperature: Option<f64>,
    /// From how much of the likeliest it chooses, 0 to 1.
    pub top_p: Option<f64>,
    /// Longest answer, tokens.
    pub max_tokens: Option<u64>,
    /// What becomes of the marks for the provider's cache.
    pub cache_retention: Option<Retention>,
    /// Everything else, by the names of the provider.
    pub rest: Map<String, Value>,
}

/// What the gateway makes itself in every request, and what to do instead of naming it.
const OURS: [(&str, &str); 14] = [
    ("model", "name the model in agents.*.model"),
    ("messages", "the gateway makes the conversation"),
    ("system", "instructions stand in the workspace's files"),
    ("tools", "tools are chosen by tools.allow, deny and profile"),
    ("toolConfig", "tools are chosen by tools.allow, deny and profile"),
    ("stream", "answers always stream"),
    ("stream_options", "answers always stream"),
    ("inferenceConfig", "write its fields beside it: temperature, topP, maxTokens, stopSequences"),
    ("additionalModelRequestFields", "write its fields in its place"),
    ("max_completion_tokens", "write maxTokens"),
    ("maxOutputTokens", "write maxTokens"),
    ("thinking", "how much a model thinks is said by agents.defaults.thinkingDefault and /think"),
    ("n", "there is one answer"),
    ("api_key", "a key belongs in models.providers.<id>.apiKey"),
];

impl ModelParams {
    /// What these fields say.
    ///
    /// # Errors
    /// The first that is wrong: its name, and what it must be.
    pub fn of(given: &Open) -> Result<Self, (String, String)> {
        let mut params = Self::default();
        for (name, value) in &given.0 {
            let wrong = |must: &str| (name.clone(), must.to_owned());
            let share = |most: f64, must: &str| value.as_f64().filter(|n| (0.0..=most).contains(n)).ok_or_else(|| wrong(must)).map(Some);
            match name.as_str() {
                "temperature" => params.temperature = share(2.0, "must be a number from 0 to 2")?,
                "topP" | "top_p" => params.top_p = share(1.0, "must be a number from 0 to 1")?,
                "maxTokens" | "max_tokens" => {
                    let most = value.as_u64().filter(|most| *most > 0).ok_or_else(|| wrong("must be a whole number, at least 1"))?;
                    params.max_tokens = Some(most);
                }
                "cacheRetention" => {
                    let word = serde_json::from_value(value.clone()).map_err(|_| wrong("must be \"none\", \"short\" or \"long\""))?;
                    params.cache_retention = Some(word);
                }
                _ => {
                    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| ours == name) {
                        return Err(wrong(&format!("is made by the gateway; {instead}")));
                    }
                    params.rest.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(params)
    }

    /// The fields of a model by its full name, `provider/model`; none are said if they are wrong, which the check of the configuration refuses.
    #[must_use]
    pub fn of_model(config: &Config, name: &str) -> Self {
        let given = config.agents.defaults.models.get(name).and_then(|settings| settings.params.as_ref());
        given.and_then(|given| Self::of(given).ok()).unwrap_or_default()
    }
}

/// The fields of every model, checked.
pub(super) fn wrong(config: &Config, problems: &mut Vec<Problem>) {
    for (model, settings) in &config.agents.defaults.models {
        if let Some(Err((name, must))) = settings.params.as_ref().map(ModelParams::of) {
            let path = KeyPath::parse("agents.defaults.models").key(model).key("params").key(&name);
            problems.push(Problem::value(path, must));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Result<ModelParams, (String, String)> {
        ModelParams::of(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn known_fields_have_either_spelling_and_all_others_stay_as_they_are() {
        let snake = of(json!({ "temperature": 0, "top_p": 0.5, "max_tokens": 9, "seed": 7, "cacheRetention": "long" })).unwrap();
        let camel = of(json!({ "temperature": 0.0, "topP": 0.5, "maxTokens": 9, "seed": 7, "cacheRetention": "long" })).unwrap();
        assert_eq!(snake, camel);
        assert_eq!((snake.temperature, snake.max_tokens, snake.cache_retention), (Some(0.0), Some(9), Some(Retention::Long)));
        assert_eq!(snake.rest, *json!({ "seed": 7 }).as_object().unwrap());
    }

    #[test]
    fn what_is_wrong_or_the_gateways_own_is_named_with_what_to_do() {
        for (params, name, words) in [
            (json!({ "temperature": 2.1 }), "temperature", "from 0 to 2"),
            (json!({ "temperature": "hot" }), "temperature", "from 0 to 2"),
            (json!({ "topP": -1 }), "topP", "from 0 to 1"),
            (json!({ "maxTokens": 0 }), "maxTokens", "at least 1"),
            (json!({ "max_tokens": 1.5 }), "max_tokens", "whole number"),
            (json!({ "cacheRetention": "ever" }), "cacheRetention", "\"long\""),
            (json!({ "messages": [] }), "messages", "made by the gateway"),
            (json!({ "thinking": {} }), "thinking", "thinkingDefault"),
        ] {
            let (key, must) = of(params).unwrap_err();
            assert!(key == name && must.contains(words), "{key} {must}");
        }
    }
}

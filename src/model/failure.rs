//! What a failure means: what kind it is, whether the same model is asked again, whether another one may help, and a line for people.
//!
//! Providers name their errors by status, by code and by prose, and compatible servers mix them freely, so one table of words serves all of them. No line holds a secret: the endpoint's own are cut out by value, everything that looks like a key by its beginning.

use serde_json::Value;

use super::endpoint::{Auth, Endpoint};
use super::http::Broken;
use super::wire::Fault;
use super::{ErrorKind, ModelError};

/// Most characters of a provider's own words in an error.
const MAX_WORDS: usize = 400;
/// Beginnings of words that are keys.
const KEYS: [&str; 12] = ["sk-", "AKIA", "ASIA", "ABSK", "bedrock-api-key-", "eyJ", "gsk_", "xai-", "AIza", "IQoJ", "FwoG", "AQoD"];
/// Behind these words Amazon repeats what was to be signed, with the session's token.
pub(super) const REPEATED: &str = "The Canonical String";

/// Why an endpoint gave no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) error: ModelError,
    /// The same endpoint may answer at another time.
    pub(super) again: bool,
    /// Another endpoint may answer.
    pub(super) elsewhere: bool,
    /// A part of the answer was already told, so nothing is asked again.
    pub(super) begun: bool,
}

struct Rule {
    /// Any of these in a code, or in what was said, lower case.
    words: &'static [&'static str],
    kind: ErrorKind,
    again: bool,
    elsewhere: bool,
}

const fn rule(words: &'static [&'static str], kind: ErrorKind, again: bool, elsewhere: bool) -> Rule {
    Rule { words, kind, again, elsewhere }
}

/// What words mean, the more special first; only codes and errors are read with it, never an answer.
const RULES: &[Rule] = &[
    rule(
        &[
            "prompt is too long",
            "context_length_exceeded",
            "context limit",
            "context window",
            "context length",
            "input is too long",
            "too many input tokens",
            "too many total text bytes",
            "request_too_large",
        ],
        ErrorKind::ContextLength,
        false,
        true,
    ),
    // No waiting fills an empty account.
    rule(&["insufficient_quota", "billing_error", "credit balance", "billing_hard_limit"], ErrorKind::Auth, false, true),
    rule(&["content_policy_violation", "content_filter", "content management policy"], ErrorKind::Refusal, false, false),
    rule(
        &[
            "authentication_error",
            "permission_error",
            "invalid_api_key",
            "accessdenied",
            "unrecognizedclient",
            "invalidsignature",
            "incompletesignature",
            "invalidclienttokenid",
            "missingauthentication",
        ],
        ErrorKind::Auth,
        false,
        true,
    ),
    // The credentials are fetched anew before the next try.
    rule(&["expiredtoken"], ErrorKind::Auth, true, true),
    rule(&["rate_limit", "throttling", "too many requests", "servicequotaexceeded"], ErrorKind::RateLimit, true, true),
    rule(
        &[
            "overloaded",
            "api_error",
            "server_error",
            "internalserver",
            "serviceunavailable",
            "modelnotready",
            "modeltimeout",
            "modelstreamerror",
            "modelerror",
            "timeout_error",
        ],
        ErrorKind::Overloaded,
        true,
        true,
    ),
    rule(&["model_not_found", "not_found_error", "resourcenotfound", "does not exist"], ErrorKind::BadRequest, false, true),
];

/// What was said, whatever the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Its names for it.
    pub(super) codes: Vec<String>,
    /// Its words.
    pub(super) text: String,
}

impl Said {
    /// Reads the body of an error in any of the forms in use.
    pub(super) fn of_body(header: Option<&str>, body: &str) -> Self {
        let mut said = Self::default();
        // Amazon writes `Name:http://…` or `prefix#Name`.
        said.codes.extend(header.map(|code| code.split(':').next().unwrap_or(code).to_owned()));
        let Ok(value) = serde_json::from_str::<Value>(body) else {
            let first = body.trim().lines().next().unwrap_or_default();
            let page = first.starts_with('<');
            first.clone_into(&mut said.text);
            if page {
                "a page of HTML".clone_into(&mut said.text);
            }
            return said;
        };
        said.read(value.get(0).unwrap_or(&value));
        said
    }

    /// Reads an error's object.
    pub(super) fn read(&mut self, value: &Value) {
        let inner = value.get("error").unwrap_or(value);
        for place in [inner, value] {
            for key in ["code", "type", "__type"] {
                let code = place.get(key).and_then(Value::as_str).map(|code| code.rsplit('#').next().unwrap_or(code));
                let known = |code: &&str| *code == "error" || self.codes.iter().any(|known| known == code);
                self.codes.extend(code.filter(|code| !known(code)).map(str::to_owned));
            }
        }
        let words = [inner.get("message"), inner.get("Message"), inner.get("detail"), Some(inner)];
        if let Some(text) = words.into_iter().flatten().find_map(Value::as_str) {
            text.clone_into(&mut self.text);
        }
    }
}

/// An answer of the provider that is an error.
pub(super) fn refused(endpoint: &Endpoint, status: Option<u16>, said: &Said, retry_after_ms: Option<u64>) -> Failure {
    let (kind, again, elsewhere) = judge(status, said);
    let mut line = status.map_or_else(String::new, |status| format!("HTTP {status} "));
    if let Some(code) = said.codes.first() {
        line.push_str(code);
    }
    let mut line = line.trim_end().to_owned();
    if !said.text.is_empty() {
        line.push_str(if line.is_empty() { "" } else { ": " });
        line.push_str(&said.text);
    }
    failure(endpoint, kind, &line, (again, elsewhere), retry_after_ms)
}

/// What the wire of an answer that began well has come to.
pub(super) fn faulty(endpoint: &Endpoint, fault: &Fault) -> Failure {
    match fault {
        Fault::Said(said) => refused(endpoint, None, said, None),
        Fault::Garbled(what) => failure(endpoint, ErrorKind::Transport, &format!("the answer makes no sense: {what}"), (true, true), None),
        Fault::Cut => failure(endpoint, ErrorKind::Transport, "the answer broke off before its end", (true, true), None),
    }
}

/// The way to the provider failed.
pub(super) fn broken(endpoint: &Endpoint, broken: &Broken) -> Failure {
    let again = !matches!(broken, Broken::NoCertificates(_));
    failure(endpoint, ErrorKind::Transport, &broken.to_string(), (again, true), None)
}

/// A failure that we see ourselves.
pub(super) fn failure(
    endpoint: &Endpoint,
    kind: ErrorKind,
    what: &str,
    (again, elsewhere): (bool, bool),
    retry_after_ms: Option<u64>,
) -> Failure {
    let Endpoint { provider, model, .. } = endpoint;
    let message = format!("{provider}/{model}: {}; {}", shown(endpoint, what), advice(endpoint, kind));
    Failure { error: ModelError { kind, message, retry_after_ms }, again, elsewhere, begun: false }
}

fn judge(status: Option<u16>, said: &Said) -> (ErrorKind, bool, bool) {
    let codes = said.codes.iter().map(|code| code.to_ascii_lowercase());
    let texts: Vec<String> = codes.chain([said.text.to_ascii_lowercase()]).collect();
    let meant = RULES.iter().find(|rule| rule.words.iter().any(|word| texts.iter().any(|text| text.contains(word))));
    if let Some(rule) = meant {
        return (rule.kind, rule.again, rule.elsewhere);
    }
    match status {
        Some(401..=403) => (ErrorKind::Auth, false, true),
        Some(404) => (ErrorKind::BadRequest, false, true),
        Some(413) => (ErrorKind::ContextLength, false, true),
        Some(429) => (ErrorKind::RateLimit, true, true),
        Some(408 | 409 | 424 | 425 | 500..) => (ErrorKind::Overloaded, true, true),
        // An error in the middle of an answer that nobody can name.
        None => (ErrorKind::Overloaded, true, true),
        Some(_) => (ErrorKind::BadRequest, false, false),
    }
}

fn advice(endpoint: &Endpoint, kind: ErrorKind) -> String {
    let Endpoint { provider, model, .. } = endpoint;
    match kind {
        ErrorKind::Auth if matches!(endpoint.auth, Auth::Aws(_)) => {
            format!("check the AWS credentials and region, and that they may use {model} there")
        }
        ErrorKind::Auth => format!("check the key and the account of provider {provider} (models.providers.{provider}.apiKey)"),
        ErrorKind::RateLimit => "ask later, or name fallbacks for the model".to_owned(),
        ErrorKind::Overloaded => "the provider has trouble; ask later, or name fallbacks for the model".to_owned(),
        ErrorKind::ContextLength => "compact or reset the session, or take a model with a larger window".to_owned(),
        ErrorKind::BadRequest => format!("check the model's name and settings, and models.providers.{provider}"),
        ErrorKind::Refusal => "put it in other words".to_owned(),
        ErrorKind::Transport => format!("check the network and models.providers.{provider}.baseUrl"),
    }
}

/// Foreign words as one line of bounded length without secrets.
fn shown(endpoint: &Endpoint, words: &str) -> String {
    let words = words.split(REPEATED).next().unwrap_or_default();
    let mut text: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in secrets(endpoint) {
        // A short value would cut holes into words; no key is that short.
        if secret.len() >= 6 {
            text = text.replace(secret, "[hidden]");
        }
    }
    let hide = |word: &str| {
        let key = KEYS.iter().filter_map(|start| word.find(start)).min();
        let key = key.filter(|at| word.len() - at > 12);
        key.and_then(|at| word.get(..at)).map_or_else(|| word.to_owned(), |head| format!("{head}[hidden]"))
    };
    text = text.split(' ').map(hide).collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn secrets(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let key = match &endpoint.auth {
        Auth::Key { key } | Auth::Bearer { key } => Some(key),
        Auth::None | Auth::Aws(_) => None,
    };
    let secret =
        |(name, value)| (["KEY", "TOKEN"].iter().any(|word| str::contains(name, word)) && !str::ends_with(name, "_FILE")).then_some(value);
    let aws = match &endpoint.auth {
        Auth::Aws(aws) => Some(aws.variables.iter().filter_map(move |(name, value)| secret((name.as_str(), value)))),
        _ => None,
    };
    key.into_iter().chain(aws.into_iter().flatten()).chain(endpoint.headers.values()).map(|secret| secret.expose().as_str())
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;

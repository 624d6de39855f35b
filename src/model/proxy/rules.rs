//! What passes through the proxy of a provider: which requests, and which of their headers.

use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, ORIGIN,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Uri};

use crate::model::aws::signature::encoded;
use crate::model::endpoint::Api;

/// Longest query of a request in bytes.
const MAX_QUERY: usize = 1024;

/// Headers that concern one connection.
const OF_A_CONNECTION: [HeaderName; 6] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE];
/// Headers that say who asks, and from where.
const OF_WHO_ASKS: [HeaderName; 8] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, FORWARDED, HOST, ORIGIN, REFERER, EXPECT];
/// The same under names of their own.
const NAMED: [&str; 9] = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "keep-alive",
    "proxy-connection",
];

/// What may be asked of a model at Amazon; nothing else there is signed with our credentials.
const OF_A_MODEL: [&str; 5] = ["invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens"];
/// Longest name of a model at Amazon in bytes.
const MAX_MODEL: usize = 2048;
/// Headers that go to Amazon, beside those of [`OF_AMAZON`]: what they say is signed, so all others stay here.
const TO_AMAZON: [&str; 5] = ["accept", "anthropic-beta", "anthropic-version", "content-type", "user-agent"];
/// The beginning of names of headers that Bedrock itself reads.
const OF_AMAZON: &str = "x-amzn-bedrock-";

/// What may be asked of a model at Google.
const OF_GOOGLE: [&str; 4] = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"];
/// What a query at Google may say; it can also hold a key.
const QUERY_OF_GOOGLE: [&str; 3] = ["alt", "pageSize", "pageToken"];

/// Requests that pass, by language, with a `*` for one word.
fn paths(api: Api) -> &'static [(Method, &'static str)] {
    match api {
        Api::AnthropicMessages => &[
            (Method::POST, "/v1/messages"),
            (Method::POST, "/v1/messages/count_tokens"),
            (Method::GET, "/v1/models"),
            (Method::GET, "/v1/models/*"),
        ],
        Api::OpenaiCompletions => &[
            (Method::POST, "/v1/chat/completions"),
            (Method::POST, "/v1/responses"),
            (Method::POST, "/v1/responses/compact"),
            (Method::GET, "/v1/models"),
            (Method::GET, "/v1/models/*"),
        ],
        Api::GoogleGenerativeAi => &[(Method::GET, "/v1beta/models"), (Method::GET, "/v1beta/models/*")],
        Api::BedrockConverseStream => &[],
    }
}

/// Where a request goes, beneath the provider's address; none if it is none that passes.
pub(super) fn target(api: Api, base: &str, method: &Method, uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if api == Api::BedrockConverseStream {
        let target: Uri = format!("{base}{}", of_model(method, path)?).parse().ok()?;
        return is_web(&target).then_some(target);
    }
    let passes = |pattern: &str| match pattern.strip_suffix('*') {
        Some(before) => path.strip_prefix(before).is_some_and(is_word),
        None => path == pattern,
    };
    let of_google = api == Api::GoogleGenerativeAi && method == Method::POST && is_for_google(path);
    if !of_google && !paths(api).iter().any(|(known, pattern)| known == method && passes(pattern)) {
        return None;
    }
    if api == Api::GoogleGenerativeAi {
        let query = uri.query().unwrap_or_default().split('&');
        let query: Vec<&str> = query.filter(|pair| QUERY_OF_GOOGLE.contains(&pair.split('=').next().unwrap_or_default())).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        // The version may stand in the address, or not.
        let target: Uri = format!("{}{path}{query}", base.strip_suffix("/v1beta").unwrap_or(base)).parse().ok()?;
        return is_web(&target).then_some(target);
    }
    let below = path.strip_prefix("/v1")?;
    let base = match api {
        // It may stand in the address, or not.
        Api::AnthropicMessages => format!("{}/v1", base.strip_suffix("/v1").unwrap_or(base)),
        _ => base.to_owned(),
    };
    let query = uri.query().filter(|query| query.len() <= MAX_QUERY).map(|query| format!("?{query}")).unwrap_or_default();
    let target: Uri = format!("{base}{below}{query}").parse().ok()?;
    is_web(&target).then_some(target)
}

fn is_web(target: &Uri) -> bool {
    matches!(target.scheme_str(), Some("http" | "https"))
}

/// Whether this path is one of a request to a model at Google.
fn is_for_google(path: &str) -> bool {
    let of_model = path.strip_prefix("/v1beta/models/").and_then(|rest| rest.split_once(':'));
    of_model.is_some_and(|(model, operation)| is_word(model) && OF_GOOGLE.contains(&operation))
}

/// The path of a request to a model at Amazon, written as Amazon's own programs write it. Its name may be a resource's, with slashes in it.
fn of_model(method: &Method, path: &str) -> Option<String> {
    let (model, operation) = path.strip_prefix("/model/")?.split_once('/')?;
    let model = decoded(model)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    let is_model = model.len() <= MAX_MODEL && model.split('/').all(is_part);
    let passes = method == Method::POST && is_model && OF_A_MODEL.contains(&operation);
    passes.then(|| format!("/model/{}/{operation}", encoded(&model, b"")))
}

/// Without its percent signs; none if they stand for nothing.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // A sign is no digit, though it is taken for a number.
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// One name in a path that leads nowhere else.
fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    !word.is_empty() && word.len() <= 200 && word.chars().all(plain) && !word.starts_with('.')
}

/// The keys that a request presents.
pub(super) fn presented<'a>(api: Api, headers: &'a HeaderMap, uri: &'a Uri) -> impl Iterator<Item = &'a str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    // Everywhere else a query goes on as it is.
    let query = uri.query().filter(|_| api == Api::GoogleGenerativeAi).unwrap_or_default();
    let in_query = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    [bearer, text("x-api-key"), text("x-goog-api-key"), in_query].into_iter().flatten().map(str::trim)
}

/// Takes out of a request what is not the provider's business.
pub(super) fn strip_request(api: Api, headers: &mut HeaderMap) {
    if api == Api::BedrockConverseStream {
        let passes = |name: &HeaderName| TO_AMAZON.contains(&name.as_str()) || name.as_str().starts_with(OF_AMAZON);
        let mut kept = HeaderMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
            kept.insert(name, value.clone());
        }
        *headers = kept;
        return;
    }
    strip(headers);
    for name in OF_WHO_ASKS {
        headers.remove(name);
    }
    // It is written anew from the body.
    headers.remove(CONTENT_LENGTH);
    // What is packed could be held back on its way; text is read as it comes.
    headers.remove(ACCEPT_ENCODING);
}

/// Takes out of an answer what is not the program's business.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(SET_COOKIE);
}

fn strip(headers: &mut HeaderMap) {
    let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<HeaderName> =
        listed.flat_map(|value| value.split(',')).filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect();
    for name in listed {
        headers.remove(name);
    }
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
    for name in NAMED {
        headers.remove(name);
    }
}

/// Whether a request names this port of this machine as who it is for, and not a name that somebody has led here.
pub(super) fn is_here(headers: &HeaderMap, port: u16) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').is_some_and(|(name, of)| matches!(name, "127.0.0.1" | "localhost") && of == port.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn led(api: Api, base: &str, method: &Method, path: &str) -> Option<String> {
        target(api, base, method, &path.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn requests_of_the_language_go_beneath_the_providers_address_and_no_others_anywhere() {
        let (anthropic, openai) = (Api::AnthropicMessages, Api::OpenaiCompletions);
        for base in ["https://host/x", "https://host/x/v1"] {
            let to = led(anthropic, base, &Method::POST, "/v1/messages?beta=true");
            assert_eq!(to.as_deref(), Some("https://host/x/v1/messages?beta=true"));
        }
        assert_eq!(led(openai, "https://host/v1", &Method::POST, "/v1/responses").as_deref(), Some("https://host/v1/responses"));
        assert_eq!(led(openai, "http://h:1/api", &Method::GET, "/v1/models/gpt-5:x").as_deref(), Some("http://h:1/api/models/gpt-5:x"));
        for (api, method, path) in [
            (anthropic, Method::GET, "/v1/messages"),
            (anthropic, Method::POST, "/v1/files"),
            (anthropic, Method::POST, "/v1/organizations/api_keys"),
            (anthropic, Method::POST, "/v1/messages/"),
            (anthropic, Method::POST, "/v1/../v1/messages"),
            (anthropic, Method::GET, "/v1/models/../organizations"),
            (anthropic, Method::GET, "/v1/models/%2e%2e"),
            (anthropic, Method::GET, "/"),
            (openai, Method::POST, "/v1/messages"),
            (openai, Method::DELETE, "/v1/models/x"),
            (openai, Method::POST, "http://elsewhere/v1/files"),
            (Api::BedrockConverseStream, Method::POST, "/v1/messages"),
            (Api::BedrockConverseStream, Method::GET, "/model/m/invoke"),
            (Api::BedrockConverseStream, Method::GET, "/inference-profiles"),
            (Api::BedrockConverseStream, Method::POST, "/model/m/async-invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/m/invoke/"),
            (Api::BedrockConverseStream, Method::POST, "/model//invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/a/b/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/%2e%2e%2fguardrail/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/a%2F..%2Fb/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/m%253A0/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/m%+1/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/m%3/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/model/m%0A/invoke"),
            (Api::BedrockConverseStream, Method::POST, "/guardrail/x/version/1/apply"),
            (Api::BedrockConverseStream, Method::POST, "http://elsewhere/model/m"),
        ] {
            assert_eq!(led(api, "https://host", &method, path), None, "{method} {path}");
        }
        assert_eq!(led(anthropic, "ftp://host", &Method::POST, "/v1/messages"), None);
    }

    #[test]
    fn a_model_at_google_is_asked_without_the_key_in_the_query() {
        let to = |base: &str, method: &Method, path: &str| led(Api::GoogleGenerativeAi, base, method, path);
        for base in ["https://host/x", "https://host/x/v1beta"] {
            let to = to(base, &Method::POST, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse&key=secret&access_token=x");
            assert_eq!(to.as_deref(), Some("https://host/x/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"));
        }
        let listed = to("https://host", &Method::GET, "/v1beta/models?key=x");
        assert_eq!(listed.as_deref(), Some("https://host/v1beta/models"));
        for (method, path) in [
            (Method::POST, "/v1beta/models/m:batchGenerateContent"),
            (Method::POST, "/v1beta/models/../files:generateContent"),
            (Method::POST, "/v1beta/models/a/b:generateContent"),
            (Method::GET, "/v1beta/models/m:generateContent/x"),
            (Method::POST, "/v1beta/cachedContents"),
            (Method::GET, "/v1beta/files"),
            (Method::POST, "/upload/v1beta/files"),
            (Method::DELETE, "/v1beta/models/m"),
        ] {
            assert_eq!(to("https://host", &method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_model_at_amazon_is_named_as_amazon_signs_it_however_it_was_written() {
        let to = |path: &str| led(Api::BedrockConverseStream, "https://host/x", &Method::POST, path);
        for path in ["/model/us.m-v1:0/converse-stream", "/model/us.m-v1%3A0/converse-stream", "/model/us%2Em-v1%3a0/converse-stream?a=b"] {
            assert_eq!(to(path).as_deref(), Some("https://host/x/model/us.m-v1%3A0/converse-stream"), "{path}");
        }
        let profile = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.m";
        for operation in OF_A_MODEL {
            let path = format!("/model/{profile}/{operation}");
            assert_eq!(to(&path), Some(format!("https://host/x{path}")));
        }
        let mut headers = HeaderMap::new();
        for name in
            ["accept", "content-type", "x-amzn-bedrock-trace", "authorization", "x-amz-security-token", "x-amz-target", "cookie", "te"]
        {
            headers.insert(name, HeaderValue::from_static("v"));
        }
        strip_request(Api::BedrockConverseStream, &mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-type", "x-amzn-bedrock-trace"]);
    }

    #[test]
    fn what_belongs_to_a_connection_or_says_who_asks_does_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("authorization", "Bearer run-key"),
            ("x-api-key", "run-key"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("host", "127.0.0.1:1"),
            ("content-length", "3"),
            ("anthropic-version", "2023-06-01"),
            ("content-type", "application/json"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let uri: Uri = "/v1beta/models?alt=sse&key=run-key".parse().unwrap();
        for (api, times) in [(Api::GoogleGenerativeAi, 3), (Api::AnthropicMessages, 2)] {
            assert_eq!(presented(api, &headers, &uri).collect::<Vec<_>>(), vec!["run-key"; times]);
        }
        assert!(is_here(&headers, 1) && !is_here(&headers, 2));
        strip_request(Api::AnthropicMessages, &mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["anthropic-version", "content-type"]);
        headers.insert("host", HeaderValue::from_static("evil.example:1"));
        assert!(!is_here(&headers, 1));
    }
}

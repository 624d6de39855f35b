//! What errors of providers are understood as, with bodies as the providers write them.

use super::*;
use crate::config::secret::Secret;
use crate::model::endpoint::Api;

fn endpoint() -> Endpoint {
    let mut endpoint = Endpoint::new("acme", "m-1", Api::AnthropicMessages);
    endpoint.auth = Auth::Key { key: Secret::new("canary-4711".to_owned()) };
    endpoint.headers.insert("x-org".to_owned(), Secret::new("canary-org".to_owned()));
    endpoint
}

fn of(status: u16, header: Option<&str>, body: &str) -> Failure {
    refused(&endpoint(), Some(status), &Said::of_body(header, body), None)
}

#[test]
fn errors_of_all_providers_become_kinds() {
    use ErrorKind::{Auth, BadRequest, ContextLength, Overloaded, RateLimit, Refusal};
    let anthropic =
        |kind: &str, text: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{text}"}},"request_id":"r"}}"#);
    let openai = |code: &str, text: &str| format!(r#"{{"error":{{"message":"{text}","type":"x","param":null,"code":"{code}"}}}}"#);
    let table = [
        (401, None, anthropic("authentication_error", "invalid x-api-key"), Auth, false),
        (403, None, anthropic("permission_error", "no"), Auth, false),
        (400, None, anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), ContextLength, false),
        (
            400,
            None,
            anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2"),
            ContextLength,
            false,
        ),
        (400, None, anthropic("invalid_request_error", "Your credit balance is too low"), Auth, false),
        (400, None, anthropic("invalid_request_error", "messages.0: bad"), BadRequest, false),
        (413, None, anthropic("request_too_large", "too large"), ContextLength, false),
        (429, None, anthropic("rate_limit_error", "slow down"), RateLimit, true),
        (500, None, anthropic("api_error", "oops"), Overloaded, true),
        (529, None, anthropic("overloaded_error", "Overloaded"), Overloaded, true),
        (401, None, openai("invalid_api_key", "no"), Auth, false),
        (429, None, openai("insufficient_quota", "You exceeded your current quota"), Auth, false),
        (429, None, openai("rate_limit_exceeded", "no"), RateLimit, true),
        (400, None, openai("context_length_exceeded", "This model's maximum context length is 8192 tokens."), ContextLength, false),
        (400, None, openai("content_policy_violation", "no"), Refusal, false),
        (404, None, openai("model_not_found", "The model `x` does not exist"), BadRequest, false),
        (400, None, r#"{"error":"model is busy"}"#.to_owned(), BadRequest, false),
        (403, Some("AccessDeniedException:http://internal.amazon.com/coral/"), r#"{"Message":"no access"}"#.to_owned(), Auth, false),
        (403, Some("ExpiredTokenException"), r#"{"message":"expired"}"#.to_owned(), Auth, true),
        (429, Some("ThrottlingException"), r#"{"message":"Too many tokens, please wait"}"#.to_owned(), RateLimit, true),
        (400, Some("ValidationException"), r#"{"message":"Input is too long for requested model."}"#.to_owned(), ContextLength, false),
        (400, Some("ValidationException"), r#"{"message":"Malformed input request"}"#.to_owned(), BadRequest, false),
        (424, Some("ModelErrorException"), r#"{"message":"x"}"#.to_owned(), Overloaded, true),
        (503, None, "<html><body>503</body></html>".to_owned(), Overloaded, true),
        (302, None, String::new(), BadRequest, false),
    ];
    for (status, header, body, kind, again) in table {
        let failure = of(status, header, &body);
        assert_eq!((failure.error.kind, failure.again), (kind, again), "{status} {body}: {failure:?}");
        let message = failure.error.message;
        assert!(message.starts_with(&format!("acme/m-1: HTTP {status}")) && message.contains("; "), "{message}");
    }
}

#[test]
fn an_error_says_who_said_what_and_what_to_do() {
    let message = of(401, None, r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#).error.message;
    let wanted = "acme/m-1: HTTP 401 authentication_error: invalid x-api-key; check the key and the account of provider acme (models.providers.acme.apiKey)";
    assert_eq!(message, wanted);
}

#[test]
fn no_error_holds_a_key_even_if_the_provider_says_it() {
    let bodies = [
        "your key canary-4711 is bad",
        r#"{"error":{"message":"Incorrect API key provided: sk-proj-abcdefghijkl. Organisation canary-org","code":"invalid_api_key"}}"#,
        r#"{"message":"key=AKIAIOSFODNN7EXAMPLE"}"#,
    ];
    for body in bodies {
        let message = of(401, None, body).error.message;
        for secret in ["canary", "abcdefghijkl", "IOSFODNN"] {
            assert!(!message.contains(secret), "{message}");
        }
        assert!(message.contains("[hidden]"), "{message}");
    }
}

#[test]
fn what_amazon_says_of_a_signature_is_told_without_what_was_signed() {
    let words = "The request signature we calculated does not match.\\n\\nThe Canonical String for this request should have been\\n'POST\\nx-amz-security-token:canary'";
    let failure = of(403, Some("InvalidSignatureException"), &format!("{{\"message\":\"{words}\"}}"));
    assert_eq!(failure.error.kind, ErrorKind::Auth);
    let message = failure.error.message;
    assert!(message.contains("InvalidSignatureException: The request signature we calculated does not match.; check"), "{message}");
    assert!(!message.contains("canary"), "{message}");
}

#[test]
fn foreign_words_are_one_bounded_line() {
    let message = of(400, None, &format!("{{\"message\":\"a\\nb {}\"}}", "x".repeat(5000))).error.message;
    assert!(message.len() < 700 && !message.contains('\n') && message.contains("a b x"), "{message}");
}

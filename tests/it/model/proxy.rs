//! The proxy of a provider over real sockets: who gets through, what gets through, and that it comes as it is sent.

use std::time::Duration;

use serde_json::{Value, json};
use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth, Aws, Endpoint};
use skykoi_gateway::model::proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{KEY, endpoint, fake};
use crate::fake_model::{Answer, FakeModel, Fault};

async fn open(fake: &FakeModel, api: Api, silence_ms: u64) -> Proxy {
    let mut endpoint = endpoint(fake, api);
    endpoint.headers.insert("x-tenant".to_owned(), Secret::new("canary-tenant".to_owned()));
    endpoint.timeouts.silence_ms = silence_ms;
    Proxy::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), endpoint).await.unwrap()
}

/// Sends a request and gives all that comes back, until the other side has closed.
pub(super) async fn send(proxy: &Proxy, line: &str, headers: &[(&str, &str)], body: &str) -> String {
    String::from_utf8_lossy(&bytes_of(proxy, line, headers, body).await).into_owned()
}

/// The same, byte for byte.
pub(super) async fn bytes_of(proxy: &Proxy, line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {}\r\n", proxy.address()));
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // One that is broken off in the middle is what it is.
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.expect("the connection ends");
    answer
}

pub(super) fn bearer(proxy: &Proxy) -> String {
    format!("Bearer {}", proxy.key().expose())
}

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

const ASK: &str = r#"{"model":"m","messages":[]}"#;

#[tokio::test]
async fn mk10_a_request_with_the_key_of_the_run_reaches_the_provider_with_the_real_one_and_nothing_else_of_who_asked() {
    let fake = fake([Answer::text("hello there"), Answer::text("again")]).await;
    let proxy = open(&fake, Api::AnthropicMessages, 60_000).await;
    let key = proxy.key().expose().clone();
    let headers = [("x-api-key", key.as_str()), ("anthropic-version", "2023-06-01"), ("cookie", "a=b"), ("x-forwarded-for", "10.1.1.1")];
    let answer = send(&proxy, "POST /v1/messages?beta=true", &headers, ASK).await;
    assert!(status(&answer) == "200" && answer.contains("content_block_delta"), "{answer}");
    let seen = &fake.seen()[0];
    assert_eq!((seen.path.as_str(), seen.text.as_str()), ("/v1/messages?beta=true", ASK));
    assert_eq!((seen.header("x-api-key"), seen.header("x-tenant")), (Some(KEY), Some("canary-tenant")));
    assert_eq!((seen.header("cookie"), seen.header("x-forwarded-for"), seen.header("authorization")), (None, None, None));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert!(!format!("{seen:?}").contains(&key), "the key of the run stays here");
    assert!(!answer.contains(KEY) && !answer.contains("canary"), "{answer}");
    let answer = send(&proxy, "POST /v1/messages", &[("authorization", &bearer(&proxy))], ASK).await;
    assert!(status(&answer) == "200" && answer.contains("again"), "{answer}");
}

#[tokio::test]
async fn mk28_a_wrong_key_another_path_and_another_name_reach_nobody() {
    let fake = fake([Answer::text("never").clone()]).await;
    let proxy = open(&fake, Api::AnthropicMessages, 60_000).await;
    let right = bearer(&proxy);
    let wrong = format!("{right}x");
    for (line, headers, want) in [
        ("POST /v1/messages", vec![], "401"),
        ("POST /v1/messages", vec![("authorization", "Bearer")], "401"),
        ("POST /v1/messages", vec![("authorization", wrong.as_str())], "401"),
        ("POST /v1/messages", vec![("x-api-key", KEY)], "401"),
        ("POST /v1/files", vec![("authorization", right.as_str())], "404"),
        ("GET /v1/messages", vec![("authorization", right.as_str())], "404"),
        ("GET /v1/models/..%2forganizations", vec![("authorization", right.as_str())], "404"),
        ("POST /v1/messages", vec![("authorization", right.as_str()), ("host", "rebound.example:80")], "403"),
    ] {
        let answer = send(&proxy, line, &headers, ASK).await;
        assert_eq!(status(&answer), want, "{line} {headers:?}: {answer}");
        assert!(answer.contains("SkyKoi Gateway: ") && !answer.contains(KEY), "{answer}");
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn only_the_loopback_device_is_served_and_only_the_language_of_amazon_signed() {
    let fake = fake([]).await;
    let wide = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let why = Proxy::start(wide, endpoint(&fake, Api::AnthropicMessages)).await.unwrap_err();
    assert!(why.contains("loopback"), "{why}");
    let narrow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Endpoint { auth: Auth::Aws(Aws::default()), ..endpoint(&fake, Api::AnthropicMessages) };
    let why = Proxy::start(narrow, other).await.unwrap_err();
    assert!(why.contains("cannot be signed"), "{why}");
}

#[tokio::test]
async fn an_answer_comes_as_it_is_sent_byte_for_byte_and_before_its_end() {
    let long = "grün 🌱 ".repeat(50);
    let slow = Answer { bytes: Some(1), ..Answer::text(&long) };
    let stalled = Answer::text("first words and then").faulty(4, Fault::Stall);
    let fake = fake([slow, stalled]).await;
    let proxy = open(&fake, Api::OpenaiCompletions, 60_000).await;
    let answer = bytes_of(&proxy, "POST /v1/chat/completions", &[("authorization", &bearer(&proxy))], ASK).await;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = dechunked(&answer[head + 4..]);
    let texts = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let text: String = texts.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(text, long);
    // The first words are here while the provider is silent.
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-length: 2\r\n\r\n{{}}",
        proxy.address(),
        bearer(&proxy)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut came = String::new();
    while !came.contains("first words") {
        let mut bytes = vec![0; 4096];
        let size = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut bytes)).await.expect("it comes").unwrap();
        assert!(size > 0, "{came}");
        came.push_str(&String::from_utf8_lossy(&bytes[..size]));
    }
    // It ends with the proxy, also in the middle of an answer, and the provider is let go.
    drop(proxy);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("the connection ends");
    fake.until_gone().await;
}

#[tokio::test]
async fn errors_of_the_provider_pass_and_silence_breaks_the_answer_off() {
    let fake = fake([Answer::error(429, "rate_limit_error", "slow down"), Answer::text("some words here").faulty(3, Fault::Stall)]).await;
    let proxy = open(&fake, Api::AnthropicMessages, 4000).await;
    let key = bearer(&proxy);
    let answer = send(&proxy, "POST /v1/messages", &[("authorization", &key)], ASK).await;
    assert!(status(&answer) == "429" && answer.contains("slow down"), "{answer}");
    let answer = send(&proxy, "POST /v1/messages", &[("authorization", &key)], ASK).await;
    assert!(status(&answer) == "200" && !answer.ends_with("0\r\n\r\n"), "broken off, not ended: {answer}");
    drop(fake);
    let answer = send(&proxy, "POST /v1/messages", &[("authorization", &key)], ASK).await;
    assert!(status(&answer) == "502" && answer.contains("anthropic did not answer") && !answer.contains(KEY), "{answer}");
}

#[tokio::test]
async fn a_request_of_any_length_streams_up_to_its_bound() {
    let fake = fake([Answer::text("long")]).await;
    let proxy = open(&fake, Api::AnthropicMessages, 60_000).await;
    let key = bearer(&proxy);
    let body = json!({ "messages": "x".repeat(3 << 20) }).to_string();
    let answer = send(&proxy, "POST /v1/messages", &[("authorization", &key)], &body).await;
    assert_eq!((status(&answer), fake.seen()[0].text.len()), ("200", body.len()), "{answer}");
    // One that says that it is longer is not read at all.
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {}\r\nauthorization: {key}\r\ncontent-length: {}\r\n\r\n",
        proxy.address(),
        100_u64 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 4096];
    let size = stream.read(&mut bytes).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&bytes[..size])), "413");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn mk28_a_model_at_google_is_asked_with_the_real_key_and_the_key_of_the_run_stays_here_also_in_a_query() {
    let fake = fake([Answer { keep: true, ..Answer::text("hello there") }]).await;
    let proxy = open(&fake, Api::GoogleGenerativeAi, 60_000).await;
    let key = proxy.key().expose().clone();
    let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
    for (line, headers) in [
        (format!("POST {path}"), vec![("x-goog-api-key", key.as_str())]),
        (format!("POST {path}&key={key}"), vec![("x-goog-api-client", "x")]),
    ] {
        let answer = send(&proxy, &line, &headers, ASK).await;
        assert!(status(&answer) == "200" && answer.contains("hello there"), "{answer}");
        let seen = fake.seen().pop().unwrap();
        assert_eq!((seen.path.as_str(), seen.header("x-goog-api-key")), (path, Some(KEY)));
        assert!(!format!("{seen:?}").contains(&key) && !answer.contains("canary"), "{seen:?}");
    }
    let count = fake.seen().len();
    for (line, headers, want) in [
        (format!("POST {path}&key={key}x"), vec![], "401"),
        (format!("POST {path}"), vec![("x-goog-api-key", KEY)], "401"),
        ("POST /v1beta/cachedContents".to_owned(), vec![("x-goog-api-key", key.as_str())], "404"),
        ("GET /v1beta/files".to_owned(), vec![("x-goog-api-key", key.as_str())], "404"),
    ] {
        let answer = send(&proxy, &line, &headers, ASK).await;
        assert!(status(&answer) == want && answer.contains("\"status\":") && !answer.contains(&key), "{line}: {answer}");
    }
    assert_eq!(fake.seen().len(), count);
}

#[tokio::test]
async fn a_language_that_is_only_passed_on_is_not_asked_by_ourselves() {
    let fake = fake([]).await;
    let (_, error) = super::failed(super::ask(vec![endpoint(&fake, Api::GoogleGenerativeAi)], &super::request("hello")).await);
    assert!(error.message.contains("the api google-generative-ai is not spoken here"), "{error}");
    assert!(fake.seen().is_empty());
}

/// A body without the marks of its pieces.
fn dechunked(mut rest: &[u8]) -> String {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    String::from_utf8(out).unwrap()
}

//! The proxy of a provider at Amazon: what is signed for a program that has no credentials, what never is, and that nothing of the credentials comes back.

use std::time::Duration;

use serde_json::json;
use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth, Endpoint};
use skykoi_gateway::model::proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bedrock::{KEYS, SECRET, fetched, instance, with};
use super::proxy::{bearer, send, status};
use super::{KEY, endpoint, fake};
use crate::fake_model::{Answer, FakeModel, Fault, Route};

/// The session's token.
const TOKEN: &str = "canary/token==";
const SESSION: [(&str, &str); 4] = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", TOKEN), ("AWS_REGION", "eu-central-1")];
const ASK: &str = r#"{"messages":[]}"#;
const CONVERSE: &str = "POST /model/eu.m-v1:0/converse-stream";

async fn start(endpoint: Endpoint) -> Result<Proxy, String> {
    Proxy::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), endpoint).await
}

/// A proxy whose credentials are these variables, and the directory that is its home.
async fn open(fake: &FakeModel, variables: &[(&str, &str)]) -> (Proxy, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut endpoint = with(fake, home.path(), None, variables);
    endpoint.headers.insert("x-tenant".to_owned(), Secret::new("canary-tenant".to_owned()));
    endpoint.timeouts.silence_ms = 60_000;
    (start(endpoint).await.unwrap(), home)
}

/// Sends a request with the key of the run.
async fn asked(proxy: &Proxy, line: &str, body: &str) -> String {
    send(proxy, line, &[("authorization", &bearer(proxy)), ("content-type", "application/json")], body).await
}

fn error(status: u16, code: &str, words: &str) -> Answer {
    let mut answer = Answer { status: Some(status), body: json!({ "message": words }), ..Answer::default() };
    answer.headers.insert("x-amzn-ErrorType".to_owned(), code.to_owned());
    answer
}

#[tokio::test]
async fn mk10_a_request_to_a_model_at_amazon_is_signed_on_its_way_however_its_path_was_written() {
    let fake = fake([Answer { keep: true, ..Answer::text("hello there") }]).await;
    let (proxy, _home) = open(&fake, &SESSION).await;
    assert_eq!(proxy.region(), Some("eu-central-1"));
    let key = bearer(&proxy);
    let profile = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.m";
    for (sent, came) in [
        ("/model/eu.m-v1:0/converse-stream", "/model/eu.m-v1%3A0/converse-stream"),
        ("/model/eu.m-v1%3A0/converse-stream", "/model/eu.m-v1%3A0/converse-stream"),
        ("/model/eu.m-v1%3a0/invoke-with-response-stream?x=y", "/model/eu.m-v1%3A0/invoke-with-response-stream"),
        (&format!("/model/{profile}/converse-stream"), &format!("/model/{profile}/converse-stream")),
    ] {
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-amz-security-token", "of-the-program"),
            ("x-amz-target", "Other.Operation"),
            ("x-amz-date", "20150830T123600Z"),
            ("cookie", "a=b"),
        ];
        let answer = send(&proxy, &format!("POST {sent}"), &headers, ASK).await;
        assert!(status(&answer) == "200" && answer.contains("application/vnd.amazon.eventstream"), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
        let seen = fake.seen().pop().unwrap();
        assert_eq!((seen.path.as_str(), seen.text.as_str(), seen.signature.as_deref()), (came, ASK, Some("")), "{seen:?}");
        assert_eq!((seen.header("x-amz-security-token"), seen.header("x-tenant")), (Some(TOKEN), Some("canary-tenant")));
        assert_eq!((seen.header("x-amz-target"), seen.header("cookie")), (None, None));
        let authorization = seen.header("authorization").unwrap();
        assert!(authorization.contains("/eu-central-1/bedrock/") && authorization.contains("x-amzn-bedrock-trace"), "{authorization}");
        assert!(!format!("{seen:?}").contains(proxy.key().expose()), "the key of the run stays here");
    }
}

#[tokio::test]
async fn mk28_nothing_of_the_account_but_its_models_is_ever_signed() {
    let fake = fake([Answer { keep: true, ..Answer::text("never") }]).await;
    let (proxy, _home) = open(&fake, &SESSION).await;
    let (right, wrong) = (bearer(&proxy), format!("{}x", bearer(&proxy)));
    for (line, headers, want) in [
        (CONVERSE, vec![], "401"),
        (CONVERSE, vec![("authorization", wrong.as_str())], "401"),
        (CONVERSE, vec![("authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/x/bedrock/aws4_request")], "401"),
        (CONVERSE, vec![("authorization", right.as_str()), ("host", "rebound.example:80")], "403"),
        ("GET /inference-profiles?type=SYSTEM_DEFINED", vec![("authorization", right.as_str())], "404"),
        ("GET /model/m/invoke", vec![("authorization", right.as_str())], "404"),
        ("POST /", vec![("authorization", right.as_str()), ("x-amz-target", "DynamoDB_20120810.ListTables")], "404"),
        ("POST /model/m/async-invoke", vec![("authorization", right.as_str())], "404"),
        ("POST /guardrail/g/version/1/apply", vec![("authorization", right.as_str())], "404"),
        ("POST /model/%2e%2e%2fguardrail/invoke", vec![("authorization", right.as_str())], "404"),
        ("POST /model/../guardrails/x/converse", vec![("authorization", right.as_str())], "404"),
        ("POST http://sts.amazonaws.com/", vec![("authorization", right.as_str())], "404"),
        ("DELETE /model/m/invoke", vec![("authorization", right.as_str())], "404"),
    ] {
        let answer = send(&proxy, line, &headers, ASK).await;
        assert_eq!(status(&answer), want, "{line} {headers:?}: {answer}");
        assert!(answer.contains("SkyKoi Gateway: ") && answer.contains("x-amzn-errortype: "), "{answer}");
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
}

#[tokio::test]
async fn a_request_that_is_too_long_to_be_held_is_refused_and_a_long_one_is_signed() {
    let fake = fake([Answer::text("long")]).await;
    let (proxy, _home) = open(&fake, &SESSION).await;
    let body = json!({ "messages": "x".repeat(3 << 20) }).to_string();
    let answer = asked(&proxy, CONVERSE, &body).await;
    let seen = fake.seen();
    assert_eq!((status(&answer), seen[0].text.len(), seen[0].signature.as_deref()), ("200", body.len(), Some("")), "{answer}");
    // One that says that it is longer is not read at all, one that does not say it is read up to the bound.
    for told in [true, false] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let length = if told { format!("content-length: {}", 33 << 20) } else { "transfer-encoding: chunked".to_owned() };
        let head = format!("{CONVERSE} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\n{length}\r\n\r\n", proxy.address(), bearer(&proxy));
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let writing = async {
            let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
            // It is refused in the middle of it.
            while !told && to.write_all(&chunk).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut bytes = vec![0; 4096];
        let refused = async {
            tokio::select! {
                size = from.read(&mut bytes) => size.unwrap(),
                () = writing => 0,
            }
        };
        let size = tokio::time::timeout(Duration::from_secs(60), refused).await.expect("it is refused");
        let answer = String::from_utf8_lossy(&bytes[..size]).into_owned();
        assert!(status(&answer) == "413" && answer.contains("longer than 32 MiB"), "{answer}");
    }
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_of_amazon_comes_before_its_end_and_ends_with_the_proxy() {
    let fake = fake([Answer::text("first words and then").faulty(4, Fault::Stall)]).await;
    let (proxy, _home) = open(&fake, &SESSION).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!(
        "{CONVERSE} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n{ASK}",
        proxy.address(),
        bearer(&proxy),
        ASK.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut came = String::new();
    while !came.contains("first words") {
        let mut bytes = vec![0; 4096];
        let size = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut bytes)).await.expect("it comes").unwrap();
        assert!(size > 0, "{came}");
        came.push_str(&String::from_utf8_lossy(&bytes[..size]));
    }
    drop(proxy);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("the connection ends");
    fake.until_gone().await;
}

#[tokio::test]
async fn credentials_that_end_are_fetched_anew_and_the_program_does_not_notice() {
    let expired = || error(403, "ExpiredTokenException:http://internal", "The security token included in the request is expired");
    let fake_expired = fake([expired(), Answer::text("yes"), expired(), expired()]).await;
    instance(&fake_expired, 60);
    let (proxy, _home) = open(&fake_expired, &[]).await;
    assert_eq!((proxy.region(), fetched(&fake_expired)), (Some("eu-north-1"), 1));
    assert_eq!(status(&asked(&proxy, CONVERSE, ASK).await), "200");
    assert_eq!(fetched(&fake_expired), 2);
    // A source that gives no better ones is not asked for ever.
    let answer = asked(&proxy, CONVERSE, ASK).await;
    assert!(status(&answer) == "403" && answer.contains("ExpiredTokenException"), "{answer}");
    assert_eq!((fetched(&fake_expired), fake_expired.left()), (3, 0));

    // Those that will end soon are fetched before each request.
    let soon = fake([Answer { keep: true, ..Answer::text("yes") }]).await;
    instance(&soon, 2);
    let (proxy, _home) = open(&soon, &[]).await;
    for times in [2, 3] {
        assert_eq!(status(&asked(&proxy, CONVERSE, ASK).await), "200");
        assert_eq!(fetched(&soon), times);
    }
    assert!(soon.seen().iter().filter(|seen| seen.path.starts_with("/model")).all(|seen| seen.signature.as_deref() == Some("")));
}

#[tokio::test]
async fn mk28_what_amazon_repeats_of_the_credentials_does_not_reach_the_program() {
    let repeated = format!(
        "The request signature we calculated does not match. The Canonical String for this request should have been\n'POST\nx-amz-security-token:{TOKEN}"
    );
    let plain = format!("the token {TOKEN} of {SECRET} is wrong");
    let denied = error(403, "AccessDeniedException", "You don't have access to the model with the specified model ID.");
    let answers = [error(403, "InvalidSignatureException", &repeated), error(400, "ValidationException", &plain), denied];
    let fake = fake(answers).await;
    let (proxy, _home) = open(&fake, &SESSION).await;
    let answer = asked(&proxy, CONVERSE, ASK).await;
    assert!(status(&answer) == "403" && answer.contains("InvalidSignatureException") && answer.contains("does not match"), "{answer}");
    assert!(!answer.contains("canary") && !answer.contains("Canonical"), "{answer}");
    let answer = asked(&proxy, CONVERSE, ASK).await;
    assert!(status(&answer) == "400" && answer.contains("is wrong") && !answer.contains("canary"), "{answer}");
    // What holds nothing of them comes as it was said.
    let answer = asked(&proxy, CONVERSE, ASK).await;
    let words = r#"{"message":"You don't have access to the model with the specified model ID."}"#;
    assert!(status(&answer) == "403" && answer.ends_with(words), "{answer}");
    drop(fake);
    let answer = asked(&proxy, CONVERSE, ASK).await;
    assert!(status(&answer) == "502" && answer.contains("amazon-bedrock did not answer") && !answer.contains("canary"), "{answer}");
}

#[tokio::test]
async fn what_is_not_permitted_costs_no_new_credentials() {
    let fake = fake([Answer { keep: true, ..error(403, "AccessDeniedException", "no") }]).await;
    instance(&fake, 60);
    let (proxy, _home) = open(&fake, &[]).await;
    for _ in 0..3 {
        assert_eq!(status(&asked(&proxy, CONVERSE, ASK).await), "403");
    }
    assert_eq!(fetched(&fake), 1);
}

#[tokio::test]
async fn a_bearer_key_of_the_gateway_takes_the_place_of_that_of_the_run() {
    let fake = fake([Answer { keep: true, ..Answer::text("yes") }]).await;
    let bearer_of = |variable| [("AWS_BEARER_TOKEN_BEDROCK", variable), SESSION[0], SESSION[1], SESSION[3]];
    let (proxy, _home) = open(&fake, &bearer_of("canary-bearer")).await;
    assert_eq!(status(&asked(&proxy, CONVERSE, ASK).await), "200");
    let proxy = start(endpoint(&fake, Api::BedrockConverseStream)).await.unwrap();
    assert_eq!(status(&asked(&proxy, CONVERSE, ASK).await), "200");
    let seen = fake.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer canary-bearer"));
    assert_eq!(seen[1].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert!(seen.iter().all(|seen| seen.signature.is_none() && seen.path == "/model/eu.m-v1%3A0/converse-stream"), "{seen:?}");
}

#[tokio::test]
async fn a_way_to_amazon_without_credentials_region_or_address_is_not_opened() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    fake.route(Route { of: "PUT /latest/api/token".to_owned(), status: 403, body: String::new(), kind: None });
    let why = start(with(&fake, home.path(), Some("x"), &[])).await.unwrap_err();
    assert!(why.contains("amazon-bedrock cannot be asked: no AWS credentials") && why.contains("HTTP 403"), "{why}");
    let disabled = [("AWS_EC2_METADATA_DISABLED", "true"), KEYS[0], KEYS[1]];
    let why = start(with(&fake, home.path(), None, &disabled)).await.unwrap_err();
    assert!(why.contains("no AWS region: set AWS_REGION") && !why.contains("canary"), "{why}");
    let lost = Endpoint { base_url: String::new(), ..endpoint(&fake, Api::BedrockConverseStream) };
    assert!(matches!(lost.auth, Auth::Key { .. }));
    let why = start(lost).await.unwrap_err();
    assert!(why.contains("set its baseUrl, which names the region"), "{why}");
}

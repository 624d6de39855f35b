//! Amazon Bedrock: signatures, frames, and every place where credentials come from.

use std::path::Path;

use serde_json::json;
use skykoi_gateway::clock;
use skykoi_gateway::model::endpoint::{Api, Auth, Aws, Endpoint};
use skykoi_gateway::model::{ErrorKind, Event, open};
use tokio_stream::StreamExt as _;

use super::{ask, endpoint, failed, fake, joined, request, text};
use crate::fake_model::{Answer, FakeModel, Fault, Route};

pub(super) const SECRET: &str = "canary-secret/+4711";

/// An endpoint at the fake with these variables, in a home of its own.
pub(super) fn with(fake: &FakeModel, home: &Path, region: Option<&str>, variables: &[(&str, &str)]) -> Endpoint {
    let mut one = endpoint(fake, Api::BedrockConverseStream);
    let nowhere = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", fake.url());
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let all = [("HOME".to_owned(), home.to_str().unwrap().to_owned()), (nowhere.0.to_owned(), nowhere.1)].into_iter().chain(own);
    one.auth = Auth::Aws(Aws::of_environment(region.map(str::to_owned), all));
    fake.know("AKIDEXAMPLE", SECRET);
    one
}

pub(super) const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", SECRET)];

/// Asks once; the answer must be `yes` and the last request rightly signed with this session token.
async fn works(fake: &FakeModel, one: Endpoint, token: Option<&str>) {
    fake.push([Answer::text("yes")]);
    let events = ask(vec![one], &request("hello grün")).await;
    assert_eq!(joined(&events)[0], text("yes"));
    let last = fake.seen().pop().unwrap();
    assert_eq!(last.path, "/model/us.anthropic.claude-opus-4-6-v1%3A0/converse-stream");
    assert_eq!(last.signature.as_deref(), Some(""), "{last:?}");
    assert_eq!(last.header("x-amz-security-token"), token);
}

fn given(secret: &str, minutes: u64) -> serde_json::Value {
    let end = clock::iso(clock::now_ms() + minutes * 60_000);
    json!({"Code": "Success", "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": secret, "Token": "tok/en==", "Expiration": end})
}

#[tokio::test]
async fn keys_of_the_environment_sign_what_amazon_verifies() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    works(&fake, with(&fake, home.path(), Some("eu-central-1"), &KEYS), None).await;
    let session = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "tok/en=="), ("AWS_REGION", "us-east-1")];
    works(&fake, with(&fake, home.path(), None, &session), Some("tok/en==")).await;
    let seen = fake.seen();
    assert!(seen[0].header("authorization").unwrap().contains("/eu-central-1/bedrock/"));
    assert!(seen[1].header("authorization").unwrap().contains("/us-east-1/bedrock/"));
}

#[tokio::test]
async fn a_wrong_secret_is_seen_by_the_verifier() {
    let (fake, home) = (fake([Answer::text("x")]).await, tempfile::tempdir().unwrap());
    let keys = [KEYS[0], ("AWS_SECRET_ACCESS_KEY", "another")];
    ask(vec![with(&fake, home.path(), Some("eu-central-1"), &keys)], &request("hello")).await;
    assert_eq!(fake.seen()[0].signature.as_deref(), Some("the signature is wrong"));
}

#[tokio::test]
async fn a_bearer_key_needs_no_signature() {
    let (fake, home) = (fake([Answer::text("yes"), Answer::text("yes")]).await, tempfile::tempdir().unwrap());
    let variables = [("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer"), KEYS[0], KEYS[1]];
    ask(vec![with(&fake, home.path(), None, &variables)], &request("hello")).await;
    ask(vec![endpoint(&fake, Api::BedrockConverseStream)], &request("hello")).await;
    let seen = fake.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer canary-bearer"));
    assert_eq!(seen[1].header("authorization"), Some(format!("Bearer {}", super::KEY).as_str()));
    assert!(seen.iter().all(|seen| seen.signature.is_none() && seen.header("x-amz-date").is_none()));
}

#[tokio::test]
async fn a_profile_gives_keys_and_region() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let write = |name: &str, text: String| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
    write("credentials", format!("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\n[bare]\n"));
    write("config", "[default]\nregion = ap-south-1\n[profile sso]\nsso_session = x\n[profile bare]\nregion = us-west-2\n".to_owned());
    works(&fake, with(&fake, home.path(), None, &[]), None).await;
    assert!(fake.seen()[0].header("authorization").unwrap().contains("/ap-south-1/bedrock/"));
    for (profile, words) in [("sso", "`sso_session`, which is not supported"), ("lost", "profile `lost` is in neither file")] {
        let (_, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &[("AWS_PROFILE", profile)])], &request("hello")).await);
        assert_eq!(error.kind, ErrorKind::Auth);
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_container_gives_keys_to_who_has_its_token() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    fake.route(Route::ok("GET /creds", given(SECRET, 60)));
    let file = home.path().join("token");
    std::fs::write(&file, "canary-token\n").unwrap();
    let url = format!("{}/creds", fake.url());
    let variables =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap())];
    works(&fake, with(&fake, home.path(), Some("eu-central-1"), &variables), Some("tok/en==")).await;
    assert_eq!(fake.seen()[0].header("authorization"), Some("canary-token"));
    // The token goes to nobody else in the clear.
    let far = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/creds"), variables[1]];
    let (_, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &far)], &request("hello")).await);
    assert!(error.message.contains("to which no token is sent in the clear"), "{error}");
}

#[tokio::test]
async fn a_web_identity_is_turned_into_keys() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    let end = clock::iso(clock::now_ms() + 3_600_000);
    let answer = format!(
        "<R><Credentials><AccessKeyId>AKIDEXAMPLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>tok/en==</SessionToken><Expiration>{end}</Expiration></Credentials></R>"
    );
    fake.route(Route::ok("POST /", answer));
    let file = home.path().join("token");
    std::fs::write(&file, "canary.jwt.x\n").unwrap();
    let url = fake.url();
    let role = "arn:aws:iam::1:role/r";
    let variables = [("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()), ("AWS_ROLE_ARN", role), ("AWS_ENDPOINT_URL_STS", &url)];
    works(&fake, with(&fake, home.path(), Some("eu-central-1"), &variables), Some("tok/en==")).await;
    let seen = fake.seen();
    let wanted = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=skykoi-gateway&WebIdentityToken=canary.jwt.x";
    assert_eq!(seen[0].text, wanted);
    std::fs::remove_file(&file).unwrap();
    let (_, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &variables)], &request("hello")).await);
    assert_eq!(error.kind, ErrorKind::Auth);
}

/// Requests for the instance's keys.
pub(super) fn fetched(fake: &FakeModel) -> usize {
    fake.seen().iter().filter(|seen| seen.path.ends_with("/security-credentials/my-role")).count()
}

pub(super) fn instance(fake: &FakeModel, minutes: u64) {
    fake.route(Route::ok("PUT /latest/api/token", "meta-token"));
    fake.route(Route::ok("GET /latest/meta-data/placement/region", "eu-north-1"));
    fake.route(Route::ok("GET /latest/meta-data/iam/security-credentials/", "my-role"));
    fake.route(Route::ok("GET /latest/meta-data/iam/security-credentials/my-role", given(SECRET, minutes)));
}

#[tokio::test]
async fn an_instance_gives_keys_and_region_and_is_asked_again_before_they_end() {
    for (minutes, times) in [(60, 1), (2, 3)] {
        let (fake, home) = (fake([Answer::text("a"), Answer::text("b"), Answer::text("c")]).await, tempfile::tempdir().unwrap());
        instance(&fake, minutes);
        let model = open(vec![with(&fake, home.path(), None, &[])]);
        for word in ["a", "b", "c"] {
            let events: Vec<_> = model.ask(&request("hello")).collect().await;
            assert_eq!(joined(&events)[0], text(word));
        }
        assert_eq!(fetched(&fake), times, "keys that hold {minutes} minutes");
        for seen in fake.seen() {
            match seen.path.as_str() {
                "/latest/api/token" => assert_eq!(seen.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600")),
                path if path.starts_with("/latest") => assert_eq!(seen.header("x-aws-ec2-metadata-token"), Some("meta-token")),
                _ => assert_eq!(seen.signature.as_deref(), Some("")),
            }
        }
    }
}

#[tokio::test]
async fn keys_that_amazon_calls_expired_are_fetched_anew() {
    let mut expired = Answer {
        status: Some(403),
        body: json!({"message": "The security token included in the request is expired"}),
        ..Answer::default()
    };
    expired.headers.insert("x-amzn-ErrorType".to_owned(), "ExpiredTokenException:http://internal".to_owned());
    let (fake, home) = (fake([expired, Answer::text("yes")]).await, tempfile::tempdir().unwrap());
    instance(&fake, 60);
    let events = ask(vec![with(&fake, home.path(), None, &[])], &request("hello")).await;
    assert_eq!((joined(&events)[0].clone(), fetched(&fake)), (text("yes"), 2));
}

#[tokio::test]
async fn who_has_no_credentials_is_told_where_was_looked() {
    let (fake, home) = (fake([]).await, tempfile::tempdir().unwrap());
    fake.route(Route { of: "PUT /latest/api/token".to_owned(), status: 403, body: String::new(), kind: None });
    let (_, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &[])], &request("hello")).await);
    assert_eq!(error.kind, ErrorKind::Auth);
    for words in ["no AWS credentials", "none in the profile", "no role of the instance", "HTTP 403", "check the AWS credentials"] {
        assert!(error.message.contains(words), "{error}");
    }
    let disabled = [("AWS_EC2_METADATA_DISABLED", "true"), KEYS[0], KEYS[1]];
    let (_, error) = failed(ask(vec![with(&fake, home.path(), None, &disabled)], &request("hello")).await);
    assert!(error.message.contains("no AWS region: set AWS_REGION"), "{error}");
}

#[tokio::test]
async fn exceptions_inside_a_stream_have_their_kinds() {
    let home = tempfile::tempdir().unwrap();
    let table = [
        ("throttlingException", "slow down", ErrorKind::RateLimit),
        ("modelStreamErrorException", "broke", ErrorKind::Overloaded),
        ("serviceUnavailableException", "later", ErrorKind::Overloaded),
        ("validationException", "Input is too long for requested model.", ErrorKind::ContextLength),
    ];
    for (code, words, kind) in table {
        let story = Answer { piece: Some(1), ..Answer::text("abc") };
        let fake = fake([story.faulty(3, Fault::Error(code.to_owned(), words.to_owned()))]).await;
        let (events, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &KEYS)], &request("hello")).await);
        assert!(events.contains(&text("a")), "{events:?}");
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(&format!("{code}: {words}")), "{error}");
    }
}

#[tokio::test]
async fn errors_of_amazon_are_named() {
    let home = tempfile::tempdir().unwrap();
    for (status, code, kind) in [
        (403, "AccessDeniedException", ErrorKind::Auth),
        (404, "ResourceNotFoundException", ErrorKind::BadRequest),
        (400, "ValidationException", ErrorKind::BadRequest),
    ] {
        let mut answer = Answer { status: Some(status), body: json!({"message": "no"}), ..Answer::default() };
        answer.headers.insert("x-amzn-ErrorType".to_owned(), code.to_owned());
        let fake = fake([answer]).await;
        let (_, error) = failed(ask(vec![with(&fake, home.path(), Some("x"), &KEYS)], &request("hello")).await);
        assert_eq!(error.kind, kind);
        let start = format!("amazon-bedrock/us.anthropic.claude-opus-4-6-v1:0: HTTP {status} {code}: no; ");
        assert!(error.message.starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn counts_come_before_the_stop() {
    let (fake, home) = (fake([Answer::text("yes")]).await, tempfile::tempdir().unwrap());
    let events = ask(vec![with(&fake, home.path(), Some("x"), &KEYS)], &request("hello")).await;
    let last: Vec<&Event> = events.iter().rev().take(2).map(|event| event.as_ref().unwrap()).collect();
    assert!(matches!(last[..], [Event::Stop(_), Event::Usage(_)]), "{last:?}");
}

//! Everything that goes wrong between us and a model.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth};
use skykoi_gateway::model::notice::Notice;
use skykoi_gateway::model::{ErrorKind, Event, open, open_with};
use tokio_stream::StreamExt as _;

use super::{ask, endpoint, failed, fake, joined, request, text};
use crate::fake_model::{Answer, Fault};

const ALL: [Api; 3] = [Api::AnthropicMessages, Api::OpenaiCompletions, Api::BedrockConverseStream];

#[tokio::test]
async fn what_may_pass_is_tried_again_and_told() {
    for api in ALL {
        for status in [429, 500, 503, 529] {
            let fake = fake([Answer::error(status, "trouble", "no"), Answer::error(status, "trouble", "no"), Answer::text("yes")]).await;
            let told = Arc::new(Mutex::new(Vec::new()));
            let listener = told.clone();
            let model = open_with(vec![endpoint(&fake, api)], Arc::new(move |notice| listener.lock().unwrap().push(notice)));
            let events: Vec<_> = model.ask(&request("hello")).collect().await;
            assert_eq!(joined(&events)[0], text("yes"), "{api:?} {status}");
            let told = told.lock().unwrap();
            let tries: Vec<u32> = told.iter().map(|notice| if let Notice::Again { attempt, .. } = notice { *attempt } else { 0 }).collect();
            assert_eq!(tries, [1, 2]);
        }
    }
}

#[tokio::test]
async fn a_provider_that_never_recovers_is_left_after_the_last_try() {
    for api in ALL {
        let fake = fake((0..9).map(|_| Answer::error(529, "overloaded_error", "Overloaded"))).await;
        let (events, error) = failed(ask(vec![endpoint(&fake, api)], &request("hello")).await);
        assert_eq!((events.len(), error.kind), (0, ErrorKind::Overloaded));
        assert!(error.message.contains("HTTP 529 overloaded_error: Overloaded; "), "{error}");
        assert_eq!(fake.seen().len(), 4);
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    for api in ALL {
        for (status, kind) in [(401, ErrorKind::Auth), (403, ErrorKind::Auth), (400, ErrorKind::BadRequest), (404, ErrorKind::BadRequest)] {
            let fake = fake([Answer::error(status, "x", "your key canary-key-4711 is no good"), Answer::text("never")]).await;
            let (_, error) = failed(ask(vec![endpoint(&fake, api)], &request("hello")).await);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(&format!("HTTP {status}")), "{error}");
            assert_eq!(fake.seen().len(), 1);
        }
    }
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    let header = |name: &str, value: &str| {
        let mut answer = Answer::error(429, "rate_limit_error", "slow down");
        answer.headers.insert(name.to_owned(), value.to_owned());
        answer
    };
    for answer in [header("retry-after", "0.4"), header("retry-after-ms", "400")] {
        let fake = fake([answer, Answer::text("yes")]).await;
        let begun = Instant::now();
        let events = ask(vec![endpoint(&fake, Api::AnthropicMessages)], &request("hello")).await;
        assert_eq!(joined(&events)[0], text("yes"));
        assert!(begun.elapsed() >= Duration::from_millis(400));
    }
    // Longer than anybody waits here: the error says so, and nothing is tried.
    for value in ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"] {
        let fake = fake([header("retry-after", value), Answer::text("never")]).await;
        let (_, error) = failed(ask(vec![endpoint(&fake, Api::AnthropicMessages)], &request("hello")).await);
        assert_eq!(error.kind, ErrorKind::RateLimit);
        assert!(error.retry_after_ms >= Some(3_600_000), "{error:?}");
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_asked_twice_once_a_word_was_told() {
    for api in ALL {
        for fault in [Fault::Cut, Fault::End, Fault::Error("overloaded_error".to_owned(), "Overloaded".to_owned()), Fault::Garbage] {
            let story = Answer { piece: Some(1), ..Answer::text("abcdef") };
            let fake = fake([story.faulty(6, fault.clone()), Answer::text("never")]).await;
            let other = endpoint(&fake, api);
            let (events, error) = failed(ask(vec![endpoint(&fake, api), other], &request("hello")).await);
            assert!(events.iter().any(|event| matches!(event, Event::Text(_))), "{fault:?}");
            let kind = if matches!(fault, Fault::Error(..)) { ErrorKind::Overloaded } else { ErrorKind::Transport };
            assert_eq!(error.kind, kind, "{api:?} {fault:?} {error}");
            assert_eq!(fake.seen().len(), 1, "{api:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_before_its_first_word_is_asked_for_again() {
    for api in ALL {
        for fault in [Fault::Cut, Fault::End, Fault::Error("overloaded_error".to_owned(), "Overloaded".to_owned()), Fault::Garbage] {
            let fake = fake([Answer::text("never").faulty(1, fault.clone()), Answer::text("yes")]).await;
            let events = ask(vec![endpoint(&fake, api)], &request("hello")).await;
            assert_eq!(joined(&events)[0], text("yes"), "{api:?} {fault:?}");
        }
    }
}

#[tokio::test]
async fn silence_ends_an_answer() {
    let silent = async |api: Api| {
        let story = Answer { piece: Some(1), ..Answer::text("abcdef") };
        let fake = fake([story.faulty(5, Fault::Stall)]).await;
        let mut one = endpoint(&fake, api);
        one.timeouts.silence_ms = 6000;
        let (events, error) = failed(ask(vec![one], &request("hello")).await);
        assert!(!events.is_empty());
        assert_eq!(error.kind, ErrorKind::Transport);
        assert!(error.message.contains("nothing came for 6 s"), "{error}");
    };
    tokio::join!(silent(ALL[0]), silent(ALL[1]), silent(ALL[2]));
}

#[tokio::test]
async fn an_answer_has_only_so_much_time_in_all() {
    let drip = Answer { piece: Some(1), pause_ms: 10, ..Answer::text(&"x".repeat(6000)) };
    let fake = fake([drip, Answer::text("never")]).await;
    let mut one = endpoint(&fake, Api::AnthropicMessages);
    one.timeouts.total_ms = 5000;
    let (events, error) = failed(ask(vec![one], &request("hello")).await);
    assert!(!events.is_empty());
    assert!(error.message.contains("no whole answer within 5 s"), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn another_model_is_asked_where_it_may_help() {
    for api in ALL {
        for (status, code) in [(401, "authentication_error"), (404, "not_found_error"), (429, "insufficient_quota")] {
            let (bad, good) = (fake([Answer::error(status, code, "no")]).await, fake([Answer::text("yes")]).await);
            let events = ask(vec![endpoint(&bad, api), endpoint(&good, Api::AnthropicMessages)], &request("hello")).await;
            assert_eq!(joined(&events)[0], text("yes"), "{api:?} {status}");
        }
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_not_carried_around() {
    let (bad, good) = (fake([Answer::error(400, "invalid_request_error", "bad")]).await, fake([Answer::text("never")]).await);
    let api = Api::AnthropicMessages;
    let (_, error) = failed(ask(vec![endpoint(&bad, api), endpoint(&good, api)], &request("hello")).await);
    assert_eq!((error.kind, good.seen().len()), (ErrorKind::BadRequest, 0));
}

#[tokio::test]
async fn what_is_too_long_goes_only_to_a_larger_window() {
    let api = Api::AnthropicMessages;
    let long = || Answer::error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum");
    let (first, same, larger) = (fake([long()]).await, fake([Answer::text("never")]).await, fake([Answer::text("yes")]).await);
    let mut wide = endpoint(&larger, api);
    wide.context_window = 1_000_000;
    let events = ask(vec![endpoint(&first, api), endpoint(&same, api), wide], &request("hello")).await;
    assert_eq!(joined(&events)[0], text("yes"));
    assert_eq!(same.seen().len(), 0);
    first.push([long()]);
    let (_, error) = failed(ask(vec![endpoint(&first, api), endpoint(&same, api)], &request("hello")).await);
    assert_eq!(error.kind, ErrorKind::ContextLength);
}

#[tokio::test]
async fn when_all_fail_the_first_says_why_and_the_others_are_named() {
    let api = Api::AnthropicMessages;
    let (one, two) = (fake([Answer::error(401, "x", "first")]).await, fake([Answer::error(403, "x", "second")]).await);
    let mut other = endpoint(&two, api);
    "other".clone_into(&mut other.provider);
    let (_, error) = failed(ask(vec![endpoint(&one, api), other], &request("hello")).await);
    assert!(error.message.starts_with("anthropic/") && error.message.contains("; then other/"), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_nonsense_for_one_and_no_model_at_all_are_told_apart() {
    let api = Api::AnthropicMessages;
    let silent = crate::nginx::refusing();
    let mut closed = endpoint(&fake([]).await, api);
    closed.base_url = format!("http://{}", silent.local_addr().unwrap());
    closed.retry.attempts = 2;
    let (_, error) = failed(ask(vec![closed.clone()], &request("hello")).await);
    assert_eq!(error.kind, ErrorKind::Transport);
    assert!(error.message.contains("refused") && error.message.contains("models.providers.anthropic.baseUrl"), "{error}");
    for address in ["ftp://x", "not an address", "https://"] {
        address.clone_into(&mut closed.base_url);
        let (_, error) = failed(ask(vec![closed.clone()], &request("hello")).await);
        assert!(matches!(error.kind, ErrorKind::BadRequest | ErrorKind::Transport), "{address}: {error}");
    }
    let (_, error) = failed(ask(vec![], &request("hello")).await);
    assert!(error.message.contains("agents.defaults.model"), "{error}");
}

#[tokio::test]
async fn a_key_that_no_header_may_hold_is_named_and_not_shown() {
    let fake = fake([]).await;
    let mut one = endpoint(&fake, Api::AnthropicMessages);
    one.auth = Auth::Key { key: Secret::new("canary\nkey".to_owned()) };
    let (_, error) = failed(ask(vec![one], &request("hello")).await);
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(error.message.contains("its key holds a character"), "{error}");
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn a_page_instead_of_a_stream_is_no_answer() {
    for api in ALL {
        let page = Answer { status: Some(200), body: "<html>welcome</html>".into(), ..Answer::default() };
        let fake = fake([page]).await;
        let (_, error) = failed(ask(vec![endpoint(&fake, api)], &request("hello")).await);
        assert_eq!(error.kind, ErrorKind::BadRequest, "{error}");
        assert!(error.message.contains("instead of"), "{error}");
    }
}

#[tokio::test]
async fn over_tls_a_stranger_gets_no_key() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let port = listener.local_addr().unwrap().port();
    let mut one = endpoint(&fake([]).await, Api::AnthropicMessages);
    one.base_url = format!("https://localhost:{port}");
    one.retry.attempts = 1;
    let model = open(vec![one]);
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.map(|_| ()).unwrap_err()
    };
    let asked = request("hello");
    let (events, refused) = tokio::join!(model.ask(&asked).collect::<Vec<_>>(), serve);
    let (_, error) = failed(events);
    assert_eq!(error.kind, ErrorKind::Transport);
    assert!(error.message.contains("certificate"), "{error}");
    assert!(refused.to_string().to_lowercase().contains("unknown"), "{refused}");
}

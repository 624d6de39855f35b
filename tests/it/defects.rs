//! The 34 defects of the original that this gateway must not have. Each has a test with its number in the name, wherever that test belongs; those that belong nowhere else are here.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::tidy::rust;

/// How many there are.
const DEFECTS: usize = 34;

/// The numbers in `defect_NN_` of names of tests.
fn numbered(text: &str) -> impl Iterator<Item = usize> {
    let names = text.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    names.flat_map(|name| name.split("defect_").skip(1).filter_map(|rest| rest.get(..2)?.parse().ok()))
}

#[test]
fn every_defect_has_a_test_of_its_number() {
    let tested: BTreeSet<usize> = rust().iter().flat_map(|source| numbered(&source.text).collect::<Vec<_>>()).collect();
    let missing: Vec<usize> = (1..=DEFECTS).filter(|number| !tested.contains(number)).collect();
    assert!(missing.is_empty(), "no test is called defect_NN_… for {missing:?}");
    assert!(tested.iter().all(|number| (1..=DEFECTS).contains(number)), "{tested:?}");
}

#[test]
fn the_table_counts_names_of_tests_only() {
    let text = "async fn m1_defect_02_x() {}\n    fn defect_31_and_defect_07_y() {}\n// fn defect_09_z\nlet defect_11_ = 1;";
    assert_eq!(numbered(text).collect::<Vec<_>>(), [2, 31, 7]);
}

#[tokio::test]
async fn defect_01_a_message_alone_is_a_request() {
    let gateway = Gateway::start();
    for local in [false, true] {
        let mut client = if local { Client::local(&gateway).await } else { Client::connect(&gateway).await };
        let (id, ack) = client.agent(json!({"message": "echo hi"})).await;
        assert_eq!((ack["status"].as_str(), ack["sessionKey"].as_str()), (Some("accepted"), Some("agent:main:main")));
        let last = client.response(&id).await;
        assert_eq!((&last["payload"]["runId"], last["payload"]["status"].as_str()), (&ack["runId"], Some("ok")), "{last}");
    }
}

/// The client itself fails on a hole; here connections are told of different events.
#[tokio::test]
async fn defect_04_every_connection_counts_its_own_events_without_holes() {
    let gateway = Gateway::with(&json!({"gateway": {"limits": {"tickIntervalMs": 1000, "healthIntervalMs": 1000}}}));
    let mut all = Client::connect(&gateway).await;
    let mut params = connect_params();
    params["scopes"] = json!(["operator.approvals"]);
    let mut few = Client::open(gateway.port(), &[]).await;
    few.hello(params).await.unwrap();
    all.script("for n in 1 2 3 4 5; do echo $n; sleep 0.02; done").await;
    let mut late = Client::connect(&gateway).await;
    few.until("two ticks", |client| client.events.iter().filter(|event| event["event"] == "tick").count() == 2).await;
    late.until("a tick", |client| client.events.iter().any(|event| event["event"] == "tick")).await;
    assert!(few.events.iter().all(|event| ["tick", "connect.challenge"].contains(&event["event"].as_str().unwrap())), "{:?}", few.events);
    assert_eq!((few.seq, late.seq >= 1, all.seq > 5), (2, true, true), "each from 1");
}

#[tokio::test]
async fn defect_16_a_secret_of_as_many_letters_and_other_bytes_is_wrong_and_no_more() {
    let gateway = Gateway::start();
    for wrong in ["é".repeat(TOKEN.chars().count()), "\u{1f41f}".repeat(TOKEN.len() / 4), TOKEN.to_uppercase(), format!("{TOKEN} ")] {
        let mut params = connect_params();
        params["auth"]["token"] = json!(wrong);
        let mut client = Client::open(gateway.port(), &[]).await;
        let refused = client.hello(params).await.unwrap_err();
        assert_eq!(refused["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH", "{wrong}");
        assert_eq!(client.until_closed().await.code, Some(1008), "with an answer and a close frame");
    }
}

/// The original looked names of headers up in capitals and never found them.
#[tokio::test]
async fn defect_30_names_of_headers_match_in_any_letters() {
    let gateway = Gateway::with(&json!({"gateway": {"trustedProxies": ["127.0.0.1"]}}));
    let mut watcher = Client::local(&gateway).await;
    for (n, name) in ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"].into_iter().enumerate() {
        let address = format!("203.0.113.{}", n + 1);
        let mut client = Client::open(gateway.port(), &[(name, &address)]).await;
        client.hello(connect_params()).await.unwrap();
        let shown = watcher.ok("system-presence", json!({})).await;
        assert!(shown.as_array().unwrap().iter().any(|entry| entry["ip"] == address.as_str()), "{name}: {shown}");
    }
}

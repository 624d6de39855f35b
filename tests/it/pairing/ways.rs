//! The ways in: asked for and approved, by code, beside the secret; and what a restart makes of them.

use serde_json::json;

use super::{audit, code, told, with_scopes};
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Device, Gateway};
use crate::secrets::holding;

const BOTH: [&str; 2] = ["operator.read", "operator.write"];

#[tokio::test]
async fn m57_an_unpaired_device_asks_once_and_comes_in_when_somebody_has_approved() {
    let gateway = Gateway::start();
    let mut clerk = with_scopes(&gateway, &["operator.pairing", "operator.read", "operator.write"]).await;
    let mut reader = with_scopes(&gateway, &["operator.read"]).await;
    let device = Device::random();
    let wanted = json!({ "scopes": BOTH, "client": { "displayName": "Anna\u{202e}\n" } });
    let refused = device.connect(&gateway, &wanted).await.err().unwrap();
    assert_eq!((&refused["error"]["code"], code(&refused)), (&json!("NOT_PAIRED"), "PAIRING_REQUIRED"));
    let details = &refused["error"]["details"];
    assert_eq!((&details["reason"], &details["deviceId"]), (&json!("not-paired"), &json!(device.id)));
    let request = details["requestId"].as_str().unwrap().to_owned();
    assert_eq!(device.ask(&gateway, &wanted).await, request, "the same request, however often it asks");

    clerk.until("the request", |client| !told(client, "device.pair.requested").is_empty()).await;
    let asked = told(&clerk, "device.pair.requested");
    assert_eq!((asked.len(), &asked[0]["requestId"], &asked[0]["code"]), (1, &json!(request), &details["pairingCode"]));
    assert_eq!(asked[0]["displayName"], "Anna\\u{202e}", "what it says of itself cannot play tricks");
    let listed = clerk.ok("device.pair.list", json!({})).await;
    assert_eq!((&listed["pending"][0], listed["paired"].as_array().unwrap().len()), (&asked[0], 0));
    let approved = clerk.ok("device.pair.approve", json!({ "requestId": request })).await;
    assert_eq!((&approved["device"]["deviceId"], &approved["device"]["scopes"]), (&json!(device.id), &json!(BOTH)));
    clerk.until("its end", |client| !told(client, "device.pair.resolved").is_empty()).await;
    assert_eq!(told(&clerk, "device.pair.resolved")[0]["decision"], "approved");
    // The answer stands behind every event that this connection could have had.
    reader.ok("health", json!({})).await;
    assert!(reader.events.iter().all(|frame| !frame["event"].as_str().unwrap().starts_with("device.")));

    // Its signature gets it a token until it has used one: an answer can be lost.
    let lost = device.connect(&gateway, &wanted).await.unwrap().hello["auth"]["deviceToken"].clone();
    let mut client = device.connect(&gateway, &wanted).await.unwrap();
    let auth = client.hello["auth"].clone();
    let token = auth["deviceToken"].as_str().unwrap().to_owned();
    assert_eq!((&auth["role"], &auth["scopes"], auth["issuedAtMs"].is_u64()), (&json!("operator"), &json!(BOTH), true));
    client.ok("health", json!({})).await;
    let refused = device.with_token(&gateway, lost.as_str().unwrap(), &BOTH).await.err().unwrap();
    assert_eq!(code(&refused), "AUTH_DEVICE_TOKEN_MISMATCH");
    // In its own field, and in the field that older clients know; the token is not told again.
    let again = device.with_token(&gateway, &token, &BOTH).await.unwrap();
    assert!(again.hello["auth"].get("deviceToken").is_none(), "{}", again.hello["auth"]);
    let old = json!({ "minProtocol": 3, "maxProtocol": 3, "scopes": BOTH, "auth": { "token": token } });
    let old = device.connect(&gateway, &old).await.unwrap();
    assert!(old.hello.get("auth").is_none(), "{}", old.hello);
    let refused = device.connect(&gateway, &wanted).await.err().unwrap();
    assert_eq!(refused["error"]["details"]["reason"], "token-lost", "from here on the signature alone is not enough");

    // A token is good for nothing without its device.
    let thief = Device::random().with_token(&gateway, &token, &BOTH).await.err().unwrap();
    assert_eq!(code(&thief), "AUTH_DEVICE_TOKEN_MISMATCH");
    let mut bare = Client::open(gateway.port(), &[]).await;
    let mut params = crate::harness::client::connect_params();
    params["auth"] = json!({ "token": token });
    assert_eq!(code(&bare.hello(params).await.unwrap_err()), "AUTH_TOKEN_MISMATCH");

    let written = std::fs::read(gateway.state_dir().join("state.db-wal")).unwrap();
    let holds = |bytes: &[u8]| written.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(device.id.as_bytes()) && !holds(token.as_bytes()), "the store knows the device and not its token");
    assert!(!gateway.log().contains(&token));
    let actions: Vec<_> = audit(&gateway).iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect();
    for action in ["pair.approve", "credential.new"] {
        assert!(actions.iter().any(|known| known == action), "{action} in {actions:?}");
    }
}

#[tokio::test]
async fn m57_the_fourth_of_one_address_and_the_twenty_first_of_all_are_told_to_wait() {
    let gateway = Gateway::start();
    for n in 0..20_u8 {
        let source = [127, 0, 0, 10 + n / 3];
        let refused = Device::random().connect_from(source, &gateway, &json!({})).await.err().unwrap();
        assert_eq!(code(&refused), "PAIRING_REQUIRED", "{n}: {refused}");
    }
    for source in [[127, 0, 0, 10], [127, 0, 0, 99]] {
        let refused = Device::random().connect_from(source, &gateway, &json!({})).await.err().unwrap();
        assert_eq!((code(&refused), &refused["error"]["code"]), ("PAIRING_LIMIT", &json!("NOT_PAIRED")));
        assert!((1..=300_000).contains(&refused["error"]["retryAfterMs"].as_u64().unwrap()), "{refused}");
    }
    // Who has the secret is not kept out by those who wait.
    let listed = Client::connect(&gateway).await.ok("device.pair.list", json!({})).await;
    assert_eq!(listed["pending"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn defect_19_a_restart_keeps_pairings_and_no_token_in_clear_and_a_request_that_is_over_stays_over() {
    let mut gateway = Gateway::prepared(&json!({}));
    let file = gateway.state_dir().join("clock");
    std::fs::write(&file, "0").unwrap();
    gateway.env("SKYKOI_CLOCK_SHIFT", file.to_str().unwrap());
    gateway.launch();
    let (paired, asking, late) = (Device::random(), Device::random(), Device::random());
    let (_, token) = paired.pair(&gateway, &BOTH).await;
    let request = asking.ask(&gateway, &json!({})).await;
    let over = late.ask(&gateway, &json!({})).await;
    gateway.kill_and_restart();
    assert_eq!(holding(gateway.state_dir(), &[&token]), Vec::<String>::new(), "only its digest is kept");
    paired.with_token(&gateway, &token, &BOTH).await.unwrap();
    let mut owner = Client::local(&gateway).await;
    owner.ok("device.pair.approve", json!({ "requestId": request })).await;
    asking.connect(&gateway, &json!({})).await.unwrap();
    std::fs::write(&file, "301000").unwrap();
    gateway.kill_and_restart();
    let mut owner = Client::local(&gateway).await;
    assert_eq!(code(&owner.err("device.pair.approve", json!({ "requestId": over })).await), "PAIRING_EXPIRED");
    // Days later the same token and another clock on either side change nothing.
    std::fs::write(&file, (3 * 86_400_000_i64).to_string()).unwrap();
    paired.with_token(&gateway, &token, &BOTH).await.unwrap();
}

#[tokio::test]
async fn a_setup_code_pairs_the_first_key_that_shows_it_and_no_other() {
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 2 } } } }));
    let mut owner = Client::local(&gateway).await;
    let made = owner.ok("device.pair.setup", json!({ "scopes": ["operator.read"] })).await;
    let spoken = made["code"].as_str().unwrap().to_uppercase().replace('-', " ");
    let by_code = |code: &str| json!({ "scopes": ["operator.admin"], "auth": { "bootstrapToken": code } });
    let device = Device::random();
    let client = device.connect(&gateway, &by_code(&spoken)).await.unwrap();
    assert_eq!(client.hello["auth"]["scopes"], json!([]), "admin was not in the code");
    let token = client.hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    let mut reader = device.with_token(&gateway, &token, &["operator.read"]).await.unwrap();
    reader.ok("health", json!({})).await;
    for code_shown in [spoken.as_str(), "lusab-babad-lusab-babad-lusab"] {
        let refused = Device::random().connect(&gateway, &by_code(code_shown)).await.err().unwrap();
        assert_eq!(code(&refused), "AUTH_DEVICE_TOKEN_MISMATCH");
    }
    let refused = Device::random().connect(&gateway, &by_code("x")).await.err().unwrap();
    assert_eq!(code(&refused), "AUTH_RATE_LIMITED", "codes are guesses like any other");
}

#[tokio::test]
async fn m45_a_token_that_is_not_the_devices_counts_as_a_guess() {
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 3 } } } }));
    let device = Device::random();
    let shown =
        |n: u32| json!({ "auth": { "deviceToken": format!("bogus-{n}"), "token": if n.is_multiple_of(2) { "" } else { "wrong-too" } } });
    for n in 0..3 {
        let refused = device.connect(&gateway, &shown(n)).await.err().unwrap();
        assert!(["AUTH_DEVICE_TOKEN_MISMATCH", "AUTH_TOKEN_MISMATCH"].contains(&code(&refused)), "{refused}");
    }
    for patch in [shown(4), json!({}), json!({ "auth": { "token": TOKEN } })] {
        let refused = device.connect(&gateway, &patch).await.err().unwrap();
        assert_eq!(code(&refused), "AUTH_RATE_LIMITED", "{patch}");
    }
    assert!(Client::local(&gateway).await.ok("device.pair.list", json!({})).await["pending"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn who_has_the_secret_needs_no_pairing_and_leaves_no_request() {
    let gateway = Gateway::start();
    let device = Device::random();
    let browser =
        json!({ "client": { "id": "SKYKOI-control-ui", "mode": "webchat" }, "scopes": ["operator.admin"], "auth": { "token": TOKEN } });
    for protocol in [3, 4] {
        let mut patch = browser.clone();
        (patch["minProtocol"], patch["maxProtocol"]) = (protocol.into(), protocol.into());
        let mut client = device.connect(&gateway, &patch).await.unwrap();
        assert!(client.hello.pointer("/auth/deviceToken").is_none());
        let listed = client.ok("device.pair.list", json!({})).await;
        assert_eq!(listed, json!({ "pending": [], "paired": [] }));
    }
}

#[tokio::test]
async fn where_pairing_is_required_the_secret_is_only_enough_to_ask() {
    let gateway = Gateway::with(&json!({ "gateway": { "pairing": { "required": true, "requests": false } } }));
    let mut bare = Client::open(gateway.port(), &[]).await;
    assert_eq!(code(&bare.hello(crate::harness::client::connect_params()).await.unwrap_err()), "DEVICE_IDENTITY_REQUIRED");
    let device = Device::random();
    let with_secret = json!({ "scopes": ["operator.admin"], "auth": { "token": TOKEN } });
    assert_eq!(code(&device.connect(&gateway, &json!({})).await.err().unwrap()), "AUTH_TOKEN_MISSING", "strangers cannot even ask");
    let request = device.ask(&gateway, &with_secret).await;
    let mut owner = Client::local(&gateway).await;
    owner.ok("device.pair.list", json!({})).await;
    owner.ok("device.pair.approve", json!({ "requestId": request })).await;
    let mut client = device.connect(&gateway, &with_secret).await.unwrap();
    client.ok("config.get", json!({})).await;
    let token = client.hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    device.with_token(&gateway, &token, &["operator.admin"]).await.unwrap();
    owner.ok("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" })).await;
    let end = client.until_closed().await;
    assert_eq!((end.code, end.reason.as_str()), (Some(1008), "credential revoked"));
    assert_eq!(device.connect(&gateway, &with_secret).await.err().unwrap()["error"]["details"]["reason"], "revoked");
}

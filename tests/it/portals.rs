//! Users of a portal against a real gateway: who they are follows from the assertion, where they work from who they are.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use skykoi_gateway::clock::now_ms;

use crate::harness::client::connect_params;
use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};
use crate::live_config::patch;

const SECRET: &str = "portal-secret-4be17700a92f5c3d68e1";

fn now() -> u64 {
    now_ms() / 1000
}

fn claims(user: &str) -> Value {
    json!({ "iss": "portal", "aud": "vm-1", "sub": user, "iat": now(), "exp": now() + 600 })
}

fn assertion(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub fn of(user: &str) -> String {
    assertion(&json!({ "alg": "HS256" }), &claims(user))
}

pub fn config() -> Value {
    let jwt = json!({ "alg": "HS256", "secret": SECRET, "issuer": "portal", "audience": "vm-1" });
    json!({ "gateway": { "auth": { "jwt": jwt, "rateLimit": { "maxAttempts": 1000 } } } })
}

fn with(token: &str) -> Value {
    let mut params = connect_params();
    merge(&mut params, &json!({ "auth": { "token": token }, "scopes": ["operator.read", "operator.write", "operator.admin"] }));
    params
}

pub async fn user(gateway: &Gateway, token: &str) -> Client {
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(with(token)).await.unwrap();
    client
}

fn code(error: &Value) -> &str {
    error["details"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn m60_only_an_assertion_that_is_right_in_every_part_is_let_in_and_all_others_hear_the_same() {
    let gateway = Gateway::with(&config());
    user(&gateway, &of("ann")).await;
    let right = json!({ "alg": "HS256" });
    let spoiled = |name: &str, value: Value| {
        let mut claims = claims("ann");
        claims[name] = value;
        assertion(&right, &claims)
    };
    let public = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap().public_key().as_ref().to_vec();
    let table = [
        ("none", format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims("ann").to_string()))),
        ("EdDSA in the header", assertion(&json!({ "alg": "EdDSA" }), &claims("ann"))),
        ("exp as text", spoiled("exp", json!((now() + 600).to_string()))),
        ("exp over", spoiled("exp", json!(now() - 1))),
        ("too long a life", spoiled("exp", json!(now() + 90_000))),
        ("aud of another", spoiled("aud", json!("vm-2"))),
        ("iss of another", spoiled("iss", json!("other"))),
        ("no sub", spoiled("sub", json!(""))),
        ("iat to come", spoiled("iat", json!(now() + 120))),
        ("kid that is a path", format!("{}x", assertion(&json!({ "alg": "HS256", "kid": "../../../etc/passwd" }), &claims("ann")))),
        ("signed with a public key", {
            let text = of("ann");
            let (signed, _) = text.rsplit_once('.').unwrap();
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }),
        ("8 KiB", format!("{}{}", of("ann"), "A".repeat(7 << 10))),
    ];
    let mut answers = Vec::new();
    for (what, token) in table {
        let mut client = Client::open(gateway.port(), &[]).await;
        let error = client.hello(with(&token)).await.err().unwrap_or_else(|| panic!("{what} was let in"))["error"].clone();
        assert_eq!(code(&error), "AUTH_TOKEN_MISMATCH", "{what}");
        answers.push(error);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    // 1 MiB is more than a first frame may be.
    let mut client = Client::open(gateway.port(), &[]).await;
    client.send(&json!({ "type": "req", "id": "connect", "method": "connect", "params": with(&"A".repeat(1 << 20)) })).await;
    assert_eq!(client.until_closed().await.code, Some(1009));
    assert!(!gateway.log().contains(SECRET));
}

#[tokio::test]
async fn mk01_a_user_works_in_a_session_and_a_directory_of_its_own_and_sees_nothing_else() {
    let gateway = Gateway::with(&config());
    let (mut ann, mut bob, mut admin) =
        (user(&gateway, &of("ann")).await, user(&gateway, &of("bob")).await, Client::connect(&gateway).await);
    let session = ann.hello["snapshot"]["sessionDefaults"]["mainSessionKey"].as_str().unwrap().to_owned();
    assert!(session.starts_with("agent:") && session.contains(":user:") && !session.contains("ann"), "{session}");
    assert_ne!(bob.hello["snapshot"]["sessionDefaults"]["mainSessionKey"], json!(session));
    assert_eq!(ann.hello["snapshot"]["presence"], json!([]));
    assert!(!ann.hello.to_string().contains(gateway.state_dir().to_str().unwrap()), "nothing of the machine is told");
    let last = ann.script("pwd; touch mine; ls").await;
    assert_eq!(last["payload"]["sessionKey"], json!(session));
    let text = ann.until_said(last["payload"]["runId"].as_str().unwrap()).await.to_string();
    let slug = session.rsplit(':').next().unwrap();
    assert!(text.contains(&format!("users/{slug}")) && text.contains("mine"), "{text}");
    let theirs = bob.script("pwd; ls").await["payload"]["runId"].as_str().unwrap().to_owned();
    let theirs = bob.until_said(&theirs).await.to_string();
    assert!(!theirs.contains("mine") && !theirs.contains(slug), "{theirs}");
    for params in [
        json!({ "sessionKey": "agent:main:main" }),
        json!({ "sessionKey": bob.hello["snapshot"]["sessionDefaults"]["mainSessionKey"] }),
        json!({ "agentId": "main" }),
        json!({ "to": "someone" }),
        json!({ "channel": "webchat" }),
        json!({ "sessionId": "x" }),
    ] {
        let mut asked = params;
        asked["message"] = json!("id");
        assert_eq!(code(&ann.err("agent", asked.clone()).await), "NOT_YOURS_TO_CHOOSE", "{asked}");
    }
    assert_eq!(code(&ann.err("chat.history", json!({ "sessionKey": "global" })).await), "NOT_YOURS_TO_CHOOSE");
    assert!(ann.ok("chat.history", json!({ "sessionKey": "main" })).await.to_string().contains("mine"));
    for method in ["sessions.list", "config.get", "health", "status", "system-presence", "logs.tail", "agents.list", "no.such.method"] {
        let error = ann.err(method, json!({})).await;
        assert_eq!((code(&error), &error["details"]["missingScope"]), ("MISSING_SCOPE", &json!("operator.admin")), "{method}");
    }
    let run = last["payload"]["runId"].clone();
    assert_eq!(code(&bob.err("runs.get", json!({ "runId": run })).await), "RUN_NOT_FOUND");
    assert_eq!(admin.ok("runs.get", json!({ "runId": run })).await["sessionKey"], json!(session));
    bob.ok("runs.list", json!({})).await;
    assert!(!bob.runs.contains_key(run.as_str().unwrap()) && !bob.events.iter().any(|event| event["event"] == "presence"));
}

#[tokio::test]
async fn mk01_a_user_has_one_run_at_a_time_also_over_two_connections() {
    let gateway = Gateway::with(&config());
    let (mut one, mut two, mut other) =
        (user(&gateway, &of("ann")).await, user(&gateway, &of("ann")).await, user(&gateway, &of("bob")).await);
    let go = gateway.state_dir().join("go");
    let waits = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    // Both at the same moment: one of them is accepted.
    let asks = [
        one.request("agent", json!({ "message": waits, "idempotencyKey": "a" })).await,
        two.request("agent", json!({ "message": waits, "idempotencyKey": "b" })).await,
    ];
    let answers = [one.response(&asks[0]).await, two.response(&asks[1]).await];
    let (won, lost) = if answers[0]["ok"] == true { (0, 1) } else { (1, 0) };
    assert_eq!((&answers[won]["ok"], &answers[lost]["ok"]), (&json!(true), &json!(false)), "{answers:?}");
    let (run, busy) = (&answers[won]["payload"]["runId"], &answers[lost]["error"]);
    assert_eq!((code(busy), &busy["details"]["runId"]), ("BUSY", run));
    let busy = two.err("chat.send", json!({ "sessionKey": "main", "message": "id", "idempotencyKey": "c" })).await;
    assert_eq!((code(&busy), &busy["details"]["runId"]), ("BUSY", run));
    // The same request again is the same run and no second one.
    let again = json!({ "message": waits, "idempotencyKey": if won == 0 { "a" } else { "b" } });
    let (_, same) = two.agent(again).await;
    assert_eq!(same["runId"], *run);
    assert_eq!(other.script("echo free").await["payload"]["status"], "ok", "another user is not in the way");
    std::fs::write(&go, "").unwrap();
    one.until_end(run.as_str().unwrap()).await;
    assert_eq!(one.script("echo next").await["payload"]["status"], "ok");
}

#[tokio::test]
async fn mk01_a_connection_ends_with_its_assertion_and_with_the_portals_key() {
    let gateway = Gateway::with(&config());
    let mut short = claims("ann");
    // Time enough to come in on a busy machine.
    short["exp"] = json!(now() + 8);
    let mut client = user(&gateway, &assertion(&json!({ "alg": "HS256" }), &short)).await;
    let closed = client.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "credential expired"));
    // By its own clock: the next tick is half a minute away.
    assert!(now() <= short["exp"].as_u64().unwrap() + 10);
    let mut ann = user(&gateway, &of("ann")).await;
    let mut local = Client::local(&gateway).await;
    patch(&mut local, json!({ "gateway": { "auth": { "jwt": { "secret": "another-secret-4be17700a92f5c3d68e" } } } })).await;
    // Its assertion holds for ten minutes more.
    let closed = tokio::time::timeout(Duration::from_secs(20), ann.until_closed()).await.unwrap();
    assert_eq!(closed.reason, "credential revoked");
}

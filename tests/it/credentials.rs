//! Named tokens, passwords and their ends, against a real gateway: what each credential opens, whose runs its holder sees, and how fast one that is taken back stops working.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skykoi_gateway::clock::now_ms;

use crate::harness::client::connect_params;
use crate::harness::gateway::{TOKEN, merge};
use crate::harness::{Client, Gateway};
use crate::live_config::patch;
use crate::nginx::program;

const CI: &str = "ci-token-5e0b7c1f94a2d36880aa13f7";
const LAB: &str = "lab-token-91c3d7700fe8b2a64d5512ce";
const BOSS: &str = "boss-token-08f1a6cc2b9e4d7735b0e4d1";

fn named(name: &str, token: &str, scopes: &[&str]) -> Value {
    json!({ "name": name, "token": token, "scopes": scopes })
}

fn tokens() -> Value {
    let list =
        json!([named("ci", CI, &["operator.write"]), named("lab", LAB, &["operator.read"]), named("boss", BOSS, &["operator.admin"]),]);
    json!({ "gateway": { "auth": { "tokens": list } } })
}

fn asking(token: &str, scopes: &Value) -> Value {
    let mut params = connect_params();
    merge(&mut params, &json!({ "auth": { "token": token }, "scopes": scopes }));
    params
}

async fn with(gateway: &Gateway, token: &str) -> Client {
    with_scopes(gateway, token, &json!(["operator.admin", "operator.write", "operator.read"])).await
}

async fn with_scopes(gateway: &Gateway, token: &str, scopes: &Value) -> Client {
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(asking(token, scopes)).await.unwrap();
    client
}

async fn refused(gateway: &Gateway, params: Value) -> Value {
    let mut client = Client::open(gateway.port(), &[]).await;
    let error = client.hello(params).await.unwrap_err()["error"].clone();
    assert_eq!(client.until_closed().await.code, Some(1008));
    error
}

fn code(error: &Value) -> &str {
    error["details"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn m3_m52_m53_a_named_token_gets_what_its_record_grants_whatever_it_asks_for() {
    let gateway = Gateway::with(&tokens());
    let all = json!(["operator.admin", "operator.approvals", "operator.pairing", "operator.write", "operator.read"]);
    let table = [
        (LAB, all.clone(), json!(["operator.read"])),
        (LAB, json!(["operator.admin"]), json!([])),
        (LAB, json!([]), json!(["operator.read"])),
        (CI, all.clone(), json!(["operator.read", "operator.write"])),
        (CI, json!([]), json!(["operator.read"])),
        (BOSS, json!([]), json!(["operator.read"])),
        (BOSS, all.clone(), json!(["operator.read", "operator.write", "operator.approvals", "operator.pairing", "operator.admin"])),
        (TOKEN, json!([]), json!(["operator.read"])),
    ];
    for (token, asked, given) in table {
        let client = with_scopes(&gateway, token, &asked).await;
        assert_eq!(client.hello["auth"]["scopes"], given, "{asked}");
    }
    let mut viewer = with(&gateway, LAB).await;
    // Reading the configuration is for readers; its secrets are hidden.
    assert!(!viewer.ok("config.get", json!({})).await.to_string().contains(CI));
    for method in ["agent", "config.set", "config.patch", "no.such.method"] {
        let error = viewer.err(method, json!({ "message": "id" })).await;
        assert_eq!(code(&error), "MISSING_SCOPE", "{method}: {error}");
    }
    let mut nobody = with_scopes(&gateway, LAB, &json!(["operator.admin"])).await;
    assert_eq!(code(&nobody.err("health", json!({})).await), "MISSING_SCOPE");
}

#[tokio::test]
async fn m54_a_scope_that_does_not_exist_is_an_error() {
    let gateway = Gateway::with(&tokens());
    for scope in ["operator.*", "admin", "operator.root", "OPERATOR.ADMIN", ""] {
        assert_eq!(code(&refused(&gateway, asking(TOKEN, &json!([scope]))).await), "UNKNOWN_SCOPE", "{scope}");
    }
}

#[tokio::test]
async fn m45_m49_whatever_is_wrong_with_a_secret_the_answer_is_the_same() {
    let limit = json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 1000 } } } });
    let mut config = tokens();
    merge(&mut config, &limit);
    merge(&mut config["gateway"]["auth"]["tokens"], &json!([named("old", "old-token-with-enough-letters-0123456", &["operator.admin"])]));
    config["gateway"]["auth"]["tokens"][0]["expiresAt"] = json!("2001-01-01T00:00:00Z");
    let gateway = Gateway::with(&config);
    let mut answers = Vec::new();
    for wrong in [&CI[..31], &format!("{CI}x"), "x", "ci", "a.b.c", "old-token-with-enough-letters-0123456", &"y".repeat(4000)] {
        let mut params = asking(wrong, &json!([]));
        answers.push(refused(&gateway, params.clone()).await);
        params["auth"]["deviceToken"] = json!("bogus");
        let closed = refused(&gateway, params).await;
        assert!(["INVALID_PARAMS", "AUTH_TOKEN_MISMATCH"].contains(&code(&closed)), "{closed}");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[tokio::test]
async fn m102_m103_who_is_no_admin_sees_waits_for_and_aborts_its_own_runs_only() {
    let gateway = Gateway::with(&tokens());
    let (mut ci, mut boss, mut shared) = (with(&gateway, CI).await, with(&gateway, BOSS).await, with(&gateway, TOKEN).await);
    let mut lab = with(&gateway, LAB).await;
    let go = gateway.state_dir().join("go");
    let waits = format!("while [ ! -e {} ]; do sleep 0.02; done; echo mine", go.display());
    let (_, foreign) = shared.agent(json!({ "message": waits, "sessionKey": "one" })).await;
    let (own_request, own) = ci.agent(json!({ "message": waits, "sessionKey": "two", "idempotencyKey": "k-1" })).await;
    let (foreign, own) = (foreign["runId"].as_str().unwrap().to_owned(), own["runId"].as_str().unwrap().to_owned());
    for method in ["runs.get", "runs.subscribe", "runs.unsubscribe", "runs.abort"] {
        let theirs = ci.err(method, json!({ "runId": foreign })).await;
        let mut none = ci.err(method, json!({ "runId": "no-such-run" })).await;
        none["message"] = json!(none["message"].as_str().unwrap().replace("no-such-run", &foreign));
        assert_eq!(theirs, none, "{method}: a run of somebody else looks like none");
    }
    let waited = ci.ok("agent.wait", json!({ "runId": foreign, "timeoutMs": 50 })).await;
    assert_eq!(waited["status"], "timeout");
    let aborted = ci.ok("chat.abort", json!({ "sessionKey": "one" })).await;
    assert_eq!((&aborted["aborted"], &aborted["runIds"]), (&json!(false), &json!([])));
    assert_eq!(ci.ok("chat.abort", json!({ "sessionKey": "one", "runId": foreign })).await["aborted"], false);
    let ids = |list: &Value| list["runs"].as_array().unwrap().iter().map(|run| run["runId"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&ci.ok("runs.list", json!({})).await), [json!(own)]);
    assert_eq!(ids(&lab.ok("runs.list", json!({})).await), Vec::<Value>::new());
    assert_eq!(ids(&boss.ok("runs.list", json!({})).await).len(), 2, "an admin knows of everybody's");
    // The same key of another principal is another run.
    let (_, other) = boss.agent(json!({ "message": "echo boss", "sessionKey": "three", "idempotencyKey": "k-1" })).await;
    assert_ne!(other["runId"], json!(own));
    std::fs::write(&go, "").unwrap();
    assert_eq!(ci.response(&own_request).await["payload"]["status"], "ok");
    boss.until_end(&foreign).await;
    boss.until_end(&own).await;
    assert!(!ci.runs.contains_key(&foreign) && !ci.chats.contains_key(&foreign), "no event of another's run");
    lab.ok("health", json!({})).await;
    assert!(lab.runs.is_empty() && lab.chats.is_empty());
}

#[tokio::test]
async fn m102_who_reads_hears_of_all_conversations_and_who_is_confined_of_its_own() {
    let mut walled = named("walled", LAB, &["operator.read", "operator.write"]);
    walled["confined"] = json!(true);
    let list = json!([named("ci", CI, &["operator.read", "operator.write"]), walled]);
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "tokens": list } } }));
    let mut boss = Client::connect(&gateway).await;
    boss.script("echo said-by-the-boss").await;
    let (mut ci, mut walled) = (with(&gateway, CI).await, with(&gateway, LAB).await);
    // Conversations belong to the agent: whoever may read reads them, as with other servers of the protocol.
    assert!(ci.ok("chat.history", json!({ "sessionKey": "main" })).await.to_string().contains("said-by-the-boss"));
    assert!(ci.ok("sessions.list", json!({})).await.to_string().contains("agent:main:main"));
    // A confined token has a session of its own, by whatever name it asks for it, and no others.
    let session = walled.hello["snapshot"]["sessionDefaults"]["mainSessionKey"].as_str().unwrap().to_owned();
    assert!(session.contains(":token:") && !session.contains("walled"), "{session}");
    assert!(!walled.hello.to_string().contains(&gateway.state_dir().display().to_string()));
    assert!(!walled.ok("chat.history", json!({ "sessionKey": "main" })).await.to_string().contains("said-by-the-boss"));
    assert_eq!(code(&walled.err("chat.history", json!({ "sessionKey": "agent:main:main" })).await), "NOT_YOURS_TO_CHOOSE");
    for method in ["sessions.list", "config.get", "system-presence", "logs.tail", "exec.approval.list"] {
        assert_eq!(code(&walled.err(method, json!({})).await), "MISSING_SCOPE", "{method}");
    }
    let last = walled.script("pwd; echo mine").await;
    let run = last["payload"]["runId"].as_str().unwrap();
    assert!(walled.runs[run].text().contains("/tokens/"), "{last}");
    assert!(walled.ok("chat.history", json!({})).await.to_string().contains("mine"));
    assert!(boss.ok("sessions.list", json!({})).await.to_string().contains(&session), "the owner sees it");
}

#[tokio::test]
async fn m59_a_token_that_is_taken_back_on_the_command_line_ends_its_connections_within_a_second() {
    let gateway = Gateway::start();
    let cli = |words: &[&str]| {
        let output =
            program(env!("CARGO_BIN_EXE_skykoi-gateway")).args(words).arg("--state-dir").arg(gateway.state_dir()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let first = cli(&["token", "new", "ci", "--scopes", "read,write"]);
    let other = cli(&["token", "new", "lab", "--scopes", "read", "--expires", "1h"]);
    let (mut ci, mut lab) = (with(&gateway, &first).await, with(&gateway, &other).await);
    let (_, run) = ci.agent(json!({ "message": "sleep 1000" })).await;
    ci.until("it runs", |client| client.runs.contains_key(run["runId"].as_str().unwrap())).await;
    let mut seen = Client::connect(&gateway).await;
    let began = Instant::now();
    let second = cli(&["token", "rotate", "ci"]);
    let closed = ci.until_closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "credential revoked"));
    // The command itself is part of this time; what the gateway does begins with its answer. Without the signal the end would come with the next tick, after 30 s.
    assert!(began.elapsed() < Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 5 }), "{:?}", began.elapsed());
    assert_eq!(code(&refused(&gateway, asking(&first, &json!([]))).await), "AUTH_TOKEN_MISMATCH");
    let mut ci = with(&gateway, &second).await;
    assert_eq!(ci.ok("runs.get", json!({ "runId": run["runId"] })).await["status"], "running", "runs go on and stay the name's");
    assert!(cli(&["token", "list"]).contains("ci    read,write  never"));
    cli(&["token", "revoke", "ci"]);
    assert_eq!(ci.until_closed().await.reason, "credential revoked");
    assert_eq!(lab.ok("health", json!({})).await["ok"], true, "another's token stands");
    assert_eq!(seen.ok("health", json!({})).await["ok"], true);
    let config = std::fs::read_to_string(gateway.config_path()).unwrap();
    for secret in [&first, &second, &other] {
        assert!(!config.contains(secret.as_str()) && !gateway.log().contains(secret.as_str()));
    }
}

#[tokio::test]
async fn m59_scopes_that_are_narrowed_end_the_connection_within_a_second_and_nothing_is_served_after() {
    let gateway = Gateway::with(&tokens());
    let mut local = Client::local(&gateway).await;
    let mut ci = with(&gateway, CI).await;
    let narrowed =
        json!([named("ci", CI, &["operator.read"]), named("lab", LAB, &["operator.read"]), named("boss", BOSS, &["operator.admin"])]);
    patch(&mut local, json!({ "gateway": { "auth": { "tokens": narrowed } } })).await;
    let told = Instant::now();
    assert_eq!(ci.until_closed().await.reason, "credential revoked");
    // The second is that of a release build; a debug build beside other tests may be stopped for longer.
    assert!(told.elapsed() < Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 }), "{:?}", told.elapsed());
    assert_eq!(with(&gateway, CI).await.hello["auth"]["scopes"], json!(["operator.read"]));
}

#[tokio::test]
async fn i11_a_token_that_runs_out_ends_its_connection_at_that_moment() {
    let mut gateway = Gateway::prepared(&json!({}));
    // The daemon starts and the client comes within this time, on a busy machine too.
    let ends = now_ms() + 12_000;
    let mut entry = named("ci", CI, &["operator.read"]);
    entry["expiresAt"] = json!(skykoi_gateway::clock::iso(ends));
    let config = crate::live_config::text(&gateway, &json!({ "gateway": { "auth": { "tokens": [entry] } } }));
    gateway.write_config(&config);
    gateway.launch();
    let mut client = with(&gateway, CI).await;
    let closed = client.until_closed().await;
    let late = now_ms().saturating_sub(ends);
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "credential expired"));
    // The second is that of a release build; a debug build beside other tests may be stopped for longer. The next tick would come later still.
    assert!(late < if cfg!(debug_assertions) { 20_000 } else { 1000 }, "{late}");
    assert_eq!(code(&refused(&gateway, asking(CI, &json!([]))).await), "AUTH_TOKEN_MISMATCH");
}

#[tokio::test]
async fn a_password_is_checked_against_its_hash_and_guesses_are_counted_exactly() {
    use std::io::Write;
    let password = "correct horse battery staple";
    let mut child = program(env!("CARGO_BIN_EXE_skykoi-gateway"))
        .args(["token", "password"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let hash = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let limit = json!({ "maxAttempts": 3 });
    let auth = json!({ "mode": "password", "password": hash.trim(), "tokens": [named("ci", CI, &["operator.read"])], "rateLimit": limit });
    let gateway = Gateway::with(&json!({ "gateway": { "auth": auth } }));
    let saying = |text: &str| {
        let mut params = connect_params();
        params["auth"] = json!({ "password": text });
        params
    };
    let mut client = Client::open(gateway.port(), &[]).await;
    client.hello(saying(password)).await.unwrap();
    assert_eq!(client.hello["snapshot"]["authMode"], "password");
    with(&gateway, CI).await;
    // Eight at once: each is a guess, and three are as many as there are.
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (port, params) = (gateway.port(), saying(&format!("correct horse battery stapl{n}")));
        guesses.spawn(async move {
            let mut client = Client::open_from([127, 0, 0, 9], port, &[]).await;
            client.hello(params).await.unwrap_err()["error"]["details"]["code"].as_str().unwrap().to_owned()
        });
    }
    let mut codes = guesses.join_all().await;
    codes.sort();
    assert_eq!(codes.iter().filter(|code| *code == "AUTH_PASSWORD_MISMATCH").count(), 3, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "AUTH_RATE_LIMITED").count(), 5, "{codes:?}");
    assert!(!gateway.log().contains("correct horse"));
}

#[tokio::test]
async fn m61_secrets_that_are_none_refuse_to_start_with_78_and_the_reason() {
    let auth = |auth: Value| json!({ "gateway": { "auth": auth } });
    let twice = json!([named("ci", CI, &["operator.read"]), named("CI", LAB, &["operator.read"])]);
    let table = [
        (auth(json!({ "token": "changeme" })), "gateway.auth.token: is the placeholder"),
        (auth(json!({ "token": "k3J9xQ2mZp" })), "gateway.auth.token: must have at least 16"),
        (auth(json!({ "tokens": [named("ci", "k3J9xQ2mZp", &["operator.read"])] })), "gateway.auth.tokens[0].token: must have at least 32"),
        (auth(json!({ "tokens": [named("ci", CI, &["operator.*"])] })), "gateway.auth.tokens[0].scopes[0]: must be one of"),
        (auth(json!({ "tokens": [named("ci", CI, &[])] })), "gateway.auth.tokens[0].scopes: is empty"),
        (auth(json!({ "tokens": twice })), "gateway.auth.tokens[1].name: is the name of"),
        (auth(json!({ "mode": "password", "password": "$argon2id$nonsense" })), "gateway.auth.password: is no argon2id hash"),
        (auth(json!({ "mode": "none" })), "gateway.auth.mode: must be one of"),
    ];
    for (config, wanted) in table {
        let mut gateway = Gateway::prepared(&config);
        assert_eq!(gateway.try_launch().unwrap_err().code(), Some(78), "{config}");
        assert!(gateway.log().contains(wanted), "{wanted} not in {}", gateway.log());
        assert!(!gateway.log().contains("k3J9xQ2mZp") && !gateway.log().contains(CI));
    }
    let mut gateway = Gateway::prepared(&json!({}));
    std::fs::set_permissions(gateway.config_path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(gateway.try_launch().unwrap_err().code(), Some(78));
    assert!(gateway.log().contains("gateway.auth.token: stands in a file that other users"), "{}", gateway.log());
}

#[tokio::test]
async fn m48_a_lock_outlives_the_daemon_and_no_set_clock_ends_it() {
    let mut gateway = Gateway::prepared(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 3 } } } }));
    let shift = gateway.state_dir().join("shift");
    std::fs::write(&shift, "0").unwrap();
    gateway.env("SKYKOI_CLOCK_SHIFT", shift.to_str().unwrap());
    gateway.launch();
    for _ in 0..3 {
        assert_eq!(code(&refused(&gateway, asking("wrong", &json!([]))).await), "AUTH_TOKEN_MISMATCH");
    }
    let locked = async |gateway: &Gateway| {
        let error = refused(gateway, asking(TOKEN, &json!([]))).await;
        assert_eq!(code(&error), "AUTH_RATE_LIMITED", "{error}");
        error["retryAfterMs"].as_u64().unwrap()
    };
    let before = locked(&gateway).await;
    for off in ["0", "86400000", "-86400000"] {
        std::fs::write(&shift, off).unwrap();
        gateway.kill_and_restart();
        let after = locked(&gateway).await;
        assert!(after <= before && after > before - 60_000, "{off}: {before} {after}");
    }
    Client::open_from([127, 0, 0, 2], gateway.port(), &[]).await.hello(connect_params()).await.unwrap();
    Client::local(&gateway).await.ok("health", json!({})).await;
}

#[tokio::test]
async fn g14_of_two_thousand_guesses_from_one_address_ten_are_looked_at() {
    let gateway = Gateway::start();
    let mut looked_at = 0;
    for n in 0..2000 {
        let mut client = Client::open_from([127, 0, 0, 7], gateway.port(), &[]).await;
        let error = client.hello(asking(&format!("guess-number-{n}-of-many-0123456789"), &json!([]))).await.unwrap_err()["error"].clone();
        looked_at += u32::from(code(&error) == "AUTH_TOKEN_MISMATCH");
        assert!(["AUTH_TOKEN_MISMATCH", "AUTH_RATE_LIMITED"].contains(&code(&error)), "{error}");
    }
    assert_eq!(looked_at, 10);
    Client::connect(&gateway).await;
}

#[tokio::test]
async fn route_census_every_route_has_a_class_and_every_verb_its_answer() {
    use crate::sockets::{Raw, status};
    use skykoi_gateway::transport::http::{Class, ROUTES};
    let gateway = Gateway::start();
    let ask = async |verb: &str, path: &str| {
        let mut raw = Raw::to(&gateway).await;
        let request = format!("{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", raw.port);
        raw.send(request.as_bytes()).await;
        raw.rest().await
    };
    for (path, class) in ROUTES {
        for verb in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = ask(verb, path).await;
            let wanted = match (verb, class) {
                ("GET" | "HEAD", Class::Socket) => 426,
                ("GET" | "HEAD", Class::Live | Class::Started | Class::Ready) => 200,
                _ => 405,
            };
            assert_eq!(status(&answer), wanted, "{verb} {path}: {answer}");
            let lower = answer.to_lowercase();
            assert!(!lower.contains("access-control-") && !answer.contains(TOKEN) && !answer.contains("skykoi.json"), "{answer}");
        }
    }
    for path in ["/nothing", "/ws/", "/health/x", "/api", "/config", "/metrics", "/.env"] {
        for verb in ["GET", "POST", "DELETE", "OPTIONS"] {
            assert_eq!(status(&ask(verb, path).await), 404, "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn m51_headers_that_claim_an_identity_say_nothing() {
    let gateway = Gateway::start();
    let claims = [
        ("X-Forwarded-User", "root"),
        ("X-Remote-User", "root"),
        ("Tailscale-User-Login", "a@b"),
        ("X-Skykoi-Scopes", "operator.admin"),
        ("Cookie", "session=1"),
    ];
    let mut client = Client::open(gateway.port(), &claims).await;
    let mut params = connect_params();
    params["auth"] = json!({});
    assert_eq!(client.hello(params).await.unwrap_err()["error"]["code"], "NOT_PAIRED");
}

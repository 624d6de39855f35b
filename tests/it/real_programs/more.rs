//! What else each of the programs does in a run: shut in, with pictures, with thoughts, with a key of its own.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::scenes::{data, fake, files_with, holding, results, say, words_to_their_end};
use super::{KEY, Real};
use crate::fake_model::{Answer, Fault};
use crate::harness::Client;
use crate::harness::gateway::TOKEN;
use crate::isolation::outside_of_tmp;
use crate::nginx::skip;

/// Two white points, which every decoder of pictures takes.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAC0lEQVR42mP4DwYAFPIF+zepC7kAAAAASUVORK5CYII=";

pub async fn shut_in_it_writes_in_its_folder_alone(real: Real, place: &Path) {
    let outside = outside_of_tmp().join(format!("outside-{}", uuid::Uuid::new_v4().simple()));
    let command = format!("echo in > inside.txt; echo out > '{}'; cat ../skykoi.json; echo tried", outside.display());
    let fake = fake(real, [Answer::say([real.shell("call_1", &command)]), Answer::text("It was refused.")]).await;
    let patch = json!({ "agents": { "defaults": { "sandbox": { "level": "workspace", "network": "on" } } } });
    let mut gateway = real.prepared(&fake, place, &patch);
    if gateway.try_launch().is_err() {
        assert!(gateway.log().contains("cannot be given by this machine"), "{}", gateway.log());
        return skip("this machine cannot shut runs in");
    }
    let mut client = Client::connect(&gateway).await;
    let (last, run) = say(&mut client, "write here and there").await;
    let (status, level) = (&last["payload"]["status"], &last["payload"]["result"]["sandbox"]);
    assert_eq!((status, level), (&json!("ok"), &json!("workspace")), "{last}");
    let run = &client.runs[&run];
    assert_eq!(data(run, "assistant").last().unwrap()["text"], "It was refused.");
    let inside = gateway.state_dir().join("work/inside.txt");
    assert!(inside.exists() && !outside.exists(), "{:?}", results(run));
    assert!(run.text().contains("tried") && !run.text().contains(TOKEN), "{:?}", run.events);
}

pub async fn its_model_sees_a_picture(real: Real, place: &Path) {
    let fake = fake(real, [Answer::text("Two white points.")]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let picture = json!({ "type": "image", "mimeType": "image/png", "fileName": "points.png", "content": PNG });
    let (id, _) = client.agent(json!({ "message": "MAIN what is this", "attachments": [picture] })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let seen = fake.seen();
    let asked: Vec<&str> = seen.iter().map(|seen| seen.text.as_str()).filter(|text| text.contains("what is this")).collect();
    let bytes = STANDARD.decode(PNG).unwrap();
    let start = STANDARD.encode(&bytes[..24]);
    assert!(asked.iter().any(|text| text.contains(&start)), "no picture in {asked:?}");
}

pub async fn its_model_thinks_as_much_as_a_person_says(real: Real, place: &Path) {
    let fake = fake(real, [Answer::text("I thought."), Answer::text("I did not.")]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let mut levels = Vec::new();
    for level in ["high", "low"] {
        let before = fake.seen().len();
        let (id, _) = client.agent(json!({ "message": "MAIN think", "thinking": level })).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "ok", "{last}");
        let seen = fake.seen();
        let asked = seen[before..].iter().find(|seen| seen.text.contains("MAIN think")).unwrap();
        levels.push(real.thinks(&asked.body));
    }
    assert!(levels.iter().all(|level| !level.is_null()) && levels[0] != levels[1], "{levels:?}");
}

pub async fn words_come_from_the_model_that_is_chosen(real: Real, place: &Path) {
    let words = "Some words that come one after the other.";
    let (fake, run) = words_to_their_end(real, place, words).await;
    let seen = fake.seen();
    assert!(seen.iter().all(|seen| seen.path.contains("/gemini-2.5-pro:") && seen.header("x-goog-api-key") == Some(KEY)), "{seen:?}");
    let warnings: Vec<_> = data(&run, "lifecycle").into_iter().filter(|data| data["phase"] == "warning").collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

pub async fn at_amazon_words_come_as_they_are_said_and_no_key_is_in_the_run(real: Real, place: &Path) {
    const SECRET: &str = "canary-aws-secret-40417";
    const TOKEN: &str = "canary-aws-token-40418";
    let words = "Some words that come one after the other, and then none for a while.";
    let held = Answer { pause_ms: 20, ..Answer::text(words) }.faulty(8, Fault::Stall);
    let fake = fake(real, [held, Answer { pause_ms: 20, ..Answer::text(words) }]).await;
    fake.know("AKIDEXAMPLE", SECRET);
    let id = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let mut patch = json!({ "models": { "providers": { "amazon-bedrock": { "baseUrl": fake.url() } } } });
    patch["runners"][real.runner()] = json!({ "provider": "amazon-bedrock", "model": id });
    if real == Real::Opencode {
        // It knows where the model is by its own settings alone.
        let model = json!({ "name": "fake", "limit": { "context": 100_000, "output": 4000 }, "tool_call": true });
        let provider = json!({ "options": { "endpoint": "{env:SKYKOI_MODEL_URL}" }, "models": { id: model } });
        let full = format!("amazon-bedrock/{id}");
        let settings = json!({ "provider": { "amazon-bedrock": provider }, "model": full, "small_model": full, "autoupdate": false });
        patch["runners"]["acp"] = json!({ "provider": "amazon-bedrock", "env": { "OPENCODE_CONFIG_CONTENT": settings.to_string() } });
    }
    let mut gateway = real.prepared(&fake, place, &patch);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("AWS_REGION", "eu-central-1"),
    ] {
        gateway.env(name, value);
    }
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (request, ack) = client.agent(json!({ "message": "MAIN say something" })).await;
    let run = ack["runId"].as_str().unwrap().to_owned();
    client.until("words come", |client| client.runs.get(&run).is_some_and(|run| !data(run, "assistant").is_empty())).await;
    for secret in [SECRET, TOKEN] {
        assert_eq!(holding(&gateway, secret), Vec::<String>::new(), "the credentials");
        assert_eq!(files_with(gateway.state_dir(), secret), Vec::<String>::new());
    }
    assert!(!holding(&gateway, "SKYKOI_MODEL_KEY=").is_empty(), "the key of the run");
    client.ok("runs.abort", json!({ "runId": run })).await;
    assert_eq!(client.response(&request).await["payload"]["status"], "aborted");

    // And to its end.
    let (last, run) = say(&mut client, "say something").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let texts = data(&client.runs[&run], "assistant");
    assert!(texts.len() > 1 && texts.last().unwrap()["text"] == words, "{texts:?}");
    let seen = fake.seen();
    let asked = |seen: &&crate::fake_model::Seen| seen.text.contains("say something") && seen.path.ends_with("-stream");
    assert!(seen.iter().filter(asked).count() >= 2);
    assert!(seen.iter().filter(asked).all(|seen| seen.path.contains("/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/")), "{seen:?}");
    for seen in seen {
        assert_eq!(
            (seen.signature.as_deref(), seen.header("x-amz-security-token")),
            (Some(""), Some(TOKEN)),
            "{} {}",
            seen.method,
            seen.path
        );
    }
}

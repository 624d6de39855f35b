//! `result.meta` of a final: who answered, how long it took and what it used, the same whenever somebody asks.

use serde_json::{Value, json};

use super::{fake, gateway, say, transcript};
use crate::fake_model::{Answer, Fault};
use crate::harness::Client;

fn meta_of(last: &Value) -> Value {
    last["payload"]["result"]["meta"].clone()
}

#[tokio::test]
async fn a_final_says_who_answered_and_what_it_used_also_after_a_restart() {
    let mut answer = Answer::text("Hello.");
    (answer.input, answer.output) = (1000, 200);
    let fake = fake([answer]).await;
    let mut gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "hello").await;
    let (meta, result) = (meta_of(&last), last["payload"]["result"].clone());
    let row = client.ok("sessions.list", json!({})).await["sessions"][0].clone();
    let usage = json!({ "input": 1000, "output": 200, "cacheRead": 0, "cacheWrite": 0, "total": 1200 });
    assert_eq!(
        meta["agentMeta"],
        json!({ "sessionId": row["sessionId"], "provider": "fake", "model": "mind-1", "usage": usage }),
        "{last}"
    );
    assert_eq!((&meta["durationMs"], &meta["stopReason"]), (&result["durationMs"], &json!("stop")));
    assert_eq!((meta.get("aborted"), meta.get("error")), (None, None));
    let run = last["payload"]["runId"].clone();
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    let waited = client.ok("agent.wait", json!({ "runId": run })).await;
    assert_eq!(waited["outcome"], result);
}

#[tokio::test]
async fn the_model_that_answered_is_the_one_that_is_named_and_paid() {
    let mut answer = Answer::text("I stand in.");
    (answer.input, answer.output) = (1000, 200);
    let fake = fake([Answer::error(404, "not_found_error", "no such model"), answer]).await;
    let model = json!({ "primary": "fake/mind-1", "fallbacks": ["fake/mind-2"] });
    let gateway = gateway(&fake, &json!({ "agents": { "defaults": { "model": model } } }));
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "hello").await;
    assert_eq!(meta_of(&last)["agentMeta"]["model"], "mind-2", "{last}");
    let answer = transcript(&gateway).pop().unwrap();
    assert_eq!((&answer["model"], &answer["usage"]["cost"]["total"]), (&json!("mind-2"), &json!(0.0)), "{answer}");
    assert_eq!(last["payload"]["result"]["usage"]["cost"]["total"], 0.0, "the price of the first one is not asked for: {last}");
}

#[tokio::test]
async fn a_final_of_a_failure_and_of_an_abort_says_so_in_its_meta() {
    let fake = fake([Answer::error(401, "authentication_error", "invalid x-api-key")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let failed = meta_of(&say(&mut client, "hello").await);
    assert_eq!((&failed["error"]["kind"], failed["agentMeta"].get("model")), (&json!("model_auth"), None), "{failed}");
    assert!(failed["agentMeta"]["sessionId"].is_string() && failed["error"]["message"].is_string(), "{failed}");
    fake.push([Answer::text(&"Much to say. ".repeat(50)).faulty(12, Fault::Stall)]);
    let (id, ack) = client.agent(json!({ "message": "tell" })).await;
    let run = ack["runId"].as_str().unwrap().to_owned();
    client.until("some words", |client| client.runs.get(&run).is_some_and(|run| !run.events.is_empty())).await;
    client.ok("runs.abort", json!({ "runId": run })).await;
    let aborted = meta_of(&client.response(&id).await);
    assert_eq!((&aborted["aborted"], aborted.get("error")), (&json!(true), None), "{aborted}");
}

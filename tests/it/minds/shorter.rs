//! What the configuration says of requests to models and of what grows: fields of requests, old results that are left out, sessions of sub-agents that go.

use serde_json::{Value, json};

use super::{fake, gateway, gateway_in, result_of, say, transcript};
use crate::fake_model::{Answer, Say};
use crate::harness::Client;

#[tokio::test]
async fn fields_of_the_configuration_are_in_each_request_in_its_language() {
    let params = json!({ "temperature": 0.25, "topP": 0.5, "maxTokens": 700, "seed": 7 });
    let patch = json!({ "agents": { "defaults": { "models": { "fake/mind-1": { "params": params } } } } });
    for (api, bound) in [("anthropic-messages", "max_tokens"), ("openai-completions", "max_tokens")] {
        let fake = fake([Answer::text("Hello.")]).await;
        let gateway = gateway_in(&fake, api, &patch);
        let mut client = Client::connect(&gateway).await;
        assert_eq!(say(&mut client, "hello").await["payload"]["status"], "ok");
        let body = fake.seen()[0].body.clone();
        let fields = ["temperature", "top_p", "seed", bound].map(|name| body[name].clone());
        assert_eq!(fields, [json!(0.25), json!(0.5), json!(7), json!(700)], "{api}");
    }
}

#[tokio::test]
async fn old_results_are_shortened_for_the_model_and_whole_in_the_transcript() {
    let command = json!({ "command": "head -c 3000 /dev/zero | tr '\\0' x" });
    let fake = fake([Answer::say([Say::Tool("t".into(), "exec".into(), command)]), Answer::text("done"), Answer::text("again")]).await;
    let pruning = json!({
        "mode": "cache-ttl", "ttl": "1ms", "keepLastAssistants": 1, "softTrimRatio": 0,
        "softTrim": { "maxChars": 500, "headChars": 20, "tailChars": 10 },
    });
    let gateway = gateway(&fake, &json!({ "agents": { "defaults": { "contextPruning": pruning } } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "print").await["payload"]["status"], "ok");
    assert!(result_of(&fake, "t").contains(&"x".repeat(3000)), "the newest result is whole");
    assert_eq!(say(&mut client, "again").await["payload"]["status"], "ok");
    let sent = result_of(&fake, "t");
    assert!(sent.contains("[Tool result trimmed: kept first 20 chars and last 10 chars") && sent.len() < 400, "{sent}");
    let result = transcript(&gateway).into_iter().find(|message| message["role"] == "toolResult").unwrap();
    assert!(result.to_string().contains(&"x".repeat(3000)));
}

#[tokio::test]
async fn the_session_of_a_sub_agent_goes_when_its_time_has_come_and_its_words_are_kept() {
    let when = |text: &str, says: &str| Answer { when: Some(text.to_owned()), ..Answer::text(says) };
    let spawn = Say::Tool("spawn".into(), "sessions_spawn".into(), json!({ "task": "Count the apples" }));
    let fake = fake([
        when("You are a sub-agent", "There are seven apples."),
        when("[Sub-agent ", "Seven, says my helper."),
        Answer::say([spawn]),
        Answer::text("It is on its way."),
    ])
    .await;
    let mut gateway = gateway(&fake, &json!({ "agents": { "defaults": { "subagents": { "archiveAfterMinutes": 30 } } } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "have the apples counted").await["payload"]["status"], "ok");
    let reported = |client: &Client| {
        client.chats.values().filter_map(|chat| chat.last.as_ref()).any(|last| crate::harness::model::said(last).contains("says my helper"))
    };
    client.until("the report is answered", reported).await;
    let of_parent = async |client: &mut Client| -> Vec<Value> {
        let rows = client.ok("sessions.list", json!({ "spawnedBy": "agent:main:main" })).await;
        rows["sessions"].as_array().unwrap().clone()
    };
    let before = of_parent(&mut client).await;
    assert_eq!(before.len(), 1);
    let id = before[0]["sessionId"].as_str().unwrap().to_owned();
    // Half an hour and a minute later.
    gateway.kill();
    let file = gateway.state_dir().join("clock");
    std::fs::write(&file, (31 * 60_000).to_string()).unwrap();
    gateway.env("SKYKOI_CLOCK_SHIFT", file.to_str().unwrap());
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    while !of_parent(&mut client).await.is_empty() {}
    let folder = gateway.state_dir().join("agents/main/sessions");
    let put_away = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.into_iter().any(|name| name.starts_with(&id) && name.contains(".deleted."))
    };
    crate::shim::until("its transcript is put away", put_away).await;
    let main = client.ok("sessions.list", json!({})).await;
    assert!(main["sessions"].as_array().unwrap().iter().any(|row| row["key"] == "agent:main:main"), "{main}");
}

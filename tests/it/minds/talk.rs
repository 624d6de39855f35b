//! Talk: text that streams, a conversation that goes on, what it cost, commands of the chat, which models and runners there are.

use serde_json::{Value, json};

use super::{KEY, fake, gateway, gateway_in, hurried, say, shape, told, transcript, worker};
use crate::fake_model::{Answer, Say};
use crate::harness::Client;
use crate::harness::model::said;

#[tokio::test]
async fn an_answer_streams_into_the_chat_and_stands_in_the_transcript_with_what_it_cost() {
    let long = "All is well on this machine. ".repeat(20);
    let mut slow = Answer::say([Say::Thinking("Let me see.".into(), "seal-1".into()), Say::Text(long.clone())]);
    (slow.hold, slow.input, slow.output) = (vec![20, 40], 1000, 200);
    let fake = fake([slow]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let sent = client.ok("chat.send", json!({ "sessionKey": "main", "message": "How are you?", "idempotencyKey": "k1" })).await;
    assert_eq!(sent["status"], "started");
    // It says more when what it said is shown: a busy machine would else show it all at once.
    for shown in 1..=2 {
        client.until("some words", |client| client.chats.get("k1").is_some_and(|chat| chat.deltas >= shown)).await;
        fake.go_on();
    }
    let last = client.until_said("k1").await;
    assert_eq!((last["state"].as_str(), said(&last)), (Some("final"), long.trim_end()));
    assert!(client.chats["k1"].deltas > 1, "{}", client.chats["k1"].deltas);
    let streams: Vec<&str> = client.runs["k1"].events.values().filter_map(|event| event["stream"].as_str()).collect();
    assert!(streams.contains(&"assistant") && streams.contains(&"thinking") && streams.contains(&"message"), "{streams:?}");
    assert!(!streams.contains(&"exec"));

    let messages = transcript(&gateway);
    assert_eq!(shape(&messages), ["user:text", "assistant:thinking,text"]);
    let answer = &messages[1];
    assert_eq!((&answer["provider"], &answer["model"], &answer["stopReason"]), (&json!("fake"), &json!("mind-1"), &json!("stop")));
    assert_eq!((&answer["content"][0]["thinkingSignature"], &answer["usage"]["input"]), (&json!("seal-1"), &json!(1000)));
    let total = answer["usage"]["cost"]["total"].as_f64().unwrap();
    assert!((total - 0.006).abs() < 1e-9, "{total}");

    let outcome = client.ok("runs.get", json!({ "runId": "k1" })).await["outcome"].clone();
    assert_eq!((&outcome["status"], &outcome["usage"]["input"], &outcome["usage"]["output"]), (&json!("ok"), &json!(1000), &json!(200)));
    assert_eq!(outcome["payloads"], json!([{ "text": long }]));
    // It may have been yesterday.
    let cost = client.ok("usage.cost", json!({ "days": 2 })).await;
    assert_eq!((&cost["totals"]["input"], &cost["totals"]["totalTokens"]), (&json!(1000), &json!(1200)));
    assert!((cost["totals"]["totalCost"].as_f64().unwrap() - 0.006).abs() < 1e-9, "{cost}");
    let of_sessions = client.ok("sessions.usage", json!({})).await;
    assert_eq!(of_sessions["sessions"][0]["usage"]["output"], 200, "{of_sessions}");
    client.ok("sessions.list", json!({})).await;
    let rows = client.ok("sessions.list", json!({})).await;
    let row = &rows["sessions"][0];
    assert_eq!(
        (&row["inputTokens"], &row["outputTokens"], &row["totalTokens"], &row["model"]),
        (&json!(1000), &json!(200), &json!(1200), &json!("mind-1"))
    );
}

#[tokio::test]
async fn the_next_turn_knows_the_one_before_in_each_language() {
    for api in ["anthropic-messages", "openai-completions"] {
        let fake = fake([Answer::text("You are Ann."), Answer::text("Ann, as you said.")]).await;
        let gateway = gateway_in(&fake, api, &json!({}));
        let mut client = Client::connect(&gateway).await;
        assert_eq!(say(&mut client, "I am Ann").await["payload"]["status"], "ok");
        let last = say(&mut client, "Who am I?").await;
        assert_eq!(last["payload"]["status"], "ok", "{last}");
        let seen = fake.seen();
        let texts = seen[1].text.clone();
        let at = |text: &str| texts.find(text).unwrap_or_else(|| panic!("{text} is not in {texts}"));
        assert!(at("I am Ann") < at("You are Ann.") && at("You are Ann.") < at("Who am I?"), "{api}");
        let sent = if api == "openai-completions" { "authorization" } else { "x-api-key" };
        assert!(seen[1].header(sent).is_some_and(|value| value.ends_with(KEY)), "{api}");
        assert_eq!(shape(&transcript(&gateway)), ["user:text", "assistant:text", "user:text", "assistant:text"]);
    }
}

#[tokio::test]
async fn a_session_chooses_its_model_and_level_and_a_fallback_answers_for_one_that_cannot() {
    let fake = fake(["one", "two", "three", "four"].map(Answer::text)).await;
    let gateway =
        gateway(&fake, &json!({ "agents": { "defaults": { "models": { "fake/mind-1": { "alias": "big" }, "fake/mind-2": {} } } } }));
    let mut client = Client::connect(&gateway).await;
    let told = async |client: &mut Client, key: &str, message: &str| {
        client.ok("chat.send", json!({ "sessionKey": "main", "message": message, "idempotencyKey": key })).await;
        said(&client.until_said(key).await).to_owned()
    };
    let models = told(&mut client, "a", "/models").await;
    assert!(models.contains("fake/mind-1") && models.contains("fake/mind-2"), "{models}");
    assert_eq!(told(&mut client, "b", "/model fake/mind-2").await, "Model set to fake/mind-2.");
    assert_eq!(told(&mut client, "c", "/think high").await, "Thinking level set to high.");
    assert_eq!(told(&mut client, "d", "hello").await, "one");
    assert_eq!(fake.seen()[0].body["model"], "mind-2");
    assert_eq!(told(&mut client, "e", "/model default").await, "The session uses the agent's model.");
    assert_eq!(told(&mut client, "f", "hello").await, "two");
    let body = fake.seen()[1].body.clone();
    assert_eq!(body["model"], "mind-1");
    assert!(body["thinking"].is_object(), "{body}");
    let usage = told(&mut client, "g", "/usage").await;
    assert!(usage.contains("40 tokens read, 20 written"), "{usage}");
    assert_eq!(told(&mut client, "h", "/usage full").await, "Usage line set to full.");
    let answer = told(&mut client, "i", "hello").await;
    assert!(answer.starts_with("three\n\nUsage: 20 tokens read, 10 written; 0 from the cache"), "{answer}");
    assert!(!transcript(&gateway).iter().any(|row| row.to_string().contains("Usage: ")), "models must not read it");
    told(&mut client, "j", "/usage off").await;
    assert_eq!(told(&mut client, "k", "hello").await, "four");
}

#[tokio::test]
async fn a_session_says_how_much_is_told_of_tools() {
    let call = Answer::say([Say::Tool("t".into(), "exec".into(), json!({ "command": "echo told" }))]);
    let fake = fake([call, Answer::text("a")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    for word in ["on", "full"] {
        client.ok("chat.send", json!({ "sessionKey": "main", "message": format!("/verbose {word}"), "idempotencyKey": word })).await;
        assert_eq!(said(&client.until_said(word).await), format!("Verbosity set to {word}."));
        assert_eq!(client.ok("sessions.list", json!({})).await["sessions"][0]["verboseLevel"], word);
    }
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "go", "idempotencyKey": "run" })).await;
    client.until_said("run").await;
    let tools = client.runs["run"].events.values().filter(|event| event["stream"] == "tool" && event["data"]["phase"] == "result");
    let results: Vec<&Value> = tools.map(|event| &event["data"]["result"]).collect();
    assert!(matches!(results[..], [result] if result.as_str().is_some_and(|text| text.contains("told"))), "{results:?}");
}

#[tokio::test]
async fn a_wish_to_compact_puts_a_summary_in_the_place_of_the_conversation() {
    let fake = fake([Answer::text("Noted: blue."), Answer::text("THE SUMMARY"), Answer::text("Blue.")]).await;
    let gateway = gateway(&fake, &json!({ "agents": { "defaults": { "compaction": { "memoryFlush": { "enabled": false } } } } }));
    let mut client = Client::connect(&gateway).await;
    let told = async |client: &mut Client, key: &str, message: &str| {
        client.ok("chat.send", json!({ "sessionKey": "main", "message": message, "idempotencyKey": key })).await;
        client.until_said(key).await
    };
    told(&mut client, "a", "My colour is blue").await;
    let last = told(&mut client, "b", "/compact the colours").await;
    assert_eq!(last["state"], "final", "{last}");
    assert!(fake.seen()[1].text.contains("the colours"), "what the summary is to look after is asked for");
    assert_eq!(said(&told(&mut client, "c", "Which colour?").await), "Blue.");
    let sent = fake.seen()[2].text.clone();
    assert!(sent.contains("THE SUMMARY") && !sent.contains("My colour is blue"), "{sent}");
}

#[tokio::test]
async fn runners_and_their_lacks_are_listed_and_a_runner_that_is_not_there_refuses_its_run_only() {
    let fake = fake([]).await;
    let list = json!([{ "id": "main", "runner": "shell" }, { "id": "mind" }, { "id": "lost", "model": "nowhere/m" }, { "id": "stranger", "runner": "acp" }]);
    let gateway = gateway(&fake, &json!({ "agents": { "list": list } }));
    let mut client = Client::connect(&gateway).await;
    let rows = client.ok("runners.list", json!({})).await;
    let row =
        |name: &str| rows["runners"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{rows}")).clone();
    assert_eq!((&row("shell")["available"], &row("shell")["agents"]), (&json!(true), &json!(["main"])));
    assert_eq!(
        (&row("agent")["available"], &row("agent")["authenticated"], &row("agent")["agents"]),
        (&json!(true), &json!(true), &json!(["mind", "lost"]))
    );
    for name in ["codex", "claude", "pi", "acp"] {
        assert!(row(name)["available"] == true || row(name)["reason"].is_string(), "{name}");
    }
    assert_eq!(client.ok("status", json!({})).await["runners"], rows["runners"]);
    let (id, _) = client.agent(json!({ "message": "hi", "agentId": "lost" })).await;
    let lost = client.response(&id).await;
    assert_eq!((&lost["ok"], &lost["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    assert!(lost["error"]["message"].as_str().unwrap().contains("models.providers.nowhere"), "{lost}");
    if row("acp")["available"] == false {
        let (id, _) = client.agent(json!({ "message": "hi", "agentId": "stranger" })).await;
        assert_eq!(client.response(&id).await["error"]["code"], "UNAVAILABLE");
    }
    assert_eq!(client.script("echo fine").await["payload"]["status"], "ok");
    let _: Value = rows;
}

#[tokio::test]
async fn what_is_said_to_an_agent_at_work_is_answered_in_its_turn() {
    let fake = fake(worker(Answer::text("I hurry."))).await;
    let gateway = gateway(&fake, &json!({ "messages": { "queue": { "mode": "steer" } } }));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "work", "idempotencyKey": "a" })).await;
    client.until("some words", |client| client.chats.get("a").is_some_and(|chat| chat.deltas > 0)).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "hurry", "idempotencyKey": "b" })).await;
    let (first, second) = (client.until_said("a").await, client.until_said("b").await);
    assert!(first["state"] == "final" && crate::harness::model::said(&first).ends_with("I hurry."), "{first}");
    assert_eq!(second["mergedInto"], "a", "{second}");
    assert_eq!(hurried(&fake), 1);
    assert!(fake.seen().last().unwrap().text.contains("hurry"), "it was its last request");
    assert_eq!(told(&transcript(&gateway)), ["user:text", "user:text", "assistant:text"]);
}

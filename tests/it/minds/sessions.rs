//! Sessions and sub-agents: what an agent sees of others, what it says there, and what it starts.

use serde_json::{Value, json};

use super::{fake, gateway, result_of, say};
use crate::fake_model::{Answer, FakeModel, Fault, Say};
use crate::harness::Client;
use crate::harness::model::said;

fn uses(id: &str, tool: &str, args: Value) -> Answer {
    Answer::say([Say::Tool(id.to_owned(), tool.to_owned(), args)])
}

async fn chat(client: &mut Client, session: &str, key: &str, message: &str) -> Value {
    client.ok("chat.send", json!({ "sessionKey": session, "message": message, "idempotencyKey": key })).await;
    client.until_said(key).await
}

/// A result that is JSON.
fn json_of(fake: &FakeModel, call: &str) -> Value {
    let content: Value = serde_json::from_str(&result_of(fake, call)).unwrap();
    let text = content[0]["text"].as_str().or_else(|| content.as_str()).unwrap().to_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

/// What a sub-agent and the turn that hears of it are answered: they and the parent ask side by side.
fn apples() -> [Answer; 2] {
    let when = |text: &str, says: &str| Answer { when: Some(text.to_owned()), ..Answer::text(says) };
    [when("You are a sub-agent", "There are seven apples."), when("[Sub-agent ", "Seven, says my helper.")]
}

/// The runs of sessions that are kept, newest first.
async fn runs(client: &mut Client) -> Vec<Value> {
    client.ok("runs.list", json!({})).await["runs"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_agent_lists_reads_and_talks_in_its_own_sessions_and_not_in_those_of_others() {
    let steps = [
        Answer::text("Blue it is."),
        Answer::text("I am the other."),
        uses("list", "sessions_list", json!({})),
        uses("own", "sessions_history", json!({ "sessionKey": "colours" })),
        uses("strange", "sessions_history", json!({ "sessionKey": "agent:other:main" })),
        uses("send", "sessions_send", json!({ "sessionKey": "colours", "message": "Which colour?" })),
        Answer::text("It is blue."),
        uses("self", "sessions_send", json!({ "sessionKey": "main", "message": "me?" })),
        uses("nobody", "sessions_send", json!({ "sessionKey": "agent:other:main", "message": "you?" })),
        Answer::text("done"),
    ];
    let fake = fake(steps).await;
    let gateway = gateway(&fake, &json!({ "agents": { "list": [{ "id": "main" }, { "id": "other" }] } }));
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "colours", "a", "My colour is blue").await;
    chat(&mut client, "agent:other:main", "b", "who are you?").await;
    assert_eq!(said(&chat(&mut client, "main", "c", "look around").await), "done");
    let list = json_of(&fake, "list");
    let keys: Vec<&str> = list["sessions"].as_array().unwrap().iter().map(|row| row["sessionKey"].as_str().unwrap()).collect();
    assert!(keys.contains(&"agent:main:colours") && !keys.iter().any(|key| key.starts_with("agent:other")), "{list}");
    let own = result_of(&fake, "own");
    assert!(own.contains("user: My colour is blue") && own.contains("assistant: Blue it is."), "{own}");
    for call in ["strange", "nobody"] {
        assert!(result_of(&fake, call).contains("that you may see"), "{}", result_of(&fake, call));
    }
    assert!(result_of(&fake, "self").contains("That is this session"));
    let sent = json_of(&fake, "send");
    assert_eq!((&sent["status"], &sent["reply"]), (&json!("ok"), &json!("It is blue.")), "{sent}");
    let asked = fake.seen().into_iter().find(|seen| seen.text.contains("Which colour?")).unwrap().text;
    assert!(asked.contains("Message from the agent main") && asked.contains("Blue it is."), "{asked}");
}

#[tokio::test]
async fn agents_that_may_talk_with_each_other_do_and_an_answer_that_takes_too_long_is_not_waited_for() {
    // It has no end, and who waits for it may go on before it begins.
    let endless = Answer::text(&"So much to say. ".repeat(60)).faulty(20, Fault::Stall);
    let steps = [
        Answer { when: Some("[Message from the agent main".to_owned()), ..endless },
        Answer { when: Some("tool_result".to_owned()), ..Answer::text("done") },
        Answer::text("I am the other."),
        uses("send", "sessions_send", json!({ "sessionKey": "agent:other:main", "message": "Well?", "timeoutSeconds": 1 })),
    ];
    let fake = fake(steps).await;
    let config = json!({ "agents": { "list": [{ "id": "main" }, { "id": "other" }] }, "tools": { "agentToAgent": { "enabled": true } } });
    let gateway = gateway(&fake, &config);
    let mut client = Client::connect(&gateway).await;
    chat(&mut client, "agent:other:main", "a", "who are you?").await;
    assert_eq!(said(&chat(&mut client, "main", "b", "ask it").await), "done");
    assert_eq!(json_of_any(&fake, "send")["status"], "timeout");
}

#[tokio::test]
async fn a_sub_agent_works_beside_its_parent_and_its_result_comes_as_a_turn() {
    let [child, report] = apples();
    let spawn = uses("spawn", "sessions_spawn", json!({ "task": "Count the apples", "label": "counter" }));
    let fake = fake([child, report, spawn, Answer::text("It is on its way.")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(said(&chat(&mut client, "main", "a", "have the apples counted").await), "It is on its way.");
    let spawned = json_of_any(&fake, "spawn");
    let child = spawned["childSessionKey"].as_str().unwrap().to_owned();
    assert!(spawned["status"] == "accepted" && child.starts_with("agent:main:subagent:"), "{spawned}");
    client
        .until("the report is answered", |client| {
            client.chats.values().filter_map(|chat| chat.last.as_ref()).any(|last| said(last).contains("says my helper"))
        })
        .await;
    let rows = client.ok("sessions.list", json!({ "spawnedBy": "agent:main:main" })).await;
    assert_eq!((&rows["sessions"][0]["key"], &rows["sessions"][0]["label"]), (&json!(child), &json!("counter")), "{rows}");
    let child_request = fake.seen().into_iter().find(|seen| seen.text.contains("You are a sub-agent")).unwrap();
    assert!(!child_request.text.contains("sessions_spawn"), "a sub-agent starts none");
    let runs = runs(&mut client).await;
    assert_eq!(runs.len(), 3, "{runs:?}");
}

/// As [`json_of`], in whatever request has it.
fn json_of_any(fake: &FakeModel, call: &str) -> Value {
    let seen = fake.seen();
    let blocks = seen
        .iter()
        .flat_map(|seen| seen.body["messages"].as_array().cloned().unwrap_or_default())
        .flat_map(|message| message["content"].as_array().cloned().unwrap_or_default());
    let found = blocks.into_iter().find(|block| block["type"] == "tool_result" && block["tool_use_id"] == call).unwrap();
    let text = found["content"][0]["text"].as_str().unwrap().to_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn a_sub_agent_that_was_asked_for_is_started_once_whatever_happens_to_the_daemon() {
    let [child, report] = apples();
    let fake = fake([
        child,
        report,
        uses("first", "exec", json!({ "command": "touch began; while [ ! -e go ]; do sleep 0.02; done" })),
        uses("spawn", "sessions_spawn", json!({ "task": "Count the apples" })),
    ])
    .await;
    let mut gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("chat.send", json!({ "sessionKey": "main", "message": "go", "idempotencyKey": "a" })).await;
    crate::shim::until("the command runs", || gateway.state_dir().join("work/began").exists()).await;
    // The errand is sent while there is no daemon, and waits for the next one.
    gateway.kill();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    fake.until_seen(2).await;
    fake.push([Answer::text("It is on its way.")]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ok("agent.wait", json!({ "runId": "a", "timeoutMs": 30_000 })).await["status"], "ok");
    crate::shim::until("the report was answered", || fake.seen().iter().any(|seen| seen.text.contains("[Sub-agent"))).await;
    let children = fake.seen().iter().filter(|seen| seen.text.contains("You are a sub-agent")).count();
    assert_eq!((children, runs(&mut client).await.len()), (1, 3));
}

#[tokio::test]
async fn what_may_be_started_is_what_the_configuration_says() {
    let steps = [
        uses("agents", "agents_list", json!({})),
        uses("closed", "sessions_spawn", json!({ "task": "x", "agentId": "closed" })),
        uses("nobody", "sessions_spawn", json!({ "task": "x", "agentId": "nobody" })),
        uses("empty", "sessions_spawn", json!({ "task": " " })),
        Answer::text("done"),
    ];
    let fake = fake(steps).await;
    let list = json!([{ "id": "main", "subagents": { "allowAgents": ["open"] } }, { "id": "open" }, { "id": "closed" }]);
    let gateway = gateway(&fake, &json!({ "agents": { "list": list } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "look").await["payload"]["status"], "ok");
    let agents = json_of(&fake, "agents");
    let ids: Vec<&str> = agents["agents"].as_array().unwrap().iter().map(|row| row["agentId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["main", "open"]);
    for call in ["closed", "nobody"] {
        assert!(result_of(&fake, call).contains("may not be started"), "{}", result_of(&fake, call));
    }
    assert!(result_of(&fake, "empty").contains("task is empty"));
    assert_eq!(runs(&mut client).await.len(), 1);
}

#[tokio::test]
async fn what_the_system_noted_is_told_with_the_next_turn_and_once() {
    let fake = fake([Answer::text("one"), Answer::text("two")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    client.ok("wake", json!({ "mode": "next-heartbeat", "text": "The disk is nearly full" })).await;
    chat(&mut client, "main", "a", "hello").await;
    chat(&mut client, "main", "b", "again").await;
    let told: Vec<bool> = fake.seen().iter().map(|seen| seen.text.contains("The disk is nearly full")).collect();
    assert_eq!(told, [true, false]);
}

#[tokio::test]
async fn a_user_of_a_portal_has_no_tools_for_sessions() {
    let fake = fake([uses("list", "sessions_list", json!({})), Answer::text("none")]).await;
    let gateway = gateway(&fake, &crate::portals::config());
    let mut ann = crate::portals::user(&gateway, &crate::portals::of("ann")).await;
    let last = say(&mut ann, "look").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert!(result_of(&fake, "list").contains("no tool named sessions_list"), "{}", result_of(&fake, "list"));
}

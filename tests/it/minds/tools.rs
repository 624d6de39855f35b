//! Tools: each command of a model goes through the gate of the daemon, whatever the rules are.

use serde_json::{Value, json};

use super::{fake, gateway, result_of, say, shape, transcript};
use crate::fake_model::{Answer, FakeModel, Say};
use crate::harness::approver::{approver, asked, commands_in_audit};
use crate::harness::{Client, Gateway};

fn exec(id: &str, command: &str) -> Say {
    Say::Tool(id.to_owned(), "exec".to_owned(), json!({ "command": command }))
}

fn ran(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap_or_default()
}

async fn asking(answers: impl IntoIterator<Item = Answer>, approvals: &Value) -> (FakeModel, Gateway) {
    let fake = fake(answers).await;
    let gateway = gateway(&fake, &json!({ "exec": { "security": "full", "ask": "always" }, "approvals": { "exec": approvals } }));
    (fake, gateway)
}

#[tokio::test]
async fn commands_of_one_message_run_and_their_results_go_back_one_each() {
    let first = Answer::say([
        Say::Thinking("I look.".into(), "seal".into()),
        Say::Text("I look.".into()),
        exec("t1", "echo one; echo err >&2; exit 3"),
        exec("t2", "echo two"),
    ]);
    let fake = fake([first, Answer::text("One and two.")]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "look", "thinking": "low" })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let run = &client.runs[ack["runId"].as_str().unwrap()];
    assert!(run.text().contains("one\n") && run.text().contains("two\n"), "{}", run.text());
    let results: Vec<&Value> = run
        .events
        .values()
        .filter(|event| event["stream"] == "tool" && event["data"]["phase"] == "result")
        .map(|event| &event["data"])
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().any(|result| result["toolCallId"] == "t1" && result["exitCode"] == 3));
    assert!(result_of(&fake, "t1").contains("one") && result_of(&fake, "t1").contains("err"), "{}", result_of(&fake, "t1"));
    assert!(result_of(&fake, "t2").contains("two"));
    assert_eq!(fake.seen()[1].body["messages"][1]["content"][0]["signature"], "seal", "sealed thoughts go back in the turn of their tools");
    assert_eq!(
        shape(&transcript(&gateway)),
        ["user:text", "assistant:thinking,text,toolCall,toolCall", "toolResult:text", "toolResult:text", "assistant:text"]
    );
    assert_eq!(commands_in_audit(&gateway).len(), 2);
}

#[tokio::test]
async fn sk41_a_command_in_the_background_is_listed_read_written_to_and_killed() {
    let process = |id: &str, args: Value| Say::Tool(id.to_owned(), "process".to_owned(), args);
    let echo = json!({ "command": "while read -r line; do echo \"got $line\"; done; echo bye", "background": true });
    let wait = |id: &str| process(id, json!({ "action": "poll", "id": "p1", "waitMs": 20_000 }));
    let steps = [
        Answer::say([Say::Tool("start".into(), "exec".into(), echo)]),
        Answer::say([process("write", json!({ "action": "write", "id": "p1", "data": "one\n" }))]),
        Answer::say([process("keys", json!({ "action": "send-keys", "id": "p1", "keys": ["two", "enter", "C-d"] }))]),
        Answer::say([wait("poll")]),
        Answer::say([process("log", json!({ "action": "log", "id": "p1", "offset": 2, "limit": 1 }))]),
        Answer::say([Say::Tool("again".into(), "exec".into(), json!({ "command": "sleep 1000", "background": true }))]),
        Answer::say([process("kill", json!({ "action": "kill", "id": "p2" }))]),
        Answer::say([process("list", json!({ "action": "list" }))]),
        Answer::text("done"),
    ];
    let fake = fake(steps).await;
    // Long enough for a process to hear of its end on a busy machine, before it is killed.
    let gateway = gateway(&fake, &json!({ "agents": { "defaults": { "graceMs": 20_000 } } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    let of = |call: &str| result_of(&fake, call);
    assert!(of("poll").contains("got one\\ngot two\\nbye") && of("poll").contains("Exit code 0"), "{}", of("poll"));
    assert!(of("log").contains("got two") && !of("log").contains("got one"), "{}", of("log"));
    assert!(of("kill").contains("killed by SIGTERM"), "{}", of("kill"));
    assert!(of("list").contains("exit code 0") && of("list").contains("p2 pid"), "{}", of("list"));
}

#[tokio::test]
async fn variables_of_a_call_reach_the_command_but_for_those_that_steer_programs() {
    let with =
        |id: &str, env: Value| Say::Tool(id.to_owned(), "exec".to_owned(), json!({ "command": "echo $FRUIT; touch ran", "env": env }));
    let steps = [
        Answer::say([with("bad", json!({ "LD_PRELOAD": "/x.so", "FRUIT": "plum" }))]),
        Answer::say([with("good", json!({ "FRUIT": "plum" }))]),
        Answer::text("done"),
    ];
    let fake = fake(steps).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    let (bad, good) = (result_of(&fake, "bad"), result_of(&fake, "good"));
    assert!(bad.contains("LD_PRELOAD") && bad.contains("did not run"), "{bad}");
    assert!(good.contains("plum"), "{good}");
}

#[tokio::test]
async fn an_agent_that_may_run_nothing_talks_and_hears_why_its_commands_do_not_run() {
    let fake = fake([Answer::say([exec("t", "touch ran")]), Answer::text("I may not.")]).await;
    let gateway = gateway(&fake, &json!({ "exec": { "security": "deny" } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    assert!(result_of(&fake, "t").contains("deny"), "{}", result_of(&fake, "t"));
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn a_list_of_what_is_allowed_holds_for_the_commands_of_models() {
    let both = Answer::say([exec("t1", "echo hello | wc -c"), exec("t2", "touch ran")]);
    let fake = fake([both, Answer::text("done")]).await;
    let gateway = gateway(&fake, &json!({ "exec": { "security": "allowlist", "ask": "off" } }));
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": [{ "pattern": "/usr/bin/echo" }, { "pattern": "/bin/echo" }] } } });
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    assert!(result_of(&fake, "t2").to_lowercase().contains("not"), "{}", result_of(&fake, "t2"));
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn a_person_is_asked_about_each_command_and_each_answer_is_for_one() {
    let answers = [Answer::say([exec("t1", "echo a >> ran")]), Answer::say([exec("t2", "echo a >> ran")]), Answer::text("done")];
    let (fake, gateway) = asking(answers, &json!({})).await;
    let mut approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "do it" })).await;
    let first = asked(&mut approver, 0).await;
    assert_eq!((&first["request"]["command"], &first["runId"]), (&json!("echo a >> ran"), &ack["runId"]));
    let row = client.ok("runs.get", json!({ "runId": ack["runId"] })).await;
    assert_eq!((&row["approval"]["id"], &row["status"]), (&first["id"], &json!("running")));
    assert_eq!(ran(&gateway), "");
    approver.ok("exec.approval.resolve", json!({ "id": first["id"], "decision": "allow-once" })).await;
    // The same words again are another command.
    let second = asked(&mut approver, 1).await;
    assert_ne!((&second["id"], &second["digest"]), (&first["id"], &first["digest"]));
    assert_eq!(ran(&gateway), "a\n");
    approver.ok("exec.approval.resolve", json!({ "id": second["id"], "decision": "deny" })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    assert_eq!(ran(&gateway), "a\n");
    assert!(result_of(&fake, "t2").contains("refused"), "{}", result_of(&fake, "t2"));
    // What was refused is noted, and nobody waits until it is written.
    crate::shim::until("both decisions are recorded", || commands_in_audit(&gateway).len() > 1).await;
    let decisions: Vec<Value> = commands_in_audit(&gateway).iter().map(|record| record["decision"].clone()).collect();
    assert_eq!(decisions, [json!("allow"), json!("deny")]);
}

#[tokio::test]
async fn what_nobody_decides_about_in_time_does_not_run_and_the_model_goes_on() {
    let (fake, gateway) =
        asking([Answer::say([exec("t", "touch ran")]), Answer::text("nobody was there")], &json!({ "timeoutMs": 1000 })).await;
    let _approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    assert!(result_of(&fake, "t").contains("in time"), "{}", result_of(&fake, "t"));
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn an_abort_ends_a_command_that_waits_for_a_person_and_its_approval_is_gone() {
    let (_fake, gateway) = asking([Answer::say([exec("t", "touch ran")])], &json!({})).await;
    let mut approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "do it" })).await;
    let waits = asked(&mut approver, 0).await;
    client.ok("runs.abort", json!({ "runId": ack["runId"] })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "aborted");
    // The run may be over before its question is.
    let is_told = |event: &Value| event["event"] == "exec.approval.expired" && event["payload"]["id"] == waits["id"];
    approver.until("the question is gone", |client| client.events.iter().any(is_told)).await;
    let late = approver.err("exec.approval.resolve", json!({ "id": waits["id"], "decision": "allow-once" })).await;
    assert_eq!(late["details"]["code"], "CANCELLED", "{late}");
    assert!(!gateway.state_dir().join("work/ran").exists());
}

#[tokio::test]
async fn an_abort_ends_a_command_that_runs_with_all_its_processes() {
    let fake = fake([Answer::say([exec("t", "touch began; (sleep 1000 &) ; sleep 1000")])]).await;
    let gateway = gateway(&fake, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "do it" })).await;
    crate::shim::until("the command runs", || gateway.state_dir().join("work/began").exists()).await;
    client.ok("runs.abort", json!({ "runId": ack["runId"] })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "aborted", "{last}");
    let messages = transcript(&gateway);
    assert_eq!(shape(&messages)[..2], ["user:text", "assistant:toolCall"]);
    // The next turn has a result for the call.
    fake.push([Answer::text("again")]);
    assert_eq!(say(&mut client, "go on").await["payload"]["status"], "ok");
    let _ = result_of(&fake, "t");
}

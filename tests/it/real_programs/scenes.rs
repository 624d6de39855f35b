//! What each of the programs does in a run.

use std::path::Path;

use serde_json::{Value, json};

use super::{KEY, Real};
use crate::fake_model::{Answer, FakeModel, Fault, Say, Seen};
use crate::harness::approver::{approver, asked};
use crate::harness::model::RunView;
use crate::harness::{Client, Gateway};
use crate::shim::until;

/// The fake, whose answers are for requests with the conversation alone: programs ask for titles, too.
pub async fn fake(real: Real, answers: impl IntoIterator<Item = Answer>) -> FakeModel {
    let main = |answer: Answer| Answer { when: answer.when.or_else(|| marker(real)), ..answer };
    let side = Answer { keep: true, ..Answer::text("a title") };
    FakeModel::start(answers.into_iter().map(main).chain([side])).await.unwrap()
}

/// What stands only in requests with the conversation.
fn marker(real: Real) -> Option<String> {
    match real {
        Real::Opencode => Some("\"tools\":[".to_owned()),
        Real::Gemini => Some("functionDeclarations".to_owned()),
        _ => Some("MAIN".to_owned()),
    }
}

pub async fn say(client: &mut Client, message: &str) -> (Value, String) {
    let (id, ack) = client.agent(json!({ "message": format!("MAIN {message}") })).await;
    (client.response(&id).await, ack["runId"].as_str().unwrap().to_owned())
}

pub fn data(run: &RunView, stream: &str) -> Vec<Value> {
    run.events.values().filter(|event| event["stream"] == stream).map(|event| event["data"].clone()).collect()
}

pub fn results(run: &RunView) -> Vec<Value> {
    data(run, "tool").into_iter().filter(|data| data["phase"] == "result").collect()
}

/// Processes below the hosts of runs whose environment holds this text.
pub(super) fn holding(gateway: &Gateway, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, shim) in gateway.shims() {
        for process in skykoi_gateway::exec::proc::descendants(shim).iter().map(|process| process.pid).chain([shim]) {
            for part in ["environ", "cmdline"] {
                let bytes = std::fs::read(format!("/proc/{process}/{part}")).unwrap_or_default();
                if String::from_utf8_lossy(&bytes).contains(text) {
                    found.push(format!("{process} {part}"));
                }
            }
        }
    }
    found
}

/// Files of the gateway, but for its configuration, that hold this text.
pub(super) fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() && path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("skykoi.json")) {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if memchr::memmem::find(&bytes, text.as_bytes()).is_some() {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

async fn decide(approver: &mut Client, known: usize, decision: &str) -> Value {
    let asked = asked(approver, known).await;
    approver.ok("exec.approval.resolve", json!({ "id": asked["id"], "decision": decision })).await;
    asked
}

pub async fn words_come_as_they_are_said_and_no_key_is_in_the_run(real: Real, place: &Path) {
    let words = "Some words that come one after the other, and then none for a while.";
    let held = Answer { pause_ms: 20, ..Answer::text(words) }.faulty(8, Fault::Stall);
    let fake = fake(real, [held]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "MAIN say something" })).await;
    let run = ack["runId"].as_str().unwrap().to_owned();
    client.until("words come", |client| client.runs.get(&run).is_some_and(|run| !data(run, "assistant").is_empty())).await;
    assert_eq!(holding(&gateway, KEY), Vec::<String>::new(), "the key of the provider");
    assert!(!holding(&gateway, "SKYKOI_MODEL_KEY=").is_empty(), "the key of the run");
    assert_eq!(files_with(gateway.state_dir(), KEY), Vec::<String>::new());
    let seen = fake.seen();
    let shown = |seen: &Seen| {
        ["authorization", "x-api-key", "x-goog-api-key"].iter().any(|name| seen.header(name).is_some_and(|key| key.ends_with(KEY)))
    };
    assert!(seen.iter().any(shown));
    client.ok("runs.abort", json!({ "runId": run })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "aborted");

    drop((client, gateway));

    // And to its end.
    words_to_their_end(real, place, words).await;
}

/// A turn whose words come one after the other. Gives the model that was asked, and what was told of the run.
pub(super) async fn words_to_their_end(real: Real, place: &Path, words: &str) -> (FakeModel, RunView) {
    let fake = fake(real, [Answer { pause_ms: 20, ..Answer::text(words) }]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (last, run) = say(&mut client, "say something").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let texts = data(&client.runs[&run], "assistant");
    assert!(texts.len() > 1 && texts.last().unwrap()["text"] == words, "{texts:?}");
    (fake, client.runs[&run].clone())
}

pub async fn a_command_has_its_output_and_its_exit_code(real: Real, place: &Path) {
    let command = "echo to-stdout; echo to-stderr >&2; exit 3";
    let fake = fake(real, [Answer::say([real.shell("call_1", command)]), Answer::text("It failed.")]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (last, run) = say(&mut client, "run it").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let run = &client.runs[&run];
    let [result] = &results(run)[..] else { panic!("one call: {:?}", data(run, "tool")) };
    // Gemini CLI tells the number to its model alone.
    let (code, failed) = if real == Real::Gemini { (Value::Null, false) } else { (json!(3), true) };
    assert_eq!((&result["name"], &result["exitCode"], &result["isError"]), (&json!("exec"), &code, &json!(failed)), "{result}");
    assert!(run.text().contains("to-stdout") && run.text().contains("to-stderr"), "{:?}", run.events);
    assert_eq!(data(run, "assistant").last().unwrap()["text"], "It failed.");
}

pub async fn a_person_allows_one_command_and_refuses_another(real: Real, place: &Path) {
    let answers = [
        Answer::say([real.shell("call_1", "echo a > first.txt")]),
        Answer::say([real.shell("call_2", "echo b > second.txt")]),
        Answer::text("done"),
    ];
    let fake = fake(real, answers).await;
    let gateway = real.gateway(&fake, place, &json!({ "exec": { "security": "full", "ask": "always" } }));
    let mut approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "MAIN write two files" })).await;
    assert_eq!(decide(&mut approver, 0, "allow-once").await["request"]["command"], "echo a > first.txt");
    decide(&mut approver, 1, "deny").await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    let work = gateway.state_dir().join("work");
    assert!(work.join("first.txt").exists() && !work.join("second.txt").exists());
}

pub async fn an_abort_leaves_no_process(real: Real, place: &Path) {
    let fake = fake(real, [Answer::say([real.shell("call_1", "touch began; (sleep 1000 &); perl -e 'sleep 1000'")])]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "MAIN wait" })).await;
    until("the command runs", || gateway.state_dir().join("work/began").exists()).await;
    let tree: Vec<_> = gateway.shims().iter().flat_map(|(_, shim)| skykoi_gateway::exec::proc::descendants(*shim)).collect();
    assert!(tree.len() > 1, "{tree:?}");
    client.ok("runs.abort", json!({ "runId": ack["runId"] })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "aborted", "{last}");
    let lives = |seen: &skykoi_gateway::exec::proc::Stat| {
        skykoi_gateway::exec::proc::stat(seen.pid).is_some_and(|now| now.start_ticks == seen.start_ticks && !now.is_dead())
    };
    until("nothing of the run lives", || !tree.iter().any(lives)).await;
}

pub async fn a_second_turn_knows_the_first(real: Real, place: &Path) {
    let fake = fake(real, [Answer::text("The word is noted."), Answer::text("It was xylophone.")]).await;
    let gateway = real.gateway(&fake, place, &json!({}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "remember the word xylophone").await.0["payload"]["status"], "ok");
    if real == Real::Gemini {
        // It names the file of a conversation by the minute and empties it when it takes it up within the same.
        let of_minute = skykoi_gateway::clock::now_ms() / 1000 % 60;
        tokio::time::sleep(std::time::Duration::from_secs(61 - of_minute)).await;
    }
    let (last, run) = say(&mut client, "which word was it").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert_eq!(data(&client.runs[&run], "assistant").last().unwrap()["text"], "It was xylophone.");
    let seen = fake.seen();
    let second = seen.iter().rfind(|seen| seen.text.contains("which word was it")).unwrap();
    assert!(second.text.contains("remember the word xylophone") && second.text.contains("The word is noted."), "{}", second.text);
}

pub async fn the_gateway_runs_its_commands(real: Real, place: &Path) {
    let answers = [
        Answer::say([real.gateways("call_1", "echo one; echo two >&2; exit 3")]),
        Answer::say([real.gateways("call_2", "touch refused")]),
        Answer::text("done"),
    ];
    let fake = fake(real, answers).await;
    let mut patch = json!({ "exec": { "security": "full", "ask": "always" } });
    patch["runners"][real.runner()]["exec"] = json!("gateway");
    let gateway = real.gateway(&fake, place, &patch);
    let mut approver = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "MAIN run them" })).await;
    assert_eq!(decide(&mut approver, 0, "allow-once").await["request"]["command"], "echo one; echo two >&2; exit 3");
    decide(&mut approver, 1, "deny").await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert!(!gateway.state_dir().join("work/refused").exists());
    let run = &client.runs[ack["runId"].as_str().unwrap()];
    let [first, second] = &results(run)[..] else { panic!("two calls: {:?}", data(run, "tool")) };
    assert_eq!(data(run, "tool").len(), 4, "{:?}", data(run, "tool"));
    assert_eq!((&first["exitCode"], &first["name"], &second["isError"]), (&json!(3), &json!("exec"), &json!(true)));
    let chunks = data(run, "exec");
    assert!(
        chunks.iter().any(|chunk| chunk["source"] == "stderr") && chunks.iter().all(|chunk| chunk["toolCallId"] == first["toolCallId"])
    );
    assert!(fake.seen().iter().any(|seen| seen.text.contains("Exit code 3")), "the model is told");
    // It has no shell of its own.
    let offered: Vec<String> = fake.seen().iter().map(|seen| seen.body["tools"].to_string()).collect();
    for own in ["\"Bash\"", "\"exec_command\"", "\"shell\"", "\"local_shell\"", "\"bash\""] {
        assert!(!offered.iter().any(|tools| tools.contains(&format!("\"name\":{own}"))), "{own} is offered");
    }
}

pub async fn a_list_of_what_is_allowed_holds_for_its_commands(real: Real, place: &Path) {
    let both = [
        Answer::say([real.gateways("call_1", "echo hello | wc -c")]),
        Answer::say([real.gateways("call_2", "touch ran")]),
        Answer::say([Say::Text("done".to_owned())]),
    ];
    let fake = fake(real, both).await;
    let mut patch = json!({ "exec": { "security": "allowlist", "ask": "off" } });
    patch["runners"][real.runner()]["exec"] = json!("gateway");
    let gateway = real.gateway(&fake, place, &patch);
    let list = ["/usr/bin/echo", "/bin/echo", "/usr/bin/wc"].map(|path| json!({ "pattern": path }));
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": list } } });
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut client = Client::connect(&gateway).await;
    let (last, run) = say(&mut client, "run them").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert_eq!(client.runs[&run].text(), "6\n");
    let results = results(&client.runs[&run]);
    assert_eq!((&results[0]["exitCode"], &results[1]["isError"]), (&json!(0), &json!(true)), "{results:?}");
    assert!(!gateway.state_dir().join("work/ran").exists());
}

//! Machines that have no room for another process or for more memory: what needs one is refused with a word for it, nothing waits for ever, and the gateway goes on.

use std::os::unix::fs::chown;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::executable;
use crate::fake_model::{Answer, FakeModel};
use crate::harness::{Client, Gateway};
use crate::nginx::{program, skip};
use crate::shim::until;

/// Somebody to whom limits of processes apply, as they do not to root.
const NOBODY: u32 = 65_534;
/// What a command goes through to be his.
const BECOME_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// A gateway to whose user limits of processes apply; none where there can be none, which is printed.
fn bound(patch: &Value) -> Option<Gateway> {
    let mut gateway = Gateway::prepared(patch);
    if rustix::process::geteuid().is_root() {
        if !program(BECOME_NOBODY[0]).args(&BECOME_NOBODY[1..]).arg("true").status().is_ok_and(|status| status.success()) {
            skip("limits of processes do not bind root, and there is no setpriv that makes somebody else of it");
            return None;
        }
        // A copy, since the built program may lie where only root gets.
        let copy = gateway.state_dir().join("gateway-copy");
        executable::write(&copy, &std::fs::read(env!("CARGO_BIN_EXE_skykoi-gateway")).unwrap());
        for path in [gateway.state_dir(), &gateway.config_path()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let start = format!("shift; exec '{}' \"$@\"", copy.display());
        gateway.wrapper(&[&BECOME_NOBODY[..], &["sh", "-c", &start, "sh"]].concat());
    }
    gateway.launch();
    Some(gateway)
}

/// Sets a soft limit of a process, as its user; `None` is what this process has.
fn limit(pid: u32, resource: Resource, most: Option<u64>) {
    let option = if resource == Resource::As { "as" } else { "nproc" };
    let soft = most.or(getrlimit(resource).current).map_or("unlimited".to_owned(), |most| most.to_string());
    let set = ["prlimit".to_owned(), format!("--pid={pid}"), format!("--{option}={soft}:")];
    let mut words: Vec<String> = set.to_vec();
    // Root of a container may not limit processes of others.
    if user_of(pid) != u64::from(rustix::process::geteuid().as_raw()) {
        words.splice(0..0, BECOME_NOBODY.map(str::to_owned));
    }
    let ended = program(&words[0]).args(&words[1..]).output().unwrap();
    assert!(ended.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A number in what the kernel says of a process.
fn status(pid: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
}

fn user_of(pid: u32) -> u64 {
    status(&pid.to_string(), "Uid:").unwrap()
}

/// How many processes and threads the daemon's user has.
fn tasks_of_user(gateway: &Gateway) -> u64 {
    let user = user_of(gateway.pid());
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    all.filter(|pid| status(pid, "Uid:") == Some(user)).filter_map(|pid| status(&pid, "Threads:")).sum()
}

#[tokio::test]
async fn m91_without_room_for_a_process_runs_are_refused_and_the_gateway_lives() {
    let Some(gateway) = bound(&json!({})) else { return };
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.script("echo before").await["payload"]["status"], "ok");
    limit(gateway.pid(), Resource::Nproc, Some(1));
    // Threads that have nothing to do end after ten seconds, and no other can be started then.
    tokio::time::sleep(Duration::from_secs(13)).await;
    for method in ["agent", "chat.send", "agent"] {
        let mut params = json!({ "message": "touch ran", "idempotencyKey": uuid::Uuid::new_v4().to_string() });
        if method == "chat.send" {
            params["sessionKey"] = json!("main");
            let run = client.ok(method, params).await["runId"].clone();
            let waited = client.ok("agent.wait", json!({ "runId": run })).await;
            assert_eq!((&waited["status"], &waited["outcome"]["fault"]), (&json!("error"), &json!("RESOURCE")), "{waited}");
            continue;
        }
        let (id, _) = client.agent(params).await;
        let last = client.response(&id).await;
        let error = &last["error"];
        assert_eq!((&error["code"], &error["details"]["code"]), (&json!("UNAVAILABLE"), &json!("RESOURCE")), "{last}");
        assert!(error["message"].as_str().unwrap().contains("there is no room for another process now"), "{last}");
    }
    for method in ["health", "status", "config.get", "runners.list", "sessions.list"] {
        client.ok(method, json!({})).await;
    }
    Client::connect(&gateway).await.ok("health", json!({})).await;
    assert!(!gateway.state_dir().join("work/ran").exists());

    limit(gateway.pid(), Resource::Nproc, None);
    assert_eq!(client.script("echo after").await["payload"]["status"], "ok");
    assert!(gateway.is_running() && !gateway.log().contains("panicked"), "{}", gateway.log());
}

#[tokio::test]
async fn m91_wherever_the_room_ends_a_run_is_served_or_refused() {
    let Some(gateway) = bound(&json!({})) else { return };
    let mut client = Client::connect(&gateway).await;
    let mut ends = Vec::new();
    for room in 0..8 {
        limit(gateway.pid(), Resource::Nproc, Some(tasks_of_user(&gateway) + room));
        let last = client.script("echo a | cat").await;
        let served = last["payload"]["status"] == "ok" || last["payload"]["result"]["exitCode"].is_number();
        assert!(served || last["error"]["details"]["code"] == "RESOURCE", "room for {room}: {last}");
        ends.push(served);
    }
    limit(gateway.pid(), Resource::Nproc, None);
    assert_eq!(client.script("echo a | cat").await["payload"]["status"], "ok", "{ends:?}");
}

/// An agent whose second command starts when its host process is limited so; gives the final answer and the second result.
async fn second_command(gateway: &Gateway, fake: &FakeModel, resource: Resource, most: u64) -> (Value, Option<Value>) {
    fake.push([
        Answer::tool("call_1", "exec", json!({ "command": "touch began; while [ ! -e go ]; do sleep 0.02; done" })),
        Answer::tool("call_2", "exec", json!({ "command": "touch ran" })),
        Answer::text("done"),
    ]);
    let mut client = Client::connect(gateway).await;
    let (id, ack) = client.agent(json!({ "message": "run two commands" })).await;
    let work = gateway.state_dir().join("work");
    until("the first command runs", || work.join("began").exists()).await;
    limit(gateway.shims()[0].1, resource, Some(most));
    std::fs::write(work.join("go"), "").unwrap();
    let last = client.response(&id).await;
    let run = &client.runs[ack["runId"].as_str().unwrap()];
    let results = run.events.values().filter(|event| event["stream"] == "tool" && event["data"]["phase"] == "result");
    let second = results.map(|event| event["data"].clone()).find(|data| data["toolCallId"] == "call_2");
    assert!(!work.join("ran").exists() || second.as_ref().is_some_and(|second| second["isError"] == false), "{last}");
    client.ok("health", json!({})).await;
    (last, second)
}

fn of_agent(fake: &FakeModel) -> Value {
    json!({
        "agents": { "defaults": { "model": "fake/mind", "skipBootstrap": true } },
        "models": { "providers": { "fake": {
            "baseUrl": fake.url(), "apiKey": "key", "api": "anthropic-messages", "models": [{ "id": "mind", "name": "Mind" }],
        } } },
    })
}

#[tokio::test]
async fn m91_a_command_without_room_is_told_to_the_model_and_the_turn_goes_on() {
    let fake = FakeModel::start([]).await.unwrap();
    let Some(gateway) = bound(&of_agent(&fake)) else { return };
    let (last, second) = second_command(&gateway, &fake, Resource::Nproc, 1).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert_eq!(second.unwrap()["isError"], true);
    assert!(fake.seen().last().unwrap().text.contains("there is no room for another process now"), "{}", fake.seen().last().unwrap().text);
}

#[tokio::test]
async fn m91_a_host_process_without_memory_ends_its_run_at_most() {
    let fake = FakeModel::start([]).await.unwrap();
    let gateway = Gateway::with(&of_agent(&fake));
    let (last, _) = second_command(&gateway, &fake, Resource::As, 1 << 20).await;
    // Either the command alone could not start, or the host process could not go on. The answer of a run that was lost has a payload too.
    let status = last["error"]["details"]["code"].as_str().or(last["error"]["code"].as_str()).or(last["payload"]["status"].as_str());
    assert!(matches!(status, Some("ok" | "UNAVAILABLE" | "RESOURCE")), "{last}");
    fake.push([Answer::text("all is well")]);
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "and now" })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
}

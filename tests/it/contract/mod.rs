//! What every runner promises, whatever works behind it: one suite, played once per runner.

mod stage;

use serde_json::{Value, json};

use crate::harness::Client;
use crate::harness::approver::{approver, asked};
use crate::harness::model::{is_terminal, outcome_of, without_meta};
use crate::shim::until;
use stage::{Scene, Stage};

/// Each promise for each runner, as a test of its own.
macro_rules! contract {
    ($($promise:ident)*) => {
        $(mod $promise {
            #[tokio::test]
            async fn shell() {
                super::promises::$promise("shell").await;
            }
            #[tokio::test]
            async fn agent() {
                super::promises::$promise("agent").await;
            }
            #[tokio::test]
            async fn codex() {
                if crate::minds::mcp::python() {
                    super::promises::$promise("codex").await;
                }
            }
            #[tokio::test]
            async fn claude() {
                if crate::minds::mcp::python() {
                    super::promises::$promise("claude").await;
                }
            }
            #[tokio::test]
            async fn pi() {
                if crate::minds::mcp::python() {
                    super::promises::$promise("pi").await;
                }
            }
            #[tokio::test]
            async fn acp() {
                if crate::minds::mcp::python() {
                    super::promises::$promise("acp").await;
                }
            }
        })*
    };
}

contract! {
    an_accepted_run_streams_and_ends_once_and_the_final_is_its_last_event
    an_abort_ends_all_of_it_within_the_grace
    the_time_limit_ends_all_of_it
    a_flood_is_cut_and_counted
    a_crash_is_an_error_and_the_next_turn_works
    the_end_of_its_host_is_an_interruption_and_nothing_is_left
    the_death_of_the_daemon_stops_nothing_and_loses_nothing
    the_same_request_again_is_the_same_run
    the_next_turn_knows_the_one_before
    a_person_decides_about_its_commands
}

/// Nothing of a run takes longer, unless it hangs.
const SOON_MS: u64 = 30_000;

fn terminals(client: &Client, run: &str) -> usize {
    client.runs[run].events.values().filter(|event| is_terminal(event)).count()
}

/// The data of the events of a stream.
fn data<'a>(client: &'a Client, run: &str, stream: &str) -> Vec<&'a Value> {
    client.runs[run].events.values().filter(|event| event["stream"] == stream).map(|event| &event["data"]).collect()
}

mod promises {
    use super::*;

    pub async fn an_accepted_run_streams_and_ends_once_and_the_final_is_its_last_event(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let (id, run) = stage.start(&mut client, Scene::Script("echo one; exit 3"), &json!({})).await;
        assert!(client.runs.get(&run).is_none_or(|run| run.terminal().is_none()), "the end came before the acknowledgement");
        let last = client.response(&id).await;
        assert_eq!(last["ok"], true, "{last}");
        let view = &client.runs[&run];
        let (result, meta) = (&last["payload"]["result"], &last["payload"]["result"]["meta"]);
        assert_eq!((outcome_of(view.terminal().unwrap()), &meta["durationMs"]), (without_meta(result), &result["durationMs"]));
        assert!(meta["agentMeta"]["sessionId"].is_string(), "{meta}");
        assert_eq!((terminals(&client, &run), view.last), (1, last["payload"]["head"].as_u64().unwrap()));
        assert!(view.text().contains("one"), "{:?}", view.events);
        let [began, ended] = data(&client, &run, "tool")[..] else { panic!("one call: {:?}", data(&client, &run, "tool")) };
        assert_eq!((&began["phase"], &began["name"], &began["toolCallId"]), (&json!("start"), &json!("exec"), &ended["toolCallId"]));
        assert_eq!((&ended["exitCode"], &ended["isError"]), (&json!(3), &json!(true)), "{ended}");
        let said = data(&client, &run, "assistant").last().map(|data| data["text"].clone());
        assert_eq!(said.is_some(), runner != "shell");
        assert_eq!(said.unwrap_or_default(), last["payload"]["result"]["payloads"][0]["text"]);
        stage.is_clean().await;
    }

    pub async fn an_abort_ends_all_of_it_within_the_grace(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let script = "(setsid sleep 1000 &); (trap '' TERM; sleep 1000) & touch began; sleep 1000";
        let (id, run) = stage.start(&mut client, Scene::Script(script), &json!({})).await;
        until("the command runs", || stage.left("began")).await;
        client.ok("runs.abort", json!({ "runId": run })).await;
        let last = client.response(&id).await;
        assert_eq!((&last["payload"]["status"], &last["payload"]["stopReason"]), (&json!("aborted"), &json!("rpc")), "{last}");
        assert!(last["payload"]["durationMs"].as_u64().unwrap() < SOON_MS, "{last}");
        stage.is_clean().await;
        assert_eq!(terminals(&client, &run), 1);
        let calls = data(&client, &run, "tool");
        assert_eq!(
            calls.iter().filter(|call| call["phase"] == "start").count(),
            calls.iter().filter(|call| call["phase"] == "result").count()
        );
    }

    pub async fn the_time_limit_ends_all_of_it(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let (id, run) = stage.start(&mut client, Scene::Silence, &json!({ "timeout": 2 })).await;
        let last = client.response(&id).await;
        assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("AGENT_TIMEOUT")), "{last}");
        stage.is_clean().await;
        assert_eq!(terminals(&client, &run), 1);
    }

    pub async fn a_flood_is_cut_and_counted(runner: &'static str) {
        let patch = json!({ "agents": { "defaults": { "output": { "journalCapBytes": 65_536, "tailBytes": 1024 } } } });
        let stage = Stage::new(runner, &patch).await;
        let mut client = Client::connect(&stage.gateway).await;
        let (id, run) = stage.start(&mut client, Scene::Script("head -c 3000000 /dev/zero | tr '\\0' x; echo END"), &json!({})).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "ok", "{last}");
        let result = &last["payload"]["result"];
        assert_eq!((&result["stdoutBytes"], &result["truncated"]), (&json!(3_000_004), &json!(true)), "{result}");
        let text = client.runs[&run].text();
        assert!(text.len() < 100_000, "{} bytes", text.len());
        // Codex tells the beginning last.
        assert!(text.ends_with("END\n") || runner == "codex", "the newest output is kept");
        assert_eq!(text.len() as u64 + result["droppedBytes"].as_u64().unwrap(), 3_000_004, "{result}");
    }

    pub async fn a_crash_is_an_error_and_the_next_turn_works(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let (id, run) = stage.start(&mut client, Scene::Crash, &json!({})).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "error", "{last}");
        assert_eq!((terminals(&client, &run), last["ok"] == true), (1, runner == "shell"), "{last}");
        let next = stage.play(&mut client, Scene::Script("true")).await;
        assert_eq!(next["payload"]["status"], "ok", "{next}");
    }

    pub async fn the_end_of_its_host_is_an_interruption_and_nothing_is_left(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let (id, run) = stage.start(&mut client, Scene::Script("(setsid sleep 1000 &); touch began; sleep 1000"), &json!({})).await;
        until("the command runs", || stage.left("began")).await;
        stage.gateway.shims().into_iter().for_each(|(_, shim)| crate::harness::kill_9(shim));
        let last = client.response(&id).await;
        assert_eq!((&last["error"]["code"], &last["payload"]["status"]), (&json!("UNAVAILABLE"), &json!("interrupted")), "{last}");
        stage.is_clean().await;
        assert_eq!(terminals(&client, &run), 1);
    }

    pub async fn the_death_of_the_daemon_stops_nothing_and_loses_nothing(runner: &'static str) {
        let mut stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let script = "echo before; touch began; while [ ! -e go ]; do sleep 0.02; done; echo after";
        let (_, run) = stage.start(&mut client, Scene::Script(script), &json!({})).await;
        until("the command runs", || stage.left("began")).await;
        stage.gateway.kill();
        stage.leave("go");
        stage.gateway.launch();
        let mut client = Client::connect(&stage.gateway).await;
        client.subscribe(&run, 0).await;
        let waited = client.ok("agent.wait", json!({ "runId": run, "timeoutMs": 30_000 })).await;
        assert_eq!(waited["status"], "ok", "{waited}");
        client.until_end(&run).await;
        let view = &client.runs[&run];
        assert_eq!((terminals(&client, &run), view.last, view.events.len() as u64), (1, view.last, view.last), "every event, once");
        let text = view.text();
        assert!(text.contains("before") && text.contains("after"), "{text}");
    }

    pub async fn the_same_request_again_is_the_same_run(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        let params = json!({ "message": stage.message(Scene::Script("echo once >> ran")), "idempotencyKey": "key" });
        let (id, _) = client.agent(params.clone()).await;
        let first = client.response(&id).await;
        let again = client.call("agent", params).await;
        assert_eq!((&again["payload"]["result"], &again["payload"]["runId"]), (&first["payload"]["result"], &json!("key")), "{again}");
        let ran = std::fs::read_to_string(stage.gateway.state_dir().join("work/ran")).unwrap();
        assert_eq!(ran, "once\n");
    }

    pub async fn the_next_turn_knows_the_one_before(runner: &'static str) {
        let stage = Stage::new(runner, &json!({})).await;
        let mut client = Client::connect(&stage.gateway).await;
        for turn in 1..=2 {
            let last = stage.play(&mut client, Scene::Script("echo a fish")).await;
            assert_eq!(last["payload"]["status"], "ok", "{last}");
            let said = last["payload"]["result"]["payloads"][0]["text"].as_str();
            match &stage.model {
                // Two requests a turn, and the last one holds what came before.
                Some(model) => {
                    let body = model.seen().last().unwrap().text.clone();
                    assert_eq!(body.matches("It is done.").count(), turn - 1, "{body}");
                }
                // A shell begins anew each time.
                None if runner == "shell" => assert_eq!(said, None),
                None => assert_eq!(said, Some(format!("done, turn {turn}").as_str())),
            }
        }
    }

    pub async fn a_person_decides_about_its_commands(runner: &'static str) {
        let patch = json!({ "exec": { "ask": "always" }, "approvals": { "exec": { "withoutApprover": "wait" } } });
        let stage = Stage::new(runner, &patch).await;
        let mut approver = approver(&stage.gateway).await;
        let mut client = Client::connect(&stage.gateway).await;
        let asks = !matches!(runner, "shell" | "agent");
        for (round, (decision, runs)) in [("deny", false), ("allow-once", true)].into_iter().enumerate() {
            let script = format!("touch ran-{round}");
            let message = stage.message(Scene::Script(&script));
            let message = if asks { format!("ask {message}") } else { message };
            let (id, _) = client.agent(json!({ "message": message })).await;
            if runner == "pi" {
                // It never asks, so it may not work where somebody must be asked.
                let last = client.response(&id).await;
                assert_eq!((&last["ok"], stage.left(&format!("ran-{round}"))), (&json!(false), false), "{last}");
                continue;
            }
            let asked = asked(&mut approver, round).await;
            assert!(asked.to_string().contains(&script), "{asked}");
            assert!(!stage.left(&format!("ran-{round}")));
            approver.ok("exec.approval.resolve", json!({ "id": asked["id"], "decision": decision })).await;
            let last = client.response(&id).await;
            assert_eq!(stage.left(&format!("ran-{round}")), runs, "{last}");
        }
    }
}

//! The programs in a real shim without a daemon: the test answers what a daemon would be asked. This is where their languages are tried, whatever the configuration is.

use std::path::Path;

use serde_json::{Value, json};
use skykoi_gateway::agent::spec::ExecRules;
use skykoi_gateway::config::secret::Secret;
use skykoi_gateway::model::endpoint::{Api, Auth, Endpoint};
use skykoi_gateway::programs::spec::{Approvals, Kind, ProgramSpec};
use skykoi_gateway::protocol::run::RunStatus;
use skykoi_gateway::runs::control::{FromShim, Judgement, ToShim, receive, send};

use super::scenes::fake;
use super::{KEY, Real};
use crate::fake_model::{Answer, FakeModel};
use crate::shim::{Bench, Ended};

/// A run of the program in a folder of its own; its model is the fake.
fn bench(real: Real, fake: &FakeModel, place: &Path, prompt: &str) -> Bench {
    let mut bench = Bench::new(&format!("MAIN {prompt}"));
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == real.runner()).unwrap();
    let command: Vec<String> = serde_json::from_value(real.command(place)).unwrap();
    let mut spec = ProgramSpec::new(kind, command);
    spec.approvals = Approvals::Never;
    let api = if real == Real::Claude { Api::AnthropicMessages } else { Api::OpenaiCompletions };
    let mut endpoint = Endpoint::new("fake", "fake-model", api);
    endpoint.base_url = if real == Real::Claude { fake.url() } else { format!("{}/v1", fake.url()) };
    endpoint.auth = Auth::Key { key: Secret::new(KEY.to_owned()) };
    spec.provider = Some(Box::new(endpoint));
    spec.env.extend(real.env(true));
    bench.spec.runner = real.runner().to_owned();
    bench.spec.grace_ms = 4000;
    keep_in(&mut bench, &mut spec, &new_home());
    bench.spec.program = Some(Box::new(spec));
    bench
}

/// Codex wants no home below a directory for temporary files.
fn new_home() -> std::path::PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("home-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&home).unwrap();
    home
}

fn keep_in(bench: &mut Bench, spec: &mut ProgramSpec, home: &Path) {
    let text = home.to_str().unwrap().to_owned();
    bench.spec.env.insert("HOME".to_owned(), text.clone());
    for name in ["CODEX_HOME", "CLAUDE_CONFIG_DIR"] {
        spec.env.insert(name.to_owned(), text.clone());
    }
    spec.session_dir = Some(home.join("sessions"));
}

/// Runs it to its end and allows whatever is asked but what says `refused`.
async fn ended(bench: &Bench) -> Ended {
    let mut started = bench.start().await;
    while let Ok(Some(said)) = receive::<FromShim>(&mut started.control).await {
        let FromShim::Ask { ask, wanted } = said else { continue };
        let judgement = match wanted.command.contains("refused") {
            true => Judgement::Refused { denied: None, message: "a person refused".to_owned() },
            false => Judgement::Start { plan: None, env: bench.spec.env.clone() },
        };
        send(&mut started.control, &ToShim::Answer { ask, judgement: Box::new(judgement) }).await.unwrap();
    }
    bench.finish(started).await
}

fn data<'a>(ended: &'a Ended, stream: &str) -> Vec<&'a Value> {
    ended.lines.iter().filter(|line| line["stream"] == stream).map(|line| &line["data"]).collect()
}

pub async fn a_command_and_the_next_turn(real: Real, place: &Path) {
    let command = "echo to-stdout; echo to-stderr >&2; exit 3";
    let fake = fake(real, [Answer::say([real.shell("call_1", command)]), Answer::text("It failed."), Answer::text("I remember.")]).await;
    let first = bench(real, &fake, place, "run the xylophone");
    let ran = ended(&first).await;
    let shown = || format!("{:?}\n{:?}", ran.outcome, ran.lines);
    assert_eq!(ran.outcome.status, RunStatus::Ok, "{}", shown());
    let results: Vec<&Value> = data(&ran, "tool").into_iter().filter(|data| data["phase"] == "result").collect();
    assert_eq!((results.len(), &results[0]["exitCode"]), (1, &json!(3)), "{}", shown());
    assert!(ran.text("stdout").contains("to-stdout") && ran.text("stdout").contains("to-stderr"), "{}", shown());
    assert_eq!(data(&ran, "assistant").last().unwrap()["text"], "It failed.", "{}", shown());
    // The next turn takes the conversation up.
    let mut next = bench(real, &fake, place, "and now");
    let session = data(&ran, "lifecycle").into_iter().find(|data| data["phase"] == "session").unwrap()["reference"].clone();
    let mut spec = first.spec.program.clone().unwrap();
    spec.session = session.as_str().map(str::to_owned);
    next.spec.program = Some(spec);
    next.spec.env.insert("HOME".to_owned(), first.spec.env["HOME"].clone());
    next.spec.cwd.clone_from(&first.spec.cwd);
    let again = ended(&next).await;
    assert_eq!(again.outcome.status, RunStatus::Ok, "{:?}\n{:?}", again.outcome, again.lines);
    let seen = fake.seen();
    let last = seen.iter().rfind(|seen| seen.text.contains("and now")).unwrap();
    assert!(last.text.contains("run the xylophone") && last.text.contains("It failed."), "{}", last.text);
}

pub async fn our_tool_in_the_place_of_its_shell(real: Real, place: &Path) {
    let answers = [
        Answer::say([real.gateways("call_1", "echo one; echo two >&2; exit 3")]),
        Answer::say([real.gateways("call_2", "touch refused")]),
        Answer::text("done"),
    ];
    let fake = fake(real, answers).await;
    let mut bench = bench(real, &fake, place, "run them");
    let spec = bench.spec.program.as_mut().unwrap();
    spec.hands = Some(ExecRules { grace_ms: 500, ..ExecRules::default() });
    spec.env.extend(real.env(false));
    let ran = ended(&bench).await;
    let tools: Vec<String> = fake.seen().iter().map(|seen| seen.body["tools"].to_string()).collect();
    let shown = || format!("{:?}\n{:?}\n{tools:?}", ran.outcome, ran.lines);
    assert_eq!(ran.outcome.status, RunStatus::Ok, "{}", shown());
    let calls = data(&ran, "tool");
    assert_eq!(calls.len(), 4, "{}", shown());
    assert_eq!((&calls[1]["exitCode"], &calls[1]["name"], &calls[3]["isError"]), (&json!(3), &json!("exec"), &json!(true)), "{}", shown());
    assert_eq!((ran.text("stdout").as_str(), ran.text("stderr").as_str()), ("one\n", "two\n"), "{}", shown());
    assert!(fake.seen().iter().any(|seen| seen.text.contains("Exit code 3")), "the model is told: {}", shown());
    for own in ["Bash", "exec_command", "shell", "local_shell", "bash"] {
        assert!(!tools.iter().any(|tools| tools.contains(&format!("\"name\":\"{own}\""))), "{own} is offered: {tools:?}");
    }
}

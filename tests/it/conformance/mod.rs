//! The conformance kit: every case holds against this gateway, on both versions of the protocol, and none of them is so weak that it would hold against a server that is wrong.

mod liar;

use clap::Parser as _;
use serde_json::{Value, json};
use skykoi_gateway::cli::conformance::{ConformanceArgs, run};
use skykoi_gateway::cli::output::Output;
use skykoi_gateway::cli::{Cli, Command};
use skykoi_gateway::rpc::methods::METHODS;
use tokio::net::TcpListener;

use self::liar::{Down, Lie, relay};
use crate::harness::Gateway;
use crate::harness::gateway::TOKEN;
use crate::nginx::program;

/// A gateway on which the slow cases are over soon, and which forgives the wrong tokens of all the cases together.
fn gateway() -> Gateway {
    // Every case of the kit says its `connect` in time also when one of the two is held up for a while.
    let limits = json!({ "tickIntervalMs": 1000, "handshakeTimeoutMs": 8000, "safeModeBoots": 1000 });
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "rateLimit": { "maxAttempts": 1000 } }, "limits": limits } }));
    std::fs::write(token_file(&gateway), TOKEN).unwrap();
    gateway
}

fn token_file(gateway: &Gateway) -> std::path::PathBuf {
    gateway.state_dir().join("token.txt")
}

/// The kit as a person starts it: its exit code, what it printed, and what it said.
fn kit(gateway: &Gateway, more: &[&str]) -> (i32, String, String) {
    kit_at(gateway.port(), gateway, more)
}

/// The same against whoever has this port.
fn kit_at(port: u16, gateway: &Gateway, more: &[&str]) -> (i32, String, String) {
    let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
    command.args(["conformance", "--url", &format!("ws://127.0.0.1:{port}/ws")]);
    command.arg("--token-file").arg(token_file(gateway)).args(more);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn all_hold(protocol: &str) {
    let gateway = gateway();
    let (code, lines, said) = kit(&gateway, &["--protocol", protocol, "--slow", "--allow-writes", "--json"]);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let missing = line["leftOut"].as_str().and_then(|why| why.strip_prefix("the server does not announce "));
        assert!(line["ok"] == true || missing.is_some_and(|name| METHODS.iter().all(|entry| entry.name != name)), "{line}");
    }
    assert_eq!(code, 0, "{said}");
    assert!(lines.lines().count() > 40, "{said}");
    gateway.is_clean().await;
}

#[tokio::test]
async fn every_case_holds_on_protocol_3() {
    all_hold("3").await;
}

#[tokio::test]
async fn every_case_holds_on_protocol_4() {
    all_hold("4").await;
}

#[test]
fn what_is_not_played_is_said_and_a_server_that_is_not_there_is_told_apart_from_one_that_is_wrong() {
    let gateway = gateway();
    let (code, lines, said) = kit(&gateway, &["--no-shell", "--filter", "a run is aborted"]);
    assert_eq!((code, lines.matches("skip  agent: a run is aborted").count()), (0, 2), "{lines}{said}");
    assert!(said.contains("0 ok, 0 failed, 2 left out"), "{said}");
    let (code, lines, _) = kit(&gateway, &["--list", "--filter", "connect:", "--protocol", "3"]);
    assert!(code == 0 && lines.lines().count() > 15 && lines.lines().all(|line| line.starts_with("connect: ")), "{lines}");
    let (code, _, said) = kit(&gateway, &["--filter", "no such case"]);
    assert!(code == 64 && said.contains("--list"), "{code}: {said}");
    let silent = crate::nginx::refusing();
    let (code, lines, said) = kit_at(silent.local_addr().unwrap().port(), &gateway, &[]);
    assert!(code == 69 && lines.is_empty() && said.contains("cannot be reached"), "{code}: {said}");
}

#[test]
fn cases_of_a_file_are_played_and_a_file_that_is_wrong_is_refused_with_its_place() {
    let gateway = gateway();
    let path = gateway.state_dir().join("mine.json5");
    let case = "{about: 'mine', cases: [{name: 'health is bad', steps: [{send: {type: 'req', id: '1', method: 'health'}, expect: {type: 'res', payload: {ok: false}}}]}]}";
    std::fs::write(&path, case).unwrap();
    let (code, lines, said) = kit(&gateway, &["--cases", path.to_str().unwrap(), "--protocol", "4"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(lines, "FAIL  mine: health is bad [protocol 4]: step 1, the answer to 1: /payload/ok: expected false, got true\n");
    std::fs::write(&path, case.replace("steps", "stepps")).unwrap();
    let (code, _, said) = kit(&gateway, &["--cases", path.to_str().unwrap()]);
    assert!(code == 64 && said.contains("mine.json5") && said.contains("stepps"), "{said}");
}

/// Plays the cases that `filter` names, through the liar, and waits for each frame so many seconds; gives the lines of those that failed.
async fn played(gateway: &Gateway, filter: &str, patience: &str, lie: Lie) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let token = token_file(gateway);
    let words =
        ["skykoi-gateway", "conformance", "--patience", patience, "--protocol", "4", "--filter", filter, "--url", &url, "--token-file"];
    let cli = Cli::parse_from(words.into_iter().chain([token.to_str().unwrap()]));
    let Command::Conformance(args) = cli.command else { panic!("{cli:?}") };
    let args: ConformanceArgs = args;
    let (mut result, mut talk) = (Vec::new(), Vec::new());
    let mut out = Output { result: &mut result, talk: &mut talk };
    let code = tokio::select! {
        () = relay(&listener, gateway.port(), lie) => panic!("the liar has ended"),
        code = run(args, &mut out) => code.unwrap(),
    };
    let failed: Vec<String> =
        String::from_utf8(result).unwrap().lines().filter(|line| line.starts_with("FAIL")).map(str::to_owned).collect();
    assert_eq!(code, u8::from(!failed.is_empty()));
    failed
}

fn is_event(frame: &Value, phase: &str) -> bool {
    frame["event"] == "agent" && frame["payload"]["data"]["phase"] == phase
}

/// Changes texts, and leaves close frames as they are.
fn edited(down: Down, edit: impl FnOnce(&mut Value)) -> Vec<Down> {
    match down {
        Down::Text(mut frame) => {
            edit(&mut frame);
            vec![Down::Text(frame)]
        }
        other => vec![other],
    }
}

/// A lie, the cases that must see it, and what they must say.
type Case = (&'static str, &'static str, &'static str, Lie);

/// Lies that show in a frame that comes.
const LIES: &[Case] = &[
    ("no lie at all", "agent: a run is accepted", "", |_, down| vec![down]),
    ("a hello without limits", "connect: hello-ok says who serves", "/payload/policy", |_, down| {
        edited(down, |frame| drop(frame["payload"].as_object_mut().and_then(|payload| payload.remove("policy"))))
    }),
    ("hello of another version", "connect: hello-ok says who serves", "/payload/protocol: expected 4, got 5", |_, down| {
        edited(down, |frame| {
            if frame["payload"]["type"] == "hello-ok" {
                frame["payload"]["protocol"] = json!(5);
            }
        })
    }),
    ("another close code", "connect: the wrong token", "/code: expected 1008, got 4001", |_, down| match down {
        Down::Close(_, reason) => vec![Down::Close(4001, reason)],
        other => vec![other],
    }),
    ("an end without a close frame", "connect: a role that does not exist", "/code: expected 1008, got null", |_, down| match down {
        Down::Close(..) => vec![Down::End],
        other => vec![other],
    }),
    ("another error code", "frames: a method that does not exist", "/error/code: expected \"INVALID_REQUEST\"", |_, down| {
        edited(down, |frame| {
            if frame.get("error").is_some() {
                frame["error"]["code"] = json!("NOT_FOUND");
            }
        })
    }),
    ("a text that is no JSON", "frames: absent parameters", "got \"so sorry\"", |_, down| match &down {
        Down::Text(frame) if frame["id"] == "2" => vec![Down::Raw("so sorry".to_owned())],
        _ => vec![down],
    }),
    ("answers under another id", "frames: absent parameters", "/id: expected \"1\", got \"one\"", |_, down| {
        edited(down, |frame| {
            if frame["id"] == "1" {
                frame["id"] = json!("one");
            }
        })
    }),
    ("a run that ends twice", "agent: a run is accepted", "the number of frames", |_, down| match &down {
        Down::Text(frame) if is_event(frame, "end") => vec![down.clone(), down],
        _ => vec![down],
    }),
    ("events before the acknowledgement", "agent: a run is accepted", "event agent: ", |held, down| match &down {
        Down::Text(frame) if frame["payload"]["status"] == "accepted" => {
            held.push(down);
            vec![]
        }
        Down::Text(frame) if is_event(frame, "start") => std::iter::once(down).chain(held.drain(..)).collect(),
        _ => vec![down],
    }),
    ("a timeout that is called a success", "agent: a run that takes longer", "/ok: expected false, got true", |_, down| {
        edited(down, |frame| {
            if frame["ok"] == false && frame["error"]["code"] == "AGENT_TIMEOUT" {
                frame["ok"] = json!(true);
            }
        })
    }),
    ("another final for the same key", "agent: the same request after the end", "/payload/", |_, down| {
        edited(down, |frame| {
            if frame["id"] == "2" {
                frame["payload"]["summary"] = json!("something else");
            }
        })
    }),
    ("an abort that finds nothing", "agent: a run is aborted", "/payload/aborted: expected true, got false", |_, down| {
        edited(down, |frame| {
            if frame["id"] == "2" {
                frame["payload"]["aborted"] = json!(false);
            }
        })
    }),
    ("a chat that ends twice", "chat: a message is taken at once", "the number of frames", |_, down| match &down {
        Down::Text(frame) if frame["event"] == "chat" && frame["payload"]["state"] == "final" => vec![down.clone(), down],
        _ => vec![down],
    }),
    ("a list in another order", "sessions: a list comes in pages", "/payload/sessions/0/key", |_, down| {
        edited(down, |frame| {
            if let Some(sessions) = frame["payload"]["sessions"].as_array_mut() {
                sessions.reverse();
            }
        })
    }),
    ("events that were seen come again", "agent: a connection that comes back", "the number of frames", |held, down| match &down {
        // The start is kept from the first connection and told on the second.
        Down::Text(frame) if is_event(frame, "start") => {
            held.push(down.clone());
            vec![down]
        }
        Down::Text(frame) if frame["id"] == "2" => std::iter::once(down).chain(held.drain(..)).collect(),
        _ => vec![down],
    }),
];

/// Lies that show in what does not come: the case waits for it in vain.
const SILENCES: &[Case] = &[
    ("no challenge", "connect: the server speaks first", "step 1, event connect.challenge", |_, down| match &down {
        Down::Text(frame) if frame["event"] == "connect.challenge" => vec![],
        _ => vec![down],
    }),
    ("no end at all", "connect: the wrong token", "expected close 1008, got an open connection", |_, down| match down {
        Down::Close(..) => vec![],
        other => vec![other],
    }),
    ("no final answer", "agent: a run is accepted", "the answer to 1", |_, down| match &down {
        Down::Text(frame) if frame["id"] == "1" && frame["payload"]["status"] == "ok" => vec![],
        _ => vec![down],
    }),
    ("a run that never ends", "agent: a run is accepted", "event agent", |_, down| match &down {
        Down::Text(frame) if is_event(frame, "end") => vec![],
        _ => vec![down],
    }),
    ("a text that shrinks", "chat: within a run the text only grows", "/payload/message/content/0/text", |held, down| {
        edited(down, |frame| {
            if frame["event"] == "chat" && frame["payload"]["state"] == "delta" {
                // Other cases run beside this one, and their chats are heard too.
                let is_same = |one: &Down| matches!(one, Down::Text(one) if one["payload"]["runId"] == frame["payload"]["runId"]);
                if held.iter().any(is_same) {
                    frame["payload"]["message"]["content"][0]["text"] = json!("");
                }
                held.push(Down::Text(frame.clone()));
            }
        })
    }),
    ("an answer under another run", "chat: a message to a busy session", "event chat", |_, down| {
        edited(down, |frame| {
            let queued = frame["payload"]["runId"].as_str().is_some_and(|run_id| run_id.ends_with("-2"));
            if frame["event"] == "chat" && queued {
                frame["payload"]["runId"] = json!("somebody else's");
            }
        })
    }),
];

async fn is_seen(gateway: &Gateway, patience: &str, (what, filter, wanted, lie): &Case) {
    let failed = played(gateway, filter, patience, *lie).await;
    if wanted.is_empty() {
        assert!(failed.is_empty(), "{what}: {failed:?}");
    } else {
        assert!(failed.len() == 1 && failed[0].contains(wanted), "{what}: {failed:?}");
    }
}

#[tokio::test]
async fn every_lie_of_a_server_is_seen_by_the_case_that_is_about_it() {
    let gateway = gateway();
    for lie in LIES {
        is_seen(&gateway, "30", lie).await;
    }
    // All at once, so that the patience which a busy machine needs is waited for once.
    let gateway = &gateway;
    std::thread::scope(|scope| {
        for lie in SILENCES {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(is_seen(gateway, "15", lie));
            });
        }
    });
}

//! One command on the new machine, one approval on the gateway; and the commands for what comes after.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::nginx::program;

fn cli(home: &Path) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
    command.env_clear().env("HOME", home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end: its exit code and everything it said.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn here(gateway: &Gateway, words: &[&str]) -> (i32, String) {
    run(cli(gateway.state_dir()).env("SKYKOI_STATE_DIR", gateway.state_dir()).args(words))
}

/// The code that a waiting `pair` shows.
fn code_shown(pairing: &mut Child) -> String {
    let mut lines = BufReader::new(pairing.stderr.as_mut().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("    "))).unwrap().unwrap();
    line.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_and_one_approval_join_a_machine() {
    let gateway = Gateway::start();
    let machine = tempfile::tempdir().unwrap();
    let url = format!("ws://127.0.0.1:{}", gateway.port());
    let there = |words: &[&str]| run(cli(machine.path()).args(words).args(["--url", &url]));
    assert_eq!(there(&["status"]).0, 77, "not yet");

    let mut pairing = cli(machine.path()).args(["pair", "--url", &url, "--name", "lab machine", "--json"]).spawn().unwrap();
    let code = code_shown(&mut pairing);
    let (exit, listed) = here(&gateway, &["devices", "list"]);
    assert!(exit == 0 && listed.contains(&code) && listed.contains("lab machine"), "{listed}");
    let (exit, said) = here(&gateway, &["devices", "approve", &code.to_uppercase().replace('-', " ")]);
    assert!(exit == 0 && said.starts_with("approved lab machine"), "{exit} {said}");
    let mut told = String::new();
    pairing.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(pairing.wait().unwrap().success(), "{told}");
    let paired: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&paired["paired"], &paired["scopes"]), (&json!(true), &json!(["operator.read", "operator.write"])));

    // From here on it comes in by itself, and what it starts is its own.
    assert_eq!(there(&["status"]).0, 0);
    let (exit, said) = there(&["agent", "echo hello from there"]);
    assert!(exit == 0 && said.contains("hello from there"), "{exit} {said}");
    assert_eq!(there(&["devices", "list"]).0, 77, "it was not given that scope");
    let secret = std::fs::read_to_string(machine.path().join(".skykoi/identity/gateways.json")).unwrap();
    let known: Value = serde_json::from_str(&secret).unwrap();
    let token = known.as_object().unwrap().values().next().unwrap()["deviceToken"].as_str().unwrap();
    assert!(!gateway.log().contains(token) && !told.contains(token));

    // What it wants beyond that takes another approval, and the old rights stay.
    let mut more = cli(machine.path()).args(["pair", "--url", &url, "--scope", "operator.pairing"]).spawn().unwrap();
    let code = code_shown(&mut more);
    assert_eq!(here(&gateway, &["devices", "approve", &code]).0, 0);
    let output = more.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(there(&["devices", "list"]).0, 0);
    assert_eq!(there(&["status"]).0, 0);

    let listed: Value = serde_json::from_str(&here(&gateway, &["devices", "list", "--json"]).1).unwrap();
    let device = listed["paired"][0]["deviceId"].as_str().unwrap();
    assert_eq!(here(&gateway, &["devices", "rotate", &device[..12]]).0, 0);
    let (exit, said) = there(&["status"]);
    assert!(exit == 77 && said.contains("pair this device again"), "{exit} {said}");
    let (exit, said) = there(&["pair"]);
    assert!(exit == 0 && said.contains("paired with"), "its signature fetches the new token: {exit} {said}");
    assert_eq!(here(&gateway, &["devices", "revoke", &device[..12]]).0, 0);
    assert_eq!(there(&["status"]).0, 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_setup_code_needs_no_approval() {
    let gateway = Gateway::start();
    let machine = tempfile::tempdir().unwrap();
    let url = format!("ws://127.0.0.1:{}", gateway.port());
    let (exit, made) = here(&gateway, &["devices", "setup-code", "--scope", "operator.admin"]);
    assert_eq!(exit, 0, "{made}");
    let code = made.lines().next().unwrap();
    let mut pairing = cli(machine.path()).args(["pair", "--url", &url, "--setup-code", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    pairing.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
    assert!(pairing.wait_with_output().unwrap().status.success());
    let (exit, said) = run(cli(machine.path()).args(["devices", "list", "--url", &url]));
    assert!(exit == 0 && said.contains("admin"), "{exit} {said}");
    // A second machine cannot use it.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("code"), code).unwrap();
    let (exit, said) = run(cli(other.path()).args(["pair", "--url", &url, "--setup-code"]).arg(other.path().join("code")));
    assert!(exit == 77 && said.contains("mismatch"), "{exit} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_rejected_is_told_so_and_shows_nothing_to_another_gateway() {
    let gateway = Gateway::start();
    let machine = tempfile::tempdir().unwrap();
    let url = format!("ws://127.0.0.1:{}", gateway.port());
    let mut pairing = cli(machine.path()).args(["pair", "--url", &url]).spawn().unwrap();
    let code = code_shown(&mut pairing);
    assert_eq!(here(&gateway, &["devices", "reject", &code]).0, 0);
    let output = pairing.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(77));
    let (exit, said) = run(cli(machine.path()).args(["pair", "--url", "ws://192.0.2.1:1"]));
    assert!(exit == 64 && said.contains("in the clear"), "{exit} {said}");
    assert_eq!(run(cli(machine.path()).args(["pair"])).0, 64);
    let (exit, said) = here(&gateway, &["devices", "approve", "lusab-babad"]);
    assert!(exit == 64 && said.contains("no device waits with the code"), "{exit} {said}");

    // Another gateway at an address where this machine was paired with one: it is shown nothing.
    let request = Client::local(&gateway).await.ok("device.pair.setup", json!({})).await;
    let machine = tempfile::tempdir().unwrap();
    std::fs::write(machine.path().join("code"), request["code"].as_str().unwrap()).unwrap();
    assert_eq!(run(cli(machine.path()).args(["pair", "--url", &url, "--setup-code"]).arg(machine.path().join("code"))).0, 0);
    let kept = machine.path().join(".skykoi/identity/gateways.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    let mut known: Value = serde_json::from_str(&text).unwrap();
    known.as_object_mut().unwrap().values_mut().for_each(|known| known["gatewayId"] = json!("another"));
    std::fs::write(&kept, known.to_string()).unwrap();
    let (exit, said) = run(cli(machine.path()).args(["status", "--url", &url]));
    assert!(exit == 77 && said.contains("another gateway"), "{exit} {said}");
}

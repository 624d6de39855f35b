//! The command line against a real gateway, as a person uses it: over the network with TLS, and to see what is wrong.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use skykoi_gateway::transport::tls;

use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::live_config::{patch, replace, text};
use crate::nginx::{Nginx, free_port, program};
use crate::shim::until;

/// A gateway somewhere, as the command line is told of it.
struct Far {
    url: String,
    cert: PathBuf,
    token: PathBuf,
}

impl Far {
    fn new(gateway: &Gateway, port: u16, cert: PathBuf) -> Self {
        let token = gateway.state_dir().join("token.txt");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        Self { url: format!("wss://127.0.0.1:{port}/ws"), cert, token }
    }

    /// A command of a person who has no gateway at home.
    fn command(&self, words: &[&str], trust: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
        command.env_clear().env("HOME", "/nonexistent").args(words);
        command.args(["--url", &self.url]).arg("--token-file").arg(&self.token).args(trust);
        command
    }

    /// Exit code, output, and what was said.
    fn run(&self, words: &[&str], trust: &[&str]) -> (i32, String, String) {
        run(&mut self.command(words, trust))
    }

    fn pin(&self) -> String {
        tls::show_fingerprint(&tls::fingerprint(&self.cert).unwrap())
    }

    /// What must work over any road, by both ways to trust the certificate; and what must not.
    fn works(&self) {
        let (pin, ca) = (self.pin(), self.cert.display().to_string());
        for trust in [["--fingerprint", pin.as_str()], ["--ca", ca.as_str()]] {
            let (code, out, said) = self.run(&["agent", "echo far; echo away >&2; exit 7"], &trust);
            assert_eq!((code, out.as_str()), (7, "far\n"), "{trust:?}: {said}");
            assert!(said.contains("away\n") && said.contains("exit code 7"), "{said}");
            let (code, out, said) = self.run(&["status", "--json"], &trust);
            let status: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{said}"));
            assert_eq!((code, &status["ok"]), (0, &json!(true)));
            let (code, out, said) = self.run(&["runs", "list", "--json"], &trust);
            assert!(code == 0 && out.contains("echo far"), "{out}{said}");
        }
        // Nobody else's certificate is taken, and neither is one that nobody vouches for.
        let other = "00".repeat(32);
        for trust in [&["--fingerprint", other.as_str()][..], &[]] {
            let (code, out, said) = self.run(&["status"], trust);
            assert_eq!((code, out.as_str()), (69, ""), "{said}");
            assert!(said.contains("--fingerprint or --ca") && !said.contains(TOKEN), "{said}");
        }
        std::fs::write(&self.token, "another-token-0123456789").unwrap();
        let (code, _, said) = self.run(&["status"], &["--fingerprint", &pin]);
        assert!(code == 77 && !said.contains("another-token"), "{code} {said}");
        std::fs::write(&self.token, TOKEN).unwrap();
    }
}

fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A command beside the gateway.
fn beside(gateway: &Gateway, words: &[&str]) -> (i32, String, String) {
    let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
    command.env_clear().env("SKYKOI_STATE_DIR", gateway.state_dir()).env("HOME", gateway.state_dir()).args(words);
    run(&mut command)
}

/// `skykoi-gateway status` beside the gateway.
fn status(gateway: &Gateway) -> String {
    let (code, out, said) = beside(gateway, &["status"]);
    assert_eq!(code, 0, "{out}{said}");
    out
}

fn with_tls() -> Gateway {
    Gateway::with(&json!({ "gateway": { "tls": { "enabled": true } } }))
}

fn own_certificate(gateway: &Gateway) -> PathBuf {
    gateway.state_dir().join("gateway/tls/gateway-cert.pem")
}

#[test]
fn the_command_line_works_over_wss_with_the_gateways_own_certificate() {
    let gateway = with_tls();
    Far::new(&gateway, gateway.port(), own_certificate(&gateway)).works();
}

#[tokio::test]
async fn the_command_line_works_over_wss_through_the_shipped_nginx_site() {
    let gateway = Gateway::with(&json!({ "gateway": { "trustedProxies": ["127.0.0.1", "::1"] } }));
    let Some(nginx) = Nginx::start(gateway.port()) else { return };
    // Only nginx knows on which port of the test it is reached.
    let mut client = Client::local(&gateway).await;
    let public = format!("https://127.0.0.1:{}", nginx.port);
    assert_eq!(patch(&mut client, json!({ "gateway": { "publicUrls": [public] } })).await["applied"], "hot");
    Far::new(&gateway, nginx.port, nginx.certificate()).works();
}

#[test]
fn call_prints_what_a_program_can_read_also_when_the_answer_is_nothing() {
    let gateway = Gateway::start();
    let (code, out, said) = beside(&gateway, &["call", "last-heartbeat"]);
    assert_eq!((code, out.as_str()), (0, "null\n"), "{said}");
    let (code, out, said) = beside(&gateway, &["call", "sessions.get"]);
    assert!(code != 0 && out.is_empty() && said.contains("sessions.get"), "a refusal is no answer: {out}{said}");
}

#[test]
fn a_command_over_wss_goes_on_where_it_was_when_the_gateway_is_killed_and_comes_back() {
    // The next start must be found where this one was, so nobody may be given its port in between.
    let mut gateway = Gateway::with(&json!({ "gateway": { "port": free_port(), "tls": { "enabled": true } } }));
    let far = Far::new(&gateway, gateway.port(), own_certificate(&gateway));
    let script = "echo first; until [ -e go ]; do sleep 0.02; done; echo second; exit 5";
    let mut agent =
        far.command(&["agent", script], &["--fingerprint", &far.pin()]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(agent.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    gateway.kill();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    gateway.launch();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let ended = agent.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((rest.as_str(), ended.status.code()), ("second\n", Some(5)), "{said}");
    assert!(said.contains("connecting again"), "{said}");
}

#[tokio::test]
async fn status_says_what_is_wrong_with_a_file_that_was_changed_under_a_running_gateway() {
    let gateway = Gateway::with(&json!({ "gateway": { "reload": { "debounceMs": 10 } } }));
    let good = text(&gateway, &json!({}));
    let path = gateway.config_path().display().to_string();
    assert!(!status(&gateway).contains("wrong on disk"));
    let unknown = text(&gateway, &json!({ "agents": { "defaults": { "maxConcurent": 4 } } }));
    let both = text(&gateway, &json!({ "agents": { "defaults": { "maxConcurent": 4, "timeoutSeconds": "x" } } }));
    let shown = |wanted: &str| status(&gateway).lines().any(|line| line.starts_with("wrong on disk  ") && line.contains(wanted));
    let cases = [
        (unknown, format!("{path}:1:"), "agents.defaults.maxConcurent: unknown key, did you mean `maxConcurrent`?"),
        (both, format!("{path}:1:"), "(and 1 more; run `config check`)"),
        ("{ gateway: ".to_owned(), format!("{path}:1:1: the text ends"), ""),
    ];
    for (bad, place, what) in cases {
        replace(&gateway, &bad);
        until(what, || shown(&place) && shown(what)).await;
    }
    std::fs::remove_file(gateway.config_path()).unwrap();
    until("the missing file", || shown(&format!("{path}: does not exist any more"))).await;
    replace(&gateway, &good);
    until("nothing is wrong", || !status(&gateway).contains("wrong on disk")).await;
}

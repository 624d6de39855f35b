//! What the configuration and the running gateway say: whether it works, who can reach it, with which secrets, and what it lets be done.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Scene;
use super::finding::Finding;
use crate::config::parse::parse;
use crate::config::problem::lines;
use crate::config::secret::Secret;

/// A secret that has not changed for so long has had much time to get around.
const OLD: Duration = Duration::from_secs(365 * 24 * 3600);
/// Below this many characters a token is worth replacing, though not refused.
const SHORT: usize = 32;
/// Kinds of characters in a token made by a machine; one typed by a person has fewer.
const FEW_KINDS: usize = 10;

/// Whether it works.
pub fn health(scene: &Scene, unreachable: Option<&String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let blockers = scene.loaded.start_blockers();
    let path = scene.loaded.path.display();
    if !blockers.is_empty() {
        findings.push(Finding::critical("config", lines(&blockers), format!("correct {path}; no gateway starts with it")));
    } else if scene.loaded.exists {
        findings.push(Finding::ok("config", format!("{path} is right")));
    }
    findings.extend(scene.loaded.warnings.iter().map(|warning| Finding::note("config", warning, "")));
    match (&scene.status, unreachable) {
        (Some(status), _) => findings.extend(of_status(status)),
        (None, Some(why)) => {
            findings.push(Finding::warning(
                "daemon",
                format!("no gateway answers: {why}"),
                "start it: systemctl start skykoi-gateway, or skykoi-gateway start",
            ));
            findings.extend(port_of_somebody_else(scene));
        }
        (None, None) => findings.push(Finding::critical(
            "daemon",
            "the gateway answers, but not to `status`",
            "look into its log: skykoi-gateway call logs.tail",
        )),
    }
    findings
}

fn of_status(status: &Value) -> Vec<Finding> {
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let failing: Vec<&str> = status.get("failing").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut findings = vec![if failing.is_empty() {
        Finding::ok("daemon", format!("version {} runs", text("/version")))
    } else {
        Finding::critical(
            "daemon",
            format!("it runs, but fails in: {}", failing.join(", ")),
            "free space on the disk of the state directory; see its log",
        )
    }];
    if text("/version") != env!("CARGO_PKG_VERSION") {
        findings.push(Finding::note(
            "daemon",
            format!("this command is version {}", env!("CARGO_PKG_VERSION")),
            "restart the daemon to use what is installed",
        ));
    }
    if status.pointer("/config/issues/0").is_some() {
        findings.push(Finding::warning(
            "config",
            "the file on disk is wrong, so an older configuration is in effect",
            "skykoi-gateway config check",
        ));
    }
    findings
}

fn port_of_somebody_else(scene: &Scene) -> Option<Finding> {
    let port = u16::try_from(scene.shown.pointer("/gateway/port")?.as_u64()?).ok()?;
    let taken =
        port != 0 && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    taken.then(|| {
        Finding::critical(
            "port",
            format!("port {port} is held by another program"),
            format!("see which: ss -ltnp 'sport = :{port}'; stop it, or set gateway.port"),
        )
    })
}

/// Who can reach it and what it lets be done.
pub fn security(scene: &Scene) -> Vec<Finding> {
    let mut findings = vec![bind(scene)];
    findings.extend(secrets(scene));
    findings.push(commands(scene));
    findings.push(sandbox(scene));
    findings
}

fn bind(scene: &Scene) -> Finding {
    let (bind, tls) = (scene.text("/gateway/bind"), scene.is("/gateway/tls/enabled"));
    let host = scene.text("/gateway/customBindHost");
    let loopback = matches!(bind, "loopback" | "auto")
        || host.parse().is_ok_and(|address: std::net::IpAddr| bind == "custom" && address.is_loopback());
    match (loopback, tls) {
        (true, _) => Finding::ok("bind", "only this machine can reach the port; what comes from outside comes through a proxy"),
        (false, true) => Finding::warning(
            "bind",
            format!("the port is open to other machines (gateway.bind {bind}, with TLS)"),
            "unless clients connect to it directly, set gateway.bind to loopback and put a proxy in front; close the port in the firewall",
        ),
        (false, false) => Finding::critical(
            "bind",
            format!("the port is open to other machines without TLS (gateway.bind {bind}): whoever is on the way reads the token"),
            "set gateway.bind to loopback, or gateway.tls.enabled to true",
        ),
    }
}

fn secrets(scene: &Scene) -> Vec<Finding> {
    const NEW: &str = "make one with `skykoi-gateway token new` and put it in its place";
    let mut findings = Vec::new();
    let auth = &scene.loaded.config.gateway.auth;
    for (name, secret) in [("token", auth.token.as_ref()), ("password", auth.password.as_ref())] {
        let Some(secret) = secret.map(Secret::expose) else { continue };
        let kinds = secret.chars().collect::<std::collections::BTreeSet<_>>().len();
        if secret.chars().count() < SHORT || kinds < FEW_KINDS {
            let why = if kinds < FEW_KINDS { "of few different characters" } else { "shorter than 32 characters" };
            findings.push(Finding::warning(
                "secret",
                format!("gateway.auth.{name} is {why}, so it can be guessed offline if its digest gets out"),
                NEW,
            ));
        }
        if in_clear(&scene.loaded.path, name) {
            let mend = "give it by a systemd credential or --token-file, or as ${NAME} from the environment; keep the file at mode 0600";
            findings.push(Finding::note("secret", format!("gateway.auth.{name} stands in clear in {}", scene.loaded.path.display()), mend));
            let age = scene.loaded.path.metadata().and_then(|meta| meta.modified()).ok().and_then(|changed| changed.elapsed().ok());
            if let Some(age) = age.filter(|age| *age > OLD) {
                findings.push(Finding::note("secret", format!("gateway.auth.{name} is at least {} days old", age.as_secs() / 86_400), NEW));
            }
        }
    }
    if scene.is("/gateway/auth/legacyDevicePayload") {
        let mend = "set gateway.auth.legacyDevicePayload to false as soon as the last old client is gone";
        findings.push(Finding::warning(
            "secret",
            "proofs of devices without the gateway's nonce are taken; they can be sent again by who overhears one",
            mend,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("secret", "no weak or exposed secret found"));
    }
    findings
}

/// Whether the main file itself holds the secret, and not a reference to it.
fn in_clear(path: &Path, name: &str) -> bool {
    let value = std::fs::read_to_string(path).ok().and_then(|text| parse(path, &text).ok());
    let secret = value.as_ref().and_then(|value| value.pointer(&format!("/gateway/auth/{name}"))).and_then(Value::as_str);
    secret.is_some_and(|secret| !secret.contains("${"))
}

fn commands(scene: &Scene) -> Finding {
    let mode =
        [scene.text("/exec/security"), scene.text("/tools/exec/security")].into_iter().find(|mode| !mode.is_empty()).unwrap_or("deny");
    match mode {
        "full" => Finding::note(
            "exec",
            "mode full: whoever may write runs any command as the gateway's user, who can read its state directory and secrets. What holds is said in SECURITY.md",
            "run the gateway as a user of its own without sudo; where commands are known, set exec.security to allowlist",
        ),
        other => Finding::ok("exec", format!("mode {other}")),
    }
}

fn sandbox(scene: &Scene) -> Finding {
    // The running gateway knows what the host can give; the file only what was asked for.
    let given = scene.status.as_ref().and_then(|status| status.pointer("/sandbox"));
    let level = given
        .and_then(|sandbox| sandbox.get("level").or(Some(sandbox))?.as_str())
        .unwrap_or_else(|| scene.text("/agents/defaults/sandbox/mode"));
    match level {
        "" | "off" | "none" => Finding::note(
            "sandbox",
            "runs are not isolated from each other or from the gateway's files",
            "see agents.defaults.sandbox in schema/config.md for what this version has",
        ),
        level => Finding::ok("sandbox", format!("runs are isolated: {level}")),
    }
}

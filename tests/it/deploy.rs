//! The files that are installed on a machine, checked with the programs that will read them: nginx, systemd, shells.
//! The unit inside a booted system is tested by `tests/systemd/run.sh`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test ends where its machine does not do what it must")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;

use crate::nginx::{Nginx, check_site, program, repository, run_or_skip, skip};

#[test]
fn nginx_accepts_the_shipped_site() {
    let Some((accepted, said)) = check_site() else { return };
    assert!(accepted, "{said}");
    assert!(!said.contains("[warn]"), "{said}");
}

/// What one client's request looks like behind nginx: the request's head as the gateway would read it.
fn head_behind_nginx(request: &str) -> Option<(String, String)> {
    let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the gateway's stand-in");
    let nginx = Nginx::start(gateway.local_addr().expect("its address").port())?;
    let mut client = program("openssl");
    client.args(["s_client", "-quiet", "-no_ign_eof", "-servername", "koi.test", "-verify_return_error", "-CAfile"]);
    client.arg(nginx.certificate()).arg("-connect").arg(format!("127.0.0.1:{}", nginx.port));
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl s_client");
    let mut to_nginx = client.stdin.take().expect("its input");
    to_nginx.write_all(request.as_bytes()).expect("a request");

    let (stream, _) = gateway.accept().expect("nginx connects");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("the request's head"), 0, "nginx closed early: {head}");
    }
    let mut stream = reader.into_inner();
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst frame")
        .expect("an answer");
    // The bytes after the upgrade must come through while both sides stay open.
    let mut answer = Vec::new();
    let mut from_nginx = client.stdout.take().expect("its output");
    while !answer.ends_with(b"first frame") {
        let mut chunk = [0; 4096];
        let n = from_nginx.read(&mut chunk).expect("an answer");
        assert_ne!(n, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..n]);
    }
    drop(stream);
    drop(to_nginx);
    let _ = client.wait();
    nginx.stop();
    Some((head.to_ascii_lowercase(), nginx.access_log()))
}

const UPGRADE: &str = "GET /ws?token=CANARY HTTP/1.1\r\nHost: koi.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://koi.test\r\nX-Forwarded-For: 203.0.113.9\r\n\
    X-Real-IP: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n\r\n";

#[test]
fn nginx_passes_the_upgrade_and_says_who_asks() {
    let Some((head, log)) = head_behind_nginx(UPGRADE) else { return };
    for line in [
        "get /ws?token=canary http/1.1",
        "upgrade: websocket",
        "connection: upgrade",
        "host: koi.test",
        "origin: https://koi.test",
        // What the client claims stays to the left; what nginx saw is the last hop.
        "x-forwarded-for: 203.0.113.9, 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: https",
    ] {
        assert!(head.lines().any(|l| l == line), "no line {line:?} in\n{head}");
    }
    assert!(log.contains("\"GET /ws HTTP/1.1\" 101"), "{log}");
    assert!(!log.contains("CANARY"), "a query string is in the log: {log}");
}

/// A copy of the unit whose program exists, because systemd-analyze looks for it.
fn unit_with_a_program(dir: &Path) -> PathBuf {
    let unit = fs::read_to_string(repository().join("systemd/skykoi-gateway.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/skykoi-gateway start\n"), "the unit starts something else");
    let path = dir.join("skykoi-gateway.service");
    fs::write(&path, unit.replace("ExecStart=/usr/bin/skykoi-gateway", "ExecStart=/bin/true")).expect("a copy");
    path
}

/// Unknown keys leave the exit code at 0, so only an empty stderr means that systemd understands every line.
#[test]
fn systemd_understands_every_line_of_the_unit() {
    let dir = TempDir::new().expect("a directory");
    let unit = unit_with_a_program(dir.path());
    let Some(verified) = run_or_skip(program("systemd-analyze").arg("verify").arg(&unit)) else { return };
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    assert!(verified.status.success());
}

#[test]
fn systemd_understands_every_line_of_the_sudo_drop_in() {
    let dir = TempDir::new().expect("a directory");
    let unit = unit_with_a_program(dir.path());
    let drop_in = fs::read_to_string(repository().join("systemd/skykoi-gateway-sudo.conf")).expect("the drop-in");
    // A drop-in's lines come after the unit's; [Install] is the last section there, and the drop-in opens [Service] again.
    let both = fs::read_to_string(&unit).expect("the unit") + &drop_in;
    fs::write(&unit, both).expect("both");
    let Some(verified) = run_or_skip(program("systemd-analyze").arg("verify").arg(&unit)) else { return };
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
}

#[test]
fn the_unit_is_hardened_as_documented() {
    let dir = TempDir::new().expect("a directory");
    let unit = unit_with_a_program(dir.path());
    let Some(score) = run_or_skip(program("systemd-analyze").args(["security", "--offline=yes", "--threshold=15"]).arg(&unit)) else {
        return;
    };
    let said = String::from_utf8_lossy(&score.stderr).into_owned();
    if said.contains("unrecognized option") {
        skip("this systemd-analyze has no --offline");
        return;
    }
    assert!(score.status.success(), "exposure above 1.5: {}", String::from_utf8_lossy(&score.stdout));
}

/// The unit with one of the shipped drop-ins behind it.
fn unit_with(dir: &Path, drop_in: &str) -> PathBuf {
    let path = unit_with_a_program(dir);
    let drop_in = fs::read_to_string(repository().join("systemd").join(drop_in)).expect("the drop-in");
    fs::write(&path, fs::read_to_string(&path).expect("the unit") + &drop_in).expect("both");
    path
}

/// The exposure of a unit times ten, as systemd-analyze counts it; `None` where it cannot.
fn exposure(unit: &Path) -> Option<u32> {
    let score = run_or_skip(program("systemd-analyze").args(["security", "--offline=yes"]).arg(unit))?;
    let said = String::from_utf8_lossy(&score.stdout).into_owned();
    let Some(rest) = said.split("exposure level for ").nth(1).and_then(|rest| rest.split(": ").nth(1)) else {
        skip("this systemd-analyze has no --offline");
        return None;
    };
    rest.split(' ').next()?.replace('.', "").parse().ok()
}

#[test]
fn systemd_understands_every_line_of_the_other_units() {
    let dir = TempDir::new().expect("a directory");
    let front = unit_with(dir.path(), "skykoi-gateway-no-exec.conf");
    let Some(verified) = run_or_skip(program("systemd-analyze").arg("verify").arg(&front)) else { return };
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    for (drop_in, newer) in [("skykoi-gateway-sandbox.conf", ""), ("skykoi-gateway-limits.conf", "DelegateSubgroup")] {
        let unit = unit_with(dir.path(), drop_in);
        let Some(verified) = run_or_skip(program("systemd-analyze").arg("verify").arg(&unit)) else { return };
        // A key of a newer systemd is named as unknown by an older one, and nothing else may be.
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(said.lines().all(|line| !newer.is_empty() && line.contains(newer)), "{drop_in}: {said}");
    }
    let run = repository().join("systemd/skykoi-sandboxed-run@.service");
    let Some(verified) = run_or_skip(program("systemd-analyze").arg("verify").arg(run)) else { return };
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
}

#[test]
fn a_front_that_runs_nothing_and_a_sandboxed_run_are_exposed_as_little_as_promised() {
    let dir = TempDir::new().expect("a directory");
    let Some(front) = exposure(&unit_with(dir.path(), "skykoi-gateway-no-exec.conf")) else { return };
    assert!(front <= 15, "a front without runs: {front}");
    let run = repository().join("systemd/skykoi-sandboxed-run@.service");
    let Some(run) = exposure(&run) else { return };
    assert!(run <= 10, "a sandboxed run: {run}");
}

/// What the table of `deploy/README.md` says of each unit is what systemd counts for it.
#[test]
fn the_exposure_of_every_unit_is_that_of_the_table_for_operators() {
    let table = fs::read_to_string(repository().join("deploy/README.md")).expect("the page");
    for file in fs::read_dir(repository().join("systemd")).expect("the units") {
        let name = file.expect("a unit").file_name().into_string().expect("a name");
        let dir = TempDir::new().expect("a directory");
        let unit = match name.as_str() {
            "skykoi-gateway.service" => unit_with_a_program(dir.path()),
            name if name.ends_with(".conf") => unit_with(dir.path(), name),
            name => repository().join("systemd").join(name),
        };
        let Some(measured) = exposure(&unit) else { return };
        let row = table.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap_or_else(|| panic!("no row of {name}"));
        let said = row.trim_end_matches([' ', '|']).rsplit("| ").next().expect("a figure").split(' ').next().expect("a figure");
        let documented: u32 = said.replace('.', "").parse().unwrap_or_else(|_| panic!("{row}"));
        // Versions of systemd count a little differently.
        assert!(measured <= documented + 2, "{name}: {measured}, documented {documented}");
    }
}

#[test]
fn runs_outlive_the_daemon_and_a_bad_config_is_not_retried() {
    let unit = fs::read_to_string(repository().join("systemd/skykoi-gateway.service")).expect("the unit");
    for line in
        ["KillMode=process", "OOMPolicy=continue", "SendSIGHUP=no", "RestartPreventExitStatus=78 64", "Type=notify", "WatchdogSec=30"]
    {
        assert!(unit.lines().any(|l| l == line), "no {line}");
    }
    // Each of these is emptied by systemd when the daemon stops, while runs still use it.
    for key in ["PrivateTmp=", "RemoveIPC=", "RuntimeDirectory=", "DynamicUser="] {
        assert!(!unit.lines().any(|l| l.starts_with(key)), "{key} harms runs that outlive the daemon");
    }
}

const SCRIPTS: [&str; 6] =
    ["deploy/install.sh", "deploy/make-cert.sh", "scripts/mutants", "scripts/test-deps", "tests/systemd/run.sh", ".ci/run"];

#[test]
fn every_script_parses_and_may_be_executed() {
    for script in SCRIPTS {
        let path = repository().join(script);
        let mode = fs::metadata(&path).unwrap_or_else(|e| panic!("{script}: {e}")).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
        let Some(parsed) = run_or_skip(program("bash").arg("-n").arg(&path)) else { return };
        assert!(parsed.status.success(), "{script}: {}", String::from_utf8_lossy(&parsed.stderr));
    }
}

#[test]
fn scripts_explain_themselves_and_refuse_what_they_do_not_know() {
    for script in ["deploy/install.sh", "deploy/make-cert.sh"] {
        let help = program(script).arg("--help").output().expect("a shell");
        assert!(help.status.success(), "{script}");
        assert!(String::from_utf8_lossy(&help.stdout).starts_with("Usage:"), "{script}");
        let unknown = program(script).arg("--no-such-option").output().expect("a shell");
        assert_eq!(unknown.status.code(), Some(64), "{script}");
    }
}

#[test]
fn the_certificate_is_for_the_names_given_and_is_not_replaced_unasked() {
    let dir = TempDir::new().expect("a directory");
    let make =
        |args: &[&str]| program("deploy/make-cert.sh").arg("--dir").arg(dir.path().join("tls")).args(args).output().expect("a shell");
    let first = make(&["koi.example.com", "192.0.2.7", "2001:db8::7"]);
    if first.status.code() == Some(69) {
        skip("openssl is not installed (scripts/test-deps installs it)");
        return;
    }
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let (key, cert) = (dir.path().join("tls/key.pem"), dir.path().join("tls/cert.pem"));
    assert_eq!(fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    let text = program("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&cert).output().expect("openssl");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in
        ["DNS:koi.example.com", "IP Address:192.0.2.7", "IP Address:2001:DB8:0:0:0:0:0:7", "DNS:localhost", "CA:FALSE", "prime256v1"]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let before = fs::read(&cert).expect("the certificate");
    assert_eq!(make(&["other.example.com"]).status.code(), Some(73));
    assert_eq!(fs::read(&cert).expect("the certificate"), before);
    assert!(make(&["--force", "other.example.com"]).status.success());
    assert_ne!(fs::read(&cert).expect("the certificate"), before);
    for bad in ["a b", "koi;reboot", "999.1.1.1"] {
        assert!(!make(&["--force", bad]).status.success(), "{bad:?} is taken for a name");
    }
    assert_eq!(fs::read_dir(dir.path().join("tls")).expect("the directory").count(), 2, "something is left behind");
}

/// The parts of the schema of cloud-init that we use: known keys, octal modes as text, commands as lists.
const CLOUD_INIT_CHECK: &str = r##"
import re, subprocess, sys
try:
    import yaml
except ImportError:
    sys.exit(69)
text = open("deploy/cloud-init.yaml").read()
assert text.startswith("#cloud-config\n"), "the first line must be #cloud-config"
data = yaml.safe_load(text)
assert set(data) == {"package_update", "packages", "write_files", "runcmd"}, set(data)
assert data["package_update"] is True
assert all(re.fullmatch(r"[a-z0-9.+-]+", p) for p in data["packages"])
for f in data["write_files"]:
    assert set(f) == {"path", "permissions", "content"}, set(f)
    assert f["path"].startswith("/") and re.fullmatch(r"0[0-7]{3}", f["permissions"])
    if f["content"].startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n"], input=f["content"], text=True, check=True)
written = {f["path"] for f in data["write_files"]}
for c in data["runcmd"]:
    assert isinstance(c, list) and c[0] in written, c
"##;

#[test]
fn cloud_init_takes_the_shipped_file() {
    let Some(checked) = run_or_skip(program("python3").args(["-c", CLOUD_INIT_CHECK])) else { return };
    if checked.status.code() == Some(69) {
        skip("python3 has no yaml module (package python3-yaml)");
        return;
    }
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

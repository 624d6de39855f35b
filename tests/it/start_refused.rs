//! M95: a start that is refused names file, line, column and key, ends with 78, writes nothing and opens no port.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::Gateway;
use crate::harness::gateway::TOKEN;

/// Every file below the state directory and its bytes; the log is the test's own.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            files.extend(self::files(&path));
        } else if path.file_name().unwrap() != "daemon.log" {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

/// Starts on this file and expects to be refused; gives what was said.
fn refused(text: &str, mode: u32) -> String {
    let mut gateway = Gateway::prepared(&json!({}));
    gateway.write_config(text);
    std::fs::set_permissions(gateway.config_path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let before = files(gateway.state_dir());
    let status = gateway.try_launch().unwrap_err();
    let said = gateway.log();
    assert_eq!(status.code(), Some(78), "{said}");
    assert_eq!(files(gateway.state_dir()), before, "something was written");
    let place = gateway.config_path().display().to_string();
    assert!(said.contains(&place), "{said}");
    said.replace(&place, "FILE")
}

/// A configuration that would start, with `{port}` for its port and one more line.
fn config(port: u32, line: &str) -> String {
    format!("{{\n  gateway: {{ mode: 'local', port: {port}, auth: {{ mode: 'token', token: '{TOKEN}' }} }},\n  {line}\n}}\n")
}

#[test]
fn m95_each_mistake_is_named_with_its_place_and_nothing_happens() {
    for (line, wanted) in [
        ("agents: { defaults: { timeoutSecond: 5 } },", "FILE:3:25: agents.defaults.timeoutSecond: unknown key"),
        ("agents: { defaults: { timeoutSeconds: 'soon' } },", "FILE:3:41: agents.defaults.timeoutSeconds: "),
        ("session: { scope: 'mine' },", "FILE:3:21: session.scope: "),
        ("session: {}, session: {},", "FILE:3:16: duplicate key `session`"),
        ("exec: { host: 'sandbox' },", "exec.host"),
    ] {
        let said = refused(&config(0, line), 0o600);
        assert!(said.contains(wanted), "{line}: {said}");
        assert!(!said.contains(TOKEN), "a secret in a message: {said}");
    }
}

#[test]
fn m95_all_mistakes_come_in_one_pass() {
    let said = refused(&config(70_000, "bogus: 1, session: { scope: 1 },"), 0o600);
    for wanted in ["gateway.port", "bogus: unknown key", "session.scope"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn m95_files_that_are_no_configuration_are_refused() {
    for text in ["", "{ gateway: ", "[]", "\u{feff}", "{} {}"] {
        refused(text, 0o600);
    }
    refused(&config(0, &format!("meta: {}", "[".repeat(200) + &"]".repeat(200))), 0o600);
    refused(&format!("{}// {}", config(0, ""), "x".repeat(2 << 20)), 0o600);
    for mode in [0o666, 0o620] {
        let said = refused(&config(0, ""), mode);
        assert!(said.contains("chmod") || said.contains("writable"), "{said}");
    }
}

#[test]
fn m95_a_refused_start_never_takes_the_port() {
    // Somebody else holds the port: a daemon that tried to listen would say so and end with 75.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let said = refused(&config(port.into(), "bogus: 1,"), 0o600);
    assert!(!said.contains("listen"), "{said}");
    let mut gateway = Gateway::prepared(&json!({ "gateway": { "port": port } }));
    assert_eq!(gateway.try_launch().unwrap_err().code(), Some(75));
    assert!(gateway.log().contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", gateway.log());
}

#[test]
fn a_mode_that_is_not_local_or_missing_does_not_start() {
    for gateway in ["mode: 'remote', ", ""] {
        let said = refused(&format!("{{ gateway: {{ {gateway}auth: {{ token: '{TOKEN}' }} }} }}"), 0o600);
        assert!(said.contains("gateway.mode"), "{said}");
    }
}

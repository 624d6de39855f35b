//! One daemon per place, signals, and state directories that cannot be used: exit codes are part of the interface, and each comes with a text that says what to do.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Client, Gateway};
use crate::nginx::{program, skip};
use crate::shim::until;

/// What an idle daemon may take to stop, or a second one to find out that it is one. The second is that of a release build; a debug build beside other tests may be stopped, or wait for the disk, for longer.
const QUICK: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

/// Starts a daemon that must refuse; gives its exit code and what it said.
fn refused(gateway: &mut Gateway) -> (i32, String) {
    let status = gateway.try_launch().expect_err("it must not start");
    (status.code().unwrap_or_else(|| panic!("it was killed: {status}\n{}", gateway.log())), gateway.log())
}

#[tokio::test]
async fn m93_a_second_daemon_on_the_same_state_directory_is_told_so_within_a_second() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut second = Gateway::prepared(&json!({}));
    second.env("SKYKOI_STATE_DIR", gateway.state_dir().to_str().unwrap());
    let begun = Instant::now();
    let (code, text) = refused(&mut second);
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    assert_eq!(code, 75, "{text}");
    assert!(text.contains(&format!("(pid {})", gateway.pid())) && text.contains(gateway.state_dir().to_str().unwrap()), "{text}");
    assert_eq!(client.script("echo unaffected").await["payload"]["status"], "ok");
    assert!(gateway.socket().exists(), "its socket is still there");
    Client::local(&gateway).await;
}

#[tokio::test]
async fn m93_a_second_daemon_on_the_same_port_is_told_so_within_a_second() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut second = Gateway::prepared(&json!({"gateway": {"port": gateway.port()}}));
    let begun = Instant::now();
    let (code, text) = refused(&mut second);
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    assert_eq!(code, 75, "{text}");
    assert!(text.contains(&gateway.port().to_string()), "{text}");
    assert_eq!(client.script("echo unaffected").await["payload"]["status"], "ok");
}

#[tokio::test]
async fn m94_what_a_dead_daemon_left_does_not_keep_the_next_one_from_starting() {
    let mut gateway = Gateway::start();
    gateway.kill();
    assert!(gateway.socket().exists(), "a killed daemon leaves its socket");
    for pid in [std::process::id().to_string(), "1".to_owned(), "99999999".to_owned(), "nonsense".to_owned()] {
        std::fs::write(gateway.state_dir().join("gateway.lock"), format!("{pid} 1\n")).unwrap();
        gateway.launch();
        let mut client = Client::local(&gateway).await;
        assert_eq!(client.ok("health", json!({})).await["ok"], true);
        gateway.kill();
    }
}

#[tokio::test]
async fn m98_an_idle_daemon_ends_cleanly_within_a_second_of_term_and_int() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::start();
        let begun = Instant::now();
        gateway.signal(signal);
        assert!(gateway.wait().success());
        assert!(begun.elapsed() < QUICK, "{signal:?}: {:?}", begun.elapsed());
        assert!(!gateway.socket().exists(), "it takes its socket with it");
        gateway.launch();
    }
}

#[tokio::test]
async fn m98_clients_are_told_of_the_stop_and_runs_go_on_into_the_next_daemon() {
    let mut gateway = Gateway::with(&json!({"agents": {"defaults": {"maxConcurrent": 3}}}));
    let mut client = Client::connect(&gateway).await;
    let mut local = Client::local(&gateway).await;
    for n in 0..6 {
        let message = format!("echo began {n}; while [ ! -e go ]; do sleep 0.02; done; echo run >> ran; exit {n}");
        client.agent(json!({"message": message, "idempotencyKey": format!("r{n}"), "sessionKey": format!("s{n}")})).await;
    }
    client.until("three are at work", |client| client.runs.values().filter(|run| !run.text().is_empty()).count() == 3).await;
    gateway.signal(Signal::TERM);
    for peer in [&mut client, &mut local] {
        let closed = peer.until_closed().await;
        assert!(peer.events.iter().any(|event| event["event"] == "shutdown" && event["payload"]["restartExpectedMs"].is_u64()));
        assert!(closed.code.is_none_or(|code| code == 1012), "{closed:?}");
    }
    assert!(client.closed.as_ref().is_some_and(|closed| closed.code == Some(1012)));
    assert!(gateway.wait().success());
    assert_eq!(gateway.shims().len(), 3, "runs at work are left to their shims");
    gateway.launch();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    let mut client = Client::connect(&gateway).await;
    for n in 0..6 {
        let waited = client.ok("agent.wait", json!({"runId": format!("r{n}")})).await;
        assert_eq!(waited["outcome"]["exitCode"], n);
    }
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap().lines().count(), 6);
    for journal in gateway.journals() {
        journal.assert_whole();
    }
}

#[tokio::test]
async fn m98_a_second_term_ends_at_once_what_the_first_began() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": "echo ready; sleep 1000", "idempotencyKey": "r"})).await;
    client.until("it runs", |client| client.runs.get("r").is_some_and(|run| run.last >= 3)).await;
    gateway.signal(Signal::TERM);
    // The client does not read on, so an orderly end would wait for it.
    until("the stop has begun", || gateway.log().contains("asked to stop")).await;
    gateway.signal(Signal::TERM);
    let begun = Instant::now();
    assert!(gateway.wait().success());
    assert!(begun.elapsed() < QUICK, "{:?}", begun.elapsed());
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ok("runs.get", json!({"runId": "r"})).await["status"], "running");
    assert_eq!(client.ok("runs.abort", json!({"runId": "r"})).await["aborted"], true);
    assert_eq!(client.ok("agent.wait", json!({"runId": "r"})).await["status"], "aborted");
}

#[tokio::test]
async fn m98_hup_checks_the_configuration_and_pipe_means_nothing() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    gateway.signal(Signal::PIPE);
    gateway.signal(Signal::HUP);
    until("a good file is called good", || gateway.log().contains("the configuration is valid")).await;
    gateway.write_config("{ gateway: { mode: 'local', prot: 1 } }");
    gateway.signal(Signal::HUP);
    // The watcher looks too, and may have met the file while it was being written.
    until("a bad file is called bad", || gateway.log().split("would not start").skip(1).any(|why| why.contains("gateway.prot:"))).await;
    assert_eq!(client.script("echo still here").await["payload"]["status"], "ok");
}

#[tokio::test]
async fn m89_a_missing_state_directory_is_made_private() {
    let mut gateway = Gateway::prepared(&json!({}));
    let state = gateway.state_dir().join("deep/er/state");
    gateway.env("SKYKOI_CONFIG_PATH", gateway.config_path().to_str().unwrap());
    gateway.env("SKYKOI_STATE_DIR", state.to_str().unwrap());
    gateway.launch();
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.script("echo works").await["payload"]["status"], "ok");
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
}

#[test]
fn m89_a_state_directory_that_is_a_file_is_refused_by_name() {
    let mut gateway = Gateway::prepared(&json!({}));
    let state = gateway.state_dir().join("state");
    std::fs::write(&state, "").unwrap();
    gateway.env("SKYKOI_CONFIG_PATH", gateway.config_path().to_str().unwrap());
    gateway.env("SKYKOI_STATE_DIR", state.to_str().unwrap());
    let (code, text) = refused(&mut gateway);
    assert_eq!(code, 73, "{text}");
    assert!(text.contains(&format!("the state directory {} cannot be used", state.display())), "{text}");
}

#[test]
fn m89_a_state_directory_of_somebody_else_is_refused_by_name() {
    let mut gateway = Gateway::prepared(&json!({}));
    let state = gateway.state_dir().join("state");
    std::fs::create_dir(&state).unwrap();
    gateway.env("SKYKOI_CONFIG_PATH", gateway.config_path().to_str().unwrap());
    gateway.env("SKYKOI_STATE_DIR", state.to_str().unwrap());
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere, so the daemon becomes somebody who owns the configuration but not the directory.
        let path = std::path::Path::new(env!("CARGO_BIN_EXE_skykoi-gateway"));
        if path.ancestors().skip(1).any(|dir| std::fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 == 0)) {
            return skip("another user cannot reach the built program here");
        }
        std::os::unix::fs::chown(gateway.config_path(), Some(65_534), Some(65_534)).unwrap();
        std::fs::set_permissions(gateway.state_dir(), std::fs::Permissions::from_mode(0o711)).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
        gateway.wrapper(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    } else {
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    let (code, text) = refused(&mut gateway);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains(state.to_str().unwrap()) && text.contains("ermission denied"), "{text}");
}

#[test]
fn m89_a_read_only_state_directory_is_refused_by_name() {
    let mut gateway = Gateway::prepared(&json!({}));
    let state = gateway.state_dir().join("state");
    std::fs::create_dir(&state).unwrap();
    gateway.env("SKYKOI_CONFIG_PATH", gateway.config_path().to_str().unwrap());
    gateway.env("SKYKOI_STATE_DIR", state.to_str().unwrap());
    if !can_mount() {
        return skip("no mounts of one's own are permitted here");
    }
    let mount = format!("mount -t tmpfs -o ro,mode=700 none '{}' && exec \"$@\"", state.display());
    gateway.wrapper(&["unshare", "-rm", "bash", "-c", &mount, "bash"]);
    let (code, text) = refused(&mut gateway);
    assert_eq!(code, 73, "{text}");
    assert!(text.contains(state.to_str().unwrap()) && text.contains("ead-only file system"), "{text}");
}

/// Whether this machine lets a process have mounts of its own.
pub fn can_mount() -> bool {
    let tried = program("unshare").args(["-rm", "bash", "-c", "mount -t tmpfs none /tmp"]).output();
    tried.is_ok_and(|output| output.status.success())
}

//! Isolated and limited runs through a real daemon: what must fail fails, what must work works, and nothing of them is left.
//!
//! Where the machine lacks a part (bubblewrap, Landlock), the daemon's own trial says so and the test is skipped with that reason.

mod ends;
mod env;
mod limits;
mod refused;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};
use crate::nginx::skip;

/// A directory that is not one of those which level `workspace` leaves open.
pub fn outside_of_tmp() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A gateway whose runs are isolated so, or `None` where this machine cannot give it.
pub fn isolated(sandbox: &Value, more: &Value) -> Option<Gateway> {
    let mut patch = json!({ "agents": { "defaults": { "sandbox": sandbox } } });
    merge(&mut patch, more);
    let mut gateway = Gateway::prepared_in(&outside_of_tmp(), &patch);
    match gateway.try_launch() {
        Ok(()) => Some(gateway),
        Err(status) => {
            let log = gateway.log();
            assert_eq!(status.code(), Some(78), "{log}");
            assert!(log.contains("cannot be given by this machine"), "{log}");
            skip(log.lines().find(|line| line.contains("cannot be given")).unwrap_or("no isolation here"));
            None
        }
    }
}

/// Runs a script to its end: the result in its final, and all that it printed.
pub async fn ran(client: &mut Client, script: &str) -> (Value, String) {
    let last = client.script(script).await;
    let text = client.runs[last["payload"]["runId"].as_str().unwrap()].text();
    (last["payload"]["result"].clone(), text)
}

/// Connects to a Unix socket and says how that went; perl is part of every Debian.
const UNIX: &str = r#"unix() { perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, pack_sockaddr_un($ARGV[0])) && print "reached\n" or print "no: $!\n"' "$1" 2>&1; }"#;
/// Connects to an IPv4 address and says how that went.
const TCP: &str = r#"tcp() { perl -MSocket -e '$SIG{ALRM} = sub { print "no: time is over\n"; exit }; alarm 5; socket(S, AF_INET, SOCK_STREAM, $ARGV[2] || 0) && connect(S, pack_sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) && print "reached\n" or print "no: $!\n"' "$@" 2>&1; }"#;

/// What an intruder tries, one line each: `name<TAB>what came of it`. What begins with `no` has failed.
fn intrusions(gateway: &Gateway, socket: &Path, port: u16) -> String {
    let (state, pid, own) = (gateway.state_dir().display(), gateway.pid(), gateway.port());
    let lines = [
        (
            "list the state",
            format!("ls {state}/ >/dev/null 2>&1 && [ -n \"$(ls {state}/ 2>/dev/null | grep -v ^work)\" ] && echo reached || echo no"),
        ),
        ("read the configuration", format!("cat {state}/skykoi.json 2>/dev/null | grep -q token && echo reached || echo no")),
        ("read the store", format!("head -c 15 {state}/state.db 2>/dev/null | grep -q SQLite && echo reached || echo no")),
        // What came of these three is looked at from outside: a directory of that name inside may be another one.
        ("append to the configuration", format!("(echo x >> {state}/skykoi.json) 2>/dev/null; echo tried")),
        ("empty the configuration", format!("(truncate -s 0 {state}/skykoi.json) 2>/dev/null; echo tried")),
        ("put a file into the state", format!("touch {state}/intruder 2>/dev/null; echo tried")),
        ("the gateway's socket", format!("unix {state}/gateway.sock")),
        ("a socket of the machine", format!("unix {}", socket.display())),
        ("the gateway's port", format!("tcp 127.0.0.1 {own}")),
        ("the metadata service", "tcp 169.254.169.254 80".to_owned()),
        ("the gateway's port by MPTCP", format!("tcp 127.0.0.1 {own} 262")),
        (
            "the environment of the daemon",
            format!("tr '\\0' '\\n' 2>/dev/null </proc/{pid}/environ | grep -q ^SKYKOI_ && echo reached || echo no"),
        ),
        (
            "the open files of the daemon",
            format!("for fd in /proc/{pid}/fd/*; do readlink \"$fd\"; done 2>/dev/null | grep -q . && echo reached || echo no"),
        ),
        (
            "the memory of the daemon",
            format!("head -c 1 /proc/{pid}/mem >/dev/null 2>&1; (exec 3</proc/{pid}/mem) 2>/dev/null && echo reached || echo no"),
        ),
        ("a signal to the daemon", format!("kill -0 {pid} 2>/dev/null && echo reached || echo no")),
        ("write outside", format!("touch {}/intruder 2>/dev/null && echo reached || echo no", socket.parent().unwrap().display())),
        (
            "write into the system",
            "touch /usr/skykoi-intruder 2>/dev/null && rm /usr/skykoi-intruder && echo reached || echo no".to_owned(),
        ),
        ("rights of root", "grep -q '^CapPrm:.0*$' /proc/self/status && echo no || echo reached".to_owned()),
        ("gain rights", "grep -q 'NoNewPrivs:.1' /proc/self/status && echo no || echo reached".to_owned()),
        ("a listener of the machine", format!("tcp 127.0.0.1 {port}")),
    ];
    let tries: Vec<String> = lines.iter().map(|(name, script)| format!("printf '%s\\t' \"{name}\"; {{ {script}; }}")).collect();
    format!("{UNIX}\n{TCP}\n{}\n", tries.join("\n"))
}

struct Tried {
    text: String,
    /// Whether the configuration and the state are as they were.
    unharmed: bool,
}

impl Tried {
    fn of(&self, name: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
        line.unwrap_or_else(|| panic!("{name} is not in\n{}", self.text))
    }

    fn reached(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.contains("\treached")).filter_map(|line| line.split('\t').next()).collect()
    }
}

/// Tries everything in a run, and sees to it that the machine is as it was.
async fn intrude(gateway: &Gateway) -> Tried {
    let dir = tempfile::tempdir_in(outside_of_tmp()).unwrap();
    let socket = dir.path().join("docker.sock");
    let _docker = UnixListener::bind(&socket).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = std::fs::read(gateway.config_path()).unwrap();
    let mut client = Client::connect(gateway).await;
    let (result, text) = ran(&mut client, &intrusions(gateway, &socket, listener.local_addr().unwrap().port())).await;
    assert_eq!(result["status"], "ok", "{text}");
    let unharmed = std::fs::read(gateway.config_path()).unwrap() == config && !gateway.state_dir().join("intruder").exists();
    Tried { text, unharmed }
}

/// What ordinary work does, each line with an exit code of its own.
const WORK: &str = r#"set -e
echo hello > file && grep -q hello file && mkdir -p a/b && mv file a/b/file && ln -s a/b/file link && rm -r a link
echo x > /tmp/skykoi-work-$$ && rm /tmp/skykoi-work-$$
seq 1 1000 | sort -n | tail -n 1 | grep -q 1000
(sleep 0.01 & wait)
grep -q . /etc/os-release && id -u >/dev/null && date >/dev/null && echo > /dev/null
[ "$(pwd)" = "$(realpath .)" ] && [ -n "$HOME" ] && head -c 8 /dev/urandom >/dev/null
perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die'
cat <<END | bash
echo works
END
"#;

#[tokio::test]
async fn m82_without_isolation_a_run_can_what_its_user_can() {
    let mut gateway = Gateway::prepared_in(&outside_of_tmp(), &json!({}));
    gateway.launch();
    let tried = intrude(&gateway).await;
    for name in [
        "list the state",
        "read the configuration",
        "the gateway's socket",
        "a socket of the machine",
        "the gateway's port",
        "a signal to the daemon",
    ] {
        assert_eq!(tried.of(name), "reached", "{name}");
    }
    assert!(!tried.unharmed);
    let mut client = Client::connect(&gateway).await;
    let (result, _) = ran(&mut client, "true").await;
    assert!(result.get("sandbox").is_none() && result.get("limits").is_none(), "{result}");
}

#[tokio::test]
async fn m82_level_workspace_keeps_an_intruder_out_and_lets_work_be_done() {
    let Some(gateway) = isolated(&json!({ "level": "workspace" }), &json!({})) else { return };
    let tried = intrude(&gateway).await;
    // It has a network, so it reaches who listens, but for the gateway and the metadata service.
    assert!(tried.unharmed, "{}", tried.text);
    assert_eq!(tried.reached(), ["a listener of the machine"], "{}", tried.text);
    assert_eq!(tried.of("the gateway's port"), "no: Permission denied");
    assert_eq!(tried.of("the metadata service"), "no: Permission denied");
    let mut client = Client::connect(&gateway).await;
    let (result, text) = ran(&mut client, WORK).await;
    assert_eq!((result["status"].as_str(), result["sandbox"].as_str(), text.as_str()), (Some("ok"), Some("workspace"), "works\n"));
    gateway.is_clean().await;
}

#[tokio::test]
async fn m82_level_workspace_without_network_reaches_nobody() {
    let Some(gateway) = isolated(&json!({ "level": "workspace", "network": "off" }), &json!({})) else { return };
    let tried = intrude(&gateway).await;
    assert!(tried.unharmed, "{}", tried.text);
    assert_eq!(tried.reached(), [""; 0], "{}", tried.text);
    let mut client = Client::connect(&gateway).await;
    assert_eq!(ran(&mut client, WORK).await.0["status"], "ok");
}

#[tokio::test]
async fn m82_mk27_level_strict_shows_nothing_but_the_workspace_and_trusted_files() {
    let Some(gateway) = isolated(&json!({ "level": "strict" }), &json!({})) else { return };
    let tried = intrude(&gateway).await;
    assert!(tried.unharmed, "{}", tried.text);
    assert_eq!(tried.reached(), [""; 0], "{}", tried.text);
    assert!(tried.of("the metadata service").contains("unreachable"), "{}", tried.of("the metadata service"));
    let mut client = Client::connect(&gateway).await;
    let (result, text) = ran(&mut client, WORK).await;
    assert_eq!((result["status"].as_str(), result["sandbox"].as_str(), text.as_str()), (Some("ok"), Some("strict"), "works\n"));
    let seen = ran(&mut client, "ls /; ls -A /run /var /tmp; ls /proc | grep -c '^[0-9]'; ls -A \"$HOME\" | wc -l").await.1;
    // The workspace may lie below one of these; then there is the way to it and nothing beside it.
    let workspace = gateway.state_dir().join("work");
    let way: Vec<_> = workspace.iter().skip(1).take(2).map(|part| part.to_str().unwrap()).collect();
    for hidden in ["home", "root", "srv", "sys", "mnt", "boot", "systemd", "docker.sock", "user", "lib/dpkg"] {
        assert!(hidden == way[0] || !seen.lines().any(|line| line == hidden), "{hidden} in\n{seen}");
    }
    assert_eq!(ran(&mut client, &format!("ls -A /{}", way[0])).await.1.trim_end(), way[1]);
    let ending = "unshare -Ur true 2>&1; mount -t tmpfs none /tmp 2>&1; kill -9 1; echo still here; cat /etc/shadow 2>&1";
    let text = ran(&mut client, ending).await.1;
    assert!(text.contains("still here") && text.contains("unshare") && text.contains("No such file") && !text.contains("root:"), "{text}");
}

#[tokio::test]
async fn m82_mk42_level_strict_has_a_network_only_when_asked_and_never_the_gateway_or_the_metadata_service() {
    let Some(gateway) = isolated(&json!({ "level": "strict", "network": "on" }), &json!({})) else { return };
    let tried = intrude(&gateway).await;
    assert!(tried.unharmed, "{}", tried.text);
    assert_eq!(tried.reached(), ["a listener of the machine"], "{}", tried.text);
    assert_eq!(tried.of("the metadata service"), "no: Permission denied");
    assert_eq!(tried.of("the gateway's port"), "no: Permission denied");
}

#[tokio::test]
async fn m82_further_places_can_be_read_and_a_workspace_can_be_closed() {
    let tools = tempfile::tempdir_in(outside_of_tmp()).unwrap();
    std::fs::write(tools.path().join("tool"), "sharp").unwrap();
    let path = tools.path().display().to_string();
    let Some(gateway) = isolated(&json!({ "level": "strict", "readOnlyPaths": [path], "workspaceAccess": "ro" }), &json!({})) else {
        return;
    };
    let mut client = Client::connect(&gateway).await;
    let (_, text) =
        ran(&mut client, &format!("cat {path}/tool; (echo x > {path}/tool) 2>/dev/null || echo no; (echo x > f) 2>/dev/null || echo no"))
            .await;
    assert_eq!(text, "sharpno\nno\n");
    assert_eq!(std::fs::read_to_string(tools.path().join("tool")).unwrap(), "sharp");
    let Some(gateway) = isolated(&json!({ "level": "strict", "workspaceAccess": "none" }), &json!({})) else { return };
    std::fs::create_dir_all(gateway.state_dir().join("work")).unwrap();
    std::fs::write(gateway.state_dir().join("work").join("secret"), "x").unwrap();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(ran(&mut client, "ls -A | wc -l; pwd").await.1, format!("0\n{}\n", gateway.state_dir().join("work").display()));
    let Some(gateway) = isolated(&json!({ "level": "workspace", "workspaceAccess": "ro" }), &json!({})) else { return };
    let mut client = Client::connect(&gateway).await;
    assert_eq!(ran(&mut client, "(echo x > f) 2>/dev/null || echo no; ls >/dev/null && echo read").await.1, "no\nread\n");
}

#[tokio::test]
async fn the_original_words_isolate_all_sessions_but_the_main_one() {
    let Some(gateway) = isolated(&json!({ "mode": "non-main" }), &json!({})) else { return };
    let mut client = Client::connect(&gateway).await;
    let (main, _) = ran(&mut client, "true").await;
    assert!(main.get("sandbox").is_none(), "{main}");
    let (id, _) = client.agent(json!({ "message": "true", "sessionKey": "agent:main:other" })).await;
    let other = client.response(&id).await;
    assert_eq!(other["payload"]["result"]["sandbox"], "strict", "{other}");
}

#[tokio::test]
async fn files_that_came_with_a_message_can_be_read_on_every_level() {
    for level in ["workspace", "strict"] {
        let Some(gateway) = isolated(&json!({ "level": level }), &json!({})) else { continue };
        let mut client = Client::connect(&gateway).await;
        let file = json!({ "fileName": "note.txt", "mimeType": "text/plain", "content": "aGVsbG8=" });
        let script = "cat \"$SKYKOI_ATTACHMENT_1\"; (echo x >> \"$SKYKOI_ATTACHMENT_1\") 2>/dev/null || echo ' no'";
        let (id, ack) = client.agent(json!({ "message": script, "attachments": [file] })).await;
        client.response(&id).await;
        assert_eq!(client.runs[ack["runId"].as_str().unwrap()].text(), "hello no\n", "{level}");
    }
}

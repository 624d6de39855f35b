//! The exec policy of a real daemon: what the rules do not let run never becomes a process, and what they let run is exactly that.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::nginx::skip;

const FILE: &str = "exec-approvals.json";

/// The real path of a program of the system.
fn real(name: &str) -> String {
    let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists()).unwrap();
    std::fs::canonicalize(found).unwrap().display().to_string()
}

fn write_approvals(gateway: &Gateway, text: &str) {
    let path = gateway.state_dir().join(FILE);
    // By another file, so that a reader sees the old one or the new one.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(draft, path).unwrap();
}

/// A gateway in mode allowlist whose approvals file lists these programs.
fn listing(names: &[&str], ask: &str) -> Gateway {
    let mut gateway = Gateway::prepared(&json!({ "exec": { "security": "allowlist", "ask": ask } }));
    let list: Vec<Value> = names.iter().map(|name| json!({ "pattern": real(name) })).collect();
    write_approvals(&gateway, &json!({ "version": 1, "agents": { "main": { "allowlist": list } } }).to_string());
    gateway.launch();
    gateway
}

/// The code, the detail code and the word of a refused run; and nothing of it became a process.
fn refusal(gateway: &Gateway, last: &Value) -> (String, String) {
    assert_eq!(last["error"]["code"], "EXEC_DENIED", "{last}");
    let journal = gateway.journal(last["payload"]["runId"].as_str().unwrap());
    journal.assert_whole();
    assert_eq!((journal.lines.len(), journal.scan.host.is_none()), (1, true), "a process was started: {last}");
    let details = &last["error"]["details"];
    let text = |key: &str| details[key].as_str().unwrap_or_else(|| panic!("{key}: {last}")).to_owned();
    assert_eq!(last["payload"]["result"]["denied"]["token"], details["token"], "{last}");
    (text("code"), text("token"))
}

async fn output(client: &mut Client, script: &str) -> String {
    let last = client.script(script).await;
    assert_eq!(last["ok"], true, "{script}: {last}");
    let run_id = last["payload"]["runId"].as_str().unwrap().to_owned();
    client.until_end(&run_id).await;
    client.runs[&run_id].text()
}

#[tokio::test]
async fn m62_in_mode_deny_the_kernel_sees_no_process_at_all() {
    let Ok(strace) = std::fs::canonicalize("/usr/bin/strace") else { return skip("there is no strace") };
    let mut gateway = Gateway::prepared(&json!({ "exec": { "security": "deny" } }));
    let trace = gateway.state_dir().join("trace");
    gateway.wrapper(&[strace.to_str().unwrap(), "-D", "-f", "-qq", "-e", "trace=execve,execveat", "-o", trace.to_str().unwrap()]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(refusal(&gateway, &client.script("id").await), ("EXEC_DENIED".into(), "DENY".into()));
    gateway.stop();
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert_eq!(traced.lines().filter(|line| line.contains("execve")).count(), 1, "{traced}");
    assert!(traced.contains("\"start\""), "{traced}");
}

#[tokio::test]
async fn m63_m65_what_a_shell_would_act_on_is_refused_with_its_word_and_starts_nothing() {
    let gateway = listing(&["ls", "id"], "off");
    let mut client = Client::connect(&gateway).await;
    for (script, token) in [
        ("ls; id", "OPERATOR"),
        ("ls $(id)", "EXPANSION"),
        ("ls *", "EXPANSION"),
        ("ls > x", "REDIRECTION"),
        ("ls\nid", "NEWLINE"),
        ("a=b ls", "ASSIGNMENT"),
        ("cat <<E", "REDIRECTION"),
        ("ls\u{a0}id", "CHARACTER"),
        ("ls\u{ff1b}id", "CHARACTER"),
        ("./ls", "RELATIVE_PATH"),
        ("/usr/bin/../bin/ls", "PATH_FORM"),
        ("no-such-program", "NOT_FOUND"),
        ("find . -exec id", "UNBOUNDED"),
        ("uname", "NOT_LISTED"),
        ("sort -o x", "ARGUMENTS"),
    ] {
        let said = refusal(&gateway, &client.script(script).await);
        assert_eq!(said, ("EXEC_DENIED".into(), token.into()), "{script:?}");
    }
    assert!(!gateway.state_dir().join("logs/shim.log").exists(), "the shims' log is made with the first shim");
}

#[tokio::test]
async fn m64_a_listed_command_runs_exactly_as_written_and_by_no_shell() {
    let gateway = listing(&["printf", "cat", "ls"], "off");
    let mut client = Client::connect(&gateway).await;
    assert_eq!(output(&mut client, r"printf '%s|' ';id' '$HOME' '*' 'a  b' | cat").await, ";id|$HOME|*|a  b|");
    assert_eq!(output(&mut client, "printf abc | tr a-c A-C | wc -c").await.trim(), "3", "safe programs need no entry");
    let last = client.script("cat /no/such/file").await;
    assert_eq!((&last["payload"]["exitCode"], &last["payload"]["status"]), (&json!(1), &json!("error")), "{last}");
    let open = output(&mut client, "ls /proc/self/fd").await;
    assert_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "the fourth is what ls reads");
    // The parent of a planned command is the shim.
    let tree = output(&mut client, "cat /proc/self/stat").await;
    let parent: u32 = tree.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    let started = gateway.journals().iter().filter_map(|journal| journal.scan.host.clone()).any(|host| host.pid == parent);
    assert!(started, "{tree}");
}

#[tokio::test]
async fn m69_no_dangerous_variable_reaches_a_planned_command_from_anywhere() {
    let names =
        ["GIT_SSH_COMMAND", "PYTHONPATH", "PERL5OPT", "BASH_ENV", "PAGER", "EDITOR", "JAVA_TOOL_OPTIONS", "NODE_OPTIONS", "OPENSSL_CONF"];
    let mut gateway = Gateway::prepared(&json!({
        "exec": { "security": "allowlist", "ask": "off" },
        "agents": { "defaults": { "env": { "passthrough": ["GIT_SSH_COMMAND", "PYTHONPATH", "PAGER", "FINE"] } } },
    }));
    write_approvals(&gateway, &json!({ "agents": { "*": { "allowlist": [{ "pattern": real("cat") }] } } }).to_string());
    for name in names {
        gateway.env(name, "evil");
    }
    gateway.env("FINE", "yes");
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let env = output(&mut client, "cat /proc/self/environ").await;
    let env: Vec<&str> = env.split('\0').collect();
    assert!(!env.iter().any(|entry| entry.contains("evil") || entry.starts_with("HOME=")), "{env:?}");
    assert!(env.contains(&"FINE=yes"), "{env:?}");
    assert!(env.contains(&"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), "{env:?}");
    let refused = client.err("agent", json!({ "message": "cat", "env": { "LD_PRELOAD": "/x" } })).await;
    assert_eq!(refused["code"], "INVALID_REQUEST", "{refused}");
}

#[tokio::test]
async fn m73_a_damaged_approvals_file_stops_every_command_and_health_says_so_until_it_is_mended() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(output(&mut client, "echo before").await, "before\n");
    for damaged in ["{", r#"{"version":7}"#, r#"{"agents":{"main":{"security":"all"}}}"#] {
        write_approvals(&gateway, damaged);
        let last = client.script("echo no").await;
        assert_eq!(refusal(&gateway, &last), ("EXEC_DENIED".into(), "POLICY".into()));
        assert!(last["error"]["message"].as_str().unwrap().contains(FILE), "{last}");
        let health = client.ok("health", json!({})).await;
        assert_eq!((&health["ok"], &health["failing"]), (&json!(false), &json!(["exec-policy"])), "{health}");
    }
    write_approvals(&gateway, r#"{"agents":{"*":{"security":"deny"}}}"#);
    assert_eq!(refusal(&gateway, &client.script("echo no").await).1, "DENY", "the file narrows what the configuration allows");
    std::fs::remove_file(gateway.state_dir().join(FILE)).unwrap();
    assert_eq!(output(&mut client, "echo after").await, "after\n");
    assert_eq!(client.ok("health", json!({})).await["ok"], true);
}

#[tokio::test]
async fn m74_a_workspace_that_was_made_a_link_is_not_entered() {
    let gateway = listing(&["ls"], "off");
    let mut client = Client::connect(&gateway).await;
    output(&mut client, "ls").await;
    let work = gateway.config_path().parent().unwrap().join("work");
    let work = if work.exists() { work } else { gateway.state_dir().parent().unwrap().join("work") };
    std::fs::rename(&work, work.with_extension("moved")).unwrap();
    std::os::unix::fs::symlink("/etc", &work).unwrap();
    assert_eq!(refusal(&gateway, &client.script("ls").await).1, "CWD");
}

#[tokio::test]
async fn a_command_that_a_person_would_have_to_allow_is_refused_while_nobody_can_be_asked() {
    let gateway = listing(&["ls"], "on-miss");
    let mut client = Client::connect(&gateway).await;
    output(&mut client, "ls").await;
    let last = client.script("git status").await;
    let known = last["error"]["details"]["token"] == "NOT_FOUND";
    assert!(known || refusal(&gateway, &last) == ("APPROVAL_NO_APPROVER".into(), "ASK".into()), "{last}");
    assert_eq!(refusal(&gateway, &client.script("uname -a").await), ("APPROVAL_NO_APPROVER".into(), "ASK".into()));
    let gateway = Gateway::with(&json!({ "exec": { "ask": "always" } }));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(refusal(&gateway, &client.script("echo a; echo b").await), ("APPROVAL_NO_APPROVER".into(), "ASK".into()));
}

#[tokio::test]
async fn requests_and_sessions_narrow_the_rules_and_never_widen_them() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let mut run = async |params: Value| {
        let (id, _) = client.agent(params).await;
        client.response(&id).await
    };
    let last = run(json!({ "message": "echo a; echo b", "exec": { "security": "allowlist", "ask": "off" } })).await;
    assert_eq!(refusal(&gateway, &last).1, "OPERATOR");
    assert_eq!(refusal(&gateway, &run(json!({ "message": "echo a", "exec": { "security": "deny" } })).await).1, "DENY");
    let full = run(json!({ "message": "echo a; echo b", "exec": { "security": "full", "ask": "off" } })).await;
    assert_eq!(full["ok"], true, "{full}");
    client.ok("sessions.patch", json!({ "key": "agent:main:narrow", "execSecurity": "deny" })).await;
    let (id, _) = client.agent(json!({ "message": "echo a", "sessionKey": "agent:main:narrow", "exec": { "security": "full" } })).await;
    assert_eq!(refusal(&gateway, &client.response(&id).await).1, "DENY");
    let narrow = Gateway::with(&json!({ "exec": { "security": "allowlist", "ask": "off" } }));
    let mut client = Client::connect(&narrow).await;
    let (id, _) = client.agent(json!({ "message": "echo a; echo b", "exec": { "security": "full" } })).await;
    assert_eq!(refusal(&narrow, &client.response(&id).await).1, "OPERATOR");
}

#[tokio::test]
async fn an_abort_ends_every_stage_of_a_planned_pipeline() {
    let gateway = listing(&["sleep", "cat"], "off");
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "sleep 1000 | sleep 1000 | cat" })).await;
    let run_id = ack["runId"].as_str().unwrap().to_owned();
    client.until("the command's start", |client| client.runs.get(&run_id).is_some_and(|run| run.events.len() > 1)).await;
    client.ok("runs.abort", json!({ "runId": run_id })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "aborted", "{last}");
    gateway.is_clean().await;
}

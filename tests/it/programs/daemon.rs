//! A program without a shell and without a key, in a real gateway: the rules, approvals and crashes that its commands meet, and where the provider's key is not.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::stub::{HEAD, mcp_client};
use crate::fake_model::{Answer, FakeModel};
use crate::harness::approver::{approver, asked};
use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};
use crate::shim::until;

const KEY: &str = "canary-provider-key-77310";

/// A gateway whose agent is a stand-in for Claude Code that does what this script says.
fn gateway(script: &str, patch: &Value) -> Gateway {
    let mut gateway = Gateway::prepared(&json!({}));
    let stub = gateway.state_dir().join("work/stub");
    std::fs::create_dir_all(stub.parent().unwrap()).unwrap();
    std::fs::write(&stub, format!("{HEAD}{}\n", mcp_client(script))).unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(gateway.config_path()).unwrap()).unwrap();
    let program = json!({ "command": stub, "exec": "gateway" });
    merge(&mut config, &json!({ "agents": { "defaults": { "runner": "claude" } }, "runners": { "claude": program } }));
    merge(&mut config, patch);
    gateway.write_config(&config.to_string());
    gateway.launch();
    gateway
}

fn work(gateway: &Gateway, name: &str) -> std::path::PathBuf {
    gateway.state_dir().join("work").join(name)
}

#[tokio::test]
async fn a_list_of_what_is_allowed_holds_for_a_program_without_a_shell() {
    let script = "hello\nuse a 'echo hello | wc -c'\ncall 5 a 'echo hello | wc -c'\nhear\nresult a 6\nuse b 'touch ran'\ncall 6 b 'touch ran'\nhear\nresult b no\nsay done\n";
    let gateway = gateway(script, &json!({ "exec": { "security": "allowlist", "ask": "off" } }));
    let list = ["/usr/bin/echo", "/bin/echo", "/usr/bin/wc"].map(|path| json!({ "pattern": path }));
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": list } } });
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut client = Client::connect(&gateway).await;
    let (id, ack) = client.agent(json!({ "message": "do it" })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    let run = &client.runs[ack["runId"].as_str().unwrap()];
    assert_eq!(run.text(), "6\n");
    assert!(!work(&gateway, "ran").exists());
    let answers = std::fs::read_to_string(work(&gateway, "stub.mcp")).unwrap();
    assert!(answers.lines().last().unwrap().contains("did not run"), "{answers}");
}

#[tokio::test]
async fn a_person_decides_about_each_command_of_a_program_without_a_shell_also_after_a_crash_of_the_daemon() {
    let script = "hello\nuse a 'echo x >> ran'\ncall 5 a 'echo x >> ran'\nhear\nresult a ok\nuse b 'echo y >> ran'\ncall 6 b 'echo y >> ran'\nhear\nresult b no\nsay done\n";
    let mut gateway = gateway(script, &json!({ "exec": { "security": "full", "ask": "always" } }));
    let mut first = approver(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let (_, ack) = client.agent(json!({ "message": "do it" })).await;
    let waits = asked(&mut first, 0).await;
    assert_eq!(waits["request"]["command"], "echo x >> ran");
    first.ok("exec.approval.resolve", json!({ "id": waits["id"], "decision": "allow-once" })).await;
    asked(&mut first, 1).await;
    drop((client, first));
    gateway.kill_and_restart();
    let mut client = Client::connect(&gateway).await;
    let last = client.ok("agent.wait", json!({ "runId": ack["runId"], "timeoutMs": 30_000 })).await;
    assert_eq!(last["status"], "ok", "{last}");
    // What was asked of the daemon that died is not allowed by another one.
    assert_eq!(std::fs::read_to_string(work(&gateway, "ran")).unwrap(), "x\n");
    assert!(std::fs::read_to_string(work(&gateway, "stub.mcp")).unwrap().contains("did not run"));
}

#[tokio::test]
async fn mk28_the_providers_key_is_nowhere_in_the_run_and_ends_with_nothing_left() {
    let fake = FakeModel::start([Answer { keep: true, ..Answer::text("from the model") }]).await.unwrap();
    let script = r#"hello
tr '\0' '\n' < /proc/$$/environ > env.txt
curl -sS -H "authorization: Bearer $ANTHROPIC_AUTH_TOKEN" -d '{"model":"m"}' "$ANTHROPIC_BASE_URL/v1/messages" > answer.part 2>&1
mv answer.part answer.txt
until_there go
say done
"#;
    let patch = json!({
        "models": { "providers": { "fake": { "baseUrl": fake.url(), "apiKey": KEY, "api": "anthropic-messages" } } },
        "runners": { "claude": { "credentials": "gateway", "provider": "fake", "env": { "ANTHROPIC_API_KEY": "canary-of-the-user" } } },
    });
    let gateway = gateway(script, &patch);
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "do it" })).await;
    until("the model has answered", || {
        std::fs::read_to_string(work(&gateway, "answer.txt")).is_ok_and(|text| text.contains("message_stop"))
    })
    .await;
    let seen = &fake.seen()[0];
    assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (Some(KEY), None));
    let env = std::fs::read_to_string(work(&gateway, "env.txt")).unwrap();
    assert!(!env.contains("canary") && env.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:"), "{env}");
    let key = env.lines().find_map(|line| line.strip_prefix("ANTHROPIC_AUTH_TOKEN=")).unwrap().to_owned();
    let port = env.lines().find_map(|line| line.strip_prefix("ANTHROPIC_BASE_URL=http://127.0.0.1:")).unwrap().parse::<u16>().unwrap();
    for (_, shim) in gateway.shims() {
        for pid in skykoi_gateway::exec::proc::descendants(shim).iter().map(|process| process.pid).chain([shim]) {
            for part in ["environ", "cmdline"] {
                let text = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{part}")).unwrap_or_default()).into_owned();
                assert!(!text.contains(KEY), "{pid} {part}");
                assert!(part == "environ" || !text.contains(&key), "{pid} {part}: {text}");
            }
        }
    }
    std::fs::write(work(&gateway, "go"), "").unwrap();
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it ends with the run");
    assert!(!gateway.log().contains(KEY) && !gateway.log().contains(&key));
    let holding = crate::nginx::program("grep").args(["-rlE", &format!("{KEY}|{key}")]).arg(gateway.state_dir()).output().unwrap();
    let holding = String::from_utf8(holding.stdout).unwrap();
    let others: Vec<&str> = holding.lines().filter(|path| !path.ends_with("skykoi.json") && !path.ends_with("env.txt")).collect();
    assert_eq!(others, Vec::<&str>::new());
}

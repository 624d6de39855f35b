//! A program without a shell and without a key, in a real gateway: the rules, approvals and crashes that its commands meet, and where the provider's key is not.

use serde_json::{Value, json};

use super::stub::{HEAD, mcp_client};
use crate::executable;
use crate::fake_model::{Answer, FakeModel};
use crate::harness::approver::{approver, asked};
use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};
use crate::shim::until;

const KEY: &str = "canary-provider-key-77310";

/// A gateway whose agent is a stand-in for Claude Code that does what this script says.
fn gateway(script: &str, patch: &Value) -> Gateway {
    gateway_with(script, patch, &[])
}

/// The same with these variables in the gateway's own environment.
fn gateway_with(script: &str, patch: &Value, variables: &[(&str, &str)]) -> Gateway {
    let mut gateway = Gateway::prepared(&json!({}));
    variables.iter().for_each(|(name, value)| gateway.env(name, value));
    let stub = gateway.state_dir().join("work/stub");
    std::fs::create_dir_all(stub.parent().unwrap()).unwrap();
    executable::write(&stub, format!("{HEAD}{}\n", mcp_client(script)).as_bytes());
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
    not_in_processes(&gateway, &[KEY], &key);
    std::fs::write(work(&gateway, "go"), "").unwrap();
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it ends with the run");
    not_in_files(&gateway, &[KEY], &key);
}

#[tokio::test]
async fn mk28_credentials_of_aws_are_nowhere_in_a_run_whose_model_is_at_amazon() {
    const SECRET: &str = "canary-aws-secret-99231";
    const TOKEN: &str = "canary-aws-token-55120";
    let fake = FakeModel::start([Answer { keep: true, ..Answer::text("from the model") }]).await.unwrap();
    fake.know("AKIDEXAMPLE", SECRET);
    let script = r#"hello
printf '%s\n' "$@" > args.txt
tr '\0' '\n' < /proc/$$/environ > env.txt
ask_model() { curl -sSi -H "authorization: Bearer $AWS_BEARER_TOKEN_BEDROCK" "$@"; }
ask_model -d '{}' "$ANTHROPIC_BEDROCK_BASE_URL/model/eu.m-v1:0/invoke-with-response-stream" > answer.txt 2>&1
ask_model "$ANTHROPIC_BEDROCK_BASE_URL/inference-profiles" > answer.part 2>&1
mv answer.part refused.txt
until_there go
say done
"#;
    // Nothing names the provider: it is that of the agent's model.
    let patch = json!({
        "agents": { "defaults": { "model": "amazon-bedrock/eu.m-v1:0" } },
        "models": { "providers": { "amazon-bedrock": { "baseUrl": fake.url() } }, "bedrockDiscovery": { "region": "eu-west-3" } },
        "runners": { "claude": { "credentials": "gateway", "env": { "AWS_SECRET_ACCESS_KEY": "canary-of-the-user", "AWS_REGION": "us-west-1" } } },
    });
    let variables = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
    let gateway = gateway_with(script, &patch, &variables);
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "do it" })).await;
    until("the way was taken", || work(&gateway, "refused.txt").exists()).await;
    let text = |name: &str| String::from_utf8_lossy(&std::fs::read(work(&gateway, name)).unwrap()).into_owned();
    let (answer, refused) = (text("answer.txt"), text("refused.txt"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("application/vnd.amazon.eventstream"), "{answer}");
    assert!(refused.starts_with("HTTP/1.1 404") && refused.contains("SkyKoi Gateway: GET /inference-profiles"), "{refused}");
    let [seen] = &fake.seen()[..] else { panic!("one request: {:?}", fake.seen()) };
    assert_eq!((seen.signature.as_deref(), seen.header("x-amz-security-token")), (Some(""), Some(TOKEN)));
    assert!(seen.header("authorization").unwrap().contains("/eu-west-3/bedrock/"), "{seen:?}");
    let (args, env) = (text("args.txt"), text("env.txt"));
    assert!(args.contains("--model\neu.m-v1:0\n"), "{args}");
    for line in ["CLAUDE_CODE_USE_BEDROCK=1", "AWS_REGION=eu-west-3"] {
        assert!(env.lines().any(|known| known == line), "{line}: {env}");
    }
    assert!(!env.contains("canary") && !env.contains("AWS_SECRET_ACCESS_KEY") && !env.contains("ANTHROPIC_BASE_URL"), "{env}");
    let key = env.lines().find_map(|line| line.strip_prefix("AWS_BEARER_TOKEN_BEDROCK=")).unwrap().to_owned();
    not_in_processes(&gateway, &[SECRET, TOKEN], &key);
    std::fs::write(work(&gateway, "go"), "").unwrap();
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    not_in_files(&gateway, &[SECRET, TOKEN], &key);
}

#[tokio::test]
async fn a_run_whose_model_is_at_amazon_does_not_begin_without_credentials() {
    let patch = json!({
        "agents": { "defaults": { "model": "amazon-bedrock/eu.m-v1:0" } },
        "models": { "bedrockDiscovery": { "region": "eu-west-3" } },
        "runners": { "claude": { "credentials": "gateway" } },
    });
    let gateway = gateway_with("touch began\nsay done\n", &patch, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({ "message": "do it" })).await;
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["status"], "error", "{last}");
    assert!(last.to_string().contains("amazon-bedrock cannot be asked: no AWS credentials"), "{last}");
    assert!(!work(&gateway, "began").exists());
}

/// No process of a run has these secrets, and none has the key of the run in its arguments.
fn not_in_processes(gateway: &Gateway, secrets: &[&str], key: &str) {
    for (_, shim) in gateway.shims() {
        for pid in skykoi_gateway::exec::proc::descendants(shim).iter().map(|process| process.pid).chain([shim]) {
            for part in ["environ", "cmdline"] {
                let text = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{part}")).unwrap_or_default()).into_owned();
                assert!(!secrets.iter().any(|secret| text.contains(secret)), "{pid} {part}");
                assert!(part == "environ" || !text.contains(key), "{pid} {part}: {text}");
            }
        }
    }
}

/// No file of the gateway has these secrets or the key of the run, but for its configuration and what the run wrote down of its environment.
fn not_in_files(gateway: &Gateway, secrets: &[&str], key: &str) {
    let all: Vec<&str> = secrets.iter().copied().chain([key]).collect();
    assert!(!all.iter().any(|secret| gateway.log().contains(secret)));
    let holding = crate::nginx::program("grep").args(["-rlE", &all.join("|")]).arg(gateway.state_dir()).output().unwrap();
    let holding = String::from_utf8(holding.stdout).unwrap();
    let others: Vec<&str> = holding.lines().filter(|path| !path.ends_with("skykoi.json") && !path.ends_with("env.txt")).collect();
    assert_eq!(others, Vec::<&str>::new());
}

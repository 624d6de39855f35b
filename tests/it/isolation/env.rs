//! What commands find in their environment, and what a request may put there.

use serde_json::{Value, json};
use skykoi_gateway::exec::env::dangerous_names;

use super::ran;
use crate::harness::{Client, Gateway};

#[tokio::test]
async fn m69_no_dangerous_name_reaches_a_command_from_request_configuration_or_inheritance() {
    let names: Vec<String> = dangerous_names()
        .iter()
        .map(|name| (*name).to_owned())
        .chain(
            ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "PYTHONPATH", "PERL5OPT"]
                .map(str::to_owned),
        )
        .chain(["RUBYOPT", "DOTNET_STARTUP_HOOKS", "NPM_CONFIG_PREFIX", "npm_config_prefix", "BASH_FUNC_ls%%"].map(str::to_owned))
        .collect();
    // The configuration asks for each of them by name, and the daemon has each of them.
    let mut gateway = Gateway::prepared(&json!({ "agents": { "defaults": { "env": { "passthrough": names } } } }));
    for name in names.iter().filter(|name| !name.starts_with("LD_") && !name.starts_with("GLIBC") && !name.contains('%')) {
        gateway.env(name, "/skykoi-canary");
    }
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (_, text) = ran(&mut client, "tr '\\0' '\\n' < /proc/self/environ").await;
    assert!(!text.contains("skykoi-canary"), "{text}");
    for name in &names {
        let error = client.err("agent", json!({ "message": "true", "env": { name: "/skykoi-canary" } })).await;
        assert_eq!((error["code"].as_str(), error["details"]["code"].as_str()), (Some("INVALID_REQUEST"), Some("ENV_REFUSED")), "{error}");
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(name.as_str()) && !said.contains("canary"), "{said}");
    }
    for name in ["HOME", "PATH", "SKYKOI_GATEWAY_TOKEN", "A=B", "", "NOTIFY_SOCKET", "GIT_DIR"] {
        let error = client.err("agent", json!({ "message": "true", "env": { name: "x" } })).await;
        assert_eq!(error["details"]["code"], "ENV_REFUSED", "{name}: {error}");
    }
}

async fn said(client: &mut Client, params: Value) -> String {
    let (id, ack) = client.agent(params).await;
    client.response(&id).await;
    client.runs[ack["runId"].as_str().unwrap()].text()
}

#[tokio::test]
async fn variables_of_a_request_reach_its_commands_and_only_them() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let script = "echo \"${FLAVOUR-none}\"";
    assert_eq!(said(&mut client, json!({ "message": script, "env": { "FLAVOUR": "salt & vinegar" } })).await, "salt & vinegar\n");
    assert_eq!(said(&mut client, json!({ "message": script })).await, "none\n");
    let large = json!({ "message": script, "env": { "FLAVOUR": "x".repeat(40_000) } });
    assert!(client.err("agent", large).await["message"].as_str().unwrap().contains("at most 32768"));
    let deny = Gateway::with(&json!({ "exec": { "security": "deny" } }));
    let mut client = Client::connect(&deny).await;
    let error = client.err("agent", json!({ "message": script, "env": { "FLAVOUR": "x" } })).await;
    assert!(error["message"].as_str().unwrap().contains("exec.security"), "{error}");
}

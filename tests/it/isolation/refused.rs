//! A level that this machine cannot give is refused, at start and by every change of the configuration, and never lowered.

use std::process::Command;

use serde_json::{Value, json};

use super::{outside_of_tmp, ran};
use crate::harness::{Client, Gateway};
use crate::nginx::{program, skip};

/// A gateway on a machine without user namespaces and without `bwrap`: its `/usr/bin/bwrap` is another file.
fn without_bubblewrap(patch: &Value) -> Option<Gateway> {
    let mut gateway = Gateway::prepared_in(&outside_of_tmp(), patch);
    let mut trial: Command = program("unshare");
    let possible = trial.args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !possible || !std::path::Path::new("/usr/bin/bwrap").exists() {
        skip("needs unshare -m and bwrap, to hide one by the other");
        return None;
    }
    gateway.wrapper(&["unshare", "-m", "/bin/sh", "-c", "mount --bind /bin/false /usr/bin/bwrap && exec \"$@\"", "sh"]);
    Some(gateway)
}

fn refused(mut gateway: Gateway) -> String {
    let status = gateway.try_launch().unwrap_err();
    let said = gateway.log();
    assert_eq!(status.code(), Some(78), "{said}");
    said
}

fn sandbox(value: &Value) -> Value {
    json!({ "agents": { "defaults": { "sandbox": value } } })
}

#[test]
fn a_level_that_the_machine_cannot_give_ends_the_start_with_78_and_its_reason() {
    let Some(gateway) = without_bubblewrap(&sandbox(&json!({ "level": "strict" }))) else { return };
    let said = refused(gateway);
    assert!(said.contains("agents.defaults.sandbox.level: \"strict\" cannot be given by this machine: "), "{said}");
    // `mode: all` alone means the same level.
    let Some(gateway) = without_bubblewrap(&sandbox(&json!({ "mode": "all" }))) else { return };
    assert!(refused(gateway).contains("\"strict\" cannot be given"));
}

#[tokio::test]
async fn a_change_to_such_a_level_is_refused_and_changes_nothing() {
    let Some(mut gateway) = without_bubblewrap(&json!({})) else { return };
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let before = std::fs::read_to_string(gateway.config_path()).unwrap();
    let base = client.ok("config.get", json!({})).await["hash"].clone();
    let raw = sandbox(&json!({ "level": "strict" })).to_string();
    let error = client.err("config.patch", json!({ "raw": raw, "baseHash": base })).await;
    assert_eq!(error["code"], "INVALID_REQUEST", "{error}");
    assert!(error.to_string().contains("cannot be given by this machine"), "{error}");
    assert_eq!(std::fs::read_to_string(gateway.config_path()).unwrap(), before);
    let (result, text) = ran(&mut client, "echo goes on").await;
    assert_eq!((result["status"].as_str(), text.as_str()), (Some("ok"), "goes on\n"));
    let host = client.ok("status", json!({})).await["isolation"]["host"].clone();
    assert_eq!(host["strict"]["available"], false, "{host}");
    assert!(host["strict"]["missing"].is_string(), "{host}");
}

#[test]
fn places_that_the_level_leaves_open_must_not_hold_what_is_the_gateways() {
    let mut in_tmp = Gateway::prepared(&sandbox(&json!({ "level": "workspace" })));
    let status = in_tmp.try_launch().unwrap_err();
    assert_eq!(status.code(), Some(78));
    assert!(in_tmp.log().contains("leaves /tmp open"), "{}", in_tmp.log());
    let mut around = sandbox(&json!({ "level": "strict" }));
    around["agents"]["defaults"]["workspace"] = json!(outside_of_tmp());
    let said = refused(Gateway::prepared_in(&outside_of_tmp(), &around));
    assert!(said.contains("agents.defaults.workspace: is where isolated runs may write"), "{said}");
    let shown = sandbox(&json!({ "level": "strict", "readOnlyPaths": ["/"] }));
    let said = refused(Gateway::prepared_in(&outside_of_tmp(), &shown));
    assert!(said.contains("readOnlyPaths[0]: would show "), "{said}");
    let said = refused(Gateway::prepared_in(&outside_of_tmp(), &sandbox(&json!({ "level": "workspace", "workspaceAccess": "none" }))));
    assert!(said.contains("workspaceAccess: `none` needs level \"strict\""), "{said}");
}

#[tokio::test]
async fn status_tells_what_the_machine_can_give_and_what_each_agent_has() {
    let gateway = Gateway::with(&json!({ "agents": { "defaults": { "limits": { "openFiles": 64 } } } }));
    let mut client = Client::connect(&gateway).await;
    let isolation = client.ok("status", json!({})).await["isolation"].clone();
    assert_eq!(
        isolation["agents"][0],
        json!({
            "agentId": "main", "level": "off", "mainToo": true, "network": false, "limits": { "openFiles": 64 },
        })
    );
    for level in ["workspace", "strict", "filteredNetwork"] {
        let ability = &isolation["host"][level];
        assert!(ability["available"] == true || ability["missing"].is_string(), "{isolation}");
    }
}

//! Tests of what the configuration means.

use super::*;
use serde_json::json;

fn config(value: serde_json::Value) -> Config {
    let mut config: Config = serde_json::from_value(value).unwrap();
    config.settle(&Paths::in_state_dir(PathBuf::from("/s"), PathBuf::from("/home/u")), &BTreeMap::new());
    config
}

#[test]
fn without_a_list_there_is_one_agent_that_runs_a_shell() {
    let agent = config(json!({})).agent(None).unwrap();
    assert_eq!((agent.id.as_str(), agent.runner, agent.is_default), ("main", Runner::Shell, true));
    assert_eq!(agent.workspace, PathBuf::from("/s/workspace"));
    assert_eq!(agent.exec.security, ExecSecurity::Deny);
    assert_eq!(Config::default().agent_ids(), ["main"]);
    assert!(Config::default().agent(Some("other")).is_none());
}

#[test]
fn a_model_makes_the_agent_runner_the_default_one() {
    let config = config(
        json!({ "agents": { "defaults": { "model": "a/b" }, "list": [{ "id": "Koi" }, { "id": "sh", "runner": "shell", "default": true }] } }),
    );
    assert_eq!(config.agent(Some("KOI")).unwrap().runner, Runner::Agent);
    let default = config.agent(None).unwrap();
    assert_eq!((default.id.as_str(), default.runner), ("sh", Runner::Shell));
    assert!(config.agent(Some("main")).is_none());
}

#[test]
fn workspaces_follow_the_rules_of_the_default_agent() {
    let config = config(
        json!({ "agents": { "defaults": { "workspace": "~/koi" }, "list": [{ "id": "a" }, { "id": "b" }, { "id": "c", "workspace": "/w" }] } }),
    );
    let of = |id| config.agent(Some(id)).unwrap().workspace;
    assert_eq!(of("a"), PathBuf::from("/home/u/koi"));
    assert_eq!(of("b"), PathBuf::from("/s/workspace-b"));
    assert_eq!(of("c"), PathBuf::from("/w"));
}

#[test]
fn an_agent_narrows_exec_and_never_widens_it() {
    let with = |common: &str, own: &str| {
        let config = config(
            json!({ "exec": { "security": common }, "agents": { "list": [{ "id": "a", "tools": { "exec": { "security": own } } }] } }),
        );
        config.agent(Some("a")).unwrap().exec.security
    };
    assert_eq!(with("full", "deny"), ExecSecurity::Deny);
    assert_eq!(with("deny", "full"), ExecSecurity::Deny);
    assert_eq!(with("full", "full"), ExecSecurity::Full);
}

#[test]
fn an_agent_asks_more_often_and_has_fewer_safe_programs_and_never_the_reverse() {
    let with = |common: serde_json::Value, own: serde_json::Value| {
        config(json!({ "exec": common, "agents": { "list": [{ "id": "a", "tools": { "exec": own } }] } })).agent(Some("a")).unwrap().exec
    };
    assert_eq!(with(json!({ "ask": "always" }), json!({ "ask": "off" })).ask, ExecAsk::Always);
    assert_eq!(with(json!({ "ask": "off" }), json!({ "ask": "always" })).ask, ExecAsk::Always);
    assert_eq!(with(json!({}), json!({ "ask": "off" })).ask, ExecAsk::OnMiss);
    assert_eq!(with(json!({ "safeBins": ["wc", "tr"] }), json!({ "safeBins": ["tr", "bash"] })).safe_bins, ["tr"]);
    assert_eq!(with(json!({}), json!({})).safe_bins, SAFE_BINS);
}

#[test]
fn both_spellings_of_exec_are_one() {
    let merged =
        config(json!({ "exec": { "security": "full" }, "tools": { "exec": { "host": "gateway", "pathPrepend": ["/x"] } } })).exec();
    assert_eq!((merged.security, merged.host), (ExecSecurity::Full, ExecHost::Gateway));
    assert_eq!(merged.path_prepend, ["/x"]);
}

#[test]
fn models_are_rows_of_providers_and_names_of_agents() {
    let config = config(json!({
        "models": { "providers": { "p": { "baseUrl": "https://x", "models": [{ "id": "m", "name": "M", "reasoning": true }] } } },
        "agents": { "defaults": { "model": { "primary": "p/m", "fallbacks": ["q/n"] } }, "list": [{ "id": "a", "model": "bare" }] },
    }));
    let rows = config.models();
    assert_eq!(rows.iter().map(|row| format!("{}/{}", row.provider, row.id)).collect::<Vec<_>>(), ["/bare", "p/m", "q/n"]);
    assert_eq!(rows[1].context_window, Some(200_000));
    assert_eq!(rows[2].reasoning, None);
}

#[test]
fn the_listener_is_on_loopback_unless_told_otherwise() {
    assert_eq!(Config::default().listen_addresses(), ["127.0.0.1:18789".parse().unwrap(), "[::1]:18789".parse().unwrap()]);
    assert!(!config(json!({ "gateway": { "bind": "lan" } })).binds_loopback_only());
}

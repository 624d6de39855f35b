//! Each rule broken once, and the config that breaks none.

use serde_json::json;

use super::super::check::{against_schema, typed};
use super::*;

const TOKEN: &str = "skg_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

fn config(value: &Value) -> Config {
    assert_eq!(against_schema(value), [], "{value}");
    typed(value).unwrap()
}

fn texts(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn one_wrong(value: &Value, wanted: &str) {
    let found = texts(wrong(&config(value)));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(wanted), "{found:?}");
}

/// A config that starts, with one more piece laid over it.
fn starting(over: Value) -> Value {
    let mut value = json!({ "gateway": { "mode": "local", "auth": { "mode": "token", "token": TOKEN } } });
    lay_over(&mut value, over);
    value
}

fn lay_over(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, inner) in over {
                lay_over(base.entry(key).or_insert(Value::Null), inner);
            }
        }
        (value, over) => *value = over,
    }
}

fn one_blocker(over: Value, wanted: &str) {
    let config = config(&starting(over));
    assert_eq!(wrong(&config), []);
    let found = texts(start_blockers(&config));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(wanted), "{found:?}");
}

#[test]
fn a_plain_local_config_starts() {
    let config = config(&starting(json!({})));
    assert_eq!(wrong(&config), []);
    assert_eq!(start_blockers(&config), []);
}

#[test]
fn m61_weak_and_example_secrets_are_refused_and_never_shown() {
    for text in [
        "changeme",
        "CHANGE_ME_TOKEN_0123456789",
        "your-token-here-0123456789",
        "short",
        "a".repeat(40).as_str(),
        "has a space in the middle",
    ] {
        let config = config(&json!({ "gateway": { "auth": { "token": text } } }));
        let found = texts(wrong(&config));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(!found[0].contains(text), "{found:?}");
    }
    one_wrong(&json!({ "gateway": { "auth": { "password": "elevenchars" } } }), "gateway.auth.password: must have at least 12");
}

#[test]
fn exec_in_both_places_must_be_equal() {
    assert_eq!(
        wrong(&config(&json!({ "exec": { "security": "full" }, "tools": { "exec": { "security": "full", "host": "gateway" } } }))),
        []
    );
    one_wrong(
        &json!({ "exec": { "security": "full" }, "tools": { "exec": { "security": "deny" } } }),
        "exec.security: differs from tools.exec.security",
    );
    one_wrong(
        &json!({ "exec": { "applyPatch": { "enabled": true } }, "tools": { "exec": { "applyPatch": { "enabled": false } } } }),
        "exec.applyPatch.enabled: differs from tools.exec.applyPatch.enabled",
    );
}

#[test]
fn agents_are_told_apart() {
    one_wrong(&json!({ "agents": { "list": [{ "id": "a" }, { "id": "A" }] } }), "agents.list[1].id: is the id of agents.list[0] too");
    one_wrong(&json!({ "agents": { "list": [{ "id": "../x" }] } }), "agents.list[0].id: must be a letter");
    one_wrong(&json!({ "agents": { "list": [{ "id": "a", "default": true }, { "id": "b", "default": true }] } }), "is the default already");
    one_wrong(
        &json!({ "agents": { "list": [{ "id": "a", "agentDir": "/d" }, { "id": "b", "agentDir": "/d" }] } }),
        "agents.list[1].agentDir",
    );
    assert!(!is_agent_id("") && !is_agent_id(&"a".repeat(65)) && !is_agent_id("a:b") && is_agent_id("koi-1_x"));
}

#[test]
fn addresses_are_read() {
    one_wrong(&json!({ "gateway": { "trustedProxies": ["127.0.0.1", "nginx"] } }), "gateway.trustedProxies[1]: must be an IP address");
    one_wrong(&json!({ "gateway": { "publicUrls": ["https://a/b"] } }), "gateway.publicUrls[0]: must be an origin");
    one_wrong(&json!({ "gateway": { "controlUi": { "allowedOrigins": ["*"] } } }), "gateway.controlUi.allowedOrigins[0]");
    one_wrong(&json!({ "gateway": { "bind": "custom" } }), "needs the address in gateway.customBindHost");
    one_wrong(&json!({ "gateway": { "customBindHost": "eth0" } }), "gateway.customBindHost: must be an IP address");
    one_wrong(&json!({ "gateway": { "tls": { "certPath": "/c" } } }), "must be given together");
}

#[test]
fn allow_does_not_stand_beside_also_allow() {
    one_wrong(&json!({ "tools": { "allow": [], "alsoAllow": [] } }), "tools.alsoAllow: cannot stand beside tools.allow");
    one_wrong(&json!({ "tools": { "byProvider": { "p": { "allow": [], "alsoAllow": [] } } } }), "tools.byProvider.p.alsoAllow");
    one_wrong(
        &json!({ "agents": { "list": [{ "id": "a", "tools": { "allow": [], "alsoAllow": [] } }] } }),
        "agents.list[0].tools.alsoAllow",
    );
}

#[test]
fn fields_of_models_and_the_time_of_a_cache_are_checked() {
    let params = |params: Value| json!({ "agents": { "defaults": { "models": { "a/b.c": { "params": params } } } } });
    one_wrong(&params(json!({ "temperature": 3 })), "params.temperature: must be a number from 0 to 2");
    one_wrong(&params(json!({ "messages": [] })), "params.messages: is made by the gateway");
    assert_eq!(wrong(&config(&params(json!({ "temperature": 1, "anything": { "else": true } })))), []);
    let pruning = |pruning: Value| json!({ "agents": { "defaults": { "contextPruning": pruning } } });
    one_wrong(&pruning(json!({ "ttl": "soon" })), "agents.defaults.contextPruning.ttl: must be a number");
    for wrong in [
        json!({ "mode": "always" }),
        json!({ "softTrimRatio": 1.5 }),
        json!({ "hardClearRatio": -1 }),
        json!({ "keepLastAssistants": -1 }),
        json!({ "softTrim": { "chars": 3 } }),
        json!({ "hardClear": { "enabled": "yes" } }),
        json!({ "tools": { "allow": "exec" } }),
    ] {
        assert_ne!(against_schema(&pruning(wrong.clone())), [], "{wrong}");
    }
    for wrong in [json!({ "compaction": { "mode": "never" } }), json!({ "subagents": { "archiveAfterMinutes": 0 } })] {
        assert_ne!(against_schema(&json!({ "agents": { "defaults": wrong } })), [], "{wrong}");
    }
}

#[test]
fn durations_have_units() {
    assert_eq!(duration_ms("30m"), Some(1_800_000));
    assert_eq!(duration_ms("0m"), Some(0));
    assert_eq!(duration_ms("250ms"), Some(250));
    for text in ["", "m", "1d", "-1s", "1.5h", "99999999999999999999h"] {
        assert_eq!(duration_ms(text), None, "{text}");
    }
    one_wrong(&json!({ "agents": { "defaults": { "heartbeat": { "every": "often" } } } }), "agents.defaults.heartbeat.every");
}

#[test]
fn nothing_starts_without_a_mode_and_a_secret() {
    let found = texts(start_blockers(&Config::default()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("gateway.mode: is missing"));
    assert!(found[1].starts_with("gateway.auth.token: is missing"));
    one_blocker(json!({ "gateway": { "mode": "remote" } }), "gateway.mode: must be \"local\"");
    one_blocker(json!({ "gateway": { "auth": { "mode": "password" } } }), "gateway.auth.password: is missing");
    one_blocker(json!({ "gateway": { "auth": { "allowTailscale": true } } }), "gateway.auth.allowTailscale");
}

#[test]
fn what_this_version_cannot_do_is_refused_and_not_pretended() {
    one_blocker(json!({ "tools": { "exec": { "host": "sandbox" } } }), "tools.exec.host: only \"gateway\" starts");
    one_blocker(
        json!({ "agents": { "list": [{ "id": "a", "tools": { "exec": { "host": "node" } } }] } }),
        "agents.list[0].tools.exec.host",
    );
    one_blocker(json!({ "gateway": { "tailscale": { "mode": "funnel" } } }), "gateway.tailscale.mode");
}

#[test]
fn tls_is_what_it_says_or_does_not_start() {
    one_blocker(json!({ "gateway": { "tls": { "enabled": false, "caPath": "/ca" } } }), "gateway.tls.caPath");
    one_blocker(json!({ "gateway": { "tls": { "enabled": true, "autoGenerate": false } } }), "gateway.tls.autoGenerate");
    let own = json!({ "gateway": { "tls": { "enabled": true, "autoGenerate": false, "certPath": "/c", "keyPath": "/k" } } });
    assert_eq!(start_blockers(&config(&starting(own))), []);
}

#[test]
fn a_wide_bind_needs_tls_or_the_explicit_flag() {
    one_blocker(json!({ "gateway": { "bind": "lan" } }), "gateway.bind: is wider than loopback");
    one_blocker(json!({ "gateway": { "bind": "custom", "customBindHost": "10.0.0.1" } }), "gateway.bind: is wider than loopback");
    for over in [
        json!({ "gateway": { "bind": "lan", "tls": { "enabled": true } } }),
        json!({ "gateway": { "bind": "lan", "dangerouslyAllowPlaintext": true } }),
        json!({ "gateway": { "bind": "custom", "customBindHost": "127.0.0.2" } }),
        json!({ "gateway": { "bind": "auto" } }),
    ] {
        assert_eq!(start_blockers(&config(&starting(over.clone()))), [], "{over}");
    }
}

//! Rules that join several keys. Pure: the same config gives the same problems.
//!
//! Two kinds: what makes a config wrong for everybody ([`wrong`]), and what only keeps a gateway from starting ([`start_blockers`]); a client that reads the file for its token is not hindered by the second.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::Config;
use super::gateway::{Bind, GatewayMode, TailscaleMode};
use super::key_path::{KeyPath, Step};
use super::login_rules;
use super::net::{Network, Origin};
use super::problem::Problem;
use super::tools::{Exec, ExecHost};

/// What is wrong whatever the config is used for.
#[must_use]
pub fn wrong(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    login_rules::wrong(&config.gateway.auth, &mut problems);
    addresses(config, &mut problems);
    agents(config, &mut problems);
    tool_lists(config, &mut problems);
    super::isolation::wrong(config, &mut problems);
    super::mcp::wrong(&config.mcp, &mut problems);
    super::model_params::wrong(config, &mut problems);
    super::runners::wrong(config, &mut problems);
    if let (Some(top), Some(nested)) = (&config.exec, &config.tools.exec) {
        exec_alias(top, nested, &mut problems);
    }
    problems
}

fn at(path: &str) -> KeyPath {
    KeyPath::parse(path)
}

fn addresses(config: &Config, problems: &mut Vec<Problem>) {
    let gateway = &config.gateway;
    for (index, text) in gateway.trusted_proxies.iter().enumerate() {
        if let Err(error) = text.parse::<Network>() {
            problems.push(Problem::value(at("gateway.trustedProxies").join(Step::Index(index)), error.to_string()));
        }
    }
    for (path, list) in
        [("gateway.publicUrls", &gateway.public_urls), ("gateway.controlUi.allowedOrigins", &gateway.control_ui.allowed_origins)]
    {
        for (index, text) in list.iter().enumerate() {
            if let Err(error) = text.parse::<Origin>() {
                problems.push(Problem::value(at(path).join(Step::Index(index)), error.to_string()));
            }
        }
    }
    match (&gateway.custom_bind_host, gateway.bind) {
        (Some(host), _) if host.parse::<IpAddr>().is_err() => {
            problems.push(Problem::value(at("gateway.customBindHost"), "must be an IP address"))
        }
        (None, Bind::Custom) => problems.push(Problem::value(at("gateway.bind"), "`custom` needs the address in gateway.customBindHost")),
        _ => {}
    }
    if gateway.tls.cert_path.is_some() != gateway.tls.key_path.is_some() {
        problems.push(Problem::value(at("gateway.tls"), "certPath and keyPath must be given together"));
    }
}

fn agents(config: &Config, problems: &mut Vec<Problem>) {
    let mut ids = BTreeMap::new();
    let mut directories = BTreeMap::new();
    let mut default = None;
    for (index, agent) in config.agents.list.iter().enumerate() {
        let path = at("agents.list").join(Step::Index(index));
        if !is_agent_id(&agent.id) {
            problems.push(Problem::value(path.key("id"), "must be a letter or digit, then up to 63 letters, digits, `-` or `_`"));
        } else if let Some(first) = ids.insert(agent.id.to_lowercase(), index) {
            problems.push(Problem::value(path.key("id"), format!("is the id of agents.list[{first}] too")));
        }
        if let Some(directory) = &agent.agent_dir
            && let Some(first) = directories.insert(directory, index)
        {
            problems.push(Problem::value(path.key("agentDir"), format!("is the directory of agents.list[{first}] too")));
        }
        if agent.default == Some(true)
            && let Some(first) = default.replace(index)
        {
            problems.push(Problem::value(path.key("default"), format!("agents.list[{first}] is the default already")));
        }
    }
    let defaults = &config.agents.defaults;
    for (path, time) in [
        ("agents.defaults.heartbeat.every", defaults.heartbeat.as_ref().and_then(|beat| beat.every.as_deref())),
        ("agents.defaults.contextPruning.ttl", defaults.context_pruning.as_ref().and_then(|pruning| pruning.ttl.as_deref())),
    ] {
        if time.is_some_and(|time| duration_ms(time).is_none()) {
            problems.push(Problem::value(at(path), "must be a number and one of ms, s, m, h, for example 30m"));
        }
    }
}

/// A letter or digit, then up to 63 letters, digits, `-` or `_`.
#[must_use]
pub fn is_agent_id(id: &str) -> bool {
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// `30m`, `500ms`, `2h`, `10s`, in ms; a bare number counts minutes.
#[must_use]
pub fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "" | "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn tool_lists(config: &Config, problems: &mut Vec<Problem>) {
    let mut both = |path: KeyPath, allow: &Option<Vec<String>>, also: &Option<Vec<String>>| {
        if allow.is_some() && also.is_some() {
            problems.push(Problem::key(path.key("alsoAllow"), format!("cannot stand beside {}", path.key("allow"))));
        }
    };
    let tools = &config.tools;
    both(at("tools"), &tools.allow, &tools.also_allow);
    for (name, rule) in &tools.by_provider {
        both(at("tools.byProvider").key(name), &rule.allow, &rule.also_allow);
    }
    for (index, agent) in config.agents.list.iter().enumerate() {
        let Some(tools) = &agent.tools else {
            continue;
        };
        let path = at("agents.list").join(Step::Index(index)).key("tools");
        both(path.clone(), &tools.allow, &tools.also_allow);
        for (name, rule) in &tools.by_provider {
            both(path.key("byProvider").key(name), &rule.allow, &rule.also_allow);
        }
    }
}

fn exec_alias(top: &Exec, nested: &Exec, problems: &mut Vec<Problem>) {
    let (Ok(top), Ok(nested)) = (serde_json::to_value(top), serde_json::to_value(nested)) else {
        return;
    };
    differing(&at("exec"), &at("tools.exec"), &top, &nested, problems);
}

fn differing(left: &KeyPath, right: &KeyPath, a: &Value, b: &Value, problems: &mut Vec<Problem>) {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                differing(&left.key(key), &right.key(key), value, b.get(key).unwrap_or(&Value::Null), problems);
            }
        }
        _ if a == b => {}
        _ => problems.push(Problem::value(left.clone(), format!("differs from {right}; the two are the same key, keep one"))),
    }
}

/// What keeps a gateway from starting with this config.
#[must_use]
pub fn start_blockers(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let gateway = &config.gateway;
    match gateway.mode {
        Some(GatewayMode::Local) => {}
        Some(GatewayMode::Remote) => problems.push(Problem::value(at("gateway.mode"), "must be \"local\" for the gateway to start here")),
        None => problems
            .push(Problem::value(at("gateway.mode"), "is missing; set it to \"local\", or write a config with `skykoi-gateway init`")),
    }
    login_rules::start_blockers(config, &mut problems);
    bind_blockers(config, &mut problems);
    tls_blockers(config, &mut problems);
    for (path, exec) in exec_blocks(config) {
        exec_blockers(&path, exec, &mut problems);
    }
    problems
}

fn agent_path(index: usize) -> KeyPath {
    at("agents.list").join(Step::Index(index))
}

fn bind_blockers(config: &Config, problems: &mut Vec<Problem>) {
    let gateway = &config.gateway;
    if gateway.bind == Bind::Tailnet {
        problems.push(Problem::value(at("gateway.bind"), "`tailnet` does not start; give the address: bind \"custom\" and customBindHost"));
    }
    if let Some(mode) = gateway.tailscale.as_ref().and_then(|tailscale| tailscale.mode)
        && mode != TailscaleMode::Off
    {
        problems.push(Problem::value(at("gateway.tailscale.mode"), "only \"off\" starts: this gateway does not drive Tailscale"));
    }
    if !config.binds_loopback_only() && !gateway.tls.enabled && !gateway.dangerously_allow_plaintext {
        problems.push(Problem::value(
            at("gateway.bind"),
            "is wider than loopback, so gateway.tls.enabled must be true (or gateway.dangerouslyAllowPlaintext, which sends tokens in clear)",
        ));
    }
}

fn tls_blockers(config: &Config, problems: &mut Vec<Problem>) {
    let tls = &config.gateway.tls;
    if !tls.enabled && tls.ca_path.is_some() {
        problems.push(Problem::value(
            at("gateway.tls.caPath"),
            "asks clients for certificates, and without gateway.tls.enabled none are asked for",
        ));
    }
    if tls.enabled && !tls.auto_generate && tls.cert_path.is_none() {
        problems.push(Problem::value(at("gateway.tls.autoGenerate"), "is false, so gateway.tls.certPath and keyPath must be given"));
    }
}

/// Every block of exec keys in use, with its path.
fn exec_blocks(config: &Config) -> Vec<(KeyPath, &Exec)> {
    let top = config.exec.as_ref().map(|exec| (at("exec"), exec));
    let nested = config.tools.exec.as_ref().map(|exec| (at("tools.exec"), exec));
    let of_agents = config.agents.list.iter().enumerate().filter_map(|(index, agent)| {
        let exec = agent.tools.as_ref()?.exec.as_ref()?;
        Some((agent_path(index).key("tools").key("exec"), exec))
    });
    top.into_iter().chain(nested).chain(of_agents).collect()
}

fn exec_blockers(path: &KeyPath, exec: &Exec, problems: &mut Vec<Problem>) {
    if let Some(ExecHost::Sandbox | ExecHost::Node) = exec.host {
        problems
            .push(Problem::value(path.key("host"), "only \"gateway\" starts: this version runs commands on this machine and nowhere else"));
    }
}

#[cfg(test)]
mod tests;

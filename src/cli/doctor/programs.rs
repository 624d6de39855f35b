//! Agent programs: whether those that agents work with are there, whether they are let in, and what keeps their state private.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::Scene;
use super::finding::Finding;
use crate::gateway::agents::Agents;
use crate::gateway::runners::rows;
use crate::programs::spec::Kind;

/// The programs, as the running gateway sees them, or as one would that is started by this user.
pub fn health(scene: &Scene) -> Vec<Finding> {
    let of_gateway = scene.status.as_ref().and_then(|status| status.get("runners")?.as_array().cloned());
    let rows = of_gateway.unwrap_or_else(|| {
        let loaded = &scene.loaded;
        let rows = rows(loaded, &Agents::new(&loaded.config, &loaded.paths.home), &|_| None);
        rows.iter().filter_map(|row| serde_json::to_value(row).ok()).collect()
    });
    let known =
        Kind::ALL.into_iter().flat_map(|kind| rows.iter().filter(move |row| row["name"] == kind.name()).map(move |row| (kind, row)));
    let (mut findings, mut spared) = (Vec::new(), Vec::new());
    for (kind, row) in known {
        match of(scene, kind, row) {
            Some(found) => findings.extend(found),
            None => spared.push(kind.name()),
        }
    }
    if !spared.is_empty() {
        let what = format!("not there, and no agent works with them: {}", spared.join(", "));
        findings.push(Finding::note("runners", what, "to use one, see `skykoi-gateway call runners.list`"));
    }
    findings
}

/// What is to say of one of them; none of one that is not there and that nobody asked for.
fn of(scene: &Scene, kind: Kind, row: &Value) -> Option<Vec<Finding>> {
    let name = kind.name();
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    let users: Vec<&str> = row.get("agents").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let configured = scene.shown.pointer(&format!("/runners/{name}/command")).is_some_and(|command| !command.is_null());
    if row.get("available") != Some(&Value::Bool(true)) {
        let reason = text("reason");
        let finding = match (users.is_empty(), configured) {
            (false, _) => Finding::critical(
                "runners",
                format!("{name}: {reason}; {} cannot work", users.join(", ")),
                format!("set runners.{name}.command, or another runner of the agent"),
            ),
            (true, true) => Finding::warning("runners", format!("{name}: {reason}"), format!("correct or remove runners.{name}.command")),
            (true, false) => return None,
        };
        return Some(vec![finding]);
    }
    let version = if text("version").is_empty() { String::new() } else { format!(" {}", text("version")) };
    let mut findings = vec![Finding::ok("runners", format!("{name}{version}: {}", text("path")))];
    let home = text("home");
    // Whether credentials of AWS are there is found out when somebody asks with them.
    let is_gateways = scene.shown.pointer(&format!("/runners/{name}/credentials")).is_some_and(|by| by == "gateway");
    if !users.is_empty() && row.get("authenticated") != Some(&Value::Bool(true)) && kind != Kind::Acp && !is_gateways {
        findings.push(Finding::note(
            "runners",
            format!("{name}: no login or key of it is known, which {} may need", users.join(", ")),
            login(kind, text("path"), home),
        ));
    }
    let mode = fs::metadata(home).map(|found| found.permissions().mode() & 0o777).unwrap_or(0o700);
    if !home.is_empty() && mode & 0o077 != 0 {
        findings.push(Finding::warning(
            "runners",
            format!(
                "{name}: other users of this machine can look into {home}, where it keeps its login and conversations (mode {mode:04o})"
            ),
            format!("chmod 700 {home}"),
        ));
    }
    Some(findings)
}

/// How to let it in.
fn login(kind: Kind, path: &str, home: &str) -> String {
    let (known, name) = (kind.known(), kind.name());
    let by_key =
        format!("name the variable with its key in runners.{name}.passthrough ({})", known.keys.first().copied().unwrap_or_default());
    let words = if kind == Kind::Codex { " login" } else { "" };
    if home.is_empty() { by_key } else { format!("log in with `{}={home} {path}{words}`, or {by_key}", known.home_variable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;
    use crate::config::layers::{FlagLayer, Sources};
    use serde_json::json;

    fn look(config: Value, status: Option<Value>) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("skykoi.json"), config.to_string()).unwrap();
        let loaded = crate::config::load::load(&Sources { flags: FlagLayer::from(dir.path().to_owned()), ..Sources::default() }).unwrap();
        health(&Scene { shown: loaded.show(), loaded, status })
    }

    #[test]
    fn kw65_a_missing_program_is_grave_only_if_an_agent_works_with_it() {
        let config = json!({
            "agents": { "list": [{ "id": "main" }, { "id": "coder", "runner": "codex" }] },
            "runners": { "codex": { "command": "/no/codex" }, "claude": { "command": "/no/claude" } },
        });
        let found = look(config, None);
        let of = |name: &str| found.iter().find(|finding| finding.what.starts_with(name)).unwrap();
        assert_eq!((of("codex").severity, of("claude").severity), (Severity::Critical, Severity::Warning));
        let spared: Vec<&Finding> = found.iter().filter(|finding| finding.severity == Severity::Note).collect();
        assert!(matches!(spared.as_slice(), [one] if one.what.contains("acp")), "one line for those that nobody asked for: {found:?}");
        assert!(of("codex").what.contains("coder") && of("codex").mend.contains("runners.codex.command"), "{:?}", of("codex"));
    }

    #[test]
    fn kw60_what_the_running_gateway_sees_counts_and_a_missing_login_has_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let row =
            json!({ "name": "codex", "available": true, "path": "/x/codex", "version": "1.2", "home": dir.path(), "agents": ["main"] });
        let found = look(json!({ "runners": { "codex": { "credentials": "gateway" } } }), Some(json!({ "runners": [row.clone()] })));
        assert!(!found.iter().any(|finding| finding.what.contains("no login")), "{found:?}");
        let found = look(json!({}), Some(json!({ "runners": [row] })));
        let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Ok, Severity::Note, Severity::Warning], "{found:?}");
        assert!(found[0].what.contains("codex 1.2: /x/codex"));
        assert!(found[1].mend.contains("CODEX_HOME=") && found[1].mend.contains("/x/codex login"), "{}", found[1].mend);
    }
}

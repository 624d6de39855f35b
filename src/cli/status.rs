//! `status`: the gateway at a glance.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::error::CliError;
use super::output::Output;
use super::table::{bytes, columns, duration, plain};
use super::target::TargetArgs;

/// Show how the gateway is: version, load, places, what fails
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print the gateway's answer as JSON
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command. The exit code is 0 when everything works, 69 when no gateway answers, 75 when something fails in it.
///
/// # Errors
/// The gateway refuses or stays away.
pub async fn run(args: StatusArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    let answer = Client::connect(&target).await?.call("status", &json!({})).await?;
    out.line(&if args.json { answer.to_string() } else { table(&answer) })?;
    let ok = answer.get("ok").and_then(Value::as_bool).unwrap_or(true);
    Ok(if ok { super::error::OK } else { super::error::TRY_LATER })
}

/// What is wrong with the config on disk, which is therefore not in effect.
fn wrong(status: &Value, message: &str) -> String {
    let text = |key: &str| status.pointer(&format!("/config/issues/0/{key}")).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| status.pointer(&format!("/config/issues/0/{key}")).and_then(Value::as_u64);
    let spot = number("line").map_or_else(String::new, |line| format!(":{line}:{}", number("column").unwrap_or(1)));
    let more = status.pointer("/config/issues").and_then(Value::as_array).map_or(0, |issues| issues.len().saturating_sub(1));
    let more = if more > 0 { format!(" (and {more} more; run `config check`)") } else { String::new() };
    // What is wrong with the whole file has no key, and what is wrong with flags or environment no file.
    let place = format!("{}{spot}", text("file"));
    let parts = [place.as_str(), text("path"), message].into_iter().filter(|part| !part.is_empty());
    format!("{}{more}", parts.collect::<Vec<_>>().join(": "))
}

/// How far the runs of each agent are shut in, and what limits them.
fn isolation(status: &Value) -> Option<String> {
    let agents = status.pointer("/isolation/agents")?.as_array()?;
    let of = |agent: &Value| {
        let text = |key: &str| agent.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let is = |key: &str| agent.get(key).and_then(Value::as_bool) == Some(true);
        let mut said = format!("{} {}", text("agentId"), text("level"));
        if text("level") != "off" {
            said.push_str(if is("network") { ", network" } else { ", no network" });
            said.push_str(if is("mainToo") { "" } else { ", main session off" });
        }
        if agent.get("limits").and_then(Value::as_object).is_some_and(|limits| !limits.is_empty()) {
            said.push_str(", limits");
        }
        said
    };
    Some(agents.iter().map(of).collect::<Vec<_>>().join("; "))
}

/// What the machine can give to isolated runs, and what it lacks for the rest.
fn abilities(status: &Value) -> Option<String> {
    let host = status.pointer("/isolation/host").filter(|host| host.is_object())?;
    let mut said: Vec<String> = [("workspace", "workspace"), ("strict", "strict"), ("filteredNetwork", "network of isolated runs")]
        .into_iter()
        .filter_map(|(key, name)| {
            let ability = host.get(key)?;
            Some(match ability.get("missing").and_then(Value::as_str) {
                Some(missing) => format!("no {name} ({missing})"),
                None => name.to_owned(),
            })
        })
        .collect();
    let controllers = host.pointer("/cgroup/controllers").and_then(Value::as_array);
    said.push(controllers.map_or_else(
        || "limits of single processes".to_owned(),
        |names| format!("limits by control group ({})", names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
    ));
    Some(said.join(", "))
}

/// Rows for what is in the answer; what a gateway of another version leaves out is left out here.
fn table(status: &Value) -> String {
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64);
    let runs = number("/runs/running").map(|running| {
        format!("{running} at work, {} waiting, at most {} at once", number("/runs/queued").unwrap_or(0), number("/runs/max").unwrap_or(0))
    });
    let asking = number("/runs/awaitingApproval").filter(|n| *n > 0).map(|n| format!("{n} of them; see `approvals list`"));
    let commit = number("/store/lastCommitUs").map(|last| {
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us / 100 % 10);
        format!(
            "last commit {}, slowest {}, {} waiting",
            ms(last),
            ms(number("/store/maxCommitUs").unwrap_or(0)),
            number("/store/waiting").unwrap_or(0)
        )
    });
    let listed = |path: &str, name: &str| {
        let items = status.pointer(path).and_then(Value::as_array)?;
        let names: Vec<_> =
            items.iter().filter_map(|item| if name.is_empty() { item.as_str() } else { item.get(name)?.as_str() }).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let state = match status.get("ok").and_then(Value::as_bool) {
        Some(false) => format!("FAILING: {}", listed("/failing", "").unwrap_or_else(|| "?".to_owned())),
        _ => "running".to_owned(),
    };
    let rows = [
        ("state", Some(state)),
        ("version", text("/version")),
        ("host", text("/host").map(|host| number("/pid").map_or(host.clone(), |pid| format!("{host}, pid {pid}")))),
        ("up", number("/uptimeMs").map(duration)),
        ("connections", number("/connections").map(|n| n.to_string())),
        ("runs", runs),
        ("wait for approval", asking),
        ("sessions", number("/sessions/count").map(|n| n.to_string())),
        ("agents", listed("/agents", "agentId")),
        ("isolation", isolation(status)),
        ("this machine", abilities(status)),
        ("store", commit),
        ("certificate", text("/tls/fingerprint").map(|print| format!("sha256 {print}"))),
        ("audit", number("/audit/n").map(|n| format!("head {n}:{}", text("/audit/hash").unwrap_or_default()))),
        ("memory", number("/memory/rssBytes").map(bytes)),
        ("config", text("/configPath")),
        ("wrong on disk", text("/config/issues/0/message").map(|message| wrong(status, &message))),
        ("waits for a restart", listed("/config/restartNeeded", "")),
        ("state directory", text("/stateDir")),
    ];
    let mut rows: Vec<_> = rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), plain(&value?, 200)])).collect();
    for warning in status.get("warnings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        rows.push(vec!["warning".to_owned(), plain(warning, 400)]);
    }
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_is_there_and_what_fails() {
        let text = table(&json!({
            "ok": false, "failing": ["store"], "version": "0.1.0", "host": "vm", "pid": 7, "uptimeMs": 61_000, "connections": 2,
            "runs": {"running": 1, "queued": 2, "max": 4}, "agents": [{"agentId": "main"}, {"agentId": "work"}],
            "isolation": {
                "agents": [{"agentId": "main", "level": "strict", "network": false, "mainToo": false, "limits": {"tasks": 9}}],
                "host": {"workspace": {"available": true}, "strict": {"available": false, "missing": "no bwrap"}},
            },
            "store": {"waiting": 0, "lastCommitUs": 3140, "maxCommitUs": 16_000}, "warnings": ["talk: not acted on"],
        }));
        for part in [
            "FAILING: store",
            "vm, pid 7",
            "1 min 1 s",
            "1 at work, 2 waiting",
            "main, work",
            "main strict, no network, main session off, limits",
            "workspace, no strict (no bwrap), limits of single processes",
            "last commit 3.1 ms, slowest 16.0 ms",
            "talk: not acted on",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(table(&json!({})), "state  running");
    }
}

//! `doctor`: looks at the gateway, its files and its machine, and says what is wrong with each and how to mend it.
//!
//! It works with and without a running daemon; what only a daemon can tell is then said to be unknown, never taken to be well. It changes nothing.

mod finding;
mod host;
mod places;
mod programs;
mod proxy;
mod settings;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::error::{CONFIG, CliError, OK};
use super::output::Output;
use super::table::plain;
use super::target::TargetArgs;
use crate::config::layers::{FlagLayer, Sources};
use crate::config::load::{Loaded, load};
use finding::{Finding, Severity};

/// The worst finding is a warning.
const WARNED: u8 = 1;
/// The worst finding is critical.
const CRITICAL: u8 = 2;
/// Characters of a finding that are printed; texts of files and of the gateway are part of it.
const SHOWN: usize = 600;

/// Look for what is wrong with the gateway, its files and its machine, and say how to mend it
///
/// Exit codes: 0 nothing worse than a note, 1 a warning, 2 something critical, 78 the configuration is wrong.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Look at what an attacker would look at, too: addresses, permissions, secrets, the proxy in front, what runs could reach
    #[arg(long)]
    pub security: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// Configuration file [default: $SKYKOI_CONFIG_PATH or STATE_DIR/skykoi.json]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory of the gateway [default: $SKYKOI_STATE_DIR or ~/.skykoi]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// What the checks look at.
pub struct Scene {
    /// The configuration as it is on disk.
    loaded: Loaded,
    /// The same with defaults, and without secrets.
    shown: Value,
    /// The answer of `status`; none when no gateway answers.
    status: Option<Value>,
}

impl Scene {
    /// A text of the configuration, by its JSON pointer.
    fn text(&self, pointer: &str) -> &str {
        self.shown.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A switch of the configuration.
    fn is(&self, pointer: &str) -> bool {
        self.shown.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The texts of a list of the configuration.
    fn texts(&self, pointer: &str) -> Vec<&str> {
        self.shown.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Process id of the running gateway.
    fn pid(&self) -> Option<u64> {
        self.status.as_ref()?.get("pid")?.as_u64()
    }
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub async fn run(args: DoctorArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let flags = FlagLayer { state_dir: args.state_dir.clone(), config: args.config.clone(), ..FlagLayer::default() };
    let mut findings = Vec::new();
    let mut code = None;
    match load(&Sources::of_process(flags)) {
        Err(error) => {
            code = Some(CONFIG);
            findings.push(Finding::critical(
                "config",
                error.to_string(),
                "correct the file; `skykoi-gateway config check` says when it is right",
            ));
        }
        Ok(loaded) => {
            let target = TargetArgs { state_dir: Some(loaded.paths.state_dir.clone()), ..TargetArgs::default() };
            let mut client = match target.resolve() {
                Ok(target) => Client::connect(&target).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let status = match &mut client {
                Ok(client) => client.call("status", &json!({})).await.ok(),
                Err(_) => None,
            };
            let scene = Scene { shown: loaded.show(), loaded, status };
            if !scene.loaded.start_blockers().is_empty() {
                code = Some(CONFIG);
            }
            findings.extend(settings::health(&scene, client.as_ref().err()));
            findings.extend(places::health(&scene));
            findings.extend(programs::health(&scene));
            if args.security {
                findings.extend(settings::security(&scene));
                findings.extend(places::security(&scene));
                findings.extend(host::security(&scene).await);
                findings.extend(proxy::security(&scene, client.as_mut().ok()).await);
            }
        }
    }
    show(&findings, args.json, out)?;
    Ok(code.unwrap_or_else(|| exit_code(&findings)))
}

fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Critical) => CRITICAL,
        Some(Severity::Warning) => WARNED,
        _ => OK,
    }
}

fn show(findings: &[Finding], json: bool, out: &mut Output<'_>) -> Result<(), CliError> {
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (critical, warnings) = (count(Severity::Critical), count(Severity::Warning));
    if json {
        let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
        let answer =
            json!({ "ok": worst < Severity::Warning, "worst": worst, "critical": critical, "warnings": warnings, "findings": findings });
        return out.line(&answer.to_string());
    }
    for finding in findings {
        let word = match finding.severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        };
        out.line(&format!("{word:<8}  {:<12}  {}", finding.check, plain(&finding.what, SHOWN)))?;
        if !finding.mend.is_empty() {
            out.line(&format!("{:24}→ {}", "", plain(&finding.mend, SHOWN)))?;
        }
    }
    out.line(&format!("{critical} critical, {warnings} to be mended, {} looked at", findings.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        let (ok, note) = (Finding::ok("a", "x"), Finding::note("b", "x", ""));
        let (warning, critical) = (Finding::warning("c", "x", "y"), Finding::critical("d", "x", "y"));
        assert_eq!(exit_code(&[ok.clone(), note.clone()]), 0);
        assert_eq!(exit_code(&[ok.clone(), warning.clone(), note.clone()]), 1);
        assert_eq!(exit_code(&[critical.clone(), warning.clone()]), 2);
        let (mut result, mut talk) = (Vec::new(), Vec::new());
        show(&[ok, note, warning, critical], true, &mut Output { result: &mut result, talk: &mut talk }).unwrap();
        let shown: Value = serde_json::from_slice(&result).unwrap();
        assert_eq!(
            (&shown["ok"], &shown["worst"], &shown["critical"], &shown["warnings"]),
            (&json!(false), &json!("critical"), &json!(1), &json!(1))
        );
        assert_eq!(shown["findings"][2], json!({"check": "c", "severity": "warning", "what": "x", "mend": "y"}));
    }
}

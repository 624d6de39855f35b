//! `audit verify|show|export|key`: the audit log, checked and read from its files; no gateway has to run.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::{CliError, DATA, OK};
use super::output::Output;
use super::start::PlaceArgs;
use super::table::{columns, plain};
use crate::audit::action::ACTIONS;
use crate::audit::key::{Key, Verifier};
use crate::audit::record::{Hash, Record};
use crate::audit::verify::{Report, each, verify};
use crate::audit::{Decision, Head};
use crate::clock;
use crate::config::paths::Paths;

/// Check and read the log of who did what
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
    /// Where configuration and state are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The log's directory, such as a copy of one [default: <state directory>/audit]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What to do with the audit log.
#[derive(Subcommand, Clone, Debug)]
pub enum AuditCommand {
    /// Check every record, from the first to the last; exit code 65 names the first that was edited, removed, moved, cut off or forged
    Verify {
        /// A public key that may have signed it, as `audit key` prints it; can be given more than once [default: the key in the state directory, which whoever changes the log could have changed too]
        // A key is base64url and may begin with a hyphen.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        key: Vec<String>,
        /// A head that was kept elsewhere, such as the daemon's log or health show it; can be given more than once. Only so does a log show that its end was cut off
        #[arg(long, value_name = "N:HASH")]
        head: Vec<String>,
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show records, the newest last
    Show {
        /// Which records.
        #[command(flatten)]
        filter: Filter,
        /// At most so many, the newest
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Print records as lines of JSON, byte for byte as they lie in the log
    Export {
        /// Which records.
        #[command(flatten)]
        filter: Filter,
    },
    /// Print the gateway's public key; keep it elsewhere, to check the log with
    Key,
}

/// Which records.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only this action, or those that begin so, such as `exec` or `auth.`
    #[arg(long, value_name = "NAME")]
    pub action: Option<String>,
    /// Only what this principal or credential did
    #[arg(long, value_name = "WHO", allow_hyphen_values = true)]
    pub actor: Option<String>,
    /// Only what was done to this, such as a run
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// Only what was decided so: allow, deny or ask
    #[arg(long, value_name = "WORD", value_parser = decision)]
    pub decision: Option<Decision>,
    /// Only records from this number on
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Only records up to this number
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Only records from this time on, such as 2026-11-21T07:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<u64>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<u64>,
}

fn decision(text: &str) -> Result<Decision, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "allow, deny or ask is expected".to_owned())
}

fn time(text: &str) -> Result<u64, String> {
    clock::from_iso(text).ok_or_else(|| "a time such as 2026-11-21T07:00:00Z is expected".to_owned())
}

impl Filter {
    fn takes(&self, record: &Record) -> bool {
        let named = |wanted: &Option<String>, found: &[Option<&str>]| {
            wanted.as_deref().is_none_or(|wanted| found.iter().flatten().any(|found| *found == wanted))
        };
        let of_action = |wanted: &str| record.action == wanted || (wanted.ends_with('.') && record.action.starts_with(wanted));
        self.action.as_deref().is_none_or(of_action)
            && named(&self.actor, &[Some(&record.actor), record.credential_id.as_deref()])
            && named(&self.target, &[record.target.as_deref()])
            && self.decision.is_none_or(|wanted| record.decision == Some(wanted))
            && self.from.is_none_or(|from| record.n >= from)
            && self.to.is_none_or(|to| record.n <= to)
            && self.since.is_none_or(|since| record.ts >= since)
            && self.until.is_none_or(|until| record.ts < until)
    }

    fn check(&self) -> Result<(), CliError> {
        let Some(wanted) = &self.action else { return Ok(()) };
        if ACTIONS.iter().any(|(_, name, _)| name == wanted || (wanted.ends_with('.') && name.starts_with(wanted.as_str()))) {
            return Ok(());
        }
        let names: Vec<&str> = ACTIONS.iter().map(|(_, name, _)| *name).collect();
        Err(CliError::Usage(format!("no action is named {}; there are {}", plain(wanted, 64), names.join(", "))))
    }
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The files cannot be read, or a key or head is none.
pub fn run(args: &AuditArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let paths = Paths::find(&args.place.sources()).map_err(|error| CliError::Local(error.to_string()))?;
    let dir = args.dir.clone().unwrap_or_else(|| paths.audit_dir());
    let unreadable = |cause: std::io::Error| CliError::Local(format!("{} cannot be read: {cause}", dir.display()));
    match &args.command {
        AuditCommand::Verify { key, head, json } => {
            let keys =
                if key.is_empty() { vec![own_key(&paths)?] } else { key.iter().map(|key| public_key(key)).collect::<Result<_, _>>()? };
            let heads = head.iter().map(|head| head_of(head)).collect::<Result<Vec<_>, _>>()?;
            let report = verify(&dir, &keys, &heads).map_err(unreadable)?;
            out.line(&if *json { json!(report).to_string() } else { found(&report) })?;
            if key.is_empty() && !*json {
                out.say(
                    "checked with the key of this machine; with --key and a copy of the key from elsewhere the check does not depend on it",
                );
            }
            Ok(if report.fault.is_some() { DATA } else { OK })
        }
        AuditCommand::Show { filter, limit } => {
            filter.check()?;
            let mut rows = std::collections::VecDeque::new();
            let taken = each(&dir, |record, _| {
                if filter.takes(&record) {
                    rows.push_back(row(&record));
                    if rows.len() > *limit {
                        rows.pop_front();
                    }
                }
                true
            });
            taken.map_err(unreadable)?;
            if rows.is_empty() {
                return out.line("no records").map(|()| OK);
            }
            rows.push_front(["N", "TIME", "ACTION", "DECISION", "WHO", "FROM", "WHAT", "MORE"].map(str::to_owned).to_vec());
            out.line(&columns(rows.make_contiguous()))?;
            Ok(OK)
        }
        AuditCommand::Export { filter } => {
            filter.check()?;
            let mut failed = None;
            let taken = each(&dir, |record, line| {
                if filter.takes(&record) {
                    failed = out.line(line).err();
                }
                failed.is_none()
            });
            taken.map_err(unreadable)?;
            failed.map_or(Ok(OK), Err)
        }
        AuditCommand::Key => out.line(&own_key(&paths)?.to_string()).map(|()| OK),
    }
}

fn own_key(paths: &Paths) -> Result<Verifier, CliError> {
    let path = paths.identity_key();
    if !path.exists() {
        let text = format!("{} is not there yet: a gateway makes it at its first start; or give the public key with --key", path.display());
        return Err(CliError::Local(text));
    }
    Key::open(&path).map(|key| key.verifier()).map_err(|cause| CliError::Local(format!("{}: {cause}", path.display())))
}

fn public_key(text: &str) -> Result<Verifier, CliError> {
    Verifier::parse(text).ok_or_else(|| CliError::Usage(format!("{} is no public key as `audit key` prints it", plain(text, 64))))
}

fn head_of(text: &str) -> Result<Head, CliError> {
    let head = text.split_once(':').and_then(|(n, hash)| Some(Head { n: n.parse().ok()?, hash: Hash::parse(hash)? }));
    head.ok_or_else(|| CliError::Usage(format!("{} is no head; a number, a colon and 64 hexadecimal digits are expected", plain(text, 96))))
}

fn found(report: &Report) -> String {
    let mut lines: Vec<String> = report.notices.iter().map(|notice| format!("note: {}", plain(notice, 400))).collect();
    let Report { first, last, records, segments, signed, vouched, .. } = report;
    match &report.fault {
        None if *records == 0 => lines.push("the log is empty".to_owned()),
        None => lines.push(format!(
            "ok: {records} records, {first} to {last}, in {segments} files; {signed} signatures, the last at record {vouched}\nhead {last}:{}",
            report.hash
        )),
        Some(fault) => {
            let place = match (&fault.segment, fault.line) {
                (Some(segment), Some(line)) => format!(" ({segment}, line {line})"),
                _ => String::new(),
            };
            let kind = json!(fault.kind).as_str().unwrap_or_default().to_owned();
            lines.push(format!("bad: record {}{place}, {kind}: {}", fault.n, plain(&fault.text, 400)));
            lines.push(format!("{records} records before it are good; a signature vouches for those up to {vouched}"));
        }
    }
    lines.join("\n")
}

fn row(record: &Record) -> Vec<String> {
    let decided = record.decision.map(|decision| json!(decision));
    let who = match &record.credential_id {
        Some(credential) if *credential != record.actor => format!("{} ({credential})", record.actor),
        _ => record.actor.clone(),
    };
    vec![
        record.n.to_string(),
        clock::iso(record.ts),
        record.action.clone(),
        decided.as_ref().and_then(Value::as_str).unwrap_or("-").to_owned(),
        plain(&who, 48),
        plain(record.ip.as_deref().unwrap_or("-"), 40),
        plain(record.target.as_deref().unwrap_or("-"), 64),
        plain(&more(record), 160),
    ]
}

fn more(record: &Record) -> String {
    let detail = record.detail.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    record.reason.clone().into_iter().chain(detail).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_go_by_every_column() {
        let record = json!({"n": 5, "ts": 1000, "boot": "b", "actor": "token:ci", "credentialId": "device:x", "action": "auth.fail", "target": "t",
            "decision": "deny", "prev": "0".repeat(64)});
        let record: Record = serde_json::from_value(record).unwrap();
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.takes(&record)
        };
        assert!(filter(|_| {}) && filter(|f| f.action = Some("auth.fail".into())) && filter(|f| f.action = Some("auth.".into())));
        assert!(filter(|f| f.actor = Some("device:x".into())) && filter(|f| f.decision = Some(Decision::Deny)));
        assert!(filter(|f| (f.from, f.to) = (Some(5), Some(5))) && filter(|f| (f.since, f.until) = (Some(1000), Some(1001))));
        for change in [
            (|f| f.action = Some("auth".into())) as fn(&mut Filter),
            |f| f.actor = Some("ci".into()),
            |f| f.target = Some("u".into()),
            |f| f.decision = Some(Decision::Allow),
            |f| f.from = Some(6),
            |f| f.to = Some(4),
            |f| f.since = Some(1001),
            |f| f.until = Some(1000),
        ] {
            assert!(!filter(change));
        }
    }

    #[test]
    fn what_is_no_key_head_or_action_is_refused() {
        assert!(public_key("x").is_err() && head_of("1").is_err() && head_of("1:zz").is_err());
        assert_eq!(head_of(&format!("7:{}", "0".repeat(64))).unwrap(), Head { n: 7, hash: Hash::default() });
        let wrong = Filter { action: Some("exce".into()), ..Filter::default() }.check().unwrap_err();
        assert!(wrong.to_string().contains("config.change"), "{wrong}");
    }
}

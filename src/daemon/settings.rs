//! From the configuration to what the parts want to know.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::warn;

use crate::approvals;
use crate::audit::record::{Hash, sha256};
use crate::auth::origin::HostPolicy;
use crate::config::Config;
use crate::config::approvals::WithoutApprover;
use crate::config::gateway::Bind as ConfiguredBind;
use crate::config::load::Loaded;
use crate::config::logging::{LogLevel, LogStyle};
use crate::config::paths::private_dir;
use crate::config::resolve::ExecSettings;
use crate::exec::cgroup;
use crate::exec::policy::Rule;
use crate::gateway::certificate::TlsStatus;
use crate::gateway::minds::Minds;
use crate::logging::filter::Filter;
use crate::logging::{self, Log, Style};
use crate::machine::reading;
use crate::protocol::ids::AgentId;
use crate::runs::control::OutputLimits;
use crate::runs::policy::{AgentRule, ExecRules};
use crate::runs::queue::Room;
use crate::runs::supervisor;
use crate::transport::admission::Caps;
use crate::transport::http::Rules;
use crate::transport::listener::{Bind, ListenSettings};
use crate::transport::tls::{self, CertFiles};
use crate::transport::wire::ReadLimits;

/// Memory that agent programs leave to everything else at least, MB.
const KEPT_MB: u64 = 512;

/// Worker threads: connections are light, and the machine belongs to the runs.
#[must_use]
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 2)
}

/// What is logged; `RUST_LOG` overrides it on the standard error for a person who looks for something.
#[must_use]
pub fn of_log(config: &Config) -> logging::Settings {
    let logging = &config.logging;
    let filter = |level: LogLevel| Filter::at(level_of(level));
    let console = filter(logging.console_level.unwrap_or(logging.level));
    logging::Settings {
        file: filter(logging.level),
        console: std::env::var("RUST_LOG").ok().and_then(|text| Filter::parse(&text)).unwrap_or(console),
        style: match logging.console_style {
            Some(LogStyle::Json) => Style::Json,
            Some(LogStyle::Compact) => Style::Compact,
            Some(LogStyle::Pretty) | None => Style::Pretty,
        },
    }
}

fn level_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Silent => LevelFilter::OFF,
        LogLevel::Fatal | LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Opens the log's file. Without it the gateway works too, so that a directory that is not there keeps nobody from starting.
pub fn open_log(log: &Log, loaded: &Loaded) {
    let logging = &loaded.config.logging;
    let path = logging.file.as_ref().map_or_else(|| loaded.paths.log(), PathBuf::from);
    if let Err(cause) = log.open_file(&path, logging.max_file_bytes) {
        warn!(path = %path.display(), %cause, "the log file cannot be opened; the log goes to the standard error only");
    }
}

/// How a person is asked about commands.
#[must_use]
pub fn of_approvals(config: &Config) -> approvals::Settings {
    let exec = &config.approvals.exec;
    approvals::Settings {
        timeout: Duration::from_millis(exec.timeout_ms),
        needed: exec.approvers,
        wait_for_approver: exec.without_approver == WithoutApprover::Wait,
    }
}

/// Settings of the supervisor.
///
/// # Errors
/// The directory of the shims' sockets cannot be made.
pub fn of_runs(loaded: &Arc<Loaded>) -> std::io::Result<supervisor::Settings> {
    let defaults = &loaded.config.agents.defaults;
    let socket_dir = loaded.paths.state_dir.join("run");
    private_dir(&socket_dir)?;
    Ok(supervisor::Settings {
        state_dir: loaded.paths.state_dir.clone(),
        socket_dir,
        max_concurrent: defaults.max_concurrent,
        max_nested: defaults.subagents.as_ref().and_then(|subagents| subagents.max_concurrent).map_or(8, |max| max as usize),
        heavy: heavy(loaded.config.runners.max_concurrent, reading::memory_total()),
        grace_ms: defaults.grace_ms,
        output: OutputLimits {
            cap_bytes: defaults.output.journal_cap_bytes,
            tail_bytes: defaults.output.tail_bytes,
            max_bytes_per_second: defaults.output.max_bytes_per_second,
        },
        env_passthrough: defaults.env.passthrough.clone(),
        audit_commands: loaded.config.audit.commands,
        exec: exec_rules(&loaded.config),
        protected: loaded.protected(),
        cgroup: cgroup::own(),
        briefing: Arc::new(Minds::new(Arc::clone(loaded))),
    })
}

/// How many agent programs may work at once: so many as are configured, or as fit into the machine's memory beside the system and what it is there for.
fn heavy(configured: Option<usize>, total_bytes: u64) -> Room {
    let total = total_bytes / (1 << 20);
    let kept = (total / 4).max(KEPT_MB);
    configured.map_or(Room::Memory(total.saturating_sub(kept)), Room::Count)
}

/// Which commands run, for each agent.
fn exec_rules(config: &Config) -> ExecRules {
    let rule_of = |exec: ExecSettings, may_exec| AgentRule {
        rule: Rule { security: exec.security, ask: exec.ask },
        safe_bins: exec.safe_bins,
        may_exec,
    };
    let agents = config.agent_ids().into_iter().filter_map(|id| config.agent(Some(&id)));
    ExecRules {
        agents: agents.map(|agent| (AgentId(agent.id), rule_of(agent.exec, agent.may_exec))).collect(),
        common: rule_of(config.exec(), true),
    }
}

/// Which requests the HTTP gate lets through.
///
/// # Errors
/// An origin or a network is none.
pub fn rules(config: &Config) -> Result<Arc<Rules>, String> {
    Ok(Arc::new(Rules {
        hosts: HostPolicy::new(&config.gateway.public_urls, &config.gateway.control_ui.allowed_origins, &[])?,
        trusted_proxies: config
            .gateway
            .trusted_proxies
            .iter()
            .map(|text| text.parse().map_err(|_| format!("gateway.trustedProxies: {text} is no address or network")))
            .collect::<Result<_, _>>()?,
    }))
}

/// Bounds of connections before hello, and of how many there are.
#[must_use]
pub fn bounds(config: &Config) -> (ReadLimits, Caps) {
    let limits = &config.gateway.limits;
    let read = ReadLimits {
        max_message_bytes: limits.max_preauth_payload,
        max_fragments: limits.max_fragments,
        message_timeout: Duration::from_millis(limits.message_timeout_ms),
    };
    let caps = Caps {
        connections: limits.max_connections,
        newcomers: limits.max_handshakes,
        newcomers_per_address: limits.max_handshakes_per_address,
        connects_per_minute: limits.connects_per_minute,
    };
    (read, caps)
}

/// Settings of the listeners, which follow `rules` as they change.
///
/// # Errors
/// The certificate cannot be used, or the address is none.
pub fn of_listener(loaded: &Loaded, rules: watch::Receiver<Arc<Rules>>) -> Result<ListenSettings, String> {
    let (limits, caps) = bounds(&loaded.config);
    let (bind, port) = place(&loaded.config)?;
    Ok(ListenSettings { bind, port, tls: tls_config(loaded)?, local: Some(loaded.paths.socket()), limits, caps, rules })
}

/// Where to listen.
///
/// # Errors
/// The address is none.
pub fn place(config: &Config) -> Result<(Bind, u16), String> {
    Ok((bind(config)?, config.gateway.port))
}

fn bind(config: &Config) -> Result<Bind, String> {
    match config.gateway.bind {
        ConfiguredBind::Auto | ConfiguredBind::Loopback | ConfiguredBind::Tailnet => Ok(Bind::Loopback),
        ConfiguredBind::Lan => Ok(Bind::Address(std::net::Ipv4Addr::UNSPECIFIED.into())),
        ConfiguredBind::Custom => {
            let host = config.gateway.custom_bind_host.as_deref().unwrap_or_default();
            host.parse().map(Bind::Address).map_err(|_| format!("gateway.customBindHost: {host} is no IP address"))
        }
    }
}

/// TLS of the listeners; none when they speak plainly.
///
/// # Errors
/// The certificate cannot be used or made.
pub fn tls_config(loaded: &Loaded) -> Result<Option<Arc<rustls::ServerConfig>>, String> {
    let Some(files) = certificate(loaded)? else { return Ok(None) };
    let clients = loaded.config.gateway.tls.ca_path.as_ref().map(PathBuf::from);
    tls::server_config(&files, clients.as_deref()).map(Some).map_err(|error| error.to_string())
}

/// The files of the certificate that is served, made if need be; none when the listeners speak plainly.
///
/// # Errors
/// The own certificate cannot be made, or half of a given one is missing.
pub fn certificate(loaded: &Loaded) -> Result<Option<CertFiles>, String> {
    let tls = &loaded.config.gateway.tls;
    if !tls.enabled {
        return Ok(None);
    }
    let files = match (&tls.cert_path, &tls.key_path) {
        (Some(cert), Some(key)) => CertFiles { cert: PathBuf::from(cert), key: PathBuf::from(key) },
        (None, None) => {
            let names: Vec<String> = loaded.config.public_origins().iter().map(|origin| origin.host.clone()).collect();
            tls::own_certificate(&loaded.paths.tls_dir(), &names).map_err(|error| error.to_string())?
        }
        _ => return Err("gateway.tls: certPath and keyPath go together".to_owned()),
    };
    Ok(Some(files))
}

/// What clients are shown, as `status` tells it.
#[must_use]
pub fn presented(loaded: &Loaded) -> Option<TlsStatus> {
    let files = certificate(loaded).ok()??;
    let tls = &loaded.config.gateway.tls;
    let fingerprint = tls::fingerprint(&files.cert).map(|print| tls::show_fingerprint(&print)).unwrap_or_default();
    Some(TlsStatus { fingerprint, self_signed: tls.cert_path.is_none(), client_certificates: tls.ca_path.is_some() })
}

/// The files that TLS is made of.
#[must_use]
pub fn tls_files(loaded: &Loaded) -> Vec<PathBuf> {
    let files = certificate(loaded).ok().flatten();
    let authorities = loaded.config.gateway.tls.ca_path.as_ref().map(PathBuf::from);
    files.into_iter().flat_map(|files| [files.cert, files.key]).chain(authorities).collect()
}

/// Changes when one of the files that TLS is made of does.
#[must_use]
pub fn tls_stamp(loaded: &Loaded) -> Hash {
    let texts: Vec<Vec<u8>> = tls_files(loaded).into_iter().map(|path| std::fs::read(path).unwrap_or_default()).collect();
    let digests: Vec<u8> = texts.iter().flat_map(|text| sha256(text).0).collect();
    sha256(&digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_programs_leave_a_quarter_of_the_memory_and_a_small_machine_has_room_for_one() {
        let gib = |n: u64| n << 30;
        assert_eq!(heavy(None, gib(8)), Room::Memory(6144));
        assert_eq!(heavy(None, gib(1)), Room::Memory(512));
        assert_eq!(heavy(None, 0), Room::Memory(0));
        assert_eq!(heavy(Some(3), gib(1)), Room::Count(3));
    }
}

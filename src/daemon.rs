//! The daemon: from a configuration to a listening gateway, and through its staged stop.
//!
//! ```text
//! config ──> state lock ──> store ──> unfinished runs ──> listeners ──> ready ──signal──> stop
//! ```
//! Nothing listens before every run that an earlier daemon left has found its fate. Runs outlive the daemon: a stop leaves them to their shims.

mod boots;
pub mod harden;
mod reload;
mod settings;
mod signals;
mod stop;
mod upkeep;
mod watch;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch::Sender};
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::boots::Boots;
use crate::approvals::{self, Approvals};
use crate::audit::{Action, Audit, Event, Limits};
use crate::clock::now_ms;
use crate::config::host::Host;
use crate::config::init;
use crate::config::layers::Sources;
use crate::config::load::{Loaded, load};
use crate::config::paths::Paths;
use crate::config::problem::{ConfigError, lines};
use crate::events::hub::Hub;
use crate::exec::proc;
use crate::gateway::chronicle::Scribe;
use crate::gateway::configuration::Ask;
use crate::gateway::devices::Devices;
use crate::gateway::{Gateway, Parts, VERSION, session_settings};
use crate::logging::Log;
use crate::runs::chronicle::Chronicle;
use crate::runs::host;
use crate::runs::launcher::{self, Launcher};
use crate::runs::orphans::{Children, become_subreaper};
use crate::runs::supervisor::Supervisor;
use crate::sessions::Sessions;
use crate::store::Store;
use crate::store::lock::{LockError, StateLock};
use crate::tasks::Tasks;
use crate::transcript::Transcripts;
use crate::transport::connection::Front;
use crate::transport::http::Rules;
use crate::transport::listener::{self, ListenError, Listeners};
use crate::transport::tls;
use signals::Signals;

/// Exit codes of the daemon; they are part of its interface.
pub mod exit {
    /// It was asked to stop and did.
    pub const OK: u8 = 0;
    /// A bug, or a store that has failed.
    pub const BUG: u8 = 70;
    /// A file or directory cannot be made.
    pub const CANNOT_CREATE: u8 = 73;
    /// Somebody else has the state directory or the port; later may do.
    pub const TRY_LATER: u8 = 75;
    /// Not permitted.
    pub const PERMISSION: u8 = 77;
    /// The configuration does not start.
    pub const CONFIG: u8 = 78;
}

/// Why the daemon did not start: the exit code and the text for the operator.
#[derive(Debug)]
pub struct StartError {
    /// Exit code.
    pub code: u8,
    /// What was wrong and what to do.
    pub text: String,
}

impl StartError {
    fn new(code: u8, text: impl std::fmt::Display) -> Self {
        Self { code, text: text.to_string() }
    }
}

/// How a daemon that started has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Stopped,
    /// It wants to be started again, in the same process: only a start takes its configuration.
    Restart,
}

/// Runs the daemon until it is told to stop. `talk` gets what a person at the terminal wants to know.
///
/// # Errors
/// It could not start, or the store failed while it ran.
pub fn run(sources: &Sources, talk: &mut dyn Write) -> Result<Ended, StartError> {
    harden::quiet_panics();
    harden::close_process();
    let children = Children::inherited();
    let sources = &Sources { host: trial(&children), ..sources.clone() };
    let loaded = Arc::new(configuration(sources, talk)?);
    let log = Log::new(settings::of_log(&loaded.config));
    log.install();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings::workers())
        .enable_all()
        .build()
        .map_err(|cause| StartError::new(exit::TRY_LATER, format!("the runtime cannot start: {cause}")))?;
    let served = runtime.block_on(serve(sources, loaded, children, log, talk));
    // Followers of runs that go on in their shims are dropped here; nothing else is left.
    runtime.shutdown_background();
    served
}

/// How a configuration learns what this machine can give to isolated runs.
fn trial(children: &Children) -> Host {
    let children = children.clone();
    Host::tried_by(move || match launcher::this_program() {
        Ok(program) => host::abilities(&program, &children),
        Err(_) => Default::default(),
    })
}

/// Reads the configuration, or writes the first one and reads that.
fn configuration(sources: &Sources, talk: &mut dyn Write) -> Result<Loaded, StartError> {
    let invalid = |error: ConfigError| StartError::new(exit::CONFIG, error);
    let mut loaded = load(sources).map_err(invalid)?;
    let token_given = loaded.config.gateway.auth.token.is_some() || loaded.config.gateway.auth.password.is_some();
    if !loaded.exists && !token_given {
        first_file(&loaded.paths, talk)?;
        loaded = load(sources).map_err(invalid)?;
    }
    let blockers = loaded.start_blockers();
    if !blockers.is_empty() {
        return Err(StartError::new(
            exit::CONFIG,
            format!("the configuration {} does not start:\n{}", loaded.path.display(), lines(&blockers)),
        ));
    }
    Ok(loaded)
}

/// Writes the first configuration, with a token of its own.
///
/// # Errors
/// It exists already, or cannot be written.
pub fn first_file(paths: &Paths, talk: &mut dyn Write) -> Result<(), StartError> {
    let token = init::new_token().map_err(|cause| StartError::new(exit::BUG, cause))?;
    let text = init::default_file(&token, &paths.state_dir.join("workspace"));
    init::write_new(&paths.config_path, &text).map_err(|cause| {
        let code = if cause.kind() == std::io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::CANNOT_CREATE };
        StartError::new(code, format!("{} cannot be written: {cause}", paths.config_path.display()))
    })?;
    let _ = writeln!(talk, "wrote {} (mode 0600) with a token of its own", paths.config_path.display());
    Ok(())
}

async fn serve(sources: &Sources, loaded: Arc<Loaded>, children: Children, log: Log, talk: &mut dyn Write) -> Result<Ended, StartError> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let paths = &loaded.paths;
    paths.prepare().map_err(|cause| {
        let code = if cause.kind() == std::io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::CANNOT_CREATE };
        StartError::new(code, format!("the state directory {} cannot be used: {cause}", paths.state_dir.display()))
    })?;
    let lock = take_lock(&paths.state_dir).await.map_err(|error| {
        let code = if matches!(error, LockError::Held { .. }) { exit::TRY_LATER } else { exit::CANNOT_CREATE };
        StartError::new(code, error)
    })?;
    // Only who holds the state directory writes its log.
    settings::open_log(&log, &loaded);
    // Before the first event can happen, so that none is missed.
    let signals = Signals::listen().map_err(|cause| StartError::new(exit::BUG, cause))?;
    let limits = &loaded.config.gateway.limits;
    let boots = Boots::begin(&paths.state_dir, limits.safe_mode_window_ms);
    let safe_mode = boots.crashed() >= limits.safe_mode_boots;
    let opened = open(sources, &loaded, children, log, safe_mode).await.inspect_err(|refused| {
        // What is refused with a reason has not crashed.
        if refused.code != exit::BUG {
            boots.end();
        }
    })?;
    let Opened { gateway, asks, front, listeners, rules } = opened;
    upkeep::start(&gateway);
    reload::start(&gateway, asks, &listeners, rules);
    info!(version = VERSION, addresses = ?listeners.addresses(), config = %loaded.path.display(), "ready");
    greet(&loaded, &listeners, talk);
    notify(&[sd_notify::NotifyState::Ready]);
    let ended = signals.wait(&gateway, &boots).await;
    stop::stop(&gateway, &front, &listeners, matches!(ended, Ok(Ended::Restart))).await;
    drop(lock);
    ended
}

/// Takes the state directory. The lock of a daemon that was killed, or that starts anew in this process, can outlive it for a moment, in a process that it was just starting: such a holder is waited for.
async fn take_lock(state_dir: &Path) -> Result<StateLock, LockError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let gone = |pid| pid == std::process::id() || proc::stat(pid).is_none_or(|holder| holder.is_dead());
        match StateLock::take(state_dir, now_ms()) {
            Err(LockError::Held { pid: Some(pid), .. }) if Instant::now() < deadline && gone(pid) => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            taken => return taken,
        }
    }
}

/// What is served, and where it is served.
struct Opened {
    gateway: Arc<Gateway>,
    asks: mpsc::Receiver<Ask>,
    front: Arc<Front>,
    listeners: Arc<Listeners>,
    rules: Sender<Arc<Rules>>,
}

async fn open(sources: &Sources, loaded: &Arc<Loaded>, children: Children, log: Log, safe_mode: bool) -> Result<Opened, StartError> {
    if safe_mode {
        warn!(
            "safe mode: the last daemons ended without an orderly stop; runs that are queued are held until this one has lived for {} s or is stopped in order and started again",
            loaded.config.gateway.limits.safe_mode_window_ms / 1000
        );
    }
    let (gateway, asks, front) = build(sources.clone(), Arc::clone(loaded), children, log, safe_mode).await?;
    let (listeners, rules) = listen(&gateway, &front).await?;
    Ok(Opened { gateway, asks, front, listeners: Arc::new(listeners), rules })
}

/// The parts, with every unfinished run taken care of.
async fn build(
    sources: Sources,
    loaded: Arc<Loaded>,
    children: Children,
    log: Log,
    safe_mode: bool,
) -> Result<(Arc<Gateway>, mpsc::Receiver<Ask>, Arc<Front>), StartError> {
    let paths = &loaded.paths;
    let bug = |cause: &dyn std::fmt::Display| StartError::new(exit::BUG, cause);
    let store = Store::open(&paths.db()).map_err(|error| {
        let code = if error.is_retryable() { exit::TRY_LATER } else { exit::BUG };
        StartError::new(code, error)
    })?;
    let boot_id = uuid::Uuid::new_v4().to_string();
    let audit = audit(&loaded, &boot_id, safe_mode)?;
    let devices =
        Devices::load(&store).await.map_err(|error| StartError::new(exit::BUG, format!("the devices cannot be read: {error}")))?;
    become_subreaper().map_err(|cause| bug(&cause))?;
    let launcher = Launcher::of_this_program(&paths.state_dir, children.clone()).map_err(|cause| bug(&cause))?;
    let (hub, tasks) = (Arc::new(Hub::default()), Tasks::new());
    let settings = settings::of_runs(&loaded).map_err(|cause| StartError::new(exit::CANNOT_CREATE, cause))?;
    let sessions = Sessions::new(session_settings(&loaded), store.clone());
    let transcripts = Transcripts::new(&paths.state_dir);
    let scribe = Scribe::new(sessions.clone(), transcripts.clone(), Arc::clone(&hub));
    let chronicle: Arc<dyn Chronicle> = Arc::new(scribe.clone());
    let parts = approvals::Parts {
        store: store.clone(),
        hub: Arc::clone(&hub),
        audit: audit.clone(),
        tasks: tasks.clone(),
        state_dir: paths.state_dir.clone(),
    };
    let approvals = Approvals::new(parts, settings::of_approvals(&loaded.config));
    approvals.recover().await.map_err(|error| StartError::new(exit::BUG, format!("approvals cannot be read: {error}")))?;
    let runs = Supervisor::new(settings, store.clone(), launcher, Arc::clone(&hub), tasks.clone(), chronicle, approvals.clone());
    let stop = tasks.stop_token();
    tasks.spawn("orphans", async move {
        if let Err(cause) = children.watch(stop).await {
            error!(%cause, "orphans of lost runs cannot be watched for");
        }
    });
    runs.recover(safe_mode).await.map_err(|error| StartError::new(exit::BUG, format!("unfinished runs cannot be read: {error}")))?;
    let (gateway, asks) = Gateway::new(Parts {
        sources,
        loaded,
        log,
        store,
        audit,
        approvals,
        boot_id,
        devices,
        runs,
        sessions,
        transcripts,
        scribe,
        hub,
        tasks,
        safe_mode,
    });
    gateway.restore_locks().await;
    gateway.import_found().await;
    gateway.tell_restart();
    if let Err(cause) = gateway.refresh_health().await {
        warn!(%cause, "health could not be looked up");
    }
    let front = Front::new(Arc::clone(&gateway), Tasks::new()).map_err(|cause| bug(&cause))?;
    Ok((gateway, asks, Arc::new(front)))
}

/// Opens the audit log; its first record says that this daemon has started.
fn audit(loaded: &Loaded, boot_id: &str, safe_mode: bool) -> Result<Audit, StartError> {
    let (paths, limits) = (&loaded.paths, Limits { segments: loaded.config.audit.max_segments, ..Limits::default() });
    let audit = Audit::open(&paths.audit_dir(), &paths.identity_key(), boot_id, limits).map_err(|error| {
        let code = if error.cause.kind() == std::io::ErrorKind::InvalidData { exit::CONFIG } else { exit::CANNOT_CREATE };
        StartError::new(code, error)
    })?;
    let boot = Event::new(Action::Boot).with("version", VERSION).with("pid", std::process::id()).with("key", audit.public_key());
    audit.note(boot.with("config", loaded.hash.clone()));
    if safe_mode {
        audit.note(Event::new(Action::Mode).target("safe mode").because("entered: the last daemons ended without an orderly stop"));
    }
    Ok(audit)
}

async fn listen(gateway: &Arc<Gateway>, front: &Arc<Front>) -> Result<(Listeners, Sender<Arc<Rules>>), StartError> {
    let loaded = gateway.loaded();
    let wrong = |cause: String| StartError::new(exit::CONFIG, cause);
    let (change, rules) = tokio::sync::watch::channel(settings::rules(&loaded.config).map_err(wrong)?);
    let settings = settings::of_listener(&loaded, rules).map_err(wrong)?;
    let bound = listener::bind(settings).await.map_err(|error: ListenError| {
        let code = if error.is_taken() { exit::TRY_LATER } else { exit::CANNOT_CREATE };
        StartError::new(code, error)
    })?;
    gateway.runs.listens_on(bound.addresses().iter().map(|address| address.port()).collect());
    Ok((bound.serve(Arc::clone(front) as Arc<dyn crate::transport::wire::Serve>, &gateway.tasks), change))
}

/// What a person at a terminal needs next.
fn greet(loaded: &Loaded, listeners: &Listeners, talk: &mut dyn Write) {
    let scheme = if loaded.config.gateway.tls.enabled { "wss" } else { "ws" };
    let urls: Vec<String> = listeners.addresses().iter().map(|address| format!("{scheme}://{address}/ws")).collect();
    let program = std::env::args().next().unwrap_or_else(|| "skykoi-gateway".to_owned());
    let token = match loaded.explain("gateway.auth.token") {
        Ok(explained) => explained.layer,
        Err(_) => format!("file {}", loaded.path.display()),
    };
    let state = match std::env::var_os("HOME") {
        Some(home) if loaded.paths.state_dir == std::path::Path::new(&home).join(".skykoi") => String::new(),
        _ => format!("SKYKOI_STATE_DIR={} ", loaded.paths.state_dir.display()),
    };
    let _ = writeln!(
        talk,
        "skykoi-gateway {VERSION}\n  url     {}\n  token   gateway.auth.token, from {token}\n  try     {state}{program} agent \"uname -a && df -h /\"",
        urls.join("  ")
    );
    if loaded.config.gateway.tls.enabled {
        let given = loaded.config.gateway.tls.cert_path.as_ref().map(std::path::PathBuf::from);
        if let Ok(print) = tls::fingerprint(&given.unwrap_or_else(|| loaded.paths.tls_cert())) {
            let _ = writeln!(talk, "  cert    sha256 {}", tls::show_fingerprint(&print));
        }
    }
    let _ = talk.flush();
}

/// Tells the service supervisor, if there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        warn!(%cause, "the service supervisor could not be told");
    }
}

/// How long the lock of a dead daemon is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
const LOCK_POLL: Duration = Duration::from_millis(5);
/// How long the whole stop may take; well below the unit's own limit.
const STOP: Duration = Duration::from_secs(20);

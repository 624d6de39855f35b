//! Takes changes of the configuration into a running gateway.
//!
//! ```text
//! watcher ─┐
//! SIGHUP  ─┼─> read as a start would ──> right? ──> prepare all that can fail ──> swap all ──> tell
//! methods ─┘                              └─ no: everything stays, and health and clients are told what is wrong
//! ```
//! One task does it, so that two changes never mix. What can fail (addresses, certificates) comes first and is undone, so a change is taken as a whole or not at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::settings;
use super::watch::{Watched, watch};
use crate::audit::record::Hash;
use crate::audit::{Action, Event};
use crate::auth::keyring::Change;
use crate::config::diff::{Class, changed, class};
use crate::config::gateway::ReloadMode;
use crate::config::load::{Loaded, load};
use crate::config::problem::ConfigError;
use crate::config::schema::schema;
use crate::gateway::configuration::{Ask, Outcome, issue};
use crate::gateway::restart_note::RestartNote;
use crate::gateway::{Gateway, session_settings};
use crate::protocol::event::config::{Applied, ConfigChanged, ConfigIssue};
use crate::transport::http::Rules;
use crate::transport::listener::Listeners;

/// How often a file that is wrong is looked at again: what was missing for it, such as a free port or an included file, gives no sign.
const RETRY: Duration = Duration::from_secs(5);

/// Starts the watcher and the reloader; they end with the gateway's tasks.
pub fn start(gateway: &Arc<Gateway>, asks: mpsc::Receiver<Ask>, listeners: &Arc<Listeners>, rules: watch::Sender<Arc<Rules>>) {
    let loaded = gateway.loaded();
    let settled = Arc::new(Notify::new());
    let (watched, seen) = watch::channel(watched(&loaded));
    gateway.tasks.spawn("config watch", watch(Arc::clone(gateway), seen, Arc::clone(&settled)));
    let reloader = Reloader {
        gateway: Arc::clone(gateway),
        listeners: Arc::clone(listeners),
        rules,
        watched,
        started_with: Arc::clone(&loaded),
        tls: Mutex::new(settings::tls_stamp(&loaded)),
    };
    gateway.certificate.set(settings::presented(&loaded));
    gateway.tasks.spawn("config reload", reloader.run(asks, settled));
}

fn watched(loaded: &Loaded) -> Watched {
    let mut files = if loaded.files.is_empty() { vec![loaded.path.clone()] } else { loaded.files.clone() };
    files.extend(settings::tls_files(loaded));
    Watched { files, debounce: Duration::from_millis(loaded.config.gateway.reload.debounce_ms) }
}

struct Reloader {
    gateway: Arc<Gateway>,
    listeners: Arc<Listeners>,
    rules: watch::Sender<Arc<Rules>>,
    watched: watch::Sender<Watched>,
    /// What waits for a restart is what differs from this.
    started_with: Arc<Loaded>,
    /// What the files of TLS were when they were last taken.
    tls: Mutex<Hash>,
}

/// What a change asks for.
struct Plan {
    changed: Vec<String>,
    restart_needed: Vec<String>,
    restart: bool,
}

/// Somebody wants the change taken, whatever the mode.
struct Asked {
    /// How long a restart waits.
    restart_after_ms: u64,
    /// What the start after it is to tell.
    note: Option<RestartNote>,
}

impl Reloader {
    async fn run(self, mut asks: mpsc::Receiver<Ask>, settled: Arc<Notify>) {
        let stop = self.gateway.tasks.stop_token();
        loop {
            let wrong = !self.gateway.configuration.issues().is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ask) = asks.recv() => {
                    let outcome = self.look(Some(Asked { restart_after_ms: ask.restart_after_ms, note: ask.note })).await;
                    // Who asked may be gone; the change is made all the same.
                    let _ = ask.reply.send(outcome);
                }
                () = settled.notified() => self.look_unasked().await,
                () = self.gateway.configuration.written() => self.look_unasked().await,
                () = sleep(RETRY), if wrong => self.look_unasked().await,
            }
        }
    }

    async fn look_unasked(&self) {
        if self.gateway.configuration.puts_look_off() {
            // Who writes is followed by one like this.
            return;
        }
        let loaded = self.gateway.loaded();
        let wrong = !self.gateway.configuration.issues().is_empty();
        if loaded.config.gateway.reload.mode != ReloadMode::Off && (wrong || !loaded.is_on_disk() || self.other_certificate(&loaded)) {
            self.look(None).await;
        }
    }

    /// Whether a file of TLS holds something else than what was taken.
    fn other_certificate(&self, loaded: &Loaded) -> bool {
        *self.tls() != settings::tls_stamp(loaded)
    }

    fn tls(&self) -> MutexGuard<'_, Hash> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files and takes what they say.
    async fn look(&self, asked: Option<Asked>) -> Outcome {
        let sources = self.gateway.configuration.sources().clone();
        let read = tokio::task::spawn_blocking(move || load(&sources)).await;
        let before = self.gateway.loaded();
        let missing = || {
            vec![ConfigIssue {
                path: String::new(),
                message: "does not exist any more; the last configuration stays in effect".to_owned(),
                file: Some(before.path.display().to_string()),
                line: None,
                column: None,
            }]
        };
        match read {
            Ok(Ok(loaded)) if before.exists && !loaded.exists => self.keep(missing(), None),
            Ok(Ok(loaded)) => {
                let blockers = loaded.start_blockers();
                if blockers.is_empty() {
                    self.take(Arc::new(loaded), asked).await
                } else {
                    self.keep(blockers.iter().map(issue).collect(), loaded.hash)
                }
            }
            Ok(Err(ConfigError::Absent(_))) => self.keep(missing(), None),
            Ok(Err(error)) => self.keep(error.problems().iter().map(issue).collect(), None),
            Err(cause) => self.keep(vec![plain(cause.to_string())], None),
        }
    }

    /// Leaves everything as it is, and says why; the same reasons are said once.
    fn keep(&self, issues: Vec<ConfigIssue>, hash: Option<String>) -> Outcome {
        let configuration = &self.gateway.configuration;
        let outcome = Outcome { issues: issues.clone(), ..Outcome::default() };
        if configuration.issues() != issues {
            let text = issues.iter().map(said).collect::<Vec<_>>().join("\n");
            warn!("the configuration on disk would not start and is not taken; the last right one stays in effect:\n{text}");
            configuration.note(issues, configuration.health().restart_needed);
            self.tell(&outcome, hash);
        }
        outcome
    }

    async fn take(&self, loaded: Arc<Loaded>, asked: Option<Asked>) -> Outcome {
        let before = self.gateway.loaded();
        let mended = !self.gateway.configuration.issues().is_empty();
        let plan = self.plan(&before, &loaded, asked.is_some());
        let unchanged = plan.changed.is_empty() && before.hash == loaded.hash;
        let renewed = self.other_certificate(&loaded);
        let revoked = match self.swap(&before, &loaded, asked.is_some() || renewed).await {
            Ok(revoked) => revoked,
            Err(wrong) => return self.keep(vec![wrong], loaded.hash.clone()),
        };
        let hash = loaded.hash.clone();
        self.gateway.configuration.note(Vec::new(), plan.restart_needed.clone());
        let applied = match (plan.restart, plan.restart_needed.is_empty(), plan.changed.is_empty()) {
            (true, _, _) => Applied::Restart,
            (false, _, true) => Applied::None,
            (false, true, false) => Applied::Hot,
            (false, false, false) => Applied::RestartNeeded,
        };
        let mut outcome = Outcome { applied, changed: plan.changed, restart_needed: plan.restart_needed, ..Outcome::default() };
        if plan.restart {
            // Also where nothing has changed, since who asked is told that it comes: an earlier mode may have left it waiting.
            let (after_ms, note) = asked.map_or((0, None), |asked| (asked.restart_after_ms, asked.note));
            outcome.restart = Some(self.restart_after(after_ms));
            outcome.noted = leave(note, &self.gateway.loaded()).await;
        }
        if unchanged && !mended {
            return outcome;
        }
        self.record(before.hash.as_deref(), &outcome, hash.as_deref());
        info!(applied = ?outcome.applied, changed = outcome.changed.join(" "), restart_needed = outcome.restart_needed.join(" "), "the configuration has changed");
        self.tell(&outcome, hash);
        if revoked {
            // Behind the event, so that they hear why.
            self.gateway.hub.signal_revoked();
        }
        outcome
    }

    /// What differs, and whether that needs a restart.
    fn plan(&self, before: &Loaded, loaded: &Loaded, asked: bool) -> Plan {
        let schema = schema();
        let needs_restart = |other: &Loaded| -> Vec<String> {
            let keys = changed(&other.given, &loaded.given).into_iter();
            keys.filter(|path| class(&schema, path) == Class::Restart).map(|path| path.to_string()).collect()
        };
        let differing = changed(&before.given, &loaded.given);
        let restart_needed = needs_restart(&self.started_with);
        let restart = match loaded.config.gateway.reload.mode {
            ReloadMode::Off | ReloadMode::Hot => false,
            // Also when somebody asks again for what an earlier mode left waiting.
            ReloadMode::Hybrid => !restart_needed.is_empty() && (asked || !needs_restart(before).is_empty()),
            ReloadMode::Restart => differing.iter().any(|path| class(&schema, path) != Class::None),
        };
        Plan { changed: differing.iter().map(ToString::to_string).collect(), restart_needed, restart }
    }

    /// The records of the audit log about credentials of the configuration. Who wrote the file stands in the record of the write, where it was written through the gateway.
    fn note_changes(&self, changes: &[(String, Change)]) {
        for (credential, change) in changes {
            let action = match change {
                Change::New => Action::CredentialNew,
                Change::Gone => Action::CredentialRevoke,
                Change::Rotated => Action::CredentialRotate,
                Change::Altered => Action::ScopeChange,
            };
            self.gateway.audit.note(Event::new(action).target(credential).because("the configuration changed"));
        }
    }

    /// Puts the config into effect: first what can fail, then what cannot. Returns whether connections hold a credential that is no longer one.
    async fn swap(&self, before: &Loaded, loaded: &Arc<Loaded>, certificates: bool) -> Result<bool, ConfigIssue> {
        let config = &loaded.config;
        let rules = settings::rules(config).map_err(plain)?;
        let runs = settings::of_runs(loaded).map_err(|cause| plain(format!("the directory of the runs' sockets: {cause}")))?;
        self.listen(before, loaded, certificates).await?;
        let (limits, caps) = settings::bounds(config);
        self.listeners.set_bounds(limits, caps);
        self.rules.send_replace(rules);
        let replaced = self.gateway.access.replace(config);
        self.note_changes(&replaced.changes);
        self.gateway.runs.retune(runs);
        self.gateway.approvals.retune(settings::of_approvals(config));
        self.gateway.sessions.set_settings(session_settings(loaded));
        self.gateway.log.set(settings::of_log(config));
        self.gateway.configuration.replace(Arc::clone(loaded));
        let watched = watched(loaded);
        self.watched.send_if_modified(|old| {
            let other = *old != watched;
            *old = watched;
            other
        });
        Ok(replaced.revoked)
    }

    /// Moves the listeners if the address, the port or TLS is another. `certificates`: their files are read again in any case.
    async fn listen(&self, before: &Loaded, loaded: &Loaded, certificates: bool) -> Result<(), ConfigIssue> {
        let place = settings::place(&loaded.config).map_err(plain)?;
        let moved = settings::place(&before.config).ok() != Some(place);
        if !moved && !certificates && before.config.gateway.tls == loaded.config.gateway.tls {
            return Ok(());
        }
        let at = |path: &str, message: String| ConfigIssue { path: path.to_owned(), ..plain(message) };
        // Before the files are read: a change behind it is another one.
        let stamp = settings::tls_stamp(loaded);
        let tls = settings::tls_config(loaded).map_err(|cause| at("gateway.tls", cause))?;
        let listened = self.listeners.relisten(moved.then_some(place), tls).await;
        listened.map_err(|cause| at("gateway.port", format!("{cause}; the old address stays in use")))?;
        let shown = settings::presented(loaded);
        let other = shown.as_ref().filter(|_| std::mem::replace(&mut *self.tls(), stamp) != stamp).map(|shown| shown.fingerprint.clone());
        self.gateway.certificate.set(shown);
        if let Some(fingerprint) = other {
            info!(fingerprint, "new connections are shown another certificate or asked by other authorities");
        }
        self.gateway.runs.listens_on(self.listeners.addresses().iter().map(|address| address.port()).collect());
        Ok(())
    }

    /// Notes what is in effect from now on. Who wrote it, if it was written by a call, stands in a record of its own.
    fn record(&self, before: Option<&str>, outcome: &Outcome, now: Option<&str>) {
        let event = Event::new(Action::ConfigChange).target(&self.gateway.loaded().path.display().to_string());
        let event = event.with("from", before).with("to", now).with("changed", outcome.changed.as_slice());
        self.gateway.audit.note(event.with("restartNeeded", outcome.restart_needed.as_slice()));
    }

    /// Starts the daemon anew, `delay_ms` after the guard is dropped. Who asked for the change drops it when the answer is on its way, so that a slow one does not meet a closed connection; where nobody asked, or the call is lost, it goes with the outcome. So the restart comes in any case.
    fn restart_after(&self, delay_ms: u64) -> DropGuard {
        let gateway = Arc::clone(&self.gateway);
        let answered = CancellationToken::new();
        let armed = answered.clone();
        self.gateway.tasks.spawn("restart", async move {
            armed.cancelled().await;
            sleep(Duration::from_millis(delay_ms)).await;
            gateway.configuration.begin_restart();
        });
        answered.drop_guard()
    }

    /// Tells clients, and refreshes health, which shows the agents and the standing of the config.
    fn tell(&self, outcome: &Outcome, hash: Option<String>) {
        let loaded = self.gateway.loaded();
        let event = ConfigChanged {
            ts: self.gateway.now(),
            path: loaded.path.display().to_string(),
            hash,
            applied_hash: loaded.hash.clone(),
            valid: outcome.issues.is_empty(),
            applied: outcome.applied,
            changed: outcome.changed.clone(),
            restart_needed: outcome.restart_needed.clone(),
            issues: outcome.issues.clone(),
        };
        self.gateway.hub.signal("config.changed", &event);
        let gateway = Arc::clone(&self.gateway);
        self.gateway.tasks.spawn("health", async move {
            if let Err(cause) = gateway.refresh_health().await {
                warn!(%cause, "health could not be refreshed");
            }
            gateway.publish_health();
        });
    }
}

/// Leaves the note for the start after the restart; returns whether there is one now.
async fn leave(note: Option<RestartNote>, loaded: &Loaded) -> bool {
    let Some(note) = note else { return false };
    let state_dir = loaded.paths.state_dir.clone();
    let left = tokio::task::spawn_blocking(move || note.leave(&state_dir)).await.map_err(std::io::Error::other).flatten();
    left.inspect_err(|cause| warn!(%cause, "the note of the restart cannot be left; nobody will be told why it was")).is_ok()
}

/// An issue with its place, for the log.
fn said(issue: &ConfigIssue) -> String {
    let place = match (&issue.file, issue.line, issue.column) {
        (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
        (Some(file), ..) => format!("{file}: "),
        _ => String::new(),
    };
    let key = if issue.path.is_empty() { String::new() } else { format!("{}: ", issue.path) };
    format!("{place}{key}{}", issue.message)
}

/// An issue of the whole file.
fn plain(message: String) -> ConfigIssue {
    ConfigIssue { path: String::new(), message, file: None, line: None, column: None }
}

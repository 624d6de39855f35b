//! The daemon's log: for people on the standard error, for machines as JSON lines in a file that `logs.tail` reads.
//!
//! One subscriber writes both: levels that can be changed while it runs, a limit per place in the program against storms, a file that is turned over when it is full. Who logs is never held up by more than one write, and nothing here logs.

mod file;
pub mod filter;
mod limit;
mod record;
pub mod tail;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock::now_ms;
use file::LogFile;
use filter::Filter;
use limit::{Limiter, Verdict};
use record::Record;

/// The form of lines on the standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Time, level, place, message, values.
    #[default]
    Pretty,
    /// The same without the place.
    Compact,
    /// The records of the file.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What goes to the file.
    pub file: Filter,
    /// What goes to the standard error.
    pub console: Filter,
    /// The form of lines on the standard error.
    pub style: Style,
}

/// A handle to the log; clones are the same one.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    settings: RwLock<Settings>,
    limiter: Mutex<Limiter>,
    file: Mutex<LogFile>,
    started: Instant,
}

impl Log {
    /// A log with these settings, as yet without a file. It gets records once [`Self::install`] was called.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let shared = Shared { settings: RwLock::new(settings), limiter: Mutex::default(), file: Mutex::default(), started: Instant::now() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the records of this process. Returns whether it does; in one process the first one stays.
    pub fn install(&self) -> bool {
        tracing::subscriber::set_global_default(self.clone()).is_ok()
    }

    /// Writes to this file from now on, and first what was logged before. It is turned over when it would pass `max_bytes`.
    ///
    /// # Errors
    /// The file cannot be opened; the standard error goes on.
    pub fn open_file(&self, path: &Path, max_bytes: u64) -> std::io::Result<()> {
        self.file().open(path, max_bytes)
    }

    /// Other levels and another style from now on.
    pub fn set(&self, settings: Settings) {
        *self.shared.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        // Places that nobody wanted to hear of were told to be silent.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Where the records are, if they are in a file.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.file().path()
    }

    fn file(&self) -> std::sync::MutexGuard<'_, LogFile> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> std::sync::RwLockReadGuard<'_, Settings> {
        self.shared.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, metadata: &'static Metadata<'static>) -> Verdict {
        let now_ms = u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(metadata, now_ms)
    }

    fn write(&self, record: &Record, to_console: bool, to_file: bool) {
        let style = self.settings().style;
        let json = (to_file || style == Style::Json).then(|| record.json());
        if to_console {
            let line = match (style, &json) {
                (Style::Json, Some(json)) => json.clone(),
                (Style::Compact, _) => record.text(false),
                _ => record.text(true),
            };
            // A standard error that is gone must not end anything.
            let _ = std::io::stderr().write_all(&line);
        }
        if to_file && let Some(json) = json {
            self.file().write(json);
        }
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let settings = self.settings();
        metadata.is_event() && (settings.console.lets_through(metadata) || settings.file.lets_through(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let settings = self.settings();
        Some(settings.console.most().max(settings.file.most()))
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let (to_console, to_file) = {
            let settings = self.settings();
            (settings.console.lets_through(metadata), settings.file.lets_through(metadata))
        };
        if !(to_console || to_file) {
            return;
        }
        let verdict = self.verdict(metadata);
        for (place, count) in verdict.suppressed {
            self.write(&Record::suppressed(now_ms(), place, count), to_console, to_file);
        }
        if verdict.admitted {
            self.write(&Record::of(now_ms(), event), to_console, to_file);
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The word of a level.
fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held by each test that has a log: the process keeps one highest level for all, and two logs that come or change together may leave that of one.
    pub(super) fn alone() -> std::sync::MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(level: LevelFilter) -> Settings {
        Settings { file: Filter::at(level), console: Filter::at(LevelFilter::OFF), style: Style::Pretty }
    }

    fn lines(dir: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.join("logs/x.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn records_are_json_lines_in_a_private_file_also_those_from_before_it_was_open() {
        use std::os::unix::fs::PermissionsExt as _;
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(settings(LevelFilter::INFO));
        tracing::subscriber::with_default(log.clone(), || {
            tracing::info!(count = 3, cause = %"a \"b\"\n", "early");
            log.open_file(&dir.path().join("logs/x.jsonl"), 1 << 20).unwrap();
            tracing::warn!("late");
            tracing::debug!("not wanted");
        });
        let lines = lines(dir.path());
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&"early".into(), &"info".into()));
        assert_eq!(lines[0]["fields"], serde_json::json!({"count": 3, "cause": "a \"b\"\n"}));
        assert_eq!((&lines[1]["1"], &lines[1]["_meta"]["logLevelName"]), (&"late".into(), &"WARN".into()));
        assert!(lines[1]["time"].as_str().unwrap().ends_with('Z'));
        let mode = log.path().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn levels_change_while_it_runs() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(settings(LevelFilter::WARN));
        log.open_file(&dir.path().join("logs/x.jsonl"), 1 << 20).unwrap();
        tracing::subscriber::with_default(log.clone(), || {
            for level in [LevelFilter::WARN, LevelFilter::DEBUG, LevelFilter::OFF] {
                log.set(settings(level));
                tracing::debug!(%level, "fine");
            }
        });
        let lines = lines(dir.path());
        assert_eq!((lines.len(), &lines[0]["fields"]["level"]), (1, &"debug".into()));
    }

    #[test]
    fn a_storm_of_one_place_is_cut_and_counted_and_others_are_heard() {
        let _alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(settings(LevelFilter::INFO));
        log.open_file(&dir.path().join("logs/x.jsonl"), 64 << 20).unwrap();
        let began = Instant::now();
        tracing::subscriber::with_default(log.clone(), || {
            for n in 0..100_000 {
                tracing::error!(n, "a loop of errors");
            }
            tracing::info!("another place");
        });
        // The log counts whole milliseconds, so its second may be over a moment earlier.
        let seconds = usize::try_from((began.elapsed().as_millis() + 1) / 1000).unwrap() + 1;
        let lines = lines(dir.path());
        let stormy = lines.iter().filter(|line| line["message"] == "a loop of errors").count();
        assert!(stormy <= 100 * seconds, "{stormy} lines in {seconds} s");
        assert!(lines.iter().any(|line| line["message"] == "another place"));
    }
}

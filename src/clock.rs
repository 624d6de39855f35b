//! Wall-clock time as a plain number, read in one place.
//!
//! Deadlines and timeouts use tokio's monotonic clock, which tests can pause; wall time is only written down (timestamps, file names). Pure code takes it as an argument.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;

/// How far the wall clock may run ahead of the time that passes, for a clock that is corrected a little.
const CLOCK_SLACK: Duration = Duration::from_secs(600);

/// Milliseconds since the Unix epoch, UTC. A clock before 1970 reads as 0.
#[must_use]
pub fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    if cfg!(debug_assertions) { shifted(now) } else { now }
}

/// In debug builds a test can set the clock while a process runs: the file that `SKYKOI_CLOCK_SHIFT` names holds how far it is off, in ms.
fn shifted(now: u64) -> u64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(path) = FILE.get_or_init(|| std::env::var_os("SKYKOI_CLOCK_SHIFT").map(PathBuf::from)) else { return now };
    let shift = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i64>().ok());
    now.saturating_add_signed(shift.unwrap_or(0))
}

/// The wall clock, as far as the time that has really passed bears it out: a clock that jumps ahead while we run makes nothing old.
#[must_use]
pub fn steady(now_ms: u64, started_ms: u64, up: Duration) -> u64 {
    let passed = u64::try_from((up + CLOCK_SLACK).as_millis()).unwrap_or(u64::MAX);
    now_ms.min(started_ms.saturating_add(passed))
}

/// The UTC month of `ms` as `yyyy-mm`, the folder name of a run's journal.
#[must_use]
pub fn month(ms: u64) -> String {
    let day = stamp(ms).to_zoned(TimeZone::UTC).date();
    format!("{:04}-{:02}", day.year(), day.month())
}

/// `ms` as an ISO time with milliseconds, such as `2026-11-21T07:00:00.000Z`.
#[must_use]
pub fn iso(ms: u64) -> String {
    format!("{:.3}", stamp(ms))
}

/// The milliseconds that an ISO time says.
#[must_use]
pub fn from_iso(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()).ok()
}

fn stamp(ms: u64) -> jiff::Timestamp {
    i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The time zone of this host: what `TZ` names, else what the system is set to, else UTC.
#[must_use]
pub fn host_zone() -> TimeZone {
    // The library knows the names of zones only with a database that it would read as a whole; a file for the one name is enough.
    static NAMED: OnceLock<Option<TimeZone>> = OnceLock::new();
    let named = NAMED.get_or_init(|| zone_named(std::env::var("TZ").ok()?.trim_start_matches(':')));
    named.clone().unwrap_or_else(TimeZone::system)
}

/// The zone of this name in the system's files, such as `Europe/Berlin`.
#[must_use]
pub fn zone_named(name: &str) -> Option<TimeZone> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if name.is_empty() || name.starts_with('/') || !name.chars().all(plain) {
        return None;
    }
    let data = std::fs::read(Path::new("/usr/share/zoneinfo").join(name)).ok()?;
    TimeZone::tzif(name, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn month_is_utc_and_padded() {
        assert_eq!(month(0), "1970-01");
        assert_eq!(month(1_795_132_800_000), "2026-11");
    }

    #[test]
    fn iso_times_have_milliseconds_and_are_read_back() {
        for (ms, text) in [(0, "1970-01-01T00:00:00.000Z"), (1_795_132_800_007, "2026-11-20T00:00:00.007Z")] {
            assert_eq!((iso(ms).as_str(), from_iso(text)), (text, Some(ms)));
        }
        assert_eq!(from_iso("yesterday"), None);
    }

    #[test]
    fn a_zone_is_found_by_its_name_and_nothing_else_is_read() {
        if Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            assert_eq!(zone_named("Europe/Berlin").unwrap().iana_name(), Some("Europe/Berlin"));
        }
        for name in ["", "Europe/../../../../etc/passwd", "/etc/localtime", "Nowhere/At/All", "Europe"] {
            assert!(zone_named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn m92_a_clock_that_jumps_makes_nothing_old() {
        const DAY: u64 = 86_400_000;
        let hour = Duration::from_secs(3600);
        assert_eq!(steady(50 * DAY + 3_600_000, 50 * DAY, hour), 50 * DAY + 3_600_000, "an hour is an hour");
        assert_eq!(steady(90 * DAY, 50 * DAY, hour), 50 * DAY + 3_600_000 + 600_000, "forty days within an hour are not");
        assert_eq!(steady(DAY, 50 * DAY, hour), DAY, "what is young in the past stays young");
    }
}

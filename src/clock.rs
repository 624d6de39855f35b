//! Wall-clock time as a plain number, read in one place.
//!
//! Deadlines and timeouts use tokio's monotonic clock, which tests can pause; wall time is only written down (timestamps, file names). Pure code takes it as an argument.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// The UTC month of `ms` as `yyyy-mm`, the folder name of a run's journal.
#[must_use]
pub fn month(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let day = stamp.to_zoned(jiff::tz::TimeZone::UTC).date();
    format!("{:04}-{:02}", day.year(), day.month())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn month_is_utc_and_padded() {
        assert_eq!(month(0), "1970-01");
        assert_eq!(month(1_795_132_800_000), "2026-11");
    }
}

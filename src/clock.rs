//! Wall-clock time as a plain number, read in one place.
//!
//! Deadlines and timeouts use tokio's monotonic clock, which tests can pause; wall time is only written down (timestamps, file names). Pure code takes it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, UTC. A clock before 1970 reads as 0.
#[must_use]
pub fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The UTC month of `ms` as `yyyy-mm`, the folder name of a run's journal.
#[must_use]
pub fn month(ms: u64) -> String {
    let day = stamp(ms).to_zoned(jiff::tz::TimeZone::UTC).date();
    format!("{:04}-{:02}", day.year(), day.month())
}

/// `ms` as an ISO time with milliseconds, such as `2026-11-21T07:00:00.000Z`.
#[must_use]
pub fn iso(ms: u64) -> String {
    format!("{:.3}", stamp(ms))
}

fn stamp(ms: u64) -> jiff::Timestamp {
    i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
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

//! Usage by day: which days are meant, and what the runs of each of them used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::Gateway;
use crate::clock;
use crate::protocol::usage::{TokenUsage, UsageTotals};
use crate::store::error::StoreError;
use crate::store::usage::{UsageFilter, UsageSum};

/// Most days of one question.
pub const MAX_DAYS: i32 = 366;
/// Days that are meant when a question names none.
const DEFAULT_DAYS: i32 = 30;
/// A day that ended so long ago is not looked up again; its last runs may have been noted late.
const SETTLED_MS: u64 = 60 * 60 * 1000;

/// Days that are over, by the time at which they began. They never change.
#[derive(Default)]
pub struct Usage {
    settled: Mutex<HashMap<u64, UsageSum>>,
}

/// Some days, first to last, by the clock of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Days {
    first: Date,
    last: Date,
    zone: TimeZone,
}

impl Days {
    /// The days that a request means: both dates, or one of them and `days`, or the last `days` (30 if absent). Both ends count.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn asked(days: Option<u32>, start: Option<&str>, end: Option<&str>, now_ms: u64, zone: TimeZone) -> Result<Self, String> {
        let date = |key: &str, text: Option<&str>| {
            text.map(|text| text.parse::<Date>().map_err(|_| format!("at /{key}: must be a date such as 2026-11-21"))).transpose()
        };
        let (start, end) = (date("startDate", start)?, date("endDate", end)?);
        let count = i32::try_from(days.unwrap_or(0)).ok().filter(|days| *days > 0).unwrap_or(DEFAULT_DAYS);
        let shifted = |date: Date, days: i32| date.checked_add(Span::new().days(days)).map_err(|_| "the dates are too far away".to_owned());
        let (first, last) = match (start, end) {
            (Some(first), Some(last)) => (first, last),
            (Some(first), None) if days.is_some() => (first, shifted(first, count - 1)?),
            (Some(first), None) => (first, day_of(now_ms, &zone)),
            (None, last) => {
                let last = last.unwrap_or_else(|| day_of(now_ms, &zone));
                (shifted(last, 1 - count)?, last)
            }
        };
        if first > last {
            return Err("at /startDate: must not be after endDate".to_owned());
        }
        let found = Self { first, last, zone };
        if found.count() > MAX_DAYS {
            return Err(format!("at /startDate: must be at most {MAX_DAYS} days before endDate"));
        }
        Ok(found)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.first.until(self.last).map_or(1, |span| span.get_days() + 1)
    }

    /// The first and the last, as `YYYY-MM-DD`.
    #[must_use]
    pub fn ends(&self) -> (String, String) {
        (self.first.to_string(), self.last.to_string())
    }

    /// When the first begins and the last ends, ms since the epoch.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let all = self.each();
        (all.first().map_or(0, |day| day.1), all.last().map_or(0, |day| day.2))
    }

    /// Each day, when it begins, and when the next one does. A day has 23 or 25 hours when clocks change.
    fn each(&self) -> Vec<(Date, u64, u64)> {
        let begin = |date: Date| {
            let at = date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond();
            u64::try_from(at).ok()
        };
        let mut days = Vec::new();
        let mut date = self.first;
        while date <= self.last {
            let Ok(next) = date.tomorrow() else { break };
            days.push((date, begin(date).unwrap_or(0), begin(next).unwrap_or(0)));
            date = next;
        }
        days
    }
}

fn day_of(ms: u64, zone: &TimeZone) -> Date {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(zone.clone()).date()
}

impl Gateway {
    /// The days that a request to `method` means, now and here.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn days(&self, days: Option<u32>, start: Option<&str>, end: Option<&str>) -> Result<Days, String> {
        Days::asked(days, start, end, self.now(), clock::host_zone())
    }

    /// What the runs of each day used, with the day's date.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn usage_by_day(&self, days: &Days) -> Result<Vec<(String, UsageSum)>, StoreError> {
        let now = self.now();
        let mut found = Vec::new();
        for (date, from, to) in days.each() {
            let known = self.usage.lock().get(&from).cloned();
            let sum = match known {
                Some(sum) => sum,
                // A day that has not begun has no runs.
                None if from > now => UsageSum::default(),
                None => {
                    // One day at a time, so that other questions are not kept waiting.
                    let filter = UsageFilter { from, to, session: None, by_session: false };
                    let sum = self.store.usage(filter).await?.into_iter().next().unwrap_or_default();
                    if to.saturating_add(SETTLED_MS) <= now {
                        self.usage.remember(from, sum.clone());
                    }
                    sum
                }
            };
            found.push((date.to_string(), sum));
        }
        Ok(found)
    }
}

impl Usage {
    fn remember(&self, from: u64, sum: UsageSum) {
        let mut settled = self.lock();
        if settled.len() >= usize::try_from(MAX_DAYS).unwrap_or(usize::MAX) {
            settled.clear();
        }
        settled.insert(from, sum);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, UsageSum>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sum as clients see it.
#[must_use]
pub fn totals(sum: &UsageSum) -> UsageTotals {
    let TokenUsage { input, output, cache_read, cache_write, cost } = sum.tokens;
    let cost = cost.unwrap_or_default();
    UsageTotals {
        input,
        output,
        cache_read,
        cache_write,
        total_tokens: sum.tokens.total(),
        total_cost: cost.total,
        input_cost: cost.input,
        output_cost: cost.output,
        cache_read_cost: cost.cache_read,
        cache_write_cost: cost.cache_write,
        missing_cost_entries: sum.unpriced,
        runs: sum.runs,
        failed_runs: sum.failed,
        duration_ms: sum.duration_ms,
        cpu_ms: sum.cpu_ms,
        output_bytes: sum.output_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T07:00:00Z.
    const NOW: u64 = 1_795_244_400_000;

    fn asked(days: Option<u32>, start: Option<&str>, end: Option<&str>) -> Result<Days, String> {
        Days::asked(days, start, end, NOW, TimeZone::UTC)
    }

    #[test]
    fn defect_34_so_many_days_are_so_many_days_and_today_is_one_of_them() {
        for days in [1, 2, 30, 366] {
            let found = asked(Some(days), None, None).unwrap();
            assert_eq!((found.count(), found.each().len()), (i32::try_from(days).unwrap(), days as usize));
            assert_eq!(found.ends().1, "2026-11-21");
        }
        assert_eq!(asked(Some(1), None, None).unwrap().ends().0, "2026-11-21");
        assert_eq!(asked(None, None, None).unwrap().count(), 30);
    }

    #[test]
    fn dates_count_on_both_ends_and_one_of_them_is_enough() {
        let ends = |found: Result<Days, String>| found.unwrap().ends();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(ends(asked(Some(9), Some("2026-11-01"), Some("2026-11-03"))), pair("2026-11-01", "2026-11-03"));
        assert_eq!(ends(asked(None, Some("2026-11-19"), None)), pair("2026-11-19", "2026-11-21"));
        assert_eq!(ends(asked(Some(2), Some("2026-11-01"), None)), pair("2026-11-01", "2026-11-02"));
        assert_eq!(ends(asked(Some(2), None, Some("2026-03-01"))), pair("2026-02-28", "2026-03-01"));
        assert_eq!(asked(None, Some("2026-11-21"), Some("2026-11-21")).unwrap().count(), 1);
    }

    #[test]
    fn dates_that_make_no_sense_are_refused_with_the_reason() {
        for (start, end, reason) in [
            (Some("yesterday"), None, "at /startDate: must be a date"),
            (None, Some("2026-02-30"), "at /endDate: must be a date"),
            (Some("2026-11-21"), Some("2026-11-20"), "must not be after endDate"),
            (Some("2020-01-01"), Some("2026-11-20"), "at most 366 days"),
            (None, Some("-009999-01-01"), "too far away"),
        ] {
            let error = asked(None, start, end).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_day_on_which_clocks_change_is_longer_or_shorter() {
        let Some(zone) = clock::zone_named("Europe/Berlin") else { return };
        let found = Days::asked(None, Some("2026-10-24"), Some("2026-10-26"), NOW, zone).unwrap();
        let hours: Vec<u64> = found.each().iter().map(|(_, from, to)| (to - from) / 3_600_000).collect();
        assert_eq!(hours, [24, 25, 24]);
        let (from, to) = found.span();
        assert_eq!((to - from) / 3_600_000, 73);
    }
}

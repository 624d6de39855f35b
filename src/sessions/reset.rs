//! When a conversation starts afresh: daily at an hour of the host, or after idle time. Pure: time and zone are arguments.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::session::{Reset, ResetMode, Session};

/// The hour of a daily reset that names none.
const DEFAULT_HOUR: u8 = 4;
/// Idle time of a rule `idle` that names none, minutes.
const DEFAULT_IDLE: u32 = 60;

/// What kind of chat a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatKind {
    /// With one partner, or an agent's own.
    Dm,
    /// With a group or a channel.
    Group,
    /// A thread in one of them.
    Thread,
}

impl ChatKind {
    /// The kind that a canonical key and the kind of chat tell.
    #[must_use]
    pub fn of(key: &str, chat_type: Option<&str>) -> Self {
        let has = |part: &str| key.contains(part);
        if has(":thread:") || has(":topic:") {
            Self::Thread
        } else if has(":group:") || has(":channel:") || matches!(chat_type, Some("group" | "channel")) {
            Self::Group
        } else {
            Self::Dm
        }
    }
}

/// When one conversation starts afresh; whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Every day at this hour of the zone.
    pub daily_hour: Option<u8>,
    /// After so many minutes without activity.
    pub idle_minutes: Option<u32>,
}

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The hour of the day has passed since the last activity.
    Daily,
    /// Nobody wrote for too long.
    Idle,
}

impl Stale {
    /// The word for it in `sessions.changed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Idle => "idle",
        }
    }
}

/// The rule for a conversation of this kind on this channel. A rule for the channel stands alone; one for the kind takes what it does not say from the common one.
#[must_use]
pub fn policy(rules: &Session, kind: ChatKind, channel: Option<&str>) -> Policy {
    let of_channel = channel.and_then(|channel| rules.reset_by_channel.iter().find(|(name, _)| name.eq_ignore_ascii_case(channel)));
    if let Some((_, rule)) = of_channel {
        return joined(None, Some(rule), None, false);
    }
    let by_type = rules.reset_by_type.as_ref();
    let of_kind = by_type.and_then(|by_type| match kind {
        ChatKind::Dm => by_type.dm.as_ref(),
        ChatKind::Group => by_type.group.as_ref(),
        ChatKind::Thread => by_type.thread.as_ref(),
    });
    let old_form = rules.reset.is_none() && by_type.is_none() && rules.idle_minutes.is_some();
    joined(of_kind, rules.reset.as_ref(), rules.idle_minutes, old_form)
}

fn joined(own: Option<&Reset>, common: Option<&Reset>, idle_minutes: Option<u32>, old_form: bool) -> Policy {
    let implied = if old_form { ResetMode::Idle } else { ResetMode::Daily };
    let mode = own.and_then(|rule| rule.mode).or(common.and_then(|rule| rule.mode)).unwrap_or(implied);
    let hour = own.and_then(|rule| rule.at_hour).or(common.and_then(|rule| rule.at_hour)).unwrap_or(DEFAULT_HOUR);
    let idle = own.and_then(|rule| rule.idle_minutes).or(common.and_then(|rule| rule.idle_minutes)).or(idle_minutes);
    match mode {
        ResetMode::Daily => Policy { daily_hour: Some(hour.min(23)), idle_minutes: idle },
        ResetMode::Idle => Policy { daily_hour: None, idle_minutes: Some(idle.unwrap_or(DEFAULT_IDLE)) },
    }
}

impl Policy {
    /// Whether a conversation whose last activity was at `updated_at` is over at `now` (ms since the epoch).
    #[must_use]
    pub fn stale(&self, updated_at: u64, now: u64, zone: &TimeZone) -> Option<Stale> {
        let daily = self.daily_hour.and_then(|hour| last_boundary(now, hour, zone));
        if daily.is_some_and(|boundary| updated_at < boundary) {
            return Some(Stale::Daily);
        }
        let idle = self.idle_minutes.map(|minutes| updated_at.saturating_add(u64::from(minutes.max(1)) * 60_000));
        idle.filter(|until| now > *until).map(|_| Stale::Idle)
    }
}

/// The last time at or before `now` when it became `hour` o'clock in the zone. On a day that skips the hour it is the moment after the gap; on one that has it twice, the first.
#[must_use]
pub fn last_boundary(now: u64, hour: u8, zone: &TimeZone) -> Option<u64> {
    let stamp = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let mut day = stamp.to_zoned(zone.clone()).date();
    // Today's, or yesterday's; a day more where a zone left out a whole day.
    for _ in 0..3 {
        let boundary = day.at(i8::try_from(hour).ok()?, 0, 0, 0).to_zoned(zone.clone()).ok()?.timestamp();
        if boundary <= stamp {
            return u64::try_from(boundary.as_millisecond()).ok();
        }
        day = day.yesterday().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    fn rules(config: serde_json::Value) -> Session {
        serde_json::from_value(config).unwrap()
    }

    /// Zones by their rules, so that the tests need no files.
    fn zone(name: &str) -> TimeZone {
        let rule = match name {
            "Europe/Berlin" => "CET-1CEST,M3.5.0,M10.5.0/3",
            "America/New_York" => "EST5EDT,M3.2.0,M11.1.0",
            "Australia/Lord_Howe" => "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
            "Asia/Kathmandu" => "<+0545>-5:45",
            // Here midnight itself is left out.
            "Asia/Beirut" => "EET-2EEST,M3.5.0/0,M10.5.0/0",
            "America/Santiago" => "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
            "America/St_Johns" => "NST3:30NDT,M3.2.0,M11.1.0",
            _ => return TimeZone::UTC,
        };
        TimeZone::posix(rule).unwrap()
    }

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
    }

    fn of(config: serde_json::Value) -> Policy {
        policy(&rules(config), ChatKind::Dm, None)
    }

    #[test]
    fn without_a_rule_it_is_four_in_the_morning() {
        assert_eq!(of(json!({})), Policy { daily_hour: Some(4), idle_minutes: None });
        assert_eq!(of(json!({"reset": {"mode": "idle"}})), Policy { daily_hour: None, idle_minutes: Some(60) });
        assert_eq!(of(json!({"reset": {"atHour": 6, "idleMinutes": 30}})), Policy { daily_hour: Some(6), idle_minutes: Some(30) });
        assert_eq!(of(json!({"idleMinutes": 90})), Policy { daily_hour: None, idle_minutes: Some(90) });
        assert_eq!(of(json!({"idleMinutes": 90, "reset": {"mode": "daily"}})), Policy { daily_hour: Some(4), idle_minutes: Some(90) });
    }

    #[test]
    fn a_kind_takes_what_it_does_not_say_from_the_common_rule_and_a_channel_stands_alone() {
        let rules = rules(json!({
            "reset": {"mode": "daily", "atHour": 5},
            "resetByType": {"group": {"mode": "idle", "idleMinutes": 10}, "thread": {"idleMinutes": 20}},
            "resetByChannel": {"webchat": {"mode": "idle"}},
        }));
        let of = |kind, channel| policy(&rules, kind, channel);
        assert_eq!(of(ChatKind::Dm, None), Policy { daily_hour: Some(5), idle_minutes: None });
        assert_eq!(of(ChatKind::Group, Some("other")), Policy { daily_hour: None, idle_minutes: Some(10) });
        assert_eq!(of(ChatKind::Thread, None), Policy { daily_hour: Some(5), idle_minutes: Some(20) });
        assert_eq!(of(ChatKind::Thread, Some("WebChat")), Policy { daily_hour: None, idle_minutes: Some(60) });
        assert_eq!(ChatKind::of("agent:a:x:group:1:topic:2", None), ChatKind::Thread);
        assert_eq!((ChatKind::of("agent:a:x", Some("channel")), ChatKind::of("agent:a:main", None)), (ChatKind::Group, ChatKind::Dm));
    }

    #[test]
    fn the_hour_divides_two_conversations_also_after_days() {
        let berlin = zone("Europe/Berlin");
        let daily = Policy { daily_hour: Some(4), idle_minutes: None };
        // 03:59 and 04:00 in Berlin, in winter.
        let (before, after) = (at("2026-01-10T02:59:59Z"), at("2026-01-10T03:00:00Z"));
        assert_eq!(daily.stale(before, after, &berlin), Some(Stale::Daily));
        assert_eq!(daily.stale(after, after + DAY - 1, &berlin), None);
        assert_eq!(daily.stale(after, after + DAY, &berlin), Some(Stale::Daily));
        assert_eq!(daily.stale(before, after + 40 * DAY, &berlin), Some(Stale::Daily));
        assert_eq!(daily.stale(before - HOUR, before, &berlin), None);
    }

    #[test]
    fn days_of_23_and_25_hours_have_one_boundary_each() {
        let new_york = zone("America/New_York");
        // 2026-03-08 skips 02:00; 2026-11-01 has 01:00 twice.
        assert_eq!(last_boundary(at("2026-03-08T12:00:00Z"), 2, &new_york), Some(at("2026-03-08T07:00:00Z")));
        assert_eq!(last_boundary(at("2026-11-01T12:00:00Z"), 1, &new_york), Some(at("2026-11-01T05:00:00Z")));
        // Between the two one o'clocks nothing starts afresh again.
        let daily = Policy { daily_hour: Some(1), idle_minutes: None };
        assert_eq!(daily.stale(at("2026-11-01T05:30:00Z"), at("2026-11-01T06:30:00Z"), &new_york), None);
        // Samoa had no 30 December 2011.
        if let Some(apia) = crate::clock::zone_named("Pacific/Apia") {
            assert_eq!(last_boundary(at("2011-12-30T12:00:00Z"), 4, &apia), Some(at("2011-12-29T14:00:00Z")));
            assert_eq!(last_boundary(at("2011-12-30T14:00:00Z"), 4, &apia), Some(at("2011-12-30T14:00:00Z")));
        }
    }

    #[test]
    fn idle_time_counts_from_the_last_activity_and_its_last_minute_still_belongs_to_it() {
        let idle = Policy { daily_hour: None, idle_minutes: Some(30) };
        let (utc, now) = (TimeZone::UTC, at("2026-01-10T12:00:00Z"));
        assert_eq!(idle.stale(now - 30 * 60_000, now, &utc), None);
        assert_eq!(idle.stale(now - 30 * 60_000 - 1, now, &utc), Some(Stale::Idle));
        assert_eq!(idle.stale(now + HOUR, now, &utc), None, "a clock that was set back resets nothing");
    }

    proptest! {
        #[test]
        fn a_boundary_is_in_the_past_shows_the_hour_and_is_the_last_one(
            now in 946_684_800_000_u64..2_208_988_800_000,
            hour in 0u8..24,
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Beirut", "America/Santiago",
                "America/St_Johns",
            ]),
        ) {
            let zone = zone(name);
            let boundary = last_boundary(now, hour, &zone).unwrap();
            prop_assert!(boundary <= now);
            prop_assert!(now - boundary < DAY + 2 * HOUR, "{} after {}", now, boundary);
            let shown = Timestamp::from_millisecond(boundary as i64).unwrap().to_zoned(zone.clone());
            let day_has_it = shown.date().at(hour as i8, 0, 0, 0).to_zoned(zone.clone()).unwrap().hour() == hour as i8;
            prop_assert!(shown.hour() == hour as i8 || !day_has_it, "{}", shown);
            // The one before it is a day earlier, not nearer than a day of 22 hours.
            let earlier = last_boundary(boundary - 1, hour, &zone).unwrap();
            prop_assert!(boundary - earlier >= 22 * HOUR, "{} {}", earlier, boundary);
            // Whoever was active since the boundary goes on, whoever was not starts afresh.
            let daily = Policy { daily_hour: Some(hour), idle_minutes: None };
            prop_assert_eq!(daily.stale(boundary, now, &zone), None);
            prop_assert_eq!(daily.stale(boundary - 1, now, &zone), Some(Stale::Daily));
        }

        #[test]
        fn with_both_rules_whichever_comes_first_ends_it(now in 946_684_800_000_u64..2_208_988_800_000, gap in 0u64..3 * DAY, minutes in 1u32..3000) {
            let zone = zone("Europe/Berlin");
            let (daily, idle) = (Policy { daily_hour: Some(4), idle_minutes: None }, Policy { daily_hour: None, idle_minutes: Some(minutes) });
            let both = Policy { daily_hour: Some(4), idle_minutes: Some(minutes) };
            let stale = |policy: Policy| policy.stale(now - gap, now, &zone).is_some();
            prop_assert_eq!(stale(both), stale(daily) || stale(idle));
        }
    }
}

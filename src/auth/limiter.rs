//! Wrong credentials per client address: a few may be typing errors, more are guesses and lock the address out for a while.
//!
//! Only credentials that were shown and wrong count; a request without any is refused but not counted. A right credential clears nothing of other addresses, and within a lock it is refused too: otherwise a guesser would learn from the answer. Loopback is limited like any address, because nginx is there. The local socket never comes here.
//!
//! Time is a number of milliseconds on any clock that does not jump; the caller takes it from the monotonic clock. Locks leave and enter as remaining times, so that they survive a restart.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::auth::peer::limit_key;

/// Longest lock, unless the rule says longer; also how long an address must behave for its next lock to be a first one again.
pub const LONGEST_LOCK_MS: u64 = 3_600_000;

/// The rule of one limiter.
#[derive(Clone, Debug)]
pub struct LimiterRule {
    /// Wrong credentials within the window after which the address is locked.
    pub max_attempts: u32,
    /// Milliseconds for which a wrong credential counts.
    pub window_ms: u64,
    /// Milliseconds that the first lock of an address lasts; each further one lasts twice as long, up to [`LONGEST_LOCK_MS`] or this.
    pub lockout_ms: u64,
    /// Addresses remembered at most.
    pub max_entries: usize,
}

impl LimiterRule {
    /// How long the lock after so many earlier ones lasts, ms.
    fn lock_ms(&self, earlier: u32) -> u64 {
        let doubled = self.lockout_ms.saturating_mul(1 << earlier.min(20));
        doubled.min(self.lockout_ms.max(LONGEST_LOCK_MS))
    }
}

impl Default for LimiterRule {
    fn default() -> Self {
        Self { max_attempts: 10, window_ms: 60_000, lockout_ms: 300_000, max_entries: 10_000 }
    }
}

/// The address is locked: nothing it shows is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong credentials")]
pub struct Locked {
    /// Milliseconds until the next try is looked at, at least 1.
    pub retry_after_ms: u64,
}

/// A lock that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    /// Whose it is, as [`limit_key`] gives it.
    pub address: IpAddr,
    /// Milliseconds left of it.
    pub left_ms: u64,
    /// Locks of this address so far, with this one.
    pub locks: u32,
}

/// The addresses that showed wrong credentials lately.
#[derive(Debug)]
pub struct Limiter {
    rule: LimiterRule,
    entries: HashMap<IpAddr, Entry>,
    /// Every change of an entry in order, with its stamp; stale stamps are skipped. It makes eviction of the oldest cheap.
    order: VecDeque<(IpAddr, u64)>,
    stamps: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// When the failures within the window happened, oldest first; at most `max_attempts`.
    failures: VecDeque<u64>,
    locked_until: Option<u64>,
    /// Locks so far.
    locks: u32,
    stamp: u64,
}

impl Entry {
    fn is_locked(&self, now: u64) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }
}

impl Limiter {
    /// A limiter that remembers nobody.
    #[must_use]
    pub fn new(rule: LimiterRule) -> Self {
        Self { rule, entries: HashMap::new(), order: VecDeque::new(), stamps: 0 }
    }

    /// Another rule from now on; what is remembered stays.
    pub fn set_rule(&mut self, rule: LimiterRule) {
        self.rule = rule;
    }

    /// Whether `address` may show a credential now. Ask before the credential is looked at.
    ///
    /// # Errors
    /// [`Locked`] with the time left.
    pub fn check(&self, address: IpAddr, now: u64) -> Result<(), Locked> {
        let until = self.entries.get(&limit_key(address)).and_then(|entry| entry.locked_until).unwrap_or(0);
        if until > now { Err(Locked { retry_after_ms: until - now }) } else { Ok(()) }
    }

    /// Notes a credential that was shown and wrong. The one that reaches the bound begins the lock, which the next try meets; whether it was that one is the result.
    pub fn failed(&mut self, address: IpAddr, now: u64) -> bool {
        let rule = self.rule.clone();
        let entry = self.touch(limit_key(address), now);
        if entry.is_locked(now) {
            return false;
        }
        if entry.locked_until.take().is_some_and(|until| until.saturating_add(LONGEST_LOCK_MS) <= now) {
            entry.locks = 0;
        }
        while entry.failures.front().is_some_and(|at| at.saturating_add(rule.window_ms) <= now) {
            entry.failures.pop_front();
        }
        entry.failures.push_back(now);
        if entry.failures.len() >= usize::try_from(rule.max_attempts.max(1)).unwrap_or(usize::MAX) {
            entry.failures = VecDeque::new();
            entry.locked_until = Some(now.saturating_add(rule.lock_ms(entry.locks)));
            entry.locks = entry.locks.saturating_add(1);
            return true;
        }
        false
    }

    /// The locks that are on, to be stored.
    #[must_use]
    pub fn locks(&self, now: u64) -> Vec<Lock> {
        let left = |entry: &Entry| entry.locked_until.and_then(|until| until.checked_sub(now)).filter(|left| *left > 0);
        let lock = |(address, entry): (&IpAddr, &Entry)| Some(Lock { address: *address, left_ms: left(entry)?, locks: entry.locks });
        let mut locks: Vec<_> = self.entries.iter().filter_map(lock).collect();
        locks.sort_unstable();
        locks
    }

    /// Puts a stored lock back, for at most one lock's time from now: a clock that was set back while we were away must not keep anybody out for longer.
    pub fn restore(&mut self, lock: &Lock, now: u64) {
        let longest = self.rule.lock_ms(lock.locks.saturating_sub(1));
        let entry = self.touch(limit_key(lock.address), now);
        entry.locked_until = Some(now.saturating_add(lock.left_ms.min(longest)));
        entry.locks = lock.locks.max(1);
    }

    /// How many addresses are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn touch(&mut self, key: IpAddr, now: u64) -> &mut Entry {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.rule.max_entries.max(1) {
            self.evict(now);
        }
        self.stamps += 1;
        self.order.push_back((key, self.stamps));
        // Stale stamps may not pile up: rewriting the order when it is twice the table is cheap per change.
        if self.order.len() > self.entries.len() * 2 + 64 {
            let entries = &self.entries;
            let newest = self.stamps;
            self.order.retain(|(key, stamp)| *stamp == newest || entries.get(key).is_some_and(|entry| entry.stamp == *stamp));
        }
        let entry = self.entries.entry(key).or_default();
        entry.stamp = self.stamps;
        entry
    }

    /// Forgets the oldest address that is not locked; a locked one only when all are, so that a flood of addresses unlocks nobody.
    fn evict(&mut self, now: u64) {
        let mut locked = VecDeque::new();
        let mut victim = None;
        while let Some((key, stamp)) = self.order.pop_front() {
            match self.entries.get(&key) {
                Some(entry) if entry.stamp == stamp && entry.is_locked(now) => locked.push_back((key, stamp)),
                Some(entry) if entry.stamp == stamp => {
                    victim = Some(key);
                    break;
                }
                _ => {}
            }
        }
        if victim.is_none() {
            victim = locked.pop_front().map(|(key, _)| key);
        }
        // Locked addresses go to the young end, so that the next eviction does not walk over them again.
        self.order.append(&mut locked);
        if let Some(key) = victim {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(limiter: &mut Limiter, address: &str, times: u64, now: u64) {
        for at in 0..times {
            limiter.failed(ip(address), now + at);
        }
    }

    #[test]
    fn m42_ten_wrong_credentials_lock_the_address_for_five_minutes() {
        let mut limiter = Limiter::new(LimiterRule::default());
        for at in 0..10 {
            assert_eq!(limiter.check(ip("203.0.113.1"), at), Ok(()), "try {at}");
            limiter.failed(ip("203.0.113.1"), at);
        }
        assert_eq!(limiter.check(ip("203.0.113.1"), 10), Err(Locked { retry_after_ms: 299_999 }));
        assert_eq!(limiter.check(ip("203.0.113.1"), 300_008), Err(Locked { retry_after_ms: 1 }));
        assert_eq!(limiter.check(ip("203.0.113.1"), 300_009), Ok(()));
        fail(&mut limiter, "203.0.113.1", 9, 300_010);
        assert_eq!(limiter.check(ip("203.0.113.1"), 300_020), Ok(()), "after a lock the count starts anew");
    }

    #[test]
    fn m42_failures_leave_the_window_one_by_one() {
        let mut limiter = Limiter::new(LimiterRule::default());
        fail(&mut limiter, "203.0.113.1", 9, 0);
        fail(&mut limiter, "203.0.113.1", 8, 60_008);
        assert_eq!(limiter.check(ip("203.0.113.1"), 60_020), Ok(()), "the first nine are out of the window but the last");
        fail(&mut limiter, "203.0.113.1", 2, 60_020);
        assert!(limiter.check(ip("203.0.113.1"), 60_030).is_err());
    }

    #[test]
    fn g14_each_further_lock_lasts_twice_as_long_up_to_an_hour() {
        let mut limiter = Limiter::new(LimiterRule::default());
        let mut now = 0;
        for minutes in [5, 10, 20, 40, 60, 60] {
            fail(&mut limiter, "203.0.113.1", 10, now);
            now += 9;
            assert_eq!(limiter.check(ip("203.0.113.1"), now), Err(Locked { retry_after_ms: minutes * 60_000 }));
            now += minutes * 60_000;
        }
        now += LONGEST_LOCK_MS;
        fail(&mut limiter, "203.0.113.1", 10, now);
        assert_eq!(
            limiter.check(ip("203.0.113.1"), now + 9),
            Err(Locked { retry_after_ms: 300_000 }),
            "who behaved for an hour begins anew"
        );
    }

    #[test]
    fn m43_the_forms_of_an_address_share_one_budget() {
        let mut limiter = Limiter::new(LimiterRule::default());
        fail(&mut limiter, "192.0.2.1", 5, 0);
        fail(&mut limiter, "::ffff:192.0.2.1", 5, 10);
        assert!(limiter.check(ip("192.0.2.1"), 20).is_err());
        assert!(limiter.check(ip("::ffff:192.0.2.1"), 20).is_err());
        fail(&mut limiter, "2001:db8::1", 5, 0);
        fail(&mut limiter, "2001:db8::2", 5, 10);
        assert!(limiter.check(ip("2001:db8::3"), 20).is_err());
    }

    #[test]
    fn m44_loopback_is_limited_too() {
        for address in ["127.0.0.1", "::1"] {
            let mut limiter = Limiter::new(LimiterRule::default());
            fail(&mut limiter, address, 10, 0);
            assert!(limiter.check(ip(address), 20).is_err(), "{address}");
        }
    }

    #[test]
    fn m47_a_lock_is_of_one_address_only() {
        let mut limiter = Limiter::new(LimiterRule::default());
        fail(&mut limiter, "203.0.113.1", 50, 0);
        assert_eq!(limiter.check(ip("203.0.113.2"), 60), Ok(()));
        assert_eq!(limiter.check(ip("203.0.113.1"), 60), Err(Locked { retry_after_ms: 299_949 }), "tries within a lock do not prolong it");
    }

    #[test]
    fn m48_locks_survive_a_restart_and_a_clock_set_back() {
        let mut before = Limiter::new(LimiterRule::default());
        fail(&mut before, "203.0.113.1", 10, 1000);
        fail(&mut before, "203.0.113.2", 3, 1000);
        let stored = before.locks(101_009);
        assert_eq!(stored, [Lock { address: ip("203.0.113.1"), left_ms: 200_000, locks: 1 }]);
        assert_eq!((before.locks(301_008).len(), before.locks(301_009).len()), (1, 0), "one that has just ended is not stored");
        let mut after = Limiter::new(LimiterRule::default());
        after.restore(&stored[0], 5);
        assert_eq!(after.check(ip("203.0.113.1"), 5), Err(Locked { retry_after_ms: 200_000 }));
        after.restore(&Lock { address: ip("203.0.113.9"), left_ms: u64::MAX, locks: 1 }, 5);
        assert_eq!(after.check(ip("203.0.113.9"), 5), Err(Locked { retry_after_ms: 300_000 }));
    }

    #[test]
    fn the_table_is_bounded_and_a_flood_of_addresses_unlocks_nobody() {
        let mut limiter = Limiter::new(LimiterRule { max_entries: 100, ..LimiterRule::default() });
        fail(&mut limiter, "203.0.113.1", 10, 0);
        fail(&mut limiter, "203.0.113.2", 9, 0);
        for n in 0..10_000_u32 {
            limiter.failed(IpAddr::V4((0x0A00_0000 + n).into()), 100);
            assert!(limiter.len() <= 100);
            assert!(limiter.order.len() <= 300);
        }
        assert!(limiter.check(ip("203.0.113.1"), 200).is_err(), "the locked one stayed");
        limiter.failed(ip("203.0.113.2"), 200);
        assert_eq!(limiter.check(ip("203.0.113.2"), 200), Ok(()), "the unlocked one was forgotten");
    }

    #[test]
    fn one_that_is_busy_does_not_make_the_table_lose_who_is_oldest() {
        let mut limiter = Limiter::new(LimiterRule { max_entries: 3, ..LimiterRule::default() });
        limiter.failed(ip("203.0.113.1"), 0);
        fail(&mut limiter, "203.0.113.2", 200, 1);
        assert!(limiter.order.len() <= 2 * 2 + 65, "{}", limiter.order.len());
        limiter.failed(ip("203.0.113.3"), 300);
        limiter.failed(ip("203.0.113.4"), 301);
        let kept = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"].map(|address| limiter.entries.contains_key(&ip(address)));
        assert_eq!(kept, [false, true, true, true]);
    }

    #[test]
    fn with_all_locked_the_oldest_lock_makes_room() {
        let mut limiter = Limiter::new(LimiterRule { max_attempts: 1, max_entries: 3, ..LimiterRule::default() });
        for n in 1..=4_u32 {
            limiter.failed(IpAddr::V4(n.into()), u64::from(n));
        }
        assert_eq!(limiter.len(), 3);
        assert_eq!(limiter.check(IpAddr::V4(1.into()), 10), Ok(()));
        assert!(limiter.check(IpAddr::V4(4.into()), 10).is_err());
    }
}

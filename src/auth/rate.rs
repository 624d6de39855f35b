//! A token bucket: so many at once, then so many a second. Pure; time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How many may come at once, and how many in a time after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many come back in each `per`.
    pub rate: u32,
    /// The time in which they come back.
    pub per: Duration,
    /// How many may come at once.
    pub burst: u32,
}

impl Pace {
    /// So many a second.
    #[must_use]
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        Self { rate, per: Duration::from_secs(1), burst }
    }

    /// So many a minute, which may also come at once.
    #[must_use]
    pub const fn per_minute(rate: u32) -> Self {
        Self { rate, per: Duration::from_mins(1), burst: rate }
    }
}

/// A budget of requests.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    since: Option<Instant>,
}

impl Bucket {
    /// A full bucket of `burst` that refills with `per_second`.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::of(Pace::per_second(per_second, burst))
    }

    /// A full bucket with this pace.
    #[must_use]
    pub fn of(pace: Pace) -> Self {
        let (per_second, burst) = rates(pace);
        Self { per_second, burst, left: burst, since: None }
    }

    /// Another pace from now on; what was used up stays so.
    pub fn set(&mut self, pace: Pace) {
        (self.per_second, self.burst) = rates(pace);
        self.left = self.left.min(self.burst);
    }

    /// Takes one.
    ///
    /// # Errors
    /// The bucket is empty; in so many ms there is one again.
    pub fn take(&mut self, now: Instant) -> Result<(), u64> {
        self.refill(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.left) / self.per_second);
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// Puts back one that was taken for nothing.
    pub fn give_back(&mut self) {
        self.left = (self.left + 1.0).min(self.burst);
    }

    /// Whether nothing is missing, so that a new bucket would be the same.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= self.burst
    }

    fn refill(&mut self, now: Instant) {
        if let Some(since) = self.since {
            let refill = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
            self.left = (self.left + refill).min(self.burst);
        }
        self.since = Some(now);
    }
}

/// Refill per second and burst; never nothing.
fn rates(pace: Pace) -> (f64, f64) {
    (f64::from(pace.rate.max(1)) / pace.per.as_secs_f64().max(0.001), f64::from(pace.burst.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_a_full_bucket_takes_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::of(Pace::per_minute(2));
        assert!(bucket.is_full(start));
        assert_eq!((bucket.take(start), bucket.take(start)), (Ok(()), Ok(())));
        assert_eq!(bucket.take(start), Err(30_000), "one comes back in half a minute");
        bucket.give_back();
        assert_eq!((bucket.take(start), bucket.is_full(start)), (Ok(()), false));
        assert!(!bucket.is_full(start + Duration::from_secs(59)));
        assert!(bucket.is_full(start + Duration::from_secs(60)));
        bucket.give_back();
        let later = start + Duration::from_secs(60);
        assert_eq!([(); 3].map(|()| bucket.take(later).is_ok()), [true, true, false], "it never holds more than its burst");
    }

    #[test]
    fn another_pace_keeps_what_was_used_up() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, 10);
        assert_eq!((0..10).filter(|_| bucket.take(start).is_ok()).count(), 10);
        bucket.set(Pace::per_second(100, 50));
        assert_eq!(bucket.take(start), Err(10));
        let mut bucket = Bucket::new(1, 10);
        bucket.set(Pace::per_second(1, 3));
        assert_eq!((0..10).filter(|_| bucket.take(start).is_ok()).count(), 3);
    }

    #[test]
    fn m40_a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(200, 400);
        let passed = (0..1000).filter(|_| bucket.take(start).is_ok()).count();
        assert_eq!(passed, 400);
        assert_eq!(bucket.take(start), Err(5));
        let later = start + Duration::from_millis(500);
        assert_eq!((0..1000).filter(|_| bucket.take(later).is_ok()).count(), 100);
    }
}

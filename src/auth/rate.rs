//! A token bucket: so many at once, then so many a second. Pure; time is an argument.

use tokio::time::Instant;

/// The budget of one connection for requests that change something.
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
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(per_second.max(1)), burst, left: burst, since: None }
    }

    /// Takes one.
    ///
    /// # Errors
    /// The bucket is empty; in so many ms there is one again.
    pub fn take(&mut self, now: Instant) -> Result<(), u64> {
        if let Some(since) = self.since {
            let refill = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
            self.left = (self.left + refill).min(self.burst);
        }
        self.since = Some(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = std::time::Duration::from_secs_f64((1.0 - self.left) / self.per_second);
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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

//! Keeps a flood of refusals from filling the log: so many a minute are written as they are, the rest is counted and told as a number, so that nothing goes unsaid.

use std::time::Duration;

use tokio::time::Instant;

/// Refusals of a minute that are written.
const A_MINUTE: u64 = 100;
/// The minute.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts refusals.
#[derive(Debug, Default)]
pub struct Sampler {
    began: Option<Instant>,
    admitted: u64,
    skipped: u64,
}

impl Sampler {
    /// One more refusal. `Some(n)`: it is to be written, and `n` before it were not.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (self.began, self.admitted) = (Some(now), 0);
        }
        if self.admitted >= A_MINUTE {
            self.skipped += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.skipped))
    }

    /// When what was only counted is to be told, if nothing else does it before.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        (self.admitted >= A_MINUTE || self.skipped > 0).then_some(self.began).flatten().and_then(|began| began.checked_add(WINDOW))
    }

    /// How many were only counted, once their minute is over; they are told by whoever asks.
    pub fn leftover(&mut self, now: Instant) -> u64 {
        if self.due().is_none_or(|due| due > now) {
            return 0;
        }
        (self.began, self.admitted) = (None, 0);
        std::mem::take(&mut self.skipped)
    }

    /// How many were only counted until now; the last words of a log that is closed.
    pub fn rest(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_a_minute_are_written_and_the_rest_is_counted() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| sampler.admit(start).is_some()).count();
        assert_eq!(written, 100);
        let later = start + WINDOW;
        assert_eq!(sampler.admit(later), Some(900), "the next one says how many there were");
        assert_eq!(sampler.admit(later), Some(0));
    }

    #[test]
    fn what_was_only_counted_is_told_at_the_end_of_its_minute() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        assert_eq!((sampler.due(), sampler.leftover(start)), (None, 0));
        for _ in 0..150 {
            sampler.admit(start);
        }
        assert_eq!(sampler.due(), Some(start + WINDOW));
        assert_eq!((sampler.leftover(start), sampler.leftover(start + WINDOW), sampler.leftover(start + WINDOW)), (0, 50, 0));
    }
}

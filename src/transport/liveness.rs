//! Whether the peer of a connection still lives: it is pinged, and must be heard from within a deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The life signs of one connection. The reader notes them, the writer looks at them on its timer.
#[derive(Debug)]
pub struct Liveness {
    opened: Instant,
    ping_every: Duration,
    pong_within: Duration,
    /// When the peer was last heard, in ms since `opened`.
    heard: AtomicU64,
    /// When a ping was sent that has not been answered, in ms since `opened`; 0 = none.
    pinged: AtomicU64,
    /// When the timer fired last, in ms since `opened`.
    looked: AtomicU64,
}

/// So many periods of the timer without a look mean that the process or its machine stood still.
const PAUSES: u64 = 3;

/// What to do when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Send a ping.
    Ping,
    /// The peer is gone.
    Dead,
}

impl Liveness {
    /// A connection that opens now.
    #[must_use]
    pub fn new(ping_every: Duration, pong_within: Duration) -> Self {
        let zero = || AtomicU64::new(0);
        Self { opened: Instant::now(), ping_every, pong_within, heard: zero(), pinged: zero(), looked: zero() }
    }

    /// How often the timer must fire so that neither a ping nor a death is noticed much too late.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.ping_every.min(self.pong_within).max(Duration::from_millis(1))
    }

    /// The peer was heard.
    pub fn on_heard(&self, now: Instant) {
        self.heard.store(self.since(now), Ordering::Relaxed);
        self.pinged.store(0, Ordering::Relaxed);
    }

    /// The timer fired.
    pub fn on_timer(&self, now: Instant) -> Step {
        let now = self.since(now);
        let pause = now.saturating_sub(self.looked.swap(now, Ordering::Relaxed));
        let pinged = self.pinged.load(Ordering::Relaxed);
        if pinged != 0 && pause > PAUSES * millis(self.period()) {
            // We were stopped, not the peer: its answer may lie unread, and so may those of everybody else.
            self.pinged.store(now, Ordering::Relaxed);
            return Step::Nothing;
        }
        if pinged != 0 {
            return if now.saturating_sub(pinged) >= millis(self.pong_within) { Step::Dead } else { Step::Nothing };
        }
        if now.saturating_sub(self.heard.load(Ordering::Relaxed)) < millis(self.ping_every) {
            return Step::Nothing;
        }
        self.pinged.store(now.max(1), Ordering::Relaxed);
        Step::Ping
    }

    fn since(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.opened))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_pinged_and_then_given_up() {
        let liveness = Liveness::new(Duration::from_secs(25), Duration::from_secs(25));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(liveness.on_timer(at(10)), Step::Nothing);
        assert_eq!(liveness.on_timer(at(25)), Step::Ping);
        assert_eq!(liveness.on_timer(at(49)), Step::Nothing);
        assert_eq!(liveness.on_timer(at(50)), Step::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn m92_after_a_pause_of_the_whole_process_every_peer_has_its_time_again() {
        let liveness = Liveness::new(Duration::from_secs(25), Duration::from_secs(25));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(liveness.on_timer(at(25)), Step::Ping);
        assert_eq!(liveness.on_timer(at(625)), Step::Nothing, "ten minutes of standstill");
        assert_eq!(liveness.on_timer(at(649)), Step::Nothing);
        assert_eq!(liveness.on_timer(at(650)), Step::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn any_sign_of_life_counts() {
        let liveness = Liveness::new(Duration::from_secs(25), Duration::from_secs(25));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(liveness.on_timer(at(25)), Step::Ping);
        liveness.on_heard(at(30));
        assert_eq!(liveness.on_timer(at(50)), Step::Nothing);
        assert_eq!(liveness.on_timer(at(75)), Step::Ping);
    }
}

//! For tests of file locks: a lock that was given back is free only a moment later.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `attempt` gives once what it needs is free. Other tests of this process start programs, and a child has every open file, and so every lock, between its fork and its exec.
pub fn once_free<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "still not free after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

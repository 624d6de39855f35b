//! What an accept loop does after an error: go on at once when one connection died in the queue, rest when the process is out of descriptors or memory.
//!
//! Without the rest such a loop would spin, since the waiting connection makes the listener ready again at once.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long accepting rests when the process is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
const EXHAUSTED_LOG_EVERY: Duration = Duration::from_secs(10);

/// The rests of one accept loop after errors that would come again at once, so that a process without free descriptors neither spins nor fills its log.
#[derive(Debug, Default)]
pub struct Rest {
    logged: Option<Instant>,
}

impl Rest {
    /// Waits as long as `error` asks for, or until `stop`.
    pub async fn after(&mut self, error: &io::Error, stop: &CancellationToken) {
        if is_of_one_connection(error) {
            return;
        }
        if self.logged.is_none_or(|at| at.elapsed() >= EXHAUSTED_LOG_EVERY) {
            self.logged = Some(Instant::now());
            warn!(%error, "cannot accept connections; trying again ten times a second");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EXHAUSTED_PAUSE) => {}
        }
    }
}

/// Whether the error belongs to a connection that died in the queue, and the next may be good.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_of_the_process_pauses_accepting() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_one_connection(&errno.into()), "{errno:?}");
        }
        assert!(is_of_one_connection(&Errno::CONNABORTED.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn m90_without_descriptors_accepting_rests_a_tenth_of_a_second_and_stops_at_once() {
        let stop = CancellationToken::new();
        let began = Instant::now();
        let mut rest = Rest::default();
        rest.after(&rustix::io::Errno::MFILE.into(), &stop).await;
        assert_eq!(began.elapsed(), EXHAUSTED_PAUSE);
        rest.after(&rustix::io::Errno::CONNABORTED.into(), &stop).await;
        stop.cancel();
        rest.after(&rustix::io::Errno::MFILE.into(), &stop).await;
        assert_eq!(began.elapsed(), EXHAUSTED_PAUSE);
    }
}

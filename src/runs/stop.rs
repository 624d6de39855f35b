//! Why and that a run must end: one token that runners watch, and the first cause that was given.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Why a run is ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked; the text becomes the outcome's `stopReason`.
    Abort(String),
    /// The time limit.
    Timeout,
}

/// Tells a run to end. Clones are the same stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
}

impl Stop {
    /// A stop that nobody has called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run. Only the first cause counts, so that asking twice changes nothing.
    pub fn call(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// The cause, once called.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.get()
    }

    /// The token that runners watch.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m78_the_first_cause_stays() {
        let stop = Stop::new();
        assert!(stop.cause().is_none());
        stop.call(Cause::Abort("rpc".into()));
        stop.clone().call(Cause::Timeout);
        assert_eq!(stop.cause(), Some(&Cause::Abort("rpc".into())));
        assert!(stop.token().is_cancelled());
    }
}

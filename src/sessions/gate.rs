//! Keeps turns from beginning while a session is being reset or deleted, so that a message sent at that moment belongs to what comes after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::protocol::ids::SessionKey;

/// Entries of sessions that nobody is busy with are forgotten when there are more than this.
const SWEEP: usize = 64;

/// The gates of all sessions that somebody is busy with.
#[derive(Debug, Default)]
pub struct Gates {
    gates: Mutex<HashMap<SessionKey, Weak<RwLock<()>>>>,
}

/// While it lives, no turn of the session begins. Not a lock on data: rows are changed in the store's own order.
#[derive(Debug)]
pub struct Closed(#[expect(dead_code, reason = "it is held, not read")] OwnedRwLockWriteGuard<()>);

/// While it lives, a turn is beginning.
#[derive(Debug)]
pub struct Passing(#[expect(dead_code, reason = "it is held, not read")] OwnedRwLockReadGuard<()>);

impl Gates {
    /// Waits until the session is open, and keeps it so.
    pub async fn pass(&self, key: &SessionKey) -> Passing {
        Passing(self.of(key).read_owned().await)
    }

    /// Closes the session for turns; waits for those that are beginning and for whoever closed it before.
    pub async fn close(&self, key: &SessionKey) -> Closed {
        Closed(self.of(key).write_owned().await)
    }

    fn of(&self, key: &SessionKey) -> Arc<RwLock<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(key).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() >= SWEEP {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(RwLock::new(()));
        gates.insert(key.clone(), Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_session_lets_nobody_in_and_others_are_not_touched() {
        let gates = Gates::default();
        let (a, b) = (SessionKey::from("a"), SessionKey::from("b"));
        let closed = gates.close(&a).await;
        let _other = gates.pass(&b).await;
        let mut waiting = Box::pin(gates.pass(&a));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        drop(closed);
        waiting.await;
    }

    #[tokio::test]
    async fn gates_of_idle_sessions_are_forgotten() {
        let gates = Gates::default();
        for n in 0..10 * SWEEP {
            gates.pass(&SessionKey(format!("s{n}"))).await;
        }
        assert!(gates.gates.lock().unwrap().len() <= SWEEP);
    }
}

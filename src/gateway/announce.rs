//! Tells the connections that watch sessions what happened to them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::warn;

use super::Gateway;
use crate::events::hub::SessionEvent;
use crate::protocol::event::sessions_changed::SessionsChanged;
use crate::protocol::frame;
use crate::protocol::ids::SessionKey;
use crate::protocol::session::SessionRow;
use crate::sessions::Notice;
use crate::store::StoreError;
use crate::store::sessions::SessionFilter;

impl Gateway {
    /// Turns notices into `sessions.changed` events until the gateway stops. Notices that wait together become one event for each session and kind.
    pub async fn announce_sessions(&self) {
        let mut changes = self.sessions.changes();
        let stop = self.tasks.stop_token();
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return,
                first = changes.recv() => first,
            };
            let mut waiting = Vec::new();
            let mut missed = false;
            match first {
                Ok(notice) => waiting.push(notice),
                Err(RecvError::Lagged(_)) => missed = true,
                Err(RecvError::Closed) => return,
            }
            loop {
                match changes.try_recv() {
                    Ok(notice) => waiting.push(notice),
                    Err(TryRecvError::Lagged(_)) => missed = true,
                    Err(_) => break,
                }
            }
            if self.hub.sessions_are_watched() {
                self.announce(waiting, missed).await;
            }
        }
    }

    async fn announce(&self, notices: Vec<Notice>, missed: bool) {
        if missed {
            self.send_change(&SessionsChanged::new(None, "resync", None, self.now(), None));
            return;
        }
        // What the notices tell of may be a note that is not committed yet.
        if let Err(cause) = self.store.ping().await {
            warn!(%cause, "changes of sessions are told as far as the store has them");
        }
        let mut rows: HashMap<SessionKey, Option<SessionRow>> = HashMap::new();
        let last = |n: usize, notice: &Notice| !notices.iter().skip(n + 1).any(|later| later == notice);
        for (n, notice) in notices.iter().enumerate() {
            if !last(n, notice) {
                continue;
            }
            if !rows.contains_key(&notice.key) {
                let row = self.session_row_of(&notice.key).await.unwrap_or_default();
                rows.insert(notice.key.clone(), row);
            }
            let row = rows.get(&notice.key).cloned().flatten();
            self.send_change(&SessionsChanged::new(Some(notice.key.clone()), notice.reason, notice.phase, self.now(), row));
        }
    }

    /// The row of one session, of whatever kind it is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn session_row_of(&self, key: &SessionKey) -> Result<Option<SessionRow>, StoreError> {
        let filter = SessionFilter { key: Some(key.clone()), limit: 1, ..SessionFilter::default() };
        let page = self.store.sessions(filter).await?;
        Ok(page.rows.into_iter().next().map(|listed| self.session_row(listed)))
    }

    fn send_change(&self, change: &SessionsChanged) {
        self.hub.session_event(SessionEvent { messages_of: None, body: Bytes::from(frame::event_start("sessions.changed", change)) });
    }
}

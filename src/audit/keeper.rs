//! What the audit log does by the clock: notes are synced within a second, and the head is told at a rotation and once a minute if it has changed. While nothing is written it sleeps.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::desk::Desk;
use super::{Action, Audit, AuditError, Event, Health, State};

/// How long a note may wait for its sync.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// How often a changed head is told.
const HEAD_EVERY: Duration = Duration::from_secs(60);

/// The head that was told last.
struct Told {
    n: u64,
    segment: u64,
    at: Instant,
}

impl Audit {
    /// Looks after the log until it is told to stop.
    pub async fn keep(&self, stop: CancellationToken) {
        let mut state = self.inner.state.subscribe();
        let mut told: Option<Told> = None;
        let mut unsynced: Option<Instant> = None;
        loop {
            let now = state.borrow_and_update().clone();
            if matches!(now.health, Health::Broken(_)) {
                return;
            }
            unsynced = if now.synced { None } else { unsynced.or_else(|| Some(Instant::now())) };
            let counted = self.refusals().due();
            let due = due(&now, told.as_ref(), unsynced).into_iter().chain(counted).min();
            let alarm = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = alarm => {}
                _ = state.changed() => continue,
            }
            let skipped = self.refusals().leftover(Instant::now());
            if skipped > 0 {
                self.note(Event::new(Action::AuthFail).by("unknown").because("only counted").with("skipped", skipped));
            }
            if told.as_ref().is_none_or(|told| told.segment != now.segment || told.at.elapsed() >= HEAD_EVERY) {
                self.publish().await;
                told = Some(Told { n: now.head.n, segment: now.segment, at: Instant::now() });
            } else if let Err(error) = self.at_desk(Desk::sync).await {
                warn!(%error, "notes of the audit log could not be synced");
            }
        }
    }

    /// Tells the head to the log, whose keeper is another than ours, and keeps it beside the segments.
    pub(super) async fn publish(&self) {
        match self.at_desk(Desk::tell_head).await {
            Ok(head) => info!(n = head.n, hash = %head.hash, sig = head.sig, "head of the audit log"),
            Err(error) => warn!(%error, "the head of the audit log could not be told"),
        }
    }

    async fn at_desk<T: Send + 'static>(&self, work: fn(&mut Desk) -> Result<T, AuditError>) -> Result<T, AuditError> {
        let audit = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut desk = audit.desk();
            let done = work(&mut desk);
            audit.tell(desk.state());
            done
        });
        done.await.unwrap_or(Err(AuditError::Closed))
    }
}

/// When there is something to do, as things are.
fn due(now: &State, told: Option<&Told>, unsynced: Option<Instant>) -> Option<Instant> {
    let sync = unsynced.map(|since| since + SYNC_AFTER);
    let head = match told {
        Some(told) if told.n == now.head.n => None,
        Some(told) if told.segment == now.segment => Some(told.at + HEAD_EVERY),
        _ => Some(unsynced.unwrap_or_else(Instant::now)),
    };
    match (sync, head) {
        (Some(sync), Some(head)) => Some(sync.min(head)),
        (sync, head) => sync.or(head),
    }
}

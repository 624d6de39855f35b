//! The last steps of every run: the terminal line when its shim could not write it, the commit of the outcome, and the news to whoever waits.
//!
//! The journal is closed first and the store second. A crash in between is mended by the next start, which indexes the line; a commit that finds no space is tried again while the run stays findable in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::live::{Ended, Live};
use super::supervisor::Supervisor;
use crate::clock::now_ms;
use crate::failpoint::failpoint;
use crate::journal::close::{Closed, close};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::store::error::StoreError;

/// How long a journal that somebody holds is waited for. Its holder is a shim that is just going, or a command on its way to its exec.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at.
const BUSY_POLL: Duration = Duration::from_millis(20);
/// Pause between two tries to commit an outcome.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// What became of a commit.
enum Commit {
    Done,
    /// It may work later.
    Retry,
    /// Only the next start of the daemon can do it.
    Never,
}

impl Supervisor {
    /// Ends a run that never began.
    pub(super) async fn close_unstarted(&self, live: &Arc<Live>, outcome: Outcome) {
        self.announce(live);
        let ended = self.close_journal(live, outcome).await;
        self.finish(live, ended).await;
    }

    /// Writes the terminal line of a run that has no shim, and shows it to readers.
    pub(super) async fn close_journal(&self, live: &Arc<Live>, outcome: Outcome) -> Ended {
        let deadline = Instant::now() + BUSY_LIMIT;
        let ended = loop {
            match close(&live.journal, &live.record.run_id, &live.record.session_key, outcome.clone()) {
                Ok(Closed::Already(outcome, head) | Closed::Appended(outcome, head)) => break Ended { outcome, head },
                Ok(Closed::Busy) if Instant::now() < deadline => tokio::time::sleep(BUSY_POLL).await,
                Ok(Closed::Busy) => {
                    error!(run_id = %live.record.run_id, "the journal of a run is held by somebody else");
                    break Ended { outcome, head: live.log.head() };
                }
                Err(cause) => {
                    error!(run_id = %live.record.run_id, %cause, "the journal of a run could not be closed");
                    break Ended { outcome, head: live.log.head() };
                }
            }
        };
        super::follow::catch_up(live, &self.inner.hub);
        ended
    }

    /// Commits the outcome, tells who waits, and lets the next run start.
    pub(super) async fn finish(&self, live: &Arc<Live>, ended: Ended) {
        failpoint!("runs.before_finish");
        // A shim that was killed left its socket behind; another one removes it anyway.
        let _ = std::fs::remove_file(self.socket_path(&live.record.file_id));
        let commit = self.commit(live, &ended).await;
        failpoint!("runs.after_finish");
        // A terminal line that could not be written must not keep readers waiting for it.
        live.log.close();
        self.inner.hub.ring();
        live.finish(ended.clone());
        self.leave(live, !matches!(commit, Commit::Done));
        if matches!(commit, Commit::Retry) {
            let (supervisor, live) = (self.clone(), Arc::clone(live));
            self.inner.tasks.spawn("run.commit", async move { supervisor.commit_later(&live, &ended).await });
        }
    }

    async fn commit(&self, live: &Live, ended: &Ended) -> Commit {
        match self.inner.store.finish_run(&live.record.file_id, ended.outcome.clone(), ended.head).await {
            Ok(_) => Commit::Done,
            Err(cause) => {
                // The journal has the outcome; the next start of the daemon indexes it if nothing else does.
                error!(run_id = %live.record.run_id, %cause, "the outcome of a run could not be committed");
                match cause {
                    StoreError::NotFound => Commit::Done,
                    StoreError::Closed | StoreError::Poisoned(_) => Commit::Never,
                    _ => Commit::Retry,
                }
            }
        }
    }

    async fn commit_later(&self, live: &Arc<Live>, ended: &Ended) {
        loop {
            tokio::time::sleep(COMMIT_RETRY).await;
            match self.commit(live, ended).await {
                Commit::Done => break,
                Commit::Retry => {}
                Commit::Never => return,
            }
        }
        info!(run_id = %live.record.run_id, "the outcome of a run is committed at last");
        self.leave(live, false);
    }
}

/// The outcome of a run that was aborted while it waited.
pub(super) fn aborted_in_queue(reason: &str) -> Outcome {
    Outcome {
        stop_reason: Some(reason.to_owned()),
        may_have_run: Some(false),
        ..Outcome::without_work(RunStatus::Aborted, None, "aborted before it started", now_ms())
    }
}

/// The outcome of a run that could not be started.
pub(super) fn unavailable(summary: impl Into<String>) -> Outcome {
    Outcome::without_work(RunStatus::Error, Some(RunErrorCode::Unavailable), summary, now_ms())
}

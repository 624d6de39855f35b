//! The last steps of every run: the terminal line when its shim could not write it, the commit of the outcome, and the news to whoever waits.
//!
//! The journal is closed first and the store second. A crash in between is mended by the next start, which indexes the line; a commit that finds no space is tried again while the run stays findable in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::chronicle::{Closing, Opening, Recorded};
use super::launcher::LaunchError;
use super::live::{Ended, Live};
use super::queue::Why;
use super::runner::RESOURCE;
use super::socket;
use super::spoken::{self, Spoken};
use super::supervisor::Supervisor;
use super::usage_line::usage_line;
use crate::clock::now_ms;
use crate::exec::process::NO_ROOM;
use crate::failpoint::failpoint;
use crate::journal::close::{Closed, close};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::protocol::run_meta::RunMeta;
use crate::store::error::StoreError;

/// How long a journal that somebody holds is waited for. Its holder is a shim that is just going, or a command on its way to its exec.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at.
const BUSY_POLL: Duration = Duration::from_millis(20);
/// How long a run's end waits until its questions are taken back; where the disk takes nothing, they end by themselves.
const QUESTIONS_LIMIT: Duration = Duration::from_secs(5);
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
        self.catch_up(live);
        ended
    }

    /// Commits the outcome, tells who waits, and lets the next run start.
    pub(super) async fn finish(&self, live: &Arc<Live>, mut ended: Ended) {
        failpoint!("runs.before_finish");
        // A shim that was killed left its socket behind; another one removes it anyway.
        socket::remove(&self.socket_path(&live.record.file_id));
        take_questions_back(live).await;
        let spoken = self.spoken(live).await;
        // The shim may have been killed before it could say that it had taken them.
        for run in &spoken.told {
            self.take_in(live, run).await;
        }
        // A shim that was killed could not add up what it used.
        if ended.outcome.usage.is_none() {
            ended.outcome.usage = spoken.usage;
        }
        let (last, by) = (spoken.last_text(), spoken.answered_by());
        let Recorded { written: told, session_id, response_usage } = self.write_closing(live, &ended, spoken).await;
        // A merged run has that of its carrier.
        if ended.outcome.meta.is_none() {
            ended.outcome.meta = RunMeta::of(&ended.outcome).map(|meta| meta.with(session_id, by));
        }
        self.tell_of_end(live, &ended, last).await;
        failpoint!("runs.after_transcript");
        let commit = self.commit(live, &ended, told).await;
        failpoint!("runs.after_finish");
        // A terminal line that could not be written must not keep readers waiting for it.
        live.log.close();
        let note = response_usage.and_then(|setting| usage_line(&setting, &ended.outcome));
        // Who hears of the end in the chat and asks for it at once finds it; the chat hears of it before the answer of the request.
        live.finish(ended.clone(), || {
            live.log.chat.end(&ended.outcome, ended.head, note.as_deref());
            self.inner.hub.ring();
        });
        self.leave(live, !matches!(commit, Commit::Done));
        self.stop_telling(live);
        self.finish_carried(live, &ended);
        if matches!(commit, Commit::Retry) {
            let (supervisor, live) = (self.clone(), Arc::clone(live));
            self.inner.tasks.spawn("run.commit", async move { supervisor.commit_later(&live, &ended, told).await });
        }
    }

    /// Has the turn's message written down, while it works.
    pub(super) fn write_opening(&self, live: &Arc<Live>, at: u64) {
        let Ok(work) = live.work() else { return };
        let writing = self.inner.chronicle.open(Opening { run: live.record.clone(), work, at });
        live.set_opening(self.inner.tasks.spawn("run.opening", writing));
    }

    /// Has the turn written down, before its outcome is committed: what is unfinished at the next start is looked at again, and nothing is written twice.
    async fn write_closing(&self, live: &Arc<Live>, ended: &Ended, spoken: Spoken) -> Recorded {
        let Ended { outcome, .. } = ended;
        let nothing = || Recorded { written: true, session_id: None, response_usage: None };
        // Without a turn nothing was said; a merged run's turn is its carrier's.
        if outcome.may_have_run == Some(false) || outcome.merged_into.is_some() {
            return nothing();
        }
        live.opened().await;
        let Ok(work) = live.work() else { return nothing() };
        let at = outcome.started_at.unwrap_or(outcome.ended_at);
        let opening = Opening { run: live.record.clone(), work, at };
        self.inner.chronicle.close(Closing { opening, answer: live.log.chat.answer(), spoken, outcome: outcome.clone() }).await
    }

    /// What the run said, as its journal has it.
    pub(super) async fn spoken(&self, live: &Live) -> Spoken {
        let (path, of_model) = (live.journal.clone(), live.log.of_model);
        if !of_model {
            return Spoken::default();
        }
        match tokio::task::spawn_blocking(move || spoken::read(&path, of_model)).await {
            Ok(Ok(spoken)) => spoken,
            Ok(Err(cause)) => {
                error!(run_id = %live.record.run_id, %cause, "the messages of a run cannot be read from its journal");
                Spoken::default()
            }
            Err(_) => Spoken::default(),
        }
    }

    async fn commit(&self, live: &Live, ended: &Ended, told: bool) -> Commit {
        let (store, file_id, outcome) = (&self.inner.store, &live.record.file_id, ended.outcome.clone());
        let committed = if told {
            store.finish_run(file_id, outcome, ended.head).await
        } else {
            store.finish_untold(file_id, outcome, ended.head).await
        };
        match committed {
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

    async fn commit_later(&self, live: &Arc<Live>, ended: &Ended, told: bool) {
        loop {
            tokio::time::sleep(COMMIT_RETRY).await;
            match self.commit(live, ended, told).await {
                Commit::Done => break,
                Commit::Retry => {}
                Commit::Never => return,
            }
        }
        info!(run_id = %live.record.run_id, "the outcome of a run is committed at last");
        self.leave(live, false);
    }
}

/// Waits until nobody is asked about the run's commands any more: an approval that is found open after the run's end would be one that nobody waits for. Whoever works on a question has been told by now that it is withdrawn.
async fn take_questions_back(live: &Live) {
    live.asking.close();
    if timeout(QUESTIONS_LIMIT, live.asking.wait()).await.is_err() {
        warn!(run_id = %live.record.run_id, "a run ends while somebody is still asked about a command of it");
    }
}

/// The outcome of a run that ends while it waits.
pub(super) fn without_turn(why: Why, reason: &str) -> Outcome {
    let summary = match why {
        Why::Asked => "aborted before it started",
        Why::Interrupted => "dropped before it started: a later message interrupted it",
        Why::Overflow => "dropped before it started: more messages waited than may",
    };
    Outcome {
        stop_reason: Some(reason.to_owned()),
        may_have_run: Some(false),
        ..Outcome::without_work(RunStatus::Aborted, None, summary, now_ms())
    }
}

/// How a run ends whose host process could not be started.
pub(super) fn not_launched(cause: &LaunchError) -> Outcome {
    let text = format!("the run's host process could not be started: {cause}");
    match cause.is_shortage() {
        true => Outcome { fault: Some(RESOURCE.to_owned()), ..unavailable(format!("{text}; {NO_ROOM}")) },
        false => unavailable(text),
    }
}

/// The outcome of a run that could not be started.
pub(super) fn unavailable(summary: impl Into<String>) -> Outcome {
    Outcome::without_work(RunStatus::Error, Some(RunErrorCode::Unavailable), summary, now_ms())
}

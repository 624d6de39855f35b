//! Drives the queue: tells it what happened and does what it decides.
//!
//! The queue is one struct under a lock that is held for microseconds, and whoever brings the news carries out the decisions. So there is no task that could be behind, no mailbox that could be full, and nothing to end when a session falls quiet; the only task is the alarm that a quiet time needs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::end::without_turn;
use super::live::{Ended, Live};
use super::queue::rules::Rules;
use super::queue::{Decision, Event, Full, Item, Queue, Turn, Why};
use super::runners;
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::programs::spec::Kind;
use crate::protocol::ids::SessionKey;
use crate::protocol::run::RunStatus;
use crate::store::error::StoreError;
use crate::store::record::RunRecord;

/// Pause between two tries to note a merged turn.
const MERGE_RETRY: Duration = Duration::from_secs(1);

/// A place in a session's line for a run that is being accepted; given back when dropped.
pub(super) struct Place {
    supervisor: Supervisor,
    session: String,
    place: Option<i64>,
}

impl Place {
    /// The run was accepted: its `Submit` uses the place.
    pub fn keep(mut self) -> Option<i64> {
        self.place.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.supervisor.decide(Event::Left { session: std::mem::take(&mut self.session), place });
        }
    }
}

impl Supervisor {
    /// Takes a place for a run that is about to be accepted.
    pub(super) fn admit(&self, session: &SessionKey, rules: Option<&str>) -> Result<Place, Full> {
        let rules = rules.map(Rules::from_text);
        let place = Some(self.queue().admit(session.as_str(), rules.as_ref())?);
        Ok(Place { supervisor: self.clone(), session: session.as_str().to_owned(), place })
    }

    /// Puts a run in its session's line, at the place that it was given, and starts whatever may start. Behind a run that is held it is held too.
    pub(super) fn enqueue(&self, live: &Arc<Live>, place: Option<i64>) {
        if !self.held().joins(live) {
            self.line_up(live, place);
        } else if let Some(place) = place {
            // It has no turn to wait for yet, so the place that was taken for it is free.
            self.decide(Event::Left { session: live.record.session_key.as_str().to_owned(), place });
        }
    }

    /// As [`Self::enqueue`], whatever is held.
    pub(super) fn line_up(&self, live: &Arc<Live>, place: Option<i64>) {
        live.set_status(RunStatus::Queued, None);
        self.decide(Event::Submit(Item { place, ..item(live) }));
        self.leave_if_asked(live);
    }

    /// Puts a run that was taken for a running one, but never began, back in the queue, before the later ones of its session.
    pub(super) fn start_again(&self, live: &Arc<Live>) {
        live.set_status(RunStatus::Queued, None);
        self.decide(Event::PutBack(item(live)));
        self.leave_if_asked(live);
    }

    /// Takes over a run that a shim of an earlier daemon hosts.
    pub(super) fn adopt(&self, live: &Arc<Live>) {
        live.set_status(RunStatus::Running, None);
        let Item { run, session, takes_input, nested, weight, .. } = item(live);
        self.decide(Event::Adopt { run, session, takes_input, nested, weight });
        self.announce(live);
    }

    /// Somebody may have asked for the end of a run before it had a place. If it has started by now, it finds that out itself.
    fn leave_if_asked(&self, live: &Arc<Live>) {
        if live.abort_asked().borrow().is_some() {
            self.decide(Event::Remove(live.record.file_id.clone()));
        }
    }

    /// Asks for the end of a run, or of the run whose turn answers it. Returns whether there was anything to end; one that waited has ended by then.
    pub async fn abort(&self, live: &Arc<Live>, reason: &str) -> bool {
        let carrier = live.carrier().and_then(|carrier| self.lives().get(&carrier.0).cloned());
        let live = carrier.as_ref().unwrap_or(live);
        if live.ended().is_some() {
            return false;
        }
        live.ask_abort(reason);
        let decisions = self.ask(Event::Remove(live.record.file_id.clone()));
        let (own, others): (Vec<_>, Vec<_>) =
            decisions.into_iter().partition(|decision| matches!(decision, Decision::Drop(run, _) if *run == live.record.file_id));
        others.into_iter().for_each(|decision| self.carry_out(decision));
        if !own.is_empty() || self.held().remove(&live.record.file_id) {
            self.close_unstarted(live, without_turn(Why::Asked, reason)).await;
        }
        true
    }

    /// Asks for the end of every run of a session that `which` takes, queued ones too, oldest first. Returns those that there were.
    pub async fn abort_session(&self, session: &SessionKey, which: impl Fn(&RunRecord) -> bool, reason: &str) -> Vec<Arc<Live>> {
        let lives: Vec<_> = self.live_of(session).into_iter().filter(|live| live.ended().is_none() && which(&live.record)).collect();
        // The later ones first, so that none of them starts because an earlier one has ended.
        for live in lives.iter().rev() {
            self.abort(live, reason).await;
        }
        lives
    }

    /// The place that a run like this one would have now; none = it would start at once.
    #[must_use]
    pub fn next_position(&self, like: &RunRecord) -> Option<usize> {
        self.queue().next_position(like.session_key.as_str(), weight(&like.runner))
    }

    /// How many runs of a session wait for their turn.
    #[must_use]
    pub fn waiting_in(&self, session: &SessionKey) -> usize {
        self.queue().waiting_in(session.as_str())
    }

    /// Tells the queue what happened and does what it says.
    pub(super) fn decide(&self, event: Event) {
        self.ask(event).into_iter().for_each(|decision| self.carry_out(decision));
    }

    fn ask(&self, event: Event) -> Vec<Decision> {
        let now = self.queue_clock();
        let (decisions, wake_at) = {
            let mut queue = self.queue();
            (queue.handle(event, now), queue.wake_at())
        };
        if let Some(at) = wake_at {
            self.set_alarm(now, at);
        }
        decisions
    }

    fn carry_out(&self, decision: Decision) {
        match decision {
            Decision::Start(turn) => self.start_turn(turn),
            Decision::Abort(run) => {
                if let Some(live) = self.live(&run) {
                    live.ask_abort(Why::Interrupted.name());
                }
            }
            Decision::Drop(run, why) => {
                let Some(live) = self.live(&run) else { return };
                let asked = live.abort_asked().borrow().clone();
                let outcome = without_turn(why, asked.as_deref().unwrap_or(why.name()));
                let supervisor = self.clone();
                self.inner.tasks.spawn("run.drop", async move { supervisor.close_unstarted(&live, outcome).await });
            }
            Decision::Steer { run, into } => self.steer(run, &into),
        }
    }

    fn start_turn(&self, turn: Turn) {
        let Some(live) = self.live(&turn.run) else { return self.decide(Event::Ended(turn.run)) };
        let (merged, summarized) = (self.all_live(&turn.merged), self.all_live(&turn.summarized));
        for other in merged.iter().chain(&summarized) {
            live.carry(other);
        }
        let supervisor = self.clone();
        self.inner.tasks.spawn("run", async move {
            if !(merged.is_empty() && summarized.is_empty()) {
                supervisor.merge(&live, &merged, &summarized).await;
            }
            let ended = supervisor.run(&live).await;
            supervisor.finish(&live, ended).await;
        });
    }

    /// Makes it durable that the turn answers others too, before it starts; else a crash would run them a second time.
    async fn merge(&self, live: &Arc<Live>, merged: &[Arc<Live>], summarized: &[Arc<Live>]) {
        let Ok(own) = live.work() else { return };
        let works: Vec<Work> = merged.iter().filter_map(|other| other.work().ok()).collect();
        let titles: Vec<&str> = summarized.iter().map(|other| other.record.title.as_str()).collect();
        let work = Work::merged(&titles, works, own);
        let Ok(spec) = serde_json::to_string(&work) else { return };
        let others: Vec<String> = summarized.iter().chain(merged).map(|other| other.record.file_id.clone()).collect();
        loop {
            match self.inner.store.merge_runs(&live.record.file_id, others.clone(), spec.clone()).await {
                Ok(()) => break,
                Err(StoreError::Closed | StoreError::Poisoned(_)) => return std::future::pending().await,
                Err(cause) => warn!(run_id = %live.record.run_id, %cause, "a merged turn waits for the store"),
            }
            if live.abort_asked().borrow().is_some() {
                return;
            }
            tokio::time::sleep(MERGE_RETRY).await;
        }
        info!(run_id = %live.record.run_id, others = others.len(), "one turn for several messages");
        live.set_spec(spec);
        for other in summarized.iter().chain(merged) {
            other.set_status(RunStatus::Running, None);
        }
    }

    /// Ends the runs that the turn of `live` answered too, as it ended.
    pub(super) fn finish_carried(&self, live: &Live, ended: &Ended) {
        let carried = live.carried();
        if carried.is_empty() {
            return;
        }
        let (supervisor, ended, run_id) = (self.clone(), ended.clone(), live.record.run_id.clone());
        self.inner.tasks.spawn("run.carried", async move {
            for other in carried {
                let outcome = crate::protocol::run::Outcome { merged_into: Some(run_id.clone()), ..ended.outcome.clone() };
                supervisor.close_unstarted(&other, outcome).await;
            }
        });
    }

    /// Looks at the queue again at `at`, by the queue's clock.
    fn set_alarm(&self, now: u64, at: u64) {
        let at = at.max(now + 1);
        {
            let mut alarm = self.alarm();
            if alarm.is_some_and(|set| set <= at && set > now) {
                return;
            }
            *alarm = Some(at);
        }
        let supervisor = self.clone();
        let until = Instant::now() + Duration::from_millis(at - now);
        self.inner.tasks.spawn("queue.alarm", async move {
            tokio::time::sleep_until(until).await;
            {
                let mut alarm = supervisor.alarm();
                if *alarm == Some(at) {
                    *alarm = None;
                }
            }
            supervisor.decide(Event::Tick);
        });
    }

    pub(super) fn live(&self, file_id: &str) -> Option<Arc<Live>> {
        self.lives().get(file_id).cloned()
    }

    fn all_live(&self, file_ids: &[String]) -> Vec<Arc<Live>> {
        file_ids.iter().filter_map(|file_id| self.live(file_id)).collect()
    }
}

fn item(live: &Live) -> Item {
    let RunRecord { file_id, session_key, agent_id, runner, queue, .. } = &live.record;
    Item {
        run: file_id.clone(),
        session: session_key.as_str().to_owned(),
        place: None,
        rules: queue.as_deref().map(Rules::from_text),
        with: format!("{agent_id}/{runner}"),
        bytes: live.record.spec.len(),
        sealed: live.carries(),
        takes_input: runners::find(runner).is_some_and(|runner| runner.takes_input),
        // Looked for before it is read: most requests are nobody's.
        nested: live.record.spec.contains("\"nested\"") && live.work().is_ok_and(|work| work.nested),
        weight: weight(runner),
    }
}

/// The memory that a run of this runner takes beside its commands, MB; 0 for those that are part of the gateway.
fn weight(runner: &str) -> u64 {
    Kind::of_runner(runner).map_or(0, |kind| kind.known().memory_mb)
}

impl Why {
    /// The stop reason of a run that ends so, unless somebody gave another.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "rpc",
            Self::Interrupted => "interrupt",
            Self::Overflow => "overflow",
        }
    }
}

impl Supervisor {
    pub(super) fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.inner.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn alarm(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.inner.alarm.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ms since the supervisor was made, by the clock that never goes back.
    fn queue_clock(&self) -> u64 {
        u64::try_from(self.inner.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

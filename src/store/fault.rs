//! A backend that misbehaves on demand, for tests of everything above the store.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::error::StoreError;
use super::op::{Applied, Backend, Found, Op, Query};

/// What the next commits do. Clones share it, so that a test keeps one while the store owns the backend.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    fail_in: Option<(u64, StoreError)>,
    disk_full: bool,
    held: bool,
    commits: Vec<usize>,
}

impl Faults {
    /// No fault.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The `nth` commit from now on (1 = the next) writes and then reports `error`, as a failed sync does.
    pub fn fail_commit(&self, nth: u64, error: StoreError) {
        self.change(|plan| plan.fail_in = Some((nth, error)));
    }

    /// From now on there is no space, or there is again.
    pub fn disk_full(&self, full: bool) {
        self.change(|plan| plan.disk_full = full);
    }

    /// Commits do not begin until [`Self::release`].
    pub fn hold(&self) {
        self.change(|plan| plan.held = true);
    }

    /// Commits go on.
    pub fn release(&self) {
        self.change(|plan| plan.held = false);
    }

    /// Sizes of the groups that reached the backend so far, one that is held included.
    #[must_use]
    pub fn commits(&self) -> Vec<usize> {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner).commits.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.changed.notify_all();
    }

    /// Waits while held, then says what this commit does: fail before it begins, or after.
    fn admit(&self, ops: usize) -> Result<Option<StoreError>, StoreError> {
        let mut plan = self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.commits.push(ops);
        let mut plan = self.shared.changed.wait_while(plan, |plan| plan.held).unwrap_or_else(PoisonError::into_inner);
        if plan.disk_full {
            return Err(StoreError::DiskFull);
        }
        match plan.fail_in.take() {
            Some((1, error)) => Ok(Some(error)),
            Some((n, error)) => {
                plan.fail_in = Some((n - 1, error));
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// Wraps another backend.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    faults: Faults,
}

impl<B: Backend> Faulty<B> {
    /// `inner`, disturbed by `faults`.
    #[must_use]
    pub fn new(inner: B, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl<B: Backend> Backend for Faulty<B> {
    fn apply(&mut self, batch: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let fault = self.faults.admit(batch.len())?;
        let results = self.inner.apply(batch)?;
        fault.map_or(Ok(results), Err)
    }

    fn read(&mut self, query: &Query) -> Result<Found, StoreError> {
        self.inner.read(query)
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run::RunStatus;
    use crate::store::contract::{NOW, new_run, place};
    use crate::store::record::{Accepted, NewRun};
    use crate::store::sqlite::Sqlite;
    use crate::store::{Health, QUEUE, Store};
    use crate::tasks::Tasks;

    fn faulty(path: &std::path::Path) -> (Store, Faults) {
        let faults = Faults::new();
        let writer = Faulty::new(Sqlite::open(path).unwrap(), faults.clone());
        (Store::with(Box::new(writer), Box::new(Sqlite::open_reader(path).unwrap())).unwrap(), faults)
    }

    /// Lets the others work until it is so.
    async fn until(so: impl Fn() -> bool) {
        let wait = async {
            while !so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("it never became so");
    }

    fn keyless(n: usize) -> NewRun {
        NewRun { key: None, ..new_run(&n.to_string()) }
    }

    #[tokio::test]
    async fn m87_after_a_failed_sync_nothing_is_promised_any_more_and_a_restart_is_consistent() {
        let (_dir, path) = place();
        let (store, faults) = faulty(&path);
        store.accept_run(new_run("before")).await.unwrap();
        faults.fail_commit(1, StoreError::Io("sync failed".to_owned()));
        assert!(matches!(store.accept_run(new_run("lost")).await, Err(StoreError::Io(_))));
        assert!(store.poisoned().await.contains("sync failed"));
        assert!(matches!(store.accept_run(new_run("after")).await, Err(StoreError::Poisoned(_))));
        assert!(matches!(store.ping().await, Err(StoreError::Poisoned(_))));
        assert!(store.run_by_file("file-before").await.unwrap().is_some(), "reads go on");
        assert_eq!(faults.commits().len(), 2, "a failed sync is not tried again");
        assert!(matches!(store.close().await, Err(StoreError::Poisoned(_))));

        let store = Store::open(&path).unwrap();
        assert!(store.run_by_file("file-before").await.unwrap().is_some());
        assert!(store.run_by_file("file-after").await.unwrap().is_none());
        assert_eq!(store.health(), Health::Writing);
    }

    #[tokio::test]
    async fn m88_a_full_disk_refuses_runs_keeps_reads_and_ends_when_there_is_space() {
        let (_dir, path) = place();
        let (store, faults) = faulty(&path);
        store.accept_run(new_run("a")).await.unwrap();
        faults.disk_full(true);
        assert_eq!(store.accept_run(new_run("b")).await, Err(StoreError::DiskFull));
        assert_eq!(store.health(), Health::Full);
        assert_eq!(store.ping().await, Err(StoreError::DiskFull));
        assert_eq!(store.unfinished().await.unwrap().len(), 1);
        faults.disk_full(false);
        store.ping().await.unwrap();
        assert_eq!(store.health(), Health::Writing);
        assert!(matches!(store.accept_run(new_run("b")).await.unwrap(), Accepted::New(_)));
    }

    #[tokio::test]
    async fn what_waits_together_is_committed_together_and_a_bad_one_hurts_nobody() {
        let (_dir, path) = place();
        let (store, faults) = faulty(&path);
        faults.hold();
        let tasks = Tasks::new();
        let (answers, mut answered) = tokio::sync::mpsc::channel(16);
        store.note_status("nobody", RunStatus::Queued, None);
        until(|| faults.commits().len() == 1).await;
        // The second run with the name "3" breaks a rule of the table.
        for n in [0, 1, 2, 3, 3, 4] {
            let (store, answers) = (store.clone(), answers.clone());
            tasks.spawn("accept", async move { answers.send((n, store.accept_run(keyless(n)).await)).await.unwrap() });
        }
        drop(answers);
        until(|| store.waiting() == 6).await;
        faults.release();
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        while let Some((n, answer)) = answered.recv().await {
            match answer {
                Ok(_) => accepted.push(n),
                Err(error) => refused.push((n, error)),
            }
        }
        accepted.sort_unstable();
        assert_eq!(accepted, [0, 1, 2, 3, 4]);
        assert!(matches!(refused.as_slice(), [(3, StoreError::Sql(_))]), "{refused:?}");
        assert_eq!(faults.commits(), [1, 6]);
        assert_eq!(store.unfinished().await.unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_room_and_is_then_told_to_come_again() {
        let (_dir, path) = place();
        let (store, faults) = faulty(&path);
        faults.hold();
        store.note_status("nobody", RunStatus::Queued, None);
        until(|| faults.commits().len() == 1).await;
        // The writer is held, so that the queue fills behind it; what has no place is left out.
        for _ in 0..3 * QUEUE {
            store.note_status("nobody", RunStatus::Queued, None);
        }
        assert_eq!(store.waiting(), QUEUE);
        assert_eq!(store.set_status("nobody", RunStatus::Queued, None).await, Err(StoreError::Busy));
        faults.release();
        // The writer is a thread of the real world; with the paused clock the wait for it would be over at once.
        tokio::time::resume();
        until(|| store.waiting() < QUEUE).await;
        store.ping().await.unwrap();
    }

    #[tokio::test]
    async fn an_operation_whose_caller_left_is_applied_all_the_same() {
        let (_dir, path) = place();
        let (store, faults) = faulty(&path);
        faults.hold();
        {
            let mut call = Box::pin(store.accept_run(new_run("a")));
            assert!(futures_poll(call.as_mut()).await.is_none());
        }
        faults.release();
        store.ping().await.unwrap();
        assert!(store.run_by_file("file-a").await.unwrap().is_some());
    }

    /// Polls once.
    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[derive(Debug)]
    struct Panics;

    impl Backend for Panics {
        fn apply(&mut self, _: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
            panic!("a bug in the backend");
        }

        fn read(&mut self, _: &Query) -> Result<Found, StoreError> {
            Err(StoreError::NotFound)
        }

        fn checkpoint(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_writer_that_dies_poisons_the_store_and_nobody_waits_for_ever() {
        let store = Store::with(Box::new(Panics), Box::new(Panics)).unwrap();
        assert!(store.accept_run(NewRun { accepted_at: NOW, ..new_run("a") }).await.is_err());
        assert!(store.poisoned().await.contains("unexpectedly"));
        assert!(matches!(store.ping().await, Err(StoreError::Poisoned(_))));
    }

    #[tokio::test]
    async fn dropping_all_handles_ends_the_threads() {
        let (_dir, path) = place();
        let (store, _faults) = faulty(&path);
        store.accept_run(new_run("a")).await.unwrap();
        let mut health = store.health.clone();
        drop(store);
        // The sender of this lives in the writer thread.
        assert!(health.changed().await.is_err());
    }
}

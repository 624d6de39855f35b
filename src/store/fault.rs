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

    /// Sizes of the groups that reached the backend so far.
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
        let plan = self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plan = self.shared.changed.wait_while(plan, |plan| plan.held).unwrap_or_else(PoisonError::into_inner);
        plan.commits.push(ops);
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

//! The only place that spawns tasks, so that every task has a name, an owner that waits for it, and a report when it panics.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span};

/// A group of tasks that end together: a stop token they watch and a tracker that knows when all are gone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that stops when this one stops, but can be stopped and awaited on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// The token that tells the tasks of this group to end.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `future` as a task of this group. A panic ends only this task and is logged with its name.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let inner = tokio::spawn(future.instrument(info_span!("task", name)));
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let outer = tokio::spawn(self.tracker.track_future(async move {
            // Aborting the outer handle must abort the work too, not only the watcher of it.
            let mut guard = AbortOnDrop(inner);
            if let Err(failed) = (&mut guard.0).await
                && failed.is_panic()
            {
                error!(task = name, "a task panicked");
            }
        }));
        outer
    }

    /// How many tasks of this group are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task of this group is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Tells the tasks to end and waits for them, at most `deadline`. Returns whether all ended in time.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

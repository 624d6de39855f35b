//! The only place that spawns tasks, so that every task has a name, an owner that waits for it, and a report when it panics.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

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
        let guarded = async move {
            if CatchPanic(Box::pin(future)).await.is_none() {
                error!(task = name, "a task panicked");
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        tokio::spawn(self.tracker.track_future(guarded))
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

    /// Waits for the tasks to end by themselves, at most `deadline`. Returns whether all ended in time.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// Tells the tasks to end and waits for them, at most `deadline`. Returns whether all ended in time.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

/// Keeps one thread for work that blocks, until `stop`.
///
/// The runtime starts such threads as they are needed and ends them when they have had nothing to do for ten seconds. Where no thread can be started any more, such as at a limit of processes, whoever asks for such work would panic if there were none; with one, it takes its turn.
pub async fn keep_a_thread(stop: CancellationToken) {
    const OFTEN: Duration = Duration::from_secs(6);
    loop {
        // It is the thread that matters; who wakes it last keeps it longest.
        drop(tokio::task::spawn_blocking(|| ()).await);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(OFTEN) => {}
        }
    }
}

/// A future that ends with `None` when the one inside panics. The panic hook has logged where by then.
pub struct CatchPanic<F>(pub Pin<Box<F>>)
where
    F: Future + ?Sized;

impl<F: Future + ?Sized> Future for CatchPanic<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.0.as_mut();
        // What the panic left half-done is dropped with the future; shared state is behind locks that survive poisoning.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_task_and_stop_waits_for_the_rest() {
        let tasks = Tasks::new();
        let stop = tasks.stop_token();
        let _ = tasks.spawn("bad", async { panic!("on purpose") }).await;
        let waiting = tasks.spawn("good", async move { stop.cancelled().await });
        assert!(!waiting.is_finished());
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert!(tasks.is_empty());
    }
}

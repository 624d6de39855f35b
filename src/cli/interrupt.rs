//! Ctrl-C as something to wait for.

use std::io;

use tokio::sync::mpsc;

use crate::tasks::Tasks;

/// The presses of Ctrl-C that were not yet dealt with.
pub struct Interrupts {
    presses: mpsc::Receiver<()>,
    /// Ends the task that listens.
    tasks: Tasks,
}

impl Interrupts {
    /// Takes Ctrl-C from now on; it no longer ends the process by itself.
    ///
    /// # Errors
    /// The system does not hand it out.
    pub fn take() -> io::Result<Self> {
        let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        let (sender, this) = Self::channel();
        let stop = this.tasks.stop_token();
        this.tasks.spawn("interrupts", async move {
            loop {
                tokio::select! {
                    pressed = signal.recv() => if pressed.is_none() || sender.send(()).await.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
        });
        Ok(this)
    }

    /// Presses that come from the sender.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<()>, Self) {
        let (sender, presses) = mpsc::channel(4);
        (sender, Self { presses, tasks: Tasks::new() })
    }

    /// Waits for the next press, for ever if there can be none.
    pub async fn next(&mut self) {
        if self.presses.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

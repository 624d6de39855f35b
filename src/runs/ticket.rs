//! What whoever submitted a run holds until its acknowledgement is on its way.

use std::sync::Arc;

use super::live::Live;
use super::supervisor::Supervisor;
use crate::failpoint::failpoint;

/// Holds an accepted run back until it is released or dropped.
pub struct Ticket {
    supervisor: Supervisor,
    /// Its place in the order of arrival.
    place: Option<i64>,
    /// The run.
    pub live: Arc<Live>,
}

impl Ticket {
    pub(super) fn new(supervisor: Supervisor, place: Option<i64>, live: Arc<Live>) -> Self {
        Self { supervisor, place, live }
    }

    /// Lets the run take its turn.
    #[must_use]
    pub fn release(self) -> Arc<Live> {
        failpoint!("runs.after_ack");
        Arc::clone(&self.live)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.supervisor.enqueue(&self.live, self.place);
    }
}

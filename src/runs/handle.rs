//! A run as a request holds it: still going, or over and known from the store. Waiting for either is the same call.

use std::sync::Arc;

use tokio::time::Instant;

use super::live::{Ended, Live};
use crate::store::record::RunRecord;

/// A run to wait for: one that has not ended, or the record of one that has.
#[derive(Clone)]
pub enum Handle {
    /// It has not ended.
    Live(Arc<Live>),
    /// It has.
    Past(Box<RunRecord>),
}

impl Handle {
    /// The run as it was accepted, or as it ended.
    #[must_use]
    pub fn record(&self) -> &RunRecord {
        match self {
            Self::Live(live) => &live.record,
            Self::Past(record) => record,
        }
    }

    /// The outcome, if the run has ended.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match self {
            Self::Live(live) => live.ended(),
            Self::Past(record) => record.outcome.clone().map(|outcome| Ended { outcome, head: record.head }),
        }
    }

    /// Waits for the outcome, until `deadline` if there is one.
    pub async fn wait(&self, deadline: Option<Instant>) -> Option<Ended> {
        match self {
            Self::Live(live) => live.wait(deadline).await,
            Self::Past(_) => self.ended(),
        }
    }
}

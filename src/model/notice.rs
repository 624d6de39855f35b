//! What happens on the way to an answer, for those who want to tell people of it.

use std::fmt;
use std::sync::Arc;

use super::ModelError;

/// Something happened before the first word of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The same model is asked again after a pause.
    Again {
        /// Why.
        error: ModelError,
        /// Which try has failed, from 1.
        attempt: u32,
        /// The pause, ms.
        wait_ms: u64,
    },
    /// The next model is asked.
    Next {
        /// Why.
        error: ModelError,
        /// Which of the endpoints is asked now, from 0.
        endpoint: usize,
    },
}

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Told(pub(super) Option<Arc<dyn Fn(Notice) + Send + Sync>>);

impl Told {
    pub(super) fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.0 {
            listener(notice);
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({})", self.0.is_some())
    }
}

//! How a config learns what this machine can give to isolated runs: asked only when the config demands some isolation.
//!
//! The trial itself starts processes, which is not for this floor; whoever loads a config hands it in. Without one nothing is refused for the machine's sake.

use std::fmt;
use std::sync::Arc;

use crate::protocol::isolation::Abilities;

/// The trial, if there is one.
#[derive(Clone, Default)]
pub struct Host(Option<Arc<dyn Fn() -> Abilities + Send + Sync>>);

impl Host {
    /// A trial. It may take some tens of milliseconds, and is made anew each time: what was missing may have been installed.
    #[must_use]
    pub fn tried_by(trial: impl Fn() -> Abilities + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(trial)))
    }

    /// What the machine can give; `None` if there is nobody to try it.
    #[must_use]
    pub fn abilities(&self) -> Option<Abilities> {
        self.0.as_ref().map(|trial| trial())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Host(tried)" } else { "Host(unknown)" })
    }
}

/// The trial is no part of what two sources say.
impl PartialEq for Host {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Host {}

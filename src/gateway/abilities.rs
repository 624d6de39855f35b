//! What this machine can give to isolated runs, for who looks at the gateway: tried at the first look, and again when the answer is old.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Gateway;
use crate::protocol::isolation::Abilities;

/// How long an answer is given again. What is missing may have been installed since.
const FRESH: Duration = Duration::from_secs(60);

/// The last answer.
#[derive(Default)]
pub struct Tried(Mutex<Option<(Instant, Abilities)>>);

impl Gateway {
    /// What this machine can give; `None` if it cannot be tried. Callers that come together share one trial.
    pub async fn abilities(&self) -> Option<Abilities> {
        let mut last = self.tried.0.lock().await;
        if let Some((_, known)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(known.clone());
        }
        let loaded = self.loaded();
        let found = tokio::task::spawn_blocking(move || loaded.host.abilities()).await.ok().flatten()?;
        *last = Some((Instant::now(), found.clone()));
        Some(found)
    }
}

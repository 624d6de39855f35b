//! Joins runs and sessions: a run's turn begins before the run may start and ends with it.

use std::sync::Arc;

use tracing::warn;

use super::Gateway;
use crate::protocol::run::RunStatus;
use crate::runs::live::Live;
use crate::sessions::turn::{TurnEnd, TurnKind};

impl Gateway {
    /// Begins the turn of a run that may not start yet, and sees to the turn's end. An abort ends the wait for a session that is being reset.
    pub async fn begin_turn_of(&self, live: &Arc<Live>, kind: TurnKind) {
        let mut abort = live.abort_asked();
        let begun = tokio::select! {
            begun = self.sessions.begin_turn(&live.record.session_key, self.now(), kind) => begun,
            _ = abort.wait_for(Option::is_some) => return,
        };
        let turn = match begun {
            Ok(turn) => turn,
            // The run is promised; a session that cannot be looked up does not take it back.
            Err(cause) => return warn!(run_id = %live.record.run_id, %cause, "a turn could not be noted in its session"),
        };
        let (sessions, live) = (self.sessions.clone(), Arc::clone(live));
        self.tasks.spawn("turn", async move {
            if let Some(ended) = live.wait(None).await {
                let aborted = matches!(ended.outcome.status, RunStatus::Aborted | RunStatus::Interrupted);
                sessions.finish_turn(&turn, ended.outcome.ended_at, TurnEnd { aborted, usage: None });
            }
        });
    }
}

//! Sessions of sub-agents whose work is long done: forgotten, with their transcripts put away.
//!
//! There is no list of what is due: the rows say who started a session and when it was used last, so a restart changes nothing.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Gateway;
use super::quiet::NotQuiet;
use crate::clock::steady;
use crate::config::Config;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::sessions::key::is_subagent;
use crate::store::sessions::{Edited, SessionEdit, SessionFilter, SessionRecord};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(60);
/// Minutes without use, if the configuration says nothing.
const MINUTES: u64 = 60;
/// Most sessions of one look; others wait for the next one.
const MOST: usize = 100;

impl Gateway {
    /// Looks after them until the gateway stops.
    pub async fn retire_subagents(&self) {
        let stop = self.tasks.stop_token();
        let (started, started_ms) = (Instant::now(), self.now());
        loop {
            // A clock that jumps ahead makes nobody old.
            match self.retire_once(steady(self.now(), started_ms, started.elapsed())).await {
                Ok(0) => {}
                Ok(sessions) => info!(sessions, "sessions of sub-agents were put away"),
                // A stop closes the store; the next start looks again.
                Err(_) if self.is_stopping() => return,
                Err(cause) => warn!(?cause, "sessions of sub-agents cannot be put away; tried again in a minute"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn retire_once(&self, now: u64) -> Result<usize, NotQuiet> {
        let loaded = self.loaded();
        let least = shortest(&loaded.config);
        let due = SessionFilter { limit: MOST, spawned: true, idle_since: Some(now.saturating_sub(least)), ..SessionFilter::default() };
        let (mut retired, mut kept) = (0, 0);
        // Those that another agent's time keeps must not stand before the others for ever.
        while retired < MOST {
            let rows = self.store.sessions(SessionFilter { offset: kept, ..due.clone() }).await?.rows;
            let is_last = rows.len() < MOST;
            for listed in rows {
                let session = listed.session;
                let unused_since = now.saturating_sub(idle_ms(&loaded.config, &session.agent_id));
                let is_due = move |row: &SessionRecord| row.entry.updated_at <= unused_since;
                let goes = is_subagent(&session.key) && is_due(&session) && self.retire(&session.key, is_due).await?;
                if goes {
                    retired += 1;
                } else {
                    kept += 1;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(retired)
    }

    /// Forgets one session, unless it is at work or used again. Returns whether it did.
    async fn retire(&self, key: &SessionKey, is_due: impl Fn(&SessionRecord) -> bool + Send + Sync + 'static) -> Result<bool, NotQuiet> {
        let _closed = self.sessions.close(key).await;
        if !self.runs.live_of(key).is_empty() {
            return Ok(false);
        }
        let gone = SessionEdit::new(move |row| Ok(if row.is_some_and(&is_due) { Edited::Gone } else { Edited::Same }));
        let change = self.sessions.edit(key, "delete", gone).await?;
        let (Some(old), None) = (change.before, change.after) else { return Ok(false) };
        self.put_away(&old, "deleted").await?;
        Ok(true)
    }
}

/// How long a session of a sub-agent that is this agent stays unused before it goes, ms.
fn idle_ms(config: &Config, agent: &AgentId) -> u64 {
    let agents = &config.agents;
    let own = agents.list.iter().find(|listed| listed.id.eq_ignore_ascii_case(agent.as_str()));
    let own = own.and_then(|listed| listed.subagents.as_ref()).and_then(|subagents| subagents.archive_after_minutes);
    let common = || agents.defaults.subagents.as_ref().and_then(|subagents| subagents.archive_after_minutes);
    own.or_else(common).map_or(MINUTES, u64::from) * 60_000
}

/// The shortest of those times over all agents, ms.
fn shortest(config: &Config) -> u64 {
    let nobody = AgentId::from("");
    let of_listed = config.agents.list.iter().map(|listed| idle_ms(config, &AgentId(listed.id.clone())));
    of_listed.chain([idle_ms(config, &nobody)]).min().unwrap_or(MINUTES * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_agent_has_its_own_time_or_that_of_all() {
        let of = |agents| serde_json::from_value::<Config>(json!({ "agents": agents })).unwrap();
        let plain = of(json!({}));
        assert_eq!((idle_ms(&plain, &"main".into()), shortest(&plain)), (3_600_000, 3_600_000));
        let config = of(json!({
            "defaults": { "subagents": { "archiveAfterMinutes": 10 } },
            "list": [{ "id": "a" }, { "id": "B", "subagents": { "archiveAfterMinutes": 2 } }],
        }));
        assert_eq!(["a", "b", "c"].map(|agent| idle_ms(&config, &agent.into()) / 60_000), [10, 2, 10]);
        assert_eq!(shortest(&config), 120_000);
    }
}

//! A turn of a session: one message and its answer. At its beginning the conversation may start afresh; at its end the row is brought up to date.

use std::path::PathBuf;
use std::sync::PoisonError;

use jiff::tz::TimeZone;

use super::reset::{self, ChatKind, Stale};
use super::{Sessions, fresh_id};
use crate::clock;
use crate::protocol::ids::SessionKey;
use crate::protocol::session::entry::SessionEntry;
use crate::store::StoreError;
use crate::store::sessions::{Edited, SessionEdit, SessionRecord};

/// How long activity is remembered until its note is surely committed, ms.
const TOUCH_LIFE_MS: u64 = 60_000;
/// Remembered activity is looked through when there is more of it.
const TOUCHES: usize = 256;

/// What a turn means for the session's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnKind {
    /// Somebody wrote: it counts as activity, and a conversation that is too old starts afresh.
    Message,
    /// A heartbeat, a job or a system event: it never counts, or a session that is looked after would never grow old.
    Background,
}

/// A turn that has begun.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The session, as it is for this turn.
    pub session: SessionRecord,
    /// Where the conversation is written.
    pub transcript: PathBuf,
    /// Why the one before it ended, if this turn ended it.
    pub stale: Option<Stale>,
    /// What the turn means for the session's age.
    pub kind: TurnKind,
}

impl Turn {
    /// Whether the conversation begins with this turn: asked before anything of it is written.
    /// That is the transcript's to tell, because a row may be older than its first turn.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.stale.is_some() || !self.transcript.exists()
    }
}

/// How a turn ended.
#[derive(Clone, Debug, Default)]
pub struct TurnEnd {
    /// Whether it was aborted or lost.
    pub aborted: bool,
    /// What it used, if the runner said so.
    pub usage: Option<Usage>,
}

/// Tokens of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of its prompts.
    pub input: u64,
    /// Of its answers.
    pub output: u64,
    /// In the context at its end.
    pub total: u64,
    /// Size of the context.
    pub context: Option<u64>,
    /// Provider of the model.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
}

impl Sessions {
    /// Begins a turn: waits while the session is being reset, starts the conversation afresh if it is too old, makes the row if there is none, and notes the activity.
    /// Dropping the future leaves at most a row behind.
    ///
    /// # Errors
    /// The store cannot be read, or not be written where that is needed.
    pub async fn begin_turn(&self, key: &SessionKey, now: u64, kind: TurnKind) -> Result<Turn, StoreError> {
        self.begin_turn_in(key, now, kind, &clock::host_zone()).await
    }

    /// As [`Self::begin_turn`], in this time zone.
    ///
    /// # Errors
    /// See [`Self::begin_turn`].
    pub async fn begin_turn_in(&self, key: &SessionKey, now: u64, kind: TurnKind, zone: &TimeZone) -> Result<Turn, StoreError> {
        let _passing = self.inner.gates.pass(key).await;
        let known = self.inner.store.session(key).await?;
        let (session, stale) = match known {
            None => (self.made(key, now).await?, None),
            Some(session) => {
                let touched = self.touched().get(key).copied().unwrap_or(0).max(session.entry.updated_at);
                let stale = if kind == TurnKind::Message { self.stale(&session, touched, now, zone) } else { None };
                match stale {
                    Some(_) => (self.started_afresh(session, now).await?, stale),
                    None => (session, None),
                }
            }
        };
        if kind == TurnKind::Message {
            self.touch(key, now);
        }
        let transcript = self.transcript_path(&session);
        self.announce(key, stale.map_or("message", Stale::name), Some("start"));
        Ok(Turn { session, transcript, stale, kind })
    }

    /// Ends a turn. What it changes is written behind what was asked of the store before; nothing is waited for.
    pub fn finish_turn(&self, turn: &Turn, now: u64, end: TurnEnd) {
        let (key, session_id, kind) = (turn.session.key.clone(), turn.session.entry.session_id.clone(), turn.kind);
        if kind == TurnKind::Message {
            self.remember(&key, now);
        }
        let edit = SessionEdit::new(move |row| {
            // A conversation that was reset or deleted meanwhile is no longer the turn's.
            let Some(row) = row.filter(|row| row.entry.session_id == session_id) else { return Ok(Edited::Same) };
            let mut row = row.clone();
            finish(&mut row, kind, now, &end);
            Ok(Edited::Put(Box::new(row)))
        });
        self.inner.store.note_session(&turn.session.key, edit);
        self.announce(&turn.session.key, "message", Some("end"));
    }

    /// Whether the conversation of a session is too old to go on.
    fn stale(&self, session: &SessionRecord, last: u64, now: u64, zone: &TimeZone) -> Option<Stale> {
        let entry = &session.entry;
        let kind = ChatKind::of(session.key.as_str(), entry.chat_type.as_deref());
        let channel = entry.last_channel.as_deref().or(entry.channel.as_deref());
        reset::policy(&self.settings().rules, kind, channel).stale(last, now, zone)
    }

    async fn made(&self, key: &SessionKey, now: u64) -> Result<SessionRecord, StoreError> {
        self.update(key, now, "create", |_| Ok(())).await
    }

    async fn started_afresh(&self, old: SessionRecord, now: u64) -> Result<SessionRecord, StoreError> {
        let (session_id, expected) = (fresh_id(), old.entry.session_id.clone());
        self.update(&old.key, now, "reset", move |row| {
            // Somebody else may just have done it.
            if row.entry.session_id == expected {
                start_afresh(row, session_id.clone(), now);
            }
            Ok(())
        })
        .await
    }

    /// Notes activity: at once in memory, and in the row behind what was asked of the store before.
    fn touch(&self, key: &SessionKey, now: u64) {
        self.remember(key, now);
        let edit = SessionEdit::new(move |row| {
            let Some(row) = row.filter(|row| row.entry.updated_at < now) else { return Ok(Edited::Same) };
            let mut row = row.clone();
            row.entry.updated_at = now;
            Ok(Edited::Put(Box::new(row)))
        });
        self.inner.store.note_session(key, edit);
    }

    fn remember(&self, key: &SessionKey, now: u64) {
        let mut touched = self.touched();
        if touched.len() >= TOUCHES {
            touched.retain(|_, at| now.saturating_sub(*at) < TOUCH_LIFE_MS);
        }
        touched.insert(key.clone(), now);
    }

    fn touched(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<SessionKey, u64>> {
        self.inner.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a session a new conversation. What was chosen for the session stays; what belongs to the old conversation goes.
pub fn start_afresh(session: &mut SessionRecord, session_id: String, now: u64) {
    let kept = std::mem::take(&mut session.entry);
    session.entry = SessionEntry {
        session_id,
        updated_at: now,
        session_file: None,
        system_sent: None,
        aborted_last_run: None,
        input_tokens: Some(0),
        output_tokens: Some(0),
        total_tokens: Some(0),
        compaction_count: None,
        memory_flush_at: None,
        memory_flush_compaction_count: None,
        auth_profile_override_compaction_count: None,
        cli_session_ids: None,
        cli_session_folders: None,
        claude_cli_session_id: None,
        ..kept
    };
    session.title = None;
    session.preview = None;
}

fn finish(session: &mut SessionRecord, kind: TurnKind, now: u64, end: &TurnEnd) {
    let entry = &mut session.entry;
    if kind == TurnKind::Message {
        entry.updated_at = entry.updated_at.max(now);
    }
    entry.system_sent = Some(true);
    entry.aborted_last_run = Some(end.aborted);
    if let Some(usage) = &end.usage {
        entry.input_tokens = Some(entry.input_tokens.unwrap_or(0).saturating_add(usage.input));
        entry.output_tokens = Some(entry.output_tokens.unwrap_or(0).saturating_add(usage.output));
        entry.total_tokens = Some(usage.total);
        entry.context_tokens = usage.context.or(entry.context_tokens);
        entry.model_provider = usage.provider.clone().or(entry.model_provider.take());
        entry.model = usage.model.clone().or(entry.model.take());
    }
    // The transcript has grown: lists look again.
    session.title = session.title.take().filter(|title| !title.is_empty());
    session.preview = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::AgentId;
    use crate::sessions::Settings;
    use crate::store::Store;

    const HOUR: u64 = 3_600_000;
    /// Noon UTC on 20 November 2026.
    const NOON: u64 = 1_795_132_800_000 + 12 * HOUR;

    fn service(rules: serde_json::Value) -> (tempfile::TempDir, Sessions) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gateway.db")).unwrap();
        let rules = serde_json::from_value(rules).unwrap();
        let settings = Settings { state_dir: dir.path().to_owned(), default_agent: AgentId::from("main"), rules };
        (dir, Sessions::new(settings, store))
    }

    fn main_key() -> SessionKey {
        SessionKey::from("agent:main:main")
    }

    async fn turn(sessions: &Sessions, now: u64, kind: TurnKind) -> Turn {
        let turn = sessions.begin_turn_in(&main_key(), now, kind, &TimeZone::UTC).await.unwrap();
        sessions.finish_turn(&turn, now + 1000, TurnEnd::default());
        turn
    }

    fn id(turn: &Turn) -> &str {
        &turn.session.entry.session_id
    }

    #[tokio::test]
    async fn a_conversation_goes_on_until_the_hour_and_then_starts_afresh() {
        let (_dir, sessions) = service(serde_json::json!({}));
        let first = turn(&sessions, NOON, TurnKind::Message).await;
        assert!(first.is_fresh() && first.stale.is_none());
        let evening = turn(&sessions, NOON + 11 * HOUR, TurnKind::Message).await;
        let night = turn(&sessions, NOON + 15 * HOUR, TurnKind::Message).await;
        assert_eq!((id(&first), id(&evening)), (id(&evening), id(&night)));
        let morning = turn(&sessions, NOON + 17 * HOUR, TurnKind::Message).await;
        assert_ne!(id(&night), id(&morning));
        assert!(morning.is_fresh() && morning.stale == Some(Stale::Daily));
        let later = turn(&sessions, NOON + 18 * HOUR, TurnKind::Message).await;
        assert_eq!(id(&morning), id(&later));
    }

    #[tokio::test]
    async fn ko02_a_background_touch_every_minute_never_keeps_a_session_young_nor_resets_it() {
        let (_dir, sessions) = service(serde_json::json!({"reset": {"mode": "idle", "idleMinutes": 30}}));
        let first = turn(&sessions, NOON, TurnKind::Message).await;
        for minute in 1..=40 {
            let beat = turn(&sessions, NOON + minute * 60_000, TurnKind::Background).await;
            assert_eq!(id(&first), id(&beat), "background work goes on in the conversation that is there");
        }
        // Notes are not waited for; this is behind them.
        sessions.inner.store.ping().await.unwrap();
        let row = sessions.get(&main_key()).await.unwrap().unwrap();
        assert_eq!(row.entry.updated_at, NOON + 1000);
        let back = turn(&sessions, NOON + 41 * 60_000, TurnKind::Message).await;
        assert_eq!((back.stale, id(&first) == id(&back)), (Some(Stale::Idle), false));
    }

    #[tokio::test]
    async fn activity_counts_before_its_note_is_committed() {
        let (_dir, sessions) = service(serde_json::json!({"reset": {"mode": "idle", "idleMinutes": 1}}));
        let mut last = turn(&sessions, NOON, TurnKind::Message).await;
        for n in 1..100 {
            let next = turn(&sessions, NOON + n * 59_000, TurnKind::Message).await;
            assert_eq!(id(&last), id(&next), "turn {n}");
            last = next;
        }
    }

    #[tokio::test]
    async fn defect_08_a_turn_keeps_every_field_and_the_end_of_an_old_one_spoils_no_new_conversation() {
        let (_dir, sessions) = service(serde_json::json!({}));
        let set = |row: &mut SessionRecord| {
            row.entry.elevated_level = Some("full".to_owned());
            row.entry.model_override = Some("m".to_owned());
            row.entry.queue_mode = Some("steer".to_owned());
            row.entry.exec_host = Some("gateway".to_owned());
            row.entry.input_tokens = Some(7);
            row.extra = Some("{\"fieldOfTomorrow\":1}".to_owned());
            Ok(())
        };
        sessions.update(&main_key(), NOON, "patch", set).await.unwrap();
        let old = sessions.begin_turn_in(&main_key(), NOON, TurnKind::Message, &TimeZone::UTC).await.unwrap();
        let usage = Usage { input: 3, output: 2, total: 12, ..Usage::default() };
        let fresh = turn(&sessions, NOON + 24 * HOUR, TurnKind::Message).await;
        sessions.finish_turn(&old, NOON + 25 * HOUR, TurnEnd { aborted: true, usage: Some(usage.clone()) });
        sessions.finish_turn(&fresh, NOON + 25 * HOUR, TurnEnd { aborted: false, usage: Some(usage) });
        sessions.update(&main_key(), NOON, "patch", |_| Ok(())).await.unwrap();
        let row = sessions.get(&main_key()).await.unwrap().unwrap();
        let entry = &row.entry;
        let texts = [&entry.elevated_level, &entry.model_override, &entry.queue_mode, &entry.exec_host]
            .map(|text| text.as_deref().unwrap_or_default());
        assert_eq!((texts, row.extra.as_deref()), (["full", "m", "steer", "gateway"], Some("{\"fieldOfTomorrow\":1}")));
        assert_eq!(
            (entry.input_tokens, entry.output_tokens, entry.total_tokens, entry.aborted_last_run),
            (Some(3), Some(2), Some(12), Some(false))
        );
    }

    #[tokio::test]
    async fn a_turn_waits_while_its_session_is_closed() {
        let (_dir, sessions) = service(serde_json::json!({}));
        let closed = sessions.close(&main_key()).await;
        let (key, utc) = (main_key(), TimeZone::UTC);
        let mut begin = Box::pin(sessions.begin_turn_in(&key, NOON, TurnKind::Message, &utc));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(begin.as_mut().poll(cx).is_pending())).await);
        sessions
            .update(&main_key(), NOON, "reset", |row| {
                start_afresh(row, "new".to_owned(), NOON);
                Ok(())
            })
            .await
            .unwrap();
        drop(closed);
        assert_eq!(id(&begin.await.unwrap()), "new");
    }
}

//! Errands that change nothing: which sessions and agents there are, and what was said.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Errand, Told, shown};
use crate::protocol::ids::AgentId;
use crate::store::sessions::{Listed, SessionFilter};
use crate::transcript::message;

/// Most sessions of one list.
const MOST_SESSIONS: usize = 200;
/// Most messages of one history.
const MOST_MESSAGES: usize = 100;
/// Most bytes of one message in it, and of all.
const MESSAGE_BYTES: usize = 4 << 10;
const HISTORY_BYTES: usize = 24 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListArgs {
    limit: usize,
    active_minutes: Option<u64>,
    search: Option<String>,
}

impl Default for ListArgs {
    fn default() -> Self {
        Self { limit: 50, active_minutes: None, search: None }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryArgs {
    session_key: String,
    limit: Option<usize>,
    #[serde(default)]
    include_tools: bool,
}

impl Errand {
    pub(super) async fn list(&self) -> Told {
        let args: ListArgs = self.arguments()?;
        let agents = self.gateway.agents();
        let visible: Vec<AgentId> = agents.all().iter().map(|agent| agent.id.clone()).filter(|agent| self.sees_agent(agent)).collect();
        let filter = SessionFilter {
            limit: args.limit.clamp(1, MOST_SESSIONS),
            agents: if visible.is_empty() { vec![self.own_agent().clone()] } else { visible },
            active_since: args.active_minutes.map(|minutes| self.gateway.now().saturating_sub(minutes.saturating_mul(60_000))),
            search: args.search.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            ..SessionFilter::default()
        };
        let page = self.gateway.store.sessions(filter).await.map_err(|cause| format!("The sessions cannot be read: {cause}."))?;
        let total = page.total;
        let rows: Vec<Value> = page.rows.into_iter().filter(|row| self.sees(&row.session)).map(|row| self.row(row)).collect();
        Ok(shown(&json!({ "count": rows.len(), "total": total, "sessions": rows })))
    }

    fn row(&self, listed: Listed) -> Value {
        let is_own = listed.session.key == *self.own_key();
        let row = self.gateway.session_row(listed);
        let mut shown = json!({
            "sessionKey": row.key, "agentId": row.agent_id, "label": row.label, "displayName": row.display_name, "kind": row.kind,
            "channel": row.channel, "updatedAt": row.updated_at, "model": row.model, "totalTokens": row.total_tokens,
            "lastRun": row.last_run_status, "isBusy": row.has_active_run, "spawnedBy": row.spawned_by,
            "isThisSession": is_own.then_some(true),
        });
        if let Some(map) = shown.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        shown
    }

    pub(super) async fn history(&self) -> Told {
        let args: HistoryArgs = self.arguments()?;
        let session = self.session(&args.session_key).await?;
        let path = self.gateway.sessions.transcript_path(&session);
        let read = self.gateway.transcripts.run(move |transcripts| transcripts.recall(&path)).await;
        let recall = read.map_err(|cause| format!("The conversation cannot be read: {cause}."))?.unwrap_or_default();
        let wanted = |message: &&Value| args.include_tools || message::role(message) != "toolResult";
        let lines: Vec<String> = recall.messages.iter().filter(wanted).map(line).filter(|line| !line.is_empty()).collect();
        let most = args.limit.unwrap_or(20).clamp(1, MOST_MESSAGES);
        let (mut bytes, mut from) = (0, lines.len());
        while from > 0 && lines.len() - from < most {
            bytes += lines.get(from - 1).map_or(0, String::len);
            if bytes > HISTORY_BYTES && from < lines.len() {
                break;
            }
            from -= 1;
        }
        let newest = lines.get(from..).unwrap_or_default().join("\n\n");
        let earlier = if from > 0 { format!("[{from} earlier messages are not shown.]\n\n") } else { String::new() };
        Ok(if newest.is_empty() { "Nothing has been said there.".to_owned() } else { format!("{earlier}{newest}") })
    }

    pub(super) fn agents(&self) -> Told {
        let agents = self.gateway.agents();
        let rows = agents.all().iter().filter(|agent| self.may_start(&agent.id)).map(|agent| {
            json!({ "agentId": agent.id, "name": agent.name, "model": agent.model, "runner": agent.runner, "isOwn": agent.id == *self.own_agent() })
        });
        Ok(shown(&json!({ "agents": rows.collect::<Vec<_>>() })))
    }
}

/// A message as a line of a conversation; empty if it has no words.
fn line(said: &Value) -> String {
    let text = message::text(said);
    let calls: Vec<&str> = message::tool_calls(said).map(|(_, name)| name).collect();
    let cut = text.get(..text.floor_char_boundary(MESSAGE_BYTES)).unwrap_or_default();
    let rest = if cut.len() < text.len() { format!(" [… {} bytes left out]", text.len() - cut.len()) } else { String::new() };
    let used = if calls.is_empty() { String::new() } else { format!(" [uses {}]", calls.join(", ")) };
    if cut.trim().is_empty() && used.is_empty() { String::new() } else { format!("{}: {}{rest}{used}", message::role(said), cut.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines_with_their_words_and_tools() {
        let call = json!({ "role": "assistant", "content": [{ "type": "text", "text": "I look." }, { "type": "toolCall", "id": "c", "name": "exec", "arguments": {} }] });
        assert_eq!(line(&call), "assistant: I look. [uses exec]");
        assert_eq!(line(&json!({ "role": "assistant", "content": [] })), "");
        let long = line(&json!({ "role": "user", "content": "ü".repeat(5000) }));
        assert!(long.len() < MESSAGE_BYTES + 60 && long.ends_with("bytes left out]"), "{}", long.len());
    }
}

//! The conversations that agent programs keep of a session, by the name of their runner: an answer goes on where the one before it ended, also after a restart. They belong to one conversation of the session, and go with it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Sessions;
use super::turn::Turn;
use crate::protocol::session::entry::SessionEntry;
use crate::store::StoreError;
use crate::store::sessions::{Edited, SessionEdit};

/// The conversation of this program, and the folder in which it was begun, as far as that is known.
#[must_use]
pub fn known<'a>(entry: &'a SessionEntry, runner: &str) -> Option<(&'a str, Option<&'a Path>)> {
    let reference = entry.cli_session_ids.as_ref()?.get(runner)?.as_str()?;
    let folder = entry.cli_session_folders.as_ref().and_then(|folders| folders.get(runner)?.as_str());
    Some((reference, folder.map(Path::new)))
}

fn put(place: &mut Option<Value>, runner: &str, value: &str) {
    // What is no object is nothing that anybody could have written on purpose.
    if !place.as_ref().is_some_and(Value::is_object) {
        *place = Some(Value::Object(Map::new()));
    }
    if let Some(object) = place.as_mut().and_then(Value::as_object_mut) {
        object.insert(runner.to_owned(), json!(value));
    }
}

impl Sessions {
    /// Keeps the conversation of a program for the next turn, if the session has still the conversation of this turn. It is committed when this returns.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn keep_program(&self, turn: &Turn, runner: &str, reference: &str, cwd: &Path) -> Result<(), StoreError> {
        let entry = &turn.session.entry;
        let (id, runner, reference, cwd) =
            (entry.session_id.clone(), runner.to_owned(), reference.to_owned(), cwd.to_string_lossy().into_owned());
        let edit = SessionEdit::new(move |row| {
            let Some(row) = row.filter(|row| row.entry.session_id == id) else { return Ok(Edited::Same) };
            let mut row = row.clone();
            put(&mut row.entry.cli_session_ids, &runner, &reference);
            put(&mut row.entry.cli_session_folders, &runner, &cwd);
            Ok(Edited::Put(Box::new(row)))
        });
        self.edit(&turn.session.key, "message", edit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_its_own_conversation_and_what_others_wrote_stays() {
        let mut entry = SessionEntry { cli_session_ids: Some(json!({ "other": "x" })), ..SessionEntry::default() };
        assert_eq!(known(&entry, "codex"), None);
        put(&mut entry.cli_session_ids, "codex", "a");
        assert_eq!(known(&entry, "codex"), Some(("a", None)));
        put(&mut entry.cli_session_ids, "codex", "b");
        put(&mut entry.cli_session_folders, "codex", "/w");
        assert_eq!(known(&entry, "codex"), Some(("b", Some(Path::new("/w")))));
        assert_eq!((known(&entry, "other"), known(&entry, "pi")), (Some(("x", None)), None));
        entry.cli_session_ids = Some(json!("nonsense"));
        put(&mut entry.cli_session_ids, "codex", "c");
        assert_eq!(known(&entry, "codex").map(|found| found.0), Some("c"));
    }
}

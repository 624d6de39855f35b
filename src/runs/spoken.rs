//! What a run said as messages, from its journal: what its transcript is written from. The journal has every whole message before anybody is shown more, so a killed process loses nothing that was shown.

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::journal::line::is_stream;
use crate::journal::reader::Reader;
use crate::protocol::event::agent::{AssistantText, Compacted, Lifecycle, Stream, Whole};
use crate::protocol::usage::TokenUsage;

/// How much of a journal is read in one go.
const STEP_BYTES: usize = 256 << 10;

/// What a run said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken {
    /// Its messages and compactions with their times, in order.
    pub pieces: Vec<(u64, Piece)>,
    /// The text of a message that never became whole, and when it was last added to.
    pub unfinished: Option<(u64, String)>,
    /// What all requests used; none if there were none.
    pub usage: Option<TokenUsage>,
    /// The conversation that an agent program keeps of it, as the program named it last.
    pub session: Option<String>,
    /// The runs whose messages it was told while it worked, by their file ids.
    pub told: Vec<String>,
}

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A message.
    Message(Box<Whole>),
    /// A summary in the place of what was before.
    Compaction(Compacted),
}

#[derive(Deserialize)]
struct Line {
    stream: Stream,
    ts: u64,
    data: Value,
}

/// Reads a journal. With `of_model` false there is nothing to be found, and nothing is read.
///
/// # Errors
/// If the journal cannot be read. One that does not exist says nothing.
pub fn read(path: &Path, of_model: bool) -> io::Result<Spoken> {
    let mut spoken = Spoken::default();
    if !of_model {
        return Ok(spoken);
    }
    let mut reader = match Reader::open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(spoken),
        opened => opened?,
    };
    let mut last_text = None;
    loop {
        let lines = reader.read_after(STEP_BYTES)?;
        if lines.is_empty() {
            break;
        }
        for line in lines {
            if is_stream(&line.bytes, "assistant") {
                // Each repeats the whole text, so only the newest is looked into.
                last_text = Some(line.bytes);
            } else if is_stream(&line.bytes, "message") || is_stream(&line.bytes, "compaction") {
                if spoken.take(&line.bytes) {
                    last_text = None;
                }
            } else if is_stream(&line.bytes, "lifecycle") {
                spoken.take(&line.bytes);
            }
        }
    }
    if let Some(line) = last_text.and_then(|line| serde_json::from_slice::<Line>(&line).ok())
        && let Ok(text) = serde_json::from_value::<AssistantText>(line.data)
    {
        spoken.unfinished = Some((line.ts, text.text)).filter(|(_, text)| !text.trim().is_empty());
    }
    Ok(spoken)
}

/// Whether the message begins with a block of this kind.
fn is_of(whole: &Whole, kind: &str) -> bool {
    whole.message.pointer("/content/0/type").and_then(Value::as_str) == Some(kind)
}

/// Whether the user said it while the run worked.
fn is_said(whole: &Whole) -> bool {
    whole.message.get("role").and_then(Value::as_str) == Some("user") && is_of(whole, "text")
}

impl Spoken {
    /// The text of the model's last message; none if it never spoke.
    #[must_use]
    pub fn last_text(&self) -> Option<String> {
        let unfinished = self.unfinished.as_ref().map(|(_, text)| text.clone());
        let of = |whole: &Whole| {
            let blocks =
                whole.message.get("content").and_then(Value::as_array).into_iter().flatten().filter(|block| block["type"] == "text");
            let texts: Vec<&str> = blocks.filter_map(|block| block["text"].as_str()).collect();
            (whole.message.get("role").is_some_and(|role| role == "assistant") && !texts.is_empty()).then(|| texts.join("\n"))
        };
        let whole = || {
            self.pieces.iter().rev().find_map(|(_, piece)| match piece {
                Piece::Message(whole) => of(whole),
                Piece::Compaction(_) => None,
            })
        };
        unfinished.or_else(whole)
    }

    /// Gives the last message of the model what the run used and no message says: a program may tell it long after its last word.
    pub fn complete(&mut self, all: &TokenUsage) {
        let Some(rest) = all.beyond(&self.usage.unwrap_or_default()) else { return };
        let last = self.pieces.iter_mut().rev().find_map(|(_, piece)| match piece {
            Piece::Message(whole) if whole.message.get("role").is_some_and(|role| role == "assistant") => Some(whole),
            _ => None,
        });
        if let Some(last) = last {
            last.usage.get_or_insert_default().add(&rest);
            self.usage.get_or_insert_default().add(&rest);
        }
    }

    /// Who answered last: provider, model, and why it stopped; each as far as it is known.
    #[must_use]
    pub fn answered_by(&self) -> (Option<String>, Option<String>, Option<String>) {
        let last = self.pieces.iter().rev().find_map(|(_, piece)| match piece {
            Piece::Message(whole) if whole.message.get("role").is_some_and(|role| role == "assistant") => Some(whole),
            _ => None,
        });
        let Some(last) = last else { return (None, None, None) };
        (last.provider.clone(), last.model.clone(), last.stop_reason.clone())
    }

    /// Where results belong: before what the user said while their tools worked, because no model takes it the other way.
    fn behind_calls(&self) -> usize {
        let said = |piece: &Piece| matches!(piece, Piece::Message(whole) if is_said(whole));
        self.pieces.len() - self.pieces.iter().rev().take_while(|(_, piece)| said(piece)).count()
    }

    /// Takes a line in. Returns whether it ends what is being said: what the user says meanwhile does not.
    fn take(&mut self, line: &[u8]) -> bool {
        let Ok(Line { stream, ts, data }) = serde_json::from_slice(line) else { return true };
        match stream {
            Stream::Message => {
                let Ok(whole) = serde_json::from_value::<Whole>(data) else { return true };
                let ends = !is_said(&whole);
                self.told.extend(whole.told.clone());
                if let Some(usage) = &whole.usage {
                    self.usage.get_or_insert_default().add(usage);
                }
                let place = if is_of(&whole, "toolResult") { self.behind_calls() } else { self.pieces.len() };
                self.pieces.insert(place, (ts, Piece::Message(Box::new(whole))));
                return ends;
            }
            Stream::Compaction => {
                if let Ok(compacted) = serde_json::from_value(data) {
                    self.pieces.push((ts, Piece::Compaction(compacted)));
                }
            }
            Stream::Lifecycle => {
                if let Ok(Lifecycle::Session { reference, .. }) = serde_json::from_value(data) {
                    self.session = Some(reference);
                }
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::Template;
    use serde_json::json;

    #[test]
    fn messages_are_found_and_the_text_behind_the_last_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let template = Template::new("r".into(), "s".into());
        let lines = [
            (Stream::Lifecycle, json!({ "phase": "session", "runner": "codex", "reference": "old" })),
            (Stream::Lifecycle, json!({ "phase": "session", "runner": "codex", "reference": "new" })),
            (Stream::Assistant, json!({ "text": "I look", "delta": "I look" })),
            (Stream::Message, json!({ "message": { "role": "assistant", "content": [] }, "usage": { "input": 5, "output": 1 } })),
            (Stream::Assistant, json!({ "text": "It", "delta": "It" })),
            (Stream::Assistant, json!({ "text": "It is", "delta": " is" })),
        ];
        let text: Vec<u8> =
            lines.into_iter().zip(1..).flat_map(|((stream, data), seq)| template.event(seq, stream, seq, data).unwrap()).collect();
        std::fs::write(&path, text).unwrap();
        let spoken = read(&path, true).unwrap();
        assert_eq!((spoken.pieces.len(), spoken.unfinished.as_ref()), (1, Some(&(6, "It is".to_owned()))));
        assert_eq!(spoken.usage.map(|usage| usage.total()), Some(6));
        let mut late = spoken.clone();
        let cost = crate::protocol::usage::TokenCost { total: 0.5, ..Default::default() };
        let all = TokenUsage { input: 5, output: 4, cache_read: 7, cost: Some(cost), ..TokenUsage::default() };
        late.complete(&all);
        let Piece::Message(whole) = &late.pieces[0].1 else { panic!("a message") };
        assert_eq!((late.usage, whole.usage), (Some(all), Some(all)), "what was told late is the last message's");
        let whole = late.clone();
        late.complete(&all);
        assert_eq!(late, whole, "nothing is added twice");
        let mut silent = Spoken::default();
        silent.complete(&all);
        assert_eq!(silent, Spoken::default());
        assert_eq!(spoken.session.as_deref(), Some("new"));
        assert_eq!(read(&path, false).unwrap(), Spoken::default());
        let message = |role: &str, kind: &str| {
            let told = (role == "user" && kind == "text").then_some("f2");
            json!({ "message": { "role": role, "content": [{ "type": kind }] }, "told": told })
        };
        let lines = [("assistant", "toolUse"), ("user", "text"), ("user", "text"), ("user", "toolResult"), ("user", "text")];
        let text: Vec<u8> = lines
            .into_iter()
            .zip(1..)
            .flat_map(|((role, kind), seq)| template.event(seq, Stream::Message, seq, message(role, kind)).unwrap())
            .collect();
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(&path, true).unwrap().told, ["f2", "f2", "f2"]);
        let times: Vec<u64> = read(&path, true).unwrap().pieces.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [1, 4, 2, 3, 5], "results stand right behind their calls");
        assert_eq!(read(&dir.path().join("none"), true).unwrap(), Spoken::default());
    }
}

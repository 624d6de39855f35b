//! What a run says, gathered from its events while they come: the beginning, the newest part, and its tool calls. Bounded, whatever the run prints.
//!
//! The text only grows: later messages of a model are joined to earlier ones by a blank line. Lines beyond the beginning are kept as they are and read only when the run has ended, so that a flood costs next to nothing.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::protocol::event::agent::Tool;
use crate::protocol::run::Outcome;

/// Most bytes of the beginning.
pub const HEAD_BYTES: usize = 16 << 10;
/// Most bytes of the newest part.
pub const TAIL_BYTES: usize = 16 << 10;
/// What a line of output holds beside its text, in bytes, behind the text.
const LINE_END: usize = 60;
/// Most lines that are kept for the newest part.
const TAIL_LINES: usize = 4096;
/// Most tool calls that are kept.
const CALLS: usize = 64;

/// The answer so far.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    head: String,
    /// The beginning is full; what comes goes to the tail.
    full: bool,
    tail: VecDeque<Late>,
    tail_bytes: usize,
    /// Text beyond the beginning, in bytes as it stands in the lines.
    beyond: u64,
    /// Something fell out between beginning and tail.
    gap: bool,
    calls: Vec<Call>,
    /// Length of the current message of a model.
    message: usize,
    /// A model speaks; what commands print is its tools' affair.
    of_model: bool,
}

/// A line beyond the beginning.
#[derive(Clone, Debug)]
struct Late {
    line: Bytes,
    /// Bytes of its text that stand in the beginning.
    skip: usize,
    /// About how many bytes of text follow.
    bytes: usize,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Name of the tool.
    pub name: String,
    /// The call, unique in the run.
    pub id: String,
    /// What it was called with.
    pub args: Value,
    /// How it ended; none = it did not.
    pub result: Option<Tool>,
}

/// The text of a run that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The text; where something is left out, a line says how much.
    pub text: String,
    /// Bytes that are left out.
    pub left_out: u64,
}

/// What a line says, as far as an answer needs it.
#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    data: Value,
}

impl Answer {
    /// Says whether a model speaks; then output of commands is no part of the answer.
    pub fn of_model(&mut self, of_model: bool) {
        self.of_model = of_model;
    }

    /// Takes the next line of the run's journal in. Returns whether the text of [`Self::so_far`] has grown.
    pub fn take(&mut self, line: &Bytes) -> bool {
        match stream_of(line) {
            Some(b"exec") if self.of_model => false,
            // Behind a whole message comes another one; what the user says meanwhile ends none.
            Some(b"message") => {
                let of_user = serde_json::from_slice::<Spoken<'_>>(line).is_ok_and(|line| is_of_user(&line.data));
                self.message = if of_user { self.message } else { 0 };
                false
            }
            Some(b"exec" | b"assistant") if self.full => {
                self.late(line.clone(), 0);
                false
            }
            Some(b"exec") => self.speak(line, |spoken| spoken.text),
            Some(b"assistant") => {
                // A model repeats the whole of its current message; a shorter one is the next message.
                let Ok(spoken) = serde_json::from_slice::<Spoken<'_>>(line) else { return false };
                let text = spoken.data.get("text").and_then(Value::as_str).unwrap_or_default();
                let anew = text.len() < self.message || self.message == 0;
                let new = if anew { text } else { text.get(self.message..).unwrap_or_default() };
                let joint = if anew && !self.head.is_empty() && !text.is_empty() { "\n\n" } else { "" };
                self.message = text.len();
                let (new, joint) = (new.to_owned(), joint);
                self.push(&format!("{joint}{new}")).1
            }
            Some(b"tool") => {
                self.tool(line);
                false
            }
            _ => false,
        }
    }

    /// The text so far, up to the bound of the beginning, as a chat shows it: without blank lines at its start and white space at its end.
    #[must_use]
    pub fn so_far(&self) -> &str {
        shown(&self.head)
    }

    /// The tool calls, in order.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The whole text, its middle left out if it is long. It begins with [`Self::so_far`], but for blank lines before it.
    #[must_use]
    pub fn said(&self, outcome: &Outcome) -> Said {
        let rest: String = self
            .tail
            .iter()
            .filter_map(|late| text_of(&late.line).map(|text| text.get(late.skip..).unwrap_or_default().to_owned()))
            .collect();
        if !self.gap && outcome.dropped_bytes == 0 && rest.len() <= TAIL_BYTES {
            return Said { text: format!("{}{rest}", self.head), left_out: 0 };
        }
        let mut from = rest.ceil_char_boundary(rest.len().saturating_sub(TAIL_BYTES));
        // A tail reads better from the start of a line, if one is near.
        if let Some(at) = rest.get(from..).and_then(|tail| tail.bytes().take(1024).position(|byte| byte == b'\n')).filter(|_| from > 0) {
            from += at + 1;
        }
        let tail = rest.get(from..).unwrap_or_default();
        let printed = outcome.stdout_bytes + outcome.stderr_bytes;
        let all = if printed > 0 { printed } else { self.head.len() as u64 + self.beyond };
        let left_out = all.saturating_sub((self.head.len() + tail.len()) as u64);
        let about = if printed > 0 { "" } else { "about " };
        Said { text: format!("{}\n\n[… {about}{left_out} bytes left out …]\n\n{tail}", self.head), left_out }
    }

    fn speak<'a>(&mut self, line: &'a Bytes, text: impl FnOnce(Spoken<'a>) -> Option<Cow<'a, str>>) -> bool {
        let Some(text) = serde_json::from_slice::<Spoken<'a>>(line).ok().and_then(text) else { return false };
        let (taken, grown) = self.push(&text);
        if taken < text.len() {
            self.late(line.clone(), taken);
        }
        grown
    }

    /// Puts text into the beginning as far as there is room. Returns how much was taken, and whether it shows.
    fn push(&mut self, text: &str) -> (usize, bool) {
        let room = HEAD_BYTES - self.head.len().min(HEAD_BYTES);
        let taken = text.floor_char_boundary(room.min(text.len()));
        self.full |= taken < text.len();
        let before = self.so_far().len();
        self.head.push_str(text.get(..taken).unwrap_or_default());
        (taken, self.so_far().len() > before)
    }

    fn late(&mut self, line: Bytes, skip: usize) {
        let bytes = text_at(&line).map_or(0, |at| line.len().saturating_sub(at + LINE_END)).saturating_sub(skip);
        self.beyond += bytes as u64;
        self.tail_bytes += bytes;
        self.tail.push_back(Late { line, skip, bytes });
        while let Some(front) = self.tail.front()
            && (self.tail.len() > TAIL_LINES || self.tail_bytes - front.bytes > 2 * TAIL_BYTES)
        {
            self.tail_bytes -= front.bytes;
            self.tail.pop_front();
            self.gap = true;
        }
    }

    fn tool(&mut self, line: &Bytes) {
        let Some(tool) =
            serde_json::from_slice::<Spoken<'_>>(line).ok().and_then(|spoken| serde_json::from_value::<Tool>(spoken.data).ok())
        else {
            return;
        };
        match tool {
            Tool::Start { name, tool_call_id, args, .. } if self.calls.len() < CALLS => {
                self.calls.push(Call { name, id: tool_call_id, args, result: None });
            }
            Tool::Start { .. } | Tool::Update { .. } => {}
            Tool::Result { ref tool_call_id, .. } => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.id == *tool_call_id) {
                    call.result = Some(tool);
                }
            }
        }
    }
}

/// A text as a chat shows it.
#[must_use]
pub fn shown(text: &str) -> &str {
    text.trim_start_matches(['\r', '\n']).trim_end()
}

fn stream_of(line: &[u8]) -> Option<&[u8]> {
    let rest = behind(line, b"\"stream\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    rest.get(..end)
}

/// Where the text of a line begins.
fn text_at(line: &[u8]) -> Option<usize> {
    Some(line.len() - behind(line, b"\"text\":\"")?.len())
}

fn behind<'a>(line: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    // Inside a JSON string a quote is always escaped, so this finds the key and no content.
    let at = line.windows(what.len()).position(|window| window == what)?;
    line.get(at + what.len()..)
}

/// Whether a message is what the user said while the run worked.
fn is_of_user(data: &Value) -> bool {
    let text = |path: &str| data.pointer(path).and_then(Value::as_str);
    text("/message/role") == Some("user") && text("/message/content/0/type") == Some("text")
}

fn text_of(line: &[u8]) -> Option<String> {
    let spoken: Spoken<'_> = serde_json::from_slice(line).ok()?;
    let model = || spoken.data.get("delta").and_then(Value::as_str).map(str::to_owned);
    spoken.text.map(Cow::into_owned).or_else(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::{Chunk, Template};
    use crate::protocol::event::agent::{Source, Stream};
    use crate::protocol::run::RunStatus;
    use serde_json::json;

    fn chunk(text: &str) -> Bytes {
        let mut line = Vec::new();
        let chunk = Chunk { source: Source::Stdout, tool_call_id: "c", text, dropped_bytes: None };
        Template::new("r".into(), "s".into()).chunk(1, 1, &chunk, &mut line);
        line.pop();
        line.into()
    }

    fn event(stream: Stream, data: Value) -> Bytes {
        Template::new("r".into(), "s".into()).event(1, stream, 1, data).unwrap().into()
    }

    fn outcome(bytes: u64) -> Outcome {
        Outcome { stdout_bytes: bytes, ..Outcome::without_work(RunStatus::Ok, None, "x", 1) }
    }

    #[test]
    fn short_output_is_the_text_as_it_came() {
        let mut answer = Answer::default();
        assert!(!answer.take(&chunk("\n")));
        assert!(answer.take(&chunk("  a\tb \"q\"\n")));
        assert!(!answer.take(&chunk("\n")), "white space at the end does not show");
        assert!(answer.take(&chunk("é\n")));
        assert_eq!(answer.so_far(), "  a\tb \"q\"\n\né");
        assert_eq!(answer.said(&outcome(14)), Said { text: "\n  a\tb \"q\"\n\né\n".into(), left_out: 0 });
    }

    #[test]
    fn of_long_output_beginning_and_end_stay_with_the_count_between() {
        let (mut answer, mut all) = (Answer::default(), String::new());
        for n in 0..20_000 {
            let line = format!("line {n} é\n");
            let before = answer.so_far().to_owned();
            answer.take(&chunk(&line));
            assert!(answer.so_far().starts_with(&before));
            all.push_str(&line);
        }
        let said = answer.said(&outcome(all.len() as u64));
        assert!(said.text.starts_with(answer.so_far()) && said.text.ends_with("line 19998 é\nline 19999 é\n"));
        let mark = format!("\n\n[… {} bytes left out …]\n\nline ", said.left_out);
        assert!(said.text.contains(&mark), "{}", said.left_out);
        assert_eq!(said.text.len() as u64 + said.left_out - (mark.len() - 5) as u64, all.len() as u64);
        assert!(said.text.len() <= HEAD_BYTES + TAIL_BYTES + 100 && answer.tail_bytes <= 3 * TAIL_BYTES);
    }

    #[test]
    fn output_that_just_fits_is_whole_whatever_its_chunks() {
        for size in [HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES] {
            for step in [1000, 7777, 65_536] {
                let all: String = "é12".chars().cycle().take(size / 4 * 3).collect();
                let mut answer = Answer::default();
                let chars: Vec<char> = all.chars().collect();
                for part in chars.chunks(step) {
                    answer.take(&chunk(&part.iter().collect::<String>()));
                }
                assert_eq!(answer.said(&outcome(all.len() as u64)), Said { text: all, left_out: 0 }, "{size} {step}");
            }
        }
    }

    #[test]
    fn defect_23_the_text_grows_over_all_messages_of_a_run() {
        let mut answer = Answer::default();
        let say = |answer: &mut Answer, text: &str| answer.take(&event(Stream::Assistant, json!({ "text": text, "delta": "" })));
        for text in ["I look", "I look it up."] {
            assert!(say(&mut answer, text));
        }
        answer.take(&event(Stream::Tool, json!({ "phase": "start", "name": "exec", "toolCallId": "c", "args": {} })));
        for text in ["It", "It is 7."] {
            let before = answer.so_far().to_owned();
            assert!(say(&mut answer, text) && answer.so_far().starts_with(&before));
        }
        assert_eq!(answer.so_far(), "I look it up.\n\nIt is 7.");
        assert_eq!(answer.said(&outcome(0)).text, "I look it up.\n\nIt is 7.");
    }

    #[test]
    fn tool_calls_are_kept_with_their_results() {
        let mut answer = Answer::default();
        let args = json!({ "command": "ls", "cwd": "/" });
        answer.take(&event(Stream::Tool, json!({ "phase": "start", "name": "exec", "toolCallId": "c", "args": args })));
        let result = json!({ "phase": "result", "name": "exec", "toolCallId": "c", "exitCode": 3, "durationMs": 9, "isError": true });
        answer.take(&event(Stream::Tool, result));
        assert!(
            matches!(&answer.calls()[0], Call { args: found, result: Some(Tool::Result { exit_code: Some(3), .. }), .. } if *found == args)
        );
    }
}

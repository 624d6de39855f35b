//! One line of a journal: how it is built, and how the few facts that matter are read from it again.
//!
//! Output chunks come by the hundred thousand, so they are put together from ready-made pieces instead of going through a JSON tree; a test holds both ways to the same bytes.

use std::borrow::Cow;
use std::io::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::escape::escape_into;
use crate::protocol::event::agent::{AgentEvent, Lifecycle, Source, Stream};
use crate::protocol::ids::{RunId, SessionKey};

/// A chunk of output as it is about to become a line.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The pipe it came from.
    pub source: Source,
    /// The call it belongs to.
    pub tool_call_id: &'a str,
    /// The text, as decoded; it is escaped here.
    pub text: &'a str,
    /// Bytes of output left out just before it, if any.
    pub dropped_bytes: Option<u64>,
}

/// The parts of a line that are the same for all lines of a run, ready to be copied.
#[derive(Clone, Debug)]
pub struct Template {
    run_id: RunId,
    session_key: SessionKey,
    before_seq: Vec<u8>,
    after_ts: Vec<u8>,
}

impl Template {
    /// The template of a run.
    #[must_use]
    pub fn new(run_id: RunId, session_key: SessionKey) -> Self {
        let mut before_seq = b"{\"runId\":\"".to_vec();
        escape_into(run_id.as_str(), &mut before_seq);
        before_seq.extend_from_slice(b"\",\"seq\":");
        let mut after_ts = b",\"sessionKey\":\"".to_vec();
        escape_into(session_key.as_str(), &mut after_ts);
        after_ts.extend_from_slice(b"\",\"status\":\"streaming\",\"text\":\"");
        Self { run_id, session_key, before_seq, after_ts }
    }

    /// The run all lines belong to.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// A whole line, with its newline, of an event other than output.
    ///
    /// # Errors
    /// Only if `data` cannot be serialised.
    pub fn event(&self, seq: u64, stream: Stream, ts: u64, data: serde_json::Value) -> serde_json::Result<Vec<u8>> {
        let (run_id, session_key) = (self.run_id.clone(), self.session_key.clone());
        let event = AgentEvent { run_id, seq, stream, ts, session_key, status: None, text: None, data };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Appends the line of an output chunk to `out`, with its newline.
    pub fn chunk(&self, seq: u64, ts: u64, chunk: &Chunk<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before_seq);
        number(seq, out);
        out.extend_from_slice(b",\"stream\":\"exec\",\"ts\":");
        number(ts, out);
        out.extend_from_slice(&self.after_ts);
        escape_into(chunk.text, out);
        out.extend_from_slice(match chunk.source {
            Source::Stdout => b"\",\"data\":{\"source\":\"stdout\",\"toolCallId\":\"",
            Source::Stderr => b"\",\"data\":{\"source\":\"stderr\",\"toolCallId\":\"",
        });
        escape_into(chunk.tool_call_id, out);
        out.push(b'"');
        if let Some(dropped) = chunk.dropped_bytes {
            out.extend_from_slice(b",\"droppedBytes\":");
            number(dropped, out);
        }
        out.extend_from_slice(b"}}\n");
    }
}

fn number(n: u64, out: &mut Vec<u8>) {
    // Writing into a vector cannot fail.
    let _ = write!(out, "{n}");
}

/// What a valid line says, without its text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts<'a> {
    /// The run.
    #[serde(borrow)]
    pub run_id: Cow<'a, str>,
    /// Its place.
    pub seq: u64,
    /// The kind of event.
    pub stream: Stream,
    /// The event's data, not yet looked at.
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Facts<'a> {
    /// Reads a line (without its newline). `None` if it is not a whole event.
    #[must_use]
    pub fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The `lifecycle` data. `None` for other streams; `Some(None)` if it says `lifecycle` but makes no sense.
    #[must_use]
    pub fn lifecycle(&self) -> Option<Option<Lifecycle>> {
        (self.stream == Stream::Lifecycle).then(|| serde_json::from_str(self.data.get()).ok())
    }
}

/// The `seq` of a line of ours, found without parsing the rest. Inside a JSON string a quote is always escaped, so the first bare `"seq":` is the key.
#[must_use]
pub fn seq_of(line: &[u8]) -> Option<u64> {
    let rest = after(line, b"\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

/// Whether a line of ours is the last of its run.
#[must_use]
pub fn is_terminal(line: &[u8]) -> bool {
    let lifecycle = after(line, b"\"stream\":\"").is_some_and(|rest| rest.starts_with(b"lifecycle\""));
    lifecycle && Facts::read(line).and_then(|facts| facts.lifecycle()).flatten().and_then(Lifecycle::into_outcome).is_some()
}

/// Where the digits of `seq` begin in every line of a run.
#[must_use]
pub fn seq_at(run_id: &RunId) -> usize {
    Template::new(run_id.clone(), SessionKey(String::new())).before_seq.len()
}

/// Whether a line of ours is a `tool` event; `seq_at` is that of its run. Looked at for each line and reader, so nothing is parsed.
#[must_use]
pub fn is_tool(line: &[u8], seq_at: usize) -> bool {
    let Some(rest) = line.get(seq_at..) else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest.get(digits..).is_some_and(|rest| rest.starts_with(b",\"stream\":\"tool\""))
}

/// Whether a line of ours is of this stream. The first such key is the line's own: inside a string quotes are escaped.
#[must_use]
pub fn is_stream(line: &[u8], stream: &str) -> bool {
    after(line, b"\"stream\":\"").and_then(|rest| rest.strip_prefix(stream.as_bytes())).is_some_and(|rest| rest.starts_with(b"\""))
}

/// A `tool` line without the results of the call.
#[must_use]
pub fn without_results(line: &[u8]) -> Option<Vec<u8>> {
    let mut event: serde_json::Value = serde_json::from_slice(line).ok()?;
    let data = event.get_mut("data")?.as_object_mut()?;
    let had = data.remove("result").is_some() | data.remove("partialResult").is_some();
    if had { serde_json::to_vec(&event).ok() } else { None }
}

fn after<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = line.windows(key.len()).position(|window| window == key)?;
    line.get(at + key.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::agent::{ExecOutput, Streaming};
    use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};

    fn template() -> Template {
        Template::new("run \"1\"\n".into(), "agent:main:ü".into())
    }

    #[test]
    fn a_chunk_is_written_as_serde_writes_the_same_event() {
        for dropped_bytes in [None, Some(7)] {
            for source in [Source::Stdout, Source::Stderr] {
                let text = "a\0\x1b[1m\"q\"\\ \r\n\u{7f}é𝄞";
                let mut line = Vec::new();
                template().chunk(3, 99, &Chunk { source, tool_call_id: "c\"1", text, dropped_bytes }, &mut line);
                let event = AgentEvent {
                    run_id: "run \"1\"\n".into(),
                    seq: 3,
                    stream: Stream::Exec,
                    ts: 99,
                    session_key: "agent:main:ü".into(),
                    status: Some(Streaming::Streaming),
                    text: Some(text.to_owned()),
                    data: serde_json::to_value(ExecOutput { source, tool_call_id: "c\"1".into(), dropped_bytes }).unwrap(),
                };
                assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(&event).unwrap() + "\n");
            }
        }
    }

    #[test]
    fn seq_is_found_even_if_the_run_id_looks_like_a_key() {
        let template = Template::new("\"seq\":77".into(), "s".into());
        let line = template.event(5, Stream::Tool, 1, serde_json::json!({})).unwrap();
        assert_eq!(seq_of(&line), Some(5));
        assert_eq!(seq_of(b"{}"), None);
        assert_eq!(seq_of(b"{\"seq\":x}"), None);
    }

    #[test]
    fn tool_lines_are_known_without_parsing_whatever_the_run_is_called() {
        for run in ["r", "run \"1\"\n", ",\"stream\":\"tool\""] {
            let (template, at) = (Template::new(run.into(), "s".into()), seq_at(&run.into()));
            for seq in [1, 10, 999_999] {
                let line = |stream| template.event(seq, stream, 1, serde_json::json!({})).unwrap();
                assert!(is_tool(&line(Stream::Tool), at), "{run}");
                assert!(!is_tool(&line(Stream::Lifecycle), at) && !is_tool(&line(Stream::Exec), at));
            }
        }
        assert!(!is_tool(b"", 20));
    }

    #[test]
    fn results_are_taken_out_and_the_rest_stays() {
        let line = |data| template().event(2, Stream::Tool, 1, data).unwrap();
        let brief =
            without_results(&line(serde_json::json!({"phase": "result", "name": "x", "result": {"secret": 1}, "isError": false}))).unwrap();
        let brief: serde_json::Value = serde_json::from_slice(&brief).unwrap();
        assert_eq!((&brief["data"], &brief["seq"]), (&serde_json::json!({"phase": "result", "name": "x", "isError": false}), &2.into()));
        assert_eq!(without_results(&line(serde_json::json!({"phase": "start"}))), None);
    }

    #[test]
    fn only_an_end_or_an_error_of_the_lifecycle_is_terminal() {
        let line =
            |outcome| template().event(2, Stream::Lifecycle, 1, serde_json::to_value(Lifecycle::terminal(outcome)).unwrap()).unwrap();
        assert!(is_terminal(&line(Outcome::without_work(RunStatus::Ok, None, "x", 1))));
        assert!(is_terminal(&line(Outcome::without_work(RunStatus::Error, Some(RunErrorCode::Unavailable), "x", 1))));
        let mut chunk = Vec::new();
        let text = "\"stream\":\"lifecycle\"";
        template().chunk(1, 1, &Chunk { source: Source::Stdout, tool_call_id: "c", text, dropped_bytes: None }, &mut chunk);
        assert!(!is_terminal(&chunk));
        assert!(!is_terminal(b"{\"stream\":\"lifecycle\""));
    }
}

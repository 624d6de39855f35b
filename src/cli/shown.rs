//! How a run is shown to a person: what its command writes, or what its model says and does.
//!
//! Where the message is a command, its output goes where it wrote it. Where a model works, its words are the result and go to stdout; its tools, what they print and what goes wrong on the way go to stderr, so that a redirected answer holds the answer alone.

use serde_json::Value;

use super::error::CliError;
use super::output::Output;
use super::table::plain;
use crate::protocol::event::agent::MESSAGE_CALL;

/// Longest line about a tool, in characters.
const LINE: usize = 160;

/// What was shown of a run so far.
#[derive(Debug, Default)]
pub struct Shown {
    /// How much of the model's current message is on stdout, in bytes.
    told: usize,
    /// Whether the last line of the words is still open.
    open: bool,
    /// The same of what tools print.
    tools_open: bool,
}

impl Shown {
    /// Shows the next event of the run.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn event(&mut self, event: &Value, out: &mut Output<'_>) -> Result<(), CliError> {
        let data = event.get("data").unwrap_or(&Value::Null);
        let word = |key: &str| data.get(key).and_then(Value::as_str);
        match (event.get("stream").and_then(Value::as_str), word("phase")) {
            (Some("exec"), _) if word("toolCallId") == Some(MESSAGE_CALL) => out.chunk(event),
            (Some("exec"), _) => self.printed(event, out),
            (Some("assistant"), _) => self.said(word("text").unwrap_or_default(), out),
            (Some("message"), _) => {
                self.told = 0;
                Ok(())
            }
            (Some("tool"), Some("start")) if word("toolCallId") != Some(MESSAGE_CALL) => self.note(&begun(data), out),
            (Some("tool"), Some("result"))
                if data.get("isError") == Some(&Value::Bool(true)) && word("toolCallId") != Some(MESSAGE_CALL) =>
            {
                self.note(&failed(data), out)
            }
            (Some("compaction"), _) => self.note("the conversation was summarised to make room", out),
            (Some("lifecycle"), Some("retry")) => self.note(&format!("{}; asking again", word("error").unwrap_or("the model failed")), out),
            (Some("lifecycle"), Some("warning")) => self.note(word("text").unwrap_or_default(), out),
            (Some("lifecycle"), Some("end" | "error")) => self.close(out),
            _ => Ok(()),
        }
    }

    /// Shows what is new in the model's message.
    fn said(&mut self, text: &str, out: &mut Output<'_>) -> Result<(), CliError> {
        if text.len() < self.told {
            self.told = 0;
        }
        let Some(new) = text.get(self.told..).filter(|new| !new.is_empty()) else { return Ok(()) };
        self.close_tools(out);
        if self.told == 0 {
            // Each message begins on a line of its own.
            self.close(out)?;
        }
        out.write(new)?;
        (self.told, self.open) = (text.len(), !new.ends_with('\n'));
        Ok(())
    }

    /// Shows what a command of the model prints.
    fn printed(&mut self, event: &Value, out: &mut Output<'_>) -> Result<(), CliError> {
        self.close(out)?;
        let text = event.get("text").and_then(Value::as_str).unwrap_or_default();
        // That nobody listens is no error.
        let _ = out.talk.write_all(text.as_bytes()).and_then(|()| out.talk.flush());
        self.tools_open = !text.is_empty() && !text.ends_with('\n');
        Ok(())
    }

    /// A line about the work.
    fn note(&mut self, text: &str, out: &mut Output<'_>) -> Result<(), CliError> {
        self.close(out)?;
        self.close_tools(out);
        let _ = writeln!(out.talk, "» {}", plain(text, LINE));
        Ok(())
    }

    fn close(&mut self, out: &mut Output<'_>) -> Result<(), CliError> {
        if std::mem::take(&mut self.open) { out.write("\n") } else { Ok(()) }
    }

    fn close_tools(&mut self, out: &mut Output<'_>) {
        if std::mem::take(&mut self.tools_open) {
            let _ = writeln!(out.talk);
        }
    }
}

/// Tool and what it is called with: of a command the command, else the first of its arguments that is a text.
fn begun(data: &Value) -> String {
    let name = data.get("name").and_then(Value::as_str).unwrap_or("a tool");
    let args = data.get("args").and_then(Value::as_object);
    let text = |key: &str| args.and_then(|args| args.get(key)).and_then(Value::as_str);
    let shown = text("command").or_else(|| text("path")).or_else(|| args?.values().find_map(Value::as_str));
    shown.map_or_else(|| name.to_owned(), |shown| format!("{name}: {shown}"))
}

fn failed(data: &Value) -> String {
    let name = data.get("name").and_then(Value::as_str).unwrap_or("a tool");
    let why = match (data.get("exitCode").and_then(Value::as_i64), data.get("signal").and_then(Value::as_str)) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => signal.to_owned(),
        (None, None) => data.get("result").and_then(Value::as_str).unwrap_or("it failed").to_owned(),
    };
    format!("{name} failed: {why}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(events: &[Value]) -> (String, String) {
        let (mut result, mut talk, mut shown) = (Vec::new(), Vec::new(), Shown::default());
        let mut out = Output { result: &mut result, talk: &mut talk };
        events.iter().for_each(|event| shown.event(event, &mut out).unwrap());
        (String::from_utf8(result).unwrap(), String::from_utf8(talk).unwrap())
    }

    fn said(text: &str) -> Value {
        json!({"stream": "assistant", "data": {"text": text, "delta": "what a slow reader may have missed"}})
    }

    #[test]
    fn output_of_a_command_goes_where_the_command_wrote_it() {
        let chunk =
            |text: &str, source: &str| json!({"stream": "exec", "text": text, "data": {"source": source, "toolCallId": MESSAGE_CALL}});
        let start =
            json!({"stream": "tool", "data": {"phase": "start", "name": "exec", "toolCallId": MESSAGE_CALL, "args": {"command": "x"}}});
        let end = json!({"stream": "lifecycle", "data": {"phase": "end"}});
        assert_eq!(shown(&[start, chunk("a", "stdout"), chunk("b", "stderr"), end]), ("a".to_owned(), "b".to_owned()));
    }

    #[test]
    fn words_of_a_model_are_the_result_and_its_work_is_told_beside_them() {
        let events = [
            said("I look"),
            said("I look."),
            json!({"stream": "message", "data": {}}),
            json!({"stream": "tool", "data": {"phase": "start", "name": "exec", "toolCallId": "c", "args": {"cwd": "/", "command": "ls\n-l"}}}),
            json!({"stream": "exec", "text": "a file", "data": {"source": "stdout", "toolCallId": "c"}}),
            json!({"stream": "tool", "data": {"phase": "result", "name": "exec", "toolCallId": "c", "exitCode": 2, "isError": true}}),
            json!({"stream": "lifecycle", "data": {"phase": "retry", "error": "too many requests"}}),
            said("Done"),
            json!({"stream": "lifecycle", "data": {"phase": "end"}}),
        ];
        let (result, talk) = shown(&events);
        assert_eq!(result, "I look.\nDone\n");
        assert_eq!(talk, "» exec: ls -l\na file\n» exec failed: exit code 2\n» too many requests; asking again\n");
    }

    #[test]
    fn a_message_that_begins_behind_a_hole_is_shown_whole() {
        assert_eq!(shown(&[said("A long beginning"), said("B")]).0, "A long beginning\nB");
        assert_eq!(shown(&[said("é"), said("éa")]).0, "éa");
    }
}

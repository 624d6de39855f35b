//! Where a command of ours writes, and the exit code that stands for the end of a run.

use std::io::{self, Write};

use serde_json::Value;

use super::error::{self, CliError};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};

/// Where a command writes.
pub struct Output<'a> {
    /// The result, for scripts.
    pub result: &'a mut (dyn Write + Send),
    /// What is said to a person.
    pub talk: &'a mut (dyn Write + Send),
}

impl Output<'_> {
    /// Writes a line of the result.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.result, "{text}").and_then(|()| self.result.flush()).map_err(CliError::Output)
    }

    /// Says something to a person. That nobody listens is no error.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.talk, "skykoi-gateway: {text}");
    }

    /// Writes a piece of the result.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&mut self, text: &str) -> Result<(), CliError> {
        write_through(self.result, text).map_err(CliError::Output)
    }

    /// Writes what an event holds of a command's output, where the command wrote it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn chunk(&mut self, event: &Value) -> Result<(), CliError> {
        let dropped = event.pointer("/data/droppedBytes").and_then(Value::as_u64).unwrap_or(0);
        if dropped > 0 {
            self.say(&format!("{dropped} bytes of output are left out here"));
        }
        let Some(text) = event.get("text").and_then(Value::as_str) else { return Ok(()) };
        let to_talk = event.pointer("/data/source").and_then(Value::as_str) == Some("stderr");
        let written = if to_talk { write_through(self.talk, text) } else { write_through(self.result, text) };
        written.map_err(CliError::Output)
    }
}

fn write_through(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush())
}

/// The exit code that stands for how a run ended: the command's own where it has one, and what shells and `timeout` use elsewhere.
#[must_use]
pub fn exit_code(outcome: &Outcome) -> u8 {
    match outcome.status {
        RunStatus::Timeout => return error::TIMED_OUT,
        RunStatus::Aborted => return error::INTERRUPTED,
        _ => {}
    }
    if let Some(code) = outcome.exit_code {
        return u8::try_from(code).unwrap_or(error::SOFTWARE);
    }
    if let Some(signal) = &outcome.signal {
        return signal_number(signal).map_or(error::SOFTWARE, |number| 128_u8.saturating_add(number));
    }
    match (outcome.status, outcome.code) {
        (RunStatus::Ok, _) => error::OK,
        (_, Some(RunErrorCode::ExecDenied)) => error::NO_PERMISSION,
        (RunStatus::Error, Some(RunErrorCode::Unavailable)) => error::UNREACHABLE,
        _ => error::SOFTWARE,
    }
}

fn signal_number(name: &str) -> Option<u8> {
    let signal: nix::sys::signal::Signal = name.parse().ok()?;
    u8::try_from(signal as i32).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(status: RunStatus, code: Option<RunErrorCode>, exit: Option<i32>, signal: Option<&str>) -> u8 {
        let outcome = Outcome::without_work(status, code, "", 0);
        exit_code(&Outcome { exit_code: exit, signal: signal.map(str::to_owned), ..outcome })
    }

    #[test]
    fn exit_codes_are_the_commands_own_or_the_shells() {
        assert_eq!(ended(RunStatus::Ok, None, Some(0), None), 0);
        assert_eq!(ended(RunStatus::Error, None, Some(3), None), 3);
        assert_eq!(ended(RunStatus::Error, None, None, Some("SIGSEGV")), 139);
        assert_eq!(ended(RunStatus::Error, None, None, Some("SIGRTMIN+4")), error::SOFTWARE);
        assert_eq!(ended(RunStatus::Timeout, Some(RunErrorCode::AgentTimeout), None, Some("SIGKILL")), 124);
        assert_eq!(ended(RunStatus::Aborted, None, None, Some("SIGTERM")), 130);
        assert_eq!(ended(RunStatus::Error, Some(RunErrorCode::ExecDenied), None, None), 77);
        assert_eq!(ended(RunStatus::Error, Some(RunErrorCode::Unavailable), None, None), 69);
        assert_eq!(ended(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), None, None), 70);
    }

    #[test]
    fn output_goes_where_the_command_wrote_it() {
        let (mut result, mut talk) = (Vec::new(), Vec::new());
        let mut out = Output { result: &mut result, talk: &mut talk };
        out.chunk(&json!({"text": "a\n", "data": {"source": "stdout"}})).unwrap();
        out.chunk(&json!({"text": "b", "data": {"source": "stderr", "droppedBytes": 7}})).unwrap();
        out.chunk(&json!({"data": {"phase": "start"}})).unwrap();
        assert_eq!(result, b"a\n");
        assert_eq!(talk, b"skykoi-gateway: 7 bytes of output are left out here\nb");
    }
}

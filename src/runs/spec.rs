//! What the store keeps of a request so that its run can be started at any later time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::protocol::run::RunErrorCode;

/// A run's work, complete: later changes of the configuration do not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The message; for the runner `shell`, the script.
    pub message: String,
    /// Working directory, made if absent.
    pub cwd: PathBuf,
    /// Shell that runs the script.
    pub shell: PathBuf,
    /// Time limit of the work in ms.
    pub timeout_ms: u64,
    /// Set when the run must end at once without any work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl Work {
    /// One turn for several messages: the scripts one after the other, behind the first lines of those that were left out. `own` is the newest and decides where and how it runs; the time limit is the longest of all.
    ///
    /// First lines stand as comments, so that a script stays a script.
    #[must_use]
    pub fn merged(left_out: &[&str], earlier: Vec<Self>, own: Self) -> Self {
        let mut message = String::new();
        if !left_out.is_empty() {
            message.push_str(&format!("# {} earlier messages were left out:\n", left_out.len()));
            for title in left_out {
                let line: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                message.push_str(&format!("# - {line}\n"));
            }
        }
        let timeout_ms = earlier.iter().map(|work| work.timeout_ms).chain([own.timeout_ms]).max().unwrap_or(own.timeout_ms);
        for work in &earlier {
            message.push_str(&work.message);
            message.push('\n');
        }
        message.push_str(&own.message);
        Self { message, timeout_ms, ..own }
    }
}

/// Why a run may not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Code of the final response.
    pub code: RunErrorCode,
    /// One line that says what to do about it.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(message: &str, timeout_ms: u64) -> Work {
        Work { message: message.into(), cwd: "/".into(), shell: "/bin/sh".into(), timeout_ms, refusal: None }
    }

    #[test]
    fn merged_messages_are_one_script_behind_the_first_lines_of_those_left_out() {
        let turn = Work::merged(&["rm -rf x\nevil", "ls"], vec![work("echo a", 9), work("echo b", 3)], work("echo c", 5));
        assert_eq!(turn.message, "# 2 earlier messages were left out:\n# - rm -rf x evil\n# - ls\necho a\necho b\necho c");
        assert_eq!(turn.timeout_ms, 9);
        assert_eq!(Work::merged(&[], vec![], work("x", 1)), work("x", 1));
    }
}

//! What the store keeps of a request so that its run can be started at any later time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exec::policy::rule::Wish;
use crate::protocol::ids::SessionKey;
use crate::protocol::isolation::Isolation;
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
    /// Files that came with the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attached>,
    /// How strict the request and its session want commands to be; it only narrows the rules.
    #[serde(default, skip_serializing_if = "Wish::is_empty")]
    pub exec: Wish,
    /// Further instructions, for runners that have a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_system_prompt: Option<String>,
    /// How much the model is to think, if the request says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The conversation is to be shortened, with what the summary is to look after; there is no message then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<String>,
    /// How its commands are shut in and limited.
    #[serde(default, skip_serializing_if = "Isolation::is_none")]
    pub isolation: Isolation,
    /// The session that is told of its end; it stays with the run, so that no crash forgets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell: Option<SessionKey>,
    /// Another run waits for it, so it needs no place among those that people start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
    /// Variables that the request gives to its commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A file that came with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub mime_type: String,
    /// Its length in bytes.
    pub bytes: u64,
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
        let (mut attachments, mut env) = (Vec::new(), BTreeMap::new());
        let exec = earlier.iter().fold(own.exec, |wish, work| wish.and(work.exec));
        for work in earlier {
            env.extend(work.env);
            message.push_str(&work.message);
            message.push('\n');
            attachments.extend(work.attachments);
        }
        message.push_str(&own.message);
        attachments.extend(own.attachments);
        env.extend(own.env);
        Self { message, timeout_ms, attachments, exec, env, ..own }
    }

    /// What commands find in their environment about the files: `SKYKOI_ATTACHMENTS`, their paths, one a line, and `SKYKOI_ATTACHMENT_1`, `SKYKOI_ATTACHMENT_2`, … each path on its own.
    pub fn attachment_env(&self) -> impl Iterator<Item = (String, String)> {
        let paths: Vec<String> = self.attachments.iter().map(|file| file.path.to_string_lossy().into_owned()).collect();
        let all = (!paths.is_empty()).then(|| ("SKYKOI_ATTACHMENTS".to_owned(), paths.join("\n")));
        let each = paths.into_iter().enumerate().map(|(n, path)| (format!("SKYKOI_ATTACHMENT_{}", n + 1), path));
        all.into_iter().chain(each)
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
        Work {
            message: message.into(),
            cwd: "/".into(),
            shell: "/bin/sh".into(),
            timeout_ms,
            refusal: None,
            attachments: Vec::new(),
            exec: Wish::default(),
            extra_system_prompt: None,
            thinking: None,
            compact: None,
            isolation: Isolation::default(),
            tell: None,
            nested: false,
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn the_files_of_all_messages_are_found_by_the_one_turn() {
        let with = |name: &str| {
            let file = Attached { path: format!("/m/{name}").into(), name: name.into(), mime_type: "text/plain".into(), bytes: 1 };
            Work { attachments: vec![file], ..work("x", 1) }
        };
        let turn = Work::merged(&[], vec![with("a"), work("y", 1)], with("b"));
        let env: Vec<String> = turn.attachment_env().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["SKYKOI_ATTACHMENTS=/m/a\n/m/b", "SKYKOI_ATTACHMENT_1=/m/a", "SKYKOI_ATTACHMENT_2=/m/b"]);
        assert_eq!(work("x", 1).attachment_env().count(), 0);
    }

    #[test]
    fn merged_messages_are_one_script_behind_the_first_lines_of_those_left_out() {
        let turn = Work::merged(&["rm -rf x\nevil", "ls"], vec![work("echo a", 9), work("echo b", 3)], work("echo c", 5));
        assert_eq!(turn.message, "# 2 earlier messages were left out:\n# - rm -rf x evil\n# - ls\necho a\necho b\necho c");
        assert_eq!(turn.timeout_ms, 9);
        assert_eq!(Work::merged(&[], vec![], work("x", 1)), work("x", 1));
    }
}

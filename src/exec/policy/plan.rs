//! A plan: what exactly is to be started, and by what every part of it is known again.
//!
//! It is made in the daemon and carried to the run's shim, and it is what an approval is bound to; so it holds values only, no descriptors, and no secret: of environment variables it has digests.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::tools::ExecSecurity;

/// What exactly is to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The mode in which it was made. In `allowlist` every file must also be trusted, by its owner and its folders.
    pub mode: ExecSecurity,
    /// The programs, the first one's output being the next one's input; at least one.
    pub stages: Vec<Stage>,
    /// The folder to run in.
    pub cwd: Folder,
    /// Names of the environment's variables, and SHA-256 of their values, hexadecimal. The run's own marker is not among them.
    pub env: BTreeMap<String, String>,
    /// The approval that the plan runs by, if a person was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

/// One program of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its arguments, its name first.
    pub argv: Vec<String>,
    /// The file that is executed.
    pub exe: Identity,
    /// Set for a script: `exe` is then its interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// Files that the arguments name and that the program would execute, such as an interpreter's script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Identity>,
}

/// A script that is started by its own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// The script's file.
    pub file: Identity,
    /// What its first line gives the interpreter before the script's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
}

/// By what a file is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its real path: absolute, with no link in it.
    pub path: PathBuf,
    /// Its file system.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its content was changed, ns since the epoch.
    pub mtime_ns: i128,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// By what a folder is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Its real path.
    pub path: PathBuf,
    /// Its file system.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
}

/// SHA-256 of each value.
#[must_use]
pub fn env_digests<'a>(env: impl IntoIterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    let marked = env.into_iter().filter(|(name, _)| name.as_str() != crate::exec::env::MARKER);
    marked.map(|(name, value)| (name.clone(), sha256(value.as_bytes()))).collect()
}

/// SHA-256 of bytes, hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// SHA-256 of everything that can be read, hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(mut source: impl io::Read) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut block = vec![0; 64 * 1024];
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(hex(context.finish().as_ref())),
            Ok(n) => context.update(block.get(..n).unwrap_or_default()),
            Err(again) if again.kind() == io::ErrorKind::Interrupted => {}
            Err(failed) => return Err(failed),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan with these stages, by files that need not exist.
    pub(crate) fn sample_plan(stages: &[&[&str]]) -> Plan {
        let stages = stages.iter().map(|argv| Stage {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            exe: Identity {
                path: format!("/usr/bin/{}", argv.first().unwrap()).into(),
                dev: 1,
                ino: 2,
                size: 3,
                mtime_ns: 4,
                sha256: sha256(b"x"),
            },
            script: None,
            files: Vec::new(),
        });
        Plan {
            mode: ExecSecurity::Allowlist,
            stages: stages.collect(),
            cwd: Folder { path: "/w".into(), dev: 1, ino: 9 },
            env: BTreeMap::from([("LANG".to_owned(), sha256(b"C"))]),
            approval: None,
        }
    }

    #[test]
    fn a_plan_comes_out_of_its_text_as_it_went_in_and_holds_no_value_of_a_variable() {
        let mut plan = sample_plan(&[&["ls", "-l"], &["wc"]]);
        let env = BTreeMap::from([("KEY".to_owned(), "s3cret".to_owned()), ("SKYKOI_RUN".to_owned(), "f1".to_owned())]);
        plan.env = env_digests(&env);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        assert!(!text.contains("s3cret") && !text.contains("SKYKOI_RUN"), "{text}");
    }

    #[test]
    fn a_digest_of_what_is_read_is_that_of_its_bytes() {
        let bytes = vec![7; 200_000];
        assert_eq!(sha256_of(&bytes[..]).unwrap(), sha256(&bytes));
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

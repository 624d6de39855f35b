//! What the daemon and a run's shim say to each other: first the spec, then short messages, each as a 32-bit big-endian length and that much JSON.
//!
//! A shim may be older or newer than the daemon that adopts it after an upgrade, so every message may grow keys and an unknown `op` is ignored.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::agent::mcp::Server;
use crate::agent::spec::AgentSpec;
use crate::exec::isolate::Confinement;
use crate::exec::policy::Plan;
use crate::model::endpoint::Endpoint;
use crate::programs::spec::ProgramSpec;
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::isolation::Cgroup;

pub use super::questions::{Done, Errand, Judgement, Wanted};

/// Version of the control messages and of [`RunSpec`].
pub const VERSION: u32 = 1;
/// Largest message in bytes: the largest frame of a client, escaped, and some room.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Memory taken on the word of a length, in bytes; nearly every message fits.
const AT_ONCE: usize = 4096;

/// Everything a shim needs to know about its run. Secrets travel only here, on a private stream: never in argv, the environment or a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// [`VERSION`] of the daemon.
    pub v: u32,
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// The server's own name for the run: names files and marks processes, and never comes from a client.
    pub file_id: String,
    /// Name of the runner, a key of the table of runners.
    pub runner: String,
    /// What the user asked for; for `shell` it is the script.
    pub message: String,
    /// The shell that runs scripts, a path or a name.
    pub shell: String,
    /// What is to be started in place of the shell, if the message was planned; `shell` is then empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// Folder in which commands run.
    pub cwd: PathBuf,
    /// The whole environment of commands; nothing else is inherited.
    pub env: BTreeMap<String, String>,
    /// Time limit of the run in ms, none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time between TERM and KILL in ms.
    pub grace_ms: u64,
    /// Limits of output.
    pub output: OutputLimits,
    /// Where later daemons find the shim; none = it cannot be asked to stop after a restart of the daemon, except by a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<PathBuf>,
    /// The id of the run's (first) tool call.
    pub tool_call_id: String,
    /// How its commands are shut in and limited; absent = not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
    /// The control group in which the run gets one of its own; absent = there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// The turn of an agent program that is not ours; absent for other runners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Box<ProgramSpec>>,
    /// What the runner `agent` is to do, and with which models; absent for other runners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<AgentTask>>,
}

/// A turn of the built-in agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    /// The turn.
    pub spec: AgentSpec,
    /// The models that may answer, the first of them first, with what is needed to be let in there.
    pub endpoints: Vec<Endpoint>,
    /// Servers whose tools it may use, with their secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp: Vec<Server>,
}

/// How much output of a run is kept, and how fast it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLimits {
    /// Most bytes of output lines in the journal, head and tail together.
    pub cap_bytes: u64,
    /// How many of those are kept for the newest output once the cap is near.
    pub tail_bytes: u64,
    /// Most bytes per second taken from one pipe; a faster command waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<u64>,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self { cap_bytes: 64 << 20, tail_bytes: 1 << 20, max_bytes_per_second: None }
    }
}

/// From the daemon to a shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum ToShim {
    /// First message of a daemon that connects to the named socket.
    Hello {
        /// Its [`VERSION`].
        v: u32,
    },
    /// End the run. The first reason counts; more of them change nothing.
    Abort {
        /// Becomes `stopReason` of the outcome, such as `rpc`.
        reason: String,
    },
    /// Answers a question.
    Answer {
        /// Which one.
        ask: u64,
        /// The answer, written as JSON: a message with an `op` is read in two steps, which some numbers of a plan do not survive.
        #[serde(with = "as_text")]
        judgement: Box<Judgement>,
    },
    /// What came of an errand.
    Done {
        /// Which question it was.
        ask: u64,
        /// What came of it.
        done: Done,
    },
    /// The user says something while the run is at work. A shim that does not know this never answers.
    Tell {
        /// Name of the message, unique in the run; the file id of the run that it came with.
        tell: String,
        /// What is said.
        text: String,
    },
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// A judgement as JSON in a text.
mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Judgement;

    #[expect(clippy::borrowed_box, reason = "the shape serde calls")]
    pub(super) fn serialize<S: Serializer>(judgement: &Box<Judgement>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&serde_json::to_string(judgement).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<Judgement>, D::Error> {
        let text = String::deserialize(from)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

/// From a shim to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum FromShim {
    /// The journal has grown. Only the newest length is sent, and it is a hint: the file is the truth.
    Len {
        /// Length of the journal in bytes.
        bytes: u64,
    },
    /// May this command start? Asked of every daemon that connects, until one has answered.
    Ask {
        /// Counts the questions of the run, from 1.
        ask: u64,
        /// The command.
        wanted: Box<Wanted>,
    },
    /// Do this for a tool. Asked like a question about a command; done once, whoever is asked.
    Errand {
        /// Counts with the questions.
        ask: u64,
        /// What is to be done.
        errand: Errand,
    },
    /// Nobody waits for the answer any more.
    Withdraw {
        /// Which question.
        ask: u64,
    },
    /// Whether what the user says has reached the program.
    Told {
        /// Name of the message.
        tell: String,
        /// If not, it has to wait for the run's end.
        taken: bool,
    },
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// The bytes of a message, length first.
///
/// # Errors
/// If it cannot be serialised or is too large.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let size = u32::try_from(bytes.len() - 4).ok().filter(|size| *size as usize <= MAX_MESSAGE).ok_or_else(too_large)?;
    if let Some(head) = bytes.first_chunk_mut() {
        *head = size.to_be_bytes();
    }
    Ok(bytes)
}

/// Sends one message.
///
/// # Errors
/// If the other side is gone, or as [`encode`].
pub async fn send<T: Serialize + Sync>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    stream.write_all(&encode(message)?).await
}

/// Receives one message. `None` if the other side closed between two messages.
///
/// # Errors
/// If the stream breaks in the middle of one (`UnexpectedEof`), or the message is too large or makes no sense (`InvalidData`).
pub async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    let Some((first, rest)) = head.split_first_mut() else { return Ok(None) };
    if stream.read(std::slice::from_mut(first)).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(rest).await?;
    let size = u32::from_be_bytes(head) as usize;
    if size > MAX_MESSAGE {
        return Err(too_large());
    }
    // Beyond this the buffer grows with what really comes, so that a false length costs nothing.
    let mut body = Vec::with_capacity(size.min(AT_ONCE));
    stream.take(size as u64).read_to_end(&mut body).await?;
    if body.len() < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a control message is too large")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::run::Denied;

    /// A spec with nothing special in it.
    pub(crate) fn sample_spec() -> RunSpec {
        RunSpec {
            v: VERSION,
            run_id: "r".into(),
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            file_id: "f1".to_owned(),
            runner: "shell".to_owned(),
            message: "echo hi".to_owned(),
            shell: "/bin/sh".to_owned(),
            plan: None,
            cwd: "/".into(),
            env: BTreeMap::new(),
            timeout_ms: None,
            grace_ms: 5000,
            output: OutputLimits::default(),
            socket_path: None,
            tool_call_id: "call_1".to_owned(),
            confinement: None,
            cgroup: None,
            program: None,
            agent: None,
        }
    }

    #[tokio::test]
    async fn a_spec_comes_out_as_it_went_in_and_the_end_is_seen() {
        let bytes = encode(&sample_spec()).unwrap();
        let mut stream = &bytes[..];
        assert_eq!(receive::<RunSpec>(&mut stream).await.unwrap(), Some(sample_spec()));
        assert_eq!(receive::<RunSpec>(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_answer_with_a_plan_survives_the_way() {
        let plan = Some(Box::new(crate::exec::policy::plan::tests::sample_plan(&[&["ls", "a b"]])));
        let judgements = [
            Judgement::Start { plan, env: BTreeMap::from([("A".to_owned(), "b".to_owned())]) },
            Judgement::Refused { denied: Some(Denied::by_rule("DENY", "no")), message: "no".to_owned() },
        ];
        for judgement in judgements {
            let answer = ToShim::Answer { ask: 7, judgement: Box::new(judgement) };
            assert_eq!(receive::<ToShim>(&mut &encode(&answer).unwrap()[..]).await.unwrap(), Some(answer));
        }
    }

    #[tokio::test]
    async fn a_cut_message_is_an_error_at_every_byte() {
        let bytes = encode(&ToShim::Abort { reason: "rpc".into() }).unwrap();
        for cut in 1..bytes.len() {
            let failed = receive::<ToShim>(&mut &bytes[..cut]).await.unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn unknown_ops_and_keys_are_understood_as_such_and_nonsense_is_not() {
        let frame = |json: &str| [&u32::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes()].concat();
        let read = async |json: &str| receive::<ToShim>(&mut &frame(json)[..]).await;
        assert_eq!(read(r#"{"op":"resize","rows":3}"#).await.unwrap(), Some(ToShim::Unknown));
        assert_eq!(read(r#"{"op":"abort","reason":"rpc","new":1}"#).await.unwrap(), Some(ToShim::Abort { reason: "rpc".into() }));
        assert!(read("{").await.is_err());
        let huge = u32::MAX.to_be_bytes();
        assert_eq!(receive::<ToShim>(&mut &huge[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

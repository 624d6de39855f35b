//! What a fake model says, as data; a file of JSON can hold it too.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One answer to one request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// Only for a request whose body holds this text; answers without it are for any.
    pub when: Option<String>,
    /// Stays in the script when it was given.
    pub keep: bool,
    /// An error instead: its status.
    pub status: Option<u16>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// The body of an error; a string is sent as it is.
    pub body: Value,
    /// What the model says.
    pub say: Vec<Say>,
    /// Why it stops, in the provider's word; by default what fits.
    pub stop: Option<String>,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens read from the cache.
    pub cache_read: u64,
    /// Tokens written to the cache.
    pub cache_write: u64,
    /// Time before the head of the answer, ms.
    pub delay_ms: u64,
    /// Time before each frame, ms.
    pub pause_ms: u64,
    /// Before each of these frames it waits until it may go on (`FakeModel::go_on`).
    #[serde(skip)]
    pub hold: Vec<usize>,
    /// Characters of one delta; default 12.
    pub piece: Option<usize>,
    /// Bytes of one piece on the wire; default a whole frame.
    pub bytes: Option<usize>,
    /// What goes wrong in the middle.
    pub fault: Option<Fault>,
    /// After how many frames it goes wrong.
    pub after: usize,
}

/// A block of an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Say {
    /// Words.
    Text(String),
    /// Thoughts and their signature.
    Thinking(String, String),
    /// Thoughts that only the provider can read.
    Redacted(String),
    /// A use of a tool: id, name, arguments.
    Tool(String, String, Value),
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The provider says that it failed: code, words.
    Error(String, String),
    /// The body ends in order, but the answer does not.
    End,
    /// The connection breaks.
    Cut,
    /// Nothing comes any more.
    Stall,
    /// Bytes that mean nothing.
    Garbage,
}

/// A fixed answer to a path.
#[derive(Clone, Debug)]
pub struct Route {
    /// Such as `GET /latest/meta-data`.
    pub of: String,
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
    /// Its media type; JSON if none.
    pub kind: Option<String>,
}

impl Route {
    /// An answer with status 200.
    pub fn ok(of: &str, body: impl ToString) -> Self {
        Self { of: of.to_owned(), status: 200, body: body.to_string(), kind: None }
    }
}

impl Answer {
    /// Says these blocks.
    pub fn say(blocks: impl IntoIterator<Item = Say>) -> Self {
        Self { say: blocks.into_iter().collect(), input: 20, output: 10, ..Self::default() }
    }

    /// Says a text.
    pub fn text(text: &str) -> Self {
        Self::say([Say::Text(text.to_owned())])
    }

    /// Uses one tool.
    pub fn tool(id: &str, name: &str, input: Value) -> Self {
        Self::say([Say::Tool(id.to_owned(), name.to_owned(), input)])
    }

    /// An error as the provider of Anthropic's and OpenAI's API would write it.
    pub fn error(status: u16, code: &str, text: &str) -> Self {
        let body = serde_json::json!({"type": "error", "error": {"type": code, "code": code, "message": text}});
        Self { status: Some(status), body, ..Self::default() }
    }

    /// The same with a fault after so many frames.
    #[must_use]
    pub fn faulty(mut self, after: usize, fault: Fault) -> Self {
        (self.after, self.fault) = (after, Some(fault));
        self
    }

    /// A text in the pieces in which it is told.
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(self.piece.unwrap_or(12).max(1)).map(|piece| piece.iter().collect()).collect()
    }

    /// Whether a tool is used.
    pub fn uses_tools(&self) -> bool {
        self.say.iter().any(|say| matches!(say, Say::Tool(..)))
    }
}

//! A case of the conformance kit: what is sent, and what must come. The format is described for its writers in `tests/vectors/conformance/README.md`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::pattern;
use crate::config::parse::parse;

/// A file of cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// What its cases have in common, for a reader.
    pub about: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case. Each is played on a connection of its own and knows nothing of the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// Only on these protocol versions.
    #[serde(default = "both")]
    pub protocols: Vec<u32>,
    /// `false`: the case itself says `connect`. An object: merged into the parameters with which the player says it.
    #[serde(default)]
    pub connect: Option<Value>,
    /// Methods that hello must announce; the case is left out on a server that has not all of them.
    #[serde(default)]
    pub needs: Vec<String>,
    /// It changes the server's configuration or agents; left out unless that is allowed.
    #[serde(default)]
    pub changes: bool,
    /// Its messages are shell scripts; left out on a server whose agent is no shell.
    #[serde(default)]
    pub shell: bool,
    /// It takes longer than a few seconds; left out unless asked for.
    #[serde(default)]
    pub slow: bool,
    /// Whether an event that names the case's key and matches nothing is a mistake.
    #[serde(default)]
    pub strict: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Patterns that no frame of the case may match, wherever it came.
    #[serde(default)]
    pub never: Vec<Value>,
    /// How many frames of the case must match a pattern.
    #[serde(default)]
    pub count: Vec<Count>,
}

/// One step. It sends first, if it sends anything, and then waits for what it expects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The old connection is closed and a new one opened; `true` or an object as in [`Case::connect`], or `false` for one that says nothing.
    #[serde(default)]
    pub reconnect: Option<Value>,
    /// A frame, or a list of frames that go out at once.
    #[serde(default)]
    pub send: Option<Value>,
    /// A text that goes out as it is.
    #[serde(default)]
    pub send_text: Option<String>,
    /// A pattern, or a list of patterns whose frames must come in this order.
    #[serde(default)]
    pub expect: Option<Value>,
    /// Patterns whose frames must come in any order.
    #[serde(default)]
    pub any_order: Option<Vec<Value>>,
    /// Patterns whose frames may come meanwhile; events that match nothing are passed over anyway.
    #[serde(default)]
    pub optional: Vec<Value>,
    /// How the server must end the connection.
    #[serde(default)]
    pub close: Option<Close>,
    /// Longest wait of this step in ms, instead of the player's own.
    #[serde(default)]
    pub within_ms: Option<u64>,
}

/// The end of a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// A pattern for the code of the close frame; `null` when there is none.
    pub code: Value,
    /// A pattern for the reason.
    #[serde(default)]
    pub reason: Option<Value>,
}

/// How often something must have come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// What is counted.
    pub frame: Value,
    /// A pattern for the number.
    pub times: Value,
}

fn both() -> Vec<u32> {
    vec![3, 4]
}

impl File {
    /// Reads a file of cases and checks that each could be played.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(path: &Path, text: &str) -> Result<Self, String> {
        let value = parse(path, text).map_err(|error| error.to_string())?;
        let file: Self = serde_json::from_value(value).map_err(|error| format!("{}: {error}", path.display()))?;
        for case in &file.cases {
            case.check().map_err(|problem| format!("{}: {}: {problem}", path.display(), case.name))?;
        }
        Ok(file)
    }
}

impl Case {
    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() {
            return Err("has no steps".to_owned());
        }
        if let Some(other) = self.protocols.iter().find(|version| !both().contains(version)) {
            return Err(format!("there is no protocol {other} here"));
        }
        self.never.iter().chain(self.count.iter().flat_map(|count| [&count.frame, &count.times])).try_for_each(pattern::check)?;
        self.steps.iter().enumerate().try_for_each(|(n, step)| step.check().map_err(|problem| format!("step {}: {problem}", n + 1)))
    }
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let waits = [self.expect.is_some(), self.any_order.is_some(), self.close.is_some()];
        match waits.iter().filter(|given| **given).count() {
            0 if self.send.is_none() && self.send_text.is_none() && self.reconnect.is_none() => return Err("does nothing".to_owned()),
            0 | 1 => {}
            _ => return Err("only one of expect, anyOrder and close".to_owned()),
        }
        if self.send.is_some() && self.send_text.is_some() {
            return Err("only one of send and sendText".to_owned());
        }
        let close = self.close.iter().flat_map(|close| std::iter::once(&close.code).chain(&close.reason));
        self.patterns().chain(self.optional.iter()).chain(close).try_for_each(pattern::check)
    }

    /// What is expected, in order or in any.
    fn patterns(&self) -> impl Iterator<Item = &Value> {
        self.in_order().into_iter().chain(self.any_order.iter().flatten())
    }

    /// The patterns of `expect`.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Value> {
        match &self.expect {
            Some(Value::Array(patterns)) => patterns.iter().collect(),
            Some(pattern) => vec![pattern],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, String> {
        File::read(Path::new("f"), text)
    }

    #[test]
    fn a_case_is_read_from_json5_with_its_defaults() {
        let file = read("{about: 'x', cases: [{name: 'a', steps: [{send: {}, expect: {type: 'res'}}]}]} // good").unwrap();
        let case = &file.cases[0];
        assert_eq!((case.protocols.as_slice(), case.changes, case.steps[0].in_order().len()), (&[3, 4][..], false, 1));
    }

    #[test]
    fn a_case_that_cannot_be_played_is_refused_with_its_place() {
        let case = |inner: &str| format!("{{about: 'x', cases: [{{name: 'a', {inner}}}]}}");
        for (text, word) in [
            ("{".to_owned(), "the text ends"),
            (case("step: []"), "unknown field `step`"),
            (case("steps: []"), "has no steps"),
            (case("protocols: [5], steps: [{send: {}}]"), "no protocol 5"),
            (case("steps: [{}]"), "step 1: does nothing"),
            (case("steps: [{send: {}, sendText: ''}]"), "only one of send"),
            (case("steps: [{expect: {}, close: {code: 1000}}]"), "only one of expect"),
            (case("steps: [{expect: {a: {$rgx: 'x'}}}]"), "no matcher $rgx"),
            (case("steps: [{close: {code: {$what: 1}}}]"), "no matcher $what"),
            (case("never: [{$min: 'x'}], steps: [{send: {}}]"), "$min"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}

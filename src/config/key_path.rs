//! Where a value stands in a document: `agents.list[0].id`. One spelling for messages, the reference and `config explain`.

use std::fmt;

use serde_json::Value;

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The steps from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(pub Vec<Step>);

impl KeyPath {
    /// The path of object keys only, from text such as `gateway.port`.
    #[must_use]
    pub fn of_keys(dotted: &str) -> Self {
        Self(dotted.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// Reads `a.b[0]["c.d"]`; also `a.b.0` for an index. An unclosed bracket makes the rest one key.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (step, after) = first_step(rest);
            steps.extend(step);
            rest = after;
        }
        Self(steps)
    }

    /// This path, one step longer.
    #[must_use]
    pub fn join(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path, one key longer.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Step::Key(key.to_owned()))
    }

    /// The value that stands here, if any.
    #[must_use]
    pub fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.as_object()?.get(key),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }
}

fn first_step(text: &str) -> (Option<Step>, &str) {
    let Some(inner) = text.strip_prefix('[') else {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return (step_of(word), rest.strip_prefix('.').unwrap_or(rest));
    };
    if let Some(quoted) = inner.strip_prefix('"') {
        let (word, rest) = quoted.split_once("\"]").unwrap_or((quoted, ""));
        return (Some(Step::Key(word.to_owned())), rest.strip_prefix('.').unwrap_or(rest));
    }
    let (word, rest) = inner.split_once(']').unwrap_or((inner, ""));
    (step_of(word), rest.strip_prefix('.').unwrap_or(rest))
}

fn step_of(word: &str) -> Option<Step> {
    if word.is_empty() {
        return None;
    }
    Some(word.parse().map_or_else(|_| Step::Key(word.to_owned()), Step::Index))
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("<root>");
        }
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if !is_plain(key) => write!(f, "[\"{}\"]", key.escape_debug())?,
                Step::Key(key) if n == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_is_written() {
        for text in ["gateway.port", "agents.list[0].id", "agents.defaults.models[\"a/b.c\"].alias", "x[1][2]"] {
            assert_eq!(KeyPath::parse(text).to_string(), text);
        }
        assert_eq!(KeyPath::parse("a.0.b").to_string(), "a[0].b");
        assert_eq!(KeyPath::default().to_string(), "<root>");
    }

    #[test]
    fn broken_paths_do_not_panic() {
        for text in ["", ".", "[", "[\"", "a[", "a[]", "]", "a..b", "[\"x"] {
            let _ = KeyPath::parse(text).to_string();
        }
    }

    #[test]
    fn a_control_character_in_a_key_is_shown_escaped() {
        assert_eq!(KeyPath::default().key("a\nb").to_string(), "[\"a\\nb\"]");
    }

    #[test]
    fn values_are_found() {
        let value = serde_json::json!({ "a": [{ "b": 1 }] });
        assert_eq!(KeyPath::parse("a[0].b").find(&value), Some(&1.into()));
        assert_eq!(KeyPath::parse("a[1].b").find(&value), None);
        assert_eq!(KeyPath::parse("a.b").find(&value), None);
    }
}

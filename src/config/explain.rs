//! The config as a person may see it: the whole with secrets hidden, or one key with the layer that decided it.

use serde_json::Value;

use super::check::unknown_key;
use super::key_path::{KeyPath, Step};
use super::load::Loaded;
use super::locate::Target;
use super::problem::{Origin, Problem};
use super::redact::hide;
use super::schema::{part, schema};

/// One key, explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The key.
    pub path: KeyPath,
    /// Its effective value, secrets hidden; null when nothing gives it and there is no default.
    pub value: Value,
    /// The layer that decided: `flag --port`, `env SKYKOI_GATEWAY_PORT`, `file <path>:line:col` or `default`.
    pub layer: String,
    /// What the key is for.
    pub doc: String,
    /// The words it may be, when they are few.
    pub allowed: Vec<String>,
    /// What a change does to a running gateway: `none`, `hot` or `restart`.
    pub reload: String,
}

impl Loaded {
    /// The whole effective config with defaults filled in and secrets hidden.
    #[must_use]
    pub fn show(&self) -> Value {
        let mut value = serde_json::to_value(self.config.as_ref()).unwrap_or_default();
        hide(&schema(), &mut value);
        value
    }

    /// One key: its value, who decided it, and what it is for.
    ///
    /// # Errors
    /// The key does not exist; the reason names the nearest one.
    pub fn explain(&self, key: &str) -> Result<Explained, Problem> {
        let path = KeyPath::parse(key);
        let schema = schema();
        let part = part(&schema, &path).ok_or_else(|| first_unknown(&schema, &path))?;
        let mut origin = self.origin(&path, Target::Value);
        let shown = self.show();
        let mut value = path.find(&shown).cloned();
        if let (Origin::Default, Some(other)) = (&origin, other_spelling(&path)) {
            origin = self.origin(&other, Target::Value);
            value = other.find(&shown).cloned().or(value);
        }
        let layer = match &origin {
            Origin::File { .. } => format!("file {origin}"),
            _ => origin.to_string(),
        };
        let text = |keyword: &str| part.get(keyword).and_then(Value::as_str).unwrap_or_default().to_owned();
        let words = part.get("enum").and_then(Value::as_array).into_iter().flatten();
        Ok(Explained {
            value: value.unwrap_or_default(),
            layer,
            doc: text("description"),
            allowed: words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect(),
            reload: text("x-reload"),
            path,
        })
    }
}

/// `exec.*` for `tools.exec.*` and the other way round.
fn other_spelling(path: &KeyPath) -> Option<KeyPath> {
    let key = |name: &str| Step::Key(name.to_owned());
    match path.0.as_slice() {
        [first, rest @ ..] if *first == key("exec") => {
            Some(KeyPath([key("tools"), key("exec")].into_iter().chain(rest.iter().cloned()).collect()))
        }
        [first, second, rest @ ..] if *first == key("tools") && *second == key("exec") => {
            Some(KeyPath(std::iter::once(key("exec")).chain(rest.iter().cloned()).collect()))
        }
        _ => None,
    }
}

fn first_unknown(schema: &Value, path: &KeyPath) -> Problem {
    let mut parent = KeyPath::default();
    for step in &path.0 {
        let below = parent.join(step.clone());
        if part(schema, &below).is_none() {
            return match step {
                Step::Key(key) => unknown_key(&parent, key),
                Step::Index(_) => Problem::key(below, "is no list"),
            };
        }
        parent = below;
    }
    Problem::key(path.clone(), "unknown key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_exec_lead_to_each_other() {
        let other = |text: &str| other_spelling(&KeyPath::parse(text)).map(|path| path.to_string());
        assert_eq!(other("exec.security").as_deref(), Some("tools.exec.security"));
        assert_eq!(other("tools.exec.security").as_deref(), Some("exec.security"));
        assert_eq!(other("tools.allow"), None);
    }
}

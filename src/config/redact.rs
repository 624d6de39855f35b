//! Hides the secrets of a config: by their types where the schema knows them, by their names where it takes any keys.
//!
//! Two forms are shown: the effective value, where secrets hide themselves, and the text of the file, where their literals are replaced and everything else stays as it was written. Going the other way, a marker that comes back in a new text is replaced by what it stood for.

use std::ops::Range;

use serde_json::{Map, Value};

use super::edit::tree::{Kind, Node, Tree, tree};
use super::key_path::{KeyPath, Step};
use super::schema::{flag, step_into};
use super::secret::REDACTED;

/// Takes out what is not set, and hides texts under names that sound secret where the schema knows no types.
pub fn hide(part: &Value, value: &mut Value) {
    if flag(part, "x-open") {
        hide_by_name(value, false);
        return;
    }
    let of_map = part.get("additionalProperties").filter(|inner| inner.is_object());
    match value {
        Value::Object(object) => {
            object.retain(|_, inner| !inner.is_null());
            for (key, inner) in object.iter_mut() {
                if let Some(below) = part.get("properties").and_then(|properties| properties.get(key)).or(of_map) {
                    hide(below, inner);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = part.get("items") {
                items.iter_mut().for_each(|inner| hide(below, inner));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const SECRET_WORDS: [&str; 10] =
    ["token", "password", "passwd", "secret", "apikey", "credential", "passphrase", "privatekey", "authorization", "cookie"];

fn sounds_secret(name: &str) -> bool {
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).flat_map(char::to_lowercase).collect();
    SECRET_WORDS.iter().any(|word| folded.contains(word))
}

/// Whole blocks of variables and headers are hidden: their names say nothing about what they hold.
fn is_block(key: &str) -> bool {
    matches!(key, "env" | "headers")
}

fn hide_by_name(value: &mut Value, secret: bool) {
    match value {
        Value::String(text) if secret => REDACTED.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|inner| hide_by_name(inner, secret)),
        Value::Object(object) => hide_members(object, secret),
        _ => {}
    }
}

fn hide_members(object: &mut Map<String, Value>, secret: bool) {
    for (key, inner) in object.iter_mut() {
        hide_by_name(inner, secret || sounds_secret(key) || is_block(key));
    }
}

/// The text of a file with every secret in it replaced by the marker, comments included; `None` when the text is no JSON5, since then nothing tells what is a secret. `schema` is the part that describes the root.
#[must_use]
pub fn redacted(text: &str, schema: &Value) -> Option<String> {
    let Tree { root, comments } = tree(text)?;
    let mut spans = Vec::new();
    find(&root, Some(schema), false, &mut spans);
    let secrets: Vec<&str> =
        spans.iter().filter_map(|span| text.get(span.clone())).map(|literal| literal.trim_matches(['"', '\''])).collect();
    let mut edits: Vec<(Range<usize>, String)> = spans.iter().map(|span| (span.clone(), format!("\"{REDACTED}\""))).collect();
    for span in comments {
        let comment = text.get(span.clone()).unwrap_or_default();
        let hidden = hidden_comment(comment, &secrets);
        if hidden != comment {
            edits.push((span, hidden));
        }
    }
    Some(splice(text, edits))
}

/// Puts texts in place of spans that do not overlap.
#[must_use]
pub fn splice(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut result = text.to_owned();
    for (span, new) in edits.into_iter().rev() {
        result.replace_range(span, &new);
    }
    result
}

/// Spans of the literals that are secret. A reference such as `${NAME}` is none: it says where the secret is, not what it is.
fn find(node: &Node, part: Option<&Value>, secret: bool, spans: &mut Vec<Range<usize>>) {
    let secret = secret || part.is_some_and(|part| flag(part, "x-secret"));
    let open = part.is_none_or(|part| flag(part, "x-open"));
    match &node.kind {
        Kind::Object(members) => {
            for member in members {
                let below = part.and_then(|part| step_into(part, &Step::Key(member.key.clone())));
                let by_name = (open || below.is_none()) && (sounds_secret(&member.key) || is_block(&member.key));
                find(&member.value, below, secret || by_name, spans);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                find(item, part.and_then(|part| step_into(part, &Step::Index(index))), secret, spans);
            }
        }
        Kind::Text(text) if secret && !is_reference(text) => spans.push(node.span.clone()),
        // In an unknown key a number or a word is no secret; where the type is known, whatever stands there is hidden.
        Kind::Other if secret && part.is_some_and(|part| flag(part, "x-secret")) => spans.push(node.span.clone()),
        Kind::Text(_) | Kind::Other => {}
    }
}

/// Whether the whole text is one `${NAME}`.
fn is_reference(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'))
}

/// A comment without the secrets of the file and without what stands behind a name that sounds secret, such as a key that was commented out.
fn hidden_comment(comment: &str, secrets: &[&str]) -> String {
    let mut text = comment.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 6) {
        text = text.replace(secret, REDACTED);
    }
    let lines: Vec<String> = text.split('\n').map(hidden_line).collect();
    lines.join("\n")
}

fn hidden_line(line: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\'');
    let mut from = 0;
    while let Some(found) = line.get(from..).and_then(|rest| rest.find([':', '='])) {
        let at = from + found;
        let name = line.get(..at).unwrap_or_default().trim_end();
        let start = name
            .rfind(|c: char| !is_word(c))
            .map_or(0, |place| place + name.get(place..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
        let value = line.get(at + 1..).unwrap_or_default();
        let bare = value.trim_start();
        if sounds_secret(name.get(start..).unwrap_or_default()) && !bare.is_empty() && !bare.starts_with(['{', '[']) {
            let quote = bare.chars().next().filter(|c| matches!(c, '"' | '\''));
            let length = match quote {
                Some(quote) => bare.get(1..).and_then(|rest| rest.find(quote)).map_or(bare.len(), |end| end + 2),
                None => bare.find([',', ' ', '}']).unwrap_or(bare.len()),
            };
            let (value, after) = bare.split_at(length);
            let shown = if is_reference(value.trim_matches(['"', '\''])) { value.to_owned() } else { format!("\"{REDACTED}\"") };
            let head = line.get(..line.len() - bare.len()).unwrap_or_default();
            return format!("{head}{shown}{}", hidden_line(after));
        }
        from = at + 1;
    }
    line.to_owned()
}

/// A new text with every marker replaced by the literal that stands at the same key of the old one. Entries of lists are matched by their `id`, or by their place in lists of equal length.
///
/// # Errors
/// The first key whose marker stands for nothing.
pub fn restored(new: &str, old: Option<&str>) -> Result<String, KeyPath> {
    if !new.contains(REDACTED) {
        return Ok(new.to_owned());
    }
    let Some(new_tree) = tree(new) else { return Ok(new.to_owned()) };
    let old = old.unwrap_or_default();
    let old_root = tree(old).map(|tree| tree.root);
    let mut edits = Vec::new();
    put_back(&new_tree.root, old_root.as_ref(), old, &mut KeyPath::default(), &mut edits)?;
    Ok(splice(new, edits))
}

fn put_back(
    node: &Node,
    old: Option<&Node>,
    text: &str,
    path: &mut KeyPath,
    edits: &mut Vec<(Range<usize>, String)>,
) -> Result<(), KeyPath> {
    match &node.kind {
        Kind::Text(marker) if marker.contains(REDACTED) => {
            let stored = old.filter(|old| marker == REDACTED && matches!(old.kind, Kind::Text(_) | Kind::Other));
            let literal = stored.and_then(|old| text.get(old.span.clone())).ok_or_else(|| path.clone())?;
            edits.push((node.span.clone(), literal.to_owned()));
        }
        Kind::Text(_) | Kind::Other => {}
        Kind::Object(members) => {
            for member in members {
                path.0.push(Step::Key(member.key.clone()));
                put_back(&member.value, old.and_then(|old| old.member(&member.key)), text, path, edits)?;
                path.0.pop();
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.0.push(Step::Index(index));
                put_back(item, old.and_then(|old| twin(item, index, items.len(), old)), text, path, edits)?;
                path.0.pop();
            }
        }
    }
    Ok(())
}

fn twin<'o>(item: &Node, index: usize, length: usize, old: &'o Node) -> Option<&'o Node> {
    let Kind::List(before) = &old.kind else { return None };
    let id = |node: &Node| node.member("id").and_then(|id| if let Kind::Text(id) = &id.kind { Some(id.clone()) } else { None });
    match id(item) {
        Some(wanted) => before.iter().find(|old| id(old).as_ref() == Some(&wanted)),
        None if before.len() == length => before.get(index),
        None => None,
    }
}

/// The same for a value that is merged into the config: markers become what is stored at their keys.
///
/// # Errors
/// The first key whose marker stands for nothing.
pub fn restore_value(new: &mut Value, old: Option<&Value>, path: &mut KeyPath) -> Result<(), KeyPath> {
    match new {
        Value::String(marker) if marker.contains(REDACTED) => {
            let stored = old.and_then(Value::as_str).filter(|_| marker == REDACTED).ok_or_else(|| path.clone())?;
            stored.clone_into(marker);
        }
        Value::Object(object) => {
            for (key, inner) in object {
                path.0.push(Step::Key(key.clone()));
                restore_value(inner, old.and_then(|old| old.get(key.as_str())), path)?;
                path.0.pop();
            }
        }
        Value::Array(items) => {
            let before = old.and_then(Value::as_array);
            let length = items.len();
            for (index, item) in items.iter_mut().enumerate() {
                let old = match item.get("id").cloned() {
                    Some(id) => before.and_then(|list| list.iter().find(|old| old.get("id") == Some(&id))),
                    None => before.filter(|list| list.len() == length).and_then(|list| list.get(index)),
                };
                path.0.push(Step::Index(index));
                restore_value(item, old, path)?;
                path.0.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::schema;
    use serde_json::json;

    const TEXT: &str = r#"// head; token: "old-canary-1"
{
  gateway: {
    auth: { mode: 'token', token: 'canary-2"x' }, // was canary-2"x once
    port: 1,
  },
  env: { vars: { A: "canary-3" }, B: 'canary-4', },
  models: { providers: { p: { baseUrl: "https://x", apiKey: "${KEY}", headers: { X: "canary-5" } } } },
  channels: { chat: { botToken: "canary-6", name: "n", accounts: [{ id: "a", secret: "canary-7" }, { id: "b", secret: "canary-8" }] } },
  gatewey: { password: "canary-9" }, /* SECRET=canary-10, rest */
}
"#;

    #[test]
    fn secrets_are_hidden_by_type_by_name_and_in_comments_and_nothing_else_changes() {
        let shown = redacted(TEXT, &schema()).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("apiKey: \"${KEY}\"") && shown.contains("mode: 'token'") && shown.contains("port: 1,"), "{shown}");
        assert!(shown.contains(", rest */") && shown.contains("name: \"n\""), "{shown}");
        assert_eq!(shown.lines().count(), TEXT.lines().count());
        assert!(redacted("{ a: ", &schema()).is_none());
    }

    #[test]
    fn markers_that_come_back_become_the_same_literals() {
        let shown = redacted(TEXT, &schema()).unwrap();
        let back = restored(&shown, Some(TEXT)).unwrap();
        let code = |text: &str| json5::from_str::<Value>(text).unwrap();
        assert_eq!(code(&back), code(TEXT));
        assert!(back.contains("token: 'canary-2\"x'"), "{back}");
        let swapped = r#"{ channels: { chat: { accounts: [{ id: "b", secret: "__SKYKOI_REDACTED__" }] } } }"#;
        assert!(restored(swapped, Some(TEXT)).unwrap().contains("canary-8"));
    }

    #[test]
    fn a_marker_that_stands_for_nothing_is_refused_with_its_key() {
        for (new, path) in [
            ("{ a: { b: \"__SKYKOI_REDACTED__\" } }", "a.b"),
            ("{ gateway: { auth: { token: \"x__SKYKOI_REDACTED__\" } } }", "gateway.auth.token"),
            ("{ channels: { chat: { accounts: [{ id: \"c\", secret: \"__SKYKOI_REDACTED__\" }] } } }", "channels.chat.accounts[0].secret"),
        ] {
            assert_eq!(restored(new, Some(TEXT)).unwrap_err().to_string(), path);
            let mut value: Value = json5::from_str(new).unwrap();
            let old: Value = json5::from_str(TEXT).unwrap();
            assert_eq!(restore_value(&mut value, Some(&old), &mut KeyPath::default()).unwrap_err().to_string(), path);
        }
        let mut value = json!({ "env": { "B": REDACTED } });
        restore_value(&mut value, Some(&json5::from_str::<Value>(TEXT).unwrap()), &mut KeyPath::default()).unwrap();
        assert_eq!(value["env"]["B"], "canary-4");
    }

    #[test]
    fn texts_under_secret_names_are_hidden_where_types_are_unknown() {
        let mut value = json!({ "botToken": "canary", "port": 1, "entries": { "x": { "env": { "FOO": "canary" }, "api_key": ["canary"], "name": "n" } } });
        hide_by_name(&mut value, false);
        assert!(!value.to_string().contains("canary"));
        assert_eq!(value["entries"]["x"]["name"], "n");
        assert_eq!(value["port"], 1);
    }
}

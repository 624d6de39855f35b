//! Three edits of a JSON5 text: put a value in place of another, add a key or an entry, take one out. Everything else keeps its bytes.

use std::ops::Range;

use serde_json::Value;

use super::style::{Style, begins_line, indent_at};
use super::tree::{Kind, Node, after_space, is_line_end, tree};
use crate::config::key_path::Step;
use crate::config::redact::splice;

/// Puts `value` in place of what stands at `path`; `None` when nothing does.
#[must_use]
pub fn replace(text: &str, path: &[Step], value: &Value) -> Option<String> {
    let root = tree(text)?.root;
    let node = find(&root, path)?;
    let literal = Style::of(text, &root).value(value, indent_at(text, node.span.start));
    Some(splice(text, vec![(node.span.clone(), literal)]))
}

/// Adds a key to the object at `path`, or with an index an entry to the list there, behind what is in it; `None` when it is no object or list.
#[must_use]
pub fn insert(text: &str, path: &[Step], step: &Step, value: &Value) -> Option<String> {
    let root = tree(text)?.root;
    let parent = find(&root, path)?;
    let style = Style::of(text, &root);
    let head = match (step, &parent.kind) {
        (Step::Key(key), Kind::Object(_)) => format!("{}: ", style.key(key)),
        (Step::Index(_), Kind::List(_)) => String::new(),
        _ => return None,
    };
    let close = parent.span.end - 1;
    let Some(last) = parts(parent).pop() else {
        return Some(insert_first(text, &style, parent, path.is_empty(), &head, value));
    };
    let value_end = last.end;
    let behind = after_space(text, value_end);
    let comma = text.get(behind..)?.starts_with(',');
    let mut edits = Vec::new();
    if !comma {
        edits.push((value_end..value_end, ",".to_owned()));
    }
    if begins_line(text, last.start) && begins_line(text, close) {
        // Behind a comment that belongs to the last one.
        let at = rest_of_line(text, if comma { behind + 1 } else { value_end }, close);
        let indent = indent_at(text, last.start);
        let trailing = if comma { "," } else { "" };
        edits.push((at..at, format!("{}{indent}{head}{}{trailing}", style.line_end(), style.value(value, indent))));
    } else {
        let at = if comma { behind + 1 } else { value_end };
        let literal = style.value(value, indent_at(text, last.start));
        let trailing = if comma { "," } else { "" };
        edits.push((at..at, format!(" {head}{literal}{trailing}")));
        merge_same_place(&mut edits);
    }
    Some(splice(text, edits))
}

/// Two insertions at one place become one, in their order.
fn merge_same_place(edits: &mut Vec<(Range<usize>, String)>) {
    if let [(first, one), (second, two)] = edits.as_slice()
        && first == second
    {
        *edits = vec![(first.clone(), format!("{one}{two}"))];
    }
}

fn insert_first(text: &str, style: &Style, parent: &Node, is_root: bool, head: &str, value: &Value) -> String {
    let close = parent.span.end - 1;
    let outer = indent_at(text, parent.span.start);
    let spread = is_root || text.get(parent.span.clone()).is_some_and(|inside| inside.contains('\n'));
    if !spread {
        let literal = style.value(value, outer);
        let blank = text.get(parent.span.start + 1..close).is_some_and(|inside| inside.trim().is_empty());
        let from = if blank { parent.span.start + 1 } else { close };
        return splice(text, vec![(from..close, format!(" {head}{literal} "))]);
    }
    let indent = format!("{outer}{}", style.step());
    let line = format!("{indent}{head}{}{}", style.value(value, &indent), style.line_end());
    if begins_line(text, close) {
        let at = close - indent_at(text, close).len();
        return splice(text, vec![(at..at, line)]);
    }
    splice(text, vec![(close..close, format!("{}{line}{outer}", style.line_end()))])
}

/// Takes the key or entry at `path` out, with its comma, and with its line when nothing else stands there; `None` when there is none.
#[must_use]
pub fn remove(text: &str, path: &[Step]) -> Option<String> {
    let root = tree(text)?.root;
    let (step, parents) = path.split_last()?;
    let parent = find(&root, parents)?;
    let index = match (step, &parent.kind) {
        (Step::Key(key), Kind::Object(members)) => members.iter().position(|member| member.key == *key)?,
        (Step::Index(index), Kind::List(items)) => Some(*index).filter(|index| *index < items.len())?,
        _ => return None,
    };
    let parts = parts(parent);
    let part = parts.get(index)?.clone();
    let behind = after_space(text, part.end);
    let has_comma = text.get(behind..)?.starts_with(',');
    let mut end = if has_comma { behind + 1 } else { part.end };
    let mut start = part.start;
    if begins_line(text, start) {
        let line_rest = rest_of_line(text, end, parent.span.end - 1);
        let ends_line = text.get(line_rest..)?.starts_with(is_line_end);
        if ends_line {
            start -= indent_at(text, start).len();
            end = behind_line_end(text, line_rest);
        }
    } else if has_comma {
        end += text.get(end..)?.len() - text.get(end..)?.trim_start_matches([' ', '\t']).len();
    } else {
        start = text.get(..start)?.trim_end_matches([' ', '\t']).len();
    }
    let mut edits = vec![(start..end, String::new())];
    if !has_comma && let Some(before) = index.checked_sub(1).and_then(|before| parts.get(before)) {
        let comma = after_space(text, before.end);
        if text.get(comma..)?.starts_with(',') && comma < start {
            edits.push((comma..comma + 1, String::new()));
        }
    }
    Some(splice(text, edits))
}

/// The members or entries, each from its key (or value) to the end of its value.
fn parts(parent: &Node) -> Vec<Range<usize>> {
    match &parent.kind {
        Kind::Object(members) => members.iter().map(|member| member.key_span.start..member.value.span.end).collect(),
        Kind::List(items) => items.iter().map(|item| item.span.clone()).collect(),
        Kind::Text(_) | Kind::Other => Vec::new(),
    }
}

/// The end of the blanks and of the comment that follow on the same line.
fn rest_of_line(text: &str, from: usize, limit: usize) -> usize {
    let rest = text.get(from..limit).unwrap_or_default();
    let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let after = rest.get(blank..).unwrap_or_default();
    if after.starts_with("//") {
        return from + blank + after.find(is_line_end).unwrap_or(after.len());
    }
    match after.strip_prefix("/*").and_then(|inner| inner.find("*/")) {
        Some(length) if !after.get(..length + 4).is_some_and(|comment| comment.contains('\n')) => {
            let end = blank + length + 4;
            let tail = rest.get(end..).unwrap_or_default();
            from + end + (tail.len() - tail.trim_start_matches([' ', '\t']).len())
        }
        _ if after.starts_with(is_line_end) => from + blank,
        _ => from,
    }
}

fn behind_line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    if rest.starts_with("\r\n") { at + 2 } else { at + rest.chars().next().map_or(0, char::len_utf8) }
}

fn find<'n>(root: &'n Node, path: &[Step]) -> Option<&'n Node> {
    path.iter().try_fold(root, |node, step| match (step, &node.kind) {
        (Step::Key(key), Kind::Object(_)) => node.member(key),
        (Step::Index(index), Kind::List(items)) => items.get(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests;

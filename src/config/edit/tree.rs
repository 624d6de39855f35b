//! Where every key and value stands in a JSON5 text.
//!
//! Only for texts that the strict reader has accepted: this walk finds places and leaves judging to `parse.rs`. It gives up on what it does not understand and never panics.

use std::ops::Range;

/// One value and its place, in bytes.
#[derive(Clone, Debug)]
pub struct Node {
    /// From its first to behind its last byte.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An object, its keys in order.
    Object(Vec<Member>),
    /// A list.
    List(Vec<Node>),
    /// A text, read.
    Text(String),
    /// A number, `true`, `false` or `null`.
    Other,
}

/// One key of an object with its value.
#[derive(Clone, Debug)]
pub struct Member {
    /// The key, read.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

/// A whole text.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The document.
    pub root: Node,
    /// Where the comments stand.
    pub comments: Vec<Range<usize>>,
}

impl Node {
    /// The value under this key, if it is an object that has it.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Self> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().find(|member| member.key == key).map(|member| &member.value)
    }
}

/// The places in a text; `None` when it is no JSON5.
#[must_use]
pub fn tree(text: &str) -> Option<Tree> {
    let mut walk = Walk { text, at: 0, depth: 0, comments: Vec::new() };
    walk.skip();
    let root = walk.value()?;
    walk.skip();
    (walk.at == text.len()).then_some(Tree { root, comments: walk.comments })
}

/// White space as the reader sees it: a byte order mark is, wherever it stands.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Behind the white space and comments that follow `at`.
#[must_use]
pub fn after_space(text: &str, at: usize) -> usize {
    let mut walk = Walk { text, at, depth: 0, comments: Vec::new() };
    walk.skip();
    walk.at
}

struct Walk<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    comments: Vec<Range<usize>>,
}

/// What ends a comment of one line.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

impl Walk<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += wanted.len_utf8())
    }

    /// White space and comments.
    fn skip(&mut self) {
        loop {
            let start = self.at;
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find(is_line_end).unwrap_or(rest.len());
                self.comments.push(start..self.at);
            } else if rest.starts_with("/*") {
                self.at += rest.get(2..).and_then(|inner| inner.find("*/")).map_or(rest.len(), |end| end + 4);
                self.comments.push(start..self.at);
            } else {
                let blank = rest.find(|c: char| !is_space(c)).unwrap_or(rest.len());
                if blank == 0 {
                    return;
                }
                self.at += blank;
            }
        }
    }

    fn value(&mut self) -> Option<Node> {
        let start = self.at;
        self.depth += 1;
        let kind = match self.peek()? {
            _ if self.depth > crate::protocol::strict::MAX_DEPTH + 1 => return None,
            '{' => self.object()?,
            '[' => self.list()?,
            '"' | '\'' => Kind::Text(self.quoted()?),
            _ => {
                let rest = self.rest();
                let end = rest.find(|c: char| is_space(c) || matches!(c, ',' | '}' | ']' | '/' | ':')).unwrap_or(rest.len());
                self.at += end;
                if end == 0 {
                    return None;
                }
                Kind::Other
            }
        };
        self.depth -= 1;
        Some(Node { span: start..self.at, kind })
    }

    fn object(&mut self) -> Option<Kind> {
        let mut members = Vec::new();
        self.eat('{')?;
        loop {
            self.skip();
            if self.eat('}').is_some() {
                return Some(Kind::Object(members));
            }
            let start = self.at;
            let key = self.key()?;
            let key_span = start..self.at;
            self.skip();
            self.eat(':')?;
            self.skip();
            members.push(Member { key, key_span, value: self.value()? });
            self.skip();
            if self.eat(',').is_none() && self.peek()? != '}' {
                return None;
            }
        }
    }

    fn list(&mut self) -> Option<Kind> {
        let mut items = Vec::new();
        self.eat('[')?;
        loop {
            self.skip();
            if self.eat(']').is_some() {
                return Some(Kind::List(items));
            }
            items.push(self.value()?);
            self.skip();
            if self.eat(',').is_none() && self.peek()? != ']' {
                return None;
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        if matches!(self.peek()?, '"' | '\'') {
            return self.quoted();
        }
        let rest = self.rest();
        let end = rest.find(|c: char| is_space(c) || matches!(c, ':' | '/' | ',' | '{' | '}'))?;
        let name = rest.get(..end).filter(|name| !name.is_empty())?.to_owned();
        self.at += end;
        if !name.contains('\\') {
            return Some(name);
        }
        // Escapes in a bare key are the reader's business.
        let object: serde_json::Map<String, serde_json::Value> = json5::from_str(&format!("{{{name}:0}}")).ok()?;
        object.into_iter().next().map(|(key, _)| key)
    }

    fn quoted(&mut self) -> Option<String> {
        let start = self.at;
        let quote = self.peek()?;
        let mut escaped = false;
        let length = self.rest().char_indices().skip(1).find_map(|(index, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(index + 1)
        })?;
        self.at += length;
        json5::from_str(self.text.get(start..self.at)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    /// The value that the places spell, read literal by literal.
    fn value(text: &str, node: &Node) -> Value {
        match &node.kind {
            Kind::Object(members) => {
                Value::Object(members.iter().map(|member| (member.key.clone(), value(text, &member.value))).collect::<Map<_, _>>())
            }
            Kind::List(items) => items.iter().map(|item| value(text, item)).collect(),
            Kind::Text(read) => read.clone().into(),
            Kind::Other => json5::from_str(&text[node.span.clone()]).unwrap(),
        }
    }

    #[test]
    fn every_form_of_json5_is_found_where_it_stands() {
        for text in [
            "{}",
            " [ ] ",
            "{x\u{feff}:\u{feff}{a:1\u{feff}}}",
            "\u{feff}// c\n{ a: 1, 'b c': \"x\\\"y\", /* } */ \"d\": [ .5, +1, -0x1F, 1e3, true, null, ], }// end",
            "{a:{b:{c:[[],[{}]]}},\\u0061b:2,$x_1:'it\\'s',e:'two \\\nlines'}",
            "{ url: 'http://x/y', s: \"/* no comment */ // none\", }\u{2028}",
            "{é: 'ü', \u{a0}k\u{a0}: 1}",
        ] {
            let tree = tree(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(value(text, &tree.root), json5::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn comments_are_found_and_texts_that_look_like_them_are_not() {
        let text = "// a\n{ s: '// b', /* c */ t: \"/* d */\" } // e";
        let comments: Vec<&str> = tree(text).unwrap().comments.into_iter().map(|span| &text[span]).collect();
        assert_eq!(comments, ["// a", "/* c */", "// e"]);
    }

    #[test]
    fn broken_texts_give_nothing_and_do_not_panic() {
        for text in ["", "{", "{a", "{a:", "{a:1", "[1 2]", "{a 1}", "'x", "'x\\", "{} {}", "/*", "}", ",", "{a:1,,}"] {
            assert!(tree(text).is_none(), "{text}");
        }
        assert!(tree(&"[".repeat(100_000)).is_none());
    }
}

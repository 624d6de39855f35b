//! The text of a page that people would read: what is markup, script or style falls away, headings, lists and links stay recognisable. Pure, and never more than linear in the page's length.

/// Elements whose content is nothing to read.
const SILENT: [&str; 8] = ["script", "style", "noscript", "template", "svg", "iframe", "object", "canvas"];
/// Elements that stand on lines of their own.
const BLOCKS: [&str; 26] = [
    "p",
    "div",
    "section",
    "article",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "ul",
    "ol",
    "table",
    "tr",
    "form",
    "blockquote",
    "pre",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "figure",
    "dl",
    "dt",
    "dd",
];
/// Names of characters that pages use most.
const NAMED: [(&str, &str); 18] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("copy", "©"),
    ("euro", "€"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
];

/// The text of a page.
pub(super) fn readable(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        page.text(text);
        rest = page.tag(tag);
    }
    page.text(rest);
    page.end()
}

#[derive(Default)]
struct Page {
    out: String,
    /// Line breaks that are due before the next text.
    breaks: usize,
    /// Whether a space is due.
    space: bool,
    /// How deep in `pre`.
    pre: usize,
    link: Option<String>,
    /// Some tag had a quote that hides its end, so quotes of this page mean nothing.
    quotes_lie: bool,
}

impl Page {
    fn text(&mut self, text: &str) {
        let text = decoded(text);
        if self.pre > 0 {
            self.put(&text);
            return;
        }
        for (at, word) in text.split(char::is_whitespace).enumerate() {
            self.space |= at > 0;
            if !word.is_empty() {
                self.put(word);
            }
        }
    }

    fn put(&mut self, text: &str) {
        if self.breaks > 0 && !self.out.is_empty() {
            let has = self.out.len() - self.out.trim_end_matches('\n').len();
            self.out.push_str(&"\n".repeat(self.breaks.saturating_sub(has)));
        } else if self.space && !self.out.is_empty() && !self.out.ends_with(char::is_whitespace) {
            self.out.push(' ');
        }
        (self.breaks, self.space) = (0, false);
        self.out.push_str(text);
    }

    fn line(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks);
    }

    /// Takes the tag at the start of `rest` and returns what is behind it.
    fn tag<'h>(&mut self, rest: &'h str) -> &'h str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            return comment.split_once("-->").map_or("", |(_, behind)| behind);
        }
        let inside = rest.get(1..).unwrap_or_default();
        if !inside.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            self.put("<");
            return inside;
        }
        let quoted = if self.quotes_lie { None } else { end_of_tag(inside) };
        // Said once for the whole page, or every such tag would have it read to its end.
        self.quotes_lie |= quoted.is_none();
        let end = quoted.or_else(|| inside.find('>')).unwrap_or(inside.len());
        let (tag, behind) = (inside.get(..end).unwrap_or_default(), inside.get(end + 1..).unwrap_or_default());
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default().to_ascii_lowercase();
        if SILENT.contains(&name.as_str()) && !closes && !tag.ends_with('/') {
            return behind_element(behind, &name);
        }
        self.element(&name, closes, tag);
        behind
    }

    fn element(&mut self, name: &str, closes: bool, tag: &str) {
        match name {
            "br" => self.line(1),
            "hr" => self.line(2),
            "li" if !closes => {
                self.line(1);
                self.put("- ");
            }
            "td" | "th" if closes => self.put(" | "),
            "a" if closes => {
                if let Some(link) = self.link.take() {
                    self.put(&format!(" ({link})"));
                }
            }
            "a" => self.link = attribute(tag, "href").filter(|link| link.starts_with("http")),
            "title" => self.line(2),
            _ if BLOCKS.contains(&name) => {
                let is_heading = name.len() == 2 && name.starts_with('h');
                self.line(if matches!(name, "tr" | "div" | "dt" | "dd") { 1 } else { 2 });
                if is_heading && !closes {
                    let level = name.bytes().last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0')));
                    self.put(&format!("{} ", "#".repeat(level)));
                }
                if name == "pre" {
                    self.pre = if closes { self.pre.saturating_sub(1) } else { self.pre + 1 };
                }
            }
            _ => {}
        }
    }

    fn end(self) -> String {
        let mut lines: Vec<&str> = Vec::new();
        for line in self.out.lines().map(str::trim_end) {
            if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
                lines.push(line);
            }
        }
        lines.join("\n").trim().to_owned()
    }
}

/// Where a tag ends: the first `>` outside of quotes.
fn end_of_tag(inside: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in inside.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// What is behind the end of this element.
fn behind_element<'h>(rest: &'h str, name: &str) -> &'h str {
    let mut from = rest;
    while let Some((_, behind)) = from.split_once("</") {
        let is_it = behind.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name));
        if is_it {
            return behind.split_once('>').map_or("", |(_, behind)| behind);
        }
        from = behind;
    }
    ""
}

/// The value of an attribute.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let at = tag.to_ascii_lowercase().find(&format!("{name}="))?;
    let value = tag.get(at + name.len() + 1..)?;
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.split(|c: char| c.is_whitespace() || c == '>').next()?,
    };
    Some(decoded(value.trim()))
}

/// The text with its references to characters replaced.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let found = behind.get(..behind.floor_char_boundary(12)).and_then(|near| near.split_once(';')).map(|(name, _)| name);
        match found.and_then(|name| Some((name, character(name)?))) {
            Some((name, character)) => {
                out.push_str(&character);
                rest = behind.get(name.len() + 1..).unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| !c.is_control() || c.is_whitespace()).map(String::from);
    }
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_becomes_what_people_read_of_it() {
        let page = "<!DOCTYPE html><html><head><title>A &amp; B</title><style>p { x }</style><script>if (a < b) alert('</p>')</script></head>\
            <body><!-- hidden --><h1>Head&uuml;ng</h1><p>One  <b>bold</b>\n word.</p><ul><li>a<li>b &#x20AC;</ul>\
            <pre>x\n  y</pre><p><a class='>' href=\"https://x.test/?a=1&amp;b\">link</a> 1 < 2 &unknown; end</body></html>";
        let text = readable(page);
        assert_eq!(
            text,
            "A & B\n\n# Headüng\n\nOne bold word.\n\n- a\n- b €\n\nx\n  y\n\nlink (https://x.test/?a=1&b) 1 < 2 &unknown; end"
        );
    }

    /// Before, each such tag was looked through to the end of the page, which took hours and could not be aborted.
    #[test]
    fn quotes_that_never_end_cost_no_more_than_the_page_is_long() {
        for tag in ["<a'>'", "<a \">", "<a '\">", "<a", "</script", "<!--", "&#", "<script><"] {
            readable(&tag.repeat(200_000));
        }
        assert_eq!(readable("<p title='a>b'>c</p><i title=\"a>d</i>"), "c\n\nd");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "([<>/&;#a-zé\"'! =-]|<script>|<p>|<!--|&#x?){0,60}") {
            readable(&text);
        }
    }
}

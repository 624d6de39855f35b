//! Walks the current conversation from its newest entry to its first, by what each entry says it follows.
//!
//! A damaged line costs itself and no more: what it followed is taken from what is left of it, or it is taken to have followed the line before it.

use std::fs::File;
use std::io;

use super::backward::{Backward, Line};
use super::entry::{Facts, Parent, behind, glimpse};

/// One entry on the way.
#[derive(Debug)]
pub struct Link {
    /// Where its line begins, in bytes from the start of the file.
    pub offset: u64,
    /// Length of the line in bytes.
    pub len: u64,
    /// The line, or its beginning if it is longer than asked for.
    pub line: Vec<u8>,
    /// How many lines with a newline stand from it to the end of the file, itself included.
    pub back: u64,
    /// Its type.
    pub kind: String,
    /// Its id.
    pub id: Option<String>,
    /// What it follows.
    pub parent: Parent,
}

impl Link {
    /// Whether all of the line is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.line.len() as u64 == self.len
    }

    /// What the line says. `None` for one that is not here as a whole.
    #[must_use]
    pub fn facts(&self) -> Option<Facts<'_>> {
        self.is_whole().then(|| Facts::read(&self.line)).flatten()
    }
}

#[derive(Debug)]
enum Want {
    /// Whatever comes next.
    Any,
    /// The entry with this id.
    Id(String),
    /// The conversation has begun.
    Nothing,
}

/// How often the way is taken up again where an entry follows one that is nowhere to be found.
const RESUMES: u32 = 8;

/// The way back.
#[derive(Debug)]
pub struct Branch<'f> {
    file: &'f File,
    max_line: usize,
    lines: Backward<'f>,
    want: Want,
    /// How many ended lines were passed.
    back: u64,
    damaged: u64,
    /// Whether nothing else stood between the last entry given out and here.
    adjacent: bool,
    /// Offset of the last entry on the way, with `back` and `damaged` as they were there.
    last: (u64, u64, u64),
    resumes: u32,
}

impl<'f> Branch<'f> {
    /// The way back from the byte `end` of the file. Lines longer than `max_line` come with their beginning only.
    #[must_use]
    pub fn new(file: &'f File, end: u64, max_line: usize) -> Self {
        let lines = Backward::new(file, end, max_line);
        Self { file, max_line, lines, want: Want::Any, back: 0, damaged: 0, adjacent: true, last: (end, 0, 0), resumes: 0 }
    }

    /// How many lines on the way made no sense.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The entry before the last one given out; none at the beginning of the conversation.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn previous(&mut self) -> io::Result<Option<Link>> {
        while !matches!(self.want, Want::Nothing) {
            let Some(line) = self.lines.previous()? else {
                if self.resume() {
                    continue;
                }
                break;
            };
            self.back += u64::from(line.ended);
            if line.bytes.trim_ascii().is_empty() {
                continue;
            }
            let ended = line.ended;
            match link(line, self.back) {
                Ok(link) if link.kind == "session" => {}
                Ok(link) if self.take(&link) => return Ok(Some(link)),
                Ok(_) => self.adjacent = false,
                // Half a line that somebody is writing, or that a crash has left, was never an entry.
                Err(_) if !ended => {}
                Err(damaged) => self.pass(&damaged),
            }
        }
        Ok(None)
    }

    fn take(&mut self, link: &Link) -> bool {
        let wanted = match &self.want {
            Want::Any => true,
            Want::Id(id) => link.id.as_ref() == Some(id),
            Want::Nothing => false,
        };
        if !wanted {
            // Nobody follows what the original injects, and it says of nobody that it follows them: it is shown where it stands.
            return link.parent == Parent::Unsaid;
        }
        self.adjacent = true;
        self.last = (link.offset, self.back, self.damaged);
        self.want = match &link.parent {
            Parent::Unsaid => Want::Any,
            Parent::None => Want::Nothing,
            Parent::Id(id) => Want::Id(id.clone()),
        };
        true
    }

    /// A line that makes no sense: if it is the one that was wanted, what it followed is next.
    fn pass(&mut self, line: &[u8]) {
        self.damaged += 1;
        let Want::Id(wanted) = &self.want else { return };
        if self.adjacent || behind(line, format!("\"id\":\"{wanted}\"").as_bytes()).is_some() {
            self.want = glimpse(line, "parentId").map_or(Want::Any, Want::Id);
        }
    }

    /// Goes on with whatever stands before the last entry, when the one that it follows was not found: its line may be lost, or its id.
    fn resume(&mut self) -> bool {
        if !matches!(self.want, Want::Id(_)) || self.resumes >= RESUMES {
            return false;
        }
        let (offset, back, damaged) = self.last;
        self.lines = Backward::new(self.file, offset, self.max_line);
        (self.back, self.damaged, self.want) = (back, damaged + 1, Want::Any);
        self.resumes += 1;
        true
    }
}

/// The line as an entry, or its bytes if it is none.
fn link(line: Line, back: u64) -> Result<Link, Vec<u8>> {
    let whole = line.is_whole();
    let (kind, id, parent) = if whole {
        match Facts::read(&line.bytes) {
            Some(facts) => (facts.kind.into_owned(), facts.id, facts.parent_id),
            None => return Err(line.bytes),
        }
    } else {
        let Some(kind) = glimpse(&line.bytes, "type") else { return Err(line.bytes) };
        let said = || behind(&line.bytes, b"\"parentId\":").map_or(Parent::Unsaid, |_| Parent::None);
        (kind, glimpse(&line.bytes, "id"), glimpse(&line.bytes, "parentId").map_or_else(said, Parent::Id))
    };
    Ok(Link { offset: line.offset, len: line.len, line: line.bytes, back, kind, id, parent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn ids(lines: &[&str]) -> (Vec<String>, u64) {
        let mut file = tempfile::tempfile().unwrap();
        let text = lines.join("\n");
        file.write_all(text.as_bytes()).unwrap();
        let mut branch = Branch::new(&file, text.len() as u64, 1 << 20);
        let mut ids: Vec<String> = std::iter::from_fn(|| branch.previous().unwrap()).filter_map(|link| link.id).collect();
        ids.reverse();
        (ids, branch.damaged())
    }

    fn entry(id: &str, parent: &str) -> String {
        let parent = if parent.is_empty() { "null".to_owned() } else { format!("\"{parent}\"") };
        format!(r#"{{"type":"message","id":"{id}","parentId":{parent},"message":{{"role":"user","content":"x"}}}}"#)
    }

    const HEADER: &str = r#"{"type":"session","version":3,"id":"s","timestamp":"t","cwd":"/"}"#;

    #[test]
    fn abandoned_branches_are_left_out() {
        let lines = [HEADER, &entry("a", ""), &entry("b", "a"), &entry("c", "b"), &entry("d", "a"), &entry("e", "d"), ""];
        assert_eq!(ids(&lines), (["a", "d", "e"].map(String::from).to_vec(), 0));
    }

    #[test]
    fn an_injected_entry_without_a_parent_is_shown_where_it_stands() {
        let inject = r#"{"type":"message","id":"i","message":{"role":"assistant","content":[]}}"#;
        let last = [HEADER, &entry("a", ""), &entry("b", "a"), inject];
        assert_eq!(ids(&last).0, ["a", "b", "i"]);
        let middle = [HEADER, &entry("a", ""), inject, &entry("b", "a"), &entry("c", "b"), ""];
        assert_eq!(ids(&middle).0, ["a", "i", "b", "c"]);
        let followed = [HEADER, &entry("a", ""), inject, &entry("b", "i"), ""];
        assert_eq!(ids(&followed).0, ["a", "i", "b"]);
    }

    #[test]
    fn a_damaged_line_costs_only_itself() {
        let (a, b, c) = (entry("a", ""), entry("b", "a"), entry("c", "b"));
        let mut broken = b.replace("content", "cont\u{1}ent");
        assert_eq!(ids(&[HEADER, &a, &broken, &c, ""]), (["a", "c"].map(String::from).to_vec(), 1));
        broken = b.replace("\"id\":\"b\"", "\"id\"~\"b\"");
        assert_eq!(ids(&[HEADER, &a, &broken, &c, ""]), (["a", "c"].map(String::from).to_vec(), 1));
        assert_eq!(ids(&[HEADER, &a, "\0\0\0\0", &c, ""]), (["a", "c"].map(String::from).to_vec(), 1));
    }

    #[test]
    fn an_entry_that_follows_nothing_known_follows_what_stands_before_it() {
        let lines = [HEADER, &entry("a", ""), &entry("b", "a"), &entry("c", "lost"), &entry("d", "c"), ""];
        assert_eq!(ids(&lines), (["a", "b", "c", "d"].map(String::from).to_vec(), 1));
        assert_eq!(ids(&[&entry("c", "lost"), &entry("d", "c"), ""]).0, ["c", "d"]);
    }

    #[test]
    fn a_torn_last_line_is_no_damage_and_a_whole_one_without_newline_counts() {
        let (a, b) = (entry("a", ""), entry("b", "a"));
        assert_eq!(ids(&[HEADER, &a, &b[..b.len() - 1]]), (["a"].map(String::from).to_vec(), 0));
        assert_eq!(ids(&[HEADER, &a, &b]), (["a", "b"].map(String::from).to_vec(), 0));
    }

    #[test]
    fn files_without_ids_and_parents_are_read_in_order() {
        let old = r#"{"type":"message","message":{"role":"user","content":"x"}}"#;
        let mut file = tempfile::tempfile().unwrap();
        let text = [HEADER, old, old, old, ""].join("\n");
        file.write_all(text.as_bytes()).unwrap();
        let mut branch = Branch::new(&file, text.len() as u64, 1 << 20);
        assert_eq!(std::iter::from_fn(|| branch.previous().unwrap()).count(), 3);
    }
}

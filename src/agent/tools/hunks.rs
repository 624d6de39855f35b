//! The form of patches that `apply_patch` reads, and what a patch makes of a text. Pure.
//!
//! ```text
//! *** Begin Patch
//! *** Add File: path        lines with `+`
//! *** Delete File: path
//! *** Update File: path     then perhaps `*** Move to: path`, then hunks:
//! @@ a line above           where to look, may be left out
//!  same  -old  +new
//! *** End of File           the hunk ends the file
//! *** End Patch
//! ```

/// One change of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new file with this text.
    Add(String, String),
    /// The file goes.
    Delete(String),
    /// The file changes.
    Update {
        /// The file.
        path: String,
        /// Where it goes.
        to: Option<String>,
        /// What changes in it.
        hunks: Vec<Hunk>,
    },
}

/// A place in a file and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hunk {
    /// Lines that stand somewhere above, in order.
    anchors: Vec<String>,
    old: Vec<String>,
    new: Vec<String>,
    at_end: bool,
}

/// Reads a patch.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(super) fn parse(text: &str) -> Result<Vec<Change>, String> {
    let mut lines = text.trim().lines().enumerate().map(|(n, line)| (n + 1, line.trim_end_matches('\r'))).peekable();
    match lines.next() {
        Some((_, "*** Begin Patch")) => {}
        _ => return Err("A patch begins with the line `*** Begin Patch`.".to_owned()),
    }
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let Some((n, line)) = lines.next() else { return Err("A patch ends with the line `*** End Patch`.".to_owned()) };
        if line == "*** End Patch" {
            break;
        } else if let Some(path) = line.strip_prefix("*** Add File: ") {
            changes.push(Change::Add(path.trim().to_owned(), String::new()));
        } else if let Some(path) = line.strip_prefix("*** Delete File: ") {
            changes.push(Change::Delete(path.trim().to_owned()));
        } else if let Some(path) = line.strip_prefix("*** Update File: ") {
            let to = lines.next_if(|(_, line)| line.starts_with("*** Move to: "));
            let to = to.and_then(|(_, line)| line.strip_prefix("*** Move to: ")).map(|to| to.trim().to_owned());
            changes.push(Change::Update { path: path.trim().to_owned(), to, hunks: Vec::new() });
        } else {
            take(changes.last_mut(), line).ok_or_else(|| format!("Line {n} of the patch makes no sense here: {line}"))?;
        }
    }
    let idle = changes.iter().find_map(|change| match change {
        Change::Update { path, to: None, hunks } if hunks.iter().all(|hunk| hunk.old == hunk.new) => Some(path),
        _ => None,
    });
    let names = changes.iter().map(|change| match change {
        Change::Add(path, _) | Change::Delete(path) | Change::Update { path, .. } => path,
    });
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = names.into_iter().find(|path| !seen.insert(*path)) {
        return Err(format!("The patch names {twice} twice; put its hunks together."));
    }
    match idle {
        _ if changes.is_empty() => Err("The patch changes nothing.".to_owned()),
        Some(path) => Err(format!("The patch changes nothing in {path}.")),
        None => Ok(changes),
    }
}

/// Takes a line into the change that it belongs to.
fn take(change: Option<&mut Change>, line: &str) -> Option<()> {
    match change? {
        Change::Add(_, text) => {
            text.push_str(line.strip_prefix('+')?);
            text.push('\n');
        }
        Change::Delete(_) => return None,
        Change::Update { hunks, .. } => {
            if let Some(anchor) = line.strip_prefix("@@") {
                let fresh = hunks.last().is_none_or(|hunk| !(hunk.old.is_empty() && hunk.new.is_empty()));
                if fresh {
                    hunks.push(Hunk::default());
                }
                let anchor = anchor.trim();
                // Places by numbers, as other forms of patches have them, say nothing here.
                if !anchor.is_empty() && !anchor.starts_with('-') {
                    hunks.last_mut()?.anchors.push(anchor.to_owned());
                }
                return Some(());
            }
            if hunks.is_empty() {
                hunks.push(Hunk::default());
            }
            let hunk = hunks.last_mut()?;
            if line == "*** End of File" {
                hunk.at_end = true;
            } else if let Some(new) = line.strip_prefix('+') {
                hunk.new.push(new.to_owned());
            } else if let Some(old) = line.strip_prefix('-') {
                hunk.old.push(old.to_owned());
            } else {
                // An empty line has lost its space on the way.
                let same = if line.is_empty() { line } else { line.strip_prefix(' ')? };
                hunk.old.push(same.to_owned());
                hunk.new.push(same.to_owned());
            }
        }
    }
    Some(())
}

/// The text after these hunks.
///
/// # Errors
/// Which lines were not found.
pub(super) fn apply(text: &str, hunks: &[Hunk]) -> Result<String, String> {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let ends_with_line = text.is_empty() || text.ends_with('\n');
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut at = 0;
    for hunk in hunks {
        for anchor in &hunk.anchors {
            at = find(&lines, std::slice::from_ref(anchor), at, false).ok_or_else(|| format!("the line `{anchor}` was not found"))? + 1;
        }
        let place = if hunk.old.is_empty() {
            // Nothing says where: behind the anchor, else at the end.
            if hunk.anchors.is_empty() || hunk.at_end { lines.len() } else { at }
        } else {
            find(&lines, &hunk.old, at, hunk.at_end).ok_or_else(|| format!("these lines were not found:\n{}", hunk.old.join("\n")))?
        };
        lines.splice(place..place + hunk.old.len(), hunk.new.iter().cloned());
        at = place + hunk.new.len();
    }
    let mut out = lines.join(end);
    if ends_with_line && !lines.is_empty() {
        out.push_str(end);
    }
    Ok(out)
}

/// Where lines stand from `from` on: exactly, else but for spaces at their ends, else but for spaces around them.
fn find(lines: &[String], wanted: &[String], from: usize, at_end: bool) -> Option<usize> {
    let alike: [fn(&str, &str) -> bool; 3] = [|a, b| a == b, |a, b| a.trim_end() == b.trim_end(), |a, b| a.trim() == b.trim()];
    let first = if at_end { from.max(lines.len().checked_sub(wanted.len())?) } else { from };
    let fits = |at: usize, alike: fn(&str, &str) -> bool| {
        lines.get(at..at + wanted.len()).is_some_and(|here| here.iter().zip(wanted).all(|(line, wanted)| alike(line, wanted)))
    };
    alike.into_iter().find_map(|alike| (first..=lines.len()).find(|at| fits(*at, alike)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(text: &str, body: &str) -> Result<String, String> {
        let changes = parse(&format!("*** Begin Patch\n*** Update File: f\n{body}\n*** End Patch"))?;
        let [Change::Update { hunks, .. }] = &changes[..] else { panic!("{changes:?}") };
        apply(text, hunks)
    }

    #[test]
    fn files_are_added_deleted_moved_and_changed() {
        let patch = "*** Begin Patch\n*** Add File: a b.txt\n+one\n+\n*** Delete File: c\n*** Update File: d\n*** Move to: e\n@@ fn x\n-old\n+new\n*** End Patch\n";
        let changes = parse(patch).unwrap();
        assert_eq!(changes[0], Change::Add("a b.txt".into(), "one\n\n".into()));
        assert_eq!(changes[1], Change::Delete("c".into()));
        assert!(matches!(&changes[2], Change::Update { path, to: Some(to), hunks } if path == "d" && to == "e" && hunks.len() == 1));
    }

    #[test]
    fn a_hunk_is_found_behind_its_anchor_and_the_one_before_it() {
        let text = "fn a() {\n    x\n}\nfn b() {\n    x\n}\n";
        assert_eq!(update(text, "@@ fn b() {\n-    x\n+    y").unwrap(), "fn a() {\n    x\n}\nfn b() {\n    y\n}\n");
        assert_eq!(update(text, "@@\n-    x\n+    1\n@@\n-    x\n+    2").unwrap(), "fn a() {\n    1\n}\nfn b() {\n    2\n}\n");
        assert_eq!(update("a\nb\na\n", "-a\n+c\n*** End of File").unwrap(), "a\nb\nc\n");
        assert_eq!(update("a\n", "+b").unwrap(), "a\nb\n");
        assert_eq!(update("a\nb", "-b\n+c").unwrap(), "a\nc");
        assert_eq!(update("a\r\nb\r\n", " a\n-b\n+ü").unwrap(), "a\r\nü\r\n");
        assert_eq!(update("  a  \nb\n", "-a\n+c").unwrap(), "c\nb\n");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("x").unwrap_err().contains("*** Begin Patch"));
        assert!(parse("*** Begin Patch\n*** Add File: a\n+x").unwrap_err().contains("*** End Patch"));
        assert!(parse("*** Begin Patch\n*** Add File: a\nx\n*** End Patch").unwrap_err().contains("Line 3"));
        assert!(parse("*** Begin Patch\n*** End Patch").unwrap_err().contains("nothing"));
        assert!(update("a\n", " a").unwrap_err().contains("nothing in f"));
        assert!(update("a\n", "-b\n+c").unwrap_err().contains("not found:\nb"));
        assert!(update("a\n", "@@ zzz\n-a\n+c").unwrap_err().contains("`zzz`"));
    }
}

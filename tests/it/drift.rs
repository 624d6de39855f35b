//! The files of `schema/` are what the code says today.

use std::fs;
use std::path::Path;

use skykoi_gateway::cli::generate::generated;

/// Lines around the first difference that are shown.
const SHOWN: usize = 12;

#[test]
fn generated_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<String> = generated(root)
        .into_iter()
        .filter_map(|(path, wanted)| {
            let found = fs::read_to_string(root.join(&path)).unwrap_or_default();
            (found != wanted).then(|| format!("{path}\n{}", difference(&found, &wanted)))
        })
        .collect();
    assert!(stale.is_empty(), "generated files are not what the code says; run `make gen`\n\n{}", stale.join("\n"));
}

/// The part that differs: what both texts begin and end with is left out.
fn difference(found: &str, wanted: &str) -> String {
    let (found, wanted): (Vec<&str>, Vec<&str>) = (found.lines().collect(), wanted.lines().collect());
    let start = found.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
    let (found, wanted) = (&found[start..], &wanted[start..]);
    let same = found.iter().rev().zip(wanted.iter().rev()).take_while(|(a, b)| a == b).count();
    let (found, wanted) = (&found[..found.len() - same], &wanted[..wanted.len() - same]);
    let mut text = format!("@@ line {} @@\n", start + 1);
    for (mark, lines) in [('-', found), ('+', wanted)] {
        lines.iter().take(SHOWN).for_each(|line| text.push_str(&format!("{mark}{line}\n")));
        if lines.len() > SHOWN {
            text.push_str(&format!("{mark}… {} more lines\n", lines.len() - SHOWN));
        }
    }
    text
}

#[test]
fn a_difference_shows_only_what_differs() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\ny\nc\n"), "@@ line 2 @@\n-b\n+x\n+y\n");
    assert_eq!(difference("", "a\n"), "@@ line 1 @@\n+a\n");
}

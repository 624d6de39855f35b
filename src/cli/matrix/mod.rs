//! The test matrix: which tests stand for which row, read from the sources, as `docs/matrix.md`.
//!
//! A test stands for a row when its name begins with the row's id (`m33_…`, `m5_m6_…`), so the table cannot name a test that is not there. Tests that are ignored do not count. Scripts say it in a comment that begins so.

pub mod rows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rows::{OPEN, PARTLY, PARTS};

/// A test, by its name and its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// The file, from the root of the repository.
    pub file: String,
    /// The name of the function, or what a script says.
    pub name: String,
}

/// The tests of each row, by the rows' numbers.
pub type Found = BTreeMap<u16, Vec<Test>>;

/// Looks through `src` and `tests` of the repository at `root`.
#[must_use]
pub fn find(root: &Path) -> Found {
    let mut found = Found::new();
    for dir in ["src", "tests"] {
        look(root, &root.join(dir), &mut found);
    }
    found.values_mut().for_each(|tests| tests.sort());
    found
}

fn look(root: &Path, dir: &Path, found: &mut Found) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look(root, &path, found);
            continue;
        }
        let (Some(kind), Ok(file)) = (path.extension().and_then(|kind| kind.to_str()), path.strip_prefix(root)) else { continue };
        if !matches!(kind, "rs" | "sh") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let names = if kind == "rs" { tests_of(&text) } else { scripted(&text) };
        for name in names {
            let test = Test { file: file.display().to_string(), name: name.to_owned() };
            ids(name).for_each(|row| found.entry(row).or_default().push(test.clone()));
        }
    }
}

/// Names of the test functions of a source: those with an attribute `test` right above, and none that says `ignore`.
fn tests_of(text: &str) -> Vec<&str> {
    let (mut is_test, mut ignored) = (false, false);
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[") {
            is_test |= attribute.starts_with("test]") || attribute.contains("::test]") || attribute.contains("::test(");
            ignored |= attribute.starts_with("ignore");
        } else if !line.starts_with("//") && !line.starts_with(')') {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            names.extend(name.and_then(|name| name.split(['(', '<']).next()).filter(|_| is_test && !ignored));
            (is_test, ignored) = (false, false);
        }
    }
    names
}

/// What a script says it tests, in comments such as `# m28_autobahn …`.
fn scripted(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| ids(line).next().is_some()).collect()
}

/// The rows that a name begins with: 5 and 6 for `m5_m6_defect_2_x`.
fn ids(name: &str) -> impl Iterator<Item = u16> {
    name.split('_').map_while(|part| part.strip_prefix('m').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok())
}

/// Everything that is wrong with the table, one sentence each.
#[must_use]
pub fn faults(found: &Found) -> Vec<String> {
    let all: Vec<u16> = PARTS.iter().flat_map(|part| (part.first..).zip(part.rows).map(|(row, _)| row)).collect();
    let open = |row: u16| OPEN.iter().any(|(open, _)| *open == row);
    let mut faults = Vec::new();
    if all.iter().zip(1..).any(|(row, wanted)| *row != wanted) || all.len() != 106 {
        faults.push("the rows are not 1 to 106".to_owned());
    }
    for row in &all {
        match (found.contains_key(row), open(*row)) {
            (false, false) => faults.push(format!("M{row} has no test, and no reason in OPEN")),
            (true, true) => {
                faults.push(format!("M{row} has a test now: take its line out of OPEN in src/cli/matrix/rows.rs, or move it to PARTLY"))
            }
            _ => {}
        }
    }
    let unknown = found.iter().filter(|(row, _)| !all.contains(row));
    faults.extend(unknown.map(|(row, tests)| format!("there is no row M{row}, but {tests:?}")));
    let untested = PARTLY.iter().filter(|(row, _)| open(*row));
    faults.extend(untested.map(|(row, _)| format!("M{row} stands in OPEN and in PARTLY")));
    faults
}

/// The table as a page.
#[must_use]
pub fn page(found: &Found) -> String {
    let tested = PARTS.iter().flat_map(|part| (part.first..).zip(part.rows)).filter(|(row, _)| found.contains_key(row)).count();
    let mut page = format!(
        "# The test matrix\n\n\
        Made by `make gen` from the names of the tests; `src/cli/matrix/rows.rs` holds the rows.\n\
        A test stands for a row when its name begins with the row's id.\n\
        All of them run in `make test`, which fails when one of them does, so a name in this table is a test that passes.\n\n\
        {tested} of 106 rows have tests.\n"
    );
    for part in PARTS {
        let _ = write!(page, "\n## {}\n\n| row | demands | tests |\n|---|---|---|\n", part.title);
        for (row, demand) in (part.first..).zip(part.rows) {
            let tests = found.get(&row).map_or(&[][..], Vec::as_slice);
            let mut cells: Vec<String> = tests.iter().map(|test| format!("[{}](../{})", test.name, test.file)).collect();
            let note =
                |list: &[(u16, &str)], word: &str| list.iter().find(|(of, _)| *of == row).map(|(_, why)| format!("**{word}:** {why}"));
            cells.extend(note(OPEN, "none"));
            cells.extend(note(PARTLY, "not tested"));
            let _ = writeln!(page, "| M{row} | {demand} | {} |", cells.join("<br>"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_tests_that_run() {
        let text = "#[test]\nfn m1_a() {}\n  #[tokio::test(start_paused = true)]\n  /// Why.\n  #[expect(\n clippy::x\n)]\n#[test]\n  async fn m5_m6_defect_2_b() {}\n\
                    #[test]\n#[ignore = \"slow\"]\nfn m7_c() {}\nfn m8_helper() {}\n// fn m9_d\nlet x = \"#[test] fn m10_e() {}\";\n";
        assert_eq!(tests_of(text), ["m1_a", "m5_m6_defect_2_b"]);
        let rows = |name: &str| ids(name).collect::<Vec<_>>();
        assert_eq!((rows("m5_m6_defect_2_b"), rows("m1_a"), rows("more_m3")), (vec![5, 6], vec![1], vec![]));
        assert_eq!(scripted("# Runs it.\n# m28_the_suite is strict\nm29_x\n"), ["m28_the_suite is strict"]);
    }

    #[test]
    fn a_row_without_a_test_or_a_row_that_is_none_is_a_fault() {
        let faults = faults(&Found::from([(107, vec![])]));
        assert!(faults.iter().any(|fault| fault.starts_with("M1 has no test")), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.starts_with("there is no row M107")), "{faults:?}");
    }
}

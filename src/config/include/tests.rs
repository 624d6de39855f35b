//! Inclusion, as files in a directory of their own.

use std::fs;

use serde_json::json;

use super::*;
use crate::config::read_file::read;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            dir.write(name, text);
        }
        dir
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self) -> Result<Document, ConfigError> {
        let path = self.0.path().join("main");
        let text = read(&path)?.unwrap();
        Document::load(&path, text, &Overlay::new())
    }

    fn refusal(&self) -> String {
        let error = match self.load() {
            Ok(document) => document.merged().unwrap_err(),
            Err(error) => error,
        };
        error.to_string().replace(&format!("{}/", self.0.path().canonicalize().unwrap().display()), "")
    }

    fn origin(&self, path: &str) -> String {
        let document = self.load().unwrap();
        let origin = document.origin(&KeyPath::parse(path), Target::Value).unwrap().to_string();
        origin.replace(&format!("{}/", self.0.path().canonicalize().unwrap().display()), "")
    }
}

fn merging() -> Files {
    Files::new(&[
        ("main", "{ $include: ['a', 'sub/b'],\n o: { y: 3 },\n l: [9],\n in: { $include: 'c' } }"),
        ("a", "{ s: 1, o: { x: 1, y: 1 }, l: [1, 2] }"),
        ("sub/b", "{ s: 2,\n o: { z: 2 },\n l: [3], t: { $include: '../c' } }"),
        ("c", "[\n true]"),
    ])
}

#[test]
fn files_merge_in_order_and_siblings_win() {
    let value = merging().load().unwrap().merged().unwrap();
    assert_eq!(value, json!({ "s": 2, "o": { "x": 1, "y": 3, "z": 2 }, "l": [1, 2, 3, 9], "t": [true], "in": [true] }));
}

#[test]
fn a_value_knows_the_file_it_came_from() {
    let files = merging();
    for (path, origin) in [
        ("s", "sub/b:1:6"),
        ("o.x", "a:1:17"),
        ("o.y", "main:2:10"),
        ("o.z", "sub/b:2:10"),
        ("l[1]", "a:1:35"),
        ("l[2]", "sub/b:3:6"),
        ("l[3]", "main:3:6"),
        ("in[0]", "c:2:2"),
        ("in", "c:1:1"),
        ("t[0]", "sub/../c:2:2"),
    ] {
        assert!(files.origin(path).ends_with(origin), "{path}: {}", files.origin(path));
    }
    assert!(files.load().unwrap().origin(&KeyPath::parse("o.q"), Target::Value).is_none());
    assert!(files.load().unwrap().origin(&KeyPath::parse("l[4]"), Target::Value).is_none());
}

#[test]
fn a_circle_is_named() {
    let files = Files::new(&[("main", "{ $include: 'a' }"), ("a", "{ $include: 'main' }")]);
    assert!(files.refusal().ends_with("$include: circular include detected: main -> a -> main"), "{}", files.refusal());
}

#[test]
fn ten_levels_are_read_and_eleven_are_not() {
    let chain = |last: usize| {
        let files = Files::new(&[("main", "{ $include: 'f1' }")]);
        for n in 1..last {
            files.write(&format!("f{n}"), &format!("{{ $include: 'f{}' }}", n + 1));
        }
        files.write(&format!("f{last}"), "{ a: 1 }");
        files
    };
    assert_eq!(chain(10).load().unwrap().merged().unwrap(), json!({ "a": 1 }));
    assert!(chain(11).refusal().contains("maximum include depth (10) exceeded at: f11"), "{}", chain(11).refusal());
}

#[test]
fn files_outside_the_directory_are_refused_however_they_are_named() {
    let outside = Files::new(&[("secret", "{}")]);
    let target = outside.0.path().join("secret");
    for name in [target.display().to_string(), "../../etc/hostname".to_owned(), "link".to_owned()] {
        let files = Files::new(&[("conf/main", ""), ("main", &format!("{{ $include: '{name}' }}"))]);
        std::os::unix::fs::symlink(&target, files.0.path().join("link")).unwrap();
        let refusal = files.refusal();
        assert!(refusal.contains("outside the config's directory") || refusal.contains("cannot be found"), "{refusal}");
    }
}

#[test]
fn what_cannot_be_included_is_refused_with_its_place() {
    for (main, wanted) in [
        ("{ $include: 'none' }", "main:1:13: $include: the included file none cannot be found"),
        ("{ $include: 3 }", "main:1:13: $include: must be a file name"),
        ("{ a: { $include: ['x', 3] } }", "main:1:18: a.$include: must be a file name"),
        ("{ $include: 'list', b: 1 }", "main:1:3: $include: keys beside $include"),
        ("{ $include: 'broken' }", "broken:1:3: expected closing brace"),
        ("{ $include: 'dir' }", "dir: is not a plain file"),
    ] {
        let files = Files::new(&[("main", main), ("list", "[1]"), ("broken", "{ ]"), ("dir/x", "{}")]);
        let refusal = files.refusal();
        assert!(refusal.contains(wanted) || (wanted.starts_with("broken") && refusal.contains("broken:1:3")), "{main}: {refusal}");
    }
}

#[test]
fn many_files_and_deep_results_are_refused() {
    let files = Files::new(&[("main", "{ $include: ['f1', 'f1'] }")]);
    for n in 1..10 {
        files.write(&format!("f{n}"), &format!("{{ $include: ['f{0}', 'f{0}'] }}", n + 1));
    }
    files.write("f10", "{}");
    assert!(files.refusal().contains("more than 256 files"));
    let deep = format!("{}{{ $include: 'b' }}{}", "{a:".repeat(40), "}".repeat(40));
    let files = Files::new(&[("main", &deep), ("b", &format!("{}1{}", "{a:".repeat(40), "}".repeat(40)))]);
    assert!(files.refusal().contains("nested deeper than 64"));
}

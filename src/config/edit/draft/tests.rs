//! Changes of configs made of one file and of several.

use std::fs;

use serde_json::json;

use super::*;
use crate::config::read_file::read;

struct Dir(tempfile::TempDir);

impl Dir {
    fn with(files: &[(&str, &str)]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(dir)
    }

    fn merge(&self, at: &str, patch: Value) -> Result<Vec<(String, String)>, String> {
        let path = self.0.path().join("main");
        let document = Document::load(&path, read(&path).unwrap().unwrap(), &Overlay::new()).unwrap();
        let mut draft = Draft::of(document).unwrap();
        draft.merge(&KeyPath::parse(at), &patch).map_err(|error| error.to_string())?;
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(draft.into_overlay().into_iter().map(|(path, text)| (name(path), text)).collect())
    }
}

fn one(text: &str, patch: Value) -> String {
    let mut changed = Dir::with(&[("main", text)]).merge("", patch).unwrap();
    changed.pop().map_or_else(|| text.to_owned(), |(_, text)| text)
}

#[test]
fn a_patch_changes_what_it_names_and_keeps_comments_and_references() {
    let text = "// mine\n{\n  a: { token: \"${T}\", n: 1 }, // here\n  l: [1, 2],\n}\n";
    let wanted = "// mine\n{\n  a: { token: \"${T}\" , m: { k: true } }, // here\n  l: [3],\n  z: \"x\",\n}\n";
    let patched = one(text, json!({ "a": { "n": null, "m": { "k": true, "gone": null } }, "l": [3], "z": "x", "none": null }));
    let read = |text: &str| json5::from_str::<Value>(text).unwrap();
    assert_eq!(read(&patched), read(wanted));
    assert!(
        patched.starts_with("// mine\n{\n  a: { token: \"${T}\"") && patched.contains("}, // here\n  l: [3],\n  z: \"x\",\n}\n"),
        "{patched}"
    );
    assert_eq!(one(text, json!({ "a": { "n": 1.0 }, "l": [1, 2] })), text, "what is so already is not written again");
}

#[test]
fn a_value_of_an_included_file_is_changed_there() {
    let dir = Dir::with(&[
        ("main", "{ gateway: { $include: './gw' }, agents: { $include: './ag', x: 1 }, top: 1 }"),
        ("gw", "{ port: 1, // p\n auth: {} }"),
        ("ag", "{ x: 0, list: [ 1 ] }"),
    ]);
    assert_eq!(dir.merge("", json!({ "gateway": { "port": 2 } })).unwrap(), [("gw".to_owned(), "{ port: 2, // p\n auth: {} }".to_owned())]);
    assert_eq!(dir.merge("gateway.auth", json!({ "k": 1 })).unwrap()[0].1, "{ port: 1, // p\n auth: { k: 1 } }");
    assert_eq!(
        dir.merge("agents.x", json!(5)).unwrap()[0].1,
        "{ gateway: { $include: './gw' }, agents: { $include: './ag', x: 5 }, top: 1 }"
    );
    assert_eq!(dir.merge("agents.y", json!(5)).unwrap()[0].0, "main");
    assert_eq!(dir.merge("agents.list[0]", json!(7)).unwrap(), [("ag".to_owned(), "{ x: 0, list: [ 7 ] }".to_owned())]);
    assert_eq!(dir.merge("agents.list[1]", json!(8)).unwrap()[0].1, "{ x: 0, list: [ 1, 8 ] }");
    assert_eq!(dir.merge("agents.list[0]", Value::Null).unwrap()[0].1, "{ x: 0, list: [ ] }");
    assert_eq!(dir.merge("gateway", Value::Null).unwrap()[0].1, "{ agents: { $include: './ag', x: 1 }, top: 1 }");
}

#[test]
fn what_no_single_edit_can_do_is_refused_with_the_way_out() {
    let dir = Dir::with(&[
        ("main", "{ a: { $include: ['./one', './two'] }, b: { $include: './one' }, c: 1, d: { $include: './d', x: 1 } }"),
        ("one", "{ l: [1], s: 1 }"),
        ("two", "{ l: [2], t: 1 }"),
        ("d", "{ x: 2 }"),
    ]);
    let refusal = |at: &str, patch: Value| dir.merge(at, patch).unwrap_err();
    assert!(refusal("a.l", json!([3])).starts_with("a.l is put together from several files"), "{}", refusal("a.l", json!([3])));
    assert!(refusal("", json!({ "a": { "s": 2 } })).contains("included more than once"));
    assert!(refusal("", json!({ "c": 2, "a": { "t": 2 } })).contains("one key at a time"));
    assert!(refusal("d.x", Value::Null).contains("several files"));
    assert!(refusal("", json!({ "$include": "./x" })).contains("`$include`"));
    assert!(refusal("c.x.y", json!(1)).starts_with("c.x.y cannot be set"));
    assert!(refusal("a.l[5]", json!(1)).starts_with("a.l[5] cannot be set"));
}

#[test]
fn objects_on_the_way_to_a_new_key_are_made() {
    assert_eq!(
        one("{}", json!({ "gateway": { "auth": { "mode": "token" } } })),
        "{\n  gateway: {\n    auth: {\n      mode: \"token\"\n    }\n  }\n}"
    );
    let dir = Dir::with(&[("main", "{ a: 1 }")]);
    assert_eq!(dir.merge("x.y.z", json!(true)).unwrap()[0].1, "{ a: 1, x: {\n  y: {\n    z: true\n  }\n} }");
    assert!(dir.merge("x.y.z", Value::Null).unwrap().is_empty());
}

//! Edits of texts: what changes, and that nothing else does.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::key_path::KeyPath;

fn put(text: &str, path: &str, value: Value) -> String {
    replace(text, &KeyPath::parse(path).0, &value).unwrap()
}

fn add(text: &str, path: &str, key: &str, value: Value) -> String {
    insert(text, &KeyPath::parse(path).0, &KeyPath::parse(key).0[0], &value).unwrap()
}

fn take(text: &str, path: &str) -> String {
    remove(text, &KeyPath::parse(path).0).unwrap()
}

const TEXT: &str = "\
// head
{
  // the port
  port: 1, // one
  \"list\": [ 'x', { b: true } ], /* both */
  auth: {
    token: \"${T}\", // kept
    mode: 'token'
  },
}
";

#[test]
fn a_value_is_replaced_and_every_other_byte_stays() {
    assert_eq!(put(TEXT, "port", json!(2)), TEXT.replace("port: 1", "port: 2"));
    assert_eq!(put(TEXT, "list[1].b", json!("y")), TEXT.replace("b: true", "b: \"y\""));
    assert_eq!(
        put(TEXT, "auth", json!({ "mode": "password", "password": "x y" })),
        TEXT.replace("{\n    token: \"${T}\", // kept\n    mode: 'token'\n  }", "{\n    mode: \"password\",\n    password: \"x y\"\n  }")
    );
    assert_eq!(replace(TEXT, &KeyPath::parse("nope").0, &json!(1)), None);
}

#[test]
fn a_key_is_added_behind_the_last_one_in_the_manner_of_the_text() {
    assert_eq!(add(TEXT, "", "bind", json!("lan")), TEXT.replace("  },\n}", "  },\n  bind: \"lan\",\n}"));
    assert_eq!(add(TEXT, "auth", "a-b", json!(1)), TEXT.replace("mode: 'token'", "mode: 'token',\n    \"a-b\": 1"));
    assert_eq!(add("{ a: 1 }", "", "b", json!([1, "x"])), "{ a: 1, b: [1, \"x\"] }");
    assert_eq!(add("{ a: 1, }", "", "b", json!(2)), "{ a: 1, b: 2, }");
    assert_eq!(
        add("{\"a\": 1}", "", "b", json!({ "c": [{ "d": null }] })),
        "{\"a\": 1, \"b\": {\n  \"c\": [\n    {\n      \"d\": null\n    }\n  ]\n}}"
    );
    assert_eq!(add("{\n  a: 1 // one\n}", "", "b", json!(2)), "{\n  a: 1, // one\n  b: 2\n}");
    assert_eq!(add("{\n  a: 1\n  , // one\n}", "", "b", json!(2)), "{\n  a: 1\n  , // one\n  b: 2,\n}");
    assert_eq!(add("{\r\n  a: 1\r\n}", "", "b", json!(2)), "{\r\n  a: 1,\r\n  b: 2\r\n}");
    assert_eq!(add("{ l: [1] }", "l", "[1]", json!(2)), "{ l: [1, 2] }");
}

#[test]
fn the_first_key_of_an_empty_object_is_added_too() {
    assert_eq!(add("{}", "", "a", json!(1)), "{\n  a: 1\n}");
    assert_eq!(add("{\n  a: {},\n}", "a", "b", json!(1)), "{\n  a: { b: 1 },\n}");
    assert_eq!(add("{\n  a: {\n    // nothing yet\n  },\n}", "a", "b", json!(1)), "{\n  a: {\n    // nothing yet\n    b: 1\n  },\n}");
    assert_eq!(add("{\n  l: []\n}", "l", "[0]", json!("x")), "{\n  l: [ \"x\" ]\n}");
}

#[test]
fn a_key_is_taken_out_with_its_comma_its_line_and_its_comment() {
    assert_eq!(take(TEXT, "port"), TEXT.replace("  port: 1, // one\n", ""));
    assert_eq!(take(TEXT, "auth.mode"), TEXT.replace("\"${T}\", // kept\n    mode: 'token'\n", "\"${T}\" // kept\n"));
    assert_eq!(take(TEXT, "list[0]"), TEXT.replace("'x', ", ""));
    assert_eq!(take(TEXT, "list[1]"), TEXT.replace(", { b: true }", ""));
    assert_eq!(take("{ a: 1, b: 2 }", "a"), "{ b: 2 }");
    assert_eq!(take("{ a: 1, b: 2 }", "b"), "{ a: 1 }");
    assert_eq!(take("{ a: 1 }", "a"), "{ }");
    assert_eq!(take("{\n  a: {\n    x: 1,\n  },\n  b: 2,\n}", "a"), "{\n  b: 2,\n}");
    assert_eq!(remove(TEXT, &KeyPath::parse("list[2]").0), None);
}

/// Values of a few keys, so that edits meet.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z'\"\\\\/ é]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c$]{1,2}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A text of the value with all the freedom that JSON5 gives.
fn spelt(value: &Value, noise: &mut impl Iterator<Item = u8>) -> String {
    let space = |n: u8| ["", " ", "\n  ", " // c, }\n", "/* ]: */", "\t"][usize::from(n) % 6].to_owned();
    let gap = |noise: &mut dyn Iterator<Item = u8>| space(noise.next().unwrap_or(0));
    match value {
        Value::Object(object) => {
            let mut text = format!("{{{}", gap(noise));
            for (n, (key, inner)) in object.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let key = if noise.next().unwrap_or(0) < 128 { key.clone() } else { format!("'{key}'") };
                text += &format!("{comma}{}{key}{}:{}", gap(noise), gap(noise), gap(noise));
                text += &spelt(inner, noise);
                text += &gap(noise);
            }
            text + if noise.next().unwrap_or(0) < 128 && !object.is_empty() { ",}" } else { "}" }
        }
        Value::Array(items) => {
            let mut text = "[".to_owned();
            for (n, inner) in items.iter().enumerate() {
                text += if n == 0 { "" } else { "," };
                text += &gap(noise);
                text += &spelt(inner, noise);
                text += &gap(noise);
            }
            text + "]"
        }
        other => other.to_string(),
    }
}

fn read(text: &str) -> Value {
    json5::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every path of a value.
fn paths(value: &Value, here: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    all.push(here.clone());
    let below: Vec<(Step, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, inner)| (Step::Key(key.clone()), inner)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, inner)| (Step::Index(index), inner)).collect(),
        _ => Vec::new(),
    };
    for (step, inner) in below {
        here.push(step);
        paths(inner, here, all);
        here.pop();
    }
}

fn at<'v>(root: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(root, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

proptest! {
    /// Whatever the text looks like, an edit of it says the same as the edit of its value.
    #[test]
    fn an_edit_of_the_text_is_the_edit_of_the_value(value in values(), new in values(), noise in prop::collection::vec(any::<u8>(), 0..200), pick in any::<prop::sample::Index>()) {
        let text = spelt(&value, &mut noise.into_iter());
        prop_assert_eq!(read(&text), value.clone());
        let mut all = Vec::new();
        paths(&value, &mut Vec::new(), &mut all);
        let path = pick.get(&all);
        let mut wanted = value.clone();
        *at(&mut wanted, path) = new.clone();
        prop_assert_eq!(read(&replace(&text, path, &new).unwrap()), wanted);
        match at(&mut value.clone(), path) {
            Value::Object(_) => {
                let mut wanted = value.clone();
                at(&mut wanted, path)["zz"] = new.clone();
                prop_assert_eq!(read(&insert(&text, path, &Step::Key("zz".to_owned()), &new).unwrap()), wanted);
            }
            Value::Array(items) => {
                let mut wanted = value.clone();
                at(&mut wanted, path).as_array_mut().unwrap().push(new.clone());
                prop_assert_eq!(read(&insert(&text, path, &Step::Index(items.len()), &new).unwrap()), wanted);
            }
            _ => {}
        }
        if let Some((last, parents)) = path.split_last() {
            let mut wanted = value.clone();
            match (at(&mut wanted, parents), last) {
                (Value::Object(object), Step::Key(key)) => drop(object.shift_remove(key)),
                (Value::Array(items), Step::Index(index)) => drop(items.remove(*index)),
                _ => unreachable!(),
            }
            prop_assert_eq!(read(&remove(&text, path).unwrap()), wanted);
        }
    }
}

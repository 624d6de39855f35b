//! The protocol as one JSON Schema document: what `schema/protocol.schema.json` holds, derived from METHODS, EVENTS and the types of the wire.
//!
//! Every method's schemas are complete in themselves. Here their definitions are laid together: equal ones become one, and of two different ones with the same name the later takes its owner's name in front. Parameters are described as the server accepts them, results and events as it sends them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::method::{bound_integers, output_schema, params_schema};
use super::methods::METHODS;
use crate::protocol::codes::{CLOSE_CODES, DETAIL_CODES};
use crate::protocol::connect::{ConnectParams, HelloOk, PROTOCOLS};
use crate::protocol::error::RpcError;
use crate::protocol::event::EVENTS;
use crate::protocol::frame::{MAX_ID, MAX_METHOD, StateVersion};

/// Where definitions stand.
const DEFS: &str = "#/$defs/";

/// The text of `schema/protocol.schema.json`.
#[must_use]
pub fn protocol_schema() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The text of `schema/params.json`: the parameters of each method, one line each.
#[must_use]
pub fn params_text() -> String {
    let rows = METHODS.iter().map(|entry| (entry.name, (entry.params)()));
    let all = std::iter::once(("connect", params_schema::<ConnectParams>(false))).chain(rows);
    let lines: Vec<String> = all.map(|(name, params)| format!("{}: {params}", json!(name))).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut defs = Defs::default();
    let error = defs.adopt("Error", output_schema::<RpcError>());
    defs.adopt("StateVersion", output_schema::<StateVersion>());
    let frames = frames(&mut defs, &error);
    let methods = methods(&mut defs);
    let events = events(&mut defs);
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:skykoi-gateway:protocol",
        "title": "SkyKoi Gateway protocol",
        "description": "One frame of the protocol. `x-methods` and `x-events` say what stands in `params` and `payload`.",
        "oneOf": frames,
        "x-protocol": { "min": PROTOCOLS.0, "max": PROTOCOLS.1 },
        "x-methods": methods,
        "x-events": events,
        "x-errors": errors(&defs),
        "x-close": CLOSE_CODES.iter().map(|close| json!({ "code": close.code, "reason": close.reason, "description": close.meaning })).collect::<Vec<_>>(),
        "$defs": defs.all.into_iter().collect::<Map<_, _>>(),
    });
    plain_links(&mut document);
    document
}

/// The definitions so far, by name. As they were derived in `raw`, for comparison; ready for the document in `all`.
#[derive(Default)]
struct Defs {
    raw: BTreeMap<String, Value>,
    all: BTreeMap<String, Value>,
}

impl Defs {
    /// Takes in a schema under `name`, and its definitions under theirs. Returns the reference to it.
    fn adopt(&mut self, name: &str, mut root: Value) -> Value {
        let (inner, title) = match root.as_object_mut() {
            None => (None, None),
            Some(object) => {
                object.shift_remove("$schema");
                (object.shift_remove("$defs"), object.shift_remove("title"))
            }
        };
        let inner = match inner {
            Some(Value::Object(inner)) => inner,
            _ => Map::new(),
        };
        let renames = self.adopt_inner(name, inner);
        // The type may be known already, because another one holds it.
        let own = title.as_ref().and_then(Value::as_str).filter(|own| self.raw.get(*own) == Some(&root));
        if let Some(own) = own {
            return if own == name { reference(own) } else { self.alias(name, &reference(own)) };
        }
        self.raw.insert(name.to_owned(), root.clone());
        redirect(&mut root, &renames);
        self.all.insert(name.to_owned(), root);
        reference(name)
    }

    fn alias(&mut self, name: &str, to: &Value) -> Value {
        self.all.insert(name.to_owned(), to.clone());
        reference(name)
    }

    /// Takes in definitions of `owner`. Returns what some of them are called now.
    fn adopt_inner(&mut self, owner: &str, inner: Map<String, Value>) -> BTreeMap<String, String> {
        let mut renamed: BTreeSet<&String> =
            inner.iter().filter(|(name, body)| self.raw.get(*name).is_some_and(|known| known != *body)).map(|(name, _)| name).collect();
        // What refers to something renamed is something else too, though it reads the same.
        loop {
            let more: Vec<_> = inner.iter().filter(|(name, body)| !renamed.contains(name) && refers_to(body, &renamed)).collect();
            if more.is_empty() {
                break;
            }
            renamed.extend(more.into_iter().map(|(name, _)| name));
        }
        let renames: BTreeMap<String, String> = renamed.into_iter().map(|name| (name.clone(), format!("{owner}{name}"))).collect();
        for (name, mut body) in inner {
            let name = renames.get(&name).cloned().unwrap_or(name);
            self.raw.entry(name.clone()).or_insert_with(|| body.clone());
            redirect(&mut body, &renames);
            if let Some(object) = body.as_object_mut() {
                object.shift_remove("title");
            }
            self.all.entry(name).or_insert(body);
        }
        renames
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{DEFS}{name}") })
}

fn refers_to(schema: &Value, names: &BTreeSet<&String>) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| match value {
            Value::String(to) if key == "$ref" => to.strip_prefix(DEFS).is_some_and(|to| names.contains(&to.to_owned())),
            inner => refers_to(inner, names),
        }),
        Value::Array(items) => items.iter().any(|item| refers_to(item, names)),
        _ => false,
    }
}

fn redirect(schema: &mut Value, renames: &BTreeMap<String, String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(to) if key == "$ref" => {
                        if let Some(new) = to.strip_prefix(DEFS).and_then(|to| renames.get(to)) {
                            *to = format!("{DEFS}{new}");
                        }
                    }
                    inner => redirect(inner, renames),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, renames)),
        _ => {}
    }
}

/// The three kinds of frames. They are read and written by hand in `protocol/frame.rs`, so their schema stands here by hand too, and a test holds the two together.
fn frames(defs: &mut Defs, error: &Value) -> Vec<Value> {
    let id = json!({ "type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$", "description": "Chosen by the client; the answers carry it." });
    let any_id = json!({ "type": "string", "description": "Id of the request; `invalid` when it had none that can be used." });
    let request = json!({
        "description": "A request. The client sends it, and the server answers with a response of the same id; `agent` is answered twice.",
        "type": "object",
        "properties": {
            "type": { "const": "req" },
            "id": id,
            "method": { "type": "string", "minLength": 1, "maxLength": MAX_METHOD, "description": "One of `x-methods`." },
            "params": { "description": "As `x-methods` says; absent and null mean `{}`." },
            "traceparent": { "description": "Trace of the request (protocol 4); ignored." },
            "expectedProfileId": { "description": "Exists for clients of protocol 4; ignored." },
        },
        "required": ["type", "id", "method"],
        "additionalProperties": false,
    });
    let response = json!({
        "description": "An answer. `payload` stands beside `error` when a run was served that did not succeed.",
        "type": "object",
        "properties": {
            "type": { "const": "res" },
            "id": any_id,
            "ok": { "type": "boolean", "description": "Whether the request was served; false = see `error`." },
            "payload": { "description": "The method's result." },
            "error": error,
        },
        "required": ["type", "id", "ok"],
        "oneOf": [
            { "properties": { "ok": { "const": true } }, "required": ["payload"], "not": { "required": ["error"] } },
            { "properties": { "ok": { "const": false } }, "required": ["error"] },
        ],
        "additionalProperties": false,
    });
    let event = json!({
        "description": "Something that happened. `seq` counts the events of the connection from 1; a jump means that events were dropped.",
        "type": "object",
        "properties": {
            "type": { "const": "event" },
            "event": { "type": "string", "description": "One of `x-events`." },
            "payload": { "description": "As `x-events` says." },
            "seq": { "type": "integer", "minimum": 1, "description": "Absent on `connect.challenge`." },
            "stateVersion": reference("StateVersion"),
        },
        "required": ["type", "event", "payload"],
        "additionalProperties": false,
    });
    let named = [("RequestFrame", request), ("ResponseFrame", response), ("EventFrame", event)];
    named.into_iter().map(|(name, frame)| defs.adopt(name, frame)).collect()
}

fn methods(defs: &mut Defs) -> Value {
    let mut methods = Map::new();
    let mut add = |name: &str, scope: Option<&str>, (rate, effect): (&str, &str), params: Value, output: Value| {
        let description = params.get("description").cloned().unwrap_or_default();
        let base = pascal(name);
        let codes = |code: &&crate::protocol::codes::DetailCode| code.methods.contains(&name);
        let row = json!({
            "description": description,
            "scope": scope,
            "rate": rate,
            "effect": effect,
            "params": defs.adopt(&format!("{base}Params"), params),
            "result": defs.adopt(&format!("{base}Result"), output),
            "errors": DETAIL_CODES.iter().filter(codes).map(|code| code.name).collect::<Vec<_>>(),
        });
        methods.insert(name.to_owned(), row);
    };
    add("connect", None, ("read", "reads"), params_schema::<ConnectParams>(false), output_schema::<HelloOk>());
    for entry in METHODS {
        add(entry.name, Some(entry.scope.name()), (entry.rate.name(), entry.effect.name()), (entry.params)(), (entry.output)());
    }
    methods.into()
}

fn events(defs: &mut Defs) -> Value {
    let mut events = Map::new();
    for event in EVENTS {
        let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut payload = (event.payload)(&mut generator).to_value();
        let mut inner = generator.take_definitions(true);
        inner.values_mut().for_each(bound_integers);
        let renames = defs.adopt_inner(&pascal(event.name), inner);
        redirect(&mut payload, &renames);
        let row = json!({
            "description": event.summary,
            "scope": event.scope.map(crate::protocol::scope::Scope::name),
            "class": event.class.name(),
            "payload": payload,
        });
        events.insert(event.name.to_owned(), row);
    }
    events.into()
}

fn errors(defs: &Defs) -> Value {
    let branches = defs.all.get("ErrorCode").and_then(|code| code.get("oneOf")).and_then(Value::as_array);
    let codes: Map<String, Value> = branches
        .into_iter()
        .flatten()
        .filter_map(|branch| Some((branch.get("const")?.as_str()?.to_owned(), branch.get("description")?.clone())))
        .collect();
    let details: Map<String, Value> = DETAIL_CODES.iter().map(|code| (code.name.to_owned(), code.meaning.into())).collect();
    json!({ "codes": codes, "details": details })
}

/// `agent.identity.get` → `AgentIdentityGet`.
fn pascal(name: &str) -> String {
    let words = name.split(['.', '-', '_']);
    words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<Vec<_>>()
        })
        .collect()
}

/// Doc comments link to types; readers of the schema see the bare name.
fn plain_links(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace("[`", "`").replace("`]", "`"),
                    inner => plain_links(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_links),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame;

    fn frame_is_valid(bytes: &[u8]) -> bool {
        let validator = jsonschema::draft202012::new(&document()).unwrap();
        validator.is_valid(&serde_json::from_slice(bytes).unwrap())
    }

    #[test]
    fn written_frames_are_of_the_schema_and_others_are_not() {
        assert!(frame_is_valid(&frame::res_ok("1", b"{}")));
        assert!(frame_is_valid(&frame::res_error("1", &RpcError::invalid("no").with_code("INVALID_PARAMS"))));
        let mut event = frame::event_start("tick", &json!({ "ts": 1 }));
        frame::event_end(Some(1), Some(StateVersion::default()), &mut event);
        assert!(frame_is_valid(&event));
        assert!(frame_is_valid(br#"{"type":"req","id":"1","method":"health"}"#));
        for wrong in [
            r#"{"type":"req","id":"","method":"health"}"#,
            r#"{"type":"req","id":"1","method":"health","x":1}"#,
            r#"{"type":"res","id":"1","ok":false,"payload":{}}"#,
            r#"{"type":"res","id":"1","ok":true}"#,
            r#"{"type":"event","event":"tick"}"#,
            "[]",
        ] {
            assert!(!frame_is_valid(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn look(value: &Value, defs: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(to)) = object.get("$ref") {
                        assert!(defs.get(to.strip_prefix(DEFS).unwrap()).is_some(), "{to}");
                    }
                    object.values().for_each(|inner| look(inner, defs));
                }
                Value::Array(items) => items.iter().for_each(|inner| look(inner, defs)),
                _ => {}
            }
        }
        let document = document();
        look(&document, &document["$defs"]);
    }

    #[test]
    fn every_method_and_event_is_there_with_a_description() {
        let document = document();
        let names = METHODS.iter().map(|entry| entry.name).chain(["connect"]);
        for name in names {
            let method = &document["x-methods"][name];
            assert!(method["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {method}");
            for part in ["params", "result"] {
                assert!(method[part]["$ref"].as_str().is_some(), "{name}.{part}");
            }
        }
        for event in EVENTS {
            assert!(document["x-events"][event.name]["payload"]["$ref"].as_str().is_some(), "{}", event.name);
        }
    }

    #[test]
    fn of_two_types_with_one_name_both_stay() {
        let mut defs = Defs::default();
        let root = |kind: &str| json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/Outer" } }, "$defs": { "Inner": { "type": kind }, "Outer": { "items": { "$ref": "#/$defs/Inner" } } } });
        defs.adopt("First", root("string"));
        defs.adopt("Second", root("integer"));
        defs.adopt("Third", root("string"));
        assert_eq!(defs.all["Inner"]["type"], "string");
        assert_eq!(defs.all["SecondInner"]["type"], "integer");
        assert_eq!(defs.all["SecondOuter"]["items"]["$ref"], "#/$defs/SecondInner");
        assert_eq!(defs.all["Second"]["properties"]["a"]["$ref"], "#/$defs/SecondOuter");
        assert_eq!(defs.all["Third"]["properties"]["a"]["$ref"], "#/$defs/Outer");
        assert!(!defs.all.contains_key("ThirdInner"));
    }

    #[test]
    fn names_of_methods_become_names_of_types() {
        assert_eq!(pascal("agent.identity.get"), "AgentIdentityGet");
        assert_eq!(pascal("system-presence"), "SystemPresence");
    }
}

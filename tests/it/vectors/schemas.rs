//! The schemas that the server announces, compiled, to check every frame of the vectors against.

use std::collections::HashMap;

use jsonschema::Validator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use skykoi_gateway::protocol::connect::HelloOk;
use skykoi_gateway::protocol::error::RpcError;
use skykoi_gateway::protocol::event::EVENTS;
use skykoi_gateway::rpc::methods::METHODS;

/// Every schema of the wire.
pub struct Schemas {
    outputs: HashMap<&'static str, Validator>,
    events: HashMap<&'static str, Validator>,
    error: Validator,
}

impl Schemas {
    /// Compiles them.
    pub fn new() -> Self {
        let mut outputs: HashMap<_, _> = METHODS.iter().map(|entry| (entry.name, compile(&(entry.output)()))).collect();
        outputs.insert("connect", compile(&of(schemars::SchemaGenerator::subschema_for::<HelloOk>)));
        let events = EVENTS.iter().map(|event| (event.name, compile(&of(event.payload)))).collect();
        Self { outputs, events, error: compile(&of(schemars::SchemaGenerator::subschema_for::<RpcError>)) }
    }

    /// Checks a frame; `method` is the method that a `res` answers, if it is known.
    pub fn check(&self, frame: &Value, method: Option<&str>) {
        let keys: Vec<&str> = frame.as_object().unwrap().keys().map(String::as_str).collect();
        if frame["type"] == "event" {
            let known = ["type", "event", "payload", "seq", "stateVersion"];
            assert!(keys.iter().all(|key| known.contains(key)), "{frame}");
            let name = frame["event"].as_str().unwrap();
            return valid(self.events.get(name).unwrap_or_else(|| panic!("{name} is not in the list of events")), &frame["payload"], frame);
        }
        assert_eq!(frame["type"], "res", "{frame}");
        assert!(keys.iter().all(|key| ["type", "id", "ok", "payload", "error"].contains(key)), "{frame}");
        assert_eq!(frame["ok"] == true, frame.get("error").is_none(), "{frame}");
        if let Some(error) = frame.get("error") {
            valid(&self.error, error, frame);
        }
        if let (Some(payload), Some(output)) = (frame.get("payload"), method.and_then(|method| self.outputs.get(method))) {
            valid(output, payload, frame);
        }
    }
}

fn of(schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema) -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut root = schema(&mut generator).to_value();
    root["$defs"] = json!(generator.take_definitions(true));
    root
}

fn compile(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

fn valid(schema: &Validator, value: &Value, frame: &Value) {
    let problems: Vec<String> = schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{problems:?} in {frame}");
}

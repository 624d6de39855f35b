//! The vectors of `tests/vectors`, played against a real gateway: over WebSocket and the local socket, on protocol 3 and 4.

mod schemas;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skykoi_gateway::cli::conformance::pattern::{Vars, matches};
use skykoi_gateway::config::include::hash_of;
use skykoi_gateway::protocol::event::EVENTS;
use skykoi_gateway::rpc::methods::METHODS;

use crate::harness::gateway::{TOKEN, merge};
use crate::harness::{Client, Device, Gateway};
use crate::nginx::repository;
use schemas::Schemas;

/// Longest wait for a frame that a vector expects.
const PATIENCE: Duration = Duration::from_secs(30);
const TRANSPORTS: [&str; 2] = ["ws", "local"];

/// The vectors of one directory, by the name of their file.
fn files(dir: &str) -> Vec<(String, Value)> {
    let dir = repository().join("tests/vectors").join(dir);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn read(path: &Path) -> (String, Value) {
    let text = std::fs::read_to_string(path).unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path.file_stem().unwrap().to_str().unwrap().to_owned(), value)
}

fn gateway() -> Gateway {
    Gateway::with(&read(&repository().join("tests/vectors/gateway.json")).1)
}

/// Plays every case of a directory.
async fn play(dir: &str) {
    let schemas = Schemas::new();
    let gateway = gateway();
    for (name, file) in files(dir) {
        for case in file["cases"].as_array().unwrap_or_else(|| panic!("{dir}/{name}: no cases")) {
            play_case(&gateway, &schemas, &name, &file, case).await;
        }
    }
}

async fn play_case(gateway: &Gateway, schemas: &Schemas, name: &str, file: &Value, case: &Value) {
    let both = json!([3, 4]);
    let protocols = case.get("protocols").unwrap_or(&both).as_array().unwrap();
    for protocol in protocols {
        for transport in TRANSPORTS {
            if case.get("transport").is_some_and(|only| only != transport) || (file["stops"] == true && transport != "ws") {
                continue;
            }
            // The name and the variables are new each time, so that cases do not see each other's runs.
            let key = format!("k-{}", uuid::Uuid::new_v4().simple());
            let case: Value = serde_json::from_str(&case.to_string().replace("{{key}}", &key).replace("{{token}}", TOKEN)).unwrap();
            let what = format!("{name}: {} [{transport}, protocol {protocol}]", case["name"]);
            // A case that stops the gateway has one of its own.
            let own = (file["stops"] == true).then(self::gateway);
            let mut player = Player::open(own.as_ref().unwrap_or(gateway), schemas, transport, what).await;
            if file["connected"] != false {
                player.connect(protocol, case.get("as")).await;
            }
            player.steps(&case).await;
        }
    }
}

/// Says where and how `value` does not match, if it does not.
fn mismatch(pattern: &Value, value: &Value) -> Option<String> {
    matches(pattern, Some(value), &mut Vars::new()).err().map(|mismatch| mismatch.to_string())
}

/// A new device asks to be paired, and is approved if it is to be. Gives its request and its id.
async fn ask_to_pair(gateway: &Gateway, approve: bool) -> (String, String) {
    let device = Device::random();
    let scopes = json!({ "scopes": ["operator.read", "operator.write"], "client": { "displayName": "Vector" } });
    let request = device.ask(gateway, &scopes).await;
    if approve {
        Client::local(gateway).await.ok("device.pair.approve", json!({ "requestId": request })).await;
    }
    (request, device.id)
}

struct Player<'a> {
    gateway: &'a Gateway,
    schemas: &'a Schemas,
    client: Client,
    local: bool,
    what: String,
    methods: HashMap<String, String>,
    frames: Vec<Value>,
    sent: String,
    /// The device that has asked last: its request and its id.
    device: (String, String),
}

impl<'a> Player<'a> {
    async fn open(gateway: &'a Gateway, schemas: &'a Schemas, transport: &str, what: String) -> Self {
        let local = transport == "local";
        let client = if local { Client::open_local(gateway).await } else { Client::open(gateway.port(), &[]).await };
        Self {
            gateway,
            schemas,
            client,
            local,
            what,
            methods: HashMap::new(),
            frames: Vec::new(),
            sent: String::new(),
            device: Default::default(),
        }
    }

    async fn connect(&mut self, protocol: &Value, differently: Option<&Value>) {
        let mut params = crate::harness::client::connect_params();
        merge(&mut params, &json!({ "minProtocol": protocol, "maxProtocol": protocol }));
        merge(&mut params, differently.unwrap_or(&json!({})));
        self.client.hello(params).await.unwrap_or_else(|res| panic!("{}: {res}", self.what));
        self.schemas.check(&json!({ "type": "res", "id": "c", "ok": true, "payload": self.client.hello }), Some("connect"));
        // Presence tells of this very connection; from here on it only tells of others.
        self.client.events.clear();
    }

    async fn steps(&mut self, case: &Value) {
        let one = json!([case]);
        for step in case.get("steps").unwrap_or(&one).as_array().unwrap() {
            self.client.runs.clear();
            if let Some(how) = step.get("device") {
                self.device = ask_to_pair(self.gateway, how == "paired").await;
            }
            if let Some(frame) = step.get("send") {
                let frame = &self.filled(frame);
                self.sent = frame["id"].as_str().unwrap_or_default().to_owned();
                self.methods.insert(self.sent.clone(), frame["method"].as_str().unwrap_or_default().to_owned());
                self.client.send(frame).await;
            }
            if let Some(text) = step.get("sendText") {
                self.client.send_text(text.as_str().unwrap()).await;
            }
            if step.get("stop").is_some() {
                self.gateway.signal(rustix::process::Signal::TERM);
            }
            let expected = step.get("expect").unwrap_or_else(|| panic!("{}: a step that expects nothing", self.what));
            match &self.filled(expected) {
                Value::Array(all) => {
                    for pattern in all {
                        self.expect(pattern).await;
                    }
                }
                one => self.expect(one).await,
            }
        }
    }

    /// The text with the hash that the configuration has at this moment, and the names of the device.
    fn filled(&self, frame: &Value) -> Value {
        let text = std::fs::read(self.gateway.config_path()).unwrap();
        let text = frame.to_string().replace("{{configHash}}", &hash_of(&text));
        serde_json::from_str(&text.replace("{{requestId}}", &self.device.0).replace("{{deviceId}}", &self.device.1)).unwrap()
    }

    async fn expect(&mut self, pattern: &Value) {
        let in_time = if pattern.get("close").is_some() {
            tokio::time::timeout(PATIENCE, self.expect_close(pattern)).await.is_ok()
        } else {
            tokio::time::timeout(PATIENCE, self.expect_frame(pattern)).await.is_ok()
        };
        assert!(in_time, "{}: {pattern} did not come; there were {:?}", self.what, self.frames);
    }

    async fn expect_close(&mut self, pattern: &Value) {
        let closed = self.client.until_closed().await;
        if !self.local {
            assert_eq!(closed.code.map(Value::from).as_ref(), pattern.get("close"), "{}", self.what);
            let wrong = pattern.get("reason").and_then(|reason| mismatch(reason, &json!(closed.reason)));
            assert_eq!(wrong, None, "{}", self.what);
        }
    }

    async fn expect_frame(&mut self, pattern: &Value) {
        let mut searched = 0;
        loop {
            while let Some(frame) = self.frames.get(searched) {
                if self.answers(pattern, frame) {
                    self.frames.remove(searched);
                    return;
                }
                searched += 1;
            }
            let frame = self.client.frame().await.unwrap_or_else(|closed| panic!("{}: {closed:?} before {pattern}", self.what));
            let method = frame["id"].as_str().and_then(|id| self.methods.get(id)).map(String::as_str);
            self.schemas.check(&frame, method);
            self.frames.push(frame);
        }
    }

    /// Whether this is the frame that the pattern means. An answer is meant by its id and must match; an event is meant only if it matches.
    fn answers(&self, pattern: &Value, frame: &Value) -> bool {
        if pattern["type"] == "res" {
            let id = pattern["id"].as_str().unwrap_or(&self.sent);
            if frame["type"] != "res" || frame["id"] != id {
                return false;
            }
            let wrong = mismatch(pattern, frame);
            assert_eq!(wrong, None, "{}: {frame}", self.what);
            return true;
        }
        mismatch(pattern, frame).is_none()
    }
}

#[tokio::test]
async fn methods_answer_as_their_vectors_say() {
    play("methods").await;
}

#[tokio::test]
async fn events_come_as_their_vectors_say() {
    play("events").await;
}

#[tokio::test]
async fn m30_m32_m33_m34_m35_m36_m37_m38_frames_are_judged_as_their_vectors_say() {
    play("frames").await;
}

#[tokio::test]
async fn m29_m31_m52_m53_m54_connect_is_judged_as_its_vectors_say() {
    play("connect").await;
}

/// Schemas of parameters and result, and in the reference a line of the table with a summary and a chapter with an example.
#[test]
fn every_method_and_event_has_a_schema_and_a_line_in_the_reference() {
    let file = |name: &str| std::fs::read_to_string(repository().join("schema").join(name)).unwrap();
    let (reference, schema, params) = (file("methods.md"), file("protocol.schema.json"), file("params.json"));
    let (schema, params): (Value, Value) = (serde_json::from_str(&schema).unwrap(), serde_json::from_str(&params).unwrap());
    let described = |schema: &Value| schema["description"].as_str().is_some_and(|text| text.len() > 10);
    let chapter = |title: String| {
        let found = reference.split("\n### ").find(|chapter| chapter.starts_with(&format!("{title}\n")));
        found.unwrap_or_else(|| panic!("{title} has no chapter in schema/methods.md")).to_owned()
    };
    for entry in METHODS {
        let known = &schema["x-methods"][entry.name];
        assert!(described(known) && known["params"].is_object() && known["result"].is_object(), "{}: {known}", entry.name);
        assert!(params[entry.name].is_object(), "{} has no schema that a release checks by", entry.name);
        let line = reference.lines().find(|line| line.starts_with(&format!("| [`{}`](", entry.name)));
        assert!(line.is_some_and(|line| line.ends_with(". |")), "{} has no line in the table: {line:?}", entry.name);
        let chapter = chapter(entry.name.to_owned());
        assert!(chapter.contains("\nScope: "), "{chapter}");
    }
    for event in EVENTS {
        let known = &schema["x-events"][event.name];
        assert!(described(known) && known["payload"].is_object(), "{}: {known}", event.name);
        assert!(chapter(format!("{} (event)", event.name)).len() > event.name.len() + 20, "{}", event.name);
    }
}

/// A good and a bad case for every method, and a file for every event; nothing else.
#[test]
fn every_method_and_event_has_vectors() {
    let named = |dir: &str| files(dir).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    assert_eq!(named("methods"), METHODS.iter().map(|entry| entry.name.to_owned()).collect());
    assert_eq!(named("events"), EVENTS.iter().map(|event| event.name.to_owned()).collect());
    for (name, file) in files("methods") {
        let text = file.to_string();
        assert!(text.contains("\"ok\":true") && text.contains("\"ok\":false"), "{name} needs a good and a bad case");
    }
}

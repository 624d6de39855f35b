//! What was recorded of real programs, told again to our side of the conversation, and what comes out, line by line.
//!
//! `tests/captures/<name>.jsonl` holds lines of a program (`<`) and what happened to the run meanwhile (`!`), `<name>.golden` what we said (`>`) and told. `GATEWAY_BLESS=1` writes the golden files anew; read them before you commit them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::approver::Decision;
use super::event::{Cause, Event, How};
use super::spec::{Kind, ProgramSpec};
use super::talk::{Talk, Turn, talk};

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// The spec of a capture, by its name.
fn spec(name: &str) -> ProgramSpec {
    let kind = Kind::ALL.into_iter().find(|kind| name.starts_with(kind.name())).unwrap();
    let mut spec = ProgramSpec::new(kind, vec![kind.name().to_owned()]);
    if name == "claude-session-lost" || name == "acp-claude-load" {
        spec.session = Some("e05fa742-11b9-43df-a234-7c6f60a3869b".to_owned());
    }
    spec
}

struct Replay {
    talk: Box<dyn Talk>,
    turn: Turn,
    said: Vec<Value>,
    asks: Vec<u64>,
    told: Vec<Event>,
    golden: String,
}

impl Replay {
    fn new(name: &str) -> Self {
        let talk = talk(&spec(name), "the prompt", "/home/user/ws");
        Self { talk, turn: Turn::default(), said: Vec::new(), asks: Vec::new(), told: Vec::new(), golden: String::new() }
    }

    /// Tells what came of the last step.
    fn settle(&mut self) {
        for line in self.turn.say.drain(..) {
            let mut shown = line.clone();
            if let Some(client) = shown.pointer_mut("/params/clientInfo") {
                *client = json!({});
            }
            self.golden.push_str(&format!("> {shown}\n"));
            self.said.push(line);
        }
        for (ask, question) in self.turn.ask.drain(..) {
            self.golden.push_str(&format!("? {} {:?} {:?}\n", question.tool, question.command, question.cwd));
            self.asks.push(ask);
        }
        if let Some(wait) = self.turn.wait.take() {
            self.golden.push_str(&format!("wait {} s\n", wait.as_secs()));
        }
        for event in self.turn.tale.take() {
            self.golden.push_str(&format!("{}\n", serde_json::to_string(&event).unwrap()));
            self.told.push(event);
        }
    }

    fn step(&mut self, line: &Value) {
        let message = &line["msg"];
        match (line["dir"].as_str().unwrap(), &message["decide"]) {
            ("<", _) => {
                // A program answers what it was asked, so what it answers must have been said.
                if let (Some(id), None) = (message.get("id"), message.get("method")) {
                    assert!(self.said.iter().any(|said| said.get("id") == Some(id)), "nobody asked for the answer {message}");
                }
                self.talk.heard(message.clone(), &mut self.turn);
            }
            (_, Value::String(word)) => {
                let ask = self.asks.remove(0);
                let decision = if word == "allow" { Decision::Allow } else { Decision::Deny { reason: word.clone() } };
                self.talk.decided(ask, decision, &mut self.turn);
            }
            _ if message.get("wait").is_some() => self.talk.waited(&mut self.turn),
            _ => {
                self.golden.push_str("! cancel\n");
                self.talk.cancel(&mut self.turn);
            }
        }
        self.settle();
    }
}

fn replay(name: &str) -> Replay {
    let text = fs::read_to_string(captures().join(format!("{name}.jsonl"))).unwrap();
    let mut replay = Replay::new(name);
    replay.talk.open(&mut replay.turn);
    replay.settle();
    for line in text.lines() {
        replay.step(&serde_json::from_str(line).unwrap());
    }
    replay
}

fn names() -> Vec<String> {
    let files = fs::read_dir(captures()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned)).collect();
    names.sort();
    names
}

fn end(replay: &Replay) -> (How, Option<Cause>, String) {
    let end = replay.turn.tale.end().expect("the turn has no end");
    (end.how, end.cause, end.message.clone())
}

/// The output of the only command, as it was told and as its result has it.
fn output(replay: &Replay) -> (Vec<(&str, bool)>, &str, Option<i32>) {
    let chunks = replay.told.iter().filter_map(|event| match event {
        Event::ToolOutput { text, first, .. } => Some((text.as_str(), *first)),
        _ => None,
    });
    let ends = replay.told.iter().filter_map(|event| match event {
        Event::ToolEnd { result, exit_code, .. } => Some((result.as_str(), *exit_code)),
        _ => None,
    });
    let ends: Vec<(&str, Option<i32>)> = ends.collect();
    let [(result, code)] = ends[..] else { panic!("{ends:?}") };
    (chunks.collect(), result, code)
}

#[test]
fn every_capture_gives_its_golden_events() {
    let names = names();
    assert!(names.len() > 30, "{}", names.len());
    for name in names {
        let golden = captures().join(format!("{name}.golden"));
        let replayed = replay(&name).golden;
        if std::env::var_os("GATEWAY_BLESS").is_some() {
            fs::write(&golden, &replayed).unwrap();
        }
        let want = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(replayed, want, "{name}");
    }
}

#[test]
fn every_capture_is_a_whole_conversation_with_one_end() {
    for name in names() {
        let replay = replay(&name);
        let events = &replay.told;
        assert!(matches!(events.last(), Some(Event::End(_))), "{name}");
        assert_eq!(events.iter().filter(|event| matches!(event, Event::End(_))).count(), 1, "{name}");
        let ids = |start: bool| {
            let of = |event: &Event| match event {
                Event::ToolStart { id, .. } if start => Some(id.clone()),
                Event::ToolEnd { id, .. } if !start => Some(id.clone()),
                _ => None,
            };
            events.iter().filter_map(of).collect::<Vec<String>>()
        };
        assert_eq!(ids(true), ids(false), "{name}: each call that starts ends once");
        let blocks =
            events.iter().filter_map(|event| if let Event::Message { message, .. } = event { Some(&message.content) } else { None });
        let (mut uses, mut results) = (Vec::new(), Vec::new());
        for block in blocks.flatten() {
            match block {
                crate::model::Block::ToolUse { id, .. } => uses.push(id.clone()),
                crate::model::Block::ToolResult { id, .. } => results.push(id.clone()),
                _ => {}
            }
        }
        assert_eq!((&uses, &results), (&ids(true), &ids(true)), "{name}: each call has one use and one result");
        let text: String =
            events.iter().filter_map(|event| if let Event::Text { delta } = event { Some(delta.as_str()) } else { None }).collect();
        let blocks =
            events.iter().filter_map(|event| if let Event::Message { message, .. } = event { Some(&message.content) } else { None });
        let whole: String = blocks
            .flatten()
            .filter_map(|block| if let crate::model::Block::Text { text } = block { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(text, whole, "{name}: the messages say what was streamed, once");
    }
}

#[test]
fn unknown_and_nonsensical_lines_change_nothing() {
    let nonsense = [
        json!({}),
        json!({ "type": "later", "x": [1] }),
        json!({ "method": "later/thing", "params": 5 }),
        json!({ "jsonrpc": "2.0", "id": 99, "result": null }),
        json!({ "type": "assistant", "message": "text" }),
        json!({ "type": "message_update" }),
        json!({ "type": "response", "command": 7 }),
        json!({ "method": "item/started", "params": { "item": 1 } }),
        json!({ "method": "session/update", "params": { "update": { "sessionUpdate": "tool_call" } } }),
    ];
    for kind in Kind::ALL {
        let mut replay = Replay::new(kind.name());
        replay.talk.open(&mut replay.turn);
        nonsense.iter().for_each(|line| replay.talk.heard(line.clone(), &mut replay.turn));
        replay.turn.say.clear();
        assert_eq!((replay.turn.tale.take(), replay.turn.tale.end()), (Vec::new(), None), "{kind:?}");
    }
}

mod traps;

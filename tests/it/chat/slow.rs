//! A reader that lags: it is spared the deltas that it missed and nothing else.

use serde_json::{Value, json};

use crate::harness::model::{ChatView, RunView, said};
use crate::harness::{Client, Gateway};
use crate::sockets::Raw;

/// More than the kernel takes for a reader that does not read.
const FLOOD: u64 = 16_000_000;
/// Words that are said while the reader does not read.
const WORDS: usize = 6;

/// A script that says a word, and the next one each time it may.
fn talker() -> String {
    let word = |n: usize| format!("until [ -e go-{n} ]; do sleep 0.01; done; echo word {n}; ");
    format!("echo begun; {}until [ -e go-end ]; do sleep 0.01; done; echo end", (1..=WORDS).map(word).collect::<String>())
}

/// What a raw reader was told.
#[derive(Default)]
struct Told {
    runs: std::collections::HashMap<String, RunView>,
    chat: ChatView,
    replaced: usize,
    answers: Vec<String>,
}

impl Told {
    /// Reads the next frame; the views check what must always hold.
    async fn next(&mut self, raw: &mut Raw) {
        let frame = raw.next_json().await.unwrap_or_else(|end| panic!("closed: {end:?}"));
        let payload = &frame["payload"];
        match frame["event"].as_str() {
            Some("agent") => self.runs.entry(payload["runId"].as_str().unwrap().to_owned()).or_default().take(payload),
            Some("chat") if payload["runId"] == "talk" => {
                self.replaced += usize::from(payload["replace"] == true);
                let ended = self.runs.get("talk").is_some_and(|run| run.terminal().is_some());
                self.chat.take(payload, ended);
            }
            Some(_) => {}
            None => self.answers.push(frame["id"].as_str().unwrap().to_owned()),
        }
    }

    async fn until(&mut self, raw: &mut Raw, there: impl Fn(&Self) -> bool) {
        while !there(self) {
            self.next(raw).await;
        }
    }
}

#[tokio::test]
async fn m101_a_reader_that_lags_is_given_the_newest_delta_for_those_it_missed_and_every_event_and_answer() {
    // How long it does not read depends on the machine, and is not what this is about.
    let gateway = Gateway::with(&json!({ "gateway": { "limits": { "writeTimeoutMs": 600_000 } } }));
    let mut client = Client::connect(&gateway).await;
    let (mut raw, mut told) = (Raw::connected(&gateway).await, Told::default());
    rustix::net::sockopt::set_socket_recv_buffer_size(&raw.stream, 16 * 1024).unwrap();
    client.ok("chat.send", json!({ "sessionKey": "s", "message": talker(), "idempotencyKey": "talk" })).await;
    told.until(&mut raw, |told| told.chat.text == "begun").await;
    client.until("the beginning", |client| client.chats.get("talk").is_some_and(|chat| chat.text == "begun")).await;
    // From here on the slow one does not read, and this is more than fits between it and the gateway.
    let script = format!("yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {FLOOD}");
    let (id, _) = client.agent(json!({ "message": script, "idempotencyKey": "flood", "sessionKey": "other" })).await;
    assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    raw.ask("asked", "health", json!({})).await;
    for n in 1..=WORDS {
        std::fs::write(gateway.state_dir().join(format!("work/go-{n}")), "").unwrap();
        let word = format!("word {n}");
        client.until(&word, |client| client.chats["talk"].text.ends_with(&word)).await;
    }
    let quick = client.chats["talk"].clone();
    assert_eq!(quick.deltas, WORDS + 1, "who reads gets each");
    // It reads again: one delta stands for those that it missed, and nothing else is left out. On its way to it may be what was said before the kernel had enough.
    told.until(&mut raw, |told| told.chat.text == quick.text).await;
    assert!(
        (2..quick.deltas).contains(&told.chat.deltas) && told.replaced >= 1,
        "{} deltas, {} in place of others",
        told.chat.deltas,
        told.replaced
    );
    std::fs::write(gateway.state_dir().join("work/go-end"), "").unwrap();
    let last = client.until_said("talk").await;
    told.until(&mut raw, |told| told.chat.last.is_some() && told.runs.get("flood").is_some_and(|run| run.terminal().is_some())).await;
    told.until(&mut raw, |told| told.answers == ["asked"]).await;
    assert_eq!(told.chat.last.as_ref().map(said), Some(said(&last)));
    for run in ["talk", "flood"] {
        let known = |view: &RunView| -> Vec<Value> { view.events.values().filter(|event| event["stream"] != "tool").cloned().collect() };
        assert_eq!(known(&told.runs[run]), known(&client.runs[run]), "{run}");
    }
    assert_eq!(told.runs["flood"].text().len() as u64, FLOOD);
}

//! Chats on a real gateway: what is sent, how it waits, what is said, and what is left in the transcript. The client checks of every chat that its text only grows and that there is one last event, behind the run's own.

mod commands;
mod ends;
mod queue;
mod restarts;
mod slow;
mod talk;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};

/// A gateway whose chats wait 50 ms for more, with `queue` merged into its rules.
fn gateway(queue: &Value) -> Gateway {
    let mut rules = json!({ "debounceMs": 50 });
    crate::harness::gateway::merge(&mut rules, queue);
    Gateway::with(&json!({ "messages": { "queue": rules } }))
}

/// A script that notes its name, then waits until [`go`] is called with it, and says it again.
fn held(name: &str) -> String {
    format!("echo {name} >> ran; while [ ! -e go-{name} ]; do sleep 0.01; done; echo {name} done")
}

/// A script that notes and says its name.
fn quick(name: &str) -> String {
    format!("echo {name} >> ran; echo {name} done")
}

/// Lets a held script end.
fn go(gateway: &Gateway, name: &str) {
    let work = gateway.state_dir().join("work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join(format!("go-{name}")), "").unwrap();
}

/// The names of the scripts that were executed, in order.
fn ran(gateway: &Gateway) -> Vec<String> {
    let text = std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until_ran(gateway: &Gateway, names: &[&str]) {
    crate::shim::until(&format!("{names:?} ran"), || ran(gateway) == names).await;
}

/// Sends a message under a key, which is also its name, to the session `s`; gives the answer.
async fn send(client: &mut Client, key: &str, message: &str) -> Value {
    client.ok("chat.send", json!({ "sessionKey": "s", "message": message, "idempotencyKey": key })).await
}

/// The messages of the one transcript of agent `main`.
fn transcript(gateway: &Gateway) -> Vec<Value> {
    let folder = gateway.state_dir().join("agents/main/sessions");
    let files: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() <= 1, "{files:?}");
    let text = files.first().map(|file| std::fs::read_to_string(file).unwrap()).unwrap_or_default();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut parent = Value::Null;
    for line in lines.iter().filter(|line| line["type"] != "session") {
        assert_eq!(line["parentId"], parent, "{line}");
        parent = line["id"].clone();
    }
    lines.into_iter().filter(|line| line["type"] == "message").map(|line| line["message"].clone()).collect()
}

/// Roles and texts of a transcript; calls of tools without a text.
fn spoken(messages: &[Value]) -> Vec<(String, String)> {
    let text = |message: &Value| {
        let blocks = message["content"].as_array().unwrap();
        blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("|")
    };
    messages.iter().map(|message| (message["role"].as_str().unwrap().to_owned(), text(message))).collect()
}

/// What the user and the assistant said, without the tools.
fn dialogue(gateway: &Gateway) -> Vec<String> {
    let messages = transcript(gateway);
    let plain = messages
        .iter()
        .filter(|message| message["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "text")));
    let spoken = spoken(&plain.cloned().collect::<Vec<_>>());
    spoken.into_iter().filter(|(role, _)| role != "toolResult").map(|(role, text)| format!("{role}: {text}")).collect()
}

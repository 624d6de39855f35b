//! What a client was told about a run, and what must hold whenever it is told more.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a client was told about a run on one connection.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    /// The payloads of its events, by seq.
    pub events: BTreeMap<u64, Value>,
    /// The last seq without a hole behind it, from where the connection began.
    pub last: u64,
    /// The seq after which this connection has asked for events, if it has.
    pub after: Option<u64>,
}

impl RunView {
    /// Takes an event in. It must come once, behind one that is known, and never at or below the place that was asked for.
    /// The first may come from anywhere: a run at work is told live until the subscription is served, which then goes back for the rest.
    pub fn take(&mut self, payload: &Value) {
        let seq = payload["seq"].as_u64().unwrap();
        let first = self.events.is_empty();
        // Who did not start the run is not told of its tools before the subscription is served, and then what lacks comes: of the call, which is its second event, and of the result, its last but one.
        let known = self.events.range(..seq).next_back().map_or(0, |(known, _)| *known);
        let of_a_tool = |lacking: u64| lacking == 2 || (lacking == seq - 1 && is_terminal(payload));
        let lacks_tool = (known + 1..seq).all(of_a_tool);
        assert!(
            first || seq == self.last + 1 || self.events.contains_key(&(seq - 1)) || lacks_tool,
            "seq {seq} of a run came after {}: {payload}",
            self.last
        );
        assert!(self.after.is_none_or(|after| seq > after), "seq {seq} came, but {:?} was asked for: {payload}", self.after);
        let known = self.events.insert(seq, payload.clone());
        assert!(known.is_none(), "event delivered twice: {payload}");
        if first && self.after.is_none() {
            self.last = seq - 1;
        }
        self.advance();
    }

    /// The connection asks for everything above `after`.
    pub fn subscribe(&mut self, after: u64) {
        self.after = Some(after);
        if !self.events.contains_key(&(after + 1)) {
            self.last = after;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.events.contains_key(&(self.last + 1)) {
            self.last += 1;
        }
    }

    /// Everything the run printed, both pipes in order of arrival.
    pub fn text(&self) -> String {
        self.events.values().filter(|event| event["stream"] == "exec").filter_map(|event| event["text"].as_str()).collect()
    }

    /// The terminal event, if it came.
    pub fn terminal(&self) -> Option<&Value> {
        self.events.values().find(|event| is_terminal(event))
    }
}

/// Whether this payload of an `agent` event is a run's last.
pub fn is_terminal(event: &Value) -> bool {
    event["stream"] == "lifecycle" && (event["data"]["phase"] == "end" || event["data"]["phase"] == "error")
}

/// The outcome in a terminal event, as other answers give it.
pub fn outcome_of(event: &Value) -> Value {
    let mut outcome = if event["data"]["phase"] == "error" { event["data"]["outcome"].clone() } else { event["data"].clone() };
    outcome.as_object_mut().unwrap().remove("phase");
    outcome
}

/// What a final says without what only the daemon that commits it adds, such as the conversation: the rest is what the terminal event says.
pub fn without_meta(result: &Value) -> Value {
    let mut outcome = result.clone();
    outcome.as_object_mut().unwrap().remove("meta");
    outcome
}

/// What a client was told in the chat of a run on one connection.
#[derive(Clone, Debug, Default)]
pub struct ChatView {
    /// The text so far.
    pub text: String,
    /// How many deltas there were.
    pub deltas: usize,
    /// The payload of the last event, if it came.
    pub last: Option<Value>,
}

impl ChatView {
    /// Takes an event in. The text only grows, `deltaText` says by what, and after the last event nothing comes. `ended` = the run's own last event came, or none of its events.
    pub fn take(&mut self, payload: &Value, ended: bool) {
        assert!(self.last.is_none(), "a chat event behind the last one: {payload}");
        let text = payload["message"]["content"][0]["text"].as_str().unwrap_or_default();
        if payload["state"] != "delta" {
            assert!(ended, "the last chat event came before the run's own: {payload}");
            let text_is_elsewhere = payload.get("mergedInto").is_some();
            assert!(text_is_elsewhere || text.starts_with(&self.text), "{:?} became {payload}", self.text);
            self.last = Some(payload.clone());
            return;
        }
        let new = payload["deltaText"].as_str().unwrap();
        let expected = if payload["replace"] == true { new.to_owned() } else { format!("{}{new}", self.text) };
        assert_eq!(text, expected, "{payload}");
        assert!(text.len() > self.text.len() && text.starts_with(&self.text), "{:?} became {payload}", self.text);
        self.text = text.to_owned();
        self.deltas += 1;
    }
}

/// The text of the last event of a chat.
pub fn said(last: &Value) -> &str {
    last["message"]["content"][0]["text"].as_str().unwrap_or_default()
}

//! Plays one case against a server: sends what it says, and compares what comes.
//!
//! Frames are taken in the order in which they come. Events that match nothing are passed over, because a server tells a connection of much that no case asked for; an answer that matches nothing is a mistake.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::case::{Case, Close, Step};
use super::fill::{fill, fill_text};
use super::pattern::{Mismatch, Vars, matches, shown};
use super::words::{label, merge, sessions_in, unexpected};
use crate::cli::target::Target;
use crate::cli::wire::Wire;

/// Events that come by themselves at any time.
const NOISE: [&str; 5] = ["tick", "health", "presence", "heartbeat", "cron"];
/// So many of the events that match nothing are kept, to say what was nearest.
const MOST_PASSED: usize = 500;
/// Id of the request behind which nothing of a case can be left.
const LAST: &str = "conformance-last";

/// What the player needs to know of the server.
pub struct Setting<'a> {
    /// The server.
    pub target: &'a Target,
    /// Its token.
    pub token: &'a str,
    /// Longest wait for a frame.
    pub patience: Duration,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything came as it must.
    Good,
    /// It was not played, for this reason.
    Left(String),
    /// It did not.
    Bad(Failure),
}

/// The first thing that was not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which step, from 1; 0 is the player's own `connect`.
    pub step: usize,
    /// What was waited for.
    pub wanted: String,
    /// The difference.
    pub mismatch: Mismatch,
}

/// Why a step ended the case.
enum Stop {
    Left(String),
    Bad(String, Mismatch),
}

impl Stop {
    fn bad(wanted: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Bad(wanted.into(), Mismatch { path: String::new(), expected: expected.into(), got: got.into() })
    }
}

/// Plays a case with this version of the protocol.
pub async fn play(setting: &Setting<'_>, case: &Case, protocol: u32) -> Verdict {
    let mut player = Player::new(setting, case, protocol);
    let mut at = 0;
    let ended = player.through(&mut at).await;
    player.tidy_up().await;
    match ended {
        Ok(()) => Verdict::Good,
        Err(Stop::Left(why)) => Verdict::Left(why),
        Err(Stop::Bad(wanted, mismatch)) => Verdict::Bad(Failure { step: at, wanted, mismatch }),
    }
}

struct Player<'a> {
    setting: &'a Setting<'a>,
    case: &'a Case,
    protocol: u32,
    vars: Vars,
    key: String,
    wire: Option<Wire>,
    /// Every frame of the case, for what is judged at its end.
    seen: Vec<Value>,
    /// Id of the request that was sent last.
    sent: String,
    /// Events that were passed over in this wait.
    passed: Vec<Value>,
}

/// Why there is no frame.
enum Lost {
    Late,
    Closed,
}

impl<'a> Player<'a> {
    fn new(setting: &'a Setting<'a>, case: &'a Case, protocol: u32) -> Self {
        let key = format!("conformance-{}", uuid::Uuid::new_v4().simple());
        let vars = [("key", json!(key)), ("token", json!(setting.token)), ("protocol", json!(protocol))];
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { setting, case, protocol, vars, key, wire: None, seen: Vec::new(), sent: String::new(), passed: Vec::new() }
    }

    async fn through(&mut self, at: &mut usize) -> Result<(), Stop> {
        let case = self.case;
        self.open(case.connect.as_ref()).await?;
        for step in &case.steps {
            *at += 1;
            self.step(step).await?;
        }
        if case.never.is_empty() && case.count.is_empty() {
            return Ok(());
        }
        *at += 1;
        self.judge().await
    }

    /// Deletes the sessions of the case where the server can do that. What cannot be deleted stays; it was no part of the case.
    async fn tidy_up(&mut self) {
        let sessions: BTreeSet<String> = self.seen.iter().flat_map(|frame| sessions_in(frame, &self.key)).collect();
        if sessions.is_empty() || !self.announced("sessions.delete") || self.open(None).await.is_err() {
            return;
        }
        for (n, key) in sessions.iter().enumerate() {
            let id = format!("{LAST}-{n}");
            self.send(&json!({"type": "req", "id": id, "method": "sessions.delete", "params": {"key": key}})).await;
            let deadline = Instant::now() + self.setting.patience;
            while self.next(deadline).await.is_ok_and(|frame| frame.get("id").is_none_or(|answered| *answered != id)) {}
        }
    }

    fn announced(&self, name: &str) -> bool {
        let methods = self.vars.get("hello").and_then(|hello| hello.pointer("/features/methods")).and_then(Value::as_array);
        methods.is_some_and(|methods| methods.iter().any(|method| method == name))
    }

    async fn open(&mut self, connect: Option<&Value>) -> Result<(), Stop> {
        self.wire = None;
        let opened = Wire::open(self.setting.target).await;
        self.wire = Some(opened.map_err(|error| Stop::bad("a connection", "a WebSocket", error.to_string()))?);
        if connect == Some(&Value::Bool(false)) {
            return Ok(());
        }
        let mut params = json!({
            "minProtocol": self.protocol,
            "maxProtocol": self.protocol,
            "client": {"id": "cli", "mode": "cli", "version": "1.0.0", "platform": "linux"},
            "role": "operator",
            "scopes": ["operator.admin"],
            "auth": {"token": self.setting.token},
        });
        if let Some(different @ Value::Object(_)) = connect {
            merge(&mut params, self.filled(different)?);
        }
        let deadline = Instant::now() + self.setting.patience;
        self.expect(&json!({"type": "event", "event": "connect.challenge"}), &[], deadline).await?;
        self.send(&json!({"type": "req", "id": "connect", "method": "connect", "params": params})).await;
        let hello = json!({"type": "res", "id": "connect", "ok": true, "payload": {"$set": {"hello": {"type": "hello-ok"}}}});
        self.expect(&hello, &[], deadline).await?;
        match self.case.needs.iter().find(|name| !self.announced(name)) {
            Some(missing) => Err(Stop::Left(format!("the server does not announce {missing}"))),
            None => Ok(()),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        if let Some(connect) = &step.reconnect {
            self.open(Some(connect)).await?;
        }
        if let Some(send) = &step.send {
            let frames = self.filled(send)?;
            for frame in frames.as_array().unwrap_or(&vec![frames.clone()]) {
                self.send(frame).await;
            }
        }
        if let Some(text) = &step.send_text {
            let text = fill_text(text, &self.vars).map_err(broken)?;
            self.send_text(text).await;
        }
        let within = step.within_ms.map_or(self.setting.patience, Duration::from_millis);
        let deadline = Instant::now() + within;
        for pattern in step.in_order() {
            self.expect(pattern, &step.optional, deadline).await?;
        }
        if let Some(patterns) = &step.any_order {
            self.any_order(patterns, &step.optional, deadline).await?;
        }
        match &step.close {
            Some(close) => self.end(close, &step.optional, deadline).await,
            None => Ok(()),
        }
    }

    /// Waits for the frame that matches.
    async fn expect(&mut self, pattern: &Value, optional: &[Value], deadline: Instant) -> Result<(), Stop> {
        let pattern = self.meant(pattern)?;
        self.passed.clear();
        loop {
            let frame = match self.next(deadline).await {
                Ok(frame) => frame,
                Err(lost) => return Err(self.missing(&pattern, &lost)),
            };
            let Err(mismatch) = matches(&pattern, Some(&frame), &mut self.vars) else { return Ok(()) };
            self.pass(frame, optional, || (label(&pattern), mismatch))?;
        }
    }

    async fn any_order(&mut self, patterns: &[Value], optional: &[Value], deadline: Instant) -> Result<(), Stop> {
        let mut left = patterns.iter().map(|pattern| self.meant(pattern)).collect::<Result<Vec<_>, _>>()?;
        self.passed.clear();
        while let Some(first) = left.first() {
            let frame = match self.next(deadline).await {
                Ok(frame) => frame,
                Err(lost) => return Err(self.missing(first, &lost)),
            };
            let tried: Vec<_> = left.iter().map(|pattern| matches(pattern, Some(&frame), &mut self.vars)).collect();
            if let Some(n) = tried.iter().position(Result::is_ok) {
                left.remove(n);
                continue;
            }
            // The pattern that is meant for this answer says best what is wrong with it.
            let meant = left.iter().position(|pattern| pattern.get("id") == frame.get("id")).unwrap_or(0);
            let wanted = left.get(meant).map(label).unwrap_or_default();
            let mismatch = tried.into_iter().nth(meant).and_then(Result::err);
            self.pass(frame, optional, || (wanted, mismatch.unwrap_or_else(|| unexpected(&Value::Null))))?;
        }
        Ok(())
    }

    /// Passes over a frame that was not waited for, if that is no mistake.
    fn pass(&mut self, frame: Value, optional: &[Value], wrong: impl FnOnce() -> (String, Mismatch)) -> Result<(), Stop> {
        for pattern in optional {
            let pattern = self.filled(pattern)?;
            if matches(&pattern, Some(&frame), &mut self.vars).is_ok() {
                return Ok(());
            }
        }
        if frame.get("type").and_then(Value::as_str) != Some("event") {
            let (wanted, mismatch) = wrong();
            return Err(Stop::Bad(wanted, mismatch));
        }
        let name = frame.get("event").and_then(Value::as_str).unwrap_or_default();
        if self.case.strict && !NOISE.contains(&name) && frame.to_string().contains(&self.key) {
            return Err(Stop::Bad(wrong().0, unexpected(&frame)));
        }
        if self.passed.len() < MOST_PASSED {
            self.passed.push(frame);
        }
        Ok(())
    }

    async fn end(&mut self, close: &Close, optional: &[Value], deadline: Instant) -> Result<(), Stop> {
        let wanted = "the end of the connection";
        loop {
            match self.next(deadline).await {
                Ok(frame) => self.pass(frame.clone(), optional, || (wanted.to_owned(), unexpected(&frame)))?,
                Err(Lost::Late) => return Err(Stop::bad(wanted, format!("close {}", shown(&close.code)), "an open connection")),
                Err(Lost::Closed) => break,
            }
        }
        let closing = self.wire.as_ref().and_then(Wire::closing);
        let pattern = json!({"code": close.code, "reason": close.reason.clone().unwrap_or_else(|| json!({"$any": true}))});
        let got = json!({"code": closing.and_then(|closing| closing.code), "reason": closing.map(|closing| closing.reason.as_str())});
        let pattern = self.filled(&pattern)?;
        matches(&pattern, Some(&got), &mut self.vars).map_err(|mismatch| Stop::Bad(wanted.to_owned(), mismatch))
    }

    /// Judges all frames of the case together.
    async fn judge(&mut self) -> Result<(), Stop> {
        self.send(&json!({"type": "req", "id": LAST, "method": "health", "params": {}})).await;
        let deadline = Instant::now() + self.setting.patience;
        // Behind a connection that has been closed nothing can come anyway.
        while let Ok(frame) = self.next(deadline).await {
            if frame.get("id").is_some_and(|id| id == LAST) {
                break;
            }
        }
        for pattern in &self.case.never {
            let pattern = self.filled(pattern)?;
            if let Some(frame) = self.seen.iter().find(|frame| matches(&pattern, Some(frame), &mut Vars::new()).is_ok()) {
                return Err(Stop::Bad(format!("no frame like {}", shown(&pattern)), unexpected(frame)));
            }
        }
        for count in &self.case.count {
            let (pattern, times) = (self.filled(&count.frame)?, self.filled(&count.times)?);
            let n = self.seen.iter().filter(|frame| matches(&pattern, Some(frame), &mut Vars::new()).is_ok()).count();
            matches(&times, Some(&json!(n)), &mut Vars::new())
                .map_err(|mismatch| Stop::Bad(format!("the number of frames like {}", shown(&pattern)), mismatch))?;
        }
        Ok(())
    }

    async fn next(&mut self, deadline: Instant) -> Result<Value, Lost> {
        let Some(wire) = &mut self.wire else { return Err(Lost::Closed) };
        match tokio::time::timeout_at(deadline, wire.next()).await {
            Err(_) => Err(Lost::Late),
            Ok(None) => Err(Lost::Closed),
            Ok(Some(text)) => {
                // What is no JSON is no frame either, and matches nothing.
                let frame = serde_json::from_str(&text).unwrap_or(Value::String(text));
                self.seen.push(frame.clone());
                Ok(frame)
            }
        }
    }

    async fn send(&mut self, frame: &Value) {
        if let Some(id) = frame.get("id").and_then(Value::as_str) {
            self.sent = id.to_owned();
        }
        self.send_text(frame.to_string()).await;
    }

    async fn send_text(&mut self, text: String) {
        // That the server is gone is seen by whoever waits for its answer.
        if let Some(wire) = &self.wire {
            let _ = wire.send(text).await;
        }
    }

    /// A pattern with its variables; an answer is one to the last request unless it says to which.
    fn meant(&self, pattern: &Value) -> Result<Value, Stop> {
        let mut pattern = self.filled(pattern)?;
        if let Value::Object(map) = &mut pattern
            && map.get("type").is_some_and(|kind| kind == "res")
        {
            map.entry("id").or_insert_with(|| json!(self.sent));
        }
        Ok(pattern)
    }

    fn filled(&self, value: &Value) -> Result<Value, Stop> {
        fill(value, &self.vars).map_err(broken)
    }

    /// That something did not come, with the nearest that did.
    fn missing(&self, pattern: &Value, lost: &Lost) -> Stop {
        let meant = self.passed.iter().filter(|event| event.get("event") == pattern.get("event"));
        let wrong = meant.filter_map(|event| matches(pattern, Some(event), &mut Vars::new()).err());
        // Keys are compared in the order of the pattern, so the deepest difference is most likely in the event that was meant.
        let nearest = wrong.max_by_key(|mismatch| mismatch.path.matches('/').count());
        if let (Some(mut nearest), Lost::Late) = (nearest, lost) {
            nearest.got.push_str(" (in the nearest event; none matched in time)");
            return Stop::Bad(label(pattern), nearest);
        }
        let closing = self.wire.as_ref().and_then(Wire::closing);
        let got = match (lost, closing) {
            (Lost::Late, _) => "nothing in time".to_owned(),
            (Lost::Closed, None) => "the end of the connection, without a close frame".to_owned(),
            (Lost::Closed, Some(closing)) => format!("close {} {:?}", closing.code.unwrap_or(1005), closing.reason),
        };
        Stop::bad(label(pattern), shown(pattern), got)
    }
}

fn broken(problem: String) -> Stop {
    Stop::bad("the case itself", "a variable", problem)
}

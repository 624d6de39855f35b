//! A client of the crash test: starts runs with keys of its own, reconnects whenever the daemon is gone, asks again for what it has no answer to, and keeps everything it was told.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{Dice, World};
use crate::harness::Client;
use crate::harness::model::{is_terminal, outcome_of};

/// Runs that a worker has under way at once.
const OPEN: usize = 2;

/// One run, from its first request to its outcome.
pub struct Job {
    pub key: String,
    pub lines: u64,
    pub exit_code: i64,
    script: String,
    session: String,
    chat: bool,
    acked: bool,
    /// Its events without a hole, from 1.
    pub events: BTreeMap<u64, Value>,
    /// Its outcome, as each answer gave it.
    pub finals: Vec<Value>,
}

impl Job {
    fn head(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// The last event, if it came.
    pub fn terminal(&self) -> Option<&Value> {
        self.events.values().find(|event| is_terminal(event))
    }

    /// A part of the work comes as messages of a chat, each with a turn of its own, so that each says what it printed.
    fn method(&self) -> &'static str {
        if self.chat { "chat.send" } else { "agent" }
    }

    fn request(&self) -> Value {
        let mut params = json!({ "message": self.script, "idempotencyKey": self.key, "sessionKey": self.session });
        if self.chat {
            params["queueMode"] = json!("followup");
        }
        params
    }
}

/// What a request was for.
enum Asked {
    /// To run it; the first answer is an acknowledgement or, for one that has ended, the outcome.
    Run(String),
    /// To be told more of it.
    Follow,
    /// For its outcome.
    Wait(String),
}

pub struct Worker {
    index: usize,
    dice: Dice,
    world: Arc<World>,
    jobs: Vec<Job>,
    made: u64,
}

/// The connection ended.
struct Gone;

impl Drop for Worker {
    fn drop(&mut self) {
        for job in &self.jobs {
            eprintln!(
                "worker {} still has {}: acked {}, head {}, ended {}",
                self.index,
                job.key,
                job.acked,
                job.head(),
                job.terminal().is_some()
            );
        }
    }
}

impl Worker {
    pub fn new(index: usize, seed: u64, world: Arc<World>) -> Self {
        Self { index, dice: Dice(seed), world, jobs: Vec::new(), made: 0 }
    }

    /// Works until no new runs are wanted and all of its own are over.
    pub async fn work(mut self) {
        let mut door = self.world.door.subscribe();
        let mut last_start = 0;
        while !self.is_through() {
            let (start, port) = door.wait_for(|door| door.is_some_and(|(start, _)| start > last_start)).await.unwrap().unwrap();
            last_start = start;
            if let Ok(mut client) = Client::try_connect(port).await {
                let _ = self.session(&mut client).await;
                self.keep(&client);
            }
        }
    }

    fn is_through(&self) -> bool {
        *self.world.closing.borrow() && self.jobs.is_empty()
    }

    /// One connection: takes up what is open, then goes on.
    async fn session(&mut self, client: &mut Client) -> Result<(), Gone> {
        let mut asked = HashMap::new();
        for job in &self.jobs {
            if job.acked {
                follow(client, &mut asked, job).await;
            } else {
                let id = client.request(job.method(), job.request()).await;
                asked.insert(id, Asked::Run(job.key.clone()));
            }
        }
        while !self.is_through() {
            self.settle(client, &mut asked).await;
            self.top_up(client, &mut asked).await;
            let frame = client.frame().await.map_err(|_| Gone)?;
            self.world.frames.fetch_add(1, Ordering::Relaxed);
            self.world.bell.notify_one();
            if frame["type"] == "res" {
                self.answered(client, &mut asked, &frame).await;
            }
        }
        Ok(())
    }

    async fn top_up(&mut self, client: &mut Client, asked: &mut HashMap<String, Asked>) {
        while self.jobs.len() < OPEN && !*self.world.closing.borrow() {
            let job = self.new_job();
            let id = client.request(job.method(), job.request()).await;
            asked.insert(id, Asked::Run(job.key.clone()));
            self.jobs.push(job);
        }
    }

    fn new_job(&mut self) -> Job {
        self.made += 1;
        let key = format!("w{}-{}", self.index, self.made);
        let (lines, exit_code) = (1 + self.dice.below(6), if self.dice.below(3) == 0 { 7 } else { 0 });
        // Every third run is in a session that all workers share.
        let session = if self.dice.below(3) == 0 { "agent:main:shared".to_owned() } else { format!("agent:main:w{}", self.index) };
        let pause = self.dice.below(40);
        let script = script(&self.world.notes, &key, lines, pause, exit_code);
        let chat = self.dice.below(3) == 0;
        Job {
            key,
            lines,
            exit_code: exit_code.cast_signed(),
            script,
            session,
            chat,
            acked: false,
            events: BTreeMap::new(),
            finals: Vec::new(),
        }
    }

    async fn answered(&mut self, client: &mut Client, asked: &mut HashMap<String, Asked>, res: &Value) {
        let id = res["id"].as_str().unwrap();
        match asked.get(id) {
            Some(Asked::Run(key)) => {
                let Some(job) = self.jobs.iter_mut().find(|job| job.key == *key) else { return };
                // A chat's message has no second answer: its outcome is asked for.
                if res["payload"]["acceptedAt"].is_u64() || (job.chat && res["ok"] == true) {
                    assert_eq!((&res["ok"], res["payload"]["runId"].as_str()), (&json!(true), Some(key.as_str())), "{res}");
                    let first = !std::mem::replace(&mut job.acked, true);
                    // The first request on this connection is followed from its start anyway; a repeated one may be far on.
                    if first && client.runs.get(&job.key).is_none_or(|run| run.after.is_none()) {
                        follow(client, asked, job).await;
                    }
                } else {
                    assert!(res["payload"]["result"].is_object(), "an answer that is neither of the two: {res}");
                    job.finals.push(res["payload"]["result"].clone());
                    if !std::mem::replace(&mut job.acked, true) {
                        follow(client, asked, job).await;
                    }
                }
            }
            Some(Asked::Follow) => assert_eq!(res["ok"], true, "{res}"),
            Some(Asked::Wait(key)) => {
                assert_eq!(res["ok"], true, "{res}");
                let Some(at) = self.jobs.iter().position(|job| job.key == *key) else { return };
                self.jobs[at].finals.push(res["payload"]["outcome"].clone());
                self.absorb(client, at);
                let job = self.jobs.remove(at);
                self.world.done.lock().unwrap().push(job);
            }
            None => panic!("an answer to nothing: {res}"),
        }
    }

    /// Asks for the outcome of runs whose last event has come; it must say the same.
    async fn settle(&mut self, client: &mut Client, asked: &mut HashMap<String, Asked>) {
        for job in self.jobs.iter().filter(|job| job.acked) {
            let told_now = client.runs.get(&job.key).is_some_and(|run| run.terminal().is_some_and(|end| end["seq"] == run.last));
            let whole = told_now || job.terminal().is_some();
            if whole && !asked.values().any(|asked| matches!(asked, Asked::Wait(key) if *key == job.key)) {
                let id = client.request("agent.wait", json!({ "runId": job.key })).await;
                asked.insert(id, Asked::Wait(job.key.clone()));
            }
        }
    }

    /// What this connection told, without what lies behind a hole: that comes again.
    fn keep(&mut self, client: &Client) {
        for at in 0..self.jobs.len() {
            self.absorb(client, at);
        }
    }

    fn absorb(&mut self, client: &Client, at: usize) {
        let job = &mut self.jobs[at];
        let Some(run) = client.runs.get(&job.key) else { return };
        for (seq, event) in run.events.range(..=run.last) {
            if *seq == job.head() + 1 {
                job.events.insert(*seq, event.clone());
            } else {
                assert_eq!(job.events.get(seq), Some(event), "{} has another event {seq} than before", job.key);
            }
        }
        if let Some(end) = run.terminal() {
            job.finals.push(outcome_of(end));
        }
    }
}

async fn follow(client: &mut Client, asked: &mut HashMap<String, Asked>, job: &Job) {
    let after = job.head();
    let run = client.runs.entry(job.key.clone()).or_default();
    // Only events from 1 on may have come by themselves; asking then for everything brings nothing twice.
    if !run.events.contains_key(&(after + 1)) {
        run.subscribe(after);
    }
    let id = client.request("runs.subscribe", json!({ "runId": job.key, "after": after })).await;
    asked.insert(id, Asked::Follow);
}

/// A script that notes its execution, prints `lines` lines and ends with `exit_code`.
fn script(notes: &Path, key: &str, lines: u64, pause_ms: u64, exit_code: u64) -> String {
    let note = notes.join(key);
    let mut text = format!("echo run >> {}\n", note.display());
    for line in 1..=lines {
        text.push_str(&format!("echo {key} {line}\n"));
        if pause_ms > 0 {
            text.push_str(&format!("sleep 0.{pause_ms:03}\n"));
        }
    }
    text.push_str(&format!("exit {exit_code}\n"));
    text
}

/// What such a script prints.
pub fn output(key: &str, lines: u64) -> String {
    (1..=lines).map(|line| format!("{key} {line}\n")).collect()
}

//! One server: connected by the first who asks it something, asked by number, and told when nobody waits for an answer any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::timeout;

use super::http::Remote;
use super::{Server, Starter, Way};
use crate::programs::lines::Line;
use crate::programs::peer::Peer;
use crate::programs::rpc::{Heard, answer, notice, request, sort, unknown};
use crate::tasks::Tasks;

/// The version of the protocol that we speak; a server may answer with an older one.
const VERSION: &str = "2025-06-18";
/// Requests to one server that wait to be written.
const WAITING: usize = 32;
/// Most pages of tools that are asked for.
const PAGES: usize = 16;
/// What a server that was told to end is given before it is killed.
const GRACE: Duration = Duration::from_millis(1000);
/// Shortest value that counts as a secret when texts are cleaned of them.
const SECRET: usize = 4;

/// What is sent to the task of a server.
enum Asked {
    /// A request and who waits for the answer.
    Request(Value, u64, oneshot::Sender<Result<Value, String>>),
    /// Something that is told.
    Notice(Value),
}

/// The way to a server.
pub(super) struct Link {
    server: Server,
    starter: Arc<dyn Starter>,
    tasks: Tasks,
    open: OnceCell<Result<Open, String>>,
    newest: std::sync::atomic::AtomicU64,
}

/// A server that is connected.
enum Open {
    Program(mpsc::Sender<Asked>),
    Http(Box<Remote>),
}

impl Link {
    pub fn new(server: Server, starter: Arc<dyn Starter>, tasks: Tasks) -> Self {
        Self { server, starter, tasks, open: OnceCell::new(), newest: std::sync::atomic::AtomicU64::new(0) }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Tells people that something is wrong with it.
    pub fn warn(&self, why: &str) {
        self.starter.warn(format!("MCP server {}: {}", self.server.name, self.cleaned(why)));
    }

    /// A text without the server's secrets.
    fn cleaned(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.server.secrets().filter(|secret| secret.len() >= SECRET) {
            text = text.replace(secret, "…");
        }
        text
    }

    /// Its tools, as it describes them, at most so many. Starting takes its own time, which is no call's: each answer is waited for up to `limit`.
    pub async fn tools(&self, most: usize, limit: Duration) -> Result<Vec<Value>, String> {
        let hello = json!({
            "protocolVersion": VERSION, "capabilities": {},
            "clientInfo": { "name": "skykoi-gateway", "version": env!("CARGO_PKG_VERSION") },
        });
        let about = self.request("initialize", hello, limit).await?;
        if let Some(Ok(Open::Http(remote))) = self.open.get() {
            remote.speaks(about.get("protocolVersion").and_then(Value::as_str).unwrap_or(VERSION));
        }
        self.tell("notifications/initialized", json!({})).await;
        let mut tools = Vec::new();
        let mut cursor = Value::Null;
        for _ in 0..PAGES {
            let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
            let mut page = self.request("tools/list", params, limit).await?;
            if let Some(Value::Array(more)) = page.get_mut("tools").map(Value::take) {
                tools.extend(more);
            }
            cursor = page.get_mut("nextCursor").map(Value::take).unwrap_or_default();
            if cursor.is_null() || tools.len() >= most {
                break;
            }
        }
        if tools.len() > most {
            self.warn(&format!("only {most} of its {} tools are offered", tools.len()));
            tools.truncate(most);
        }
        Ok(tools)
    }

    async fn open(&self) -> Result<&Open, String> {
        self.open.get_or_init(|| async { self.connect() }).await.as_ref().map_err(String::clone)
    }

    fn connect(&self) -> Result<Open, String> {
        match &self.server.way {
            Way::Http { url, headers } => Ok(Open::Http(Box::new(Remote::new(url, headers)?))),
            Way::Command { words, env, cwd } => {
                let talking =
                    self.starter.start(words, env, cwd.as_ref()).map_err(|why| format!("cannot be started: {}", self.cleaned(&why)))?;
                let (sender, asked) = mpsc::channel(WAITING);
                let stop = self.tasks.stop_token();
                self.tasks.spawn("mcp.server", async move {
                    let mut peer = Peer::new(talking);
                    tokio::select! {
                        () = converse(&mut peer, asked) => {}
                        () = stop.cancelled() => {}
                    }
                    // What does not end, the shim sweeps.
                    let _ = peer.end(true, GRACE).await;
                });
                Ok(Open::Program(sender))
            }
        }
    }

    /// Calls one of its tools and waits for the answer, as long as a call may take. Dropping the future tells the server that nobody waits.
    pub async fn call(&self, params: Value) -> Result<Value, String> {
        self.request("tools/call", params, Duration::from_millis(self.server.timeout_ms)).await
    }

    async fn request(&self, method: &str, params: Value, limit: Duration) -> Result<Value, String> {
        let id = self.newest.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let line = request(id, method, params);
        let asked = async {
            match self.open().await? {
                Open::Http(remote) => remote.ask(&line, id, limit).await,
                Open::Program(sender) => {
                    let (waits, answer) = oneshot::channel();
                    let gone = || "has ended".to_owned();
                    let withdrawn = Withdrawn { sender, id: Some(id) };
                    sender.send(Asked::Request(line, id, waits)).await.map_err(|_| gone())?;
                    let answer = answer.await.unwrap_or_else(|_| Err(gone()));
                    withdrawn.answered();
                    answer
                }
            }
        };
        let answer = timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("did not answer within {} s", limit.as_secs())));
        answer.map_err(|why| self.cleaned(&why))
    }

    async fn tell(&self, method: &str, params: Value) {
        let line = notice(method, params);
        match self.open().await {
            Ok(Open::Program(sender)) => drop(sender.send(Asked::Notice(line)).await),
            Ok(Open::Http(remote)) => drop(remote.tell(&line, Duration::from_millis(self.server.timeout_ms)).await),
            Err(_) => {}
        }
    }
}

/// Tells the server that nobody waits for an answer, unless it came.
struct Withdrawn<'a> {
    sender: &'a mpsc::Sender<Asked>,
    id: Option<u64>,
}

impl Withdrawn<'_> {
    fn answered(mut self) {
        self.id = None;
    }
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // A server that reads nothing hears nothing; it is ended with the turn.
            let _ =
                self.sender.try_send(Asked::Notice(notice("notifications/cancelled", json!({ "requestId": id, "reason": "cancelled" }))));
        }
    }
}

/// Carries requests and answers until the server says no more; then every request fails.
async fn converse(peer: &mut Peer, mut asked: mpsc::Receiver<Asked>) {
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Value, String>>> = HashMap::new();
    loop {
        tokio::select! {
            line = peer.next() => match line {
                Some(Line::Message(message)) => match sort(message) {
                    Heard::Answer(id, result) => {
                        if let Some(waits) = waiting.remove(&id) {
                            // Who asked may have left.
                            let _ = waits.send(result.map_err(|failure| format!("says: {}", failure.message)));
                        }
                    }
                    Heard::Request(id, method, _) if method == "ping" => peer.say(&answer(&id, json!({}))),
                    Heard::Request(id, method, _) => peer.say(&unknown(&id, &method)),
                    Heard::Notice(..) | Heard::Other => {}
                },
                // Servers print what they like; a line that is no message means nothing.
                Some(Line::Garbage(_) | Line::TooLong(_)) => {}
                None => break,
            },
            Some(next) = asked.recv() => match next {
                Asked::Request(line, id, waits) => {
                    waiting.insert(id, waits);
                    peer.say(&line);
                }
                Asked::Notice(line) => peer.say(&line),
            },
        }
    }
    let said = peer.stderr();
    let last = said.lines().last().unwrap_or_default();
    let why = if last.is_empty() { "has ended".to_owned() } else { format!("has ended; it said: {last}") };
    let fail = |waits: oneshot::Sender<Result<Value, String>>| drop(waits.send(Err(why.clone())));
    waiting.into_values().for_each(fail);
    while let Some(next) = asked.recv().await {
        if let Asked::Request(_, _, waits) = next {
            fail(waits);
        }
    }
}

//! A server that is reached by streamable HTTP: each message is a request of its own, and its answer is JSON or a stream of events.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use serde_json::Value;

use crate::config::secret::Secret;
use crate::model::http::{Http, Reply};
use crate::model::sse::Sse;
use crate::programs::rpc::{Heard, sort};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MOST: usize = 16 << 20;
const AGENT: &str = concat!("skykoi-gateway/", env!("CARGO_PKG_VERSION"));
/// The session that the server has given us.
const SESSION: &str = "mcp-session-id";
/// The version that is spoken.
const VERSION: &str = "mcp-protocol-version";

/// The server.
pub(super) struct Remote {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    http: Http,
    /// Session and version, once they are known.
    known: Mutex<(Option<String>, Option<String>)>,
}

impl Remote {
    pub fn new(url: &str, headers: &BTreeMap<String, Secret<String>>) -> Result<Self, String> {
        let header = |(name, value): (&String, &Secret<String>)| {
            let wrong = || format!("cannot be asked: {name} is no header");
            let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.expose().as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok::<_, String>((name, value))
        };
        let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Self { url: url.to_owned(), headers, http: Http::new(CONNECT), known: Mutex::default() })
    }

    /// The version in which it answered.
    pub fn speaks(&self, version: &str) {
        self.lock().1 = Some(version.to_owned());
    }

    /// Asks, and reads until the answer of this number has come.
    pub async fn ask(&self, line: &Value, id: u64, limit: Duration) -> Result<Value, String> {
        let mut reply = self.send(line, limit).await?;
        let kind = reply.header("content-type").unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("text/event-stream") {
            return read_events(&mut reply, id).await;
        }
        let mut bytes = Vec::new();
        while let Some(more) = reply.chunk().await.map_err(|broken| format!("broke off: {broken}"))? {
            bytes.extend_from_slice(&more);
            if bytes.len() > MOST {
                return Err(format!("answered with more than {} MiB", MOST >> 20));
            }
        }
        let message = serde_json::from_slice(&bytes).map_err(|_| "answered with something that is no JSON".to_owned())?;
        answer_of(message, id).unwrap_or_else(|| Err("answered something else".to_owned()))
    }

    /// Tells it something.
    pub async fn tell(&self, line: &Value, limit: Duration) -> Result<(), String> {
        self.send(line, limit).await.map(drop)
    }

    async fn send(&self, line: &Value, limit: Duration) -> Result<Reply, String> {
        let mut builder = hyper::Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let (session, version) = self.lock().clone();
        for (name, value) in [(SESSION, session), (VERSION, version)] {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        let request = builder.body(Full::new(Bytes::from(line.to_string()))).map_err(|error| format!("cannot be asked: {error}"))?;
        let reply = self.http.send(request, limit).await.map_err(|broken| format!("cannot be reached: {broken}"))?;
        if let Some(session) = reply.header(SESSION) {
            self.lock().0 = Some(session.to_owned());
        }
        let status = reply.status();
        if (200..300).contains(&status) {
            return Ok(reply);
        }
        let said = reply.text().await;
        let said = said.get(..said.floor_char_boundary(300)).unwrap_or_default().trim().to_owned();
        Err(format!("answered with status {status}: {said}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<String>, Option<String>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_events(reply: &mut Reply, id: u64) -> Result<Value, String> {
    let (mut sse, mut found, mut bytes) = (Sse::default(), None, 0);
    while let Some(more) = reply.chunk().await.map_err(|broken| format!("broke off: {broken}"))? {
        bytes += more.len();
        if bytes > MOST {
            return Err(format!("answered with more than {} MiB", MOST >> 20));
        }
        let each = |event: crate::model::sse::SseEvent| {
            let message = serde_json::from_str(&event.data).ok();
            found = found.take().or_else(|| answer_of(message?, id));
        };
        sse.feed(&more, each).map_err(|error| error.to_string())?;
        if let Some(found) = found {
            return found;
        }
    }
    Err("ended its stream without an answer".to_owned())
}

/// The answer of this number, if that is what a message is.
fn answer_of(message: Value, id: u64) -> Option<Result<Value, String>> {
    match sort(message) {
        Heard::Answer(number, result) if number == id => Some(result.map_err(|failure| format!("says: {}", failure.message))),
        _ => None,
    }
}

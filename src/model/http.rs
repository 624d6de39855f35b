//! HTTP to providers, and to servers of tools: one small pool of connections per endpoint over TLS as all of ours is spoken.
//!
//! Nothing is set up before the first request, so whoever asks no model pays nothing. Redirects are not followed: they would carry a key to a place that nobody named. No proxy of the environment is used: a shim has no environment.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::http::response::Parts;
use hyper::rt::Executor;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;

use super::trusted::trusted;
use crate::tasks::Tasks;

/// Idle connections are used again within this time; providers close theirs after about a minute.
const IDLE: Duration = Duration::from_secs(50);
/// Most bytes of an error's body that are read.
const MAX_ERROR: usize = 64 << 10;

/// What is sent.
pub(crate) type Outgoing = hyper::Request<Full<Bytes>>;

/// Why nothing, or no more, came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// Another try may help.
    #[error("{0}")]
    Lost(String),
    /// Nothing came for so long.
    #[error("nothing came for {0} s")]
    Silent(u64),
    /// The machine trusts no certificates.
    #[error("{0}")]
    NoCertificates(String),
}

/// A client of one endpoint, for requests with bodies of this kind.
pub(crate) struct Http<B = Full<Bytes>> {
    connect: Duration,
    tasks: Tasks,
    plain: OnceLock<Client<HttpConnector, B>>,
    tls: OnceLock<Client<HttpsConnector<HttpConnector>, B>>,
}

/// The tasks of connections belong to their client and end with it.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, connection: F) {
        let stop = self.0.stop_token();
        self.0.spawn("model connection", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection => {}
            }
        });
    }
}

impl<B> Drop for Http<B> {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

impl<B> Http<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client that waits `connect` for a connection.
    pub(crate) fn new(connect: Duration) -> Self {
        Self { connect, tasks: Tasks::new(), plain: OnceLock::new(), tls: OnceLock::new() }
    }

    /// Sends a request and waits for the head of its answer, at most `silence`.
    pub(crate) async fn send(&self, request: hyper::Request<B>, silence: Duration) -> Result<Reply, Broken> {
        let answer = if request.uri().scheme_str() == Some("https") {
            let trusted = trusted().map_err(Broken::NoCertificates)?;
            let client = self.tls.get_or_init(|| {
                let mut tcp = self.connector();
                tcp.enforce_http(false);
                self.build(HttpsConnector::from((tcp, trusted)))
            });
            timeout(silence, client.request(request)).await
        } else {
            let client = self.plain.get_or_init(|| self.build(self.connector()));
            timeout(silence, client.request(request)).await
        };
        match answer {
            Err(_) => Err(Broken::Silent(silence.as_secs())),
            Ok(Err(error)) => Err(Broken::Lost(chain(&error))),
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Reply { head, body, silence })
            }
        }
    }

    fn connector(&self) -> HttpConnector {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(self.connect));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp
    }

    fn build<C>(&self, connector: C) -> Client<C, B>
    where
        C: hyper_util::client::legacy::connect::Connect + Clone,
    {
        // A small read buffer: answers come in pieces of some hundred bytes.
        Client::builder(Spawner(self.tasks.clone()))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(64 << 10)
            .build(connector)
    }
}

/// The head of an answer, and its body as it comes.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: Parts,
    body: Incoming,
    silence: Duration,
}

impl Reply {
    /// Its head and its body, to be read by somebody else.
    pub(crate) fn into_parts(self) -> (Parts, Incoming) {
        (self.head, self.body)
    }

    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            match timeout(self.silence, self.body.frame()).await {
                Err(_) => return Err(Broken::Silent(self.silence.as_secs())),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Broken::Lost(format!("the answer broke off: {}", chain(&error)))),
                // What is no data is a trailer.
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The body as text, at most so much of it as an error needs. What cannot be read is left out.
    pub(crate) async fn text(mut self) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_ERROR {
            match self.chunk().await {
                Ok(Some(more)) => bytes.extend_from_slice(&more),
                Ok(None) | Err(_) => break,
            }
        }
        bytes.truncate(MAX_ERROR);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads on to the end, if it comes soon, so that the connection can be used again.
    pub(crate) async fn drain(mut self) {
        let _ = timeout(Duration::from_millis(20), async { while let Ok(Some(_)) = self.chunk().await {} }).await;
    }
}

/// An error with its causes. Neither names headers, so no key is in it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

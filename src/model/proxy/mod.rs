//! A way to one provider for a program that does not get the provider's key: a server on the loopback device that takes requests with a key of its own, and sends them on with the real one.
//!
//! It lives in the host process of a run, as long as the run. What it lets through is in [`rules`]; bodies pass as they come, in both directions, and nothing of them is kept.

mod rules;
mod through;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::endpoint::{Api, Auth, Endpoint};
use super::http::Http;
use super::login::log_in;
use super::wire::wire;
use crate::auth::token::TokenDigest;
use crate::config::init::new_token;
use crate::config::secret::Secret;
use crate::tasks::Tasks;
use through::Through;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Pause after a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the end waits for what goes through.
const FAREWELL: Duration = Duration::from_secs(1);

/// The body of an answer.
type Answer = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The server. It ends when this is dropped, with all that goes through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    key: Secret<String>,
    tasks: Tasks,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

/// What every request meets.
struct Gate {
    endpoint: Endpoint,
    /// The provider's address, without a slash at its end.
    base: String,
    key: TokenDigest,
    http: Http<Limited<Incoming>>,
}

impl Proxy {
    /// Serves requests to this provider on a listener of the loopback device. Nothing is connected before the first request.
    ///
    /// # Errors
    /// Why this provider cannot be asked so, for people.
    pub fn start(listener: TcpListener, endpoint: Endpoint) -> Result<Self, String> {
        let wire = wire(endpoint.api);
        let name = endpoint.provider.clone();
        if matches!(endpoint.auth, Auth::Aws(_)) || endpoint.api == Api::BedrockConverseStream {
            return Err(format!(
                "requests to {name} are signed by whoever makes them, so its credentials cannot be kept outside of the run; set credentials to \"native\" for this runner"
            ));
        }
        let said = |failed: io::Error| format!("the way to {name} cannot be opened: {failed}");
        let address = listener.local_addr().map_err(said)?;
        if !address.ip().is_loopback() {
            return Err(format!("the way to {name} may only be opened on the loopback device, and not at {address}"));
        }
        let key = new_token().map_err(said)?;
        let base = if endpoint.base_url.is_empty() { wire.home().unwrap_or_default().to_owned() } else { endpoint.base_url.clone() };
        let http = Http::new(Duration::from_millis(endpoint.timeouts.connect_ms));
        let base = base.trim_end_matches('/').to_owned();
        let gate = Arc::new(Gate { base, key: TokenDigest::of(&key), http, endpoint });
        let tasks = Tasks::new();
        let (spawner, stop) = (tasks.clone(), tasks.stop_token());
        tasks.spawn("model proxy", async move {
            tokio::select! {
                () = accept(&spawner, listener, gate) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { address, key: Secret::new(key), tasks })
    }

    /// Ends it. Nobody listens when this is done, and whatever goes through it has ended or is let go after [`FAREWELL`].
    pub async fn close(self) {
        self.tasks.stop(FAREWELL).await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that it takes, in the place of the provider's.
    #[must_use]
    pub fn key(&self) -> &Secret<String> {
        &self.key
    }
}

async fn accept(tasks: &Tasks, listener: TcpListener, gate: Arc<Gate>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if peer.ip().is_loopback() && tasks.len() <= MAX_CONNECTIONS => {
                let (gate, stop) = (Arc::clone(&gate), tasks.stop_token());
                tasks.spawn("model proxy", async move {
                    tokio::select! {
                        () = serve(stream, gate) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            Ok(_) => {}
            // No descriptors left; the next one may find some.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, gate: Arc<Gate>) {
    let _ = stream.set_nodelay(true);
    let port = stream.local_addr().map_or(0, |address| address.port());
    let service = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(gate.answer(request, port).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(64 << 10);
    // A client that breaks off has its own reasons.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Gate {
    async fn answer(&self, request: Request<Incoming>, port: u16) -> Response<Answer> {
        let api = self.endpoint.api;
        let name = &self.endpoint.provider;
        if !rules::is_here(request.headers(), port) {
            return self.refuse(StatusCode::FORBIDDEN, "permission_error", "this address is for programs of this machine alone");
        }
        if !rules::presented(request.headers()).any(|key| self.key.matches(key)) {
            return self.refuse(StatusCode::UNAUTHORIZED, "authentication_error", "this is not the key of this run");
        }
        let Some(target) = rules::target(api, &self.base, request.method(), request.uri()) else {
            let text = format!("{} {} is no request that is passed on to {name}", request.method(), request.uri().path());
            return self.refuse(StatusCode::NOT_FOUND, "not_found_error", &text);
        };
        let most = usize::try_from(rules::MAX_REQUEST).unwrap_or(usize::MAX);
        if request.body().size_hint().lower() > rules::MAX_REQUEST {
            return self.refuse(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "the request is longer than 64 MiB");
        }
        let (mut head, body) = request.into_parts();
        rules::strip_request(&mut head.headers);
        if let Err(what) = log_in(&self.endpoint, &mut head.headers) {
            let text = format!("{what} in the configuration of {name} holds a character that no header may hold");
            return self.refuse(StatusCode::BAD_GATEWAY, "api_error", &text);
        }
        let silence = Duration::from_millis(self.endpoint.timeouts.silence_ms);
        let mut outgoing = Request::new(Limited::new(body, most));
        (*outgoing.method_mut(), *outgoing.uri_mut(), *outgoing.headers_mut()) = (head.method, target, head.headers);
        match self.http.send(outgoing, silence).await {
            Ok(reply) => {
                let (mut head, body) = reply.into_parts();
                rules::strip_answer(&mut head.headers);
                head.version = hyper::Version::HTTP_11;
                Response::from_parts(head, Through::new(body, silence).boxed())
            }
            Err(broken) => self.refuse(StatusCode::BAD_GATEWAY, "api_error", &format!("{name} did not answer: {broken}")),
        }
    }

    /// An error in the words of the language.
    fn refuse(&self, status: StatusCode, kind: &str, message: &str) -> Response<Answer> {
        let message = format!("SkyKoi Gateway: {message}");
        let error = serde_json::json!({ "type": "error", "error": { "type": kind, "message": message } });
        let mut response = Response::new(Full::new(Bytes::from(error.to_string())).map_err(|never| match never {}).boxed());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

//! A way to one provider for a program that does not get the provider's key: a server on the loopback device that takes requests with a key of its own, and sends them on with the real one.
//!
//! It lives in the host process of a run, as long as the run. What it lets through is in [`rules`]; bodies pass as they come, in both directions, and nothing of them is kept. Only a request that has to be signed is read whole before ([`signed`]).

mod rules;
mod signed;
mod through;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::aws::region_of;
use super::endpoint::{Api, Auth, Endpoint};
use super::http::{Broken, Http, Reply};
use super::login::log_in;
use crate::auth::token::TokenDigest;
use crate::config::init::new_token;
use crate::config::secret::Secret;
use crate::tasks::Tasks;
use signed::Signer;
use through::Through;

/// Longest request in bytes, where it passes as it comes.
const MAX_REQUEST: u64 = 64 << 20;
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

/// The body of a request that is sent on: as it comes, or whole.
type Sent = Either<Limited<Incoming>, Full<Bytes>>;
/// Why a request is not sent on, or has no answer: status, kind and words.
type Refusal = (StatusCode, &'static str, String);

/// The server. It ends when this is dropped, with all that goes through it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    key: Secret<String>,
    region: Option<String>,
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
    http: Http<Sent>,
    /// Signs the requests, if that is how the provider knows us.
    signer: Option<Signer>,
}

impl Proxy {
    /// Serves requests to this provider on a listener of the loopback device. Nothing is connected before the first request, but for what it takes to find credentials of Amazon.
    ///
    /// # Errors
    /// Why this provider cannot be asked so, for people.
    pub async fn start(listener: TcpListener, endpoint: Endpoint) -> Result<Self, String> {
        let name = endpoint.provider.clone();
        let said = |failed: io::Error| format!("the way to {name} cannot be opened: {failed}");
        let address = listener.local_addr().map_err(said)?;
        if !address.ip().is_loopback() {
            return Err(format!("the way to {name} may only be opened on the loopback device, and not at {address}"));
        }
        let key = new_token().map_err(said)?;
        let (signer, base, region) = match &endpoint.auth {
            Auth::Aws(_) if endpoint.api != Api::BedrockConverseStream => {
                return Err(format!("requests to {name} are not in the language of Amazon Bedrock, so they cannot be signed"));
            }
            Auth::Aws(settings) => {
                let found = Signer::start(settings, &endpoint.base_url).await;
                let (signer, base, region) = found.map_err(|why| format!("{name} cannot be asked: {why}"))?;
                (Some(signer), base, Some(region))
            }
            _ => {
                let own = Some(endpoint.base_url.as_str()).filter(|own| !own.is_empty()).or_else(|| endpoint.api.home());
                let base = own.ok_or_else(|| format!("{name} has no address: set its baseUrl, which names the region"))?;
                (None, base.to_owned(), region_of(base).map(str::to_owned))
            }
        };
        let base = base.trim_end_matches('/').to_owned();
        let http = Http::new(Duration::from_millis(endpoint.timeouts.connect_ms));
        let gate = Arc::new(Gate { base, key: TokenDigest::of(&key), http, signer, endpoint });
        let tasks = Tasks::new();
        let (spawner, stop) = (tasks.clone(), tasks.stop_token());
        tasks.spawn("model proxy", async move {
            tokio::select! {
                () = accept(&spawner, listener, gate) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { address, key: Secret::new(key), region, tasks })
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

    /// The region of the provider, if it is one of Amazon's and that is known.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
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
        match self.sent(request, port).await {
            Ok(response) => response,
            Err((status, kind, message)) => refusal(self.endpoint.api, status, kind, &message),
        }
    }

    async fn sent(&self, request: Request<Incoming>, port: u16) -> Result<Response<Answer>, Refusal> {
        let api = self.endpoint.api;
        let name = &self.endpoint.provider;
        if !rules::is_here(request.headers(), port) {
            return Err((StatusCode::FORBIDDEN, "permission_error", "this address is for programs of this machine alone".to_owned()));
        }
        if !rules::presented(api, request.headers(), request.uri()).any(|key| self.key.matches(key)) {
            return Err((StatusCode::UNAUTHORIZED, "authentication_error", "this is not the key of this run".to_owned()));
        }
        let Some(target) = rules::target(api, &self.base, request.method(), request.uri()) else {
            let text = format!("{} {} is no request that is passed on to {name}", request.method(), request.uri().path());
            return Err((StatusCode::NOT_FOUND, "not_found_error", text));
        };
        let (mut head, body) = request.into_parts();
        head.uri = target;
        rules::strip_request(api, &mut head.headers);
        log_in(&self.endpoint, &mut head.headers).map_err(|what| {
            let text = format!("{what} in the configuration of {name} holds a character that no header may hold");
            (StatusCode::BAD_GATEWAY, "api_error", text)
        })?;
        match &self.signer {
            Some(signer) => signer.send(&self.endpoint, &self.http, head, body).await,
            None => self.stream(head, body).await,
        }
    }

    /// Sends a request on as it comes.
    async fn stream(&self, head: Parts, body: Incoming) -> Result<Response<Answer>, Refusal> {
        if body.size_hint().lower() > MAX_REQUEST {
            return Err(too_long(MAX_REQUEST));
        }
        let silence = Duration::from_millis(self.endpoint.timeouts.silence_ms);
        let mut outgoing = Request::new(Either::Left(Limited::new(body, usize::try_from(MAX_REQUEST).unwrap_or(usize::MAX))));
        (*outgoing.method_mut(), *outgoing.uri_mut(), *outgoing.headers_mut()) = (head.method, head.uri, head.headers);
        let reply = self.http.send(outgoing, silence).await.map_err(|broken| lost(&self.endpoint, &broken))?;
        Ok(passed(reply, silence))
    }
}

/// An answer on its way to the program.
fn passed(reply: Reply, silence: Duration) -> Response<Answer> {
    let (mut head, body) = reply.into_parts();
    rules::strip_answer(&mut head.headers);
    head.version = hyper::Version::HTTP_11;
    Response::from_parts(head, Through::new(body, silence).boxed())
}

fn lost(endpoint: &Endpoint, broken: &Broken) -> Refusal {
    (StatusCode::BAD_GATEWAY, "api_error", format!("{} did not answer: {broken}", endpoint.provider))
}

fn too_long(most: u64) -> Refusal {
    (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", format!("the request is longer than {} MiB", most >> 20))
}

fn whole(text: String) -> Answer {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

/// An error in the words of the language.
fn refusal(api: Api, status: StatusCode, kind: &str, message: &str) -> Response<Answer> {
    let message = format!("SkyKoi Gateway: {message}");
    let error = match api {
        Api::BedrockConverseStream => json!({ "message": message }),
        Api::GoogleGenerativeAi => json!({ "error": { "code": status.as_u16(), "status": kind.to_uppercase(), "message": message } }),
        Api::AnthropicMessages | Api::OpenaiCompletions => json!({ "type": "error", "error": { "type": kind, "message": message } }),
    };
    let mut response = Response::new(whole(error.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if api == Api::BedrockConverseStream {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(amazons(status)));
    }
    response
}

/// What Amazon calls an error of this status.
fn amazons(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "AccessDeniedException",
        StatusCode::NOT_FOUND => "ResourceNotFoundException",
        status if status.is_client_error() => "ValidationException",
        _ => "ServiceUnavailableException",
    }
}

//! The HTTP side of a listener: probes for machines, the upgrade to WebSocket, and 404 for the rest.
//!
//! Every request, whatever its path, first passes the gate: one readable Host that is ours, no foreign Origin, no body, no credential in the URL. Only then is it routed. Probes need no credential and tell nothing but their one word.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use fastwebsockets::upgrade::UpgradeFut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use super::audited;
use crate::auth::origin::HostPolicy;
use crate::auth::peer::{Cidr, client_address, fold};
use crate::auth::probe;
use crate::tasks::Tasks;
use crate::transport::admission::{ConnectionGuard, Full};
use crate::transport::intake::Source;
use crate::transport::wire::{Framing, Link, MessageReader, Peer, ReadLimits, Serve};
use crate::transport::ws;

/// Between the 101 answer and the socket being ours lies only a write of the answer.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A refused request's path is logged up to this length.
const LOGGED_PATH_BYTES: usize = 100;

/// What a page of a foreign origin is told.
const FOREIGN_ORIGIN: &str = "origin not allowed";

/// Names of query parameters that carry credentials, without case, dashes and underscores. URLs end up in logs and histories, so a credential in one is refused even where nobody would read it.
const CREDENTIAL_NAMES: &[&str] = &[
    "token",
    "accesstoken",
    "authtoken",
    "gatewaytoken",
    "devicetoken",
    "auth",
    "authorization",
    "bearer",
    "password",
    "passwd",
    "secret",
    "apikey",
    "jwt",
];

/// What a gateway answers to.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Hosts and origins.
    pub hosts: HostPolicy,
    /// Proxies whose X-Forwarded-For is read.
    pub trusted_proxies: Vec<Cidr>,
}

/// What all requests share.
pub struct Front {
    /// Who serves upgraded connections.
    pub serve: Arc<dyn Serve>,
    /// The rules, read anew for each request.
    pub rules: tokio::sync::watch::Receiver<Arc<Rules>>,
    /// Limits of a connection before its first message.
    pub limits: tokio::sync::watch::Receiver<ReadLimits>,
    /// The group that connections run in.
    pub tasks: Tasks,
}

/// What the requests of one socket share.
pub struct Visit {
    /// The socket's peer.
    pub socket: SocketAddr,
    /// The port that we listen on.
    pub port: u16,
    /// Whether TLS ends here.
    pub tls: bool,
    /// The socket's place; the upgrade takes it along.
    pub guard: Mutex<Option<ConnectionGuard>>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anybody: it says that the process lives.
    Live,
    /// Anybody: it says that the process has started.
    Started,
    /// Anybody: it says whether the gateway is ready and what is not.
    Ready,
    /// Who shows a credential in the first frame; until then nothing is served.
    Socket,
}

/// All routes, each with its class. Everything else is 404.
pub const ROUTES: [(&str, Class); 10] = [
    ("/healthz", Class::Live),
    ("/health", Class::Live),
    ("/startupz", Class::Started),
    ("/startup", Class::Started),
    ("/readyz", Class::Ready),
    ("/ready", Class::Ready),
    ("/api/health", Class::Ready),
    ("/", Class::Socket),
    ("/ws", Class::Socket),
    ("/api/agent/ws", Class::Socket),
];

/// The routes.
pub fn router(front: Arc<Front>) -> Router {
    let say = |status: &'static str| get(move || async move { Json(json!({"ok": true, "status": status})) });
    let serve = |class| match class {
        Class::Live => say("live"),
        Class::Started => say("started"),
        Class::Ready => get(ready),
        Class::Socket => get(upgrade),
    };
    let routes = ROUTES.iter().fold(Router::new(), |routes, (path, class)| routes.route(path, serve(*class)));
    routes
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
        .layer(from_fn_with_state(Arc::clone(&front), gate))
        .with_state(front)
}

async fn ready(State(front): State<Arc<Front>>) -> Response {
    let readiness = front.serve.ready();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// A refusal: status and the one line that a person reads. It never repeats anything of the request.
type Refused = (StatusCode, &'static str);

async fn gate(State(front): State<Arc<Front>>, Extension(visit): Extension<Arc<Visit>>, request: Request, next: Next) -> Response {
    let rules = Arc::clone(&front.rules.borrow());
    // Before the gate: that a proxy changes the Host, so that the request is refused, is among what is to be found out.
    if let Some(word) = request.headers().get(probe::HEADER).and_then(|word| word.to_str().ok()) {
        front.serve.probed(word, &|| seen(&request, &rules, &visit));
    }
    let mut response = match check(&request, &rules, visit.port) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            if refused.1 == FOREIGN_ORIGIN {
                let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
                front.serve.denied(audited::foreign_origin(client_of(request.headers(), &rules, &visit), origin));
            }
            refuse(refused, &visit, request.uri().path())
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The address that a request comes from: the socket's, or what a trusted proxy says.
fn client_of(headers: &HeaderMap, rules: &Rules, visit: &Visit) -> IpAddr {
    client_address(visit.socket.ip(), forwarded(headers), &rules.trusted_proxies)
}

fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or("unreadable"))
}

fn seen(request: &Request, rules: &Rules, visit: &Visit) -> probe::Seen {
    let (headers, socket) = (request.headers(), fold(visit.socket.ip()));
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let trusted = rules.trusted_proxies.iter().any(|range| range.contains(socket));
    probe::Seen::new(socket, client_of(headers, rules, visit), trusted, forwarded(headers), host)
}

/// Answers and closes: after a request that broke a rule, what follows on the socket means nothing.
fn refuse((status, reason): Refused, visit: &Visit, path: &str) -> Response {
    // Only the path is logged, and not all of a long one: a query may hold what nobody should read.
    let path = path.get(..LOGGED_PATH_BYTES).unwrap_or(path);
    info!(peer = %visit.socket, status = status.as_u16(), reason, path, "request refused");
    (status, [(header::CONNECTION, "close")], format!("{reason}\n")).into_response()
}

fn check(request: &Request, rules: &Rules, port: u16) -> Result<(), Refused> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let headers = request.headers();
    if request.uri().authority().is_some() {
        return Err((BAD, "absolute request target"));
    }
    let host = single(headers, &header::HOST)?.ok_or((BAD, "missing host header"))?;
    let origin = single(headers, &header::ORIGIN)?;
    let refusal = |refusal: crate::auth::origin::Refusal| {
        let reason = match refusal {
            crate::auth::origin::Refusal::BadHost => "bad host header",
            crate::auth::origin::Refusal::ForeignHost => "host not served here",
            crate::auth::origin::Refusal::ForeignOrigin => FOREIGN_ORIGIN,
        };
        (StatusCode::from_u16(refusal.status()).unwrap_or(BAD), reason)
    };
    rules.hosts.check_host(host, port).map_err(refusal)?;
    rules.hosts.check_origin(origin, port).map_err(refusal)?;
    let length = single(headers, &header::CONTENT_LENGTH)?;
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
        return Err((BAD, "no body is taken here"));
    }
    if has_credential(request.uri()) {
        return Err((BAD, "credentials do not belong in the url; send them in the connect frame"));
    }
    Ok(())
}

/// The value of a header that may stand once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err((StatusCode::BAD_REQUEST, "repeated header"));
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| (StatusCode::BAD_REQUEST, "unreadable header"))
}

fn has_credential(uri: &axum::http::Uri) -> bool {
    if uri.query().is_none() {
        return false;
    }
    // A query that cannot be read cannot be shown to be harmless.
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return true };
    let plain = |name: &str| name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
    pairs.iter().any(|(name, _)| CREDENTIAL_NAMES.contains(&plain(name).as_str()))
}

async fn upgrade(State(front): State<Arc<Front>>, Extension(visit): Extension<Arc<Visit>>, mut request: Request) -> Response {
    match try_upgrade(&front, &visit, &mut request) {
        Ok(response) => response,
        Err(Turned::For(full)) => refuse_for_now(full, &visit, request.uri().path()),
        Err(Turned::Away((StatusCode::UPGRADE_REQUIRED, reason))) => {
            let ask = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade"), (header::SEC_WEBSOCKET_VERSION, "13")];
            (StatusCode::UPGRADE_REQUIRED, ask, format!("{reason}\n")).into_response()
        }
        Err(Turned::Away(refused)) => refuse(refused, &visit, request.uri().path()),
    }
}

/// Why there is no upgrade.
enum Turned {
    /// The request is not right.
    Away(Refused),
    /// There is no room for now.
    For(Full),
}

impl From<Refused> for Turned {
    fn from(refused: Refused) -> Self {
        Self::Away(refused)
    }
}

impl From<Full> for Turned {
    fn from(full: Full) -> Self {
        Self::For(full)
    }
}

/// Seconds until another try makes sense, for a refusal that time mends.
fn retry_after(full: Full) -> u64 {
    match full {
        Full::Often { retry_after_ms } => retry_after_ms.div_ceil(1000),
        Full::Connections | Full::Newcomers | Full::Address => 1,
    }
}

/// Refuses an upgrade for which there is no room now; says when to come again, to a person, a proxy and a program.
fn refuse_for_now(full: Full, visit: &Visit, path: &str) -> Response {
    let status = if matches!(full, Full::Often { .. }) { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = refuse((status, full.reason()), visit, path);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after(full)));
    response
}

/// Checks what the crate's own upgrade does not, takes the socket's place and starts the connection.
fn try_upgrade(front: &Arc<Front>, visit: &Visit, request: &mut Request) -> Result<Response, Turned> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let headers = request.headers();
    if request.method() != Method::GET || !headers.contains_key(header::UPGRADE) {
        return Err((StatusCode::UPGRADE_REQUIRED, "this address speaks websocket").into());
    }
    if request.version() != Version::HTTP_11 || !fastwebsockets::upgrade::is_upgrade_request(request) {
        return Err((BAD, "not a websocket upgrade").into());
    }
    if single(headers, &header::SEC_WEBSOCKET_VERSION)? != Some("13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "websocket version 13 is spoken here").into());
    }
    let key = single(headers, &header::SEC_WEBSOCKET_KEY)?.ok_or((BAD, "missing sec-websocket-key"))?;
    if base64::engine::general_purpose::STANDARD.decode(key).map(|key| key.len()) != Ok(16) {
        return Err((BAD, "bad sec-websocket-key").into());
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (origin, host, user_agent) = (text(header::ORIGIN), text(header::HOST), text(header::USER_AGENT));
    let addr = client_of(headers, &front.rules.borrow(), visit);
    let mut guard = visit.guard.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Full::Connections)?;
    guard.rename(addr)?;
    guard.connects(Instant::now())?;
    let (response, upgraded) = fastwebsockets::upgrade::upgrade(&mut *request).map_err(|_| (BAD, "not a websocket upgrade"))?;
    let socket = SocketAddr::new(fold(visit.socket.ip()), visit.socket.port());
    let peer = Peer::Tcp { addr, socket, tls: visit.tls };
    let front = Arc::clone(front);
    front.tasks.clone().spawn("connection", async move {
        let Some((source, writer, ahead)) = take_socket(upgraded).await else { return };
        let reader = MessageReader::WebSocket(ws::Reader::new(source, ahead, &front.limits.borrow()));
        let link = Link { reader, writer, framing: Framing::WebSocket, peer, origin, host, user_agent, guard };
        let served = Arc::clone(&front.serve).serve(link);
        drop(front);
        served.await;
    });
    Ok(response.map(|_| Body::empty()))
}

type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// The halves of the upgraded socket, and the bytes that came behind the request. The socket itself is taken out of the HTTP layer's wrapping, so that an idle connection keeps nothing of it.
async fn take_socket(upgraded: UpgradeFut) -> Option<(Source, Sink, Vec<u8>)> {
    let socket = match tokio::time::timeout(UPGRADE_TIMEOUT, upgraded).await {
        Ok(Ok(socket)) => socket.into_inner().into_inner(),
        Ok(Err(error)) => {
            debug!(%error, "the peer left during the upgrade");
            return None;
        }
        Err(_) => return None,
    };
    Some(split(socket))
}

fn split(upgraded: Upgraded) -> (Source, Sink, Vec<u8>) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let (read, write) = parts.io.into_inner().into_split();
            return (Box::new(read), Box::new(write), parts.read_buf.to_vec());
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        Ok(parts) => {
            let (read, write) = tokio::io::split(parts.io.into_inner());
            (Box::new(read), Box::new(write), parts.read_buf.to_vec())
        }
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(upgraded));
            (Box::new(read), Box::new(write), Vec::new())
        }
    }
}

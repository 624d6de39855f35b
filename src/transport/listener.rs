//! Listening sockets: TCP on loopback (or one configured address), with or without TLS, and the local socket in the state directory.
//!
//! Binding and serving are two steps, so that a taken port is known before anything else is built. A bind that fails is an error; nothing here ever falls back to a wider address. Accept loops end with the [`Listeners`]; connections run on in the group that they were given. What can change while we listen is in `open.rs`.

mod open;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use open::Listeners;

use crate::auth::peer::fold;
use crate::tasks::Tasks;
use crate::transport::admission::{Admission, Caps};
use crate::transport::http::{Rules, Visit};
use crate::transport::local::LocalListener;
use crate::transport::rest::Rest;
use crate::transport::wire::{ReadLimits, Serve};

/// A request's head must be here in this time, and a kept-alive socket may be silent for as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head may be this large, and have this many headers.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// How long a request that is being read or answered may go on when we stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// How often another free port is tried when the kernel's choice for IPv4 is taken on IPv6.
const PORT_TRIES: usize = 32;

/// Where to listen on TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// `127.0.0.1` and `[::1]`.
    Loopback,
    /// One address, which the caller has made sure of.
    Address(IpAddr),
}

/// What to listen on and how.
pub struct ListenSettings {
    /// The TCP address.
    pub bind: Bind,
    /// The TCP port; 0 takes a free one, the same on both loopback addresses.
    pub port: u16,
    /// TLS settings; plain when absent.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Path of the local socket; its directory is private to us.
    pub local: Option<PathBuf>,
    /// Limits of a connection before it is authenticated.
    pub limits: ReadLimits,
    /// How many connections there may be.
    pub caps: Caps,
    /// Hosts, origins and trusted proxies; may change while we listen.
    pub rules: watch::Receiver<Arc<Rules>>,
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP address.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The local socket.
    #[error("cannot listen on {}: {source}", path.display())]
    Local {
        /// Its path.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl ListenError {
    /// Whether somebody else listens there, so that trying later may help.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let (Self::Tcp { source, .. } | Self::Local { source, .. }) = self;
        source.kind() == ErrorKind::AddrInUse
    }
}

/// Sockets that are bound and not served yet: peers can connect and wait.
pub struct Bound {
    settings: ListenSettings,
    tcp: Vec<TcpListener>,
    local: Option<LocalListener>,
    addresses: Vec<SocketAddr>,
}

/// Binds all sockets of `settings`.
///
/// # Errors
/// The first socket that cannot be bound; none is left open then.
pub async fn bind(settings: ListenSettings) -> Result<Bound, ListenError> {
    let tcp = match settings.bind {
        Bind::Address(address) => vec![bind_one(SocketAddr::new(address, settings.port)).await?],
        Bind::Loopback => bind_loopback(settings.port).await?,
    };
    let addresses = tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let local = match &settings.local {
        Some(path) => Some(LocalListener::bind(path).map_err(|source| ListenError::Local { path: path.clone(), source })?),
        None => None,
    };
    Ok(Bound { settings, tcp, local, addresses })
}

async fn bind_one(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Tcp { address, source })
}

async fn bind_loopback(port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let v4 = bind_one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await?;
        let chosen = v4.local_addr().map_or(port, |address| address.port());
        match bind_one(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), chosen)).await {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(ListenError::Tcp { source, .. }) if lacks_v6(&source) => {
                info!("this machine has no IPv6 loopback; listening on 127.0.0.1 only");
                return Ok(vec![v4]);
            }
            Err(error) if tries == 0 || !error.is_taken() => return Err(error),
            Err(_) => {}
        }
    }
}

/// Whether the host has no `::1`: the address or the whole family is missing.
fn lacks_v6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(errno, Some(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::AFNOSUPPORT))
}

impl Bound {
    /// The TCP addresses, with the ports that were taken.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts accepting. Connections run in `tasks`; accepting ends with it too.
    pub fn serve(self, serve: Arc<dyn Serve>, tasks: &Tasks) -> Listeners {
        Listeners::open(self, serve, tasks)
    }
}

/// What the accept loops give their connections.
#[derive(Clone)]
struct Door {
    routes: TowerToHyperService<axum::Router>,
    tls: watch::Receiver<Option<TlsAcceptor>>,
    admission: Arc<Admission>,
    tasks: Tasks,
}

async fn accept_tcp(listener: TcpListener, door: Door, stop: CancellationToken) {
    let mut rest = Rest::default();
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => door.admit(stream, peer, port),
            Err(error) => rest.after(&error, &stop).await,
        }
    }
}

impl Door {
    fn admit(&self, stream: TcpStream, peer: SocketAddr, port: u16) {
        let tls = self.tls.borrow().clone();
        let guard = match self.admission.enter(fold(peer.ip())) {
            Ok(guard) => guard,
            Err(full) => {
                debug!(%peer, %full, "connection refused");
                if tls.is_none() {
                    // A courtesy that must not wait: what does not fit into the socket's buffer is lost.
                    let _ = stream
                        .try_write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                }
                return;
            }
        };
        // Frames are small and wait for nothing; without the option each would wait for the ack of the one before.
        let _ = stream.set_nodelay(true);
        let visit = Visit { socket: peer, port, tls: tls.is_some(), guard: Mutex::new(Some(guard)) };
        let (routes, stop) = (self.routes.clone(), self.tasks.stop_token());
        match tls {
            None => drop(self.tasks.spawn("http", speak_http(stream, visit, routes, stop))),
            Some(tls) => drop(self.tasks.spawn("https", async move {
                match tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => speak_http(stream, visit, routes, stop).await,
                    Ok(Err(error)) => info!(%peer, %error, "no tls handshake"),
                    Err(_) => info!(%peer, "no tls handshake in time"),
                }
            })),
        }
    }
}

/// Serves the requests of one socket until it is closed, upgraded or we stop.
pub fn speak_http<S>(
    stream: S,
    visit: Visit,
    routes: TowerToHyperService<axum::Router>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = visit.socket;
    let visit = Arc::new(visit);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Arc::clone(&visit));
        routes.call(request)
    });
    async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(STOP_TIMEOUT, connection).await.unwrap_or(Ok(()))
            }
        };
        match ended {
            Err(error) if error.is_parse() => info!(%peer, %error, "not an http request"),
            Err(error) => debug!(%peer, %error, "http connection ended"),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_takes_one_free_port_on_both_loopback_addresses() {
        let listeners = bind_loopback(0).await.unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().ip().is_loopback()));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_and_never_a_wider_or_another_bind() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind_loopback(address.port()).await.unwrap_err();
        assert!(error.is_taken());
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    fn a_host_without_ipv6_is_told_from_a_taken_port() {
        assert!(lacks_v6(&rustix::io::Errno::ADDRNOTAVAIL.into()));
        assert!(lacks_v6(&rustix::io::Errno::AFNOSUPPORT.into()));
        assert!(!lacks_v6(&rustix::io::Errno::ADDRINUSE.into()));
    }
}

//! The sockets that accept connections, and their change while connections live on.
//!
//! A new address is bound before an old one is closed, so that a port that is taken changes nothing. Only where the kernel does not let both exist, a wide address and a narrow one on the same port, the old one is closed first, and taken back if the new one cannot be had.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{Bind, Bound, Door, ListenError, accept_tcp, bind_loopback, bind_one, lacks_v6};
use crate::tasks::Tasks;
use crate::transport::admission::{Admission, Caps};
use crate::transport::http::{Front, router};
use crate::transport::local::serve_local;
use crate::transport::wire::{ReadLimits, Serve};

/// The sockets that accept connections.
pub struct Listeners {
    accepting: Tasks,
    door: Door,
    tls: watch::Sender<Option<TlsAcceptor>>,
    limits: watch::Sender<ReadLimits>,
    open: Mutex<Vec<Open>>,
    local: Option<PathBuf>,
}

/// One TCP socket with its accept loop.
struct Open {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Open {
    async fn close(self) -> SocketAddr {
        self.stop.cancel();
        let _ = self.ended.await;
        self.address
    }
}

impl Listeners {
    /// Starts accepting on what is bound.
    pub(super) fn open(bound: Bound, serve: Arc<dyn Serve>, tasks: &Tasks) -> Self {
        let Bound { settings, tcp, local, .. } = bound;
        let accepting = tasks.child();
        let admission = Admission::new(settings.caps);
        let (limits, read_limits) = watch::channel(settings.limits);
        let (tls, acceptor) = watch::channel(settings.tls.map(TlsAcceptor::from));
        let front = Front { serve: Arc::clone(&serve), rules: settings.rules, limits: read_limits.clone(), tasks: tasks.clone() };
        let routes = TowerToHyperService::new(router(Arc::new(front)));
        let door = Door { routes, tls: acceptor, admission: Arc::clone(&admission), tasks: tasks.clone() };
        let path = local.as_ref().map(|local| local.path().to_owned());
        if let Some(local) = local {
            let loop_of = serve_local(local, serve, read_limits, admission, tasks.clone(), accepting.stop_token());
            accepting.spawn("local accept", loop_of);
        }
        let listeners = Self { accepting, door, tls, limits, open: Mutex::default(), local: path };
        listeners.accept(tcp);
        listeners
    }

    fn accept(&self, sockets: Vec<TcpListener>) {
        for socket in sockets {
            let Ok(address) = socket.local_addr() else { continue };
            let stop = self.accepting.stop_token().child_token();
            let ended = self.accepting.spawn("tcp accept", accept_tcp(socket, self.door.clone(), stop.clone()));
            self.lock().push(Open { address, stop, ended });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The TCP addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.lock().iter().map(|open| open.address).collect()
    }

    /// The path of the local socket.
    #[must_use]
    pub fn local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// Connections at work, and newcomers that have shown no credential.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.door.admission.counts()
    }

    /// Other bounds for connections from now on.
    pub fn set_bounds(&self, limits: ReadLimits, caps: Caps) {
        self.limits.send_replace(limits);
        self.door.admission.set_caps(caps);
    }

    /// Listens elsewhere, and speaks TLS or not from the next connection on. Connections that are open live on. One such change at a time.
    ///
    /// # Errors
    /// The new address cannot be had; everything is as it was.
    pub async fn relisten(&self, bind: Option<(Bind, u16)>, tls: Option<Arc<rustls::ServerConfig>>) -> Result<(), ListenError> {
        // First, so that no moment lets anybody in without TLS on an address that needs it.
        let before = self.tls.send_replace(tls.map(TlsAcceptor::from));
        let Some((bind, port)) = bind else { return Ok(()) };
        let rebound = self.rebind(bind, port).await;
        if rebound.is_err() {
            self.tls.send_replace(before);
        }
        rebound
    }

    async fn rebind(&self, bind: Bind, port: u16) -> Result<(), ListenError> {
        let wanted = match bind {
            // Any free port: nothing that is open can be meant.
            _ if port == 0 => Vec::new(),
            Bind::Address(address) => vec![SocketAddr::new(address, port)],
            Bind::Loopback => [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|ip| SocketAddr::new(ip, port)).to_vec(),
        };
        let (kept, old): (Vec<Open>, Vec<Open>) =
            std::mem::take(&mut *self.lock()).into_iter().partition(|open| wanted.contains(&open.address));
        let missing: Vec<SocketAddr> = wanted.into_iter().filter(|address| kept.iter().all(|open| open.address != *address)).collect();
        self.lock().extend(kept);
        let blocks = |open: &Open| {
            missing.iter().any(|new| new.port() == open.address.port() && (new.ip().is_unspecified() || open.address.ip().is_unspecified()))
        };
        let (blocking, harmless): (Vec<Open>, Vec<Open>) = old.into_iter().partition(blocks);
        let mut given_up = Vec::new();
        for open in blocking {
            given_up.push(open.close().await);
        }
        match bind_all(bind, port, &missing).await {
            Ok(sockets) => {
                self.accept(sockets);
                for open in harmless {
                    open.close().await;
                }
                info!(addresses = ?self.addresses(), "listening elsewhere");
                Ok(())
            }
            Err(cause) => {
                self.lock().extend(harmless);
                for address in given_up {
                    match bind_one(address).await {
                        Ok(socket) => self.accept(vec![socket]),
                        Err(lost) => error!(%lost, "an address that was given up for another cannot be taken back"),
                    }
                }
                Err(cause)
            }
        }
    }

    /// Stops accepting and closes the sockets; connections live on. Returns whether all loops ended in `deadline`.
    pub async fn close(&self, deadline: Duration) -> bool {
        self.accepting.stop(deadline).await
    }
}

async fn bind_all(bind: Bind, port: u16, missing: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    match bind {
        Bind::Loopback if port == 0 => bind_loopback(0).await,
        Bind::Address(address) if port == 0 => Ok(vec![bind_one(SocketAddr::new(address, 0)).await?]),
        _ => {
            let mut sockets = Vec::new();
            for address in missing {
                match bind_one(*address).await {
                    Ok(socket) => sockets.push(socket),
                    // As at the start: a machine without IPv6 listens on IPv4 only.
                    Err(ListenError::Tcp { source, .. }) if bind == Bind::Loopback && address.is_ipv6() && lacks_v6(&source) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(sockets)
        }
    }
}

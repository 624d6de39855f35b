//! What a handler may touch, and the way its answers take to the connection.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::error::no_such_run;
use super::watching::Watching;
use crate::audit::{Action, Event};
use crate::auth::credential::{CredentialId, Lease};
use crate::events::hub::SessionEvent;
use crate::gateway::Gateway;
use crate::gateway::portal::Home;
use crate::gateway::room::Taken;
use crate::protocol::error::RpcError;
use crate::protocol::event::agent::ToolDetail;
use crate::protocol::frame;
use crate::protocol::ids::{ConnId, RunId};
use crate::protocol::scope::ScopeSet;
use crate::runs::handle::Handle;
use crate::runs::log::RunLog;
use crate::store::record::RunRecord;

/// Who is at the other end, as far as the server knows it.
#[derive(Debug)]
pub struct Caller {
    /// The connection.
    pub conn_id: ConnId,
    /// Whom runs and idempotency keys belong to.
    pub principal: Arc<str>,
    /// Whether it knows of everybody's runs: its credential grants admin. Else of its own only.
    pub sees_all: bool,
    /// Where it is at home, if it is a user of a portal: it has this session and no other.
    pub home: Option<Home>,
    /// Which credential it came with.
    pub credential: CredentialId,
    /// Where it is; none on the local socket.
    pub address: Option<IpAddr>,
    /// When that ends, wall-clock ms since the epoch.
    pub expires_at: Option<u64>,
    /// Its hold on the credential; nothing is served once it has ended.
    pub lease: Lease,
    /// The device that it has proved to be.
    pub device: Option<Arc<str>>,
    /// `operator` or `node`.
    pub role: &'static str,
    /// Effective scopes.
    pub scopes: ScopeSet,
    /// Protocol version of this connection.
    pub protocol: u32,
    /// Which sessions it watches.
    pub watching: Arc<Watching>,
    /// Held while a message is on its way to the store, so that messages of one connection are accepted in the order in which they came.
    pub order: tokio::sync::Mutex<()>,
    /// Whether it understands events of tools (cap `tool-events`).
    pub tool_events: bool,
    /// Cancelled when the connection is gone.
    pub closed: CancellationToken,
}

impl Caller {
    /// An event of the audit log that this caller has caused.
    #[must_use]
    pub fn event(&self, action: Action) -> Event {
        Event::new(action).by(&self.principal).credential(Some(&self.credential.to_string())).from(self.address)
    }

    /// Whether this run exists for the caller.
    #[must_use]
    pub fn knows(&self, run: &RunRecord) -> bool {
        self.sees_all || *self.principal == run.principal
    }
}

/// One request being served.
#[derive(Clone)]
pub struct Call {
    /// The parts of the gateway.
    pub gateway: Arc<Gateway>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The way to the connection's writer.
    pub outlet: Outlet,
    state: Arc<State>,
}

struct State {
    id: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    place: Option<Place>,
    after: Option<Arc<RunLog>>,
    then: Option<Outgoing>,
    last: Option<Box<dyn FnOnce() + Send>>,
}

/// A place among the calls that are served at once; freed when dropped.
pub struct Place {
    /// Among the calls of its connection.
    pub own: Taken,
    /// Among those of all connections.
    pub shared: Taken,
}

impl Call {
    /// The call with this request id, on this place.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, caller: Arc<Caller>, outlet: Outlet, id: String, place: Option<Place>) -> Self {
        let inner = Mutex::new(Inner { place, ..Inner::default() });
        Self { gateway, caller, outlet, state: Arc::new(State { id, inner }) }
    }

    /// The run with this id.
    ///
    /// # Errors
    /// There is none, or it is somebody else's: both look the same. The store cannot be read.
    pub async fn run(&self, run_id: &RunId) -> Result<Handle, RpcError> {
        let found = self.gateway.runs.find(run_id).await?;
        found.filter(|handle| self.caller.knows(handle.record())).ok_or_else(|| no_such_run(run_id))
    }

    /// Id of the request.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// Sends the first of two answers and frees the call's place, so that a long run does not use up the connection.
    pub async fn ack(&self, payload: &impl serde::Serialize) {
        let body = serde_json::to_vec(payload).unwrap_or_default();
        // Before the peer can know, who may send as many calls as it has places at once.
        self.lock().place = None;
        // A connection that is gone takes nothing from the run: it goes on, and its final can be had from any other.
        let _ = self.outlet.send(frame::res_ok(self.id(), &body)).await;
        // The connection's writer goes first: to start a run's process takes longer than to write these few bytes.
        tokio::task::yield_now().await;
    }

    /// Holds the answer back until the connection has had every event of this run.
    pub fn answer_after(&self, log: Arc<RunLog>) {
        self.lock().after = Some(log);
    }

    /// What the writer is told right behind the answer.
    pub fn then(&self, item: Outgoing) {
        self.lock().then = Some(item);
    }

    /// What is done when the answer is on its way, also if the connection is gone.
    pub fn after(&self, act: impl FnOnce() + Send + 'static) {
        self.lock().last = Some(Box::new(act));
    }

    /// Sends the answer, and what was to follow it.
    pub async fn answer(self, result: Result<Vec<u8>, RpcError>) {
        let bytes = match &result {
            Ok(payload) => frame::res_ok(self.id(), payload),
            Err(error) => frame::res_error(self.id(), error),
        };
        let (after, then, last) = {
            let mut inner = self.lock();
            inner.place = None;
            (inner.after.take(), inner.then.take(), inner.last.take())
        };
        let sent = match after {
            Some(log) => self.outlet.send_after(log, bytes).await,
            None => self.outlet.send(bytes).await,
        };
        if let (Ok(()), Ok(_), Some(then)) = (sent, result, then) {
            let _ = self.outlet.push(then).await;
        }
        if let Some(last) = last {
            last();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.state.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes on their way to the peer; they count against the connection's budget until they are written.
#[derive(Debug)]
pub struct Budgeted {
    /// One frame.
    pub bytes: Vec<u8>,
    /// Freed when the frame has been written.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What a connection's writer is told.
pub enum Outgoing {
    /// Write this frame.
    Frame(Budgeted),
    /// Write this frame once every event of this run has been written.
    AfterRun(Arc<RunLog>, Budgeted),
    /// This connection has started the run; tell it so much of the run's tool calls.
    Started(Arc<RunLog>, ToolDetail),
    /// Deliver the run's events with a `seq` above this one.
    Follow(Arc<RunLog>, u64),
    /// Deliver no more events of the run with this file id.
    Unfollow(String),
    /// Deliver the events of sessions that the connection watches.
    Watch(Arc<Watching>, broadcast::Receiver<SessionEvent>),
    /// Answer a ping.
    Pong(Vec<u8>),
    /// Close with this code and reason after everything before it.
    Close(u16, String),
}

/// The connection is gone, or too slow to take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The way into a writer's queue. Boxed, because a channel sets places aside, which an idle connection never needs.
type Queue = mpsc::Sender<Box<Outgoing>>;

/// Sends to one connection's writer; bounded in frames and in bytes.
#[derive(Clone)]
pub struct Outlet {
    queue: Queue,
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    patience: Duration,
    slow: CancellationToken,
}

impl Outlet {
    /// A way to the writer that reads `queue`. At most `budget_bytes` wait unwritten; a sender waits at most `patience` for room and then gives the connection up as slow.
    #[must_use]
    pub fn new(queue: Queue, budget_bytes: usize, patience: Duration) -> Self {
        let budget_bytes = u32::try_from(budget_bytes).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
        Self { queue, budget: Arc::new(Semaphore::new(budget_bytes as usize)), budget_bytes, patience, slow: CancellationToken::new() }
    }

    /// Cancelled when a sender lost patience: the connection is to be closed as a slow consumer.
    #[must_use]
    pub fn slow(&self) -> CancellationToken {
        self.slow.clone()
    }

    /// Queues one frame.
    ///
    /// # Errors
    /// When the connection is gone or too slow.
    pub async fn send(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        let frame = self.budgeted(bytes).await?;
        self.push(Outgoing::Frame(frame)).await
    }

    /// Queues one frame behind the events of a run.
    ///
    /// # Errors
    /// When the connection is gone or too slow.
    pub async fn send_after(&self, log: Arc<RunLog>, bytes: Vec<u8>) -> Result<(), Gone> {
        let frame = self.budgeted(bytes).await?;
        self.push(Outgoing::AfterRun(log, frame)).await
    }

    /// Queues anything else.
    ///
    /// # Errors
    /// When the connection is gone or too slow.
    pub async fn push(&self, item: Outgoing) -> Result<(), Gone> {
        match self.queue.try_send(Box::new(item)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            Err(mpsc::error::TrySendError::Full(item)) => match tokio::time::timeout(self.patience, self.queue.send(item)).await {
                Ok(sent) => sent.map_err(|_| Gone),
                Err(_) => self.give_up(),
            },
        }
    }

    async fn budgeted(&self, bytes: Vec<u8>) -> Result<Budgeted, Gone> {
        let wanted = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(self.budget_bytes);
        if let Ok(permit) = Arc::clone(&self.budget).try_acquire_many_owned(wanted) {
            return Ok(Budgeted { bytes, permit: Some(permit) });
        }
        match tokio::time::timeout(self.patience, Arc::clone(&self.budget).acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(Budgeted { bytes, permit: Some(permit) }),
            Ok(Err(_)) => Err(Gone),
            Err(_) => self.give_up(),
        }
    }

    fn give_up<T>(&self) -> Result<T, Gone> {
        self.slow.cancel();
        Err(Gone)
    }
}

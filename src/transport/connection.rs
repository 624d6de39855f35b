//! One connection: challenge, handshake, then a loop that admits requests and hands their answers to the writer.
//!
//! ```text
//! open ──challenge──> waiting ──connect──> live ──close, error, silence, stop──> closed
//!            └── 10 s ──────┴── refused ──> closed
//! ```
//! Two tasks: this reader, and the writer in `outbox.rs`. A request whose answer is ready at once is answered here; any other becomes a task of its own, so that a slow method never stops the reading of pings and aborts.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::audited;
use super::feeds::{Feeds, Intervals};
use super::handshake::{self, Welcome};
use super::liveness::Liveness;
use super::outbox::Outbox;
use super::spending::{class_of, payer, too_many};
use super::wire::{Framing, Incoming, Link, MessageReader, Readiness, Serve};
use crate::audit::{Action, Event};
use crate::auth::budget::Purse;
use crate::auth::credential::EXPIRED;
use crate::auth::probe::Seen;
use crate::gateway::Gateway;
use crate::gateway::room::Room;
use crate::protocol::codes::SERVICE_RESTART;
use crate::protocol::error::RpcError;
use crate::protocol::frame::{self, Request};
use crate::rpc::call::{Call, Caller, Outgoing, Outlet, Place};
use crate::rpc::dispatch::Router;
use crate::rpc::method::{Answer, Entry, Rate};
use crate::tasks::{CatchPanic, Tasks};

/// Most frames that wait for the writer.
const QUEUE: usize = 1024;
/// Frames in a row that are not JSON objects, after which the peer is taken for broken.
const STRIKES: u32 = 3;
/// Messages in a row after which the writer goes first: a peer that sends many at once gets the first answers while the last ones are made.
const IN_A_ROW: u32 = 16;
/// How long a closed connection is read on, so that the peer gets our close frame and not a reset.
const DRAIN: Duration = Duration::from_secs(2);
/// The same when the daemon stops.
const DRAIN_AT_STOP: Duration = Duration::from_millis(500);

/// Serves every connection of a gateway.
pub struct Front {
    gateway: Arc<Gateway>,
    router: Router,
    tasks: Tasks,
}

impl Front {
    /// A front of `gateway`; its connections are tasks of `tasks`.
    ///
    /// # Errors
    /// The method table is broken: a bug, found at start.
    pub fn new(gateway: Arc<Gateway>, tasks: Tasks) -> Result<Self, String> {
        Ok(Self { gateway, router: Router::new()?, tasks })
    }

    /// The tasks of the connections.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

impl Serve for Front {
    fn serve(self: Arc<Self>, link: Link) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.connection(link).await })
    }

    fn ready(&self) -> Readiness {
        let failing = self.gateway.failing();
        Readiness { ready: failing.is_empty(), failing }
    }

    fn denied(&self, event: Event) {
        self.gateway.audit.note_refusal(event);
    }

    fn probed(&self, word: &str, seen: &dyn Fn() -> Seen) {
        self.gateway.probe.observe(word, std::time::Instant::now(), seen);
    }
}

/// A connection past its handshake, from the reader's side.
struct Live {
    front: Arc<Front>,
    caller: Arc<Caller>,
    outlet: Outlet,
    places: Room,
    in_flight: Arc<Mutex<HashSet<String>>>,
    purse: Purse,
    strikes: u32,
}

impl Front {
    async fn connection(self: Arc<Self>, mut link: Link) {
        let loaded = self.gateway.loaded();
        let limits = &loaded.config.gateway.limits;
        let patience = Duration::from_millis(limits.write_timeout_ms);
        let closed = self.tasks.stop_token().child_token();
        let liveness =
            Arc::new(Liveness::new(Duration::from_millis(limits.ping_interval_ms), Duration::from_millis(limits.pong_timeout_ms)));
        let (queue, queued) = mpsc::channel(QUEUE);
        let outlet = Outlet::new(queue, limits.max_buffered_bytes, patience);
        let (open, opened) = oneshot::channel();
        let writer = std::mem::replace(&mut link.writer, Box::new(tokio::io::sink()));
        let outbox = Outbox::new(writer, link.framing, queued, outlet.slow(), closed.clone(), Arc::clone(&liveness), patience);
        let writing = self.tasks.spawn("connection.outbox", outbox.run(opened));
        let opening = Opening { front: &self, outlet: &outlet, closed: &closed, liveness: &liveness };
        // On the heap, so that what the handshake needed is not kept for the life of the connection.
        let welcome = Box::pin(opening.handshake(&mut link)).await;
        if let Some(welcome) = welcome {
            opening.live(&mut link, open, welcome).await;
        }
        let slow = outlet.slow();
        drop(outlet);
        // The writer ends by itself: its queue is empty and without senders, or it has written the close frame.
        let stop = self.tasks.stop_token();
        let hurry = async {
            self.gateway.stopping().await;
            sleep(DRAIN_AT_STOP).await;
        };
        tokio::select! {
            () = link.reader.drain(DRAIN) => {}
            () = hurry => {}
            () = stop.cancelled() => {}
        }
        closed.cancel();
        let _ = writing.await;
        if slow.is_cancelled() {
            info!(peer = %link.peer, "a connection was given up: its peer did not read");
        }
    }
}

struct Opening<'a> {
    front: &'a Arc<Front>,
    outlet: &'a Outlet,
    closed: &'a CancellationToken,
    liveness: &'a Arc<Liveness>,
}

impl Opening<'_> {
    /// From the challenge to hello. `None`: the connection ends, and has been told why.
    async fn handshake(&self, link: &mut Link) -> Option<Welcome> {
        let nonce = uuid::Uuid::new_v4().to_string();
        let gateway = &self.front.gateway;
        self.outlet.send(handshake::challenge(gateway, &nonce)).await.ok()?;
        let within = Duration::from_millis(gateway.loaded().config.gateway.limits.handshake_timeout_ms);
        let first = tokio::select! {
            () = self.closed.cancelled() => return None,
            () = gateway.stopping() => {
                self.close(SERVICE_RESTART.0, SERVICE_RESTART.1).await;
                return None;
            }
            first = tokio::time::timeout(within, self.first_text(&mut link.reader)) => first,
        };
        let text = match first {
            Err(_) => {
                self.close(1000, "").await;
                return None;
            }
            Ok(Err(None)) => return None,
            Ok(Err(Some((code, reason)))) => {
                self.close(code, reason).await;
                return None;
            }
            Ok(Ok(text)) => text,
        };
        let request = handshake::Arrival { gateway, peer: &link.peer, nonce: &nonce, closed: self.closed };
        // Subscribed before the snapshot of hello is taken, so that nothing falls between the two.
        let feeds = |audience| {
            let tick = gateway.loaded().config.gateway.limits.tick_interval_ms;
            let ping = (link.framing == Framing::WebSocket).then(|| self.liveness.period());
            let intervals = Intervals { tick: Duration::from_millis(tick), ping };
            Feeds::subscribe(Arc::clone(&gateway.hub), gateway.runs.clone(), audience, intervals)
        };
        match handshake::connect(&request, &text, feeds).await {
            Ok(welcome) => Some(welcome),
            Err(refusal) => {
                info!(peer = %link.peer, reason = %refusal.reason, "connection refused");
                if let Some(answer) = refusal.answer {
                    let _ = self.outlet.send(answer).await;
                }
                self.close(refusal.code, &refusal.reason).await;
                None
            }
        }
    }

    /// The first message; signs of life before it are answered and do not prolong the wait. The error is the close frame to send, if one can be sent.
    async fn first_text(&self, reader: &mut MessageReader) -> Result<String, Option<(u16, &'static str)>> {
        loop {
            match reader.next().await {
                Incoming::Text(text) => return Ok(text),
                Incoming::Ping(payload) => self.outlet.push(Outgoing::Pong(payload)).await.map_err(|_| None)?,
                Incoming::Pong => {}
                Incoming::Binary(_) => return Err(Some((1003, "binary messages are not taken"))),
                Incoming::Violation { code, reason } => return Err(Some((code, reason))),
                Incoming::Close(_) => return Err(Some((1000, ""))),
                Incoming::End => return Err(None),
            }
        }
    }

    async fn live(self, link: &mut Link, open: oneshot::Sender<Feeds>, welcome: Welcome) {
        let Welcome { caller, hello, feeds, presence, approver, counted } = welcome;
        link.guard.authenticated();
        let loaded = self.front.gateway.loaded();
        let limits = &loaded.config.gateway.limits;
        link.reader.set_limits(limits.max_payload, limits.max_fragments);
        debug!(conn_id = %caller.conn_id, peer = %link.peer, protocol = caller.protocol, "connected");
        if self.outlet.send(hello).await.is_err() || open.send(feeds).is_err() {
            return;
        }
        if self.front.gateway.is_stopping() {
            // That all connections are closed may have been said before this one listened.
            self.close(SERVICE_RESTART.0, SERVICE_RESTART.1).await;
        }
        let live = Live {
            front: Arc::clone(self.front),
            caller: Arc::clone(&caller),
            outlet: self.outlet.clone(),
            places: Room::new(limits.max_calls_per_connection),
            in_flight: Arc::default(),
            purse: self.front.gateway.access.budgets.purse(&payer(&caller), Instant::now()),
            strikes: 0,
        };
        drop(loaded);
        let end = live.read(&mut link.reader, self.closed, self.liveness).await;
        if caller.lease.ended(Instant::now()) == Some(EXPIRED) {
            self.front.gateway.audit.note(caller.event(Action::CredentialExpire).target(caller.conn_id.as_str()));
        }
        drop(presence);
        drop(counted);
        drop(approver);
        caller.closed.cancel();
        if let Some((code, reason)) = end {
            debug!(conn_id = %caller.conn_id, code, reason, "closing");
            self.close(code, reason).await;
        } else {
            self.closed.cancel();
        }
    }

    async fn close(&self, code: u16, reason: &str) {
        let _ = self.outlet.push(Outgoing::Close(code, reason.to_owned())).await;
    }
}

impl Live {
    /// Reads until the connection ends. Returns the close frame to send, if one can be sent.
    async fn read(mut self, reader: &mut MessageReader, closed: &CancellationToken, liveness: &Liveness) -> Option<(u16, &'static str)> {
        // One for all messages: to ask anew each time would take the token's lock twice.
        let mut gone = pin!(closed.cancelled());
        let mut in_a_row = 0_u32;
        loop {
            let incoming = tokio::select! {
                biased;
                () = &mut gone => return None,
                incoming = reader.next() => incoming,
            };
            let now = Instant::now();
            liveness.on_heard(now);
            match incoming {
                Incoming::Text(text) => {
                    if let Some(close) = self.on_text(&text, now).await {
                        return Some(close);
                    }
                    in_a_row = (in_a_row + 1) % IN_A_ROW;
                    if in_a_row == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Incoming::Ping(payload) => self.outlet.push(Outgoing::Pong(payload)).await.ok()?,
                Incoming::Pong => {}
                Incoming::Close(code) => return Some((code.filter(|code| *code != 1005).unwrap_or(1000), "")),
                Incoming::Binary(_) => return Some((1003, "binary messages are not taken")),
                Incoming::Violation { code, reason } => return Some((code, reason)),
                Incoming::End => return None,
            }
        }
    }

    async fn on_text(&mut self, text: &str, now: Instant) -> Option<(u16, &'static str)> {
        // The signal that ends such connections goes through the writer; a peer that does not read must not work on meanwhile.
        if let Some(reason) = self.caller.lease.ended(now) {
            return Some((1008, reason));
        }
        let request = match frame::parse(text, self.caller.protocol) {
            Ok(request) => request,
            Err(malformed) => {
                let answer = frame::res_error(&malformed.id, &RpcError::invalid(malformed.message));
                let _ = self.outlet.send(answer).await;
                self.strikes = if malformed.not_an_object { self.strikes + 1 } else { 0 };
                return (self.strikes >= STRIKES).then_some((1008, "too many invalid frames"));
            }
        };
        self.strikes = 0;
        match self.admit(&request, now) {
            Ok((method, call, answer)) => self.start(method, call, answer).await,
            Err(error) => {
                log_refusal(&request.method, &error);
                audited::beyond_scope(&self.front.gateway, &self.caller, &request.method, &error);
                let _ = self.outlet.send(frame::res_error(&request.id, &error)).await;
            }
        }
        None
    }

    /// Everything that is checked before a handler runs. Also gives the method's name.
    fn admit(&mut self, request: &Request<'_>, now: Instant) -> Result<(&'static str, Call, Answer), RpcError> {
        if self.lock_ids().contains(&request.id) {
            return Err(RpcError::invalid("a request with this id is still being served").with_code("DUPLICATE_ID"));
        }
        let entry = self.front.router.find(&self.caller, &request.method)?;
        if let Some(class) = class_of(entry.rate) {
            self.purse.take(class, now).map_err(|spent| too_many(&spent))?;
        }
        let place = self.place(entry)?;
        let gateway = Arc::clone(&self.front.gateway);
        let call = Call::new(gateway, Arc::clone(&self.caller), self.outlet.clone(), request.id.clone(), place);
        let answer = self.front.router.prepare(entry, call.clone(), request)?;
        Ok((entry.name, call, answer))
    }

    fn place(&self, entry: &Entry) -> Result<Option<Place>, RpcError> {
        if entry.rate == Rate::Abort {
            return Ok(None);
        }
        let busy = |code| RpcError::try_again("too many requests are being served", 250).with_code(code);
        let own = self.places.enter().ok_or_else(|| busy("TOO_MANY_INFLIGHT"))?;
        let shared = self.front.gateway.calls().enter().ok_or_else(|| busy("OVERLOADED"))?;
        Ok(Some(Place { own, shared }))
    }

    /// Answers at once if the handler can, else lets it run on its own.
    async fn start(&self, method: &'static str, call: Call, answer: Answer) {
        let mut answer = CatchPanic(answer);
        if let Some(result) = at_once(&mut answer) {
            return call.answer(settle(method, result)).await;
        }
        let ids = Arc::clone(&self.in_flight);
        let id = call.id().to_owned();
        self.lock_ids().insert(id.clone());
        self.front.gateway.tasks.spawn("call", async move {
            let result = settle(method, answer.await);
            ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            call.answer(result).await;
        });
    }

    fn lock_ids(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer, if the handler has it without waiting.
fn at_once(answer: &mut CatchPanic<dyn Future<Output = Result<Vec<u8>, RpcError>> + Send>) -> Option<Option<Result<Vec<u8>, RpcError>>> {
    match Pin::new(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// A handler that panicked answers too.
fn settle(method: &str, result: Option<Result<Vec<u8>, RpcError>>) -> Result<Vec<u8>, RpcError> {
    let result = result.unwrap_or_else(|| Err(RpcError::unavailable("internal error", "the handler panicked").with_code("INTERNAL")));
    if let Err(error) = &result {
        log_refusal(method, error);
    }
    result
}

fn log_refusal(method: &str, error: &RpcError) {
    match &error.cause {
        Some(cause) => warn!(method, code = ?error.code, %cause, "a request failed"),
        None => debug!(method, code = ?error.code, message = %error.message, "a request was refused"),
    }
}

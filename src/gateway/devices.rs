//! The devices of a running gateway: one book of them, changed in one place, on disk before it takes effect.
//!
//! A change is decided by the rules (`auth/pairing`), recorded in the audit log, stored, applied, and only then told. Changes wait for each other; looking something up waits for nobody.
//! Whoever takes a token back ends the connections that came with it, within the same second.

mod decide;
mod wire;

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use super::Gateway;
use crate::audit::{Action, AuditError, Decision, Event};
use crate::auth::credential::{CredentialId, REVOKED};
use crate::auth::pairing::{Ask, Book, Denied, Now, Recognised, words};
use crate::auth::token::TokenDigest;
use crate::clock::now_ms;
use crate::config::init::new_token;
use crate::protocol::event::device::PairRequestRow;
use crate::protocol::scope::ScopeSet;
use crate::store::devices::{DeviceRecord, DeviceWrite, Grant, PairRequest};
use crate::store::{Store, StoreError};

pub use self::decide::By;
pub use self::wire::{paired_row, request_row};

/// How long a failed sweep waits before it tries again.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);

/// The book and its one writer's place.
#[derive(Debug, Default)]
pub struct Devices {
    book: RwLock<Book>,
    order: tokio::sync::Mutex<()>,
    changed: Notify,
}

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeviceError {
    /// The rules say no.
    #[error("{0}")]
    Denied(Denied),
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// It cannot be recorded.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The system has no randomness.
    #[error("no token can be made: {0}")]
    Random(String),
}

impl From<Denied> for DeviceError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// What the gateway knows about a device that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its token is right; this was granted.
    Token(Grant),
    /// It showed none and may fetch one; this was granted.
    Claim(Grant),
    /// It showed none and must ask, for this reason.
    MustAsk(&'static str),
    /// What it showed is not its token.
    Wrong,
}

/// A token on its way to its device. The gateway keeps no copy.
#[derive(Clone)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// What it is good for.
    pub grant: Grant,
}

impl Devices {
    /// The devices of this store.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let book = Book::load(store.devices().await?, Now { wall: now_ms(), steady: 0 });
        Ok(Self { book: RwLock::new(book), ..Self::default() })
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, writes: Vec<DeviceWrite>, now: Now) {
        self.book.write().unwrap_or_else(PoisonError::into_inner).apply(writes, now);
        self.changed.notify_one();
    }
}

impl Gateway {
    fn moment(&self) -> Now {
        Now { wall: self.now(), steady: self.uptime_ms() }
    }

    /// Looks a device up. `shown` is what it showed as its token.
    #[must_use]
    pub fn recognise_device(&self, device_id: &str, role: &str, shown: Option<&str>, wanted: ScopeSet) -> Seen {
        let digest = shown.map(|token| TokenDigest::of(token).bytes());
        match self.devices.book().recognise(device_id, role, digest.as_ref(), wanted, self.moment()) {
            Recognised::Token(grant) => Seen::Token(grant.clone()),
            Recognised::Claim(grant) => Seen::Claim(grant.clone()),
            Recognised::MustAsk(reason) => Seen::MustAsk(reason),
            Recognised::Wrong => Seen::Wrong,
        }
    }

    /// What this device holds for this role, if it was not taken back.
    #[must_use]
    pub fn grant_of(&self, device_id: &str, role: &str) -> Option<Grant> {
        let book = self.devices.book();
        let device = book.devices().into_iter().find(|device| device.device_id == device_id)?;
        device.grants.iter().find(|grant| grant.role == role && grant.revoked_at.is_none()).cloned()
    }

    /// Notes that a device's token was used. From here on its signature alone gets it no other.
    pub async fn note_device_use(&self, device_id: &str, role: &str) {
        let _order = self.devices.order.lock().await;
        let now = self.moment();
        let write = self.devices.book().used(device_id, role, now);
        if let Some(write) = write {
            self.store.note_devices(vec![write.clone()]);
            self.devices.apply(vec![write], now);
        }
    }

    /// Makes a token for a device that may fetch one; none if it may not any more.
    ///
    /// # Errors
    /// It cannot be recorded or stored; then there is no token.
    pub async fn claim_device_token(&self, device_id: &str, role: &str, ip: Option<IpAddr>) -> Result<Option<Issued>, DeviceError> {
        let token = random_token()?;
        let digest = TokenDigest::of(&token).bytes();
        let event = Event::new(Action::CredentialNew).by(&format!("device:{device_id}")).from(ip).target(device_id).with("role", role);
        let claimed = self
            .change_devices(|book, now| {
                let (grant, write) = book.claim(device_id, role, digest, now).ok_or(Denied::NoDevice)?;
                Ok((grant, vec![write], Some(event)))
            })
            .await;
        match claimed {
            Ok(grant) => {
                // The token before this one is no longer good.
                self.end_device(device_id, Some(role));
                Ok(Some(Issued { token, grant }))
            }
            Err(DeviceError::Denied(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes down that a device wants in, or finds that it has asked already. Whoever decides is told of a new request.
    ///
    /// # Errors
    /// Too many wait, or it cannot be stored.
    pub async fn ask_to_pair(&self, ask: Ask) -> Result<PairRequest, DeviceError> {
        let id = uuid::Uuid::new_v4().to_string();
        let event = Event::new(Action::PairRequest).by(&format!("device:{}", ask.device_id)).from(ask.address).decided(Decision::Ask);
        let asked = self
            .change_devices(|book, now| {
                let mut asked = book.request(ask, id, now)?;
                let row = &asked.request;
                // Strangers cause these; what nobody waits for is noted and not synced.
                self.audit.note(event.target(&row.device_id).because(&row.reason).with("requestId", row.request_id.as_str()));
                let writes = std::mem::take(&mut asked.writes);
                Ok((asked, writes, None))
            })
            .await?;
        if let Some(old) = &asked.replaced {
            self.tell_resolved(old);
        }
        if asked.is_new {
            info!(device = asked.request.device_id, reason = asked.request.reason, "a device asks to be paired");
            self.hub.signal("device.pair.requested", &request_row(&asked.request));
        }
        Ok(asked.request)
    }

    /// Requests that wait and devices that are paired, each newest first.
    #[must_use]
    pub fn listed_devices(&self) -> (Vec<PairRequestRow>, Vec<DeviceRecord>) {
        let book = self.devices.book();
        let pending = book.pending(self.moment()).into_iter().map(request_row).collect();
        (pending, book.devices().into_iter().cloned().collect())
    }

    /// Lets a device in by a code.
    ///
    /// # Errors
    /// It is not a code that this device can use, or the audit log or the store say no.
    pub async fn use_setup_code(&self, code: &str, ask: Ask) -> Result<Issued, DeviceError> {
        let digest = TokenDigest::of(&words::plain_code(code)).bytes();
        let token = random_token()?;
        let token_digest = TokenDigest::of(&token).bytes();
        let (role, ip) = (ask.role, ask.address);
        let device = self
            .change_devices(|book, now| {
                let (device, writes) = book.use_code(&digest, ask, token_digest, now)?;
                let event = Event::new(Action::PairApprove).by(&format!("device:{}", device.device_id)).from(ip).target(&device.device_id);
                Ok((device, writes, Some(event.decided(Decision::Allow).because("setup code").with("role", role))))
            })
            .await?;
        self.end_device(&device.device_id, Some(role));
        let grant = device.grants.into_iter().find(|grant| grant.role == role).ok_or(Denied::NoDevice)?;
        Ok(Issued { token, grant })
    }

    /// Ends the connections that came with a device's token, for one role or for all.
    pub fn end_device(&self, device_id: &str, role: Option<&str>) {
        let of_device = |credential: &CredentialId| matches!(credential, CredentialId::Device(id, held) if &**id == device_id && role.is_none_or(|role| role == *held));
        if self.access.revoke(of_device, REVOKED) {
            self.hub.signal_revoked();
        }
    }

    /// Has what has run out written and told, until the gateway stops.
    pub async fn expire_pairings(&self) {
        let stop = self.tasks.stop_token();
        loop {
            let next = self.devices.book().next_end();
            let wait = next.map(|at| Duration::from_millis(at.saturating_sub(self.uptime_ms()).saturating_add(1)));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.devices.changed.notified() => continue,
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
            }
            let swept = self
                .change_devices(|book, now| {
                    let (expired, writes) = book.expire(now);
                    Ok((expired, writes, None))
                })
                .await;
            match swept {
                Ok(expired) => expired.iter().for_each(|request| {
                    let event = Event::new(Action::PairExpire).target(&request.device_id).with("requestId", request.request_id.as_str());
                    self.audit.note(event);
                    self.tell_resolved(request);
                }),
                Err(cause) => {
                    warn!(%cause, "requests that are over could not be written down");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(SWEEP_AGAIN) => {}
                    }
                }
            }
        }
    }

    fn tell_resolved(&self, request: &PairRequest) {
        self.hub.signal("device.pair.resolved", &wire::resolved(request, self.now()));
    }

    /// Decides, records, stores, applies: in this order and one at a time.
    async fn change_devices<T>(
        &self,
        decide: impl FnOnce(&Book, Now) -> Result<(T, Vec<DeviceWrite>, Option<Event>), Denied>,
    ) -> Result<T, DeviceError> {
        let _order = self.devices.order.lock().await;
        let now = self.moment();
        let (outcome, writes, event) = decide(&self.devices.book(), now)?;
        if let Some(event) = event {
            self.audit.append(event).await?;
        }
        if !writes.is_empty() {
            self.store.write_devices(writes.clone()).await?;
            self.devices.apply(writes, now);
        }
        Ok(outcome)
    }
}

fn random_token() -> Result<String, DeviceError> {
    new_token().map_err(|error| DeviceError::Random(error.to_string()))
}

//! How a device is let in: it asks, somebody decides, and from then on it has a grant for its role. Pure rules over what is stored; nothing here reads a clock or a disk.
//!
//! ```text
//!  asks ──> pending ──approve──> approved: a grant, whose token the device fetches with its signature
//!              ├──reject──> rejected
//!              └──5 min, or it asks for more──> expired
//! ```
//! A [`Book`] answers what would have to be written ([`DeviceWrite`]); whoever owns it has that stored and then [applies](Book::apply) it. So nothing takes effect that is not on disk.
//! How long a request can be decided is measured on a clock that nobody can set; the wall clock is only shown.

mod grants;
pub mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::peer::limit_key;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::store::devices::{Described, DeviceRecord, DeviceRows, DeviceWrite, PairRequest, RequestState, SetupCode};

pub use self::grants::Recognised;

/// How long a request can be decided, ms.
pub const REQUEST_LIFE_MS: u64 = 5 * 60 * 1000;
/// Requests that may be pending.
pub const MAX_PENDING: usize = 20;
/// Those of one address, or of one /64 of IPv6.
pub const MAX_PENDING_PER_ADDRESS: usize = 3;
/// How long a setup code can be used, ms.
pub const CODE_LIFE_MS: u64 = 10 * 60 * 1000;
/// Setup codes that may be usable at once.
pub const MAX_CODES: usize = 20;
/// How long after an approval the device's signature alone gets it its token, ms.
pub const CLAIM_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// Devices that may be paired.
pub const MAX_DEVICES: usize = 1000;
/// Decided requests that are remembered, so that a late click is told what became of them.
const MAX_DECIDED: usize = 64;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Ms since the epoch.
    pub wall: u64,
    /// Ms on a clock that never jumps.
    pub steady: u64,
}

/// A device that wants in.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The digest of its key, proved by a signature.
    pub device_id: String,
    /// Its key.
    pub public_key: String,
    /// For which role.
    pub role: &'static str,
    /// For which scopes.
    pub scopes: ScopeSet,
    /// What it says of itself; made harmless here.
    pub described: Described,
    /// From where it asks.
    pub address: Option<IpAddr>,
    /// Why it must ask.
    pub reason: &'static str,
}

/// Who decides.
#[derive(Clone, Copy, Debug)]
pub struct Approver<'a> {
    /// Its effective scopes.
    pub scopes: ScopeSet,
    /// Whether it sits at the local socket.
    pub local: bool,
    /// The device that it has proved to be.
    pub device: Option<&'a str>,
}

impl Approver<'_> {
    /// What it can hand on. Who owns the socket owns the gateway.
    #[must_use]
    pub fn ceiling(&self) -> ScopeSet {
        if self.local { ScopeSet::ALL } else { self.scopes }
    }

    /// Whether it may know why it was refused.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.ceiling().allows(Scope::Admin)
    }
}

/// Why nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such request.
    #[error("unknown requestId")]
    NoRequest,
    /// There is no such device, or nothing was granted to it for that role.
    #[error("unknown deviceId/role")]
    NoDevice,
    /// The request's time has run out.
    #[error("the request has expired; the device has to ask again")]
    Expired,
    /// Somebody has said no a moment ago.
    #[error("the pairing was rejected")]
    Rejected {
        /// Ms until the device may ask again.
        retry_after_ms: u64,
    },
    /// Somebody has decided already.
    #[error("the request was {} already", .0.name())]
    Decided(RequestState),
    /// It is the approver's own.
    #[error("a device cannot approve its own request")]
    Own,
    /// More than the approver has itself.
    #[error("the scopes go beyond your own")]
    Above,
    /// More than was asked for or approved.
    #[error("the scopes go beyond what was asked for")]
    Beyond,
    /// Too many requests are pending.
    #[error("too many devices wait for an approval")]
    Full {
        /// Ms until the first of them expires.
        retry_after_ms: u64,
    },
    /// Too many devices or codes.
    #[error("there are {0} already; remove some first")]
    TooMany(usize),
}

impl Denied {
    /// What this approver is told: who does not own the gateway learns nothing about what it may not touch.
    #[must_use]
    pub fn told_to(self, approver: &Approver<'_>, generic: Self) -> Self {
        if approver.is_owner() || matches!(self, Self::TooMany(_)) { self } else { generic }
    }
}

/// A request, and what would have to be written for it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request that stands now.
    pub request: PairRequest,
    /// Whether it is new: only then somebody is told.
    pub is_new: bool,
    /// An older one of the device, which it replaces.
    pub replaced: Option<PairRequest>,
    /// The rows.
    pub writes: Vec<DeviceWrite>,
}

/// A row that runs out at a time of the steady clock.
#[derive(Clone, Debug)]
struct Timed<T> {
    row: T,
    deadline: u64,
}

/// All devices, requests and codes.
#[derive(Clone, Debug, Default)]
pub struct Book {
    devices: BTreeMap<String, DeviceRecord>,
    requests: BTreeMap<String, Timed<PairRequest>>,
    codes: BTreeMap<[u8; 32], Timed<SetupCode>>,
}

impl Book {
    /// The book of what is stored. What was pending stays so for as long as its time, by the wall clock, has left, and never longer than from new.
    #[must_use]
    pub fn load(rows: DeviceRows, now: Now) -> Self {
        let DeviceRows { devices, requests, codes } = rows;
        let mut book = Self::default();
        let devices = devices.into_iter().map(|device| DeviceWrite::Device(Box::new(device)));
        let requests = requests.into_iter().map(|request| DeviceWrite::Request(Box::new(request)));
        let codes = codes.into_iter().map(|code| DeviceWrite::Code(Box::new(code)));
        book.apply(devices.chain(requests).chain(codes), now);
        book
    }

    /// Takes over what has been written.
    pub fn apply(&mut self, writes: impl IntoIterator<Item = DeviceWrite>, now: Now) {
        let left = |until: u64, life: u64| now.steady.saturating_add(until.saturating_sub(now.wall).min(life));
        for write in writes {
            match write {
                DeviceWrite::Request(row) => {
                    let known = self.requests.get(&row.request_id).map(|known| known.deadline);
                    let deadline = known.unwrap_or_else(|| left(row.expires_at, REQUEST_LIFE_MS));
                    self.requests.insert(row.request_id.clone(), Timed { row: *row, deadline });
                }
                DeviceWrite::NoRequest(id) => drop(self.requests.remove(&id)),
                DeviceWrite::Device(row) => drop(self.devices.insert(row.device_id.clone(), *row)),
                DeviceWrite::NoDevice(id) => drop(self.devices.remove(&id)),
                DeviceWrite::Code(row) => {
                    let known = self.codes.get(&row.digest).map(|known| known.deadline);
                    let deadline = known.unwrap_or_else(|| left(row.expires_at, CODE_LIFE_MS));
                    self.codes.insert(row.digest, Timed { row: *row, deadline });
                }
                DeviceWrite::NoCode(digest) => drop(self.codes.remove(&digest)),
            }
        }
    }

    /// The paired devices, the newest first.
    #[must_use]
    pub fn devices(&self) -> Vec<&DeviceRecord> {
        let mut devices: Vec<_> = self.devices.values().collect();
        devices.sort_by_key(|device| std::cmp::Reverse(device.approved_at));
        devices
    }

    /// The requests that can be decided, the newest first.
    #[must_use]
    pub fn pending(&self, now: Now) -> Vec<&PairRequest> {
        let mut pending: Vec<_> = self.waiting(now).map(|timed| &timed.row).collect();
        pending.sort_by_key(|request| std::cmp::Reverse(request.created_at));
        pending
    }

    /// When the next request or code runs out, on the steady clock.
    #[must_use]
    pub fn next_end(&self) -> Option<u64> {
        let requests = self.requests.values().filter(|timed| timed.row.state == RequestState::Pending).map(|timed| timed.deadline);
        requests.chain(self.codes.values().map(|timed| timed.deadline)).min()
    }

    fn waiting(&self, now: Now) -> impl Iterator<Item = &Timed<PairRequest>> {
        self.requests.values().filter(move |timed| timed.row.state == RequestState::Pending && timed.deadline > now.steady)
    }

    /// A device asks. One that was rejected may ask again when the time of that request is over, so that a program which tries again and again is a question once. One that has asked already for as much gets the same request again; what is pending is never made wider, since somebody may be about to approve it.
    ///
    /// # Errors
    /// [`Denied::Full`].
    pub fn request(&self, ask: Ask, request_id: String, now: Now) -> Result<Asked, Denied> {
        let scopes = if ask.role == "operator" { ask.scopes } else { ScopeSet::NONE };
        let own = self.waiting(now).find(|timed| timed.row.device_id == ask.device_id && timed.row.role == ask.role);
        if let Some(known) = own.filter(|known| scopes.within(known.row.scopes)) {
            return Ok(Asked { request: known.row.clone(), is_new: false, replaced: None, writes: Vec::new() });
        }
        let refused = |timed: &&Timed<PairRequest>| {
            let row = &timed.row;
            row.state == RequestState::Rejected && row.device_id == ask.device_id && row.role == ask.role && timed.deadline > now.steady
        };
        if let Some(refused) = self.requests.values().find(refused) {
            return Err(Denied::Rejected { retry_after_ms: refused.deadline.saturating_sub(now.steady) });
        }
        let others = || self.waiting(now).filter(|timed| own.is_none_or(|own| own.row.request_id != timed.row.request_id));
        let from = |row: &PairRequest| row.address.as_deref().and_then(|text| text.parse().ok()).map(limit_key);
        let here = ask.address.map(limit_key);
        let mine = others().filter(|timed| here.is_some() && from(&timed.row) == here).count();
        if others().count() >= MAX_PENDING || mine >= MAX_PENDING_PER_ADDRESS {
            let first = others().map(|timed| timed.deadline).min().unwrap_or(now.steady);
            return Err(Denied::Full { retry_after_ms: first.saturating_sub(now.steady).max(1) });
        }
        let request = PairRequest {
            request_id,
            device_id: ask.device_id,
            public_key: ask.public_key,
            role: ask.role,
            scopes,
            reason: ask.reason.to_owned(),
            described: words::harmless(ask.described),
            address: ask.address.map(|address| super::peer::fold(address).to_string()),
            state: RequestState::Pending,
            created_at: now.wall,
            expires_at: now.wall.saturating_add(REQUEST_LIFE_MS),
            resolved_at: None,
        };
        let replaced = own.map(|own| decided(&own.row, RequestState::Expired, now));
        let mut writes = vec![DeviceWrite::Request(Box::new(request.clone()))];
        writes.extend(replaced.clone().map(|row| DeviceWrite::Request(Box::new(row))));
        writes.extend(self.forgotten());
        Ok(Asked { request, is_new: true, replaced, writes })
    }

    /// The request of this id, if it can still be decided.
    fn undecided(&self, request_id: &str, now: Now) -> Result<&PairRequest, Denied> {
        let timed = self.requests.get(request_id).ok_or(Denied::NoRequest)?;
        match timed.row.state {
            RequestState::Pending if timed.deadline > now.steady => Ok(&timed.row),
            RequestState::Pending | RequestState::Expired => Err(Denied::Expired),
            decided => Err(Denied::Decided(decided)),
        }
    }

    /// Grants what a request asks for, or as much of it as `narrowed` says.
    ///
    /// # Errors
    /// Why not; for [`Denied::told_to`].
    pub fn approve(
        &self,
        request_id: &str,
        approver: &Approver<'_>,
        narrowed: Option<ScopeSet>,
        now: Now,
    ) -> Result<(DeviceRecord, PairRequest, Vec<DeviceWrite>), Denied> {
        let request = self.undecided(request_id, now)?;
        if approver.device == Some(&request.device_id) {
            return Err(Denied::Own);
        }
        let scopes = narrowed.unwrap_or(request.scopes);
        if !scopes.within(request.scopes) {
            return Err(Denied::Beyond);
        }
        if !scopes.within(approver.ceiling()) {
            return Err(Denied::Above);
        }
        let device = self.granted(request, scopes, now)?;
        let approved = decided(request, RequestState::Approved, now);
        let writes = vec![DeviceWrite::Device(Box::new(device.clone())), DeviceWrite::Request(Box::new(approved.clone()))];
        Ok((device, approved, writes))
    }

    /// Refuses a request.
    ///
    /// # Errors
    /// Why not; for [`Denied::told_to`].
    pub fn reject(&self, request_id: &str, now: Now) -> Result<(PairRequest, Vec<DeviceWrite>), Denied> {
        let rejected = decided(self.undecided(request_id, now)?, RequestState::Rejected, now);
        Ok((rejected.clone(), vec![DeviceWrite::Request(Box::new(rejected))]))
    }

    /// What has run out: the requests, and all that is to be written.
    #[must_use]
    pub fn expire(&self, now: Now) -> (Vec<PairRequest>, Vec<DeviceWrite>) {
        let over = |timed: &&Timed<PairRequest>| timed.row.state == RequestState::Pending && timed.deadline <= now.steady;
        let expired: Vec<_> = self.requests.values().filter(over).map(|timed| decided(&timed.row, RequestState::Expired, now)).collect();
        let codes = self.codes.values().filter(|timed| timed.deadline <= now.steady);
        let mut writes: Vec<_> = expired.iter().cloned().map(|row| DeviceWrite::Request(Box::new(row))).collect();
        writes.extend(codes.map(|timed| DeviceWrite::NoCode(timed.row.digest)));
        (expired, writes)
    }

    /// Drops the oldest decided requests beyond those that are remembered.
    fn forgotten(&self) -> Vec<DeviceWrite> {
        let mut decided: Vec<_> =
            self.requests.values().filter_map(|timed| Some((timed.row.resolved_at?, &timed.row.request_id))).collect();
        decided.sort_unstable();
        let surplus = decided.len().saturating_sub(MAX_DECIDED);
        decided.into_iter().take(surplus).map(|(_, id)| DeviceWrite::NoRequest(id.clone())).collect()
    }
}

fn decided(request: &PairRequest, state: RequestState, now: Now) -> PairRequest {
    PairRequest { state, resolved_at: Some(now.wall), ..request.clone() }
}

#[cfg(test)]
mod tests;

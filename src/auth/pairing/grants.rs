//! What a paired device holds: its grant for a role, the token of it, and the codes that make one without a request.
//!
//! A token is good only together with the device's signature. The gateway keeps its digest, so that a token can be handed out once and never looked up: it is made when the device fetches it. Until the device has used its token it may fetch another one, because an answer can get lost; from then on only an approval opens that door again.

use subtle::ConstantTimeEq;

use super::{Approver, Ask, Book, CLAIM_LIFE_MS, CODE_LIFE_MS, Denied, MAX_CODES, MAX_DEVICES, Now, words};
use crate::protocol::scope::ScopeSet;
use crate::store::devices::{DeviceRecord, DeviceWrite, Grant, PairRequest, RequestState, SetupCode};

/// The use of a token is written down at most this often, ms.
const USE_STEP_MS: u64 = 60_000;

/// What the book says to a device that has proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised<'b> {
    /// Its token is right.
    Token(&'b Grant),
    /// It has shown no token and may fetch one.
    Claim(&'b Grant),
    /// It has shown no token and has to ask, for this reason.
    MustAsk(&'static str),
    /// It has shown something that is not its token.
    Wrong,
}

impl Book {
    /// Judges a device. `shown` is the digest of what it showed as its token.
    #[must_use]
    pub fn recognise(&self, device_id: &str, role: &str, shown: Option<&[u8; 32]>, wanted: ScopeSet, now: Now) -> Recognised<'_> {
        let device = self.devices.get(device_id);
        let grant = device.and_then(|device| device.grants.iter().find(|grant| grant.role == role));
        if let Some(shown) = shown {
            let right = grant.filter(|grant| grant.revoked_at.is_none() && is(grant.digest.as_ref(), shown));
            return right.map_or(Recognised::Wrong, Recognised::Token);
        }
        match grant {
            None if device.is_none() => Recognised::MustAsk("not-paired"),
            None => Recognised::MustAsk("role-upgrade"),
            Some(grant) if grant.revoked_at.is_some() => Recognised::MustAsk("revoked"),
            Some(grant) if grant.claim_until.is_some_and(|until| until > now.wall) => Recognised::Claim(grant),
            Some(grant) if !wanted.within(grant.scopes) => Recognised::MustAsk("scope-upgrade"),
            Some(_) => Recognised::MustAsk("token-lost"),
        }
    }

    /// The rows with which the device has a token of this digest; none if it may not fetch one.
    #[must_use]
    pub fn claim(&self, device_id: &str, role: &str, digest: [u8; 32], now: Now) -> Option<(Grant, DeviceWrite)> {
        let claimable = |grant: &Grant| grant.revoked_at.is_none() && grant.claim_until.is_some_and(|until| until > now.wall);
        self.changed(device_id, role, claimable, |grant| {
            grant.rotated_at = grant.digest.map(|_| now.wall).or(grant.rotated_at);
            grant.digest = Some(digest);
        })
    }

    /// The row that says that the token was used; none if that is known.
    #[must_use]
    pub fn used(&self, device_id: &str, role: &str, now: Now) -> Option<DeviceWrite> {
        let news = |grant: &Grant| {
            let known = grant.last_used_at.is_some_and(|at| now.wall.abs_diff(at) < USE_STEP_MS);
            grant.revoked_at.is_none() && (grant.claim_until.is_some() || !known)
        };
        let used = self.changed(device_id, role, news, |grant| {
            grant.last_used_at = Some(now.wall);
            grant.claim_until = None;
        });
        used.map(|(_, write)| write)
    }

    /// Gives a device another token: `digest` if it gets that at once, else it fetches one with its signature. `scopes` can only take away.
    ///
    /// # Errors
    /// Why not; for [`Denied::told_to`].
    pub fn rotate(
        &self,
        device_id: &str,
        role: &str,
        scopes: Option<ScopeSet>,
        digest: Option<[u8; 32]>,
        approver: &Approver<'_>,
        now: Now,
    ) -> Result<(Grant, DeviceWrite), Denied> {
        let grant = self.reachable(device_id, role, approver)?;
        let scopes = scopes.unwrap_or(grant.scopes);
        if !scopes.within(grant.scopes) {
            return Err(Denied::Beyond);
        }
        let rotated = self.changed(
            device_id,
            role,
            |_| true,
            |grant| {
                grant.scopes = scopes;
                grant.digest = digest;
                grant.rotated_at = Some(now.wall);
                grant.claim_until = digest.is_none().then(|| now.wall.saturating_add(CLAIM_LIFE_MS));
            },
        );
        rotated.ok_or(Denied::NoDevice)
    }

    /// Takes a device's grant for one role back.
    ///
    /// # Errors
    /// Why not; for [`Denied::told_to`].
    pub fn revoke(&self, device_id: &str, role: &str, approver: &Approver<'_>, now: Now) -> Result<DeviceWrite, Denied> {
        self.reachable(device_id, role, approver)?;
        let revoked = self.changed(
            device_id,
            role,
            |_| true,
            |grant| {
                grant.revoked_at = Some(now.wall);
                grant.digest = None;
                grant.claim_until = None;
            },
        );
        revoked.map(|(_, write)| write).ok_or(Denied::NoDevice)
    }

    /// Forgets a device with all its grants.
    ///
    /// # Errors
    /// Why not; for [`Denied::told_to`].
    pub fn remove(&self, device_id: &str, approver: &Approver<'_>) -> Result<(DeviceRecord, DeviceWrite), Denied> {
        let device = self.devices.get(device_id).ok_or(Denied::NoDevice)?;
        // What was taken back already binds nobody.
        let held = |grant: &&Grant| grant.revoked_at.is_none();
        if !device.grants.iter().filter(held).all(|grant| grant.scopes.within(approver.ceiling())) {
            return Err(Denied::Above);
        }
        Ok((device.clone(), DeviceWrite::NoDevice(device_id.to_owned())))
    }

    /// Makes a code with which one device can come in.
    ///
    /// # Errors
    /// Too many codes, or more than the approver has itself.
    pub fn make_code(
        &self,
        digest: [u8; 32],
        role: &'static str,
        scopes: ScopeSet,
        made_by: &str,
        approver: &Approver<'_>,
        now: Now,
    ) -> Result<SetupCode, Denied> {
        let scopes = if role == "operator" { scopes } else { ScopeSet::NONE };
        if !scopes.within(approver.ceiling()) {
            return Err(Denied::Above);
        }
        if self.codes.values().filter(|timed| timed.deadline > now.steady).count() >= MAX_CODES {
            return Err(Denied::TooMany(MAX_CODES));
        }
        let expires_at = now.wall.saturating_add(CODE_LIFE_MS);
        Ok(SetupCode { digest, role, scopes, made_by: made_by.to_owned(), device_id: None, created_at: now.wall, expires_at })
    }

    /// Lets a device in by a code: the first that uses it, and only that one. `token` is the digest of the token that it is given.
    ///
    /// # Errors
    /// The code is not one that this device can use; or there are too many devices.
    pub fn use_code(&self, code: &[u8; 32], ask: Ask, token: [u8; 32], now: Now) -> Result<(DeviceRecord, Vec<DeviceWrite>), Denied> {
        let found = self.codes.values().fold(None, |found, timed| if is(Some(&timed.row.digest), code) { Some(timed) } else { found });
        let code = found.filter(|timed| timed.deadline > now.steady).map(|timed| &timed.row).ok_or(Denied::NoRequest)?;
        if code.role != ask.role || code.device_id.as_ref().is_some_and(|first| *first != ask.device_id) {
            return Err(Denied::NoRequest);
        }
        let request = PairRequest {
            request_id: String::new(),
            device_id: ask.device_id,
            public_key: ask.public_key,
            role: code.role,
            scopes: code.scopes,
            reason: ask.reason.to_owned(),
            described: words::harmless(ask.described),
            address: ask.address.map(|address| address.to_string()),
            state: RequestState::Approved,
            created_at: now.wall,
            expires_at: now.wall,
            resolved_at: Some(now.wall),
        };
        let mut device = self.granted(&request, code.scopes, now)?;
        if let Some(grant) = device.grants.iter_mut().find(|grant| grant.role == code.role) {
            grant.digest = Some(token);
        }
        let used = SetupCode { device_id: Some(device.device_id.clone()), ..code.clone() };
        Ok((device.clone(), vec![DeviceWrite::Device(Box::new(device)), DeviceWrite::Code(Box::new(used))]))
    }

    /// The device of a request with these scopes beside those that it has already.
    pub(super) fn granted(&self, request: &PairRequest, scopes: ScopeSet, now: Now) -> Result<DeviceRecord, Denied> {
        let known = self.devices.get(&request.device_id);
        if known.is_none() && self.devices.len() >= MAX_DEVICES {
            return Err(Denied::TooMany(MAX_DEVICES));
        }
        let mut device = DeviceRecord {
            device_id: request.device_id.clone(),
            public_key: request.public_key.clone(),
            described: request.described.clone(),
            address: request.address.clone(),
            created_at: known.map_or(now.wall, |known| known.created_at),
            approved_at: now.wall,
            grants: known.map(|known| known.grants.clone()).unwrap_or_default(),
        };
        let held = device.grants.iter().find(|grant| grant.role == request.role).cloned();
        device.grants.retain(|grant| grant.role != request.role);
        let standing = held.as_ref().filter(|held| held.revoked_at.is_none());
        device.grants.push(Grant {
            role: request.role,
            scopes: standing.map_or(scopes, |held| held.scopes.union(scopes)),
            // The token that it has stays good until it has fetched the new one.
            digest: standing.and_then(|held| held.digest),
            claim_until: Some(now.wall.saturating_add(CLAIM_LIFE_MS)),
            created_at: held.as_ref().map_or(now.wall, |held| held.created_at),
            rotated_at: held.as_ref().and_then(|held| held.rotated_at),
            revoked_at: None,
            last_used_at: held.and_then(|held| held.last_used_at),
        });
        Ok(device)
    }

    /// The grant, if it stands and the approver has everything that is in it.
    fn reachable(&self, device_id: &str, role: &str, approver: &Approver<'_>) -> Result<&Grant, Denied> {
        let device = self.devices.get(device_id).ok_or(Denied::NoDevice)?;
        let grant = device.grants.iter().find(|grant| grant.role == role && grant.revoked_at.is_none()).ok_or(Denied::NoDevice)?;
        if grant.scopes.within(approver.ceiling()) { Ok(grant) } else { Err(Denied::Above) }
    }

    fn changed(
        &self,
        device_id: &str,
        role: &str,
        only: impl FnOnce(&Grant) -> bool,
        change: impl FnOnce(&mut Grant),
    ) -> Option<(Grant, DeviceWrite)> {
        let mut device = self.devices.get(device_id)?.clone();
        let grant = device.grants.iter_mut().find(|grant| grant.role == role)?;
        if !only(grant) {
            return None;
        }
        change(grant);
        Some((grant.clone(), DeviceWrite::Device(Box::new(device))))
    }
}

fn is(digest: Option<&[u8; 32]>, shown: &[u8; 32]) -> bool {
    digest.is_some_and(|digest| digest.ct_eq(shown).into())
}

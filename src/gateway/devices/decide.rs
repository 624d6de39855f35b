//! What people decide about devices: who comes in, with how much, and who does not any more. Every decision is recorded before it takes effect, refusals too.

use tracing::info;

use super::{DeviceError, Gateway, random_token};
use crate::audit::{Action, Decision, Event};
use crate::auth::credential::{CredentialId, REVOKED};
use crate::auth::pairing::{Approver, Denied, words};
use crate::auth::token::TokenDigest;
use crate::config::pairing::OnRevoke;
use crate::protocol::scope::ScopeSet;
use crate::store::devices::{DeviceRecord, DeviceWrite, Grant, SetupCode};

/// Who changes something, as far as the rules and the audit log care.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// What it may decide.
    pub approver: Approver<'a>,
    /// Its principal.
    pub principal: &'a str,
    /// Its credential.
    pub credential: &'a CredentialId,
}

impl Gateway {
    /// Grants what a request asks for, or less.
    ///
    /// # Errors
    /// The rules, the audit log or the store say no.
    pub async fn approve_device(&self, request_id: &str, scopes: Option<ScopeSet>, by: &By<'_>) -> Result<DeviceRecord, DeviceError> {
        let (device, request) = self
            .change_devices(|book, now| {
                let (device, request, writes) = book
                    .approve(request_id, &by.approver, scopes, now)
                    .map_err(|denied| self.refused(Action::PairApprove, request_id, denied, by))?;
                let granted = scopes.unwrap_or(request.scopes).names().join(" ");
                let event = by.event(Action::PairApprove, &device.device_id).decided(Decision::Allow).with("requestId", request_id);
                Ok(((device, request.clone()), writes, Some(event.with("role", request.role).with("scopes", granted))))
            })
            .await?;
        info!(device = device.device_id, by = by.principal, "a device was paired");
        self.tell_resolved(&request);
        Ok(device)
    }

    /// Refuses a request. Returns whose it was.
    ///
    /// # Errors
    /// As [`Self::approve_device`].
    pub async fn reject_device(&self, request_id: &str, by: &By<'_>) -> Result<String, DeviceError> {
        let request = self
            .change_devices(|book, now| {
                let (request, writes) = book.reject(request_id, now).map_err(|denied| denied.told_to(&by.approver, Denied::NoRequest))?;
                let event = by.event(Action::PairReject, &request.device_id).decided(Decision::Deny).with("requestId", request_id);
                Ok((request, writes, Some(event)))
            })
            .await?;
        self.tell_resolved(&request);
        Ok(request.device_id)
    }

    /// Gives a device another token. The device itself gets it here; for anybody else's request it fetches it with its next connection.
    /// The old one is good until [`Self::end_device`].
    ///
    /// # Errors
    /// As [`Self::approve_device`].
    pub async fn rotate_device(
        &self,
        device_id: &str,
        role: &'static str,
        scopes: Option<ScopeSet>,
        own: bool,
        by: &By<'_>,
    ) -> Result<(Grant, Option<String>), DeviceError> {
        let token = if own { Some(random_token()?) } else { None };
        let digest = token.as_deref().map(|token| TokenDigest::of(token).bytes());
        let grant = self
            .change_devices(|book, now| {
                let rotated = book.rotate(device_id, role, scopes, digest, &by.approver, now);
                let (grant, write) = rotated.map_err(|denied| self.refused(Action::CredentialRotate, device_id, denied, by))?;
                let event = by.event(Action::CredentialRotate, device_id).decided(Decision::Allow).with("role", role);
                Ok((grant.clone(), vec![write], Some(event.with("scopes", grant.scopes.names().join(" ")))))
            })
            .await?;
        Ok((grant, token))
    }

    /// Takes a device's grant for one role back. Returns when.
    ///
    /// # Errors
    /// As [`Self::approve_device`].
    pub async fn revoke_device(&self, device_id: &str, role: &'static str, by: &By<'_>) -> Result<u64, DeviceError> {
        let at = self
            .change_devices(|book, now| {
                let revoked = book.revoke(device_id, role, &by.approver, now);
                let write = revoked.map_err(|denied| self.refused(Action::CredentialRevoke, device_id, denied, by))?;
                let event = by.event(Action::CredentialRevoke, device_id).decided(Decision::Allow).with("role", role);
                Ok((now.wall, vec![write], Some(event)))
            })
            .await?;
        self.end_device(device_id, Some(role));
        self.end_runs_of_device(device_id).await;
        Ok(at)
    }

    /// Forgets a device and everything that it was granted.
    ///
    /// # Errors
    /// As [`Self::approve_device`].
    pub async fn remove_device(&self, device_id: &str, by: &By<'_>) -> Result<(), DeviceError> {
        self.change_devices(|book, _| {
            let removed = book.remove(device_id, &by.approver);
            let (_, write) = removed.map_err(|denied| self.refused(Action::CredentialRevoke, device_id, denied, by))?;
            let event = by.event(Action::CredentialRevoke, device_id).decided(Decision::Allow).because("removed");
            Ok(((), vec![write], Some(event)))
        })
        .await?;
        self.end_device(device_id, None);
        self.end_runs_of_device(device_id).await;
        Ok(())
    }

    /// Makes a code with which one device comes in without being asked about.
    ///
    /// # Errors
    /// As [`Self::approve_device`].
    pub async fn make_setup_code(&self, role: &'static str, scopes: ScopeSet, by: &By<'_>) -> Result<(String, SetupCode), DeviceError> {
        let code = words::setup_code().map_err(|error| DeviceError::Random(error.to_string()))?;
        let digest = TokenDigest::of(&code).bytes();
        let row = self
            .change_devices(|book, now| {
                let row = book.make_code(digest, role, scopes, by.principal, &by.approver, now)?;
                let event = by.event(Action::CredentialNew, "setup-code").decided(Decision::Allow).with("role", role);
                let event = event.with("scopes", row.scopes.names().join(" "));
                Ok((row.clone(), vec![DeviceWrite::Code(Box::new(row))], Some(event)))
            })
            .await?;
        Ok((code, row))
    }

    /// Ends the runs that a device has started, where the configuration says so.
    async fn end_runs_of_device(&self, device_id: &str) {
        if self.loaded().config.gateway.pairing.on_revoke != OnRevoke::Abort {
            return;
        }
        let principal = format!("device:{device_id}");
        for live in self.runs.live_by(&principal) {
            self.audit.note(Event::new(Action::Abort).target(live.record.run_id.as_str()).because(REVOKED));
            self.runs.abort(&live, "revoked").await;
        }
    }

    /// Records a refusal, and says what the one who asked may know of it.
    fn refused(&self, action: Action, target: &str, denied: Denied, by: &By<'_>) -> Denied {
        self.audit.note(by.event(action, target).decided(Decision::Deny).because(&denied.to_string()));
        let generic = if action == Action::PairApprove { Denied::NoRequest } else { Denied::NoDevice };
        denied.told_to(&by.approver, generic)
    }
}

impl By<'_> {
    fn event(&self, action: Action, target: &str) -> Event {
        Event::new(action).by(self.principal).credential(Some(&self.credential.to_string())).target(target)
    }
}

//! Devices and requests as clients see them. No digest of anything secret leaves the gateway.

use crate::auth::pairing::words;
use crate::protocol::event::device::{DevicePairResolved, PairRequestRow, PairedDeviceRow, TokenRow};
use crate::protocol::scope::ScopeSet;
use crate::store::devices::{DeviceRecord, PairRequest};

/// A request as it stands in lists and in its event.
#[must_use]
pub fn request_row(request: &PairRequest) -> PairRequestRow {
    let described = request.described.clone();
    PairRequestRow {
        request_id: request.request_id.clone(),
        code: words::code(&request.request_id, &request.device_id),
        device_id: request.device_id.clone(),
        public_key: request.public_key.clone(),
        fingerprint: words::fingerprint(&request.device_id),
        display_name: described.display_name,
        platform: described.platform,
        device_family: described.device_family,
        client_id: described.client_id,
        client_mode: described.client_mode,
        role: request.role,
        roles: vec![request.role],
        scopes: request.scopes.names(),
        remote_ip: request.address.clone(),
        is_repair: request.reason != "not-paired",
        reason: request.reason.clone(),
        ts: request.created_at,
        expires_at_ms: request.expires_at,
    }
}

/// A paired device as it stands in lists.
#[must_use]
pub fn paired_row(device: &DeviceRecord) -> PairedDeviceRow {
    let described = device.described.clone();
    let standing = || device.grants.iter().filter(|grant| grant.revoked_at.is_none());
    let scopes = standing().fold(ScopeSet::NONE, |all, grant| all.union(grant.scopes));
    PairedDeviceRow {
        device_id: device.device_id.clone(),
        public_key: device.public_key.clone(),
        fingerprint: words::fingerprint(&device.device_id),
        display_name: described.display_name,
        platform: described.platform,
        device_family: described.device_family,
        client_id: described.client_id,
        client_mode: described.client_mode,
        role: standing().next().map(|grant| grant.role),
        roles: standing().map(|grant| grant.role).collect(),
        scopes: scopes.names(),
        remote_ip: device.address.clone(),
        tokens: device
            .grants
            .iter()
            .map(|grant| TokenRow {
                role: grant.role,
                scopes: grant.scopes.names(),
                created_at_ms: grant.created_at,
                rotated_at_ms: grant.rotated_at,
                revoked_at_ms: grant.revoked_at,
                last_used_at_ms: grant.last_used_at,
            })
            .collect(),
        created_at_ms: device.created_at,
        approved_at_ms: device.approved_at,
    }
}

/// The event that says what became of a request.
#[must_use]
pub fn resolved(request: &PairRequest, ts: u64) -> DevicePairResolved {
    DevicePairResolved { request_id: request.request_id.clone(), device_id: request.device_id.clone(), decision: request.state.name(), ts }
}

//! A device at the door: what its signature gets it together with a token, a setup code, the gateway's secret, or nothing.
//!
//! ```text
//!  its token ─────────────────────────────────> in, with what was approved
//!  a setup code, not yet used by another ─────> paired; in, with a token
//!  nothing, approved and token not fetched ───> in, with a token
//!  nothing else ──────────────────────────────> NOT_PAIRED; a request waits for somebody's decision
//! ```
//! No address and no kind of client comes in on its own: over the network every pairing is somebody's decision.

use std::net::IpAddr;

use serde_json::json;
use tracing::warn;

use super::credentials::{advise, mismatch, moment, refused};
use crate::auth::credential::{CredentialId, Verified};
use crate::auth::pairing::{Ask, Denied, words};
use crate::gateway::Gateway;
use crate::gateway::devices::{DeviceError, Issued, Seen};
use crate::protocol::connect::ConnectParams;
use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::scope::ScopeSet;
use crate::store::devices::{Described, PairRequest};

/// What a first message wants, and what it has proved.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The device whose signature is right.
    pub device: Option<&'a str>,
    /// The role that it wants.
    pub role: &'static str,
    /// The scopes that it wants.
    pub wanted: ScopeSet,
}

/// Who may come in, and a token that goes with hello.
pub struct Admitted {
    /// The credential that was right.
    pub verified: Verified,
    /// A new token of the device.
    pub issued: Option<Issued>,
}

impl Admitted {
    /// Without a token.
    #[must_use]
    pub fn by(verified: Verified) -> Self {
        Self { verified, issued: None }
    }
}

/// Judges what a device shows of its own. None: it shows something else, or there is no device.
///
/// # Errors
/// The refusal in words.
pub async fn login(gateway: &Gateway, address: IpAddr, params: &ConnectParams, claims: Claims<'_>) -> Result<Option<Admitted>, RpcError> {
    let Some(device) = claims.device else { return Ok(None) };
    // From a locked address nothing is looked at.
    if let Err(refusal) = gateway.access.admits(address, moment(gateway)) {
        return Err(refused(gateway, address, params, refusal).await);
    }
    let auth = params.auth.as_ref();
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let token = given(auth.and_then(|auth| auth.token.as_deref()));
    let password = given(auth.and_then(|auth| auth.password.as_deref()));
    let own = given(auth.and_then(|auth| auth.device_token.as_deref()));
    let code = given(auth.and_then(|auth| auth.bootstrap_token.as_deref()));
    for shown in [&own, &token].into_iter().flatten() {
        // Before the record is looked at, so that whoever takes it away afterwards ends this too.
        let standing = gateway.access.standing(&credential(device, claims.role));
        if let Seen::Token(grant) = gateway.recognise_device(device, claims.role, Some(shown), claims.wanted) {
            gateway.note_device_use(device, claims.role).await;
            let (credential, granted) = (credential(device, claims.role), grant.scopes);
            let verified = Verified { principal: credential.principal(), credential, granted, expires_at: None, confined: false, standing };
            return Ok(Some(Admitted::by(verified)));
        }
    }
    if let Some(code) = &code {
        let ask = ask(params, claims, device, address, "setup-code");
        return match gateway.use_setup_code(code, ask).await {
            Ok(issued) => with_token(gateway, params, claims, device, issued).map(Some),
            Err(DeviceError::Denied(Denied::NoRequest)) => Err(wrong(gateway, address, params).await),
            Err(error) => Err(error.into()),
        };
    }
    if token.is_some() || password.is_some() {
        return Ok(None);
    }
    if own.is_some() {
        return Err(wrong(gateway, address, params).await);
    }
    match gateway.recognise_device(device, claims.role, None, claims.wanted) {
        Seen::Claim(_) => match gateway.claim_device_token(device, claims.role, Some(address)).await? {
            Some(issued) => with_token(gateway, params, claims, device, issued).map(Some),
            None => Err(mismatch(gateway, params)),
        },
        Seen::MustAsk(reason) if gateway.loaded().config.gateway.pairing.requests => {
            Err(must_ask(gateway, ask(params, claims, device, address, reason)).await)
        }
        Seen::MustAsk(_) | Seen::Wrong | Seen::Token(_) => Ok(None),
    }
}

/// What a device gets beside a right secret: the token that waits for it. Where every client must be a paired device, the secret alone is not enough.
///
/// # Errors
/// The refusal in words.
pub async fn beside_secret(
    gateway: &Gateway,
    address: IpAddr,
    params: &ConnectParams,
    claims: Claims<'_>,
    verified: Verified,
) -> Result<Admitted, RpcError> {
    let pairing = gateway.loaded().config.gateway.pairing.clone();
    let required = pairing.required && matches!(verified.credential, CredentialId::Shared | CredentialId::Named(_));
    let Some(device) = claims.device else {
        return if required { Err(no_identity()) } else { Ok(Admitted::by(verified)) };
    };
    let seen = gateway.recognise_device(device, claims.role, None, claims.wanted);
    // Who is confined gets no token that would not be.
    let issued = match &seen {
        Seen::Claim(_) if !verified.confined => gateway.claim_device_token(device, claims.role, Some(address)).await,
        _ => Ok(None),
    };
    let issued = issued.unwrap_or_else(|cause| {
        warn!(%cause, "a device's token could not be made; it can fetch it later");
        None
    });
    if !required {
        return Ok(Admitted { verified, issued });
    }
    let standing = gateway.access.standing(&credential(device, claims.role));
    let Some(grant) = gateway.grant_of(device, claims.role) else {
        let reason = if let Seen::MustAsk(reason) = seen { reason } else { "not-paired" };
        return Err(must_ask(gateway, ask(params, claims, device, address, reason)).await);
    };
    let credential = credential(device, claims.role);
    let granted = grant.scopes.shared_with(verified.granted);
    if verified.confined {
        return Ok(Admitted::by(Verified { granted, ..verified }));
    }
    let expires_at = verified.expires_at;
    let verified = Verified { principal: credential.principal(), credential, granted, expires_at, confined: false, standing };
    Ok(Admitted { verified, issued })
}

/// The connection of a device that has just been given a token.
fn with_token(gateway: &Gateway, params: &ConnectParams, claims: Claims<'_>, device: &str, issued: Issued) -> Result<Admitted, RpcError> {
    let credential = credential(device, claims.role);
    let standing = gateway.access.standing(&credential);
    // It may have been taken back in the moment between.
    let grant = gateway.grant_of(device, claims.role).ok_or_else(|| mismatch(gateway, params))?;
    let verified =
        Verified { principal: credential.principal(), credential, granted: grant.scopes, expires_at: None, confined: false, standing };
    Ok(Admitted { verified, issued: Some(issued) })
}

fn credential(device: &str, role: &'static str) -> CredentialId {
    CredentialId::Device(device.into(), role)
}

fn ask(params: &ConnectParams, claims: Claims<'_>, device: &str, address: IpAddr, reason: &'static str) -> Ask {
    let client = &params.client;
    Ask {
        device_id: device.to_owned(),
        public_key: params.device.as_ref().map(|device| device.public_key.clone()).unwrap_or_default(),
        role: claims.role,
        scopes: claims.wanted,
        described: Described {
            display_name: client.display_name.clone(),
            platform: Some(client.platform.clone()),
            device_family: client.device_family.clone(),
            client_id: Some(client.id.clone()),
            client_mode: Some(client.mode.name().to_owned()),
        },
        address: Some(address),
        reason,
    }
}

/// Something of the device's own was shown, and it is not right: it counts as a guess.
async fn wrong(gateway: &Gateway, address: IpAddr, params: &ConnectParams) -> RpcError {
    let refusal = gateway.access.guessed(address, moment(gateway));
    let _ = refused(gateway, address, params, refusal).await;
    let error = RpcError::invalid("unauthorized: device token mismatch (pair this device again, or use the gateway's token)");
    advise(error, "AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", "update_auth_credentials")
}

/// Nothing but a device's proof would be enough.
#[must_use]
pub fn no_identity() -> RpcError {
    RpcError::new(ErrorCode::NotPaired, "device identity required").with_code("DEVICE_IDENTITY_REQUIRED")
}

async fn must_ask(gateway: &Gateway, ask: Ask) -> RpcError {
    match gateway.ask_to_pair(ask).await {
        Ok(request) => pairing_required(&request),
        Err(DeviceError::Denied(Denied::Full { retry_after_ms })) => {
            let mut error = RpcError::new(ErrorCode::NotPaired, "pairing required, and too many devices wait for an approval");
            error.retryable = Some(true);
            error.retry_after_ms = Some(retry_after_ms);
            error.with_code("PAIRING_LIMIT")
        }
        Err(DeviceError::Denied(denied @ Denied::Rejected { retry_after_ms })) => {
            let mut error = RpcError::new(ErrorCode::NotPaired, denied.to_string());
            error.retry_after_ms = Some(retry_after_ms);
            error.with_code("PAIRING_REJECTED")
        }
        Err(error) => error.into(),
    }
}

fn pairing_required(request: &PairRequest) -> RpcError {
    let code = words::code(&request.request_id, &request.device_id);
    RpcError::new(ErrorCode::NotPaired, "pairing required")
        .with_code("PAIRING_REQUIRED")
        .with_detail("reason", json!(request.reason))
        .with_detail("requestId", json!(request.request_id))
        .with_detail("deviceId", json!(request.device_id))
        .with_detail("pairingCode", json!(code))
        .with_detail("fingerprint", json!(words::fingerprint(&request.device_id)))
        .with_detail("expiresAtMs", json!(request.expires_at))
        .with_detail("remediationHint", json!(format!("approve it on the gateway: skykoi-gateway devices approve {code}")))
        .with_detail("canRetryWithDeviceToken", json!(false))
        .with_detail("recommendedNextStep", json!("wait_then_retry"))
}

//! The credentials of a first message: which of them is judged, and the words of a refusal.
//!
//! This is the one way from what a client shows to [`Verified`]. The local socket needs none; over TCP the gateway's own secrets are asked first.

use std::net::IpAddr;

use serde_json::json;
use tracing::warn;

use super::wire::Peer;
use crate::audit::{Action, Decision, Event};
use crate::auth::credential::Verified;
use crate::gateway::Gateway;
use crate::gateway::access::{Moment, Refused};
use crate::protocol::connect::{ClientMode, ConnectParams};
use crate::protocol::error::{ErrorCode, RpcError};

/// Who the credentials say it is.
///
/// # Errors
/// The refusal in words. What is wrong with a credential is not said, only that it is.
pub async fn authenticate(gateway: &Gateway, peer: &Peer, params: &ConnectParams) -> Result<Verified, RpcError> {
    let address = match peer {
        Peer::Local { .. } => return Ok(gateway.access.local()),
        Peer::Tcp { addr, .. } => *addr,
    };
    let auth = params.auth.as_ref();
    let presented = [auth.and_then(|auth| auth.token.as_deref()), auth.and_then(|auth| auth.password.as_deref())];
    check_secret(gateway, address, &presented, params).await
}

async fn check_secret(
    gateway: &Gateway,
    address: IpAddr,
    presented: &[Option<&str>],
    params: &ConnectParams,
) -> Result<Verified, RpcError> {
    let mode = gateway.access.mode();
    let upper = mode.to_ascii_uppercase();
    let now = Moment { wall_ms: gateway.now(), uptime_ms: gateway.uptime_ms() };
    match gateway.access.check(address, presented, now).await {
        Ok(verified) => {
            let who = Event::new(Action::AuthOk).by(&verified.principal).credential(Some(&verified.credential.to_string()));
            gateway.audit.note(who.from(Some(address)));
            Ok(verified)
        }
        Err(Refused::Locked(locked)) => {
            let mut error = RpcError::invalid("unauthorized: too many failed attempts from this address; try again later");
            error.retryable = Some(true);
            error.retry_after_ms = Some(locked.retry_after_ms);
            Err(advise(error, "AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry"))
        }
        Err(Refused::Missing) if params.device.is_none() => {
            Err(RpcError::new(ErrorCode::NotPaired, "device identity required").with_code("DEVICE_IDENTITY_REQUIRED"))
        }
        Err(Refused::Missing) => {
            let error = RpcError::invalid(format!("unauthorized: gateway {mode} missing ({})", hint(params)));
            Err(advise(error, &format!("AUTH_{upper}_MISSING"), &format!("{mode}_missing"), "update_auth_credentials"))
        }
        Err(Refused::Busy) => Err(RpcError::try_again("too many logins are being checked", 1000).with_code("OVERLOADED")),
        Err(Refused::Wrong { hold, locked }) => {
            gateway.audit.note(Event::new(Action::AuthFail).by("unknown").from(Some(address)).decided(Decision::Deny));
            if locked {
                warn!(%address, "too many wrong credentials; the address is locked out for a while");
                gateway.audit.note(Event::new(Action::AuthLockout).by("unknown").from(Some(address)));
                gateway.keep_lock(address).await;
            }
            tokio::time::sleep(hold).await;
            Err(mismatch(gateway, params))
        }
    }
}

/// The answer to every credential that is not right, whatever is wrong with it.
#[must_use]
pub fn mismatch(gateway: &Gateway, params: &ConnectParams) -> RpcError {
    let mode = gateway.access.mode();
    let error = RpcError::invalid(format!("unauthorized: gateway {mode} mismatch ({})", hint(params)));
    advise(error, &format!("AUTH_{}_MISMATCH", mode.to_ascii_uppercase()), &format!("{mode}_mismatch"), "update_auth_credentials")
}

fn advise(error: RpcError, code: &str, reason: &str, next: &str) -> RpcError {
    error
        .with_code(code)
        .with_detail("authReason", json!(reason))
        .with_detail("canRetryWithDeviceToken", json!(false))
        .with_detail("recommendedNextStep", json!(next))
}

/// What a person at this kind of client should do.
fn hint(params: &ConnectParams) -> &'static str {
    match params.client.mode {
        ClientMode::Cli => "set gateway.remote.token to match gateway.auth.token",
        ClientMode::Webchat | ClientMode::Ui | ClientMode::Operator => "open the dashboard URL and paste the token in Control UI settings",
        _ => "provide gateway auth token",
    }
}

//! The credentials of a first message: which of them is judged, and the words of a refusal.
//!
//! This is the one way from what a client shows to [`Verified`](crate::auth::credential::Verified). The local socket needs none; over TCP a device's own token is looked at first, since it can stand in the same field as the gateway's secret and must not count as a guess.

use std::net::IpAddr;

use serde_json::json;
use tracing::warn;

use super::devices::{self, Admitted, Claims};
use super::wire::Peer;
use crate::audit::{Action, Event};
use crate::gateway::Gateway;
use crate::gateway::access::{Moment, Refused};
use crate::protocol::connect::{ClientMode, ConnectParams};
use crate::protocol::error::RpcError;

/// Who the credentials say it is.
///
/// # Errors
/// The refusal in words. What is wrong with a credential is not said, only that it is.
pub async fn authenticate(gateway: &Gateway, peer: &Peer, params: &ConnectParams, claims: Claims<'_>) -> Result<Admitted, RpcError> {
    let address = match peer {
        Peer::Local { .. } => return Ok(Admitted::by(gateway.access.local())),
        Peer::Tcp { addr, .. } => *addr,
    };
    if let Some(admitted) = devices::login(gateway, address, params, claims).await? {
        return Ok(admitted);
    }
    let auth = params.auth.as_ref();
    let presented = [auth.and_then(|auth| auth.token.as_deref()), auth.and_then(|auth| auth.password.as_deref())];
    match gateway.access.check(address, &presented, moment(gateway)).await {
        Ok(verified) => devices::beside_secret(gateway, address, params, claims, verified).await,
        Err(refusal) => Err(refused(gateway, address, params, refusal).await),
    }
}

/// Now, for the rules of the door.
#[must_use]
pub fn moment(gateway: &Gateway) -> Moment {
    Moment { wall_ms: gateway.now(), uptime_ms: gateway.uptime_ms() }
}

/// A refusal of the door in words, after the time for which the answer is held back.
pub async fn refused(gateway: &Gateway, address: IpAddr, params: &ConnectParams, refusal: Refused) -> RpcError {
    match refusal {
        Refused::Locked(locked) => {
            let mut error = RpcError::invalid("unauthorized: too many failed attempts from this address; try again later");
            error.retryable = Some(true);
            error.retry_after_ms = Some(locked.retry_after_ms);
            advise(error, "AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry")
        }
        Refused::Missing if params.device.is_none() => devices::no_identity(),
        Refused::Missing => {
            let mode = gateway.access.mode();
            let error = RpcError::invalid(format!("unauthorized: gateway {mode} missing ({})", hint(params)));
            let code = format!("AUTH_{}_MISSING", mode.to_ascii_uppercase());
            advise(error, &code, &format!("{mode}_missing"), "update_auth_credentials")
        }
        Refused::Busy => RpcError::try_again("too many logins are being checked", 1000).with_code("OVERLOADED"),
        Refused::Wrong { hold, locked } => {
            if locked {
                warn!(%address, "too many wrong credentials; the address is locked out for a while");
                gateway.audit.note(Event::new(Action::AuthLockout).by("unknown").from(Some(address)));
                gateway.keep_lock(address).await;
            }
            tokio::time::sleep(hold).await;
            mismatch(gateway, params)
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

/// An error about credentials, with what a client can do.
#[must_use]
pub fn advise(error: RpcError, code: &str, reason: &str, next: &str) -> RpcError {
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

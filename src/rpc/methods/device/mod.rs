//! Devices that are paired with the gateway, and those that ask to be.

pub mod pair_approve;
pub mod pair_list;
pub mod pair_reject;
pub mod pair_remove;
pub mod pair_setup;
pub mod token_revoke;
pub mod token_rotate;

use crate::auth::credential::CredentialId;
use crate::auth::pairing::Approver;
use crate::gateway::devices::By;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::rpc::call::Caller;
use crate::store::devices::ROLES;

/// Who asks, as the rules of pairing see it.
fn by(caller: &Caller) -> By<'_> {
    let local = caller.credential == CredentialId::Local;
    let approver = Approver { scopes: caller.scopes, local, device: caller.device.as_deref() };
    By { approver, principal: &caller.principal, credential: &caller.credential }
}

/// The scopes of these names.
fn scopes(names: &[String]) -> Result<ScopeSet, RpcError> {
    let known = |name: &String| {
        let unknown = || RpcError::invalid(format!("unknown scope '{}'", short(name))).with_code("UNKNOWN_SCOPE");
        Scope::parse(name).ok_or_else(unknown)
    };
    Ok(ScopeSet::of(&names.iter().map(known).collect::<Result<Vec<_>, _>>()?))
}

/// The role of this name.
fn role(name: &str) -> Result<&'static str, RpcError> {
    let unknown = || RpcError::invalid("invalid role").with_code("INVALID_ROLE");
    ROLES.into_iter().find(|role| *role == name).ok_or_else(unknown)
}

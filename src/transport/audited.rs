//! The records of the audit log about who came to the door: let in, refused, or from a foreign origin.

use std::net::IpAddr;

use serde_json::Value;

use super::handshake::Arrival;
use super::wire::Peer;
use crate::audit::{Action, Decision, Event};
use crate::gateway::Gateway;
use crate::protocol::connect::ConnectParams;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::rpc::call::Caller;

/// The address of a peer; none on the local socket.
#[must_use]
pub fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp { addr, .. } => Some(*addr),
        Peer::Local { .. } => None,
    }
}

/// Notes that a connection was let in.
pub fn let_in(arrival: &Arrival<'_>, params: &ConnectParams, caller: &Caller, device: Option<&str>) {
    let event = caller.event(Action::AuthOk).target(caller.conn_id.as_str()).decided(Decision::Allow);
    let event = event.with("role", caller.role).with("scopes", caller.scopes.names()).with("client", params.client.id.as_str());
    arrival.gateway.audit.note(match device {
        Some(device) => event.with("device", device),
        None => event,
    });
}

/// Notes that a connection's proof or credential was refused.
pub fn turned_away(arrival: &Arrival<'_>, params: &ConnectParams, error: &RpcError) {
    let code = error.details.as_ref().and_then(|details| details.get("code")).and_then(Value::as_str);
    let event = Event::new(Action::AuthFail).by("unknown").from(address(arrival.peer)).decided(Decision::Deny);
    let event = event.because(code.unwrap_or(&error.message)).with("client", params.client.id.as_str());
    arrival.gateway.audit.note_refusal(match &params.device {
        Some(device) => event.with("claimedDevice", short(&device.id)),
        None => event,
    });
}

/// Notes that a caller asked for a method beyond its scopes. Other refusals of requests are not worth a record.
pub fn beyond_scope(gateway: &Gateway, caller: &Caller, method: &str, error: &RpcError) {
    let missing = error.details.as_ref().and_then(|details| details.get("missingScope")).and_then(Value::as_str);
    if let Some(scope) = missing {
        let event = caller.event(Action::ScopeDenied).target(&short(method)).decided(Decision::Deny);
        gateway.audit.note_refusal(event.because(scope));
    }
}

/// That a browser's page of a foreign origin was refused.
#[must_use]
pub fn foreign_origin(address: IpAddr, origin: Option<&str>) -> Event {
    let event = Event::new(Action::OriginDenied).by("unknown").from(Some(address)).decided(Decision::Deny);
    event.target(origin.unwrap_or("-")).because("origin not allowed")
}

//! What requests cost, and whom.

use crate::auth::budget::{Class, Payer, Spent};
use crate::protocol::error::RpcError;
use crate::rpc::call::Caller;
use crate::rpc::method::Rate;

/// Whose budgets the requests of this caller are taken from. The owner at the local socket shares none; a command of a run, which comes there too, does.
pub fn payer(caller: &Caller) -> Payer<'_> {
    let principal = (caller.address.is_some() || !caller.sees_all).then_some(&*caller.principal);
    Payer { principal, address: caller.address, reads_count: !caller.sees_all }
}

/// The budget that a method counts against; what ends work counts against none.
pub const fn class_of(rate: Rate) -> Option<Class> {
    match rate {
        Rate::Read => Some(Class::Read),
        Rate::Write => Some(Class::Write),
        Rate::Abort => None,
    }
}

/// The refusal of a request that nothing is left for.
pub fn too_many(spent: &Spent) -> RpcError {
    RpcError::try_again(spent.to_string(), spent.retry_after_ms)
        .with_code("RATE_LIMITED")
        .with_detail("limitedBy", spent.share.name().into())
}

//! Approval of commands: asking, deciding, looking; and the file of what needs no asking.

pub mod approval_get;
pub mod approval_list;
pub mod approval_request;
pub mod approval_resolve;
pub mod approval_wait;
pub mod approvals_get;
pub mod approvals_set;

use crate::protocol::error::RpcError;

/// The caller has left.
#[must_use]
pub fn gone() -> RpcError {
    RpcError::try_again("the connection ended before the decision", 0)
}

/// Runs work on files where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RpcError> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| RpcError::unavailable("internal error", cause).with_code("INTERNAL"))
}

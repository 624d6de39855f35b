//! Runs: look at them, follow them, end them.

pub mod abort;
pub mod get;
pub mod list;
pub mod subscribe;
pub mod unsubscribe;

use crate::protocol::error::RpcError;
use crate::protocol::run::RunRow;
use crate::rpc::call::Call;
use crate::runs::handle::Handle;
use crate::runs::live::row_of;
use crate::store::record::RunRecord;

/// A run as it stands now.
fn row(cx: &Call, handle: &Handle) -> RunRow {
    match handle {
        // Asked itself and not looked for again: it may have ended and left since, and its record is that of its acceptance.
        Handle::Live(live) => live.row(cx.gateway.runs.position(live)),
        Handle::Past(record) => row_of(record),
    }
}

/// The same, by what the store said of it a moment ago.
async fn row_since(cx: &Call, record: &RunRecord) -> Result<RunRow, RpcError> {
    if record.status.is_terminal() {
        return Ok(row_of(record));
    }
    // One that has ended since is not live any more, and this record does not know.
    let found = cx.gateway.runs.find(&record.run_id).await?;
    Ok(found.map_or_else(|| row_of(record), |handle| row(cx, &handle)))
}

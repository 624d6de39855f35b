//! Where the conversation of a request's session is kept.

use std::path::PathBuf;

use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::rpc::call::Call;
use crate::rpc::methods::agent::target;
use crate::store::sessions::SessionRecord;
use crate::transcript::entry::Header;

/// A session that is kept, and its transcript.
pub struct Place {
    /// The session.
    pub session: SessionRecord,
    /// Its transcript, which need not exist.
    pub path: PathBuf,
    /// What a transcript that is made now begins with.
    pub header: Header,
}

/// The canonical key of a session, and its place if it is kept.
///
/// # Errors
/// The key means nothing, or the store cannot be read.
pub async fn find(cx: &Call, method: &str, agent_id: Option<&str>, key: &str) -> Result<(SessionKey, Option<Place>), RpcError> {
    let (agent, key) = target::resolve(&cx.gateway, method, agent_id, Some(key))?;
    let cwd = agent.workspace.to_string_lossy().into_owned();
    let place = cx.gateway.sessions.get(&key).await?.map(|session| {
        let header = Header { id: session.entry.session_id.clone(), cwd };
        Place { path: cx.gateway.sessions.transcript_path(&session), session, header }
    });
    Ok((key, place))
}

//! `sessions.delete`: forget a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{key_of, not_quiet, refused};
use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::store::sessions::{Edited, SessionEdit};

/// Forget a session. Its runs are aborted first, waiting ones too; its transcript is renamed, so that nothing that was said is lost. The default agent's main session cannot be deleted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// Whether the transcript is put away; true if absent.
    #[serde(default)]
    pub delete_transcript: Option<bool>,
}

/// What was forgotten.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeleteReply {
    /// Always true.
    pub ok: bool,
    /// Its canonical key.
    pub key: SessionKey,
    /// Whether there was such a session.
    pub deleted: bool,
    /// Where its transcript stands now.
    pub archived: Vec<String>,
}

/// `sessions.delete`.
pub struct Delete;

impl Method for Delete {
    const NAME: &'static str = "sessions.delete";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = DeleteParams;
    type Output = DeleteReply;

    async fn call(cx: Call, params: DeleteParams) -> Result<DeleteReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        if key == gateway.sessions.settings().main_key(gateway.agents().default_id()) {
            return Err(RpcError::invalid(format!("Cannot delete the main session ({key}).")).with_code("MAIN_SESSION"));
        }
        let _closed = gateway.quiet(&key, "delete").await.map_err(|error| not_quiet(&key, error))?;
        let gone = SessionEdit::new(|row| Ok(if row.is_some() { Edited::Gone } else { Edited::Same }));
        let old = gateway.sessions.edit(&key, "delete", gone).await.map_err(refused)?.before;
        let mut archived = Vec::new();
        if let Some(old) = old.as_deref().filter(|_| params.delete_transcript != Some(false)) {
            let path = gateway.put_away(old, "deleted").await.map_err(|error| not_quiet(&key, error))?;
            archived.extend(path.map(|path| path.display().to_string()));
        }
        Ok(DeleteReply { ok: true, key, deleted: old.is_some(), archived })
    }
}

//! `sessions.describe`: one session's row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_of;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::protocol::session::SessionRow;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::store::sessions::SessionFilter;

/// One session as `sessions.list` shows it, of whatever kind it is; null if there is none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// With the beginning of the first message; true if absent.
    #[serde(default)]
    pub include_derived_titles: Option<bool>,
    /// With the beginning of the newest message; true if absent.
    #[serde(default)]
    pub include_last_message: Option<bool>,
}

/// The session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DescribeReply {
    /// Its row.
    pub session: Option<Box<SessionRow>>,
}

/// `sessions.describe`.
pub struct Describe;

impl Method for Describe {
    const NAME: &'static str = "sessions.describe";
    const SCOPE: Scope = Scope::Read;
    type Params = DescribeParams;
    type Output = DescribeReply;

    async fn call(cx: Call, params: DescribeParams) -> Result<DescribeReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        let mut page = gateway.store.sessions(SessionFilter { key: Some(key), limit: 1, ..SessionFilter::default() }).await?;
        let (titles, previews) = (params.include_derived_titles != Some(false), params.include_last_message != Some(false));
        if titles || previews {
            gateway.look_up(&mut page.rows).await;
        }
        let session = page.rows.pop().map(|listed| Box::new(gateway.looked_row(listed, titles, previews)));
        Ok(DescribeReply { session })
    }
}

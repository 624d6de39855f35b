//! `device.pair.setup`: a code with which one device comes in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{by, role, scopes};
use crate::protocol::error::RpcError;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Make a setup code: the first device that shows it (`auth.bootstrapToken` of `connect`) is paired without being asked about. It is good for ten minutes and for that one device, and never for more than its maker may do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairSetupParams {
    /// `operator` (default) or `node`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub role: Option<String>,
    /// What the device will be granted; read and write by default.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub scopes: Option<Vec<String>>,
}

/// The code. It is stored nowhere.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairSetupReply {
    /// Five words; case and separators do not matter.
    pub code: String,
    /// The role that it grants.
    pub role: &'static str,
    /// The scopes that it grants.
    pub scopes: Vec<&'static str>,
    /// Until when it can be used, ms since the epoch.
    pub expires_at_ms: u64,
}

/// `device.pair.setup`.
pub struct PairSetup;

impl Method for PairSetup {
    const NAME: &'static str = "device.pair.setup";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = PairSetupParams;
    type Output = PairSetupReply;

    async fn call(cx: Call, params: PairSetupParams) -> Result<PairSetupReply, RpcError> {
        let role = role(params.role.as_deref().unwrap_or("operator"))?;
        let wanted = params.scopes.as_deref().map(scopes).transpose()?;
        let wanted = wanted.unwrap_or(ScopeSet::of(&[Scope::Read, Scope::Write]));
        let (code, row) = cx.gateway.make_setup_code(role, wanted, &by(&cx.caller)).await?;
        Ok(PairSetupReply { code, role, scopes: row.scopes.names(), expires_at_ms: row.expires_at })
    }
}

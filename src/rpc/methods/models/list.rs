//! `models.list`: the models that the configuration names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the configured models.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Which part of the list; accepted for existing clients.
    #[serde(default)]
    #[expect(dead_code, reason = "known to clients of protocol 4, without a meaning here")]
    view: Option<String>,
}

/// The models.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListReply {
    /// One row each.
    pub models: Vec<ModelRow>,
}

/// One model.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRow {
    /// Its id at the provider.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// Size of its context in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Whether it reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
}

/// `models.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "models.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, _params: ListParams) -> Result<ListReply, RpcError> {
        let models = cx.gateway.loaded().config.models().into_iter().map(|model| ModelRow {
            id: model.id,
            name: model.name,
            provider: model.provider,
            context_window: model.context_window,
            reasoning: model.reasoning,
        });
        Ok(ListReply { models: models.collect() })
    }
}

//! `config.schema`: what the configuration may hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::iso;
use crate::config::hints::ui_hints;
use crate::config::schema::schema;
use crate::gateway::VERSION;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// The JSON Schema of the configuration, with hints for forms.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaParams {}

/// The schema.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaReply {
    /// JSON Schema, draft 2020-12. `x-secret`, `x-reload` (`none`, `hot` or `restart`), `x-open` and `x-acts` are ours.
    pub schema: Value,
    /// By dotted path with `*` for entries: `label`, `help`, `group`, `order`, `placeholder`, `sensitive`, `advanced`.
    pub ui_hints: Value,
    /// Version of the program.
    pub version: &'static str,
    /// When this answer was made, ISO.
    pub generated_at: String,
}

/// `config.schema`.
pub struct GetSchema;

impl Method for GetSchema {
    const NAME: &'static str = "config.schema";
    const SCOPE: Scope = Scope::Read;
    type Params = SchemaParams;
    type Output = SchemaReply;

    async fn call(cx: Call, _params: SchemaParams) -> Result<SchemaReply, RpcError> {
        let schema = schema();
        Ok(SchemaReply {
            ui_hints: Value::Object(ui_hints(&schema)),
            schema: Value::clone(&schema),
            version: VERSION,
            generated_at: iso(cx.gateway.now()),
        })
    }
}

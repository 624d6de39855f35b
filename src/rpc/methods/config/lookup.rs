//! `config.schema.lookup`: one key of the configuration and what stands below it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::hints::hint;
use crate::config::key_path::{KeyPath, Step};
use crate::config::schema::{schema, step_into};
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// One key of the configuration, without what is deeper than its children.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupParams {
    /// The key, such as `gateway.auth` or `agents.list[0]`; `.` for the whole.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// One key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LookupReply {
    /// The key.
    pub path: String,
    /// Its schema, without its properties.
    pub schema: Value,
    /// A hint for its form.
    pub hint: Value,
    /// The keys below it.
    pub children: Vec<Child>,
}

/// A key below another.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Its name; `*` for any entry.
    pub key: String,
    /// Its path.
    pub path: String,
    /// Its JSON type; absent when it has several.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether there are keys below it.
    pub has_children: bool,
    /// A hint for its form.
    pub hint: Value,
}

/// `config.schema.lookup`.
pub struct Lookup;

impl Method for Lookup {
    const NAME: &'static str = "config.schema.lookup";
    const SCOPE: Scope = Scope::Read;
    type Params = LookupParams;
    type Output = LookupReply;

    async fn call(_cx: Call, params: LookupParams) -> Result<LookupReply, RpcError> {
        let schema = schema();
        let path = if params.path.trim() == "." { KeyPath::default() } else { KeyPath::parse(&params.path) };
        let part = path.0.iter().try_fold(&*schema, step_into);
        let part = part.ok_or_else(|| {
            RpcError::invalid(format!("config schema path not found: {}", short(&params.path))).with_code("CONFIG_KEY_NOT_FOUND")
        })?;
        let shown: Map<String, Value> = part
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(keyword, _)| !is_below(keyword))
            .map(|(keyword, value)| (keyword.clone(), value.clone()))
            .collect();
        Ok(LookupReply {
            path: if path.0.is_empty() { ".".to_owned() } else { path.to_string() },
            schema: Value::Object(shown),
            hint: Value::Object(hint(&path, part)),
            children: children(&path, part),
        })
    }
}

fn is_below(keyword: &str) -> bool {
    matches!(keyword, "properties" | "items" | "additionalProperties" | "anyOf")
}

fn children(path: &KeyPath, part: &Value) -> Vec<Child> {
    if let Some(Value::Array(forms)) = part.get("anyOf") {
        return forms.iter().flat_map(|form| children(path, form)).collect();
    }
    let required = |key: &str| part.get("required").and_then(Value::as_array).is_some_and(|list| list.iter().any(|name| name == key));
    let child = |key: &str, step: Step, inner: &Value| {
        let path = path.join(step);
        Child {
            kind: inner.get("type").and_then(Value::as_str).map(str::to_owned),
            required: required(key),
            has_children: inner.get("properties").is_some()
                || inner.get("anyOf").is_some()
                || inner.get("items").is_some()
                || inner.get("additionalProperties").is_some_and(Value::is_object),
            hint: Value::Object(hint(&path, inner)),
            key: key.to_owned(),
            path: path.to_string(),
        }
    };
    let named = part.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut list: Vec<Child> = named.map(|(key, inner)| child(key, Step::Key(key.clone()), inner)).collect();
    list.extend(part.get("items").map(|inner| child("*", Step::Index(0), inner)));
    list.extend(
        part.get("additionalProperties").filter(|inner| inner.is_object()).map(|inner| child("*", Step::Key("*".to_owned()), inner)),
    );
    list
}

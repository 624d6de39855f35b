//! What a method is: one type with constants, parameters, result and handler; and its row in the table.
//!
//! Adding a method is one file with `impl Method` and one line in `methods::METHODS`. Dispatch, scope rule, schema, documentation and hello's feature list derive from the row.

use std::future::Future;
use std::pin::Pin;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::Call;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;

/// How often a method may be called: by one connection, with one credential, from one address (`auth/budget.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Reads: as fast as they are answered for who administers the gateway, else `gateway.limits.readsPerSecond`.
    Read,
    /// Changes something: `gateway.limits.writesPerSecond`.
    Write,
    /// Ends something: never refused for load, so that an overloaded run can always be aborted.
    Abort,
}

impl Rate {
    /// The word for it in the schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Abort => "abort",
        }
    }
}

/// What a call does, as far as rights go. The least scope for each stands in [`Effect::floor`], so that no method reaches an effect under a weaker one than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tells something.
    Reads,
    /// Changes records of the gateway.
    Changes,
    /// Starts work on the machine.
    Runs,
    /// Ends work.
    Ends,
    /// Lets somebody in or something run: pairing, tokens of devices, approvals.
    Permits,
    /// Changes what runs, where and by which rules: the configuration and the files of agents.
    Configures,
}

impl Effect {
    /// The word for it in the schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Changes => "changes",
            Self::Runs => "runs",
            Self::Ends => "ends",
            Self::Permits => "permits",
            Self::Configures => "configures",
        }
    }

    /// The scopes one of which is the least that a caller needs for it.
    #[must_use]
    pub const fn floor(self) -> &'static [Scope] {
        match self {
            Self::Reads => &Scope::ALL,
            Self::Changes | Self::Runs | Self::Ends => &[Scope::Write],
            Self::Permits => &[Scope::Approvals, Scope::Pairing, Scope::Admin],
            Self::Configures => &[Scope::Admin],
        }
    }

    const fn of_rate(rate: Rate) -> Self {
        match rate {
            Rate::Read => Self::Reads,
            Rate::Write => Self::Changes,
            Rate::Abort => Self::Ends,
        }
    }
}

/// A method of the protocol.
pub trait Method: Sized + 'static {
    /// Name on the wire, `<resource>.<verb>`.
    const NAME: &'static str;
    /// Scope a caller needs.
    const SCOPE: Scope;
    /// How often it may be called.
    const RATE: Rate = Rate::Read;
    /// What it does; a method that starts work or configures says so.
    const EFFECT: Effect = Effect::of_rate(Self::RATE);
    /// Whether unknown parameters are ignored, for methods that stock clients call with parameters of their own.
    const LOOSE: bool = false;
    /// Parameters; their doc comment is the method's description.
    type Params: DeserializeOwned + JsonSchema + Send + 'static;
    /// Result.
    type Output: Serialize + JsonSchema + 'static;

    /// Serves one call. It runs to its end even if the caller leaves.
    fn call(cx: Call, params: Self::Params) -> impl Future<Output = Result<Self::Output, RpcError>> + Send;
}

/// The answer to come: payload as JSON text.
pub type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, RpcError>> + Send>>;

/// A method as plain data.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Name on the wire.
    pub name: &'static str,
    /// Scope a caller needs.
    pub scope: Scope,
    /// How often it may be called.
    pub rate: Rate,
    /// What it does.
    pub effect: Effect,
    /// Whether unknown parameters are ignored.
    pub loose: bool,
    /// Schema of the parameters, complete in itself.
    pub params: fn() -> Value,
    /// Schema of the result, complete in itself.
    pub output: fn() -> Value,
    /// Parses validated parameters and makes the future that serves the call.
    pub prepare: fn(Call, Value) -> Result<Answer, RpcError>,
}

impl Entry {
    /// The row of method `M`.
    #[must_use]
    pub const fn of<M: Method>() -> Self {
        Self {
            name: M::NAME,
            scope: M::SCOPE,
            rate: M::RATE,
            effect: M::EFFECT,
            loose: M::LOOSE,
            params: || params_schema::<M::Params>(M::LOOSE),
            output: output_schema::<M::Output>,
            prepare: prepare::<M>,
        }
    }
}

fn prepare<M: Method>(cx: Call, params: Value) -> Result<Answer, RpcError> {
    let params: M::Params =
        serde_json::from_value(params).map_err(|error| RpcError::invalid(format!("invalid {} params: {error}", M::NAME)))?;
    Ok(Box::pin(async move {
        let output = M::call(cx, params).await?;
        serde_json::to_vec(&output).map_err(|error| RpcError::unavailable("the answer could not be written", error))
    }))
}

/// Schema of parameters, complete in itself: what the server accepts. Unless they are closed, `loose` says that more keys are ignored.
/// `null` in a release build, which reads the [committed](super::committed) one.
#[must_use]
pub fn params_schema<P: JsonSchema>(loose: bool) -> Value {
    if !cfg!(debug_assertions) {
        return Value::Null;
    }
    let mut schema = root::<P>(SchemaSettings::draft2020_12().into_generator());
    if loose && let Some(object) = schema.as_object_mut() {
        object.remove("additionalProperties");
    }
    schema
}

/// Schema of a result, complete in itself: what the server sends. `null` in a release build, which has no use for it and would carry the derivation of every type.
#[must_use]
pub fn output_schema<T: JsonSchema>() -> Value {
    if !cfg!(debug_assertions) {
        return Value::Null;
    }
    root::<T>(SchemaSettings::draft2020_12().for_serialize().into_generator())
}

fn root<T: JsonSchema>(generator: SchemaGenerator) -> Value {
    let mut schema: Value = Schema::to_value(generator.into_root_schema_for::<T>());
    bound_integers(&mut schema);
    schema
}

/// The largest integer that every JSON reader keeps exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Gives every integer without a maximum the largest one that JSON readers keep exactly.
pub fn bound_integers(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let integer = match object.get("type") {
                Some(Value::String(name)) => name == "integer",
                Some(Value::Array(names)) => names.iter().any(|name| name == "integer"),
                _ => false,
            };
            if integer {
                object.entry("maximum").or_insert_with(|| MAX_SAFE_INTEGER.into());
            }
            object.values_mut().for_each(bound_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        _ => {}
    }
}

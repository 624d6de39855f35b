//! From a request to the future that answers it: find the method, check the scope, check the parameters, prepare the handler.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::call::{Call, Caller};
use super::committed;
use super::method::{Answer, Entry};
use super::methods::METHODS;
use super::portal;
use super::validate::Checker;
use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::frame::{Request, short};
use crate::protocol::scope::Scope;
use crate::protocol::strict;

/// The methods with their compiled schemas.
pub struct Router {
    methods: HashMap<&'static str, Compiled>,
}

struct Compiled {
    entry: &'static Entry,
    /// Compiled at the first call: a daemon at rest does not pay for methods that nobody uses.
    checker: OnceLock<Result<Checker, String>>,
}

impl Compiled {
    fn checker(&self) -> Result<&Checker, RpcError> {
        let checker = self.checker.get_or_init(|| committed::checker(self.entry.name));
        checker.as_ref().map_err(|error| RpcError::unavailable("internal error", format!("{}: {error}", self.entry.name)))
    }
}

impl Router {
    /// Takes the table.
    ///
    /// # Errors
    /// A name that stands twice: a bug of ours, found at start.
    pub fn new() -> Result<Self, String> {
        let mut methods = HashMap::with_capacity(METHODS.len());
        for entry in METHODS {
            if methods.insert(entry.name, Compiled { entry, checker: OnceLock::new() }).is_some() {
                return Err(format!("{} is in the table twice", entry.name));
            }
        }
        Ok(Self { methods })
    }

    /// Names of the methods, in the order shown to clients.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        METHODS.iter().map(|entry| entry.name).collect()
    }

    /// The method that `caller` asks for.
    ///
    /// # Errors
    /// Missing scope, then unknown method, in this order, so that a caller without admin learns nothing about what exists.
    pub fn find(&self, caller: &Caller, method: &str) -> Result<&'static Entry, RpcError> {
        if caller.role != "operator" {
            return Err(RpcError::invalid(format!("unauthorized role: {}", caller.role)).with_code("ROLE_NOT_ALLOWED"));
        }
        if method == "connect" {
            return Err(RpcError::invalid("connect is only valid as the first request").with_code("ALREADY_CONNECTED"));
        }
        // For a user of a portal most methods do not exist.
        let found = self.methods.get(method).filter(|_| caller.home.is_none() || portal::is_open(method));
        let needed = found.map_or(Scope::Admin, |compiled| compiled.entry.scope);
        if !caller.scopes.allows(needed) {
            return Err(missing_scope(needed, caller.protocol));
        }
        found
            .map(|compiled| compiled.entry)
            .ok_or_else(|| RpcError::invalid(format!("unknown method: {}", short(method))).with_code("UNKNOWN_METHOD"))
    }

    /// The future that serves the request. Nothing has happened until it is polled.
    ///
    /// # Errors
    /// Parameters that are not acceptable.
    pub fn prepare(&self, entry: &'static Entry, call: Call, request: &Request<'_>) -> Result<Answer, RpcError> {
        let name = entry.name;
        let mut params = match request.params {
            None => Value::Object(Map::new()),
            Some(raw) => strict::from_json(raw.get()).map_err(|error| RpcError::invalid(format!("invalid {name} params: {error}")))?,
        };
        if let Some(home) = &call.caller.home {
            portal::confine(home, name, &mut params)?;
        }
        if let Some(compiled) = self.methods.get(name) {
            compiled.checker()?.check(&params).map_err(|problems| RpcError::invalid(format!("invalid {name} params: {problems}")))?;
        }
        (entry.prepare)(call, params)
    }
}

fn missing_scope(scope: Scope, protocol: u32) -> RpcError {
    let code = if protocol >= 4 { ErrorCode::Forbidden } else { ErrorCode::InvalidRequest };
    RpcError::new(code, format!("missing scope: {}", scope.name()))
        .with_code("MISSING_SCOPE")
        .with_detail("missingScope", json!(scope.name()))
        .with_detail("requiredScopes", json!([scope.name()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::scope::ScopeSet;
    use crate::rpc::method::{Effect, Rate};

    #[test]
    fn no_effect_is_reached_under_a_weaker_scope_than_its_own() {
        for entry in METHODS {
            let allowed = ScopeSet::of(&[entry.scope]);
            let reaches = entry.effect.floor().iter().any(|floor| allowed.allows(*floor));
            assert!(reaches, "{} needs {:?} and {}", entry.name, entry.scope, entry.effect.name());
            let pairs = [(Rate::Read, Effect::Reads), (Rate::Abort, Effect::Ends)];
            assert!(pairs.iter().all(|(rate, effect)| (entry.rate == *rate) == (entry.effect == *effect)), "{}", entry.name);
        }
    }

    #[test]
    fn every_schema_compiles_and_every_name_stands_once() {
        let router = Router::new().unwrap();
        for compiled in router.methods.values() {
            assert!(compiled.checker().is_ok(), "{}", compiled.entry.name);
        }
    }
}

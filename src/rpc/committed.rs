//! The schemas of parameters as `schema/params.json` holds them: derived from the types by `make gen`, committed, and part of the program as text.
//!
//! A daemon reads the few that it is asked for. Deriving them there would put half a megabyte of code into its memory; a test keeps file and types equal.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::validate::Checker;

/// One line per method, `connect` among them.
const PARAMS: &str = include_str!("../../schema/params.json");

/// The compiled schema of the parameters of `method`.
///
/// # Errors
/// The file does not have it: a bug of ours, which the test on generated files finds.
pub fn checker(method: &str) -> Result<Checker, String> {
    Checker::new(&params(method)?)
}

fn params(method: &str) -> Result<Value, String> {
    let all: HashMap<&str, &RawValue> = serde_json::from_str(PARAMS).map_err(|error| format!("schema/params.json: {error}"))?;
    let text = all.get(method).ok_or_else(|| format!("schema/params.json has no {method}; `make gen` writes it"))?;
    serde_json::from_str(text.get()).map_err(|error| format!("schema/params.json: {method}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::methods::METHODS;

    #[test]
    fn every_method_is_read_back_as_its_type_says() {
        for entry in METHODS {
            assert_eq!(params(entry.name).unwrap(), (entry.params)(), "{}; run `make gen`", entry.name);
        }
    }

    #[test]
    fn a_method_that_is_missing_is_named() {
        assert!(checker("no.such").unwrap_err().contains("no.such"));
    }
}

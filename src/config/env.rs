//! Section `env`: names and values for `${NAME}` in the config. They feed substitution only; the gateway's own environment never changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::Secret;
use super::section::section;

section! {
    /// Reading variables from a login shell.
    struct ShellEnv {
        /// Does it.
        enabled: Option<bool>,
        /// Time limit, ms; default 15000.
        #[schemars(range(min = 1))]
        timeout_ms: Option<u64>,
    }
}

/// `env.vars.NAME` and `env.NAME`; both are values for substitution, and both count as secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Env {
    /// Reading variables from a login shell.
    pub shell_env: Option<ShellEnv>,
    /// The values by name, from both places.
    pub vars: BTreeMap<String, Secret<String>>,
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Env;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
        let mut env = Env::default();
        let mut direct = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "shellEnv" => env.shell_env = Some(map.next_value()?),
                "vars" => env.vars = map.next_value()?,
                _ => {
                    direct.insert(key, map.next_value()?);
                }
            }
        }
        env.vars.extend(direct);
        Ok(env)
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

impl Serialize for Env {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("shellEnv", &self.shell_env)?;
        map.serialize_entry("vars", &self.vars)?;
        map.end()
    }
}

impl JsonSchema for Env {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Env".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut shell = ShellEnv::json_schema(generator);
        shell.insert("x-acts".to_owned(), false.into());
        json_schema!({
            "type": "object",
            "properties": {
                "shellEnv": shell,
                "vars": {
                    "type": "object",
                    "description": "Values by name.",
                    "additionalProperties": { "type": "string", "x-secret": true },
                },
            },
            "additionalProperties": { "type": "string", "x-secret": true },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_value_are_read_and_neither_is_shown() {
        let env: Env = serde_json::from_str(r#"{"vars":{"A":"canary1"},"B":"canary2","shellEnv":{"enabled":false}}"#).unwrap();
        assert_eq!(env.vars.len(), 2);
        assert!(!serde_json::to_string(&env).unwrap().contains("canary"));
        assert!(serde_json::from_str::<Env>(r#"{"B":3}"#).is_err());
    }
}

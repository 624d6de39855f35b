//! A model and its fallbacks, written as a text or as an object; both forms work wherever a model is named.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `"provider/model"` or `{primary, fallbacks}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelRef {
    /// The model that is asked first, `provider/model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Asked in this order when the one before fails.
    pub fallbacks: Vec<String>,
}

impl ModelRef {
    /// Every model named, the primary first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.primary.iter().chain(&self.fallbacks).map(String::as_str)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = ModelRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model name or an object with `primary` and `fallbacks`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ModelRef, E> {
        Ok(ModelRef { primary: Some(text.to_owned()), fallbacks: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ModelRef, A::Error> {
        let mut model = ModelRef::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "primary" => model.primary = Some(map.next_value()?),
                "fallbacks" => model.fallbacks = map.next_value()?,
                _ => return Err(A::Error::unknown_field(&key, &["primary", "fallbacks"])),
            }
        }
        Ok(model)
    }
}

impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for ModelRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ModelRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1 },
                {
                    "type": "object",
                    "properties": {
                        "primary": { "type": "string", "minLength": 1, "description": "The model that is asked first, `provider/model`." },
                        "fallbacks": {
                            "type": "array",
                            "items": { "type": "string", "minLength": 1 },
                            "description": "Asked in this order when the one before fails.",
                        },
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_and_an_object_name_the_same_model() {
        let text: ModelRef = serde_json::from_str(r#""a/b""#).unwrap();
        let object: ModelRef = serde_json::from_str(r#"{"primary":"a/b"}"#).unwrap();
        assert_eq!(text, object);
        let full: ModelRef = serde_json::from_str(r#"{"primary":"a/b","fallbacks":["c/d"]}"#).unwrap();
        assert_eq!(full.names().collect::<Vec<_>>(), ["a/b", "c/d"]);
    }

    #[test]
    fn other_keys_and_types_are_refused() {
        for bad in [r#"{"primry":"a/b"}"#, "3", "[]", r#"{"fallbacks":"a"}"#, "null"] {
            assert!(serde_json::from_str::<ModelRef>(bad).is_err(), "{bad}");
        }
    }
}

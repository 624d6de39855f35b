//! Reads a JSON-like document into a [`Value`] and refuses what a lenient reader hides: duplicate keys, deep nesting, NUL characters, numbers that are not finite.
//!
//! Works with any serde deserializer, so the wire (JSON) and the config file (JSON5) share one rule. The error is raised while the deserializer stands at the offending place; one that knows positions adds it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The deepest nesting that is read, for frames and for the config.
pub const MAX_DEPTH: usize = 64;

/// The seed that builds the value; start with [`Strict::document`].
#[derive(Clone, Copy, Debug)]
pub struct Strict {
    depth: usize,
}

impl Strict {
    /// At the root of a document.
    #[must_use]
    pub fn document() -> Self {
        Self { depth: 0 }
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

/// Parses JSON text strictly; the whole text must be one document.
///
/// # Errors
/// The parser's own text, or one of this module's; never a part of the input other than a key.
pub fn from_json(text: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict::document().deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn text<E: Error>(text: String) -> Result<Value, E> {
    if text.contains('\0') {
        return Err(E::custom("a text holds a NUL character"));
    }
    Ok(Value::String(text))
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        text(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        text(value)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key_seed(FreshKey(&object))? {
            let value = map.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads a key that the object does not have; it fails inside the key, so that the error's position is the second key and not the object.
struct FreshKey<'o>(&'o Map<String, Value>);

impl<'de> DeserializeSeed<'de> for FreshKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }
}

impl Visitor<'_> for FreshKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.visit_string(key.to_owned())
    }

    fn visit_string<E: Error>(self, key: String) -> Result<String, E> {
        if self.0.contains_key(&key) {
            return Err(E::custom(format_args!("duplicate key `{key}`")));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_documents_read_as_serde_json_reads_them() {
        let source = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":18446744073709551615}}"#;
        assert_eq!(from_json(source).unwrap(), serde_json::from_str::<Value>(source).unwrap());
    }

    #[test]
    fn what_a_lenient_reader_hides_is_refused() {
        for (source, wanted) in [
            (r#"{"a":1,"a":2}"#, "duplicate key `a`"),
            (r#"{"a":"x\u0000y"}"#, "NUL"),
            (r#"{"a":"\ud800"}"#, "escape"),
            (r#"{"a":1e400}"#, "out of range"),
            ("{} {}", "trailing"),
        ] {
            let error = from_json(source).unwrap_err().to_string();
            assert!(error.contains(wanted), "{source}: {error}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_a_stack_overflow() {
        assert!(from_json(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))).is_ok());
        assert!(from_json(&"[".repeat(100_000)).unwrap_err().to_string().contains("deeper than 64"));
    }
}

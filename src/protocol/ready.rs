//! A part of a payload that was made once and is sent many times: its JSON text, with the schema of what it says.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// The JSON text of a `T`; copies share it.
#[derive(Clone, Debug)]
pub struct Ready<T> {
    text: Arc<RawValue>,
    says: PhantomData<fn() -> T>,
}

impl<T: Serialize> Ready<T> {
    /// Writes the value down. One that cannot be written is null.
    #[must_use]
    pub fn new(value: &T) -> Self {
        let text = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { text: Arc::from(text), says: PhantomData }
    }
}

impl<T> Ready<T> {
    /// An object without members, for who may not be told what stands here.
    #[must_use]
    pub fn withheld() -> Self {
        let text = to_raw_value(&serde_json::Map::new()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { text: Arc::from(text), says: PhantomData }
    }
}

impl<T: Serialize + Default> Default for Ready<T> {
    fn default() -> Self {
        Self::new(&T::default())
    }
}

impl<T> Serialize for Ready<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Ready<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_is_written_as_the_value_itself() {
        let ready = Ready::new(&vec![(1, "a\"b")]);
        assert_eq!(serde_json::to_string(&[ready.clone(), ready]).unwrap(), r#"[[[1,"a\"b"]],[[1,"a\"b"]]]"#);
        assert_eq!(serde_json::to_string(&Ready::<Vec<u8>>::default()).unwrap(), "[]");
    }
}

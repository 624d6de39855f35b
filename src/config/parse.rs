//! JSON5 text to a value, strictly: one document, no duplicate keys, no NaN, bounded nesting.

use std::path::Path;

use serde::de::{Deserialize, DeserializeSeed, Deserializer};
use serde_json::{Number, Value};

use super::locate::{end_of, spot_of};
use super::problem::{ConfigError, Problem};
use crate::protocol::strict::Strict;

struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Strict::document().deserialize(deserializer).map(Self)
    }
}

/// Reads the text. `1e3` and `1000.` become whole numbers, since JSON5 writes them so.
///
/// # Errors
/// One problem with the place of the fault; a reader cannot go on after the first.
pub fn parse(file: &Path, text: &str) -> Result<Value, ConfigError> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(ConfigError::one(Problem::file(file.to_owned(), None, "is empty; the least is `{}`")));
    }
    match json5::from_str::<Document>(text) {
        Ok(Document(mut value)) => {
            whole_numbers(&mut value);
            Ok(value)
        }
        Err(error) => {
            let spot = spot_of(&error).unwrap_or_else(|| end_of(text));
            Err(ConfigError::one(Problem::file(file.to_owned(), Some(spot), reason(&error))))
        }
    }
}

/// The reader's texts carry no part of the input; only their position suffix is taken off, since the problem has its own.
fn reason(error: &json5::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    match text.strip_prefix("EOF parsing") {
        Some(what) => format!("the text ends before what starts here is complete (reading{what})"),
        None => text.to_owned(),
    }
}

/// Makes `1000.0` the number 1000, so that spellings of one number are equal.
pub fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() < 9_007_199_254_740_992.0
            {
                // The bounds above make the conversion exact.
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(object) => object.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("f"), text).unwrap_err().to_string()
    }

    #[test]
    fn comments_trailing_commas_single_quotes_and_a_byte_order_mark_are_read() {
        let value = parse(Path::new("f"), "\u{feff}// c\n{ a: 'x', /* c */ b: [1, 0x10, 1e3,], }").unwrap();
        assert_eq!(value, serde_json::json!({ "a": "x", "b": [1, 16, 1000] }));
    }

    #[test]
    fn m95_duplicate_keys_trailing_text_and_numbers_that_are_none_are_refused_with_their_place() {
        assert_eq!(refusal("{ a: 1,\n a: 2 }"), "f:2:2: duplicate key `a`");
        assert_eq!(refusal("{}\n x"), "f:2:2: trailing characters");
        assert_eq!(refusal("{ a: NaN }"), "f:1:6: a number must be finite");
        assert_eq!(refusal("{ a: -Infinity }"), "f:1:6: a number must be finite");
        assert_eq!(refusal("{ a: 1e999 }"), "f:1:6: a number must be finite");
        assert_eq!(refusal("{ a: 1"), "f:1:1: the text ends before what starts here is complete (reading object)");
    }

    #[test]
    fn m95_empty_texts_are_refused() {
        for text in ["", " \n\t", "\u{feff}", "\u{feff}\n"] {
            assert_eq!(refusal(text), "f: is empty; the least is `{}`");
        }
        assert!(refusal("// only a comment").contains("the text ends"), "{}", refusal("// only a comment"));
    }

    #[test]
    fn m95_deep_nesting_is_refused_without_a_stack_overflow() {
        assert!(parse(Path::new("f"), &format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(refusal(&"[".repeat(200_000)).ends_with("nested deeper than 64 levels"));
        assert!(refusal(&"{a:".repeat(200_000)).ends_with("nested deeper than 64 levels"));
    }
}

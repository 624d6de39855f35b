//! Finds the line and column of a key or value in JSON5 text, without a second parser.
//!
//! The reader is run again with a probe that walks the path and fails on purpose where it ends; the reader adds the position of what it stood at. It costs one pass over the text and happens only when there is something to report.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::key_path::Step;

/// What to point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The last key of the path; for an entry of a list, the entry.
    Key,
    /// The value.
    Value,
}

/// A line and a column, both from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the path leads in the text; `None` when it leads nowhere.
#[must_use]
pub fn locate(text: &str, path: &[Step], target: Target) -> Option<Spot> {
    let mut reader = json5::Deserializer::from_str(text);
    spot_of(&Probe { path, target }.deserialize(&mut reader).err()?)
}

/// The position that an error of the reader carries.
#[must_use]
pub fn spot_of(error: &json5::Error) -> Option<Spot> {
    error.position().map(|at| Spot { line: at.line + 1, column: at.column + 1 })
}

/// The place just after the last character of the text.
#[must_use]
pub fn end_of(text: &str) -> Spot {
    let line = text.matches('\n').count() + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    Spot { line, column: last.chars().count() + 1 }
}

/// Whether the error is the probe's own, raised on arrival.
const ARRIVED: &str = "arrived";

#[derive(Clone, Copy)]
struct Probe<'p> {
    path: &'p [Step],
    target: Target,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Probe<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.path.is_empty() { Err(E::custom(ARRIVED)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(ARRIVED));
        };
        let mut index = 0;
        loop {
            let more = if *step == Step::Index(index) {
                seq.next_element_seed(Probe { path: rest, target: self.target })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(ARRIVED));
        };
        let wanted = if let Step::Key(key) = step { Some(key.as_str()) } else { None };
        let stop_at_key = rest.is_empty() && self.target == Target::Key;
        while let Some(found) = map.next_key_seed(KeyProbe { wanted, stop: stop_at_key })? {
            if found {
                map.next_value_seed(Probe { path: rest, target: self.target })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Compares a key; fails at the wanted one when told to stop there.
struct KeyProbe<'p> {
    wanted: Option<&'p str>,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyProbe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        let found = self.wanted == Some(key);
        if found && self.stop { Err(E::custom(ARRIVED)) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_path::KeyPath;

    const TEXT: &str = "// head\n{\n  a: 1,\n  \"list\": [ 'x', { b: true } ],\n  c: {}, // end\n}";

    fn at(path: &str, target: Target) -> Option<String> {
        locate(TEXT, &KeyPath::parse(path).0, target).map(|spot| spot.to_string())
    }

    #[test]
    fn keys_and_values_are_found_in_objects_and_lists() {
        assert_eq!(at("a", Target::Key).as_deref(), Some("3:3"));
        assert_eq!(at("a", Target::Value).as_deref(), Some("3:6"));
        assert_eq!(at("list[1].b", Target::Key).as_deref(), Some("4:20"));
        assert_eq!(at("list[1]", Target::Value).as_deref(), Some("4:18"));
        assert_eq!(at("list[0]", Target::Key).as_deref(), Some("4:13"));
        assert_eq!(at("c", Target::Value).as_deref(), Some("5:6"));
        assert_eq!(at("", Target::Value).as_deref(), Some("2:1"));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_not_found() {
        for path in ["b", "list[2]", "list.x", "a.b", "c[0]"] {
            assert_eq!(at(path, Target::Value), None, "{path}");
        }
    }

    #[test]
    fn the_end_of_a_text_is_after_its_last_character() {
        assert_eq!(end_of("").to_string(), "1:1");
        assert_eq!(end_of("ab\nc").to_string(), "2:2");
    }
}

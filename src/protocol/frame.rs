//! Reading a `req` frame and writing `res` and `event` frames.
//!
//! A frame is read into its parts without parsing `params`; who serves the method parses those strictly. Frames are written with their keys in the order that existing clients were written against: type, id, ok, payload, and type, event, payload, seq, stateVersion.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::RpcError;

/// Longest request id, in characters.
pub const MAX_ID: usize = 128;
/// Longest method name, in bytes.
pub const MAX_METHOD: usize = 64;
/// The id of an answer to a frame whose own id could not be used.
pub const INVALID_ID: &str = "invalid";

/// A well-formed request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The client's id, 1 to 128 characters without control characters.
    pub id: String,
    /// The method, 1 to 64 bytes.
    pub method: String,
    /// The parameters as they stand in the text; absent and `null` both mean `{}`.
    pub params: Option<&'a RawValue>,
}

/// A frame that is not a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The frame's id if it is fit to be repeated, else [`INVALID_ID`].
    pub id: String,
    /// Whether the text was not even a JSON object.
    pub not_an_object: bool,
    /// What is wrong, starting with `invalid request frame: `.
    pub message: String,
}

/// Keys that a `req` frame may have; the last two exist since protocol 4.
const KEYS: [&str; 6] = ["type", "id", "method", "params", "traceparent", "expectedProfileId"];

/// Reads one text message.
///
/// # Errors
/// Every problem of the frame in one text.
pub fn parse(text: &str, protocol: u32) -> Result<Request<'_>, Malformed> {
    let allowed = if protocol >= 4 { &KEYS[..] } else { KEYS.get(..4).unwrap_or_default() };
    let mut reader = serde_json::Deserializer::from_str(text);
    let parts = match reader.deserialize_map(PartsVisitor { allowed }).and_then(|parts| reader.end().map(|()| parts)) {
        Ok(parts) => parts,
        Err(error) => {
            let shape = if error.is_data() { "must be object" } else { "is not valid JSON" };
            return Err(Malformed { id: INVALID_ID.to_owned(), not_an_object: true, message: format!("invalid request frame: {shape}") });
        }
    };
    parts.into_request()
}

#[derive(Default)]
struct Parts<'a> {
    kind: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    problems: Vec<String>,
}

impl<'a> Parts<'a> {
    fn into_request(mut self) -> Result<Request<'a>, Malformed> {
        match self.kind {
            None => self.problems.push("must have required property 'type'".into()),
            Some(kind) if kind.get() != "\"req\"" => self.problems.push("at /type: must be equal to constant".into()),
            Some(_) => {}
        }
        let id = self.text(self.id, "id", |id| {
            if id.is_empty() {
                Some("must NOT have fewer than 1 characters".into())
            } else if id.chars().count() > MAX_ID {
                Some(format!("must NOT have more than {MAX_ID} characters"))
            } else {
                id.chars().any(char::is_control).then(|| "must not hold control characters".into())
            }
        });
        let method = self.text(self.method, "method", |method| {
            if method.is_empty() {
                Some("must NOT have fewer than 1 characters".into())
            } else {
                (method.len() > MAX_METHOD).then(|| format!("must NOT have more than {MAX_METHOD} characters"))
            }
        });
        let params = self.params.filter(|raw| raw.get() != "null");
        match (id, method) {
            (Some(id), Some(method)) if self.problems.is_empty() => Ok(Request { id, method, params }),
            (id, _) => {
                let mut message = String::from("invalid request frame: ");
                for (n, problem) in self.problems.iter().enumerate() {
                    let _ = write!(message, "{}{problem}", if n == 0 { "" } else { "; " });
                }
                Err(Malformed { id: id.unwrap_or_else(|| INVALID_ID.to_owned()), not_an_object: false, message })
            }
        }
    }

    fn text(&mut self, raw: Option<&RawValue>, key: &str, wrong: impl Fn(&str) -> Option<String>) -> Option<String> {
        let Some(raw) = raw else {
            self.problems.push(format!("must have required property '{key}'"));
            return None;
        };
        let Ok(value) = serde_json::from_str::<String>(raw.get()) else {
            self.problems.push(format!("at /{key}: must be string"));
            return None;
        };
        match wrong(&value) {
            None => Some(value),
            Some(problem) => {
                self.problems.push(format!("at /{key}: {problem}"));
                None
            }
        }
    }
}

struct PartsVisitor {
    allowed: &'static [&'static str],
}

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(4);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let raw = map.next_value::<&'de RawValue>()?;
            if seen.contains(&key) {
                parts.problems.push(format!("at root: duplicate key '{}'", short(&key)));
                continue;
            }
            if !self.allowed.contains(&key.as_ref()) {
                parts.problems.push(format!("at root: unexpected property '{}'", short(&key)));
            }
            match key.as_ref() {
                "type" => parts.kind = Some(raw),
                "id" => parts.id = Some(raw),
                "method" => parts.method = Some(raw),
                "params" => parts.params = Some(raw),
                _ => {}
            }
            if seen.len() > 32 {
                return Err(A::Error::custom("too many keys"));
            }
            seen.push(key);
        }
        Ok(parts)
    }
}

/// A client's text as it may stand in a message: escaped and at most 64 characters.
#[must_use]
pub fn short(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// A `res` frame with `ok: true`. `payload` is JSON text.
#[must_use]
pub fn res_ok(id: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + id.len() + 48);
    res_head(id, true, &mut out);
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(payload);
    out.push(b'}');
    out
}

/// A `res` frame with `ok: false`; it carries a payload too when the error has one.
#[must_use]
pub fn res_error(id: &str, error: &RpcError) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    res_head(id, false, &mut out);
    if let Some(payload) = &error.payload {
        out.extend_from_slice(b",\"payload\":");
        append_json(payload, &mut out);
    }
    out.extend_from_slice(b",\"error\":");
    append_json(error, &mut out);
    out.push(b'}');
    out
}

/// An `event` frame without its end: the connection adds `seq`, the state version and the closing brace with [`event_end`].
#[must_use]
pub fn event_start(name: &str, payload: &impl Serialize) -> Vec<u8> {
    let mut out = event_prefix(name);
    append_json(payload, &mut out);
    out
}

/// The part of an event frame before its payload.
#[must_use]
pub fn event_prefix(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"{\"type\":\"event\",\"event\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"payload\":");
    out
}

/// Versions of the state at the time of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct StateVersion {
    /// Counts changes of presence.
    pub presence: u64,
    /// Counts changes of health.
    pub health: u64,
}

/// Closes an event frame.
pub fn event_end(seq: Option<u64>, version: Option<StateVersion>, out: &mut Vec<u8>) {
    if let Some(seq) = seq {
        out.extend_from_slice(b",\"seq\":");
        append_json(&seq, out);
    }
    if let Some(version) = version {
        out.extend_from_slice(b",\"stateVersion\":");
        append_json(&version, out);
    }
    out.push(b'}');
}

fn res_head(id: &str, ok: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"res\",\"id\":");
    append_json(&id, out);
    out.extend_from_slice(if ok { b",\"ok\":true" } else { b",\"ok\":false" });
}

fn append_json(value: &impl Serialize, out: &mut Vec<u8>) {
    // Types of the wire serialise infallibly: no maps with keys that are not strings.
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text, 3).unwrap_err().message
    }

    #[test]
    fn a_request_is_read_with_its_raw_params() {
        let request = parse(r#"{"type":"req","id":"a1","method":"health","params":{"x":[1, 2]}}"#, 3).unwrap();
        assert_eq!((request.id.as_str(), request.method.as_str()), ("a1", "health"));
        assert_eq!(request.params.unwrap().get(), r#"{"x":[1, 2]}"#);
        assert!(parse(r#"{"type":"req","id":"1","method":"m","params":null}"#, 3).unwrap().params.is_none());
    }

    #[test]
    fn m32_what_is_not_an_object_is_named_and_does_not_overflow() {
        for text in ["{", "", "null", "[]", "\"x\"", "{}x", &"[".repeat(100_000)] {
            let error = parse(text, 3).unwrap_err();
            assert_eq!(error.id, INVALID_ID);
            assert!(error.not_an_object || text == "{}x", "{text}");
        }
    }

    #[test]
    fn m33_duplicate_and_unknown_keys_are_named() {
        assert!(message(r#"{"type":"req","id":"1","id":"2","method":"m"}"#).contains("duplicate key 'id'"));
        assert!(message(r#"{"type":"req","id":"1","method":"m","__proto__":{}}"#).contains("unexpected property '__proto__'"));
        assert!(message(r#"{"type":"req","id":"1","method":"m","traceparent":"x"}"#).contains("traceparent"));
        assert!(parse(r#"{"type":"req","id":"1","method":"m","traceparent":"x"}"#, 4).is_ok());
    }

    #[test]
    fn m34_an_unusable_id_is_refused_and_never_echoed() {
        for id in ["", "\"id\":7,", "\"id\":\"\",", "\"id\":\"a\\nb\",", &format!("\"id\":\"{}\",", "x".repeat(129))] {
            let error = parse(&format!(r#"{{"type":"req",{id}"method":"m"}}"#), 3).unwrap_err();
            assert_eq!(error.id, INVALID_ID, "{id}");
        }
        assert_eq!(parse(r#"{"type":"req","id":"ok"}"#, 3).unwrap_err().id, "ok");
    }

    #[test]
    fn m35_other_frame_types_are_refused() {
        assert!(message(r#"{"type":"res","id":"1","method":"m"}"#).contains("at /type: must be equal to constant"));
        assert!(message(r#"{"type":"event","event":"x"}"#).contains("/type"));
    }

    #[test]
    fn frames_are_written_in_the_order_of_the_wire() {
        assert_eq!(res_ok("1", b"{}"), br#"{"type":"res","id":"1","ok":true,"payload":{}}"#);
        let error = res_error("q\"", &RpcError::invalid("bad").with_code("X"));
        assert_eq!(
            String::from_utf8(error).unwrap(),
            r#"{"type":"res","id":"q\"","ok":false,"error":{"code":"INVALID_REQUEST","message":"bad","details":{"code":"X"}}}"#
        );
        let mut event = event_start("tick", &serde_json::json!({"ts":1}));
        event_end(Some(7), Some(StateVersion { presence: 2, health: 3 }), &mut event);
        assert_eq!(
            String::from_utf8(event).unwrap(),
            r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":7,"stateVersion":{"presence":2,"health":3}}"#
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in ".{0,200}") {
            let _ = parse(&text, 3);
        }

        #[test]
        fn any_id_survives_the_round_trip(id in "[^\\p{Cc}]{1,128}") {
            let text = serde_json::json!({"type":"req","id":id,"method":"m"}).to_string();
            proptest::prop_assert_eq!(parse(&text, 3).unwrap().id, id.clone());
            let res: serde_json::Value = serde_json::from_slice(&res_ok(&id, b"1")).unwrap();
            proptest::prop_assert_eq!(res["id"].as_str().unwrap(), id);
        }
    }
}

//! Checks parameters against a method's JSON Schema and words what is wrong as existing clients expect it.
//!
//! Texts follow the protocol: `at /path: must be string`, `at root: unexpected property 'x'`, parts joined with `; `. They never contain a value of the request.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::protocol::frame::short;

/// Most problems that one message names.
const MAX_PROBLEMS: usize = 20;

/// A compiled schema.
#[derive(Debug)]
pub struct Checker {
    validator: Validator,
}

impl Checker {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A schema that is no schema: a bug of ours, found at start.
    pub fn new(schema: &Value) -> Result<Self, String> {
        jsonschema::draft202012::new(schema).map(|validator| Self { validator }).map_err(|error| error.to_string())
    }

    /// Every problem of `value`, joined.
    ///
    /// # Errors
    /// The joined text.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let mut problems: Vec<String> = Vec::new();
        for error in self.validator.iter_errors(value) {
            explain(&error, value, &mut problems);
            if problems.len() >= MAX_PROBLEMS {
                break;
            }
        }
        problems.dedup();
        if problems.is_empty() {
            problems.push("unknown validation error".to_owned());
        }
        Err(problems.join("; "))
    }
}

fn explain(error: &ValidationError<'_>, root: &Value, problems: &mut Vec<String>) {
    let path = error.instance_path().as_str();
    let at = |text: String| if path.is_empty() { text } else { format!("at {path}: {text}") };
    let place = if path.is_empty() { "root" } else { path };
    let text = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            problems.extend(unexpected.iter().map(|name| format!("at {place}: unexpected property '{}'", short(name))));
            return;
        }
        // An object that may have no property at all; the library does not say which ones it has.
        ValidationErrorKind::FalseSchema => {
            let names = root.pointer(path).and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
            problems.extend(names.map(|name| format!("at {place}: unexpected property '{}'", short(name))));
            return;
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            // `Option<T>` is `anyOf [T, null]`: the problems of the branch that is not null say what is wrong.
            let branch = context.iter().find(|branch| !branch.iter().any(|problem| is_null_type(problem)));
            if let Some(branch) = branch.filter(|_| context.len() == 2) {
                branch.iter().for_each(|problem| explain(problem, root, problems));
                return;
            }
            "must match a schema in anyOf".to_owned()
        }
        ValidationErrorKind::Required { property } => {
            format!("must have required property '{}'", property.as_str().unwrap_or_default())
        }
        ValidationErrorKind::Type { kind } => match kind {
            TypeKind::Single(kind) => format!("must be {kind}"),
            TypeKind::Multiple(kinds) => {
                let names: Vec<String> = kinds.iter().map(|kind| kind.to_string()).filter(|name| name != "null").collect();
                format!("must be {}", names.join(" or "))
            }
        },
        ValidationErrorKind::Constant { .. } => "must be equal to constant".to_owned(),
        ValidationErrorKind::Enum { options } => {
            let names: Vec<String> = options.as_array().into_iter().flatten().map(ToString::to_string).collect();
            format!("must be equal to one of the allowed values: {}", names.join(", "))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be >= {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be <= {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be > {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be < {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("must NOT have fewer than {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("must NOT have more than {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("must NOT have fewer than {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("must NOT have more than {limit} items"),
        ValidationErrorKind::Pattern { pattern } => format!("must match pattern \"{pattern}\""),
        _ => "is not valid".to_owned(),
    };
    problems.push(at(text));
}

fn is_null_type(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { kind: TypeKind::Single(kind) } if kind.to_string() == "null")
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Params {
        #[schemars(length(min = 1))]
        message: String,
        timeout: Option<u64>,
        mode: Option<Mode>,
        inner: Option<Inner>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Mode {
        Fast,
        Slow,
    }

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Inner {
        n: u8,
    }

    fn problems(value: Value) -> String {
        let checker = Checker::new(&schemars::schema_for!(Params).to_value()).unwrap();
        checker.check(&value).unwrap_err()
    }

    #[test]
    fn problems_are_worded_as_the_protocol_says() {
        assert_eq!(problems(json!({})), "must have required property 'message'");
        assert_eq!(problems(json!({"message": ""})), "at /message: must NOT have fewer than 1 characters");
        assert_eq!(problems(json!({"message": 7})), "at /message: must be string");
        assert_eq!(problems(json!({"message": "x", "timeout": -1})), "at /timeout: must be >= 0");
        assert_eq!(problems(json!({"message": "x", "bogus": 1})), "at root: unexpected property 'bogus'");
        assert_eq!(problems(json!({"message": "x", "inner": {"n": 1, "m": 2}})), "at /inner: unexpected property 'm'");
        assert_eq!(
            problems(json!({"message": "x", "mode": "warp"})),
            "at /mode: must be equal to one of the allowed values: \"fast\", \"slow\""
        );
        assert_eq!(problems(json!([])), "must be object");
    }

    #[test]
    fn a_property_where_none_may_be_is_named() {
        let checker = Checker::new(&schemars::schema_for!(Nothing).to_value()).unwrap();
        assert_eq!(checker.check(&json!({})), Ok(()));
        assert_eq!(
            checker.check(&json!({"a": 1, "b": 2})).unwrap_err(),
            "at root: unexpected property 'a'; at root: unexpected property 'b'"
        );
    }

    #[test]
    fn all_problems_come_at_once_and_no_value_is_repeated() {
        let text = problems(json!({"message": 1, "timeout": "hunter2", "x": 1}));
        assert!(text.contains("/message") && text.contains("/timeout") && text.contains("'x'"), "{text}");
        assert!(!text.contains("hunter2"));
    }
}

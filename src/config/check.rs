//! The value against the schema: all faults in one pass, each with its key, the reason, and what would be right.
//!
//! Pure: no file, no clock. The validator's own texts are never used, because they quote the value.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde::Deserialize as _;
use serde_json::Value;

use super::Config;
use super::key_path::{KeyPath, Step};
use super::problem::Problem;
use super::schema::{for_value, key_names, part, schema};
use super::suggest::nearest;

/// Every fault of the value, in the order of the schema's keys.
#[must_use]
pub fn against_schema(value: &Value) -> Vec<Problem> {
    let Ok(validator) = jsonschema::draft202012::new(&for_value(&schema(), value)) else {
        return vec![Problem::value(KeyPath::default(), "the schema of this program does not compile")];
    };
    let mut problems = Vec::new();
    for error in validator.iter_errors(value) {
        explain(&error, value, &mut problems);
    }
    problems.dedup();
    problems
}

/// The value as a [`Config`]: the second net, for what the schema cannot say.
///
/// # Errors
/// The key that does not fit; without the reader's text, which quotes the value.
pub fn typed(value: &Value) -> Result<Config, Problem> {
    Config::deserialize(value).map_err(|_| Problem::value(culprit(value), "does not fit its type"))
}

/// The innermost key without which the value would fit. Readers that keep the path are instances of all types twice, for a case that hardly ever comes.
fn culprit(value: &Value) -> KeyPath {
    let mut path = KeyPath::default();
    while let Some(step) =
        steps_at(value, &path).into_iter().find(|step| Config::deserialize(&without(value, &path.join(step.clone()))).is_ok())
    {
        path = path.join(step);
    }
    path
}

/// The keys or places of what stands at `path`.
fn steps_at(value: &Value, path: &KeyPath) -> Vec<Step> {
    match path.find(value) {
        Some(Value::Object(object)) => object.keys().cloned().map(Step::Key).collect(),
        Some(Value::Array(items)) => (0..items.len()).map(Step::Index).collect(),
        _ => Vec::new(),
    }
}

fn without(value: &Value, path: &KeyPath) -> Value {
    let mut left = value.clone();
    let Some((last, parents)) = path.0.split_last() else { return left };
    let parent = parents.iter().try_fold(&mut left, |at, step| match step {
        Step::Key(key) => at.get_mut(key.as_str()),
        Step::Index(index) => at.get_mut(*index),
    });
    match (parent, last) {
        (Some(Value::Object(object)), Step::Key(key)) => drop(object.shift_remove(key)),
        (Some(Value::Array(items)), Step::Index(index)) if *index < items.len() => drop(items.remove(*index)),
        _ => {}
    }
    left
}

fn path_of(location: &Location) -> KeyPath {
    KeyPath(
        location
            .iter()
            .map(|segment| match segment {
                LocationSegment::Property(key) => Step::Key(key.to_string()),
                LocationSegment::Index(index) => Step::Index(index),
            })
            .collect(),
    )
}

fn explain(error: &ValidationError<'_>, root: &Value, problems: &mut Vec<Problem>) {
    let path = path_of(error.instance_path());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            problems.extend(unexpected.iter().map(|key| unknown_key(&path, key)));
        }
        ValidationErrorKind::AnyOf { context } => either(&path, root, context, problems),
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            problems.push(Problem::value(path, format!("the key `{key}` is missing")));
        }
        kind => problems.push(Problem::value(path, reason(kind))),
    }
}

/// A key that does not exist, and the name it was likely meant to be: in the same object, or elsewhere under the same name.
#[must_use]
pub fn unknown_key(parent: &KeyPath, key: &str) -> Problem {
    let schema = schema();
    let siblings = part(&schema, parent).map(key_names).unwrap_or_default();
    let mut reason = "unknown key".to_owned();
    if let Some(name) = nearest(key, siblings) {
        reason.push_str(&format!(", did you mean `{name}`?"));
    } else if let Some(place) = same_name_elsewhere(key) {
        reason.push_str(&format!(", did you mean `{place}`?"));
    }
    Problem::key(parent.key(key), reason)
}

fn same_name_elsewhere(key: &str) -> Option<String> {
    let mut found: Option<KeyPath> = None;
    super::schema::for_each_key(&mut |path, _| {
        let in_a_map = path.0.iter().any(|step| matches!(step, Step::Index(_)) || *step == Step::Key("*".to_owned()));
        if !in_a_map && path.0.last() == Some(&Step::Key(key.to_owned())) && found.as_ref().is_none_or(|best| path.0.len() < best.0.len()) {
            found = Some(path.clone());
        }
    });
    found.map(|path| path.to_string())
}

/// Of several forms, the faults of the one that was meant: the one whose type the value has.
fn either(path: &KeyPath, root: &Value, branches: &[Vec<ValidationError<'static>>], problems: &mut Vec<Problem>) {
    let fits = |branch: &&Vec<ValidationError<'static>>| {
        !branch.iter().any(|error| matches!(error.kind(), ValidationErrorKind::Type { .. }) && path_of(error.instance_path()) == *path)
    };
    if let Some(branch) = branches.iter().find(fits) {
        for error in branch {
            explain(error, root, problems);
        }
        return;
    }
    let types = branches.iter().flatten().filter_map(|error| match error.kind() {
        ValidationErrorKind::Type { kind } => Some(type_words(kind)),
        _ => None,
    });
    problems.push(Problem::value(path.clone(), format!("must be {}", types.collect::<Vec<_>>().join(" or "))));
}

fn reason(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Type { kind } => format!("must be {}", type_words(kind)),
        ValidationErrorKind::Enum { options } => format!("must be one of {}", list(options)),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("must have at least {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {limit} entries"),
        other => format!("breaks the rule `{}` of the schema", other.keyword()),
    }
}

fn list(options: &Value) -> String {
    let words = options.as_array().map(Vec::as_slice).unwrap_or_default();
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn type_words(kind: &TypeKind) -> String {
    let word = |name: &str| match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    };
    match kind {
        TypeKind::Single(kind) => word(kind.as_str()).to_owned(),
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| word(kind.as_str())).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(value: &Value) -> Vec<String> {
        against_schema(value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_faults_come_in_one_pass_with_what_would_be_right() {
        let found = faults(&json!({
            "gatewey": {},
            "gateway": { "port": "x", "bind": "everywhere", "auth": { "mod": "token" }, "limits": { "maxCalls": 0 } },
            "agents": { "list": [{ "name": "n" }, { "id": 3 }], "defaults": { "model": 7 } },
            "session": { "reset": { "atHour": 24 } },
        }));
        for wanted in [
            "gatewey: unknown key, did you mean `gateway`?",
            "gateway.port: must be a whole number",
            "gateway.bind: must be one of \"auto\", \"lan\", \"loopback\", \"custom\", \"tailnet\"",
            "gateway.auth.mod: unknown key, did you mean `mode`?",
            "gateway.limits.maxCalls: must be at least 1",
            "agents.list[0]: the key `id` is missing",
            "agents.list[1].id: must be a text",
            "agents.defaults.model: must be a text or an object",
            "session.reset.atHour: must be at most 23",
        ] {
            assert!(found.iter().any(|text| text == wanted), "{wanted} not in {found:#?}");
        }
        assert_eq!(found.len(), 9, "{found:#?}");
    }

    #[test]
    fn the_fault_inside_a_form_is_named_not_the_form() {
        assert_eq!(
            faults(&json!({ "agents": { "defaults": { "model": { "primry": "a/b" } } } })),
            ["agents.defaults.model.primry: unknown key, did you mean `primary`?"]
        );
        assert_eq!(
            faults(&json!({ "agents": { "defaults": { "model": "" } } })),
            ["agents.defaults.model: must have at least 1 characters"]
        );
    }

    #[test]
    fn a_key_in_the_wrong_place_is_led_home() {
        assert_eq!(faults(&json!({ "trustedProxies": [] })), ["trustedProxies: unknown key, did you mean `gateway.trustedProxies`?"]);
    }

    #[test]
    fn a_value_that_passes_the_schema_and_fits_no_type_is_still_named() {
        let wrong = typed(&json!({ "agents": { "list": [{ "id": "a" }, { "id": "b", "default": 7 }] } })).unwrap_err();
        assert_eq!(wrong.to_string(), "agents.list[1].default: does not fit its type");
        let wrong = typed(&json!({ "gateway": { "port": "secret-canary" } })).unwrap_err();
        assert_eq!(wrong.to_string(), "gateway.port: does not fit its type");
        assert_eq!(typed(&json!(7)).unwrap_err().to_string(), "<root>: does not fit its type");
    }

    #[test]
    fn null_is_no_value() {
        assert_eq!(faults(&json!({ "gateway": null })), ["gateway: must be an object"]);
        assert_eq!(faults(&json!({ "gateway": { "mode": null } })).len(), 1);
        assert_eq!(faults(&json!([])), ["<root>: must be an object"]);
    }
}

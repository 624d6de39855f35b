//! What a person is asked about: one command of one run, so bound that nothing else can run by the answer.

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value, json};

use super::plan::Plan;
use super::prompt;

/// Stands before the text that is digested, so that no other text of ours has the same digest.
const DOMAIN: &[u8] = b"skykoi-gateway exec approval v1\0";

/// What an approval is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// SHA-256 of `canonical` in its one spelling.
    pub digest: [u8; 32],
    /// What the person is shown: at most 4 KiB, one line for the command and one for each file and the folder, with nothing in it that a screen could take for something else.
    pub prompt: String,
    /// `{v, runId, requester, stdin, plan}`: everything that must be the same when it runs.
    pub canonical: Value,
}

impl Subject {
    /// The subject of this plan, for this run and who asked for it.
    #[must_use]
    pub fn new(plan: &Plan, run_id: &str, requester: &str) -> Self {
        let plan_value = serde_json::to_value(plan).unwrap_or_default();
        let canonical = json!({ "v": 1, "runId": run_id, "requester": requester, "stdin": "null", "plan": plan_value });
        Self { digest: digest_of(&canonical), prompt: prompt::of_plan(plan), canonical }
    }

    /// The subject with this canonical form, as it was stored. None if it is none.
    #[must_use]
    pub fn from_canonical(canonical: Value) -> Option<Self> {
        let plan = plan_in(&canonical)?;
        Some(Self { digest: digest_of(&canonical), prompt: prompt::of_plan(&plan), canonical })
    }

    /// What runs once it is allowed.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        plan_in(&self.canonical)
    }
}

fn plan_in(canonical: &Value) -> Option<Plan> {
    serde_json::from_value(canonical.get("plan")?.clone()).ok()
}

fn digest_of(canonical: &Value) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(sorted(canonical).to_string().as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The same value with the keys of every object in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            Value::Object(names.into_iter().map(|name| (name.clone(), fields.get(name).map_or(Value::Null, sorted))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::policy::plan::sha256;
    use crate::exec::policy::plan::tests::sample_plan;

    #[test]
    fn m70_every_bound_field_changes_the_digest() {
        let plan = sample_plan(&[&["ls", "a b"]]);
        let subject = Subject::new(&plan, "r1", "token");
        assert_eq!(subject, Subject::new(&plan, "r1", "token"));
        assert_eq!(subject.plan().unwrap(), plan);
        let changes: [fn(&mut Plan); 9] = [
            |plan| plan.stages[0].argv = vec!["ls".into(), "a".into(), "b".into()],
            |plan| plan.stages[0].exe.sha256 = sha256(b"other"),
            |plan| plan.stages[0].exe.ino += 1,
            |plan| plan.stages[0].exe.mtime_ns += 1,
            |plan| plan.stages[0].files = vec![plan.stages[0].exe.clone()],
            |plan| plan.cwd.path = "/x".into(),
            |plan| plan.cwd.ino += 1,
            |plan| drop(plan.env.insert("A".into(), sha256(b"1"))),
            |plan| plan.stages.push(plan.stages[0].clone()),
        ];
        let mut seen = vec![subject.digest, Subject::new(&plan, "r2", "token").digest, Subject::new(&plan, "r1", "local").digest];
        for change in changes {
            let mut other = plan.clone();
            change(&mut other);
            seen.push(Subject::new(&other, "r1", "token").digest);
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn a_stored_subject_is_the_same_whatever_the_order_of_its_keys() {
        let subject = Subject::new(&sample_plan(&[&["ls"]]), "r", "token");
        let mut turned = Map::new();
        for (name, value) in subject.canonical.as_object().unwrap().iter().rev() {
            turned.insert(name.clone(), value.clone());
        }
        assert_eq!(Subject::from_canonical(Value::Object(turned)).unwrap().digest, subject.digest);
        assert!(Subject::from_canonical(json!({ "plan": 1 })).is_none());
    }
}
